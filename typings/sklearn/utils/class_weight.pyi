from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

def compute_class_weight(
    class_weight: Mapping[Any, float] | str | None, *, classes: ArrayLike, y: ArrayLike
) -> NDArray[np.float64]: ...
