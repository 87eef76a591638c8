"""The outputs of a model in prediction mode."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from nnfunc._internal.validate import cast, numeric
from nnfunc.arrays import ArrayDict, as_dict
from nnfunc.core.layer import Layer
from nnfunc.core.program import Program
from nnfunc.core.values import Value, leaves, map_leaves, taken
from nnfunc.layers.structure import by_rows
from nnfunc.stacks import PerMember


class HasParams(Protocol):
    """The part of a `TrainState` that prediction needs: params and state."""

    @property
    def params(self) -> ArrayDict: ...
    @property
    def state(self) -> ArrayDict: ...


Given: TypeAlias = "HasParams | tuple[ArrayDict, ArrayDict]"
"""A `TrainState`, any object with `params` and `state`, or a pair of these."""

FEW, ROWS, CACHE = 256, 2048, 4 << 20
"""Independent rows are predicted in parts whose activations stay in cache: as many rows as their widest value fits into
CACHE bytes, at most ROWS. Up to FEW rows are predicted at once."""


class Trained(NamedTuple):
    """Parameters and state."""

    params: ArrayDict
    state: ArrayDict


def trained(model: object, ts: Any, call: str) -> HasParams:
    """The parameters and the state, given as a `TrainState` or a pair; raises an error for anything else."""
    if isinstance(ts, tuple) and not hasattr(ts, "params") and len(ts) == 2:
        ts = Trained(*(as_dict(part, name) for part, name in zip(ts, ("params", "state"), strict=True)))
    if not isinstance(model, Layer) or not hasattr(ts, "params") or not hasattr(ts, "state"):
        came = f"{type(model).__name__}, {type(ts).__name__}"
        raise TypeError(f"the first two arguments are {came}; expected a model and a TrainState: {call}")
    found: HasParams = ts
    return found


def predict(model: Layer, ts: Given, X: Value) -> Value:
    """Returns the model's outputs for the rows of X in prediction mode: no dropout, running averages in batch norm.

    Args:
        model: the model.
        ts: a `TrainState`, or any object with `params` and `state`, or a pair of these.
        X: (examples, ..., features), or a tuple for several inputs; in a stack, shared by all networks unless marked by
            `nn.stacks.per_member`.
    Returns:
        (examples, ..., outputs), or (K, examples, ..., outputs) for a stack, of the parameters' dtype; a tuple for
        several outputs.
    Raises:
        ValueError: NaN or infinity in X, or a shape mismatch.

    >>> model = nn.mlp([2, 3, 1], ["relu", "sigmoid"])
    >>> ts = nn.train_state(model, nn.gd(), nn.key(0), input_shape=(2,))
    >>> nn.predict(model, ts, np.zeros((2, 2)))
    array([[0.5],
           [0.5]], dtype=float32)
    """
    ts = trained(model, ts, "predict(model, ts, X)")
    params = ts.params
    dtype = params.dtype if params.size else ts.state.dtype if ts.state.size else None
    x = map_leaves(lambda a: a if isinstance(a, PerMember) else numeric(a, "X"), X)

    def ready(a: Any) -> Any:
        return PerMember(cast(a.array, "X", dtype)) if isinstance(a, PerMember) else cast(a, "X", dtype)

    def outputs(rows: slice) -> tuple[Program, Value]:
        part = map_leaves(lambda a: a if isinstance(a, PerMember) or not a.ndim else a[rows], x)
        program, values, *_ = model.run(params, ts.state, map_leaves(ready, part), None, False, keep=False)
        return program, taken(values, program.output)

    if not leaves(x):
        raise ValueError("X is an empty tuple, expected an array, or one per input")
    first = leaves(x)[0]
    many = not isinstance(first, PerMember) and first.ndim > 1 and len(first) > FEW
    if many and not params.stack_shape and by_rows(model):
        with suppress(ValueError, TypeError):  # errors are raised for all rows together below
            rows = rows_at_once(outputs(slice(0, 1))[0], np.dtype(dtype).itemsize)
            parts = [outputs(slice(i, i + rows))[1] for i in range(0, len(first), rows)]
            return map_leaves(lambda *each: np.concatenate(each), *parts)
    return map_leaves(np.copy, outputs(slice(None))[1])  # outputs of forward are read-only


def rows_at_once(program: Program, itemsize: int) -> int:
    """The number of rows whose widest value takes CACHE bytes, at most ROWS."""
    widest = max(math.prod(shape) for shape in program.shapes)
    return min(max(CACHE // (itemsize * max(widest, 1)), 1), ROWS)
