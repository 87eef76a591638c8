"""Hypotheses beside what else is at hand: the other arrays and their gradients, what the functions hold, other points.

Each must hold at a second point too, where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from nnfunc.arrays import Array
from nnfunc.checks.compare import Comparison
from nnfunc.checks.constants import named
from nnfunc.checks.diagnosis import Diagnosis, Evidence, Hypothesis, Point, fits
from nnfunc.checks.numeric import Mask
from nnfunc.checks.pattern import extent, plural, ranges, slices, telling

EQUAL = 1e-6
"""Two numbers that differ by less, relative to their size, are one."""


def holds(e: Evidence, corrected: Callable[[Point], Array | None]) -> bool:
    """Whether this gives the true gradient at the point and at another one; of few numbers, at a third."""
    third = e.elsewhere(0.5) if e.c.analytic.size < 4 else None
    for point in (*e.both, *([] if third is None else [third])):
        gradient = corrected(point)
        if gradient is None or not point.c.measured.all() or not np.isfinite(gradient).all():
            return False
        if not fits(point.c, gradient, point.c.measured):
            return False
    return True


def peak(c: Comparison) -> float:
    """The largest size of derivative and claim."""
    return float(np.nanmax(np.abs([c.numeric, c.analytic]), initial=0.0))


def _values(numbers: Array) -> list[float]:
    """The different values of these numbers."""
    found: list[float] = []
    for v in np.sort(np.ravel(numbers)):
        if not found or abs(v - found[-1]) > EQUAL * max(abs(v), abs(found[-1])) + 1e-12:
            found.append(float(v))
    return found


# -- before all others: what also looks like a factor ------------------------------------------------------------------


def _flat(e: Evidence) -> Diagnosis | None:
    """The function is a step."""
    for p in e.both:
        flat = np.abs(p.c.numeric[p.c.measured]) <= 1e-9 * np.abs(p.c.analytic).max(initial=0)
        if not flat.all() or flat.size < p.c.analytic.size / 2 or not p.c.analytic.any():
            return None
    text = (
        "the loss does not change with this array at all (a step: round, sign, argmax, a threshold), and the gradient is "
        "that of another function: a straight-through or surrogate gradient, which may be meant"
    )
    return Diagnosis("mask", text)


def _whole(e: Evidence) -> Diagnosis | None:
    """Made in an array of whole numbers."""
    if not all((p.c.analytic == np.rint(p.c.analytic)).all() and p.c.analytic.any() for p in e.both):
        return None
    numbers = [p.c.numeric[p.c.measured] for p in e.both]
    if e.second is None or any((np.abs(n - np.rint(n)) < 1e-6).all() or n.size < 2 for n in numbers):
        return None
    near = all((np.abs(p.c.analytic - p.c.numeric)[p.c.measured] < max(1.0, 0.5 * peak(p.c))).all() for p in e.both)
    text = "all values of the gradient are whole numbers, those of the derivative are not: it is made in an integer dtype"
    return Diagnosis("precision", text) if near else None


def _clipped(e: Evidence) -> Diagnosis | None:
    """What is larger than a bound is the bound."""
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
    if e.second is None or e.c.analytic.size < 2 or not all(p.c.measured.all() for p in e.both):
        return None
    for p in e.both:
        a, n = np.ravel(p.c.analytic), np.ravel(p.c.numeric)
        if not a @ n >= (1 - 1e-9) * np.linalg.norm(a) * np.linalg.norm(n) > 0:
            return None
    (here, there) = (np.sqrt(sum(np.sum(v * v) for v in p.claims.values())) for p in e.both)
    own, other = (float(np.linalg.norm(p.c.analytic)) for p in e.both)
    changes = float(np.linalg.norm(e.second.c.numeric)) / float(np.linalg.norm(e.c.numeric))
    if abs(changes - 1) < 1e-3:
        return None
    if abs(here - there) <= 1e-5 * here:
        text = f"the norm of all gradients together is {here:.6g}, here and elsewhere: they are clipped or divided by it"
        return Diagnosis("scale", text, None)
    if abs(own - other) <= 1e-5 * own:
        return Diagnosis("scale", f"its norm is {own:.6g}, here and elsewhere: it is clipped or divided by its norm")
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
                f"{slices(0, c.analytic.ndim, sorted(wrong))} are wrong, which {name} holds more than once: what repeated "
                "indices bring is overwritten, and should be added (np.add.at(g, rows, dy), not g[rows] += dy)"
            )
            return Diagnosis("missing-sum", text.replace(" are wrong", " is wrong") if len(wrong) == 1 else text)
    return None


# -- other gradients ---------------------------------------------------------------------------------------------------


def _another(e: Evidence) -> Diagnosis | None:
    """It is another array's gradient, or has it in it."""
    c = e.c
    for name, other in e.others.items():
        if name == c.name or other.analytic.shape != c.analytic.shape or not other.measured.any():
            continue
        theirs = np.nan_to_num(other.numeric)
        near = np.abs(c.analytic - theirs) <= 2 * other.allowance()
        if other.measured.any() and near[other.measured].all():
            if other.wrong.any():
                return Diagnosis("shift", f"it is the gradient of {name}: the names of the two are exchanged")
            return Diagnosis("shift", f"it is the gradient of {name}: copied, or both are the same array")
        if other.wrong.any():
            continue
        for sign, word in ((1, "added"), (-1, "subtracted")):
            if telling(other).any() and holds(e, lambda p, name=name, sign=sign: p.c.analytic - sign * p.claims[name]):  # type: ignore[misc]
                text = f"the gradient of {name} is {word} in it: it is one array with that, or was meant for {name} alone"
                return Diagnosis("missing-term", text, c.analytic - sign * other.analytic)
    return None


FIRST: tuple[Hypothesis, ...] = (_flat, _whole, _clipped, _normalised, _repeated, _another)
"""What also looks like a factor, or like a mistake of a layer's linear map."""


# -- factors -----------------------------------------------------------------------------------------------------------

FORMS: tuple[tuple[str, Callable[[Array], Array]], ...] = (
    ("{}", lambda v: v),
    ("1/{}", lambda v: 1 / v),
    ("{}²", lambda v: v * v),
    ("1/{}²", lambda v: 1 / (v * v)),
    ("√|{}|", lambda v: np.sqrt(np.abs(v))),
    ("1/√|{}|", lambda v: 1 / np.sqrt(np.abs(v))),
    ("exp({})", np.exp),
    ("exp(−{})", lambda v: np.exp(-v)),
    ("(1 − {})", lambda v: 1 - v),
    ("1/(1 − {})", lambda v: 1 / (1 - v)),
    ("{0}·(1 − {0})", lambda v: v * (1 - v)),
    ("1/({0}·(1 − {0}))", lambda v: 1 / (v * (1 - v))),
    ("(1 − {}²)", lambda v: 1 - v * v),
    ("1/(1 − {}²)", lambda v: 1 / (1 - v * v)),
    ("cos({})", np.cos),
    ("1/cos({})", lambda v: 1 / np.cos(v)),
)


def _at_hand(e: Evidence) -> Iterator[tuple[str, Callable[[Point], Array], Array]]:
    """(what it is called, its values at a point, its values here) of the arrays that fit this one, each way round."""
    shape = e.c.analytic.shape

    def laid(v: Array) -> list[tuple[str, tuple[int, ...] | None]]:
        ways: list[tuple[str, tuple[int, ...] | None]] = [("", v.shape)]
        if v.ndim == 1 and len(shape) == 2:
            ways.append(("[:, None]", (len(v), 1)))
        if v.ndim == 2 and v.shape[0] != v.shape[1]:
            ways.append((".T", None))
        return ways

    def fitting(name: str, of: Callable[[Point], Array]) -> Iterator[tuple[str, Callable[[Point], Array], Array]]:
        v = np.asarray(of(e.here))
        if v.dtype.kind not in "fiub" or v.ndim > len(shape) or v.size > 10_000 or not v.size:
            return
        for word, way in laid(v):

            def turned(p: Point, way: tuple[int, ...] | None = way) -> Array:
                own = np.asarray(of(p), np.float64)
                return own.T if way is None else own.reshape(way)

            try:
                if np.broadcast_shapes(turned(e.here).shape, shape) == shape:
                    yield name + word, turned, turned(e.here)
            except ValueError:
                continue

    for name in e.here.arrays:
        called = "parameter" if name == e.c.name else name
        yield from fitting(called, lambda p, name=name: p.arrays[name])  # type: ignore[misc]
    for name, held in e.hints.arrays[:60]:
        yield from fitting(name, lambda p, held=held: held)  # type: ignore[misc]


def _factor(e: Evidence) -> Diagnosis | None:
    """An array at hand, or a simple function of it, is missing as a factor, or is one too much."""
    c = e.c
    if not c.measured.all() or not telling(c).any() or e.second is None:
        return None
    for name, values, here in _at_hand(e):
        single = np.ptp(here) == 0
        if single and here.ndim and here.size > 1:
            continue
        for form, f in FORMS:
            basis = c.analytic * f(here)
            if not np.isfinite(basis).all() or not basis.any():
                continue
            k = float(basis.ravel() @ np.ravel(c.numeric)) / float(basis.ravel() @ basis.ravel())

            def corrected(p: Point, k: float = k, f: Callable[[Array], Array] = f) -> Array:
                return np.asarray(k * p.c.analytic * f(values(p)))  # noqa: B023  # used at once

            plain = not single or abs(abs(k) - 1) <= EQUAL
            if k and plain and fits(c, corrected(e.here), c.measured) and holds(e, corrected):
                factor = form.format(name)
                if abs(k - 1) > EQUAL:
                    factor = f"{'−' if abs(k + 1) < EQUAL else f'{k:.6g}·'}{factor}"
                return _said(e, here, name, factor, corrected(e.here))
    return None


def _said(e: Evidence, values: Array, name: str, factor: str, corrected: Array) -> Diagnosis:
    if (values == 0).any() and len(_values(values)) <= 3:
        return Diagnosis("mask", f"the factor {factor} is missing: a mask that the forward has, or its scale", corrected)
    if name == "parameter":
        text = f"the factor {factor} is missing: the derivative of what the forward makes of the parameter (chain rule)"
        return Diagnosis("scale", text, corrected)
    if values.shape == e.c.analytic.shape and (values > 0).any() and (values < 0).any() and factor == name:
        text = f"the factor {factor} is missing: what arrives from above is not passed on (the chain rule), or a weight"
        return Diagnosis("missing-term", text, corrected)
    return Diagnosis("scale", f"each element lacks a factor of its own, {factor}", corrected)


def _factors(e: Evidence) -> Diagnosis | None:
    """Each slice along an axis has a factor of its own."""

    def of(c: Comparison, axis: int) -> Array | None:
        others = tuple(i for i in range(c.analytic.ndim) if i != axis)
        known = telling(c)
        n, a = np.where(known, np.nan_to_num(c.numeric), 0), np.where(known, c.analytic, 0)
        counts, size = known.sum(axis=others), (n * n).sum(axis=others)
        if (counts == 1).any() or (counts > 1).sum() < 2 or not (size[counts > 1] > 0).all():
            return None
        factors = np.ones(len(counts))
        factors[counts > 1] = (a * n).sum(axis=others)[counts > 1] / size[counts > 1]
        return factors if np.abs(factors).min() > 1e-6 else None

    def divided(p: Point, axis: int) -> Array | None:
        factors = of(p.c, axis)
        if factors is None:
            return None
        return np.asarray(p.c.analytic / factors.reshape([-1 if i == axis else 1 for i in range(p.c.analytic.ndim)]))

    for axis in range(e.c.analytic.ndim) if e.c.analytic.ndim > 1 else ():
        if holds(e, lambda p, axis=axis: divided(p, axis)):  # type: ignore[misc]
            factors = of(e.c, axis)
            assert factors is not None
            which = ("rows", "columns")[axis] if e.c.analytic.ndim == 2 else f"slices along axis {axis}"
            text = f"the {which} have each a factor of their own: {', '.join(f'{f:.4g}' for f in factors[:6])}"
            kind = "sign" if np.allclose(np.abs(factors), 1, rtol=EQUAL) else "scale"
            more = "" if len(factors) <= 6 else ", …"
            return Diagnosis(kind, f"{text}{more} (a count, a weight, a γ, a standard deviation)", divided(e.here, axis))
    return None


def _two_values(e: Evidence) -> Diagnosis | None:
    """Every element is right, or wrong by one factor: a mask, a sign or a factor in a part."""

    def ratios(p: Point) -> list[float]:
        known = telling(p.c)
        n, a = np.nan_to_num(p.c.numeric)[known], p.c.analytic[known]
        small = p.c.allowance()[known]
        zeros = (np.abs(n) <= small) | (np.abs(a) <= small)
        if (zeros & (np.abs(a) > small)).any() and (zeros & (np.abs(n) > small)).any():
            return []
        r = np.where(zeros, 0, a / np.where(np.abs(n) <= small, 1, n))
        values = _values(r)
        counts = [int((np.abs(r - v) <= EQUAL * max(1, abs(v))).sum()) for v in values]
        return values if len(values) <= 2 and min(counts, default=0) >= 2 and known.sum() >= 5 else []

    here = ratios(e.here) if e.c.measured.all() else []
    if len(here) != 2 or e.second is None or not e.second.c.measured.all():
        return None
    there = ratios(e.second)
    if not there or not all(any(abs(v - w) <= EQUAL * max(1, abs(v)) for w in here) for v in there):
        return None
    low, high = here
    if 0 in here:
        factor = low or high
        name = named(abs(factor), e.hints) or named(1 / abs(factor), e.hints)
        more = f" by {factor:.6g}{f' ({name})' if name else ''}" if abs(factor - 1) > EQUAL else ""
        return Diagnosis(
            "mask", f"claim and derivative are each 0 in other elements, and differ{more} in the rest: a mask is not "
            "the forward's, or missing with its scale"
        )  # fmt: skip
    if abs(low + high) <= EQUAL * high and abs(high - 1) <= EQUAL:
        return Diagnosis("sign", f"the gradient has the wrong sign in {int(e.c.wrong.sum())} elements; the others are right")
    text = f"the gradient is {low:.6g} times the derivative in some elements and {high:.6g} times in the others"
    return Diagnosis("scale", f"{text}: a factor of a part (a mask's scale, a count, a condition)")


# -- products and sums of what is at hand ------------------------------------------------------------------------------


def _formulas(e: Evidence, p: Point) -> Iterator[tuple[str, str, Array]]:
    """(what is in it, how it is written, values) of products and sums of the shape of the gradient, at a point."""
    shape = e.c.analytic.shape
    held = [(k, np.asarray(v, np.float64)) for k, v in e.hints.arrays[:12] if v.ndim <= 2 and v.size <= 2000]
    at_hand = [*((k, v) for k, v in p.arrays.items() if v.ndim and v.size <= 2000), *held]
    for k, v in at_hand:
        for axis in range(v.ndim):
            if v.shape[:axis] + v.shape[axis + 1 :] == shape and v.shape[axis] > 1:
                yield k, f"the sum of {k} along axis {axis}", v.sum(axis=axis)
                yield k, f"element 0 of {k} along axis {axis}", v.take(0, axis)
                yield k, f"the last element of {k} along axis {axis}", v.take(-1, axis)
    for i, (k, v) in enumerate(at_hand):
        for other, w in at_hand[i + 1 :]:
            pair = f"{k}, {other}"
            if v.shape == w.shape and v.ndim == 2 and v.shape[1:] == shape:
                yield pair, f"the sum of {k} · {other}", (v * w).sum(axis=0)
            if v.ndim == w.ndim == 2 and len(shape) == 2:
                for left, x in ((k, v), (f"{k}.T", v.T)):
                    for right, y in ((other, w), (f"{other}.T", w.T)):
                        if x.shape[1] == y.shape[0] and (x.shape[0], y.shape[1]) == shape:
                            yield pair, f"{left} @ {right}", x @ y
                        if y.shape[1] == x.shape[0] and (y.shape[0], x.shape[1]) == shape:
                            yield pair, f"{right} @ {left}", y @ x


def _product(e: Evidence) -> Diagnosis | None:
    """A product or sum of what is at hand, and the derivative another one, or none."""
    if not all(p.c.measured.all() for p in e.both) or e.c.analytic.size < 2:
        return None

    def found(wanted: Callable[[Comparison], Array]) -> tuple[str, str] | None:
        left: dict[str, tuple[str, str]] | None = None
        for p in e.both:
            near = 2 * p.c.allowance()
            same = {
                how: (what, how) for what, how, v in _formulas(e, p) if (np.abs(v - wanted(p.c)) <= near).all() and v.any()
            }
            left = same if left is None else {k: v for k, v in left.items() if k in same}
        return next(iter((left or {}).values()), None)

    claim = found(lambda c: c.analytic)
    if claim is None:
        return None
    true = found(lambda c: c.numeric)
    if true is None:
        text = f"the gradient is {claim[1]}, which the derivative is not: another value, or another factor, belongs into it"
        return Diagnosis("missing-term", text)
    text = f"the gradient is {claim[1]}, and the derivative is {true[1]}"
    if claim[0] == true[0] and "@" in claim[1]:
        return Diagnosis("transpose", text, e.c.numeric)
    return Diagnosis("missing-sum" if "sum" in true[1] else "missing-term", text, e.c.numeric)


# -- terms -------------------------------------------------------------------------------------------------------------


def _invariant(e: Evidence) -> Diagnosis | None:
    """A sum that is 0 in the derivative and not in the claim, or the other way round."""

    def sums(p: Point, axis: int, weighted: bool) -> tuple[bool, bool]:
        c, w = p.c, p.c.point if weighted else np.ones_like(p.c.point)
        a, n = ((v * w).sum(axis=axis) for v in (c.analytic, np.nan_to_num(c.numeric)))
        size = float(np.abs(np.nan_to_num(c.numeric) * w).sum(axis=axis).max(initial=0))
        large = float(np.abs(c.analytic * w).sum(axis=axis).max(initial=0))
        error = 4 * float(np.abs(c.error * w).sum(axis=axis).max(initial=0))
        none = 1e-4 if weighted else 1e-8  # an ε in the root leaves a little
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
                    f"the derivative {what} along axis {axis} (nothing changes where {why}: a softmax or a normalisation "
                    "follows), the gradient does not: the term that passes through the sum or mean is missing",
                )
            if found == {(False, True)}:
                return Diagnosis(
                    "missing-term",
                    f"the gradient {what} along axis {axis}, as behind a softmax or a normalisation, the derivative does "
                    "not: a term that passes through a sum or mean is too much",
                )
    return None


def _difference(e: Evidence) -> Diagnosis | None:
    """What it is off by is a multiple of an array at hand, the same everywhere, or a penalty of some slices."""
    c = e.c
    if not c.measured.all() or telling(c).sum() < 3:
        return None
    off = c.analytic - c.numeric
    for name, values, here in _at_hand(e):
        v = np.broadcast_to(here, off.shape)
        if not v.any() or np.ptp(v) == 0:
            continue
        k = float(np.sum(off * v) / np.sum(v * v))
        if k and holds(e, lambda p, k=k, values=values: p.c.analytic - k * values(p)):  # type: ignore[misc]
            much = "too much" if k > 0 else "too little"
            return Diagnosis("missing-term", f"the gradient has {abs(k):.6g} · {name} {much}", c.analytic - k * v)
    if c.analytic.size > 3 and np.ptp(off) <= EQUAL * np.abs(off).max() and e.second is not None:
        there = e.second.c.analytic - e.second.c.numeric
        if np.ptp(there) <= EQUAL * np.abs(there).max():
            text = f"every element is off by the same, {off.flat[0]:.6g}: a term through a sum or mean is missing or too much"
            return Diagnosis("missing-term", text, c.analytic - off.flat[0])
    return _constant(e, off) or _part_penalty(e, off)


def _constant(e: Evidence, off: Array) -> Diagnosis | None:
    if e.second is None or not e.second.c.measured.all():
        return None
    there = e.second.c.analytic - e.second.c.numeric
    changed = np.abs(e.second.c.numeric - e.c.numeric).max() > 1e-3 * peak(e.c)
    if changed and np.abs(there - off).max() <= 1e-5 * np.abs(off).max():
        return Diagnosis("missing-term", "what the gradient is off by does not change with the point: a constant term")
    return None


def _part_penalty(e: Evidence, off: Array) -> Diagnosis | None:
    """A multiple of the parameter, another one for each slice."""

    def multiples(p: Point, axis: int) -> Array:
        others, v = tuple(i for i in range(off.ndim) if i != axis), p.c.point
        gap = p.c.analytic - p.c.numeric
        below = (v * v).sum(axis=others, keepdims=True)
        return np.asarray((gap * v).sum(axis=others, keepdims=True) / np.where(below == 0, 1, below))

    for axis in range(off.ndim) if off.ndim > 1 and e.second is not None and np.ptp(e.c.point) > 0 else ():
        if off.size // off.shape[axis] > 1 and holds(e, lambda p, axis=axis: p.c.analytic - multiples(p, axis) * p.c.point):  # type: ignore[misc]
            here, there = (np.ravel(multiples(p, axis)) for p in e.both)
            shown = ", ".join(f"{x:.4g}" for x in here[:6])
            text = f"the gradient is off by a multiple of the array, another one for each slice along axis {axis} ({shown})"
            if np.allclose(here, there, rtol=1e-4, atol=1e-4 * np.abs(here).max()):
                return Diagnosis("penalty", f"{text}: a penalty that is counted again for each example, or left out in some")
            return Diagnosis("missing-term", f"{text}: its use in a square or a product with itself")
    return None


def _symmetric(e: Evidence) -> Diagnosis | None:
    """A matrix that is used as itself and transposed."""
    if e.c.analytic.ndim < 2 or e.c.analytic.shape[-1] != e.c.analytic.shape[-2] or e.c.analytic.shape[-1] == 1:
        return None
    for k, which in ((1.0, "its"), (0.5, "half of its and half of the")):
        if holds(e, lambda p, k=k: k * (p.c.analytic + np.swapaxes(p.c.analytic, -1, -2))):  # type: ignore[misc]
            text = f"the transpose is missing: the derivative is the sum of {which} gradient and its transpose"
            return Diagnosis("missing-term", f"{text} (the array is used twice, once transposed, or made symmetric)")
    return None


def _low_rank(e: Evidence) -> Diagnosis | None:
    """What is missing is simple beside the whole."""
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
            text = f"what the gradient is off by has rank {ranks[0][0]}, the derivative {ranks[0][1]}"
            return Diagnosis("missing-term", f"{text}: a path through a sum, a mean or one vector is missing or too much")
    return None


def _updated(e: Evidence) -> Diagnosis | None:
    """The derivative where another array has already been updated by its gradient."""
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
            text = f"it is the derivative where {name} has already been updated (by −{rate:.4g} times its gradient)"
            return Diagnosis("stale", f"{text}: compute all gradients before any parameter is changed")
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
            text = f"the gradient does not change with {called}, and the derivative does: a factor or a path is missing"
            return Diagnosis("missing-term", text)
        if true <= 1e-8 * size and claim > 1e-3 * size:
            text = f"the gradient changes with {called}, and the derivative does not: a factor or a path is too much"
            return Diagnosis("missing-term", text)
    return None


def _own_dependence(e: Evidence) -> Diagnosis | None:
    """An element of the claim does not change with another one, and that of the derivative does."""
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
            text = f"its element {i.tolist()} does not change with element {list(j)} of the array, and the derivative does"
            return Diagnosis("missing-term", f"{text}: a factor or a path is missing, or another value is used")
    return None


def _part(e: Evidence) -> Diagnosis | None:
    """Whole slices are right, or it points the way of the derivative everywhere."""
    c, where = e.c, extent(e.c)
    if c.analytic.size < 2 or e.second is None:
        return None
    if c.analytic.ndim == 1 and c.measured.all() and (telling(c) & ~c.wrong).sum() >= 0.2 * telling(c).sum():
        where = where._replace(kind="slices")
    if where.kind == "slices" and c.measured.all():
        again = e.second.c
        right = telling(c) & ~c.wrong
        if right.any() and again.measured.all() and not again.wrong[right].any():
            return Diagnosis("missing-term", f"a part of the gradient is right, here and elsewhere, the others lack a term "
                             f"or a factor, or use another value: {_where(c)}")  # fmt: skip
    alike = []
    for p in (*e.both, e.elsewhere(0.5)):
        if p is not None and p.c.measured.any():
            a, n = p.c.analytic[p.c.measured], p.c.numeric[p.c.measured]
            alike.append(float(a @ n) / (float(np.linalg.norm(a) * np.linalg.norm(n)) or 1.0))
    if len(alike) < 3 or min(alike) < 0.95:
        return None
    text = f"the gradient points nearly the way of the derivative (cosine {alike[0]:.3f} here, {min(alike[1:]):.3f} elsewhere)"
    return Diagnosis("missing-term", f"{text}, but is no multiple of it: a small term is missing or too much, or another "
                     f"value is used; {_where(c)}")  # fmt: skip


def _where(c: Comparison) -> str:
    """The slices that are right, and the worst element with both its values."""
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


BESIDE_OTHERS: tuple[Hypothesis, ...] = (
    _two_values, _factor, _factors, _product, _invariant, _updated, _difference, _symmetric, _low_rank, _dependence,
    _own_dependence, _part,
)  # fmt: skip
"""From the surest on."""
