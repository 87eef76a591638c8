"""Times training steps beside PyTorch's (eager), and the import beside NumPy's, side by side in one run.

    python -m tests.benchmarks.steps

Equal work: the same network, data, dtype (float32), batch and optimizer (Adam), and PyTorch begins with our parameters;
the losses after 20 steps must agree. In turn (A B A B ...), the median of the rounds. Without PyTorch only our own
column is printed.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nnfunc as nn
from nnfunc.arrays import Array

ROUNDS, SECONDS = 7, 0.3
SPARSE = nn.sparse_categorical_cross_entropy
NETWORKS = {
    "moons": ([2, 16, 16, 1], 64),
    "digits": ([64, 64, 32, 10], 64),
    "MNIST": ([784, 256, 128, 10], 128),
}


def ours(dims: list[int], X: Array, Y: NDArray[Any]) -> tuple[Callable[[], float], nn.TrainState]:
    """A function that makes one step and returns the loss before it; the state it begins with."""
    output, loss = ("sigmoid", nn.binary_cross_entropy) if dims[-1] == 1 else ("softmax", SPARSE)
    model = nn.mlp(dims, ["relu"] * (len(dims) - 2) + [output])
    step = nn.train_step(model, loss, nn.adam(1e-3, eps=1e-8, eps_root=0.0))
    start = ts = nn.train_state(model, step.optimizer, nn.key(0), (dims[0],))

    def run() -> float:
        nonlocal ts
        ts, metrics = step(ts, (X, Y))
        return float(metrics.loss)

    return run, start


def torchs(dims: list[int], X: Array, Y: NDArray[Any], start: nn.TrainState) -> Callable[[], float]:
    """The same with PyTorch."""
    import torch

    linear = [torch.nn.Linear(a, b) for a, b in pairwise(dims)]
    with torch.no_grad():
        for i, module in enumerate(linear, 1):
            module.weight.copy_(torch.tensor(start.params[f"dense{i}.W"].T.copy()))
            module.bias.copy_(torch.tensor(start.params[f"dense{i}.b"].copy()))
    layers = [m for module in linear for m in (module, torch.nn.ReLU())][:-1]
    model = torch.nn.Sequential(*layers)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    loss = torch.nn.BCEWithLogitsLoss() if dims[-1] == 1 else torch.nn.CrossEntropyLoss()
    x, y = torch.tensor(X), torch.tensor(Y)

    def run() -> float:
        optimizer.zero_grad()
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
        return float(value.item())

    return run


def microseconds(run: Callable[[], float]) -> float:
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        run()
        steps += 1
    return (time.perf_counter() - start) / steps * 1e6


def import_milliseconds(code: str) -> float:
    program = f"import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    return float(output) * 1e3


def main() -> None:
    print(
        f"{'network':8} {'batch':>5} {'nnfunc':>10} {'PyTorch':>10}  ratio   (µs per step, median of {ROUNDS} rounds)"
    )
    for name, (dims, batch) in NETWORKS.items():
        rng = np.random.default_rng(0)
        X = rng.normal(size=(batch, dims[0])).astype(np.float32)
        Y = rng.integers(0, max(dims[-1], 2), size=batch)
        Y = Y[:, None].astype(np.float32) if dims[-1] == 1 else Y
        mine, start = ours(dims, X, Y)
        runs = [mine] + ([torchs(dims, X, Y, start)] if find_spec("torch") else [])
        losses = [[run() for _ in range(20)][-1] for run in runs]
        np.testing.assert_allclose(losses, losses[0], rtol=1e-3)
        times: list[list[float]] = [[] for _ in runs]
        for _ in range(ROUNDS):
            for run, column in zip(runs, times, strict=True):
                column.append(microseconds(run))
        medians = [statistics.median(column) for column in times]
        peer = f"{medians[1]:10.0f}  {medians[0] / medians[1]:.2f}" if len(medians) > 1 else f"{'-':>10}"
        print(f"{name:8} {batch:5} {medians[0]:10.0f} {peer}")
    pairs = [(import_milliseconds("import numpy"), import_milliseconds("import nnfunc")) for _ in range(9)]
    numpys, both = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"import: NumPy {numpys:.0f} ms, nnfunc (with NumPy) {both:.0f} ms, ratio {both / numpys:.2f}")


if __name__ == "__main__":
    main()
