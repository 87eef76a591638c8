from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from sklearn.base import BaseEstimator

def _check_sample_weight(
    sample_weight: ArrayLike, X: ArrayLike, *, dtype: DTypeLike = ..., ensure_non_negative: bool = ...
) -> NDArray[np.floating]: ...
def check_is_fitted(estimator: BaseEstimator, attributes: str) -> None: ...
def column_or_1d(y: ArrayLike, *, warn: bool) -> NDArray[Any]: ...
@overload
def validate_data(
    _estimator: BaseEstimator, /, X: ArrayLike, *, dtype: DTypeLike, reset: bool, accept_sparse: str
) -> NDArray[np.floating]: ...
@overload
def validate_data(
    _estimator: BaseEstimator,
    /,
    X: ArrayLike,
    y: ArrayLike,
    *,
    dtype: DTypeLike,
    multi_output: bool,
    reset: bool,
    accept_sparse: str,
) -> tuple[NDArray[np.floating], NDArray[Any]]: ...
