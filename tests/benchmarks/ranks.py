"""Steps of one rank and of several, in turn; their seconds as JSON:

    mpiexec -n 2 python -m mpi4py -m tests.benchmarks.ranks NETWORK ROUNDS SECONDS

Rank 0 alone, while the others sleep, with whole batches and with batches of its share; all ranks together."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import nnfunc as nn
from nnfunc import distributed
from nnfunc.distributed import Reduction
from tests.benchmarks.networks import TASKS, Task

if TYPE_CHECKING:
    from mpi4py.MPI import Comm


class Way:
    """Steps with a reduction or without, on batches of so many rows, one turn after another."""

    def __init__(self, task: Task, rows: int, reduce: Reduction | None = None, divide: bool = False) -> None:
        optimizer, model = task.optimizer(), task.model()
        if divide and reduce is not None:
            optimizer = distributed.divided(optimizer, reduce)
        self.step = nn.train_step(model, "sparse_categorical_cross_entropy", optimizer, reduce=reduce)
        self.ts = nn.train_state(model, optimizer, nn.key(0), task.dims[:1])
        self.batches = [task.rows(rows, seed) for seed in range(4)]

    def run(self, steps: int) -> float:
        begun = time.perf_counter()
        for i in range(steps):
            self.ts, _ = self.step(self.ts, self.batches[i % len(self.batches)], donate=True)
        return (time.perf_counter() - begun) / steps


def wait(comm: Comm) -> None:
    """For all, without the work of a barrier that looks all the time."""
    arrived = comm.Ibarrier()
    while not arrived.Test():
        time.sleep(0.002)


def main(name: str, rounds: int, seconds: float) -> None:
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    (task,) = [each for each in TASKS if each.name == name]
    reduce = distributed.mpi()
    alone = {"one rank": Way(task, task.batch), "one rank, its share": Way(task, task.batch // comm.Get_size())}
    together = {
        "all ranks": Way(task, task.batch, reduce),
        "all ranks, optimizer divided": Way(task, task.batch, reduce, divide=True),
    }
    steps = comm.bcast(max(3, int(seconds / alone["one rank"].run(4))) if comm.Get_rank() == 0 else None)
    for way in together.values():
        way.run(3)
    found: dict[str, list[float]] = {name: [] for name in (alone | together)}
    for _ in range(rounds):
        for which, way in alone.items():
            wait(comm)
            if comm.Get_rank() == 0:
                found[which].append(way.run(steps))
        for which, way in together.items():
            wait(comm)
            found[which].append(way.run(steps))
    wait(comm)
    if comm.Get_rank() == 0:
        print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
