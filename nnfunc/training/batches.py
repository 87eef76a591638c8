"""Mini-batches: one pass over the data in random order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfunc._internal.validate import flag, numeric, positive_int
from nnfunc.core.kernel import view
from nnfunc.core.values import leaves, map_leaves
from nnfunc.keys import Key, generator
from nnfunc.stacks import PerMember
from nnfunc.training.progress import Counted
from nnfunc.training.shards import Reduction, Shards

A = TypeVar("A", bound="NDArray[Any] | tuple[Any, ...]")
B = TypeVar("B", bound="NDArray[Any] | tuple[Any, ...]")
C = TypeVar("C", bound="NDArray[Any] | tuple[Any, ...]")
"""Parts of the data, of which a batch has the like."""


@overload
def minibatches(
    key: Key | None,
    arrays: tuple[A, B],
    batch_size: int | None = 64,
    *,
    rows: ArrayLike | PerMember | None = None,
    drop_last: bool = False,
) -> Counted[tuple[A, B]]: ...
@overload
def minibatches(
    key: Key | None,
    arrays: tuple[A, B, C],
    batch_size: int | None = 64,
    *,
    rows: ArrayLike | PerMember | None = None,
    drop_last: bool = False,
) -> Counted[tuple[A, B, C]]: ...
@overload
def minibatches(
    key: Key | None,
    arrays: Sequence[Any],
    batch_size: int | None = 64,
    *,
    rows: ArrayLike | PerMember | None = None,
    drop_last: bool = False,
    reduce: Reduction | None = None,
) -> Counted[Any]: ...
def minibatches(
    key: Key | None,
    arrays: Sequence[Any],
    batch_size: int | None = 64,
    *,
    rows: ArrayLike | PerMember | None = None,
    drop_last: bool = False,
    reduce: Reduction | None = None,
) -> Counted[Any]:
    """Iterates over the rows of the arrays in random order, in batches; each row occurs once.

    The iterator has a length, for progress bars.

    Args:
        key: the key of the random order; None keeps the order of the rows.
        arrays: (X, Y), or any number of parts with the same number of rows: arrays, or tuples of arrays. Arrays on disk
            (`np.memmap`) are read batch by batch; the order takes 8 bytes per row. In parts marked by
            `nn.stacks.per_member`, the rows are the second axis.
        batch_size: rows per batch; the last batch may be smaller. None: one batch of all rows.
        rows: the indices of the rows to use; by default all. For a stack of networks, `nn.stacks.per_member(rows)` of
            shape (K, n) gives each network its own, as in cross-validation or the bootstrap.
        drop_last: drops a last batch that is smaller than the others.
        reduce: the reduction of a step that is distributed over processes: only the rows of this process are read.
    Yields:
        a tuple with a batch of each part; with `reduce`, the `Shards` of this process.
    Raises:
        ValueError: no arrays, no rows, mismatched lengths, or a batch_size below 1.

    >>> X, Y = np.arange(10).reshape(5, 2), np.arange(5)
    >>> [y for x, y in nn.minibatches(nn.key(0), (X, Y), batch_size=2)]
    [array([1, 4]), array([2, 0]), array([3])]

    A step accepts batches from any source, such as a Parquet file that is never loaded as a whole:

        def from_parquet(path, key, batch_size=64):
            file = pyarrow.parquet.ParquetFile(path)
            for i, group in enumerate(nn.keys.generator(key).permutation(file.num_row_groups)):
                table = file.read_row_group(int(group))
                X = np.column_stack([table[name].to_numpy() for name in table.column_names if name != "target"])
                yield from nn.minibatches(nn.fold_in(key, i), (X, table["target"].to_numpy()), batch_size)

        for batch in from_parquet("data.parquet", nn.fold_in(nn.key(1), epoch)):
            ts, metrics = step(ts, batch)
    """
    count = same_length(arrays)
    parts = [map_leaves(_as_array, part) for part in arrays]
    chosen = None if rows is None else _rows(rows, count)
    total = count if chosen is None else chosen.shape[-1]
    size = total if batch_size is None else positive_int(batch_size, "batch_size")
    order = None if key is None else generator(key).permutation(total)
    count = batch_count(total, size, drop_last)
    end, own = count * size if drop_last else total, isinstance(rows, PerMember)
    spans = ((start, min(start + size, end)) for start in range(0, end, size))
    if reduce is not None and reduce.shards:
        return Counted((_shards(parts, order, span, chosen, own, reduce) for span in spans), count)
    return Counted((_batch(parts, order, span, chosen, own) for span in spans), count)


def batch_count(total: int, size: int | None, drop_last: bool) -> int:
    """The number of batches of an epoch."""
    flag(drop_last, "drop_last")
    if size is None:
        return 1
    if drop_last and total < size:
        raise ValueError(f"batch_size={size}, but there are {total} rows: drop_last=True would drop all of them")
    return total // size if drop_last else math.ceil(total / size)


def _as_array(a: Any) -> Any:
    return a if isinstance(a, (np.ndarray, PerMember)) else np.asarray(a)


def _rows(rows: ArrayLike | PerMember, count: int) -> NDArray[np.intp]:
    numbers = numeric(rows.array if isinstance(rows, PerMember) else rows, "rows")
    axes = 2 if isinstance(rows, PerMember) else 1
    if numbers.ndim != axes or numbers.dtype.kind not in "iu" or not numbers.size:
        raise ValueError(
            f"rows has shape {numbers.shape} and dtype {numbers.dtype}, expected row indices (n,), or "
            "nn.stacks.per_member(rows) of shape (K, n)"
        )
    if numbers.min() < 0 or numbers.max() >= count:
        raise ValueError(f"rows contains {numbers.min()} to {numbers.max()}, expected indices from 0 to {count - 1}")
    return numbers.astype(np.intp)


def _batch(
    parts: list[Any], order: NDArray[np.intp] | None, span: tuple[int, int], rows: NDArray[np.intp] | None, own: bool
) -> tuple[Any, ...]:
    """The rows of the parts at the positions `span` of the order."""
    chosen: Any = slice(*span) if order is None else order[slice(*span)]
    return tuple(map_leaves(lambda a: _part(a, chosen, rows, own), part) for part in parts)


def _shards(
    parts: list[Any],
    order: NDArray[np.intp] | None,
    span: tuple[int, int],
    rows: NDArray[np.intp] | None,
    own: bool,
    reduce: Reduction,
) -> Shards:
    """Like `_batch`, for the shards of this process only."""
    start, stop = span
    places = [reduce.rows(number, stop - start) for number in reduce.own]
    return Shards(tuple(_batch(parts, order, (start + p.start, start + p.stop), rows, own) for p in places))


def _part(a: Any, chosen: Any, rows: NDArray[np.intp] | None, own: bool) -> Any:
    """The selected rows of one array."""
    at = chosen if rows is None else rows[..., chosen]
    if isinstance(a, PerMember):
        members = np.arange(len(a.array))[:, None]
        return PerMember(a.array[members, at] if own else a.array[:, at])
    if own:
        return PerMember(a[at])
    return view(a[at]) if isinstance(at, slice) else a[at]


def axes_of(a: Any, name: str) -> int:
    """The number of axes of an array."""
    try:
        return np.ndim(a)
    except ValueError as error:
        raise TypeError(f"{name} is not an array: its rows have different lengths ({error})") from None


def row_count(a: Any) -> int:
    """The number of rows of an array."""
    if isinstance(a, PerMember):
        return a.array.shape[1] if a.array.ndim > 1 else 0
    return len(a) if isinstance(a, np.ndarray) and a.ndim else len(np.atleast_1d(a))


def same_length(arrays: Sequence[Any], names: Sequence[str] = ("X", "Y", "weights")) -> int:
    """The number of rows of the arrays, checked to be equal for all and positive."""
    if isinstance(arrays, np.ndarray) or not isinstance(arrays, Sequence) or not arrays:
        raise TypeError(f"arrays is {type(arrays).__name__}, expected a tuple of arrays, like (X, Y)")
    named = [*names, *map(str, range(len(names), len(arrays)))]
    for name, part in zip(named, arrays, strict=False):
        for leaf in leaves(part):
            if not isinstance(leaf, PerMember) and axes_of(leaf, name) == 0:
                said = (
                    "a single number" if isinstance(leaf, (int, float, np.generic, np.ndarray)) else type(leaf).__name__
                )
                raise TypeError(f"arrays contains {said} as {name}: expected arrays of rows, like (X, Y)")
    lengths = [(name, row_count(leaf)) for name, part in zip(named, arrays, strict=False) for leaf in leaves(part)]
    if len({n for _, n in lengths}) > 1:
        said = ", ".join(f"{name} has {n} rows" for name, n in lengths)
        raise ValueError(f"lengths differ: {said}: rows are examples")
    if lengths[0][1] == 0:
        raise ValueError("the data has no rows: expected at least one example")
    return lengths[0][1]
