"""Regression losses.

mean_squared_error      the mean over the outputs of (y − target)²
mean_absolute_error     the mean over the outputs of |y − target|
huber(delta)            a parabola near 0, lines beyond ±delta
log_cosh                log cosh(y − target): a smooth Huber loss
quantile(level)         a line with a different slope on each side, minimized by a quantile of the target
poisson                 exp(y) − target · y: for counts, from the logarithm of their rate
gaussian(full)          for normal distributions, from mean and logarithm of the variance
cosine                  1 − the cosine of the angle between y and target
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nnfunc._internal.numerics import largest_exponent, sum_of_columns
from nnfunc._internal.validate import flag, number
from nnfunc.arrays import Array
from nnfunc.core.settings import Settings
from nnfunc.losses.base import Loss, Residual, make

__all__ = [
    "cosine",
    "gaussian",
    "huber",
    "log_cosh",
    "mean_absolute_error",
    "mean_squared_error",
    "poisson",
    "quantile",
]


def _squared(y: Array, T: Array) -> tuple[Array, Residual]:
    d = y - T
    return d * d, d


def _squared_gradient(d: Array) -> Array:
    return 2 * d


mean_squared_error: Loss = make("mean_squared_error", values=_squared, gradient=_squared_gradient, over="mean")
"""The mean over the outputs of (y − target)².

>>> nn.mean_squared_error.forward(np.array([[1.0, 3.0]]), np.array([[1.0, 1.0]]))[0]
2.0
"""


def _absolute(y: Array, T: Array) -> tuple[Array, Residual]:
    d = y - T
    return np.abs(d), d


def _absolute_gradient(d: Array) -> Array:
    return np.sign(d)


mean_absolute_error: Loss = make("mean_absolute_error", values=_absolute, gradient=_absolute_gradient, over="mean")
"""The mean over the outputs of |y − target|; its gradient is 0 where they are equal.

>>> nn.mean_absolute_error.forward(np.array([[1.0, 3.0]]), np.array([[1.0, 1.0]]))[0]
1.0
"""


def huber(delta: float = 1.0) -> Loss:
    """The mean over the outputs of ½d² where |d| ≤ delta, else delta·(|d| − ½delta), d = y − target (Huber 1964).

    >>> nn.huber(1.0).forward(np.array([[0.5, 3.0]]), np.array([[0.0, 0.0]]))[0]
    1.3125
    """
    delta = number(delta, "delta", 0, math.inf, open_low=True, why="the point where the parabola becomes a line")
    return make("huber", Settings(delta=delta), _huber, _huber_gradient, over="mean")


def _huber(y: Array, T: Array, *, delta: float) -> tuple[Array, Residual]:
    d = y - T
    small = np.clip(d, -delta, delta)
    return small * (d - 0.5 * small), d


def _huber_gradient(d: Array, *, delta: float) -> Array:
    return np.clip(d, -delta, delta)


def _log_cosh(y: Array, T: Array) -> tuple[Array, Residual]:
    d = np.abs(y - T)
    return d + np.log1p(np.exp(-2 * d)) - math.log(2), y - T


def _log_cosh_gradient(d: Array) -> Array:
    return np.tanh(d)


log_cosh: Loss = make("log_cosh", values=_log_cosh, gradient=_log_cosh_gradient, over="mean")
"""The mean over the outputs of log cosh(y − target): ½d² near 0, |d| − log 2 far away.

>>> round(nn.losses.log_cosh.forward(np.array([[0.0, 1000.0]]), np.array([[0.0, 0.0]]))[0], 4)
499.6534
"""


def quantile(level: float | Sequence[float] = 0.5) -> Loss:
    """The mean over the outputs of max(level · d, (level − 1) · d), d = target − y (Koenker & Bassett 1978).

    It is minimized by a quantile of the targets: with 0.9, nine of ten targets are below y. The gradient is 0 where y
    equals the target. Several levels are one per output.

    >>> nn.losses.quantile(0.9).forward(np.array([[0.0], [2.0]]), np.array([[1.0], [1.0]]))[0]
    0.5
    """
    several = isinstance(level, (list, tuple))
    given: Sequence[float] = level if isinstance(level, (list, tuple)) else [level]  # type: ignore[list-item]  # one
    why = "the share of targets below y"
    levels = tuple(number(one, "level", 0, 1, open_low=True, open_high=True, why=why) for one in given)
    if not levels:
        raise ValueError("level is empty: expected at least one number")
    own = Settings(level=levels if several else levels[0])
    return make("quantile", own, _quantile, _quantile_gradient, over="mean")


def _quantile(y: Array, T: Array, *, level: float | tuple[float, ...]) -> tuple[Array, Residual]:
    d = T - y
    share = np.asarray(level, d.dtype)
    if share.ndim and share.shape != d.shape[-1:]:
        raise ValueError(
            f"level={level} has {len(share)} values, but y has {d.shape[-1]} outputs: expected one per output"
        )
    return np.maximum(share * d, (share - 1) * d), d


def _quantile_gradient(d: Array, *, level: float | tuple[float, ...]) -> Array:
    share = np.asarray(level, d.dtype)
    return np.where(d > 0, -share, np.where(d < 0, 1 - share, d.dtype.type(0)))


def _poisson(y: Array, T: Array) -> tuple[Array, Residual]:
    rate = np.exp(y)
    return rate - T * y, rate - T


def _poisson_gradient(d: Array) -> Array:
    return d


poisson: Loss = make("poisson", values=_poisson, gradient=_poisson_gradient, over="mean")
"""The mean over the outputs of exp(y) − target · y: the negative log-likelihood of counts, without log(target!).

y is the logarithm of the rate.

>>> nn.losses.poisson.forward(np.array([[0.0]]), np.array([[3.0]]))[0]
1.0
"""


def gaussian(full: bool = False) -> Loss:
    """The mean over the outputs of ½ (s + (target − μ)² exp(−s)): the negative log-likelihood of a normal distribution
    with mean μ and variance exp(s) (Nix & Weigend 1994).

    y = (μ, s), as returned by `nn.branch(mean=..., log_variance=...)`, each of the target's shape. PyTorch's
    `gaussian_nll_loss` takes the variance itself, clamped to at least 1e-6.

    Args:
        full: whether to add ½ log 2π.

    >>> y = np.array([[1.0]]), np.array([[0.0]])
    >>> nn.losses.gaussian().forward(y, np.array([[3.0]]))[0]
    2.0
    """
    return make("gaussian", Settings(full=flag(full, "full")), _gaussian, _gaussian_gradient, over="mean", outputs=2)


def _gaussian(y: tuple[Array, Array], T: Array, *, full: bool) -> tuple[Array, Residual]:
    mean, s = y
    d, precision = mean - T, np.exp(np.minimum(-s, largest_exponent(s.dtype)))
    constant = 0.5 * math.log(2 * math.pi) if full else 0.0
    return 0.5 * (s + d * d * precision) + constant, (d, precision)


def _gaussian_gradient(residual: tuple[Array, Array], *, full: bool) -> tuple[Array, Array]:
    d, precision = residual
    return d * precision, 0.5 * (1 - d * d * precision)


def _unit(a: Array) -> tuple[Array, Array]:
    """Returns the norms of rows as a column, and the normalized rows; a row of zeros yields ∞ and zeros."""
    length = np.sqrt(sum_of_columns(a * a))[..., None]
    length = np.where(length == 0, a.dtype.type(math.inf), length)
    return length, a / length


def _cosine(y: Array, T: Array) -> tuple[Array, Residual]:
    (length, u), (_, v) = _unit(y), _unit(T)
    cosine = sum_of_columns(u * v)
    return 1 - cosine, (length, u, v, cosine[..., None])


def _cosine_gradient(residual: tuple[Array, Array, Array, Array]) -> Array:
    length, u, v, cosine = residual
    return (cosine * u - v) / length


cosine: Loss = make("cosine", values=_cosine, gradient=_cosine_gradient)
"""1 − y · target / (‖y‖ ‖target‖), in [0, 2]: PyTorch's `cosine_embedding_loss` for matching pairs.

For a zero vector the value is 1 and the gradient 0.

>>> nn.losses.cosine.forward(np.array([[3.0, 0.0]]), np.array([[1.0, 0.0]]))[0]
0.0
"""
