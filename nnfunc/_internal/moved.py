"""Names that have moved to another module keep working for one version, with a warning."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib import import_module


def moved(module: str, name: str, homes: Mapping[str, str]) -> object:
    """Returns the value of a name that has moved out of `module`, with a deprecation warning.

    Raises:
        AttributeError: `module` never had the name.

    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     _ = moved("nnfunc", "cosine_decay", {"cosine_decay": "nnfunc.schedules"})
    >>> print(caught[0].message)
    nnfunc.cosine_decay is now nnfunc.schedules.cosine_decay; the old name will be removed in the next version
    """
    home = homes.get(name)
    if home is None:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    message = f"{module}.{name} is now {home}.{name}; the old name will be removed in the next version"
    warnings.warn(message, DeprecationWarning, stacklevel=3)
    return getattr(import_module(home), name)
