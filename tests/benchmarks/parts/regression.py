"""What has become slower since the last release: our times by those of a yardstick, beside the figures stored then.

    python -m tests.benchmarks regression             a table; status 1 if something is slower
    python -m tests.benchmarks regression --store     measures, and stores the figures: for a release

The yardstick is measured in the same rounds, so that a figure depends little on how fast the machine is: the bare
matrix products of NumPy, for the import that of NumPy itself. A figure is the median over the rounds, its spread from
the lower to the upper quartile. Something is slower if its median is by more than 25 %, and the spreads do not overlap,
also when it is measured once more.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import numpy as np

import nnfunc as nn
from tests.benchmarks.networks import MNIST, SMALL, TASKS, TINY, Task
from tests.benchmarks.parts import larger
from tests.benchmarks.parts.imports import milliseconds
from tests.benchmarks.peers import ours
from tests.benchmarks.peers.numpy_loops import bare_steps
from tests.benchmarks.report import Cell, Options, Table, machine
from tests.benchmarks.timing import Contestant, one_turn

STORED = Path(__file__).parents[2] / "data" / "speed.json"
SLOWER = 1.25
"""A larger median by that of then is a finding, where the spreads do not overlap."""

NOTE = (
    "Now and then: the time by that of the yardstick in the same round, medians; in brackets the quartiles over the "
    "rounds. Yardstick: the bare matrix products of a training step of the network with as many rows (for other "
    "networks those of a dense one that take about as long), NumPy's import for the import."
)


class Figure(NamedTuple):
    """A time by that of its yardstick: the median over the rounds, and the quartiles."""

    low: float
    median: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g}–{self.high:.3g})"


Seconds = Callable[[], float]
"""One turn: seconds of one call."""


def run(options: Options) -> Iterator[Table]:
    then = {} if options.store else stored()
    rounds, pairs = max(options.rounds, 3), entries(options)  # quartiles of fewer say nothing
    now = measured(pairs, rounds)
    if again := slower(now, then):  # a busy minute of the machine is over by now
        now |= measured({name: pairs[name] for name in again}, 2 * rounds)
    if options.store:
        facts = {k: v for k, v in machine().items() if k in ("processor", "Python", "numpy", "nnfunc")}
        STORED.write_text(json.dumps({"machine": facts, "figures": now}, indent=1) + "\n")
    yield Table("What has become slower", list(rows(now, then)), NOTE)
    if slow := slower(now, then):
        raise SystemExit(f"slower than at the last release: {', '.join(slow)}")


def rows(now: Mapping[str, Figure], then: Mapping[str, Figure]) -> Iterator[dict[str, Cell]]:
    slow = slower(now, then)
    for name, figure in now.items():
        before = then.get(name)
        by = None if before is None else figure.median / before.median
        said = "slower" if name in slow else None
        yield {"what": name, "now": str(figure), "then": before and str(before), "now by then": by, "finding": said}


def slower(now: Mapping[str, Figure], then: Mapping[str, Figure]) -> list[str]:
    """The names of what is slower by more than `SLOWER` and by more than the spread of both."""
    both = [name for name in now if name in then]
    return [n for n in both if now[n].median > SLOWER * then[n].median and now[n].low > then[n].high]


def stored() -> dict[str, Figure]:
    """The figures of the last release; none before the first `--store`."""
    if not STORED.exists():
        return {}
    return {name: Figure(*figure) for name, figure in json.loads(STORED.read_text())["figures"].items()}


def measured(pairs: Mapping[str, tuple[Seconds, Seconds]], rounds: int) -> dict[str, Figure]:
    """A turn of each in every round, so that a busy minute falls on all and shows in their spread."""
    ratios: dict[str, list[float]] = {name: [] for name in pairs}
    for _ in range(rounds):
        for name, (own, yardstick) in pairs.items():
            ratios[name].append(own() / yardstick())
    return {name: Figure(*statistics.quantiles(each, n=4, method="inclusive")) for name, each in ratios.items()}


def entries(options: Options) -> dict[str, tuple[Seconds, Seconds]]:
    """Name -> (ours, its yardstick)."""
    found: dict[str, tuple[Seconds, Seconds]] = {}

    def add(name: str, contestant: Contestant, task: Task) -> None:
        turns = [partial(_turn, c, options.seconds / 4) for c in (contestant, bare_steps(task))]
        found[name] = turns[0], turns[1]

    tasks = [task for task in TASKS if task.name in options.tasks]
    for task in tasks:
        add(f"step, {task.label}", ours.steps(task)[0], task)
    for task in [task for task in tasks if task in (TINY, SMALL, MNIST)]:
        noisy = task._replace(batch_norm=True, keep_prob=0.8)
        add(f"step with batch norm and dropout, {task.label}", ours.steps(noisy)[0], task)
        add(f"value_and_grad alone, {task.label}", value_and_grad(task), task)
        add(f"predict 1 row, {task.name}", predictor(task, 1), task._replace(batch=1))
        add(f"predict 10,000 rows, {task.name}", predictor(task, 10_000), task._replace(batch=10_000))
    if SMALL in tasks:
        stack = SMALL._replace(members=8)
        add(f"step of a stack of 8, {SMALL.label}", ours.stacked(stack)[0], SMALL._replace(batch=512))
    if MNIST in tasks:
        for make, like in ((larger.cnn, MNIST), (larger.lstm, SMALL._replace(batch=1600)), (larger.transformer, MNIST)):
            network = make(np.random.default_rng(0))
            start = network.model.init(nn.key(0), network.batches[0][0].shape[1:])
            add(f"step, {network.label}", larger.nnfunc(network, *start), like)
    if not options.quick:
        found["import"] = partial(milliseconds, "nnfunc"), partial(milliseconds, "numpy")
    return found


def _turn(contestant: Contestant, seconds: float) -> float:
    return one_turn(contestant, seconds).seconds


def value_and_grad(task: Task) -> Contestant:
    """A training step without its update."""
    loss = nn.binary_cross_entropy if task.binary else nn.sparse_categorical_cross_entropy
    function, ts, batches = nn.value_and_grad(task.model(), loss), task.start(), cycle(task.batches())
    return Contestant("nnfunc", lambda: float(function(ts.params, ts.state, next(batches), train=True).value), "ours")


def predictor(task: Task, rows: int) -> Contestant:
    model, ts, (x, _) = task.model(), task.start(), task.rows(rows)
    return Contestant("nnfunc", lambda: nn.predict(model, ts, x), "ours")
