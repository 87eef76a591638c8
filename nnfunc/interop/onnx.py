"""Export to ONNX (`pip install "nnfunc[onnx]"`): a model with its parameters, to be run by any ONNX runtime.

    onnx.save(to_onnx(model, ts, input_shape=(64,)), "digits.onnx")
    y, = onnxruntime.InferenceSession("digits.onnx").run(None, {"x": x})

The graph is the prediction, `nn.predict`. Its input "x" and output "y" have the dtype of the parameters and any number
of examples as their first axis; its initializers have the names of the parameters and of the state ("dense1.W"). It
needs operator set 17. Each layer is an expression of a few operators, in `EXPORTS`. They are chosen so that ONNX
Runtime has them for float32 and float64, and that nothing overflows. Its outputs differ from `nn.predict` by some units
in the last digit of the largest numbers; near 0 that may be all digits (its σ(−18) is 0 in float32). The exact `gelu`
in float64 is an integral there, with 32 times the memory of its inputs; `gelu(True)` is not.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nnfunc.arrays import EMPTY, ArrayDict
from nnfunc.interop._weights import layers, single
from nnfunc.layers.base import Layer, Shape, example_shape, output_shape
from nnfunc.layers.combinators import residual, serial
from nnfunc.models.description import CONSTRUCTORS
from nnfunc.metrics import Trained
from nnfunc.values import hyperparameters, same

if TYPE_CHECKING:
    import onnx

__all__ = ["to_onnx"]

OPSET, IR_VERSION = 17, 8


class Op(NamedTuple):
    """An ONNX operator on expressions."""

    kind: str
    inputs: tuple[Expression, ...]
    attributes: dict[str, Any]  # whole numbers and lists of these


Expression: TypeAlias = "str | float | NDArray[Any] | Op"  # Any: floats or whole numbers
"""The input "x", a parameter by its name in the layer ("W"), a constant, or an operator on these."""


def op(kind: str, *inputs: Expression, **attributes: object) -> Op:
    """An operator on expressions.

    >>> op("MatMul", "x", "W")
    Op(kind='MatMul', inputs=('x', 'W'), attributes={})
    """
    return Op(kind, inputs, attributes)


def to_onnx(
    model: Layer, params: ArrayDict | Trained, state: ArrayDict = EMPTY, *, input_shape: Shape
) -> onnx.ModelProto:
    """A model with its parameters as an ONNX model.

    Args:
        model: of built-in layers.
        params: its parameters, of one network; or a `TrainState`, which has the state too.
        state: its state.
        input_shape: the shape of one example.
    Returns:
        a model that maps x (batch, *input_shape) to y (batch, ...), for `onnx.save`.
    Raises:
        ImportError: onnx is not installed.
        ValueError: layers of your own, which are named; parameters or an input_shape that do not fit; a stack.

    >>> model = nn.mlp([2, 3, 1], ["relu", "sigmoid"])
    >>> exported = to_onnx(model, *model.init(nn.key(0), (2,)), input_shape=(2,))
    >>> [node.op_type for node in exported.graph.node]
    ['MatMul', 'Add', 'Relu', 'MatMul', 'Add', 'Sigmoid', 'Identity']
    >>> [initializer.name for initializer in exported.graph.initializer]
    ['dense1.W', 'dense1.b', 'dense2.W', 'dense2.b']
    """
    try:
        from onnx import helper, numpy_helper
    except ImportError as error:
        raise ImportError('to_onnx needs onnx: pip install "nnfunc[onnx]"') from error
    own = [path or layer.name for path, layer in layers(model) if not _is_built_in(layer)]
    if own:
        raise ValueError(
            f"model contains layers that are not built in, for which ONNX has no formula: {', '.join(own)}"
        )
    params, state = single(model, params, state)
    shape, dtype = example_shape(input_shape), params.dtype
    try:
        y_shape = output_shape(model, params, state, shape)
    except ValueError as error:
        raise ValueError(f"input_shape={shape} does not fit the model: {error}") from None

    graph = Graph(dtype, [], {})
    y = _add_layer(graph, model, "", params, state, shape, "x")
    nodes = [*graph.nodes, Node("Identity", [y], "y", {})]  # there may be no other
    values: Constants = {**params, **state, **graph.constants}
    arrays = {k: a if a.dtype.kind == "i" else a.astype(dtype) for k, a in values.items()}
    element = helper.np_dtype_to_tensor_dtype(dtype)
    made = helper.make_graph(
        [helper.make_node(n.kind, n.inputs, [n.output], n.output, **n.attributes) for n in nodes],
        "nnfunc",
        [helper.make_tensor_value_info("x", element, ["batch", *shape])],
        [helper.make_tensor_value_info("y", element, ["batch", *y_shape])],
        [numpy_helper.from_array(a, name) for name, a in arrays.items()],
    )
    opset = [helper.make_opsetid("", OPSET)]
    return helper.make_model(made, opset_imports=opset, ir_version=IR_VERSION, producer_name="nnfunc")


# -- the layers --------------------------------------------------------------------------------------------------------


def _dense(*, bias: bool, **_: object) -> Expression:
    product = op("MatMul", "x", "W")
    return op("Add", product, "b") if bias else product


def _flatten(*, axes: int | None, shape: Shape, **_: object) -> Expression:
    kept = 1 if axes is None else 1 + len(shape) - axes  # with the axis of the examples; a 0 keeps an axis as it is
    return op("Reshape", "x", np.array([0] * kept + [math.prod(shape[kept - 1 :])]))


def _batch_norm(*, eps: float, **_: object) -> Expression:
    normalized = op("Div", op("Sub", "x", "mean"), op("Sqrt", op("Add", "var", eps)))
    return op("Add", op("Mul", normalized, "gamma"), "beta")


def _layer_norm(*, eps: float, **_: object) -> Expression:
    def mean(e: Expression) -> Expression:
        return op("ReduceMean", e, axes=[-1], keepdims=1)

    shifted = op("Sub", "x", op("Gather", "x", np.array([0]), axis=-1))  # as ours, exactly 0 for equal features
    centered = op("Sub", shifted, mean(shifted))
    variance = mean(op("Mul", centered, centered))
    normalized = op("Div", centered, op("Sqrt", op("Add", variance, eps)))
    return op("Add", op("Mul", normalized, "gamma"), "beta")


def _leaky_relu(*, negative_slope: float, **_: object) -> Expression:
    return op("Max", "x", op("Mul", "x", negative_slope))


def _elu(*, alpha: float, scale: float, **_: object) -> Expression:
    below = op("Mul", op("Sub", op("Exp", op("Min", "x", 0.0)), 1.0), alpha)
    return op("Mul", op("Add", op("Max", "x", 0.0), below), scale)


def _gelu(*, approximate: bool, dtype: DTypeLike, **_: object) -> Expression:
    if approximate:
        cube = op("Mul", "x", op("Mul", "x", "x"))
        inner = op("Mul", op("Add", "x", op("Mul", cube, 0.044715)), math.sqrt(2 / math.pi))
        share: Expression = op("Tanh", inner)
    else:
        share = _erf(op("Mul", "x", math.sqrt(0.5)), dtype)
    return op("Mul", op("Mul", "x", 0.5), op("Add", share, 1.0))


def _erf(z: Expression, dtype: DTypeLike) -> Expression:
    """erf(z); for float64, which ONNX Runtime has no Erf for, by Gauss's rule from 2z/√π ∫₀¹ exp(−z²t²) dt."""
    if dtype == np.float32:
        return op("Erf", z)
    t, w = np.polynomial.legendre.leggauss(32)  # an error of 3e-15 up to |z| = 6, where erf is 1 in float64
    sign, inside = op("Sign", z), op("Less", op("Abs", z), 6.0)
    z = op("Min", op("Max", z, -6.0), 6.0)
    square = op("Unsqueeze", op("Mul", z, z), np.array([-1]))
    integral = op("MatMul", op("Exp", op("Mul", square, -(((t + 1) / 2) ** 2))), w / 2)
    return op("Where", inside, op("Mul", op("Mul", z, 2 / math.sqrt(math.pi)), integral), sign)


def _softplus(**_: object) -> Expression:
    return op("Add", op("Max", "x", 0.0), op("Log", op("Add", op("Exp", op("Neg", op("Abs", "x"))), 1.0)))


def _same(**_: object) -> Expression:
    return "x"


EXPORTS: dict[str, Callable[..., Expression]] = {
    "batch_norm": _batch_norm,
    "dense": _dense,
    "dropout": _same,
    "elu": _elu,
    "flatten": _flatten,
    "gelu": _gelu,
    "identity": _same,
    "layer_norm": _layer_norm,
    "leaky_relu": _leaky_relu,
    "relu": lambda **_: op("Relu", "x"),
    "selu": _elu,
    "sigmoid": lambda **_: op("Sigmoid", "x"),
    "silu": lambda **_: op("Div", "x", op("Add", op("Exp", op("Neg", "x")), 1.0)),
    "softmax": lambda **_: op("Softmax", "x", axis=-1),
    "softplus": _softplus,
    "tanh": lambda **_: op("Tanh", "x"),
}
"""The expression of each kind of layer, from the hyperparameters of its forward function and these: bias, the shape of
one example and the dtype."""

# -- the network -------------------------------------------------------------------------------------------------------


class Node(NamedTuple):
    """An operator on values by name."""

    kind: str
    inputs: list[str]
    output: str
    attributes: dict[str, Any]


Constants: TypeAlias = dict[str, NDArray[Any]]  # of floats or of whole numbers


class Graph(NamedTuple):
    """The dtype of all floats, the nodes in order and the constants that they use; both grow while layers are added."""

    dtype: np.dtype[np.floating]
    nodes: list[Node]
    constants: Constants


def _add_layer(graph: Graph, layer: Layer, path: str, params: ArrayDict, state: ArrayDict, shape: Shape, x: str) -> str:
    """Adds the nodes of a layer whose input is x; gives the name of its output."""
    label = path or layer.name
    if layer.kernel is not None:
        arrays = {k: f"{path}.{k}" if path else k for k in (*params, *state)}
        given = {"bias": "b" in params, "shape": shape, "dtype": graph.dtype}
        hyper = hyperparameters([layer.kernel.forward])
        return _add(graph, EXPORTS[layer.name](**given, **hyper), label, {"x": x, **arrays}, {})
    y = x
    for name, inner in layer.layers:
        parts = params.group(name), state.group(name)
        y = _add_layer(graph, inner, f"{path}.{name}" if path else name, *parts, shape, y)
        shape = output_shape(inner, *parts, shape)
    return _add(graph, op("Add", "x", "y"), label, {"x": x, "y": y}, {}) if layer.name == "residual" else y


def _add(graph: Graph, expression: Expression, path: str, names: dict[str, str], done: dict[int, str]) -> str:
    """Adds the nodes of an expression, one that occurs twice once; gives the name of its value."""
    if isinstance(expression, str):
        return names[expression]
    if id(expression) not in done:
        if isinstance(expression, Op):
            inputs = [_add(graph, e, path, names, done) for e in expression.inputs]
            name = f"{path}/{expression.kind}{len(done)}"
            graph.nodes.append(Node(expression.kind, inputs, name, expression.attributes))
        else:
            name = f"{path}/constant{len(done)}"
            graph.constants[name] = np.asarray(expression)
        done[id(expression)] = name
    return done[id(expression)]


def _is_built_in(layer: Layer) -> bool:
    """Whether a layer, or a composition but for its layers, does what the built-in one of its name does."""
    make, kernel = CONSTRUCTORS.get(layer.name), layer.kernel
    if make is None or kernel is None:
        return make in (serial, residual) and _function(layer.forward) is _function(make().forward)
    known = inspect.signature(make).parameters
    arguments = {k: v for k, v in hyperparameters((*layer, *kernel)).items() if k in known}
    try:
        made = make(**arguments).kernel
    except (TypeError, ValueError):  # a layer of another kind under this name
        return False
    return made is not None and same(made, kernel)


def _function(function: object) -> object:
    return function.func if isinstance(function, partial) else function
