"""Everything the package exports that has a backward or an update, with strategies for its hyperparameters.

The tests of the laws run over all of it, and fail if the package exports something that is missing here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

import nnfunc as nn
from nnfunc.arrays import Array, ArrayDict
from nnfunc.keys import Key
from nnfunc.layers.base import Shape

# -- a layer of a user's own: the bent identity with a trained strength ------------------------------------------------


def bent_forward(params: ArrayDict, x: Array) -> tuple[Array, Array]:
    return x + params["a"] * (np.sqrt(x * x + 1) - 1), x


def bent_backward(params: ArrayDict, x: Array, dy: Array) -> tuple[Array, dict[str, Array]]:
    root = np.sqrt(x * x + 1)
    axes = tuple(range(x.ndim - 1))
    return dy * (1 + params["a"] * x / root), {"a": np.sum(dy * (root - 1), axis=axes)}


def bent_init(key: Key, input_shape: Shape) -> dict[str, Array]:
    return {"a": np.full(input_shape, 0.5)}


def bent() -> nn.Layer:
    return nn.layer(bent_forward, bent_backward, bent_init, name="bent")


# -- strategies --------------------------------------------------------------------------------------------------------

ACTIVATIONS: dict[str, st.SearchStrategy[nn.Layer]] = {
    "elu": st.builds(nn.elu, st.floats(0, 3)),
    "gelu": st.builds(nn.gelu, st.booleans()),
    "identity": st.builds(nn.identity),
    "leaky_relu": st.builds(nn.leaky_relu, st.floats(0, 1)),
    "relu": st.builds(nn.relu),
    "selu": st.builds(nn.selu),
    "sigmoid": st.builds(nn.sigmoid),
    "silu": st.builds(nn.silu),
    "softmax": st.builds(nn.softmax),
    "softplus": st.builds(nn.softplus),
    "swish": st.builds(nn.swish),
    "tanh": st.builds(nn.tanh),
}

SIMPLE: dict[str, st.SearchStrategy[nn.Layer]] = {
    **ACTIVATIONS,
    "batch_norm": st.builds(nn.batch_norm, st.sampled_from([1e-5, 1e-3, 0.1]), st.floats(0, 1)),
    "dense": st.builds(nn.dense, st.integers(1, 4), bias=st.booleans()),
    "dropout": st.builds(nn.dropout, st.floats(0.2, 1)),
    "flatten": st.builds(nn.flatten, st.just(1)),
    "layer": st.builds(bent),
    "layer_norm": st.builds(nn.layer_norm, st.sampled_from([1e-5, 1e-3, 0.1])),
}


LAYERS: dict[str, st.SearchStrategy[nn.Layer]] = {
    **SIMPLE,
    "mlp": st.builds(
        lambda dims, name, keep, norm: nn.mlp(
            [*dims, 2], [name] * (len(dims) - 1) + ["softmax"], keep_prob=keep, batch_norm=norm
        ),
        st.lists(st.just(3), min_size=1, max_size=3),
        st.sampled_from(["relu", "tanh", "sigmoid", "silu"]),
        st.sampled_from([0.6, 1.0]),
        st.booleans(),
    ),
    "residual": st.one_of(
        *(SIMPLE[k].map(nn.residual) for k in SIMPLE if k != "dense"), st.builds(lambda: nn.residual(nn.dense(3)))
    ),
    "serial": st.lists(st.one_of(*SIMPLE.values()), min_size=1, max_size=3).map(lambda layers: nn.serial(*layers)),
}
"""Layers that take an input of 3 features."""

FEATURES = 3

LOSSES: dict[str, tuple[nn.Loss, str, str]] = {
    "binary_cross_entropy": (nn.binary_cross_entropy, "probabilities", "bits"),
    "binary_cross_entropy_with_logits": (nn.binary_cross_entropy_with_logits, "reals", "bits"),
    "categorical_cross_entropy": (nn.categorical_cross_entropy, "probabilities", "one-hot"),
    "categorical_cross_entropy_with_logits": (nn.categorical_cross_entropy_with_logits, "reals", "one-hot"),
    "huber": (nn.huber(0.75), "reals", "reals"),
    "mean_absolute_error": (nn.mean_absolute_error, "reals", "reals"),
    "mean_squared_error": (nn.mean_squared_error, "reals", "reals"),
    "sparse_categorical_cross_entropy": (nn.sparse_categorical_cross_entropy, "probabilities", "classes"),
    "sparse_categorical_cross_entropy_with_logits": (
        nn.sparse_categorical_cross_entropy_with_logits,
        "reals",
        "classes",
    ),
}
"""Each loss with the kind of outputs and of targets that it takes."""

OPTIMIZERS: dict[str, nn.Optimizer] = {
    "adagrad": nn.adagrad(0.1),
    "adam": nn.adam(0.1),
    "adamw": nn.adamw(0.1, weight_decay=0.1),
    "clip_by_global_norm": nn.clip_by_global_norm(nn.adam(0.1), 0.5),
    "clip_by_value": nn.clip_by_value(nn.momentum(0.1), 0.5),
    "gd": nn.gd(0.1),
    "momentum": nn.momentum(0.1),
    "nesterov": nn.nesterov(0.1, dampening=0.0),
    "optimizer": nn.optimizer(lambda w, g, *, t, rate: (w - rate * np.sign(g),), rate=0.1),
    "rmsprop": nn.rmsprop(0.1),
}

PENALTIES: dict[str, nn.Penalty] = {"l1": nn.l1(0.3), "l2": nn.l2(0.3)}


def exported(kind: str) -> set[str]:
    """The exported names that are of a kind or make one."""
    names = set()
    for name in nn.__all__:
        value = getattr(nn, name)
        made = inspect.signature(value).return_annotation if inspect.isfunction(value) else type(value).__name__
        if made == kind:
            names.add(name)
    return names


NOT_LAYERS = {"map_layers"}  # changes a composition, and makes none

elements = st.one_of(st.integers(-12, 12).map(lambda i: i / 4), st.floats(-3, 3))
"""Values that hit kinks (0, ±0.75) exactly and often, and any others."""


def reals(shape: Shape) -> st.SearchStrategy[Array]:
    return arrays(np.float64, shape, elements=elements)


def cotangents(shape: Shape) -> st.SearchStrategy[Array]:
    """Output gradients that differ from element to element: a uniform one would hide a missing sum."""
    return st.integers(0, 2**32).map(lambda seed: np.random.default_rng(seed).normal(size=shape))


def randomized(params: ArrayDict, seed: int) -> ArrayDict:
    """Parameters away from their initial zeros and ones."""
    values = np.random.default_rng(seed).normal(size=params.vector.shape)
    return params.with_vector(np.where(np.abs(values) < 0.1, 0.1, values))


def outputs_and_targets(kinds: tuple[str, str], m: int, n: int, seed: int) -> tuple[Array, NDArray[Any]]:
    """Random outputs and targets of the kinds that a loss takes."""
    rng = np.random.default_rng(seed)
    draw: dict[str, Callable[[], NDArray[Any]]] = {
        "reals": lambda: np.round(rng.normal(size=(m, n)) * 4) / 4,
        "probabilities": lambda: rng.uniform(0.05, 0.95, size=(m, n)),
        "bits": lambda: rng.integers(0, 2, size=(m, n)).astype(float),
        "one-hot": lambda: np.eye(n)[rng.integers(0, n, size=m)],
        "classes": lambda: rng.integers(0, n, size=m),
    }
    return draw[kinds[0]](), draw[kinds[1]]()
