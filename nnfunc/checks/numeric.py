"""Numeric derivatives with their own error estimates, in float64.

A function along a line is t -> terms: a one-dimensional array whose sum is the value (a loss has one term). Differences
are taken term by term, so that what a small change leaves alone cancels exactly. Difference quotients at steps that
shrink by `RATIO` are extrapolated to step 0 (Richardson; the table is Neville's, the use of its spread as an
error estimate is Ridders': Advances in Engineering Software 1982), until the error is small enough.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isfinite, nan, sqrt
from typing import NamedTuple, TypeAlias

import numpy as np

from nnfunc.arrays import Array

Line: TypeAlias = Callable[[float], Array]
"""t -> the terms of the function at the point t along a line; the point that is checked is at t = 0."""

RATIO = 4.0
FIRST = 1 / 32
"""The first step, in units of the scale of the line."""
LEVELS = 15
MOST_LEVELS = 45
DEPTH = 4
"""How many steps one extrapolation uses: polluted large steps (a kink is near) are left behind."""
EPS = float(np.finfo(np.float64).eps)


class Slope(NamedTuple):
    """A derivative and an estimate of its error (1σ or so; infinite if nothing could be computed)."""

    value: float
    error: float


def never(slope: Slope) -> bool:
    """Use all steps."""
    return False


def central(
    f: Line,
    scale: float = 1.0,
    digits: float = 1.0,
    enough: Callable[[Slope], bool] = never,
    first: float = FIRST,
    least: float = np.inf,
) -> Slope:
    """f'(0) from (f(h) − f(−h)) / 2h, whose error is a series in h².

    Args:
        f: the function along a line.
        scale: the length on which the line's variables vary; steps are fractions of it.
        digits: how many times larger than float64's the rounding errors of f are (from `rounding`).
        enough: whether an estimate is good enough to stop.
        first: the first step, in units of scale.
        least: the steps go down to this, even if it is less than `LEVELS` steps reach.

    >>> slope = central(lambda t: np.exp([3 * t]))
    >>> abs(slope.value - 3) < 1e-9, slope.error < 1e-9
    (True, True)
    """
    return _extrapolated(lambda h: _quotient(f(h), f(-h), 2 * h, digits), scale * first, least, RATIO**2, enough)


def one_sided(f: Line, side: float, scale: float = 1.0, digits: float = 1.0, least: float = np.inf) -> Slope:
    """The derivative of f at 0 from one side (+1 or −1), from (f(±h) − f(0)) / ±h, whose error is a series in h.

    >>> [round(one_sided(lambda t: np.abs([t]), side).value, 6) for side in (-1, 1)]
    [-1.0, 1.0]
    """
    f0 = f(0.0)
    return _extrapolated(lambda h: _quotient(f(side * h), f0, side * h, digits), scale * FIRST, least, RATIO, never)


def _quotient(a: Array, b: Array, h: float, digits: float) -> Slope:
    """(Σa − Σb) / h with its rounding error: of the terms that changed, or of all if the step was too small to tell."""
    changed = a != b
    if changed.any() and a.size == b.size:
        a, b = a[changed], b[changed]
    size = max(float(np.abs(a).max()), float(np.abs(b).max()))
    return Slope(float((a - b).sum()) / h, digits * EPS * sqrt(2 * a.size) * size / abs(h))


def _extrapolated(
    quotient: Callable[[float], Slope], h: float, least: float, factor: float, enough: Callable[[Slope], bool]
) -> Slope:
    """The limit of a difference quotient for h → 0."""
    best, sure = Slope(0.0, inf), False
    older: list[float] = []
    least = max(min(least, h * RATIO ** (1 - LEVELS)), h * RATIO ** (1 - MOST_LEVELS))
    while h >= least:
        value, noise = quotient(h)
        h /= RATIO
        if not isfinite(value):  # a step out of the function's domain
            older = []
            continue
        row, weight = [value], 1.0
        for before in older[: DEPTH - 1]:
            weight *= factor
            row.append(row[-1] + (row[-1] - before) / (weight - 1))
            error = max(abs(row[-1] - row[-2]), abs(row[-1] - before)) + noise + 4 * EPS * abs(value)
            refuted = abs(row[-1] - best.value) > 10 * (
                noise + best.error
            )  # it was calm at larger steps, across a kink
            if error < best.error or refuted:
                best, sure = Slope(row[-1], error), not refuted or not isfinite(best.error)
            else:
                sure = True
        older = row
        if enough(best):
            return best
    return best if sure else Slope(best.value, inf)


def rounding(f: Line, scale: float = 1.0) -> float:
    """How many times larger than float64's the rounding errors of f are: about 1, but 10⁸ if it computes in float32.

    From the fourth differences of f at closely spaced points (Moré & Wild, Estimating computational noise, SIAM Journal
    on Scientific Computing 2011), on one side of 0 and away from it, as the point itself may be a kink.

    >>> x = np.random.default_rng(0).normal(size=100)
    >>> rounding(lambda t: np.tanh(x * (1 + t))) < 10
    True
    >>> rounding(lambda t: np.tanh(x.astype(np.float32) * np.float32(1 + t)).astype(float)) > 1e6
    True
    """
    values = [f(scale * 1e-6 * (1 + i / 8)) for i in range(9)]
    size = float(np.linalg.norm(values[0]))
    fourth = [
        float((values[i] - 4 * values[i + 1] + 6 * values[i + 2] - 4 * values[i + 3] + values[i + 4]).sum())
        for i in range(5)
    ]
    if not size or not all(map(isfinite, fourth)):
        return 1.0 if not size else nan
    noise = sqrt(sum(d * d for d in fourth) / (5 * 70))  # 70: the variance of a fourth difference of unit noise
    return max(1.0, noise / (EPS * size))
