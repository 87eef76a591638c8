"""Gradients of JAX for the gradient checks: `jax.custom_vjp`, and any function that `jax.vjp` accepts."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

__all__ = ["pair"]


def pair(f: Callable[..., Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Converts a JAX function into a forward and a backward for `nn.check_function`, in float64.

    Args:
        f: arrays, or tuples, lists and dicts of them -> arrays; with `jax.custom_vjp`, your rule is checked.

    >>> import jax
    >>> @jax.custom_vjp
    ... def cube(x):
    ...     return x**3
    >>> cube.defvjp(lambda x: (x**3, x), lambda x, dy: (2 * dy * x**2,))  # should be 3
    >>> [(finding.name, finding.kind) for finding in nn.check_function(*pair(cube), np.array([0.5, -1.0])).findings]
    [('x', 'scale')]
    """
    import jax  # this module can be imported without it

    @wraps(f)
    def forward(*inputs: Any) -> tuple[Any, Any]:
        with jax.enable_x64(True):
            y, vjp = jax.vjp(f, *inputs)
        return jax.tree.map(np.array, y), vjp

    def backward(dy: Any, cache: Any) -> Any:
        with jax.enable_x64(True):
            gradients = cache(jax.tree.map(jax.numpy.asarray, dy))
        return jax.tree.map(lambda g: None if g.dtype == jax.dtypes.float0 else np.array(g), gradients)

    return forward, backward
