"""Comparison of a layer's backward, as a linear map of dy, with the transpose of the Jacobian.

Each map is one array: the axes of x (or of a parameter), then the axes of y. The effect of a mistake is often clear in
the map where the gradient is merely different: two axes swapped, only the diagonal present, examples mixed that the
forward keeps separate."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnfunc.arrays import Array
from nnfunc.checks.compare import Comparison
from nnfunc.checks.diagnosis import Diagnosis
from nnfunc.checks.function import Arrays
from nnfunc.checks.hypotheses import flips, shifted
from nnfunc.checks.numeric import Mask
from nnfunc.checks.pattern import plural, telling
from nnfunc.checks.ways import elsewhere, ignored, left_out

if TYPE_CHECKING:  # it costs a tenth of the import of NumPy
    from numpy.random import Generator

LARGEST = 600
"""The largest number of rows and columns of a map that is computed."""


class Opened(NamedTuple):
    """A layer as functions of its arrays ("dx" is x)."""

    forward: Callable[[Arrays], Array]
    backward: Callable[[Arrays, Array], Arrays]
    """arrays, dy -> gradients by name"""
    arrays: Arrays


class Maps(NamedTuple):
    """The claimed and the true map for one array."""

    claimed: Array
    true: Array
    y_ndim: int


def open_maps(layer: Opened, name: str, rng: Generator) -> Maps | None:
    """The maps for one array at a point near the given one (which may be a kink); None if they are too large."""
    arrays = {
        k: v + 1e-2 * (float(np.abs(v).max(initial=0)) or 1.0) * rng.normal(size=v.shape)
        for k, v in layer.arrays.items()
    }
    x = arrays.get("dx")
    if x is not None and x.ndim > 1 and x.size > LARGEST:
        try:  # a few examples are enough
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
    return Maps(claimed.reshape(of.shape + y.shape), _jacobian(layer, arrays, name, y), y.ndim)


def not_linear(layer: Opened, name: str, rng: Generator) -> Diagnosis | None:
    """Diagnoses a backward that is not linear in dy, as every derivative is; None if it is linear."""
    shape = layer.forward(layer.arrays).shape
    a, b = rng.normal(size=shape), rng.normal(size=shape)

    def pulled(dy: Array) -> Array:
        return np.asarray(layer.backward(layer.arrays, dy)[name], np.float64)

    one, other, both, turned, double = pulled(a), pulled(b), pulled(a + b), pulled(-a), pulled(2 * a)
    size = float(np.abs(both).max(initial=0)) + float(np.abs(one).max(initial=0))

    def same(x: Array, y: Array) -> bool:
        return bool(np.allclose(x, y, rtol=1e-3, atol=1e-5 * size))

    if not both.any():  # not wrong in this way
        return None
    if same(one, other) and same(one, both):
        text = "the result does not depend on dy: it is the layer's own derivative, not multiplied by dy (chain rule)"
        return Diagnosis("missing-term", text)
    if same(both, one + other) and same(double, 2 * one):
        return None
    none = pulled(0 * a)
    if none.any() and same(both - none, (one - none) + (other - none)):
        text = "part of the result does not depend on dy (it remains for dy = 0)"
        return Diagnosis(
            "missing-term", f"{text}: a term that is not multiplied by dy, a penalty, or a leftover gradient"
        )
    text = "backward is not linear in dy, as every derivative is"
    if same(double, one):
        return Diagnosis("scale", f"{text}: the result is the same for 2·dy as for dy (is dy divided by its norm?)")
    what = "not the sum of the results for two parts of dy" if same(turned, -one) else "not opposite for −dy and dy"
    return Diagnosis("unknown", f"{text}: its result is {what}")


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


def explain(m: Maps, name: str, nonlinear: Diagnosis | None = None) -> Diagnosis | None:
    """Diagnoses a layer's backward from its map; None if there is no explanation."""
    view = View.of(m, name)
    if nonlinear is not None:
        if nonlinear.kind == "unknown" and view.is_selection():
            text = "whether an element passes depends on dy, but should depend on the forward's values alone"
            return Diagnosis("mask", f"{text} (is the mask computed from the gradient?)")
        return nonlinear
    if not view.wrong.any():
        return None
    return (
        _moved(view)
        or _factors(view)
        or _turned(view)
        or _dropped(view)
        or _signs(view)
        or _mixed(view)
        or elsewhere(view.paths(view.claimed), view.paths(view.true), view.x_ndim)
        or _part(view)
    )


class View(NamedTuple):
    """The claimed and the true map, as arrays with the axes of x (or of a parameter), then of y."""

    comparison: Comparison
    x_ndim: int

    @classmethod
    def of(cls, m: Maps, name: str) -> View:
        """The two maps, compared."""
        peak = float(np.abs(m.true).max(initial=0))
        tolerance = np.full(m.true.shape, 2.5e-7 * peak)
        wrong, no = np.abs(m.claimed - m.true) > 1e-6 * peak, np.zeros(m.true.shape, bool)
        c = Comparison(name, np.zeros(m.true.shape), m.claimed, m.true, tolerance, wrong, no, ~no, no, 1.0)
        return cls(c, m.true.ndim - m.y_ndim)

    @property
    def claimed(self) -> Array:
        """The claimed map."""
        return self.comparison.analytic

    @property
    def true(self) -> Array:
        """The transpose of the Jacobian."""
        return self.comparison.numeric

    @property
    def wrong(self) -> Mask:
        """The entries that differ."""
        return self.comparison.wrong

    @property
    def ways(self) -> Mask:
        """The entries that are nonzero in at least one map: the dependencies of y on x."""
        return telling(self.comparison) | self.wrong

    def paths(self, entries: Array) -> Mask:
        """The nonzero entries of a map."""
        mask: Mask = np.abs(entries) > 1e-6 * np.abs(self.true).max(initial=0)
        return mask

    def agrees(self, corrected: Array) -> bool:
        """Whether a corrected map equals the true one."""
        return bool((np.abs(corrected - self.true) <= self.comparison.allowance()).all())

    def matrix(self, entries: Array) -> Array:
        """A map as a matrix, x by y."""
        rows = int(np.prod(entries.shape[: self.x_ndim], dtype=int))
        return entries.reshape(rows, -1)

    def is_selection(self) -> bool:
        """Whether each element of y depends on at most one of x: elementwise functions, pooling, gathering."""
        entries = np.abs(self.matrix(self.true))
        return bool(((entries > 1e-6 * entries.max(initial=0)).sum(axis=0) <= 1).all())

    def pairs(self) -> list[tuple[int, int]]:
        """The pairs of an axis of x and an axis of y with the same length."""
        shape = self.true.shape
        both = product(range(self.x_ndim), range(self.x_ndim, len(shape)))
        return [(i, j) for i, j in both if shape[i] == shape[j] > 1]

    def what(self, axis: int) -> str:
        """The name of what an axis of x contains."""
        if axis == 0 and self.x_ndim > 1:
            return "examples"
        return "features" if axis == self.x_ndim - 1 else f"elements along axis {axis}"


def _is_diagonal(entries: Array, i: int, j: int) -> bool:
    """Whether entries are 0 unless their indices along axes i and j are equal: these axes are not mixed."""
    moved = np.moveaxis(entries, (i, j), (0, 1))
    off = ~np.eye(entries.shape[i], dtype=bool)
    return bool((np.abs(moved[off]) <= 1e-6 * np.abs(entries).max(initial=0)).all())


def _slides(ways: Mask, i: int, j: int) -> bool:
    """Whether a window slides along axes i and j: elements depend on each other by their distance, if it is small."""
    near = np.asarray(np.moveaxis(ways, (i, j), (0, 1)).any(axis=tuple(range(2, ways.ndim))))
    distances = [np.diagonal(near, d) for d in range(1 - near.shape[0], near.shape[1])]
    alike = all(d.all() or not d.any() for d in distances)
    return alike and not near.all() and sum(bool(d.any()) for d in distances) > 1


def _moved(v: View) -> Diagnosis | None:
    """Axes swapped, reversed or shifted."""
    p, shape = v.x_ndim, v.true.shape
    for i, j in combinations(range(len(shape)), 2):
        if shape[i] == shape[j] > 1 and v.agrees(np.swapaxes(v.claimed, i, j)):
            if i >= p and v.comparison.name != "dx":
                text = f"it sums dy along axis {i - p} instead of axis {j - p}, or vice versa"
                return Diagnosis("axis", text)
            if i < p <= j:
                text = "the map dy → gradient is the transpose of the correct one"
                return Diagnosis(
                    "transpose", f"{text}: a matrix or a kernel's channels are not transposed as they should be"
                )
            of = f"dy's axes {i - p} and {j - p}" if i >= p else f"its axes {i} and {j}"
            return Diagnosis("transpose", f"the gradient has {of} swapped")
    size = float(np.abs(v.true).sum())
    if abs(float(np.abs(v.claimed).sum()) - size) <= 1e-5 * size:
        for axes in flips(len(shape)):
            if v.agrees(np.flip(v.claimed, axes)):
                if {*axes} == {p - 1, len(shape) - 1} and not _slides(v.paths(v.true), *axes):
                    text = "the channels, or the groups of channels, are in a different order than in the forward"
                    return Diagnosis("shift", text)
                if min(axes) < p <= max(axes):
                    text = "the kernel is reversed, or not reversed where it should be: flip its spatial axes"
                    return Diagnosis("flip", text)
                return Diagnosis("flip", f"it is reversed along axes {', '.join(map(str, axes))}")
    return shifted(v.comparison, range(p))


def _turned(v: View) -> Diagnosis | None:
    """A matrix is not transposed, next to an elementwise function with slopes s: C_ij = T_ji · s_j / s_i."""
    for i, j in v.pairs():
        claimed, true = (np.moveaxis(m, (i, j), (-2, -1)) for m in (v.claimed, v.true))
        claimed, true = (m.reshape(-1, *m.shape[-2:]) for m in (claimed, true))
        kept = np.abs(true).max(axis=(1, 2)) > 1e-6 * np.abs(true).max(initial=0)
        c, t = claimed[kept], np.swapaxes(true[kept], -1, -2)
        if c.shape[-1] < 3 or not t.all() or not c.all():
            continue
        ratio = c / t
        product_of = ratio[:, :, :, None] * ratio[:, None, :, :]  # s_j / s_i · s_k / s_j
        if np.allclose(product_of, ratio[:, :, None, :], rtol=1e-4) and not claimed[~kept].any():
            return Diagnosis(
                "transpose", "a matrix is not transposed as it should be: up to the slopes of an elementwise "
                "function, the map dy → gradient is the transpose of the correct one"
            )  # fmt: skip
    return None


def _factors(v: View) -> Diagnosis | None:
    """Every slice along one axis is right up to its own factor: γ, or the factor of a mask or a normalisation."""
    clear = np.abs(v.true) > 1e-3 * np.abs(v.true).max(initial=0)
    ratio = np.divide(v.claimed, v.true, out=np.zeros_like(v.true), where=clear)
    for axis, length in enumerate(v.true.shape):
        others = tuple(i for i in range(v.true.ndim) if i != axis)
        counts = clear.sum(axis=others, keepdims=True)
        if length < 2 or counts.max() < 2 * 2:
            continue
        factors = ratio.sum(axis=others, keepdims=True) / np.maximum(counts, 1)
        if (factors[counts > 0] == 0).any() or not v.agrees(v.claimed / np.where(factors == 0, 1.0, factors)):
            continue
        along = v.what(axis) if axis < v.x_ndim else f"elements of dy along axis {axis - v.x_ndim}"
        low, high = float(factors[counts > 0].min()), float(factors[counts > 0].max())
        text = f"the {along} are each off by their own factor, between {low:.4g} and {high:.4g}"
        return Diagnosis("scale", f"{text}: a factor that differs between them (a γ, a standard deviation) is missing")
    return None


def _dropped(v: View) -> Diagnosis | None:
    """The wrong entries are 0 where they should not be, or vice versa."""
    tiny, wrong = v.comparison.allowance(), v.wrong
    dropped, kept = wrong & (np.abs(v.claimed) <= tiny), wrong & (np.abs(v.true) <= tiny)
    if not (dropped | kept)[wrong].all():
        return None
    lost = wrong.any(axis=tuple(range(v.x_ndim)))  # elements of dy that are partly lost
    if v.comparison.name != "dx" and not kept.any() and 0 < lost.sum() < lost.size and (wrong == (v.ways & lost)).all():
        contribute = f"only {int(lost.size - lost.sum())} of {lost.size} elements of dy contribute"
        others = ignored(np.asarray(lost)) or "the others"
        text = f"{contribute}; {others} (examples, positions, time steps) are overwritten instead of added, or left out"
        return Diagnosis("missing-sum", text)
    if ordered := _ordered(v):
        return ordered
    if v.is_selection():
        text = f"{plural(int(dropped.sum()), 'element')} that the forward keeps are dropped"
        return Diagnosis("mask", f"{text}, and {int(kept.sum())} that it drops are kept")
    if kept.any():
        return None
    if ordered := left_out(v.paths(v.claimed), v.paths(v.true), v.x_ndim):
        return ordered
    text = f"{int(wrong.sum())} of the {int(v.ways.sum())} dependencies of y on this array are left out"
    return _apart(v) or Diagnosis("missing-term", text)


def _ordered(v: View) -> Diagnosis | None:
    """Elements of dy contribute to the wrong elements, one to one."""
    claimed, true = (
        np.abs(v.matrix(entries)) > 1e-6 * np.abs(v.true).max(initial=0) for entries in (v.claimed, v.true)
    )
    for entries in (claimed, true):
        if any((entries.sum(axis=i) > 1).any() for i in (0, 1)) or entries.sum() < 2:
            return None
    from_, to = (np.where(m.any(axis=1), m.argmax(axis=1), -1) for m in (true, claimed))
    both = (from_ >= 0) & (to >= 0)
    if (from_ == to).all() or not (both == (from_ >= 0)).all():
        return None
    steps = np.unique((to - from_)[both])
    moved = (
        f"with an offset of {steps[0]:+d}"
        if len(steps) == 1
        else "in a wrong order (a reshape instead of a transpose?)"
    )
    return Diagnosis("shift", f"each element receives the gradient of another one: dy is read {moved}")


def _mixed(v: View) -> Diagnosis | None:
    """One of forward and backward mixes elements that the other keeps separate."""
    for i, j in v.pairs():
        if _is_diagonal(v.true, i, j) and not _is_diagonal(v.claimed, i, j):
            text = f"the backward mixes {v.what(i)}, which the forward keeps separate"
            return Diagnosis("axis", f"{text}: a sum or mean is taken along the wrong axis")
    return _apart(v)


def _apart(v: View) -> Diagnosis | None:
    """The backward keeps elements separate that the forward mixes."""
    for i, j in v.pairs():
        if _is_diagonal(v.claimed, i, j) and not _is_diagonal(v.true, i, j):
            text = (
                f"the forward mixes {v.what(i)} (by a sum, a mean, a softmax), but the backward treats each separately"
            )
            return Diagnosis("missing-term", f"{text}: the off-diagonal terms of the Jacobian are missing")
    return None


def _signs(v: View) -> Diagnosis | None:
    """Right except for the sign or a factor of a part."""
    clear = v.ways & (np.abs(v.true) > 1e-4 * np.abs(v.true).max(initial=0))
    if not (v.agrees(np.where(clear, v.claimed, v.true)) and clear.any()):
        return None
    ratio = v.claimed[clear] / v.true[clear]
    factor = float(np.median(ratio[np.abs(ratio - 1) > 1e-4])) if (np.abs(ratio - 1) > 1e-4).any() else 1.0
    one = np.abs(ratio - 1) <= 1e-4
    if factor == 0 or not one.any() or not (one | (np.abs(ratio - factor) <= 1e-4 * abs(factor))).all():
        return None
    share = f"{int((~one).sum())} of the {int(one.size)} dependencies of y on this array"
    if abs(factor + 1) < 1e-4:
        return Diagnosis("sign", f"{share} have the wrong sign, the others are right")
    return Diagnosis("scale", f"{share} are {factor:.6g} times what they should be, the others are right")


def _part(v: View) -> Diagnosis | None:
    """Part of the map is right, or the missing part has a low rank."""
    right = float(1 - v.wrong.sum() / v.ways.sum())
    if right >= 0.2:
        text = f"{right:.0%} of the dependencies of y on this array are right, the others are incomplete"
        return Diagnosis("missing-term", f"{text}: a second use, or a path, is missing")
    tol = 1e-5 * float(np.linalg.norm(v.true))
    maps = (v.claimed, v.true, v.true - v.claimed)
    claimed, true, missing = (int(np.linalg.matrix_rank(v.matrix(entries), tol=tol)) for entries in maps)
    if missing <= max(claimed, true) / 2:
        text = f"the error has a low rank ({missing} of {true})"
        return Diagnosis("missing-term", f"{text}: a path through a sum, a mean or a variance is missing (or extra)")
    tiny = 1e-6 * float(np.abs(v.true).max(initial=0))
    if ((np.abs(v.claimed) > tiny) == (np.abs(v.true) > tiny)).mean() > 0.95 and (np.abs(v.true) <= tiny).any():
        text = "each element of dy contributes to the right elements, but with a wrong slope"
        return Diagnosis(
            "missing-term", f"{text}: a factor or a term of the derivative is missing, or a wrong value is used (an "
            "input instead of an output, other statistics, a value of another step)"
        )  # fmt: skip
    return None
