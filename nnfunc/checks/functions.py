"""check_function, for a forward and a backward of any arrays in any calling convention."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from nnfunc._internal.validate import positive_int
from nnfunc.checks.function import Arrays, UserError
from nnfunc.checks.meant import Meant
from nnfunc.checks.report import Report
from nnfunc.checks.returned import Returned, matched
from nnfunc.checks.subject import Subject, arguments, called, checked, cotangent, finite, inputs_of, kind_of
from nnfunc.checks.trees import is_real, leaves, put, reals, short
from nnfunc.keys import Key, generator
from nnfunc.keys import key as new_key


def check_function(
    forward: Callable[..., Any],
    backward: Callable[..., Any] | None,
    *inputs: Any,
    cache_first: bool | None = None,
    batch_size: int | None = None,
    tolerance: float = 0.0,
    expected: Mapping[str, str] | None = None,
    key: Key | None = None,
) -> Report:
    """Checks a forward and a backward of any arrays, whatever their calling convention.

    Args:
        forward: inputs -> (y, cache), or (y1, y2, ..., cache), (y, backprop), or y alone.
        backward: (dy, cache) -> gradients; or (dy1, dy2, ..., cache), (cache, dy), (dy, *inputs), (dy), (cache). The
            gradients: one, a tuple or list in the order of the inputs, a dict by name ("W", "dW", "grad_W", ...), or a
            tuple with such a dict. None if forward returns it, as a function of dy, or is a loss that returns
            (value, gradients), as `scipy.optimize.minimize` takes with jac=True.
        inputs: float arrays of any layout, floats, integers and masks (which have no gradient), anything else (passed
            unchanged), and tuples, lists and dicts of these. Or a single dict of the inputs by name.
        cache_first: whether backward takes the cache before dy; inferred from its argument names by default.
        batch_size: the number of examples, if it is not the length of the first axis of inputs and outputs.
        tolerance: relative to the largest derivative of an array; smaller differences are accepted.
        expected: the reason for each gradient that differs intentionally, by name: {"x": "straight-through"}.
        key: for cotangents, random directions and points; nn.key(0) by default.
    Returns:
        a Report, whose arrays are named after forward's arguments; exceptions of forward and backward are findings.
    Raises:
        TypeError, ValueError: forward takes a different number of inputs; no input is a float array; inputs are not
            finite; `expected` contains an unknown name.

    Outputs are weighted by random cotangents. With several outputs, the report names those that cause a mistake.
    Gradients that are None or not returned are not checked, nor are other returned values; the report notes this.

    >>> def forward(x, w):
    ...     return np.tanh(x @ w), (x, w)
    >>> def backward(dy, cache):
    ...     x, w = cache
    ...     dz = dy * (1 - np.tanh(x @ w) ** 2)
    ...     return dz @ w.T, x.T @ dy  # should be x.T @ dz
    >>> rng = np.random.default_rng(0)
    >>> report = nn.check_function(forward, backward, rng.normal(size=(5, 3)), rng.normal(size=(3, 2)))
    >>> [finding.name for finding in report.findings]
    ['w']
    """
    began = time.perf_counter()
    if not callable(forward) or not (backward is None or callable(backward)):
        raise TypeError("forward and backward are functions (backward None if forward returns it, or the gradients)")
    if batch_size is not None:
        batch_size = positive_int(batch_size, "batch_size")
    named, by_name = inputs_of(forward, inputs)
    pair = _Pair(forward, backward, named, by_name, cache_first)
    finite(pair.start)
    rng = generator(new_key(0) if key is None else key)
    meant = Meant(tolerance, expected or {}, pair.start)
    return checked(pair, [f for f in (forward, backward) if f], rng, meant, began, batch_size)


# -- the convention ----------------------------------------------------------------------------------------------------

CACHES = {
    "cache", "caches", "c", "ctx", "context", "saved", "residuals", "res", "tape", "memory", "state",
    "store", "stash",
}  # fmt: skip
_COTANGENT = re.compile(r"^(d[a-z0-9_]+|d?l?d?out.*|g|grad.*|.*_grad|.*_bar|delta.*|cot.*|upstream.*|ct|error)$")


class _Pair(Subject):
    """A forward and a backward, called in their own convention."""

    def __init__(
        self, forward: Callable[..., Any], backward: Callable[..., Any] | None, inputs: dict[str, Any], by_name: bool,
        cache_first: bool | None,
    ) -> None:  # fmt: skip
        inputs = {name: _as_array(value) for name, value in inputs.items()}
        self.f, self.b, self.inputs, self.by_name = forward, backward, inputs, by_name
        arrays = {k: v for name, value in inputs.items() for k, v in reals(name, value, settings=True).items()}
        self.names = short(arrays)
        self.start = {self.names[k]: v for k, v in arrays.items()}
        self.notes: list[str] = []
        self.taken = None if backward is None else arguments(backward)
        names = [name.lower() for name in self.taken or ()]
        told = _cache_first(names) if cache_first is None else cache_first
        self.first, self.unsure = bool(told), told is None
        self.cached = backward is None or self.taken is None or len(self.taken) > 1
        if backward is not None and len(names) == 1 and names[0] in CACHES:
            self.fixed_dy, self.cached = True, True

    def forward(self, arrays: Arrays) -> tuple[Any, Any]:
        """The outputs; and the outputs, the cache and the inputs."""
        inside = {k: arrays[v] for k, v in self.names.items()}
        values = {name: put(name, value, inside) for name, value in self.inputs.items()}
        self.replay()
        args, named = ((), values) if self.by_name else (tuple(values.values()), {})
        result = called("forward", self.f, *args, **named)
        y, cache, several = self._split(result)
        return y, (y, cache, several, tuple(values.values()))

    def _split(self, result: Any) -> tuple[Any, Any, bool]:
        """The outputs, the cache, and whether backward takes a cotangent for each output."""
        if not isinstance(result, tuple) or len(result) < 2 or hasattr(result, "_fields"):
            if self.b is None:
                raise TypeError(f"forward returned {kind_of(result)}, expected (y, backprop) or (value, gradients)")
            return result, _NONE, False
        if self.b is None and not callable(result[-1]):
            self.fixed_dy = True
            if np.size(result[0]) != 1 or not is_real(result[0]):
                raise TypeError(
                    f"forward returned {kind_of(result[0])} and no function: expected (value, gradients), a loss, or "
                    "(y, backprop); if forward and backward are two functions, pass both"
                )
            return result[0], result[1] if len(result) == 2 else result[1:], False
        if self._outputs_only(len(result)):
            return result, _NONE, True
        y, cache = (result[0], result[1]) if len(result) == 2 else (result[:-1], result[-1])
        taken = 0 if self.taken is None else len(self.taken)
        several = isinstance(y, (tuple, list)) and taken == len(y) + (self.b is not None) > 1 + (self.b is not None)
        if self.b is None and isinstance(y, tuple):
            several = len(arguments(cache) or ()) == len(y)
        return y, cache, several

    def _outputs_only(self, count: int) -> bool:
        """Whether forward returns outputs only: backward takes a cotangent for each, and inputs."""
        rest = [name.lower() for name in self.taken or () if name not in self.inputs]
        given = len(self.taken or ()) - len(rest)
        return given > 0 and len(rest) == count and all(_COTANGENT.match(name) for name in rest)

    def smaller(self) -> Subject | None:
        """The same pair on smaller arrays, with axes of equal length cut alike; None if this does not work."""
        lengths = sorted({n for _, a in self._arrays() for n in a.shape}, reverse=True)
        for least in (3, 5, 8):
            free = (n for n in range(least, 2 * least + len(lengths)) if n not in lengths or n > least)
            cuts = {n: m for n, m in zip([n for n in lengths if n > least], free, strict=False) if m < n}
            inputs = {k: _cut(v, cuts) for k, v in self.inputs.items()}
            pair = _Pair(self.f, self.b, inputs, self.by_name, self.first)
            with suppress(Exception):  # labels beyond the remaining classes, settings that depend on the lengths
                y, cache = pair.forward(pair.start)
                dy = {k: np.ones(v.shape) for k, v in reals("y", y).items()}
                gradients = pair.backward(cache, cotangent(y, dy)).gradients
                if all(np.shape(gradients[k]) == pair.start[k].shape for k in gradients):
                    return pair
        return None

    def _arrays(self) -> list[tuple[str, Any]]:
        return [(k, v) for name, value in self.inputs.items() for k, v in leaves(name, value)]

    def backward(self, cache: Any, dy: Any) -> Returned:
        """The gradients by name."""
        y, kept, several, inputs = cache
        dys = tuple(dy) if several else (dy,)
        if self.b is None:
            returned = kept if self.fixed_dy else called("backward", kept, *dys)
        else:
            returned = self._returned(y, kept, dys, inputs)
        found = matched(returned, self.inputs)
        return found._replace(gradients={self.names[k]: v for k, v in found.gradients.items()})

    def _returned(self, *values: Any) -> Any:
        """The result of backward, called with its arguments in the other order if it fails otherwise."""
        assert self.b is not None
        try:
            returned = called("backward", self.b, *self._arguments(*values))
        except UserError as error:
            if not self.unsure:
                raise
            self.first = not self.first
            try:
                returned = called("backward", self.b, *self._arguments(*values))
            except UserError:
                self.first = not self.first
                raise error from error.__cause__
            self.notes.append("backward is assumed to take the cache before dy: it fails otherwise")
        self.unsure = False
        return returned

    def _arguments(self, y: Any, kept: Any, dys: tuple[Any, ...], inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments of backward: cotangents, cache, and arguments named like inputs of forward."""
        taken = self.taken or []
        if self.fixed_dy:
            return (kept,)
        if len(taken) == 1:
            return dys
        if kept is not _NONE and len(taken) <= len(dys) + 1:
            return (kept, *dys) if self.first else (*dys, kept)
        own = inputs if kept is _NONE else (kept,)
        if set(taken) & set(self.inputs):
            rest = iter((kept, *dys) if self.first and kept is not _NONE else (*dys, kept))
            known = {
                **{name: y for name in taken if name.lower() in OUTPUTS and kept is _NONE},
                **self._by_name(inputs),
            }
            return tuple(known[name] if name in known else next(rest, None) for name in taken)
        if isinstance(kept, tuple) and len(taken) == len(dys) + len(kept):
            own = kept
        elif kept is _NONE and len(taken) == len(dys) + 1 == 2 and taken[-1].lower() in OUTPUTS:
            own = (y,)
        elif kept is _NONE and len(taken) == len(dys) + 1 + len(inputs):
            own = (y, *inputs)
        return (*own, *dys) if self.first else (*dys, *own)

    def _by_name(self, inputs: tuple[Any, ...]) -> dict[str, Any]:
        return dict(zip(self.inputs, inputs, strict=True))


def _as_array(value: Any) -> Any:
    """Converts lists of floats to an array."""
    numbers = isinstance(value, list) and value and not leaves("", value)
    try:
        array = np.asarray(value) if numbers else None
    except ValueError:  # lists of different lengths
        return value
    return array if array is not None and array.dtype.kind == "f" else value


def _cut(value: Any, lengths: Mapping[int, int]) -> Any:
    """Cuts all axes of these lengths."""
    if isinstance(value, np.ndarray):
        return value[tuple(slice(lengths.get(n, n)) for n in value.shape)]
    if isinstance(value, Mapping):
        return {k: _cut(v, lengths) for k, v in value.items()}
    return type(value)(_cut(v, lengths) for v in value) if type(value) in (tuple, list) else value


OUTPUTS = {"y", "out", "output", "outputs", "ans", "a", "result"}
_NONE = object()


def _cache_first(names: list[str]) -> bool | None:
    """Whether the cache is passed before the cotangents, judging by the names; None if they are unclear."""
    if len(names) < 2:
        return False
    first, last = names[0], names[-1]
    if first in CACHES or last in CACHES:
        return first in CACHES
    if bool(_COTANGENT.match(first)) != bool(_COTANGENT.match(last)):
        return bool(_COTANGENT.match(last))
    return None


def in_precision(
    forward: Callable[..., Any], backward: Callable[..., Any] | None, inputs: Sequence[Any], dtype: np.dtype[Any]
) -> str:
    """Describes what is wrong with gradients computed in another precision; "" if their dtype and accuracy are right.

    >>> in_precision(lambda x: x**2, lambda dy, x: 2 * dy * x, [np.ones(2)], np.dtype(np.float32))
    ''
    >>> in_precision(lambda x: x**2, lambda dy, x: 2.0 * np.float64(dy) * x, [np.ones(2)], np.dtype(np.float32))
    'x: the gradient has dtype float64, the array float32'
    """
    pair = _Pair(forward, backward, *inputs_of(forward, tuple(inputs)), None)
    y, cache = pair.forward({k: v.copy() for k, v in pair.start.items()})
    dy = {k: np.cos(np.arange(v.size)).reshape(v.shape) for k, v in reals("y", y).items()}
    exact = pair.backward(cache, cotangent(y, dy)).gradients
    _, cache = pair.forward({k: v.astype(dtype) for k, v in pair.start.items()})
    rounded = pair.backward(cache, cotangent(y, {k: v.astype(dtype) for k, v in dy.items()})).gradients
    for name, array in exact.items():
        own, peak = np.asarray(rounded[name]), float(np.abs(array).max(initial=0))
        if own.dtype != dtype:
            return f"{name}: the gradient has dtype {own.dtype}, the array {dtype}"
        gap = float(np.abs(own - array).max(initial=0))
        if gap > np.sqrt(np.finfo(dtype).eps) * peak:
            return f"{name}: in {dtype} the gradient is off by {gap / peak:.1e} of its largest element"
    return ""
