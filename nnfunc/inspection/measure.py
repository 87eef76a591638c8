"""One forward and backward pass, with the inputs, outputs and gradients of each layer."""

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
    """All calls of one layer on values of one shape, their arrays concatenated along the axis of the examples.

    Attributes:
        path, layer: its name in the model, and the layer itself.
        xs, y: an array per input, and the output; `x` is the input if there is only one.
        params: its arrays by their names in the layer, including frozen ones.
        dy: the gradient of y, None if it is not computed.
        grads: the gradients of its trained parameters; empty if dy is None.
        at: the indices of these calls in the program.
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
        """The input, if there is only one."""
        return self.xs[0] if len(self.xs) == 1 else None


class Measured(NamedTuple):
    """The results of an evaluation, and the graph of its calls.

    Attributes:
        trace: all values and gradients by index, followed by those of `heads`.
        graph: the graph of the calls, including `heads`.
        heads: the output activations that gradients do not pass through, since a sigmoid or softmax is fused with its
            loss, as indices of calls.
        outputs: the indices of the model's outputs.
        calls: the calls of each layer, in data-flow order.
        trained: the names of the trained parameters.
    """

    trace: Trace
    graph: Graph
    heads: frozenset[int]
    outputs: tuple[int, ...]
    calls: tuple[Call, ...]
    trained: tuple[str, ...]

    def call(self, i: int) -> Call:
        """The calls of the layer that is called at index i."""
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
    """Evaluates a model: with a loss as in training, otherwise with the gradients of a random sum of the outputs."""
    with np.errstate(all="ignore"):  # non-finite values become findings
        if loss is None:
            trace, outputs, heads = _of_random_sum(model, params, state, x, key, train)
            ops = trace.program.ops
        else:
            function = value_and_grad(model, loss)
            trace = function.trace(params, state, (x, target), key, train, need_dx=not params)
            trace, ops, outputs, heads = _with_heads(
                trace, [*_heads(model, function.computed[0], trace.program.output)]
            )
    if not all(np.isfinite(trace.values[n]).all() for n in outputs):  # gradients of non-finite outputs are meaningless
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
    """The gradients of Σ c·y/m, where y are the outputs, or the inputs of a final sigmoid or softmax."""
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
    """The evaluation, its calls and its outputs, including the output activations fused with the loss."""
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
    """The output activations that a body lacks: path, layer, and the index of the value that would be its input."""
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
    for (name, layer), (_, inner), n in zip(model.layers, body.layers, output, strict=True):  # one output per layer
        yield from _heads(layer, inner, n, prefix + name)


# -- by layers ---------------------------------------------------------------------------------------------------------


def _calls(trace: Trace, ops: Sequence[Op], arrays: Mapping[str, Array], grads: Mapping[str, Array]) -> Iterator[Call]:
    """The calls of each layer, grouped by layer and shape of the values."""
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
