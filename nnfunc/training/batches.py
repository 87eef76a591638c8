"""Mini-batches: a pass over the data in random order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfunc.errors import positive_int
from nnfunc.keys import Key, generator
from nnfunc.layers.base import view
from nnfunc.training.progress import Counted


def minibatches(
    key: Key | None, arrays: Sequence[ArrayLike], batch_size: int | None = 64
) -> Counted[tuple[NDArray[Any], ...]]:
    """The rows of the arrays in random order, in batches; together they are every row once.

    The iterator has a length, so a progress bar knows its end.

    Args:
        key: of the order; None keeps the order of the rows.
        arrays: (X, Y), or any number of arrays of one length. Arrays on disk (`np.memmap`) are read batch by batch.
        batch_size: the number of rows of a batch; the last one may be smaller. None: one batch of all rows.
    Yields:
        a tuple with the batch of each array.
    Raises:
        ValueError: no array, no row, lengths that differ, a batch_size below 1.

    >>> X, Y = np.arange(10).reshape(5, 2), np.arange(5)
    >>> [y for x, y in nn.minibatches(nn.key(0), (X, Y), batch_size=2)]
    [array([1, 4]), array([2, 0]), array([3])]
    """
    rows = same_length(arrays)
    parts = [a if isinstance(a, np.ndarray) else np.asarray(a) for a in arrays]
    size = len(parts[0]) if batch_size is None else positive_int(batch_size, "batch_size")
    order = None if key is None else generator(key).permutation(rows)
    return Counted(_batches(parts, order, rows, size), math.ceil(rows / size))


def _batches(
    arrays: list[NDArray[Any]], order: NDArray[np.intp] | None, rows: int, size: int
) -> Iterator[tuple[NDArray[Any], ...]]:
    for start in range(0, rows, size):
        chosen = slice(start, start + size) if order is None else order[start : start + size]
        yield tuple(a[chosen] if order is not None else view(a[chosen]) for a in arrays)


def same_length(arrays: Sequence[ArrayLike], names: Sequence[str] = ("X", "Y", "weights")) -> int:
    """The number of rows of the arrays, checked to be the same for all and not 0."""
    if isinstance(arrays, np.ndarray) or not isinstance(arrays, Sequence) or not arrays:
        raise TypeError(f"arrays is {type(arrays).__name__}, expected a tuple of arrays, like (X, Y)")
    lengths = [len(a) if isinstance(a, np.ndarray) and a.ndim else len(np.atleast_1d(a)) for a in arrays]
    if len(set(lengths)) > 1:
        pairs = zip([*names, *map(str, range(len(names), len(lengths)))], lengths, strict=False)
        raise ValueError(f"lengths differ: {', '.join(f'{n} has {k} rows' for n, k in pairs)}: rows are examples")
    if any(np.ndim(a) == 0 for a in arrays):
        raise TypeError("arrays has a single number among its parts, expected arrays of rows, like (X, Y)")
    if lengths[0] == 0:
        raise ValueError("the data have no rows: expected at least one example")
    return lengths[0]
