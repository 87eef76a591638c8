"""Gradient clipping: wrappers that pass clipped gradients to an optimizer."""

from __future__ import annotations

import math

import numpy as np

from nnfunc._internal.validate import number
from nnfunc.arrays import Array, ArrayDict, new_vector
from nnfunc.core.settings import Settings
from nnfunc.optimizers.base import Optimizer, OptimizerName, make
from nnfunc.optimizers.names import named_optimizer
from nnfunc.optimizers.setting import resolved


def clip_by_global_norm(optimizer: Optimizer | OptimizerName, max_norm: float) -> Optimizer:
    """`optimizer` with gradients g · min(1, max_norm/‖g‖), ‖g‖ over all parameters (Pascanu et al., ICML 2013).

    In a stack, each network has its own norm. Parameters whose learning rate is set to 0 by name are excluded from the
    norm.

    >>> optimizer = nn.clip_by_global_norm(nn.gd(1.0), max_norm=1.0)
    >>> params = nn.ArrayDict({"a": [0.0], "b": [0.0]})
    >>> optimizer.step(params, {"a": [3.0], "b": [4.0]}, optimizer.init(params))[0].vector
    array([-0.6, -0.8])
    """
    optimizer = named_optimizer(optimizer)
    max_norm = number(max_norm, "max_norm", 0, math.inf, open_low=True)
    settings = Settings(max_norm=max_norm)
    return make("clip_by_global_norm", settings=settings, inner=optimizer, transform=_by_global_norm)


def _by_global_norm(g: Array, optimizer: Optimizer, params: ArrayDict, t: int, *, max_norm: float) -> Array:
    long = g.astype(np.float64)
    counted = np.where(_moves(optimizer, params, t), long, 0.0)
    largest = np.maximum.reduce(np.abs(counted), axis=-1, keepdims=True, initial=max_norm)
    # unscaled squares might overflow
    norm = largest * np.sqrt(np.square(counted / largest).sum(axis=-1, keepdims=True))
    clipped = new_vector(g.shape, g.dtype)
    clipped[...] = long * (max_norm / np.maximum(norm, max_norm))
    return clipped


def _moves(optimizer: Optimizer, params: ArrayDict, t: int) -> Array | bool:
    """Mask of the elements that an optimizer moves: those whose learning rate is not 0."""
    while optimizer.inner is not None:
        optimizer = optimizer.inner
    rate = optimizer.settings.get("learning_rate")
    return resolved("learning_rate", rate, t - 1, params) != 0 if isinstance(rate, dict) else True


def clip_by_value(optimizer: Optimizer | OptimizerName, limit: float) -> Optimizer:
    """`optimizer` with every element of the gradient clipped to [−limit, limit].

    >>> optimizer = nn.optimizers.clip_by_value(nn.gd(1.0), limit=1.0)
    >>> params = nn.ArrayDict({"a": [0.0], "b": [0.0]})
    >>> optimizer.step(params, {"a": [3.0], "b": [-0.5]}, optimizer.init(params))[0].vector
    array([-1. ,  0.5])
    """
    optimizer = named_optimizer(optimizer)
    limit = number(limit, "limit", 0, math.inf, open_low=True)
    return make("clip_by_value", settings=Settings(limit=limit), inner=optimizer, transform=_by_value)


def _by_value(g: Array, optimizer: Optimizer, params: ArrayDict, t: int, *, limit: float) -> Array:
    clipped = new_vector(g.shape, g.dtype)
    np.clip(g, -limit, limit, out=clipped)
    return clipped
