"""Data parallelism over MPI processes, by mpi4py."""

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
    """Distributes the shards of a batch over MPI processes (ranks), for `nn.train_step(..., reduce=mpi())`.

    Every rank runs the same program on the same data, reads only its own rows, and obtains the same parameters:

        mpiexec -n 2 python -m mpi4py train.py

    Args:
        comm: the communicator; None: `MPI.COMM_WORLD`.
        shards: S, a multiple of the number of ranks; None: one per rank. The bits depend only on S: 4 shards on 1, 2
            and 4 ranks give the same result.
        statistics: the statistics of a batch norm in training: "shard" uses the rows of each shard (the state is the
            mean weighted by rows), "batch" uses all rows: the shards then run in lockstep and exchange moments, two
            additional short messages per batch norm.
        window: whether the ranks sum their vectors in shared memory of (S + 1) vectors; None: if they are on the same
            machine. Otherwise each rank sums one part of all gradients, and the sums are exchanged (all-to-all,
            all-gather): with one shard per rank, the same traffic as an Allreduce. The bits are the same.
    Raises:
        ImportError: mpi4py is not installed (extra `mpi`).
        ValueError: shards not divisible by the number of ranks, or an unknown value of `statistics`.

    Each rank needs its own core, and OMP_NUM_THREADS=1. With Open MPI, use `mpiexec --mca mpi_yield_when_idle 1` if
    cores are shared: waiting ranks poll, which would otherwise delay the others by milliseconds per step. `--mca osc
    ^ucx` suppresses warnings about networks that it does not find.

    `python -m mpi4py` ends all ranks when one dies from an error outside the step; an error in a step is raised on all
    of them, with the number of the rank.
    """
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise ImportError('mpi4py is not installed: pip install "nnfunc[mpi]"') from error
    comm = MPI.COMM_WORLD if comm is None else comm
    rank, ranks = comm.Get_rank(), comm.Get_size()
    S = ranks if shards is None else positive_int(shards, "shards")
    if S % ranks:
        raise ValueError(f"shards={S}: expected a multiple of the number of ranks, {ranks}")
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
    """By shared memory: a row per shard, and one for their sum, of which each rank computes a part.

    Two barriers keep the order: a rank writes its rows only after all have added the previous ones, and the sum only
    after all have used the previous one, since they use it before they reach the next barrier.
    """
    from mpi4py import MPI

    rank, ranks = comm.Get_rank(), comm.Get_size()
    windows: dict[tuple[int, str], tuple[MPI.Win, Array]] = {}

    def rows(length: int, dtype: Any) -> tuple[MPI.Win, Array]:
        which = length, np.dtype(dtype).str
        if which not in windows:
            width = -(-length * np.dtype(dtype).itemsize // 64) * 64  # so that no cache line spans two rows
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
        counts = comm.allgather(len(part))  # reached by all only after they have used the last sum
        win, memory = rows(sum(counts), part.dtype)
        start = sum(counts[:rank])
        memory[S, start : start + len(part)] = part
        meet(win)
        seen: Array = memory[S]
        return seen

    return space, total, join
