"""MyGrad, with Adam in NumPy."""

from __future__ import annotations

from itertools import cycle

import mygrad as mg
from mygrad.nnet.activations import relu
from mygrad.nnet.losses import softmax_crossentropy

from tests.benchmarks.networks import Task
from tests.benchmarks.peers.numpy_loops import adam, blocks
from tests.benchmarks.timing import Contestant

mg.turn_memory_guarding_off()  # as its manual advises for speed


def steps(task: Task) -> list[Contestant]:
    weights = [(mg.tensor(W, copy=False), mg.tensor(b, copy=False)) for W, b in task.weights()]
    flat = [a for pair in weights for a in pair]
    update = adam(blocks([a.data for a in flat]))
    batches = cycle(task.batches())

    def run() -> float:
        x, y = next(batches)
        h = x
        for W, b in weights[:-1]:
            h = relu(mg.matmul(h, W) + b)
        z = mg.matmul(h, weights[-1][0]) + weights[-1][1]
        value = mg.mean(mg.logaddexp(0, z) - y * z) if task.binary else softmax_crossentropy(z, y)
        value.backward()
        update(blocks([a.grad for a in flat]))
        return float(value.item())

    return [Contestant("MyGrad", run)]
