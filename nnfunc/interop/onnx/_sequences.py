"""Recurrent layers, and the selection of one step of a sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfunc.core.layer import Layer
from nnfunc.core.settings import Settings
from nnfunc.interop.onnx._context import Context
from nnfunc.interop.onnx._graph import Graph
from nnfunc.interop.onnx._pieces import Layout, Piece, composed
from nnfunc.layers import padding
from nnfunc.layers.cells import gru, rnn
from nnfunc.layers.directions import bidirectional
from nnfunc.layers.memory_cells import lstm
from nnfunc.layers.recurrent_onnx import GRU_ORDER, LSTM_ORDER
from nnfunc.layers.reshaping import flatten

GATES: dict[str, tuple[Sequence[int], list[str]]] = {
    "LSTM": (LSTM_ORDER, ["Sigmoid", "Tanh", "Tanh"]),
    "GRU": (GRU_ORDER, ["Sigmoid", "Tanh"]),
    "RNN": ((0,), ["Tanh"]),
}

MAKE: dict[str, Callable[..., Layer]] = {"GRU": gru, "LSTM": lstm, "RNN": rnn}


def recurrent(c: Context) -> Layout:
    order, usual = GATES[c.node.kind]
    directions = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[c.get("direction", "forward")]
    kinds = c.get("activations", usual * len(directions))
    c.ask(not c.get("layout", 0) and c.layout.axes == (1, 0, 2), "its input is not (time, examples, features)")
    c.ask(kinds == usual * len(directions) or (c.node.kind == "RNN" and {*kinds} == {"Relu"}),
          f"activations={kinds}, expected {usual}")  # fmt: skip
    c.ask("clip" not in c.node.attributes and not c.get("input_forget", 0), "clip or input_forget, which nnfunc lacks")
    c.ask(all(not v for v in c.node.inputs[4:5]), "sequence_lens, which nnfunc cannot read")
    c.ask(all(not v or _is_zero(c.graph, v) for v in c.node.inputs[5:7]), "an initial state that is not 0")
    c.ask(all(not v or _is_zero(c.graph, v) for v in c.node.inputs[7:8]), "peephole weights, which nnfunc lacks")
    c.ask(c.output < 2, "the last cell state, which nnfunc returns only with final_state=True")
    pieces = [_direction(c, k, order, kinds[0], reverse) for k, reverse in enumerate(directions)]
    if len(pieces) == 1:
        c.pieces.append(pieces[0])
        return Layout((2, 0, 3), 4) if c.output == 0 else Layout((1, 2), 3)
    c.pieces.append(composed(bidirectional, pieces))
    return Layout((1, 0, 2), 3)


def _direction(c: Context, k: int, order: Sequence[int], kind: str, reverse: bool) -> Piece:
    """The k-th direction of a recurrent layer."""
    W, R, B = c.needed(1)[k], c.needed(2)[k], c.constant(3)
    units, ours = R.shape[1], np.argsort(order)

    def gates(array: NDArray[Any]) -> NDArray[Any]:  # in our order
        return np.concatenate([np.split(array, len(order))[n] for n in ours])

    arrays = {"x_W": gates(W).T, "h_W": gates(R).T}
    settings: dict[str, Any] = {"reverse": reverse, "bias": B is not None, "output": "last" if c.output else "sequence"}
    if c.node.kind == "GRU":
        settings["reset_after"] = bool(c.get("linear_before_reset", 0))
    if c.node.kind == "RNN":
        settings["activation"] = kind.lower()
    if B is not None:
        first, second = map(gates, np.split(B[k], 2))
        if settings.get("reset_after"):  # the candidate's second bias is inside the reset
            arrays |= {"b": first + np.where(np.arange(len(second)) < 2 * units, second, 0), "h_b": second[2 * units :]}
        else:
            arrays["b"] = first + second
    return Piece(MAKE[c.node.kind](units, **settings), arrays)


def _is_zero(graph: Graph, value: str) -> bool:
    """Whether a value is 0, whatever its size."""
    if value in graph.constants:
        return not graph.constants[value].any()
    node, _ = graph.producers.get(value, (None, 0))
    if node is not None and node.kind == "ConstantOfShape":
        return not np.any(node.attributes.get("value", 0))
    moves = ("Expand", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
    return node is not None and node.kind in moves and _is_zero(graph, node.inputs[0])


def step(c: Context) -> Layout:
    """One step of a sequence: the last output of a recurrent layer, or else a crop to this step."""
    number, index = c.get("axis", 0) % c.layout.rank, c.needed(1)
    if number not in c.layout.axes and index.ndim == 0:  # the only one
        return c.layout.without({number})
    c.ask(number in c.layout.axes[1:2] and len(c.layout.axes) == 3 and index.size == 1,
          "expected one step of a sequence, or rows of a constant table")  # fmt: skip
    steps, at = c.before[c.layout.axes[1]], int(index.item())
    layer = c.pieces[-1].layer if c.pieces else None
    last = at == -1 or at + 1 == steps
    gone = {c.layout.axes[1]}
    left = c.layout._replace(axes=(c.layout.axes[0], c.layout.axes[2]))
    after = left.without(gone) if index.ndim == 0 else left
    if last and layer is not None and layer.settings.get("output") == "sequence" and not layer.settings["reverse"]:
        settings = Settings(**{**layer.settings, "output": "last"})
        c.pieces[-1] = c.pieces[-1]._replace(layer=layer._replace(settings=settings))
        return after
    c.ask(steps is not None, "the number of steps is unknown: export with a fixed size")
    assert steps is not None
    c.add(padding.crop((at % steps, steps - 1 - at % steps)))
    c.add(flatten())
    return after
