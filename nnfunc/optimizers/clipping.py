"""Gradient clipping: wrappers that make of any optimizer one that sees shorter gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from nnfunc.arrays import ArrayDict
from nnfunc.errors import by_name, number
from nnfunc.optimizers.base import Optimizer, trainable
from nnfunc.optimizers.rules import OPTIMIZERS


def clip_by_global_norm(optimizer: Optimizer | str, max_norm: float) -> Optimizer:
    """`optimizer` with gradients g · min(1, max_norm/‖g‖), ‖g‖ over all parameters (Pascanu et al., ICML 2013).

    In a stack each network has its own norm.

    >>> optimizer = nn.clip_by_global_norm(nn.gd(1.0), max_norm=1.0)
    >>> params = nn.ArrayDict({"a": [0.0], "b": [0.0]})
    >>> optimizer.step(params, {"a": [3.0], "b": [4.0]}, optimizer.init(params))[0].vector
    array([-0.6, -0.8])
    """
    optimizer = by_name("optimizer", optimizer, OPTIMIZERS)
    max_norm = number(max_norm, "max_norm", 0, math.inf, open_low=True)
    step = partial(_by_global_norm, name="clip_by_global_norm", optimizer=optimizer, max_norm=max_norm)
    return Optimizer(optimizer.init, step)


def _by_global_norm(
    params: ArrayDict,
    grads: Mapping[str, ArrayLike],
    opt_state: ArrayDict,
    *,
    name: str,
    optimizer: Optimizer,
    max_norm: float,
) -> tuple[ArrayDict, ArrayDict]:
    params = trainable(params)
    g = params.like(grads, "grads").vector.astype(np.float64)
    largest = np.maximum.reduce(np.abs(g), axis=-1, keepdims=True, initial=max_norm)
    norm = largest * np.sqrt(np.square(g / largest).sum(axis=-1, keepdims=True))  # the squares alone might overflow
    return optimizer.step(params, params.with_vector(g * (max_norm / np.maximum(norm, max_norm))), opt_state)


def clip_by_value(optimizer: Optimizer | str, limit: float) -> Optimizer:
    """`optimizer` with every element of the gradient clipped to [−limit, limit].

    >>> optimizer = nn.clip_by_value(nn.gd(1.0), limit=1.0)
    >>> params = nn.ArrayDict({"a": [0.0], "b": [0.0]})
    >>> optimizer.step(params, {"a": [3.0], "b": [-0.5]}, optimizer.init(params))[0].vector
    array([-1. ,  0.5])
    """
    optimizer = by_name("optimizer", optimizer, OPTIMIZERS)
    limit = number(limit, "limit", 0, math.inf, open_low=True)
    return Optimizer(optimizer.init, partial(_by_value, name="clip_by_value", optimizer=optimizer, limit=limit))


def _by_value(
    params: ArrayDict,
    grads: Mapping[str, ArrayLike],
    opt_state: ArrayDict,
    *,
    name: str,
    optimizer: Optimizer,
    limit: float,
) -> tuple[ArrayDict, ArrayDict]:
    params = trainable(params)
    grads = params.like(grads, "grads")
    return optimizer.step(params, grads.with_vector(np.clip(grads.vector, -limit, limit)), opt_state)
