"""Correct gradients that look wrong: kinks and ties at or near the point. Other points decide in case of doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnfunc.arrays import Array
from nnfunc.checks.compare import ELEMENTS, Comparison, Measure
from nnfunc.checks.function import Function, Place
from nnfunc.checks.numeric import EPS, Mask, beside, central

if TYPE_CHECKING:  # it costs a tenth of the import of NumPy
    from numpy.random import Generator

SHOWN = 12
"""The number of wrong elements that are examined as representative of the others."""


def moved(function: Function, rng: Generator, distance: float, only: str = "", zeros: bool = True) -> Array | None:
    """Returns another point at this distance in units of the variables, or nearer if the function has no value there.

    Values between −1 and 1 stay in this range: probabilities, correlations. With `only`, just this array is moved;
    without `zeros`, single zeros in an array are kept.
    """
    own = np.abs(function.start)
    size = np.where(own == 0, 0.1 * function.scales(function.start), own)
    size = np.where(own < 1, np.minimum(size, (1 - own) / (2 * distance)), size)
    for place in function.places:
        if only:
            size[place.slice] *= place.name == only
        if not zeros and own[place.slice].any():
            size[place.slice] *= own[place.slice] > 0
    for attempt in range(8):
        point = function.start + distance * 0.3**attempt * size * rng.uniform(-1, 1, size=size.size)
        if np.isfinite(function.terms(point)).all():
            return point
    return None


def allow_at_kinks(measure: Measure, comparisons: dict[str, Comparison], any_value: bool) -> dict[str, Comparison]:
    """Accepts, at a kink of several variables at once, any value that the gradients around the point allow.

    For a ReLU at 0 for many examples, the left and the right derivative each drop some of them. Dropping all is
    correct, and is the gradient nearby if the bias decreases. Without a bias it occurs nowhere, but it is still the
    result of backpropagation (the chain rule holds for smooth functions only), so exactly 0 is accepted unless the
    gradient is 0 everywhere nearby. With `any_value`, the parts of the function are known to be correct, and all
    values at kinks are accepted.
    """
    function, rng = measure.function, measure.rng
    single = comparisons
    comparisons = comparisons if any_value else {**comparisons, **_ties(measure, comparisons)}
    if not any((c.kinked & c.wrong).any() for c in comparisons.values()):
        return comparisons if any_value else _together(measure, comparisons, single)
    if any_value:
        return {name: c._replace(wrong=c.wrong & ~c.kinked) for name, c in comparisons.items()}
    step, size = 1e-6 * measure.scales, function.start.size
    chosen = np.arange(size) if size <= 500 else rng.choice(size, 500, replace=False)
    directions = [side * step * (np.arange(size) == i) for i in chosen for side in (-1, 1)]
    directions += [side * step * _inside(size, place) for place in function.places for side in (-1, 1)]
    directions += [0 * step] * 32
    jitter = 1e-2 * step  # so that no variable stays at the kink
    around = [function.gradient(measure.vector + d + jitter * rng.normal(size=size)) for d in directions]
    around += _nearest(measure)
    for side in (
        -1e-40,
        1e-40,
    ):  # all zeros moved to one side: a row whose units are all off is at a kink of many layers
        zeros = np.where(measure.vector == 0, side, 0.0)
        around += [function.gradient(measure.vector + zeros * rng.uniform(0.5, 1, size=size)) for _ in range(2)]
    low, high = np.nanmin(around, axis=0), np.nanmax(around, axis=0)
    judged = {}
    for place in function.places:
        c, (least, most) = comparisons[place.name], (place.of(low), place.of(high))
        slack = 1e-4 * max(float(np.abs(v).max(initial=0)) for v in (least, most))
        allowed = (c.analytic >= least - slack) & (c.analytic <= most + slack)
        allowed |= (c.analytic == 0) & (most > least)
        judged[place.name] = c._replace(wrong=c.wrong & ~(c.kinked & allowed))
    return _together(measure, judged, single)


def _nearest(measure: Measure, draws: int = 8) -> list[Array]:
    """The claims so close to the point that no other kink lies in between; the closest ones last."""
    vector, rng = measure.vector, measure.rng
    steps = [np.where(vector == 0, least, 8 * EPS * vector) for least in (1e-15, 1e-25, 1e-40)]
    return [measure.function.gradient(vector + s * rng.normal(size=vector.size)) for s in steps for _ in range(draws)]


def _jumps(claims: Array, around: list[Array], place: Place, share: float = 0.0) -> Mask:
    """The elements whose claim jumps between the point and more than this share of those around."""
    jump = np.array([np.abs(place.of(other) - place.of(claims)) for other in around])
    return np.asarray((jump > 1e-3 * np.abs(place.of(claims)).max(initial=0)).mean(axis=0) > share)


def _exactly_at(measure: Measure, place: Place, nearest: list[Array]) -> Mask:
    """The elements exactly at a kink, not near one: the claim jumps at any step."""
    return _jumps(measure.gradient, nearest, place, 0.2)


def _ties(measure: Measure, comparisons: dict[str, Comparison]) -> dict[str, Comparison]:
    """Wrong elements at a kink that no single element shows: the median of equal values changes with none of them.

    It is such a kink if the claims next to the point are right, but far from the derivatives at the point.
    """
    function, rng = measure.function, measure.rng
    point = measure.vector + 1e-6 * measure.scales * rng.normal(size=measure.vector.size)
    gradient, found = None, {}
    for place in function.places:
        c = comparisons[place.name]
        accused = np.flatnonzero(np.ravel(c.wrong & ~c.kinked, place.order))[:SHOWN]
        if not accused.size:
            continue
        gradient = function.gradient(point) if gradient is None else gradient
        peak, jumps = float(np.nanmax(np.abs([c.numeric, c.analytic]))), False
        if not (np.abs(c.analytic - c.numeric)[c.wrong] > 1e-2 * peak).any():  # a jump is a large difference
            continue
        largest = np.argsort(-np.abs(gradient[place.slice]))[:SHOWN]  # another element may have become the selected one
        for i in np.union1d(accused, largest) + place.slice.start:
            slope = central(function.along_element(point, int(i)), float(measure.scales[i]), measure.digits, first=1e-7)
            if not abs(gradient[i] - slope.value) + slope.error <= 1e-4 * peak:
                break
            at = float(np.ravel(c.numeric, place.order)[i - place.slice.start])
            jumps |= abs(at - slope.value) > 1e-2 * max(peak, abs(slope.value))
        else:
            if jumps:
                found[place.name] = c._replace(kinked=c.kinked | c.wrong)
    return found


def _together(
    measure: Measure, comparisons: dict[str, Comparison], single: dict[str, Comparison]
) -> dict[str, Comparison]:
    """Elements at a kink may each be right and together wrong: of several equal maxima only one counts.

    If the function is smooth when they move together, the claim along this direction must be right.
    """
    function, found, near = measure.function, dict(comparisons), None
    for place in function.places:
        c = comparisons[place.name]
        tied = np.ravel(single[place.name].kinked & ~c.wrong, place.order)
        if tied.sum() < 2:
            continue
        near = _nearest(measure, 16)[-16:] if near is None else near
        tied &= np.ravel(_exactly_at(measure, place, near), place.order)
        for step in (np.ones(place.size), np.sign(measure.vector[place.slice])):
            direction = np.zeros(measure.vector.size)
            direction[place.slice] = np.where(tied, step, 0) * measure.scales[place.slice]
            sides = beside(function.along(measure.vector, direction), 1.0, measure.digits)
            size = float(np.abs(measure.gradient * direction).sum())
            moved_too = (function.gradient(measure.vector + t * direction) for t in (-1e-6, 1e-6))  # the ties stay
            gap = min(abs(float(g @ direction) - sides.middle.value) for g in (measure.gradient, *moved_too))
            if not sides.kink and direction.any() and gap > 4 * sides.middle.error + 1e-6 * size:
                wrong = c.wrong | (c.kinked & (c.analytic != 0))
                low, high = float(np.nanmin(c.numeric)), float(np.nanmax(c.numeric))
                found[place.name] = c._replace(wrong=wrong, worst=max(c.worst, gap / max(size, abs(low), abs(high))))
    return found


def confirmed(measure: Measure, comparisons: dict[str, Comparison], any_kink: bool) -> dict[str, Comparison]:
    """Requires small differences, which a kink near the point may cause, to be wrong at other points too.

    With `any_kink`, this applies to all differences of a function with correct parts: two kinks in a row may cancel,
    and the chain rule does not give the derivative there.
    """
    function, judged = measure.function, _without_zeros(measure, comparisons, any_kink)
    beside = measure.vector + 1e-9 * measure.scales * measure.rng.normal(size=measure.vector.size)
    accused = [p for p in function.places if _smooth(judged[p.name]).any()]
    near = [function.gradient(beside)] if accused else []
    doubtful = [p for p in accused if any_kink or not judged[p.name].sure or _jumps(measure.gradient, near, p).any()]
    if not doubtful:
        return judged
    times = dict.fromkeys([p.name for p in doubtful], 0)
    for distance in (0.3, 0.3, 0.1):
        vector = moved(function, measure.rng, distance, zeros=any_kink)
        gradient = None if vector is None else function.gradient(vector)
        if vector is None or gradient is None or not np.isfinite(gradient).all():
            continue
        other = Measure(function, vector, gradient, measure.rng)
        for place in doubtful:
            c = other.compare(place, exhaustive=place.size <= ELEMENTS) if other.off(place.indices)[0] else None
            times[place.name] += c is not None and bool(_smooth(c).any())
    for place in doubtful:
        c = judged[place.name]
        if times[place.name] < 2:
            judged[place.name] = c._replace(wrong=c.wrong & c.kinked, decided=c.decided & ~_smooth(c))
    return judged


def _without_zeros(measure: Measure, comparisons: dict[str, Comparison], any_kink: bool) -> dict[str, Comparison]:
    """Requires elements wrong at a kink to be wrong too when other all-zero arrays get nonzero values.

    With zero biases, an example that no unit passes on is at the kinks of all units in the layers above at once.
    """
    function, found = measure.function, dict(comparisons)
    accused = [p for p in function.places if (found[p.name].wrong & found[p.name].kinked).any()]
    zeros = [p for p in function.places if p not in accused and not measure.vector[p.slice].any()]
    if not accused or not zeros:
        return found
    vector = measure.vector.copy()
    for place in zeros:
        vector[place.slice] = 0.03 * measure.rng.normal(size=place.size)
    gradient = function.gradient(vector)
    if not np.isfinite(gradient).all():
        return found
    other = Measure(function, vector, gradient, measure.rng)
    there = {place.name: other.compare(place, place.size <= ELEMENTS) for place in accused}
    there = allow_at_kinks(other, {**comparisons, **there}, any_kink)
    for place in accused:
        if not there[place.name].wrong.any():
            found[place.name] = found[place.name]._replace(wrong=_smooth(found[place.name]))
    return found


def _smooth(c: Comparison) -> Mask:
    """The wrong elements that are not at a kink."""
    return c.wrong & ~c.kinked


def _repeated(measure: Measure, place: Place, distance: float) -> bool:
    """Whether an array is also wrong at another point."""
    vector = moved(measure.function, measure.rng, distance)
    gradient = np.full(1, np.nan) if vector is None else measure.function.gradient(vector)
    if vector is None or not np.isfinite(gradient).all():
        return False
    other = Measure(measure.function, vector, gradient, measure.rng)
    return other.off(place.indices)[0] and bool(other.compare(place, place.size <= ELEMENTS).wrong.any())


def _inside(size: int, place: Place) -> Array:
    inside = np.zeros(size)
    inside[place.slice] = 1.0
    return inside


def at_another_point(
    function: Function,
    measure: Measure,
    comparisons: dict[str, Comparison],
    vector: Array | None,
    rng: Generator,
    any_kink: bool,
) -> tuple[dict[str, Comparison], str]:
    """Looks for mistakes that do not show at the point: a stale value, or a mistake hidden by zeros."""
    if vector is None:
        return comparisons, ""
    gradient = function.gradient(vector)
    if not np.isfinite(gradient).all():
        return comparisons, ""
    other = Measure(function, vector, gradient, rng)
    suspects = [place for place in function.places if place.size and any(other.off(place.indices)[0] for _ in range(2))]
    exhaustive = function.start.size <= ELEMENTS
    there = {place.name: other.compare(place, exhaustive) for place in suspects}
    there = allow_at_kinks(other, {**comparisons, **there}, any_kink) if there else {}
    wrong = {place.name: there[place.name] for place in suspects if there[place.name].wrong.any()}
    flat = any((c.numeric[c.wrong & c.measured] == 0).all() for c in wrong.values())  # beyond the end of a clip
    distances = (0.03,) if flat else (0.3, 0.05)
    if not any(all(_repeated(measure, p, d) for d in distances) for p in suspects if p.name in wrong):
        return comparisons, ""
    kept = all(np.array_equal(gradient[p.slice], measure.gradient[p.slice]) for p in suspects)
    return {**comparisons, **wrong}, "stale" if kept else "hidden"
