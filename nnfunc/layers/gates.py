"""Gated linear units, in which half of the features gates the other half, and the ReLU with a learned slope.

A gated unit has half as many features as its input: nn.serial(nn.dense(2 * n), nn.swiglu()) is (xV) · silu(xW) with the
two matrices side by side. With the gate's activation φ, y = φ(g) · v has dg = φ'(g) · dy · v and dv = dy · φ(g).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from nnfunc._internal.numerics import sum_of_rows
from nnfunc._internal.validate import number
from nnfunc.arrays import Array
from nnfunc.core.expressions import Expression, Op, op
from nnfunc.core.kernel import Cache, Initial, Kernel, Signature
from nnfunc.core.layer import Layer, make
from nnfunc.core.settings import Settings
from nnfunc.core.values import Shapes
from nnfunc.initializers import constant
from nnfunc.layers.activations import GELU, SIGMOID, SILU, Grads, Params, gelu
from nnfunc.layers.affine import features

__all__ = ["geglu", "glu", "prelu", "swiglu"]


def glu() -> Layer:
    """a · σ(b), a the first half of the features and b the second (Dauphin et al., ICML 2017); PyTorch's `F.glu`.

    x (..., 2n) → y (..., n).
    Raises:
        ValueError: an odd number of features.

    >>> nn.glu().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.array([[3.0, 4.0, 0.0, 1000.0]]))[0]
    array([[1.5, 4. ]])
    """
    return make("glu", kernel=GLU)


def swiglu() -> Layer:
    """silu(a) · b, a the first half of the features and b the second (Shazeer 2020).

    The gate is the first half, as in Shazeer's formula and in LLaMA, not the second as in `glu`.

    x (..., 2n) → y (..., n).
    Raises:
        ValueError: an odd number of features.

    >>> nn.swiglu().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.array([[0.0, 100.0, 3.0, 4.0]]))[0]
    array([[  0., 400.]])
    """
    return make("swiglu", kernel=SWIGLU)


def geglu(approximate: bool | str = False) -> Layer:
    """gelu(a) · b, a the first half of the features and b the second (Shazeer 2020).

    Args:
        approximate: see `nn.gelu`.
    x (..., 2n) → y (..., n).
    Raises:
        ValueError: an odd number of features, any other value of approximate.

    >>> nn.geglu().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.array([[0.0, 100.0, 3.0, 4.0]]))[0]
    array([[  0., 400.]])
    """
    return make("geglu", gelu(approximate).settings, GEGLU)


def _halved(input_shape: Shapes, **_: object) -> Signature:
    count = features(input_shape)
    if count % 2:
        raise ValueError(
            f"input_shape={input_shape} has {count} features, expected an even number: the layer before a gated unit "
            "needs twice its number of outputs, like nn.dense(2 * n)"
        )
    return Signature((*input_shape[:-1], count // 2))


def _halves(x: Array) -> tuple[Array, Array]:
    half = x.shape[-1] // 2
    return x[..., :half], x[..., half:]


def _gated(activation: Kernel, gate: Array, value: Array, **settings: Any) -> tuple[Array, Cache]:
    """φ(gate) · value."""
    share, inner = activation.forward((), gate, **settings)
    return share * value, (value, share, inner)


def _gated_backward(activation: Kernel, cache: Cache, dy: Array, **settings: Any) -> tuple[Array, Array]:
    """Returns the gradients of gate and value."""
    value, share, inner = cache
    dgate = activation.backward((), inner, dy * value, (), True, **settings)
    assert isinstance(dgate, np.ndarray)
    return dgate, dy * share


def _glu(params: Params, x: Array) -> tuple[Array, Cache]:
    value, gate = _halves(x)
    return _gated(SIGMOID, gate, value)


def _glu_backward(params: Params, cache: Cache, dy: Array, grads: Grads, need: bool) -> Array:
    dgate, dvalue = _gated_backward(SIGMOID, cache, dy)
    return np.concatenate([dvalue, dgate], axis=-1)


def _swiglu(params: Params, x: Array) -> tuple[Array, Cache]:
    return _gated(SILU, *_halves(x))


def _swiglu_backward(params: Params, cache: Cache, dy: Array, grads: Grads, need: bool) -> Array:
    return np.concatenate(_gated_backward(SILU, cache, dy), axis=-1)


def _geglu(params: Params, x: Array, *, approximate: bool) -> tuple[Array, Cache]:
    return _gated(GELU, *_halves(x), approximate=approximate)


def _geglu_backward(params: Params, cache: Cache, dy: Array, grads: Grads, need: bool, *, approximate: bool) -> Array:
    return np.concatenate(_gated_backward(GELU, cache, dy, approximate=approximate), axis=-1)


def _gated_onnx(activation: Kernel, gate: int, **given: Any) -> Expression:
    halves = op("Split", "x", np.full(2, given["shape"][-1] // 2), axis=-1)
    parts = [op("Output", halves, number=i) for i in range(2)]
    assert activation.onnx is not None
    return op("Mul", _of(activation.onnx(**given), parts[gate]), parts[1 - gate])


def _glu_onnx(**given: Any) -> Expression:
    return _gated_onnx(SIGMOID, 1, **given)


def _swiglu_onnx(**given: Any) -> Expression:
    return _gated_onnx(SILU, 0, **given)


def _geglu_onnx(**given: Any) -> Expression:
    return _gated_onnx(GELU, 0, **given)


def _of(expression: Expression, x: Expression) -> Expression:
    """Substitutes another expression for the input "x"."""
    if isinstance(expression, Op):
        return expression._replace(inputs=tuple(_of(e, x) for e in expression.inputs))
    return x if isinstance(expression, str) and expression == "x" else expression


GLU = Kernel(_glu, _glu_backward, _halved, formula="a · σ(b), x = (a, b)", onnx=_glu_onnx)
SWIGLU = Kernel(_swiglu, _swiglu_backward, _halved, formula="silu(a) · b, x = (a, b)", onnx=_swiglu_onnx)
GEGLU = Kernel(
    _geglu, _geglu_backward, _halved, formula="gelu(a) · b, x = (a, b)", uses=("approximate",), onnx=_geglu_onnx
)


# -- a learned slope ---------------------------------------------------------------------------------------------------


def prelu(initial: float = 0.25) -> Layer:
    """x where x > 0, else slope · x, with a learned slope per feature (He et al., ICCV 2015).

    Args:
        initial: the initial value of every slope.
    Parameters: slope (features,), not penalised by a penalty on the weights. PyTorch has one slope for all features
        unless given `num_parameters`; Keras has one per position unless given `shared_axes`.

    >>> layer = nn.prelu()
    >>> params, state = layer.init(nn.key(0), (2,), np.float64)
    >>> layer.forward(params, state, np.array([[-1.0, 2.0]]))[0]
    array([[-0.25,  2.  ]])
    """
    slope = number(initial, "initial", -math.inf, math.inf, why="the initial slope for x < 0")
    return make("prelu", Settings(initial=slope), PRELU)


def _prelu_signature(input_shape: Shapes, *, initial: float) -> Signature:
    slope = Initial((features(input_shape),), partial(constant, value=initial))
    return Signature(input_shape, {"slope": slope})


def _prelu(params: Params, x: Array) -> tuple[Array, Array]:
    rows = _rows(x, params[0])
    return (np.maximum(rows, 0) + params[0][..., None, :] * np.minimum(rows, 0)).reshape(x.shape), x


def _prelu_backward(params: Params, x: Array, dy: Array, grads: Sequence[Array | None], need: bool) -> Array | None:
    rows, dy = _rows(x, params[0]), _rows(dy, params[0])
    if grads[0] is not None:
        sum_of_rows(dy * np.minimum(rows, 0), grads[0])
    if not need:
        return None
    above = (rows > 0).astype(dy.dtype)
    return (dy * (above + (1 - above) * params[0][..., None, :])).reshape(x.shape)


def _rows(a: Array, slope: Array) -> Array:
    """Reshapes `a` to (..., rows, features), with the leading (stack) axes of the slope."""
    return a.reshape(*slope.shape[:-1], -1, slope.shape[-1])


def _prelu_onnx(**_: Any) -> Expression:
    return op("Add", op("Max", "x", 0.0), op("Mul", "slope", op("Min", "x", 0.0)))


PRELU = Kernel(_prelu, _prelu_backward, _prelu_signature, formula="x, or slope · x below 0", onnx=_prelu_onnx)
