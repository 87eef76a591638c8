"""Settings of sliding windows: sizes, strides, paddings, and the resulting lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from nnfunc._internal.validate import positive_int
from nnfunc.arrays import Array
from nnfunc.core.expressions import Expression, op
from nnfunc.layers.windows import Pads, Pair, Windows, same_pads
from nnfunc.layout import Shape

Size: TypeAlias = "int | Sequence[int]"
Padding: TypeAlias = "Literal['valid', 'same'] | int | tuple[Any, ...] | list[Any]"
"""The zeros around x: "valid" (none), "same", an integer for all sides, or (before, after) for each axis."""


def sliding(
    axes: int, kernel_size: Size, stride: Size, padding: Padding, dilation: Size, output_padding: Size | None = None
) -> dict[str, Any]:
    """Checks the arguments and returns them as settings, with one integer per axis."""
    settings: dict[str, Any] = {
        "kernel_size": each_axis(kernel_size, "kernel_size", axes),
        "stride": each_axis(stride, "stride", axes),
        "padding": pads_of(padding, axes),
    }
    steps = each_axis(dilation, "dilation", axes)
    if output_padding is not None:
        more = each_axis(output_padding, "output_padding", axes, 0)
        for extra, s, d in zip(more, settings["stride"], steps, strict=True):
            if extra >= max(s, d):
                raise ValueError(
                    f"output_padding={output_padding!r}: expected less than stride {s} or dilation {d}: rows farther "
                    "out are not covered by any window"
                )
        settings["output_padding"] = more
    return {**settings, "dilation": steps}


def each_axis(value: Size, name: str, axes: int, least: int = 1) -> tuple[int, ...]:
    """Expands an integer for all axes, or checks one integer per axis."""
    numbers: tuple[Any, ...] = tuple(value) if isinstance(value, (tuple, list)) else (value,) * axes
    if len(numbers) != axes:
        raise ValueError(f"{name}={value!r}: expected an integer{', or a pair of them' if axes > 1 else ''}")
    return tuple(positive_int(n, name, least) for n in numbers)


def pads_of(padding: Padding, axes: int) -> str | Pads:
    """Returns padding as a name, or (before, after) for each axis."""
    if isinstance(padding, str):
        if padding not in ("valid", "same"):
            raise ValueError(f"padding={padding!r}: expected 'valid', 'same', an integer or (before, after) pairs")
        return padding
    if not isinstance(padding, (tuple, list)):
        around = positive_int(padding, "padding", 0)
        return ((around, around),) * axes
    pairs = [padding] if axes == 1 and not any(isinstance(p, (tuple, list)) for p in padding) else list(padding)
    if len(pairs) != axes or not all(isinstance(p, (tuple, list)) and len(p) == 2 for p in pairs):
        wanted = "((top, bottom), (left, right))" if axes == 2 else "(before, after)"
        raise ValueError(f"padding={padding!r}: expected {wanted}, an integer, 'valid' or 'same'")
    return tuple((positive_int(a, "padding", 0), positive_int(b, "padding", 0)) for a, b in pairs)


def two(numbers: Sequence[int]) -> Pair:
    """Returns one integer for each of two axes; for a sequence the first is 1."""
    return (1, numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])


def windows_of(
    lengths: Sequence[int], *, kernel_size: Sequence[int], stride: Sequence[int], padding: str | Pads,
    dilation: Sequence[int],
) -> Windows:  # fmt: skip
    """Returns the windows over axes of these lengths."""
    if padding == "valid":
        pads: Pads = ((0, 0),) * len(lengths)
    elif isinstance(padding, str):
        pads = tuple(map(same_pads, lengths, kernel_size, stride, dilation))
    else:
        pads = padding
    around = ((0, 0), pads[0]) if len(pads) == 1 else (pads[0], pads[1])
    return Windows(two(kernel_size), two(stride), two(dilation), around)


def spread_lengths(
    lengths: Sequence[int], *, kernel_size: Sequence[int], stride: Sequence[int], padding: str | Pads,
    dilation: Sequence[int], output_padding: Sequence[int],
) -> tuple[int, ...]:  # fmt: skip
    """Returns the output lengths of a transposed convolution."""
    if padding == "same":
        return tuple(n * s for n, s in zip(lengths, stride, strict=True))
    pads: Pads = ((0, 0),) * len(lengths) if isinstance(padding, str) else padding
    return tuple(
        (n - 1) * s + (k - 1) * d + 1 + more - a - b
        for n, k, s, d, more, (a, b) in zip(lengths, kernel_size, stride, dilation, output_padding, pads, strict=True)
    )


def image(x: Array, axes: int) -> Array:
    """Reshapes x (..., H, W, C), or (..., T, C) for one axis, to (examples, H, W, C)."""
    return x.reshape(-1, *((1,) if axes == 1 else ()), *x.shape[-1 - axes :])


# -- ONNX: channels first ----------------------------------------------------------------------------------------------


def channels_first(x: Expression, shape: Shape, axes: int) -> Expression:
    """Transposes x to ONNX's (examples, C, ...); axes before those of an image are merged with the examples."""
    flat = op("Reshape", x, np.array([-1, *shape[-1 - axes :]])) if len(shape) > axes + 1 else x
    return op("Transpose", flat, perm=[0, axes + 1, *range(1, axes + 1)])


def channels_last(y: Expression, after: Shape, axes: int) -> Expression:
    """The inverse of `channels_first`."""
    last = op("Transpose", y, perm=[0, *range(2, axes + 2), 1])
    return op("Reshape", last, np.array([-1, *after])) if len(after) > axes + 1 else last


def onnx_pads(windows: Windows, axes: int) -> list[int]:
    """Returns the padding in ONNX's order: before all axes, then after."""
    pads = windows.pads[-axes:]
    return [a for a, _ in pads] + [b for _, b in pads]
