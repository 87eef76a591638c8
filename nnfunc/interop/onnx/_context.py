"""The context passed to the readers of single operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnfunc.core.layer import Layer
from nnfunc.interop.onnx._graph import Graph, Node, Sizes, refused
from nnfunc.interop.onnx._pieces import Layout, Piece, same

IMAGES = ("AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "GlobalAveragePool", "GlobalMaxPool",
          "GroupNormalization", "InstanceNormalization", "MaxPool", "Resize")  # fmt: skip
"""Operators with the features on the second axis."""

ALONE = ("Clip", "Dropout", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu", "Pad", "Relu",
         "Selu", "Sigmoid", "Softplus", "Softsign", "Swish", "Slice", "Tanh", "Add", "Sum", "Sub", "Mul")  # fmt: skip
"""Operators that do not depend on the layout."""

RECURRENT = ("GRU", "LSTM", "RNN")
"""Operators with time on the first axis."""


class Context(NamedTuple):
    """A node in its graph, the index of the output to read, the names of x and y, the layout of x, earlier pieces."""

    graph: Graph
    node: Node
    output: int
    x: str
    y: str
    layout: Layout
    pieces: list[Piece]

    @property
    def before(self) -> Sizes:
        """The sizes of the input."""
        return self._sizes(self.x)

    @property
    def after(self) -> Sizes:
        """The sizes of the output."""
        return self._sizes(self.y)

    def _sizes(self, value: str) -> Sizes:
        self.ask(value in self.graph.sizes, f"the shape of {value!r} is unknown: export with a fixed size")
        return self.graph.sizes[value]

    def get(self, name: str, default: Any) -> Any:
        """An attribute of the node."""
        return self.node.attributes.get(name, default)

    def constant(self, i: int) -> NDArray[Any] | None:
        """A constant input of the node; None if it is omitted."""
        return self.graph.constant(self.node, i)

    def needed(self, i: int) -> NDArray[Any]:
        """A constant input of the node that is required."""
        array = self.constant(i)
        if array is None:
            raise refused(self.node, f"it has no input {i}")
        return array

    def given(self, name: str, i: int) -> list[int] | None:
        """Integers that are an attribute in older operator sets and an input in newer ones."""
        array = self.get(name, None) if name in self.node.attributes else self.constant(i)
        return None if array is None else [int(n) for n in np.ravel(array)]

    def ask(self, holds: bool, why: str) -> None:
        """Raises an error if a condition does not hold."""
        if not holds:
            raise refused(self.node, why)

    def features_at(self, axis: int) -> None:
        """Raises an error if an axis is not the feature axis."""
        self.ask(
            self.layout.has_features(axis),
            f"its axis {axis} is not the feature axis, {self.layout.axes[-1]}: nnfunc has no layer for it",
        )

    def add(self, layer: Layer, state: dict[str, NDArray[Any]] | None = None, **params: NDArray[Any] | None) -> None:
        """Adds a layer with its parameters, except those that are None."""
        self.pieces.append(Piece(layer, {k: v for k, v in params.items() if v is not None}, state or {}))


Reader: TypeAlias = Callable[[Context], Layout]


def lies(graph: Graph, value: str, rank: int | None = None) -> Layout:
    """The layout of an input of the graph or of a layer, inferred from the operators that use it."""
    if rank is None and value not in graph.sizes:
        raise ValueError(f"the input {value!r} of the graph has no shape")
    rank = len(graph.sizes[value]) if rank is None else rank
    ahead, seen = [value], {value}
    while ahead:
        for node in graph.users(ahead.pop()):
            if node.kind in IMAGES and rank > 2:
                return Layout((0, *range(2, rank), 1), rank)
            if node.kind in RECURRENT:
                return Layout((1, 0, 2), rank)
            if node.kind in ALONE and not {*node.outputs} & seen:
                ahead.extend(node.outputs)
                seen.update(node.outputs)
    return same(rank)
