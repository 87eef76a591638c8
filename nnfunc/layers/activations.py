"""Activations: layers without parameters that act on each element (softmax: on the last axis).

Each has a constructor, a forward and a backward. At a kink the slope is that of the left side (0 for ReLU); for clipped
lines it is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from nnfunc._internal.numerics import (
    SMALL,
    floor,
    largest_exponent,
    log1pexp,
    logistic,
    normal_cdf,
    shifted_exp,
    sum_of_columns,
    zero,
    zeros,
)
from nnfunc._internal.validate import by_name, number
from nnfunc.arrays import Array
from nnfunc.core.expressions import Expression, op, same
from nnfunc.core.kernel import Kernel, Signature, view
from nnfunc.core.layer import Layer, make
from nnfunc.core.settings import Settings
from nnfunc.core.values import Shapes
from nnfunc.layers.affine import features

__all__ = [
    "elu",
    "gelu",
    "hard_sigmoid",
    "hard_swish",
    "hard_tanh",
    "identity",
    "leaky_relu",
    "log_softmax",
    "mish",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "swish",
    "tanh",
]

Params: TypeAlias = Sequence[Array]
Grads: TypeAlias = "Sequence[Array | None]"


# -- sigmoid -------------------------------------------------------------------------------------------------------


def sigmoid() -> Layer:
    """σ(x) = 1/(1 + exp(−x)); dx = dy · σ(1 − σ). No overflow; before a cross-entropy, dx is (A − Y)/m.

    >>> y, cache, _ = nn.sigmoid().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.array([[-1000.0, 0.0, 1000.0]]))
    >>> y.round(6)
    array([[0. , 0.5, 1. ]])
    """
    return make("sigmoid", kernel=SIGMOID)


def _sigmoid(params: Params, x: Array) -> tuple[Array, Array]:
    y = logistic(x)
    return y, y


def _sigmoid_backward(params: Params, y: Array, dy: Array, grads: Grads, need: bool) -> Array:
    least = floor(y.dtype)
    dx: Array = dy * (np.maximum(y, least) * np.maximum(1 - y, least))
    return dx


def _sigmoid_onnx(**_: Any) -> Expression:
    return op("Sigmoid", "x")


SIGMOID = Kernel(
    _sigmoid, _sigmoid_backward, formula="1/(1 + exp(−x))", limits=(0.0, 1.0), decision=0.5,
    onnx=_sigmoid_onnx,
)  # fmt: skip


# -- softmax -------------------------------------------------------------------------------------------------------


def softmax() -> Layer:
    """A = exp(x − max x) / Σ exp(x − max x) over the last axis; dx = A · (dy − Σ A·dy), the full Jacobian product.

    Any loss may follow it, and it may be used as a hidden layer.

    >>> y, cache, _ = nn.softmax().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.array([[1000.0, 1000.0, 0.0]]))
    >>> y
    array([[0.5, 0.5, 0. ]])
    """
    return make("softmax", kernel=SOFTMAX)


def _over_features(input_shape: Shapes, **_: object) -> Signature:
    features(input_shape)
    return Signature(input_shape)


def _softmax(params: Params, x: Array) -> tuple[Array, Array]:
    _, y, total = shifted_exp(x)
    y /= total
    return y, y


def _softmax_backward(params: Params, y: Array, dy: Array, grads: Grads, need: bool) -> Array:
    A = np.maximum(y, floor(y.dtype))
    return A * (dy - sum_of_columns(A * dy)[..., None])


def _softmax_onnx(**_: Any) -> Expression:
    return op("Softmax", "x", axis=-1)


SOFTMAX = Kernel(
    _softmax, _softmax_backward, _over_features, formula="exp(x) / Σ exp(x)", decision="largest",
    onnx=_softmax_onnx,
)  # fmt: skip


def log_softmax() -> Layer:
    """log softmax(x) = x − max x − log Σ exp(x − max x) over the last axis; dx = dy − softmax(x) · Σ dy.

    >>> nn.log_softmax().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.array([[1000.0, 1000.0]]))[0].round(4)
    array([[-0.6931, -0.6931]])
    """
    return make("log_softmax", kernel=LOG_SOFTMAX)


def _log_softmax(params: Params, x: Array) -> tuple[Array, Array]:
    shifted, _, total = shifted_exp(x)
    y = shifted - np.log(total)
    return y, y


def _log_softmax_backward(params: Params, y: Array, dy: Array, grads: Grads, need: bool) -> Array:
    return dy - np.exp(y) * sum_of_columns(dy)[..., None]


def _log_softmax_onnx(**_: Any) -> Expression:
    return op("LogSoftmax", "x", axis=-1)


LOG_SOFTMAX = Kernel(
    _log_softmax, _log_softmax_backward, _over_features, formula="x − log Σ exp(x)", decision="largest",
    onnx=_log_softmax_onnx,
)  # fmt: skip


# -- tanh, ReLU and its variants -----------------------------------------------------------------------------------


def tanh() -> Layer:
    """tanh(x); dx = dy · (1 − tanh²(x)).

    >>> nn.tanh().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.array([[0.0, 1000.0]]))[0]
    array([[0., 1.]])
    """
    return make("tanh", kernel=TANH)


def _tanh(params: Params, x: Array) -> tuple[Array, Array]:
    y = np.tanh(x)
    return y, y


def _tanh_backward(params: Params, y: Array, dy: Array, grads: Grads, need: bool) -> Array:
    return dy * (1 - y * y)


def _tanh_onnx(**_: Any) -> Expression:
    return op("Tanh", "x")


TANH = Kernel(_tanh, _tanh_backward, formula="tanh x", limits=(-1.0, 1.0), onnx=_tanh_onnx)


def relu() -> Layer:
    """max(x, 0); dx = dy where x > 0, else 0 (0 at 0).

    >>> nn.relu().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.array([[-1.0, 2.0]]))[0]
    array([[0., 2.]])
    """
    return make("relu", kernel=RELU)


def _relu(params: Params, x: Array) -> tuple[Array, Array]:
    y = np.maximum(x, zeros(x.shape, x.dtype) if x.size <= SMALL else zero(x.dtype))
    return y, y


def _relu_backward(params: Params, y: Array, dy: Array, grads: Grads, need: bool) -> Array:
    return dy * (y > zero(y.dtype)).astype(y.dtype)  # twice as fast as a product with booleans


def _relu_onnx(**_: Any) -> Expression:
    return op("Relu", "x")


RELU = Kernel(_relu, _relu_backward, formula="max(x, 0)", onnx=_relu_onnx)


def _above(x: Array) -> Array:
    """1 where x > 0, else 0: formulas with it take a tenth of the time of np.where, where signs are mixed."""
    return (x > zero(x.dtype)).astype(x.dtype)


def leaky_relu(negative_slope: float = 0.01) -> Layer:
    """x where x > 0, else negative_slope · x (Maas et al., ICML 2013).

    >>> nn.leaky_relu(0.1).forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.array([[-1.0, 2.0]]))[0]
    array([[-0.1,  2. ]])
    """
    slope = number(negative_slope, "negative_slope", 0, 1, why="the slope for x < 0")
    return make("leaky_relu", Settings(negative_slope=slope), LEAKY_RELU)


def _leaky_relu(params: Params, x: Array, *, negative_slope: float) -> tuple[Array, Array]:
    return np.maximum(x, negative_slope * x), x


def _leaky_relu_backward(
    params: Params, x: Array, dy: Array, grads: Grads, need: bool, *, negative_slope: float
) -> Array:
    return dy * np.maximum(_above(x), negative_slope)


def _leaky_relu_onnx(*, negative_slope: float, **_: Any) -> Expression:
    return op("Max", "x", op("Mul", "x", negative_slope))


LEAKY_RELU = Kernel(
    _leaky_relu, _leaky_relu_backward, formula="max(x, slope · x)", uses=("negative_slope",), onnx=_leaky_relu_onnx
)


def elu(alpha: float = 1.0) -> Layer:
    """x where x > 0, else alpha · (exp(x) − 1) (Clevert et al., ICLR 2016).

    >>> nn.elu().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.array([[-1000.0, 2.0]]))[0]
    array([[-1.,  2.]])
    """
    return make("elu", Settings(alpha=number(alpha, "alpha", 0, math.inf)), ELU)


def selu() -> Layer:
    """λ·x where x > 0, else λ·α·(exp(x) − 1), with λ and α that preserve mean 0 and variance 1 (Klambauer et al. 2017).

    Use it with the initializer "lecun".

    >>> nn.selu().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.array([[1.0]]))[0].round(4)
    array([[1.0507]])
    """
    return make("selu", kernel=SELU)


SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def _elu(params: Params, x: Array, *, alpha: float, scale: float = 1.0) -> tuple[Array, Array]:
    return scale * (np.maximum(x, 0) + alpha * np.expm1(np.minimum(x, 0))), x


def _elu_backward(
    params: Params, x: Array, dy: Array, grads: Grads, need: bool, *, alpha: float, scale: float = 1.0
) -> Array:
    above = _above(x)
    return dy * (scale * (above + (1 - above) * (alpha * np.exp(np.minimum(x, 0)))))


def _elu_onnx(*, alpha: float, scale: float = 1.0, **_: Any) -> Expression:
    below = op("Mul", op("Sub", op("Exp", op("Min", "x", 0.0)), 1.0), alpha)
    return op("Mul", op("Add", op("Max", "x", 0.0), below), scale)


def _selu(params: Params, x: Array) -> tuple[Array, Array]:
    return _elu(params, x, alpha=SELU_ALPHA, scale=SELU_SCALE)


def _selu_backward(params: Params, x: Array, dy: Array, grads: Grads, need: bool) -> Array:
    return _elu_backward(params, x, dy, grads, need, alpha=SELU_ALPHA, scale=SELU_SCALE)


def _selu_onnx(**_: Any) -> Expression:
    return _elu_onnx(alpha=SELU_ALPHA, scale=SELU_SCALE)


ELU = Kernel(_elu, _elu_backward, formula="x, or alpha · (exp(x) − 1) below 0", uses=("alpha",), onnx=_elu_onnx)
SELU = Kernel(
    _selu, _selu_backward, formula="λ x, or λ α (exp(x) − 1) below 0",
    onnx=_selu_onnx,
)  # fmt: skip


# -- clipped lines: min(max(line, low), high), with slope 0 at both kinks ----------------------------------------------


def _inside(y: Array, low: float, high: float) -> Array:
    """1 where low < y < high, else 0."""
    return ((low < y) & (y < high)).astype(y.dtype)


def hard_tanh() -> Layer:
    """min(max(x, −1), 1).

    >>> nn.hard_tanh().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.array([[-2.0, 0.5, 2.0]]))[0]
    array([[-1. ,  0.5,  1. ]])
    """
    return make("hard_tanh", kernel=HARD_TANH)


def _hard_tanh(params: Params, x: Array) -> tuple[Array, Array]:
    y = np.clip(x, -1, 1)
    return y, y


def _hard_tanh_backward(params: Params, y: Array, dy: Array, grads: Grads, need: bool) -> Array:
    return dy * _inside(y, -1, 1)


def _hard_tanh_onnx(**_: Any) -> Expression:
    return op("Min", op("Max", "x", -1.0), 1.0)


HARD_TANH = Kernel(
    _hard_tanh, _hard_tanh_backward, formula="min(max(x, −1), 1)", limits=(-1.0, 1.0), onnx=_hard_tanh_onnx
)


def relu6() -> Layer:
    """min(max(x, 0), 6) (Howard et al. 2017, MobileNets).

    >>> nn.relu6().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.array([[-2.0, 0.5, 7.0]]))[0]
    array([[0. , 0.5, 6. ]])
    """
    return make("relu6", kernel=RELU6)


def _relu6(params: Params, x: Array) -> tuple[Array, Array]:
    y = np.clip(x, 0, 6)
    return y, y


def _relu6_backward(params: Params, y: Array, dy: Array, grads: Grads, need: bool) -> Array:
    return dy * _inside(y, 0, 6)


def _relu6_onnx(**_: Any) -> Expression:
    return op("Min", op("Max", "x", 0.0), 6.0)


RELU6 = Kernel(_relu6, _relu6_backward, formula="min(max(x, 0), 6)", onnx=_relu6_onnx)


def hard_sigmoid() -> Layer:
    """min(max(x/6 + 1/2, 0), 1), as in PyTorch and Flax.

    >>> nn.hard_sigmoid().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.array([[-4.0, 0.0, 1.5]]))[0]
    array([[0.  , 0.5 , 0.75]])
    """
    return make("hard_sigmoid", kernel=HARD_SIGMOID)


def _hard_sigmoid(params: Params, x: Array) -> tuple[Array, Array]:
    y = np.clip(x / 6 + 0.5, 0, 1)
    return y, y


def _hard_sigmoid_backward(params: Params, y: Array, dy: Array, grads: Grads, need: bool) -> Array:
    return dy * _inside(y, 0, 1) / 6


def _hard_sigmoid_onnx(**_: Any) -> Expression:
    return op("Min", op("Max", op("Add", op("Div", "x", 6.0), 0.5), 0.0), 1.0)


HARD_SIGMOID = Kernel(
    _hard_sigmoid,
    _hard_sigmoid_backward,
    formula="min(max(x/6 + 1/2, 0), 1)",
    limits=(0.0, 1.0),
    onnx=_hard_sigmoid_onnx,
)


def hard_swish() -> Layer:
    """x · hard_sigmoid(x) (Howard et al. 2019, MobileNetV3).

    >>> nn.hard_swish().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.array([[-4.0, 0.0, 4.0]]))[0] + 0.0
    array([[0., 0., 4.]])
    """
    return make("hard_swish", kernel=HARD_SWISH)


def _hard_swish(params: Params, x: Array) -> tuple[Array, tuple[Array, Array]]:
    share, _ = _hard_sigmoid(params, x)
    return x * share, (x, share)


def _hard_swish_backward(params: Params, cache: tuple[Array, Array], dy: Array, grads: Grads, need: bool) -> Array:
    x, share = cache
    return dy * (share + x * _inside(share, 0, 1) / 6)


def _hard_swish_onnx(**_: Any) -> Expression:
    return op("Mul", "x", _hard_sigmoid_onnx())


HARD_SWISH = Kernel(_hard_swish, _hard_swish_backward, formula="x · min(max(x/6 + 1/2, 0), 1)", onnx=_hard_swish_onnx)


# -- smooth variants of ReLU ---------------------------------------------------------------------------------------


def gelu(approximate: bool | str = False) -> Layer:
    """x · Φ(x), Φ the normal distribution function (Hendrycks & Gimpel 2016).

    Args:
        approximate: whether to use the tanh form, ½x(1 + tanh(√(2/π)(x + 0.044715x³))), which takes half the time;
            "tanh" and "none" are accepted too.
    Raises:
        ValueError: any other value of approximate.

    >>> nn.gelu().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.array([[1.0]]))[0].round(4)
    array([[0.8413]])
    """
    if not isinstance(approximate, (bool, str)) or approximate not in (True, False, "tanh", "none"):
        raise ValueError(f"approximate={approximate!r}: expected True ('tanh') or False ('none')")
    return make("gelu", Settings(approximate=approximate in (True, "tanh")), GELU)


def _gelu(params: Params, x: Array, *, approximate: bool) -> tuple[Array, tuple[Array, Array]]:
    if approximate:
        return _gelu_tanh(x)
    phi = normal_cdf(x)
    return x * phi, (x, phi)


def _gelu_backward(
    params: Params, cache: tuple[Array, Array], dy: Array, grads: Grads, need: bool, *, approximate: bool
) -> Array:
    if approximate:
        return dy * _gelu_tanh_slope(cache)
    x, phi = cache
    dx = -0.5 * x
    dx *= x
    np.exp(dx, out=dx)
    dx *= x
    dx *= 1 / math.sqrt(2 * math.pi)
    dx += phi
    dx *= dy
    return dx


def _gelu_tanh(x: Array) -> tuple[Array, tuple[Array, Array]]:
    near = np.clip(x, -100, 100)  # farther out the cube may overflow, and tanh is ±1
    t = np.tanh(math.sqrt(2 / math.pi) * (near + 0.044715 * near * near * near))
    return 0.5 * x * (1 + t), (x, t)


def _gelu_tanh_slope(cache: tuple[Array, Array]) -> Array:
    x, t = cache
    near = np.clip(x, -100, 100)  # farther out x² may overflow, and 1 − t² is 0
    dt = (1 - t * t) * (math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * near * near))
    return 0.5 * (1 + t + x * dt)


def _gelu_onnx(*, approximate: bool, dtype: Any, **_: Any) -> Expression:
    if approximate:
        cube = op("Mul", "x", op("Mul", "x", "x"))
        inner = op("Mul", op("Add", "x", op("Mul", cube, 0.044715)), math.sqrt(2 / math.pi))
        share: Expression = op("Tanh", inner)
    else:
        share = _erf(op("Mul", "x", math.sqrt(0.5)), dtype)
    return op("Mul", op("Mul", "x", 0.5), op("Add", share, 1.0))


def _erf(z: Expression, dtype: Any) -> Expression:
    """erf(z). ONNX Runtime has no Erf for float64: there 2z/√π ∫₀¹ exp(−z²t²) dt by Gauss–Legendre quadrature."""
    if dtype == np.float32:
        return op("Erf", z)
    t, w = np.polynomial.legendre.leggauss(32)  # error 3e-15 up to |z| = 6, beyond which erf is 1 in float64
    sign, inside = op("Sign", z), op("Less", op("Abs", z), 6.0)
    z = op("Min", op("Max", z, -6.0), 6.0)
    square = op("Unsqueeze", op("Mul", z, z), np.array([-1]))
    integral = op("MatMul", op("Exp", op("Mul", square, -(((t + 1) / 2) ** 2))), w / 2)
    return op("Where", inside, op("Mul", op("Mul", z, 2 / math.sqrt(math.pi)), integral), sign)


GELU = Kernel(_gelu, _gelu_backward, formula="x · Φ(x)", uses=("approximate",), onnx=_gelu_onnx)


def silu() -> Layer:
    """x · σ(x), also called swish (Elfwing et al. 2017; Ramachandran et al. 2017).

    >>> nn.silu().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.array([[0.0, 1.0]]))[0].round(4)
    array([[0.    , 0.7311]])
    """
    return make("silu", kernel=SILU)


swish = silu


def _silu(params: Params, x: Array) -> tuple[Array, tuple[Array, Array]]:
    s = logistic(x)
    # below this bound s is not small enough, while the product is almost 0
    x = np.maximum(x, -largest_exponent(x.dtype))
    return x * s, (x, s)


def _silu_backward(params: Params, cache: tuple[Array, Array], dy: Array, grads: Grads, need: bool) -> Array:
    x, s = cache
    return dy * (s * (1 + x * (1 - s)))


def _silu_onnx(**_: Any) -> Expression:
    return op("Div", "x", op("Add", op("Exp", op("Neg", "x")), 1.0))


SILU = Kernel(_silu, _silu_backward, formula="x · σ(x)", onnx=_silu_onnx)


def softplus() -> Layer:
    """log(1 + exp(x)); dx = dy · σ(x).

    >>> nn.softplus().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.array([[-1000.0, 0.0, 50.0]]))[0].round(4)
    array([[ 0.    ,  0.6931, 50.    ]])
    """
    return make("softplus", kernel=SOFTPLUS)


def _softplus(params: Params, x: Array) -> tuple[Array, Array]:
    return log1pexp(x), x


def _softplus_backward(params: Params, x: Array, dy: Array, grads: Grads, need: bool) -> Array:
    return dy * logistic(x)


def _softplus_onnx(**_: Any) -> Expression:
    return op("Add", op("Max", "x", 0.0), op("Log", op("Add", op("Exp", op("Neg", op("Abs", "x"))), 1.0)))


SOFTPLUS = Kernel(_softplus, _softplus_backward, formula="log(1 + exp(x))", onnx=_softplus_onnx)


def mish() -> Layer:
    """x · tanh(log(1 + exp(x))) (Misra, BMVC 2020).

    >>> nn.mish().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.array([[0.0, 1.0]]))[0].round(4)
    array([[0.    , 0.8651]])
    """
    return make("mish", kernel=MISH)


def _mish(params: Params, x: Array) -> tuple[Array, tuple[Array, Array]]:
    e = np.exp(np.minimum(x, 40))  # t is 1 from 20 on
    e *= e + 2
    t = e / (e + 2)  # tanh(log(1 + eˣ)) = ((1 + eˣ)² − 1)/((1 + eˣ)² + 1)
    return x * t, (x, t)


def _mish_backward(params: Params, cache: tuple[Array, Array], dy: Array, grads: Grads, need: bool) -> Array:
    x, t = cache
    return dy * (t + x * (1 - t * t) * logistic(x))


def _mish_onnx(**_: Any) -> Expression:
    return op("Mul", "x", op("Tanh", _softplus_onnx()))


MISH = Kernel(_mish, _mish_backward, formula="x · tanh(log(1 + exp(x)))", onnx=_mish_onnx)


def softsign() -> Layer:
    """x/(1 + |x|); dx = dy/(1 + |x|)².

    >>> nn.softsign().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.array([[-1.0, 0.0, 3.0]]))[0]
    array([[-0.5 ,  0.  ,  0.75]])
    """
    return make("softsign", kernel=SOFTSIGN)


def _softsign(params: Params, x: Array) -> tuple[Array, Array]:
    size = 1 + np.abs(x)
    return x / size, size


def _softsign_backward(params: Params, size: Array, dy: Array, grads: Grads, need: bool) -> Array:
    return dy / (size * size)


def _softsign_onnx(**_: Any) -> Expression:
    return op("Div", "x", op("Add", op("Abs", "x"), 1.0))


SOFTSIGN = Kernel(_softsign, _softsign_backward, formula="x/(1 + |x|)", limits=(-1.0, 1.0), onnx=_softsign_onnx)


# -- identity and names --------------------------------------------------------------------------------------------


def identity() -> Layer:
    """y = x: no activation (also "linear"). y is a read-only view of x.

    >>> nn.identity().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.array([[1.0, 2.0]]))[0]
    array([[1., 2.]])
    """
    return make("identity", kernel=IDENTITY)


def _identity(params: Params, x: Array) -> tuple[Array, None]:
    return view(x), None


def _identity_backward(params: Params, cache: None, dy: Array, grads: Grads, need: bool) -> Array:
    return view(dy)  # type: ignore[no-any-return]  # a view of an array is an array


IDENTITY = Kernel(_identity, _identity_backward, formula="x", onnx=same)

ActivationName: TypeAlias = Literal[
    "elu", "gelu", "hard_sigmoid", "hard_swish", "hard_tanh", "identity", "leaky_relu", "linear", "log_softmax", "mish",
    "relu", "relu6", "selu", "sigmoid", "silu", "softmax", "softplus", "softsign", "swish", "tanh",
]  # fmt: skip
"""The names that stand for activations. `mlp` takes lists of any texts, like `["relu"] * 3 + ["softmax"]`."""

ACTIVATIONS: dict[str, Callable[[], Layer]] = {name: globals()[name] for name in __all__} | {"linear": identity}
"""The activations by name."""


def activation(name: str | Layer) -> Layer:
    """Returns the activation of this name, or the layer itself.

    >>> activation("relu")
    relu()
    """
    layer = by_name("activation", name, ACTIVATIONS)
    if not isinstance(layer, Layer):
        raise TypeError(f"activation={name!r}: expected a name or a layer, like 'relu' or nn.relu()")
    return layer
