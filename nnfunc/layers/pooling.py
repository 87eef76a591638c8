"""Pooling: the maximum or mean over each window, or over all positions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnfunc._internal.validate import flag
from nnfunc.arrays import Array
from nnfunc.core.expressions import Expression, op
from nnfunc.core.kernel import Kernel, Signature
from nnfunc.core.layer import Layer, make
from nnfunc.core.settings import Settings
from nnfunc.core.values import Shapes
from nnfunc.layers.reshaping import one
from nnfunc.layers.sliding import (
    Padding,
    Size,
    channels_first,
    channels_last,
    image,
    onnx_pads,
    sliding,
    two,
    windows_of,
)
from nnfunc.layers.windows import Pads, Windows, padded, taps
from nnfunc.layout import Shape

__all__ = ["avg_pool1d", "avg_pool2d", "global_avg_pool", "global_max_pool", "max_pool1d", "max_pool2d"]


def max_pool1d(size: int, stride: int | None = None, padding: Padding = "valid") -> Layer:
    """The maximum over each window, per feature, of sequences x (..., T, C).

    Arguments are those of `max_pool2d`, with integers instead of pairs; padding also (before, after).

    >>> nn.max_pool1d(2).forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.array([[[1.0], [3.0], [2.0], [0.0]]]))[0].ravel()
    array([3., 2.])
    """
    return make("max_pool1d", Settings(**_slides(1, size, stride, padding)), MAX_POOL)


def max_pool2d(size: Size, stride: Size | None = None, padding: Padding = "valid") -> Layer:
    """The maximum over each window, per feature, of images x (..., H, W, C).

    Args:
        size: the window size, an integer or a pair.
        stride: an integer or a pair; None: the size, so that windows do not overlap.
        padding: as in `conv2d`, with −∞ around x. Less than the size on each side.
    Raises:
        ValueError: a window larger than x, or one that sees only padding.

    The gradient of ties goes to the first maximum, as in PyTorch. A window with NaN yields NaN and no gradient.

    >>> nn.max_pool2d(2).forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.arange(16.0).reshape(1, 4, 4, 1))[0].ravel()
    array([ 5.,  7., 13., 15.])
    """
    return make("max_pool2d", Settings(**_slides(2, size, stride, padding)), MAX_POOL)


def avg_pool1d(
    size: int, stride: int | None = None, padding: Padding = "valid", *, count_padding: bool = False
) -> Layer:
    """The mean over each window, per feature, of sequences x (..., T, C).

    Arguments are those of `avg_pool2d`, with integers instead of pairs; padding also (before, after).

    >>> nn.avg_pool1d(2).forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.array([[[1.0], [3.0], [2.0], [0.0]]]))[0].ravel()
    array([2., 1.])
    """
    settings = Settings(**_slides(1, size, stride, padding), count_padding=flag(count_padding, "count_padding"))
    return make("avg_pool1d", settings, AVG_POOL)


def avg_pool2d(
    size: Size, stride: Size | None = None, padding: Padding = "valid", *, count_padding: bool = False
) -> Layer:
    """The mean over each window, per feature, of images x (..., H, W, C).

    Args:
        size, stride, padding: see `max_pool2d`; the padding is 0.
        count_padding: whether the mean includes the padding: PyTorch's count_include_pad, which is True by default;
            Keras does not include it.
    Raises:
        ValueError: a window larger than x, or one that sees only padding.

    >>> nn.avg_pool2d(2).forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.arange(16.0).reshape(1, 4, 4, 1))[0].ravel()
    array([ 2.5,  4.5, 10.5, 12.5])
    """
    settings = Settings(**_slides(2, size, stride, padding), count_padding=flag(count_padding, "count_padding"))
    return make("avg_pool2d", settings, AVG_POOL)


def _slides(axes: int, size: Size, stride: Size | None, padding: Padding) -> dict[str, Any]:
    found = sliding(axes, size, size if stride is None else stride, padding, 1)
    for k, (before, after) in zip(found["kernel_size"], () if isinstance(found["padding"], str) else found["padding"],
                                  strict=False):  # fmt: skip
        if max(before, after) >= k:
            raise ValueError(
                f"padding={padding!r}: expected less than the size {size}: otherwise a window sees only padding"
            )
    return {"size": found["kernel_size"], "stride": found["stride"], "padding": found["padding"]}


def _windows(lengths: Sequence[int], size: Sequence[int], stride: Sequence[int], padding: str | Pads) -> Windows:
    return windows_of(lengths, kernel_size=size, stride=stride, padding=padding, dilation=(1,) * len(size))


def _signature(
    input_shape: Shapes, *, size: Sequence[int], stride: Sequence[int], padding: str | Pads, **_: Any
) -> Signature:
    shape, axes = one(input_shape, "pooling"), len(size)
    if len(shape) < axes + 1:
        wanted = "(..., H, W, channels)" if axes == 2 else "(..., T, channels)"
        raise ValueError(f"an example has shape {shape}, expected {wanted}")
    lengths = shape[-1 - axes : -1]
    after = _windows(lengths, size, stride, padding).outputs(*two(lengths))[-axes:]
    if min(after) < 1:
        raise ValueError(f"a window spans {tuple(size)}, larger than the axes {lengths} of an example of shape {shape}")
    return Signature((*shape[: -1 - axes], *after, shape[-1]))


def _shaped(y: Array, x: Array, axes: int) -> Array:
    return y.reshape(*x.shape[: -1 - axes], *y.shape[-1 - axes :])


# -- maximum -----------------------------------------------------------------------------------------------------------


class MaxCache(NamedTuple):
    """x and y, from which the positions of the maxima are recomputed."""

    x: Array
    y: Array


def _max_pool(
    params: Sequence[Array], x: Array, *, size: Sequence[int], stride: Sequence[int], padding: str | Pads
) -> tuple[Array, MaxCache]:
    axes = len(size)
    windows, seen = _windows(x.shape[-1 - axes : -1], size, stride, padding), image(x, axes)
    places = taps(padded(seen, windows.pads, -math.inf), windows, windows.outputs(*seen.shape[1:3]))
    y = next(places).copy()
    for place in places:
        np.maximum(y, place, out=y)
    return _shaped(y, x, axes), MaxCache(x, y)


def _max_pool_backward(
    params: Sequence[Array], cache: MaxCache, dy: Array, grads: Sequence[Array | None], need: bool, *,
    size: Sequence[int], stride: Sequence[int], padding: str | Pads,
) -> Array:  # fmt: skip
    (x, y), axes = cache, len(size)
    windows, seen = _windows(x.shape[-1 - axes : -1], size, stride, padding), image(x, axes)
    wide = padded(seen, windows.pads, -math.inf)
    dx, outputs, dy = np.zeros(wide.shape, dy.dtype), (y.shape[1], y.shape[2]), dy.reshape(y.shape)
    overlap, left = any(k > s for k, s in zip(size, stride, strict=True)), np.ones(y.shape, np.bool_)
    for place, d in zip(taps(wide, windows, outputs), taps(dx, windows, outputs), strict=True):
        first = place == y
        first &= left
        left ^= first
        share = first.astype(dy.dtype)  # twice as fast as a product with booleans
        if overlap:
            d += dy * share
        else:
            np.multiply(dy, share, out=d)
    return padded(dx, tuple((-a, -b) for a, b in windows.pads)).reshape(x.shape)


# -- mean --------------------------------------------------------------------------------------------------------------


def _counts(windows: Windows, height: int, width: int, count_padding: bool, dtype: Any) -> Array:
    """The number of elements in the mean of each window: (1, oh, ow, 1)."""
    inside = padded(np.ones((1, height, width, 1), dtype), windows.pads, float(count_padding))
    return sum(taps(inside, windows, windows.outputs(height, width)), np.zeros((), dtype))


def _avg_pool(
    params: Sequence[Array], x: Array, *, size: Sequence[int], stride: Sequence[int], padding: str | Pads,
    count_padding: bool,
) -> tuple[Array, Shape]:  # fmt: skip
    axes = len(size)
    windows, seen = _windows(x.shape[-1 - axes : -1], size, stride, padding), image(x, axes)
    places = taps(padded(seen, windows.pads), windows, windows.outputs(*seen.shape[1:3]))
    y = next(places).copy()
    for place in places:
        y += place
    y /= _counts(windows, seen.shape[1], seen.shape[2], count_padding, x.dtype)
    return _shaped(y, x, axes), x.shape


def _avg_pool_backward(
    params: Sequence[Array], shape: Shape, dy: Array, grads: Sequence[Array | None], need: bool, *,
    size: Sequence[int], stride: Sequence[int], padding: str | Pads, count_padding: bool,
) -> Array:  # fmt: skip
    axes = len(size)
    windows, (height, width) = _windows(shape[-1 - axes : -1], size, stride, padding), two(shape[-1 - axes : -1])
    d = image(dy, axes)
    share = d / _counts(windows, height, width, count_padding, dy.dtype)
    (top, bottom), (left, right) = windows.pads
    dx = np.zeros((len(d), height + top + bottom, width + left + right, shape[-1]), dy.dtype)
    for place in taps(dx, windows, (d.shape[1], d.shape[2])):
        place += share
    return padded(dx, tuple((-a, -b) for a, b in windows.pads)).reshape(shape)


# -- over all positions ------------------------------------------------------------------------------------------------


def global_max_pool() -> Layer:
    """The maximum over all positions, per feature: an example (..., C) becomes (C,).

    The gradient of ties goes to the first maximum.

    >>> nn.global_max_pool().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.arange(8.0).reshape(1, 2, 2, 2))[0]
    array([[6., 7.]])
    """
    return make("global_max_pool", kernel=GLOBAL_MAX)


def global_avg_pool() -> Layer:
    """The mean over all positions, per feature (Lin et al., Network in network, 2014): (..., C) becomes (C,).

    >>> nn.global_avg_pool().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.arange(8.0).reshape(1, 2, 2, 2))[0]
    array([[3., 4.]])
    """
    return make("global_avg_pool", kernel=GLOBAL_AVG)


def _global_signature(input_shape: Shapes) -> Signature:
    shape = one(input_shape, "global pooling")
    if len(shape) < 2:
        raise ValueError(f"an example has shape {shape}, expected (..., features) with positions before the features")
    return Signature(shape[-1:])


def _positions(x: Array, lead: int) -> Array:
    """Reshapes x to (examples, positions, features), after the stack axis if there is one."""
    return x.reshape(*x.shape[:lead], -1, x.shape[-1])


def _global_max(params: Sequence[Array], x: Array, *, lead: int) -> tuple[Array, tuple[Shape, NDArray[np.intp]]]:
    seen = _positions(x, lead)
    at: NDArray[np.intp] = seen.argmax(axis=-2)[..., None, :]
    return np.take_along_axis(seen, at, axis=-2)[..., 0, :], (x.shape, at)


def _global_max_backward(
    params: Sequence[Array], cache: tuple[Shape, NDArray[np.intp]], dy: Array, grads: Sequence[Array | None], need: bool
) -> Array:
    shape, at = cache
    dx = np.zeros((*dy.shape[:-1], math.prod(shape[dy.ndim - 1 : -1]), shape[-1]), dy.dtype)
    np.put_along_axis(dx, at, dy[..., None, :], axis=-2)
    return dx.reshape(shape)


def _global_avg(params: Sequence[Array], x: Array, *, lead: int) -> tuple[Array, Shape]:
    y: Array = _positions(x, lead).mean(axis=-2)
    return y, x.shape


def _global_avg_backward(
    params: Sequence[Array], shape: Shape, dy: Array, grads: Sequence[Array | None], need: bool
) -> Array:
    count = math.prod(shape[dy.ndim - 1 : -1])
    each = (dy / count).reshape(*dy.shape[:-1], *(1 for _ in shape[dy.ndim - 1 : -1]), shape[-1])
    dx: Array = np.broadcast_to(each, shape)
    return dx


# -- ONNX --------------------------------------------------------------------------------------------------------------


def _onnx(
    *, shape: Shape, after: Shape, size: Sequence[int], stride: Sequence[int], padding: str | Pads,
    count_padding: bool | None = None, **_: Any,
) -> Expression:  # fmt: skip
    axes = len(size)
    windows = _windows(shape[-1 - axes : -1], size, stride, padding)
    attributes: dict[str, Any] = {
        "kernel_shape": list(size), "strides": list(stride), "pads": onnx_pads(windows, axes),
    }  # fmt: skip
    kind = "MaxPool"
    if count_padding is not None:
        kind, attributes = "AveragePool", {**attributes, "count_include_pad": int(count_padding)}
    return channels_last(op(kind, channels_first("x", shape, axes), **attributes), after, axes)


def _global_onnx(kind: str, shape: Shape) -> Expression:
    return op(kind, op("Reshape", "x", np.array([0, -1, shape[-1]])), axes=[1], keepdims=0)


def _global_max_onnx(*, shape: Shape, **_: Any) -> Expression:
    return _global_onnx("ReduceMax", shape)


def _global_avg_onnx(*, shape: Shape, **_: Any) -> Expression:
    return _global_onnx("ReduceMean", shape)


MAX_POOL = Kernel(
    _max_pool, _max_pool_backward, _signature, formula="max over windows", uses=("size", "stride", "padding"),
    stacked=False, onnx=_onnx,
)  # fmt: skip
AVG_POOL = Kernel(
    _avg_pool, _avg_pool_backward, _signature, formula="mean over windows",
    uses=("size", "stride", "padding", "count_padding"), stacked=False, onnx=_onnx,
)  # fmt: skip
GLOBAL_MAX = Kernel(
    _global_max, _global_max_backward, _global_signature, formula="max over positions", asks=("lead",),
    onnx=_global_max_onnx,
)  # fmt: skip
GLOBAL_AVG = Kernel(
    _global_avg, _global_avg_backward, _global_signature, formula="mean over positions", asks=("lead",),
    onnx=_global_avg_onnx,
)  # fmt: skip
