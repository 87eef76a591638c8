"""Batch normalisation and layer normalisation.

Both centre and scale x and then apply gamma and beta per feature; they differ in the axis (the rows of the batch, the
features of each row) and in where mean and variance come from. With x̂ = (x − mean)/std and g = dy·gamma, the gradient
through mean and variance is dx = (g − mean(g) − x̂·mean(g·x̂))/std, means over the same axis; with fixed statistics it is
g/std. All leading axes of x that are not the stack's are joined to rows first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nnfunc._internal.numerics import sum_of_columns, sum_of_rows
from nnfunc._internal.validate import number
from nnfunc.arrays import Array
from nnfunc.core.expressions import Expression, op
from nnfunc.core.kernel import Initial, Kernel, Signature
from nnfunc.core.layer import Layer, make
from nnfunc.core.settings import Settings
from nnfunc.core.values import Shapes
from nnfunc.layers.affine import features

__all__ = ["batch_norm", "layer_norm"]

ROWS, FEATURES = -2, -1


class NormCache(NamedTuple):
    """What the backward functions need: x̂ in rows, 1/std, the axis of the statistics (None where they are fixed)."""

    normalized: Array
    inverse_std: Array
    axis: int | None


def _eps(eps: float) -> float:
    return number(eps, "eps", 0, math.inf, open_low=True, why="it keeps the root away from 0")


def _scale_and_shift(input_shape: Shapes) -> dict[str, Initial]:
    shape = (features(input_shape),)
    return {"gamma": Initial(shape, "ones"), "beta": Initial(shape, "zeros")}


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
    momentum = number(momentum, "momentum", 0, 1, why="the share of the old running average that stays")
    return make("batch_norm", Settings(eps=_eps(eps), momentum=momentum), BATCH_NORM)


def _batch_signature(input_shape: Shapes, **_: float) -> Signature:
    params, shape = _scale_and_shift(input_shape), (features(input_shape),)
    return Signature(input_shape, params, {"mean": Initial(shape, "zeros"), "var": Initial(shape, "ones")})


def _batch_norm(
    params: Sequence[Array], x: Array, *, state: tuple[Array, Array], train: bool, eps: float, momentum: float
) -> tuple[Array, NormCache, tuple[Array, Array]]:
    """By the batch's statistics in training, which move the running averages, and by these in prediction."""
    gamma, beta = params
    old_mean, old_var = state
    rows = _rows(x, gamma)
    if train:
        mean, var, centered = _statistics(rows, ROWS)
        kept, new = momentum, 1 - momentum
        state = kept * old_mean + new * mean[..., 0, :], kept * old_var + new * var[..., 0, :]
    else:
        var, centered = old_var[..., None, :], rows - old_mean[..., None, :]
    y, cache = _normalize(centered, var, eps, ROWS if train else None, gamma, beta)
    return y if y.ndim == x.ndim else y.reshape(x.shape), cache, state


def _batch_onnx(*, eps: float, **_: Any) -> Expression:
    normalized = op("Div", op("Sub", "x", "mean"), op("Sqrt", op("Add", "var", eps)))
    return op("Add", op("Mul", normalized, "gamma"), "beta")


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
    return make("layer_norm", Settings(eps=_eps(eps)), LAYER_NORM)


def _layer_signature(input_shape: Shapes, **_: float) -> Signature:
    return Signature(input_shape, _scale_and_shift(input_shape))


def _layer_norm(params: Sequence[Array], x: Array, *, eps: float) -> tuple[Array, NormCache]:
    gamma, beta = params
    _, var, centered = _statistics(_rows(x, gamma), FEATURES)
    y, cache = _normalize(centered, var, eps, FEATURES, gamma, beta)
    return y if y.ndim == x.ndim else y.reshape(x.shape), cache


def _layer_onnx(*, eps: float, **_: Any) -> Expression:
    def mean(e: Expression) -> Expression:
        return op("ReduceMean", e, axes=[-1], keepdims=1)

    shifted = op("Sub", "x", op("Gather", "x", np.array([0]), axis=-1))  # as ours, exactly 0 for equal features
    centered = op("Sub", shifted, mean(shifted))
    variance = mean(op("Mul", centered, centered))
    normalized = op("Div", centered, op("Sqrt", op("Add", variance, eps)))
    return op("Add", op("Mul", normalized, "gamma"), "beta")


def _rows(x: Array, gamma: Array) -> Array:
    """x as (..., rows, features), its leading axes those of gamma, which are the stack's."""
    return x if x.ndim == gamma.ndim + 1 else x.reshape(*gamma.shape[:-1], -1, gamma.shape[-1])


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
    return first + mean, _mean(centered * centered, axis), centered


def _normalize(
    centered: Array, var: Array, eps: float, axis: int | None, gamma: Array, beta: Array
) -> tuple[Array, NormCache]:
    inverse_std = 1 / np.sqrt(var + eps)
    normalized = np.multiply(centered, inverse_std, out=centered)
    y = normalized * gamma[..., None, :]
    y += beta[..., None, :]
    return y, NormCache(normalized, inverse_std, axis)


def _backward(
    params: Sequence[Array], cache: NormCache, dy: Array, grads: Sequence[Array | None], need: bool, **_: float
) -> Array | None:
    normalized, inverse_std, axis = cache
    gamma, shape, dy = params[0], dy.shape, dy.reshape(normalized.shape)
    dgamma, dbeta = grads
    if dgamma is not None or axis == ROWS:
        dgamma = sum_of_rows(dy * normalized, dgamma)
    if dbeta is not None or axis == ROWS:
        dbeta = sum_of_rows(dy, dbeta)
    if not need:
        return None
    if axis == ROWS:  # the means are known: mean(g) = gamma·dbeta/m, mean(g·x̂) = gamma·dgamma/m
        assert dgamma is not None
        assert dbeta is not None
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


BATCH_NORM = Kernel(
    _batch_norm, _backward, _batch_signature, formula="gamma · (x − mean)/√(var + eps) + beta",
    uses=("eps", "momentum"), asks=("state", "train"), onnx=_batch_onnx,
)  # fmt: skip
LAYER_NORM = Kernel(
    _layer_norm, _backward, _layer_signature, formula="gamma · (x − mean)/√(var + eps) + beta", uses=("eps",),
    onnx=_layer_onnx,
)  # fmt: skip
