"""Iterators that progress bars can show: they know how many items are left, and what to say about the last one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from nnfunc.arrays import Scalar

T = TypeVar("T")


class Counted(Iterator[T]):
    """An iterator with a length, the number of items left, that says about each item what `text` makes of it.

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
            raise TypeError("how many items these are is not known before the end")
        return self._left

    def __next__(self) -> T:
        item = next(self._items)
        if self._left is not None:
            self._left -= 1
        if self._text is not None:
            say(self, self._text, item)
        return item


def say(iterator: object, text: Callable[[T], str], value: T) -> None:
    """Has the tqdm bar around this iterator, if there is one, show text(value) after its count.

    An iterator is not told who iterates over it, so the bar is looked up among the open ones. tqdm is never imported
    here: without a bar of the caller's there is none to find.

    >>> say(iter("abc"), str, 1.0)
    """
    bars = getattr(getattr(sys.modules.get("tqdm"), "tqdm", None), "_instances", ())
    for bar in list(bars):
        if getattr(bar, "iterable", None) is iterator:
            bar.set_postfix_str(text(value), refresh=False)


def shown(name: str, value: Scalar) -> str:
    """`name=number`; of a stack of networks the least and the greatest.

    >>> shown("loss", 0.123456), shown("loss", np.array([0.5, 0.25, 0.75]))
    ('loss=0.1235', 'loss=0.25…0.75')
    """
    ends = (value,) if np.ndim(value) == 0 else (np.min(value), np.max(value))
    return f"{name}={'…'.join(str(np.round(end, 4)) for end in ends)}"
