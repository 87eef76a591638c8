"""The errors of the package. Wrong arguments raise Python's own ValueError and TypeError."""

from __future__ import annotations

__all__ = ["NonFiniteError"]


class NonFiniteError(FloatingPointError):
    """A loss or a gradient became NaN or infinite; the message says at which step and where it began.

    >>> issubclass(NonFiniteError, FloatingPointError)
    True
    """
