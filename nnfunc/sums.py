"""Sums along the rows and the columns of matrices, as products with ones: BLAS takes a fourth of the time of np.add."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from nnfunc.arrays import Array


def sum_of_rows(a: Array, out: Array | None = None) -> Array:
    """(..., rows, columns) → (..., columns)

    >>> sum_of_rows(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([4., 6.])
    """
    ones = _ones(a.shape[-2], a.dtype)
    return ones.dot(a, out) if a.ndim == 2 else np.matmul(ones, a, out=out)


def sum_of_columns(a: Array) -> Array:
    """(..., columns) → (...)

    >>> sum_of_columns(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([3., 7.])
    """
    total: Array = a.dot(_ones(a.shape[-1], a.dtype))
    return total


@lru_cache(maxsize=64)
def _ones(length: int, dtype: np.dtype[np.floating]) -> Array:
    ones = np.ones(length, dtype)
    ones.setflags(write=False)
    return ones
