"""An ONNX graph prepared for reading: constants folded, nodes without effect removed, and shapes inferred."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

Sizes: TypeAlias = tuple[int | None, ...]
"""The lengths of a value's axes, None where the graph leaves it open."""

INPUTS, OUTPUTS = "", "outputs of the graph"
"""Artificial values before the inputs and after the outputs, which all paths pass through."""


MOVING = ("Cast", "Concat", "Gather", "Slice", "Squeeze", "Unsqueeze")
"""Operators that pass sizes on unchanged."""


class Node(NamedTuple):
    """An operator on named values; an omitted input is ""."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]  # numbers, strings, arrays and lists of these


class Graph(NamedTuple):
    """The producers of each value, the constants, the sizes of values, and the dominators of values.

    about_sizes: values that depend only on sizes. before: for each value, the nearest one that all paths from the
    inputs to it pass through. double: whether the inputs are float64. version: the version of the operator set.
    """

    producers: dict[str, tuple[Node, int]]
    constants: dict[str, NDArray[Any]]
    sizes: dict[str, Sizes]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    about_sizes: frozenset[str]
    before: dict[str, str]
    double: bool
    version: int

    def data(self, node: Node) -> list[str]:
        """The inputs of a node that depend on the inputs of the graph, not only on their sizes."""
        return [v for v in node.inputs if v and v not in self.constants and v not in self.about_sizes]

    def constant(self, node: Node, i: int) -> NDArray[Any] | None:
        """A constant input; None if it is omitted."""
        if len(node.inputs) <= i or not node.inputs[i]:
            return None
        if node.inputs[i] not in self.constants:
            raise refused(node, f"its input {node.inputs[i]!r} is computed, expected a constant")
        return self.constants[node.inputs[i]]

    def users(self, value: str) -> Iterator[Node]:
        """The nodes that use a value."""
        return (node for node, _ in self.producers.values() if value in node.inputs)


def refused(node: Node, why: str) -> ValueError:
    """The error for a node that does not correspond to a layer."""
    return ValueError(f"the node {node.name!r} ({node.kind}) cannot be read: {why}")


def opened(source: onnx.ModelProto | str | os.PathLike[str]) -> Graph:
    """Reads the graph of a model or of a file."""
    import onnx.inliner

    if not isinstance(source, (str, os.PathLike, onnx.ModelProto)):
        raise TypeError(f"source is {type(source).__name__}, expected the path of a file or an onnx.ModelProto")
    if isinstance(source, onnx.ModelProto):
        model = source
    else:
        try:
            model = onnx.load(source)
        except OSError:  # a file that is missing or not readable
            raise
        except Exception as error:  # any error of the parser for arbitrary bytes
            raise ValueError(f"source={os.fspath(source)!r} is not an ONNX file, or is damaged: {error}") from error
    return _opened(onnx.inliner.inline_local_functions(model) if model.functions else model)


def _opened(model: onnx.ModelProto) -> Graph:
    import onnx

    version = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if version < 7:
        raise ValueError(f"the model has operator set {version}, expected 7 or later")
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    proto = model.graph
    constants = {i.name: _array(i) for i in proto.initializer}
    inputs = tuple(i.name for i in proto.input if i.name not in constants)
    sizes = {v.name: _sizes(v) for v in (*proto.input, *proto.value_info, *proto.output) if _has_sizes(v)}
    alias: dict[str, str] = {}
    producers: dict[str, tuple[Node, int]] = {}
    about_sizes: set[str] = set()
    open_: dict[str, NDArray[Any]] = {}  # sizes, with −1 for open ones
    for i, raw in enumerate(proto.node):
        node = _node(raw, i, alias)
        known = all(v in constants for v in node.inputs if v)
        if node.kind == "Identity" or (node.kind == "Cast" and _is_no_cast(node, model)):
            alias[node.outputs[0]] = node.inputs[0]
        elif known and (node.inputs or node.kind == "Constant"):
            constants |= _computed(raw, node, constants, model)
        elif node.kind == "Shape" or all(v in constants or v in about_sizes for v in node.inputs if v):
            about_sizes |= {*node.outputs}
            if node.kind == "Shape" and node.inputs[0] in sizes:
                asked = sizes[node.inputs[0]][node.attributes.get("start", 0) : node.attributes.get("end")]
                open_[node.outputs[0]] = np.array([-1 if n is None else n for n in asked])
            elif node.kind in MOVING and all(v in constants or v in open_ for v in node.inputs if v):
                open_ |= _computed(raw, node, {**constants, **open_}, model)
        producers |= {output: (node, k) for k, output in enumerate(node.outputs) if output and output not in alias}
    if _says_shapes(model, open_):
        return _opened(model)
    outputs = tuple(alias.get(o.name, o.name) for o in proto.output)
    end = Node("", OUTPUTS, outputs, (OUTPUTS,), {})
    double = any(i.type.tensor_type.elem_type == 11 for i in proto.input)
    made = {**producers, OUTPUTS: (end, 0)}
    graph = Graph(made, constants, sizes, inputs, outputs, frozenset(about_sizes), {}, double, version)
    return graph._replace(before=_before(graph))


def _says_shapes(model: onnx.ModelProto, known: dict[str, NDArray[Any]]) -> bool:
    """Makes the target shapes of Reshape nodes constants where all but the number of examples is known, so that later
    sizes become known too. Returns whether there were any."""
    from onnx import numpy_helper

    found = [n for n in model.graph.node if n.op_type == "Reshape" and n.input[1] in known]
    for node in found:
        sizes = known[node.input[1]].astype(np.int64)
        sizes[:1] = np.where(sizes[:1] < 0, 0, sizes[:1])  # the axis of the examples is unchanged
        node.input[1] = f"shape of {node.output[0]}"
        model.graph.initializer.append(numpy_helper.from_array(sizes, node.input[1]))
    return len(found) > 0


def _before(graph: Graph) -> dict[str, str]:
    """The immediate dominator of each value, from the nodes in their topological order."""
    before = dict.fromkeys(graph.inputs, INPUTS)
    depth = {INPUTS: 0, **dict.fromkeys(graph.inputs, 1)}
    for value, (node, _) in graph.producers.items():
        given = [v for v in graph.data(node) if v in depth]
        if not given:
            continue
        nearest = given[0]
        for other in given[1:]:
            while nearest != other:
                if depth[nearest] >= depth[other]:
                    nearest = before[nearest]
                else:
                    other = before[other]
        before[value], depth[value] = nearest, depth[nearest] + 1
    return before


def _node(raw: onnx.NodeProto, number: int, alias: dict[str, str]) -> Node:
    from onnx import helper

    kind = f"{raw.domain}.{raw.op_type}" if raw.domain not in ("", "ai.onnx") else raw.op_type
    inputs = tuple(alias.get(v, v) for v in raw.input)
    attributes = {a.name: _plain(helper.get_attribute_value(a)) for a in raw.attribute}
    return Node(kind, raw.name or f"node {number}", inputs, tuple(raw.output), attributes)


def _plain(value: Any) -> Any:
    from onnx import TensorProto

    if isinstance(value, TensorProto):
        return _array(value)
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return shortest(np.float32(value))
    return value.decode() if isinstance(value, bytes) else value


def shortest(number: np.floating) -> float:
    """The shortest number that rounds to this one: for a float32, 1e-5 instead of 9.999999747378752e-06."""
    return float(str(number))


def _array(tensor: onnx.TensorProto) -> NDArray[Any]:
    """A constant; shorter floats become float32."""
    from onnx import numpy_helper

    array = numpy_helper.to_array(tensor)
    short = array.dtype.kind in "fV" and array.dtype.itemsize < 4
    return array.astype(np.float32) if short else array


def _has_sizes(value: onnx.ValueInfoProto) -> bool:
    has: bool = value.type.tensor_type.HasField("shape")
    return has


def _sizes(value: onnx.ValueInfoProto) -> Sizes:
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim)


def _is_no_cast(node: Node, model: onnx.ModelProto) -> bool:
    """Whether a Cast is between floats, which all have one dtype here."""
    floats = {1, 10, 11, 16}  # float32, float16, float64, bfloat16
    graph = model.graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.value_info, *graph.output)}
    return floats.issuperset((node.attributes["to"], kinds.get(node.inputs[0])))


def _computed(
    raw: onnx.NodeProto, node: Node, constants: dict[str, NDArray[Any]], model: onnx.ModelProto
) -> dict[str, NDArray[Any]]:
    """The outputs of a node whose inputs are constants."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    given = {theirs: constants[ours] for theirs, ours in zip(raw.input, node.inputs, strict=True) if ours}
    inputs = [helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
              for k, a in given.items()]  # fmt: skip
    outputs = [helper.make_empty_tensor_value_info(k) for k in raw.output if k]
    alone = helper.make_graph([raw], "constants", inputs, outputs)
    made = helper.make_model(alone, opset_imports=model.opset_import, ir_version=model.ir_version)
    found = ReferenceEvaluator(made).run(None, given)
    return {k: np.asarray(a) for k, a in zip([k for k in raw.output if k], found, strict=True)}
