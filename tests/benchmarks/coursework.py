"""Right gradients as courses write them, where numeric differences are at their worst: deep ReLU networks with tiny
initial weights, probabilities that are clipped, masks, ties.

    python -m tests.benchmarks.coursework deep 2000
    python -m tests.benchmarks.coursework edges 2000

No finding is allowed. Networks are drawn from a seed each, so that one can be looked at again: `deep(17)`.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

import nnfunc as nn
from nnfunc.arrays import Array

Params = dict[str, Any]


class Case(NamedTuple):
    """Two functions and a point."""

    about: str
    loss: Callable[[Params], float]
    grads: Callable[[Params], Params]
    params: Params
    batch: int


ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(float)),
    "leaky": (lambda z: np.where(z > 0, z, 0.01 * z), lambda z: np.where(z > 0, 1, 0.01)),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2),
}


def softmax(z: Array) -> Array:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def deep(seed: int) -> Case:
    """2 to 14 layers, weights from 1e-3 · N(0, 1) to LeCun's and He's, biases 0, sigmoid or softmax, cross-entropy."""
    rng = np.random.default_rng(seed)
    layers, m, classes = int(rng.integers(2, 15)), int(rng.choice([1, 5, 30])), int(rng.choice([1, 1, 3]))
    dims = [int(rng.integers(2, 13)), *rng.integers(2, 17, size=layers - 1).tolist(), classes]
    init, name = (
        str(rng.choice(["0.001", "0.01", "0.03", "0.1", "lecun", "he"])),
        str(rng.choice(["relu"] * 4 + ["leaky", "tanh"])),
    )
    f, slope = ACTIVATIONS[name]
    p: Params = {}
    for i, (a, b) in enumerate(pairwise(dims), 1):
        scale = {"lecun": a**-0.5, "he": (2 / a) ** 0.5}.get(init) or float(init)
        p |= {f"W{i}": scale * rng.normal(size=(a, b)), f"b{i}": np.zeros(b)}
    x = rng.normal(size=(m, dims[0]))
    t = (rng.random((m, 1)) < 0.5).astype(float) if classes == 1 else np.eye(classes)[rng.integers(0, classes, m)]

    def forward(p: Params) -> tuple[list[Array], list[Array]]:
        a: list[Array] = [x]
        z: list[Array] = [x]
        for i in range(1, layers + 1):
            z.append(a[-1] @ p[f"W{i}"] + p[f"b{i}"])
            a.append(f(z[-1]) if i < layers else ACTIVATIONS["sigmoid"][0](z[-1]) if classes == 1 else softmax(z[-1]))
        return a, z

    def loss(p: Params) -> float:
        y = forward(p)[0][-1]
        if classes == 1:
            return float(-(t * np.log(y) + (1 - t) * np.log(1 - y)).mean())
        return float(-(t * np.log(y)).sum() / m)

    def grads(p: Params) -> Params:
        (a, z), g = forward(p), {}
        dz = (a[-1] - t) / m
        for i in range(layers, 0, -1):
            g[f"W{i}"], g[f"b{i}"] = a[i - 1].T @ dz, dz.sum(axis=0)
            if i > 1:
                dz = dz @ p[f"W{i}"].T * slope(z[i - 1])
        return g

    return Case(f"{layers} layers of {name}, weights {init}, {m} rows", loss, grads, p, m)


def clipped(seed: int) -> Case:
    """A cross-entropy of probabilities that are clipped; right inside."""
    rng = np.random.default_rng(seed)
    eps, m = float(rng.choice([1e-15, 1e-12, 1e-8, 1e-7])), int(rng.integers(1, 6))
    t, p = np.eye(2)[rng.integers(0, 2, m)], rng.beta(0.4, 0.4, size=(m, 2)).clip(1e-3, 1 - 1e-3)

    def inside(p: Array) -> Array:
        return np.clip(p, eps, 1 - eps)

    return Case(
        f"probabilities clipped at {eps}",
        lambda q: float(-np.mean(t * np.log(inside(q["p"])) + (1 - t) * np.log(1 - inside(q["p"])))),
        lambda q: {"p": (inside(q["p"]) - t) / (inside(q["p"]) * (1 - inside(q["p"]))) / t.size},
        {"p": p},
        m,
    )


def clipped_network(seed: int) -> Case:
    """The same behind a layer and a sigmoid, with the fused gradient (a − t)/m."""
    rng = np.random.default_rng(seed)
    m, n, eps = int(rng.integers(2, 9)), int(rng.integers(1, 5)), float(rng.choice([1e-15, 1e-12, 1e-8]))
    x, t = rng.normal(size=(m, n)), (rng.random(m) < 0.5).astype(float)

    def a(p: Params) -> Array:
        return np.asarray(1 / (1 + np.exp(-(x @ p["w"] + p["b"]))))

    def loss(p: Params) -> float:
        y = np.clip(a(p), eps, 1 - eps)
        return float(-(t * np.log(y) + (1 - t) * np.log(1 - y)).mean())

    def grads(p: Params) -> Params:
        dz = (a(p) - t) / m
        return {"w": x.T @ dz, "b": dz.sum()}

    return Case(
        "clipped, fused", loss, grads, {"w": rng.normal(size=n) * rng.choice([0.01, 1, 3]), "b": np.zeros(())}, m
    )


def masked(seed: int) -> Case:
    """A dropout mask drawn once, and a root or a logarithm near the end of its domain."""
    rng = np.random.default_rng(seed)
    m, n = int(rng.integers(2, 6)), int(rng.integers(1, 5))
    mask, w = (rng.random((m, n)) < 0.6) / 0.6, rng.normal(size=(m, n))
    x = rng.uniform(1e-4, 1, size=(m, n))
    forms: list[tuple[Callable[[Array], Array], Callable[[Array], Array]]] = [
        (np.sqrt, lambda v: 0.5 / np.sqrt(v)),
        (np.log, lambda v: 1 / v),
        (lambda v: np.log1p(-0.99 * v), lambda v: -0.99 / (1 - 0.99 * v)),
        (np.arcsin, lambda v: 1 / np.sqrt(1 - v * v)),
    ]
    f, slope = forms[seed % 4]
    x = np.minimum(x, 1 - 1e-6)
    return Case(
        "mask and domain",
        lambda p: float(np.sum(mask * w * f(p["x"]))),
        lambda p: {"x": mask * w * slope(p["x"])},
        {"x": x},
        m,
    )


def tied(seed: int) -> Case:
    """Maxima of equal numbers (the first gets the gradient), ReLUs and absolute values at 0, hinges at the margin."""
    rng = np.random.default_rng(seed)
    m, n = int(rng.integers(2, 6)), int(rng.integers(2, 6))
    x, w = rng.integers(-2, 3, size=(m, n)).astype(float), rng.normal(size=m)

    def largest(p: Params) -> Params:
        g = np.zeros((m, n))
        g[np.arange(m), p["x"].argmax(axis=1)] = w
        return {"x": g}

    v = rng.normal(size=(m, n))
    forms: list[tuple[Callable[[Params], float], Callable[[Params], Params]]] = [
        (lambda p: float(p["x"].max(axis=1) @ w), largest),
        (lambda p: float(np.sum(np.maximum(p["x"], 0) * v)), lambda p: {"x": (p["x"] > 0) * v}),
        (lambda p: float(np.sum(np.abs(p["x"]) * v)), lambda p: {"x": np.sign(p["x"]) * v}),
        (lambda p: float(np.sum(np.maximum(0, 1 - p["x"]))), lambda p: {"x": -1.0 * (p["x"] < 1)}),
    ]
    return Case("ties", *forms[seed % 4], {"x": x}, m)


def edges(seed: int) -> Case:
    return (clipped, clipped_network, masked, tied)[seed % 4](seed // 4)


def alarms(make: Callable[[int], Case], seeds: range) -> list[str]:
    """What is said of right gradients."""
    said = []
    for seed in seeds:
        case = make(seed)
        report = nn.check_gradients(case.loss, case.grads, case.params, batch_size=case.batch)
        said += [f"{make.__name__}({seed}), {case.about}: {f.message}" for f in report.findings]
    return said


def main(kind: str, number: int, start: int = 0) -> None:
    began, count = time.perf_counter(), Counter[str]()
    for seed in range(start, start + number):
        said = alarms({"deep": deep, "edges": edges}[kind], range(seed, seed + 1))
        print(*said, sep="\n", end="\n" if said else "")
        count["networks"] += 1
        count["accused"] += bool(said)
    print(kind, dict(count), f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
