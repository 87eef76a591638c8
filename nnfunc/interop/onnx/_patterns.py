"""Graphs of several operators that are one layer: what the kernels say of themselves, read the other way round."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from nnfunc.core.expressions import Expression, Op, op
from nnfunc.core.kernel import Kernel
from nnfunc.core.layer import Layer
from nnfunc.interop.onnx._graph import Graph, shortest
from nnfunc.interop.onnx._pieces import Layout, Piece, same
from nnfunc.layers import activations as a
from nnfunc.layers import gates
from nnfunc.layers import normalization as n
from nnfunc.layers.affine import DENSE, dense
from nnfunc.layers.lookup import EMBEDDING, embedding

Found: TypeAlias = dict[str, Any]
"""What stands for the names of an expression: "x" is the name of a value, all others are constants."""

Reading: TypeAlias = Callable[[Found, Layout], "tuple[Piece, Layout] | None"]
"""What is found as a layer, and how its output lies; None where it is another layer after all."""

PARAMETERS, STATE = ("W", "b", "gamma", "beta", "slope", "E"), ("mean", "var")
COMMUTE = ("Add", "Max", "Min", "Mul")


class Pattern(NamedTuple):
    """An expression, the layer that it is, and whether this goes along the features or from number to number."""

    expression: Expression
    read: Reading
    along: bool = False


def found_at(graph: Graph, value: str) -> Iterator[tuple[Pattern, Found]]:
    """The patterns that end in a value."""
    for pattern in PATTERNS:
        found = _match(graph, pattern.expression, value, {})
        if found is not None and "x" in found:
            yield pattern, found


def _match(graph: Graph, expression: Expression, value: str, found: Found) -> Found | None:
    """What is found, and what stands for the names of an expression if it is what makes the value; else None."""
    if isinstance(expression, str):
        given = value if expression == "x" else graph.constants.get(value)
        if given is None or (expression == "x" and value in graph.constants):
            return None
        before = found.get(expression, given)
        return {**found, expression: given} if np.array_equal(before, given) else None
    if not isinstance(expression, Op):
        array = graph.constants.get(value)
        wanted = np.asarray(expression)
        alike = array is not None and array.size == wanted.size and np.allclose(array.ravel(), wanted.ravel(), 1e-6)
        return found if alike else None
    number = 0
    if expression.kind == "Output":
        number, of = expression.attributes["number"], expression.inputs[0]
        assert isinstance(of, Op)
        expression = of
    node, output = graph.producers.get(value, (None, 0))
    if node is None or (node.kind, output) != (expression.kind, number):
        return None
    if any(node.attributes.get(k) != v for k, v in expression.attributes.items()):
        return None
    if len(node.inputs) != len(expression.inputs):
        return None
    for inputs in [node.inputs, node.inputs[::-1]] if node.kind in COMMUTE else [node.inputs]:
        known: Found | None = found
        for inner, given in zip(expression.inputs, inputs, strict=True):
            known = None if known is None else _match(graph, inner, given, known)
        if known is not None:
            return known
    return None


# -- what is found as a layer ------------------------------------------------------------------------------------------


def _layer(make: Callable[..., Layer], *settings: str, **fixed: Any) -> Reading:
    """A layer with the numbers of these names as arguments; what else was found are its arrays, one number a feature."""

    def read(found: Found, layout: Layout) -> tuple[Piece, Layout] | None:
        given = {k: shortest(found[k].reshape(-1)[0]) for k in settings if found[k].size == 1}
        arrays = {k: layout.ordered(found[k].reshape(-1)) for k in (*PARAMETERS, *STATE) if k in found}
        if len(given) < len(settings) or len({a.size for a in arrays.values()}) > 1:
            return None
        params, state = ({k: a for k, a in arrays.items() if k in names} for names in (PARAMETERS, STATE))
        return Piece(make(**given, **fixed), params, state), layout

    return read


def _dense(found: Found, layout: Layout) -> tuple[Piece, Layout] | None:
    W, b = found["W"], found.get("b")
    if W.ndim != 2 or (b is not None and b.size != W.shape[1]):
        return None
    arrays = {"W": layout.ordered(W)} | ({} if b is None else {"b": b.reshape(-1)})
    return Piece(dense(W.shape[1], bias=b is not None), arrays), layout._replace(order=None)


def _embedding(found: Found, layout: Layout) -> tuple[Piece, Layout] | None:
    E, padding = found["E"], found.get("padding_id")
    if E.ndim != 2 or layout != same(layout.rank):
        return None
    return Piece(embedding(*E.shape, padding_id=None if padding is None else int(padding)), {"E": E}), same(layout.rank + 1)


def _halved(make: Callable[..., Layer], **fixed: Any) -> Reading:
    def read(found: Found, layout: Layout) -> tuple[Piece, Layout] | None:
        equal = found["sizes"].size == 2 and len({*found["sizes"].tolist()}) == 1
        return (Piece(make(**fixed)), layout) if equal and layout.order is None else None

    return read


# -- the patterns, each before those that are a part of it -------------------------------------------------------------


def _said(kernel: Kernel, **settings: Any) -> Expression:
    """What a kernel says of itself, with the names of settings instead of numbers."""
    assert kernel.onnx is not None
    expression: Expression = kernel.onnx(**settings)
    return expression


def _halves(activation: Kernel, gate: int, **given: Any) -> Expression:
    """A gated unit of two halves of the features."""
    parts = [op("Output", op("Split", "x", "sizes", axis=-1), number=i) for i in range(2)]
    return op("Mul", _with(_said(activation, **given), parts[gate]), parts[1 - gate])


def _with(expression: Expression, x: Expression) -> Expression:
    """An expression of another input."""
    if isinstance(expression, Op):
        return expression._replace(inputs=tuple(_with(e, x) for e in expression.inputs))
    return x if isinstance(expression, str) and expression == "x" else expression


FLOATS = np.dtype(np.float32), np.dtype(np.float64)
ERF = op("Erf", op("Div", "x", math.sqrt(2)))
CUBE = op("Mul", op("Pow", "x", 3.0), 0.044715)
TANH = op("Tanh", op("Mul", op("Add", "x", CUBE), math.sqrt(2 / math.pi)))

PATTERNS = [
    *(
        Pattern(_halves(a.GELU, 0, approximate=approximate, dtype=dtype), _halved(gates.geglu, approximate=approximate),
                True)
        for approximate in (True, False)
        for dtype in FLOATS
    ),
    Pattern(_halves(a.SIGMOID, 1), _halved(gates.glu), True),
    Pattern(_halves(a.SILU, 0), _halved(gates.swiglu), True),
    Pattern(_said(DENSE, bias=True), _dense, True),
    Pattern(_said(DENSE, bias=False), _dense, True),
    *(Pattern(_said(EMBEDDING, padding_id=p, dtype=t), _embedding) for p in ("padding_id", None) for t in FLOATS),
    Pattern(_said(n.BATCH_NORM, eps="eps"), _layer(n.batch_norm, "eps"), True),
    Pattern(_said(n.LAYER_NORM, eps="eps"), _layer(n.layer_norm, "eps"), True),
    Pattern(_said(n.RMS_NORM, eps="eps"), _layer(n.rms_norm, "eps"), True),
    Pattern(_said(gates.PRELU), _layer(gates.prelu), True),
    Pattern(_said(a.SELU), _layer(a.selu)),
    Pattern(_said(a.ELU, alpha="alpha"), _layer(a.elu, "alpha")),
    *(
        Pattern(_said(a.GELU, approximate=approximate, dtype=dtype), _layer(a.gelu, approximate=approximate))
        for approximate in (True, False)
        for dtype in FLOATS
    ),
    Pattern(_said(a.HARD_SWISH), _layer(a.hard_swish)),
    Pattern(_said(a.HARD_SIGMOID), _layer(a.hard_sigmoid)),
    Pattern(_said(a.HARD_TANH), _layer(a.hard_tanh)),
    Pattern(_said(a.RELU6), _layer(a.relu6)),
    Pattern(_said(a.LEAKY_RELU, negative_slope="negative_slope"), _layer(a.leaky_relu, "negative_slope")),
    Pattern(_said(a.MISH), _layer(a.mish)),
    Pattern(_said(a.SILU), _layer(a.silu)),
    Pattern(_said(a.SOFTPLUS), _layer(a.softplus)),
    Pattern(_said(a.SOFTSIGN), _layer(a.softsign)),
    # as PyTorch's exporter says it
    Pattern(op("Mul", "x", op("Sigmoid", "x")), _layer(a.silu)),
    Pattern(op("Mul", op("Mul", "x", op("Add", ERF, 1.0)), 0.5), _layer(a.gelu)),
    Pattern(op("Mul", op("Mul", "x", 0.5), op("Add", TANH, 1.0)), _layer(a.gelu, approximate=True)),
    Pattern(op("Mul", "x", op("Tanh", op("Softplus", "x"))), _layer(a.mish)),
]  # fmt: skip
