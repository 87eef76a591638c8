"""Hypotheses to try first: their mistakes also look like a factor, or like a mistake in a layer's linear map."""

from __future__ import annotations

import numpy as np

from nnfunc.checks.diagnosis import Diagnosis, Evidence, Hypothesis, Point, holds, peak
from nnfunc.checks.pattern import plural, slices, telling


def _flat(e: Evidence) -> Diagnosis | None:
    """The function is a step function."""

    def flat(p: Point) -> bool:
        still = np.abs(p.c.numeric[p.c.measured]) <= 1e-9 * np.abs(p.c.analytic).max(initial=0)
        return bool(still.all() and still.size >= p.c.analytic.size / 2 and p.c.analytic.any())

    if not e.at_both(flat):
        return None
    text = (
        "the loss does not change with this array at all (a step: round, sign, argmax, a threshold; or a bias that a "
        "normalisation takes out), and the gradient is that of another function: a straight-through or surrogate "
        "gradient, which may be intended"
    )
    return Diagnosis("mask", text)


def _whole(e: Evidence) -> Diagnosis | None:
    """Computed in an integer array."""
    if not e.at_both(lambda p: bool((p.c.analytic == np.rint(p.c.analytic)).all() and p.c.analytic.any())):
        return None
    numbers = [p.c.numeric[p.c.measured] for p in e.both]
    if e.second is None or any((np.abs(n - np.rint(n)) < 1e-6).all() or n.size < 2 for n in numbers):
        return None
    near = all((np.abs(p.c.analytic - p.c.numeric)[p.c.measured] < max(1.0, 0.5 * peak(p.c))).all() for p in e.both)
    text = (
        "all values of the gradient are integers, those of the derivative are not: it is computed in an integer dtype"
    )
    return Diagnosis("precision", text) if near else None


def _clipped(e: Evidence) -> Diagnosis | None:
    """Values beyond a bound are clipped to it."""
    c = e.c
    bound = float(np.abs(c.analytic).max(initial=0))
    wrong = c.wrong & c.measured
    if c.analytic.size < 2 or not bound or not c.measured.all():
        return None
    for point in e.both:
        other, limit = point.c, float(np.abs(point.c.analytic).max(initial=0))
        if other.measured.all() and (other.wrong.any() or point is e.here):
            clipped = np.clip(np.nan_to_num(other.numeric), -bound, bound)
            gap = np.abs(clipped - other.analytic)
            if abs(limit - bound) > 1e-9 * bound or (gap > 2 * other.allowance()).any():
                return None
    if wrong.sum() < 2 and e.second is None:
        return None
    text = f"the gradient is clipped to ±{bound:.6g}: {plural(int(wrong.sum()), 'element')} that would be larger"
    return Diagnosis("scale", f"{text} {'is' if wrong.sum() == 1 else 'are'} exactly that", c.numeric)


def _normalised(e: Evidence) -> Diagnosis | None:
    """The norm of the gradients is the same everywhere."""

    def parallel(p: Point) -> bool:
        a, n = np.ravel(p.c.analytic), np.ravel(p.c.numeric)
        return bool(p.c.measured.all() and a @ n >= (1 - 1e-9) * np.linalg.norm(a) * np.linalg.norm(n) > 0)

    if e.c.analytic.size < 2 or e.second is None:
        return None
    here, there = (np.sqrt(sum(np.sum(v * v) for v in p.claims.values())) for p in e.both)
    own, other = (float(np.linalg.norm(p.claims[e.c.name])) for p in e.both)
    if (abs(here - there) > 1e-5 * here and abs(own - other) > 1e-5 * own) or not e.at_both(parallel):
        return None
    changes = float(np.linalg.norm(e.second.c.numeric)) / float(np.linalg.norm(e.c.numeric))
    if abs(changes - 1) < 1e-3:
        return None
    if abs(here - there) <= 1e-5 * here:
        text = f"the norm of all gradients together is {here:.6g} at different points: they are clipped or normalised"
        return Diagnosis("scale", text, None)
    if abs(own - other) <= 1e-5 * own:
        return Diagnosis("scale", f"its norm is {own:.6g} at different points: it is clipped or divided by its norm")
    return None


def _repeated(e: Evidence) -> Diagnosis | None:
    """Only rows that are looked up more than once are wrong."""
    c = e.c
    if c.analytic.ndim < 1 or not c.measured.all() or len(c.analytic) < 3:
        return None
    others = tuple(range(1, c.analytic.ndim))
    wrong, there = ({int(i) for i in np.flatnonzero(m.any(axis=others))} for m in (c.wrong, telling(c)))
    for name, held in e.hints.arrays:
        if held.dtype.kind not in "iu" or held.size < 2 or held.min() < 0 or held.max() >= len(c.analytic):
            continue
        rows, counts = np.unique(held, return_counts=True)
        again = {int(r) for r, k in zip(rows, counts, strict=True) if k > 1}
        once = {int(r) for r, k in zip(rows, counts, strict=True) if k == 1}
        zero = all((c.analytic[r] == 0).all() for r in wrong)
        if wrong and wrong <= again and once & there and there <= again | once and not zero:
            text = (
                f"{slices(0, c.analytic.ndim, sorted(wrong))} are wrong, which {name} contains more than once: "
                "contributions of repeated indices are overwritten and should be added (np.add.at(g, rows, dy), not "
                "g[rows] += dy)"
            )
            return Diagnosis("missing-sum", text.replace(" are wrong", " is wrong") if len(wrong) == 1 else text)
    return None


def _another(e: Evidence) -> Diagnosis | None:
    """It is another array's gradient, or contains it."""
    c = e.c
    for name, other in e.others.items():
        if name == c.name or other.analytic.shape != c.analytic.shape or not other.measured.any():
            continue
        theirs = np.nan_to_num(other.numeric)
        near = np.abs(c.analytic - theirs) <= 2 * other.allowance()
        if other.measured.any() and near[other.measured].all():
            if other.wrong.any():
                return Diagnosis("shift", f"it is the gradient of {name}: the two names are swapped")
            return Diagnosis("shift", f"it is the gradient of {name}: copied, or both are the same array")
        if other.wrong.any():
            continue
        for sign, word in ((1, "added"), (-1, "subtracted")):
            if telling(other).any() and holds(e, lambda p, name=name, sign=sign: p.c.analytic - sign * p.claims[name]):  # type: ignore[misc]
                text = f"the gradient of {name} is {word}: the two share an array, or the term belongs to {name} alone"
                return Diagnosis("missing-term", text, c.analytic - sign * other.analytic)
    return None


FIRST: tuple[Hypothesis, ...] = (_flat, _whole, _clipped, _normalised, _repeated, _another)
"""Hypotheses whose mistakes also look like a factor, or like a mistake in a layer's linear map."""
