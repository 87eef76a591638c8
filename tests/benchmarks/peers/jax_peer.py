"""JAX with Optax: compiled steps, an epoch in one call (lax.scan), and many networks as one (vmap)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tests.benchmarks.networks import LEARNING_RATE, Task, Weights
from tests.benchmarks.timing import Contestant

if TYPE_CHECKING:
    from nnfunc.arrays import Array

OPTIMIZER = optax.adam(LEARNING_RATE)


class Carry(NamedTuple):
    """What a step takes and gives: parameters, running averages, the optimizer's state, the key of dropout."""

    params: list[dict[str, jax.Array]]
    averages: list[tuple[jax.Array, jax.Array]]
    opt_state: optax.OptState
    key: jax.Array | None


def start(task: Task, weights: Weights) -> Carry:
    """Of a stack: with a leading axis on everything."""
    params = [{"W": jnp.array(W), "b": jnp.array(b)} for W, b in weights]
    averages = []
    if task.batch_norm:
        for p in params[:-1]:
            p["gamma"], p["beta"] = jnp.ones_like(p["b"]), jnp.zeros_like(p["b"])
            averages.append((jnp.zeros_like(p["b"]), jnp.ones_like(p["b"])))
    key = jax.random.PRNGKey(0) if task.keep_prob < 1 else None  # every array more costs time in every call
    init = jax.vmap(OPTIMIZER.init) if task.members else OPTIMIZER.init
    return Carry(params, averages, init(params), key)


def loss(
    params: list[dict[str, jax.Array]],
    averages: list[tuple[jax.Array, jax.Array]],
    key: jax.Array | None,
    x: jax.Array,
    y: jax.Array,
    task: Task,
) -> tuple[jax.Array, list[tuple[jax.Array, jax.Array]]]:
    """The loss in training, and the new running averages."""
    moved = []
    for i, p in enumerate(params[:-1]):
        x = x @ p["W"] + p["b"]
        if task.batch_norm:
            mean, var = x.mean(0), x.var(0)
            moved.append((0.9 * averages[i][0] + 0.1 * mean, 0.9 * averages[i][1] + 0.1 * var))
            x = (x - mean) * jax.lax.rsqrt(var + 1e-5) * p["gamma"] + p["beta"]
        x = jax.nn.relu(x)
        if key is not None:
            keep = jax.random.bernoulli(jax.random.fold_in(key, i), task.keep_prob, x.shape)
            x = jnp.where(keep, x / task.keep_prob, 0)
    z = x @ params[-1]["W"] + params[-1]["b"]
    if task.binary:
        return optax.sigmoid_binary_cross_entropy(z, y).mean(), moved
    return optax.softmax_cross_entropy_with_integer_labels(z, y).mean(), moved


def step(carry: Carry, batch: tuple[jax.Array, jax.Array], task: Task) -> tuple[Carry, jax.Array]:
    params, averages, opt_state, key = carry
    key = None if key is None else jax.random.split(key, 1)[0]
    (value, averages), grads = jax.value_and_grad(loss, has_aux=True)(params, averages, key, *batch, task)
    updates, opt_state = OPTIMIZER.update(grads, opt_state, params)
    return Carry(optax.apply_updates(params, updates), averages, opt_state, key), value


def batches(task: Task) -> list[tuple[jax.Array, jax.Array]]:
    return [(jnp.array(x), jnp.array(y)) for x, y in task.batches()]


def contestant(task: Task, name: str, function: Callable[..., tuple[Carry, jax.Array]]) -> Contestant:
    """One call for each step, which gives the old state's memory back."""
    carry, data = start(task, task.weights()), cycle(batches(task))
    compiled = jax.jit(function, donate_argnums=0)

    def run() -> float | Array:
        nonlocal carry
        carry, value = compiled(carry, next(data))
        return np.asarray(value) if task.members else float(value)

    return Contestant(name, run)


def steps(task: Task) -> list[Contestant]:
    one = partial(step, task=task)
    return [contestant(task, "JAX jit", one), *([] if task.batch_norm else [scanned(task)])]


def scanned(task: Task) -> Contestant:
    """All steps of an epoch in one compiled loop."""
    carry = start(task, task.weights())
    epoch = jax.tree.map(lambda *parts: jnp.stack(parts), *islice(cycle(batches(task)), task.epoch))
    compiled = jax.jit(partial(jax.lax.scan, partial(step, task=task)), donate_argnums=0)

    def run() -> Array:
        nonlocal carry
        carry, values = compiled(carry, epoch)
        return np.asarray(values)

    return Contestant(f"JAX scan of {task.epoch} steps", run, "epoch", task.epoch)


def stacked(task: Task) -> list[Contestant]:
    return [contestant(task, "JAX vmap", jax.vmap(partial(step, task=task), in_axes=(0, None)))]


def predictors(task: Task) -> list[Contestant]:
    params, x = start(task, task.weights()).params, jnp.array(task.rows(10_000)[0])

    return [Contestant("JAX jit", lambda: np.asarray(predict(params, x, task.binary)))]


@partial(jax.jit, static_argnames="binary")
def predict(params: list[dict[str, jax.Array]], x: jax.Array, binary: bool) -> jax.Array:
    for p in params[:-1]:
        x = jax.nn.relu(x @ p["W"] + p["b"])
    z = x @ params[-1]["W"] + params[-1]["b"]
    return jax.nn.sigmoid(z) if binary else jax.nn.softmax(z)
