from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

class _Adam(Protocol):
    epsilon: float
    t: int
    ms: list[NDArray[np.floating]]
    vs: list[NDArray[np.floating]]

class MLPClassifier(BaseEstimator):
    coefs_: list[NDArray[np.floating]]
    intercepts_: list[NDArray[np.floating]]
    loss_: float
    _optimizer: _Adam

    def __init__(self, hidden_layer_sizes: int | Sequence[int] = ..., **settings: object) -> None: ...
    def fit(self, X: NDArray[Any], y: NDArray[Any]) -> MLPClassifier: ...
    def partial_fit(self, X: NDArray[Any], y: NDArray[Any], *, classes: NDArray[Any] | None = ...) -> MLPClassifier: ...
    def predict_proba(self, X: NDArray[Any]) -> NDArray[np.floating]: ...
    def score(self, X: NDArray[Any], y: NDArray[Any]) -> float: ...

class MLPRegressor(BaseEstimator):
    def __init__(self, hidden_layer_sizes: int | Sequence[int] = ..., **settings: object) -> None: ...
