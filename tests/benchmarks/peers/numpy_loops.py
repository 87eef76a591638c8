"""References in plain NumPy: a training step written by hand for one network, and the matrix products of a step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from tests.benchmarks.networks import LEARNING_RATE, Labels, Task, Weights
from tests.benchmarks.timing import Contestant

if TYPE_CHECKING:
    from nnfunc.arrays import Array

f = np.float32
BLOCK = 1 << 17


def steps(task: Task) -> list[Contestant]:
    return [fused_steps(task), bare_steps(task)]


def blocks(arrays: Sequence[Array]) -> list[Array]:
    """The arrays cut into pieces that stay in the processor's cache while they are updated."""
    flat = [a.reshape(-1) for a in arrays]
    return [a[s : s + BLOCK] for a in flat for s in range(0, a.size, BLOCK)]


def adam(weights: list[Array]) -> Callable[[list[Array]], None]:
    """A function that changes the weights, which are `blocks`, in place by a list of gradients."""
    scratch = np.empty(BLOCK, f)
    moments = [(w, np.zeros_like(w), np.zeros_like(w), scratch[: w.size]) for w in weights]
    old_m, new_m, old_v, new_v = f(0.9), f(0.1), f(0.999), f(0.001)
    t = 0

    def update(gradients: list[Array]) -> None:
        nonlocal t
        t += 1
        c = math.sqrt(1 - 0.999**t)
        rate, eps = f(LEARNING_RATE * c / (1 - 0.9**t)), f(1e-8 * c)
        for g, (w, m, v, a) in zip(gradients, moments, strict=True):
            np.multiply(g, new_m, out=a)
            m *= old_m
            m += a
            np.multiply(g, g, out=a)
            a *= new_v
            v *= old_v
            v += a
            np.sqrt(v, out=a)
            a += eps
            np.divide(m, a, out=a)
            a *= rate
            w -= a

    return update


def one_hot(labels: Labels, outputs: int) -> Array:
    """The targets of the fused step."""
    return labels if outputs == 1 else np.eye(outputs, dtype=f)[labels]


def fused(weights: Weights, batch: int) -> tuple[Callable[[Array, Array], float], Weights]:
    """A step (x, one-hot targets) -> loss of exactly three dense layers, straight on, in place, without allocation.

    Also the weights that it changes.
    """
    sizes = [w.size + b.size for w, b in weights]
    w, g = np.concatenate([a.ravel() for pair in weights for a in pair]), np.empty(sum(sizes), f)

    def views(vector: Array) -> Weights:
        parts = np.split(vector, np.cumsum(sizes)[:-1])
        return [(p[: W.size].reshape(W.shape), p[W.size :]) for p, (W, _) in zip(parts, weights, strict=True)]

    (W1, b1), (W2, b2), (W3, b3) = views(w)
    (dW1, db1), (dW2, db2), (dW3, db3) = views(g)
    A1, A2, Z = (np.empty((batch, len(b)), f) for b in (b1, b2, b3))
    D1, D2, D3 = np.empty_like(A1), np.empty_like(A2), np.empty_like(Z)
    M1, M2 = np.empty(A1.shape, bool), np.empty(A2.shape, bool)
    column = np.empty((batch, 1), f)
    W2T, W3T, A1T, A2T = W2.T, W3.T, A1.T, A2.T
    ones, update, gradients = np.ones(batch, f), adam(blocks([w])), blocks([g])

    def step(x: Array, target: Array) -> float:
        np.dot(x, W1, out=A1)
        np.add(A1, b1, out=A1)
        np.maximum(A1, 0, out=A1)
        np.dot(A1, W2, out=A2)
        np.add(A2, b2, out=A2)
        np.maximum(A2, 0, out=A2)
        np.dot(A2, W3, out=Z)
        np.add(Z, b3, out=Z)
        if len(b3) == 1:
            np.exp(-np.abs(Z), out=D3)
            loss = float((np.log1p(D3) + np.maximum(Z, 0) - target * Z).sum()) / batch
            np.exp(np.negative(Z, out=Z), out=D3)
            np.add(D3, 1, out=D3)
            np.reciprocal(D3, out=D3)
        else:
            np.subtract(Z, Z.max(axis=1, keepdims=True), out=Z)
            np.exp(Z, out=D3)
            D3.sum(axis=1, keepdims=True, out=column)
            loss = (float(np.log(column).sum()) - float(np.vdot(Z, target))) / batch
            np.divide(D3, column, out=D3)
        np.subtract(D3, target, out=D3)
        np.multiply(D3, f(1 / batch), out=D3)
        np.dot(A2T, D3, out=dW3)
        np.dot(ones, D3, out=db3)
        np.dot(D3, W3T, out=D2)
        np.greater(A2, 0, out=M2)
        np.multiply(D2, M2, out=D2)
        np.dot(A1T, D2, out=dW2)
        np.dot(ones, D2, out=db2)
        np.dot(D2, W2T, out=D1)
        np.greater(A1, 0, out=M1)
        np.multiply(D1, M1, out=D1)
        np.dot(x.T, D1, out=dW1)
        np.dot(ones, D1, out=db1)
        update(gradients)
        return loss

    return step, views(w)


def fused_steps(task: Task) -> Contestant:
    step, _ = fused(task.weights(), task.batch)
    batches = cycle([(x, one_hot(y, task.dims[-1])) for x, y in task.batches()])
    return Contestant("NumPy, fused by hand", lambda: step(*next(batches)), "fused")


def bare_steps(task: Task) -> Contestant:
    """The matrix products of forward and backward, without the gradient of the input, and nothing else."""
    weights = [w for w, _ in task.weights()]
    last = len(weights) - 1
    outputs = [np.empty((task.batch, w.shape[1]), f) for w in weights]
    inputs = [task.batches()[0][0], *(np.random.default_rng(0).normal(size=y.shape).astype(f) for y in outputs[:-1])]
    below, grads = [np.empty_like(x) for x in inputs], [np.empty_like(w) for w in weights]

    def run() -> float:
        for i, w in enumerate(weights):
            np.dot(inputs[i], w, out=outputs[i])
        for i in range(last, -1, -1):
            np.dot(inputs[i].T, outputs[i], out=grads[i])
            if i:
                np.dot(outputs[i], weights[i].T, out=below[i])
        return 0.0

    return Contestant("NumPy, bare matrix products", run, "bare")
