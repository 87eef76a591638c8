"""A layer's backward is a linear map of dy: the transpose of the Jacobian. Here both are laid open and compared.

Each map is one array: the axes of the thing differentiated (x or a parameter), then the axes of y. What a mistake does
to the map is often plain where the gradient alone is only 'different': one axis exchanged with another, the diagonal
alone, examples mixed that the forward keeps apart."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnfunc.arrays import Array
from nnfunc.checks.compare import Comparison
from nnfunc.checks.diagnosis import Diagnosis, flips, plural, shifted, telling
from nnfunc.checks.function import Arrays

if TYPE_CHECKING:  # it costs a tenth of the import of NumPy
    from numpy.random import Generator

LARGEST = 600
"""Maps of up to so many rows and columns are laid open."""


class Opened(NamedTuple):
    """What a layer does, as functions of its arrays ("dx" is x)."""

    forward: Callable[[Arrays], Array]
    backward: Callable[[Arrays, Array], Arrays]
    """arrays, dy -> gradients by name"""
    arrays: Arrays


class Maps(NamedTuple):
    """The claimed map and the true one, of one array; and whether the claimed one is linear at all."""

    claimed: Array
    true: Array
    additive: bool
    odd: bool
    y_ndim: int


def open_maps(layer: Opened, name: str, rng: Generator) -> Maps | None:
    """The maps for one array at a point near the given one (which may be a kink); None if they are too large."""
    arrays = {
        k: v + 1e-2 * (float(np.abs(v).max(initial=0)) or 1.0) * rng.normal(size=v.shape)
        for k, v in layer.arrays.items()
    }
    x = arrays.get("dx")
    if x is not None and x.ndim > 1 and x.size > LARGEST:
        try:  # a few examples will do
            arrays["dx"] = x[: max(2, LARGEST // max(x[0].size, 1))]
            layer.forward(arrays)
        except (ValueError, IndexError):
            arrays["dx"] = x
    y = layer.forward(arrays)
    of = arrays[name]
    if of.size > LARGEST or y.size > LARGEST or not y.size or not of.size:
        return None

    def pulled(dy: Array) -> Array:
        return np.asarray(layer.backward(arrays, dy)[name], np.float64)

    claimed = np.empty((*of.shape, y.size))
    unit = np.zeros(y.size)
    for k in range(y.size):
        unit[k] = 1.0
        claimed[..., k] = pulled(unit.reshape(y.shape))
        unit[k] = 0.0
    dy = rng.normal(size=y.shape)
    whole = pulled(dy)
    expected = claimed @ dy.ravel()
    size = float(np.abs(whole).max(initial=0)) + float(np.abs(expected).max(initial=0))
    additive = bool(np.allclose(whole, expected, rtol=1e-3, atol=1e-5 * size))
    odd = bool(np.allclose(pulled(-dy), -whole, rtol=1e-3, atol=1e-5 * size))
    return Maps(claimed.reshape(of.shape + y.shape), _jacobian(layer, arrays, name, y), additive, odd, y.ndim)


def _jacobian(layer: Opened, arrays: Arrays, name: str, y: Array) -> Array:
    of = arrays[name]
    h = 1e-5 * (float(np.sqrt(np.mean(of * of))) or 1.0)
    jacobian = np.empty(of.shape + y.shape)
    for index in np.ndindex(of.shape):

        def at(t: float, index: tuple[int, ...] = index) -> Array:
            moved = of.copy()
            moved[index] += t
            return layer.forward({**arrays, name: moved})

        coarse, fine = ((at(s) - at(-s)) / (2 * s) for s in (h, h / 2))
        jacobian[index] = (4 * fine - coarse) / 3
    return jacobian


def explain(m: Maps, name: str) -> Diagnosis | None:
    """What is wrong with a layer's backward, seen in its map; None if no word says it."""
    peak = float(np.abs(m.true).max(initial=0))
    tolerance = np.full(m.true.shape, 2.5e-7 * peak)
    wrong = np.abs(m.claimed - m.true) > 1e-6 * peak
    no = np.zeros(m.true.shape, bool)
    c = Comparison(name, no.astype(float), m.claimed, m.true, tolerance, wrong, no, ~no, no, 1.0)
    selection = _is_selection(m.true, m.y_ndim)
    if not m.additive:
        if selection:
            return Diagnosis("mask", "whether an element passes depends on dy, and should depend on the forward's values "
                             "alone (is the mask taken from the gradient?)")  # fmt: skip
        what = "of other size for −dy than for dy" if not m.odd else "not the sum of those of two parts of dy"
        return Diagnosis("unknown", f"backward is not linear in dy, as every derivative is: its result is {what}")
    if not wrong.any():
        return None
    return _moved(c, m.y_ndim) or _dropped(c, m.y_ndim, selection) or _mixed(c, m.y_ndim) or _term(c, m.y_ndim)


def _is_selection(jacobian: Array, y_ndim: int) -> bool:
    """Whether each output element depends on one element at most: elementwise functions, pooling, gathering."""
    entries = np.abs(jacobian.reshape(-1, int(np.prod(jacobian.shape[jacobian.ndim - y_ndim :], dtype=int))))
    return bool(((entries > 1e-6 * entries.max(initial=0)).sum(axis=0) <= 1).all())


# -- axes exchanged, reversed, moved -----------------------------------------------------------------------------------


def _agrees(c: Comparison, corrected: Array) -> bool:
    return bool((np.abs(corrected - c.numeric) <= c.allowance()).all())


def _moved(c: Comparison, y_ndim: int) -> Diagnosis | None:
    p = c.analytic.ndim - y_ndim
    for i, j in combinations(range(c.analytic.ndim), 2):
        if c.analytic.shape[i] == c.analytic.shape[j] > 1 and _agrees(c, np.swapaxes(c.analytic, i, j)):
            if i >= p and c.name != "dx":
                text = f"it sums dy along axis {i - p} where it should along axis {j - p}, or the other way round"
                return Diagnosis("axis", text)
            if i < p <= j:
                return Diagnosis("transpose", "the map dy → gradient is the transpose of the right one: a matrix or kernel is "
                                 "not transposed where it should be, or is where it should not")  # fmt: skip
            of = f"dy's axes {i - p} and {j - p}" if i >= p else f"its axes {i} and {j}"
            return Diagnosis("transpose", f"the gradient has {of} exchanged")
    size = float(np.abs(c.numeric).sum())
    if abs(float(np.abs(c.analytic).sum()) - size) <= 1e-5 * size:
        for axes in flips(c.analytic.ndim):
            if _agrees(c, np.flip(c.analytic, axes)):
                both = any(a < p for a in axes) and any(a >= p for a in axes)
                text = "the kernel is used reversed, or not reversed where it should be: flip its spatial axes"
                return Diagnosis("flip", text if both else f"it is reversed along axes {', '.join(map(str, axes))}")
    return shifted(c, range(p))


# -- entries dropped or kept -------------------------------------------------------------------------------------------


def _dropped(c: Comparison, y_ndim: int, selection: bool) -> Diagnosis | None:
    """The wrong entries are 0 where they should not be, or the other way round."""
    wrong, p = c.wrong, c.analytic.ndim - y_ndim
    tiny = c.allowance()
    dropped, kept = wrong & (np.abs(c.analytic) <= tiny), wrong & (np.abs(c.numeric) <= tiny)
    if not (dropped | kept)[wrong].all():
        return None
    full = telling(c) | wrong
    lost = wrong.any(axis=tuple(range(p)))  # elements of dy of which something is lost
    if c.name != "dx" and not kept.any() and 0 < lost.sum() < lost.size and (wrong == (full & lost)).all():
        share = int(lost.size - lost.sum())
        return Diagnosis(
            "missing-sum",
            f"only {share} of {lost.size} elements of dy contribute: the contributions of the others (examples, "
            "positions, time steps) are overwritten where they should be added",
        )
    if selection:
        return Diagnosis(
            "mask",
            f"{plural(int(dropped.sum()), 'element')} that the forward lets pass are dropped, and {int(kept.sum())} that "
            "it drops are let pass",
        )
    if kept.any():
        return None
    return _diagonal(c, y_ndim) or Diagnosis(
        "missing-term", f"{int(wrong.sum())} of the {int(full.sum())} ways in which y depends on this are left out"
    )


def _pairs(c: Comparison, y_ndim: int) -> list[tuple[int, int]]:
    p = c.analytic.ndim - y_ndim
    return [
        (i, j)
        for i, j in product(range(p), range(p, c.analytic.ndim))
        if c.analytic.shape[i] == c.analytic.shape[j] > 1
    ]


def _is_diagonal(entries: Array, i: int, j: int) -> bool:
    """Whether an entry is 0 unless its indices along axes i and j are equal: index k depends on index k alone."""
    peak = float(np.abs(entries).max(initial=0))
    off = ~np.eye(entries.shape[i], dtype=bool)
    moved = np.moveaxis(entries, (i, j), (0, 1))
    return bool((np.abs(moved[off]) <= 1e-6 * peak).all())


def _what(axis: int, ndim: int) -> str:
    return "examples" if axis == 0 and ndim > 1 else "features" if axis == ndim - 1 else f"elements along axis {axis}"


def _diagonal(c: Comparison, y_ndim: int) -> Diagnosis | None:
    """The forward mixes elements, the backward does not."""
    p = c.analytic.ndim - y_ndim
    for i, j in _pairs(c, y_ndim):
        if _is_diagonal(c.analytic, i, j) and not _is_diagonal(c.numeric, i, j):
            what = _what(i, p)
            return Diagnosis("missing-term", f"the forward mixes {what} (a sum, a mean, a softmax), the backward treats each "
                             "by itself: the terms off the diagonal of the Jacobian are missing")  # fmt: skip
    return None


def _mixed(c: Comparison, y_ndim: int) -> Diagnosis | None:
    """The backward mixes elements that the forward keeps apart."""
    p = c.analytic.ndim - y_ndim
    for i, j in _pairs(c, y_ndim):
        if _is_diagonal(c.numeric, i, j) and not _is_diagonal(c.analytic, i, j):
            return Diagnosis("axis", f"the backward mixes {_what(i, p)}, which the forward keeps apart: a sum or mean is "
                             "taken along the wrong axis")  # fmt: skip
    return _diagonal(c, y_ndim)


# -- a part missing ----------------------------------------------------------------------------------------------------


def _term(c: Comparison, y_ndim: int) -> Diagnosis | None:
    """A part of the map is right, or what is missing is simple beside the whole."""
    full = telling(c) | c.wrong
    right = float(1 - c.wrong.sum() / full.sum())
    if right >= 0.2:
        return Diagnosis("missing-term", f"{right:.0%} of the ways in which y depends on this are right, the others lack a "
                         "part: a second use, or a path, is missing")  # fmt: skip
    p = c.analytic.ndim - y_ndim
    rows = int(np.prod(c.analytic.shape[:p], dtype=int))
    tol = 1e-5 * float(np.linalg.norm(c.numeric))
    claimed, true, missing = (
        int(np.linalg.matrix_rank(v.reshape(rows, -1), tol=tol))
        for v in (c.analytic, c.numeric, c.numeric - c.analytic)
    )
    if missing <= max(claimed, true) / 2:
        return Diagnosis(
            "missing-term",
            f"what is missing passes through a few numbers (rank {missing} of {true}): a path through a sum, a mean or a "
            "variance is missing (or too much)",
        )
    if all(_is_diagonal(v, i, j) for v in (c.analytic, c.numeric) for i, j in _matched(c, y_ndim)) and _matched(
        c, y_ndim
    ):
        return Diagnosis("missing-term", "each element depends on its own alone, as in the forward, but with another slope: a "
                         "factor or a term of the derivative is missing, or it is taken at another value")  # fmt: skip
    return None


def _matched(c: Comparison, y_ndim: int) -> list[tuple[int, int]]:
    """The axes of x with their counterparts in y, if y has the shape of x."""
    p = c.analytic.ndim - y_ndim
    same = c.analytic.shape[:p] == c.analytic.shape[p:]
    return [(i, i + p) for i in range(p) if c.analytic.shape[i] > 1] if same else []
