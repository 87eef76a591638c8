"""Sliding windows over one or two axes: their positions, and the products of their contents with a kernel.

Everything here is two-dimensional, x (examples, H, W, C); a single axis has H = 1. A window of kernel size k, stride s
and dilation d sees x at p·s + i·d − before, i = 0 … k−1, for the output p; x is zero-padded:

    correlate    y[p, o] = Σᵢ Σ_c x[p·s + i·d − before, c] W[i, c, o]
    spread       x[p·s + i·d − before, c] += y[p, o] W[i, c, o]         its transpose
    weights      W[i, c, o] = Σₚ x[p·s + i·d − before, c] y[p, o]       its gradient

With groups, the channels c and o are split into groups, each with its own kernel: W (kh, kw, C/groups, O). The contents
of the windows are copied into a matrix (columns), one block of examples or rows at a time so that it stays in the
processor's cache, and multiplied. Both gradients of a convolution can be computed from the same columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import as_strided

from nnfunc.arrays import Array

Pair: TypeAlias = tuple[int, int]
Pads: TypeAlias = tuple[Pair, ...]
"""(before, after) of each axis; negative values crop."""

BLOCK = 1 << 18
"""The number of elements in the columns of a block: about 1 MB, small enough for the processor's cache."""

FEW = 4
"""The number of channels below which another memory layout is used."""


class Windows(NamedTuple):
    """The size, stride, dilation and padding of windows, for each axis."""

    size: Pair
    stride: Pair
    dilation: Pair
    pads: tuple[Pair, Pair]

    @property
    def spans(self) -> Pair:
        """The extent of a window, from its first to its last element."""
        (kh, kw), (dh, dw) = self.size, self.dilation
        return (kh - 1) * dh + 1, (kw - 1) * dw + 1

    def outputs(self, height: int, width: int) -> Pair:
        """The number of windows along each axis."""
        (top, bottom), (left, right) = self.pads
        high, wide = self.spans
        return (height + top + bottom - high) // self.stride[0] + 1, (width + left + right - wide) // self.stride[1] + 1


def same_pads(length: int, size: int, stride: int, dilation: int) -> Pair:
    """Returns the padding for ⌈length/stride⌉ outputs, with the extra zero at the end if the total is odd.

    >>> same_pads(28, 3, 1, 1), same_pads(28, 3, 2, 1)
    ((1, 1), (0, 1))
    """
    total = max((-(-length // stride) - 1) * stride + (size - 1) * dilation + 1 - length, 0)
    return total // 2, total - total // 2


def padded(x: Array, pads: Pads, value: float = 0.0) -> Array:
    """Pads x (examples, …, C) with a constant; without padding returns x itself.

    >>> padded(np.ones((1, 1, 2, 1)), ((0, 0), (1, -1))).ravel()
    array([0., 1.])
    """
    x = x[(slice(None), *(slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape[1:], pads, strict=False)))]
    if not any(n > 0 for pair in pads for n in pair):
        return x
    lengths = [n + max(a, 0) + max(b, 0) for n, (a, b) in zip(x.shape[1:], pads, strict=False)]
    wide = np.full((len(x), *lengths, x.shape[-1]), value, x.dtype)
    wide[(slice(None), *(slice(max(a, 0), max(a, 0) + n) for n, (a, _) in zip(x.shape[1:], pads, strict=False)))] = x
    return wide


def taps(x: Array, windows: Windows, outputs: Pair) -> Iterator[Array]:
    """Yields for each offset in a window, row by row, the elements of all windows: views of a padded x."""
    (kh, kw), (sh, sw), (dh, dw), _ = windows
    oh, ow = outputs
    for i in range(kh):
        for j in range(kw):
            yield x[:, i * dh : i * dh + (oh - 1) * sh + 1 : sh, j * dw : j * dw + (ow - 1) * sw + 1 : sw]


def _columns(x: Array, windows: Windows, groups: int, oh: int, ow: int) -> Array:
    """Views the contents of each window of the padded x: (groups, examples, oh, ow, kh, kw, C/groups)."""
    (kh, kw), (sh, sw), (dh, dw), _ = windows
    n, h, w, c = x.strides
    own = x.shape[-1] // groups
    shape = groups, len(x), oh, ow, kh, kw, own
    return as_strided(x, shape, (own * c, n, h * sh, w * sw, h * dh, w * dw, c), writeable=False)


def _blocks(examples: int, oh: int, row: int) -> Iterator[tuple[slice, slice]]:
    """Yields slices of examples and output rows, one block at a time; the columns of one row have `row` elements."""
    rows = min(max(BLOCK // row, 1), oh)
    count = max(BLOCK // (row * oh), 1)
    for k in range(0, examples, count):
        for r in range(0, oh, rows):
            yield slice(k, min(k + count, examples)), slice(r, min(r + rows, oh))


class _Block(NamedTuple):
    """One block: its examples, its output rows, and the contents of its windows.

    `seen` is (groups, examples, rows, ow, kh, kw, C/groups), `columns` the same as matrices (groups, windows, K).
    """

    examples: slice
    rows: slice
    seen: Array
    columns: Array


def _column_blocks(x: Array, windows: Windows, groups: int, outputs: Pair, fill: bool = True) -> Iterator[_Block]:
    """Yields all windows of the padded x, one block at a time, reusing the memory of the previous block.

    The elements of a window are contiguous in memory or, with few channels, those of all windows at one offset, so that
    each copy is long.
    """
    (kh, kw), (oh, ow), own = windows.size, outputs, x.shape[-1] // groups
    step, span = windows.stride[0], windows.spans[0]
    memory = np.empty(0, x.dtype)
    for examples, rows in _blocks(len(x), oh, ow * kh * kw * x.shape[-1]):
        count = rows.stop - rows.start
        shape = groups, examples.stop - examples.start, count, ow, kh, kw, own
        size = int(np.prod(shape))
        memory = memory if memory.size >= size else np.empty(size, x.dtype)
        flat = memory[:size]
        if own < FEW:
            seen = flat.reshape(groups, *shape[4:], *shape[1:4]).transpose(0, 4, 5, 6, 1, 2, 3)
            columns = flat.reshape(groups, kh * kw * own, -1).mT
        else:
            seen, columns = flat.reshape(shape), flat.reshape(groups, -1, kh * kw * own)
        if fill:
            part = x[examples, rows.start * step : (rows.stop - 1) * step + span]
            np.copyto(seen, _columns(part, windows, groups, count, ow))
        yield _Block(examples, rows, seen, columns)


def _matrices(W: Array, groups: int) -> Array:
    """Reshapes W (kh, kw, C/groups, O) to one matrix per group, (groups, kh·kw·C/groups, O/groups)."""
    kh, kw, own, outputs = W.shape
    parted = W.reshape(kh * kw * own, groups, outputs // groups).transpose(1, 0, 2)
    return np.ascontiguousarray(parted)


def _by_group(y: Array, groups: int) -> Array:
    """Views y (examples, oh, ow, O) as (groups, rows, O/groups)."""
    n, oh, ow, outputs = y.shape
    return y.reshape(n * oh * ow, groups, outputs // groups).transpose(1, 0, 2)


def correlate(
    x: Array, W: Array, windows: Windows, groups: int, b: Array | None = None, beside: tuple[Array, Array] | None = None
) -> Array:
    """y[p, o] = Σᵢ Σ_c x[p·s + i·d − before, c] W[i, c, o] (+ b[o]).

    `beside` (dy, out): use the windows of dy, and compute `weights(x, dy, windows, groups, out)` from their columns.

    >>> once = Windows((1, 2), (1, 1), (1, 1), ((0, 0), (0, 0)))
    >>> correlate(np.arange(4.0).reshape(1, 1, 4, 1), np.array([[[[1.0]], [[10.0]]]]), once, 1).ravel()
    array([10., 21., 32.])
    """
    oh, ow = windows.outputs(*x.shape[1:3]) if beside is None else beside[0].shape[1:3]
    y = np.empty((len(x), oh, ow, W.shape[-1]), x.dtype)
    if _by_lines(x, windows, groups):
        _correlate_lines(padded(x, windows.pads), W, windows, y, b, beside)
        return y
    matrices = _matrices(W, groups)
    wide = None if b is None else np.tile(b, ow)  # for a whole line of y at once
    total = None if beside is None else _Total(beside[1], groups)
    for block in _column_blocks(padded(x, windows.pads), windows, groups, (oh, ow)):
        part = y[block.examples, block.rows]
        if groups == 1 and part.flags.c_contiguous:
            np.matmul(block.columns[0], matrices[0], out=part.reshape(-1, W.shape[-1]))
        else:
            product = np.matmul(block.columns, matrices)
            part[...] = product.transpose(1, 0, 2).reshape(part.shape)
        if wide is not None:
            lines = part.reshape(*part.shape[:2], -1)
            lines += wide
        if beside is not None and total is not None:
            total.add(block, beside[0])
    if total is not None:
        total.write()
    return y


def _by_lines(x: Array, windows: Windows, groups: int) -> bool:
    """Whether all lines of x are looked at, and a window sees enough of one for a product of matrices."""
    return windows.stride[0] == 1 and groups == 1 and x.shape[-1] >= FEW


def _line_blocks(x: Array, windows: Windows, outputs: Pair) -> Iterator[tuple[slice, slice, list[Array]]]:
    """As `_column_blocks`, but what windows see of a line is copied once, not for each line of the kernel.

    With the examples and the rows of a block comes, for each line of the kernel, (examples, windows, kw·C).
    """
    (kh, kw), dh, (oh, ow), channels = windows.size, windows.dilation[0], outputs, x.shape[-1]
    line, memory = windows._replace(size=(1, kw)), None
    for examples, rows in _blocks(len(x), oh, 2 * ow * kw * channels):
        part, count = x[examples, rows.start : rows.stop + (kh - 1) * dh], rows.stop - rows.start
        seen = _columns(part, line, 1, part.shape[1], ow)[0]
        memory = np.empty(seen.shape, x.dtype) if memory is None else memory  # the first block is the largest
        lines = memory[: len(part), : part.shape[1]]
        np.copyto(lines, seen)
        lines = lines.reshape(len(part), -1, kw * channels)
        yield examples, rows, [lines[:, i * dh * ow : (i * dh + count) * ow] for i in range(kh)]


def _correlate_lines(
    x: Array, W: Array, windows: Windows, y: Array, b: Array | None, beside: tuple[Array, Array] | None
) -> None:
    """`correlate` of a padded x by lines, into y."""
    (oh, ow), matrices = (y.shape[1], y.shape[2]), W.reshape(len(W), -1, W.shape[-1])
    wide = None if b is None else np.tile(b, ow)  # a whole line of y at once
    total = np.zeros_like(matrices)
    for examples, rows, seen in _line_blocks(x, windows, (oh, ow)):
        part = y[examples, rows].reshape(len(seen[0]), -1, y.shape[-1])
        np.matmul(seen[0], matrices[0], out=part)
        for below, matrix in zip(seen[1:], matrices[1:], strict=True):
            part += np.matmul(below, matrix)
        if wide is not None:
            lines = part.reshape(-1, len(wide))
            lines += wide
        if beside is not None:
            _add_lines(total, seen, beside[0][examples, rows])
    if beside is not None:
        beside[1][...] = total.reshape(W.shape)


def _add_lines(total: Array, seen: list[Array], dy: Array) -> None:
    """total[i] += Σ seenᵢᵀ dy, over the examples."""
    for i, below in enumerate(seen):
        total[i] += np.matmul(below.mT, dy.reshape(*below.shape[:2], -1)).sum(axis=0)


class _Total:
    """The sum of columnsᵀ dy over blocks."""

    def __init__(self, out: Array, groups: int) -> None:
        self.out, self.groups = out, groups
        self.sum = np.zeros_like(_matrices(out, groups))
        self.part = np.empty_like(self.sum)

    def add(self, block: _Block, dy: Array) -> None:
        self.sum += np.matmul(block.columns.mT, _by_group(dy[block.examples, block.rows], self.groups), out=self.part)

    def write(self) -> None:
        self.out[...] = self.sum.transpose(1, 0, 2).reshape(self.out.shape)


def weights(x: Array, dy: Array, windows: Windows, groups: int, out: Array) -> None:
    """W[i, c, o] = Σₚ x[p·s + i·d − before, c] dy[p, o], written into `out` (kh, kw, C/groups, O).

    >>> once, W = Windows((1, 2), (1, 1), (1, 1), ((0, 0), (0, 0))), np.empty((1, 2, 1, 1))
    >>> weights(np.arange(4.0).reshape(1, 1, 4, 1), np.ones((1, 1, 3, 1)), once, 1, W)
    >>> W.ravel()
    array([3., 6.])
    """
    wide, outputs = padded(x, windows.pads), (dy.shape[1], dy.shape[2])
    if _by_lines(x, windows, groups):
        lines = np.zeros((len(out), out.shape[1] * out.shape[2], out.shape[3]), out.dtype)
        for examples, rows, seen in _line_blocks(wide, windows, outputs):
            _add_lines(lines, seen, dy[examples, rows])
        out[...] = lines.reshape(out.shape)
        return
    total = _Total(out, groups)
    for block in _column_blocks(wide, windows, groups, outputs):
        total.add(block, dy)
    total.write()


def spread(y: Array, W: Array, windows: Windows, groups: int, size: Pair) -> Array:
    """x[p·s + i·d − before, c] += y[p, o] W[i, c, o], x (examples, *size, C); 0 outside all windows.

    >>> once = Windows((1, 2), (1, 1), (1, 1), ((0, 0), (0, 0)))
    >>> spread(np.ones((1, 1, 3, 1)), np.array([[[[1.0]], [[10.0]]]]), once, 1, (1, 4)).ravel()
    array([ 1., 11., 11., 10.])
    """
    if windows.stride == (1, 1) and W.shape[2] > 1:  # faster as a correlation with the reversed kernel
        return correlate(y, swapped(W, groups)[::-1, ::-1], _reverse(windows, size, y), groups)
    channels, matrices = W.shape[2] * groups, _matrices(W, groups)
    (top, bottom), (left, right) = windows.pads
    wide = np.zeros((len(y), size[0] + top + bottom, size[1] + left + right, channels), y.dtype)
    step, span = windows.stride[0], windows.spans[0]
    for block in _column_blocks(wide, windows, groups, y.shape[1:3], fill=False):
        part = y[block.examples, block.rows]
        product, given = block.columns, _by_group(part, groups)
        if product.flags.c_contiguous:
            np.matmul(given, matrices.mT, out=product)
        else:
            np.matmul(matrices, given.mT, out=product.mT)
        below = wide[block.examples, block.rows.start * step : (block.rows.stop - 1) * step + span]
        places = np.ndindex(*windows.size)
        for (i, j), place in zip(places, taps(below, windows, (part.shape[1], part.shape[2])), strict=True):
            place += block.seen[:, :, :, :, i, j].transpose(1, 2, 3, 0, 4).reshape(place.shape)
    return padded(wide, tuple((-a, -b) for a, b in windows.pads))


def _reverse(windows: Windows, size: Pair, y: Array) -> Windows:
    """Returns the windows over y, of stride 1, that contain for each element of x the outputs that depend on it."""
    lengths = zip(size, y.shape[1:3], windows.spans, windows.pads, strict=True)
    around = [(span - 1 - a, n - m + a) for n, m, span, (a, _) in lengths]
    return windows._replace(pads=(around[0], around[1]))


def gradients(
    x: Array, dy: Array, W: Array, windows: Windows, groups: int, dW: Array | None, need: bool
) -> Array | None:
    """The gradients of `correlate`: writes that of W into dW, returns that of x if needed."""
    size = x.shape[1], x.shape[2]
    if windows.stride != (1, 1) or W.shape[2] < FEW:
        if dW is not None:
            weights(x, dy, windows, groups, dW)
        return spread(dy, W, windows, groups, size) if need else None
    dx, reverse, kernel = None, _reverse(windows, size, dy), swapped(W, groups)[::-1, ::-1]
    other = np.empty(kernel.shape, dy.dtype)
    if need:
        dx = correlate(dy, kernel, reverse, groups, beside=None if dW is None else (x, other))
    elif dW is not None:
        weights(dy, x, reverse, groups, other)
    if dW is not None:
        dW[...] = swapped(other, groups)[::-1, ::-1]
    return dx


def swapped(W: Array, groups: int) -> Array:
    """Transposes a kernel to the other direction: (kh, kw, C/groups, O) → (kh, kw, O/groups, C).

    >>> swapped(np.ones((3, 3, 2, 8)), 2).shape
    (3, 3, 4, 4)
    """
    kh, kw, own, outputs = W.shape
    return W.reshape(kh, kw, own, groups, outputs // groups).transpose(0, 1, 4, 3, 2).reshape(kh, kw, -1, own * groups)
