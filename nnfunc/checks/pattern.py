"""Where the wrong elements of an array are, in its own axes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from nnfunc.checks.compare import Comparison
from nnfunc.checks.numeric import Mask

FEW = 10
"""So many wrong elements are listed one by one."""


class Extent(NamedTuple):
    """Where the wrong elements are: in "all", in whole "slices", or "scattered", and how to say so."""

    kind: str
    text: str


def telling(c: Comparison) -> Mask:
    """The measured elements that say something: those where claim and derivative are not both 0."""
    return c.measured & ((np.abs(np.nan_to_num(c.numeric)) > c.allowance()) | (np.abs(c.analytic) > c.allowance()))


def extent(c: Comparison) -> Extent:
    """Where the wrong elements of a comparison are."""
    wrong = c.affected
    informative = (telling(c) if c.measured.all() else c.analytic != 0) | wrong
    if wrong.sum() == informative.sum():
        return Extent("all", "in every element" if c.analytic.size > 1 else "")
    for axis, length in enumerate(c.analytic.shape):
        if length == c.analytic.size:
            continue  # a slice would be an element
        others = tuple(i for i in range(c.analytic.ndim) if i != axis)
        bad, whole = wrong.sum(axis=others), informative.sum(axis=others)
        touched = np.flatnonzero(bad)
        if len(touched) < length and (bad[touched] == whole[touched]).all():
            return Extent("slices", f"in {_slices(axis, c.analytic.ndim, touched)}")
    return Extent("scattered", f"in {int(wrong.sum())} of {c.analytic.size} elements")


def _slices(axis: int, ndim: int, which: NDArray[np.intp]) -> str:
    listed = ", ".join(str(int(i)) for i in which[:5]) + (", …" if len(which) > 5 else "")
    if ndim == 2:
        word = ("row", "column")[axis]
        return f"{word}{'s' if len(which) > 1 else ''} {listed}"
    index = [":"] * ndim
    index[axis] = listed if len(which) == 1 else f"({listed})"
    return f"[{', '.join(index)}]"


def _listed(c: Comparison) -> str:
    indices = np.argwhere(c.wrong)
    shown = ", ".join(str([int(i) for i in index]) for index in indices[:5])
    return shown + (", …" if len(indices) > 5 else "")


def plural(count: int, noun: str) -> str:
    """ "1 element", "2 elements"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _few(c: Comparison) -> bool:
    """Whether the wrong elements are single ones, not slices and not the most of a small array."""
    count = int(c.affected.sum())
    return count < c.analytic.size and count <= min(FEW, max(1, c.analytic.size // 10))
