"""Hypotheses about missing or extra terms and their dependence. Each must also hold at a second point."""

from __future__ import annotations

import numpy as np

from nnfunc.arrays import Array
from nnfunc.checks.compare import Comparison
from nnfunc.checks.diagnosis import Diagnosis, Evidence, Hypothesis, Point, holds, peak
from nnfunc.checks.factors import at_hand
from nnfunc.checks.numeric import Mask
from nnfunc.checks.pattern import EQUAL, extent, ranges, telling


def _invariant(e: Evidence) -> Diagnosis | None:
    """A sum that is 0 in the derivative but not in the claim, or vice versa."""

    def sums(p: Point, axis: int, weighted: bool) -> tuple[bool, bool]:
        c, w = p.c, p.c.point if weighted else np.ones_like(p.c.point)
        a, n = ((v * w).sum(axis=axis) for v in (c.analytic, np.nan_to_num(c.numeric)))
        size = float(np.abs(np.nan_to_num(c.numeric) * w).sum(axis=axis).max(initial=0))
        large = float(np.abs(c.analytic * w).sum(axis=axis).max(initial=0))
        error = 4 * float(np.abs(c.error * w).sum(axis=axis).max(initial=0))
        none = 1e-4 if weighted else 1e-8  # an ε in the root leaves a small rest
        if (np.abs(a) < 1e-2 * large).all() and (np.abs(a) > none * large).any():
            return False, False
        return bool((np.abs(n) <= none * size + error).all()), bool((np.abs(a) <= none * large).all())

    c = e.c
    if not all(p.c.measured.all() and np.abs(p.c.numeric).max() > 1e-3 * peak(p.c) for p in e.both):
        return None
    if telling(c).sum() < 3:
        return None
    for axis in range(c.analytic.ndim - 1, -1, -1):
        if c.analytic.shape[axis] < 2:
            continue
        for weighted in (False, True):
            found = {sums(p, axis, weighted) for p in e.both}
            what = "times the array sums to 0" if weighted else "sums to 0"
            why = "the array is scaled" if weighted else "a constant is added"
            if found == {(True, False)}:
                return Diagnosis(
                    "missing-term",
                    f"the derivative {what} along axis {axis} (the loss does not change if {why}: a softmax or a "
                    "normalisation follows), but the gradient does not: the term through the sum or mean is missing",
                )
            if found == {(False, True)}:
                return Diagnosis(
                    "missing-term",
                    f"the gradient {what} along axis {axis}, as before a softmax or a normalisation, but the "
                    "derivative does not: there is an extra term through a sum or mean",
                )
    return None


def _difference(e: Evidence) -> Diagnosis | None:
    """The error is a multiple of a known array, the same everywhere, or a penalty on some slices."""
    c = e.c
    if not c.measured.all() or telling(c).sum() < 3:
        return None
    off = c.analytic - c.numeric
    for name, values, here in at_hand(e):
        v = np.broadcast_to(here, off.shape)
        if not v.any() or np.ptp(v) == 0:
            continue
        k = float(np.sum(off * v) / np.sum(v * v))
        if k and holds(e, lambda p, k=k, values=values: p.c.analytic - k * values(p)):  # type: ignore[misc]
            much = "has an extra term" if k > 0 else "lacks a term"
            return Diagnosis("missing-term", f"the gradient {much} {abs(k):.6g} · {name}", c.analytic - k * v)
    if c.analytic.size > 3 and np.ptp(off) <= EQUAL * np.abs(off).max() and e.second is not None:
        there = e.second.c.analytic - e.second.c.numeric
        if np.ptp(there) <= EQUAL * np.abs(there).max():
            text = f"every element is off by the same {off.flat[0]:.6g}: a term through a sum or mean is wrong"
            return Diagnosis("missing-term", text, c.analytic - off.flat[0])
    return _constant(e, off) or _part_penalty(e, off)


def _constant(e: Evidence, off: Array) -> Diagnosis | None:
    if e.second is None or not e.second.c.measured.all():
        return None
    there = e.second.c.analytic - e.second.c.numeric
    changed = np.abs(e.second.c.numeric - e.c.numeric).max() > 1e-3 * peak(e.c)
    if changed and np.abs(there - off).max() <= 1e-5 * np.abs(off).max():
        return Diagnosis("missing-term", "the error does not change with the point: a constant term is wrong")
    return None


def _part_penalty(e: Evidence, off: Array) -> Diagnosis | None:
    """A different multiple of the parameter for each slice."""

    def multiples(p: Point, axis: int) -> Array:
        others, v = tuple(i for i in range(off.ndim) if i != axis), p.c.point
        gap = p.c.analytic - p.c.numeric
        below = (v * v).sum(axis=others, keepdims=True)
        return np.asarray((gap * v).sum(axis=others, keepdims=True) / np.where(below == 0, 1, below))

    for axis in range(off.ndim) if off.ndim > 1 and e.second is not None and np.ptp(e.c.point) > 0 else ():
        if off.size // off.shape[axis] > 1 and holds(
            e,
            lambda p, axis=axis: p.c.analytic - multiples(p, axis) * p.c.point,  # type: ignore[misc]  # bound now
        ):
            here, there = (np.ravel(multiples(p, axis)) for p in e.both)
            shown = ", ".join(f"{x:.4g}" for x in here[:6])
            text = f"the error is a multiple of the array, with a factor for each slice along axis {axis} ({shown})"
            if np.allclose(here, there, rtol=1e-4, atol=1e-4 * np.abs(here).max()):
                return Diagnosis("penalty", f"{text}: a penalty is counted once per example, or omitted in some slices")
            return Diagnosis("missing-term", f"{text}: its use in a square or a product with itself is missing")
    return None


def _symmetric(e: Evidence) -> Diagnosis | None:
    """A matrix that is used both as it is and transposed."""
    if e.c.analytic.ndim < 2 or e.c.analytic.shape[-1] != e.c.analytic.shape[-2] or e.c.analytic.shape[-1] == 1:
        return None
    for k, which in ((1.0, "its"), (0.5, "half of its and half of the")):
        if holds(e, lambda p, k=k: k * (p.c.analytic + np.swapaxes(p.c.analytic, -1, -2))):  # type: ignore[misc]
            text = f"the transpose is missing: the derivative is the sum of {which} gradient and its transpose"
            return Diagnosis("missing-term", f"{text} (the array is used twice, once transposed, or symmetrised)")
    return None


def _low_rank(e: Evidence) -> Diagnosis | None:
    """The error has a low rank compared with the derivative."""
    if e.c.analytic.ndim < 2 or not all(p.c.measured.all() for p in e.both):
        return None
    for axis in range(e.c.analytic.ndim):
        ranks = []
        for p in e.both:
            n, off = (
                np.moveaxis(v, axis, 0).reshape(v.shape[axis], -1) for v in (p.c.numeric, p.c.analytic - p.c.numeric)
            )
            if min(n.shape) < 3 or not off.any():
                return None
            tol = 1e-6 * float(np.linalg.norm(off))
            ranks.append((int(np.linalg.matrix_rank(off, tol)), int(np.linalg.matrix_rank(n, tol))))
        if all(few <= whole / 2 for few, whole in ranks):
            text = f"the error has rank {ranks[0][0]}, the derivative {ranks[0][1]}"
            return Diagnosis(
                "missing-term", f"{text}: a path through a sum, a mean or a single vector is missing or extra"
            )
    return None


def _updated(e: Evidence) -> Diagnosis | None:
    """The derivative after another array has already been updated by its gradient."""
    c, size = e.c, peak(e.c)
    off = c.analytic - c.numeric
    if not c.measured.all() or c.analytic.size > 400 or c.analytic.size < 3 or np.abs(off).max() > 0.5 * size:
        return None
    for name, theirs in e.here.claims.items():
        step = 1e-3 * float(np.linalg.norm(e.here.arrays[name])) / (float(np.linalg.norm(theirs)) or 1.0)
        there = e.elsewhere(0.0, by={name: -step * theirs}) if step and name != c.name else None
        slope = None if there is None or not there.c.measured.all() else (there.c.numeric - c.numeric) / step
        if slope is None or not slope.any():
            continue
        rate, reached = float(np.sum(off * slope) / np.sum(slope * slope)), None
        for _ in range(3):
            reached = e.elsewhere(0.0, by={name: -rate * theirs})
            if rate <= 0 or reached is None or not reached.c.measured.all():
                break
            rate *= float(np.sum(off * off) / np.sum(off * (reached.c.numeric - c.numeric)))
        usual = rate > 0 and abs(float(f"{rate:.1e}") - rate) <= 1e-4 * rate  # 0.1, 0.05, 3e-4
        if usual and reached is not None and np.abs(reached.c.numeric - c.analytic).max() <= 1e-4 * np.abs(off).max():
            text = f"it is the derivative after {name} has been updated (by −{rate:.4g} times its gradient)"
            return Diagnosis("stale", f"{text}: compute all gradients before updating any parameter")
    return None


def _dependence(e: Evidence) -> Diagnosis | None:
    """Claim and derivative do not depend on the same arrays."""
    c, size = e.c, peak(e.c)
    if not c.measured.all() or c.analytic.size > 400:
        return None
    for name in e.here.arrays:
        there = e.elsewhere(0.3, name)
        if there is None or not there.c.measured.all():
            continue
        claim, true = (np.abs(v).max() for v in (there.c.analytic - c.analytic, there.c.numeric - c.numeric))
        called = "the array itself" if name == c.name else name
        if claim <= 1e-12 * size and true > 1e-3 * size:
            text = f"the gradient does not change with {called}, but the derivative does: a factor or path is missing"
            return Diagnosis("missing-term", text)
        if true <= 1e-8 * size and claim > 1e-3 * size:
            text = f"the gradient changes with {called}, but the derivative does not: there is an extra factor or path"
            return Diagnosis("missing-term", text)
    return None


def _own_dependence(e: Evidence) -> Diagnosis | None:
    """An element of the claim does not change with an element of the array, but that of the derivative does."""
    c, size = e.c, peak(e.c)
    if not c.measured.all() or not 2 <= c.analytic.size <= 6:
        return None
    for j in np.ndindex(c.analytic.shape):
        move = np.zeros(c.analytic.shape)
        move[j] = 0.2 * (abs(float(c.point[j])) or 1.0)
        there = e.elsewhere(0.0, by={c.name: move})
        if there is None or not there.c.measured.all():
            continue
        claim, true = (np.abs(v) for v in (there.c.analytic - c.analytic, there.c.numeric - c.numeric))
        for i in np.argwhere(c.wrong & (claim <= 1e-12 * size) & (true > 1e-3 * size))[:1]:
            text = (
                f"its element {i.tolist()} does not change with element {list(j)} of the array, but the derivative does"
            )
            return Diagnosis("missing-term", f"{text}: a factor or a path is missing, or another value is used")
    return None


def _part(e: Evidence) -> Diagnosis | None:
    """Whole slices are right, or the gradient is nearly parallel to the derivative everywhere."""
    c, where = e.c, extent(e.c)
    if c.analytic.size < 2 or e.second is None:
        return None
    if c.analytic.ndim == 1 and c.measured.all() and (telling(c) & ~c.wrong).sum() >= 0.2 * telling(c).sum():
        where = where._replace(kind="slices")
    if where.kind == "slices" and c.measured.all():
        again = e.second.c
        right = telling(c) & ~c.wrong
        if right.any() and again.measured.all() and not again.wrong[right].any():
            return Diagnosis("missing-term", f"part of the gradient is right here and at another point; the rest lacks "
                             f"a term or a factor, or uses a wrong value: {_where(c)}")  # fmt: skip
    alike = []
    for p in (*e.both, e.elsewhere(0.5)):
        if p is not None and p.c.measured.any():
            a, n = p.c.analytic[p.c.measured], p.c.numeric[p.c.measured]
            alike.append(float(a @ n) / (float(np.linalg.norm(a) * np.linalg.norm(n)) or 1.0))
    if len(alike) < 3 or min(alike) < 0.95:
        return None
    cosines = f"cosine {alike[0]:.3f} here, {min(alike[1:]):.3f} elsewhere"
    text = f"the gradient is nearly parallel to the derivative ({cosines})"
    return Diagnosis("missing-term", f"{text}, but not a multiple of it: a small term is missing or extra, or "
                     f"a wrong value is used; {_where(c)}")  # fmt: skip


def _where(c: Comparison) -> str:
    """The worst element with both values, and which slices are right."""
    gap = np.where(c.wrong & c.measured, np.abs(c.analytic - np.nan_to_num(c.numeric)), -1)
    at = tuple(int(i) for i in np.unravel_index(int(gap.argmax()), gap.shape))
    text = f"worst at {list(at)}: {c.analytic[at]:.4g}, the derivative is {c.numeric[at]:.4g}"
    bad: Mask = c.affected
    for axis, length in enumerate(c.analytic.shape):
        wrong = bad.any(axis=tuple(i for i in range(bad.ndim) if i != axis))
        if 0 < wrong.sum() < length:
            right = ranges(np.flatnonzero(~wrong).tolist())
            return f"{text}; along axis {axis} wrong at {ranges(np.flatnonzero(wrong).tolist())}, right at {right}"
    return text


TERMS: tuple[Hypothesis, ...] = (
    _invariant, _updated, _difference, _symmetric, _low_rank, _dependence, _own_dependence, _part,
)  # fmt: skip
"""In order of certainty."""
