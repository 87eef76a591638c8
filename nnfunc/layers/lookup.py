"""Embeddings: vectors looked up by integer ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nnfunc._internal.numerics import SMALL
from nnfunc._internal.validate import first_bad, positive_int
from nnfunc.arrays import Array
from nnfunc.core.expressions import Expression, op
from nnfunc.core.kernel import Initial, Kernel, Signature
from nnfunc.core.layer import Layer, make
from nnfunc.core.settings import Settings
from nnfunc.core.values import Shapes
from nnfunc.initializers import Initializer, check
from nnfunc.initializers import initial as drawn
from nnfunc.keys import Key
from nnfunc.layers.reshaping import one

__all__ = ["embedding"]

Ids = NDArray[np.integer]


def embedding(count: int, size: int, initializer: Initializer = "random", padding_id: int | None = None) -> Layer:
    """E[x]: the row of E for each integer in x (Bengio et al., JMLR 2003).

    Args:
        count: the number of rows of E: ids range from 0 to count − 1.
        size: the length of a row.
        initializer: the initializer of E; "random" is N(0, 0.01²), PyTorch's default is N(0, 1).
        padding_id: the id of padding: y is 0 there regardless of its row, which is initialized to 0 and has gradient 0.
    Parameters: E (count, size), not matched by penalties of "*W". x (...) → y (..., size); x has no gradient.
    Raises:
        ValueError: an id in x out of range; a padding_id out of range.
        TypeError: floats.

    Gradients of repeated ids add.

    >>> layer = nn.embedding(5, 2)
    >>> params, state = layer.init(nn.key(0), (3,))
    >>> y, cache, state = layer.forward(params, state, np.array([[0, 4, 4]]))
    >>> dx, grads = layer.backward(params, cache, np.ones((1, 3, 2)))
    >>> y.shape, dx, grads["E"][:, 0]
    ((1, 3, 2), None, array([1., 0., 0., 0., 2.], dtype=float32))
    """
    padding_id = None if padding_id is None else positive_int(padding_id, "padding_id", 0)
    if padding_id is not None and padding_id >= count:
        raise ValueError(f"padding_id={padding_id}: expected an id below count={count}")
    settings = Settings(
        count=positive_int(count, "count"),
        size=positive_int(size, "size"),
        initializer=check(initializer),
        padding_id=padding_id,
    )
    return make("embedding", settings, EMBEDDING)


class WithPadding:
    """Wraps an initializer and sets one row to 0."""

    def __init__(self, initializer: Initializer, padding_id: int) -> None:
        self.initializer, self.padding_id = initializer, padding_id

    def __call__(self, key: Key, shape: tuple[int, ...], dtype: DTypeLike = np.float32, /) -> Array:
        E = drawn(self.initializer, key, shape, dtype).copy()
        E[self.padding_id] = 0
        return E


def _signature(
    input_shape: Shapes, *, count: int, size: int, initializer: Initializer, padding_id: int | None
) -> Signature:
    begins = initializer if padding_id is None else WithPadding(initializer, padding_id)
    return Signature((*one(input_shape, "an embedding"), size), {"E": Initial((count, size), begins)})


def _below(input_shape: Shapes, *, count: int, **_: Any) -> int:
    return count


def _forward(params: Sequence[Array], x: Ids, *, padding_id: int | None) -> tuple[Array, Ids]:
    E = params[0]
    bad = (x < 0) | (x >= len(E))
    if bad.any():
        raise ValueError(f"x contains the id {first_bad(x, bad)}, expected integers from 0 to {len(E) - 1}")
    x = x.astype(np.intp, copy=False)  # booleans would act as a mask
    y: Array = E.take(x, axis=0)
    if padding_id is not None:
        y[x == padding_id] = 0
    return y, x


def _backward(
    params: Sequence[Array], x: Ids, dy: Array, grads: Sequence[Array | None], need: bool, *, padding_id: int | None
) -> None:
    dE = grads[0]
    if dE is None:
        return
    ids, rows = x.ravel(), dy.reshape(-1, dy.shape[-1])
    shortest = np.min_scalar_type(len(dE))  # NumPy sorts short integers in a tenth of the time
    order = ids.astype(shortest).argsort(kind="stable")
    dE[...] = 0
    while order.size * rows.shape[1] > SMALL:
        # In blocks of the sorted rows, the sums are products with 1s where ids are equal. A sum that goes on from the
        # block before is a row of the next round, and the last round's are summed as they are.
        filled = order.take(np.arange(-(-len(order) // ROWS) * ROWS), mode="clip")
        ids, rows = ids.take(filled), rows.take(filled, axis=0)
        rows[len(order) :] = 0
        blocks = ids.reshape(-1, ROWS)
        equal = (blocks[:, :, None] == blocks[:, None, :]).astype(rows.dtype)
        rows = np.matmul(equal, rows.reshape(len(blocks), ROWS, -1)).reshape(rows.shape)
        new = _new(ids)
        starts = np.flatnonzero(new)
        dE[ids[starts]] += rows.take(starts, axis=0)
        order = np.flatnonzero(~new[::ROWS]) * ROWS
    ids = ids[order]
    starts = np.flatnonzero(_new(ids))
    dE[ids[starts]] += np.add.reduceat(rows.take(order, axis=0), starts, axis=0)
    if padding_id is not None:
        dE[padding_id] = 0


ROWS = 16
"""How many rows a block has."""


def _new(ids: Ids) -> NDArray[np.bool_]:
    """Whether each is another than the one before."""
    return np.concatenate([ids[:1] == ids[:1], ids[1:] != ids[:-1]])


def _onnx(*, padding_id: int | None, dtype: Any, **_: Any) -> Expression:
    rows = op("Gather", "E", "x", axis=0)
    if padding_id is None:
        return rows
    kept = op("Not", op("Equal", op("Unsqueeze", "x", np.array([-1])), np.array(padding_id)))
    return op("Mul", rows, op("Cast", kept, to=1 if dtype == np.float32 else 11))


EMBEDDING = Kernel(
    _forward, _backward, _signature, formula="E[x]", uses=("padding_id",), takes="integers", below=_below,
    stacked=False, onnx=_onnx,
)  # fmt: skip
