"""A one-line pytest test of a forward and a backward over shapes and dtypes, which fails with the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

import nnfunc as nn
from nnfunc.checks.functions import in_precision


def gradient_test(
    forward: Callable[..., Any],
    backward: Callable[..., Any] | None,
    cases: Sequence[Sequence[Any]],
    *,
    dtypes: Sequence[DTypeLike] = (np.float64, np.float32),
    **settings: Any,
) -> Callable[..., None]:
    """Returns a pytest test of each case with each dtype.

    Args:
        forward, backward: as in `nn.check_function`.
        cases: the inputs of each case: shapes, for which normal numbers are drawn, or the inputs themselves.
        dtypes: further dtypes in which to call forward and backward; derivatives are always taken in float64.
        settings: keyword arguments of `nn.check_function`.
    Returns:
        the test: assign it to a name that begins with test_. It fails with the printed report.

    >>> def forward(x, w):
    ...     return x @ w, (x, w)
    >>> def backward(dy, cache):
    ...     x, w = cache
    ...     return dy @ w.T, x.T @ dy
    >>> test_product = gradient_test(forward, backward, [[(5, 3), (3, 2)], [(1, 3), (3, 1)]])
    >>> [case.id for case in test_product.pytestmark[0].args[1]][:2]
    ['(5, 3), (3, 2)-float64', '(5, 3), (3, 2)-float32']
    """
    import pytest  # the strategies work without it

    def test(inputs: Sequence[Any], dtype: DTypeLike) -> None:
        __tracebackhide__ = True
        rng = np.random.default_rng(0)
        given = [rng.normal(size=value) if _is_shape(value) else value for value in inputs]
        nn.check_function(forward, backward, *given, **settings).assert_ok()
        problem = in_precision(forward, backward, given, np.dtype(dtype))
        assert not problem, problem

    ids = [", ".join(str(v) if _is_shape(v) else type(v).__name__ for v in inputs) for inputs in cases]
    both = [
        pytest.param(inputs, dtype, id=f"{name}-{np.dtype(dtype).name}")
        for inputs, name in zip(cases, ids, strict=True)
        for dtype in dtypes
    ]
    marked: Callable[..., None] = pytest.mark.parametrize(("inputs", "dtype"), both)(test)
    return marked


def _is_shape(value: NDArray[Any] | tuple[int, ...] | Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(n, int) for n in value)
