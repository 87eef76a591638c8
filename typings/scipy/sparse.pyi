from typing import Any

from numpy.typing import ArrayLike

def csr_array(arg1: ArrayLike) -> Any: ...
