"""The dense (fully connected, affine, linear) layer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import DTypeLike

from nnfunc.arrays import EMPTY, Array, ArrayDict
from nnfunc.errors import positive_int
from nnfunc.initializers import Initializer, check, initial
from nnfunc.keys import Key, split
from nnfunc.layers.base import Kernel, Layer, Shape, example_shape, of_kernel
from nnfunc.sums import sum_of_rows


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
        initializer: of W: a name (`nnfunc.initializers`) or a function (key, shape, dtype) -> array.
        bias_initializer: of b.
        bias: whether there is a b.
        inputs: the number of inputs, to be checked; without it, whatever comes at `init`.
    Parameters: W (inputs, units), b (units,). x (..., examples, inputs) gives y (..., examples, units).
    Raises:
        ValueError: units < 1, an unknown initializer.

    >>> params, state = nn.dense(3).init(nn.key(0), (2,))
    >>> y, cache, state = nn.dense(3).forward(params, state, np.ones((5, 2)))
    >>> y.shape
    (5, 3)
    """
    units = positive_int(units, "units")
    inputs = None if inputs is None else positive_int(inputs, "inputs")
    init = partial(
        _init,
        units=units,
        initializer=check(initializer),
        bias_initializer=check(bias_initializer),
        bias=bool(bias),
        inputs=inputs,
    )
    fits = partial(_fits, units=units, inputs=inputs)
    return of_kernel("dense", Kernel(_forward, _backward, ("W", "b") if bias else ("W",), fits), init)


def _init(
    key: Key,
    input_shape: Shape,
    dtype: DTypeLike = np.float32,
    *,
    units: int,
    initializer: Initializer,
    bias_initializer: Initializer,
    bias: bool,
    inputs: int | None,
) -> tuple[ArrayDict, ArrayDict]:
    input_shape = example_shape(input_shape)
    if inputs is not None and input_shape[-1] != inputs:
        raise ValueError(f"input_shape={input_shape}, but the layer takes {inputs} features on the last axis")
    key_W, key_b = split(key)
    params = {"W": initial(initializer, key_W, (input_shape[-1], units), dtype)}
    if bias:
        params["b"] = initial(bias_initializer, key_b, (units,), dtype)
    return ArrayDict(params, dtype), EMPTY


def _forward(x: Array, W: Array, b: Array | None = None) -> tuple[Array, Array]:
    if not 2 == x.ndim == W.ndim or x.shape[1] != W.shape[0]:
        return _general_forward(x, W, b)
    y: Array = x.dot(W)  # half the time of matmul, for small matrices
    if b is not None:
        y += b
    return y, x


def _backward(dy: Array, x: Array, params: Sequence[Array], grads: Sequence[Array], need_dx: bool) -> Array | None:
    W, dW = params[0], grads[0]
    if not 2 == x.ndim == W.ndim:
        return _general_backward(dy, x, params, grads, need_dx)
    x.T.dot(dy, dW)
    for db in grads[1:]:
        sum_of_rows(dy, db)
    dx: Array | None = dy.dot(W.T) if need_dx else None
    return dx


# The same for a stack of networks, whose W has a leading axis, and for further axes of x between that and the features.


def _general_forward(x: Array, W: Array, b: Array | None) -> tuple[Array, Array]:
    _check(x, W)
    y = np.matmul(_rows(x, W), W)
    if b is not None:
        y += b[..., None, :]
    return y.reshape(*x.shape[:-1], -1) if x.ndim > W.ndim else y, x


def _general_backward(
    dy: Array, x: Array, params: Sequence[Array], grads: Sequence[Array], need_dx: bool
) -> Array | None:
    W, dW = params[0], grads[0]
    dy = _rows(dy, W)
    np.matmul(_rows(x, W).mT, dy, out=dW)
    for db in grads[1:]:
        sum_of_rows(dy, db)
    if not need_dx:
        return None
    dx: Array = np.matmul(dy, W.mT)
    return dx.reshape(x.shape) if x.ndim > W.ndim else dx


def _rows(a: Array, W: Array) -> Array:
    """`a` with all axes between the stack's (which W has in front) and the features' joined: (..., rows, features).

    An x of two axes is shared by all members of a stack and stays as it is.
    """
    return a if a.ndim <= W.ndim else a.reshape(*a.shape[: W.ndim - 2], -1, a.shape[-1])


def _fits(W: Shape, b: Shape | None = None, *, units: int, inputs: int | None) -> None:
    wrong = len(W) < 2 or W[-1] != units or (inputs is not None and W[-2] != inputs)
    if wrong or (b is not None and b != (*W[:-2], units)):
        shapes = f"W {W}" + (f", b {b}" if b is not None else "")
        raise ValueError(
            f"the parameters do not fit the model: {shapes}, expected W ({inputs or 'inputs'}, {units}) and b "
            f"({units},), or a stack of them (nn.stack, or nn.ArrayDict(..., stacked=True))"
        )


def _check(x: Array, W: Array) -> None:
    inputs = W.shape[-2]
    if x.ndim < 2:
        raise ValueError(
            f"x has shape {x.shape}, expected (examples, {inputs}): rows are examples, so pass x[None] for one"
        )
    if x.shape[-1] != inputs:
        transposed = x.shape[-2] == inputs
        cause = ", so pass x.T" if transposed else ""
        raise ValueError(
            f"x has shape {x.shape} but the model takes {inputs} features on the last axis: rows are examples{cause}"
        )
    if x.ndim > 2 and x.shape[: W.ndim - 2] != W.shape[:-2]:
        raise ValueError(
            f"x has shape {x.shape} but the parameters are a stack of {W.shape[0]}: pass (examples, features) for all "
            f"members alike, or ({W.shape[0]}, examples, features)"
        )
