"""The program that the multi-process tests run: `mpiexec -n R python -m mpi4py tests/mpi_program.py TASK FOLDER`.

Each rank prints a line of JSON: what it got, or the error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

import nnfunc as nn
from nnfunc import distributed
from nnfunc.distributed import Reduction

S = 6
rng = np.random.default_rng(0)
X, Y = rng.normal(size=(50, 5)), rng.integers(0, 3, 50)
WEIGHTS = rng.integers(0, 3, 50).astype(float)
DATA = X, Y, WEIGHTS
MODEL = nn.serial(nn.dense(8), nn.batch_norm(), nn.relu(), nn.dropout(0.8), nn.dense(3), nn.softmax())
KEY = nn.key(1)


NORM = nn.serial(nn.dense(8), nn.batch_norm(), nn.relu(), nn.dense(3), nn.softmax())


def make(reduce: Reduction | None, divide: bool = False) -> tuple[nn.TrainStep, nn.TrainState]:
    rule = nn.adam(0.01)
    if divide:
        assert reduce is not None
        rule = distributed.divided(rule, reduce)
    optimizer = nn.clip_by_global_norm(rule, 0.5)
    step = nn.train_step(MODEL, nn.sparse_categorical_cross_entropy, optimizer, nn.l2(0.1), reduce=reduce)
    return step, nn.train_state(MODEL, optimizer, nn.key(0), (5,))


def epochs(reduce: Reduction, divide: bool = False) -> dict[str, Any]:
    step, ts = make(reduce, divide)
    *_, last = nn.train(step, ts, DATA, epochs=3, batch_size=16, key=KEY, validation=DATA)
    whole = distributed.gathered(last.state, reduce)
    numbers = [last.loss, last.accuracy, last.validation.loss if last.validation else 0]
    kept = last.state.opt_state.size
    return {"digest": distributed.digest(whole.params, whole.state), "numbers": numbers, "kept": kept}


def rows(reduce: Reduction, folder: Path) -> dict[str, Any]:
    """How many rows of a file this rank reads in an epoch."""
    on_disk = np.memmap(folder / "x", np.float64, "r", shape=(50, 5))
    batches = nn.minibatches(KEY, (on_disk, Y), 16, reduce=reduce)
    return {"rows": sum(len(part[0]) for batch in batches for part in batch.parts)}


def all_rows(reduce: Reduction | None) -> dict[str, Any]:
    """Batch norm over all rows: of batches of 16, and of 2, so that most shards have no row and one has no weight."""
    step = nn.train_step(NORM, nn.sparse_categorical_cross_entropy, nn.adam(0.01), nn.l2(0.1), reduce=reduce)
    ts = nn.train_state(NORM, step.optimizer, nn.key(0), (5,), np.float64)
    losses = []
    for batch_size in (16, 2):
        for epoch in nn.train(step, ts, DATA, epochs=2, batch_size=batch_size, key=KEY):
            losses += [float(epoch.loss), float(epoch.accuracy)]
        ts = epoch.state
    return {"digest": distributed.digest(ts.params, ts.state), "numbers": [*losses, *ts.state.vector.tolist()]}


def bad(what: str, model: nn.Layer = MODEL) -> Callable[[Reduction], dict[str, Any]]:
    def run(reduce: Reduction) -> dict[str, Any]:
        step, ts = make(reduce)
        if model is not MODEL:
            step = nn.train_step(model, step.loss, nn.adam(0.01), reduce=reduce)
            ts = nn.train_state(model, step.optimizer, nn.key(0), (5,))
        x, y = X.copy(), Y.copy()
        mine = reduce.rank == reduce.ranks - 1
        if what == "nan" and mine:
            x[-1] = np.nan
        if what == "label" and mine:
            y[-1] = 7
        if what == "shape" and mine:
            x = x[:, :4]
        if what == "state" and mine:
            ts = ts._replace(params=ts.params * 2)
        if what == "data":
            x[0, 0] = np.inf if mine else 0
            next(nn.train(step, ts, (x, y), epochs=1, key=KEY))
        elif what == "state":
            next(nn.train(step, ts, (x, y), epochs=1, key=KEY))
        else:
            step(ts, (x, y))
        return {}

    return run


def stopped(reduce: Reduction, folder: Path) -> dict[str, Any]:
    """Four steps of an epoch of seven, then a file."""
    step, ts = make(reduce, divide=True)
    for batch in islice(nn.minibatches(KEY, DATA, 8, reduce=reduce), 4):
        ts, _ = step(ts, batch)
    distributed.save(folder / "run.npz", ts, reduce)
    return {}


def gone_on(reduce: Reduction, folder: Path) -> dict[str, Any]:
    step, _ = make(reduce, divide=True)
    ts = distributed.scattered(nn.load(folder / "run.npz").state, reduce)
    for batch in islice(nn.minibatches(KEY, DATA, 8, reduce=reduce), 4, None):
        ts, _ = step(ts, batch)
    return {"digest": distributed.digest(*distributed.gathered(ts, reduce))}


def dies(reduce: Reduction) -> dict[str, Any]:
    if reduce.rank == reduce.ranks - 1:
        raise RuntimeError("this rank has had enough")
    return epochs(reduce)


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    "epochs": epochs,
    "all_rows": all_rows,
    "shape": bad("shape"),
    **{f"all_rows_{what}": bad(what, NORM) for what in ("nan", "label", "shape")},
    "divided": lambda reduce: epochs(reduce, divide=True),
    "nan": bad("nan"),
    "label": bad("label"),
    "data": bad("data"),
    "state": bad("state"),
    "dies": dies,
}
WITH_FILES: dict[str, Callable[..., dict[str, Any]]] = {"rows": rows, "stopped": stopped, "gone_on": gone_on}


def main(task: str, folder: str) -> None:
    task, _, how = task.partition("/")
    statistics: Literal["batch", "shard"] = "batch" if task.startswith("all_rows") else "shard"
    reduce = distributed.mpi(shards=S, statistics=statistics, window=False if how == "messages" else None)
    given = (Path(folder),) if task in WITH_FILES else ()
    try:
        found = {**TASKS, **WITH_FILES}[task](reduce, *given)
    except Exception as error:
        if task == "dies":
            raise
        found = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps({"rank": reduce.rank, **found}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
