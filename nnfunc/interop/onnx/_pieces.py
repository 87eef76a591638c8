"""Layers with their arrays, and the layout of their values in ONNX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnfunc.core.layer import Layer

Arrays: TypeAlias = dict[str, NDArray[Any]]


class Piece(NamedTuple):
    """A layer, its parameters and its state."""

    layer: Layer
    params: Arrays = {}
    state: Arrays = {}


def composed(make: Callable[..., Layer], pieces: Sequence[Piece]) -> Piece:
    """A composition of pieces, with their arrays renamed.

    >>> import nnfunc as nn
    >>> composed(nn.serial, [Piece(nn.dense(1), {"W": np.ones((2, 1))})]).params.keys()
    dict_keys(['dense1.W'])
    """
    layer = make(*(piece.layer for piece in pieces))
    params: Arrays = {}
    state: Arrays = {}
    for (name, _), piece in zip(layer.layers, pieces, strict=True):
        params |= {f"{name}.{k}": array for k, array in piece.params.items()}
        state |= {f"{name}.{k}": array for k, array in piece.state.items()}
    return Piece(layer, params, state)


class Layout(NamedTuple):
    """The layout of a value of ours in ONNX.

    Attributes:
        axes: for each of our axes that of ONNX; the others there have length 1.
        rank: the number of axes there.
        order: for the features of a flattened image, the index there of each of ours; None: the same.
    """

    axes: tuple[int, ...]
    rank: int
    order: NDArray[np.intp] | None = None

    def moved(self, to: dict[int, int], rank: int) -> Layout:
        """The layout after renumbering ONNX's axes."""
        return self._replace(axes=tuple(to[a] for a in self.axes), rank=rank)

    def without(self, gone: set[int]) -> Layout:
        """The layout without some axes of ONNX that are not among ours."""
        kept = [n for n in range(self.rank) if n not in gone]
        return self.moved({n: i for i, n in enumerate(kept)}, len(kept))

    def has_features(self, axis: int) -> bool:
        """Whether an axis of ONNX is our feature axis."""
        return self.axes[-1] == axis % self.rank

    def goes_along(self, array: NDArray[Any]) -> bool:
        """Whether an array that is added or multiplied there has one value per feature, or a single one."""
        long = [i - array.ndim for i, n in enumerate(array.shape) if n > 1]
        return not long or (len(long) == 1 and self.has_features(long[0]))

    def ordered(self, array: NDArray[Any]) -> NDArray[Any]:
        """An array whose first axis is the features, in our order."""
        return array if self.order is None or len(array) == 1 else array[self.order]


def same(rank: int) -> Layout:
    """The layout of a value that is the same in ONNX and here.

    >>> same(2)
    Layout(axes=(0, 1), rank=2, order=None)
    """
    return Layout(tuple(range(rank)), rank)
