"""The step of each optimizer alone, in nanoseconds per parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

import nnfunc as nn
from nnfunc.arrays import Array
from tests.benchmarks import peers
from tests.benchmarks.networks import LEARNING_RATE, MNIST, WIDE, Task
from tests.benchmarks.report import Cell, Options, Table
from tests.benchmarks.timing import Contestant, measure

if TYPE_CHECKING:
    import torch

OURS = {
    "gd": nn.gd(LEARNING_RATE),
    "momentum": nn.momentum(LEARNING_RATE, dampening=0.0),
    "nesterov": nn.nesterov(LEARNING_RATE, dampening=0.0),
    "rmsprop": nn.rmsprop(LEARNING_RATE, beta2=0.99, eps=1e-8, eps_root=0.0),
    "adam": nn.adam(LEARNING_RATE, eps=1e-8, eps_root=0.0),
    "adamw": nn.adamw(LEARNING_RATE, eps=1e-8, eps_root=0.0),
    "adagrad": nn.adagrad(LEARNING_RATE, eps=1e-10, eps_root=0.0),
}
"""In the forms of PyTorch."""

IN_TORCH = {"PyTorch loop": {"foreach": False}, "PyTorch foreach": {"foreach": True}, "PyTorch fused": {"fused": True}}
MISSING = [("rmsprop", "PyTorch fused"), ("nesterov", "PyTorch foreach")]
"""The first does not exist; the second writes into the gradient, which is the same one at every step here."""

NOTE = "Median, ns per parameter; the parameters after 3 steps agree to 1e-4. PyTorch changes its parameters in place."


def run(options: Options) -> Iterator[Table]:
    for task in (Task("medium", (64, 96, 32, 10), 64), MNIST, WIDE):
        if task.name in ("medium", *options.tasks):
            rows = [row(name, task, options) for name in OURS]
            yield Table(f"Optimizer steps of {task.size:,} parameters ({'-'.join(map(str, task.dims))})", rows, NOTE)


def row(name: str, task: Task, options: Options) -> dict[str, Cell]:
    params = task.start().params
    rng = np.random.default_rng(0)
    grads = params.like({k: rng.normal(size=v.shape) for k, v in params.items()})
    contestants = [ours("nnfunc", OURS[name], params, grads)]
    if find_spec("numba"):
        contestants.append(ours("nnfunc, compiled", nn.optimizers.compiled(OURS[name]), params, grads))
    if "torch_peer" in options.peers and "torch_peer" in peers.available():
        contestants += [in_torch(name, kind, params, grads) for kind in IN_TORCH if (name, kind) not in MISSING]
    reference = after_3_steps(contestants[0])
    for c in contestants[1:]:
        np.testing.assert_allclose(after_3_steps(c), reference, 1e-4, 1e-6, err_msg=f"{c.name}, {name}")
    times = measure(contestants, options.rounds, options.seconds)
    cells: dict[str, Cell] = {"optimizer": name, "nnfunc": None, "nnfunc, compiled": None, **dict.fromkeys(IN_TORCH)}
    cells |= {t.name: t.median / task.size * 1e9 for t in times}
    best = min((t.median for t in times if t.name in IN_TORCH), default=None)
    for own in (t for t in times if t.name not in IN_TORCH):
        cells[f"{own.name} by best"] = own.median / best if best else None
    return cells | {
        "turns repeated": sum(t.repeated for t in times),
        "still disturbed": sum(t.disturbed for t in times),
    }


def after_3_steps(contestant: Contestant) -> Array:
    for _ in range(3):
        contestant.run()
    assert contestant.params is not None
    return contestant.params().copy()


def ours(name: str, optimizer: nn.Optimizer, params: nn.ArrayDict, grads: nn.ArrayDict) -> Contestant:
    opt_state = optimizer.init(params)

    def run() -> float:
        nonlocal params, opt_state
        params, opt_state = optimizer.step(params, grads, opt_state)
        return 0.0

    return Contestant(name, run, "ours", params=lambda: params.vector)


def in_torch(name: str, kind: str, params: nn.ArrayDict, grads: nn.ArrayDict) -> Contestant:
    import torch

    makers: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "gd": torch.optim.SGD,
        "momentum": partial(torch.optim.SGD, momentum=0.9),
        "nesterov": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
        "rmsprop": torch.optim.RMSprop,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "adagrad": torch.optim.Adagrad,
    }
    tensors = [torch.tensor(p) for p in params.values()]
    for tensor, grad in zip(tensors, grads.values(), strict=True):
        tensor.grad = torch.tensor(grad)
    optimizer = makers[name](tensors, lr=LEARNING_RATE, **IN_TORCH[kind])

    def run() -> float:
        optimizer.step()
        return 0.0

    return Contestant(kind, run, params=lambda: torch.cat([t.flatten() for t in tensors]).numpy())
