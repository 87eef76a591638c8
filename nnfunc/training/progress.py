"""Iterators for progress bars: they know the number of items left, and a text to show for the last one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from nnfunc.arrays import Scalar

T = TypeVar("T")


class Counted(Iterator[T]):
    """An iterator whose length is the number of items left; a progress bar shows `text(item)` for the last item.

    >>> items = Counted(iter("abc"), 3)
    >>> next(items), len(items)
    ('a', 2)
    """

    def __init__(self, items: Iterator[T], count: int | None, text: Callable[[T], str] | None = None) -> None:
        self._items, self._left, self._text = items, count, text

    def __repr__(self) -> str:
        return "an iterator" if self._left is None else f"an iterator of {self._left} more"

    def __len__(self) -> int:
        if self._left is None:
            raise TypeError("the number of items is unknown until the end")
        return self._left

    def __next__(self) -> T:
        item = next(self._items)
        if self._left is not None:
            self._left -= 1
        if self._text is not None:
            say(self, self._text, item)
        return item


def say(iterator: object, text: Callable[[T], str], value: T) -> None:
    """Makes the tqdm bar that wraps this iterator, if there is one, show text(value) after its count.

    An iterator does not know who iterates over it, so the bar is looked up among the open ones. tqdm is never imported
    here: if the caller has not imported it, there is no bar to find.

    >>> say(iter("abc"), str, 1.0)
    """
    bars = getattr(getattr(sys.modules.get("tqdm"), "tqdm", None), "_instances", ())
    for bar in list(bars):
        if getattr(bar, "iterable", None) is iterator:
            bar.set_postfix_str(text(value), refresh=False)


def shown(name: str, value: Scalar) -> str:
    """`name=number`; for a stack of networks, the smallest and the largest value.

    >>> shown("loss", 0.123456), shown("loss", np.array([0.5, 0.25, 0.75]))
    ('loss=0.1235', 'loss=0.25…0.75')
    """
    ends = (value,) if np.ndim(value) == 0 else (np.min(value), np.max(value))
    return f"{name}={'…'.join(str(np.round(end, 4)) for end in ends)}"
