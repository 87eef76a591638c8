from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

class OptimizeResult:
    x: NDArray[np.float64]
    fun: float
    nfev: int

def minimize(
    fun: Callable[[NDArray[np.float64]], tuple[float, NDArray[np.floating]]],
    x0: NDArray[np.floating],
    *,
    method: str,
    jac: bool,
    options: Mapping[str, float],
) -> OptimizeResult: ...
def check_grad(
    func: Callable[[NDArray[np.floating]], float],
    grad: Callable[[NDArray[np.floating]], NDArray[np.floating]],
    x0: NDArray[np.floating],
) -> float: ...
