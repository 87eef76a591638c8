"""Backward through a program: its calls in reverse, skipping those whose gradients are not needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nnfunc.arrays import Array, ArrayDict
from nnfunc.core.forward import named_arrays
from nnfunc.core.kernel import Cache, view
from nnfunc.core.program import Op, Program, planned
from nnfunc.core.values import Value, leaves, map_leaves
from nnfunc.core.wiring import located


def run_backward(
    program: Program,
    params: ArrayDict,
    state: ArrayDict,
    caches: list[Cache],
    dy: Value,
    vector: Array | None,
    need_dx: bool,
) -> list[Any]:
    """Returns the gradients of all values by index (None if absent); writes those of the parameters into `vector`."""
    which = need_dx, vector is not None
    gradients = program.gradients.get(which)
    if gradients is None:
        gradients = program.gradients[which] = planned(program, *which)
    d: list[Any] = [None] * len(program.shapes)
    if type(program.output) is int:
        d[program.output] = dy
    else:
        _add(d, program.output, dy)
    arrays: Sequence[Array] = params._arrays or params.arrays
    if program.constants:
        arrays = (*arrays, *state.arrays)
    written = [] if vector is None else params._layout.views(vector)
    at = -1
    try:
        for at, backward, own, grads, i, o, need, special in gradients.calls:
            if special is None:
                dx = backward(own(arrays), caches[at], d[o], grads(written), need)
                if need:
                    d[i] = dx if d[i] is None else d[i] + dx
            else:
                _call_backward(program.ops[at], backward, own(arrays), caches[at], d, written, need, special, params)
    except Exception as error:
        raise located(error, program.ops[at].path) from error
    for p in gradients.unused:
        written[p][...] = 0
    return d


def _call_backward(
    op: Op,
    backward: Callable[..., Any],
    own: Sequence[Array],
    cache: Cache,
    d: list[Any],
    written: list[Array],
    need: Any,
    special: tuple[tuple[int, bool, bool] | None, ...],
    params: ArrayDict,
) -> None:
    """Runs the backward of a call whose gradients accumulate, or that has several inputs or outputs.

    `special` has for each array the position of its gradient, whether it is written first, and whether transposed.
    """
    if type(op.y) is int:
        dy = d[op.y]
    else:
        cache, shapes = cache
        dy = _paired(lambda n, s: np.zeros(*s) if d[n] is None else d[n], op.y, shapes)
    grads: list[Array | None] = []
    for array, place in zip(own, special, strict=True):
        if place is None:
            grads.append(None)
        else:
            grads.append(written[place[0]] if place[1] and not place[2] else np.empty(array.shape, array.dtype))
    given: Any = own
    if op.kernel.named:
        dy = view(dy)
        given = named_arrays(op.names, own, params._vector.ndim, params, op)
    dx = backward(given, cache, dy, tuple(grads), need)
    for gradient, place in zip(grads, special, strict=True):
        if gradient is None or place is None:
            continue
        position, first, turned = place
        gradient = gradient.mT if turned else gradient
        if not first:
            written[position] += gradient
        elif turned:
            written[position][...] = gradient
    if not isinstance(op.x, tuple):
        op_x, dx, need = (op.x,), (dx,), (need,)
    else:
        op_x = op.x
        if any(leaves(need)) and (not isinstance(dx, tuple) or len(dx) != len(op_x)):
            came = type(dx).__name__ if not isinstance(dx, tuple) else f"a tuple of {len(dx)}"
            raise TypeError(f"backward returned dx as {came}, expected a tuple of {len(op_x)}: one per input")
    _hand_down(d, op_x, dx, need)


def _hand_down(d: list[Any], numbers: Value, dx: Value, need: Any) -> None:
    """Accumulates the gradients of a call's inputs."""
    for n, gradient, needed in zip(numbers, dx or (None,) * len(numbers), need, strict=True):
        if isinstance(n, tuple):
            _hand_down(d, n, gradient, needed)
        elif needed:
            if gradient is None:
                raise ValueError("backward returned dx=None, but the layer below needs the gradient of its output")
            d[n] = gradient if d[n] is None else d[n] + gradient


def _add(d: list[Any], numbers: Value, value: Value) -> None:
    if not isinstance(numbers, tuple):
        d[numbers] = value if d[numbers] is None else d[numbers] + value
        return
    for n, part in zip(numbers, value, strict=True):
        if part is not None:
            _add(d, n, part)


def _paired(function: Callable[..., Any], numbers: Value, others: Any) -> Any:
    """Applies `function` to each index and its counterpart, in the structure of the indices."""
    if not isinstance(numbers, tuple):
        return function(numbers, others)
    return map_leaves(lambda a: a, tuple(_paired(function, n, o) for n, o in zip(numbers, others, strict=True)))
