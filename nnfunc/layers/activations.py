"""Activations: layers without parameters that act on each element (softmax: on the last axis).

An elementwise activation is two functions: `f(x) -> (y, cache)` and `slope(cache) -> dy/dx`. At a kink the slope is
that of the left side (0 for ReLU).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
from numpy.typing import ArrayLike

from nnfunc.arrays import Array
from nnfunc.errors import by_name, number
from nnfunc.layers.base import Cache, Kernel, Layer, Shape, of_kernel, view
from nnfunc.sums import sum_of_columns


def _elementwise(
    name: str, f: Callable[..., tuple[Array, Cache]], slope: Callable[..., Array], **hyper: float
) -> Layer:
    forward = partial(f, **hyper) if hyper else f
    return of_kernel(name, Kernel(forward, partial(_times_slope, slope=partial(slope, **hyper) if hyper else slope)))


def _times_slope(dy: Array, cache: Cache, *_: object, slope: Callable[[Cache], Array]) -> Array:
    return dy * slope(cache)


@lru_cache
def zero(dtype: np.dtype[np.floating]) -> Array:
    """0 as an array of a dtype, which costs NumPy less than to convert Python's 0."""
    return _constant(0, dtype)


@lru_cache(maxsize=8)
def zeros(shape: Shape, dtype: np.dtype[np.floating]) -> Array:
    """0s to compare with: NumPy takes a third of the time for arrays of one shape that it takes for a number."""
    return _constant(np.zeros(shape), dtype)


SMALL = 1 << 20
"""Up to this size arrays of 0s are kept."""


@lru_cache
def one(dtype: np.dtype[np.floating]) -> Array:
    return _constant(1, dtype)


def _constant(value: ArrayLike, dtype: np.dtype[np.floating]) -> Array:
    constant = np.array(value, dtype)
    constant.setflags(write=False)
    return constant


# -- sigmoid -------------------------------------------------------------------------------------------------------


def logistic(x: Array) -> Array:
    """σ(x) = 1/(1 + exp(−x)), without overflow."""
    y = np.negative(x)
    np.minimum(y, _largest_exponent(x.dtype), out=y)
    np.exp(y, out=y)
    y += one(x.dtype)
    return np.reciprocal(y, out=y)


@lru_cache
def _largest_exponent(dtype: np.dtype[np.floating]) -> Array:
    return np.array(math.floor(math.log(np.finfo(dtype).max)), dtype)


@lru_cache
def floor(dtype: np.dtype[np.floating]) -> float:
    """The least normal number of a dtype, below which a probability counts as this.

    The cross-entropies divide by probabilities and the backward functions of sigmoid and softmax multiply by them. As
    both put the same floor under them, the product is the fused gradient (A − Y)/m even where a probability is 0.
    """
    return float(np.finfo(dtype).tiny)


def sigmoid() -> Layer:
    """σ(x) = 1/(1 + exp(−x)); dx = dy · σ(1 − σ). Saturates without overflow; a cross-entropy after it gets (A − Y)/m.

    >>> y, cache, _ = nn.sigmoid().forward(nn.EMPTY, nn.EMPTY, np.array([[-1000.0, 0.0, 1000.0]]))
    >>> y.round(6)
    array([[0. , 0.5, 1. ]])
    """
    return _elementwise("sigmoid", _sigmoid, _sigmoid_slope)


def _sigmoid(x: Array) -> tuple[Array, Array]:
    y = logistic(x)
    return y, y


def _sigmoid_slope(y: Array) -> Array:
    least = floor(y.dtype)
    return np.maximum(y, least) * np.maximum(1 - y, least)


# -- softmax -------------------------------------------------------------------------------------------------------


def softmax() -> Layer:
    """A = exp(x − max x) / Σ exp(x − max x) over the last axis; dx = A · (dy − Σ A·dy), the whole Jacobian product.

    Any loss may follow it, and it may be a hidden layer.

    >>> y, cache, _ = nn.softmax().forward(nn.EMPTY, nn.EMPTY, np.array([[1000.0, 1000.0, 0.0]]))
    >>> y
    array([[0.5, 0.5, 0. ]])
    """
    return of_kernel("softmax", Kernel(_softmax, _softmax_backward))


def shifted_exp(x: Array) -> tuple[Array, Array, Array]:
    """What softmax is made of: x − max x, its exp, and the sum of that, over the last axis, which stays."""
    largest = np.maximum.reduce(x.mT.copy(), axis=-2) if x.shape[-1] <= SHORT else np.maximum.reduce(x, axis=-1)
    shifted = x - largest[..., None]
    exp = np.exp(shifted)
    return shifted, exp, sum_of_columns(exp)[..., None]


SHORT = 64
"""Up to this length NumPy finds the maxima of rows faster in the transpose, many at a time."""


def _softmax(x: Array) -> tuple[Array, Array]:
    _, y, total = shifted_exp(x)
    y /= total
    return y, y


def _softmax_backward(dy: Array, y: Array, *_: object) -> Array:
    A = np.maximum(y, floor(y.dtype))
    return A * (dy - sum_of_columns(A * dy)[..., None])


# -- tanh, ReLU and its relatives ----------------------------------------------------------------------------------


def tanh() -> Layer:
    """tanh(x); dx = dy · (1 − tanh²(x)).

    >>> nn.tanh().forward(nn.EMPTY, nn.EMPTY, np.array([[0.0, 1000.0]]))[0]
    array([[0., 1.]])
    """
    return _elementwise("tanh", _tanh, _tanh_slope)


def _tanh(x: Array) -> tuple[Array, Array]:
    y = np.tanh(x)
    return y, y


def _tanh_slope(y: Array) -> Array:
    return 1 - y * y


def relu() -> Layer:
    """max(x, 0); dx = dy where x > 0, else 0 (0 at 0).

    >>> nn.relu().forward(nn.EMPTY, nn.EMPTY, np.array([[-1.0, 2.0]]))[0]
    array([[0., 2.]])
    """
    return of_kernel("relu", Kernel(_relu, _relu_backward))


def _relu(x: Array) -> tuple[Array, Array]:
    y = np.maximum(x, zeros(x.shape, x.dtype) if x.size <= SMALL else zero(x.dtype))
    return y, y


def _relu_backward(dy: Array, y: Array, *_: object) -> Array:
    return dy * (y > zero(y.dtype)).astype(y.dtype)  # twice as fast as a product with booleans


def leaky_relu(negative_slope: float = 0.01) -> Layer:
    """x where x > 0, else negative_slope · x (Maas et al., ICML 2013).

    >>> nn.leaky_relu(0.1).forward(nn.EMPTY, nn.EMPTY, np.array([[-1.0, 2.0]]))[0]
    array([[-0.1,  2. ]])
    """
    slope = number(negative_slope, "negative_slope", 0, 1, why="the share of the slope that is left for x < 0")
    return _elementwise("leaky_relu", _leaky_relu, _leaky_relu_slope, negative_slope=slope)


def _leaky_relu(x: Array, negative_slope: float) -> tuple[Array, Array]:
    return np.maximum(x, negative_slope * x), x


def _leaky_relu_slope(x: Array, negative_slope: float) -> Array:
    return np.where(x > 0, x.dtype.type(1), x.dtype.type(negative_slope))


def elu(alpha: float = 1.0) -> Layer:
    """x where x > 0, else alpha · (exp(x) − 1) (Clevert et al., ICLR 2016).

    >>> nn.elu().forward(nn.EMPTY, nn.EMPTY, np.array([[-1000.0, 2.0]]))[0]
    array([[-1.,  2.]])
    """
    return _elementwise("elu", _elu, _elu_slope, alpha=number(alpha, "alpha", 0, math.inf), scale=1.0)


def selu() -> Layer:
    """λ·x where x > 0, else λ·α·(exp(x) − 1), with the λ and α that keep mean 0 and variance 1 (Klambauer et al. 2017).

    Goes with the initializer "lecun".

    >>> nn.selu().forward(nn.EMPTY, nn.EMPTY, np.array([[1.0]]))[0].round(4)
    array([[1.0507]])
    """
    return _elementwise("selu", _elu, _elu_slope, alpha=1.6732632423543772, scale=1.0507009873554805)


def _elu(x: Array, alpha: float, scale: float) -> tuple[Array, Array]:
    return scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))), x


def _elu_slope(x: Array, alpha: float, scale: float) -> Array:
    return scale * np.where(x > 0, x.dtype.type(1), alpha * np.exp(np.minimum(x, 0)))


# -- smooth relatives of ReLU --------------------------------------------------------------------------------------


def gelu(approximate: bool | str = False) -> Layer:
    """x · Φ(x), Φ the normal distribution function (Hendrycks & Gimpel 2016).

    Args:
        approximate: the form with tanh, ½x(1 + tanh(√(2/π)(x + 0.044715x³))), which is many times faster, as NumPy has
            no error function and the exact form takes Python's, element by element; "tanh" and "none" will do too.
    Raises:
        ValueError: another value of approximate.

    >>> nn.gelu().forward(nn.EMPTY, nn.EMPTY, np.array([[1.0]]))[0].round(4)
    array([[0.8413]])
    """
    if approximate not in (True, False, "tanh", "none"):
        raise ValueError(f"approximate={approximate!r}: expected True ('tanh') or False ('none')")
    return _elementwise("gelu", _gelu, _gelu_slope, approximate=approximate in (True, "tanh"))


def _gelu(x: Array, approximate: bool) -> tuple[Array, tuple[Array, Array]]:
    if approximate:
        return _gelu_tanh(x)
    phi = _normal_cdf(x)
    return x * phi, (x, phi)


def _gelu_slope(cache: tuple[Array, Array], approximate: bool) -> Array:
    if approximate:
        return _gelu_tanh_slope(cache)
    x, phi = cache
    return phi + x * np.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))


def _normal_cdf(x: Array) -> Array:
    """Φ(x) = ½ erfc(−x/√2)."""
    half = np.fromiter(map(math.erfc, (x.ravel() * -math.sqrt(0.5)).tolist()), x.dtype, x.size)
    return 0.5 * half.reshape(x.shape)


def _gelu_tanh(x: Array) -> tuple[Array, tuple[Array, Array]]:
    t = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))
    return 0.5 * x * (1 + t), (x, t)


def _gelu_tanh_slope(cache: tuple[Array, Array]) -> Array:
    x, t = cache
    dt = (1 - t * t) * (math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x))
    return 0.5 * (1 + t + x * dt)


def silu() -> Layer:
    """x · σ(x), also called swish (Elfwing et al. 2017; Ramachandran et al. 2017).

    >>> nn.silu().forward(nn.EMPTY, nn.EMPTY, np.array([[0.0, 1.0]]))[0].round(4)
    array([[0.    , 0.7311]])
    """
    return _elementwise("silu", _silu, _silu_slope)


swish = silu


def _silu(x: Array) -> tuple[Array, tuple[Array, Array]]:
    s = logistic(x)
    x = np.maximum(
        x, -_largest_exponent(x.dtype)
    )  # below, s is no longer as small as it should be, and the product almost 0
    return x * s, (x, s)


def _silu_slope(cache: tuple[Array, Array]) -> Array:
    x, s = cache
    return s * (1 + x * (1 - s))


def softplus() -> Layer:
    """log(1 + exp(x)); dx = dy · σ(x).

    >>> nn.softplus().forward(nn.EMPTY, nn.EMPTY, np.array([[-1000.0, 0.0, 50.0]]))[0].round(4)
    array([[ 0.    ,  0.6931, 50.    ]])
    """
    return _elementwise("softplus", _softplus, logistic)


def _softplus(x: Array) -> tuple[Array, Array]:
    return np.logaddexp(x, 0, dtype=x.dtype), x


# -- identity and names --------------------------------------------------------------------------------------------


def identity() -> Layer:
    """y = x: no activation (also "linear"). y is a read-only view of x.

    >>> nn.identity().forward(nn.EMPTY, nn.EMPTY, np.array([[1.0, 2.0]]))[0]
    array([[1., 2.]])
    """
    return of_kernel("identity", Kernel(_identity, _identity_backward))


def _identity(x: Array) -> tuple[Array, None]:
    return view(x), None


def _identity_backward(dy: Array, *_: object) -> Array:
    return view(dy)


ACTIVATIONS: dict[str, Callable[[], Layer]] = {
    "identity": identity,
    "linear": identity,
    "sigmoid": sigmoid,
    "softmax": softmax,
    "tanh": tanh,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "elu": elu,
    "selu": selu,
    "gelu": gelu,
    "silu": silu,
    "swish": silu,
    "softplus": softplus,
}
"""The names that stand for activations."""


def activation(name: str | Layer) -> Layer:
    """The activation of a name, or the layer itself.

    >>> activation("relu")
    relu()
    """
    layer = by_name("activation", name, ACTIVATIONS)
    if not isinstance(layer, Layer):
        raise TypeError(f"activation={name!r}: expected a name or a layer, like 'relu' or nn.relu()")
    return layer
