"""Processes of MPI, by mpi4py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfunc._internal.validate import positive_int
from nnfunc.arrays import Array
from nnfunc.training.shards import Reduction, in_order

if TYPE_CHECKING:
    from mpi4py.MPI import Comm


def mpi(comm: Comm | None = None, shards: int | None = None) -> Reduction:
    """The shards of a batch shared among the processes (ranks) of MPI, for `nn.train_step(..., reduce=mpi())`.

    Every rank runs the same program on the same data, of which it reads its own rows, and gets the same parameters:

        mpiexec -n 2 python -m mpi4py train.py

    Args:
        comm: the communicator; None: `MPI.COMM_WORLD`.
        shards: S, a multiple of the number of ranks; None: one for each rank. The bits depend on S alone: 4 shards on
            1, 2 and 4 ranks give the same.
    Raises:
        ImportError: mpi4py is not installed: the extra `mpi`.
        ValueError: shards that the ranks do not divide.

    A step sends each rank its part of all gradients, which it adds in the order of the shards, and collects the sums
    (all-to-all, all-gather): with a shard for each rank as much as an Allreduce. `python -m mpi4py` ends all ranks when
    one dies by an error outside the step; an error in a step is raised on all of them, with the number of the rank.
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

    def total(vectors: Sequence[Array]) -> Array:
        if ranks == 1:
            return in_order(vectors)
        size, dtype = len(vectors[0]), vectors[0].dtype
        width = -(-size // ranks)
        sent = np.zeros((ranks, k, width), dtype)
        for i, vector in enumerate(vectors):
            whole, rest = divmod(size, width)
            sent[:whole, i] = vector[: whole * width].reshape(whole, width)
            if rest:
                sent[whole, i, :rest] = vector[whole * width :]
        came = np.empty((ranks, k, width), dtype)
        comm.Alltoall(sent, came)
        summed = np.empty(ranks * width, dtype)
        comm.Allgather(in_order(list(came.reshape(S, width))), summed)
        return summed[:size]

    def join(part: Array) -> Array:
        counts = comm.allgather(len(part))
        whole = np.empty(sum(counts), part.dtype)
        comm.Allgatherv(np.ascontiguousarray(part), [whole, counts])
        return whole

    def gather(value: Any) -> list[Any]:
        values: list[Any] = comm.allgather(value)
        return values

    return Reduction(S, range(rank * k, (rank + 1) * k), total, gather, join, rank, ranks)
