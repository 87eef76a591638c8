"""check_object, for layer and network objects that store parameters and gradients in attributes."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import product
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from nnfunc._internal.validate import positive_int
from nnfunc.arrays import Array
from nnfunc.checks.function import Arrays, UserError
from nnfunc.checks.meant import Meant
from nnfunc.checks.report import Report
from nnfunc.checks.returned import Returned, matched
from nnfunc.checks.subject import Subject, arguments, called, checked, finite, inputs_of, refused
from nnfunc.checks.trees import GRADS, bare, is_real, put, reals
from nnfunc.keys import Key, generator
from nnfunc.keys import key as new_key

DEPTH = 5
Path = tuple[tuple[str, Any], ...]
"""The path from an object to an array in it: ("attribute", "W"), ("item", 0), ..."""


def check_object(
    layer: Any,
    *inputs: Any,
    forward: str = "",
    backward: str | None = "backward",
    batch_size: int | None = None,
    tolerance: float = 0.0,
    expected: Mapping[str, str] | None = None,
    key: Key | None = None,
) -> Report:
    """Checks an object with the methods forward(*inputs) -> y and backward(dy) -> dx, and its parameters.

    Parameters are the float arrays in the object's attributes, including lists, dicts and nested objects, that have a
    gradient after backward: W with dW, grad_W, W_grad, ...; params["W"] with grads["W"] (or lists of both);
    value (or data, w, ...) with grad; or a gradient returned in a dict under the parameter's name.

    Args:
        layer: the object; it is not modified.
        inputs: the inputs of forward.
        forward: the method's name; by default "forward", or the object itself is called.
        backward: the method's name; None if forward is a loss that returns (value, gradients). It may take nothing (a
            loss), the inputs again, or dy; and return nothing, the gradients of the inputs, or a dict of gradients.
        batch_size, tolerance, expected, key: as in `check_function`.
    Returns:
        a Report, whose arrays are named after forward's arguments, and parameters by their path: "W",
        "layers[0].W".
    Raises:
        TypeError, ValueError: the methods do not exist, or there is nothing to check.

    Each call uses a fresh copy with cleared gradients, so accumulation and random generators of the object do not
    matter. The report notes if backward adds to existing gradients.

    >>> class Scale:
    ...     def __init__(self, w):
    ...         self.w, self.dw = w, np.zeros_like(w)
    ...     def forward(self, x):
    ...         self.x = x
    ...         return x * self.w
    ...     def backward(self, dy):
    ...         self.dw += (dy * self.x).sum(axis=0)
    ...         return dy / self.w  # should be a product
    >>> report = nn.check_object(Scale(np.array([0.5, -1.0])), np.array([[1.0, 2.0], [3.0, -0.4]]))
    >>> [finding.name for finding in report.findings], report.notes
    (['x'], ('backward adds to existing gradients: clear them before each call',))
    """
    began = time.perf_counter()
    if batch_size is not None:
        batch_size = positive_int(batch_size, "batch_size")
    run = getattr(layer, forward or "forward", None)
    run = layer if run is None and not forward and callable(layer) else run
    if not callable(run) or not (backward is None or callable(getattr(layer, backward, None))):
        raise TypeError(f"{type(layer).__name__} has no methods {forward or 'forward'} and {backward}")
    named, way = inputs_of(run, inputs)[0], "" if run is layer else forward or "forward"
    rng = generator(new_key(0) if key is None else key)
    try:
        one = _Object(layer, named, way, backward)
    except UserError as error:
        return refused(error, began)
    meant = Meant(tolerance, expected or {}, finite(one.start))
    return checked(one, [run, *([getattr(layer, backward)] if backward else [])], rng, meant, began, batch_size)


class _Object(Subject):
    """An object's methods as functions of its inputs and parameters."""

    cached = False

    def __init__(self, layer: Any, inputs: dict[str, Any], forward: str, backward: str | None) -> None:
        self.layer, self.inputs, self.f, self.b, self.notes = layer, inputs, forward, backward, []
        self.start = {k: v for name, value in inputs.items() for k, v in reals(name, value, settings=True).items()}
        taken = [] if backward is None else arguments(getattr(layer, backward))
        self.taken = ["dy"] if taken is None else taken
        self.fixed_dy = set(self.taken) <= set(inputs)  # a loss
        before = dict(arrays_of(layer))
        own = copy.deepcopy(layer)
        first, returned = self._once(own)
        self.paths: dict[str, list[Path]] = {}
        """All locations of each parameter: a network may refer to those of its layers."""
        self.gradient: dict[str, Path | str] = {}
        """The location of its gradient: among the attributes, or in the returned dict."""
        pairs: list[tuple[Path, Path | str]] = [*gradients_of(before, first).items(), *_returned_of(before, returned)]
        for path, gradient in pairs:
            self._parameter(path, gradient, before)
        self._grows(first, self._once(own)[0], self._once(own)[0])
        known = {p for places in self.paths.values() for p in places} | set(self.gradient.values())
        without = [written(p) for p, a in before.items() if p not in known and isinstance(a, np.ndarray) and a.ndim]
        if without:
            self.notes.append(f"no gradient of {', '.join(without)} is found: not checked")

    def _parameter(self, path: Path, gradient: Path | str, before: Mapping[Path, Any]) -> None:
        if any(path in places for places in self.paths.values()):
            return
        places = [p for p, array in before.items() if array is before[path]]
        name = written(min(places, key=lambda p: (not isinstance(p[-1][1], str), len(written(p)))))
        last = places[0][-1][1]
        if (
            len(places[0]) == 2
            and isinstance(last, str)
            and name.endswith("]")
            and last not in {*self.inputs, *self.paths}
        ):
            name = last  # params["W"]
        name = f"self.{name}" if name in self.inputs else name
        self.paths[name], self.gradient[name] = places, gradient
        self.start[name] = np.array(before[path], np.float64)

    def _grows(self, *calls: Mapping[Path, Any]) -> None:
        """Notes whether a second and a third call change the gradients."""
        series = [[call[p] for call in calls if p in call] for p in self.gradient.values() if isinstance(p, tuple)]
        changed = [s for s in series if len(s) == 3 and not np.allclose(s[0], s[1], rtol=1e-6)]
        if changed and all(np.allclose(c - b, b - a, rtol=1e-5) for a, b, c in changed):
            self.notes.append("backward adds to existing gradients: clear them before each call")
        elif changed:
            self.notes.append(
                "a second call of forward and backward gives different gradients: the object's state changes"
            )

    def _once(self, own: Any) -> tuple[dict[Path, Any], Any]:
        """Copies of the arrays of an object after a forward and a backward, and the result of backward."""
        y, cache = self._forward(own, {})
        dy = {k: np.cos(np.arange(v.size)).reshape(v.shape) for k, v in reals("y", y).items()}
        returned = self._backward(cache, put("y", y, dy))
        return {path: np.array(array) for path, array in arrays_of(own)}, returned

    def _forward(self, own: Any, arrays: Arrays) -> tuple[Any, Any]:
        values = {name: put(name, value, arrays) for name, value in self.inputs.items()}
        result = called("forward", getattr(own, self.f) if self.f else own, *values.values())
        if self.b is not None:
            return result, (own, values, None)
        if not isinstance(result, tuple) or len(result) < 2:
            raise TypeError("forward did not return a pair: expected (value, gradients), or the name of a backward")
        return result[0], (own, values, result[1] if len(result) == 2 else result[1:])

    def _backward(self, cache: Any, dy: Any) -> Any:
        own, values, gradients = cache
        if self.b is None:
            return gradients
        return called("backward", getattr(own, self.b), *(values.get(name, dy) for name in self.taken))

    def forward(self, arrays: Arrays) -> tuple[Any, Any]:
        """The outputs, and the copy that computed them."""
        self.replay()
        own = copy.deepcopy(self.layer)
        for path in self.gradient.values():
            if isinstance(path, tuple):
                cleared(own, path)
        for name, paths in self.paths.items():
            for path in paths:
                set_at(own, path, arrays[name])
        return self._forward(own, arrays)

    def backward(self, cache: Any, dy: Any) -> Returned:
        """The gradients by name: of the inputs as returned, of the parameters from attributes or a dict."""
        returned = self._backward(cache, dy)
        found = Returned({}, []) if returned is None else matched(returned, self.inputs)
        there: dict[Any, Any] = {**dict(arrays_of(cache[0])), **_dict_in(returned)}
        own = {name: there[place] for name, place in self.gradient.items() if place in there}
        return Returned({**found.gradients, **own}, [note for note in found.notes if "is ignored" not in note])


def _dict_in(returned: Any) -> dict[str, Any]:
    """The returned dict, alone or among other values."""
    parts = returned if isinstance(returned, (tuple, list)) else [returned]
    return {str(k): v for part in parts if isinstance(part, Mapping) for k, v in part.items() if v is not None}


def _returned_of(before: Mapping[Path, Any], returned: Any) -> Iterator[tuple[Path, str]]:
    """The array that each returned gradient belongs to, by the last step of its path."""
    for key in _dict_in(returned):
        for name in dict.fromkeys((key, bare(key))):
            found = {id(a): p for p, a in before.items() if p[-1][1] == name}
            if len(found) == 1:
                yield next(iter(found.values())), key
                break


# -- the arrays of an object -------------------------------------------------------------------------------------------

CODE = (str, bytes, type, FunctionType, MethodType, BuiltinFunctionType, ModuleType)


def arrays_of(value: Any, path: Path = (), inside: frozenset[int] = frozenset()) -> Iterator[tuple[Path, Any]]:
    """The float arrays in an object's attributes, lists, dicts and nested objects."""
    if isinstance(value, np.ndarray) or (path and is_real(value)):
        if is_real(value):
            yield path, value
    elif len(path) <= DEPTH and id(value) not in inside and not isinstance(value, CODE):
        for step, inner in _steps(value):
            yield from arrays_of(inner, (*path, step), inside | {id(value)})


def _steps(value: Any) -> list[tuple[tuple[str, Any], Any]]:
    if isinstance(value, Mapping):
        return [(("item", k), v) for k, v in value.items()]
    if isinstance(value, (list, tuple)):
        return [(("item", i), v) for i, v in enumerate(value)]
    slots = [s for kind in type(value).__mro__ for s in getattr(kind, "__slots__", ()) if isinstance(s, str)]
    attributes = {**getattr(value, "__dict__", {}), **{s: getattr(value, s) for s in slots if hasattr(value, s)}}
    return [(("attribute", k), v) for k, v in attributes.items()]


def written(path: Path) -> str:
    """A path as code.

    >>> written((("attribute", "layers"), ("item", 0), ("attribute", "W")))
    'layers[0].W'
    """
    text = "".join(f".{step}" if kind == "attribute" else f"[{step!r}]" for kind, step in path)
    return text.removeprefix(".")


def _at(value: Any, path: Path) -> Any:
    for kind, step in path:
        value = getattr(value, step) if kind == "attribute" else value[step]
    return value


def set_at(value: Any, path: Path, array: Array) -> None:
    """Sets an array, in place if possible, as it may be shared."""
    holder, (kind, step), old = _at(value, path[:-1]), path[-1], _at(value, path)
    if isinstance(old, np.ndarray) and old.dtype == array.dtype and old.flags.writeable:
        old[...] = array
    elif kind == "attribute":
        setattr(holder, step, float(array) if isinstance(old, float) else array)
    elif not isinstance(holder, tuple):
        holder[step] = float(array) if isinstance(old, float) else array


def cleared(value: Any, path: Path) -> None:
    """Sets a gradient to zeros, if it exists."""
    with suppress(AttributeError, LookupError, TypeError):
        old = _at(value, path)
        if is_real(old):
            set_at(value, path, np.zeros(np.shape(old)))


# -- which array is the gradient of which ------------------------------------------------------------------------------

VALUES = {"data", "value", "values", "w", "weight", "weights", "param", "params", "parameters", "theta", "v", "vars"}


def gradients_of(before: Mapping[Path, Any], after: Mapping[Path, Any]) -> dict[Path, Path]:
    """The location of the gradient of each array that has one.

    Args:
        before: the arrays before backward.
        after: the arrays after backward.

    >>> w, dw = (("attribute", "w"),), (("attribute", "dw"),)
    >>> gradients_of({w: np.ones(2)}, {w: np.ones(2), dw: np.ones(2)}) == {w: dw}
    True
    """
    found: dict[Path, Path] = {}
    for grad in after:
        steps = tuple(step for _, step in grad)
        bares = product(*({step, bare(step)} if isinstance(step, str) else {step} for step in steps))
        wanted = {_steps_without(own, GRADS) for own in bares} - {steps}
        if not wanted:
            continue
        own: list[Path] = []
        for fold in (str, _lower):
            names = {p: tuple(fold(s) for _, s in p) for p in before if p != grad}
            folded = {tuple(map(fold, w)) for w in wanted}
            own = own or [p for p, name in names.items() if folded & {name, _steps_without(name, VALUES)}]
        if not own:  # one array with one gradient: w, grad
            own = [p for p in before if p[:-1] == grad[:-1] != p and p != grad and _alike(before[p], after[grad])]
            own = own if grad[-1][1] in GRADS and len(own) == 1 else []
        for p in own:
            found.setdefault(p, grad)
    return {p: g for p, g in found.items() if p not in found.values()}


def _lower(step: Any) -> str:
    return str(step).lower()


def _steps_without(steps: tuple[Any, ...], words: set[str]) -> tuple[Any, ...]:
    return tuple(step for step in steps if str(step).lower() not in words)


def _alike(a: Any, b: Any) -> bool:
    return bool(np.shape(a) == np.shape(b))


__all__ = ["check_object"]
