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
from nnfunc.checks.constants import Hints
from nnfunc.checks.diagnosis import Diagnosis, Evidence, Point, diagnose
from nnfunc.checks.function import Arrays, Claims, Function, Place, RefusalError, named_arrays
from nnfunc.checks.held import held, held_arrays, named_numbers
from nnfunc.checks.hypotheses import ALONE
from nnfunc.checks.numeric import EPS, Mask, beside, central
from nnfunc.checks.pattern import plural
from nnfunc.checks.preflight import form, preflight
from nnfunc.checks.relations import BESIDE_OTHERS, FIRST
from nnfunc.checks.report import Finding, Report, Row, label
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
    immutable = isinstance(params, ArrayDict)

    def terms(point: Arrays) -> Array:
        value = _number(loss_fn(ArrayDict(point) if immutable else point))
        return value.astype(np.float64).reshape(1)

    fixed = not callable(grads_fn)

    def claims(point: Arrays) -> Claims:
        if not callable(grads_fn):
            return grads_fn
        try:
            return grads_fn(ArrayDict(point) if immutable else point)
        except Exception as error:  # whatever it is, it is the caller's
            raise RefusalError("grads_fn", error) from error

    sources = [f for f in (loss_fn, grads_fn) if callable(f)]
    numbers = named_numbers(held(sources))
    numbers += [(f"the length of {k}'s axis {i}", float(n)) for k, v in arrays.items() for i, n in enumerate(v.shape)]
    function = Function(terms, claims, arrays)
    rng = generator(new_key(0) if key is None else key)
    try:
        rows, findings = examine(function, sources, rng, Hints(numbers, batch_size), fixed=fixed)
    except RefusalError as error:
        function.terms_at_start()  # what loss_fn raises comes first
        rows = [Row("", place.name, place.shape, np.nan, "not compared") for place in function.places]
        findings = [Finding("", "", error.kind, f"{error}.")]
    return Report(tuple(findings), tuple(rows), function.evaluations, time.perf_counter() - began)


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
    hints = hints._replace(arrays=held_arrays(held(sources)))
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
    if not fixed:
        comparisons = _confirmed(measure, comparisons, any_kink)
    hidden = ""
    if not fixed and not any(c.wrong.any() for c in comparisons.values()):
        comparisons, hidden = _at_another_point(function, measure, comparisons, moved(0.3), rng, any_kink)

    diagnoses = {
        place.name: _diagnosis(
            function, measure, place, comparisons[place.name], rng, hints, fixed, explain, hidden, comparisons
        )
        for place in function.places
        if comparisons[place.name].wrong.any()
    }
    diagnoses = _shared(diagnoses, len(function.places))
    rows = []
    for place in function.places:
        c, d = comparisons[place.name], diagnoses.get(place.name)
        verdict = _verdict(c, function.refusal) if d is None else f"WRONG: {d.kind}"
        if d is not None:
            findings.append(_finding(where, c, d, hidden))
        rows.append(Row(where, place.name, place.shape, c.worst, verdict))
    return rows, findings


def _shared(diagnoses: dict[str, Diagnosis], arrays: int) -> dict[str, Diagnosis]:
    """What no word explains beside what one does may be wrong for the same reason; all together, for one they share."""
    told = [name for name, d in diagnoses.items() if d.kind == "missing-term"]
    every = len(diagnoses) == arrays > 2
    found = {}
    for name, d in diagnoses.items():
        if d.kind != "unknown":
            found[name] = d
        elif told:
            text = f"{d.text.split(': no simple')[0]}; probably for the reason that {told[-1]} is: a term is missing or too much"
            found[name] = Diagnosis("missing-term", text)
        else:
            shared = "; all arrays are wrong: look at what they share, the derivative of the output or of the loss"
            found[name] = d._replace(text=d.text + shared) if every else d
    return found


def _moved(
    function: Function, rng: Generator, distance: float, only: str = "", zeros: bool = True
) -> Array | None:
    """Another point, that far away in units of the variables, or less where the function has no value there.

    What is between −1 and 1 stays there: probabilities, correlations. With `only`, just this array is moved; without `zeros`, single
    zeros in an array stay what they are.
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
    around += _nearest(measure)
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
    """The claims so near to the point that no kink beside it lies between; the last ones are those at the nearest."""
    vector, rng = measure.vector, measure.rng
    steps = [np.where(vector == 0, least, 8 * EPS * vector) for least in (1e-15, 1e-25, 1e-40)]
    return [measure.function.gradient(vector + s * rng.normal(size=vector.size)) for s in steps for _ in range(draws)]


def _jumps(claims: Array, around: list[Array], place: Place, share: float = 0.0) -> Mask:
    """The elements whose claim jumps between the point and more than this share of those around."""
    jump = np.array([np.abs(place.of(other) - place.of(claims)) for other in around])
    return np.asarray((jump > 1e-3 * np.abs(place.of(claims)).max(initial=0)).mean(axis=0) > share)


def _exactly_at(measure: Measure, place: Place, nearest: list[Array]) -> Mask:
    """The elements that are at a kink itself, not at one beside the point: the claim jumps at any step."""
    return _jumps(measure.gradient, nearest, place, 0.2)


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
            claimed, size = float(measure.gradient @ direction), float(np.abs(measure.gradient * direction).sum())
            gap = abs(claimed - sides.middle.value)
            if not sides.kink and direction.any() and gap > 4 * sides.middle.error + 1e-6 * size:
                wrong = c.wrong | (c.kinked & (c.analytic != 0))
                low, high = float(np.nanmin(c.numeric)), float(np.nanmax(c.numeric))
                found[place.name] = c._replace(wrong=wrong, worst=max(c.worst, gap / max(size, abs(low), abs(high))))
    return found


def _confirmed(measure: Measure, comparisons: dict[str, Comparison], any_kink: bool) -> dict[str, Comparison]:
    """What differs by so little that a kink beside the point may be the cause has to be wrong at other points too."""
    function, judged = measure.function, dict(comparisons)
    beside = measure.vector + 1e-9 * measure.scales * measure.rng.normal(size=measure.vector.size)
    accused = [p for p in function.places if _smooth(judged[p.name]).any()]
    near = [function.gradient(beside)] if accused else []
    doubtful = [p for p in accused if not judged[p.name].sure or _jumps(measure.gradient, near, p).any()]
    if not doubtful:
        return judged
    times = dict.fromkeys([p.name for p in doubtful], 0)
    for distance in (0.3, 0.3, 0.1):
        vector = _moved(function, measure.rng, distance, zeros=False)
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


def _smooth(c: Comparison) -> Mask:
    """The wrong elements that are at no kink."""
    return c.wrong & ~c.kinked


def _repeated(measure: Measure, place: Place, distance: float) -> bool:
    """Whether an array is wrong at one more point."""
    vector = _moved(measure.function, measure.rng, distance)
    gradient = np.full(1, np.nan) if vector is None else measure.function.gradient(vector)
    if vector is None or not np.isfinite(gradient).all():
        return False
    other = Measure(measure.function, vector, gradient, measure.rng)
    return other.off(place.indices)[0] and bool(other.compare(place, place.size <= ELEMENTS).wrong.any())


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
    flat = any((c.numeric[c.wrong & c.measured] == 0).all() for c in wrong.values())  # beyond the end of a clip
    distances = (0.03,) if flat else (0.3, 0.05)
    if not any(all(_repeated(measure, p, d) for d in distances) for p in suspects if p.name in wrong):
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

    def elsewhere(distance: float, only: str = "", by: Mapping[str, Array] | None = None) -> Point | None:
        vector = _moved(function, rng, distance, only) if by is None else function.start + function.shift(by)
        if fixed or vector is None or not np.isfinite(function.terms(vector)).all():
            return None
        gradient = function.gradient(vector)
        if not np.isfinite(gradient).all():
            return None
        c = Measure(function, vector, gradient, rng).compare(place, place.size <= 1000)
        return Point(c, function.arrays(vector), function.arrays(gradient))

    smooth = c._replace(numeric=np.where(c.kinked, np.nan, c.numeric), wrong=c.wrong & ~c.kinked)
    here = Point(smooth, function.arrays(measure.vector), function.arrays(measure.gradient))
    evidence = Evidence(here, elsewhere, hints, comparisons)
    found = diagnose(evidence, (*FIRST, *ALONE))
    if explain and (other := explain(smooth, found)):
        return other
    if found.kind == "unknown":
        found = diagnose(evidence, BESIDE_OTHERS)
    whole = c.measured.all() or found.corrected is None or hidden
    if not whole and found.corrected is not None and not is_right(measure, place, found.corrected):
        return Diagnosis("unknown", f"in {int(c.measured.sum())} sampled elements {found.text}; but not in all")
    return found


def _finding(where: str, c: Comparison, d: Diagnosis, hidden: str) -> Finding:
    gap = np.where(c.wrong & c.measured, np.abs(c.analytic - np.nan_to_num(c.numeric)), -1.0)
    index = tuple(int(i) for i in np.unravel_index(int(gap.argmax()), gap.shape)) if gap.size else ()
    a, n = float(c.analytic[index]), float(c.numeric[index])
    error = abs(a - n) / (max(abs(a), abs(n)) or 1.0)
    fraction = float(c.affected.mean())
    note = " (At the given point nothing shows, which hides it; this is at another one.)" if hidden == "hidden" else ""
    message = f"{label(where, c.name)}: {d.text}.{note}"
    return Finding(where, c.name, d.kind, message, index, a, n, error, fraction, c.analytic, c.numeric)
