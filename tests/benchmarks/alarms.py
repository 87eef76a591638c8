"""Rates of false alarms and missed mistakes of the laboratory. Too slow for every test run.

    python -m tests.benchmarks.alarms right 20000    random correct networks: no finding allowed
    python -m tests.benchmarks.alarms wrong 2000     the same with one broken backward: it must be found and named

Networks come from `nnfunc.testing.networks`. A mutation that changes nothing at all (a sign where every gradient is 0,
a transposed matrix that is symmetric) does not count.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc.arrays import Array
from nnfunc.core.kernel import Cache
from nnfunc.core.layer import Layer
from nnfunc.core.signatures import signature
from nnfunc.core.values import leaves, map_leaves
from nnfunc.testing import Network, networks

Mutation = Callable[[np.random.Generator, Array, Array], Array]
"""(generator, dy, right gradient) -> wrong gradient"""


def sign(rng: np.random.Generator, dy: Array, g: Array) -> Array:
    return -g


def scale(rng: np.random.Generator, dy: Array, g: Array) -> Array:
    return g * float(rng.choice([0.5, 2.0, len(dy) + 1.0, 0.9, 1.001]))


def transpose(rng: np.random.Generator, dy: Array, g: Array) -> Array:
    return g.T if g.ndim == 2 and g.shape[0] == g.shape[1] else np.flip(g)


def dropped_term(rng: np.random.Generator, dy: Array, g: Array) -> Array:
    """One example, or one part of a sum, is left out."""
    return g - g.mean(axis=0, keepdims=True) if g.ndim > 1 else g - rng.uniform(0.1, 0.9) * g * (np.arange(g.size) % 2)


def sparse(rng: np.random.Generator, dy: Array, g: Array) -> Array:
    wrong = g.copy()
    wrong.flat[rng.integers(g.size)] *= rng.choice([0.0, 1.01, -1.0])
    return wrong


def mask(rng: np.random.Generator, dy: Array, g: Array) -> Array:
    return g * (rng.permutation(g.size).reshape(g.shape) % 2)


MUTATIONS: dict[str, Mutation] = {f.__name__: f for f in (sign, scale, transpose, dropped_term, sparse, mask)}


def broken(layer: Layer, name: str, mutation: Mutation, number: int) -> Layer:
    """The layer with one of its gradients ("dx", "dx[0]" or a parameter's) mutated."""
    kernel = layer.kernel
    assert kernel is not None

    def backward(params: Any, cache: Cache, dy: Any, grads: Any, need: Any, **settings: Any) -> Any:
        dx = kernel.backward(params, cache, dy, grads, need, **settings)
        rng, first = np.random.default_rng(number), leaves(dy)[0]
        if name.startswith("dx"):
            at = iter(range(len(leaves(dx))))
            chosen = int(name[3:-1]) if "[" in name else 0
            return map_leaves(lambda g: mutation(rng, first, np.array(g)) if next(at) == chosen else g, dx)
        names = params.names if kernel.named else list(fitting_names(layer, params))
        written = grads[list(names).index(name)]
        if written is not None:
            written[...] = mutation(rng, first, written.copy())
        return dx

    return layer._replace(kernel=kernel._replace(backward=backward))


def fitting_names(layer: Layer, params: Any) -> list[str]:
    """What a layer calls its arrays, in their order."""
    shapes = [array.shape for array in params]
    return [k for k, a in signature(layer, shapes[0][:1]).params.items() if a.shape in shapes]


class Study:
    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self.kinds: dict[str, Counter[str]] = {name: Counter() for name in MUTATIONS}
        self.shown: list[str] = []

    def right(self, network: Network, train: bool) -> None:
        self.count["networks"] += 1
        report = nn.check_model(network.model, network.params, network.x, train=train, **network.arguments)
        self.count["evaluations"] += report.evaluations
        self.count["arrays"] += len(report.rows)
        self.count["arrays not decided everywhere"] += sum("undecided" in row.verdict for row in report.rows)
        if not report.ok:
            self.count["false alarms"] += 1
            arrays = [f"{f.analytic_array} claimed, {f.numeric_array} measured" for f in report.findings]
            self.shown.append("\n".join([str(network), str(network.params.vector), str(report), *arrays]))

    def wrong(self, network: Network, mutation: str, choice: int) -> None:
        targets: list[tuple[str, str]] = []

        def collect(path: str, layer: Layer) -> Layer:
            own = network.params.group(path)
            targets.extend((path, name) for name in ("dx", *own))
            return layer

        nn.map_layers(collect, network.model)
        where, name = targets[choice % len(targets)]
        model = nn.map_layers(
            lambda path, layer: broken(layer, name, MUTATIONS[mutation], choice) if path == where else layer,
            network.model,
        )
        if not self._shows(network, model):
            self.count["without effect"] += 1
            return
        self.count["networks"] += 1
        report = nn.check_model(model, network.params, network.x, train=True, **network.arguments)
        self.count["evaluations"] += report.evaluations
        found = {(f.where, f.name) for f in report.findings}
        self.count["found"] += not report.ok
        self.count["exactly named"] += found == {(where, name)}
        self.kinds[mutation].update({f.kind for f in report.findings} or {"(missed)"})
        if found != {(where, name)}:
            self.shown.append(f"{mutation} of {where}.{name} in {network.model}, x {network.x.shape}\n{report}")

    def _shows(self, network: Network, model: Layer) -> bool:
        """Whether the mutation changes the layer's gradient under a general dy, beyond rounding."""
        params, state, x = network.params, network.state, network.x
        runs = [m.forward(params, state, x, key=nn.key(0), train=True) for m in (network.model, model)]
        dy = np.random.default_rng(0).normal(size=runs[0][0].shape)
        right, wrong = (
            m.backward(params, cache, dy) for m, (_, cache, _) in zip((network.model, model), runs, strict=True)
        )
        pairs = ((np.asarray(right[0]), np.asarray(wrong[0])), (right[1].vector, wrong[1].vector))
        return not all(np.allclose(a, b, rtol=1e-6, atol=1e-9 * np.abs(a).max(initial=0)) for a, b in pairs)


def main(kind: str, number: int, start: int) -> None:
    study = Study()
    profile = settings(
        max_examples=number, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip

    @seed(start)
    @profile
    @given(networks(), st.booleans())
    def right(network: Network, train: bool) -> None:
        study.right(network, train)

    @seed(start)
    @profile
    @given(networks(), st.sampled_from(sorted(MUTATIONS)), st.integers(0, 10**6))
    def wrong(network: Network, mutation: str, choice: int) -> None:
        study.wrong(network, mutation, choice)

    began = time.perf_counter()
    (right if kind == "right" else wrong)()
    print(*study.shown[:10], sep="\n\n")
    print(*(f"{k}: {v:,}" for k, v in study.count.items()), sep="\n")
    if kind == "wrong":
        print(*(f"{k:14} diagnosed as {dict(v.most_common())}" for k, v in study.kinds.items()), sep="\n")
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
