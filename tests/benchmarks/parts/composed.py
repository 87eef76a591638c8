"""One training step of networks that are no chain of dense layers, beside the same formula in PyTorch and JAX.

A variational autoencoder, a network with two inputs and two outputs, a head on a body that is frozen or is not. All
begin with nnfunc's parameters and see the same batches; the losses of 20 steps agree to 1e-3, of the autoencoder, where
each library draws noise of its own, to 5e-2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np

import nnfunc as nn
from nnfunc.arrays import Array, ArrayDict
from tests.benchmarks.networks import LEARNING_RATE
from tests.benchmarks.parts.steps import shown_ratio
from tests.benchmarks.report import Cell, Options, Table
from tests.benchmarks.timing import Contestant, Times, equal_work, measure

NOTE = (
    "value_and_grad: nnfunc's step without its update, by its step. The ratios are nnfunc's time by that of the peer. "
    "The frozen body has the loss of the whole network, and the gradients and the update of the head alone."
)


class Ops(NamedTuple):
    """What a formula is written with, of PyTorch or JAX; `normal`: noise like it, `pick`: an entry of each row."""

    linear: Callable[[Any, Any, Any], Any]
    relu: Callable[[Any], Any]
    exp: Callable[[Any], Any]
    softplus: Callable[[Any], Any]
    log_softmax: Callable[[Any], Any]
    concatenate: Callable[[list[Any]], Any]
    normal: Callable[[Any], Any]
    pick: Callable[[Any, Any], Any]


class Network(NamedTuple):
    """A model and its loss, batches (x, target), and the loss as a formula (ops, arrays by their names, x, target)."""

    label: str
    model: nn.Layer
    loss: nn.Loss
    shape: Any
    batches: list[tuple[Any, Any]]
    formula: Callable[[Ops, Any, Any, Any], Any]
    rtol: float = 1e-3


def normals(rng: np.random.Generator, *shape: int) -> Array:
    return rng.normal(size=shape).astype(np.float32)


# -- the networks ------------------------------------------------------------------------------------------------------


def vae(rng: np.random.Generator) -> Network:
    def wire(call: Any, x: Any) -> Any:
        mu, logvar = call("encoder", x)
        return call("decoder", call(nn.reparametrize(), (mu, logvar))), mu, logvar

    encoder = nn.serial(nn.dense(400), nn.relu(), nn.branch(mu=nn.dense(20), logvar=nn.dense(20)))
    decoder = nn.serial(nn.dense(400), nn.relu(), nn.dense(784))
    bce = nn.binary_cross_entropy_with_logits

    def elbo(y: tuple[Array, ...], x: Array) -> tuple[float, Any]:
        logits, mu, logvar = y
        value, cache = bce.forward(logits, x)
        divergence = 0.5 * (mu**2 + np.exp(logvar) - logvar - 1).sum(axis=1).mean()
        return value + divergence, (cache, mu, logvar)

    def elbo_backward(cache: Any) -> tuple[Array, ...]:
        cache, mu, logvar = cache
        return bce.backward(cache), mu / len(mu), 0.5 * (np.exp(logvar) - 1) / len(mu)

    def formula(o: Ops, p: Any, x: Any, target: Any) -> Any:
        def dense(name: str, h: Any) -> Any:
            return o.linear(h, p[f"{name}.W"], p[f"{name}.b"])

        h = o.relu(dense("encoder.dense1", x))
        mu, logvar = (dense(f"encoder.branch1.{name}", h) for name in ("mu", "logvar"))
        z = mu + o.exp(0.5 * logvar) * o.normal(mu)
        logits = dense("decoder.dense2", o.relu(dense("decoder.dense1", z)))
        divergence = 0.5 * (mu**2 + o.exp(logvar) - logvar - 1).sum(1)
        return ((o.softplus(logits) - target * logits).sum(1) + divergence).mean()

    images = [rng.random((128, 784), np.float32) for _ in range(8)]
    model = nn.wired(wire, {"encoder": encoder, "decoder": decoder}, name="vae")
    batches = [(x, x) for x in images]
    return Network(
        "VAE 784-400-20-400-784, batch 128", model, nn.Loss(elbo, elbo_backward), (784,), batches, formula, 5e-2
    )


def two_inputs(rng: np.random.Generator) -> Network:
    model = nn.serial(
        nn.parallel(image=nn.serial(nn.dense(128), nn.relu()), table=nn.serial(nn.dense(32), nn.relu())),
        nn.concatenate(),
        nn.dense(64),
        nn.relu(),
        nn.branch(digit=nn.dense(10), slant=nn.dense(1)),
    )
    loss = nn.losses.combined(nn.sparse_categorical_cross_entropy_with_logits, nn.mean_squared_error)

    def formula(o: Ops, p: Any, x: Any, target: Any) -> Any:
        def dense(name: str, h: Any) -> Any:
            return o.linear(h, p[f"{name}.W"], p[f"{name}.b"])

        both = [
            o.relu(dense(f"parallel1.{name}.dense1", part)) for name, part in zip(("image", "table"), x, strict=True)
        ]
        h = o.relu(dense("dense1", o.concatenate(both)))
        digit, slant = dense("branch1.digit", h), dense("branch1.slant", h)
        return -o.pick(o.log_softmax(digit), target[0]).mean() + ((slant - target[1]) ** 2).mean()

    batches = [
        ((normals(rng, 64, 196), normals(rng, 64, 16)), (rng.integers(10, size=64), normals(rng, 64, 1)))
        for _ in range(8)
    ]
    return Network("two inputs 196 and 16, two outputs, batch 64", model, loss, ((196,), (16,)), batches, formula)


def head(rng: np.random.Generator, frozen: bool) -> Network:
    body = nn.serial(nn.dense(512), nn.relu(), nn.dense(512), nn.relu())
    whole = nn.wired(lambda call, x: call("head", call("body", x)), {"body": body, "head": nn.dense(10)}, name="whole")
    model = nn.freeze(whole, "body.*") if frozen else whole

    def formula(o: Ops, p: Any, x: Any, target: Any) -> Any:
        for name in ("body.dense1", "body.dense2"):
            x = o.relu(o.linear(x, p[f"{name}.W"], p[f"{name}.b"]))
        return -o.pick(o.log_softmax(o.linear(x, p["head.W"], p["head.b"])), target).mean()

    batches = [(normals(rng, 128, 784), rng.integers(10, size=128)) for _ in range(8)]
    loss = nn.sparse_categorical_cross_entropy_with_logits
    said = "frozen" if frozen else "trained too"
    return Network(f"head on a body 784-512-512, {said}, batch 128", model, loss, (784,), batches, formula)


# -- the contestants ---------------------------------------------------------------------------------------------------


def run(options: Options) -> Iterator[Table]:
    rows: list[Mapping[str, Cell]] = []
    for make in (vae, two_inputs, lambda rng: head(rng, False), lambda rng: head(rng, True)):
        network = make(np.random.default_rng(0))
        params, state = network.model.init(nn.key(0), network.shape)
        contestants = [nnfunc(network, params, state)]
        if "torch_peer" in options.peers and find_spec("torch"):
            contestants.append(pytorch(network, params, state))
        if "jax_peer" in options.peers and find_spec("optax"):
            contestants.append(jax_jit(network, params, state))
        equal_work(contestants, network.rtol)
        times = measure([*contestants, gradient(network, params, state)], options.rounds, options.seconds)
        rows.append(row(network, times))
    yield Table("Training step of networks that are no chain", rows, NOTE)


def row(network: Network, times: list[Times]) -> dict[str, Cell]:
    ours, *others, alone = times
    found: dict[str, Cell] = {"network": network.label, "nnfunc, µs": ours.median * 1e6}
    found["value_and_grad"] = alone.median / ours.median
    for name in ("PyTorch eager, fused Adam", "JAX jit"):
        other = next((t for t in others if t.name == name), None)
        found[f"{name}, µs"] = None if other is None else other.median * 1e6
        found[f"by {name}"] = shown_ratio(ours, other)
    return found


def nnfunc(network: Network, params: ArrayDict, state: ArrayDict) -> Contestant:
    optimizer, batches = nn.adam(LEARNING_RATE, eps=1e-8, eps_root=0.0), cycle(network.batches)
    step = nn.train_step(network.model, network.loss, optimizer)
    ts = nn.train_state(network.model, optimizer, nn.key(0), params=params, state=state)

    def run() -> float:
        nonlocal ts
        ts, metrics = step(ts, next(batches))
        return float(metrics.loss)

    return Contestant("nnfunc", run, "ours")


def gradient(network: Network, params: ArrayDict, state: ArrayDict) -> Contestant:
    function, batches = nn.value_and_grad(network.model, network.loss), cycle(network.batches)

    def run() -> float:
        return float(function(params, state, next(batches), key=nn.key(0), train=True).value)

    return Contestant("value_and_grad", run, "ours")


def mapped(function: Callable[[Any], Any], value: Any) -> Any:
    return tuple(mapped(function, part) for part in value) if isinstance(value, tuple) else function(value)


def constants(state: ArrayDict) -> dict[str, Any]:
    """The arrays of what is frozen, by the names in the whole model."""
    return {name.removeprefix("frozen."): array for name, array in state.items()}


def pytorch(network: Network, params: ArrayDict, state: ArrayDict) -> Contestant:
    import torch
    from torch.nn import functional as F  # noqa: N812  # as everybody writes it

    ops = Ops(
        lambda x, W, b: torch.addmm(b, x, W),
        torch.relu,
        torch.exp,
        F.softplus,
        lambda z: F.log_softmax(z, 1),
        lambda parts: torch.cat(parts, 1),
        torch.randn_like,
        lambda z, y: z.gather(1, y[:, None]),
    )
    weights = {k: torch.tensor(np.array(v), requires_grad=True) for k, v in params.items()}
    fixed = {k: torch.tensor(np.array(v)) for k, v in constants(state).items()}
    optimizer = torch.optim.Adam(list(weights.values()), LEARNING_RATE, fused=True)
    batches = cycle([mapped(torch.tensor, batch) for batch in network.batches])

    def run() -> float:
        optimizer.zero_grad()
        value = network.formula(ops, weights | fixed, *next(batches))
        value.backward()
        optimizer.step()
        return float(value.item())

    return Contestant("PyTorch eager, fused Adam", run)


def jax_jit(network: Network, params: ArrayDict, state: ArrayDict) -> Contestant:
    import jax
    import jax.numpy as jnp
    import optax

    fixed = {k: jnp.asarray(v) for k, v in constants(state).items()}
    weights = {k: jnp.array(v) for k, v in params.items()}
    optimizer = optax.adam(LEARNING_RATE)
    carry, batches = (weights, optimizer.init(weights), jax.random.PRNGKey(0)), cycle(network.batches)

    def step(carry: Any, batch: Any) -> Any:
        weights, opt_state, key = carry
        key, own = jax.random.split(key)
        ops = Ops(
            lambda x, W, b: x @ W + b,
            jax.nn.relu,
            jnp.exp,
            jax.nn.softplus,
            jax.nn.log_softmax,
            lambda parts: jnp.concatenate(parts, 1),
            lambda like: jax.random.normal(own, like.shape),
            lambda z, y: jnp.take_along_axis(z, y[:, None], 1),
        )
        value, grads = jax.value_and_grad(lambda p: network.formula(ops, p | fixed, *batch))(weights)
        updates, opt_state = optimizer.update(grads, opt_state, weights)
        return (optax.apply_updates(weights, updates), opt_state, key), value

    compiled = jax.jit(step, donate_argnums=0)

    def run() -> float:
        nonlocal carry
        carry, value = compiled(carry, next(batches))
        return float(value)

    return Contestant("JAX jit", run)
