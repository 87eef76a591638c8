"""Autograd (HIPS), with Adam in NumPy."""

from __future__ import annotations

from itertools import cycle

import autograd.numpy as np
from autograd import value_and_grad

from nnfunc.arrays import Array
from tests.benchmarks.networks import Labels, Task, Weights
from tests.benchmarks.peers.numpy_loops import adam, blocks, one_hot
from tests.benchmarks.timing import Contestant


def loss(weights: Weights, x: Array, target: Labels) -> Array:
    for W, b in weights[:-1]:
        x = np.maximum(np.dot(x, W) + b, 0)
    z = np.dot(x, weights[-1][0]) + weights[-1][1]
    if z.shape[1] == 1:
        losses: Array = np.logaddexp(0, z) - target * z
    else:
        z = z - np.max(z, axis=1, keepdims=True)
        losses = np.log(np.sum(np.exp(z), axis=1)) - np.sum(z * target, axis=1)
    mean: Array = np.sum(losses) / len(x)
    return mean


def steps(task: Task) -> list[Contestant]:
    weights = task.weights()
    gradient = value_and_grad(loss)
    update = adam(blocks([a for pair in weights for a in pair]))
    batches = cycle([(x, one_hot(y, task.dims[-1])) for x, y in task.batches()])

    def run() -> float:
        value, grads = gradient(weights, *next(batches))
        update(blocks([a for pair in grads for a in pair]))
        return float(value)

    return [Contestant("autograd", run)]
