"""Hypotheses about a single array: the true gradient is a transformation of the claimed one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, product
from operator import attrgetter

import numpy as np

from nnfunc.arrays import Array
from nnfunc.checks.compare import Comparison
from nnfunc.checks.constants import guess, named
from nnfunc.checks.diagnosis import Diagnosis, Evidence, Hypothesis, fits
from nnfunc.checks.pattern import enough, extent, few, listed, plural, telling


def _zero(e: Evidence) -> Diagnosis | None:
    """Zero, up to rounding."""
    c = e.c
    dust = 1e-12 * float(np.abs(c.numeric[c.measured]).max(initial=0))
    if (np.abs(c.analytic[c.wrong]) > dust).any():
        return None
    where = extent(c)
    if where.kind == "scattered" or (where.kind == "slices" and few(c) and c.wrong.sum() == 1):
        return None
    place = "" if where.kind == "all" else f" {where.text}"
    return Diagnosis("zero", f"the gradient is 0{place}, but the loss depends on it: it was detached or never added")


def _scale(e: Evidence) -> Diagnosis | None:
    """One factor."""
    c = e.c
    where = extent(c)
    if where.kind == "scattered" and few(c):
        return None
    a, n = c.analytic[c.wrong & c.measured], c.numeric[c.wrong & c.measured]
    if not a.size or not n.any():
        return None
    factor = float(a @ n / (n @ n))
    if factor == 0 or (c.analytic.size > 1 and a.size < 2):
        return None
    for point in e.points:
        at = point.wrong if point is e.c else point.measured
        if not fits(point, point.analytic / factor, at, 1 / abs(factor)):
            return None
    corrected = np.where(c.affected, c.analytic / factor, c.analytic)
    if abs(factor + 1) < 1e-6:
        return Diagnosis("sign", f"the gradient has the wrong sign {where.text}".rstrip(), corrected)
    if abs(factor - 1) < 1e-2:
        return Diagnosis("scale", f"the gradient is {factor:.8g} times what it should be {where.text}".rstrip()
                         + f": {guess(factor, e.hints)}".rstrip(": "), corrected)  # fmt: skip
    size = f"{abs(factor):.6g} times too large" if abs(factor) > 1 else f"{1 / abs(factor):.6g} times too small"
    sign = ", with the wrong sign," if factor < 0 else ""
    reason = guess(abs(factor), e.hints)
    text = f"the gradient is {size}{sign} {where.text}".rstrip() + (
        "" if factor > 1 else f" (a factor of {factor:.6g})"
    )
    return Diagnosis("scale", text + reason, corrected)


def _rounded(e: Evidence) -> Diagnosis | None:
    """Correct up to float32 precision."""
    c = e.c
    known, a = c.measured, c.analytic
    gap, size = (a - np.nan_to_num(c.numeric))[known], float(np.abs(c.numeric[known]).max(initial=0))
    if (a != a.astype(np.float32)).any() or not (np.abs(gap) <= 2e-7 * size).all():
        return None
    return Diagnosis(
        "precision",
        f"the gradient is off by about {float(np.abs(gap).max()) / size:.1e}: its values have float32 precision, the "
        "formula is right (compute it in float64, or check the loss in float32 too)",
    )


def _penalty(e: Evidence) -> Diagnosis | None:
    """A missing or extra multiple of the parameter, or of its sign."""
    c = e.c
    forms: list[tuple[str, Callable[[Array], Array]]] = [("parameter", lambda v: v), ("sign(parameter)", np.sign)]
    for form, of in forms:
        basis = np.concatenate([of(point.point[point.measured]) for point in e.points])
        if basis.size < 2 or np.ptp(basis) == 0:  # nothing tells a penalty from a constant
            continue
        own = of(c.point[c.measured])
        if not own.any():
            continue
        coefficient = float((c.analytic - c.numeric)[c.measured] @ own / (own @ own))
        if not coefficient or not all(fits(p, p.analytic - coefficient * of(p.point), p.measured) for p in e.points):
            continue
        name = named(abs(coefficient), e.hints)
        known_as = f", which is {name}" if name else ""
        much = "has an extra term" if coefficient > 0 else "lacks a term"
        text = (
            f"the gradient {much} {abs(coefficient):.6g} · {form}{known_as}: a penalty is missing, or has a different "
            "factor, in the loss or in the gradient"
        )
        return Diagnosis("penalty", text, c.analytic - coefficient * of(c.point))
    return None


_claim, _value, _truth = attrgetter("analytic"), attrgetter("point"), attrgetter("numeric")


def _scale_and_penalty(e: Evidence) -> Diagnosis | None:
    """A factor on the data term, with a correct penalty term."""
    c, points = e.c, e.points if e.c.analytic.size > 4 else [p.c for p in e.both]
    a, v, n = (np.concatenate([of(p)[p.measured] for p in points]) for of in (_claim, _value, _truth))
    parts = np.stack([a, v], axis=1) / [np.linalg.norm(a) or 1.0, np.linalg.norm(v) or 1.0]
    if a.size < 5 or np.linalg.matrix_rank(parts, tol=1e-6) < 2:
        return None
    (inverse, coefficient), *_ = np.linalg.lstsq(np.stack([a, v], axis=1), n, rcond=None)
    if np.linalg.norm(inverse * a) < 1e-2 * np.linalg.norm(n):  # the claim hardly contributes
        return None
    hold = [fits(p, inverse * p.analytic + coefficient * p.point, p.measured, abs(inverse)) for p in points]
    if not inverse or abs(inverse - 1) < 1e-2 or not all(hold):
        return None
    factor = 1 / float(inverse)
    corrected = inverse * c.analytic + coefficient * c.point
    # with the data term d and a correct penalty c: a = f·d + c·v and n = d + c·v, so n = a/f + c·(1 − 1/f)·v
    strength = coefficient / (1 - inverse)
    aside = f"apart from a penalty of {strength:.4g} · parameter, "
    if abs(factor + 1) < 1e-6:
        return Diagnosis("sign", f"{aside}the gradient has the wrong sign", corrected)
    size = f"{abs(factor):.6g} times too large" if abs(factor) > 1 else f"{1 / abs(factor):.6g} times too small"
    return Diagnosis("scale", f"{aside}the gradient is {size}{guess(abs(factor), e.hints)}", corrected)


def _sparse(e: Evidence) -> Diagnosis | None:
    """Single elements."""
    c = e.c
    if not few(c) or not c.measured[c.wrong].all():
        return None
    count = int(c.wrong.sum())
    turned = c.wrong & (np.abs(c.analytic + c.numeric) <= 4 * c.allowance())
    if (
        (turned == c.wrong).all()
        and e.second is not None
        and fits(e.second.c, np.where(c.wrong, -e.second.c.analytic, e.second.c.analytic), e.second.c.measured)
    ):
        return Diagnosis(
            "sign", f"the gradient has the wrong sign in {plural(count, 'element')} ({listed(c)}); the rest is right"
        )
    elements = f"element {listed(c)} is" if count == 1 else f"{count} elements are"
    more = "" if count == 1 else f" ({listed(c)})"
    first = tuple(np.argwhere(c.wrong)[0])
    text = (
        f"{elements} wrong{more}, the rest of the {c.analytic.size} is right: the gradient is "
        f"{c.analytic[first]:.6g} where the derivative is {c.numeric[first]:.6g}"
    )
    return Diagnosis("sparse", text, np.where(c.wrong, c.numeric, c.analytic))


def _transpose(e: Evidence) -> Diagnosis | None:
    """Two axes swapped."""
    c = e.c
    for i, j in combinations(range(c.analytic.ndim), 2):
        if c.analytic.shape[i] == c.analytic.shape[j] > 1:
            corrected = np.swapaxes(c.analytic, i, j)
            if enough(c) and fits(c, corrected, c.measured):
                axes = "" if c.analytic.ndim == 2 else f" in its axes {i} and {j}"
                return Diagnosis("transpose", f"the gradient is transposed{axes}", corrected)
    return None


def flips(ndim: int) -> Iterator[tuple[int, ...]]:
    """The sets of axes to reverse."""
    for count in range(1, ndim + 1):
        yield from combinations(range(ndim), count)


def _flip(e: Evidence) -> Diagnosis | None:
    """Reversed along axes."""
    c = e.c
    for axes in flips(c.analytic.ndim):
        corrected = np.flip(c.analytic, axes)
        if enough(c) and fits(c, corrected, c.measured):
            which = f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes))}"
            return Diagnosis("flip", f"the gradient is reversed along {which}", corrected)
    return None


def _shift(e: Evidence) -> Diagnosis | None:
    """Elements shifted, or slices permuted."""
    c = e.c
    return (shifted(c, range(c.analytic.ndim)) or _permuted(e)) if enough(c) else None


def shifted(c: Comparison, along: Sequence[int]) -> Diagnosis | None:
    """Shifted by a few positions along one or two of these axes, with or without wrapping around."""
    for count in (1, 2):
        for axes in combinations(along, count):
            steps = [[s for s in (1, -1, 2, -2, 3, -3) if abs(s) < c.analytic.shape[axis]] for axis in axes]
            for step in product(*steps):
                corrected = np.roll(c.analytic, step, axes)
                inside = np.ones(c.analytic.shape, bool)  # elements that did not wrap around
                for s, axis in zip(step, axes, strict=True):
                    index = [slice(None)] * c.analytic.ndim
                    index[axis] = slice(None, s) if s > 0 else slice(s, None)
                    inside[tuple(index)] = False
                known = c.measured & telling(c)
                overlap = (known & inside).sum() >= max(3, known.sum() / 3)
                varied = np.ptp(corrected[inside]) > 0 if inside.any() else False
                if fits(c, corrected, c.measured) or (overlap and varied and fits(c, corrected, inside)):
                    moves = " and ".join(f"{-s:+d} along axis {a}" for s, a in zip(step, axes, strict=True))
                    return Diagnosis("shift", f"the gradient is shifted by {moves}", corrected)
    return None


def _permuted(e: Evidence) -> Diagnosis | None:
    """Rows, or slices along another axis, permuted; for small arrays, in the same way at a second point."""
    c = e.c
    if not c.measured.all() or c.analytic.size < 2:
        return None
    for axis, length in enumerate(c.analytic.shape):
        if not 2 <= length <= 200:
            continue
        a, n = (np.moveaxis(v, axis, 0).reshape(length, -1) for v in (c.analytic, c.numeric))
        order = np.array([np.abs(a - row).sum(axis=1).argmin() for row in n])
        if len(set(order.tolist())) == length:
            corrected = np.take(c.analytic, order, axis)
            again = e.points[0] if c.analytic.size >= 4 else None if e.second is None else e.second.c
            if again is None or not fits(c, corrected, c.measured):
                continue
            if fits(again, np.take(again.analytic, order, axis), again.measured):
                return Diagnosis("shift", f"the gradient's slices along axis {axis} are permuted", corrected)
    return None


def _axis(e: Evidence) -> Diagnosis | None:
    """The true gradient summed or averaged along an axis."""
    c = e.c
    if not c.measured.all():
        return None
    for axis, length in enumerate(c.analytic.shape):
        if length > 1:
            total = c.numeric.sum(axis=axis, keepdims=True)
            for word, value in (("summed", total), ("averaged", total / length)):
                gap = np.abs(c.analytic - value)
                if (gap <= 2 * length * c.allowance().max()).all() and np.abs(value).max() > 0:
                    return Diagnosis("axis", f"the gradient is {word} along axis {axis}, which should be kept")
    return None


def _mask(e: Evidence) -> Diagnosis | None:
    """Elements kept that should be dropped, or dropped that should be kept."""
    c = e.c
    wrong = c.wrong & c.measured
    kept = wrong & (np.abs(np.nan_to_num(c.numeric)) <= c.allowance())
    dropped = wrong & (c.analytic == 0)
    turned = min(int(kept.sum()), int(dropped.sum())) > 1 and not (telling(c) & ~wrong).any()
    if not wrong.any() or not (kept | dropped)[wrong].all() or not (turned or (telling(c) & ~wrong).any()):
        return None
    if turned:
        text = "the gradient is 0 where it should not be, and vice versa: a mask is inverted"
        return Diagnosis("mask", text)
    texts = [f"0 in {plural(int(dropped.sum()), 'element')} where it should not be"] if dropped.any() else []
    texts += [f"not 0 in {plural(int(kept.sum()), 'element')} where it should be"] if kept.any() else []
    text = f"the gradient is {', and '.join(texts)}"
    return Diagnosis(
        "mask", f"{text}; the others are right: a mask keeps or drops different elements than the forward does"
    )


def _small(e: Evidence) -> Diagnosis | None:
    """Small differences: smooth ones stay as they are if the point is moved a little, rounding errors change wholly."""
    c = e.c
    known = c.measured & ~c.kinked
    gap, size = (c.analytic - np.nan_to_num(c.numeric))[known], np.linalg.norm(c.numeric[known])
    if not size or np.linalg.norm(gap) > 1.2e-2 * size:
        return None
    relative = float(np.linalg.norm(gap) / size)
    near = [p.c for p in (e.elsewhere(0.03, few=c.analytic.size > 100) for _ in range(4)) if p is not None]
    alike = []
    for other in near:
        both = known & other.measured & ~other.kinked
        if not both.any():
            continue
        a, b = ((v.analytic - np.nan_to_num(v.numeric))[both] for v in (c, other))
        alike.append(float(a @ b) / (float(np.linalg.norm(a) * np.linalg.norm(b)) or 1.0))
    noise = min(alike) < 0.7 and relative < 3e-3 if alike else relative < 1e-6
    if noise:
        exact = (c.analytic == c.analytic.astype(np.float32)).all()
        like = "float32" if relative < 1e-6 else "float16"
        of = "its values are float32" if exact else f"as if something were computed in {like}, or by subtracting"
        return Diagnosis(
            "precision",
            f"the gradient is off by about {relative:.1e}, without a pattern that persists at other points: the "
            f"formula is right, the arithmetic is imprecise ({of}{'' if exact else ' large numbers from each other'})",
        )
    known &= telling(c)
    ratio = (c.analytic[known] - c.numeric[known]) / c.numeric[known]
    ratio = ratio[np.isfinite(ratio)]
    one_way = ratio.size < 4 or max((ratio > 0).mean(), (ratio < 0).mean()) > 0.8
    if relative > 1e-3 and not one_way:
        text = f"the gradient is off by about {relative:.1e}, too large in some elements and too small in others"
        return Diagnosis("missing-term", f"{text}: a weak path is missing, or has a wrong factor")
    return Diagnosis(
        "small",
        f"the gradient is off by about {relative:.1e} everywhere, smoothly: look for an ε in only one of forward and "
        "backward, a rounded constant or a clipped value",
    )


ALONE: tuple[Hypothesis, ...] = (
    _zero, _rounded, _scale, _penalty, _scale_and_penalty, _sparse, _transpose, _flip, _shift, _axis, _mask, _small,
)  # fmt: skip
"""In order of simplicity."""
