"""check_gradients, for any NumPy code over a dict of arrays."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfunc._internal.validate import positive_int
from nnfunc.arrays import Array, ArrayDict
from nnfunc.checks.compare import ELEMENTS, FEW, SAMPLED, Comparison, Measure, is_right
from nnfunc.checks.constants import Hints
from nnfunc.checks.diagnosis import Diagnosis, Evidence, Point, diagnose
from nnfunc.checks.evident import FIRST
from nnfunc.checks.factors import FACTORS
from nnfunc.checks.function import Arrays, Claims, Function, Place, UserError, named_arrays
from nnfunc.checks.held import held, held_arrays, named_numbers
from nnfunc.checks.hypotheses import ALONE
from nnfunc.checks.kinks import allow_at_kinks, at_another_point, confirmed, moved
from nnfunc.checks.meant import Meant
from nnfunc.checks.pattern import plural
from nnfunc.checks.preflight import form, preflight
from nnfunc.checks.report import Finding, Report, Row, label
from nnfunc.checks.sums import blind_spot
from nnfunc.checks.terms import TERMS
from nnfunc.checks.trees import namesake
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
    """Compares hand-written gradients with numerical ones, and diagnoses those that are wrong.

    Works on any NumPy code over a dict of arrays.

    Args:
        loss_fn: params -> a scalar (float or 0-d array).
        grads_fn: params -> dict of gradients, one per array of params, with the same shape; or such a dict itself,
            which limits the diagnosis, as it cannot be evaluated at a second point. "dW1" is the gradient of "W1".
        params: the point, a dict of float arrays of any shape, including 0-d and empty ones. Use generic values:
            zeros hide mistakes.
        batch_size: the number of examples, to recognise it in factors.
        tolerance: relative to the largest derivative of an array; smaller differences are accepted.
        expected: the reason for each gradient that differs intentionally, by name: {"W": "clipped"}.
        key: for random directions and points; nn.key(0) by default.
    Returns:
        a Report: print it, inspect its `findings`, or call `assert_ok()` in a test.
    Raises:
        TypeError, ValueError: params are not floats or not finite; loss_fn does not return a single number.

    Both functions receive float64 copies, whatever the dtype of params. They are first called several times to verify
    that they are pure functions. Each derivative is then computed with an error estimate, and a gradient is wrong if
    it differs by more. Where the left and right derivatives differ (a kink), any value between them is correct,
    and so is any value that the gradients around the point allow.

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
        raise TypeError(f"loss_fn is {type(loss_fn).__name__}, expected a function params -> scalar")
    if batch_size is not None:
        batch_size = positive_int(batch_size, "batch_size")
    arrays = named_arrays(params)
    meant = Meant(tolerance, expected or {}, arrays)
    immutable = isinstance(params, ArrayDict)

    def terms(point: Arrays) -> Array:
        value = _number(loss_fn(ArrayDict(point) if immutable else point))
        return value.astype(np.float64).reshape(1)

    fixed = not callable(grads_fn)
    renamed: dict[str, str] = {}

    def claims(point: Arrays) -> Claims:
        if not callable(grads_fn):
            return _by_array(grads_fn, arrays, renamed)
        try:
            return _by_array(grads_fn(ArrayDict(point) if immutable else point), arrays, renamed)
        except Exception as error:  # any exception of the user's function
            raise UserError("grads_fn", error) from error

    sources = [f for f in (loss_fn, grads_fn) if callable(f)]
    numbers = named_numbers(held(sources))
    numbers += [(f"the length of {k}'s axis {i}", float(n)) for k, v in arrays.items() for i, n in enumerate(v.shape)]
    function = Function(terms, claims, arrays)
    rng = generator(new_key(0) if key is None else key)
    try:
        rows, findings = examine(function, sources, rng, Hints(numbers, batch_size), fixed=fixed)
    except UserError as error:
        function.terms_at_start()  # an exception of loss_fn takes precedence
        rows = [Row("", place.name, place.shape, np.nan, "not compared") for place in function.places]
        findings = [Finding("", "", error.kind, f"{error}.")]
    notes = [f"{key!r} is taken as the gradient of {name}" for key, name in renamed.items()]
    notes += [note for note in [blind_spot(loss_fn)] if note]
    if any(f.kind == "unknown" for f in findings):
        notes.append("nn.check_function checks one forward with its backward, and can tell more about a part of this")
    report = Report(tuple(findings), tuple(rows), function.evaluations, time.perf_counter() - began, tuple(notes))
    return meant.settled(report)


def _by_array(claims: Claims, arrays: Arrays, renamed: dict[str, str]) -> Claims:
    """Gradients by the names of their arrays; those of other names, such as dW for W, are added to `renamed`."""
    if not isinstance(claims, Mapping) or all(name in claims for name in arrays):
        return claims
    missing = [name for name in arrays if name not in claims]
    names = {key: key if key in arrays else namesake(str(key), missing) or key for key in claims}
    if len({*names.values()}) < len(names):
        return claims
    renamed.update((key, name) for key, name in names.items() if key != name)
    return {names[key]: gradient for key, gradient in claims.items()}


def _number(value: object) -> NDArray[Any]:
    """The value returned by loss_fn, as an array of one element."""
    if isinstance(value, Mapping):
        raise TypeError("loss_fn returned a dict, expected one number: are loss_fn and grads_fn swapped?")
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


Explain = Callable[[Comparison, Diagnosis], Diagnosis | None]
"""A diagnosis from other information than the array's values, such as a layer's linear map."""


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
        function: the function to check.
        sources: the user's functions, whose constants and arrays are inspected.
        rng: for random directions and points.
        hints: possible meanings of constants.
        where: the layer.
        fixed: whether the gradient is known at this point only.
        names: the names of the two functions in messages.
        explain: an additional diagnosis of an array.
        exhaustive: whether to measure every element, if there are not too many.
        any_kink: whether to accept any value at kinks.
    """
    hints = hints._replace(arrays=held_arrays(held(sources)))
    another = partial(moved, function, rng)
    if fixed:
        claims = function.claims({})
        findings = form(function, claims, where)
        if not np.isfinite(function.terms_at_start()).all():
            findings.append(Finding(where, "", "nonfinite", f"{names[0]} returns NaN or infinity at this point."))
    else:
        findings = preflight(function, function.raw, sources, partial(another, 0.1), where, names)
    if findings:
        return [_refused(where, place, findings) for place in function.places], findings

    measure = Measure(function, function.start, function.gradient(function.start), rng)
    exhaustive = exhaustive and function.start.size <= ELEMENTS
    comparisons = {place.name: measure.compare(place, exhaustive) for place in function.places}
    if not fixed:
        comparisons = allow_at_kinks(measure, comparisons, any_kink)
        comparisons = confirmed(measure, comparisons, any_kink)
    hidden = ""
    if not fixed and not any(c.wrong.any() for c in comparisons.values()):
        comparisons, hidden = at_another_point(function, measure, comparisons, another(0.3), rng, any_kink)

    diagnoses = {}
    for place in function.places:
        if comparisons[place.name].wrong.any():
            diagnosis = partial(_diagnosis, function, measure, place, rng, hints, fixed, explain, hidden)
            diagnoses[place.name] = diagnosis(comparisons)
            if diagnoses[place.name].kind == "unknown" and comparisons[place.name].suspected.any() and not hidden:
                comparisons[place.name] = measure.more(place, comparisons[place.name])
                diagnoses[place.name] = diagnosis(comparisons)
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
    """Links unexplained arrays to an explained one, or to a common cause if all arrays are wrong."""
    told = [name for name, d in diagnoses.items() if d.kind == "missing-term"]
    every = len(diagnoses) == arrays > 2
    found = {}
    for name, d in diagnoses.items():
        if d.kind != "unknown":
            found[name] = d
        elif told:
            text = f"{d.text.split(': no simple')[0]}; probably for the same reason as {told[-1]}: a missing term"
            found[name] = Diagnosis("missing-term", text)
        else:
            shared = "; all arrays are wrong: check what they share, the derivative of the output or of the loss"
            found[name] = d._replace(text=d.text + shared) if every else d
    return found


def _verdict(c: Comparison, refusal: str) -> str:
    if c.analytic.size == 0:
        return "empty"
    undecided, kinks = int((~c.decided).sum()), int(c.kinked.sum())
    if undecided == c.analytic.size:
        nearby = f"no value nearby ({refusal})" if refusal else "no value nearby"
        return f"undecided: {'too few accurate digits' if c.measured.any() else nearby}"
    zero = np.maximum(np.abs(c.analytic), np.abs(c.numeric)) <= c.error
    error = float(np.nanmax(np.where(c.decided & ~zero, 4 * c.error, 0), initial=0))
    digits = error / (float(np.nanmax(np.abs(c.numeric), initial=0)) or 1.0)
    right = "right" if digits < 1e-5 else f"right to {digits:.0e}"
    if undecided:
        return f"{right}, {undecided} undecided"
    return f"{right}, {kinks} at a kink" if kinks else right


def _refused(where: str, place: Place, findings: list[Finding]) -> Row:
    own = [f.kind for f in findings if f.name == place.name]
    return Row(where, place.name, place.shape, np.nan, f"WRONG: {own[0]}" if own else "not compared")


def _diagnosis(
    function: Function,
    measure: Measure,
    place: Place,
    rng: Generator,
    hints: Hints,
    fixed: bool,
    explain: Explain | None,
    hidden: str,
    comparisons: Mapping[str, Comparison],
) -> Diagnosis:
    c = comparisons[place.name]
    if hidden == "stale":
        return Diagnosis("stale", "the gradient does not change with the point: a value from an earlier call is reused")
    if (c.kinked | ~c.wrong).all():
        at = tuple(np.argwhere(c.wrong)[0])
        text = (
            f"the gradient is {c.analytic[at]:.6g} at a kink or a tie of the function, which is inconsistent with the "
            "gradients around it"
        )
        return Diagnosis(
            "mask",
            f"{text} (in {plural(int(c.wrong.sum()), 'element')}; equal elements together count once); elsewhere it "
            "is right",
        )

    def elsewhere(
        distance: float, only: str = "", by: Mapping[str, Array] | None = None, few: bool = False
    ) -> Point | None:
        vector = moved(function, rng, distance, only) if by is None else function.start + function.shift(by)
        if fixed or vector is None or not np.isfinite(function.terms(vector)).all():
            return None
        gradient = function.gradient(vector)
        if not np.isfinite(gradient).all():
            return None

        def compared() -> Comparison:
            other = Measure(function, vector, gradient, rng)
            if c.measured.all() and not few:
                return other.compare(place, place.size <= 1000)
            return other.again(place, c, FEW if few else SAMPLED)

        return Point(compared, function.arrays(vector), function.arrays(gradient))

    smooth = c._replace(numeric=np.where(c.kinked, np.nan, c.numeric), wrong=c.wrong & ~c.kinked)
    here = Point(lambda: smooth, function.arrays(measure.vector), function.arrays(measure.gradient))
    evidence = Evidence(here, elsewhere, hints, comparisons)
    found = diagnose(evidence, (*FIRST, *ALONE))
    if explain and (other := explain(smooth, found)):
        return other
    if found.kind == "unknown":
        found = diagnose(evidence, (*FACTORS, *TERMS))
    whole = c.measured.all() or found.corrected is None or hidden
    if not whole and found.corrected is not None and not is_right(measure, place, found.corrected):
        return Diagnosis("unknown", f"in {int(c.measured.sum())} sampled elements {found.text}, but not in all")
    return found


def _finding(where: str, c: Comparison, d: Diagnosis, hidden: str) -> Finding:
    gap = np.where(c.wrong & c.measured, np.abs(c.analytic - np.nan_to_num(c.numeric)), -1.0)
    index = tuple(int(i) for i in np.unravel_index(int(gap.argmax()), gap.shape)) if gap.size else ()
    a, n = float(c.analytic[index]), float(c.numeric[index])
    error = abs(a - n) / (max(abs(a), abs(n)) or 1.0)
    fraction = float(c.affected.mean())
    note = " (The mistake does not show at the given point; this is at another one.)" if hidden == "hidden" else ""
    message = f"{label(where, c.name)}: {d.text}.{note}"
    return Finding(where, c.name, d.kind, message, index, a, n, error, fraction, c.analytic, c.numeric)
