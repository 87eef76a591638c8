"""Dependencies of y on x, and the paths of its gradients: finds those that are left out or lead elsewhere.

Dependencies are a boolean array with the axes of x (or of a parameter), then of y, for the claimed and the true map."""

from __future__ import annotations

from itertools import product

import numpy as np

from nnfunc.arrays import Array
from nnfunc.checks.diagnosis import Diagnosis
from nnfunc.checks.numeric import Mask
from nnfunc.checks.pattern import ranges, slices


def left_out(claimed: Mask, true: Mask, x_ndim: int) -> Diagnosis | None:
    """A common pattern of missing dependencies: time steps, or overlapping windows."""
    return _in_time(claimed, true, x_ndim) or _overwritten(claimed, true, x_ndim)


def _in_time(claimed: Mask, true: Mask, x_ndim: int) -> Diagnosis | None:
    """The gradient is not passed on from some time step to the next, in either direction."""
    for i, j in product(range(x_ndim), range(x_ndim, true.ndim)):
        steps = true.shape[i]
        if not steps == true.shape[j] > 2:
            continue
        c, t = (np.moveaxis(m, (i, j), (0, 1)).reshape(steps, steps, -1) for m in (claimed, true))
        exists, intact = np.asarray(t.any(axis=2)), np.asarray((c == t).all(axis=2))
        lost = exists & ~np.asarray(c.any(axis=2))
        for way in (exists, exists.T):
            backwards = way is exists
            if np.tril(way, -1).any() or not np.triu(way, 1).any() or not (lost | intact).all():
                continue
            gone = lost if backwards else lost.T
            cuts = [k for k in range(1, steps) if way[:k, k:].any() and gone[:k, k:][way[:k, k:]].all()]
            by_cuts = np.zeros_like(gone)
            for k in cuts:
                by_cuts[:k, k:] = way[:k, k:]
            if not cuts or (by_cuts != gone).any():
                continue
            what, side = ("later", "before") if backwards else ("earlier", "after")
            if len(cuts) == steps - 1:
                text = f"each step along axis {i} is treated separately: no gradient is passed back from {what} steps"
            else:
                at = ranges(k if backwards else k - 1 for k in cuts)
                text = (
                    f"the gradient is not passed back in time along axis {i}: the contribution of step {at} and {what}"
                )
                text += f" ones to the steps {side} it is missing"
            return Diagnosis("missing-term", f"{text} (the carried gradient is dropped, or set to 0)")
    return None


def _overwritten(claimed: Mask, true: Mask, x_ndim: int) -> Diagnosis | None:
    """Only one of the several places where each element is used is kept."""
    for channels in (None, *range(x_ndim, true.ndim)):
        c, t = (m if channels is None else m.any(axis=channels) for m in (claimed, true))
        c, t = (m.reshape(int(np.prod(m.shape[:x_ndim], dtype=int)), -1) for m in (c, t))
        counts = t.sum(axis=1)
        if (c & ~t).any() or len(set(counts[counts > 0].tolist())) < 2:
            continue
        if (c.sum(axis=1) == np.minimum(counts, 1)).all():
            text = "only one of the places where an element is used counts (overlapping windows, repeated indices)"
            return Diagnosis("missing-sum", f"{text}: its gradient is overwritten by `=` and should be added by `+=`")
    return None


def ignored(lost: Mask) -> str:
    """The ignored elements of dy, if they are whole slices: "columns 4–7 of dy"."""
    for axis in range(lost.ndim):
        others = tuple(i for i in range(lost.ndim) if i != axis)
        which = np.flatnonzero(lost.all(axis=others))
        if lost.ndim > 1 and len(which) and lost.sum() == len(which) * (lost.size // lost.shape[axis]):
            place = slices(axis, lost.ndim, which)
            return f"{place} of dy" if lost.ndim == 2 else f"dy{place}"
    return ""


def elsewhere(claimed: Mask, true: Mask, x_ndim: int) -> Diagnosis | None:
    """Each element of dy contributes to as many elements as it should, in the same pattern, but to the wrong ones."""
    x_shape, y_shape = true.shape[:x_ndim], true.shape[x_ndim:]
    c, t = (m.reshape(int(np.prod(x_shape, dtype=int)), -1) for m in (claimed, true))
    if (c.sum(axis=0) != t.sum(axis=0)).any() or (c == t).all() or not t.any():
        return None
    wrong = (c != t).any(axis=0)
    for axis in range(x_ndim):
        if np.array_equal(np.flip(claimed, axis).reshape(c.shape)[:, wrong], t[:, wrong]):
            part = "dy" if wrong.all() else f"{int(wrong.sum())} of {wrong.size} elements of dy"
            return Diagnosis(
                "flip", f"the contribution of {part} is reversed along axis {axis}: it is not flipped back"
            )
    moved: list[tuple[int, Array]] = []
    for k in np.flatnonzero(wrong):
        own, right = (np.argwhere(m[:, k].reshape(x_shape)) for m in (c, t))
        by = own[0] - right[0]
        if (own - by != right).any():
            return None
        moved.append((int(k), by))
    furthest, by = max(moved, key=lambda m: float(np.abs(m[1]).sum()))
    gets, should = (_box(m[:, furthest].reshape(x_shape)) for m in (c, t))
    at = [int(n) for n in np.unravel_index(furthest, y_shape)]
    axes = [f"{int(n):+d} along axis {a}" for a, n in enumerate(by) if n]
    return Diagnosis(
        "shift",
        f"y{at} depends on elements {should}, but its gradient is added to {gets}: shifted by {', '.join(axes)}, the "
        "largest shift of all elements of dy; a stride, an offset or an index is wrong",
    )


def _box(mask: Mask) -> str:
    """The location of the true elements of a mask, as ranges along its axes."""
    return f"[{', '.join(ranges(np.unique(own)) for own in np.nonzero(mask))}]"
