"""Normalisation: over the batch, the features, the positions of an example, groups of features.

All divide by the root of a variance and then apply gamma (and beta) per feature. They differ in what the mean and the
variance are of (`Over`):

batch_norm      all rows of the batch, each feature alone
instance_norm   all positions of an example, each feature alone
group_norm      all positions of an example, the features of a group
layer_norm      the features of a row; rms_norm the same, without a mean

With x̂ = (x − mean)/std and g = dy·gamma, the gradient through mean and variance is
dx = (g − mean(g) − x̂·mean(g·x̂))/std, means over the same axes; without a mean its term is not there, and with fixed
statistics dx is g/std. x is joined to (..., rows, features) first; where statistics are of an example, rows are its
positions, and the examples stand before them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nnfunc._internal.numerics import SMALL, sum_of_columns, sum_of_rows
from nnfunc._internal.validate import LEAST_EPS, number, positive_int
from nnfunc.arrays import Array
from nnfunc.core.expressions import Expression, op
from nnfunc.core.kernel import Gather, Initial, Kernel, Signature
from nnfunc.core.layer import Layer, make
from nnfunc.core.settings import Settings
from nnfunc.core.values import Shapes
from nnfunc.layers.affine import features
from nnfunc.layout import Shape

__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "rms_norm"]


class Over(NamedTuple):
    """What statistics are of: all rows or each alone; so many groups of features (None: each alone); with a mean."""

    rows: bool
    groups: int | None
    centered: bool = True


ROWS, FEATURES, SQUARES = Over(True, None), Over(False, 1), Over(False, 1, centered=False)


class NormCache(NamedTuple):
    """What the backward functions need: x̂ in rows, 1/std, what the statistics are of (None where they are fixed), and
    how they are those of all shards."""

    normalized: Array
    inverse_std: Array
    over: Over | None
    gather: Gather | None = None


def _eps(eps: float) -> float:
    return number(eps, "eps", LEAST_EPS, math.inf, why="it keeps the root away from 0, in float32 too")


def _scale_and_shift(input_shape: Shapes) -> dict[str, Initial]:
    shape = (features(input_shape),)
    return {"gamma": Initial(shape, "ones"), "beta": Initial(shape, "zeros")}


def batch_norm(eps: float = 1e-5, momentum: float = 0.9) -> Layer:
    """gamma · (x − mean)/√(var + eps) + beta, mean and variance over the batch (Ioffe & Szegedy, ICML 2015, alg. 1).

    Args:
        eps: added to the variance inside the root.
        momentum: of the running averages: running = momentum · old + (1 − momentum) · batch.
    Parameters: gamma (features,), from 1; beta (features,), from 0. State: mean, var (features,), from 0 and 1.
    Raises:
        ValueError: in training, a batch of one row, whose mean is the row itself.

    In training the statistics are those of the batch, over all axes but the last (every position of an image is a row;
    of a stack, per member), the variance biased (divided by the number of rows), and the running averages move; in
    prediction they are the running averages. Of a batch in shards they are each shard's own, or with
    `nn.distributed.mpi(statistics="batch")` those of all rows. A Keras or PyTorch
    `momentum` of 0.1 for the new batch is 0.9 here.

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
    params: Sequence[Array],
    x: Array,
    *,
    state: tuple[Array, Array],
    train: bool,
    eps: float,
    momentum: float,
    gather: Gather | None = None,
) -> tuple[Array, NormCache, tuple[Array, Array]]:
    """By the batch's statistics in training, which move the running averages, and by these in prediction."""
    old_mean, old_var = state
    rows = _rows(x, params[0])
    if train:
        if rows.shape[-2] == 1 and gather is None:
            raise ValueError(ONE_ROW)
        mean, var, centered = _statistics(rows, ROWS)
        if gather is not None:
            own, (mean, var) = mean, _of_all(gather, rows.shape[-2], mean, var)
            centered += own - mean
        kept, new = momentum, 1 - momentum
        state = kept * old_mean + new * mean[..., 0, :], kept * old_var + new * var[..., 0, :]
    else:
        var, centered = old_var[..., None, :], _each(np.subtract, rows, old_mean[..., None, :])
    y, cache = _normalize(centered, var, eps, ROWS if train else None, params, centered, gather)
    return y if y.ndim == x.ndim else y.reshape(x.shape), cache, state


ONE_ROW = (
    "batch norm in training got one sample, a single row: its mean is the row itself, so that y is beta whatever x is, "
    "and no gradient passes. Take more rows at a time (if it is the last batch of an epoch: drop_last=True, or another "
    "batch_size), or nn.layer_norm"
)


def _of_all(gather: Gather, count: int, mean: Array, var: Array) -> tuple[Array, Array]:
    """Mean and variance of the rows of all shards, from those of each (Chan, Golub & LeVeque 1979)."""
    each = gather(np.concatenate([[count], mean.ravel(), var.ravel()], dtype=mean.dtype))
    shares = each[:, :1] / each[:, :1].sum()
    means, variances = np.split(each[:, 1:], 2, axis=1)
    mean = means[:1] + (shares * (means - means[0])).sum(axis=0)
    return mean, (shares * (variances + (means - mean) ** 2)).sum(axis=0, keepdims=True)


def _batch_onnx(*, eps: float, **_: Any) -> Expression:
    normalized = op("Div", op("Sub", "x", "mean"), op("Sqrt", op("Add", "var", eps)))
    return _scaled_and_shifted(normalized)


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


def _signature(input_shape: Shapes, **_: object) -> Signature:
    return Signature(input_shape, _scale_and_shift(input_shape))


def _layer_norm(params: Sequence[Array], x: Array, *, eps: float) -> tuple[Array, NormCache]:
    _, var, centered = _statistics(_rows(x, params[0]), FEATURES)
    y, cache = _normalize(centered, var, eps, FEATURES, params, out=centered)
    return y if y.ndim == x.ndim else y.reshape(x.shape), cache


def _layer_onnx(*, eps: float, **_: Any) -> Expression:
    return _scaled_and_shifted(_standardized("x", eps, [-1]))


def rms_norm(eps: float = 1e-6) -> Layer:
    """gamma · x/√(mean(x²) + eps), the mean over the features of each row (Zhang & Sennrich, NeurIPS 2019).

    Args:
        eps: added to the mean inside the root; 1e-6 as in Keras, Flax and LLaMA. PyTorch's default is the machine
            epsilon of x's dtype, 1.19e-7 for float32.
    Parameters: gamma (features,), from 1. There is no mean and no beta. The same in training and in prediction.

    >>> layer = nn.rms_norm()
    >>> params, state = layer.init(nn.key(0), (2,), np.float64)
    >>> layer.forward(params, state, np.array([[1.0, 7.0]]))[0].round(3)
    array([[0.2, 1.4]])
    """
    return make("rms_norm", Settings(eps=_eps(eps)), RMS_NORM)


def _rms_signature(input_shape: Shapes, **_: object) -> Signature:
    return Signature(input_shape, {"gamma": Initial((features(input_shape),), "ones")})


def _rms_norm(params: Sequence[Array], x: Array, *, eps: float) -> tuple[Array, NormCache]:
    rows = _rows(x, params[0])
    y, cache = _normalize(rows, _mean(rows * rows, SQUARES), eps, SQUARES, params)
    return y if y.ndim == x.ndim else y.reshape(x.shape), cache


def _rms_onnx(*, eps: float, **_: Any) -> Expression:
    squares = op("ReduceMean", op("Mul", "x", "x"), axes=[-1], keepdims=1)
    return op("Mul", op("Div", "x", op("Sqrt", op("Add", squares, eps))), "gamma")


def group_norm(groups: int, eps: float = 1e-5) -> Layer:
    """gamma · (x − mean)/√(var + eps) + beta, mean and variance over a group of features and all positions of an
    example (Wu & He, ECCV 2018).

    Args:
        groups: how many groups the features are divided into, in their order; 1 is one for all, as many as features
            is `instance_norm`.
        eps: added to the variance inside the root; 1e-5 as in PyTorch, while Keras has 1e-3 and Flax 1e-6.
    Parameters: gamma (features,), from 1; beta (features,), from 0. An example has the shape (..., features), such as
        (H, W, C), (T, C) or (C,). The same in training and in prediction.
    Raises:
        ValueError: groups that do not divide the features, or of one value each.

    >>> layer = nn.group_norm(2)
    >>> params, state = layer.init(nn.key(0), (4,), np.float64)
    >>> layer.forward(params, state, np.array([[1.0, 3.0, 10.0, 30.0]]))[0].round(3)
    array([[-1.,  1., -1.,  1.]])
    """
    return make("group_norm", Settings(groups=positive_int(groups, "groups"), eps=_eps(eps)), GROUP_NORM)


def instance_norm(eps: float = 1e-5) -> Layer:
    """gamma · (x − mean)/√(var + eps) + beta, mean and variance over the positions of an example, for each feature
    alone (Ulyanov et al. 2016).

    Args:
        eps: added to the variance inside the root.
    Parameters: gamma (features,), from 1; beta (features,), from 0, which PyTorch's has with `affine=True`. An example
        has the shape (..., features), such as (H, W, C) or (T, C). The same in training and in prediction.
    Raises:
        ValueError: examples of one position.

    >>> layer = nn.instance_norm()
    >>> params, state = layer.init(nn.key(0), (2, 1), np.float64)
    >>> layer.forward(params, state, np.array([[[1.0], [3.0]]]))[0].round(3).ravel()
    array([-1.,  1.])
    """
    return make("instance_norm", Settings(eps=_eps(eps)), INSTANCE_NORM)


def _group_signature(input_shape: Shapes, *, groups: int | None = None, **_: object) -> Signature:
    signature, (*positions, last) = _signature(input_shape), input_shape
    if last % (groups or last):
        raise ValueError(f"groups={groups} does not divide the {last} features of an example of shape {input_shape}")
    if math.prod(positions) * last == (groups or last):
        raise ValueError(
            f"input_shape={input_shape}: each mean would be of one value, which less its mean is 0: expected several "
            "positions, such as (T, features) or (H, W, features), or fewer groups; nn.layer_norm is over all features"
        )
    return signature


def _group_norm(
    params: Sequence[Array], x: Array, *, lead: int, eps: float, groups: int | None = None
) -> tuple[Array, NormCache]:
    over = Over(True, groups)
    positions = x.reshape(*x.shape[:lead], math.prod(x.shape[lead:-1]), x.shape[-1])
    _, var, centered = _statistics(positions, over)
    y, cache = _normalize(centered, var, eps, over, params, out=centered)
    return y.reshape(x.shape), cache


def _group_onnx(*, eps: float, shape: Shape, groups: int | None = None, **_: Any) -> Expression:
    positions, last = math.prod(shape[:-1]), shape[-1]
    x = op("Reshape", "x", np.array([-1, positions, groups or last, last // (groups or last)]))
    return _scaled_and_shifted(op("Reshape", _standardized(x, eps, [1, 3]), np.array([-1, *shape])))


# -- what they share: x and gamma in (..., rows, features), statistics beside them -------------------------------------


def _rows(x: Array, gamma: Array) -> Array:
    """x as (..., rows, features), its leading axes those of gamma, which are the stack's."""
    return x if x.ndim == gamma.ndim + 1 else x.reshape(*gamma.shape[:-1], -1, gamma.shape[-1])


def _beside(param: Array, x: Array) -> Array:
    """A parameter (..., features) with axes of length 1 where x has examples and rows; one network's needs none."""
    return (
        param if param.ndim == 1 else param.reshape(*param.shape[:-1], *(1,) * (x.ndim - param.ndim), param.shape[-1])
    )


def _each(operation: np.ufunc, x: Array, beside: Array, out: Array | None = None) -> Array:
    """operation(x, beside). Of a large x with the same features beside all rows, several rows are taken as one: NumPy
    takes as long to begin a row as for a hundred numbers."""
    if x.size <= SMALL or beside.shape[-1] != x.shape[-1] or beside.shape[-2:-1] == x.shape[-2:-1]:
        result: Array = operation(x, beside, out)
        return result
    result = np.empty_like(x, order="C") if out is None else out
    times = math.gcd(x.shape[-2], -(-WIDE // x.shape[-1]))
    wide = (*x.shape[:-2], x.shape[-2] // times, times * x.shape[-1])
    repeated = np.repeat(beside[..., None, :], times, axis=-2).reshape(*beside.shape[:-1], -1)
    operation(x.reshape(wide), repeated, result.reshape(wide))
    return result


WIDE = 1 << 10
"""How many numbers a row has at least, if several are taken as one."""


def _mean(a: Array, over: Over) -> Array:
    """The means, with an axis of length 1 for the rows if they are of all, and for the features if these are one group;
    those of several groups are repeated for each of their features."""
    means = a
    if over.rows:
        means = sum_of_rows(a)[..., None, :]
        means /= a.shape[-2]
    if over.groups == 1:
        means = sum_of_columns(means)[..., None]
        means /= a.shape[-1]
    elif over.groups is not None:
        size = a.shape[-1] // over.groups
        means = np.repeat(means.reshape(*means.shape[:-1], over.groups, size).mean(axis=-1), size, axis=-1)
    return means


def _first(x: Array, over: Over) -> Array:
    """One element of each mean, as `_mean` returns these."""
    first = x[..., :1, :] if over.rows else x
    if over.groups is None:
        return first
    size = x.shape[-1] // over.groups
    return first[..., :1] if over.groups == 1 else np.repeat(first[..., ::size], size, axis=-1)


def _statistics(x: Array, over: Over) -> tuple[Array, Array, Array]:
    """Mean, variance and x − mean. Shifted by the first element, so that those of an all-equal batch are exactly 0."""
    first = _first(x, over)
    shifted = _each(np.subtract, x, first)
    mean = _mean(shifted, over)
    centered = _each(np.subtract, shifted, mean, shifted)
    return first + mean, _mean(centered * centered, over), centered


def _normalize(
    centered: Array,
    var: Array,
    eps: float,
    over: Over | None,
    params: Sequence[Array],
    out: Array | None = None,
    gather: Gather | None = None,
) -> tuple[Array, NormCache]:
    inverse_std = 1 / np.sqrt(var + eps)
    normalized = _each(np.multiply, centered, inverse_std, out)
    gamma, *beta = params
    y = _each(np.multiply, normalized, _beside(gamma, normalized))
    if beta:
        _each(np.add, y, _beside(beta[0], y), y)
    return y, NormCache(normalized, inverse_std, over, gather)


def _backward(
    params: Sequence[Array], cache: NormCache, dy: Array, grads: Sequence[Array | None], need: bool, **_: object
) -> Array | None:
    normalized, inverse_std, over, gather = cache
    gamma, shape, dy = _beside(params[0], normalized), dy.shape, dy.reshape(normalized.shape)
    dgamma, *dbeta = grads
    alone = over is not None and over.groups is None
    if dgamma is not None or alone:
        dx: Array = dy * normalized
        products = _sums(dx, params[0], dgamma)
    if (dbeta and dbeta[0] is not None) or alone:
        sums = _sums(dy, params[0], dbeta[0])
    if not need:
        return None
    if alone:  # gamma is one in each mean, and the sums are known: mean(g) = gamma·sums/m, mean(g·x̂) = gamma·products/m
        m: float | Array = normalized.shape[-2]
        if gather is not None:
            m, products, sums = _sums_of_all(gather, m, products, sums)
        _each(np.multiply, normalized, (products / m)[..., None, :], dx)
        _each(np.add, dx, (sums / m)[..., None, :], dx)
        np.subtract(dy, dx, out=dx)
        return _each(np.multiply, dx, gamma * inverse_std, dx).reshape(shape)
    dx = _each(np.multiply, dy, gamma)
    if over is not None:
        through_variance = dx * normalized
        _each(np.multiply, normalized, _mean(through_variance, over), through_variance)
        if over.centered:
            _each(np.subtract, dx, _mean(dx, over), dx)
        dx -= through_variance
    return _each(np.multiply, dx, inverse_std, dx).reshape(shape)


def _sums(a: Array, gamma: Array, gradient: Array | None) -> Array:
    """The sums over the rows; those of all examples are added up into the gradient, if there is one."""
    if a.ndim == gamma.ndim + 1:
        return sum_of_rows(a, gradient)
    sums = sum_of_rows(a)
    if gradient is not None:
        sum_of_rows(sums, gradient)
    return sums


def _sums_of_all(gather: Gather, m: float | Array, *sums: Array) -> list[Array]:
    """The numbers of rows and the sums of all shards, added."""
    total = gather(np.concatenate([np.array([m]), *sums], dtype=sums[0].dtype)).sum(axis=0)
    return [total[0], *np.split(total[1:], len(sums))]


def _standardized(x: Expression, eps: float, axes: list[int]) -> Expression:
    """(x − mean)/√(var + eps) over these axes; shifted as here, so that it is exactly 0 where all are equal."""

    def mean(e: Expression) -> Expression:
        return op("ReduceMean", e, axes=axes, keepdims=1)

    first = x
    for axis in axes:
        first = op("Gather", first, np.array([0]), axis=axis)
    shifted = op("Sub", x, first)
    centered = op("Sub", shifted, mean(shifted))
    variance = mean(op("Mul", centered, centered))
    return op("Div", centered, op("Sqrt", op("Add", variance, eps)))


def _scaled_and_shifted(normalized: Expression) -> Expression:
    return op("Add", op("Mul", normalized, "gamma"), "beta")


FORMULA = "gamma · (x − mean)/√(var + eps) + beta"
BATCH_NORM = Kernel(
    _batch_norm, _backward, _batch_signature, formula=FORMULA, uses=("eps", "momentum"),
    asks=("state", "train", "gather"),
    onnx=_batch_onnx,
)  # fmt: skip
LAYER_NORM = Kernel(_layer_norm, _backward, _signature, formula=FORMULA, uses=("eps",), onnx=_layer_onnx)
RMS_NORM = Kernel(
    _rms_norm, _backward, _rms_signature, formula="gamma · x/√(mean(x²) + eps)", uses=("eps",), onnx=_rms_onnx
)
GROUP_NORM = Kernel(
    _group_norm, _backward, _group_signature, formula=FORMULA, uses=("eps", "groups"), asks=("lead",), onnx=_group_onnx
)
INSTANCE_NORM = Kernel(
    _group_norm, _backward, _group_signature, formula=FORMULA, uses=("eps",), asks=("lead",), onnx=_group_onnx
)
