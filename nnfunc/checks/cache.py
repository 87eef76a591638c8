"""Whether backward depends on its cache alone, and leaves it as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nnfunc.checks.function import Claims

STALE = (
    "backward {} after forward was called with other inputs: it uses what the last forward left; put all that backward "
    "needs into the cache"
)
CHANGED = "a second backward with the same cache {}: the first changed the cache; work on a copy"
ADDED = "backward adds to the gradients it finds ({}: the second result is twice the first): clear them"


def misused(first: Claims, again: Callable[[], Claims]) -> tuple[str, str] | None:
    """(kind, what to say) where backward, called again with one cache, gives something else; None if it does not.

    Args:
        first: what it gives at this point.
        again: calls it with a cache of this point, since when forward was called at another one.

    >>> cache = np.array([1.0])
    >>> misused({"x": np.array([2.0])}, lambda: {"x": np.array(2 * np.add(cache, 1, out=cache))})
    ('stale', 'backward gives another result after forward was called with other inputs: it uses what the last forward \
left; put all that backward needs into the cache')
    """
    for kind, text in (("stale", STALE), ("mutation", CHANGED)):
        try:
            found = again()
        except Exception as error:  # the first went well
            own = error.__cause__ or error
            return kind, text.format(f"raises {type(own).__name__} ({own})")
        if all(_same(found.get(k), v) for k, v in first.items()):
            continue
        added = [k for k, v in first.items() if np.any(v) and _same(found.get(k), 2 * np.asarray(v))]
        if kind == "mutation" and added:
            return kind, ADDED.format(", ".join(added))
        return kind, text.format("gives another result")
    return None


def _same(a: Any, b: Any) -> bool:
    """Whether two gradients are equal but for what another place in memory makes of a sum, also in single precision."""
    size = float(np.abs(b).max(initial=0))
    return a is not None and np.allclose(np.asarray(a), b, 1e-6, 1e-6 * size, equal_nan=True)
