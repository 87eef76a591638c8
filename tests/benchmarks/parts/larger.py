"""One training step of networks with more than dense layers: a CNN, an LSTM, a transformer; Adam, float32.

All begin with the weights of PyTorch's modules and see the same batches; the losses of 20 steps agree to 1e-3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from importlib.util import find_spec
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import nnfunc as nn
from nnfunc.arrays import ArrayDict
from nnfunc.interop.torch import from_state_dict
from tests.benchmarks import peers
from tests.benchmarks.networks import LEARNING_RATE
from tests.benchmarks.parts.steps import shown_ratio
from tests.benchmarks.report import Cell, Options, Table
from tests.benchmarks.timing import Contestant, equal_work, measure

EAGER, LAST, COMPILED = "PyTorch eager", "PyTorch channels_last", "PyTorch compiled"

Batches = list[tuple[NDArray[Any], NDArray[np.int64]]]


class Network(NamedTuple):
    """A model, PyTorch's module for it (logits of the classes along its axis 1), the names there, JAX's logits."""

    label: str
    model: nn.Layer
    batches: Batches
    module: Callable[[], Any]
    names: Mapping[str, str] | None = None
    images: bool = False
    jax: Callable[[Any, Any], Any] | None = None


def cnn(rng: np.random.Generator) -> Network:
    def module() -> Any:
        import torch

        N = torch.nn

        one, two = N.Conv2d(1, 16, 3, padding=1), N.Conv2d(16, 32, 3, padding=1)
        last = N.Linear(7 * 7 * 32, 10)
        return N.Sequential(one, N.ReLU(), N.MaxPool2d(2), two, N.ReLU(), N.MaxPool2d(2), N.Flatten(), last)

    def convolved(filters: int) -> list[nn.Layer]:
        return [nn.conv2d(filters, 3, padding="same"), nn.relu(), nn.max_pool2d(2)]

    model = nn.serial(*convolved(16), *convolved(32), nn.flatten(), nn.dense(10))
    images = rng.normal(size=(8, 64, 28, 28, 1)).astype(np.float32)
    return Network(
        "CNN, 28×28×1, 16 and 32 filters, batch 64",
        model,
        list(zip(images, rng.integers(10, size=(8, 64)), strict=True)),
        module,
        images=True,
        jax=_jax_cnn,
    )


def lstm(rng: np.random.Generator) -> Network:
    def module() -> Any:
        import torch

        class Last(torch.nn.Module):  # type: ignore[misc]  # PyTorch is not typed here
            def __init__(self) -> None:
                super().__init__()
                self.lstm, self.head = torch.nn.LSTM(16, 64, batch_first=True), torch.nn.Linear(64, 10)
                self.lstm.bias_hh_l0.requires_grad_(False)  # Adam would move the sum of two biases twice as far

            def forward(self, x: Any) -> Any:
                return self.head(self.lstm(x)[0][:, -1])

        return Last()

    model = nn.serial(nn.lstm(64, output="last"), nn.dense(10))
    sequences = rng.normal(size=(8, 32, 50, 16)).astype(np.float32)
    return Network(
        "LSTM of 64, 50 steps of 16 numbers, batch 32",
        model,
        list(zip(sequences, rng.integers(10, size=(8, 32)), strict=True)),
        module,
        {"lstm1": "lstm", "dense1": "head"},
    )


def transformer(rng: np.random.Generator) -> Network:
    words, width, length, heads, blocks = 65, 64, 64, 4, 2

    def module() -> Any:
        import torch

        N = torch.nn

        class Transformer(torch.nn.Module):  # type: ignore[misc]  # PyTorch is not typed here
            def __init__(self) -> None:
                super().__init__()
                self.embed, self.positions = N.Embedding(words, width), N.ParameterDict()
                self.positions["P"] = N.Parameter(0.02 * torch.randn(length, width))
                self.blocks = N.ModuleList(
                    N.TransformerEncoderLayer(
                        width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
                    )
                    for _ in range(blocks)
                )
                self.head = N.Linear(width, words)
                self.mask = N.Transformer.generate_square_subsequent_mask(length)

            def forward(self, x: Any) -> Any:
                x = self.embed(x) + self.positions["P"]
                for block in self.blocks:
                    x = block(x, src_mask=self.mask, is_causal=True)
                return self.head(x).mT

        return Transformer()

    def block() -> nn.Layer:
        return nn.serial(
            nn.residual(nn.layer_norm(), nn.attention(heads, causal=True)),
            nn.residual(nn.layer_norm(), nn.dense(4 * width), nn.gelu(), nn.dense(width)),
        )

    model = nn.serial(
        nn.embedding(words, width), nn.learned_positions(length), *(block() for _ in range(blocks)), nn.dense(words)
    )
    names = {"embedding1": "embed", "learned_positions1": "positions", "dense1": "head"}
    for i in range(blocks):
        inside, there = f"serial{i + 1}", f"blocks.{i}"
        names |= {
            f"{inside}.residual1.layer_norm1": f"{there}.norm1",
            f"{inside}.residual1.attention1": f"{there}.self_attn",
            f"{inside}.residual2.layer_norm1": f"{there}.norm2",
            f"{inside}.residual2.dense1": f"{there}.linear1",
            f"{inside}.residual2.dense2": f"{there}.linear2",
        }
    ids = rng.integers(words, size=(8, 16, length + 1))
    return Network(
        f"transformer, {blocks} blocks of width {width}, 16 sequences of {length} characters",
        model,
        [(x[:, :-1], x[:, 1:]) for x in ids],
        module,
        names,
    )


def run(options: Options) -> Iterator[Table]:
    if not find_spec("torch"):
        return  # the weights that all begin with are PyTorch's
    import torch

    rows: list[Mapping[str, Cell]] = []
    for make in (cnn, lstm, transformer):
        torch.manual_seed(0)
        network = make(np.random.default_rng(0))
        module = network.module()
        params, state = from_state_dict(
            network.model, module.state_dict(), network.batches[0][0].shape[1:], names=network.names
        )
        contestants = [nnfunc(network, params, state)]
        if "torch_peer" in options.peers:
            contestants.append(pytorch(network, module, EAGER))
            contestants += [pytorch(network, module, LAST)] if network.images else []
        if "torch_compiled" in options.peers and "torch_compiled" in peers.available():
            contestants.append(pytorch(network, module, COMPILED))
        if "jax_peer" in options.peers and find_spec("optax") and network.jax:
            contestants.append(jax_jit(network, params))
        equal_work(contestants)
        ours, *others = measure(contestants, options.rounds, options.seconds)
        row: dict[str, Cell] = {"network": network.label, "nnfunc, ms": ours.median * 1e3}
        for name in (EAGER, LAST, COMPILED, "JAX jit"):
            found = next((t for t in others if t.name == name), None)
            row[f"{name}, ms"] = None if found is None else found.median * 1e3
            row[f"by {name}"] = None if found is None else shown_ratio(ours, found)
        rows.append(row)
    yield Table("Training step of larger networks", rows, "The ratios are nnfunc's time by that of the peer.")


def nnfunc(network: Network, params: ArrayDict, state: ArrayDict) -> Contestant:
    loss, optimizer = nn.sparse_categorical_cross_entropy_with_logits, nn.adam(LEARNING_RATE)
    step, batches = nn.train_step(network.model, loss, optimizer), cycle(network.batches)
    ts = nn.train_state(network.model, optimizer, nn.key(0), params=params, state=state)

    def run() -> float:
        nonlocal ts
        ts, metrics = step(ts, next(batches))
        return float(metrics.loss)

    return Contestant("nnfunc", run, "ours")


def pytorch(network: Network, module: Any, name: str) -> Contestant:
    """A copy of the module, in the manner that its name says; the optimizer is the fused Adam."""
    import torch

    module, criterion = deepcopy(module), torch.nn.CrossEntropyLoss()
    layout = torch.channels_last if name == LAST else torch.contiguous_format
    module.to(memory_format=layout)

    def loss(x: Any, y: Any) -> Any:
        return criterion(module(x), y)

    if name == COMPILED:
        torch.compiler.reset()
    cost = torch.compile(loss, dynamic=False) if name == COMPILED else loss
    optimizer = torch.optim.Adam(module.parameters(), LEARNING_RATE, fused=True)

    def tensors(x: NDArray[Any], y: NDArray[np.int64]) -> tuple[Any, Any]:
        if not network.images:
            return torch.tensor(x), torch.tensor(y)
        return torch.tensor(np.moveaxis(x, -1, 1).copy()).contiguous(memory_format=layout), torch.tensor(y)

    batches = cycle([tensors(x, y) for x, y in network.batches])

    def run() -> float:
        x, y = next(batches)
        optimizer.zero_grad()
        value = cost(x, y)
        value.backward()
        optimizer.step()
        return float(value.item())

    return Contestant(name, run)


def jax_jit(network: Network, params: ArrayDict) -> Contestant:
    import jax
    import jax.numpy as jnp
    import optax

    optimizer, logits = optax.adam(LEARNING_RATE), network.jax
    assert logits is not None
    weights = {name: jnp.asarray(value) for name, value in params.items()}
    carry, batches = (
        (weights, optimizer.init(weights)),
        cycle([(jnp.asarray(x), jnp.asarray(y)) for x, y in network.batches]),
    )

    def loss(weights: Any, x: Any, y: Any) -> Any:
        return optax.softmax_cross_entropy_with_integer_labels(logits(weights, x), y).mean()

    def step(carry: Any, x: Any, y: Any) -> Any:
        weights, state = carry
        value, grads = jax.value_and_grad(loss)(weights, x, y)
        updates, state = optimizer.update(grads, state, weights)
        return (optax.apply_updates(weights, updates), state), value

    compiled = jax.jit(step, donate_argnums=0)

    def run() -> float:
        nonlocal carry
        carry, value = compiled(carry, *next(batches))
        return float(value)

    return Contestant("JAX jit", run)


def _jax_cnn(params: Any, x: Any) -> Any:
    from jax import lax
    from jax import nn as jax_nn

    for name in ("conv2d1", "conv2d2"):
        x = lax.conv_general_dilated(x, params[f"{name}.W"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = jax_nn.relu(x + params[f"{name}.b"])
        x = lax.reduce_window(x, -np.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return x.reshape(len(x), -1) @ params["dense1.W"] + params["dense1.b"]
