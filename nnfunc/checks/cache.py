"""Checks that backward depends on its cache alone and does not modify it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nnfunc.checks.function import Claims

STALE = (
    "backward {} after forward was called with other inputs: it uses values of the last forward; store everything that "
    "backward needs in the cache"
)
CHANGED = "a second backward with the same cache {}: the first modified the cache; work on a copy"
ADDED = "backward adds to existing gradients ({}: the second result is twice the first): clear them"


def misused(first: Claims, again: Callable[[], Claims]) -> tuple[str, str] | None:
    """Returns (kind, message) if backward, called again with the same cache, returns a different result, else None.

    Args:
        first: its first result at this point.
        again: calls it with a cache of this point, after forward was called at another point.

    >>> cache = np.array([1.0])
    >>> misused({"x": np.array([2.0])}, lambda: {"x": np.array(2 * np.add(cache, 1, out=cache))})
    ('stale', 'backward returns a different result after forward was called with other inputs: it uses values of the \
last forward; store everything that backward needs in the cache')
    """
    for kind, text in (("stale", STALE), ("mutation", CHANGED)):
        try:
            found = again()
        except Exception as error:  # the first call succeeded
            own = error.__cause__ or error
            return kind, text.format(f"raises {type(own).__name__} ({own})")
        if all(_same(found.get(k), v) for k, v in first.items()):
            continue
        added = [k for k, v in first.items() if np.any(v) and _same(found.get(k), 2 * np.asarray(v))]
        if kind == "mutation" and added:
            return kind, ADDED.format(", ".join(added))
        return kind, text.format("returns a different result")
    return None


def _same(a: Any, b: Any) -> bool:
    """Whether two gradients are equal up to rounding, also in single precision."""
    size = float(np.abs(b).max(initial=0))
    return a is not None and np.allclose(np.asarray(a), b, 1e-6, 1e-6 * size, equal_nan=True)
