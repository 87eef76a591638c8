"""What the laboratory found: immutable, printed as a table of at most 80 columns, shown as a table in notebooks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nnfunc.arrays import Array
from nnfunc._internal.text import html_table, paragraphs, text_table

KINDS = (
    "sign", "scale", "transpose", "flip", "shift", "axis", "missing-sum", "missing-term", "zero", "penalty", "mask",
    "sparse", "small", "precision", "nondeterministic", "mutation", "stale", "shape", "nonfinite", "unknown",
)  # fmt: skip
"""The words of `Finding.kind`.

>>> from nnfunc.checks.report import KINDS
>>> len(KINDS)
20
"""


class Finding(NamedTuple):
    """One mistake.

    Attributes:
        where: the layer ("dense2", "residual1.dense1", "loss"), or "" where there are no layers, "x" for the inputs.
        name: the array whose gradient is wrong: a parameter's name, "dx" for a layer's input, "dy" for a loss's; "" if
            it is no single one.
        kind: what is wrong, one of `KINDS`; in an `Inspection` one of `nnfunc.inspection.KINDS`.
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


class Row(NamedTuple):
    """One line of the table: an array, the largest relative error found in it, and the verdict."""

    where: str
    name: str
    shape: tuple[int, ...]
    worst: float
    verdict: str


class Report(NamedTuple):
    """The result of a check.

    Attributes:
        findings: the mistakes, the guilty ones only; () if there are none.
        rows: every array that was looked at, with its verdict.
        evaluations: how many times the function was evaluated.
        seconds: how long it took.

    >>> report = nn.check_gradients(lambda p: np.sum(p["w"] ** 2), lambda p: {"w": 2 * p["w"]}, {"w": np.ones((2, 3))})
    >>> report.ok
    True
    >>> print(report.table())
    array  shape   worst error  verdict
    -----------------------------------
    w      (2, 3)      0.0e+00  right
    """

    findings: tuple[Finding, ...]
    rows: tuple[Row, ...]
    evaluations: int
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether nothing wrong was found; what is undecided is in the rows."""
        return not self.findings

    def assert_ok(self) -> None:
        """Raises AssertionError, with the printed report, if something wrong was found."""
        __tracebackhide__ = True
        if not self.ok:
            raise AssertionError(f"wrong gradients\n{self}")

    def table(self) -> str:
        """Every array with its worst relative error and the verdict."""
        head, cells = self._cells()
        return text_table(head, cells, right=[len(head) - 2])

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        layered = slice(0 if any(row.where for row in self.rows) else 1, None)
        rows = [
            [row.where, row.name, str(row.shape), "" if np.isnan(row.worst) else f"{row.worst:.1e}", row.verdict]
            for row in self.rows
        ]
        return ["layer", "array", "shape", "worst error", "verdict"][layered], [cells[layered] for cells in rows]

    def text(self) -> str:
        """The table and what the findings say, which is the same at each run."""
        return "\n\n".join([self.table(), *paragraphs(f.message for f in self.findings)])

    def __str__(self) -> str:
        return f"{self.text()}\n\n{self._summary()}"

    def _summary(self) -> str:
        n = len(self.findings)
        undecided = sum("undecided" in row.verdict for row in self.rows)
        verdict = "all right" if not undecided else "nothing wrong found"
        more = f", {undecided} of {len(self.rows)} arrays not decided everywhere" if undecided else ""
        verdict = verdict if self.ok else f"{n} wrong"
        return f"{verdict}{more}: {self.evaluations:,} evaluations, {self.seconds:.2f} s"

    def _repr_html_(self) -> str:
        wrong = {(f.where, f.name) for f in self.findings}
        marked = [i for i, row in enumerate(self.rows) if (row.where, row.name) in wrong]
        return html_table(*self._cells(), marked, [f.message for f in self.findings], self._summary())


def label(where: str, name: str) -> str:
    """How messages call an array: "dense2.W", "W", "dense2"."""
    return ".".join(part for part in (where, name) if part)
