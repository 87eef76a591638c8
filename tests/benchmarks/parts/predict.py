"""Prediction of 10,000 rows beside peers, and of one row beside the bare forward."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

import nnfunc as nn
from nnfunc.arrays import Array
from tests.benchmarks import peers
from tests.benchmarks.networks import TASKS, Task
from tests.benchmarks.parts.steps import shown_ratio
from tests.benchmarks.report import Cell, Options, Table
from tests.benchmarks.timing import Contestant, measure, ratio

NOTE = (
    "Rows in, probabilities out as a NumPy array; outputs agree to 1e-3. PyTorch and JAX get their rows as arrays of "
    "their own, made before."
)


ONE_ROW = (
    "`predict` checks that the row is finite and gives an array that may be written to; `forward` keeps what backward "
    "needs. NumPy: the formula of this network, written down."
)


def run(options: Options) -> Iterator[Table]:
    rows: list[Mapping[str, Cell]] = []
    for task in TASKS:
        if task.name in options.tasks:
            contestants = list(of_one_row(task))
            for c in contestants[1:3]:
                np.testing.assert_allclose(c.run(), contestants[0].run(), 1e-4, 1e-6, err_msg=c.name)
            predict, *others = measure(contestants, options.rounds, options.seconds)
            row: dict[str, Cell] = {"network": task.label, "nn.predict, µs": predict.median * 1e6}
            rows.append(row | {f"by {other.name}": shown_ratio(predict, other) for other in others})
    yield Table("Prediction of one row", rows, ONE_ROW)
    yield from many_rows(options)


def of_one_row(task: Task) -> Iterator[Contestant]:
    model, ts, (x, y), weights = task.model(), task.start(), task.rows(1), task.weights()
    loss = nn.binary_cross_entropy if task.binary else nn.sparse_categorical_cross_entropy

    def formula() -> Array:
        h = x
        for W, b in weights[:-1]:
            h = np.maximum(h @ W + b, 0)
        z = h @ weights[-1][0] + weights[-1][1]
        e = np.exp(-z) if task.binary else np.exp(z - z.max(axis=1, keepdims=True))
        return np.asarray(1 / (1 + e) if task.binary else e / e.sum(axis=1, keepdims=True))

    yield Contestant("nn.predict", lambda: nn.predict(model, ts, x), "ours")
    yield Contestant("model.forward", lambda: model.forward(ts.params, ts.state, x)[0], "ours")
    yield Contestant("NumPy", formula)
    yield Contestant("nn.predict_classes", lambda: float(nn.predict_classes(model, ts, x)[0]), "ours")
    yield Contestant("nn.evaluate", lambda: float(nn.evaluate(model, loss, ts, x, y).loss), "ours")


def many_rows(options: Options) -> Iterator[Table]:
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
