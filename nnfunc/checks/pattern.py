"""The location of the wrong elements in an array."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from nnfunc.arrays import Array
from nnfunc.checks.compare import Comparison
from nnfunc.checks.numeric import Mask

FEW = 10
"""Up to this many wrong elements are listed individually."""

EQUAL = 1e-6
"""Values with a smaller relative difference count as equal."""


class Extent(NamedTuple):
    """The location of the wrong elements: "all", whole "slices" or "scattered", and its description."""

    kind: str
    text: str


def telling(c: Comparison) -> Mask:
    """The informative measured elements: those where claim and derivative are not both 0."""
    return c.measured & ((np.abs(np.nan_to_num(c.numeric)) > c.allowance()) | (np.abs(c.analytic) > c.allowance()))


def extent(c: Comparison) -> Extent:
    """The location of the wrong elements of a comparison."""
    wrong = c.affected
    informative = (telling(c) if c.measured.all() else c.analytic != 0) | wrong
    if wrong.sum() == informative.sum():
        return Extent("all", "in every element" if c.analytic.size > 1 else "")
    for axis, length in enumerate(c.analytic.shape):
        if length == c.analytic.size:
            continue  # a slice would be a single element
        others = tuple(i for i in range(c.analytic.ndim) if i != axis)
        bad, whole = wrong.sum(axis=others), informative.sum(axis=others)
        touched = np.flatnonzero(bad)
        if len(touched) < length and (bad[touched] == whole[touched]).all():
            return Extent("slices", f"in {slices(axis, c.analytic.ndim, touched)}")
    return Extent("scattered", f"in {int(wrong.sum())} of {c.analytic.size} elements")


def ranges(which: Iterable[int]) -> str:
    """Formats integers as ranges.

    >>> ranges([0, 1, 2, 3, 7, 9, 10]), ranges([4])
    ('0–3, 7, 9, 10', '4')
    """
    runs: list[list[int]] = []
    for i in map(int, which):
        if runs and i == runs[-1][-1] + 1:
            runs[-1].append(i)
        else:
            runs.append([i])
    parts = [part for run in runs for part in ([f"{run[0]}–{run[-1]}"] if len(run) > 2 else map(str, run))]
    return ", ".join(parts[:6]) + (", …" if len(parts) > 6 else "")


def slices(axis: int, ndim: int, which: Iterable[int]) -> str:
    """Formats slices along an axis: "rows 1, 2", "[:, (0–3), :]"."""
    which = list(which)
    if ndim == 2:
        return f"{('row', 'column')[axis]}{'s' if len(which) > 1 else ''} {ranges(which)}"
    index = [":"] * ndim
    index[axis] = ranges(which) if len(which) == 1 else f"({ranges(which)})"
    return f"[{', '.join(index)}]"


def listed(c: Comparison) -> str:
    """The indices of the wrong elements."""
    indices = np.argwhere(c.wrong)
    shown = ", ".join(str([int(i) for i in index]) for index in indices[:5])
    return shown + (", …" if len(indices) > 5 else "")


def enough(c: Comparison) -> bool:
    """Whether there are at least two informative elements."""
    return int((telling(c) | (c.measured & c.wrong)).sum()) >= 2


def plural(count: int, noun: str) -> str:
    """ "1 element", "2 elements"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def few(c: Comparison) -> bool:
    """Whether only single elements are wrong, not slices or most of a small array."""
    count = int(c.affected.sum())
    return count < c.analytic.size and count <= min(FEW, max(1, c.analytic.size // 10))


def different(numbers: Array) -> list[float]:
    """The distinct values of an array."""
    found: list[float] = []
    for v in np.sort(np.ravel(numbers)):
        if not found or abs(v - found[-1]) > EQUAL * max(abs(v), abs(found[-1])) + 1e-12:
            found.append(float(v))
    return found
