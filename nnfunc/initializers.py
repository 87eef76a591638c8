"""Initial values of parameters: functions of (key, shape, dtype) that return an array.

Every `initializer` argument accepts a name from `INITIALIZERS` or such a function: `dense(3, initializer="glorot")`,
`dense(3, initializer=partial(nn.initializers.constant, value=0.1))`, or a user-defined one.

fan_in and fan_out count the inputs and outputs of one unit: for a weight of shape (..., in, out) they are in and out,
each times the product of the leading axes (a convolution's window). All draw in float64 and then cast, so a key's
float32 parameters are its float64 parameters rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from math import prod, sqrt
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from nnfunc._internal.validate import finite, floating, nearest, number, numeric, positive_int
from nnfunc.arrays import Array
from nnfunc.keys import Key, generator
from nnfunc.keys import check as check_key

__all__ = [
    "random",
    "uniform",
    "he_normal",
    "he_uniform",
    "glorot_normal",
    "glorot_uniform",
    "lecun_normal",
    "lecun_uniform",
    "orthogonal",
    "zeros",
    "ones",
    "constant",
    "INITIALIZERS",
    "Initializer",
    "InitializerFunction",
    "InitializerName",
]


class InitializerFunction(Protocol):
    """A function of a key, a shape and a dtype that returns an array of that shape and dtype.

    >>> def alternating(key, shape, dtype=np.float32):
    ...     return (1 - 2 * (np.indices(shape).sum(axis=0) % 2)).astype(dtype)
    >>> nn.dense(2, alternating).init(nn.key(0), (3,))[0]["W"]
    array([[ 1., -1.],
           [-1.,  1.],
           [ 1., -1.]], dtype=float32)
    """

    def __call__(self, key: Key, shape: tuple[int, ...], dtype: DTypeLike, /) -> Array: ...


InitializerName: TypeAlias = Literal[
    "constant", "glorot", "glorot_normal", "glorot_uniform", "he", "he_normal", "he_uniform", "lecun", "lecun_normal",
    "lecun_uniform", "ones", "orthogonal", "random", "uniform", "xavier", "xavier_normal", "xavier_uniform", "zeros",
]  # fmt: skip
"""A name from `INITIALIZERS`.

>>> name: InitializerName = "he"
"""

Initializer: TypeAlias = "InitializerName | InitializerFunction"
"""A name from `INITIALIZERS`, or a function (key, shape, dtype) -> array.

>>> nn.dense(3, "glorot").init(nn.key(0), (2,))[0]["W"].shape
(2, 3)
"""


def random(key: Key, shape: tuple[int, ...], dtype: DTypeLike = np.float32, *, std: float = 0.01) -> Array:
    """N(0, std²), std = 0.01.

    >>> random(nn.key(0), (2, 3)).shape
    (2, 3)
    """
    std = number(std, "std", 0, math.inf)
    return (std * generator(key).normal(size=_shape(shape))).astype(floating(dtype))


def uniform(key: Key, shape: tuple[int, ...], dtype: DTypeLike = np.float32, *, limit: float = 0.05) -> Array:
    """U(−limit, limit), limit = 0.05.

    >>> bool(abs(uniform(nn.key(0), (200, 300))).max() <= 0.05)
    True
    """
    limit = number(limit, "limit", 0, math.inf)
    return generator(key).uniform(-limit, limit, size=_shape(shape)).astype(floating(dtype))


def he_normal(key: Key, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> Array:
    """N(0, 2/fan_in), for layers with ReLU (He et al., Delving deep into rectifiers, ICCV 2015, eq. 10).

    >>> float(np.round(he_normal(nn.key(0), (200, 300)).var() * 200, 1))
    2.0
    """
    return _normal(key, shape, dtype, 2 / _fans(shape)[0])


def he_uniform(key: Key, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> Array:
    """U(−√(6/fan_in), √(6/fan_in)): the variance of `he_normal`.

    >>> bool(abs(he_uniform(nn.key(0), (6, 5))).max() <= 1)
    True
    """
    return _uniform(key, shape, dtype, 2 / _fans(shape)[0])


def glorot_normal(key: Key, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> Array:
    """N(0, 2/(fan_in + fan_out)), for tanh and softmax (Glorot & Bengio, AISTATS 2010, eq. 12); also called Xavier.

    >>> float(np.round(glorot_normal(nn.key(0), (200, 200)).var() * 200, 1))
    1.0
    """
    return _normal(key, shape, dtype, 2 / sum(_fans(shape)))


def glorot_uniform(key: Key, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> Array:
    """U(−√(6/(fan_in + fan_out)), √(6/(fan_in + fan_out))) (Glorot & Bengio 2010, eq. 16).

    >>> bool(abs(glorot_uniform(nn.key(0), (3, 3))).max() <= 1)
    True
    """
    return _uniform(key, shape, dtype, 2 / sum(_fans(shape)))


def lecun_normal(key: Key, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> Array:
    """N(0, 1/fan_in), for SELU (LeCun et al., Efficient BackProp, 1998, eq. 16; Klambauer et al. 2017).

    >>> float(np.round(lecun_normal(nn.key(0), (200, 300)).var() * 200, 1))
    1.0
    """
    return _normal(key, shape, dtype, 1 / _fans(shape)[0])


def lecun_uniform(key: Key, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> Array:
    """U(−√(3/fan_in), √(3/fan_in)): the variance of `lecun_normal`.

    >>> bool(abs(lecun_uniform(nn.key(0), (3, 5))).max() <= 1)
    True
    """
    return _uniform(key, shape, dtype, 1 / _fans(shape)[0])


def orthogonal(key: Key, shape: tuple[int, ...], dtype: DTypeLike = np.float32, *, gain: float = 1.0) -> Array:
    """`gain` times a random matrix with orthonormal rows or columns, whichever are fewer (Saxe et al., ICLR 2014).

    All axes but the last count as rows. Drawn uniformly (Haar): the Q of a normal matrix, with the signs of R's
    diagonal (Mezzadri, Notices of the AMS 54, 2007).

    >>> W = orthogonal(nn.key(0), (5, 3), np.float64)
    >>> np.allclose(W.T @ W, np.eye(3))
    True
    """
    _fans(shape)  # checks the shape
    rows, columns = prod(shape[:-1]), shape[-1]
    gain = number(gain, "gain", -math.inf, math.inf)
    q, r = np.linalg.qr(generator(key).normal(size=(max(rows, columns), min(rows, columns))))
    q *= np.sign(np.diagonal(r))
    return (gain * (q if rows >= columns else q.T).reshape(shape)).astype(floating(dtype))


def zeros(key: Key, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> Array:
    """0 everywhere: the default of biases.

    >>> zeros(nn.key(0), (2,))
    array([0., 0.], dtype=float32)
    """
    check_key(key)
    return np.zeros(_shape(shape), floating(dtype))


def ones(key: Key, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> Array:
    """1 everywhere: the default of scales.

    >>> ones(nn.key(0), (2,))
    array([1., 1.], dtype=float32)
    """
    check_key(key)
    return np.ones(_shape(shape), floating(dtype))


def constant(key: Key, shape: tuple[int, ...], dtype: DTypeLike = np.float32, *, value: float = 1.0) -> Array:
    """`value` everywhere.

    >>> constant(nn.key(0), (2,), value=0.5)
    array([0.5, 0.5], dtype=float32)
    """
    check_key(key)
    return np.full(_shape(shape), number(value, "value", -math.inf, math.inf), floating(dtype))


INITIALIZERS: dict[str, Callable[..., Array]] = {
    "random": random,
    "uniform": uniform,
    "he": he_normal,
    "he_normal": he_normal,
    "he_uniform": he_uniform,
    "glorot": glorot_normal,
    "glorot_normal": glorot_normal,
    "glorot_uniform": glorot_uniform,
    "xavier": glorot_normal,
    "xavier_normal": glorot_normal,
    "xavier_uniform": glorot_uniform,
    "lecun": lecun_normal,
    "lecun_normal": lecun_normal,
    "lecun_uniform": lecun_uniform,
    "orthogonal": orthogonal,
    "zeros": zeros,
    "ones": ones,
    "constant": constant,
}
"""The initializers by name.

>>> INITIALIZERS["xavier"] is glorot_normal
True
"""


def check(initializer: Initializer, name: str = "initializer") -> Initializer:
    """Returns `initializer` if it is a function or a known name."""
    if not callable(initializer) and not isinstance(initializer, str):
        raise TypeError(
            f"{name} is {type(initializer).__name__}, expected a name or a function (key, shape, dtype) -> array: "
            "for given values, pass lambda key, shape, dtype: values"
        )
    if not callable(initializer) and initializer not in INITIALIZERS:
        raise ValueError(f"{name}: {nearest('initializer', initializer, INITIALIZERS)}")
    return initializer


def initial(initializer: Initializer, key: Key, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Returns the array that an initializer creates, checked."""
    function = INITIALIZERS[initializer] if isinstance(initializer, str) else initializer
    given = numeric(function(key, shape, dtype), f"the result of the initializer {_named(initializer)}")
    array: Array = given.astype(dtype, copy=False)
    if array.shape != shape:
        raise ValueError(f"the initializer {_named(initializer)} returned shape {array.shape}, expected {shape}")
    return finite(array, f"the result of the initializer {_named(initializer)}")


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Returns fan_in and fan_out; a bias counts as the weight of one input."""
    if not _shape(shape) or 0 in shape:
        raise ValueError(f"shape={shape}: expected (inputs, outputs), like (64, 10), each 1 or more")
    window = prod(shape[:-2])
    return window * (shape[-2] if len(shape) > 1 else 1), window * shape[-1]


def _named(initializer: Initializer) -> str:
    return repr(initializer) if isinstance(initializer, str) else getattr(initializer, "__name__", "(user-defined)")


def _shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    if not isinstance(shape, (tuple, list)):
        raise TypeError(f"shape={shape!r}: expected a tuple, like (64, 10)")
    return tuple(positive_int(n, "shape", 0) for n in shape)


def _normal(key: Key, shape: tuple[int, ...], dtype: DTypeLike, variance: float) -> Array:
    return (sqrt(variance) * generator(key).normal(size=shape)).astype(floating(dtype))


def _uniform(key: Key, shape: tuple[int, ...], dtype: DTypeLike, variance: float) -> Array:
    limit = sqrt(3 * variance)
    return generator(key).uniform(-limit, limit, size=shape).astype(floating(dtype))
