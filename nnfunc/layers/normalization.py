"""Batch normalisation and layer normalisation.

Both centre and scale x and then apply gamma and beta per feature; they differ in the axis (the rows of the batch, the
features of each row) and in where mean and variance come from. With x̂ = (x − mean)/std and g = dy·gamma, the gradient
through mean and variance is dx = (g − mean(g) − x̂·mean(g·x̂))/std, means over the same axis; with fixed statistics it is
g/std. All leading axes of x that are not the stack's are joined to rows first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from nnfunc.arrays import EMPTY, Array, ArrayDict
from nnfunc.errors import number
from nnfunc.keys import Key, Keys
from nnfunc.layers.base import Kernel, Layer, Shape, example_shape, of_kernel
from nnfunc.sums import sum_of_columns, sum_of_rows

ROWS, FEATURES = -2, -1


class NormCache(NamedTuple):
    """What the backward functions need: x̂ in rows, 1/std, the axis of the statistics (None where they are fixed)."""

    normalized: Array
    inverse_std: Array
    axis: int | None


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
    forward = partial(_batch_norm, eps=eps, momentum=momentum)
    kernel = Kernel(forward, _backward, ("gamma", "beta"), _fits, in_training=True)
    return of_kernel("batch_norm", kernel, _batch_norm_init)


def _batch_norm_init(key: Key, input_shape: Shape, dtype: DTypeLike = np.float32) -> tuple[ArrayDict, ArrayDict]:
    features = example_shape(input_shape)[-1:]
    state = {"mean": np.zeros(features, dtype), "var": np.ones(features, dtype)}
    return _scale_and_shift(features, dtype), ArrayDict(state, dtype)


def _batch_norm(
    x: Array, gamma: Array, beta: Array, *, state: ArrayDict, key: Keys | None, train: bool, eps: float, momentum: float
) -> tuple[Array, NormCache, ArrayDict]:
    """By the batch's statistics in training, which move the running averages, and by these in prediction."""
    rows = _rows(x, gamma)
    if set(state) != {"mean", "var"}:
        came = ", ".join(state) or "nothing"
        raise ValueError(f"the state has {came}, expected mean and var: pass the state that model.init returned")
    old_mean, old_var = state["mean"], state["var"]
    if old_mean.shape != gamma.shape or old_var.shape != gamma.shape:
        raise ValueError(f"the running averages have shapes {old_mean.shape}, {old_var.shape}, expected {gamma.shape}")
    if train:
        mean, var, centered = _statistics(rows, ROWS)
        moved = state.draft()
        moved["mean"][...] = momentum * old_mean + (1 - momentum) * mean[..., 0, :]
        moved["var"][...] = momentum * old_var + (1 - momentum) * var[..., 0, :]
        state = moved.freeze()
    else:
        var, centered = old_var[..., None, :], rows - old_mean[..., None, :]
    y, cache = _normalize(centered, var, eps, ROWS if train else None, gamma, beta)
    return y if y.ndim >= x.ndim else y.reshape(x.shape), cache, state


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
    kernel = Kernel(partial(_layer_norm, eps=eps), _backward, ("gamma", "beta"), _fits)
    return of_kernel("layer_norm", kernel, _layer_norm_init)


def _layer_norm_init(key: Key, input_shape: Shape, dtype: DTypeLike = np.float32) -> tuple[ArrayDict, ArrayDict]:
    return _scale_and_shift(example_shape(input_shape)[-1:], dtype), EMPTY


def _layer_norm(x: Array, gamma: Array, beta: Array, *, eps: float) -> tuple[Array, NormCache]:
    _, var, centered = _statistics(_rows(x, gamma), FEATURES)
    y, cache = _normalize(centered, var, eps, FEATURES, gamma, beta)
    return y if y.ndim >= x.ndim else y.reshape(x.shape), cache


def _scale_and_shift(features: Shape, dtype: DTypeLike) -> ArrayDict:
    return ArrayDict({"gamma": np.ones(features, dtype), "beta": np.zeros(features, dtype)}, dtype)


def _fits(gamma: Shape, beta: Shape) -> None:
    if beta != gamma:
        raise ValueError(f"the parameters do not fit the model: gamma {gamma}, beta {beta}: expected one shape")


def _rows(x: Array, gamma: Array) -> Array:
    """x as (..., rows, features), its leading axes those of gamma; a stack's members may share an x of two axes."""
    features, stack = gamma.shape[-1], gamma.shape[:-1]
    if x.ndim < 2 or x.shape[-1] != features:
        cause = ", so pass x.T" if x.ndim == 2 and x.shape[0] == features else ""
        raise ValueError(
            f"x has shape {x.shape} but the layer takes {features} features on the last axis: rows are examples{cause}"
        )
    if x.ndim == 2:
        return x if not stack else np.broadcast_to(x, (*stack, *x.shape))
    if x.shape[: len(stack)] != stack:
        raise ValueError(f"x has shape {x.shape} but the parameters are a stack of {gamma.shape[0]}")
    return x.reshape(*stack, -1, features)


def _mean(a: Array, axis: int) -> Array:
    """The mean over the rows or over the features, which stay as an axis of length 1."""
    total = sum_of_rows(a)[..., None, :] if axis == ROWS else sum_of_columns(a)[..., None]
    total /= a.shape[axis]
    return total


def _statistics(x: Array, axis: int) -> tuple[Array, Array, Array]:
    """Mean, variance and x − mean. Shifted by the first element, so that those of an all-equal batch are exactly 0."""
    first = x[..., :1, :] if axis == ROWS else x[..., :1]
    shifted = x - first
    mean = _mean(shifted, axis)
    centered = np.subtract(shifted, mean, out=shifted)
    return first + mean, _mean(np.square(centered), axis), centered


def _normalize(
    centered: Array, var: Array, eps: float, axis: int | None, gamma: Array, beta: Array
) -> tuple[Array, NormCache]:
    inverse_std = 1 / np.sqrt(var + eps)
    normalized = np.multiply(centered, inverse_std, out=centered)
    y = normalized * gamma[..., None, :]
    y += beta[..., None, :]
    return y, NormCache(normalized, inverse_std, axis)


def _backward(
    dy: Array, cache: NormCache, params: Sequence[Array], grads: Sequence[Array], need_dx: bool
) -> Array | None:
    normalized, inverse_std, axis = cache
    (gamma, _), (dgamma, dbeta) = params, grads
    shape, dy = dy.shape, dy.reshape(normalized.shape)
    sum_of_rows(dy * normalized, dgamma)
    sum_of_rows(dy, dbeta)
    if not need_dx:
        return None
    if axis == ROWS:  # the means are known: mean(g) = gamma·dbeta/m, mean(g·x̂) = gamma·dgamma/m
        m: int = dy.shape[ROWS]
        dx = normalized * (dgamma / m)[..., None, :]
        dx += (dbeta / m)[..., None, :]
        np.subtract(dy, dx, out=dx)
        dx *= gamma[..., None, :] * inverse_std
        return dx.reshape(shape)
    dx = dy * gamma[..., None, :]
    if axis == FEATURES:
        through_variance = normalized * _mean(dx * normalized, axis)
        dx -= _mean(dx, axis)
        dx -= through_variance
    dx *= inverse_std
    return dx.reshape(shape)
