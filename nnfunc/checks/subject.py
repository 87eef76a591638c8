"""The check of a forward and a backward of named arrays, for any code: gradients, exceptions, caches."""

from __future__ import annotations

import copy
import inspect
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfunc._internal.validate import first_bad
from nnfunc.arrays import Array
from nnfunc.checks.cache import misused
from nnfunc.checks.compare import Comparison
from nnfunc.checks.constants import Hints
from nnfunc.checks.diagnosis import Diagnosis
from nnfunc.checks.function import Arrays, Function, UserError
from nnfunc.checks.gradients import examine
from nnfunc.checks.held import held, named_numbers
from nnfunc.checks.maps import LARGEST, Opened
from nnfunc.checks.meant import Meant
from nnfunc.checks.models import explained
from nnfunc.checks.outputs import by_output
from nnfunc.checks.report import Finding, Report, Row
from nnfunc.checks.returned import Returned
from nnfunc.checks.ties import at_ties
from nnfunc.checks.trees import cut, flat, parts, reals

if TYPE_CHECKING:  # it costs a tenth of the import of NumPy
    from numpy.random import Generator


def arguments(f: Callable[..., Any]) -> list[str] | None:
    """The names of the positional arguments without a default; None if they cannot be determined."""
    try:
        found = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_POSITIONAL for p in found):
        return None
    return [p.name for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty]


def inputs_of(forward: Callable[..., Any], inputs: tuple[Any, ...]) -> tuple[dict[str, Any], bool]:
    """The inputs by the names of forward's arguments, and whether they are passed by name."""
    try:
        found = list(inspect.signature(forward).parameters.values())
    except (TypeError, ValueError):
        found = []
    own = [p.name for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = arguments(forward)
    if len(inputs) == 1 and isinstance(inputs[0], Mapping) and found:
        given, keywords = inputs[0], {p.name for p in found if p.kind not in (p.VAR_POSITIONAL, p.POSITIONAL_ONLY)}
        if any(p.kind is p.VAR_KEYWORD for p in found):
            keywords |= set(given)
        if set(given) <= keywords and set(needed or ()) <= set(given):
            return dict(given), True
        if needed is None or len(needed) == len(given) > 1:
            return dict(given), False
    if any(p.kind is p.VAR_POSITIONAL for p in found) or not found:
        own += [f"x{i}" for i in range(len(own), len(inputs))]
    if len(inputs) > len(own) or (needed is not None and len(inputs) < len(needed)):
        raise TypeError(
            f"forward takes {', '.join(own) or 'nothing'}: {len(needed or own)} inputs, but {len(inputs)} given"
        )
    return dict(zip(own, inputs, strict=False)), False


def finite(arrays: dict[str, Array]) -> dict[str, Array]:
    """Returns the arrays if there are any and all are finite."""
    if not arrays:
        raise TypeError("no input is a float array: only these have a gradient")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            bad = first_bad(array, ~np.isfinite(array))
            raise ValueError(f"{name} contains {bad}: there is no derivative at such a point")
    return arrays


def refused(error: UserError, began: float) -> Report:
    """The report for code that could not be called."""
    finding = Finding("", "", error.kind, f"{error}.")
    return Report((finding,), (), 0, time.perf_counter() - began)


def called(who: str, f: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Calls a user's function; its exceptions become UserError."""
    try:
        return f(*arguments, **named)
    except Exception as error:  # any exception of the checked code
        raise UserError(who, error) from error


class Random:
    """The random generators that functions use, and NumPy's global one, with their states to replay a call.

    Args:
        sources: the functions.

    >>> rng = np.random.default_rng(0)
    >>> random = Random([lambda: rng.normal()])
    >>> a = rng.normal()
    >>> random.restore()
    >>> rng.normal() == a
    True
    """

    def __init__(self, sources: list[Callable[..., Any]]) -> None:
        values = {k: v for k, v in held(sources).items() if isinstance(v, (np.random.Generator, np.random.RandomState))}
        self.generators = values
        self.states, self.of_all = copy.deepcopy(self._states()), np.random.get_state()  # noqa: NPY002  # the user's
        self.replays = False

    def _states(self) -> dict[str, Any]:
        generators = self.generators.items()
        return {
            k: g.bit_generator.state if isinstance(g, np.random.Generator) else g.get_state() for k, g in generators
        }

    def drawn(self) -> str:
        """The name of a generator that has been used; "" if none has."""
        changed = [k for k, v in self._states().items() if repr(v) != repr(self.states[k])]
        if repr(np.random.get_state()) != repr(self.of_all):  # noqa: NPY002  # as above
            changed.append("np.random")
        return changed[0] if changed else ""

    def restore(self) -> None:
        """Restores the saved state of all generators."""
        np.random.set_state(self.of_all)  # noqa: NPY002  # as above
        for k, g in self.generators.items():
            if isinstance(g, np.random.Generator):
                g.bit_generator.state = self.states[k]
            else:
                g.set_state(self.states[k])


class Subject:
    """The subject of a check: `forward(arrays) -> (outputs, cache)`, `backward(cache, dy) -> gradients by name`."""

    start: dict[str, Array]
    """The arrays that have derivatives, by name."""
    notes: list[str]
    random: Random | None = None
    cached = True
    """Whether backward receives everything it needs from forward's result."""
    fixed_dy = False
    """Whether the cotangent is always 1, as for a loss."""

    def replay(self) -> None:
        """Restores the random generators, if forward uses any."""
        if self.random is not None and self.random.replays:
            self.random.restore()

    def forward(self, arrays: Arrays) -> tuple[Any, Any]:
        """The outputs and the cache for backward."""
        raise NotImplementedError

    def backward(self, cache: Any, dy: Any) -> Returned:
        """The gradients by name."""
        raise NotImplementedError

    def smaller(self) -> Subject | None:
        """The same subject with smaller arrays, if possible."""
        return None


@np.errstate(all="ignore")
def checked(
    pair: Subject, sources: list[Callable[..., Any]], rng: Generator, meant: Meant, began: float,
    batch_size: int | None = None,
) -> Report:  # fmt: skip
    """The report for a forward and a backward of named arrays."""
    start = pair.start
    rows: list[Row] = []
    findings: list[Finding] = []
    evaluations, notes = 0, []
    pair.random = random = Random(sources)
    try:
        y, cache = pair.forward(_copies(start))
        if random.drawn():
            notes.append(f"forward draws from {random.drawn()!r}: every call receives the same random numbers")
            random.replays = True
        outputs = reals("y", y)
        if not outputs:
            raise TypeError(f"forward returned {kind_of(y)}, expected float arrays")
        drawn = {k: np.ones(v.shape) if pair.fixed_dy else rng.normal(size=v.shape) for k, v in outputs.items()}
        dy = cotangent(y, drawn)
        if pair.fixed_dy and sum(v.size for v in drawn.values()) > 1:
            notes.append("backward takes no dy: it is checked as the gradient of the sum of the outputs")
        returned = pair.backward(cache, dy)
        notes += [*pair.notes, *returned.notes]
        written = [k for k, v in reals("y", dy).items() if not np.array_equal(v, drawn[k])]
        asked = {k: v for k, v in start.items() if k in returned.gradients}
        if not asked:
            text = "backward returns no gradient of a float input: is its return statement missing?"
            findings.append(Finding("", "", "shape", text))
        rest = [k for k in start if k not in asked]
        notes += [f"no gradient of {', '.join(rest)} is returned: not checked"] if asked and rest else []
        function, findings_, rows = _examined(pair, start, asked, drawn, y, sources, rng, batch_size)
        evaluations, findings = function.evaluations, [*findings, *findings_]
        for a, b in _shared(returned.gradients):
            notes.append(f"the gradients of {a} and {b} are the same array: adding to one changes both")
            if len(wrong := {a, b} & {f.name for f in findings}) == 1:
                text = f" The gradients of {a} and {b} are the same array: is it modified after the first was computed?"
                findings = [f._replace(message=f.message + text) if f.name in wrong else f for f in findings]
        findings = [_whole_numbers(f, returned.gradients) for f in findings]
        kinds = {f.name: f.kind for f in findings}
        rows = [r._replace(verdict=f"WRONG: {kinds[r.name]}") if r.name in kinds else r for r in rows]
        whole = [
            k for k, v in returned.gradients.items() if isinstance(v, np.ndarray) and v.size and v.dtype.kind in "iub"
        ]
        notes += [f"the gradient of {k} has an integer dtype: fractions are lost" for k in whole]
        if written:  # it explains what else is wrong
            text = "backward writes into its argument dy: work on a copy (dz = dy * mask instead of dz[...] = 0)"
            findings.insert(0, Finding("", "", "mutation", f"{text}."))
        elif findings and all(f.kind != "shape" for f in findings):
            findings = [f for f in _cache(pair, start, y, drawn) if f.kind == "mutation"] + findings
        if not findings:
            findings = at_ties(function, rng)
            rows = [r._replace(verdict="WRONG: mask") if any(f.name == r.name for f in findings) else r for r in rows]
        if not findings:
            findings += _cache(pair, start, y, drawn)
    except UserError as error:
        findings.append(Finding("", "", error.kind, f"{error}."))
        rows = rows or [Row("", k, v.shape, np.nan, "not compared") for k, v in start.items()]
    if random.replays:
        random.restore()
    report = Report(tuple(findings), tuple(rows), evaluations, time.perf_counter() - began, tuple(notes))
    return meant.settled(report)


def _examined(
    pair: Subject, start: Arrays, asked: Arrays, drawn: Arrays, y: Any, sources: list[Callable[..., Any]],
    rng: Generator, batch_size: int | None,
) -> tuple[Function, list[Finding], list[Row]]:  # fmt: skip
    weights, opened = flat(drawn.values()), _opened(pair, asked, drawn, y)
    numbers = named_numbers(held(sources))
    numbers += [(f"the length of {k}'s axis {i}", float(n)) for k, v in start.items() for i, n in enumerate(v.shape)]
    hints = Hints(numbers, batch_size or _batch(start, drawn))
    explain = None if pair.fixed_dy else partial(_in_words, pair=pair, opened=opened, size=weights.size, rng=rng)

    def of(dy: Array) -> Function:
        return Function(
            lambda a: dy * opened.forward(a) if dy.size else np.zeros(1), lambda a: opened.backward(a, dy), asked
        )

    examined = partial(examine, sources=sources, rng=rng, hints=hints, names=("forward", "backward"), explain=explain)
    function = of(weights)
    rows, findings = examined(function)
    return function, by_output(findings, opened, drawn, rng, lambda dy: examined(of(dy))[1]), rows


def _in_words(
    c: Comparison, found: Diagnosis, pair: Subject, opened: Opened, size: int, rng: Generator
) -> Diagnosis | None:
    """The diagnosis from the linear map, or from that of smaller arrays if it is too large."""
    said = explained(c, found, opened, rng)
    if said is not None or found.kind not in ("unknown", "penalty") or max(c.analytic.size, size) <= LARGEST:
        return said
    less = pair.smaller()
    if less is None:
        return None
    y, _ = less.forward(_copies(less.start))
    dy = {k: np.zeros(v.shape) for k, v in reals("y", y).items()}
    with suppress(Exception):  # code that works at one point may fail near it
        return explained(c, found, _opened(less, {k: less.start[k] for k in opened.arrays}, dy, y), rng)
    return None


def _opened(pair: Subject, asked: Arrays, drawn: Arrays, y: Any) -> Opened:
    """The pair as functions of the arrays with gradients, and of all cotangents in one array."""
    others = {k: v for k, v in pair.start.items() if k not in asked}

    def forward(arrays: Arrays) -> Array:
        return flat(reals("y", pair.forward({**_copies(others), **arrays})[0]).values())

    def backward(arrays: Arrays, dy: Array) -> dict[str, Any]:
        _, cache = pair.forward({**_copies(others), **arrays})
        found = pair.backward(cache, cotangent(y, cut(dy, drawn))).gradients
        return {k: v for k, v in found.items() if k in asked}

    return Opened(forward, backward, _copies(asked))


def _cache(pair: Subject, start: Arrays, y: Any, drawn: Arrays) -> list[Finding]:
    """Checks that backward depends on its cache alone and does not modify it."""

    def again(cache: Any) -> dict[str, Any]:
        return pair.backward(cache, cotangent(y, drawn)).gradients

    if not pair.cached:
        return []
    first = {k: np.array(v) for k, v in again(pair.forward(_copies(start))[1]).items()}
    _, cache = pair.forward(_copies(start))
    with suppress(UserError):  # other inputs may be outside its domain
        pair.forward({k: 0.9 * v + 0.01 for k, v in start.items()})
    found = misused(first, lambda: again(cache))
    return [] if found is None else [Finding("", "", found[0], f"{found[1]}.")]


def _copies(arrays: Arrays) -> dict[str, Array]:
    return {k: v.copy() for k, v in arrays.items()}


def cotangent(y: Any, drawn: Arrays, name: str = "y") -> Any:
    """Cotangents in the structure of the outputs, with zeros for integers."""
    if name in drawn:
        return drawn[name].copy() if drawn[name].ndim else drawn[name][()]
    inner = parts(name, y)
    if not inner:
        return np.zeros(np.shape(y)) if isinstance(y, (np.ndarray, np.generic, int)) else None
    new = [cotangent(part, drawn, label) for label, part in inner]
    return (
        dict(zip(y, new, strict=True)) if isinstance(y, Mapping) else list(new) if isinstance(y, list) else tuple(new)
    )


EXAMPLES = {"x", "inputs", "input", "a", "a_prev", "data", "features", "images", "z", "logits", "h"}


def _batch(start: Arrays, drawn: Arrays) -> int | None:
    """The number of examples, if an input with such a name shares the first or last axis of the outputs."""
    y = next(iter(drawn.values()))
    x = next((v for k, v in start.items() if k.lower() in EXAMPLES and v.ndim > 1), None)
    if x is None or not y.ndim:
        return None
    return next((y.shape[i] for i in (0, -1) if x.shape[i] == y.shape[i]), None)


def _whole_numbers(finding: Finding, gradients: Mapping[str, Any]) -> Finding:
    """Explains a finding by the gradient's integer dtype: its fractions are cut off."""
    a, n = finding.analytic_array, finding.numeric_array
    if a is None or n is None or np.asarray(gradients[finding.name]).dtype.kind not in "iu":
        return finding
    if not (np.nan_to_num(np.abs(a - n)) < 1).all():
        return finding
    text = f"{finding.name}: the gradient has dtype {np.asarray(gradients[finding.name]).dtype}: fractions are cut off"
    return finding._replace(kind="precision", message=f"{text}; use a float array (np.zeros_like of integers?).")


def _shared(gradients: Mapping[str, Any]) -> list[tuple[str, str]]:
    arrays = [(k, v) for k, v in gradients.items() if isinstance(v, np.ndarray) and v.size]
    return [(a, b) for i, (a, v) in enumerate(arrays) for b, w in arrays[i + 1 :] if np.shares_memory(v, w)]


def kind_of(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of dtype {value.dtype}"
    library = type(value).__module__.partition(".")[0]
    known = {"torch": "torch", "jax": "jax", "jaxlib": "jax"}.get(library)
    return type(value).__name__ + (f" (wrap it with nnfunc.interop.{known}.pair)" if known else "")
