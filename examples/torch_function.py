"""Checks a PyTorch autograd.Function: nnfunc verifies its hand-written backward.

    pip install torch
    python examples/torch_function.py

Without PyTorch it prints a message and exits. The function is a scaled softplus with a trained sharpness; its backward
fails to sum the examples' contributions to the gradient of the sharpness. It prints

    array  shape   worst error  verdict
    -----------------------------------
    x      (5, 3)      8.9e-14  right
    s      (3,)        8.0e-01  WRONG: scale

    s: the gradient is 5 times too small in every element (a factor of 0.2), and 5
    is the batch size: the gradient is divided by it once too often.

and how many evaluations and seconds that took.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np

import nnfunc as nn
from nnfunc.arrays import Array


def main() -> None:
    if find_spec("torch") is None:
        print("PyTorch is not installed: pip install torch")
        return
    import torch

    class SharpSoftplus(torch.autograd.Function):  # type: ignore[misc]  # unknown where PyTorch is not installed
        """y = log(1 + exp(s x)) / s for inputs (examples, features) and a sharpness s for each feature."""

        @staticmethod
        def forward(ctx: Any, x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:  # Any: PyTorch's own context
            y = torch.nn.functional.softplus(x * s) / s
            ctx.save_for_backward(x, s, y)
            return y

        @staticmethod
        def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            (dy,) = grad_outputs
            x, s, y = ctx.saved_tensors
            gate = torch.sigmoid(x * s)
            ds = dy * (gate * x - y) / s
            return dy * gate, ds.mean(dim=0)  # should be ds.sum(dim=0)

    def tensors(p: dict[str, Array]) -> dict[str, torch.Tensor]:
        return {name: torch.tensor(array, requires_grad=True) for name, array in p.items()}

    weights = torch.linspace(-1, 1, 15, dtype=torch.float64).reshape(5, 3)  # different weights for all outputs

    def value(p: dict[str, torch.Tensor]) -> torch.Tensor:
        y: torch.Tensor = SharpSoftplus.apply(p["x"], p["s"])
        return (weights * y).sum()

    def loss(p: dict[str, Array]) -> float:
        return float(value(tensors(p)).detach())

    def grads(p: dict[str, Array]) -> dict[str, Array]:
        leaves = tensors(p)
        found = torch.autograd.grad(value(leaves), list(leaves.values()))
        return {name: g.numpy() for name, g in zip(leaves, found, strict=True)}

    rng = np.random.default_rng(0)
    report = nn.check_gradients(loss, grads, {"x": rng.normal(size=(5, 3)), "s": rng.uniform(0.5, 2, 3)}, batch_size=5)
    print(report)


if __name__ == "__main__":
    main()
