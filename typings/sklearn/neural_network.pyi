from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

class _Adam(Protocol):
    epsilon: float
    t: int
    ms: list[NDArray[np.floating]]
    vs: list[NDArray[np.floating]]

class MLPClassifier:
    coefs_: list[NDArray[np.floating]]
    intercepts_: list[NDArray[np.floating]]
    loss_: float
    _optimizer: _Adam

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = ...,
        *,
        alpha: float = ...,
        batch_size: int = ...,
        learning_rate_init: float = ...,
        max_iter: int = ...,
        shuffle: bool = ...,
        random_state: int = ...,
        tol: float = ...,
        n_iter_no_change: int = ...,
    ) -> None: ...
    def fit(self, X: NDArray[Any], y: NDArray[Any]) -> MLPClassifier: ...
    def partial_fit(self, X: NDArray[Any], y: NDArray[Any], *, classes: NDArray[Any] | None = ...) -> MLPClassifier: ...
    def predict_proba(self, X: NDArray[Any]) -> NDArray[np.floating]: ...
    def score(self, X: NDArray[Any], y: NDArray[Any]) -> float: ...
