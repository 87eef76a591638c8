from collections.abc import Sequence
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

class _Adam(Protocol):
    epsilon: float
    t: int
    ms: list[NDArray[np.floating]]
    vs: list[NDArray[np.floating]]

class _MLP(BaseEstimator):
    activation: str
    alpha: float
    batch_size: int | Literal["auto"]
    coefs_: list[NDArray[np.floating]]
    feature_names_in_: NDArray[Any]
    intercepts_: list[NDArray[np.floating]]
    learning_rate_init: float
    loss_: float
    n_iter_: int
    out_activation_: str
    solver: str
    t_: int
    _optimizer: _Adam

    def __init__(self, hidden_layer_sizes: int | Sequence[int] = ..., **settings: object) -> None: ...
    def fit(self, X: NDArray[Any], y: NDArray[Any]) -> Self: ...
    def score(self, X: NDArray[Any], y: NDArray[Any]) -> float: ...
    def predict(self, X: NDArray[Any]) -> NDArray[Any]: ...

class MLPClassifier(_MLP):
    classes_: NDArray[Any]

    def partial_fit(self, X: NDArray[Any], y: NDArray[Any], *, classes: NDArray[Any] | None = ...) -> Self: ...
    def predict_proba(self, X: NDArray[Any]) -> NDArray[np.floating]: ...

class MLPRegressor(_MLP):
    def partial_fit(self, X: NDArray[Any], y: NDArray[Any]) -> Self: ...
