"""K networks trained as one: the time of their step by that of one network alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tests.benchmarks import peers
from tests.benchmarks.networks import SMALL, TINY, Task
from tests.benchmarks.peers import ours
from tests.benchmarks.report import Options, Table
from tests.benchmarks.timing import Contestant, first_steps, measure

NOTE = (
    "Each member trains as nnfunc trains this network alone: the losses of 20 steps agree to 1e-3, nnfunc's parameters "
    "to 1e-4. By one: the time by that of one step of one network in nnfunc."
)


def run(options: Options) -> Iterator[Table]:
    for task in (TINY._replace(members=32), SMALL._replace(members=8)):
        if task.name not in options.tasks:
            continue
        contestants = peers.contestants("stacked", task, options.peers)
        equal_members(task, contestants)
        alone = ours.trained(task, task.start(member=0))._replace(name="nnfunc, one network")
        single, *times = measure([alone, *contestants], options.rounds, options.seconds)
        rows = [t.row() | {"by one": t.median / single.median} for t in (single, *times)]
        yield Table(f"Stack of {task.members}: {task.label}", rows, NOTE)


def equal_members(task: Task, contestants: Sequence[Contestant]) -> None:
    """Asserts that each member trains as nnfunc trains it alone: the losses of 20 steps, nnfunc's parameters too.

    Other libraries round in another order, and where that moves a ReLU across its kink, Adam turns a gradient near 0
    into a step of another sign: their parameters may differ by a step while their losses agree.
    """
    alone = [ours.trained(task, task.start(member=i)) for i in range(task.members)]
    reference = np.stack([first_steps(c)[0] for c in alone], axis=1)
    for contestant in contestants:
        losses = np.stack([contestant.run() for _ in reference])
        np.testing.assert_allclose(losses, reference, 1e-3, err_msg=f"{contestant.name} does not do equal work")
        if contestant.params is not None:
            params = np.stack([c.params() for c in alone if c.params is not None])
            np.testing.assert_allclose(contestant.params(), params, 1e-4, 1e-6, err_msg=contestant.name)
