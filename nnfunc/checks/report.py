"""The report of a check: immutable, printed as text of at most 80 columns, shown as an HTML table in notebooks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nnfunc._internal.text import html_table, paragraphs, text_table
from nnfunc.report import Finding

KINDS = (
    "sign", "scale", "transpose", "flip", "shift", "axis", "missing-sum", "missing-term", "zero", "penalty", "mask",
    "sparse", "small", "precision", "nondeterministic", "mutation", "stale", "shape", "nonfinite", "unknown",
)  # fmt: skip
"""The possible values of `Finding.kind` in a report.

>>> from nnfunc.checks.report import KINDS
>>> len(KINDS)
20
"""


class Row(NamedTuple):
    """A row of the table: an array, its largest relative error, and the verdict."""

    where: str
    name: str
    shape: tuple[int, ...]
    worst: float
    verdict: str


class Report(NamedTuple):
    """The result of a check.

    Attributes:
        findings: the mistakes, without their consequences; () if there are none.
        rows: every array, with its verdict.
        evaluations: the number of function evaluations.
        seconds: the run time.
        notes: remarks that are not mistakes: what was ignored, is intended, or cannot be detected.

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
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether no mistake was found; undecided arrays are shown in the rows."""
        return not self.findings

    def assert_ok(self) -> None:
        """Raises AssertionError with the printed report if there are findings."""
        __tracebackhide__ = True
        if not self.ok:
            raise AssertionError(f"wrong gradients\n{self}")

    def table(self) -> str:
        """Returns the table of all arrays, with the worst relative error and the verdict."""
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
        """Returns the table, the messages and the notes, which are the same at each run."""
        notes = [f"Note: {note}." for note in self.notes]
        return "\n\n".join([self.table(), *paragraphs([*(f.message for f in self.findings), *notes])])

    def __str__(self) -> str:
        return f"{self.text()}\n\n{self._summary()}"

    def _summary(self) -> str:
        n = len(self.findings)
        undecided = sum("undecided" in row.verdict for row in self.rows)
        verdict = "all right" if not undecided else "no mistake found"
        more = f", {undecided} of {len(self.rows)} arrays partly undecided" if undecided else ""
        verdict = verdict if self.ok else f"{n} wrong"
        return f"{verdict}{more}: {self.evaluations:,} evaluations, {self.seconds:.2f} s"

    def _repr_html_(self) -> str:
        wrong = {(f.where, f.name) for f in self.findings}
        marked = [i for i, row in enumerate(self.rows) if (row.where, row.name) in wrong]
        return html_table(*self._cells(), marked, [*(f.message for f in self.findings), *self.notes], self._summary())


def label(where: str, name: str) -> str:
    """The name of an array in messages: "dense2.W", "W", "dense2"."""
    return ".".join(part for part in (where, name) if part)


__all__ = ["KINDS", "Finding", "Report", "Row", "label"]
