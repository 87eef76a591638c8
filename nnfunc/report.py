"""What is wrong, as a value: a finding of the gradient laboratory or of an inspection."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nnfunc.arrays import Array


class Finding(NamedTuple):
    """One mistake.

    Attributes:
        where: the layer ("dense2", "residual1.dense1", "loss"), or "" where there are no layers, "x" for the inputs (of
            several "x[0]").
        name: the array whose gradient is wrong: a parameter's name, "dx" for a layer's input, "dy" for a loss's; "" if
            it is no single one.
        kind: what is wrong, in a word: of `nnfunc.checks.report.KINDS`, in an inspection of `nnfunc.inspection.KINDS`.
        message: what is wrong, in a sentence or two.
        index: the element that is furthest off, () for the whole (0-d arrays, or nothing of a single element).
        analytic: the claimed gradient of that element.
        numeric: its numeric derivative.
        error: |analytic − numeric| / max(|analytic|, |numeric|), of that element.
        fraction: the share of wrong elements in the array, estimated if not all were measured.
        analytic_array, numeric_array: all that is known of the two (NaN where an element was not measured), for plots.

    >>> report = nn.check_gradients(lambda p: p["w"] ** 2, lambda p: {"w": -2 * p["w"]}, {"w": 3.0})
    >>> report.findings[0].kind, report.findings[0].name
    ('sign', 'w')
    """

    where: str
    name: str
    kind: str
    message: str
    index: tuple[int, ...] = ()  # type: ignore[assignment]  # it hides tuple.index, which no one needs
    analytic: float = np.nan
    numeric: float = np.nan
    error: float = np.nan
    fraction: float = np.nan
    analytic_array: Array | None = None
    numeric_array: Array | None = None

    def __str__(self) -> str:
        return self.message
