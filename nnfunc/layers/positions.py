"""Positional encodings: learned, sinusoidal and rotary positions, over x (..., T, D)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np

from nnfunc._internal.validate import choice, number, positive_int
from nnfunc.arrays import Array
from nnfunc.core.expressions import Expression, op
from nnfunc.core.kernel import Initial, Kernel, Signature
from nnfunc.core.layer import Layer, make
from nnfunc.core.settings import Settings
from nnfunc.core.values import Shapes
from nnfunc.initializers import Initializer, check
from nnfunc.layers.reshaping import one
from nnfunc.layout import Shape

__all__ = ["learned_positions", "rotary_positions", "sinusoidal_positions"]

Pairing: TypeAlias = Literal["halves", "adjacent"]


def learned_positions(length: int, initializer: Initializer = "random") -> Layer:
    """x + P[:T], with a learned vector per position (Gehring et al., ICML 2017).

    Args:
        length: the maximum number of positions.
        initializer: the initializer of P; "random" is N(0, 0.01²).
    Parameters: P (length, D).
    Raises:
        ValueError: more positions than `length`.

    >>> layer = nn.learned_positions(10)
    >>> params, state = layer.init(nn.key(0), (7, 3))
    >>> params["P"].shape, layer.forward(params, state, np.ones((5, 7, 3)))[0].shape
    ((10, 3), (5, 7, 3))
    """
    settings = Settings(length=positive_int(length, "length"), initializer=check(initializer))
    return make("learned_positions", settings, LEARNED)


def _sequence(input_shape: Shapes, what: str) -> Shape:
    shape = one(input_shape, what)
    if len(shape) < 2:
        raise ValueError(f"an example has shape {shape}, expected (..., time, features)")
    return shape


def _learned_signature(input_shape: Shapes, *, length: int, initializer: Initializer) -> Signature:
    shape = _sequence(input_shape, "learned_positions")
    if shape[-2] > length:
        raise ValueError(f"an example has {shape[-2]} positions, but length={length}")
    return Signature(shape, {"P": Initial((length, shape[-1]), initializer)})


def _learned(params: Sequence[Array], x: Array) -> tuple[Array, int]:
    T = x.shape[-2]
    return x + params[0][:T], T


def _learned_backward(params: Sequence[Array], T: int, dy: Array, grads: Sequence[Array | None], need: bool) -> Array:
    if grads[0] is not None:
        grads[0][T:] = 0
        np.sum(dy.reshape(-1, *dy.shape[-2:]), axis=0, out=grads[0][:T])
    return dy


def _learned_step(params: Sequence[Array], x: Array, memory: int | None) -> tuple[Array, int]:
    before = memory or 0
    after = before + x.shape[-2]
    if after > len(params[0]):
        raise ValueError(f"got position {after - 1}, but length={len(params[0])}")
    return x + params[0][before:after], after


def _learned_onnx(*, shape: Shape, **_: Any) -> Expression:
    return op("Add", "x", op("Gather", "P", np.arange(shape[-2]), axis=0))


def sinusoidal_positions(base: float = 10000.0) -> Layer:
    """x + P, P[t, 2i] = sin(t / base^(2i/D)), P[t, 2i + 1] = cos(t / base^(2i/D)) (Vaswani et al., NeurIPS 2017).

    Args:
        base: the longest wavelength is 2π times the base.

    >>> layer = nn.sinusoidal_positions()
    >>> layer.forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.zeros((1, 2, 2)))[0].round(4)
    array([[[0.    , 1.    ],
            [0.8415, 0.5403]]])
    """
    return make("sinusoidal_positions", Settings(base=_base(base)), SINUSOIDAL)


def _base(base: float) -> float:
    return float(number(base, "base", 1, np.inf, open_low=True))


@lru_cache(maxsize=8)
def _angles(T: int, pairs: int, D: int, base: float) -> Array:
    """t / base^(2i/D): (T, pairs)."""
    angles: Array = np.arange(T)[:, None] / base ** (2 * np.arange(pairs) / D)
    angles.setflags(write=False)
    return angles


def _waves(before: int, T: int, D: int, base: float, dtype: Any) -> Array:
    """Rows before … before + T − 1 of P."""
    angles = _angles(before + T, -(-D // 2), D, base)[before:]
    waves: Array = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(T, -1)[:, :D].astype(dtype)
    return waves


def _sinusoidal_signature(input_shape: Shapes, *, base: float) -> Signature:
    return Signature(_sequence(input_shape, "sinusoidal_positions"))


def _sinusoidal(params: Sequence[Array], x: Array, *, base: float) -> tuple[Array, None]:
    return x + _waves(0, x.shape[-2], x.shape[-1], base, x.dtype), None


def _sinusoidal_backward(
    params: Sequence[Array], cache: None, dy: Array, grads: Sequence[Array | None], need: bool, *, base: float
) -> Array:
    return dy


def _sinusoidal_step(params: Sequence[Array], x: Array, memory: int | None, *, base: float) -> tuple[Array, int]:
    before = memory or 0
    return x + _waves(before, x.shape[-2], x.shape[-1], base, x.dtype), before + x.shape[-2]


def _sinusoidal_onnx(*, shape: Shape, base: float, dtype: Any, **_: Any) -> Expression:
    return op("Add", "x", _waves(0, shape[-2], shape[-1], base, dtype))


def rotary_positions(base: float = 10000.0, pairing: Pairing = "halves") -> Layer:
    """Rotates each pair of features by the angle t / base^(2i/D) (Su et al. 2021, RoFormer).

    Products of a query and a key then depend only on the distance between their positions.

    Args:
        base: the base of the angles.
        pairing: "halves": features i and i + D/2 form a pair, as in GPT-NeoX, LLaMA and Hugging Face; "adjacent": 2i
            and 2i + 1, as in the paper and GPT-J.
    Raises:
        ValueError: an odd number of features.

    >>> layer = nn.rotary_positions()
    >>> layer.forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.array([[[1.0, 0.0], [1.0, 0.0]]]))[0].round(4)
    array([[[1.    , 0.    ],
            [0.5403, 0.8415]]])
    """
    choice(pairing, "pairing", "halves", "adjacent")
    return make("rotary_positions", Settings(base=_base(base), pairing=pairing), ROTARY)


def _rotary_signature(input_shape: Shapes, *, base: float, pairing: Pairing) -> Signature:
    shape = _sequence(input_shape, "rotary_positions")
    if shape[-1] % 2:
        raise ValueError(f"an example has {shape[-1]} features, expected an even number: they are rotated in pairs")
    return Signature(shape)


def rotated(x: Array, base: float, pairing: Pairing, before: int = 0, sign: int = 1) -> Array:
    """Rotates x (..., T, D) by its positions, starting at `before`; sign −1 rotates back.

    >>> x = np.random.default_rng(0).normal(size=(2, 3, 4))
    >>> np.allclose(rotated(rotated(x, 100.0, "halves"), 100.0, "halves", sign=-1), x)
    True
    """
    T, D = x.shape[-2:]
    angles = _angles(before + T, D // 2, D, base)[before:]
    cos, sin = np.cos(angles).astype(x.dtype), (sign * np.sin(angles)).astype(x.dtype)
    first: Any = np.s_[..., : D // 2] if pairing == "halves" else np.s_[..., ::2]
    second: Any = np.s_[..., D // 2 :] if pairing == "halves" else np.s_[..., 1::2]
    a, b, y = x[first], x[second], np.empty(x.shape, x.dtype)
    y[first] = a * cos - b * sin
    y[second] = a * sin + b * cos
    return y


def _rotary(params: Sequence[Array], x: Array, *, base: float, pairing: Pairing) -> tuple[Array, None]:
    return rotated(x, base, pairing), None


def _rotary_backward(
    params: Sequence[Array], cache: None, dy: Array, grads: Sequence[Array | None], need: bool, *, base: float,
    pairing: Pairing,
) -> Array:  # fmt: skip
    return rotated(dy, base, pairing, sign=-1)  # the transpose of a rotation is its inverse


def _rotary_step(
    params: Sequence[Array], x: Array, memory: int | None, *, base: float, pairing: Pairing
) -> tuple[Array, int]:
    before = memory or 0
    return rotated(x, base, pairing, before), before + x.shape[-2]


def rotated_onnx(x: Expression, T: int, D: int, base: float, pairing: Pairing, dtype: Any) -> Expression:
    """x cos + (x with the elements of each pair swapped) sin, with the signs in sin."""
    angles = _angles(T, D // 2, D, base)
    cos, sin = np.cos(angles), np.sin(angles)
    if pairing == "halves":
        order = np.concatenate([np.arange(D // 2, D), np.arange(D // 2)])
        cos, sin = np.concatenate([cos, cos], 1), np.concatenate([-sin, sin], 1)
    else:
        order = np.arange(D).reshape(-1, 2)[:, ::-1].ravel()
        cos, sin = np.repeat(cos, 2, 1), np.stack([-sin, sin], -1).reshape(T, D)
    exchanged = op("Gather", x, order, axis=-1)
    return op("Add", op("Mul", x, cos.astype(dtype)), op("Mul", exchanged, sin.astype(dtype)))


def _rotary_onnx(*, shape: Shape, base: float, pairing: Pairing, dtype: Any, **_: Any) -> Expression:
    return rotated_onnx("x", shape[-2], shape[-1], base, pairing, dtype)


LEARNED = Kernel(
    _learned, _learned_backward, _learned_signature, formula="x + P[:T]", stacked=False, step=_learned_step,
    onnx=_learned_onnx,
)  # fmt: skip
SINUSOIDAL = Kernel(
    _sinusoidal, _sinusoidal_backward, _sinusoidal_signature, formula="x + sin, cos of t", uses=("base",),
    step=_sinusoidal_step, onnx=_sinusoidal_onnx,
)  # fmt: skip
ROTARY = Kernel(
    _rotary, _rotary_backward, _rotary_signature, formula="pairs of x, turned by t", uses=("base", "pairing"),
    step=_rotary_step, onnx=_rotary_onnx,
)  # fmt: skip
