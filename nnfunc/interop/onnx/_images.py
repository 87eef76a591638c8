"""Convolutions, pooling, and cropping, padding and upsampling of images and sequences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nnfunc.core.layer import Layer
from nnfunc.interop.onnx._context import IMAGES, Context, Reader
from nnfunc.interop.onnx._pieces import Layout
from nnfunc.layers import convolution, padding, pooling
from nnfunc.layers.reshaping import reshape


def as_image(c: Context) -> Context:
    """The context with spatial axes restored, after an image of one pixel, which has none here."""
    rank = c.layout.rank
    if c.node.kind not in IMAGES or rank < 3 or c.layout[:2] != ((0, 1), rank):
        return c
    c.add(reshape(*[1] * (rank - 2), -1))
    return c._replace(layout=Layout((0, *range(2, rank), 1), rank))


def image(c: Context) -> tuple[int, bool]:
    """The number of spatial axes of an image, and whether it is two; features are second in ONNX and last here."""
    rank = c.layout.rank
    c.ask(
        c.layout.axes == (0, *range(2, rank), 1) and c.layout.order is None,
        "its input is not laid out as (examples, features, ...) after the nodes before it",
    )
    c.ask(rank in (3, 4), f"it has {rank - 2} axes to slide over, expected 1 or 2")
    return rank - 2, rank == 4


def _slides(c: Context) -> dict[str, Any]:
    """Stride and padding as arguments of a layer."""
    axes, two = image(c)
    pads, auto = c.get("pads", [0] * 2 * axes), c.get("auto_pad", "NOTSET")
    c.ask(auto != "SAME_LOWER", "auto_pad='SAME_LOWER', but 'same' here pads more after than before")
    pairs = tuple(zip(pads[:axes], pads[axes:], strict=True))
    given = {"SAME_UPPER": "same", "VALID": "valid"}.get(auto, pairs if two else pairs[0])
    return {"stride": _one(c.get("strides", [1] * axes)), "padding": given}


def _one(numbers: list[int]) -> Any:
    """A tuple with one value per axis; for a single axis, the value."""
    return tuple(numbers) if len(numbers) > 1 else numbers[0]


def conv(c: Context) -> Layout:
    axes, two = image(c)
    W, make = c.needed(1), convolution.conv2d if two else convolution.conv1d
    slides = {**_slides(c), "dilation": _one(c.get("dilations", [1] * axes)), "groups": c.get("group", 1)}
    b = c.constant(2)
    layer = make(len(W), _one([*W.shape[2:]]), **slides, bias=b is not None)
    c.add(layer, W=W.transpose(*range(2, axes + 2), 1, 0), b=b)
    return c.layout


def conv_transpose(c: Context) -> Layout:
    axes, two = image(c)
    W, groups, make = (
        c.needed(1),
        c.get("group", 1),
        convolution.conv_transpose2d if two else convolution.conv_transpose1d,
    )
    c.ask("output_shape" not in c.node.attributes, "output_shape, expected pads")
    c.ask(c.get("auto_pad", "NOTSET") == "NOTSET", "auto_pad, expected pads")
    slides = {**_slides(c), "dilation": _one(c.get("dilations", [1] * axes)), "groups": groups}
    b, own = c.constant(2), W.shape[1]
    more = _one(c.get("output_padding", [0] * axes))
    layer = make(own * groups, _one([*W.shape[2:]]), **slides, output_padding=more, bias=b is not None)
    parted = W.reshape(groups, -1, *W.shape[1:])  # (groups, channels per group, filters per group, spatial axes)
    c.add(layer, W=parted.transpose(*range(3, axes + 3), 1, 0, 2).reshape(*W.shape[2:], -1, own * groups), b=b)
    return c.layout


def pool(kind: str) -> Reader:
    def read(c: Context) -> Layout:
        two = image(c)[1]
        c.ask(not c.get("ceil_mode", 0), "ceil_mode=1, but windows must end within x here")
        c.ask({*c.get("dilations", [1])} == {1}, "it has dilations, which windows do not have here")
        make = getattr(pooling, f"{kind}_pool{2 if two else 1}d")
        counted = {"count_padding": bool(c.get("count_include_pad", 0))} if kind == "avg" else {}
        c.add(make(_one(c.get("kernel_shape", None)), **_slides(c), **counted))
        return c.layout

    return read


def global_pool(make: Callable[[], Layer]) -> Reader:
    def read(c: Context) -> Layout:
        image(c)
        c.add(make())
        return Layout((0, 1), c.layout.rank)  # the spatial axes have length 1 there, and are absent here

    return read


def reduced(make: Callable[[], Layer]) -> Reader:
    def read(c: Context) -> Layout:
        rank, axes = c.layout.rank, c.given("axes", 1)
        over = {n % rank for n in (range(rank) if axes is None else axes)}
        c.ask(
            over == {*c.layout.axes[1:-1]} and len(over) > 0,
            f"it reduces the axes {sorted(over)}, expected all but examples and features, {c.layout.axes[1:-1]}",
        )
        c.add(make())
        kept = Layout((c.layout.axes[0], c.layout.axes[-1]), rank)
        return kept if c.get("keepdims", 1) else kept.without(over)

    return read


def pad(c: Context) -> Layout:
    axes, pads = c.layout.axes, c.given("pads", 1) or []
    rank, value = c.layout.rank, c.get("value", None) if "value" in c.node.attributes else c.constant(2)
    some, mode = c.constant(3), c.get("mode", "constant")
    c.ask(mode == "constant" and some is None, f"mode={mode!r} or axes, expected constant padding of all axes")
    pairs = [(pads[n], pads[rank + n]) for n in axes]
    free = min(2, len(axes) - 2)
    c.ask(len(pads) == 2 * rank and free > 0 and all(p == (0, 0) for p in (*pairs[: -1 - free], pairs[-1])),
          f"pads={pads}, expected padding only of the one or two axes before the features")  # fmt: skip
    c.ask(min(n for p in pairs for n in p) >= 0, f"pads={pads}, expected no negative values")
    own = tuple(pairs[-1 - free : -1])
    c.add(padding.pad(own if free > 1 else own[0], 0.0 if value is None else float(np.ravel(value)[0])))
    return c.layout


def cut(c: Context) -> Layout:
    axes, rank = c.layout.axes, c.layout.rank
    starts, ends, over, steps = (c.given(name, i) for i, name in enumerate(("starts", "ends", "axes", "steps"), 1))
    over = [*range(len(starts or []))] if over is None else over
    c.ask(steps is None or {*steps} == {1}, f"steps={steps}, but nnfunc only crops the ends of axes")
    cut = dict.fromkeys(range(rank), (0, 0))
    for start, end, n in zip(starts or [], ends or [], over, strict=True):
        size = c.before[n % rank]
        c.ask(size is not None, f"the length of axis {n} is unknown: export with a fixed size")
        first, stop, _ = slice(start, end).indices(size or 0)
        cut[n % rank] = (first, (size or 0) - stop)
    pairs = [cut[n] for n in axes]
    free = min(2, len(axes) - 2)
    c.ask(free > 0 and all(p == (0, 0) for p in (*pairs[: -1 - free], pairs[-1])),
          f"it crops {cut}, expected only the one or two axes before the features")  # fmt: skip
    own = tuple(pairs[-1 - free : -1])
    c.add(padding.crop(own if free > 1 else own[0]))
    return c.layout


def resize(c: Context) -> Layout:
    two = image(c)[1]
    mode = c.get("coordinate_transformation_mode", "half_pixel"), c.get("nearest_mode", "round_prefer_floor")
    known = ("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"), ("half_pixel", "round_prefer_ceil")
    sizes = [*zip(c.before[2:], c.after[2:], strict=True)]
    c.ask(c.get("mode", "nearest") == "nearest" and mode in known, f"modes {mode}, expected nearest, one of {known}")
    c.ask(c.before[1] == c.after[1], "it changes the number of features")
    c.ask(all(n and m and m % n == 0 for n, m in sizes), f"sizes from and to {sizes}, expected integer multiples")
    factors = [(m or 0) // (n or 1) for n, m in sizes]
    c.add(padding.upsample2d(tuple(factors)) if two else padding.upsample1d(*factors))
    return c.layout
