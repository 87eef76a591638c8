"""Losses of numbers.

mean_squared_error      the mean over the outputs of (y − target)²
mean_absolute_error     the mean over the outputs of |y − target|
huber(delta)            a parabola near 0, lines beyond ±delta
"""

from __future__ import annotations

import math

import numpy as np

from nnfunc._internal.numerics import sum_of_columns
from nnfunc._internal.validate import number
from nnfunc.arrays import Array
from nnfunc.core.settings import Settings
from nnfunc.losses.base import Loss, Residual, make

__all__ = ["huber", "mean_absolute_error", "mean_squared_error"]


def _per_output(elements: Array) -> Array:
    outputs: int = elements.shape[-1]
    return elements / outputs


def _mean_of_outputs(elements: Array) -> Array:
    return sum_of_columns(_per_output(elements))


def _squared(y: Array, T: Array) -> tuple[Array, Residual]:
    d = y - T
    return _mean_of_outputs(d * d), d


def _squared_gradient(d: Array) -> Array:
    return _per_output(2 * d)


mean_squared_error = make("mean_squared_error", values=_squared, gradient=_squared_gradient)
"""The mean over the outputs of (y − target)².

>>> nn.mean_squared_error.forward(np.array([[1.0, 3.0]]), np.array([[1.0, 1.0]]))[0]
2.0
"""


def _absolute(y: Array, T: Array) -> tuple[Array, Residual]:
    d = y - T
    return _mean_of_outputs(np.abs(d)), d


def _absolute_gradient(d: Array) -> Array:
    return _per_output(np.sign(d))


mean_absolute_error = make("mean_absolute_error", values=_absolute, gradient=_absolute_gradient)
"""The mean over the outputs of |y − target|; its gradient is 0 where they are equal.

>>> nn.mean_absolute_error.forward(np.array([[1.0, 3.0]]), np.array([[1.0, 1.0]]))[0]
1.0
"""


def huber(delta: float = 1.0) -> Loss:
    """The mean over the outputs of ½d² where |d| ≤ delta, else delta·(|d| − ½delta), d = y − target (Huber 1964).

    >>> nn.huber(1.0).forward(np.array([[0.5, 3.0]]), np.array([[0.0, 0.0]]))[0]
    1.3125
    """
    delta = number(delta, "delta", 0, math.inf, open_low=True, why="where the parabola becomes a line")
    return make("huber", Settings(delta=delta), _huber, _huber_gradient)


def _huber(y: Array, T: Array, *, delta: float) -> tuple[Array, Residual]:
    d = y - T
    small = np.clip(d, -delta, delta)
    return _mean_of_outputs(small * (d - 0.5 * small)), d


def _huber_gradient(d: Array, *, delta: float) -> Array:
    return _per_output(np.clip(d, -delta, delta))
