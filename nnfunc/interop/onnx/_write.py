"""From a model to an ONNX graph: its program, with each call of a layer as the expression of its kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nnfunc.arrays import EMPTY, ArrayDict
from nnfunc.core import expressions
from nnfunc.core.build import program
from nnfunc.core.expressions import Expression, op
from nnfunc.core.layer import Layer
from nnfunc.core.program import Op, Program
from nnfunc.core.values import InputShape, Value, check_shapes, leaves, map_leaves
from nnfunc.evaluation.predict import HasParams
from nnfunc.interop._weights import single
from nnfunc.layers.structure import kernels

if TYPE_CHECKING:
    import onnx

__all__ = ["to_onnx"]

OPSET, IR_VERSION = 17, 8


def to_onnx(
    model: Layer, params: ArrayDict | HasParams, state: ArrayDict = EMPTY, *, input_shape: InputShape
) -> onnx.ModelProto:
    """Converts a model with its parameters to an ONNX model.

    Args:
        model: a model of layers that are built in or whose kernels define an expression.
        params: its parameters, of a single network; or a `TrainState`, which also contains the state.
        state: its state.
        input_shape: the shape of one example, or a tuple of shapes for several inputs.
    Returns:
        a model that maps x (batch, *input_shape) to y (batch, ...), for `onnx.save`.
    Raises:
        ImportError: onnx is not installed.
        ValueError: user-defined layers (named in the message), mismatched parameters or input_shape, or a stack.

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
    model, params, state = single(model, params, state)
    _check_expressions(kernels(model))
    shapes, dtype = check_shapes(input_shape), params.dtype
    try:
        made = program(model, shapes, params, state)
    except (ValueError, TypeError) as error:
        raise type(error)(f"input_shape={shapes} does not fit the model: {error}") from None
    _check_expressions((op.path, op.layer) for op in made.ops)  # also for what a wire calls besides its named layers

    graph = Graph(dtype, [], {})
    inputs, outputs = _names("x", made.inputs), _names("y", made.output)
    values = dict(zip(leaves(made.inputs), inputs, strict=True))
    state_names = (*state.names, *state.counts)
    calls: Counter[str] = Counter()
    for call in made.ops:
        calls[call.path] += 1
        _add_call(graph, made, call, calls[call.path], values, state_names)
    for n, name in zip(leaves(made.output), outputs, strict=True):
        graph.nodes.append(Node("Identity", [values[n]], [name], {}))

    def info(numbers: Value, names: list[str]) -> list[Any]:
        return [
            helper.make_tensor_value_info(
                name, _element(np.int64 if made.integers[n] else dtype), ["batch", *made.shapes[n]]
            )
            for n, name in zip(leaves(numbers), names, strict=True)
        ]

    constants: Constants = {**params, **state, **graph.constants}
    arrays = {k: a if a.dtype.kind in "ib" else a.astype(dtype) for k, a in constants.items()}
    proto = helper.make_graph(
        [helper.make_node(n.kind, n.inputs, n.outputs, n.outputs[0], **n.attributes) for n in graph.nodes],
        "nnfunc",
        info(made.inputs, inputs),
        info(made.output, outputs),
        [numpy_helper.from_array(a, name) for name, a in arrays.items()],
    )
    opset = [helper.make_opsetid("", OPSET)]
    return helper.make_model(proto, opset_imports=opset, ir_version=IR_VERSION, producer_name="nnfunc")


def _check_expressions(called: Iterable[tuple[str, Layer]]) -> None:
    own = dict.fromkeys(
        path or layer.name for path, layer in called if layer.kernel is None or layer.kernel.onnx is None
    )
    if own:
        raise ValueError(f"model contains layers without an ONNX expression (Kernel.onnx): {', '.join(own)}")


def _names(name: str, numbers: Value) -> list[str]:
    """The name, or "x0", "x1", ... for several values."""
    return [f"{name}{i}" for i, _ in enumerate(leaves(numbers))] if isinstance(numbers, tuple) else [name]


def _element(dtype: DTypeLike) -> int:
    """ONNX's code of a dtype."""
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


# -- the graph ---------------------------------------------------------------------------------------------------------


class Node(NamedTuple):
    """An operator on named values."""

    kind: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]


Constants: TypeAlias = dict[str, NDArray[Any]]  # of floats or of integers


class Graph(NamedTuple):
    """The dtype of all floats, the nodes in order, and the constants that they use; both grow as calls are added."""

    dtype: np.dtype[np.floating]
    nodes: list[Node]
    constants: Constants


def _add_call(
    graph: Graph, made: Program, call: Op, number: int, values: dict[int, str], state_names: tuple[str, ...]
) -> None:
    """Adds the nodes of a layer's `number`th call, and records the names of its outputs."""
    kernel = call.kernel
    assert kernel.onnx is not None
    label = (call.path or call.layer.name) + (f":{number}" if number > 1 else "")
    inputs = _names("x", call.x)
    known = dict(zip(inputs, (values[n] for n in leaves(call.x)), strict=True))
    known |= dict(zip(call.names, call.full, strict=True))
    known |= {k: state_names[i] for k, i in zip(call.state_names, call.state, strict=True)}
    done: dict[int, str] = {}
    changes: dict[str, Expression] = {k: op("Transpose", k) for k, t in zip(call.names, call.turned, strict=True) if t}
    changes |= {x: op("Cast", x, to=_element(graph.dtype)) for x, c in zip(inputs, call.casts, strict=True) if c}
    known |= {k: _add(graph, e, label, known, done) for k, e in changes.items()}

    def shape(numbers: Value) -> Any:
        return map_leaves(lambda n: made.shapes[n], numbers)

    given = {"shape": shape(call.x), "after": shape(call.y), "dtype": graph.dtype, "inputs": len(inputs)}
    expression = kernel.onnx(**{**call.layer.settings, **given})
    for n, e in zip(leaves(call.y), expression if isinstance(call.y, tuple) else [expression], strict=True):
        values[n] = _add(graph, e, label, known, done)


def _add(graph: Graph, expression: Expression, label: str, known: dict[str, str], done: dict[int, str]) -> str:
    """Adds the nodes of an expression, shared ones once, and returns the name of its value."""
    if isinstance(expression, str):
        return known[expression] if expression else ""  # an omitted input
    if id(expression) not in done:
        if isinstance(expression, expressions.Op) and expression.kind == "Output":
            of = _add(graph, expression.inputs[0], label, known, done)
            node, number = next(n for n in graph.nodes if n.outputs[0] == of), expression.attributes["number"]
            node.outputs.extend(f"{of}:{i}" for i in range(len(node.outputs), number + 1))
            name = node.outputs[number]
        elif isinstance(expression, expressions.Op):
            inputs = [_add(graph, e, label, known, done) for e in expression.inputs]
            name = f"{label}/{expression.kind}{len(done)}"
            graph.nodes.append(Node(expression.kind, inputs, [name], expression.attributes))
        else:
            name = f"{label}/constant{len(done)}"
            graph.constants[name] = np.asarray(expression)
        done[id(expression)] = name
    return done[id(expression)]
