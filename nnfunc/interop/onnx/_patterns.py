"""Patterns of several operators that form one layer: the expressions of kernels, matched in reverse."""

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
from nnfunc.layers.padding import UPSAMPLE, upsample1d, upsample2d

Found: TypeAlias = dict[str, Any]
"""The bindings of an expression's names: "x" is the name of a value, all others are constants."""

Reading: TypeAlias = Callable[[Found, Layout], "tuple[Piece, Layout] | None"]
"""The layer of a match, and the layout of its output; None if the match is not this layer after all."""

PARAMETERS, STATE = ("W", "b", "gamma", "beta", "slope", "E"), ("mean", "var")
COMMUTE = ("Add", "Max", "Min", "Mul")


class Pattern(NamedTuple):
    """An expression, its layer, and the axis that it uses as features; None if it is elementwise."""

    expression: Expression
    read: Reading
    along: int | None = None


def found_at(graph: Graph, value: str) -> Iterator[tuple[Pattern, Found]]:
    """The patterns that match a value."""
    for pattern in PATTERNS:
        found = _match(graph, pattern.expression, value, {})
        if found is not None and "x" in found:
            yield pattern, found


def _match(graph: Graph, expression: Expression, value: str, found: Found) -> Found | None:
    """The bindings extended by those of an expression, if it matches the producer of the value; otherwise None."""
    if isinstance(expression, str):
        return _named(graph, expression, value, found)
    if not isinstance(expression, Op):
        array, wanted = graph.constants.get(value), np.asarray(expression)
        if array is None or array.dtype.kind not in "iufb" or array.size != wanted.size:
            return None
        return found if np.allclose(array.ravel(), wanted.ravel(), 1e-6) else None
    number = 0
    if expression.kind == "Output":
        number, of = expression.attributes["number"], expression.inputs[0]
        assert isinstance(of, Op)
        expression = of
    node, output = graph.producers.get(value, (None, 0))
    if node is None or (node.kind, output) != (expression.kind, number):
        return None
    known: Found | None = found
    for name, wanted in expression.attributes.items():
        came = node.attributes.get(name, DEFAULTS.get(name))
        if isinstance(wanted, str) and isinstance(came, float):
            known = {**found, wanted: np.array(came)}
        elif came != wanted:
            return None
    inputs = expression.inputs
    if node.kind == "Split" and len(node.inputs) == 1:  # into equal parts
        known, inputs = {**found, "shape0": np.ones(len(node.outputs))}, inputs[:1]
    if len(node.inputs) != len(inputs):
        return None
    for given in [node.inputs, node.inputs[::-1]] if node.kind in COMMUTE else [node.inputs]:
        own = known
        for inner, v in zip(inputs, given, strict=True):
            own = None if own is None else _match(graph, inner, v, own)
        if own is not None:
            return own
    return None


def _named(graph: Graph, name: str, value: str, found: Found) -> Found | None:
    """The bindings extended by a name and its value, if these are compatible; otherwise None."""
    given: Any = value
    if name != "x":
        given = graph.constants.get(value, value if value in graph.about_sizes and name.startswith("shape") else None)
    elif value in graph.constants or value in graph.about_sizes:
        given = None
    fits = given is not None and (name not in found or np.array_equal(found[name], given))
    return {**found, name: given} if fits else None


DEFAULTS = {"axis": 0, "keepdims": 1}


# -- from a match to a layer -------------------------------------------------------------------------------------------


def _layer(make: Callable[..., Layer], *settings: str, **fixed: Any) -> Reading:
    """A layer whose arguments are the scalars of these names; all other bindings are its arrays, along the features."""

    def read(found: Found, layout: Layout) -> tuple[Piece, Layout] | None:
        given = {k: shortest(found[k].ravel()[0]) for k in settings if found[k].size == 1}
        arrays = {k: layout.ordered(found[k].reshape(-1)) for k in (*PARAMETERS, *STATE) if k in found}
        along = all(layout.goes_along(found[k]) for k in arrays)
        if not along or len(given) < len(settings) or len({a.size for a in arrays.values()}) > 1:
            return None
        params, state = ({k: a for k, a in arrays.items() if k in names} for names in (PARAMETERS, STATE))
        return Piece(make(**given, **fixed), params, state), layout

    return read


def _dense(found: Found, layout: Layout) -> tuple[Piece, Layout] | None:
    W, b = found["W"], found.get("b")
    if W.ndim != 2 or (b is not None and not b.shape[-1:] == W.shape[1:] == (b.size,)):
        return None
    arrays = {"W": layout.ordered(W)} | ({} if b is None else {"b": b.reshape(-1)})
    return Piece(dense(W.shape[1], bias=b is not None), arrays), layout._replace(order=None)


def _embedding(found: Found, layout: Layout) -> tuple[Piece, Layout] | None:
    E, padding = found["E"], found.get("padding_id")
    if E.ndim != 2 or layout != same(layout.rank):
        return None
    layer = embedding(len(E), E.shape[1], padding_id=None if padding is None else int(padding))
    return Piece(layer, {"E": E}), same(layout.rank + 1)


def _halved(make: Callable[..., Layer], **fixed: Any) -> Reading:
    def read(found: Found, layout: Layout) -> tuple[Piece, Layout] | None:
        equal = found["shape0"].size == 2 and len({*found["shape0"].tolist()}) == 1
        return (Piece(make(**fixed)), layout) if equal and layout.order is None else None

    return read


def _group_norm(found: Found, layout: Layout) -> tuple[Piece, Layout] | None:
    _, _, groups, _ = found["shape0"].tolist()
    return _layer(n.group_norm, "eps", groups=groups)(found, layout) if layout.order is None else None


def _group_norm_of_images(found: Found, layout: Layout) -> tuple[Piece, Layout] | None:
    scale, shift, parted = found["ones"], found["zeros"], found["shape0"]
    if (scale != 1).any() or shift.any() or parted.size != 3:
        return None
    return _layer(n.group_norm, "eps", groups=int(parted[1]))(found, layout)


def _upsample(found: Found, layout: Layout) -> tuple[Piece, Layout] | None:
    parted, after = found["shape1"].tolist(), found["shape2"].tolist()
    factors = parted[-2 : -2 * (len(parted) - len(after)) - 1 : -2][::-1]  # each after the length of its axis
    return Piece(upsample1d(*factors) if len(factors) == 1 else upsample2d(tuple(factors))), layout


# -- the patterns, each before its own parts ---------------------------------------------------------------------------


def _said(kernel: Kernel, **settings: Any) -> Expression:
    """The expression of a kernel, with names of settings in place of values, and shapes as "shape0", "shape1"."""
    assert kernel.onnx is not None
    return _open(kernel.onnx(**settings), {})


SHAPED = ("Expand", "Reshape", "Split")


def _open(expression: Expression, shapes: dict[int, str]) -> Expression:
    """An expression with its shapes replaced by names."""
    if isinstance(expression, np.ndarray) and expression.dtype.kind == "U":  # built from the name of a setting
        return str(expression)
    if not isinstance(expression, Op):
        return expression
    inputs = [_open(e, shapes) for e in expression.inputs]
    if expression.kind in SHAPED:
        inputs[1] = shapes.setdefault(id(expression.inputs[1]), f"shape{len(shapes)}")
    return expression._replace(inputs=tuple(inputs))


FLOATS = np.dtype(np.float32), np.dtype(np.float64)

# Patterns of PyTorch's exporter, each for some operator sets.
ERF = op("Erf", op("Div", "x", math.sqrt(2)))
CUBE = op("Mul", op("Mul", "x", op("Mul", "x", "x")), 0.044715)
TANH = op("Tanh", op("Mul", op("Add", "x", CUBE), math.sqrt(2 / math.pi)))
CENTERED = op("Sub", "x", op("ReduceMean", "x", axes=[-1], keepdims=1))
VARIANCE = op("ReduceMean", op("Pow", CENTERED, 2.0), axes=[-1], keepdims=1)
STANDARDIZED = op("Div", CENTERED, op("Sqrt", op("Add", VARIANCE, "eps")))
GROUPED = op("InstanceNormalization", op("Reshape", "x", "shape0"), "ones", "zeros", epsilon="eps")

PATTERNS = [
    *(
        Pattern(_said(gates.GEGLU, shape=(2,), approximate=approximate, dtype=dtype),
                _halved(gates.geglu, approximate=approximate), -1)
        for approximate in (True, False)
        for dtype in FLOATS
    ),
    Pattern(_said(gates.GLU, shape=(2,)), _halved(gates.glu), -1),
    Pattern(_said(gates.SWIGLU, shape=(2,)), _halved(gates.swiglu), -1),
    Pattern(_said(DENSE, bias=True), _dense, -1),
    Pattern(_said(DENSE, bias=False), _dense, -1),
    *(Pattern(_said(EMBEDDING, padding_id=p, dtype=dtype), _embedding)
      for p in ("padding_id", None) for dtype in FLOATS),
    Pattern(_said(n.BATCH_NORM, eps="eps"), _layer(n.batch_norm, "eps"), -1),
    Pattern(_said(n.LAYER_NORM, eps="eps"), _layer(n.layer_norm, "eps"), -1),
    Pattern(_said(n.RMS_NORM, eps="eps"), _layer(n.rms_norm, "eps"), -1),
    Pattern(_said(n.GROUP_NORM, eps="eps", shape=(1, 1), groups=1), _group_norm, -1),
    Pattern(_said(UPSAMPLE, shape=(1, 1), after=(1, 1), factor=(1,)), _upsample, -1),
    Pattern(_said(gates.PRELU), _layer(gates.prelu), -1),
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
    # as written by PyTorch's exporter
    Pattern(op("Mul", "x", op("Sigmoid", "x")), _layer(a.silu)),
    Pattern(op("Mul", op("Mul", "x", op("Add", ERF, 1.0)), 0.5), _layer(a.gelu)),
    Pattern(op("Mul", op("Mul", "x", op("Add", TANH, 1.0)), 0.5), _layer(a.gelu, approximate=True)),
    Pattern(op("Mul", "x", op("Tanh", op("Softplus", "x"))), _layer(a.mish)),
    Pattern(op("Add", op("Mul", STANDARDIZED, "gamma"), "beta"), _layer(n.layer_norm, "eps"), -1),
    Pattern(op("Add", op("Mul", op("Reshape", GROUPED, "shape1"), "gamma"), "beta"), _group_norm_of_images, 1),
]  # fmt: skip
