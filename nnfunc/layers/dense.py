"""The dense (fully connected, affine, linear) layer."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
from numpy.typing import DTypeLike

from nnfunc.arrays import EMPTY, Array, ArrayDict
from nnfunc.errors import positive_int, real
from nnfunc.initializers import Initializer, check, initial
from nnfunc.keys import Key, Keys, split
from nnfunc.layers.base import Layer, Shape, example_shape, parameter, same_shape


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
    return Layer(
        partial(
            _init,
            units=positive_int(units, "units"),
            initializer=check(initializer),
            bias_initializer=check(bias_initializer),
            bias=bool(bias),
            inputs=None if inputs is None else positive_int(inputs, "inputs"),
        ),
        partial(_forward, bias=bool(bias)),
        _backward,
        "dense",
    )


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


def _forward(
    params: ArrayDict,
    state: ArrayDict,
    x: Array,
    *,
    key: Keys | None = None,
    train: bool = False,
    bias: bool,
) -> tuple[Array, Array, ArrayDict]:
    W, *b = parameter(params, "W", "b") if bias else parameter(params, "W")
    x = real(x, "x", W.dtype)
    _check(x, W, b)
    y = _product(_rows(x, W), W)
    if bias:
        y += b[0] if y.ndim == 2 else b[0][..., None, :]
    return y.reshape(*x.shape[:-1], -1) if x.ndim > W.ndim else y, x, state


def _backward(
    params: ArrayDict, cache: Array, dy: Array, *, need_dx: bool = True, out: ArrayDict | None = None
) -> tuple[Array | None, ArrayDict]:
    names = ("W", "b") if "b" in params else ("W",)
    x, W = cache, parameter(params, *names)[0]
    same_shape(dy, (*(W.shape[:-2] if x.ndim < W.ndim else ()), *x.shape[:-1], W.shape[-1]))
    grads = params.draft(out)
    dW, *db = parameter(grads, *names)
    dy_rows = _rows(dy, W)
    _product(_rows(x, W).mT, dy_rows, dW)
    if db:
        _product(_ones(dy_rows.shape[-2], dy_rows.dtype), dy_rows, db[0])  # the sum over the rows
    if not need_dx:
        return None, grads.freeze()
    dx = _product(dy_rows, W.mT)
    return dx.reshape(x.shape) if x.ndim > W.ndim else dx, grads.freeze()


def _product(a: Array, b: Array, out: Array | None = None) -> Array:
    """a @ b. For small matrices np.dot takes half the time of np.matmul, which stacks need."""
    return a.dot(b, out) if b.ndim == 2 >= a.ndim else np.matmul(a, b, out=out)


@lru_cache(maxsize=16)
def _ones(rows: int, dtype: np.dtype[np.floating]) -> Array:
    """A row of ones: its product with a matrix is the sum of the rows, by BLAS four times as fast as by np.add."""
    ones = np.ones(rows, dtype)
    ones.setflags(write=False)
    return ones


def _rows(a: Array, W: Array) -> Array:
    """`a` with all axes between the stack's (which W has in front) and the features' joined: (..., rows, features).

    An x of two axes is shared by all members of a stack and stays as it is.
    """
    return a if a.ndim <= W.ndim else a.reshape(*a.shape[: W.ndim - 2], -1, a.shape[-1])


def _check(x: Array, W: Array, b: list[Array]) -> None:
    if W.ndim < 2 or (b and b[0].shape != (*W.shape[:-2], W.shape[-1])):
        shapes = f"W {W.shape}" + (f", b {b[0].shape}" if b else "")
        raise ValueError(
            f"the parameters do not fit the model: {shapes}, expected W (inputs, units) and b (units,), or a stack of "
            "them (nn.stack, or nn.ArrayDict(..., stacked=True))"
        )
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
