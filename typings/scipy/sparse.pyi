from typing import Any

from numpy.typing import ArrayLike

class csr_array:
    def __init__(self, arg1: ArrayLike) -> None: ...
    def tocsc(self) -> Any: ...
