"""Forward through a program: its calls in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfunc._internal.validate import real
from nnfunc.arrays import EMPTY, Array, ArrayDict, new_vector
from nnfunc.core.kernel import Cache, Gather, Kernel, view
from nnfunc.core.program import Op, Program, Ready
from nnfunc.core.values import Value, map_leaves, taken
from nnfunc.core.wiring import located
from nnfunc.keys import Keys, fold_in


class Moving:
    """The mutable parts of a running program: its values and the arrays of the state."""

    __slots__ = ("arrays", "changed", "key", "lead", "params", "state", "train", "values")

    def __init__(
        self, params: ArrayDict, state: ArrayDict, key: Keys | None, train: bool | Gather, lead: int, values: list[Any]
    ) -> None:
        self.params, self.key, self.train, self.lead, self.values = params, key, train, lead, values
        self.state: list[NDArray[Any]] = [*(state._arrays or state.arrays), *state._integers.values()]
        self.changed: bool = False


def run(
    program: Program,
    params: ArrayDict,
    state: ArrayDict,
    x: Value,
    key: Keys | None,
    train: bool | Gather,
    folds: tuple[int, ...] = (),
    keep: bool = True,
) -> tuple[list[Any], list[Cache], ArrayDict]:
    """Returns all values by index, the caches of the calls, and the new state.

    `train` is whether the layers run in training mode, or the `Gather` of a shard that runs in step with others.
    `folds` are integers folded into the key before a layer's own, once a layer asks for its key. Without `keep`,
    only the outputs are kept, and no backward can follow.
    """
    values: list[Any] = [None] * len(program.shapes)
    if type(program.inputs) is int:
        values[0] = x
    else:
        put(values, program.inputs, x)
    moving = None
    arrays: Sequence[Array] = params._arrays or params.arrays
    if program.constants:
        arrays = (*arrays, *state.arrays)
    caches: list[Cache] = []
    try:
        for entry in program.ready:
            forward, own, i, o, special, _ = entry
            if special is None:
                values[o], cache = forward(own(arrays), values[i])
            else:
                if moving is None:
                    key = folded(key, folds) if program.asks_key else None
                    moving = Moving(params, state, key, train, program.lead, values)
                y, cache = called(entry, special, own(arrays), moving)
                if type(o) is int:
                    values[o] = y
                else:
                    cache = put_several(values, o, y, cache)
            if not keep:
                cache = None
                for n in program.last[len(caches)]:
                    values[n] = None
            caches.append(cache)
    except Exception as error:
        raise located(error, program.ops[len(caches)].path) from error
    return values, caches, state if moving is None or not moving.changed else moved(state, moving.state)


def put_several(values: list[Any], numbers: Value, y: Value, cache: Cache) -> Cache:
    """Stores several outputs; the cache keeps their shapes."""
    put(values, numbers, y)
    return cache, map_leaves(lambda a: (a.shape, a.dtype), y)


def called(entry: Ready, op: Op, own: Sequence[Array], moving: Moving) -> tuple[Value, Cache]:
    """Calls a kernel that takes more than parameters and x, or has several inputs or outputs."""
    kernel: Kernel = op.layer.kernel  # type: ignore[assignment]  # a call has one
    x = moving.values[op.x] if type(op.x) is int else taken(moving.values, op.x)
    if any(op.casts):
        dtype, casts = moving.params.dtype if moving.params.size else None, iter(op.casts)
        x = map_leaves(lambda a: real(a, "x", dtype) if next(casts) else a, x)
    params: Any = own
    if kernel.named:
        x, params = view(x), named_arrays(op.names, own, moving.lead, moving.params, op)
    given: dict[str, Any] = {}
    for what in kernel.asks:
        if what == "train":
            given[what] = bool(moving.train) and not op.predicts
        elif what == "key":
            given[what] = folded(moving.key, op.key) if moving.train or kernel.named else None
        elif what == "lead":
            given[what] = moving.lead
        elif what == "gather":
            given[what] = moving.train if callable(moving.train) else None
        else:
            before = entry.state(moving.state)
            given[what] = named_arrays(op.state_names, before, moving.lead) if kernel.named else before
    result = entry.forward(params, x, **given)
    if len(result) == 2:
        return result  # type: ignore[no-any-return]  # (y, cache)
    y, cache, after = result
    if kernel.named:
        after = given["state"].like(after, "the state that forward returned").values()
    for i, array in zip(op.state, after, strict=True):
        moving.changed = moving.changed or array is not moving.state[i]
        moving.state[i] = array
    return y, cache


def folded(key: Keys | None, numbers: tuple[int, ...]) -> Keys | None:
    """Returns the key with integers folded in, one after another."""
    if key is not None:
        for number in numbers:
            key = fold_in(key, number)
    return key


def moved(state: ArrayDict, now: list[NDArray[Any]]) -> ArrayDict:
    """Returns the state as updated by the calls."""
    count = len(state.names)
    vector = new_vector(state._vector.shape, state.dtype)
    for part, value in zip(state._layout.views(vector), now, strict=False):
        part[...] = value
    integers = {k: np.array(v, np.int64) for k, v in zip(state._integers, now[count:], strict=True)}
    for array in integers.values():
        array.setflags(write=False)
    return ArrayDict._of(state._layout, vector, integers)


def named_arrays(
    names: Sequence[str],
    arrays: Sequence[NDArray[Any]],
    lead: int,
    params: ArrayDict | None = None,
    op: Op | None = None,
) -> ArrayDict:
    """Returns arrays as the dict passed to a user-defined layer; no copy if they are a group of the parameters."""
    if params is not None and op is not None:
        group = params.group(op.path) if op.path else params
        if not any(op.turned) and tuple(group) == tuple(names) and all(p < len(params.names) for p in op.params):
            return group
    if not names and params is not None:
        return params.group("") if lead == 2 else EMPTY
    return ArrayDict(dict(zip(names, arrays, strict=True)), stacked=lead == 2)


def put(values: list[Any], numbers: Value, value: Value) -> None:
    if not isinstance(numbers, tuple):
        values[numbers] = value
        return
    for n, part in zip(numbers, value, strict=True):
        put(values, n, part)
