"""Normalisation: over the batch, the features, the positions of an example, groups of features.

All divide by the square root of a variance and then apply gamma (and beta) per feature. They differ in the elements
over which mean and variance are taken (`Over`):

batch_norm      all rows of the batch, per feature
instance_norm   all positions of an example, per feature
group_norm      all positions of an example, the features of a group
layer_norm      the features of a row; rms_norm the same, without a mean

With x̂ = (x − mean)/std and g = dy·gamma, the gradient through mean and variance is
dx = (g − mean(g) − x̂·mean(g·x̂))/std, with means over the same axes. Without a mean, mean(g) is dropped; with fixed
statistics dx is g/std. x is first reshaped to (..., rows, features); for per-example statistics the rows are its
positions, preceded by the examples.
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
    """The scope of statistics: all rows or each separately; the number of feature groups (None: per feature); whether
    to subtract a mean."""

    rows: bool
    groups: int | None
    centered: bool = True


ROWS, FEATURES, SQUARES = Over(True, None), Over(False, 1), Over(False, 1, centered=False)


class NormCache(NamedTuple):
    """The values saved for backward: x̂ as rows, 1/std, the scope of the statistics (None if fixed), and the exchange
    among shards."""

    normalized: Array
    inverse_std: Array
    over: Over | None
    gather: Gather | None = None


def _eps(eps: float) -> float:
    return number(eps, "eps", LEAST_EPS, math.inf, why="it keeps the square root away from 0, in float32 too")


def _scale_and_shift(input_shape: Shapes) -> dict[str, Initial]:
    shape = (features(input_shape),)
    return {"gamma": Initial(shape, "ones"), "beta": Initial(shape, "zeros")}


def batch_norm(eps: float = 1e-5, momentum: float = 0.9) -> Layer:
    """gamma · (x − mean)/√(var + eps) + beta, mean and variance over the batch (Ioffe & Szegedy, ICML 2015, alg. 1).

    Args:
        eps: added to the variance inside the square root.
        momentum: of the running averages: running = momentum · old + (1 − momentum) · batch.
    Parameters: gamma (features,), initially 1; beta (features,), initially 0. State: mean, var (features,), initially
        0 and 1.
    Raises:
        ValueError: in training, a batch of one row, whose mean is the row itself.

    In training the statistics are those of the batch, over all axes but the last (every position of an image is a row;
    in a stack, per member), with the biased variance (divided by the number of rows), and the running averages are
    updated; in prediction the running averages are used. In a sharded batch each shard uses its own statistics, or with
    `nn.distributed.mpi(statistics="batch")` those of all rows. PyTorch's `momentum` of 0.1 is 0.9 here; Keras's 0.9 is
    the same.

    >>> layer = nn.batch_norm()
    >>> params, state = layer.init(nn.key(0), (1,), np.float64)
    >>> y, cache, state = layer.forward(params, state, np.array([[1.0], [3.0]]), train=True)
    >>> y.round(3).ravel(), state["mean"], state["var"]
    (array([-1.,  1.]), array([0.2]), array([1.]))
    """
    momentum = number(momentum, "momentum", 0, 1, why="the weight of the old running average")
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
    """Normalizes by the batch's statistics in training, updating the running averages, and by these in prediction."""
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
    "batch norm in training got one sample, a single row: its mean is the row itself, so y is beta for any x and the "
    "gradient is 0. Use larger batches (for the last batch of an epoch: drop_last=True, or another batch_size), or "
    "nn.layer_norm"
)


def _of_all(gather: Gather, count: int, mean: Array, var: Array) -> tuple[Array, Array]:
    """Combines each shard's mean and variance into those of all rows (Chan, Golub & LeVeque 1979)."""
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
        eps: added to the variance inside the square root.
    Parameters: gamma (features,), initially 1; beta (features,), initially 0. Training and prediction are the same.

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
        eps: added to the mean inside the square root; 1e-6 as in Keras, Flax and LLaMA. PyTorch's default is the
            machine epsilon of x's dtype, 1.19e-7 for float32.
    Parameters: gamma (features,), initially 1. No mean is subtracted, and there is no beta. Training and prediction are
        the same.

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
        groups: the number of groups of consecutive features; 1 is a single group, as many as features is
            `instance_norm`.
        eps: added to the variance inside the square root; 1e-5 as in PyTorch; Keras has 1e-3, Flax 1e-6.
    Parameters: gamma (features,), initially 1; beta (features,), initially 0. An example has shape (..., features),
        such as (H, W, C), (T, C) or (C,). Training and prediction are the same.
    Raises:
        ValueError: features not divisible by the groups, or groups of one value each.

    >>> layer = nn.group_norm(2)
    >>> params, state = layer.init(nn.key(0), (4,), np.float64)
    >>> layer.forward(params, state, np.array([[1.0, 3.0, 10.0, 30.0]]))[0].round(3)
    array([[-1.,  1., -1.,  1.]])
    """
    return make("group_norm", Settings(groups=positive_int(groups, "groups"), eps=_eps(eps)), GROUP_NORM)


def instance_norm(eps: float = 1e-5) -> Layer:
    """gamma · (x − mean)/√(var + eps) + beta, mean and variance over the positions of an example, per feature
    (Ulyanov et al. 2016).

    Args:
        eps: added to the variance inside the square root.
    Parameters: gamma (features,), initially 1; beta (features,), initially 0; in PyTorch only with `affine=True`. An
        example has shape (..., features), such as (H, W, C) or (T, C). Training and prediction are the same.
    Raises:
        ValueError: examples with a single position.

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
            f"input_shape={input_shape}: each mean would be over one value, so that x − mean is 0: expected several "
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


# -- shared parts: x and gamma as (..., rows, features), statistics that broadcast with them ---------------------------


def _rows(x: Array, gamma: Array) -> Array:
    """Reshapes x to (..., rows, features), with the leading (stack) axes of gamma."""
    return x if x.ndim == gamma.ndim + 1 else x.reshape(*gamma.shape[:-1], -1, gamma.shape[-1])


def _beside(param: Array, x: Array) -> Array:
    """Inserts axes of length 1 into a parameter (..., features) where x has examples and rows, if it is a stack's."""
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
    """Returns the means, with an axis of length 1 for the rows if over all of them, and for the features if they are
    one group; means of several groups are repeated for each of their features."""
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
    """Returns one element from the scope of each mean, shaped like the result of `_mean`."""
    first = x[..., :1, :] if over.rows else x
    if over.groups is None:
        return first
    size = x.shape[-1] // over.groups
    return first[..., :1] if over.groups == 1 else np.repeat(first[..., ::size], size, axis=-1)


def _statistics(x: Array, over: Over) -> tuple[Array, Array, Array]:
    """Returns mean, variance and x − mean, shifted by the first element so that x − mean of equal rows is exactly 0."""
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
    if alone:  # gamma is constant in each mean: mean(g) = gamma·sums/m, mean(g·x̂) = gamma·products/m
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
    """Returns the sums over the rows; writes their sum over all examples into the gradient, if given."""
    if a.ndim == gamma.ndim + 1:
        return sum_of_rows(a, gradient)
    sums = sum_of_rows(a)
    if gradient is not None:
        sum_of_rows(sums, gradient)
    return sums


def _sums_of_all(gather: Gather, m: float | Array, *sums: Array) -> list[Array]:
    """Adds up the row counts and the sums of all shards."""
    total = gather(np.concatenate([np.array([m]), *sums], dtype=sums[0].dtype)).sum(axis=0)
    return [total[0], *np.split(total[1:], len(sums))]


def _standardized(x: Expression, eps: float, axes: list[int]) -> Expression:
    """(x − mean)/√(var + eps) over these axes, shifted as in `_statistics`, so exactly 0 if all elements are equal."""

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
