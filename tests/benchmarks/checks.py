"""The cost of a gradient check: seconds and loss evaluations, compared with torch.autograd.gradcheck.

    pip install torch
    python -m tests.benchmarks.checks [4k 235k 2.9M]

Three networks (784-256-128-10 is the middle one) with ReLUs, a batch of 32, in float64; the gradients are right, or
wrong in one element by 1 %, or in a whole array by the batch size. gradcheck says only whether they agree. Its slow
mode, which compares every element, is run on the smallest network alone: on the next it would take half an hour.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nnfunc as nn
from nnfunc.arrays import Array

SIZES = {"4k": [64, 48, 16, 10], "235k": [784, 256, 128, 10], "2.9M": [784, 1536, 1024, 10]}
MISTAKES: dict[str, Callable[[dict[str, Array]], None]] = {
    "right": lambda g: None,
    "one element, 1 %": lambda g: _one_element(g["dense1.W"]),
    "one array, × 32": lambda g: _times(g["dense2.W"], 32.0),
}


def _one_element(W: Array) -> None:
    i = np.unravel_index(np.argsort(np.abs(W), axis=None)[-W.size // 20], W.shape)  # neither large nor small
    W[i] *= 1.01


def _times(W: Array, factor: float) -> None:
    W *= factor


Loss = Callable[[Any], Any]
Grads = Callable[[Any], dict[str, Array]]


def network(dims: list[int]) -> tuple[nn.ArrayDict, Loss, Grads, Array, NDArray[np.int64]]:
    model = nn.mlp(dims, ["relu"] * (len(dims) - 2) + ["identity"])
    params, state = model.init(nn.key(0), (dims[0],), np.float64)
    rng = np.random.default_rng(0)
    x, labels = rng.random((32, dims[0])), rng.integers(0, dims[-1], 32)
    loss = nn.sparse_categorical_cross_entropy_with_logits

    def loss_fn(p: nn.ArrayDict) -> Any:
        return loss.forward(model.forward(p, state, x)[0], labels)[0]

    def grads_fn(p: nn.ArrayDict) -> dict[str, Array]:
        y, cache, _ = model.forward(p, state, x)
        _, grads = model.backward(p, cache, loss.backward(loss.forward(y, labels)[1]), need_dx=False)
        return {k: np.array(v) for k, v in grads.items()}

    return params, loss_fn, grads_fn, x, labels


def wrong(grads_fn: Grads, mistake: Callable[[dict[str, Array]], None]) -> Grads:
    def changed(p: Any) -> dict[str, Array]:
        grads = grads_fn(p)
        mistake(grads)
        return grads

    return changed


def gradcheck(params: nn.ArrayDict, x: Array, labels: NDArray[np.int64], mistake: Any, fast: bool) -> str:
    """Seconds of torch.autograd.gradcheck on the same network, the same mistake put on its gradients by hooks."""
    import torch

    names = list(params)
    tensors = [torch.tensor(params[k], requires_grad=True) for k in names]
    X, Y = torch.tensor(x), torch.tensor(labels)

    class Mistaken(torch.autograd.Function):  # type: ignore[misc]  # unknown where PyTorch is not installed
        @staticmethod
        def forward(ctx: Any, name: str, p: torch.Tensor) -> torch.Tensor:
            ctx.name = name
            return p.clone()

        @staticmethod
        def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[None, torch.Tensor]:
            g = {k: np.zeros((2, 2)) for k in ("dense1.W", "dense2.W")} | {ctx.name: grad_outputs[0].numpy().copy()}
            mistake(g)
            return None, torch.tensor(g[ctx.name])

    def value(*given: torch.Tensor) -> torch.Tensor:
        h = X
        p = [Mistaken.apply(k, v) for k, v in zip(names, given, strict=True)]
        for i in range(0, len(p), 2):
            h = h @ p[i] + p[i + 1]
            h = torch.relu(h) if i + 2 < len(p) else h
        return torch.nn.functional.cross_entropy(h, Y)

    began = time.perf_counter()
    agree = torch.autograd.gradcheck(value, tensors, fast_mode=fast, raise_exception=False)
    return f"{time.perf_counter() - began:.1f} s, {'agree' if agree else 'differ'}"


def main(names: list[str]) -> None:
    torch = find_spec("torch") is not None
    print("| parameters | gradients | nnfunc | loss evaluations | it says | gradcheck, fast | gradcheck, slow |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        params, loss_fn, grads_fn, x, labels = network(SIZES[name])
        for mistake, change in MISTAKES.items():
            report = nn.check_gradients(loss_fn, wrong(grads_fn, change), params, batch_size=32)
            said = ", ".join(
                f"{f.name} {list(f.index) if f.kind == 'sparse' else ''} {f.kind}" for f in report.findings
            )
            fast = gradcheck(params, x, labels, change, True) if torch else "–"
            slow = gradcheck(params, x, labels, change, False) if torch and name == "4k" else "–"
            cells = [f"{params.vector.size:,}", mistake, f"{report.seconds:.1f} s", f"{report.evaluations:,}"]
            print(f"| {' | '.join([*cells, said or 'all right', fast, slow])} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or list(SIZES))
