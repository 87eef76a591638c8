"""check_gradients: any NumPy code over a dict of arrays."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfunc._internal.validate import positive_int
from nnfunc.arrays import Array, ArrayDict
from nnfunc.checks.compare import ELEMENTS, Comparison, Measure, is_right
from nnfunc.checks.diagnosis import Diagnosis, Hints, diagnose, plural
from nnfunc.checks.function import Arrays, Claims, Function, Place, named_arrays
from nnfunc.checks.held import held, named_numbers
from nnfunc.checks.meant import Meant
from nnfunc.checks.numeric import beside, central
from nnfunc.checks.preflight import form, preflight
from nnfunc.checks.report import Finding, Report, Row, label
from nnfunc.checks.sums import blind_spot
from nnfunc.keys import Key, generator
from nnfunc.keys import key as new_key

if TYPE_CHECKING:  # it costs a tenth of the import of NumPy
    from numpy.random import Generator


def check_gradients(
    loss_fn: Callable[[Any], ArrayLike],
    grads_fn: Callable[[Any], Claims] | Claims,
    params: Mapping[str, ArrayLike],
    *,
    batch_size: int | None = None,
    tolerance: float = 0.0,
    expected: Mapping[str, str] | None = None,
    key: Key | None = None,
) -> Report:
    """Holds hand-written gradients against numeric ones, and says what is wrong with those that are.

    Works on any NumPy code over a dict of arrays.

    Args:
        loss_fn: params -> a number (float or 0-d array).
        grads_fn: params -> dict of gradients, one for each array of params, of its shape; or such a dict itself, in
            which case less can be said about it (nothing can be asked at a second point).
        params: the point, a dict of arrays of floats of any shape, also 0-d and empty ones. It should be a general one:
            zeros hide mistakes.
        batch_size: the number of examples, if you like to have it recognised in factors.
        tolerance: relative to the largest derivative of an array: smaller differences are meant.
        expected: of gradients that are meant to differ, by name, the reason: {"W": "clipped"}.
        key: of the random directions and moves; nn.key(0) if not given.
    Returns:
        a Report: print it, look at its `findings`, or `assert_ok()` in a test.
    Raises:
        TypeError, ValueError: params are no floats or not finite; loss_fn gives no single number.

    Both functions get copies in float64, whatever the dtype of params. First they are called several times, to see
    whether they are functions at all; then each derivative is computed with an error estimate, and the claimed value
    is wrong if it differs by more. Where left and right derivative differ (a kink), any value between them is right,
    and so is what the gradients around the point allow.

    >>> x, t = np.arange(6.0).reshape(3, 2), np.array([1.0, 0.0, 2.0])
    >>> def loss_fn(p):
    ...     return np.mean((x @ p["w"] - t) ** 2)
    >>> def grads_fn(p):
    ...     return {"w": 2 * x.T @ (x @ p["w"] - t)}  # the 1/m of the mean is missing
    >>> report = nn.check_gradients(loss_fn, grads_fn, {"w": np.array([0.5, -1.0])}, batch_size=3)
    >>> print(report.findings[0])
    w: the gradient is 3 times too large in every element, and 3 is the batch size: the mean over the \
batch (1/m) is missing.
    """
    began = time.perf_counter()
    if not callable(grads_fn) and not isinstance(grads_fn, Mapping):
        raise TypeError(f"grads_fn is {type(grads_fn).__name__}, expected a function params -> dict, or a dict")
    if not callable(loss_fn):
        raise TypeError(f"loss_fn is {type(loss_fn).__name__}, expected a function params -> number")
    if batch_size is not None:
        positive_int(batch_size, "batch_size")
    arrays = named_arrays(params)
    meant = Meant(tolerance, expected or {}, arrays)
    immutable = isinstance(params, ArrayDict)

    def terms(point: Arrays) -> Array:
        value = _number(loss_fn(ArrayDict(point) if immutable else point))
        return value.astype(np.float64).reshape(1)

    fixed = not callable(grads_fn)

    def claims(point: Arrays) -> Claims:
        return grads_fn(ArrayDict(point) if immutable else point) if callable(grads_fn) else grads_fn

    sources = [f for f in (loss_fn, grads_fn) if callable(f)]
    numbers = named_numbers(held(sources))
    numbers += [(f"the length of {k}'s axis {i}", float(n)) for k, v in arrays.items() for i, n in enumerate(v.shape)]
    function = Function(terms, claims, arrays)
    rng = generator(new_key(0) if key is None else key)
    rows, findings = examine(function, sources, rng, Hints(numbers, batch_size), fixed=fixed)
    notes = [note for note in [blind_spot(loss_fn)] if note]
    report = Report(tuple(findings), tuple(rows), function.evaluations, time.perf_counter() - began, tuple(notes))
    return meant.settled(report)


def _number(value: object) -> NDArray[Any]:
    """What loss_fn returned, as an array of one number."""
    if isinstance(value, (tuple, list)):
        raise TypeError(f"loss_fn returned a {type(value).__name__}, expected one number: return the loss alone")
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"loss_fn returned {value!r} of type {type(value).__name__}, expected one real number")
    if array.size != 1:
        raise TypeError(
            f"loss_fn returned an array of shape {array.shape}, expected one real number: sum or average it"
        )
    return array


SHOWN = 12
"""So many wrong elements tell what the others are."""

Explain = Callable[[Comparison, Diagnosis], Diagnosis | None]
"""What is known beside the array itself, a layer's linear map, and says more than the numbers do."""


@np.errstate(all="ignore")
def examine(
    function: Function,
    sources: Sequence[Callable[..., Any]],
    rng: Generator,
    hints: Hints,
    *,
    where: str = "",
    fixed: bool = False,
    names: tuple[str, str] = ("loss_fn", "grads_fn"),
    explain: Explain | None = None,
    exhaustive: bool = True,
    any_kink: bool = False,
) -> tuple[list[Row], list[Finding]]:
    """Checks one function: preflight, measuring, judging at kinks, a second point, diagnosis.

    Args:
        function: what is checked.
        sources: the user's functions, to look into what they hold.
        rng: for directions and moves.
        hints: what constants may be.
        where: the layer.
        fixed: the gradient is known at this point only.
        names: what the two functions are called in messages.
        explain: what more can be said about an array than its numbers do.
        exhaustive: measure every element if there are not too many.
        any_kink: let pass any value at kinks.
    """
    moved = partial(_moved, function, rng)
    if fixed:
        claims = function.claims({})
        findings = form(function, claims, where)
        if not np.isfinite(function.terms_at_start()).all():
            findings.append(Finding(where, "", "nonfinite", f"{names[0]} gives NaN or infinity at this point."))
    else:
        findings = preflight(function, function.raw, sources, partial(moved, 0.1), where, names)
    if findings:
        return [_refused(where, place, findings) for place in function.places], findings

    measure = Measure(function, function.start, function.gradient(function.start), rng)
    exhaustive = exhaustive and function.start.size <= ELEMENTS
    comparisons = {place.name: measure.compare(place, exhaustive) for place in function.places}
    if not fixed:
        comparisons = _allow_at_kinks(measure, comparisons, any_kink)
    hidden = ""
    if not fixed and not any(c.wrong.any() for c in comparisons.values()):
        comparisons, hidden = _at_another_point(function, measure, comparisons, moved(0.3), rng, any_kink)

    rows = []
    for place in function.places:
        c = comparisons[place.name]
        verdict = _verdict(c, function.refusal)
        if c.wrong.any():
            d = _diagnosis(function, measure, place, c, rng, hints, fixed, explain, hidden, comparisons)
            verdict = f"WRONG: {d.kind}"
            findings.append(_finding(where, c, d, hidden))
        rows.append(Row(where, place.name, place.shape, c.worst, verdict))
    return rows, findings


def _moved(function: Function, rng: Generator, distance: float) -> Array | None:
    """Another point, that far away in units of the variables, or less where the function has no value there."""
    size = np.where(function.start == 0, 0.1 * function.scales(function.start), np.abs(function.start))
    for attempt in range(8):
        point = function.start + distance * 0.3**attempt * size * rng.uniform(-1, 1, size=size.size)
        if np.isfinite(function.terms(point)).all():
            return point
    return None


def _verdict(c: Comparison, refusal: str) -> str:
    if c.analytic.size == 0:
        return "empty"
    undecided, kinks = int((~c.decided).sum()), int(c.kinked.sum())
    if undecided == c.analytic.size:
        nearby = f"no value nearby ({refusal})" if refusal else "no value nearby"
        return f"undecided: {'too few digits to see it' if c.measured.any() else nearby}"
    error = float(np.nanmax(np.where(c.decided & (c.analytic != 0), 4 * c.error, 0), initial=0))
    digits = error / (float(np.nanmax(np.abs(c.numeric), initial=0)) or 1.0)
    right = "right" if digits < 1e-5 else f"right to {digits:.0e}"
    if undecided:
        return f"{right}, {undecided} undecided"
    return f"{right}, {kinks} at a kink" if kinks else right


def _refused(where: str, place: Place, findings: list[Finding]) -> Row:
    own = [f.kind for f in findings if f.name == place.name]
    return Row(where, place.name, place.shape, np.nan, f"WRONG: {own[0]}" if own else "not compared")


def _allow_at_kinks(measure: Measure, comparisons: dict[str, Comparison], any_value: bool) -> dict[str, Comparison]:
    """At a kink of several variables at once, what the gradients all around allow is right too.

    A ReLU at 0 for many examples has a derivative from left and from right that each drop some of them; to drop all is
    right, and is what the gradient is nearby, if the bias goes down. Without a bias it is nowhere, but still what
    backpropagation gives (its rule of the chain holds for smooth functions only), so a plain 0 is let pass, unless 0 is
    all that the gradient is nearby too. With `any_value`, parts that are right by themselves are known to make up
    the function, and all kinks are let pass.
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
    low, high = np.nanmin(around, axis=0), np.nanmax(around, axis=0)
    judged = {}
    for place in function.places:
        c, (least, most) = comparisons[place.name], (place.of(low), place.of(high))
        slack = 1e-4 * max(float(np.abs(v).max(initial=0)) for v in (least, most))
        allowed = (c.analytic >= least - slack) & (c.analytic <= most + slack)
        allowed |= (c.analytic == 0) & (most > least)
        judged[place.name] = c._replace(wrong=c.wrong & ~(c.kinked & allowed))
    return _together(measure, judged, single)


def _ties(measure: Measure, comparisons: dict[str, Comparison]) -> dict[str, Comparison]:
    """Wrong elements at a kink that no element shows by itself: the median of equal numbers changes with none of them.

    If the claims beside the point are right, but not near the derivatives at it, then it is one.
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
        if not (np.abs(c.analytic - c.numeric)[c.wrong] > 1e-2 * peak).any():  # a jump is no small matter
            continue
        largest = np.argsort(-np.abs(gradient[place.slice]))[:SHOWN]  # where another element has become the one
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
    """Elements at a kink may each be right and all together wrong: of the largest of equal numbers only one counts.

    If moving them together is smooth, the claim along this direction has to be right.
    """
    function, found = measure.function, dict(comparisons)
    for place in function.places:
        c = comparisons[place.name]
        tied = np.ravel(single[place.name].kinked & ~c.wrong, place.order)
        if tied.sum() < 2:
            continue
        for step in (np.ones(place.size), np.sign(measure.vector[place.slice])):
            direction = np.zeros(measure.vector.size)
            direction[place.slice] = np.where(tied, step, 0) * measure.scales[place.slice]
            sides = beside(function.along(measure.vector, direction), 1.0, measure.digits)
            claimed, size = float(measure.gradient @ direction), float(np.abs(measure.gradient * direction).sum())
            gap = abs(claimed - sides.middle.value)
            if not sides.kink and direction.any() and gap > 4 * sides.middle.error + 1e-6 * size:
                wrong = c.wrong | (c.kinked & (c.analytic != 0))
                low, high = float(np.nanmin(c.numeric)), float(np.nanmax(c.numeric))
                found[place.name] = c._replace(wrong=wrong, worst=max(c.worst, gap / max(size, abs(low), abs(high))))
    return found


def _inside(size: int, place: Place) -> Array:
    inside = np.zeros(size)
    inside[place.slice] = 1.0
    return inside


def _at_another_point(
    function: Function,
    measure: Measure,
    comparisons: dict[str, Comparison],
    vector: Array | None,
    rng: Generator,
    any_kink: bool,
) -> tuple[dict[str, Comparison], str]:
    """What is right at the point may be wrong elsewhere: a value kept from the start, a mistake that zeros hide."""
    if vector is None:
        return comparisons, ""
    gradient = function.gradient(vector)
    if not np.isfinite(gradient).all():
        return comparisons, ""
    other = Measure(function, vector, gradient, rng)
    suspects = [place for place in function.places if place.size and any(other.off(place.indices)[0] for _ in range(2))]
    exhaustive = function.start.size <= ELEMENTS
    there = {place.name: other.compare(place, exhaustive) for place in suspects}
    there = _allow_at_kinks(other, {**comparisons, **there}, any_kink) if there else {}
    wrong = {place.name: there[place.name] for place in suspects if there[place.name].wrong.any()}
    if not wrong:
        return comparisons, ""
    kept = all(np.array_equal(gradient[p.slice], measure.gradient[p.slice]) for p in suspects)
    return {**comparisons, **wrong}, "stale" if kept else "hidden"


def _diagnosis(
    function: Function,
    measure: Measure,
    place: Place,
    c: Comparison,
    rng: Generator,
    hints: Hints,
    fixed: bool,
    explain: Explain | None,
    hidden: str,
    comparisons: Mapping[str, Comparison],
) -> Diagnosis:
    if hidden == "stale":
        return Diagnosis("stale", "the gradient does not change with the point: something is kept from an earlier one")
    if (c.kinked | ~c.wrong).all():
        at = tuple(np.argwhere(c.wrong)[0])
        text = (
            f"the gradient is {c.analytic[at]:.6g} at a kink or a tie of the function, which the gradients around do "
            "not allow"
        )
        return Diagnosis(
            "mask",
            f"{text} (in {plural(int(c.wrong.sum()), 'element')}; of equal ones all together count once); elsewhere it "
            "is right",
        )

    def elsewhere(distance: float) -> Comparison | None:
        vector = None if fixed else _moved(function, rng, distance)
        if vector is None:
            return None
        gradient = function.gradient(vector)
        if not np.isfinite(gradient).all():
            return None
        return Measure(function, vector, gradient, rng).compare(place, place.size <= 1000)

    smooth = c._replace(numeric=np.where(c.kinked, np.nan, c.numeric), wrong=c.wrong & ~c.kinked)
    found = diagnose(smooth, elsewhere, hints)
    if found.kind == "unknown" and (name := _exchanged(smooth, comparisons)):
        return Diagnosis("unknown", f"it is the gradient of {name}: the names of the two are exchanged")
    if explain and (other := explain(smooth, found)):
        return other
    whole = c.measured.all() or found.corrected is None or hidden
    if not whole and found.corrected is not None and not is_right(measure, place, found.corrected):
        return Diagnosis("unknown", f"in {int(c.measured.sum())} sampled elements {found.text}; but not in all")
    return found


def _exchanged(c: Comparison, comparisons: Mapping[str, Comparison]) -> str:
    """The name of the array whose gradient this is, if it is another one's."""
    for name, other in comparisons.items():
        known = other.measured
        if name != c.name and other.wrong.any() and other.analytic.shape == c.analytic.shape and known.any():
            gap = np.abs(c.analytic - np.nan_to_num(other.numeric))
            if (gap[known] <= 2 * other.allowance()[known]).all():
                return name
    return ""


def _finding(where: str, c: Comparison, d: Diagnosis, hidden: str) -> Finding:
    gap = np.where(c.wrong & c.measured, np.abs(c.analytic - np.nan_to_num(c.numeric)), -1.0)
    index = tuple(int(i) for i in np.unravel_index(int(gap.argmax()), gap.shape)) if gap.size else ()
    a, n = float(c.analytic[index]), float(c.numeric[index])
    error = abs(a - n) / (max(abs(a), abs(n)) or 1.0)
    fraction = float(c.affected.mean())
    note = " (At the given point nothing shows, which hides it; this is at another one.)" if hidden == "hidden" else ""
    message = f"{label(where, c.name)}: {d.text}.{note}"
    return Finding(where, c.name, d.kind, message, index, a, n, error, fraction, c.analytic, c.numeric)
