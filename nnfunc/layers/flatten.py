"""Flatten: from images, or anything of several axes, to rows of features."""

from __future__ import annotations

from functools import partial
from math import prod

from nnfunc.arrays import Array
from nnfunc.errors import positive_int
from nnfunc.layers.base import Kernel, Layer, Shape, of_kernel, view


def flatten(axes: int | None = None) -> Layer:
    """Joins the axes of one example into its features: (examples, 8, 8) becomes (examples, 64). y is a view of x.

    Args:
        axes: how many trailing axes to join; None: all but the first. Needed where more axes than that of the
            examples come first: (networks, examples, 8, 8) and axes=2 give (networks, examples, 64).

    >>> nn.flatten().forward(nn.EMPTY, nn.EMPTY, np.ones((5, 8, 8)))[0].shape
    (5, 64)
    """
    axes = None if axes is None else positive_int(axes, "axes")
    return of_kernel("flatten", Kernel(partial(_forward, axes=axes), _backward))


def _forward(x: Array, axes: int | None) -> tuple[Array, tuple[Shape, int]]:
    lead = 1 if axes is None else x.ndim - axes
    if lead < 1:
        raise ValueError(f"x has shape {x.shape}, expected an axis of examples and then {axes or 1} or more to join")
    return view(x, (*x.shape[:lead], prod(x.shape[lead:]))), (x.shape, lead + 1)


def _backward(dy: Array, cache: tuple[Shape, int], *_: object) -> Array:
    shape, axes = cache
    return view(dy, dy.shape[: dy.ndim - axes] + shape)
