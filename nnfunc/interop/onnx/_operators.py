"""What single ONNX operators are as layers: a function for each, which adds its pieces and says how the values lie."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnfunc.core.layer import Layer
from nnfunc.core.settings import Settings
from nnfunc.interop.onnx._graph import Graph, Node, Sizes, refused
from nnfunc.interop.onnx._pieces import Layout, Piece, same
from nnfunc.layers import activations as a
from nnfunc.layers import convolution, gates, normalization, padding, pooling
from nnfunc.layers.affine import dense
from nnfunc.layers.cells import gru, rnn
from nnfunc.layers.directions import bidirectional
from nnfunc.layers.memory_cells import lstm
from nnfunc.layers.positions import learned_positions
from nnfunc.layers.recurrent_onnx import GRU_ORDER, LSTM_ORDER
from nnfunc.layers.reshaping import flatten, reshape
from nnfunc.layers.stochastic import dropout


class Context(NamedTuple):
    """A node in its graph and which of its outputs is asked for, the sizes of its input and of this, how the input lies,
    and the pieces before it."""

    graph: Graph
    node: Node
    output: int
    before: Sizes
    after: Sizes
    layout: Layout
    pieces: list[Piece]

    def get(self, name: str, default: Any) -> Any:
        """An attribute of the node."""
        return self.node.attributes.get(name, default)

    def constant(self, i: int) -> NDArray[Any] | None:
        """An input of the node that is a constant; None if it is left out."""
        return self.graph.constant(self.node, i)

    def needed(self, i: int) -> NDArray[Any]:
        """The same of one that has to be there."""
        array = self.constant(i)
        if array is None:
            raise refused(self.node, f"it has no input {i}")
        return array

    def given(self, name: str, i: int) -> list[int] | None:
        """Numbers that are an attribute in older operator sets and an input in newer ones."""
        array = self.get(name, None) if name in self.node.attributes else self.constant(i)
        return None if array is None else [int(n) for n in np.ravel(array)]

    def ask(self, holds: bool, why: str) -> None:
        """Raises an error if something does not hold."""
        if not holds:
            raise refused(self.node, why)

    def features_at(self, axis: int) -> None:
        """Raises an error if an axis is not that of our features."""
        self.ask(
            self.layout.has_features(axis),
            f"its axis {axis} is not that of the features, which is {self.layout.axes[-1]}: nnfunc has no layer for it",
        )

    def add(self, layer: Layer, state: dict[str, NDArray[Any]] | None = None, **params: NDArray[Any] | None) -> None:
        """Adds a layer with those of its parameters that are not None."""
        self.pieces.append(Piece(layer, {k: v for k, v in params.items() if v is not None}, state or {}))


Reader: TypeAlias = Callable[[Context], Layout]


# -- activations and dense layers --------------------------------------------------------------------------------------


def _activation(make: Callable[..., Layer], **names: tuple[str, float]) -> Reader:
    """An activation whose arguments are attributes: {argument: (attribute, ONNX's default)}."""

    def read(c: Context) -> Layout:
        c.add(make(**{argument: c.get(name, default) for argument, (name, default) in names.items()}))
        return c.layout

    return read


def _fixed(make: Callable[..., Layer], **attributes: tuple[float, float]) -> Reader:
    """An activation of given attributes alone: {attribute: (ONNX's default, ours)}."""

    def read(c: Context) -> Layout:
        for name, (default, ours) in attributes.items():
            came = c.get(name, default)
            c.ask(math.isclose(came, ours, rel_tol=1e-6), f"{name}={came}, and nnfunc has {name}={ours} alone")
        c.add(make())
        return c.layout

    return read


def _softmax(make: Callable[..., Layer]) -> Reader:
    def read(c: Context) -> Layout:
        c.features_at(c.get("axis", -1))
        c.add(make())
        return c.layout

    return read


def _gelu(c: Context) -> Layout:
    c.add(a.gelu(c.get("approximate", "none")))
    return c.layout


def _clip(c: Context) -> Layout:
    low, high = (c.get(name, None) if name in c.node.attributes else c.constant(i)
                 for i, name in ((1, "min"), (2, "max")))  # fmt: skip
    known = {(0.0, 6.0): a.relu6, (-1.0, 1.0): a.hard_tanh, (0.0, math.inf): a.relu}
    limits = (-math.inf if low is None else float(low), math.inf if high is None else float(high))
    c.ask(limits in known, f"it has the limits {limits}, and nnfunc has {' and '.join(map(str, known))} alone")
    c.add(known[limits]())
    return c.layout


def _prelu(c: Context) -> Layout:
    slope, features = c.needed(1), c.before[c.layout.axes[-1]]
    c.ask(features is not None, "the number of its features is not known")
    c.ask(slope.size in (1, features), f"its slopes of shape {slope.shape} are not one for each of {features} features")
    c.add(gates.prelu(), slope=np.broadcast_to(c.layout.ordered(slope.reshape(-1)), (features,)))  # type: ignore[arg-type]  # it is a number
    return c.layout


def _gemm(c: Context) -> Layout:
    c.ask(not c.get("transA", 0), "transA=1, but rows are examples")
    W, b = c.needed(1), c.constant(2)
    W = c.get("alpha", 1.0) * (W.T if c.get("transB", 0) else W)
    if b is not None:
        b = np.broadcast_to((c.get("beta", 1.0) * b).reshape(-1), W.shape[1:])
    c.features_at(-1)
    c.add(dense(W.shape[1], bias=b is not None), W=c.layout.ordered(W), b=b)
    return same(2)


def _added(c: Context) -> Layout:
    """A constant for each position and feature."""
    array = next(c.graph.constants[v] for v in c.node.inputs if v in c.graph.constants)
    array = array.reshape(array.shape[-2:])
    c.ask(
        c.layout == same(3) and array.ndim == 2 and array.shape == c.before[1:],
        f"it adds a constant of shape {array.shape} to {c.before}, and is no bias of a MatMul before it, nor positions",
    )
    c.add(learned_positions(len(array)), P=array)
    return c.layout


# -- images ------------------------------------------------------------------------------------------------------------


def _image(c: Context, rank: int | None = None) -> tuple[int, bool]:
    """How many axes an image has, and whether it is one of two: with the features second in ONNX and last here."""
    rank = c.layout.rank
    c.ask(
        c.layout.axes == (0, *range(2, rank), 1) and c.layout.order is None,
        "its input does not lie as (examples, features, ...) after what stands before it",
    )
    c.ask(rank in (3, 4), f"it has {rank - 2} axes to slide over, expected 1 or 2")
    return rank - 2, rank == 4


def _slides(c: Context) -> dict[str, Any]:
    """Stride and padding as arguments of a layer."""
    axes, two = _image(c)
    pads, auto = c.get("pads", [0] * 2 * axes), c.get("auto_pad", "NOTSET")
    c.ask(auto != "SAME_LOWER", "auto_pad='SAME_LOWER', and 'same' here puts more zeros after than before")
    pairs = tuple(zip(pads[:axes], pads[axes:], strict=True))
    given = {"SAME_UPPER": "same", "VALID": "valid"}.get(auto, pairs if two else pairs[0])
    return {"stride": _one(c.get("strides", [1] * axes)), "padding": given}


def _one(numbers: list[int]) -> Any:
    """A number for each axis, of one axis the number."""
    return tuple(numbers) if len(numbers) > 1 else numbers[0]


def _conv(c: Context) -> Layout:
    axes, two = _image(c)
    W, make = c.needed(1), convolution.conv2d if two else convolution.conv1d
    slides = {**_slides(c), "dilation": _one(c.get("dilations", [1] * axes)), "groups": c.get("group", 1)}
    b = c.constant(2)
    layer = make(len(W), _one([*W.shape[2:]]), **slides, bias=b is not None)
    c.add(layer, W=W.transpose(*range(2, axes + 2), 1, 0), b=b)
    return c.layout


def _conv_transpose(c: Context) -> Layout:
    axes, two = _image(c)
    W, groups, make = c.needed(1), c.get("group", 1), convolution.conv_transpose2d if two else convolution.conv_transpose1d
    c.ask("output_shape" not in c.node.attributes, "output_shape, expected pads")
    c.ask(c.get("auto_pad", "NOTSET") == "NOTSET", "auto_pad, expected pads")
    slides = {**_slides(c), "dilation": _one(c.get("dilations", [1] * axes)), "groups": groups}
    b, own = c.constant(2), W.shape[1]
    more = _one(c.get("output_padding", [0] * axes))
    layer = make(own * groups, _one([*W.shape[2:]]), **slides, output_padding=more, bias=b is not None)
    parted = W.reshape(groups, -1, *W.shape[1:])  # groups, channels and filters of each, places
    c.add(layer, W=parted.transpose(*range(3, axes + 3), 1, 0, 2).reshape(*W.shape[2:], -1, own * groups), b=b)
    return c.layout


def _pool(kind: str) -> Reader:
    def read(c: Context) -> Layout:
        axes, two = _image(c)
        c.ask(not c.get("ceil_mode", 0), "ceil_mode=1, and windows end within x here")
        c.ask({*c.get("dilations", [1])} == {1}, "it has dilations, and windows have none here")
        make = getattr(pooling, f"{kind}_pool{2 if two else 1}d")
        counted = {"count_padding": bool(c.get("count_include_pad", 0))} if kind == "avg" else {}
        c.add(make(_one(c.get("kernel_shape", None)), **_slides(c), **counted))
        return c.layout

    return read


def _global_pool(make: Callable[[], Layer]) -> Reader:
    def read(c: Context) -> Layout:
        _image(c)
        c.add(make())
        return Layout((0, 1), c.layout.rank)  # the places have length 1 there, and are not here

    return read


def _reduced(make: Callable[[], Layer]) -> Reader:
    def read(c: Context) -> Layout:
        rank, axes = c.layout.rank, c.given("axes", 1)
        over = {n % rank for n in (range(rank) if axes is None else axes)}
        c.ask(
            over == {*c.layout.axes[1:-1]} and len(over) > 0,
            f"it goes over the axes {sorted(over)}, expected all but examples and features, {c.layout.axes[1:-1]}",
        )
        c.add(make())
        kept = Layout((c.layout.axes[0], c.layout.axes[-1]), rank)
        return kept if c.get("keepdims", 1) else _without(kept, over)

    return read


def _pad(c: Context) -> Layout:
    axes, pads = c.layout.axes, c.given("pads", 1) or []
    rank, value = c.layout.rank, c.get("value", None) if "value" in c.node.attributes else c.constant(2)
    some, mode = c.constant(3), c.get("mode", "constant")
    c.ask(mode == "constant" and some is None, f"mode={mode!r} or some axes alone, expected a constant around all")
    pairs = [(pads[n], pads[rank + n]) for n in axes]
    free = min(2, len(axes) - 2)
    c.ask(len(pads) == 2 * rank and free > 0 and all(p == (0, 0) for p in (*pairs[: -1 - free], pairs[-1])),
          f"pads={pads}, expected some of the one or two axes before the features alone")  # fmt: skip
    c.ask(min(n for p in pairs for n in p) >= 0, f"pads={pads}, expected no negative ones")
    own = tuple(pairs[-1 - free : -1])
    c.add(padding.pad(own if free > 1 else own[0], 0.0 if value is None else float(np.ravel(value)[0])))
    return c.layout


# -- norms -------------------------------------------------------------------------------------------------------------


def _batch_norm(c: Context) -> Layout:
    c.features_at(1)
    gamma, beta, mean, var = (c.layout.ordered(c.needed(i)) for i in range(1, 5))
    layer = normalization.batch_norm(c.get("epsilon", 1e-5), c.get("momentum", 0.9))
    c.add(layer, {"mean": mean, "var": var}, gamma=gamma, beta=beta)
    return c.layout


def _layer_norm(make: Callable[..., Layer], shifts: bool) -> Reader:
    def read(c: Context) -> Layout:
        axis = c.get("axis", -1)
        c.ask(axis % c.layout.rank == c.layout.rank - 1, f"axis={axis}, and nnfunc has norms over the last one alone")
        c.features_at(-1)
        gamma, beta = c.needed(1).reshape(-1), c.constant(2) if shifts else None
        beta = np.zeros_like(gamma) if shifts and beta is None else beta
        ordered = [None if v is None else c.layout.ordered(v.reshape(-1)) for v in (gamma, beta)]
        c.add(make(c.get("epsilon", 1e-5)), gamma=ordered[0], beta=ordered[1])
        return c.layout

    return read


def _instance_norm(c: Context) -> Layout:
    _image(c)
    c.add(normalization.instance_norm(c.get("epsilon", 1e-5)), gamma=c.needed(1), beta=c.needed(2))
    return c.layout


def _group_norm(c: Context) -> Layout:
    _image(c)
    gamma, beta, groups = c.needed(1), c.needed(2), c.get("num_groups", 1)
    c.ask(len(gamma) == c.before[1], "a scale for each group (operator set 18), expected one for each feature")
    c.add(normalization.group_norm(groups, c.get("epsilon", 1e-5)), gamma=gamma, beta=beta)
    return c.layout


# -- shapes ------------------------------------------------------------------------------------------------------------


def _without(layout: Layout, gone: set[int]) -> Layout:
    """The layout without some axes of ONNX, which are none of ours."""
    kept = [n for n in range(layout.rank) if n not in gone]
    return layout.moved({n: i for i, n in enumerate(kept)}, len(kept))


def _dropout(c: Context) -> Layout:
    ratio = c.get("ratio", 0.5) if "ratio" in c.node.attributes else c.constant(1)
    c.add(dropout(1 - float(0.5 if ratio is None else ratio)))
    return c.layout


def _transpose(c: Context) -> Layout:
    perm = c.get("perm", [*range(c.layout.rank)][::-1])
    return c.layout.moved({n: i for i, n in enumerate(perm)}, c.layout.rank)


def _squeeze(c: Context) -> Layout:
    axes = c.given("axes", 1)
    gone = {n for n, size in enumerate(c.before) if size == 1} if axes is None else {n % c.layout.rank for n in axes}
    c.ask(c.layout.axes[0] not in gone, "it squeezes the axis of the examples")
    _drop(c, gone)
    return _without(c.layout._replace(axes=tuple(n for n in c.layout.axes if n not in gone)), gone)


def _drop(c: Context, gone: set[int]) -> None:
    """Adds a layer that leaves out our axes among those that are gone, which are of length 1."""
    if gone & {*c.layout.axes}:
        left = [c.before[n] for n in c.layout.axes[1:] if n not in gone]
        c.ask(left.count(None) < 2, f"the sizes {c.before} of its input are not known")
        c.add(reshape(*(-1 if n is None else n for n in left)))


def _unsqueeze(c: Context) -> Layout:
    rank = len(c.after)
    new = {n % rank for n in c.given("axes", 1) or []}
    kept = [n for n in range(rank) if n not in new]
    return c.layout.moved(dict(enumerate(kept)), rank)


def _flatten(c: Context) -> Layout:
    c.ask(c.get("axis", 1) == 1, f"axis={c.get('axis', 1)}, expected 1: each example by itself")
    return _flat(c)


def _flat(c: Context) -> Layout:
    """Each example as one row, in the order that it has here."""
    layout, lengths = c.layout, c.before[1:]
    c.ask(layout.axes[0] == 0, "it joins the axis of the examples with others")
    if len(layout.axes) > 2:
        c.add(flatten())
    if layout.axes == tuple(sorted(layout.axes)):
        return Layout((0, 1), 2, layout.order)
    c.ask(None not in lengths, f"the sizes {c.before} of its input are not known, and with them not the order of the "
          "flattened features: export with a fixed size")  # fmt: skip
    numbers = np.arange(math.prod(n for n in lengths if n is not None)).reshape(lengths)  # type: ignore[arg-type]  # none is None
    rest = [n - 1 for n in range(1, layout.rank) if n not in layout.axes]
    return Layout((0, 1), 2, numbers.transpose(*(n - 1 for n in layout.axes[1:]), *rest).reshape(-1))


def _reshape(c: Context) -> Layout:
    before, after, layout = c.before, c.after, c.layout
    if before == after and before.count(None) < 2:
        return layout
    c.ask(len(after) > 0, "the shape of its output is not known")
    kept = sorted(layout.axes)
    if tuple(before[n] for n in kept) == after and after.count(None) < 2:  # axes of length 1 that are not here either
        return layout.moved({n: i for i, n in enumerate(kept)}, len(kept))
    if len(after) == 2 and layout.axes[0] == 0:
        return _flat(c)
    c.ask(layout.axes == tuple(sorted(layout.axes)) and layout.axes[0] == 0 and layout.order is None,
          f"it gives {before} the shape {after} after an image, whose features are last here")  # fmt: skip
    c.ask(after[1:].count(None) < 2, f"the shape {after} of its output is not known")
    c.add(reshape(*(-1 if n is None else n for n in after[1:])))
    return same(len(after))


def _gather(c: Context) -> Layout:
    """One step of a sequence: the last of a recurrent layer, else what is left when the others are cut off."""
    axis, index = c.layout.ours(c.get("axis", 0)), c.needed(1)
    c.ask(axis == 1 and len(c.layout.axes) == 3 and index.size == 1,
          "expected one step of a sequence, or rows of a table of constants")  # fmt: skip
    steps, at = c.before[c.layout.axes[1]], int(index.item())
    layer = c.pieces[-1].layer if c.pieces else None
    last = at == -1 or at + 1 == steps
    gone = {c.layout.axes[1]}
    left = c.layout._replace(axes=(c.layout.axes[0], c.layout.axes[2]))
    after = _without(left, gone) if index.ndim == 0 else left
    if last and layer is not None and layer.settings.get("output") == "sequence" and not layer.settings["reverse"]:
        settings = Settings(**{**layer.settings, "output": "last"})
        c.pieces[-1] = c.pieces[-1]._replace(layer=layer._replace(settings=settings))
        return after
    c.ask(steps is not None, "the number of steps is not known: export with a fixed size")
    assert steps is not None
    c.add(padding.crop((at % steps, steps - 1 - at % steps)))
    c.add(flatten())
    return after



# -- sequences ---------------------------------------------------------------------------------------------------------

GATES: dict[str, tuple[Sequence[int], list[str]]] = {
    "LSTM": (LSTM_ORDER, ["Sigmoid", "Tanh", "Tanh"]),
    "GRU": (GRU_ORDER, ["Sigmoid", "Tanh"]),
    "RNN": ((0,), ["Tanh"]),
}


def _recurrent(c: Context) -> Layout:
    order, usual = GATES[c.node.kind]
    directions = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[c.get("direction", "forward")]
    kinds = c.get("activations", usual * len(directions))
    c.ask(not c.get("layout", 0) and c.layout.axes == (1, 0, 2), "its input does not lie as (time, examples, features)")
    c.ask(kinds == usual * len(directions) or (c.node.kind == "RNN" and {*kinds} == {"Relu"}),
          f"activations={kinds}, expected {usual}")  # fmt: skip
    c.ask("clip" not in c.node.attributes and not c.get("input_forget", 0), "clip or input_forget, which nnfunc has not")
    c.ask(all(not v for v in c.node.inputs[4:5]), "sequence_lens, which are an input of the graph or a constant")
    c.ask(all(not v or _is_zero(c.graph, v) for v in c.node.inputs[5:7]), "an initial state that is not 0")
    c.ask(all(not v or _is_zero(c.graph, v) for v in c.node.inputs[7:8]), "peephole weights, which nnfunc has not")
    c.ask(c.output < 2, "the last cell state, which nnfunc gives with final_state=True alone")
    pieces = [_direction(c, k, order, kinds[0], reverse) for k, reverse in enumerate(directions)]
    if len(pieces) == 1:
        c.pieces.append(pieces[0])
        return Layout((2, 0, 3), 4) if c.output == 0 else Layout((1, 2), 3)
    both = bidirectional(*(p.layer for p in pieces))
    c.add(both, **{f"{name}.{k}": v for (name, _), p in zip(both.layers, pieces, strict=True) for k, v in p.params.items()})
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
    make = {"LSTM": lstm, "GRU": gru, "RNN": rnn}[c.node.kind]
    return Piece(make(units, **settings), arrays)


def _is_zero(graph: Graph, value: str) -> bool:
    """Whether a value is 0, of whatever size."""
    if value in graph.constants:
        return not graph.constants[value].any()
    node, _ = graph.producers.get(value, (None, 0))
    if node is None or node.kind not in ("ConstantOfShape", "Expand"):
        return False
    return not np.any(node.attributes.get("value", 0)) if node.kind == "ConstantOfShape" else _is_zero(graph, node.inputs[0])


READERS: dict[str, Reader] = {
    "Add": _added,
    "AveragePool": _pool("avg"),
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Dropout": _dropout,
    "Elu": _activation(a.elu, alpha=("alpha", 1.0)),
    "Flatten": _flatten,
    "GRU": _recurrent,
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool(pooling.global_avg_pool),
    "GlobalMaxPool": _global_pool(pooling.global_max_pool),
    "GroupNormalization": _group_norm,
    "HardSigmoid": _fixed(a.hard_sigmoid, alpha=(0.2, 1 / 6), beta=(0.5, 0.5)),
    "HardSwish": _fixed(a.hard_swish),
    "InstanceNormalization": _instance_norm,
    "LSTM": _recurrent,
    "LayerNormalization": _layer_norm(normalization.layer_norm, True),
    "LeakyRelu": _activation(a.leaky_relu, negative_slope=("alpha", 0.01)),
    "LogSoftmax": _softmax(a.log_softmax),
    "MaxPool": _pool("max"),
    "Mish": _fixed(a.mish),
    "PRelu": _prelu,
    "Pad": _pad,
    "RMSNormalization": _layer_norm(normalization.rms_norm, False),
    "RNN": _recurrent,
    "ReduceMax": _reduced(pooling.global_max_pool),
    "ReduceMean": _reduced(pooling.global_avg_pool),
    "Relu": _fixed(a.relu),
    "Reshape": _reshape,
    "Selu": _fixed(a.selu, alpha=(a.SELU_ALPHA, a.SELU_ALPHA), gamma=(a.SELU_SCALE, a.SELU_SCALE)),
    "Sigmoid": _fixed(a.sigmoid),
    "Softmax": _softmax(a.softmax),
    "Softplus": _fixed(a.softplus),
    "Softsign": _fixed(a.softsign),
    "Squeeze": _squeeze,
    "Swish": _fixed(a.silu, alpha=(1.0, 1.0)),
    "Tanh": _fixed(a.tanh),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""The operators that are a layer each, with one input that is no constant."""

IMAGES = ("AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "GlobalAveragePool", "GlobalMaxPool",
          "GroupNormalization", "InstanceNormalization", "MaxPool")  # fmt: skip
"""Those that have the features second."""

ALONE = ("Clip", "Dropout", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu", "Pad", "Relu",
         "Selu", "Sigmoid", "Softplus", "Softsign", "Swish", "Tanh", "Add", "Sum", "Sub", "Mul")  # fmt: skip
"""Those that are indifferent to it."""
