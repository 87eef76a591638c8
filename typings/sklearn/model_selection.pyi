from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

class GridSearchCV(BaseEstimator):
    best_estimator_: Any
    best_params_: dict[str, object]
    best_score_: float
    def __init__(
        self, estimator: BaseEstimator, param_grid: Mapping[str, Sequence[object]], *, cv: int = ..., n_jobs: int = ...
    ) -> None: ...
    def fit(self, X: ArrayLike, y: ArrayLike) -> GridSearchCV: ...

class KFold:
    def __init__(self, n_splits: int, *, shuffle: bool, random_state: int) -> None: ...

class StratifiedKFold(KFold): ...

def cross_val_score(
    estimator: BaseEstimator, X: ArrayLike, y: ArrayLike, *, cv: int | KFold
) -> NDArray[np.float64]: ...
def train_test_split(
    rows: NDArray[np.intp], *, test_size: float, random_state: int, stratify: ArrayLike | None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]: ...
