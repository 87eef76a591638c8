"""Beyond one process: ranks of MPI beside one, what `reduce=` adds to a step, and sweeps on two workers."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from time import perf_counter
from typing import Any, Literal

import numpy as np

import nnfunc as nn
from nnfunc import distributed
from nnfunc.arrays import Array
from tests.benchmarks.networks import MNIST, SMALL, WIDE, Labels, Task
from tests.benchmarks.report import Cell, Options, Table
from tests.benchmarks.timing import CHILDREN, Contestant, measure

RANKS = WORKERS = 2


def run(options: Options) -> Iterator[Table]:
    tasks = [task for task in (WIDE, MNIST, SMALL) if task.name in options.tasks]
    if find_spec("mpi4py") is not None and shutil.which("mpiexec") is not None:
        yield from (several_ranks(task, options) for task in tasks)
    if SMALL in tasks:
        yield one_process(options)
    yield sweeps(options)


def several_ranks(task: Task, options: Options) -> Table:
    allowed = ["--allow-run-as-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    command = ["mpiexec", *allowed, "--oversubscribe", "--mca", "mpi_yield_when_idle", "1", "-n", str(RANKS)]
    command += [sys.executable, "-m", "mpi4py", "-m", "tests.benchmarks.ranks"]
    command += [task.name, str(options.rounds), str(options.seconds)]
    one_thread = CHILDREN | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, env=one_thread, capture_output=True, text=True, check=True)
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    note = (
        "One BLAS thread for each rank; turns of one job, in which the other ranks sleep or all work. The share, a "
        "part of the batch on one rank, is what ranks without any communication would take."
    )
    return Table(f"{RANKS} ranks: {task.label}", list(compared("steps of", "µs", found)), note)


def compared(
    column: str, unit: Literal["µs", "s"], found: Mapping[str, Sequence[float]]
) -> Iterator[Mapping[str, Cell]]:
    """A row for each, beside the first by the ratios of the turns of one round."""
    reference = next(iter(found.values()))
    for name, seconds in found.items():
        times = [t * {"µs": 1e6, "s": 1.0}[unit] for t in seconds]
        faster = [a / b for a, b in zip(reference, seconds, strict=True)]
        row: dict[str, Cell] = {column: name, f"median, {unit}": statistics.median(times), "min": min(times)}
        yield row | {"times as fast": statistics.median(faster), "best": max(faster), "turns": times}


def one_process(options: Options) -> Table:
    """The same batch by a plain step, and through a reduction that has nothing to add."""
    contestants = [
        trained("a step", SMALL, None),
        trained("reduce=, of a function", SMALL, lambda vector: vector),
        trained("reduce=, of 2 shards", SMALL, distributed.sharded(2)),
    ]
    plain, *others = measure(contestants, options.rounds, options.seconds)
    rows = [t.row() | {"more, µs": 1e6 * (t.median - plain.median)} for t in (plain, *others)]
    return Table(f"What reduce= adds in one process: {SMALL.label}", rows)


def trained(name: str, task: Task, reduce: Any) -> Contestant:
    step = nn.train_step(task.model(), "sparse_categorical_cross_entropy", task.optimizer(), reduce=reduce)
    ts, batches, i = task.start(), task.batches(), 0

    def run() -> float:
        nonlocal ts, i
        ts, metrics = step(ts, batches[i % len(batches)], donate=i > 0)
        i += 1
        return float(metrics.loss)

    return Contestant(name, run, "ours")


def train_group(
    settings: Sequence[dict[str, float]], keys: tuple[nn.Key, ...], X: Array, Y: Labels, epochs: int
) -> list[float]:
    """The loss of each network of a stack."""
    optimizer = nn.adam(np.array([setting["rate"] for setting in settings]))
    step = nn.train_step(SMALL.model(), "sparse_categorical_cross_entropy", optimizer)
    ts = nn.train_state(SMALL.model(), optimizer, keys, SMALL.dims[:1])
    *_, last = nn.train(step, ts, (X, Y), epochs=epochs, batch_size=SMALL.batch, key=nn.key(0))
    return [float(loss) for loss in np.asarray(last.loss)]


def sweeps(options: Options) -> Table:
    """64 settings: one network after another, as stacks, and stacks on the workers of joblib and Dask."""
    settings = [{"rate": float(rate)} for rate in np.geomspace(1e-4, 1e-2, 64)]
    task = partial(train_group, epochs=1 if options.quick else 15)
    sweep = partial(distributed.sweep, task, settings, data=SMALL.rows(1500))
    with ExitStack() as stack:
        ways: dict[str, Any] = {"one by one": (None, 1), "stacks of 8": (None, 8)}
        if find_spec("joblib"):
            from joblib import Parallel

            ways[f"stacks of 8, joblib, {WORKERS} workers"] = stack.enter_context(Parallel(n_jobs=WORKERS)), 8
        if find_spec("distributed"):
            from distributed import Client

            client = Client(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None)
            ways[f"stacks of 8, Dask, {WORKERS} workers"] = stack.enter_context(client), 8
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the engines
            for engine, _ in ways.values():
                distributed.sweep(task, settings[:WORKERS], data=SMALL.rows(1500), engine=engine, members=1)
            for _ in range(1 if options.quick else 3):
                for name, (engine, members) in ways.items():
                    begun = perf_counter()
                    sweep(engine=engine, members=members)
                    seconds[name].append(perf_counter() - begun)
    rows = list(compared("sweep", "s", seconds))
    return Table(f"A sweep of {len(settings)} settings: {SMALL.label}", rows, "One BLAS thread for each worker.")
