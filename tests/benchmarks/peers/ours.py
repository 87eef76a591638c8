"""nnfunc, through its public functions only."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import cycle

import numpy as np

import nnfunc as nn
from nnfunc.arrays import Array
from tests.benchmarks.networks import Task
from tests.benchmarks.timing import Contestant


def steps(task: Task) -> list[Contestant]:
    found = [trained(task, task.start())]
    if find_spec("numba"):
        found.append(trained(task, task.start(), "nnfunc, compiled"))
    return found


def stacked(task: Task) -> list[Contestant]:
    return [trained(task, task.start())]


def trained(task: Task, ts: nn.TrainState, name: str = "nnfunc") -> Contestant:
    loss = nn.binary_cross_entropy if task.binary else nn.sparse_categorical_cross_entropy
    optimizer = task.optimizer() if name == "nnfunc" else nn.optimizers.compiled(task.optimizer())
    step = nn.train_step(task.model(), loss, optimizer)
    batches = cycle(task.batches())

    def run() -> float | Array:
        nonlocal ts
        ts, metrics = step(ts, next(batches), donate=True)  # as nn.train does; JAX's steps are given it too
        return np.asarray(metrics.loss) if ts.params.stack_shape else float(metrics.loss)

    return Contestant(name, run, "ours" if name == "nnfunc" else "compiled", params=lambda: ts.params.vector)


def predictors(task: Task) -> list[Contestant]:
    model, ts, (x, _) = task.model(), task.start(), task.rows(10_000)
    return [Contestant("nnfunc", lambda: nn.predict(model, ts, x), "ours")]
