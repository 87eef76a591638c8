"""Layers that lengthen or shorten axes: upsample, pad, crop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnfunc._internal.validate import number
from nnfunc.arrays import Array
from nnfunc.core.expressions import Expression, op
from nnfunc.core.kernel import Kernel, Signature, view
from nnfunc.core.layer import Layer, make
from nnfunc.core.settings import Settings
from nnfunc.core.values import Shapes
from nnfunc.layers.reshaping import one
from nnfunc.layers.sliding import Size, each_axis, pads_of
from nnfunc.layers.windows import Pads
from nnfunc.layout import Shape

__all__ = ["crop", "pad", "upsample1d", "upsample2d"]


def upsample1d(factor: int) -> Layer:
    """Repeats each step of a sequence (..., T, C) `factor` times: (..., T·factor, C).

    >>> nn.upsample1d(2).forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.array([[[1.0], [2.0]]]))[0].ravel()
    array([1., 1., 2., 2.])
    """
    return make("upsample1d", Settings(factor=each_axis(factor, "factor", 1)), UPSAMPLE)


def upsample2d(factor: Size) -> Layer:
    """Repeats each pixel of an image (..., H, W, C) `factor` times in both directions (nearest neighbour).

    Args:
        factor: an integer for both axes, or a pair.

    >>> nn.upsample2d(2).forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.ones((5, 7, 7, 3)))[0].shape
    (5, 14, 14, 3)
    """
    return make("upsample2d", Settings(factor=each_axis(factor, "factor", 2)), UPSAMPLE)


def _upsample_signature(input_shape: Shapes, *, factor: tuple[int, ...]) -> Signature:
    shape = _example(input_shape, len(factor), "upsampling")
    longer = (n * f for n, f in zip(shape[-1 - len(factor) : -1], factor, strict=True))
    return Signature((*shape[: -1 - len(factor)], *longer, shape[-1]))


def _example(input_shape: Shapes, axes: int, what: str) -> Shape:
    shape = one(input_shape, what)
    if len(shape) < axes + 1:
        raise ValueError(f"an example has shape {shape}, expected at least {axes} axes before the features")
    return shape


def _parted(shape: Shape, factor: tuple[int, ...]) -> Shape:
    """The shape of y with each lengthened axis split into two: that of x, and the copies."""
    axes = len(factor)
    pairs = (n for length, f in zip(shape[-1 - axes : -1], factor, strict=True) for n in (length, f))
    return (*shape[: -1 - axes], *pairs, shape[-1])


def _upsample(params: Sequence[Array], x: Array, *, factor: tuple[int, ...]) -> tuple[Array, Shape]:
    parted = _parted(x.shape, factor)
    ones = _parted(x.shape, (1,) * len(factor))
    longer = (n * f for n, f in zip(x.shape[-1 - len(factor) : -1], factor, strict=True))
    y: Array = np.broadcast_to(x.reshape(ones), parted).reshape(*x.shape[: -1 - len(factor)], *longer, x.shape[-1])
    return y, x.shape


def _upsample_backward(
    params: Sequence[Array], shape: Shape, dy: Array, grads: Sequence[Array | None], need: bool, *,
    factor: tuple[int, ...],
) -> Array:  # fmt: skip
    parted = _parted(shape, factor)
    dx: Array = dy.reshape(parted).sum(axis=tuple(range(len(parted) - 2 * len(factor), len(parted) - 1, 2)))
    return dx


def _upsample_onnx(*, shape: Shape, after: Shape, factor: tuple[int, ...], **_: Any) -> Expression:
    ones, parted = (_parted(shape, f) for f in ((1,) * len(factor), factor))
    wide = op("Expand", op("Reshape", "x", np.array([-1, *ones])), np.array([1, *parted]))
    return op("Reshape", wide, np.array([-1, *after]))


def pad(pairs: Any, value: float = 0.0) -> Layer:
    """Pads the axes before the features with a constant.

    Args:
        pairs: (before, after) for sequences (..., T, C), ((top, bottom), (left, right)) for images (..., H, W, C).
        value: the constant.

    >>> nn.pad((1, 2)).forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.ones((1, 2, 1)))[0].ravel()
    array([0., 1., 1., 0., 0.])
    """
    value = float(number(value, "value", -math.inf, math.inf))
    return make("pad", Settings(pairs=_pairs(pairs), value=value), PAD)


def crop(pairs: Any) -> Layer:
    """Crops the ends of the axes before the features: the inverse of `pad`.

    Args:
        pairs: the amounts to crop, as in `pad`.
    Raises:
        ValueError: (when used) nothing would be left.

    >>> nn.crop((1, 2)).forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.arange(5.0).reshape(1, 5, 1))[0].ravel()
    array([1., 2.])
    """
    return make("crop", Settings(pairs=_pairs(pairs)), CROP)


def _pairs(pairs: Any) -> Pads:
    axes = 1
    if isinstance(pairs, (tuple, list)) and pairs and all(isinstance(p, (tuple, list)) for p in pairs):
        axes = len(pairs)
    elif not isinstance(pairs, (tuple, list)):
        raise ValueError(f"pairs={pairs!r}: expected (before, after), or ((top, bottom), (left, right))")
    found = pads_of(pairs, axes)
    assert not isinstance(found, str)
    return found


def _pad_signature(input_shape: Shapes, *, pairs: Pads, **_: Any) -> Signature:
    shape = _example(input_shape, len(pairs), "padding")
    lengths = (n + a + b for n, (a, b) in zip(shape[-1 - len(pairs) : -1], pairs, strict=True))
    return Signature((*shape[: -1 - len(pairs)], *lengths, shape[-1]))


def _inside(pairs: Pads) -> tuple[Any, ...]:
    """The index of the part between the pairs."""
    return (..., *(slice(a, -b if b else None) for a, b in pairs), slice(None))


def _pad(params: Sequence[Array], x: Array, *, pairs: Pads, value: float) -> tuple[Array, None]:
    lengths = (n + a + b for n, (a, b) in zip(x.shape[-1 - len(pairs) : -1], pairs, strict=True))
    y = np.full((*x.shape[: -1 - len(pairs)], *lengths, x.shape[-1]), value, x.dtype)
    y[_inside(pairs)] = x
    return y, None


def _pad_backward(
    params: Sequence[Array], cache: None, dy: Array, grads: Sequence[Array | None], need: bool, *, pairs: Pads, **_: Any
) -> Array:
    dx: Array = view(dy[_inside(pairs)])
    return dx


def _pad_onnx(*, shape: Shape, pairs: Pads, value: float, dtype: Any, **_: Any) -> Expression:
    around = ((0, 0),) * (len(shape) - len(pairs)) + (*pairs, (0, 0))
    counts = np.array([a for a, _ in around] + [b for _, b in around])
    return op("Pad", "x", counts, np.array(value, dtype))


def _crop_signature(input_shape: Shapes, *, pairs: Pads) -> Signature:
    shape = _example(input_shape, len(pairs), "cropping")
    lengths = tuple(n - a - b for n, (a, b) in zip(shape[-1 - len(pairs) : -1], pairs, strict=True))
    if min(lengths) < 1:
        raise ValueError(f"pairs={pairs} leaves nothing of an example of shape {shape}")
    return Signature((*shape[: -1 - len(pairs)], *lengths, shape[-1]))


def _crop(params: Sequence[Array], x: Array, *, pairs: Pads) -> tuple[Array, Shape]:
    return view(x[_inside(pairs)]), x.shape


def _crop_backward(
    params: Sequence[Array], shape: Shape, dy: Array, grads: Sequence[Array | None], need: bool, *, pairs: Pads
) -> Array:
    dx = np.zeros(shape, dy.dtype)
    dx[_inside(pairs)] = dy
    return dx


def _crop_onnx(*, shape: Shape, pairs: Pads, **_: Any) -> Expression:
    first = len(shape) - len(pairs)  # the axis of the examples included
    starts, ends = np.array([a for a, _ in pairs]), np.array([n - b for n, (_, b) in zip(shape[first - 1 : -1], pairs,
                                                                                         strict=True)])  # fmt: skip
    return op("Slice", "x", starts, ends, np.arange(first, first + len(pairs)))


UPSAMPLE = Kernel(
    _upsample, _upsample_backward, _upsample_signature, formula="x, repeated", uses=("factor",), onnx=_upsample_onnx
)
PAD = Kernel(
    _pad, _pad_backward, _pad_signature, formula="x with numbers around", uses=("pairs", "value"), onnx=_pad_onnx
)
CROP = Kernel(_crop, _crop_backward, _crop_signature, formula="a part of x", uses=("pairs",), onnx=_crop_onnx)
