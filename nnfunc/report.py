"""A finding of the gradient checks or of an inspection."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nnfunc.arrays import Array


class Finding(NamedTuple):
    """One error that was found.

    Attributes:
        where: the layer ("dense2", "residual1.dense1", "loss"), "" if there are no layers, or "x" for the inputs
            ("x[0]" if there are several).
        name: the array whose gradient is wrong: a parameter's name, "dx" for a layer's input, "dy" for a loss's; "" if
            it is not a single array.
        kind: the kind of error, one of `nnfunc.checks.report.KINDS`, or of `nnfunc.inspection.KINDS` in an inspection.
        message: an explanation in a sentence or two.
        index: the element with the largest error; () for 0-d arrays, or if no single element is meant.
        analytic: the claimed gradient of that element.
        numeric: its numeric derivative.
        error: |analytic − numeric| / max(|analytic|, |numeric|) of that element.
        fraction: the share of wrong elements in the array, estimated if not all were measured.
        analytic_array, numeric_array: both gradients in full (NaN where an element was not measured), for plots.

    >>> report = nn.check_gradients(lambda p: p["w"] ** 2, lambda p: {"w": -2 * p["w"]}, {"w": 3.0})
    >>> report.findings[0].kind, report.findings[0].name
    ('sign', 'w')
    """

    where: str
    name: str
    kind: str
    message: str
    index: tuple[int, ...] = ()  # type: ignore[assignment]  # hides tuple.index, which is not needed
    analytic: float = np.nan
    numeric: float = np.nan
    error: float = np.nan
    fraction: float = np.nan
    analytic_array: Array | None = None
    numeric_array: Array | None = None

    def __str__(self) -> str:
        return self.message
