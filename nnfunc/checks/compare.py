"""Claimed gradients against numeric ones: element by element where that is cheap, else by random directions over the
whole array and its parts, halved down to the wrong elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from nnfunc.arrays import Array
from nnfunc.checks.function import Function, Place
from nnfunc.checks.numeric import EPS, FIRST, Slope, central, one_sided, rounding

Mask = NDArray[np.bool_]

ELEMENTS = 5_000
"""Up to so many elements in all, every one is measured."""
SMALL = 64
"""Arrays of up to so many elements are always measured in every element."""
WRONG_GROUPS = 16
"""More wrong groups than this are not halved further: the mistake is not one of single elements."""
SAMPLED = 96


class Comparison(NamedTuple):
    """One array: the claimed gradient, what was measured of the true one, and the verdicts. All of the array's shape.

    `numeric` and `error` are NaN where an element was not measured by itself. `wrong` and `decided` hold for the
    measured elements, and for the others by the directions through them. `kinked` elements have different derivatives
    from left and right, and a claimed value that is allowed there or, if wrong too, is not.
    """

    name: str
    point: Array
    analytic: Array
    numeric: Array
    error: Array
    wrong: Mask
    decided: Mask
    kinked: Mask
    worst: float
    """The largest error found, relative to the largest element of the array."""

    @property
    def measured(self) -> Mask:
        """The elements whose numeric derivative is known by itself."""
        return np.isfinite(self.numeric)

    def allowance(self) -> Array:
        """How far the claim may be from the numeric value."""
        numeric = np.nan_to_num(self.numeric)
        peak = float(np.abs(numeric).max(initial=0))
        return allowance(numeric, np.where(self.measured, self.error, 0), peak, 0.0)


def allowance(numeric: Array, error: Array, peak: float, precision: float) -> Array:
    """What rounding in a right gradient, and the error of the numeric one, may make of a difference.

    Args:
        numeric: the numeric derivatives.
        error: their estimated errors.
        peak: the largest derivative of the array.
        precision: of the function itself beyond float64's, relative.
    """
    result: Array = 4 * error + 1e-9 * np.abs(numeric) + (2e-10 + precision) * peak
    return result


class Measure:
    """Measures derivatives of a function at one point, and judges the gradient claimed there.

    Args:
        function: what is checked.
        vector: the point.
        gradient: the claimed gradient at the point.
        rng: for directions.
    """

    def __init__(self, function: Function, vector: Array, gradient: Array, rng: Generator) -> None:
        self.function, self.vector, self.gradient, self.rng = function, vector, gradient, rng
        self.scales = np.ones(vector.size)
        for place in function.places:
            part = vector[place.slice]
            rms = float(np.sqrt(np.mean(part * part))) if part.size else 0.0
            self.scales[place.slice] = rms or 1.0
        own = np.where(vector == 0, self.scales, np.abs(vector))
        draws = [rounding(function.along(vector, own * rng.normal(size=vector.size))) for _ in range(5)]
        known = [d for d in draws if np.isfinite(d)]
        self.digits = float(np.median(known)) if known else 1.0
        self.precision = 100 * EPS * (self.digits if self.digits > 1e3 else 0.0)

    def compare(self, place: Place, exhaustive: bool) -> Comparison:
        """One array of the function."""
        if exhaustive or vector_size(place) <= SMALL:
            return self._by_element(place)
        return self._by_groups(place)

    # -- element by element --------------------------------------------------------------------------------------------

    def _by_element(self, place: Place) -> Comparison:
        indices = range(place.slice.start, place.slice.stop)
        typical = self._typical(place)
        slopes = [self._element(i, typical) for i in indices]
        return self._judged(place, {i: s for i, s in zip(indices, slopes, strict=True)})

    def _typical(self, place: Place) -> float:
        """The root mean square of the array's derivatives, from one direction through all of it."""
        direction = self._direction(np.arange(place.slice.start, place.slice.stop))
        slope = central(
            self.function.along(self.vector, direction), 1.0, self.digits, lambda s: s.error < 0.1 * abs(s.value)
        )
        norm = float(np.linalg.norm(direction))
        return abs(slope.value) / norm if norm and np.isfinite(slope.error) else 0.0

    def _element(self, i: int, typical: float, claimed: float | None = None) -> Slope:
        claimed = float(self.gradient[i]) if claimed is None else claimed

        def enough(s: Slope) -> bool:
            size = max(abs(s.value), typical)
            agrees = abs(s.value - claimed) <= 1e-9 * abs(s.value) + 2e-10 * typical
            return s.error <= 1e-11 * size or (agrees and s.error <= 1e-6 * size)

        line = self.function.along_element(self.vector, i)
        scale = max(abs(float(self.vector[i])), float(self.scales[i]))
        slope = central(line, scale, self.digits, enough)
        if not slope.error <= 1e-3 * max(abs(slope.value), abs(claimed)) and slope.error > 1e-6 * typical:
            slope = min(slope, central(line, scale, self.digits, enough, first=2.0), key=lambda s: s.error)
        return slope

    def _again(self, i: int, slope: Slope) -> Slope:
        """A second opinion with other steps; if the two differ by more than their errors, that is the error."""
        scale = max(abs(float(self.vector[i])), float(self.scales[i]))
        other = central(self.function.along_element(self.vector, i), scale, self.digits, first=0.61 * FIRST)
        best = min(slope, other, key=lambda s: s.error)
        return Slope(best.value, max(best.error, min(abs(slope.value - other.value), slope.error + other.error)))

    def _judged(
        self, place: Place, slopes: dict[int, Slope], region: Mask | None = None, worst: float = 0.0
    ) -> Comparison:
        size, start = vector_size(place), place.slice.start
        numeric, error = np.full(size, np.nan), np.full(size, np.nan)
        wrong, kinked = np.zeros(size, bool) if region is None else region.copy(), np.zeros(size, bool)
        decided = np.ones(size, bool)
        claimed = self.gradient[place.slice]
        for i, slope in slopes.items():
            numeric[i - start], error[i - start] = slope
        known = np.isfinite(numeric) & np.isfinite(error)
        peak = float(np.abs(numeric[known]).max(initial=0))

        def off(k: int) -> bool:
            allowed = allowance(numeric[k], error[k], peak, self.precision)
            return bool(abs(claimed[k] - numeric[k]) > allowed)

        for k in (i - start for i in slopes):
            if not known[k]:
                decided[k], wrong[k] = False, False
                numeric[k] = np.nan
                continue
            wrong[k] = off(k)
            if wrong[k]:
                numeric[k], error[k] = self._again(k + start, Slope(numeric[k], error[k]))
                wrong[k] = off(k)
            if wrong[k]:
                wrong[k], kinked[k] = self._at_kink(k + start, peak)
            decided[k] = (
                wrong[k] or kinked[k] or 4 * error[k] <= 0.1 * max(abs(numeric[k]), abs(claimed[k]), 1e-3 * peak)
            )
            decided[k] |= bool(claimed[k] == 0 and abs(numeric[k]) <= error[k])
        gaps = np.abs(claimed - numeric)[known & ~(kinked & ~wrong)]
        worst = max(worst, float(gaps.max(initial=0)) / (max(peak, float(np.abs(claimed).max(initial=0))) or 1.0))
        shaped = [a.reshape(place.shape, order=place.order) for a in (numeric, error, wrong, decided, kinked)]
        return Comparison(
            place.name, place.of(self.vector), place.of(self.gradient), shaped[0], shaped[1], shaped[2], shaped[3],
            shaped[4], worst,
        )  # fmt: skip

    def _at_kink(self, i: int, peak: float) -> tuple[bool, bool]:
        """(wrong, kinked) of an element whose claim is not the central derivative: any value between the slopes is right."""
        scale = max(abs(float(self.vector[i])), float(self.scales[i]))
        line, claimed = self.function.along_element(self.vector, i), float(self.gradient[i])
        left, right = (one_sided(line, side, scale, self.digits) for side in (-1.0, 1.0))
        slack = 4 * (left.error + right.error) + 1e-7 * max(abs(left.value), abs(right.value), 1e-3 * peak)
        if not abs(left.value - right.value) > slack:
            return True, False
        between = min(left.value, right.value) - slack <= claimed <= max(left.value, right.value) + slack
        return not between, True

    # -- by groups -----------------------------------------------------------------------------------------------------

    def _direction(self, indices: NDArray[np.intp]) -> Array:
        direction = np.zeros(self.vector.size)
        direction[indices] = self.scales[indices] * self.rng.normal(size=len(indices)) / np.sqrt(max(len(indices), 1))
        return direction

    def off(self, indices: NDArray[np.intp], gradient: Array | None = None) -> tuple[bool, float]:
        """Whether the claimed gradient is wrong along a random direction through these elements, and how far it is."""
        gradient = self.gradient if gradient is None else gradient
        if len(indices) == 1:
            slope = self._element(int(indices[0]), 0.0)
            claimed = size = float(gradient[indices[0]])
        else:
            direction = self._direction(indices)
            claimed, size = float(gradient @ direction), float(np.linalg.norm(gradient[indices] * direction[indices]))

            def enough(s: Slope) -> bool:
                agrees = abs(s.value - claimed) <= 1e-9 * size
                return s.error <= 1e-11 * size or (agrees and s.error <= 1e-7 * size)

            slope = central(self.function.along(self.vector, direction), 1.0, self.digits, enough)
        gap = abs(claimed - slope.value)
        size = max(abs(size), abs(slope.value))
        return gap > allowance(slope.value, slope.error, size, self.precision), gap / (size or 1.0)

    def _by_groups(self, place: Place) -> Comparison:
        worst, wrong = 0.0, []
        for group in self._classes(place):
            for _ in range(2):
                bad, relative = self.off(group)
                if bad:
                    wrong.append(group)
                    worst = max(worst, relative)
                    break
        region = np.zeros(vector_size(place), bool)
        if not wrong:
            return self._judged(place, {}, region, worst)
        while len(wrong) <= WRONG_GROUPS and any(len(g) > 1 for g in wrong):
            halves = [half for g in wrong for half in np.array_split(g, 2) if len(half)]
            narrower = [g for g in halves if self.off(g)[0]]
            if not narrower:  # the halves hide it: measure what is there
                break
            wrong = narrower
        for g in wrong:
            region[g - place.slice.start] = True
        suspects = np.flatnonzero(region) + place.slice.start
        if len(suspects) > SAMPLED:
            suspects = self._sample(place, suspects)
        typical = self._typical(place)
        slopes = {int(i): self._element(int(i), typical) for i in suspects}
        if region.sum() <= SAMPLED:
            region[:] = False
        return self._judged(place, slopes, region, worst)

    def _classes(self, place: Place) -> list[NDArray[np.intp]]:
        """The elements in groups of similar size: a mistake in small ones would drown among large ones."""
        size = np.abs(self.gradient[place.slice])
        peak = float(size.max(initial=0))
        with np.errstate(divide="ignore"):
            decade = np.where(size > 0, np.clip(np.floor(np.log10(size / (peak or 1.0))), -6, -1), -7)
        return [np.flatnonzero(decade == d) + place.slice.start for d in np.unique(decade)]

    def _sample(self, place: Place, suspects: NDArray[np.intp]) -> NDArray[np.intp]:
        """Some of the suspects, with large and small derivatives, and some whole rows."""
        return np.sort(self.rng.choice(suspects, SAMPLED, replace=False))


def vector_size(place: Place) -> int:
    """The number of elements of the array."""
    return int(place.slice.stop - place.slice.start)


def confirmed(measure: Measure, place: Place, corrected: Array, check: Callable[[], bool] | None = None) -> bool:
    """Whether a corrected gradient of one array is right along random directions through all of it."""
    gradient = measure.gradient.copy()
    place.of(gradient)[...] = corrected
    indices = np.arange(place.slice.start, place.slice.stop)
    return not any(measure.off(indices, gradient)[0] for _ in range(3))
