"""Prediction on 10,000 rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.benchmarks import peers
from tests.benchmarks.networks import TASKS
from tests.benchmarks.report import Options, Table
from tests.benchmarks.timing import measure, ratio

NOTE = (
    "Rows in, probabilities out as a NumPy array; outputs agree to 1e-3. PyTorch and JAX get their rows as arrays of "
    "their own, made before."
)


def run(options: Options) -> Iterator[Table]:
    for task in TASKS:
        if task.name not in options.tasks:
            continue
        contestants = peers.contestants("predictors", task, options.peers)
        outputs = [c.run() for c in contestants]
        for c, output in zip(contestants, outputs, strict=True):
            np.testing.assert_allclose(output, outputs[0], 1e-3, 1e-6, err_msg=f"{c.name} predicts something else")
        times = measure(contestants, options.rounds, options.seconds)
        rows = [t.row("ms") | {f"{times[0].name} by this": ratio(times[0], t)[0]} for t in times]
        yield Table(f"Prediction of 10,000 rows: {task.name} {'-'.join(map(str, task.dims))}", rows, NOTE)
