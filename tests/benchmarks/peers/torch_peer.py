"""PyTorch: eager, and many networks as one with torch.func."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.func import functional_call, grad_and_value, vmap

from tests.benchmarks.networks import LEARNING_RATE, Task, Weights
from tests.benchmarks.timing import Contestant

if TYPE_CHECKING:
    from nnfunc.arrays import Array


def steps(task: Task) -> list[Contestant]:
    return [
        trained(task, "PyTorch eager", fused=False),
        trained(task, "PyTorch eager, fused Adam", fused=True),
    ]


def network(task: Task, weights: Weights) -> nn.Sequential:
    """The network up to its logits."""
    layers: list[nn.Module] = []
    for i, (W, b) in enumerate(weights):
        linear = nn.Linear(*W.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(W.T))
            linear.bias.copy_(torch.tensor(b))
        layers.append(linear)
        if i < len(weights) - 1:
            layers += [nn.BatchNorm1d(len(b), eps=1e-5, momentum=0.1)] if task.batch_norm else []
            layers += [nn.ReLU()] + ([nn.Dropout(1 - task.keep_prob)] if task.keep_prob < 1 else [])
    return nn.Sequential(*layers)


def loss_of(task: Task) -> nn.Module:
    return nn.BCEWithLogitsLoss() if task.binary else nn.CrossEntropyLoss()


def trained(task: Task, name: str, fused: bool, compiled: bool = False) -> Contestant:
    """Forward, loss and backward, compiled or not; Adam as a loop over the parameters, or in its fused kernel."""
    model, criterion = network(task, task.weights()), loss_of(task)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE, fused=fused)
    batches = cycle([(torch.tensor(x), torch.tensor(y)) for x, y in task.batches()])

    def loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return criterion(model(x), y)

    if compiled:
        torch.compiler.reset()  # the networks before this one would count as variants, and make its shapes unknown
    cost = torch.compile(loss, dynamic=False) if compiled else loss

    def run() -> float:
        optimizer.zero_grad()
        value = cost(*next(batches))
        value.backward()
        optimizer.step()
        return float(value.item())

    return Contestant(name, run)


def stacked(task: Task) -> list[Contestant]:
    """vmap of the gradient over stacked parameters; Adam works element by element, so its fused kernel takes stacks."""
    first = [(W[0], b[0]) for W, b in task.weights()]
    model, criterion = network(task, first), loss_of(task)
    stacks = [torch.tensor(a) for pair in task.weights() for a in pair]
    names = [name for name, _ in model.named_parameters()]
    params = {k: a.mT.contiguous() if a.ndim == 3 else a for k, a in zip(names, stacks, strict=True)}
    optimizer = torch.optim.Adam(list(params.values()), LEARNING_RATE, fused=True)
    batches = cycle([(torch.tensor(x), torch.tensor(y)) for x, y in task.batches()])

    def loss(p: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return criterion(functional_call(model, p, (x,)), y)

    gradients = vmap(grad_and_value(loss), in_dims=(0, None, None))

    def run() -> Array:
        grads, values = gradients(params, *next(batches))
        for name, p in params.items():
            p.grad = grads[name]
        optimizer.step()
        losses: Array = values.numpy()
        return losses

    return [Contestant("PyTorch, torch.func.vmap", run)]


def predictors(task: Task) -> list[Contestant]:
    model = network(task, task.weights()).append(nn.Sigmoid() if task.binary else nn.Softmax(1)).eval()
    x = torch.tensor(task.rows(10_000)[0])

    def run() -> Array:
        with torch.inference_mode():
            outputs: Array = model(x).numpy()
        return outputs

    return [Contestant("PyTorch eager", run)]
