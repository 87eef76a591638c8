"""One forward and one backward, and what each layer saw and returned in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nnfunc.arrays import EMPTY, Array, ArrayDict, new_vector
from nnfunc.core.backward import run_backward
from nnfunc.core.layer import Layer
from nnfunc.core.program import Op
from nnfunc.core.values import Value, leaves
from nnfunc.core.wiring import FROZEN
from nnfunc.inspection.graph import Graph, graph
from nnfunc.keys import Key, fold_in, generator
from nnfunc.keys import key as new_key
from nnfunc.layers.structure import is_serial
from nnfunc.layout import within
from nnfunc.losses.base import Loss, LossName
from nnfunc.training.gradients import Trace, value_and_grad


class Call(NamedTuple):
    """All calls of one layer on values of one shape, their arrays joined along the axis of the examples.

    Attributes:
        path, layer: its name in the model, and itself.
        xs, y: what went in, an array for each input, and what came out; `x` is the only input, if there is one.
        params: its arrays by its own names, frozen ones too.
        dy: the gradient of y, None where none is computed.
        grads: the gradients of those of params that are trained; empty where dy is None.
        at: which calls of the program they are.
    """

    path: str
    layer: Layer
    xs: tuple[Array, ...]
    y: Array
    params: ArrayDict
    dy: Array | None
    grads: ArrayDict
    at: tuple[int, ...]

    @property
    def x(self) -> Array | None:
        """The input, if there is one alone."""
        return self.xs[0] if len(self.xs) == 1 else None


class Measured(NamedTuple):
    """What an evaluation computed, and how its calls hang together.

    Attributes:
        trace: all values and gradients by their numbers, behind them those of `heads`.
        graph: of the calls, `heads` among them.
        heads: the output activations that are no part of what a gradient is taken of: a sigmoid or softmax that is one
            with its loss. By the place in the calls.
        outputs: the numbers of the model's outputs.
        calls: what each layer saw, in the order of the data.
        trained: the names of the parameters that are.
    """

    trace: Trace
    graph: Graph
    heads: frozenset[int]
    outputs: tuple[int, ...]
    calls: tuple[Call, ...]
    trained: tuple[str, ...]

    def call(self, i: int) -> Call:
        """What the layer that is called at that place saw."""
        return next(call for call in self.calls if i in call.at)


def measured(
    model: Layer,
    params: ArrayDict,
    state: ArrayDict,
    x: Value,
    target: Any,
    loss: Loss | LossName | None,
    key: Key,
    train: bool,
) -> Measured:
    """One evaluation: with a loss as in training, without one the gradients of a random sum of the outputs."""
    with np.errstate(all="ignore"):  # what is not finite is a finding
        if loss is None:
            trace, outputs, heads = _of_random_sum(model, params, state, x, key, train)
            ops = trace.program.ops
        else:
            function = value_and_grad(model, loss)
            trace = function.trace(params, state, (x, target), key, train, need_dx=not params)
            trace, ops, outputs, heads = _with_heads(
                trace, [*_heads(model, function.computed[0], trace.program.output)]
            )
    if not all(np.isfinite(trace.values[n]).all() for n in outputs):  # gradients of what is no number are none
        trace = trace._replace(d=[None] * len(trace.d), vector=None)
    wired = graph(ops, trace.program.inputs, len(trace.values))
    held = {name.removeprefix(FROZEN): state[name] for name in state if name.startswith(FROZEN)}
    arrays = {**held, **dict(zip(params.names, params.arrays, strict=True))}
    grads = {} if trace.vector is None else dict(zip(params.names, params.layout.views(trace.vector), strict=True))
    return Measured(trace, wired, heads, outputs, tuple(_calls(trace, ops, arrays, grads)), params.names)


# -- without a loss ----------------------------------------------------------------------------------------------------


def _of_random_sum(
    model: Layer, params: ArrayDict, state: ArrayDict, x: Value, key: Key, train: bool
) -> tuple[Trace, tuple[int, ...], frozenset[int]]:
    """The gradients of Σ c·y/m; y are the outputs, but of a sigmoid or softmax that makes some what goes into it."""
    program, values, caches, new = model.run(params, state, x, key, train)
    outputs = tuple(leaves(program.output))
    heads = {
        op.y: i for i, op in enumerate(program.ops)
        if op.kernel.decision is not None and op.y in outputs and op.x not in leaves(program.inputs)
    }  # fmt: skip
    summed = tuple(program.ops[heads[n]].x if n in heads else n for n in outputs if not program.integers[n])
    ys = [values[n] for n in summed]
    drawn = generator(fold_in(new_key(0), ys[0].ndim if ys else 0))
    dy = tuple(np.asarray(drawn.normal(size=y.shape) * ((y.shape or (1,))[-1] / y.size), y.dtype) for y in ys)
    vector = new_vector(params._vector.shape, params.dtype)
    body = program._replace(output=summed, gradients={})
    d = run_backward(body, params, state, caches, dy, vector, not params)
    trace = Trace(body, values, caches, tuple(ys), 0.0, None, dy, d, 0.0, vector, new, 1.0)
    return trace, outputs, frozenset(heads.values())


# -- with a loss -------------------------------------------------------------------------------------------------------


def _with_heads(
    trace: Trace, found: Sequence[tuple[str, Layer, int]]
) -> tuple[Trace, tuple[Op, ...], tuple[int, ...], frozenset[int]]:
    """The evaluation, its calls and its outputs with the output activations that the loss has taken over."""
    values, ops, outputs = [*trace.values], [*trace.program.ops], leaves(trace.program.output)
    for path, layer, n in found:
        y, _, _ = layer.forward(EMPTY, EMPTY, values[n])
        op = Op(path, layer, n, len(values), (), (), (), (), (), (), (), False, (False,))
        below = next(i for i, other in enumerate(ops) if n in leaves(other.y))
        ops.insert(below + 1, op)
        outputs = [len(values) if m == n else m for m in outputs]
        values.append(y)
    heads = frozenset(i for i, op in enumerate(ops) if leaves(op.y)[0] >= len(trace.values))
    without = [None] * (len(values) - len(trace.values))
    return trace._replace(values=values, d=[*trace.d, *without]), tuple(ops), tuple(outputs), heads


def _heads(model: Layer, body: Layer, output: Value, path: str = "") -> Iterator[tuple[str, Layer, int]]:
    """The output activations that a body is without: path, layer, and the number of what would go into it."""
    prefix = within(path)
    if model == body:
        return
    if is_serial(model):
        name, last = model.layers[-1]
        if len(body.layers) < len(model.layers):
            yield prefix + name, last, output
        else:
            yield from _heads(last, body.layers[-1][1], output, prefix + name)
        return
    for (name, layer), (_, inner), n in zip(model.layers, body.layers, output, strict=True):  # an output of each
        yield from _heads(layer, inner, n, prefix + name)


# -- by layers ---------------------------------------------------------------------------------------------------------


def _calls(trace: Trace, ops: Sequence[Op], arrays: Mapping[str, Array], grads: Mapping[str, Array]) -> Iterator[Call]:
    """What each layer saw: the calls of one layer together, but those on values of another shape by themselves."""
    groups: dict[Any, list[tuple[int, int]]] = {}
    for i, op in enumerate(ops):
        xs = [trace.values[n].shape[1:] for n in leaves(op.x)]
        for n in leaves(op.y):
            groups.setdefault((op.path, trace.values[n].shape[1:], *xs), []).append((i, n))
    for pairs in groups.values():
        at = tuple(dict.fromkeys(i for i, _ in pairs))
        op = ops[at[0]]
        xs = [[trace.values[n] for n in leaves(ops[i].x)] for i in at]
        ys, dys = ([seen[n] for _, n in pairs] for seen in (trace.values, trace.d))
        named = [(k, full, turned) for k, full, turned in zip(op.names, op.full, op.turned, strict=True)]
        dy = None
        if any(d is not None for d in dys):
            dy = _joined([np.zeros_like(y) if d is None else d for y, d in zip(ys, dys, strict=True)])
        yield Call(
            op.path or op.layer.name,
            op.layer,
            tuple(map(_joined, zip(*xs, strict=True))),
            _joined(ys),
            ArrayDict({k: arrays[f].T if turned else arrays[f] for k, f, turned in named}),
            dy,
            EMPTY if dy is None else ArrayDict({k: grads[f].T if t else grads[f] for k, f, t in named if f in grads}),
            at,
        )


def _joined(arrays: Sequence[Array]) -> Array:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
