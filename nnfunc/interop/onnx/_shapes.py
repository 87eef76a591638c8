"""Operators that only move values: axes transposed, merged, dropped."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nnfunc.interop.onnx._context import Context, lies
from nnfunc.interop.onnx._graph import refused
from nnfunc.interop.onnx._pieces import Layout, Piece, same
from nnfunc.layers import activations as a
from nnfunc.layers.reshaping import flatten, reshape
from nnfunc.layers.stochastic import dropout


def dropped(c: Context) -> Layout:
    ratio = c.get("ratio", 0.5) if "ratio" in c.node.attributes else c.constant(1)
    c.add(dropout(1 - float(0.5 if ratio is None else ratio)))
    return c.layout


def transposed(c: Context) -> Layout:
    perm = c.get("perm", [*range(c.layout.rank)][::-1])
    return c.layout.moved({n: i for i, n in enumerate(perm)}, c.layout.rank)


def squeezed(c: Context) -> Layout:
    axes = c.given("axes", 1)
    gone = {n for n, size in enumerate(c.before) if size == 1} if axes is None else {n % c.layout.rank for n in axes}
    c.ask(c.layout.axes[0] not in gone, "it squeezes the axis of the examples")
    _drop(c, gone)
    return c.layout._replace(axes=tuple(n for n in c.layout.axes if n not in gone)).without(gone)


def _drop(c: Context, gone: set[int]) -> None:
    """Adds a layer that drops those of our axes that are gone, which have length 1."""
    if gone & {*c.layout.axes}:
        left = [c.before[n] for n in c.layout.axes[1:] if n not in gone]
        c.ask(left.count(None) < 2, f"the sizes {c.before} of its input are unknown")
        c.add(reshape(*(-1 if n is None else n for n in left)))


def unsqueezed(c: Context) -> Layout:
    rank = len(c.after)
    new = {n % rank for n in c.given("axes", 1) or []}
    kept = [n for n in range(rank) if n not in new]
    return c.layout.moved(dict(enumerate(kept)), rank)


def flat(c: Context) -> Layout:
    c.ask(c.get("axis", 1) == 1, f"axis={c.get('axis', 1)}, expected 1: each example separately")
    return _flat(c)


def _flat(c: Context) -> Layout:
    """Flattens each example to a row, in the order that it has here."""
    layout, lengths = c.layout, c.before[1:]
    wide = None if None in lengths else math.prod(n or 0 for n in lengths)
    c.ask(layout.axes[0] == 0 and (c.after[1] is None or c.after[1] == wide),
          f"it reshapes {c.before} to {c.after}, not each example separately")  # fmt: skip
    if len(layout.axes) > 2:
        c.add(flatten())
    if layout.axes == tuple(sorted(layout.axes)):
        return Layout((0, 1), 2, layout.order)
    c.ask(None not in lengths, f"the sizes {c.before} of its input are unknown, and so is the order of the "
    "flattened features: export with a fixed size")  # fmt: skip
    numbers = np.arange(math.prod(n for n in lengths if n is not None)).reshape(lengths)  # type: ignore[arg-type]  # none is None
    rest = [n - 1 for n in range(1, layout.rank) if n not in layout.axes]
    return Layout((0, 1), 2, numbers.transpose(*(n - 1 for n in layout.axes[1:]), *rest).reshape(-1))


def reshaped(c: Context) -> Layout:
    before, after, layout = c.before, c.after, c.layout
    if before == after and before.count(None) < 2:
        return layout
    kept = sorted(layout.axes)
    if tuple(before[n] for n in kept) == after and after.count(None) < 2:  # axes of length 1 that are absent here too
        return layout.moved({n: i for i, n in enumerate(kept)}, len(kept))
    if len(after) == 2 and layout.axes[0] == 0:
        return _flat(c)
    wanted = lies(c.graph, c.y, len(after))
    wanted = wanted if wanted.axes[0] == 0 else same(len(after))
    c.ask(layout.axes == tuple(sorted(layout.axes)) and layout.axes[0] == 0 and layout.order is None,
          f"it reshapes {before} to {after} after an image, whose features are last here")  # fmt: skip
    c.ask(after[1:].count(None) < 2, f"the shape {after} of its output is unknown")
    counts = [None if None in sizes[1:] else math.prod(n or 0 for n in sizes[1:]) for sizes in (before, after)]
    c.ask(None in counts or counts[0] == counts[1], f"it reshapes {before} to {after}, not each example separately")
    ours = [after[n] for n in wanted.axes[1:]]
    if wanted != same(len(after)):  # an image, whose features come first there
        c.ask(None not in ours and len(layout.axes) == 2, f"it reshapes {before} to an image {after}")
        numbers = np.arange(math.prod(n or 0 for n in ours)).reshape([n or 0 for n in after[1:]])
        _reorder(c, numbers.transpose([n - 1 for n in wanted.axes[1:]]).ravel())
    c.add(reshape(*(-1 if n is None else n for n in ours)))
    return wanted


def _reorder(c: Context, order: NDArray[np.intp]) -> None:
    """Reorders the features of the preceding dense layer, and of the layers in between."""
    for i in reversed(range(len(c.pieces))):
        layer, params, state = c.pieces[i]
        c.ask(layer.name in (*a.ACTIVATIONS, "batch_norm", "dense", "dropout", "layer_norm", "prelu"),
              f"it reshapes the features of {layer.name}, whose order is fixed, to an image")  # fmt: skip
        params, state = ({k: v[..., order] for k, v in arrays.items()} for arrays in (params, state))
        c.pieces[i] = Piece(layer, params, state)
        if layer.name == "dense":
            return
    raise refused(c.node, "it reshapes an input of the graph to an image, whose features come first there")
