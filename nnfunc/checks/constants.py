"""The possible origin of a number: the batch size, a constant of the functions, a length, a ratio of lengths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from nnfunc.arrays import Array


class Hints(NamedTuple):
    """The possible origins of a constant in a mistake: (name, value)."""

    numbers: Sequence[tuple[str, float]] = ()
    batch: int | None = None
    arrays: Sequence[tuple[str, Array]] = ()
    """The arrays that the functions use: labels, masks, weights, indices."""


def guess(factor: float, hints: Hints) -> str:
    """The possible origin of a factor, as the end of a sentence."""
    if hints.batch:
        for value, said in (
            (hints.batch, f", and {hints.batch} is the batch size: the mean over the batch (1/m) is missing"),
            (1 / hints.batch, f", and {hints.batch} is the batch size: the gradient is divided by it once too often"),
        ):
            if close(factor, value) and hints.batch > 1:
                return said
    name = named(factor, hints)
    for value, usual in (
        (2, "the factor 1/2 of the loss is missing"),
        (0.5, "the factor 2 from the derivative of a square is missing"),
    ):
        if close(factor, value) and (not name or "length of" in name):  # an axis of length 2 is often a coincidence
            return f": perhaps {usual}" + (f", or it is {name}" if name else "")
    return f", which is {name}" if name else ""


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


def named(value: float, hints: Hints) -> str:
    """The possible origin of a number: a constant of the functions in one of these forms, or a ratio of lengths."""
    numbers = [(name, v) for name, v in hints.numbers if np.isfinite(v) and abs(v) not in (0.0, 1.0)]
    for form, f in FORMS:
        names = [form.format(name) for name, v in numbers if close(value, f(v))]
        if names:
            return " or ".join(list(dict.fromkeys(names))[:2])
    for (a, m), (b, k) in product(numbers[:30], repeat=2):
        if m > 1 and k > 1 and m == int(m) and k == int(k) and m != k and close(value, m / k):
            return f"{a} / {b}"
    return ""


def close(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-6 * abs(b)
