"""Diagnosis of a wrong gradient by hypotheses, tried in order of simplicity. Each must explain every element.

A hypothesis is a function Evidence -> Diagnosis | None. Most have the form 'the true gradient is this transformation
of the claimed one': the transformation is applied to the whole claimed array a and compared with the measured elements
of the true one, n. A hypothesis with a free constant, or with little support, must also hold at a second point."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np

from nnfunc.arrays import Array
from nnfunc.checks.compare import FEW, Comparison
from nnfunc.checks.constants import Hints
from nnfunc.checks.numeric import Mask
from nnfunc.checks.pattern import extent, telling


class Diagnosis(NamedTuple):
    """A kind, its explanation, and the corrected gradient if the hypothesis provides one."""

    kind: str
    text: str
    corrected: Array | None = None


class Point:
    """The evidence at one point, for the array in question and for all arrays.

    Args:
        compare: measures the array in question; called lazily, as it is the most expensive part.
        arrays: the values at this point.
        claims: the claimed gradients at this point.
    """

    def __init__(
        self, compare: Callable[[], Comparison], arrays: Mapping[str, Array], claims: Mapping[str, Array]
    ) -> None:
        self.compare, self.arrays, self.claims = compare, arrays, claims

    @cached_property
    def c(self) -> Comparison:
        """The comparison for the array in question."""
        return self.compare()


class Elsewhere(Protocol):
    """Returns the evidence at another point, at a distance in units of the variables; None if there is none."""

    def __call__(
        self, distance: float, only: str = "", by: Mapping[str, Array] | None = None, few: bool = False
    ) -> Point | None:
        """With `only`, moves just this array; with `by`, moves arrays by these amounts; with `few`, measures fewer
        elements."""


class Evidence:
    """The evidence about one wrong array.

    Args:
        here: the evidence at the checked point.
        elsewhere: returns the evidence at other points.
        hints: possible meanings of constants, and the arrays that the functions use.
        others: the comparisons of all arrays at the point.
    """

    def __init__(
        self, here: Point, elsewhere: Elsewhere, hints: Hints, others: Mapping[str, Comparison] | None = None
    ) -> None:
        self.here, self.elsewhere, self.hints, self.others = here, elsewhere, hints, others or {}
        self.c = here.c

    @cached_property
    def second(self) -> Point | None:
        """Another point, at which a hypothesis must also hold."""
        return self.elsewhere(0.3)

    @cached_property
    def points(self) -> list[Comparison]:
        """The array here and, if so few elements that a constant may fit by chance, at two other points."""
        if self.c.analytic.size > 3 and np.ptp(self.c.point) != 0:
            return [self.c]
        near = self.second if self.c.analytic.size <= FEW else self.elsewhere(0.3, few=True)
        others = (near, self.elsewhere(0.5, few=True))
        return [self.c, *(p.c for p in others if p is not None)]

    def at_both(self, condition: Callable[[Point], bool]) -> bool:
        """Whether the condition holds at the point and at another one, which is evaluated only if needed."""
        return condition(self.here) and (self.second is None or condition(self.second))

    @cached_property
    def both(self) -> list[Point]:
        """The point and another one, or only the first if there is no other."""
        return [self.here] if self.second is None else [self.here, self.second]


Hypothesis: TypeAlias = Callable[[Evidence], Diagnosis | None]


def fits(c: Comparison, corrected: Array, where: Mask, scale: float = 1.0) -> bool:
    """Whether a corrected gradient agrees with the numeric one in the measured elements of `where`."""
    known = where & c.measured
    gap = np.abs(corrected - np.nan_to_num(c.numeric))
    allowed = c.allowance() * (2 * max(1.0, scale))
    return bool(known.any() and (gap[known] <= allowed[known]).all())


def holds(e: Evidence, corrected: Callable[[Point], Array | None]) -> bool:
    """Whether this is the true gradient at the point and at another one, and for small arrays at a third."""
    third = e.elsewhere(0.5) if e.c.analytic.size < 4 else None
    for point in (*e.both, *([] if third is None else [third])):
        gradient = corrected(point)
        if gradient is None or not point.c.measured.all() or not np.isfinite(gradient).all():
            return False
        if not fits(point.c, gradient, point.c.measured):
            return False
    return True


def peak(c: Comparison) -> float:
    """The largest magnitude of derivative and claim."""
    return float(np.nanmax(np.abs([c.numeric, c.analytic]), initial=0.0))


def diagnose(e: Evidence, hypotheses: Iterable[Hypothesis]) -> Diagnosis:
    """The simplest explanation of one array; "unknown" if there is none."""
    return next((found for hypothesis in hypotheses if (found := hypothesis(e))), unknown(e.c))


def unknown(c: Comparison) -> Diagnosis:
    """The location and size of the errors, without an explanation."""
    where = extent(c)
    known = c.wrong & c.measured
    with np.errstate(all="ignore"):
        ratio = (c.analytic / c.numeric)[known]
    ratio = ratio[np.isfinite(ratio)]
    share = float(c.wrong[telling(c) | c.wrong].mean()) if c.wrong.any() else 0.0
    text = f"the gradient is wrong {where.text or 'in its only element'}"
    text += f" ({share:.0%} of the nonzero ones)" if where.kind == "scattered" else ""
    if ratio.size > 1:
        spread = f"between {ratio.min():.3g} and {ratio.max():.3g} (median {np.median(ratio):.3g})"
        text += f"; gradient / derivative lies {spread}"
    elif ratio.size:
        text += f"; gradient / derivative is {ratio[0]:.6g}"
    text += (
        ": no simple mistake explains it; look for a path from this array to the loss that backward does not follow, "
    )
    text += "or follows with a wrong derivative"
    return Diagnosis("unknown", text)
