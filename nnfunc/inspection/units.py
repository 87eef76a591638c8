"""Measures of the outputs of one layer: dead units, saturated outputs."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfunc.arrays import Array
from nnfunc.inspection.measure import Call
from nnfunc.layers.affine import DENSE
from nnfunc.layers.reshaping import ZEROS

FEW = 10
"""With fewer examples units are not judged: by chance, one unit in 2¹⁰ is 0 for ten independent examples."""

EDGE = 0.01
"""Within 1 % of a limit of sigmoid or tanh, the slope is at most 4 % of its maximum."""


def rows(array: Array) -> Array:
    """An array as (examples, units)."""
    return array.reshape(-1, units(array))


def units(array: Array) -> int:
    """The length of the last axis."""
    return array.shape[-1] if array.ndim else 1  # a loss as the last layer returns a scalar


def dead(call: Call) -> NDArray[np.bool_]:
    """Mask of the units that are 0 for all examples although their inputs are not."""
    kernel, x, y = call.layer.kernel, call.x, call.y
    masks = kernel is None or "key" in kernel.asks or kernel == ZEROS  # 0 on purpose
    if x is None or call.params or x.shape != y.shape or masks or not math.isnan(saturated(call)):
        return np.zeros(units(y), bool)
    silent: NDArray[np.bool_] = (rows(y) == 0).all(axis=0) & (rows(x) != 0).any(axis=0)
    return silent


def saturated(call: Call) -> float:
    """The fraction of outputs near a limit, or of rows with a probability near 1; NaN for layers without limits."""
    kernel, y = call.layer.kernel, call.y
    if kernel is not None and kernel.limits is not None:
        low, high = kernel.limits
        edge = EDGE * (high - low)
        return float(((y < low + edge) | (y > high - edge)).mean())
    if kernel is not None and kernel.decision == "largest":
        return float((y.max(axis=-1) > 1 - EDGE).mean())
    return math.nan


def weights(call: Call) -> Array | None:
    """The W of a dense layer."""
    return call.params["W"] if call.layer.kernel == DENSE else None


def norm(array: ArrayLike) -> float:
    """√Σa², in float64."""
    with np.errstate(all="ignore"):
        return float(np.linalg.norm(np.asarray(array, float)))


def short(number: float) -> str:
    """A number formatted to two significant digits."""
    return f"{number:.2g}"
