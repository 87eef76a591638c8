"""Comparison of claimed and numerical gradients: element by element where that is cheap, otherwise by random directions
over the whole array and its parts, bisected down to the wrong elements."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnfunc.arrays import Array
from nnfunc.checks.function import Function, Place
from nnfunc.checks.numeric import (
    EPS,
    FIRST,
    Line,
    Mask,
    Slope,
    beside,
    central,
    coarseness,
    one_sided,
    refuted_down_to,
    rounding,
)

if TYPE_CHECKING:  # it costs a tenth of the import of NumPy
    from numpy.random import Generator

Indices: TypeAlias = NDArray[np.intp]

ELEMENTS = 5_000
"""Up to this total number of elements, every element is measured."""
SMALL = 64
"""Arrays of up to this size are always measured in every element."""
WRONG_SLICES = 8
"""With this many wrong parts along an axis, or half as many without a right one, bisection stops: the mistake does not
concern single slices."""
TINY = 1e-300
"""Smaller values have reduced precision and count as 0."""
CONFIRMED = 4
"""This many wrong elements of an array are examined closely, with other steps and on both sides."""
ROUNDING = 1e-12
"""The error that cancellation may leave in a correct gradient, relative to the largest one (in units of the scales)."""
NEAREST = 1e-7
"""Kinks nearer than this, in units of the scale, are not considered."""
SAMPLED = 96
"""The number of elements measured in a larger wrong part,"""
FEW = 16
"""after this many, which suffice for mistakes explained by one factor."""


class Comparison(NamedTuple):
    """One array: the claimed gradient, the measured derivatives, and the verdicts, all with the array's shape.

    `numeric` and `error` are NaN where an element was not measured individually. `wrong`, `decided` and `kinked` (left
    and right derivative differ) refer to measured elements, `suspected` to others in a wrong part.
    """

    name: str
    point: Array
    analytic: Array
    numeric: Array
    error: Array
    wrong: Mask
    suspected: Mask
    decided: Mask
    kinked: Mask
    worst: float
    """The largest error found, relative to the largest element of the array."""
    sure: bool = True
    """Whether an element not at a kink differs so clearly that no kink near the point can be the cause."""

    @property
    def measured(self) -> Mask:
        """The elements whose derivative was measured individually."""
        return np.isfinite(self.numeric)

    @property
    def affected(self) -> Mask:
        """The wrong and suspected elements."""
        return self.wrong | self.suspected if self.wrong.any() else self.wrong

    def allowance(self) -> Array:
        """The accepted difference between claim and numerical value."""
        numeric = np.nan_to_num(self.numeric)
        return _allowance(numeric, np.where(self.measured, self.error, 0), float(np.abs(numeric).max(initial=0)))


def _allowance(numeric: Array, error: Array, peak: float, precision: float = 0.0) -> Array:
    """The difference accepted because of rounding and the error of the numerical derivative.

    Args:
        numeric: the numerical derivatives.
        error: their estimated errors.
        peak: the largest derivative of the array.
        precision: of the function itself beyond float64's, relative.
    """
    result: Array = 4 * error + 1e-9 * np.abs(numeric) + (2e-10 + precision) * peak + TINY
    return result


class Measure:
    """Measures derivatives of a function at one point, and judges the gradient claimed there.

    Args:
        function: the function to check.
        vector: the point.
        gradient: the claimed gradient at the point.
        rng: for random directions.
    """

    def __init__(self, function: Function, vector: Array, gradient: Array, rng: Generator) -> None:
        self.function, self.vector, self.gradient, self.rng = function, vector, gradient, rng
        self.scales = function.scales(vector)
        own = np.where(vector == 0, self.scales, np.abs(vector))
        draws = [rounding(function.along(vector, own * rng.normal(size=vector.size))) for _ in range(5)]
        known = [d for d in draws if isfinite(d)]
        self.digits = float(np.median(known)) if known else 1.0
        self.precision = 100 * EPS * (self.digits if self.digits > 1e3 else 0.0)
        self.typical = {place.name: self._typical(place) if place.size else 0.0 for place in function.places}
        influence = [self.typical[p.name] * float(self.scales[p.slice.start]) for p in function.places if p.size]
        terms = float(np.abs(function.terms(vector)).max(initial=0))
        self.largest = max(influence, default=0.0) / self.scales  # a derivative with as much influence as the largest
        self.floor = ROUNDING * self.largest + (EPS * terms if isfinite(terms) else 0.0) / self.scales

    def compare(self, place: Place, exhaustive: bool) -> Comparison:
        """Compares one array of the function, in every element or by groups."""
        if exhaustive or place.size <= SMALL:
            return self._judged(place, place.indices)
        return self._by_groups(place)

    def more(self, place: Place, c: Comparison) -> Comparison:
        """Measures more elements of an array of which few were measured."""
        suspected = np.ravel(c.suspected, place.order)
        return self._judged(place, self._some(place.indices[suspected], SAMPLED), suspected, c.worst)

    def again(self, place: Place, c: Comparison, most: int) -> Comparison:
        """Measures here the elements that were measured at another point, or at most `most` of them."""
        return self._judged(place, self._some(place.indices[np.ravel(c.measured, place.order)], most), confirm=1)

    def _some(self, indices: Indices, most: int) -> Indices:
        """At most this many of the elements, chosen at random."""
        return indices if len(indices) <= most else np.sort(self.rng.choice(indices, most, replace=False))

    def off(self, indices: Indices, gradient: Array | None = None) -> tuple[bool, float]:
        """Whether the claimed gradient is wrong along a random direction in these elements, and its relative error."""
        gradient = self.gradient if gradient is None else gradient
        direction = np.zeros(self.vector.size)
        direction[indices] = self.scales[indices] * self.rng.normal(size=len(indices))
        claimed, size = float(gradient @ direction), float(np.linalg.norm(gradient[indices] * direction[indices]))

        def enough(s: Slope) -> bool:
            agrees = abs(s.value - claimed) <= 1e-9 * size
            return s.error <= 1e-11 * size or (agrees and s.error <= 1e-7 * size)

        slope = central(self.function.along(self.vector, direction), 1.0, self.digits, enough)
        gap, size = abs(claimed - slope.value), max(size, abs(slope.value))
        rounding = float(np.linalg.norm(self.floor[indices] * direction[indices]))
        allowed = 4 * (slope.error + rounding) + (1.2e-9 + self.precision) * size + TINY
        return gap > allowed, gap / (size or 1.0)

    # -- element by element --------------------------------------------------------------------------------------------

    def _judged(
        self,
        place: Place,
        indices: Indices,
        suspected: Mask | None = None,
        worst: float = 0.0,
        confirm: int = CONFIRMED,
    ) -> Comparison:
        """Measures these elements of an array, and judges them."""
        numeric, error = np.full(place.size, np.nan), np.full(place.size, np.nan)
        wrong, kinked, zero = (np.zeros(place.size, bool) for _ in range(3))
        decided = np.ones(place.size, bool)
        claimed = self.gradient[place.slice]
        typical = self.typical[place.name]
        at = indices - place.slice.start
        for k, i in zip(at, indices, strict=True):
            slope = self._element(int(i), typical)
            slope = slope._replace(error=slope.error + float(self.floor[i]))
            numeric[k], error[k] = slope if isfinite(slope.error) else (np.nan, np.nan)
        peak, confirmed, sure = float(np.abs(numeric[np.isfinite(numeric)]).max(initial=0)), 0, False
        for k, i in zip(at, indices, strict=True):
            if not isfinite(numeric[k]):  # no step stays in the function's domain
                decided[k] = False
                continue
            slope, a = Slope(float(numeric[k]), float(error[k])), float(claimed[k])
            wrong[k] = self._wrong(a, slope, peak)
            if wrong[k] and (confirmed < confirm or kinked.any()):
                slope, digits = self._second_opinion(int(i), slope)
                numeric[k], error[k] = slope if isfinite(slope.error) else (np.nan, np.nan)
                wrong[k] = isfinite(slope.error) and self._wrong(a, slope, peak)
                if wrong[k]:
                    wrong[k], kinked[k] = self._at_kink(int(i), slope, digits, peak)
                if wrong[k] and not kinked[k]:
                    line, scale, _ = self._line(int(i))
                    nearest = refuted_down_to(line, a, slope, scale, digits, abs(float(self.vector[i])))
                    sure, wrong[k] = sure or nearest <= NEAREST, isfinite(nearest)
                    if not wrong[k]:  # the slope is not known accurately enough
                        numeric[k] = error[k] = np.nan
                        decided[k] = False
                        continue
                confirmed += int(wrong[k] and not kinked[k])
            clear = 4 * slope.error <= 0.1 * max(abs(slope.value), abs(a), 1e-3 * peak)
            accurate = slope.error <= 1e-6 * self.largest[i]
            zero[k] = a == 0 or (abs(a) <= ROUNDING * self.largest[i] and accurate)
            zero[k] &= abs(slope.value) <= slope.error
            decided[k] = wrong[k] or kinked[k] or clear or zero[k]
        gaps = np.abs(claimed - numeric)[np.isfinite(numeric) & ~(kinked & ~wrong) & ~zero]
        worst = max(worst, float(gaps.max(initial=0)) / (max(peak, float(np.abs(claimed).max(initial=0))) or 1.0))
        return Comparison(
            place.name,
            place.of(self.vector),
            place.of(self.gradient),
            place.shaped(numeric),
            place.shaped(error),
            wrong=place.shaped(wrong),
            suspected=place.shaped(np.zeros(place.size, bool) if suspected is None else suspected),
            decided=place.shaped(decided),
            kinked=place.shaped(kinked),
            worst=worst,
            sure=sure,
        )

    def _typical(self, place: Place) -> float:
        """The root mean square of the array's derivatives, estimated from one random direction."""
        direction = np.zeros(self.vector.size)
        direction[place.slice] = self.scales[place.slice] * self.rng.normal(size=place.size)
        line = self.function.along(self.vector, direction)
        slope = central(line, 1.0, self.digits, lambda s: s.error < 0.1 * abs(s.value))
        norm = float(np.linalg.norm(direction))
        return abs(slope.value) / norm if norm and isfinite(slope.error) else 0.0

    def _line(self, i: int) -> tuple[Line, float, float]:
        """The line along element i, the scale of its array (or its own, if larger), and its own scale."""
        own, scale = abs(float(self.vector[i])), float(self.scales[i])
        return self.function.along_element(self.vector, i), max(own, scale), max(own or scale, 1e-6 * scale)

    def _element(self, i: int, typical: float) -> Slope:
        """The derivative of element i, accurate enough to decide, or as accurate as possible."""
        claimed, (line, scale, _) = float(self.gradient[i]), self._line(i)
        at = abs(float(self.vector[i]))

        def enough(s: Slope) -> bool:
            gap, size = abs(s.value - claimed), max(abs(s.value), typical)
            agrees = gap <= 1e-9 * abs(s.value) + 2e-10 * typical and s.error <= 1e-6 * size
            differs = gap > 1e3 * s.error and s.error <= 1e-9 * size
            return s.error <= 1e-11 * size or agrees or differs

        slope = central(line, scale, self.digits, enough, at=at)
        if not slope.error <= 1e-3 * max(abs(slope.value), abs(claimed)) and slope.error > 1e-6 * typical:
            wide = central(line, scale, self.digits, enough, first=2.0, at=at)  # a flat function needs large steps
            if wide.error < slope.error and abs(wide.value - slope.value) <= 4 * slope.error:
                slope = wide
        return slope

    def _wrong(self, claimed: float, slope: Slope, peak: float) -> bool:
        allowed = _allowance(np.asarray(slope.value), np.asarray(slope.error), peak, self.precision)
        return bool(abs(claimed - slope.value) > allowed)

    def _second_opinion(self, i: int, slope: Slope) -> tuple[Slope, float]:
        """The derivative with steps of the element's own size, which count if the two estimates disagree.

        Also returns the accuracy of the function along this line, if it is lower than elsewhere.
        """
        line, scale, own = self._line(i)
        at, digits = abs(float(self.vector[i])), self.digits
        if abs(slope.value) < 1e-3 * abs(self.gradient[i]) and digits < 1e3:  # flat, or too coarse to show its slope
            digits = max(digits, coarseness(line, own))
        if digits > self.digits:
            slope = central(line, scale, digits, at=at)
        other = central(line, own, digits, first=0.61 * FIRST, at=at)
        gap = abs(slope.value - other.value)
        if gap > 4 * (slope.error + other.error) or not isfinite(gap + other.error):
            return other, digits
        best = min(slope, other, key=lambda s: s.error)
        return best._replace(error=max(min(slope.error, other.error), gap)), digits

    def _at_kink(self, i: int, slope: Slope, digits: float, peak: float) -> tuple[bool, bool]:
        """(wrong, kinked) for an element whose claim is not the central derivative; right if between the slopes."""
        claimed, (line, scale, own) = float(self.gradient[i]), self._line(i)
        at = abs(float(self.vector[i]))
        for size in dict.fromkeys((own, scale)):  # near a tiny value steps of its own size may be too inaccurate
            left, right = (one_sided(line, side, size, digits, at) for side in (-1.0, 1.0))
            low, high = sorted((left.value, right.value))
            doubt = 4 * (left.error + right.error)
            slack = doubt + 1e-7 * max(abs(low), abs(high), 1e-3 * peak)
            kinked = high - low > slack
            if kinked and low - slack <= claimed <= high + slack:
                return False, True
            if not low - doubt <= claimed <= high + doubt:
                break
        sides = beside(line, size, digits, at)
        if not sides.kink:
            nearer = abs(sides.middle.value - slope.value) > 4 * (sides.middle.error + slope.error)
            return (self._wrong(claimed, sides.middle, peak) if nearer else True), kinked
        slack = 1e-7 * max(abs(sides.low), abs(sides.high), 1e-3 * peak)
        return not sides.low - slack <= claimed <= sides.high + slack, True

    # -- by groups -----------------------------------------------------------------------------------------------------

    def _by_groups(self, place: Place) -> Comparison:
        """Tests random directions in groups of elements, and bisects the wrong groups along each axis."""
        worst, suspected = 0.0, np.zeros(place.size, bool)
        for group in self._by_size(place):
            tests = [self.off(group) for _ in range(2)]
            worst = max(worst, *(relative for _, relative in tests))
            if any(bad for bad, _ in tests) and not suspected.all():
                if not suspected.any():
                    sample = self._judged(place, self._some(place.indices, FEW), np.ones(place.size, bool), worst)
                    if sample.wrong.sum() == FEW:  # it is everywhere
                        return sample
                part = self._located(place, group)
                suspected[part - place.slice.start] = True
                if suspected.sum() > place.size / 2:  # everywhere: no need to look at the others as closely
                    suspected[:] = True
        indices = np.flatnonzero(suspected) + place.slice.start
        if len(indices) <= SAMPLED:
            return self._judged(place, indices, np.zeros(place.size, bool), worst)
        for count in (FEW, SAMPLED):
            sample = self._judged(place, self._some(indices, count), suspected, worst)
            if sample.wrong.any():
                return sample
        return self._judged(place, self._narrowed(indices), np.zeros(place.size, bool), worst)

    def _narrowed(self, indices: Indices) -> Indices:
        """A few elements of a wrong part, including wrong ones: always keeps a wrong half of a random split."""
        while len(indices) > SAMPLED // 2:
            halves = np.array_split(self.rng.permutation(indices), 2)
            indices = next((half for half in halves if self.off(half)[0]), halves[0])
        return np.sort(indices)

    def _by_size(self, place: Place) -> list[Indices]:
        """The elements in groups of similar claims, so that mistakes in small ones are not masked by large ones."""
        size = np.abs(self.gradient[place.slice])
        with np.errstate(divide="ignore"):
            decade = np.clip(np.floor(np.log10(size / (size.max() or 1.0))), -6, -1)
        decade[size == 0] = -7
        return [np.flatnonzero(decade == d) + place.slice.start for d in np.unique(decade)[::-1]]

    def _located(self, place: Place, group: Indices) -> Indices:
        """The wrong part of a wrong group: the intersection of the wrong slices along all axes."""
        position = np.unravel_index(group - place.slice.start, place.shape, order=place.order)
        inside = np.ones(len(group), bool)
        for axis, length in enumerate(place.shape):
            parts = [np.arange(length)]
            everywhere = False
            while not everywhere and any(len(part) > 1 for part in parts):
                halves = [half for part in parts for half in np.array_split(part, 2) if len(half)]
                chosen = [(half, group[np.isin(position[axis], half)]) for half in halves]
                wrong = [half for half, members in chosen if len(members) and self.off(members)[0]]
                if not wrong:  # too small in each half to be detected
                    break
                parts = wrong
                everywhere = len(wrong) >= (WRONG_SLICES if len(wrong) < len(halves) else WRONG_SLICES // 2)
            inside &= np.isin(position[axis], np.concatenate(parts))
        return group[inside] if inside.any() else group


def is_right(measure: Measure, place: Place, corrected: Array) -> bool:
    """Whether a corrected gradient of one array is right along random directions."""
    gradient = measure.gradient.copy()
    place.of(gradient)[...] = corrected
    return not any(measure.off(place.indices, gradient)[0] for _ in range(3))
