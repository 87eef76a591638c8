"""Expressions of ONNX operators, which describe a kernel's prediction to other runtimes."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from numpy.typing import NDArray


class Op(NamedTuple):
    """An ONNX operator on expressions."""

    kind: str
    inputs: tuple[Expression, ...]
    attributes: dict[str, Any]  # integers and lists of these


Expression: TypeAlias = "str | float | NDArray[Any] | Op"  # Any: floats or integers
"""The input "x" ("x0", "x1" if several), an array by its name in the layer ("W"), a constant, or an operator on these.
"" is an omitted input. For an operator with several outputs, op("Output", operator, number=1) is the second. A layer
with several outputs has a list of expressions."""


def op(kind: str, *inputs: Expression, **attributes: object) -> Op:
    """Creates an operator on expressions.

    >>> op("MatMul", "x", "W")
    Op(kind='MatMul', inputs=('x', 'W'), attributes={})
    """
    return Op(kind, inputs, attributes)


def same(**_: object) -> Expression:
    """The unchanged input, for layers without effect in prediction.

    >>> same()
    'x'
    """
    return "x"


def first(**_: object) -> Expression:
    """The first of several inputs.

    >>> first()
    'x0'
    """
    return "x0"
