"""Memory for vectors that come and go with every step.

The system takes large blocks back and clears them before it gives them out again, which costs more than the arithmetic
on them. glibc hands blocks of up to 32 MiB out again by itself once a program has freed a block of nearly that size
(mallopt(3), "dynamic mmap threshold"); larger ones never, so these are kept here.
"""

from __future__ import annotations

from math import prod
from sys import getrefcount
from threading import Lock

import numpy as np
from numpy.typing import NDArray

LARGEST_OF_GLIBC, KEPT_IN_ALL = 32 << 20, 256 << 20
"""Bytes. What is kept stays with the process, also when nobody uses it any more."""

np.empty(30 << 20, np.uint8)  # freed at once, and never written, so it takes no memory

_kept: list[NDArray[np.floating]] = []
_lock = Lock()


def _references(arrays: list[NDArray[np.floating]]) -> list[int]:
    return [getrefcount(array) for array in arrays]


_FREE = _references([np.empty(0)])[0]
"""How many references an array has that is in a list and that nobody uses, as this Python counts them."""


def memory(shape: tuple[int, ...], dtype: np.dtype[np.floating]) -> NDArray[np.floating]:
    """An array whose values are arbitrary, like that of np.empty, and that owns its memory.

    >>> memory((2, 3), np.dtype(np.float32)).shape
    (2, 3)
    """
    if prod(shape) * dtype.itemsize < LARGEST_OF_GLIBC:
        return np.empty(shape, dtype)
    with _lock:
        for i, references in enumerate(_references(_kept)):
            if references == _FREE and _kept[i].shape == shape and _kept[i].dtype == dtype:
                _kept[i].setflags(write=True)
                return _kept[i]
        new: NDArray[np.floating] = np.empty(shape, dtype)
        _kept.append(new)
        while sum(a.nbytes for a in _kept) > KEPT_IN_ALL:
            del _kept[0]
        return new
