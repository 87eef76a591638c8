"""SmallPebble, with its own Adam."""

from __future__ import annotations

from itertools import cycle

import numpy as np
import smallpebble as sp

from tests.benchmarks.networks import LEARNING_RATE, Task
from tests.benchmarks.timing import Contestant


def steps(task: Task) -> list[Contestant]:
    weights = [(sp.Variable(W), sp.Variable(b)) for W, b in task.weights()]
    flat = [a for pair in weights for a in pair]
    optimizer, mean = sp.Adam(LEARNING_RATE), sp.Variable(np.array(1 / task.batch, np.float32))
    batches = cycle(task.batches())

    def loss(h: sp.Variable, y: np.ndarray) -> sp.Variable:
        for W, b in weights[:-1]:
            h = sp.leaky_relu(sp.matmul(h, W) + b, alpha=0.0)
        z = sp.matmul(h, weights[-1][0]) + weights[-1][1]
        if task.binary:  # log(1 + exp(z)) − y z
            one = sp.Variable(np.array(1, np.float32))
            return sp.sum(sp.log(one + sp.exp(z)) - sp.Variable(y) * z) * mean
        return sp.cross_entropy(sp.softmax(z), y) * mean

    def run() -> float:
        x, y = next(batches)
        value = loss(sp.Variable(x), y)
        optimizer.training_step(flat, sp.get_gradients(value))
        return float(value.array)

    return [Contestant("SmallPebble", run)]
