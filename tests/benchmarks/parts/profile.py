"""A profile of a training step: its separate parts, compared with the bare matrix products and the calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import nnfunc as nn
from nnfunc.losses.heads import fused
from tests.benchmarks.networks import TASKS, Task
from tests.benchmarks.peers.numpy_loops import bare_steps
from tests.benchmarks.peers.ours import steps
from tests.benchmarks.report import Cell, Options, Table
from tests.benchmarks.timing import Contestant, measure

NOTE = (
    "Medians, µs, each part called over and over by itself, so with warm caches: the parts of a large network are "
    "slower within a step. Matrix products: of forward and backward. Calls: the step of a network as deep with one "
    "unit in each layer and one example, which is Python and the cost of calling NumPy."
)


def run(options: Options) -> Iterator[Table]:
    rows: list[Mapping[str, Cell]] = []
    for task in TASKS:
        if task.name in options.tasks:
            times = measure(list(contestants(task)), options.rounds, options.seconds)
            rows.append({"network": task.label, **{t.name: t.median * 1e6 for t in times}})
    yield Table("Where the time of nnfunc's training step goes", rows, NOTE)


def contestants(task: Task) -> Iterator[Contestant]:
    calls = Task("calls", (1,) * (len(task.dims) - 1) + (task.dims[-1],), 1)
    yield steps(task)[0]._replace(name="step")
    for name, part in parts(task).items():
        yield Contestant(name, partial(_timed, part))
    yield bare_steps(task)._replace(name="matrix products")
    yield steps(calls)[0]._replace(name="calls")


def parts(task: Task) -> dict[str, Callable[[], object]]:
    """The parts of a step, each with all that it takes."""
    ts, (x, target), optimizer = task.start(), task.batches()[0], task.optimizer()
    loss = nn.binary_cross_entropy if task.binary else nn.sparse_categorical_cross_entropy
    model, loss = fused(task.model(), loss)
    y, cache, _ = model.forward(ts.params, ts.state, x, train=True)
    _, loss_cache = loss.forward(y, target)
    dy = loss.backward(loss_cache)
    _, grads = model.backward(ts.params, cache, dy, need_dx=False)
    return {
        "forward": lambda: model.forward(ts.params, ts.state, x, train=True),
        "loss": lambda: loss.backward(loss.forward(y, target)[1]),
        "backward": lambda: model.backward(ts.params, cache, dy, need_dx=False),
        "optimizer": lambda: optimizer.step(ts.params, grads, ts.opt_state),
    }


def _timed(part: Callable[[], object]) -> float:
    part()
    return 0.0
