"""Checks before any derivative: is the function pure, and does the claimed gradient have the right form?

A gradient can only be checked if calls are deterministic, modify nothing, and depend on their arguments alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfunc.arrays import Array
from nnfunc.checks.function import Arrays, Claims, Function, Place
from nnfunc.checks.held import Snapshot
from nnfunc.checks.report import Finding, label


def preflight(
    function: Function,
    loss: Callable[[Arrays], ArrayLike],
    sources: Sequence[Callable[..., Any]],
    elsewhere: Callable[[], Array | None],
    where: str = "",
    names: tuple[str, str] = ("loss_fn", "grads_fn"),
) -> list[Finding]:
    """Returns what is wrong with the functions themselves; [] if derivatives can be compared.

    Args:
        function: the function to check.
        loss: arrays -> terms, which may raise.
        sources: the user's functions, whose arrays are inspected.
        elsewhere: returns another point, if there is one.
        where: the layer.
        names: the names of the two functions in messages.
    """
    return _Preflight(function, loss, sources, where, names).run(elsewhere)


class _Preflight:
    def __init__(
        self,
        function: Function,
        loss: Callable[[Arrays], ArrayLike],
        sources: Sequence[Callable[..., Any]],
        where: str,
        names: tuple[str, str],
    ) -> None:
        self.function, self.loss, self.sources, self.where = function, loss, sources, where
        self.loss_name, self.grads_name = names
        self.readonly = ""

    def run(self, another: Callable[[], Array | None]) -> list[Finding]:
        start = self.function.start
        before = Snapshot(self.sources)
        value, changed = self._call(self.loss, start)
        if changed:
            return [self._changes(self.loss_name, changed)]
        if not np.isfinite(value).all():
            return [self._finding("nonfinite", "", f"{self.loss_name} returns NaN or infinity at this point")]
        if not _same(value, self._call(self.loss, start)[0]):
            return [self._differs(self.loss_name, before, "")]

        before = Snapshot(self.sources)
        returned: list[Claims] = []

        def claims(arrays: Arrays) -> Claims:
            returned.append(self.function.claims(arrays))
            return returned[-1]

        first, changed = self._call(claims, start)
        if changed:
            return [self._changes(self.grads_name, changed)]
        if malformed := form(self.function, first, self.where):
            return malformed
        gradient = self.function.vector(first)
        if not _same(value, self._call(self.loss, start)[0]):
            return [
                self._mutation(f"after a call of {self.grads_name}, {self.loss_name} returns a different value", before)
            ]
        again = self.function.vector(self._call(claims, start)[0])
        if not _same(gradient, again):
            third = self.function.vector(self._call(claims, start)[0])
            grown = self._places(gradient, again)
            if all(_same(p.of(third - again), p.of(again - gradient)) for p in grown) and not before.drawn():
                text = f"{self.grads_name} adds to the result of its last call: clear the gradient arrays in each call"
                return [self._finding("mutation" if self._altered(returned[0], gradient) else "stale", "", text)]
            if self._altered(returned[0], gradient) and not before.drawn():
                return [self._mutation(f"a second call of {self.grads_name} changes the arrays of the first", before)]
            return self._redrawn(gradient, again, before)

        elsewhere = another()
        if elsewhere is None or not np.isfinite(self.function.gradient(elsewhere)).all():
            return []
        # does the result depend on the arguments alone, whatever was evaluated before?
        self._call(self.loss, elsewhere)
        after_loss = self.function.vector(self._call(claims, start)[0])
        self._call(claims, elsewhere)
        overwritten = self._altered(returned[0], gradient)
        after_both = self.function.vector(self._call(claims, start)[0])
        for found, cause in ((after_loss, self.loss_name), (after_both, self.grads_name)):
            if not _same(gradient, found):
                text = (
                    f"{self.grads_name} returns a different gradient at the same point after {cause} was called at "
                    "another one: it reuses values of the last call (a cache) instead of its arguments"
                )
                return [self._finding("stale", name, text) for name in self._different(gradient, found)]
        if not _same(value, self._call(self.loss, start)[0]):
            text = f"{self.loss_name} returns a different value at the same point after both were called at another one"
            return [self._finding("stale", "", f"{text}: it reuses values of the last call")]
        if overwritten:
            text = f"the arrays that {self.grads_name} returned were modified by its next call: return new arrays"
            return [self._finding("mutation", "", text)]
        return []

    def _call(self, f: Callable[[Arrays], Any], vector: Array) -> tuple[Any, list[str]]:
        """The result, and the names of the arguments that the call modified."""
        arrays = self.function.arrays(vector)
        given = dict(arrays)
        self.function.evaluations += 1
        with np.errstate(all="ignore"):
            try:
                result = f(arrays)
            except ValueError as error:
                if "read-only" not in str(error):
                    raise
                self.readonly = str(error)
                return np.zeros(1), ["its arguments"]
        result = result.copy() if isinstance(result, np.ndarray) else result
        lost = [k for k in given if k not in arrays]
        replaced = [k for k in arrays if k not in given or arrays[k] is not given[k]]
        changed = [
            p.name for p in self.function.places if not np.array_equal(given[p.name], p.of(vector), equal_nan=True)
        ]
        return result, list(dict.fromkeys([*lost, *replaced, *changed]))

    def _altered(self, returned: Claims, gradient: Array) -> bool:
        return not _same(self.function.vector(returned), gradient)

    def _different(self, a: Array, b: Array) -> list[str]:
        return [p.name for p in self._places(a, b)] or [""]

    def _places(self, a: Array, b: Array) -> list[Place]:
        return [p for p in self.function.places if not _same(p.of(a), p.of(b))]

    def _redrawn(self, a: Array, b: Array, before: Snapshot) -> list[Finding]:
        return [self._differs(self.grads_name, before, name) for name in self._different(a, b)]

    def _differs(self, who: str, before: Snapshot, name: str) -> Finding:
        drawn, changed = before.drawn(), before.changed()
        if changed and not drawn:
            return self._mutation(f"two calls of {who} at the same point differ", before)
        text = f"two calls of {who} at the same point differ"
        cause = f"it draws from {drawn[0]!r}" if drawn else "something random is drawn"
        text = f"{text}: {cause} in each call: draw masks and samples once, and use the same in both functions"
        return self._finding("nondeterministic", name, text)

    def _changes(self, who: str, names: list[str]) -> Finding:
        text = f"{who} modifies its arguments ({', '.join(names)}): work on a copy (a = a * b instead of a *= b)"
        if self.readonly:
            text = (
                f"{who} writes into a read-only array, an argument or one of its own ({self.readonly}): work on a copy"
            )
        name = names[0] if len(names) == 1 and names[0] in {p.name for p in self.function.places} else ""
        return self._finding("mutation", name, text)

    def _mutation(self, what: str, before: Snapshot) -> Finding:
        changed = before.changed()
        who = f"{', '.join(repr(c) for c in changed)} was" if changed else "an array that both use was"
        return self._finding("mutation", "", f"{what}: {who} modified in place: work on a copy")

    def _finding(self, kind: str, name: str, text: str) -> Finding:
        place = label(self.where, name)
        return Finding(self.where, name, kind, f"{place}: {text}." if place else f"{text}.")


def form(function: Function, claims: Claims, where: str = "") -> list[Finding]:
    """Returns findings for claimed gradients with wrong names, shapes or dtypes, or with NaN or infinity."""
    findings = []

    def finding(name: str, kind: str, text: str, **more: Any) -> None:
        findings.append(Finding(where, name, kind, f"{label(where, name) or 'the gradients'}: {text}.", **more))

    if not hasattr(claims, "keys"):
        findings.append(Finding(where, "", "shape", f"the gradients are {type(claims).__name__}, expected a dict."))
        return findings
    for place in function.places:
        if place.name not in claims:
            there = ", ".join(map(str, claims)) or "none"
            finding(place.name, "shape", f"there is no gradient with this name (there are: {there})")
            continue
        array = _array(claims[place.name])
        if array is None or array.dtype.kind not in "fiub":
            came = repr(claims[place.name]) if array is None else f"of dtype {array.dtype}"
            hint = " (indices have no gradient: pass x as integers)" if place.name == "dx" else ""
            finding(place.name, "shape", f"the gradient is {came}, expected an array of real numbers{hint}")
        elif array.shape != place.shape:
            hint = ""
            if array.shape == place.shape[::-1]:
                hint = ": it is transposed"
            elif array.size == 1 or len(array.shape) < len(place.shape):
                hint = ": it was summed over too many axes"
            elif len(array.shape) > len(place.shape):
                hint = ": a sum over the examples is missing, or there is an extra keepdims=True"
            finding(place.name, "shape", f"the gradient has shape {array.shape}, the array {place.shape}{hint}")
        elif not np.isfinite(array).all():
            bad = np.argwhere(~np.isfinite(array))
            index = tuple(int(i) for i in bad[0])
            text = f"the gradient is {array[index]} at {list(index)}, in {len(bad)} of {array.size} elements"
            text += ", although the loss is finite: look for a division by 0, log(0) or an overflow"
            finding(place.name, "nonfinite", text, index=index, analytic=float(array[index]),
                    fraction=len(bad) / array.size)  # fmt: skip
    names = {p.name for p in function.places}
    for name in claims:
        if name not in names:
            finding(str(name), "shape", f"there is no array with this name (there are: {', '.join(sorted(names))})")
    return findings


def _array(value: object) -> NDArray[Any] | None:
    try:
        return None if value is None else np.asarray(value)
    except ValueError:  # rows of different lengths
        return None


def _same(a: Array, b: Array) -> bool:
    """Whether two arrays are equal up to rounding, which may depend on the location in memory."""
    if a.shape != b.shape:
        return False
    size = float(np.abs(a).max(initial=0))
    return bool(np.allclose(a, b, rtol=1e-10, atol=1e-12 * size, equal_nan=True))
