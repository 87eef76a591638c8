"""Classification losses based on margins instead of probabilities.

hinge                       Σ max(0, 1 − s y), s = ±1 for the two classes
multi_class_hinge(margin)   Σ max(0, margin − y_Y + y_j) / classes, over the wrong classes j
"""

from __future__ import annotations

import math

import numpy as np

from nnfunc._internal.numerics import sum_of_columns, zero
from nnfunc._internal.validate import number
from nnfunc.arrays import Array
from nnfunc.core.settings import Settings
from nnfunc.losses.base import Loss, Residual, make

__all__ = ["hinge", "multi_class_hinge"]


def _hinge(y: Array, T: Array) -> tuple[Array, Residual]:
    sign = 2 * T - 1
    margin = 1 - sign * y
    return np.maximum(margin, zero(y.dtype)), (margin, sign)


def _hinge_gradient(residual: tuple[Array, Array]) -> Array:
    margin, sign = residual
    return np.where(margin > 0, -sign, zero(sign.dtype))


hinge: Loss = make("hinge", values=_hinge, gradient=_hinge_gradient, targets="bits", decision=0.0, over="sum")
"""Σ max(0, 1 − s y), summed over the outputs, s = 2 Y − 1 = ±1 (Cortes & Vapnik 1995). y above 0 means class 1.

y (examples, outputs), target 0 or 1, of the same shape, or (examples,) for one output.

>>> nn.losses.hinge.forward(np.array([[2.0], [0.5]]), np.array([[1.0], [1.0]]))[0]
0.25
"""


def multi_class_hinge(margin: float = 1.0) -> Loss:
    """Σ max(0, margin − y_Y + y_j) / classes, over the wrong classes j (Weston & Watkins 1999).

    y (examples, classes), target class indices. Equals PyTorch's `multi_margin_loss` (p=1), whose sum has classes − 1
    terms and is divided by classes; Crammer & Singer (2001) take the largest term instead.

    >>> nn.losses.multi_class_hinge().forward(np.array([[2.0, 1.5, 0.0, 0.0]]), np.array([0]))[0]
    0.125
    """
    margin = number(margin, "margin", 0, math.inf, why="the margin of the correct class above the others")
    settings = Settings(margin=margin)
    return make("multi_class_hinge", settings, _multi_class, _multi_class_gradient, "classes", decision="largest")


def _multi_class(y: Array, T: Array, *, margin: float) -> tuple[Array, Residual]:
    right = sum_of_columns(np.where(T > 0, y, zero(y.dtype)))[..., None]
    excess = np.where(T > 0, zero(y.dtype), np.maximum(margin + (y - right), zero(y.dtype)))
    return sum_of_columns(excess) / y.shape[-1], (excess, T)


def _multi_class_gradient(residual: tuple[Array, Array], *, margin: float) -> Array:
    excess, T = residual
    above = (excess > 0).astype(T.dtype) / T.shape[-1]
    dy: Array = above - T * sum_of_columns(above)[..., None]
    return dy
