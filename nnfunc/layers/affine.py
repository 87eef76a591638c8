"""The dense (fully connected, affine, linear) layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnfunc._internal.numerics import ones, sum_of_rows
from nnfunc._internal.validate import flag, positive_int
from nnfunc.arrays import Array
from nnfunc.core.expressions import Expression, op
from nnfunc.core.kernel import Initial, Kernel, Signature
from nnfunc.core.layer import Layer, make
from nnfunc.core.settings import Settings
from nnfunc.core.values import Shapes
from nnfunc.initializers import Initializer, check

__all__ = ["dense"]


def dense(
    units: int,
    initializer: Initializer = "he",
    bias_initializer: Initializer = "zeros",
    *,
    bias: bool = True,
    inputs: int | None = None,
) -> Layer:
    """y = x W + b.

    Args:
        units: the number of outputs.
        initializer: the initializer of W: a name (`nnfunc.initializers`) or a function (key, shape, dtype) -> array.
        bias_initializer: the initializer of b.
        bias: whether to add b.
        inputs: the expected number of inputs; by default any number, determined by `init`.
    Parameters: W (inputs, units), b (units,). x (..., examples, inputs) → y (..., examples, units).
    Raises:
        ValueError: units < 1, an unknown initializer.

    >>> params, state = nn.dense(3).init(nn.key(0), (2,))
    >>> y, cache, state = nn.dense(3).forward(params, state, np.ones((5, 2)))
    >>> y.shape
    (5, 3)
    """
    settings = Settings(
        units=positive_int(units, "units"),
        initializer=check(initializer),
        bias_initializer=check(bias_initializer, "bias_initializer"),
        bias=flag(bias, "bias"),
        inputs=None if inputs is None else positive_int(inputs, "inputs"),
    )
    return make("dense", settings, DENSE)


def features(input_shape: Shapes, name: str = "input_shape") -> int:
    """Returns the length of the last axis of an example, which must be a single array with at least one axis."""
    if not input_shape:
        raise ValueError(f"{name}=() has no features: pass the shape of one example, like (64,)")
    if isinstance(input_shape[-1], tuple):
        raise TypeError(f"x is a tuple of {len(input_shape)} values, but the layer takes one array")
    return int(input_shape[-1])


def _signature(
    input_shape: Shapes,
    *,
    units: int,
    initializer: Initializer,
    bias_initializer: Initializer,
    bias: bool,
    inputs: int | None,
) -> Signature:
    if inputs is not None and features(input_shape) != inputs:
        raise ValueError(f"input_shape={input_shape}, but the layer takes {inputs} features on the last axis")
    params = {"W": Initial((features(input_shape), units), initializer)}
    if bias:
        params["b"] = Initial((units,), bias_initializer)
    return Signature((*input_shape[:-1], units), params)


def _forward(params: Sequence[Array], x: Array) -> tuple[Array, Array]:
    W = params[0]
    if not 2 == x.ndim == W.ndim:
        return _general_forward(params, x)
    y: Array = x.dot(W)  # half the time of matmul, for small matrices
    if len(params) > 1:
        y += params[1]
    return y, x


def _backward(params: Sequence[Array], x: Array, dy: Array, grads: Sequence[Array | None], need: bool) -> Array | None:
    W, dW = params[0], grads[0]
    if not 2 == x.ndim == W.ndim:
        return _general_backward(params, x, dy, grads, need)
    if dW is not None:
        x.T.dot(dy, dW)
    if len(grads) > 1 and grads[1] is not None:
        ones(len(dy), dy.dtype).dot(dy, grads[1])  # the sum of the rows
    dx: Array | None = dy.dot(W.T) if need else None
    return dx


# The same for stacks, whose arrays have a leading axis, and for x with extra axes between rows and features.


def _general_forward(params: Sequence[Array], x: Array) -> tuple[Array, Array]:
    W, *b = params
    y = np.matmul(_rows(x, W), W)
    if b:
        y += b[0][..., None, :]
    return y.reshape(*x.shape[:-1], -1), x


def _general_backward(
    params: Sequence[Array], x: Array, dy: Array, grads: Sequence[Array | None], need: bool
) -> Array | None:
    W, dW = params[0], grads[0]
    dy = _rows(dy, W)
    if dW is not None:
        np.matmul(_rows(x, W).mT, dy, out=dW)
    if len(grads) > 1 and grads[1] is not None:
        sum_of_rows(dy, grads[1])
    if not need:
        return None
    dx: Array = dy * W.mT if W.shape[-1] == 1 else np.matmul(dy, W.mT)  # matmul takes twice as long for one unit
    return dx.reshape(x.shape)


def _rows(a: Array, W: Array) -> Array:
    """Merges all axes of `a` between the stack axis (that of W) and the features: (..., rows, features)."""
    return a if a.ndim == W.ndim else a.reshape(*a.shape[: W.ndim - 2], -1, a.shape[-1])


def _onnx(*, bias: bool, **_: Any) -> Expression:
    product = op("MatMul", "x", "W")
    return op("Add", product, "b") if bias else product


DENSE = Kernel(_forward, _backward, _signature, formula="x W + b", onnx=_onnx)
