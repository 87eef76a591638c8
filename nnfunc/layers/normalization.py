"""Batch normalisation and layer normalisation.

Both centre and scale x over some axes and then apply gamma and beta per feature; they differ in the axes and in
where mean and variance come from. With x̂ = (x − mean)/std and g = dy·gamma, the gradient through mean and
variance is dx = (g − mean(g) − x̂·mean(g·x̂))/std over the same axes; with fixed statistics it is g/std.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from nnfunc.arrays import EMPTY, Array, ArrayDict
from nnfunc.errors import number, real
from nnfunc.keys import Key, Keys
from nnfunc.layers.base import Layer, Shape, example_shape, parameter, same_shape


class NormCache(NamedTuple):
    """What the backward functions here need: x̂, 1/std, and the axes of the statistics (() where they are fixed)."""

    normalized: Array
    inverse_std: Array
    axes: tuple[int, ...]


def batch_norm(eps: float = 1e-5, momentum: float = 0.9) -> Layer:
    """gamma · (x − mean)/√(var + eps) + beta, mean and variance over the batch (Ioffe & Szegedy, ICML 2015, alg. 1).

    Args:
        eps: added to the variance inside the root.
        momentum: of the running averages: running = momentum · old + (1 − momentum) · batch.
    Parameters: gamma (features,), from 1; beta (features,), from 0. State: mean, var (features,), from 0 and 1.

    In training the statistics are those of the batch, over all axes but the last (of a stack, per member), the
    variance biased (divided by the number of rows), and the running averages move; in prediction they are the running
    averages. A Keras or PyTorch `momentum` of 0.1 for the new batch is 0.9 here.

    >>> layer = nn.batch_norm()
    >>> params, state = layer.init(nn.key(0), (1,), np.float64)
    >>> y, cache, state = layer.forward(params, state, np.array([[1.0], [3.0]]), train=True)
    >>> y.round(3).ravel(), state["mean"], state["var"]
    (array([-1.,  1.]), array([0.2]), array([1.]))
    """
    eps = number(eps, "eps", 0, math.inf, open_low=True, why="it keeps the root away from 0")
    momentum = number(momentum, "momentum", 0, 1, why="the share of the old running average that stays")
    return Layer(_batch_norm_init, partial(_batch_norm_forward, eps=eps, momentum=momentum), _backward, "batch_norm")


def _batch_norm_init(key: Key, input_shape: Shape, dtype: DTypeLike = np.float32) -> tuple[ArrayDict, ArrayDict]:
    features = example_shape(input_shape)[-1:]
    state = {"mean": np.zeros(features, dtype), "var": np.ones(features, dtype)}
    return _scale_and_shift(features, dtype), ArrayDict(state, dtype)


def _batch_norm_forward(
    params: ArrayDict,
    state: ArrayDict,
    x: Array,
    *,
    key: Keys | None = None,
    train: bool = False,
    eps: float,
    momentum: float,
) -> tuple[Array, NormCache, ArrayDict]:
    gamma, beta = parameter(params, "gamma", "beta")
    x = _checked(x, gamma, beta)
    axes = tuple(range(gamma.ndim - 1, x.ndim - 1))
    if "mean" not in state or "var" not in state:
        raise ValueError("the state lacks the running averages mean and var: pass the state that model.init returned")
    shape = gamma.shape
    if state["mean"].shape != shape or state["var"].shape != shape:
        raise ValueError(
            f"the running averages have shapes {state['mean'].shape}, {state['var'].shape}, expected {shape}"
        )
    if not train:
        y, cache = _normalize(x - _spread(state["mean"], x), _spread(state["var"], x), eps, (), gamma, beta)
        return y, cache, state
    mean, var, centered = _statistics(x, axes)
    y, cache = _normalize(centered, var, eps, axes, gamma, beta)
    moved = {
        "mean": momentum * state["mean"] + (1 - momentum) * mean.reshape(shape),
        "var": momentum * state["var"] + (1 - momentum) * var.reshape(shape),
    }
    return y, cache, state.replace(moved)


def layer_norm(eps: float = 1e-5) -> Layer:
    """gamma · (x − mean)/√(var + eps) + beta, mean and variance over the features of each row (Ba et al. 2016).

    Args:
        eps: added to the variance inside the root.
    Parameters: gamma (features,), from 1; beta (features,), from 0. The same in training and in prediction.

    >>> layer = nn.layer_norm()
    >>> params, state = layer.init(nn.key(0), (2,), np.float64)
    >>> layer.forward(params, state, np.array([[1.0, 3.0]]))[0].round(3)
    array([[-1.,  1.]])
    """
    eps = number(eps, "eps", 0, math.inf, open_low=True, why="it keeps the root away from 0")
    return Layer(_layer_norm_init, partial(_layer_norm_forward, eps=eps), _backward, "layer_norm")


def _layer_norm_init(key: Key, input_shape: Shape, dtype: DTypeLike = np.float32) -> tuple[ArrayDict, ArrayDict]:
    return _scale_and_shift(example_shape(input_shape)[-1:], dtype), EMPTY


def _layer_norm_forward(
    params: ArrayDict,
    state: ArrayDict,
    x: Array,
    *,
    key: Keys | None = None,
    train: bool = False,
    eps: float,
) -> tuple[Array, NormCache, ArrayDict]:
    gamma, beta = parameter(params, "gamma", "beta")
    x = _checked(x, gamma, beta)
    axes = (x.ndim - 1,)
    _, var, centered = _statistics(x, axes)
    y, cache = _normalize(centered, var, eps, axes, gamma, beta)
    return y, cache, state


def _scale_and_shift(features: Shape, dtype: DTypeLike) -> ArrayDict:
    return ArrayDict({"gamma": np.ones(features, dtype), "beta": np.zeros(features, dtype)}, dtype)


def _checked(x: Array, gamma: Array, beta: Array) -> Array:
    """x in the dtype of the parameters; an x of two axes that all members of a stack share gets an axis for them."""
    x = real(x, "x", gamma.dtype)
    if beta.shape != gamma.shape:
        raise ValueError(
            f"the parameters do not fit the model: gamma {gamma.shape}, beta {beta.shape}: expected one shape"
        )
    features = gamma.shape[-1]
    if x.ndim < 2 or x.shape[-1] != features:
        cause = ", so pass x.T" if x.ndim == 2 and x.shape[0] == features else ""
        raise ValueError(
            f"x has shape {x.shape} but the layer takes {features} features on the last axis: rows are examples{cause}"
        )
    if x.ndim > gamma.ndim:
        if x.shape[: gamma.ndim - 1] != gamma.shape[:-1]:
            raise ValueError(f"x has shape {x.shape} but the parameters are a stack of {gamma.shape[0]}")
        return x
    return np.broadcast_to(x, (*gamma.shape[:-1], *x.shape))


def _spread(per_feature: Array, x: Array) -> Array:
    """An array (..., features) with axes of length 1 put in, so that it meets x (..., rows, features)."""
    lead = per_feature.shape[:-1]
    return per_feature.reshape(*lead, *(1,) * (x.ndim - len(lead) - 1), per_feature.shape[-1])


def _statistics(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """Mean, variance and x − mean. Shifted by the first element, so that those of an all-equal batch are exactly 0."""
    first = x[tuple(slice(1) if axis in axes else slice(None) for axis in range(x.ndim))]
    shifted = x - first
    mean = np.mean(shifted, axis=axes, keepdims=True)
    centered = np.subtract(shifted, mean, out=shifted)
    return first + mean, np.mean(np.square(centered), axis=axes, keepdims=True), centered


def _normalize(
    centered: Array, var: Array, eps: float, axes: tuple[int, ...], gamma: Array, beta: Array
) -> tuple[Array, NormCache]:
    inverse_std = 1 / np.sqrt(var + eps)
    normalized = centered * inverse_std
    return _spread(gamma, centered) * normalized + _spread(beta, centered), NormCache(normalized, inverse_std, axes)


def _backward(
    params: ArrayDict, cache: NormCache, dy: Array, *, need_dx: bool = True, out: ArrayDict | None = None
) -> tuple[Array | None, ArrayDict]:
    normalized, inverse_std, axes = cache
    same_shape(dy, normalized.shape)
    gamma = params["gamma"]
    grads = params.draft(out)
    rows = tuple(range(gamma.ndim - 1, dy.ndim - 1))
    np.add.reduce(dy * normalized, axis=rows, out=grads["gamma"])
    np.add.reduce(dy, axis=rows, out=grads["beta"])
    if not need_dx:
        return None, grads.freeze()
    g = dy * _spread(gamma, dy)
    if axes:
        mean_gx = np.mean(g * normalized, axis=axes, keepdims=True)
        g = g - np.mean(g, axis=axes, keepdims=True) - normalized * mean_gx
    return g * inverse_std, grads.freeze()
