"""From an ONNX graph to a model: backwards from its outputs, each value is a layer of the previous one or a join."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnfunc.arrays import ArrayDict
from nnfunc.core.build import output_shape
from nnfunc.core.expressions import Expression, Op
from nnfunc.core.layer import Layer
from nnfunc.interop._weights import single
from nnfunc.interop.onnx._context import RECURRENT, Context, lies
from nnfunc.interop.onnx._graph import INPUTS, OUTPUTS, Graph, Node, opened, refused
from nnfunc.interop.onnx._images import as_image
from nnfunc.interop.onnx._operators import READERS
from nnfunc.interop.onnx._patterns import PATTERNS, Found, Pattern, found_at
from nnfunc.interop.onnx._pieces import Layout, Piece, composed, same
from nnfunc.layers.activations import identity
from nnfunc.layers.combinators import branch, parallel, residual, serial
from nnfunc.layers.joining import add, concatenate, multiply, subtract
from nnfunc.layers.reshaping import take

if TYPE_CHECKING:
    import onnx

JOINS: dict[str, Callable[[], Layer]] = {
    "Add": add, "Sum": add, "Sub": subtract, "Mul": multiply, "Concat": concatenate,
}  # fmt: skip


def from_onnx(source: onnx.ModelProto | str | os.PathLike[str]) -> tuple[Layer, ArrayDict, ArrayDict]:
    """Reads an ONNX model, of this package or another, as a model of nnfunc with its parameters and state.

    Args:
        source: the path of a file, or an `onnx.ModelProto`.
    Returns:
        (model, params, state); `nn.predict(model, ...)` returns the outputs of the graph, and training can continue.
    Raises:
        ImportError: onnx is not installed.
        ValueError: an operator, or its attributes, without a counterpart in nnfunc; the message names the node. A value
            used by several nodes other than in branches that join again.
        TypeError: neither a model nor a path.

    Inputs and outputs have the layout of nnfunc: examples first, features last. An image (N, C, H, W) or a sequence
    (T, N, D) there is thus (N, H, W, C) or (N, T, D) here, if the graph's first layers use it as such; axes of length 1
    that a global pooling leaves are dropped. Features of a flattened image are in our order, and so are the rows of the
    weights after them. Tied arrays there become two arrays here.

    >>> from nnfunc.interop.onnx import to_onnx
    >>> model = nn.serial(nn.dense(3), nn.gelu(), nn.batch_norm(), nn.dense(1), nn.sigmoid())
    >>> params, state = model.init(nn.key(0), (2,))
    >>> again, same_params, same_state = from_onnx(to_onnx(model, params, state, input_shape=(2,)))
    >>> again.layers[1:4]
    (('gelu1', gelu(approximate=False)), ('batch_norm1', batch_norm(eps=1e-05, momentum=0.9)), \
('dense2', dense(units=1, initializer='he', bias_initializer='zeros', bias=True)))
    >>> same_params == params, same_state == state
    (True, True)
    """
    try:
        import onnx  # noqa: F401  # fails early
    except ImportError as error:
        raise ImportError('from_onnx needs onnx: pip install "nnfunc[onnx]"') from error
    graph = opened(source)
    start = graph.inputs[0] if len(graph.inputs) == 1 else INPUTS
    end = graph.outputs[0] if len(graph.outputs) == 1 else OUTPUTS
    first = lies(graph, start) if start else same(1)
    pieces, layout = _between(graph, start, end, first, set())
    if layout.order is not None:
        raise ValueError("the output is a flattened image, whose order differs here: end the graph before Flatten")
    made = composed(serial, pieces)
    arrays = (*made.params.values(), *made.state.values())
    double = any(a.dtype == np.float64 for a in arrays) or (not arrays and graph.double)
    params, state = (ArrayDict(given).astype(np.float64 if double else np.float32) for given in made[1:])
    single(made.layer, params, state)
    _check(graph, made.layer, params, state, layout)
    return made.layer, params, state


def _check(graph: Graph, model: Layer, params: ArrayDict, state: ArrayDict, layout: Layout) -> None:
    """Raises an error if the model's output shape differs from the graph's, if its sizes are known."""
    shapes: list[Any] = [tuple(graph.sizes[v][n] for n in lies(graph, v).axes[1:]) for v in graph.inputs]
    if any(n is None for shape in shapes for n in shape):
        return
    try:
        came = output_shape(model, params, state, shapes[0] if len(shapes) == 1 else tuple(shapes))
    except (ValueError, TypeError) as error:
        raise ValueError(f"the layers read from the graph do not fit each other: {error}") from error
    if len(graph.outputs) == 1 and graph.outputs[0] in graph.sizes:
        expected = tuple(graph.sizes[graph.outputs[0]][n] for n in layout.axes[1:])
        if len(came) != len(expected) or any(n not in (None, m) for m, n in zip(came, expected, strict=True)):
            raise ValueError(f"the layers read from the graph return an example {came}, but the graph {expected}")


class Step(NamedTuple):
    """The computation of a value from previous ones: from one by a layer, from several by a join."""

    inputs: tuple[str, ...]
    read: Callable[[list[Piece], Layout], Layout]


def _between(graph: Graph, start: str, end: str, layout: Layout, used: set[str]) -> tuple[list[Piece], Layout]:
    """The layers between two values; `used` are the values computed before."""
    steps: list[tuple[str, Step]] = []
    value = end
    while value != start:
        step = _step(graph, value)
        steps.append((value, step))
        value = step.inputs[0] if len(step.inputs) == 1 else graph.before[value]
    pieces: list[Piece] = []
    for value, step in reversed(steps):
        if len(step.inputs) > 1:
            layout = _joined(graph, value, step.inputs, layout, pieces, used)
            continue
        count = len(pieces)
        layout = step.read(pieces, layout)
        if any(piece.params for piece in pieces[count:]) and value in used:
            node = graph.producers[value][0]
            raise refused(node, "several nodes use its output other than in nested branches, so nnfunc "
            "would have its weights twice")  # fmt: skip
        used.add(value)
    return pieces, layout


def _step(graph: Graph, value: str) -> Step:
    """The computation of a value."""
    if value in graph.inputs:
        return Step((INPUTS,), lambda pieces, _: _taken(graph, value, pieces))
    if value in graph.constants or value not in graph.before:
        raise ValueError(f"{value!r} does not depend on the inputs of the graph")
    node, output = graph.producers[value]
    for pattern, found in found_at(graph, value):
        if pattern.read(found, same(2)) is not None:
            return Step((found["x"],), partial(_as_found, node, pattern, found))
    data = graph.data(node)
    if 1 < len(data) == len(node.inputs) and (node.kind in JOINS or value == OUTPUTS):
        return Step(tuple(data), lambda pieces, layout: layout)
    if node.kind == "Reshape" and (both := _both_directions(graph, node)) is not None:
        node, data = both, graph.data(both)
    elif node.kind in RECURRENT and node.attributes.get("direction") == "bidirectional":
        raise refused(
            node, "it is bidirectional, expected Transpose (0, 2, 1, 3) and Reshape to (T, N, 2 units) after it"
        )
    if output and node.kind not in RECURRENT:
        raise refused(node, f"its output {value!r}, which is not the first, is not that of a layer of nnfunc")
    alone = len(data) == 1 or node.kind in RECURRENT  # whose reader reports what it does not support
    if node.kind not in READERS or not alone or (data[0] != node.inputs[0] and node.kind != "Add"):
        known = ", ".join(sorted({*READERS, *JOINS, "MatMul"}))
        raise refused(node, f"nnfunc has no layer for it here. Supported: {known}, and layers built from others")
    read, x = READERS[node.kind], data[0]
    return Step((x,), lambda pieces, layout: read(as_image(Context(graph, node, output, x, value, layout, pieces))))


def supported() -> list[str]:
    """The operators that `from_onnx` reads, some of them only in patterns, such as a `MatMul` and an `Add`.

    >>> supported()[:3], "LSTM" in supported()
    (['Abs', 'Add', 'AveragePool'], True)
    """
    inside = chain.from_iterable(_kinds(pattern.expression) for pattern in PATTERNS)
    return sorted({*READERS, *JOINS, *inside, "Cast", "Identity"})


def _kinds(expression: Expression) -> Iterator[str]:
    if isinstance(expression, Op):
        if expression.kind != "Output":
            yield expression.kind
        for inner in expression.inputs:
            yield from _kinds(inner)


def _both_directions(graph: Graph, node: Node) -> Node | None:
    """The bidirectional recurrent layer whose outputs a Reshape concatenates."""
    turned, _ = graph.producers.get(node.inputs[0], (None, 0))
    if turned is None or turned.kind != "Transpose" or turned.attributes.get("perm") != [0, 2, 1, 3]:
        return None
    layer, output = graph.producers.get(turned.inputs[0], (None, 0))
    both = layer is not None and layer.kind in RECURRENT and layer.attributes.get("direction") == "bidirectional"
    return layer if both and output == 0 else None


def _as_found(node: Node, pattern: Pattern, found: Found, pieces: list[Piece], layout: Layout) -> Layout:
    """Adds the layer of a pattern."""
    fits = pattern.along is None or layout.has_features(pattern.along)
    made = pattern.read(found, layout) if fits else None
    if made is None:
        raise refused(node, f"it acts along axis {pattern.along}, which is not the feature axis here")
    pieces.append(made[0])
    return made[1]


# -- inputs and joins --------------------------------------------------------------------------------------------------


def _taken(graph: Graph, value: str, pieces: list[Piece]) -> Layout:
    pieces.append(Piece(take(graph.inputs.index(value))))
    return lies(graph, value)


def _joined(
    graph: Graph, value: str, inputs: Sequence[str], layout: Layout, pieces: list[Piece], used: set[str]
) -> Layout:
    """Adds branches and the layer that joins them."""
    node, start = graph.producers[value][0], graph.before[value]
    made = [_between(graph, start, v, layout, used) for v in inputs]
    branches, layouts = [p for p, _ in made], [own for _, own in made]
    straight = [k for k, own in enumerate(branches) if not own]
    if value == OUTPUTS:
        if any(own.order is not None for own in layouts):
            raise ValueError("an output is a flattened image, whose order differs here: end the graph before Flatten")
        pieces.append(composed(branch, [_one(own) for own in branches]))
        return same(1)
    after = _of_join(graph, node, inputs, layouts)
    if node.kind == "Add" and len(branches) == 2 and len(straight) == 1 and start:
        pieces.append(composed(residual, branches[1 - straight[0]]))
        return after
    taken = [own[0].layer if own else None for own in branches]
    if not start and taken == [take(k) for k in range(len(graph.inputs))]:  # each input separately
        rests = [own[1:] for own in branches]
        pieces.extend([composed(parallel, [_one(own) for own in rests])] if any(rests) else [])
    else:
        pieces.append(composed(branch, [_one(own) for own in branches]))
    pieces.append(Piece(JOINS[node.kind]()))
    return after


def _one(pieces: list[Piece]) -> Piece:
    """Layers in series as a single piece."""
    if not pieces:
        return Piece(identity())
    return pieces[0] if len(pieces) == 1 else composed(serial, pieces)


def _of_join(graph: Graph, node: Node, inputs: Sequence[str], layouts: list[Layout]) -> Layout:
    """The layout of a join, whose inputs must have the same layout."""
    first, sizes = layouts[0], [graph.sizes.get(v, ()) for v in inputs]
    if any(own[:2] != first[:2] for own in layouts):
        raise refused(node, f"its inputs of shapes {sizes} have different layouts: not all are images or sequences")
    orders = [own.order for own in layouts]
    if node.kind == "Concat":
        if not first.has_features(node.attributes["axis"]):
            raise refused(node, f"axis={node.attributes['axis']}, but nnfunc only concatenates features")
        if any(order is not None for order in orders):
            lengths = [own[-1] or 0 for own in sizes]
            before = np.cumsum([0, *lengths[:-1]])
            parts = [(np.arange(n) if o is None else o) + k for n, o, k in zip(lengths, orders, before, strict=True)]
            return first._replace(order=np.concatenate(parts))
        return first
    if len({own[1:] for own in sizes}) > 1 and not any(None in own[1:] for own in sizes):
        raise refused(node, f"its inputs have shapes {sizes}, expected equal ones")
    if len({None if order is None else tuple(order) for order in orders}) > 1:
        raise refused(node, "its inputs are features in different orders: some are flattened images")
    return first
