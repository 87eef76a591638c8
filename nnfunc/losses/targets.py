"""Target checks, with errors that report what was passed, what was expected and the likely cause."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from nnfunc._internal.validate import first_bad, floating, numeric, positive_int, real
from nnfunc.arrays import Array

Targets: TypeAlias = Literal["outputs", "bits", "one-hot", "classes", "pairs", "nothing", "labels"]

# Each takes outputs y, a target, and the number of axes before those of one example (1, in a stack 2), and returns an
# array of y's shape and dtype.


def same_outputs(y: Array, target: ArrayLike, lead: int = 1) -> Array:
    """Returns the target in y's dtype; for a single output (examples, ...) is accepted."""
    T = real(target, "target", y.dtype)
    if T.shape == y.shape:
        return T
    if T.shape == y.shape[:-1] and y.shape[-1] == 1:
        return T[..., None]
    raise ValueError(
        f"target has shape {T.shape[lead - 1 :]} but the outputs have shape {y.shape[lead - 1 :]}"
        f"{_length_or_kind(T.shape[lead - 1 :], y.shape[lead - 1 :])}"
    )


def _length_or_kind(target: tuple[int, ...], y: tuple[int, ...]) -> str:
    if target and target[0] != y[0]:
        return f": {target[0]} targets for {y[0]} examples; X and Y must have the same length"
    if len(target) == 1 or (len(target) == 2 and target[-1] == 1):
        return (
            f": expected one column for each of the {y[-1]} outputs. For class indices use "
            f"sparse_categorical_cross_entropy, or nn.one_hot(target, {y[-1]})"
        )
    return ": expected one column per output"


def bits(y: Array, target: ArrayLike, lead: int = 1) -> Array:
    """Targets in [0, 1]."""
    known = type(target) is np.ndarray and target.dtype == y.dtype and target.shape == y.shape
    T: Array = target if known else same_outputs(y, target, lead)  # type: ignore[assignment]  # an array if known
    if not (np.minimum.reduce(T, axis=None) >= 0 and np.maximum.reduce(T, axis=None) <= 1):
        bad = ~((T >= 0) & (T <= 1))
        raise ValueError(f"target contains {first_bad(T, bad)}, expected labels of 0 and 1 (or probabilities)")
    return T


def one_hot_rows(y: Array, target: ArrayLike, lead: int = 1) -> Array:
    """Targets in [0, 1] that sum to 1 in each row."""
    T = bits(y, target, lead)
    sums = np.add.reduce(T, axis=-1)
    if not (np.abs(sums - 1) <= 1e-3).all():
        bad = ~(np.abs(sums - 1) <= 1e-3)
        raise ValueError(
            f"a row of target sums to {first_bad(sums, bad)}, expected 1: one class per example. For several "
            "classes at once use sigmoid outputs and binary_cross_entropy"
        )
    return T


def class_numbers(y: Array, target: ArrayLike, lead: int = 1) -> Array:
    """Converts class indices to one-hot rows."""
    T = numeric(target, "target")
    came, outputs = T.shape[lead - 1 :], y.shape[lead - 1 :]
    if T.shape == y.shape and T.ndim > lead:
        raise ValueError(
            f"target has shape {came}, expected class indices of shape {came[:-1]}: for one-hot rows use "
            "categorical_cross_entropy, or pass target.argmax(axis=-1)"
        )
    if T.shape != y.shape[:-1]:
        cause = ": pass target[:, 0]" if came == (*outputs[:-1], 1) else ": X and Y must have the same length"
        raise ValueError(f"target has shape {came}, expected one class index per example of y {outputs}{cause}")
    if T.dtype.kind == "f":
        raise ValueError(f"target has dtype {T.dtype}, expected integers: pass target.astype(int)")
    return one_hot_of(T, y.shape[-1], y.dtype)


FEW_CLASSES = 256
"""The number of classes up to which one-hot rows are cached in a table."""


def one_hot_of(T: np.ndarray[tuple[int, ...], np.dtype[np.integer]], classes: int, dtype: DTypeLike) -> Array:
    """Converts class indices to one-hot rows, with a range check."""
    unsigned = T.view(T.dtype.str.replace("i", "u")) if T.dtype.kind == "i" else T  # negative values become huge
    if T.size and np.maximum.reduce(unsigned, axis=None) >= classes:
        bad = (T < 0) | (classes <= T)
        raise ValueError(f"target contains {first_bad(T, bad)}, expected class indices from 0 to {classes - 1}")
    if classes <= FEW_CLASSES:
        taken: Array = _unit_rows(classes, np.dtype(dtype)).take(T, axis=0)
        return taken
    rows: Array = (T[..., None] == np.arange(classes)).astype(dtype)
    return rows


@lru_cache(maxsize=16)
def _unit_rows(classes: int, dtype: np.dtype[np.floating]) -> Array:
    return np.eye(classes, dtype=dtype)


def one_hot(target: ArrayLike, classes: int, dtype: type[np.floating] = np.float32) -> Array:
    """Converts class indices (...) to rows (..., classes) with a 1 at the class.

    Raises:
        ValueError: an index outside 0 ... classes − 1, or values that are not integers.

    >>> nn.one_hot([2, 0], 3)
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """
    T = numeric(target, "target")
    return class_numbers(np.empty((*T.shape, positive_int(classes, "classes")), floating(dtype)), T, 0)


def pairs(y: Array, target: ArrayLike, lead: int = 1) -> Array:
    """Targets in [0, 1], one per example, as a column."""
    return bits(y[..., :1], target, lead)


def nothing(y: Array, target: ArrayLike, lead: int = 1) -> Array:
    """A target that is ignored."""
    return y[..., :1]


def labels(y: Array, target: Any, lead: int = 1) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Sequences of class indices (examples, L), padded with negative values, optionally in a tuple with the sequence
    lengths in y (examples,); returns both."""
    numbers, lengths = target if isinstance(target, tuple) and len(target) == 2 else (target, None)
    L, positions = numeric(numbers, "target"), y.shape[-2]
    came = L.shape[lead - 1 :]
    if L.ndim != lead + 1 or L.shape[:lead] != y.shape[:lead] or L.dtype.kind not in "iu":
        raise ValueError(
            f"target has shape {came} and dtype {L.dtype}, expected integers ({y.shape[lead - 1]}, longest): the "
            "labels of each example, padded with −1"
        )
    bad = y.shape[-1] <= L
    bad[..., 1:] |= (L[..., 1:] >= 0) & (L[..., :-1] < 0)
    if bad.any():
        raise ValueError(
            f"target contains {first_bad(L, bad)}, expected class indices from 0 to {y.shape[-1] - 1}, and −1 only "
            "after the last label"
        )
    there = np.full(y.shape[:lead], positions) if lengths is None else numeric(lengths, "the target's lengths")
    if there.shape != y.shape[:lead] or there.dtype.kind not in "iu" or ((there < 1) | (there > positions)).any():
        raise ValueError(
            f"the target's lengths have shape {there.shape[lead - 1 :]}, expected one integer per example, "
            f"from 1 to the {positions} positions of y"
        )
    return L, there


ACCEPTS: dict[str, Callable[[Array, Any, int], Any]] = {
    "outputs": same_outputs,
    "bits": bits,
    "one-hot": one_hot_rows,
    "classes": class_numbers,
    "pairs": pairs,
    "nothing": nothing,
    "labels": labels,
}
"""The check of each kind of target in `Loss.targets`."""
