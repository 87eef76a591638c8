"""Tracing of formulas: a formula is called with `Traced` values in place of arrays, which record every operation.

A formula may be any function of arrays with NumPy's operators and ufuncs, `np.where` and `np.clip`. Computations with
plain numbers are not recorded, only their results. Dtypes follow NumPy's promotion.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import DTypeLike

Kind: TypeAlias = "np.dtype[Any] | type"
"""A dtype; or `float` or `int` for a plain number, which adopts the dtype of the arrays it is combined with."""


class Call(NamedTuple):
    """A call of a ufunc (or `np.where`) on values; `kinds` are the dtypes of its inputs and of its result."""

    function: Callable[..., Any]
    values: tuple[str, ...]
    kinds: tuple[np.dtype[Any], ...]


class Trace(NamedTuple):
    """The calls of a formula. Its arguments are named a0, a1, …, its constants c0, …, the results of calls x0, …."""

    calls: tuple[Call, ...]
    results: tuple[str, ...]
    constants: int

    def last_use(self, value: str) -> int:
        """The index of the last call that uses a value; −1 if there is none."""
        return max((i for i, call in enumerate(self.calls) if value in call.values), default=-1)


def traced(
    formula: Callable[..., Any], kinds: tuple[Kind, ...], zeros: tuple[bool, ...] = ()
) -> tuple[Trace, tuple[Any, ...]]:
    """The trace of `formula(*arguments)` for arguments of these kinds, and its constants.

    `zeros` flags which of the last arguments are the number 0: their additions are omitted.

    >>> trace, constants = traced(lambda w, g, rate: (w - 2 * g * rate,), (np.dtype("f4"), np.dtype("f4"), float))
    >>> [(call.function.__name__, call.values) for call in trace.calls], trace.results, constants
    ([('multiply', ('c0', 'a1')), ('multiply', ('x0', 'a2')), ('subtract', ('a0', 'x1'))], ('x2',), (2,))
    """
    first = len(kinds) - len(zeros)
    tracer = Tracer({f"a{first + i}" for i, zero in enumerate(zeros) if zero})
    result = formula(*[Traced(tracer, f"a{i}", kind) for i, kind in enumerate(kinds)])
    if not isinstance(result, tuple):
        raise TypeError(f"it returned {type(result).__name__}, expected the tuple (w, *slots)")
    results = tuple(tracer.value(r).name for r in result)
    return Trace(tuple(tracer.calls), results, len(tracer.constants)), tuple(tracer.constants)


class Tracer:
    """Records calls and constants."""

    def __init__(self, zeros: set[str]) -> None:
        self.zeros = zeros
        self.calls: list[Call] = []
        self.constants: list[Any] = []

    def value(self, value: Any) -> Traced:
        """The argument of a call as a value of the trace: numbers become constants."""
        if isinstance(value, Traced):
            return value
        if isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0:
            kind: Kind = value.dtype
        elif isinstance(value, (bool, int, float)):
            kind = np.dtype(bool) if isinstance(value, bool) else float if isinstance(value, float) else int
        else:
            raise TypeError(f"it computes with {type(value).__name__}, which is not elementwise: {value!r:.40}")
        self.constants.append(value)
        return Traced(self, f"c{len(self.constants) - 1}", kind)

    def call(self, function: Callable[..., Any], *inputs: Any) -> Traced:
        """Records a call."""
        values = [self.value(v) for v in inputs]
        if function is np.add and values[1].name in self.zeros:
            return values[0]
        kinds = _kinds(function, tuple(v.kind for v in values))
        self.calls.append(Call(function, tuple(v.name for v in values), kinds))
        return Traced(self, f"x{len(self.calls) - 1}", kinds[-1])


@lru_cache(maxsize=1024)
def _kinds(function: Any, kinds: tuple[Kind, ...]) -> tuple[np.dtype[Any], ...]:
    if all(isinstance(k, type) for k in kinds):
        raise TypeError(f"{function.__name__} of numbers alone: these are computed beforehand")
    if function is np.where:
        of = np.result_type(*(k(0) if isinstance(k, type) else k for k in kinds[1:]))
        return np.dtype(bool), of, of, of
    found: tuple[np.dtype[Any], ...] = function.resolve_dtypes((*kinds, None))
    return found


class Traced(NDArrayOperatorsMixin):
    """A value of a trace, which NumPy's operators and functions accept as an array."""

    def __init__(self, tracer: Tracer, name: str, kind: Kind) -> None:
        self.tracer, self.name, self.kind = tracer, name, kind

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **options: Any) -> Traced:
        if method != "__call__" or options or ufunc.nout != 1 or ufunc.signature is not None:
            raise TypeError(f"it calls np.{ufunc.__name__} in a form that is not elementwise")
        result = self.tracer.call(ufunc, *inputs)
        if out is None:
            return result
        [target] = out  # of `a += b` and the like
        if not isinstance(target, Traced) or target.name.startswith("a"):
            raise TypeError("it writes into its arguments: expected new arrays")
        if result.kind != target.kind:
            raise TypeError(f"it writes {result.kind} into an array of {target.kind}")
        target.name = result.name
        return target

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        if function is np.where and len(args) == 3 and not options:
            return self.tracer.call(np.where, *args)
        if function is np.clip and len(args) == 3 and not options:
            return np.minimum(np.maximum(args[0], args[1]), args[2])
        return NotImplemented

    def __pow__(self, exponent: Any) -> Any:
        """As for arrays, these powers have dedicated functions."""
        special: dict[float, Any] = {2: np.square, 0.5: np.sqrt, 1: np.positive, -1: np.reciprocal}
        if isinstance(exponent, (int, float)) and exponent in special:
            return special[exponent](self)
        return self.tracer.call(np.power, self, exponent)

    @property
    def dtype(self) -> DTypeLike:
        return self.kind

    def __bool__(self) -> bool:
        raise TypeError(
            "it uses an element as a condition: write np.where(condition, a, b) for `a if condition else b`"
        )
