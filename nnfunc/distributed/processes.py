"""Processes of MPI, by mpi4py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nnfunc._internal.validate import positive_int
from nnfunc.arrays import Array
from nnfunc.training.shards import Reduction, in_order, named

if TYPE_CHECKING:
    from mpi4py.MPI import Comm


def mpi(
    comm: Comm | None = None,
    shards: int | None = None,
    *,
    statistics: Literal["shard", "batch"] = "shard",
    window: bool | None = None,
) -> Reduction:
    """The shards of a batch shared among the processes (ranks) of MPI, for `nn.train_step(..., reduce=mpi())`.

    Every rank runs the same program on the same data, of which it reads its own rows, and gets the same parameters:

        mpiexec -n 2 python -m mpi4py train.py

    Args:
        comm: the communicator; None: `MPI.COMM_WORLD`.
        shards: S, a multiple of the number of ranks; None: one for each rank. The bits depend on S alone: 4 shards on
            1, 2 and 4 ranks give the same.
        statistics: of a batch norm in training: those of the rows of each "shard" (its state is their mean by rows),
            or of all rows of the "batch": then the shards run in step and tell each other their moments, two short
            messages more for each batch norm.
        window: whether the ranks add their vectors in shared memory, (S + 1) vectors large; None: where they are on one
            machine. Else each gets its part of all gradients and collects the sums (all-to-all, all-gather): with a
            shard for each rank as much as an Allreduce. The bits are the same.
    Raises:
        ImportError: mpi4py is not installed: the extra `mpi`.
        ValueError: shards that the ranks do not divide; another word.

    Each rank needs a core of its own, and OMP_NUM_THREADS=1. Of Open MPI, `mpiexec --mca mpi_yield_when_idle 1` where
    cores are shared: a rank that waits looks all the time and else holds up the others by milliseconds a step; and
    `--mca osc ^ucx` keeps it from warning of networks that it does not find.

    `python -m mpi4py` ends all ranks when one dies by an error outside the step; an error in a step is raised on all of
    them, with the number of the rank.
    """
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise ImportError('mpi4py is not installed: pip install "nnfunc[mpi]"') from error
    comm = MPI.COMM_WORLD if comm is None else comm
    rank, ranks = comm.Get_rank(), comm.Get_size()
    S = ranks if shards is None else positive_int(shards, "shards")
    if S % ranks:
        raise ValueError(f"shards={S}, but there are {ranks} ranks: expected a multiple")
    k = S // ranks
    own = range(rank * k, (rank + 1) * k)

    def gather(value: Any) -> list[Any]:
        values: list[Any] = comm.allgather(value)
        return values

    if ranks == 1:
        return Reduction(S, own, in_order, gather, lambda part: part, statistics=named(statistics))
    if window is None:
        node = comm.Split_type(MPI.COMM_TYPE_SHARED)
        window = node.Get_size() == ranks
        node.Free()
    space, total, join = _by_window(comm, S, own) if window else _by_messages(comm, S)
    return Reduction(S, own, total, gather, join, rank, ranks, named(statistics), space)


Parts = tuple[
    Callable[[int, Any], Sequence[Array]] | None, Callable[[Sequence[Array]], Array], Callable[[Array], Array]
]
"""space, total and join of a `Reduction`."""


def _by_messages(comm: Comm, S: int) -> Parts:
    ranks = comm.Get_size()

    def total(vectors: Sequence[Array]) -> Array:
        size, dtype = len(vectors[0]), vectors[0].dtype
        width = -(-size // ranks)
        sent = np.zeros((ranks, len(vectors), width), dtype)
        for i, vector in enumerate(vectors):
            whole, rest = divmod(size, width)
            sent[:whole, i] = vector[: whole * width].reshape(whole, width)
            if rest:
                sent[whole, i, :rest] = vector[whole * width :]
        came = np.empty_like(sent)
        comm.Alltoall(sent, came)
        summed = np.empty(ranks * width, dtype)
        comm.Allgather(in_order(list(came.reshape(S, width))), summed)
        return summed[:size]

    def join(part: Array) -> Array:
        counts = comm.allgather(len(part))
        whole = np.empty(sum(counts), part.dtype)
        comm.Allgatherv(np.ascontiguousarray(part), [whole, counts])
        return whole

    return None, total, join


def _by_window(comm: Comm, S: int, own: range) -> Parts:
    """By shared memory: a row for each shard, and one for their sum, of which each rank adds a part.

    Two barriers hold the order: a rank writes its rows only after all have added the last ones, and the sum only after
    all have used the last one, since they use it before they come to the next barrier.
    """
    from mpi4py import MPI

    rank, ranks = comm.Get_rank(), comm.Get_size()
    windows: dict[tuple[int, str], tuple[MPI.Win, Array]] = {}

    def rows(length: int, dtype: Any) -> tuple[MPI.Win, Array]:
        which = length, np.dtype(dtype).str
        if which not in windows:
            width = -(-length * np.dtype(dtype).itemsize // 64) * 64  # so that no line of a cache is in two rows
            win = MPI.Win.Allocate_shared((S + 1) * width if rank == 0 else 0, 1, comm=comm)
            win.Lock_all()
            memory, _ = win.Shared_query(0)
            bytes_ = np.frombuffer(memory, np.uint8).reshape(S + 1, width)
            windows[which] = win, bytes_.view(dtype)[:, :length]
        return windows[which]

    def meet(win: MPI.Win) -> None:
        win.Sync()
        comm.Barrier()
        win.Sync()

    def space(length: int, dtype: Any) -> Sequence[Array]:
        return [rows(length, dtype)[1][shard] for shard in own]

    def total(vectors: Sequence[Array]) -> Array:
        length = len(vectors[0])
        win, memory = rows(length, vectors[0].dtype)
        for shard, vector in zip(own, vectors, strict=True):
            if not np.shares_memory(memory[shard], vector):
                memory[shard] = vector
        meet(win)
        part = slice(length * rank // ranks, length * (rank + 1) // ranks)
        shards, summed = memory[:S, part], memory[S, part]
        np.add(shards[0], shards[1], out=summed)
        for shard in shards[2:]:
            summed += shard
        meet(win)
        seen: Array = memory[S]
        return seen

    def join(part: Array) -> Array:
        counts = comm.allgather(len(part))  # which all reach after they have used the last sum
        win, memory = rows(sum(counts), part.dtype)
        start = sum(counts[:rank])
        memory[S, start : start + len(part)] = part
        meet(win)
        seen: Array = memory[S]
        return seen

    return space, total, join
