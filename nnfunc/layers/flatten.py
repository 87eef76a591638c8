"""Flatten: from images, or anything of several axes, to rows of features."""

from __future__ import annotations

from functools import partial
from math import prod

from nnfunc.arrays import EMPTY, Array, ArrayDict
from nnfunc.errors import positive_int, real
from nnfunc.keys import Keys
from nnfunc.layers.base import Layer, Shape, no_parameters, same_shape, view


def flatten(axes: int | None = None) -> Layer:
    """Joins the axes of one example into its features: (examples, 8, 8) becomes (examples, 64). y is a view of x.

    Args:
        axes: how many trailing axes to join; None: all but the first. Needed where more axes than that of the
            examples come first: (networks, examples, 8, 8) and axes=2 give (networks, examples, 64).

    >>> nn.flatten().forward(nn.EMPTY, nn.EMPTY, np.ones((5, 8, 8)))[0].shape
    (5, 64)
    """
    axes = None if axes is None else positive_int(axes, "axes")
    return Layer(no_parameters, partial(_forward, axes=axes), _backward, "flatten")


def _forward(
    params: ArrayDict,
    state: ArrayDict,
    x: Array,
    *,
    key: Keys | None = None,
    train: bool = False,
    axes: int | None,
) -> tuple[Array, tuple[Shape, Shape], ArrayDict]:
    x = real(x, "x")
    lead = 1 if axes is None else x.ndim - axes
    if lead < 1:
        raise ValueError(f"x has shape {x.shape}, expected an axis of examples and then {axes or 1} or more to join")
    y = view(x, (*x.shape[:lead], prod(x.shape[lead:])))
    return y, (x.shape, y.shape), state


def _backward(
    params: ArrayDict, cache: tuple[Shape, Shape], dy: Array, *, need_dx: bool = True, out: ArrayDict | None = None
) -> tuple[Array | None, ArrayDict]:
    shape, flat = cache
    same_shape(dy, flat, leading=True)
    return view(dy, dy.shape[: dy.ndim - len(flat)] + shape) if need_dx else None, EMPTY
