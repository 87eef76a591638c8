"""Layers that rearrange values without changing them: flatten, reshape, take, and over time unstack and stack."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from nnfunc._internal.validate import is_number, positive_int
from nnfunc.arrays import Array
from nnfunc.core.expressions import Expression, op
from nnfunc.core.kernel import Kernel, Signature, view
from nnfunc.core.layer import Layer, make
from nnfunc.core.settings import Settings
from nnfunc.core.values import Shapes, Value, is_shape
from nnfunc.core.wiring import Call
from nnfunc.layout import Shape

__all__ = ["flatten", "reshape", "take"]


def flatten(axes: int | None = None) -> Layer:
    """Flattens the axes of one example into its features: (examples, 8, 8) becomes (examples, 64). y is a view of x.

    Args:
        axes: the number of trailing axes to flatten; None: all axes of an example.

    >>> nn.flatten().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.ones((5, 8, 8)))[0].shape
    (5, 64)
    """
    return make("flatten", Settings(axes=None if axes is None else positive_int(axes, "axes")), FLATTEN)


def _flatten_signature(input_shape: Shapes, *, axes: int | None) -> Signature:
    shape = one(input_shape, "flatten")
    if not shape or (axes or 1) > len(shape):
        raise ValueError(f"an example has shape {shape}, expected at least {axes or 1} axes to flatten")
    kept = 0 if axes is None else len(shape) - axes
    return Signature((*shape[:kept], prod(shape[kept:])))


def _flatten(params: Sequence[Array], x: Array, *, lead: int, axes: int | None) -> tuple[Array, Shape]:
    kept = lead if axes is None else x.ndim - axes
    return view(x, (*x.shape[:kept], prod(x.shape[kept:]))), x.shape


def _back_to(
    params: Sequence[Array], before: Shape, dy: Array, grads: Sequence[Array | None], need: bool, **_: Any
) -> Array:
    return view(dy, before)  # type: ignore[no-any-return]  # a view of an array is one


def _flatten_onnx(*, axes: int | None, shape: Shape, **_: Any) -> Expression:
    kept = 1 if axes is None else 1 + len(shape) - axes  # including the axis of examples; a 0 keeps an axis
    return op("Reshape", "x", np.array([0] * kept + [prod(shape[kept - 1 :])]))


def reshape(*shape: int) -> Layer:
    """Reshapes each example: `reshape(8, 8)` turns (examples, 64) into (examples, 8, 8). y is a view of x.

    Args:
        shape: the new shape of one example, with the same number of elements; one length may be -1 (inferred).
    Raises:
        ValueError: (when used) a different number of elements.

    >>> nn.reshape(2, -1).forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.ones((5, 6)))[0].shape
    (5, 2, 3)
    """
    if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
        shape = tuple(shape[0])
    for n in shape:
        if not (is_number(n) and n == -1):
            positive_int(n, "shape")
    if shape.count(-1) > 1:
        raise ValueError(f"shape={shape}: expected at most one -1")
    return make("reshape", Settings(shape=tuple(map(int, shape))), RESHAPE)


def _reshape_signature(input_shape: Shapes, *, shape: Shape) -> Signature:
    before = one(input_shape, "reshape")
    known = prod(n for n in shape if n != -1)
    if prod(before) != known and (-1 not in shape or known == 0 or prod(before) % known):
        raise ValueError(
            f"an example has shape {before}, of {prod(before)} elements, which cannot be reshaped to {shape}"
        )
    return Signature(tuple(prod(before) // known if n == -1 else n for n in shape))


def _reshape(params: Sequence[Array], x: Array, *, lead: int, shape: Shape) -> tuple[Array, Shape]:
    return view(x, (*x.shape[:lead], *shape)), x.shape


def _reshape_onnx(*, shape: Shape, after: Shape, **_: Any) -> Expression:
    return op("Reshape", "x", np.array([0, *after]))


def take(i: int) -> Layer:
    """(x₀, x₁, …) → xᵢ: selects one of several values. It is pure wiring and computes nothing.

    >>> nn.take(1).forward(nn.arrays.EMPTY, nn.arrays.EMPTY, (np.ones((5, 2)), np.zeros((5, 3))))[0].shape
    (5, 3)
    """
    return make("take", Settings(i=positive_int(i, "i", 0)), wire=_take)


def _take(call: Call, x: Value) -> Value:
    parts, i = call.parts(x), call.settings["i"]
    if i >= len(parts):
        raise ValueError(f"i={i}: expected at most {len(parts) - 1}, as x has {len(parts)} values")
    return parts[i]


def one(input_shape: Shapes, what: str) -> Shape:
    """Returns `input_shape` if it is the shape of a single array."""
    if not is_shape(input_shape):
        raise TypeError(f"x is a tuple of {len(input_shape)} values, but {what} takes one array")
    return tuple(input_shape)


# -- over time: the parts of `scan` -----------------------------------------------------------------------------------


def unstack_steps() -> Layer:
    """(..., T, features) → T values (..., features), one per time step.

    >>> len(unstack_steps().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.ones((5, 3, 2)))[0])
    3
    """
    return make("steps", kernel=UNSTACK)


def _unstack_signature(input_shape: Shapes) -> Signature:
    shape = one(input_shape, "scan")
    if len(shape) < 2:
        raise ValueError(f"an example has shape {shape}, expected (..., time, features)")
    return Signature(tuple((*shape[:-2], shape[-1]) for _ in range(shape[-2])))


def _unstack(params: Sequence[Array], x: Array) -> tuple[tuple[Array, ...], None]:
    return tuple(view(x[..., t, :]) for t in range(x.shape[-2])), None


def _unstack_backward(
    params: Sequence[Array], cache: None, dy: tuple[Array, ...], grads: Sequence[Array | None], need: bool
) -> Array:
    return np.stack(dy, axis=-2)


def _unstack_onnx(*, shape: Shape, **_: Any) -> list[Expression]:
    return [op("Gather", "x", np.array(t), axis=len(shape) - 1) for t in range(shape[-2])]


def stack_steps() -> Layer:
    """T values (..., features) → (..., T, features), the inverse of `unstack_steps`.

    >>> stack_steps().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, (np.ones((5, 2)),) * 3)[0].shape
    (5, 3, 2)
    """
    return make("sequence", kernel=STACK)


def _stack_signature(input_shape: Shapes) -> Signature:
    first = input_shape[0]
    return Signature((*first[:-1], len(input_shape), first[-1]))


def _stack(params: Sequence[Array], x: tuple[Array, ...]) -> tuple[Array, int]:
    return np.stack(x, axis=-2), len(x)


def _stack_backward(
    params: Sequence[Array], count: int, dy: Array, grads: Sequence[Array | None], need: tuple[bool, ...]
) -> tuple[Array, ...]:
    return tuple(dy[..., t, :] for t in range(count))


def _stack_onnx(*, inputs: int, after: Shape, **_: Any) -> Expression:
    time = len(after) - 1
    return op("Concat", *(op("Unsqueeze", f"x{t}", np.array([time])) for t in range(inputs)), axis=time)


def zeros_of(units: int) -> Layer:
    """Zeros (..., units) for every row of x (..., features): the state before the first step. It has no gradient.

    >>> zeros_of(3).forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.ones((1, 2)))[0]
    array([[0., 0., 0.]])
    """
    return make("zeros", Settings(units=units), ZEROS)


def _zeros_signature(input_shape: Shapes, *, units: int) -> Signature:
    return Signature((*one(input_shape, "scan")[:-1], units))


def _zeros(params: Sequence[Array], x: Array, *, units: int) -> tuple[Array, Shape]:
    return np.zeros((*x.shape[:-1], units), x.dtype), x.shape


def _zeros_backward(
    params: Sequence[Array], shape: Shape, dy: Array, grads: Sequence[Array | None], need: bool, *, units: int
) -> Array:
    return np.zeros(shape, dy.dtype)


def _zeros_onnx(*, units: int, **_: Any) -> Expression:
    return op("Expand", 0.0, op("Concat", op("Shape", "x", end=-1), np.array([units]), axis=0))


FLATTEN = Kernel(
    _flatten, _back_to, _flatten_signature, formula="x, its axes joined", uses=("axes",), asks=("lead",), takes="any",
    onnx=_flatten_onnx,
)  # fmt: skip
RESHAPE = Kernel(
    _reshape, _back_to, _reshape_signature, formula="x, in another shape", uses=("shape",), asks=("lead",), takes="any",
    onnx=_reshape_onnx,
)  # fmt: skip
UNSTACK = Kernel(_unstack, _unstack_backward, _unstack_signature, formula="x₁, …, x_T", takes="any", onnx=_unstack_onnx)
STACK = Kernel(_stack, _stack_backward, _stack_signature, formula="(x₁, …, x_T)", onnx=_stack_onnx)
ZEROS = Kernel(_zeros, _zeros_backward, _zeros_signature, formula="0", uses=("units",), onnx=_zeros_onnx)
