"""Gradient rules of HIPS autograd (`defvjp`), for the gradient checks."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

__all__ = ["pair"]


def pair(f: Callable[..., Any], *makers: Callable[..., Any] | None) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Converts a function and its rules into a forward and a backward for `nn.check_function`.

    Args:
        f: inputs -> y.
        makers: for each input, (y, *inputs) -> (dy -> gradient), as in `defvjp(f, ...)`; None for inputs without
            gradient.

    >>> def product(x, w):
    ...     return x @ w
    >>> rules = (lambda y, x, w: lambda dy: dy @ w.T), (lambda y, x, w: lambda dy: dy.T @ x)  # should be x.T @ dy
    >>> x = np.random.default_rng(0).normal(size=(3, 3))
    >>> [(finding.name, finding.kind) for finding in nn.check_function(*pair(product, *rules), x, x).findings]
    [('w', 'transpose')]
    """

    @wraps(f)
    def forward(*inputs: Any) -> tuple[Any, Any]:
        y = f(*inputs)
        return y, (y, inputs)

    def backward(dy: Any, cache: Any) -> Any:
        y, inputs = cache
        return tuple(maker and maker(y, *inputs)(dy) for maker in makers)

    return forward, backward
