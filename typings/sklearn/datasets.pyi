from typing import Any

import numpy as np
from numpy.typing import NDArray

class _Data:
    data: NDArray[np.float64]
    target: NDArray[np.int64]

class _Digits(_Data):
    images: NDArray[np.float64]

def load_breast_cancer() -> _Data: ...
def load_diabetes() -> _Data: ...
def load_digits() -> _Digits: ...
def load_iris() -> _Data: ...
def load_wine() -> _Data: ...
def make_classification(
    n_samples: int = ..., n_features: int = ..., **settings: object
) -> tuple[NDArray[Any], NDArray[Any]]: ...
