"""User-defined losses: two functions of one network's outputs, called once per member of a stack."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from nnfunc.arrays import Scalar
from nnfunc.core.kernel import view
from nnfunc.core.values import Value, leaves, map_leaves
from nnfunc.stacks import member


class Members(NamedTuple):
    """The caches of a user-defined loss that was called for each member of a stack."""

    caches: list[Any]


def value_of_own(
    function: Callable[..., Any], y: Value, target: Any, weights: Any, class_weights: ArrayLike | None, lead: int
) -> tuple[Scalar, Any]:
    """Calls a user-defined loss. Weights are passed only if given, so it need not accept them."""
    if lead == 2:
        first = leaves(y)[0]
        parts = [
            value_of_own(
                function, member(y, k), member(target, k), None if weights is None else weights[k], class_weights, 1
            )
            for k in range(len(first))
        ]
        return np.array([value for value, _ in parts], first.dtype), Members([cache for _, cache in parts])
    y, target = (map_leaves(lambda a: view(np.asarray(a)), value) for value in (y, target))
    given = {} if class_weights is None else {"class_weights": class_weights}
    if weights is not None:
        try:
            signature(function).bind(y, target, weights, **given)
        except TypeError as error:
            raise TypeError(
                "weights were passed to a loss that does not accept them: define its forward as (y, target, weights)"
            ) from error
    result = function(y, target, **given) if weights is None else function(y, target, weights, **given)
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"loss.forward returned {type(result).__name__}, expected the pair (value, cache)")
    value = np.asarray(result[0])
    if value.ndim or value.dtype.kind not in "fiu":
        came = f"an array of shape {value.shape}" if value.ndim else repr(result[0])
        raise TypeError(f"loss.forward returned the value {came}, expected a scalar: the mean over the examples")
    return float(value), result[1]
