"""Whole programs: load a file, train a network, print as JSON its accuracy on held-out rows and the seconds of phases.

    python -m tests.benchmarks.programs CONTESTANT FILE EPOCHS BATCH DIMS ...

Each function is what a user would write with that library alone, so imports stand in it; it says when a phase has
ended. Those whose names end in _cnn train two convolutions and a dense layer on square images of one channel. FILE has
x_train and x_test (rows of whole numbers), y_train and y_test (classes), and `scale`, the largest number; the batches
are all full.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nnfunc.arrays import Array
    from tests.benchmarks.networks import Labels, Weights

    Program = Callable[[Array, Labels, Array, Labels, list[int], int, int], float]


class Phases:
    """Seconds of each phase, which ends where `end` is called, and the next one begins."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = time.perf_counter()

    def end(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name], self._began = now - self._began, now


PHASES = Phases()


def order(rows: int, epochs: int, batch: int) -> Iterator[Labels]:
    """The numbers of the rows of each batch."""
    rng = np.random.default_rng(0)
    for _ in range(epochs):
        yield from rng.permutation(rows).reshape(-1, batch)


def he(dims: list[int]) -> Weights:
    rng = np.random.default_rng(0)
    shapes = pairwise(dims)
    return [(rng.normal(0, (2 / a) ** 0.5, (a, b)).astype(np.float32), np.zeros(b, np.float32)) for a, b in shapes]


def nnfunc(x: Array, y: Labels, x_test: Array, y_test: Labels, dims: list[int], epochs: int, batch: int) -> float:
    import nnfunc as nn

    PHASES.end("import")
    init_key, train_key = nn.split(nn.key(0))
    model = nn.mlp(dims, ["relu"] * (len(dims) - 2) + ["softmax"])
    step = nn.train_step(model, nn.sparse_categorical_cross_entropy, nn.adam(1e-3))
    ts = nn.train_state(model, step.optimizer, init_key, (dims[0],))
    for epoch in nn.train(step, ts, (x, y), epochs=epochs, batch_size=batch, key=train_key):
        ts = epoch.state
    PHASES.end("training")
    return float(nn.accuracy(model, ts, x_test, y_test))


def numpy(x: Array, y: Labels, x_test: Array, y_test: Labels, dims: list[int], epochs: int, batch: int) -> float:
    from tests.benchmarks.peers.numpy_loops import fused, one_hot

    PHASES.end("import")
    step, weights = fused(he(dims), batch)
    target = one_hot(y, dims[-1])
    for chosen in order(len(x), epochs, batch):
        step(x[chosen], target[chosen])
    PHASES.end("training")
    for W, b in weights[:-1]:
        x_test = np.maximum(x_test @ W + b, 0)
    z = x_test @ weights[-1][0] + weights[-1][1]
    return float(np.mean(z.argmax(axis=1) == y_test))


def sklearn(x: Array, y: Labels, x_test: Array, y_test: Labels, dims: list[int], epochs: int, batch: int) -> float:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    PHASES.end("import")
    warnings.simplefilter("ignore", ConvergenceWarning)  # all epochs are wanted
    model = MLPClassifier(
        dims[1:-1], alpha=0.0, batch_size=batch, max_iter=epochs, n_iter_no_change=epochs, random_state=0
    )
    model.fit(x, y)
    PHASES.end("training")
    return float(model.score(x_test, y_test))


def torch(x: Array, y: Labels, x_test: Array, y_test: Labels, dims: list[int], epochs: int, batch: int) -> float:
    import torch
    from torch import nn

    PHASES.end("import")
    torch.manual_seed(0)
    pairs = list(pairwise(dims))
    model = nn.Sequential(*[layer for a, b in pairs for layer in (nn.Linear(a, b), nn.ReLU())][:-1])
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    loss = nn.CrossEntropyLoss()
    X, Y = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(epochs):
        for chosen in torch.randperm(len(X)).view(-1, batch):
            optimizer.zero_grad()
            loss(model(X[chosen]), Y[chosen]).backward()
            optimizer.step()
    PHASES.end("training")
    with torch.inference_mode():
        return float((model(torch.from_numpy(x_test)).argmax(1) == torch.from_numpy(y_test)).float().mean())


def jax(x: Array, y: Labels, x_test: Array, y_test: Labels, dims: list[int], epochs: int, batch: int) -> float:
    from functools import partial

    import jax

    from tests.benchmarks.networks import Task
    from tests.benchmarks.peers import jax_peer

    PHASES.end("import")
    task = Task("", tuple(dims), batch)
    carry = jax_peer.start(task, he(dims))
    step = jax.jit(partial(jax_peer.step, task=task), donate_argnums=0)
    for chosen in order(len(x), epochs, batch):
        carry, _ = step(carry, (x[chosen], y[chosen]))
    PHASES.end("training")
    return float(np.mean(np.asarray(jax_peer.predict(carry.params, x_test, False)).argmax(axis=1) == y_test))


# -- two convolutions --------------------------------------------------------------------------------------------------


def nnfunc_cnn(x: Array, y: Labels, x_test: Array, y_test: Labels, dims: list[int], epochs: int, batch: int) -> float:
    import nnfunc as nn

    PHASES.end("import")
    init_key, train_key = nn.split(nn.key(0))
    model = nn.serial(
        *(nn.conv2d(16, 3, padding="same"), nn.relu(), nn.max_pool2d(2)),
        *(nn.conv2d(32, 3, padding="same"), nn.relu(), nn.max_pool2d(2)),
        *(nn.flatten(), nn.dense(dims[-1]), nn.softmax()),
    )
    step = nn.train_step(model, nn.sparse_categorical_cross_entropy, nn.adam(1e-3))
    X, X_test = images(x), images(x_test)
    ts = nn.train_state(model, step.optimizer, init_key, X.shape[1:])
    for epoch in nn.train(step, ts, (X, y), epochs=epochs, batch_size=batch, key=train_key):
        ts = epoch.state
    PHASES.end("training")
    return float(nn.accuracy(model, ts, X_test, y_test))


def torch_cnn(x: Array, y: Labels, x_test: Array, y_test: Labels, dims: list[int], epochs: int, batch: int) -> float:
    import torch
    from torch import nn

    PHASES.end("import")
    torch.manual_seed(0)
    X, X_test = (torch.from_numpy(images(rows)).permute(0, 3, 1, 2) for rows in (x, x_test))
    Y, side = torch.from_numpy(y), X.shape[-1] // 4
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * side * side, dims[-1])),
    )
    optimizer, loss = torch.optim.Adam(model.parameters(), 1e-3, fused=True), nn.CrossEntropyLoss()
    for _ in range(epochs):
        for chosen in torch.randperm(len(X)).view(-1, batch):
            optimizer.zero_grad()
            loss(model(X[chosen]), Y[chosen]).backward()
            optimizer.step()
    PHASES.end("training")
    with torch.inference_mode():
        classes = torch.cat([model(part).argmax(1) for part in X_test.split(500)])
        return float((classes == torch.from_numpy(y_test)).float().mean())


def images(rows: Array) -> Array:
    """(N, side²) → (N, side, side, 1)"""
    side = round(rows.shape[1] ** 0.5)
    return rows.reshape(-1, side, side, 1)


PROGRAMS: dict[str, Program] = {f.__name__: f for f in (nnfunc, numpy, sklearn, torch, jax, nnfunc_cnn, torch_cnn)}


def main(name: str, file: str, epochs: int, batch: int, dims: list[int]) -> None:
    with np.load(file) as data:
        x, x_test = (data[k].astype(np.float32) for k in ("x_train", "x_test"))
        y, y_test, scale = data["y_train"], data["y_test"], float(data["scale"])
    for rows in (x, x_test):
        rows /= scale  # in place: the peak of memory is to be that of the training
    PHASES.end("data")
    accuracy = PROGRAMS[name](x, y, x_test, y_test, dims, epochs, batch)
    PHASES.end("evaluation")
    print(json.dumps({"accuracy": accuracy, "seconds": PHASES.seconds}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), [int(d) for d in sys.argv[5:]])
