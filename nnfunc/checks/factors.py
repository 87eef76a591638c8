"""Hypotheses about factors and products: a known array is missing from the gradient as a factor, or is an extra one.

Known arrays are the parameters and the arrays that the functions use. Each must also hold at a second point."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from nnfunc.arrays import Array
from nnfunc.checks.compare import Comparison
from nnfunc.checks.constants import named
from nnfunc.checks.diagnosis import Diagnosis, Evidence, Hypothesis, Point, fits, holds
from nnfunc.checks.pattern import EQUAL, different, telling

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


def at_hand(e: Evidence) -> Iterator[tuple[str, Callable[[Point], Array], Array]]:
    """(name, values at a point, values here) of the known arrays that broadcast to this one, in each orientation."""
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
    """A known array, or a simple function of it, is a missing or extra factor."""
    c = e.c
    if not c.measured.all() or not telling(c).any() or e.second is None:
        return None
    for name, values, here in at_hand(e):
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
    if (values == 0).any() and len(different(values)) <= 3:
        return Diagnosis("mask", f"the factor {factor} is missing: the forward's mask, or its scale", corrected)
    if name == "parameter":
        text = f"the factor {factor} is missing: the derivative of a function of the parameter (chain rule)"
        return Diagnosis("scale", text, corrected)
    if values.shape == e.c.analytic.shape and (values > 0).any() and (values < 0).any() and factor == name:
        text = f"the factor {factor} is missing: an upstream gradient (chain rule), or a weight"
        return Diagnosis("missing-term", text, corrected)
    return Diagnosis("scale", f"each element lacks its own factor, {factor}", corrected)


def _factors(e: Evidence) -> Diagnosis | None:
    """Each slice along an axis has its own factor."""

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
            text = f"the {which} are each off by their own factor: {', '.join(f'{f:.4g}' for f in factors[:6])}"
            kind = "sign" if np.allclose(np.abs(factors), 1, rtol=EQUAL) else "scale"
            more = "" if len(factors) <= 6 else ", …"
            return Diagnosis(
                kind, f"{text}{more} (a count, a weight, a γ, a standard deviation)", divided(e.here, axis)
            )
    return None


def _two_values(e: Evidence) -> Diagnosis | None:
    """Every element is right or wrong by the same factor: a mask, a sign or a factor on a part."""

    def ratios(p: Point) -> list[float]:
        known = telling(p.c)
        n, a = np.nan_to_num(p.c.numeric)[known], p.c.analytic[known]
        small = p.c.allowance()[known]
        zeros = (np.abs(n) <= small) | (np.abs(a) <= small)
        if (zeros & (np.abs(a) > small)).any() and (zeros & (np.abs(n) > small)).any():
            return []
        r = np.where(zeros, 0, a / np.where(np.abs(n) <= small, 1, n))
        values = different(r)
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
            "mask", f"gradient and derivative are 0 in different elements, and differ{more} in the rest: the mask is "
            "not the forward's, or the mask and its scale are missing"
        )  # fmt: skip
    if abs(low + high) <= EQUAL * high and abs(high - 1) <= EQUAL:
        return Diagnosis(
            "sign", f"the gradient has the wrong sign in {int(e.c.wrong.sum())} elements; the others are right"
        )
    text = f"the gradient is {low:.6g} times the derivative in some elements and {high:.6g} times in the others"
    return Diagnosis("scale", f"{text}: a factor on a part (a mask's scale, a count, a condition)")


def _formulas(e: Evidence, p: Point) -> Iterator[tuple[str, str, Array]]:
    """(operands, expression, values) of products and sums with the shape of the gradient, at a point."""
    shape = e.c.analytic.shape
    held = [(k, np.asarray(v, np.float64)) for k, v in e.hints.arrays[:12] if v.ndim <= 2 and v.size <= 2000]
    at_hand = [*((k, v) for k, v in p.arrays.items() if v.ndim and v.size <= 2000), *held]
    for k, v in at_hand:
        for axis in range(v.ndim):
            if v.shape[:axis] + v.shape[axis + 1 :] == shape and v.shape[axis] > 1:
                yield k, f"the sum of {k} along axis {axis}", np.asarray(v.sum(axis=axis))
                yield k, f"element 0 of {k} along axis {axis}", np.asarray(v.take(0, axis))
                yield k, f"the last element of {k} along axis {axis}", np.asarray(v.take(-1, axis))
    for i, (k, v) in enumerate(at_hand):
        for other, w in at_hand[i + 1 :]:
            pair = f"{k}, {other}"
            if v.shape == w.shape and v.ndim == 2 and v.shape[1:] == shape:
                yield pair, f"the sum of {k} · {other}", np.asarray((v * w).sum(axis=0))
            if v.ndim == w.ndim == 2 and len(shape) == 2:
                for left, x in ((k, v), (f"{k}.T", v.T)):
                    for right, y in ((other, w), (f"{other}.T", w.T)):
                        if x.shape[1] == y.shape[0] and (x.shape[0], y.shape[1]) == shape:
                            yield pair, f"{left} @ {right}", x @ y
                        if y.shape[1] == x.shape[0] and (y.shape[0], x.shape[1]) == shape:
                            yield pair, f"{right} @ {left}", y @ x


def _product(e: Evidence) -> Diagnosis | None:
    """The gradient is a product or sum of known arrays, the derivative a different one, or none."""
    if not all(p.c.measured.all() for p in e.both) or e.c.analytic.size < 2:
        return None

    def found(wanted: Callable[[Comparison], Array]) -> tuple[str, str] | None:
        left: dict[str, tuple[str, str]] | None = None
        for p in e.both:
            near = 2 * p.c.allowance()
            same = {
                how: (what, how)
                for what, how, v in _formulas(e, p)
                if (np.abs(v - wanted(p.c)) <= near).all() and v.any()
            }
            left = same if left is None else {k: v for k, v in left.items() if k in same}
        return next(iter((left or {}).values()), None)

    claim = found(lambda c: c.analytic)
    if claim is None:
        return None
    true = found(lambda c: c.numeric)
    if true is None:
        text = f"the gradient is {claim[1]}, but the derivative is not: a different value or factor is needed"
        return Diagnosis("missing-term", text)
    text = f"the gradient is {claim[1]}, but the derivative is {true[1]}"
    if claim[0] == true[0] and "@" in claim[1]:
        return Diagnosis("transpose", text, e.c.numeric)
    return Diagnosis("missing-sum" if "sum" in true[1] else "missing-term", text, e.c.numeric)


FACTORS: tuple[Hypothesis, ...] = (_two_values, _factor, _factors, _product)
"""In order of certainty."""
