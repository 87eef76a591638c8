"""A batch in shards whose gradients are summed: training on one process or on many, with the same bits.

A batch of m rows is divided into S shards of consecutive rows, from m·s/S to m·(s+1)/S. Each shard s has the gradient
gₛ of the mean over its rows, a weight Wₛ, and its own random keys; the update is that of the whole batch,
Σ Wₛ gₛ / Σ Wₛ. Shards are summed in order, so the bits do not depend on the number of processes. A batch norm uses
either the statistics of each shard, its state being their mean weighted by rows, or those of all rows, for which the
shards run in lockstep. The penalty, the check for finite values, clipping and the update follow once, after the sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, cast

import numpy as np

from nnfunc._internal.validate import all_finite, positive_int
from nnfunc.arrays import Array, ArrayDict
from nnfunc.core.kernel import Gather
from nnfunc.core.values import Value, leaves, map_leaves
from nnfunc.errors import NonFiniteError
from nnfunc.models.nonfinite import where_it_began
from nnfunc.training.gradients import Batch, Trace, ValueAndGrad
from nnfunc.training.lockstep import StoppedError, in_step
from nnfunc.training.state import TrainState

RAISED: dict[str, type[Exception]] = {
    "ValueError": ValueError,
    "TypeError": TypeError,
    "NonFiniteError": NonFiniteError,
}
"""Errors raised with their own type on all processes; others become a RuntimeError."""


class Reduction(NamedTuple):
    """The assignment of shards to processes, and the functions that sum their results.

    Attributes:
        shards: S, the number of shards of a batch; 0 if each process has its own batch.
        own: the indices of the shards that this process computes.
        total: the vectors of its shards -> the sum of the vectors of all shards, in order; all processes call it at the
            same time and get the same values, which are valid until the next call.
        gather: a small object from each process -> the objects of all.
        join: a part of a vector from each process -> the whole vector, also valid until the next call.
        rank, ranks: the index of this process, and the number of processes.
        statistics: whether a batch norm uses the statistics of each "shard" or of the whole "batch".
        space: (length, dtype) -> memory for the vectors of its shards that `total` does not have to copy.
    """

    shards: int
    own: range
    total: Callable[[Sequence[Array]], Array]
    gather: Callable[[Any], list[Any]]
    join: Callable[[Array], Array]
    rank: int = 0
    ranks: int = 1
    statistics: Literal["shard", "batch"] = "shard"
    space: Callable[[int, Any], Sequence[Array]] | None = None

    @property
    def trivial(self) -> bool:
        """Whether there is only one shard, and so nothing to sum."""
        return self.shards == 1

    def rows(self, shard: int, count: int) -> slice:
        """The rows of a shard, in a batch of `count` rows."""
        return slice(count * shard // self.shards, count * (shard + 1) // self.shards)

    def memory(self, length: int, dtype: Any) -> Sequence[Array]:
        """Memory for the vectors of this process's shards."""
        return [np.empty(length, dtype) for _ in self.own] if self.space is None else self.space(length, dtype)

    def agreed(self, error: Exception | None, place: int = 0) -> Exception | None:
        """The error to raise on every process: that of the first place (then rank) with one; None if there is none."""
        if self.ranks == 1:
            return error
        said = None if error is None else (place, self.rank, type(error).__name__, str(error))
        found = [each for each in self.gather(said) if each is not None]
        if not found:
            return None
        _, rank, kind, text = min(found)
        return RAISED.get(kind, RuntimeError)(f"rank {rank}: {text}")

    def check_same(self, what: str, *parts: object) -> None:
        """Raises an error on every process if these values (dicts of arrays, numbers, keys) differ among processes."""
        if self.ranks == 1:
            return
        digests = self.gather(digest(*parts))
        if len(set(digests)) > 1:
            others = [rank for rank, each in enumerate(digests) if each != digests[0]]
            raise ValueError(f"{what} on rank {', '.join(map(str, others))} differs from rank 0: start all ranks alike")


def digest(*parts: object) -> str:
    """A hash of values: equal bits have equal hashes.

    >>> digest(nn.ArrayDict({"b": [1.0]}), 3) == digest(nn.ArrayDict({"b": [1.0]}), 3)
    True
    """
    import hashlib  # the import takes 3 ms, and only ranks that compare values need it

    h = hashlib.sha256()
    for part in parts:
        if isinstance(part, ArrayDict):
            h.update(repr([(k, v.shape, v.dtype.str) for k, v in part.items()]).encode())
            for array in part.values():
                h.update(array.tobytes())
        else:
            h.update(repr(part).encode())
    return h.hexdigest()


def sharded(shards: int, *, statistics: Literal["shard", "batch"] = "shard") -> Reduction:
    """Computes all shards in this process, one after another: the same bits as on any number of processes.

    Args:
        shards: S, the number of shards.
        statistics: see `nn.distributed.mpi`.

    >>> model = nn.mlp([2, 3, 1], ["tanh", "sigmoid"])
    >>> step = nn.train_step(model, nn.binary_cross_entropy, nn.adam(0.1), reduce=nn.distributed.sharded(2))
    >>> ts = nn.train_state(model, step.optimizer, nn.key(0), input_shape=(2,))
    >>> ts, metrics = step(ts, (np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.array([0, 1, 1])))
    >>> metrics.weight
    3.0
    """
    S = positive_int(shards, "shards")
    return Reduction(S, range(S), in_order, lambda value: [value], lambda part: part, statistics=named(statistics))


def named(statistics: str) -> Literal["shard", "batch"]:
    """`statistics`, checked."""
    if statistics not in ("shard", "batch"):
        raise ValueError(
            f"statistics={statistics!r}: expected 'shard' (a batch norm uses those of each shard's rows) or 'batch' "
            "(those of all rows, for which the shards run in lockstep)"
        )
    return cast('Literal["shard", "batch"]', statistics)


def by_function(reduce: Callable[[Array], Array]) -> Reduction:
    """The reduction by a user-defined function that sums a vector over all processes."""

    def total(vectors: Sequence[Array]) -> Array:
        summed = np.asarray(reduce(vectors[0]))
        if summed.shape != vectors[0].shape:
            raise ValueError(f"reduce returned shape {summed.shape}, expected the sum of vectors of {vectors[0].shape}")
        return summed

    return Reduction(0, range(1), total, lambda value: [value], lambda part: part)


def in_order(vectors: Sequence[Array]) -> Array:
    """The sum, in order."""
    total = vectors[0].copy()
    for vector in vectors[1:]:
        total += vector
    return total


class Shards(NamedTuple):
    """The shards of a batch that this process computes: `nn.train` reads only these rows."""

    parts: tuple[Batch, ...]

    def joined(self) -> Batch:
        """Their rows, concatenated."""
        return tuple(map_leaves(_joined, *each) for each in zip(*self.parts, strict=True))


class Sum(NamedTuple):
    """The combined results of the shards of a batch: see `Trace`."""

    value: float
    vector: Array
    state: ArrayDict
    output: Value
    weight: float


def _alone(vector: Array) -> Array:
    """The `Gather` of a shard with its own statistics."""
    return vector[None]


def added(
    function: ValueAndGrad, reduce: Reduction, ts: TrainState, batch: Batch | Shards, must_be_finite: bool
) -> Sum:
    """The value and the gradients of a batch, from its shards.

    Raises:
        The error of any process, on all of them; its message names the process.
    """
    params, state, _, key, t = ts
    n, s = params.size, state.size
    vectors = reduce.memory(n + s + 4, params.dtype)
    traces: list[Trace] = []
    error: Exception | None = None

    def traced(vector: Array, number: int, part: Batch, gather: Gather) -> Trace:
        """Evaluates a shard and writes its summands: gradients, state, value, weight, rows, and 0 failures.

        The state is that of all rows, including those of weight 0.
        """
        folds = (t, number) if reduce.shards else (t,)
        trace = alone.trace(params, state, part, key, gather, folds=folds, sums=vector[:n])
        weight, rows = trace.weight, len(leaves(part[0])[0])
        if s:
            np.multiply(trace.state._vector, rows, out=vector[n:-4])
        vector[-4:] = trace.value * weight if weight else 0, weight, rows, 0
        return trace

    alone = function if function.penalty is None else function._replace(penalty=None)
    evaluated: list[Batch] = []

    def planned() -> list[Callable[..., Trace]]:
        if params.stack_shape:
            raise ValueError("reduce= with a stack of networks: expected a single network; train the members singly")
        parts = batch.parts if isinstance(batch, Shards) else cut(reduce, batch)
        calls: list[Callable[..., Trace]] = []
        for vector, number, part in zip(vectors, reduce.own, parts, strict=True):
            if len(leaves(part[0])[0]):
                calls.append(partial(traced, vector, number, part))
                evaluated.append(part)
            else:  # a shard without rows adds nothing
                vector[:] = 0
        return calls

    try:
        by_batch = reduce.statistics == "batch"
        traces = in_step(reduce.gather, planned) if by_batch else [call(_alone) for call in planned()]
    except Exception as raised:  # the other processes wait for the sum, which tells them
        error = raised
        for vector in vectors:
            vector[:] = 0
        vectors[-1][-1] = 1
    total = reduce.total(vectors)
    if total[-1] or error is not None:
        own = None if isinstance(error, StoppedError) else error
        raise reduce.agreed(own) or RuntimeError("another process failed: see its message")
    value, weight, rows, _ = total[-4:].tolist()
    vector, value = total[:n] / (weight or 1), value / (weight or 1)
    moved = total[n:-4] / (rows or 1)
    finite = math.isfinite(value) and all_finite(vector) and all_finite(moved)
    if function.penalty is not None:
        value = value + float(function.penalty.forward(params, weight))
        vector += function.penalty.backward(params, weight)._vector
        finite = finite and math.isfinite(value) and all_finite(vector)
    if must_be_finite and not finite:
        place, began = min(((_place(trace), i) for i, trace in enumerate(traces)), default=(NOWHERE, 0))
        mine = (
            None if place == NOWHERE else NonFiniteError(where_it_began(function, ts, evaluated[began], traces[began]))
        )
        error = reduce.agreed(mine, place)
        raise error or NonFiniteError(f"at step {t}, the penalty or the sum of the shards is not finite")
    new = state if not s else ArrayDict._of(state._layout, moved, state._integers)
    output = map_leaves(_joined, *[trace.output for trace in traces]) if traces else None
    return Sum(value, vector, new, output, weight)


def cut(reduce: Reduction, batch: Batch) -> tuple[Batch, ...]:
    """The shards of a whole batch that this process computes."""
    if not reduce.shards:
        return (batch,)
    count = len(leaves(batch[0])[0])

    def shard(rows: slice) -> Batch:
        return tuple(map_leaves(lambda a: np.asarray(a)[rows], part) for part in batch)

    return tuple(shard(reduce.rows(number, count)) for number in reduce.own)


def _joined(*arrays: Any) -> Any:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


NOWHERE = 1 << 30
"""The place of a trace that is finite throughout."""


def _place(trace: Trace) -> int:
    """The index of the first non-finite value; the number of values if only the loss, gradients or state are."""
    for i, value in enumerate(trace.values):
        if isinstance(value, np.ndarray) and not np.isfinite(value).all():
            return i
    assert trace.vector is not None
    finite = all(all_finite(np.atleast_1d(a)) for a in (trace.value, trace.vector, trace.state._vector))
    return NOWHERE if finite else len(trace.values)
