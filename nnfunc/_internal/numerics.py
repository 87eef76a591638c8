"""Shared arithmetic: constants as arrays, sums as products with ones, σ, log(1 + exp(x)), shifted exponentials.

Sums of the rows and columns of matrices are products with ones: BLAS takes a quarter of the time of np.add.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from nnfunc.arrays import Array


def sum_of_rows(a: Array, out: Array | None = None) -> Array:
    """Sums rows: (..., rows, columns) → (..., columns).

    >>> sum_of_rows(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([4., 6.])
    """
    row = ones(a.shape[-2], a.dtype)
    return row.dot(a, out) if a.ndim == 2 else np.matmul(row, a, out=out)


def sum_of_columns(a: Array) -> Array:
    """Sums columns: (..., columns) → (...).

    >>> sum_of_columns(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([3., 7.])
    """
    if a.shape[-1] == 1:
        return a[..., 0].copy()
    if a.ndim > 3:  # as one product; not in a stack of plain networks (3 axes), whose runs keep their bits
        return sum_of_columns(a.reshape(-1, a.shape[-1])).reshape(a.shape[:-1])
    total: Array = a.dot(ones(a.shape[-1], a.dtype))
    return total


@lru_cache(maxsize=64)
def ones(length: int, dtype: np.dtype[np.floating]) -> Array:
    """A vector of ones to multiply with."""
    return _constant(np.ones(length), dtype)


@lru_cache
def zero(dtype: np.dtype[np.floating]) -> Array:
    """0 as an array of a dtype, cheaper for NumPy than converting Python's 0."""
    return _constant(0, dtype)


@lru_cache
def one(dtype: np.dtype[np.floating]) -> Array:
    """1 as an array of a dtype."""
    return _constant(1, dtype)


@lru_cache(maxsize=8)
def zeros(shape: tuple[int, ...], dtype: np.dtype[np.floating]) -> Array:
    """Zeros to compare with: NumPy compares arrays of equal shape in a third of the time of array and scalar."""
    return _constant(np.zeros(shape), dtype)


SMALL = 1 << 16
"""The size up to which `zeros` pays off; its eight cached arrays use at most 4 MiB."""


def _constant(value: ArrayLike, dtype: np.dtype[np.floating]) -> Array:
    constant = np.array(value, dtype)
    constant.setflags(write=False)
    return constant


@lru_cache
def floor(dtype: np.dtype[np.floating]) -> float:
    """The smallest normal number of a dtype, the lower bound of probabilities.

    The cross-entropies divide by probabilities and the backward functions of sigmoid and softmax multiply by them. As
    both apply the same lower bound, the product is the fused gradient (A − Y)/m even where a probability is 0.
    """
    return float(np.finfo(dtype).tiny)


@lru_cache
def least(dtype: np.dtype[np.floating]) -> Array:
    """`floor` as an array."""
    return _constant(floor(dtype), dtype)


@lru_cache
def lowest(dtype: np.dtype[np.floating]) -> Array:
    """The lowest finite number of a dtype."""
    return _constant(np.finfo(dtype).min, dtype)


@lru_cache
def largest_exponent(dtype: np.dtype[np.floating]) -> Array:
    """The largest integer whose exponential is finite."""
    return _constant(math.floor(math.log(np.finfo(dtype).max)), dtype)


def logistic(x: Array) -> Array:
    """σ(x) = 1/(1 + exp(−x)), without overflow.

    >>> logistic(np.array([-1000.0, 0.0])).round(3)
    array([0. , 0.5])
    """
    y = np.negative(x)
    np.minimum(y, largest_exponent(x.dtype), out=y)
    np.exp(y, out=y)
    y += one(x.dtype)
    return np.reciprocal(y, out=y)


def log1pexp(x: Array) -> Array:
    """log(1 + exp(x)), without overflow.

    >>> log1pexp(np.array([-1000.0, 0.0, 50.0])).round(4)
    array([ 0.    ,  0.6931, 50.    ])
    """
    if x.size < FEW:
        few: Array = np.logaddexp(x, zero(x.dtype))
        return few
    y = np.exp(-np.abs(x))
    np.log1p(y, out=y)
    y += np.maximum(x, zero(x.dtype))
    return y


FEW = 256
"""The size up to which `np.logaddexp`, one call that computes element by element, is faster than several calls."""

LOG_ERFC = (
    -0.6513268598908547, 0.6419697923564902, 0.019476473204185836, -0.009561514786808632, -0.0009465953444820369,
    0.00036683949785276145, 4.252332480690777e-05, -2.0278578112534242e-05, -1.6242900046470256e-06,
    1.3036558355805232e-06, 1.5626441722066142e-08, -8.523809591492654e-08, 6.5290544390988515e-09,
    5.059343495551469e-09, -9.913641565e-10, -2.273651223e-10, 9.646791102e-11, 2.394038083e-12, -6.886027526e-12,
    8.944879273e-13, 3.130921399e-13, -1.127082236e-13, 3.81091e-16, 7.1061e-15, -1.52303e-15, -9.45749e-17,
    1.21024e-16, -2.81666e-17,
)  # fmt: skip
"""Chebyshev coefficients of ln(erfc(z)/t) + z², z ≥ 0, in 2t − 1 with t = 2/(2 + z), from 40 digits; 13 suffice for
float32 (the form of Press et al., Numerical Recipes, 3rd ed., section 6.2.2)."""


@lru_cache
def _log_erfc(dtype: np.dtype[np.floating]) -> list[float]:
    """The coefficients in powers of 2t − 1, highest first."""
    terms = LOG_ERFC if dtype.itemsize > 4 else LOG_ERFC[:13]
    return [float(c) for c in np.polynomial.chebyshev.cheb2poly(terms)[::-1]]


def normal_cdf(x: Array) -> Array:
    """Φ(x) = ½ erfc(−x/√2), accurate to a few units in the last place, also in the tails.

    >>> normal_cdf(np.array([-1.0, 0.0, 1.0])).round(4)
    array([0.1587, 0.5   , 0.8413])
    """
    phi = np.empty_like(x, order="C")
    flat, out, (highest, *others) = x.reshape(-1), phi.reshape(-1), _log_erfc(x.dtype)
    for start in range(0, x.size, BLOCK):  # temporaries stay in the processor's cache
        part = flat[start : start + BLOCK]
        z = np.minimum(np.abs(part), largest_exponent(x.dtype)) * math.sqrt(0.5)
        t = 2 / (2 + z)
        u = 2 * t - 1
        power = highest * u
        for c in others[:-1]:
            power += c
            power *= u
        power += others[-1]
        power -= z * z
        below = 0.5 * t * np.exp(power)
        below -= part >= 0  # np.where takes ten times as long where signs are mixed
        np.abs(below, out=out[start : start + BLOCK])
    return phi


BLOCK = 1 << 14
"""The number of elements per block in formulas of many steps."""

SHORT = 64
"""The row length up to which NumPy finds the maxima of rows faster in the transpose."""


def shifted_exp(x: Array) -> tuple[Array, Array, Array]:
    """The terms of softmax over the last axis: x − max x, its exp, and the sum of that (with the axis kept).

    If a whole row is −∞, its exponentials are 0 and the sum is the smallest normal number, so quotients are 0 too.

    >>> shifted_exp(np.array([[0.0, -np.inf]]))[1:]
    (array([[1., 0.]]), array([[1.]]))
    """
    largest = np.maximum.reduce(x.mT.copy(), axis=-2) if x.shape[-1] <= SHORT else np.maximum.reduce(x, axis=-1)
    shifted = x - np.maximum(largest, lowest(x.dtype))[..., None]
    exp = np.exp(shifted)
    return shifted, exp, np.maximum(sum_of_columns(exp), least(x.dtype))[..., None]
