"""Convolutions of sequences and images, and their transposes; the mathematics is in `windows`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnfunc._internal.numerics import sum_of_rows
from nnfunc._internal.validate import flag, positive_int
from nnfunc.arrays import Array
from nnfunc.core.expressions import Expression, op
from nnfunc.core.kernel import Initial, Kernel, Signature
from nnfunc.core.layer import Layer, make
from nnfunc.core.settings import Settings
from nnfunc.core.values import Shapes
from nnfunc.initializers import Initializer, check
from nnfunc.layers.reshaping import one
from nnfunc.layers.sliding import (
    Padding,
    Size,
    channels_first,
    channels_last,
    image,
    onnx_pads,
    sliding,
    spread_lengths,
    two,
    windows_of,
)
from nnfunc.layers.windows import Pads, Windows, correlate, gradients, spread, swapped, weights
from nnfunc.layout import Shape

__all__ = ["conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d"]


def conv1d(
    filters: int,
    kernel_size: int,
    stride: int = 1,
    padding: Padding = "valid",
    dilation: int = 1,
    groups: int = 1,
    initializer: Initializer = "he",
    bias_initializer: Initializer = "zeros",
    *,
    bias: bool = True,
) -> Layer:
    """y[t, o] = Σᵢ Σ_c x[t·stride + i·dilation − before, c] W[i, c, o] + b[o], over sequences x (..., T, C).

    Arguments are those of `conv2d`, with integers instead of pairs; padding also (before, after): (k − 1, 0) is causal.
    Parameters: W (kernel_size, C/groups, filters), b (filters,). y (..., T', filters).

    >>> layer = nn.conv1d(4, kernel_size=3, padding="same")
    >>> params, state = layer.init(nn.key(0), (10, 2))
    >>> params["W"].shape, layer.forward(params, state, np.ones((5, 10, 2)))[0].shape
    ((3, 2, 4), (5, 10, 4))
    """
    slides = sliding(1, kernel_size, stride, padding, dilation)
    return _make("conv1d", CONV, filters, slides, groups, initializer, bias_initializer, bias)


def conv2d(
    filters: int,
    kernel_size: Size,
    stride: Size = 1,
    padding: Padding = "valid",
    dilation: Size = 1,
    groups: int = 1,
    initializer: Initializer = "he",
    bias_initializer: Initializer = "zeros",
    *,
    bias: bool = True,
) -> Layer:
    """y[p, o] = Σᵢ Σ_c x[p·stride + i·dilation − before, c] W[i, c, o] + b[o], over images x (..., H, W, C).

    A cross-correlation, as in all libraries: the kernel is not reversed (LeCun et al., Proceedings of the IEEE 1998).

    Args:
        filters: the number of outputs at each position.
        kernel_size, stride, dilation: an integer for both axes, or a pair.
        padding: the zeros around x: "valid" for none, with ⌊(H − span)/stride⌋ + 1 output rows, span =
            (k − 1)·dilation + 1; "same" for ⌈H/stride⌉; an integer for all sides; or ((top, bottom), (left, right)).
        groups: the number of groups that channels and filters are divided into; filters see only the channels of their
            group. As many groups as channels make a depthwise convolution.
        initializer, bias_initializer: the initializers of W, whose fan_in is kh·kw·C/groups, and of b.
        bias: whether to add b.
    Parameters: W (kh, kw, C/groups, filters), b (filters,). y (..., H', W', filters).
    Raises:
        ValueError: channels or filters not divisible by the groups, a window larger than x.

    "same" with a stride of 2 puts more zeros after x than before, as in TensorFlow and JAX; PyTorch's padding=1 is
    padding=1 here, which aligns windows differently.

    >>> layer = nn.conv2d(16, kernel_size=3, stride=2, padding="same")
    >>> params, state = layer.init(nn.key(0), (28, 28, 1))
    >>> params["W"].shape, layer.forward(params, state, np.ones((5, 28, 28, 1)))[0].shape
    ((3, 3, 1, 16), (5, 14, 14, 16))
    """
    slides = sliding(2, kernel_size, stride, padding, dilation)
    return _make("conv2d", CONV, filters, slides, groups, initializer, bias_initializer, bias)


def conv_transpose1d(
    filters: int,
    kernel_size: int,
    stride: int = 1,
    padding: Padding = "valid",
    output_padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    initializer: Initializer = "he",
    bias_initializer: Initializer = "zeros",
    *,
    bias: bool = True,
) -> Layer:
    """y[t·stride + i·dilation − before, o] += Σ_c x[t, c] W[i, c, o], then + b[o], over sequences x (..., T, C).

    Arguments are those of `conv_transpose2d`, with integers instead of pairs; padding also (before, after).
    Parameters: W (kernel_size, C/groups, filters), b (filters,). y (..., T', filters).

    >>> layer = nn.conv_transpose1d(4, kernel_size=3, stride=2, padding="same")
    >>> params, state = layer.init(nn.key(0), (10, 2))
    >>> layer.forward(params, state, np.ones((5, 10, 2)))[0].shape
    (5, 20, 4)
    """
    slides = sliding(1, kernel_size, stride, padding, dilation, output_padding)
    return _make("conv_transpose1d", TRANSPOSE, filters, slides, groups, initializer, bias_initializer, bias)


def conv_transpose2d(
    filters: int,
    kernel_size: Size,
    stride: Size = 1,
    padding: Padding = "valid",
    output_padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
    initializer: Initializer = "he",
    bias_initializer: Initializer = "zeros",
    *,
    bias: bool = True,
) -> Layer:
    """y[p·stride + i·dilation − before, o] += Σ_c x[p, c] W[i, c, o], then + b[o], over images x (..., H, W, C).

    The transpose of a convolution from y to x with the same arguments (Zeiler et al., CVPR 2010), that is, its gradient
    with respect to its input. The kernel is not reversed.

    Args:
        filters, kernel_size, stride, dilation, groups, initializer, bias_initializer, bias: see `conv2d`.
        padding: the rows and columns cropped from the sum: "valid" for none, with (H − 1)·stride + span +
            output_padding output rows, span = (k − 1)·dilation + 1; "same" for H·stride rows; an integer for all sides;
            or ((top, bottom), (left, right)).
        output_padding: extra rows and columns at the end only; less than stride or dilation.
    Parameters: W (kh, kw, C/groups, filters), b (filters,). y (..., H', W', filters).
    Raises:
        ValueError: as in `conv2d`; also an output_padding too large, or an empty output.

    >>> layer = nn.conv_transpose2d(1, kernel_size=4, stride=2, padding="same")
    >>> params, state = layer.init(nn.key(0), (7, 7, 8))
    >>> layer.forward(params, state, np.ones((5, 7, 7, 8)))[0].shape
    (5, 14, 14, 1)
    """
    slides = sliding(2, kernel_size, stride, padding, dilation, output_padding)
    return _make("conv_transpose2d", TRANSPOSE, filters, slides, groups, initializer, bias_initializer, bias)


def _make(
    name: str,
    kernel: Kernel,
    filters: int,
    slides: dict[str, Any],
    groups: int,
    initializer: Initializer,
    bias_initializer: Initializer,
    bias: bool,
) -> Layer:
    settings = Settings(
        filters=positive_int(filters, "filters"),
        **slides,
        groups=positive_int(groups, "groups"),
        initializer=check(initializer),
        bias_initializer=check(bias_initializer, "bias_initializer"),
        bias=flag(bias, "bias"),
    )
    if filters % groups:
        raise ValueError(f"groups={groups} does not divide filters={filters}: expected equally many filters per group")
    return make(name, settings, kernel)


def _kernel(W: Array) -> Array:
    return W[None] if W.ndim == 3 else W


# -- convolution -------------------------------------------------------------------------------------------------------


def _signature(
    input_shape: Shapes, *, filters: int, groups: int, initializer: Initializer, bias_initializer: Initializer,
    bias: bool, **slides: Any,
) -> Signature:  # fmt: skip
    shape, axes = one(input_shape, "a convolution"), len(slides["kernel_size"])
    wanted = "(..., H, W, channels)" if axes == 2 else "(..., T, channels)"
    if len(shape) < axes + 1:
        raise ValueError(f"an example has shape {shape}, expected {wanted}: nn.reshape(...) adds an axis of channels")
    before, lengths, channels = shape[: -1 - axes], shape[-1 - axes : -1], shape[-1]
    if channels % groups:
        raise ValueError(f"an example of shape {shape} has {channels} channels, not divisible by groups={groups}")
    if "output_padding" in slides:
        after = spread_lengths(lengths, **slides)
        if min(after) < 1:
            raise ValueError(f"padding={slides['padding']} leaves no output for an example of shape {shape}: {after}")
    else:
        windows = windows_of(lengths, **slides)
        after = windows.outputs(*two(lengths))[-axes:]
        if min(after) < 1:
            raise ValueError(
                f"a window spans {windows.spans[-axes:]}, larger than the axes {lengths} of an example of shape {shape}"
            )
    params = {"W": Initial((*slides["kernel_size"], channels // groups, filters), initializer)}
    if bias:
        params["b"] = Initial((filters,), bias_initializer)
    return Signature((*before, *after, filters), params)


def _forward(params: Sequence[Array], x: Array, *, groups: int, **slides: Any) -> tuple[Array, Array]:
    W, axes = params[0], len(slides["kernel_size"])
    b = params[1] if len(params) > 1 else None
    seen = image(x, axes)
    y = correlate(seen, _kernel(W), windows_of(x.shape[-1 - axes : -1], **slides), groups, b)
    return y.reshape(*x.shape[: -1 - axes], *y.shape[-1 - axes :]), x


def _backward(
    params: Sequence[Array], x: Array, dy: Array, grads: Sequence[Array | None], need: bool, *, groups: int,
    **slides: Any,
) -> Array | None:  # fmt: skip
    W, axes = params[0], len(slides["kernel_size"])
    windows, seen, d = windows_of(x.shape[-1 - axes : -1], **slides), image(x, axes), image(dy, axes)
    _bias_gradient(grads, d)
    dx = gradients(seen, d, _kernel(W), windows, groups, None if grads[0] is None else _kernel(grads[0]), need)
    return None if dx is None else dx.reshape(x.shape)


def _bias_gradient(grads: Sequence[Array | None], d: Array) -> None:
    if len(grads) > 1 and grads[1] is not None:
        sum_of_rows(d.reshape(-1, d.shape[-1]), grads[1])


# -- its transpose: the two directions swapped -------------------------------------------------------------------------


def _transposed(
    x: Array, axes: int, output_padding: Sequence[int], slides: dict[str, Any]
) -> tuple[Windows, tuple[int, ...]]:
    """Returns the windows over y, and the lengths of its axes."""
    after = spread_lengths(x.shape[-1 - axes : -1], output_padding=output_padding, **slides)
    return windows_of(after, **slides), after


def _transpose_forward(
    params: Sequence[Array], x: Array, *, groups: int, output_padding: Sequence[int], **slides: Any
) -> tuple[Array, Array]:
    W, axes = _kernel(params[0]), len(output_padding)
    windows, after = _transposed(x, axes, output_padding, slides)
    y = spread(image(x, axes), swapped(W, groups), windows, groups, two(after))
    if len(params) > 1:
        y += params[1]
    return y.reshape(*x.shape[: -1 - axes], *after, W.shape[-1]), x


def _transpose_backward(
    params: Sequence[Array], x: Array, dy: Array, grads: Sequence[Array | None], need: bool, *, groups: int,
    output_padding: Sequence[int], **slides: Any,
) -> Array | None:  # fmt: skip
    W, axes = _kernel(params[0]), len(output_padding)
    windows, _ = _transposed(x, axes, output_padding, slides)
    seen, d = image(x, axes), image(dy, axes)
    kernel, dx = swapped(W, groups), None
    dW = np.empty(kernel.shape, x.dtype)
    if need:
        dx = correlate(d, kernel, windows, groups, beside=(seen, dW)).reshape(x.shape)
    elif grads[0] is not None:
        weights(d, seen, windows, groups, dW)
    if grads[0] is not None:
        _kernel(grads[0])[...] = swapped(dW, groups)
    _bias_gradient(grads, d)
    return dx


def _onnx(
    *, shape: Shape, after: Shape, groups: int, bias: bool, kernel_size: Sequence[int], stride: Sequence[int],
    dilation: Sequence[int], padding: str | Pads, output_padding: Sequence[int] | None = None, **_: Any,
) -> Expression:  # fmt: skip
    axes = len(kernel_size)
    slides: dict[str, Any] = {
        "kernel_size": kernel_size, "stride": stride, "padding": padding, "dilation": dilation,
    }  # fmt: skip
    attributes: dict[str, Any] = {"strides": list(stride), "dilations": list(dilation), "group": groups}
    if output_padding is None:
        windows = windows_of(shape[-1 - axes : -1], **slides)
        W = op("Transpose", "W", perm=[axes + 1, axes, *range(axes)])
        attributes["pads"] = onnx_pads(windows, axes)
        y = op("Conv", channels_first("x", shape, axes), W, *(("b",) if bias else ()), **attributes)
    else:  # ONNX puts the channels of all groups on one axis, next to the filters of a group
        windows, filters = windows_of(after[-1 - axes : -1], **slides), after[-1]
        parted = op("Reshape", "W", np.array([*kernel_size, shape[-1] // groups, groups, filters // groups]))
        moved = op("Transpose", parted, perm=[axes + 1, axes, axes + 2, *range(axes)])
        W = op("Reshape", moved, np.array([shape[-1], filters // groups, *kernel_size]))
        lengths = zip(shape[-1 - axes : -1], after[-1 - axes : -1], windows.spans[-axes:], windows.pads[-axes:],
                      stride, strict=True)  # fmt: skip
        attributes["output_padding"] = [n - ((m - 1) * s + span - a - b) for m, n, span, (a, b), s in lengths]
        attributes["pads"] = onnx_pads(windows, axes)
        y = op("ConvTranspose", channels_first("x", shape, axes), W, *(("b",) if bias else ()), **attributes)
    return channels_last(y, after, axes)


SLIDING = ("kernel_size", "stride", "padding", "dilation")
CONV = Kernel(
    _forward, _backward, _signature, formula="Σ x[p·s + i·d] W[i] + b", uses=("groups", *SLIDING), stacked=False,
    onnx=_onnx,
)  # fmt: skip
TRANSPOSE = Kernel(
    _transpose_forward, _transpose_backward, _signature, formula="y[p·s + i·d] += x[p] W[i], + b",
    uses=("groups", "output_padding", *SLIDING), stacked=False, onnx=_onnx,
)  # fmt: skip
