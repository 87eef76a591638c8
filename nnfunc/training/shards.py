"""A batch in shards, whose gradients are added up: training on one process or on many, with the same bits.

A batch of m rows is S shards of consecutive rows, from m·s/S to m·(s+1)/S. Each shard s has the gradient gₛ of the mean
over its rows, of weight Wₛ, and random keys of its own; the update is that of the whole batch, Σ Wₛ gₛ / Σ Wₛ. The
shards are added in their order, so the bits do not depend on how many processes computed them. Averages of a batch
norm are those of each shard, and the state is their mean by weight. The penalty, the check that all is finite,
clipping and the update come after the sum, once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from nnfunc.arrays import Array, ArrayDict
from nnfunc.core.values import Value, leaves, map_leaves
from nnfunc.errors import NonFiniteError
from nnfunc.models.nonfinite import where_it_began
from nnfunc.training.gradients import Batch, ValueAndGrad
from nnfunc.training.state import TrainState

RAISED = {"ValueError": ValueError, "TypeError": TypeError, "NonFiniteError": NonFiniteError}
"""The errors that are raised anew as what they are on all processes; others become a RuntimeError."""


class Reduction(NamedTuple):
    """Who computes which shards, and how what they give is added up.

    Attributes:
        shards: S, the number of shards of a batch; 0 where each process brings a batch of its own.
        own: the numbers of the shards that this process computes.
        total: the vectors of its shards -> the sum of the vectors of all shards, in their order; every process calls it
            at the same time and gets the same numbers.
        gather: a small object of each process -> the objects of all.
        join: a part of a vector of each process -> the whole vector.
        rank, ranks: the number of this process, and of all.
    """

    shards: int
    own: range
    total: Callable[[Sequence[Array]], Array]
    gather: Callable[[Any], list[Any]]
    join: Callable[[Array], Array]
    rank: int = 0
    ranks: int = 1

    @property
    def trivial(self) -> bool:
        """Whether there is one shard alone: nothing to add."""
        return self.shards == 1

    def rows(self, shard: int, count: int) -> slice:
        """Which of so many rows of a batch are those of a shard."""
        return slice(count * shard // self.shards, count * (shard + 1) // self.shards)

    def agreed(self, error: Exception | None) -> Exception | None:
        """What to raise on every process: the error of the first that has one; None if none has."""
        if self.ranks == 1:
            return error
        said = None if error is None else (type(error).__name__, str(error))
        for rank, each in enumerate(self.gather(said)):
            if each is not None:
                return RAISED.get(each[0], RuntimeError)(f"rank {rank}: {each[1]}")
        return error

    def check_same(self, what: str, *parts: object) -> None:
        """Raises an error on every process if these values (dicts of arrays, numbers, keys) differ between them."""
        if self.ranks == 1:
            return
        digests = self.gather(digest(*parts))
        if len(set(digests)) > 1:
            others = [rank for rank, each in enumerate(digests) if each != digests[0]]
            raise ValueError(f"{what} on rank {', '.join(map(str, others))} is not that of rank 0: begin all alike")


def digest(*parts: object) -> str:
    """A hash of values: equal bits, equal hash.

    >>> digest(nn.ArrayDict({"b": [1.0]}), 3) == digest(nn.ArrayDict({"b": [1.0]}), 3)
    True
    """
    h = hashlib.sha256()
    for part in parts:
        if isinstance(part, ArrayDict):
            h.update(repr([(k, v.shape, v.dtype.str) for k, v in part.items()]).encode())
            for array in part.values():
                h.update(array.tobytes())
        else:
            h.update(repr(part).encode())
    return h.hexdigest()


def sharded(shards: int) -> Reduction:
    """All shards in this process, one after another: the same bits as on any number of processes.

    >>> model = nn.mlp([2, 3, 1], ["tanh", "sigmoid"])
    >>> step = nn.train_step(model, nn.binary_cross_entropy, nn.adam(0.1), reduce=nn.distributed.sharded(2))
    >>> ts = nn.train_state(model, step.optimizer, nn.key(0), input_shape=(2,))
    >>> ts, metrics = step(ts, (np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.array([0, 1, 1])))
    >>> metrics.weight
    3.0
    """
    return Reduction(shards, range(shards), in_order, lambda value: [value], lambda part: part)


def by_function(reduce: Callable[[Array], Array]) -> Reduction:
    """The reduction of a function of one's own, which adds a vector over all processes."""

    def total(vectors: Sequence[Array]) -> Array:
        summed = np.asarray(reduce(vectors[0]))
        if summed.shape != vectors[0].shape:
            raise ValueError(f"reduce returned shape {summed.shape}, expected the sum of vectors of {vectors[0].shape}")
        return summed

    return Reduction(0, range(1), total, lambda value: [value], lambda part: part)


def in_order(vectors: Sequence[Array]) -> Array:
    """The sum, one after another."""
    total = vectors[0].copy()
    for vector in vectors[1:]:
        total += vector
    return total


class Shards(NamedTuple):
    """The shards of a batch that this process computes: `nn.train` reads these rows alone."""

    parts: tuple[Batch, ...]

    def joined(self) -> Batch:
        """Their rows, one after another."""
        return tuple(map_leaves(_joined, *each) for each in zip(*self.parts, strict=True))


class Sum(NamedTuple):
    """What the shards of a batch give together: see `Trace`."""

    value: float
    vector: Array
    state: ArrayDict
    output: Value
    weight: float


def added(
    function: ValueAndGrad, reduce: Reduction, ts: TrainState, batch: Batch | Shards, must_be_finite: bool
) -> Sum:
    """The value and the gradients of a batch, from its shards.

    Raises:
        an error of any process, on all of them; its message names the process.
    """
    params, state, _, key, t = ts
    n, s = params.size, state.size
    empty = np.zeros(n + s + 3, params.dtype)
    vectors, outputs, traces = [empty] * len(reduce.own), [], []
    error: Exception | None = None
    try:
        if params.stack_shape:
            raise ValueError("reduce= of a stack of networks: expected one network; train the members one by one")
        parts = batch.parts if isinstance(batch, Shards) else cut(reduce, batch)
        for i, (number, part) in enumerate(zip(reduce.own, parts, strict=True)):
            if not len(leaves(part[0])[0]):  # a shard without rows adds nothing
                continue
            folds = (t, number) if reduce.shards else (t,)
            trace = function._replace(penalty=None).trace(params, state, part, key, folds=folds)
            assert trace.vector is not None
            numbers = np.array([trace.value, 1, 0], params.dtype)
            own = np.concatenate([trace.vector, trace.state._vector, numbers])
            vectors[i] = own * params.dtype.type(trace.weight) if trace.weight else empty
            outputs.append(trace.output)
            traces.append((part, trace))
    except Exception as raised:  # the others wait for the sum: they are told
        error = raised
        empty[-1] = 1
        vectors = [empty] * len(reduce.own)
    total = reduce.total(vectors)
    if total[-1] or error is not None:
        raise reduce.agreed(error) or RuntimeError("another process failed: its message is there")
    weight = float(total[-2])
    total = total[:-1] / (total[-2] or 1)
    vector, moved, value = total[:n].copy(), total[n : n + s], float(total[n + s])
    if function.penalty is not None:
        value = value + float(function.penalty.forward(params, weight))
        vector += function.penalty.backward(params, weight)._vector
    finite = np.isfinite(total).all() and np.isfinite(value) and np.isfinite(vector).all()
    if must_be_finite and not finite:
        began = [(part, trace) for part, trace in traces if not _finite(trace)]
        mine = NonFiniteError(where_it_began(function, ts, *began[0])) if began else None
        error = reduce.agreed(mine)
        if error is not None:
            raise error
    new = state if not s else ArrayDict._of(state._layout, moved.copy(), state._integers)
    output = map_leaves(_joined, *outputs) if outputs else None
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
    return np.concatenate(arrays)


def _finite(trace: Any) -> bool:
    arrays = (trace.value, trace.vector, trace.state._vector)
    return all(bool(np.isfinite(a).all()) for a in arrays)
