"""Values that flow between layers: arrays, or tuples of values (including NamedTuples)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from nnfunc._internal.validate import positive_int

Value: TypeAlias = Any
"""An array, or an arbitrarily nested tuple of values. Python's types cannot express it without casts everywhere."""

Shapes: TypeAlias = Any
"""The shape of one example, or a tuple of shapes, nested like the value."""


InputShape: TypeAlias = "tuple[int, ...] | list[int] | tuple[InputShape, ...]"
"""The same where it is an argument: a shape like (64,), or a tuple of them for several inputs."""


def leaves(value: Value) -> list[Any]:
    """The arrays of a value, from left to right.

    >>> leaves((1, (2, 3)))
    [1, 2, 3]
    """
    return [leaf for part in value for leaf in leaves(part)] if isinstance(value, tuple) else [value]


def rebuilt(like: tuple[Any, ...], parts: list[Any]) -> tuple[Any, ...]:
    """Builds a tuple of the same type as `like`, such as a NamedTuple."""
    make: Callable[[list[Any]], tuple[Any, ...]] = getattr(
        like, "_make", tuple
    )  # bypasses a __new__ with other arguments
    return make(parts)


def map_leaves(function: Callable[..., Any], value: Value, *others: Value) -> Any:
    """Applies `function` to each array (and its counterparts in other values); returns a value of the same structure.

    >>> map_leaves(lambda a, b: a + b, (1, (2, 3)), (10, (20, 30)))
    (11, (22, 33))
    """
    if not isinstance(value, tuple):
        return function(value, *others)
    return rebuilt(value, [map_leaves(function, *parts) for parts in zip(value, *others, strict=True)])


def taken(values: Sequence[Any], numbers: Value) -> Any:
    """Selects the values at these indices, in the structure of the indices.

    >>> taken("abc", (2, (0, 1)))
    ('c', ('a', 'b'))
    """
    return map_leaves(lambda n: values[n], numbers)


def is_shape(shape: object) -> bool:
    """Whether an object is a single shape, not a tuple of shapes; () is the shape of a scalar.

    >>> is_shape((8, 8)), is_shape(((8, 8), (5,)))
    (True, False)
    """
    return isinstance(shape, (tuple, list)) and all(isinstance(n, (int, np.integer)) for n in shape)


def map_shapes(function: Callable[..., Any], shapes: Shapes) -> Any:
    """Applies `function` to each shape, keeping the structure.

    >>> map_shapes(len, ((8, 8), (5,)))
    (2, 1)
    """
    if is_shape(shapes):
        return function(tuple(shapes))
    return rebuilt(shapes, [map_shapes(function, s) for s in shapes])


def check_shapes(input_shape: Shapes, name: str = "input_shape") -> Shapes:
    """Returns `input_shape` if it is the shape of one example, or a tuple of such shapes."""
    if isinstance(input_shape, (int, np.integer)):
        raise TypeError(f"{name}={input_shape}: expected the shape of one example as a tuple, ({input_shape},)")
    if not isinstance(input_shape, (tuple, list)):
        raise TypeError(f"{name} is {type(input_shape).__name__}, expected the shape of one example, like (64,)")
    if is_shape(input_shape) or not all(isinstance(s, (tuple, list)) for s in input_shape):
        return tuple(positive_int(n, name) for n in input_shape)
    return rebuilt(tuple(input_shape) if isinstance(input_shape, list) else input_shape,
                   [check_shapes(s, name) for s in input_shape])  # fmt: skip
