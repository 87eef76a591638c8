"""Layers with several inputs: concatenate, add, subtract, multiply."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import accumulate
from typing import Any

import numpy as np

from nnfunc.arrays import Array
from nnfunc.core.expressions import Expression, op
from nnfunc.core.kernel import Kernel, Signature
from nnfunc.core.layer import Layer, make
from nnfunc.core.values import Shapes, is_shape
from nnfunc.layout import Shape

__all__ = ["add", "concatenate", "multiply", "subtract"]


def concatenate() -> Layer:
    """(x₁, x₂, …) → their features, concatenated along the last axis.

    >>> nn.concatenate().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, (np.ones((5, 2)), np.zeros((5, 3))))[0].shape
    (5, 5)
    """
    return make("concatenate", kernel=CONCATENATE)


def _several(input_shape: Shapes, least: int = 1) -> tuple[Shape, ...]:
    """Returns the shapes of several inputs, each a single array."""
    if is_shape(input_shape) or len(input_shape) < least or not all(map(is_shape, input_shape)):
        raise TypeError(f"the input has shape {input_shape}, expected a tuple of {least} or more arrays")
    return tuple(input_shape)


def _concatenated(input_shape: Shapes) -> Signature:
    shapes = _several(input_shape)
    if len({s[:-1] for s in shapes}) > 1 or not all(shapes):
        raise ValueError(
            f"the inputs have shapes {', '.join(map(str, shapes))}, expected equal ones except for the last axis"
        )
    return Signature((*shapes[0][:-1], sum(s[-1] for s in shapes)))


def _concatenate(params: Sequence[Array], x: tuple[Array, ...]) -> tuple[Array, list[int]]:
    return np.concatenate(x, axis=-1), list(accumulate(a.shape[-1] for a in x))


def _concatenate_backward(
    params: Sequence[Array], ends: list[int], dy: Array, grads: Sequence[Array | None], need: tuple[bool, ...]
) -> tuple[Array, ...]:
    return tuple(dy[..., a:b] for a, b in zip([0, *ends], ends, strict=False))


def _concatenate_onnx(*, inputs: int, **_: Any) -> Expression:
    return op("Concat", *(f"x{i}" for i in range(inputs)), axis=-1)


def add() -> Layer:
    """(x₁, x₂, …) → x₁ + x₂ + …, all of the same shape.

    >>> nn.add().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, (np.ones((1, 2)), np.ones((1, 2))))[0]
    array([[2., 2.]])
    """
    return make("add", kernel=ADD)


def _alike(input_shape: Shapes) -> Signature:
    shapes = _several(input_shape)
    if len(set(shapes)) > 1:
        raise ValueError(f"the inputs have shapes {', '.join(map(str, shapes))}, expected the same shape for all")
    return Signature(shapes[0])


def _add(params: Sequence[Array], x: tuple[Array, ...]) -> tuple[Array, int]:
    return reduce(np.add, x), len(x)


def _add_backward(
    params: Sequence[Array], count: int, dy: Array, grads: Sequence[Array | None], need: tuple[bool, ...]
) -> tuple[Array, ...]:
    return (dy,) * count


def _add_onnx(*, inputs: int, **_: Any) -> Expression:
    return reduce(lambda a, b: op("Add", a, b), (f"x{i}" for i in range(inputs)))  # type: ignore[arg-type, return-value]


def subtract() -> Layer:
    """(x₁, x₂) → x₁ − x₂, both of the same shape.

    >>> nn.subtract().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, (np.ones((1, 2)), np.ones((1, 2))))[0]
    array([[0., 0.]])
    """
    return make("subtract", kernel=SUBTRACT)


def _two_alike(input_shape: Shapes) -> Signature:
    if len(_several(input_shape)) != 2:
        raise ValueError(f"got {len(input_shape)} values, expected two, (x₁, x₂)")
    return _alike(input_shape)


def _subtract(params: Sequence[Array], x: tuple[Array, Array]) -> tuple[Array, None]:
    return x[0] - x[1], None


def _subtract_backward(
    params: Sequence[Array], cache: None, dy: Array, grads: Sequence[Array | None], need: tuple[bool, bool]
) -> tuple[Array, Array]:
    return dy, -dy


def _subtract_onnx(**_: Any) -> Expression:
    return op("Sub", "x0", "x1")


def multiply() -> Layer:
    """(x₁, x₂, …) → x₁ · x₂ · …, elementwise, all of the same shape; used for gates.

    >>> nn.multiply().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, (np.full((1, 2), 2.0), np.full((1, 2), 3.0)))[0]
    array([[6., 6.]])
    """
    return make("multiply", kernel=MULTIPLY)


def _multiply(params: Sequence[Array], x: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
    return reduce(np.multiply, x), x


def _multiply_backward(
    params: Sequence[Array], x: tuple[Array, ...], dy: Array, grads: Sequence[Array | None], need: tuple[bool, ...]
) -> tuple[Array | None, ...]:
    """dxᵢ = dy · the product of all others, computed without division since any of them may be 0."""
    return tuple(reduce(np.multiply, (*x[:i], *x[i + 1 :]), dy) if needed else None for i, needed in enumerate(need))


def _multiply_onnx(*, inputs: int, **_: Any) -> Expression:
    return reduce(lambda a, b: op("Mul", a, b), (f"x{i}" for i in range(inputs)))  # type: ignore[arg-type, return-value]


CONCATENATE = Kernel(
    _concatenate, _concatenate_backward, _concatenated, formula="(x₁, x₂, …)", takes="any", onnx=_concatenate_onnx
)
ADD = Kernel(_add, _add_backward, _alike, formula="x₁ + x₂ + …", onnx=_add_onnx)
SUBTRACT = Kernel(_subtract, _subtract_backward, _two_alike, formula="x₁ − x₂", onnx=_subtract_onnx)
MULTIPLY = Kernel(_multiply, _multiply_backward, _alike, formula="x₁ · x₂ · …", onnx=_multiply_onnx)
