"""Numerical derivatives with error estimates, in float64.

A function along a line is t -> terms: a one-dimensional array whose sum is the value (a loss has one term). Differences
are taken term by term, so that terms unaffected by a small change cancel exactly. Difference quotients at steps that
shrink by `RATIO` are extrapolated to step 0 (Richardson; the table is Neville's, the use of its spread as an
error estimate is Ridders': Advances in Engineering Software 1982), until the error is small enough or below the
rounding error of the next step.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import inf, isfinite, nan, sqrt
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnfunc.arrays import Array

Mask: TypeAlias = NDArray[np.bool_]
Line: TypeAlias = Callable[[float], Array]
"""t -> the terms of the function at the point t along a line; the checked point is at t = 0."""

RATIO = 4.0
FIRST = 1 / 32
"""The first step, in units of the scale of the line."""
LEVELS = 45
"""The largest number of steps: the smallest is 10⁻²⁸ of the scale."""
DEPTH = 4
"""The number of steps in one extrapolation: large steps that cross a nearby kink are dropped."""
BESIDE = 1e-5
"""The initial distance from a point at which its sides are examined, in units of the scale: such small steps are still
accurate, unless the function is not."""
APPROACHES = 8
GROWTH = 4
"""A quotient that grows in this many consecutive steps has no limit."""
EPS = float(np.finfo(np.float64).eps)


class Slope(NamedTuple):
    """A derivative and an estimate of its error (about 1σ; infinite if nothing could be computed)."""

    value: float
    error: float


def never(slope: Slope) -> bool:
    """Never stops early: computes the most accurate value."""
    return False


def central(
    f: Line,
    scale: float = 1.0,
    digits: float = 1.0,
    enough: Callable[[Slope], bool] = never,
    first: float = FIRST,
    moving: Mask | None = None,
    at: float = 0.0,
    unit: float = 1.0,
) -> Slope:
    """f'(0) from (f(h) − f(−h)) / 2h, whose error is a series in h².

    Args:
        f: the function along a line.
        scale: the length on which the line's variables vary; steps are fractions of it.
        digits: how many times larger than float64's the rounding errors of f are (from `rounding`).
        enough: whether an estimate is good enough to stop.
        first: the first step, in units of scale.
        moving: the terms known to depend on t; terms that change at any step are added.
        at: the size of the variable itself: much smaller steps are lost in it.
        unit: the size of values that may have cancelled to zeros.

    >>> slope = central(lambda t: np.exp([3 * t]))
    >>> abs(slope.value - 3) < 1e-9, slope.error < 1e-9
    (True, True)
    """

    def both_ways(h: float) -> Slope:
        nonlocal moving
        right, left = f(h), f(-h)
        moving = _moving(right, left, moving)
        return quotient(right, left, 2 * h, digits, moving, at, unit)

    return _extrapolated(both_ways, scale * first, RATIO**2, enough, 4 * EPS * at)


def one_sided(f: Line, side: float, scale: float = 1.0, digits: float = 1.0, at: float = 0.0) -> Slope:
    """The derivative of f at 0 from one side (+1 or −1), from (f(±h) − f(0)) / ±h, whose error is a series in h.

    >>> [round(one_sided(lambda t: np.abs([t]), side).value, 6) for side in (-1, 1)]
    [-1.0, 1.0]
    """
    f0, (moving, unit) = f(0.0), _both_ways(f, scale)

    def one_way(h: float) -> Slope:
        return quotient(f(side * h), f0, side * h, digits, moving, at, unit)

    return _extrapolated(one_way, scale * FIRST, RATIO, never, 4 * EPS * at)


def _extrapolated(
    of: Callable[[float], Slope], h: float, factor: float, enough: Callable[[Slope], bool], smallest: float
) -> Slope:
    """The limit of a difference quotient for h → 0; its error is infinite if it does not settle."""
    best, older, growth = Slope(0.0, inf), list[float](), 0
    for _ in range(LEVELS):
        if h < smallest:
            break
        value, noise = of(h)
        h /= RATIO
        if not isfinite(value):  # a step outside the function's domain
            older = []
            continue
        noise += 4 * EPS * abs(value)
        growth = growth + 1 if older and abs(value) > 1.5 * abs(older[0]) else 0
        row, weight, candidate = [value], 1.0, Slope(0.0, inf)
        for before in older[: DEPTH - 1]:
            weight *= factor
            row.append(row[-1] + (row[-1] - before) / (weight - 1))
            error = max(abs(row[-1] - row[-2]), abs(row[-1] - before)) + noise
            if error < candidate.error:
                candidate = Slope(row[-1], error)
        refuted = abs(candidate.value - best.value) > 10 * (noise + best.error)  # it had only seemed to converge
        if candidate.error < best.error or (refuted and isfinite(candidate.error)):
            best = candidate
        older = row
        if 2 * noise >= best.error or enough(best):
            diverges = growth >= GROWTH and best.error > 0.1 * abs(best.value)  # a jump, or a pole
            return best if not diverges else best._replace(error=inf)
    return best._replace(error=inf)


def refuted_down_to(f: Line, claimed: float, slope: Slope, scale: float, digits: float = 1.0, at: float = 0.0) -> float:
    """The smallest step, in units of the scale, that distinguishes the derivative from the claim and whose difference
    quotient is still the derivative; infinite if it is the claim, or neither: there is a kink between the steps.

    >>> refuted_down_to(lambda t: np.exp([t]), 2.0, Slope(1.0, 1e-9), 1.0) < 1e-13
    True
    >>> refuted_down_to(lambda t: np.maximum([1e-7 + t], 0), 0.5, Slope(0.5, 1e-9), 1.0)
    inf
    """
    gap, (moving, unit) = abs(claimed - slope.value), _both_ways(f, scale)
    here = f(0.0)
    step = 16 * quotient(here, here, 1.0, digits, moving, at, unit).error / gap if gap else inf
    if step > scale / 16:
        return inf if step > 64 * scale else 1.0
    coarse, fine = (quotient(f(h), f(-h), 2 * h, digits).value for h in (2 * step, step))
    return step / scale if abs((4 * fine - coarse) / 3 - slope.value) < gap / 2 else inf


class Sides(NamedTuple):
    """The derivatives next to a point."""

    low: float
    high: float
    """The smallest and the largest slope found on either side."""
    kink: bool
    """Whether the limits from both sides differ."""
    middle: Slope
    """Between the two limits: the derivative, if there is no kink."""


def beside(f: Line, scale: float = 1.0, digits: float = 1.0, at: float = 0.0) -> Sides:
    """The derivatives on both sides of 0, at distances δ and δ/4; a difference that persists for δ → 0 is a kink.

    An apparent kink may be a sharp bend, or a kink near the point: so δ shrinks until the difference disappears
    or is lost in rounding.

    >>> kink, bend = beside(lambda t: np.abs([t])), beside(lambda t: np.exp([t]))
    >>> kink.kink, round(kink.low, 6), round(kink.high, 6)
    (True, -1.0, 1.0)
    >>> bend.kink
    False
    """
    moving, unit = _both_ways(f, scale)

    def slope(d: float) -> Slope:
        return central(lambda t: f(d * scale + t), scale, digits, first=abs(d) / 2, moving=moving, at=at, unit=unit)

    found, distance = Sides(0.0, 0.0, False, Slope(0.0, inf)), min(max(BESIDE, 1e6 * digits * EPS), FIRST)
    for _ in range(APPROACHES):
        far, near = ([slope(-d), slope(d)] for d in (distance, distance / 4))
        left, right = (n.value - (f.value - n.value) / 3 for f, n in zip(far, near, strict=True))
        error, slopes = sum(2 * s.error for s in (*far, *near)), [s.value for s in (*far, *near)]
        if found.kink and not error < 0.1 * (found.high - found.low):
            break
        kink = abs(right - left) > error + 1e-7 * max(map(abs, slopes))
        middle = Slope((left + right) / 2, error)
        found = Sides(min(*slopes, left, right) - error, max(*slopes, left, right) + error, kink, middle)
        distance /= 16
        if not kink:
            break
    return found


def _both_ways(f: Line, scale: float) -> tuple[Mask, float]:
    """The terms that depend on t, and their size, from one large step to each side: one side may be all zeros."""
    right, left = f(FIRST * scale), f(-FIRST * scale)
    moving = _moving(right, left, None)
    size = max(float(np.abs(v[moving] if v.shape == moving.shape else v).max(initial=0)) for v in (right, left))
    return moving, size if isfinite(size) and size else 1.0


def _moving(a: Array, b: Array, known: Mask | None) -> Mask:
    """The terms that depend on t. At small steps a change may be lost in the rounding of a large term, but still count
    in the error: so terms that have once changed are kept."""
    moving: Mask = a != b if a.shape == b.shape else np.ones(1, bool)
    return moving | known if known is not None and known.shape == moving.shape else moving


def quotient(
    a: Array, b: Array, h: float, digits: float, moving: Mask | None = None, at: float = 0.0, unit: float = 1.0
) -> Slope:
    """(Σa − Σb) / h with its rounding error: of the terms that change, or of all if unknown.

    If all are zeros, they may be the result of unit − unit.
    """
    value = float((a - b).sum()) / h if a.shape == b.shape else nan
    if moving is not None and moving.any() and a.shape == moving.shape:
        a, b = a[moving], b[moving]
    size = max(float(np.abs(a).max()), float(np.abs(b).max())) or unit
    return Slope(value, EPS * (digits * sqrt(2 * a.size) * size + abs(value) * at) / abs(h))


def coarseness(f: Line, scale: float = 1.0) -> float:
    """The size of the steps in which f changes, relative to float64's; 1 if there are none.

    For a sigmoid near 1, for example, only a few digits of 1 − σ are left, whatever the accuracy elsewhere: its
    values are constant for a while, then jump.

    >>> coarseness(lambda t: np.log([1 - 1 / (1 + np.exp(-30 - t))])) > 1e10, coarseness(lambda t: np.exp([t]))
    (True, 1.0)
    """
    step = 1e-6
    while step < 0.05:
        values = [float(f(scale * step * (1 + i / 4)).sum()) for i in range(9)]
        jumps = [abs(b - a) for a, b in pairwise(values) if b != a]
        plateaus = {a for a, b in pairwise(values) if a == b}
        if len(plateaus) >= 2 and len(set(values)) <= 5 and all(map(isfinite, values)):
            size = float(np.abs(f(0.0)).max(initial=0)) or 1.0
            return max(1.0, min(jumps) / (EPS * size))
        step *= 4
    return 1.0


def rounding(f: Line, scale: float = 1.0) -> float:
    """The rounding errors of f relative to float64's: about 1, but 10⁸ if it computes in float32.

    From the fourth differences of f at closely spaced points (Moré & Wild, Estimating computational noise, SIAM Journal
    on Scientific Computing 2011), on one side of 0 and away from it, as the point itself may be a kink.

    >>> x = np.random.default_rng(0).normal(size=100)
    >>> rounding(lambda t: np.tanh(x * (1 + t))) < 10
    True
    >>> rounding(lambda t: np.tanh(x.astype(np.float32) * np.float32(1 + t)).astype(float)) > 1e6
    True
    """
    step = 1e-6
    values = [f(scale * step * (1 + i / 8)) for i in range(9)]
    while len({float(v.sum()) for v in values}) < 6 and step < 0.02:  # too small a step for so few digits
        step *= 16
        values = [f(scale * step * (1 + i / 8)) for i in range(9)]
    size = float(np.linalg.norm(values[0]))
    fourth = [
        float((values[i] - 4 * values[i + 1] + 6 * values[i + 2] - 4 * values[i + 3] + values[i + 4]).sum())
        for i in range(5)
    ]
    if not size or not all(map(isfinite, fourth)):
        return 1.0 if not size else nan
    noise = sqrt(sum(d * d for d in fourth) / (5 * 70))  # 70: the variance of a fourth difference of unit noise
    return max(1.0, noise / (EPS * size))
