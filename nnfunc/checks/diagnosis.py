"""What is wrong with a gradient: hypotheses, tried from the simplest on, each of which must explain every number.

Most are of the form 'the true gradient is this transformation of the claimed one': it is applied to the whole claimed
array a, and held against whatever is known of the true one, n. A hypothesis with a free constant (a factor, a penalty's
coefficient) must hold with the same constant at a second point if the array is small."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnfunc.arrays import Array
from nnfunc.checks.compare import Comparison
from nnfunc.checks.numeric import Mask

FEW = 10
"""So many wrong elements are listed one by one."""


class Diagnosis(NamedTuple):
    """A kind, what to say about it, and the gradient as it should be where the hypothesis gives it."""

    kind: str
    text: str
    corrected: Array | None = None


class Hints(NamedTuple):
    """What the constants in a mistake may be: (how it is called, value)."""

    numbers: Sequence[tuple[str, float]] = ()
    batch: int | None = None


Elsewhere = Callable[[float], Comparison | None]
"""distance -> the same array compared at another point, so far away in units of the variables; None if it can't be."""


def diagnose(c: Comparison, elsewhere: Elsewhere, hints: Hints) -> Diagnosis:
    """The simplest explanation of all that is known about one array; "unknown" if there is none."""
    points = [c]
    if c.analytic.size <= 3 or np.ptp(c.point) == 0:  # few numbers: a constant fits by chance
        points += [other for other in (elsewhere(0.3), elsewhere(0.5)) if other is not None]
    for hypothesis in (_zero, _rounded, _scale, _penalty, _scale_and_penalty, _sparse):
        if found := hypothesis(points, hints):
            return found
    for rearranged in (_transpose, _flip, _shift):
        if found := rearranged(c):
            return found
    return _axis(c) or _mask(c) or _small(c, elsewhere) or _unknown(c)


# -- where -------------------------------------------------------------------------------------------------------------


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


# -- hypotheses --------------------------------------------------------------------------------------------------------


def _fits(c: Comparison, corrected: Array, where: Mask, scale: float = 1.0) -> bool:
    """Whether a corrected gradient agrees with the numeric one in the measured elements of `where`."""
    known = where & c.measured
    gap = np.abs(corrected - np.nan_to_num(c.numeric))
    allowed = c.allowance() * (2 * max(1.0, scale))
    return bool(known.any() and (gap[known] <= allowed[known]).all())


def _zero(points: list[Comparison], hints: Hints) -> Diagnosis | None:
    c = points[0]
    if (c.analytic[c.wrong] != 0).any():
        return None
    where = extent(c)
    if where.kind == "scattered" or (where.kind == "slices" and _few(c) and c.wrong.sum() == 1):
        return None
    place = "" if where.kind == "all" else f" {where.text}"
    return Diagnosis("zero", f"the gradient is 0{place}, but the loss depends on it: it was detached, or never added")


def _scale(points: list[Comparison], hints: Hints) -> Diagnosis | None:
    c = points[0]
    where = extent(c)
    if where.kind == "scattered" and _few(c):
        return None
    a, n = c.analytic[c.wrong & c.measured], c.numeric[c.wrong & c.measured]
    if not a.size or not n.any():
        return None
    factor = float(a @ n / (n @ n))
    if factor == 0 or (c.analytic.size > 1 and a.size < 2):
        return None
    for point in points:
        at = point.wrong if point is c else point.measured
        if not _fits(point, point.analytic / factor, at, 1 / abs(factor)):
            return None
    corrected = np.where(c.affected, c.analytic / factor, c.analytic)
    if abs(factor + 1) < 1e-6:
        return Diagnosis("sign", f"the gradient has the wrong sign {where.text}".rstrip(), corrected)
    if abs(factor - 1) < 1e-2:
        return Diagnosis("scale", f"the gradient is {factor:.8g} times what it should be {where.text}".rstrip()
                         + f": {guess(factor, hints)}".rstrip(": "), corrected)  # fmt: skip
    size = f"{abs(factor):.6g} times too large" if abs(factor) > 1 else f"{1 / abs(factor):.6g} times too small"
    sign = ", with the wrong sign," if factor < 0 else ""
    reason = guess(abs(factor), hints)
    text = f"the gradient is {size}{sign} {where.text}".rstrip() + (
        "" if factor > 1 else f" (a factor of {factor:.6g})"
    )
    return Diagnosis("scale", text + reason, corrected)


def _rounded(points: list[Comparison], hints: Hints) -> Diagnosis | None:
    """Right, but for the digits of float32."""
    c = points[0]
    known, a = c.measured, c.analytic
    gap, size = (a - np.nan_to_num(c.numeric))[known], float(np.abs(c.numeric[known]).max(initial=0))
    if (a != a.astype(np.float32)).any() or not (np.abs(gap) <= 2e-7 * size).all():
        return None
    return Diagnosis(
        "precision",
        f"the gradient is off by about {float(np.abs(gap).max()) / size:.1e}: its values are float32's, the formula is "
        "right (compute in float64 to check it, or check the loss in float32 too)",
    )


def _penalty(points: list[Comparison], hints: Hints) -> Diagnosis | None:
    c = points[0]
    forms: list[tuple[str, Callable[[Array], Array]]] = [("parameter", lambda v: v), ("sign(parameter)", np.sign)]
    for form, of in forms:
        basis = np.concatenate([of(point.point[point.measured]) for point in points])
        if basis.size < 2 or np.ptp(basis) == 0:  # nothing tells a penalty from a constant
            continue
        own = of(c.point[c.measured])
        if not own.any():
            continue
        coefficient = float((c.analytic - c.numeric)[c.measured] @ own / (own @ own))
        if not coefficient or not all(_fits(p, p.analytic - coefficient * of(p.point), p.measured) for p in points):
            continue
        name = _named(abs(coefficient), hints)
        known_as = f", which is {name}" if name else ""
        much = "too much" if coefficient > 0 else "too little"
        text = (
            f"the gradient has {abs(coefficient):.6g} · {form} {much}{known_as}: a penalty that only one of loss and "
            "gradient has, or has with another factor"
        )
        return Diagnosis("penalty", text, c.analytic - coefficient * of(c.point))
    return None


def _scale_and_penalty(points: list[Comparison], hints: Hints) -> Diagnosis | None:
    """A factor on the part that the data give, beside a penalty's that is right."""
    c = points[0]
    a = np.concatenate([p.analytic[p.measured] for p in points])
    v = np.concatenate([p.point[p.measured] for p in points])
    n = np.concatenate([p.numeric[p.measured] for p in points])
    parts = np.stack([a, v], axis=1) / [np.linalg.norm(a) or 1.0, np.linalg.norm(v) or 1.0]
    if a.size < 5 or np.linalg.matrix_rank(parts, tol=1e-6) < 2:
        return None
    (inverse, coefficient), *_ = np.linalg.lstsq(np.stack([a, v], axis=1), n, rcond=None)
    if np.linalg.norm(inverse * a) < 1e-2 * np.linalg.norm(n):  # hardly any of the claim is in it
        return None
    fits = [_fits(p, inverse * p.analytic + coefficient * p.point, p.measured, abs(inverse)) for p in points]
    if not inverse or abs(inverse - 1) < 1e-2 or not all(fits):
        return None
    factor = 1 / float(inverse)
    corrected = inverse * c.analytic + coefficient * c.point
    # with the data's part d and a right penalty c: a = f·d + c·v and n = d + c·v, so n = a/f + c·(1 − 1/f)·v
    strength = coefficient / (1 - inverse)
    aside = f"beside a penalty of {strength:.4g} · parameter, "
    if abs(factor + 1) < 1e-6:
        return Diagnosis("sign", f"{aside}the gradient has the wrong sign", corrected)
    size = f"{abs(factor):.6g} times too large" if abs(factor) > 1 else f"{1 / abs(factor):.6g} times too small"
    return Diagnosis("scale", f"{aside}the gradient is {size}{guess(abs(factor), hints)}", corrected)


def _sparse(points: list[Comparison], hints: Hints) -> Diagnosis | None:
    c = points[0]
    if not _few(c) or not c.measured[c.wrong].all():
        return None
    count = int(c.wrong.sum())
    elements = f"element {_listed(c)} is" if count == 1 else f"{count} elements are"
    more = "" if count == 1 else f" ({_listed(c)})"
    first = tuple(np.argwhere(c.wrong)[0])
    text = (
        f"{elements} wrong{more}, the rest of the {c.analytic.size} is right: the gradient is "
        f"{c.analytic[first]:.6g} where the derivative is {c.numeric[first]:.6g}"
    )
    return Diagnosis("sparse", text, np.where(c.wrong, c.numeric, c.analytic))


def _enough(c: Comparison) -> bool:
    return int((telling(c) | (c.measured & c.wrong)).sum()) >= 2


def _transpose(c: Comparison) -> Diagnosis | None:
    for i, j in combinations(range(c.analytic.ndim), 2):
        if c.analytic.shape[i] == c.analytic.shape[j] > 1:
            corrected = np.swapaxes(c.analytic, i, j)
            if _enough(c) and _fits(c, corrected, c.measured):
                axes = "" if c.analytic.ndim == 2 else f" in its axes {i} and {j}"
                return Diagnosis("transpose", f"the gradient is transposed{axes}", corrected)
    return None


def flips(ndim: int) -> Iterator[tuple[int, ...]]:
    """The sets of axes to reverse."""
    for count in range(1, ndim + 1):
        yield from combinations(range(ndim), count)


def _flip(c: Comparison) -> Diagnosis | None:
    for axes in flips(c.analytic.ndim):
        corrected = np.flip(c.analytic, axes)
        if _enough(c) and _fits(c, corrected, c.measured):
            which = f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes))}"
            return Diagnosis("flip", f"the gradient is reversed along {which}", corrected)
    return None


def _shift(c: Comparison) -> Diagnosis | None:
    return (shifted(c, range(c.analytic.ndim)) or _permuted(c)) if _enough(c) else None


def shifted(c: Comparison, along: Sequence[int]) -> Diagnosis | None:
    """Moved by some places along one or two of these axes, round the end or out of it."""
    for count in (1, 2):
        for axes in combinations(along, count):
            steps = [[s for s in (1, -1, 2, -2, 3, -3) if abs(s) < c.analytic.shape[axis]] for axis in axes]
            for step in product(*steps):
                corrected = np.roll(c.analytic, step, axes)
                inside = np.ones(c.analytic.shape, bool)  # what has not come round from the other end
                for s, axis in zip(step, axes, strict=True):
                    index = [slice(None)] * c.analytic.ndim
                    index[axis] = slice(None, s) if s > 0 else slice(s, None)
                    inside[tuple(index)] = False
                known = c.measured & telling(c)
                overlap = (known & inside).sum() >= max(3, known.sum() / 3)
                varied = np.ptp(corrected[inside]) > 0 if inside.any() else False
                if _fits(c, corrected, c.measured) or (overlap and varied and _fits(c, corrected, inside)):
                    moves = " and ".join(f"{-s:+d} along axis {a}" for s, a in zip(step, axes, strict=True))
                    return Diagnosis("shift", f"the gradient is moved by {moves}", corrected)
    return None


def _permuted(c: Comparison) -> Diagnosis | None:
    """Rows (or slices along another axis) in another order."""
    if not c.measured.all() or c.analytic.size < 4:
        return None
    for axis, length in enumerate(c.analytic.shape):
        if not 2 < length <= 200:
            continue
        a, n = (np.moveaxis(v, axis, 0).reshape(length, -1) for v in (c.analytic, c.numeric))
        order = np.array([np.abs(a - row).sum(axis=1).argmin() for row in n])
        if len(set(order.tolist())) == length:
            corrected = np.take(c.analytic, order, axis)
            if _fits(c, corrected, c.measured):
                return Diagnosis("shift", f"the gradient's slices along axis {axis} are in another order", corrected)
    return None


def _axis(c: Comparison) -> Diagnosis | None:
    """The true gradient summed or averaged along an axis."""
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


def _mask(c: Comparison) -> Diagnosis | None:
    """Elements kept that should be dropped, or dropped that should be kept."""
    wrong = c.wrong & c.measured
    kept = wrong & (np.abs(np.nan_to_num(c.numeric)) <= c.allowance())
    dropped = wrong & (c.analytic == 0)
    if not wrong.any() or not (kept | dropped)[wrong].all() or not (telling(c) & ~wrong).any():
        return None
    texts = [f"0 in {plural(int(dropped.sum()), 'element')} where it should not be"] if dropped.any() else []
    texts += [f"not 0 in {plural(int(kept.sum()), 'element')} where it should be"] if kept.any() else []
    text = f"the gradient is {', and '.join(texts)}"
    return Diagnosis(
        "mask", f"{text}; the others are right: a mask keeps or drops other elements than the forward does"
    )


def _small(c: Comparison, elsewhere: Elsewhere) -> Diagnosis | None:
    """Small differences: smooth ones stay as they are if the point is moved a little, rounding errors change wholly."""
    known = c.measured & ~c.kinked
    gap, size = (c.analytic - np.nan_to_num(c.numeric))[known], np.linalg.norm(c.numeric[known])
    if not size or np.linalg.norm(gap) > 1.2e-2 * size:
        return None
    relative = float(np.linalg.norm(gap) / size)
    near = elsewhere(0.03)
    if near is None:
        noise = relative < 1e-6
    else:
        both = known & near.measured & ~near.kinked
        a, b = ((v.analytic - np.nan_to_num(v.numeric))[both] for v in (c, near))
        noise = float(a @ b) < 0.7 * float(np.linalg.norm(a) * np.linalg.norm(b)) and relative < 3e-3
    if noise:
        exact = (c.analytic == c.analytic.astype(np.float32)).all()
        like = "float32" if relative < 1e-6 else "float16"
        of = "its values are float32's" if exact else f"as if something were computed in {like}, or by subtracting"
        return Diagnosis(
            "precision",
            f"the gradient is off by about {relative:.1e}, without a pattern that stays when the point moves: the "
            f"formula is right, the arithmetic is not ({of}{'' if exact else ' large numbers from each other'})",
        )
    return Diagnosis(
        "small",
        f"the gradient is off by about {relative:.1e} everywhere, in a smooth way: look for an ε that only one of "
        "forward and backward has, a rounded constant or a clipped value",
    )


def _unknown(c: Comparison) -> Diagnosis:
    where = extent(c)
    known = c.wrong & c.measured
    with np.errstate(all="ignore"):
        ratio = (c.analytic / c.numeric)[known]
    ratio = ratio[np.isfinite(ratio)]
    share = float(c.wrong[telling(c) | c.wrong].mean()) if c.wrong.any() else 0.0
    text = f"the gradient is wrong {where.text or 'in its one element'}"
    text += f" ({share:.0%} of those that are not 0)" if where.kind == "scattered" else ""
    if ratio.size > 1:
        spread = f"between {ratio.min():.3g} and {ratio.max():.3g} (median {np.median(ratio):.3g})"
        text += f"; gradient / derivative lies {spread}"
    elif ratio.size:
        text += f"; gradient / derivative is {ratio[0]:.6g}"
    text += ": no simple mistake explains it; look for a path through which the loss depends on this array and that"
    return Diagnosis("unknown", f"{text} backward does not follow")


# -- constants ---------------------------------------------------------------------------------------------------------


def guess(factor: float, hints: Hints) -> str:
    """What a factor may come from, as the end of a sentence."""
    if hints.batch:
        for value, said in (
            (hints.batch, f", and {hints.batch} is the batch size: the mean over the batch (1/m) is missing"),
            (1 / hints.batch, f", and {hints.batch} is the batch size: it is divided by it once too often"),
        ):
            if _close(factor, value) and hints.batch > 1:
                return said
    name = _named(factor, hints)
    if name:
        return f", which is {name}"
    if _close(factor, 2):
        return ": perhaps the 1/2 of the loss is missing"
    if _close(factor, 0.5):
        return ": perhaps the 2 of a square's derivative is missing"
    return ""


FORMS: tuple[tuple[str, Callable[[float], float]], ...] = (
    ("{}", lambda v: v),
    ("1/{}", lambda v: 1 / v),
    ("2·{}", lambda v: 2 * v),
    ("{}/2", lambda v: v / 2),
    ("1 − {}", lambda v: 1 - v),
    ("1/(1 − {})", lambda v: 1 / (1 - v)),
    ("√{}", lambda v: abs(v) ** 0.5),
    ("1/√{}", lambda v: abs(v) ** -0.5),
)


def _named(value: float, hints: Hints) -> str:
    """What a number may be: one that the functions hold, in one of these forms, or the ratio of two lengths."""
    numbers = [(name, v) for name, v in hints.numbers if np.isfinite(v) and abs(v) not in (0.0, 1.0)]
    for form, f in FORMS:
        names = [form.format(name) for name, v in numbers if _close(value, f(v))]
        if names:
            return " or ".join(list(dict.fromkeys(names))[:2])
    for (a, m), (b, k) in product(numbers[:30], repeat=2):
        if m > 1 and k > 1 and m == int(m) and k == int(k) and m != k and _close(value, m / k):
            return f"{a} / {b}"
    return ""


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-6 * abs(b)
