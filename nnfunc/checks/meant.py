"""Gradients that differ from the derivative intentionally: within a tolerance, or for a given reason."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from nnfunc._internal.validate import number
from nnfunc.checks.report import Report


class Meant:
    """The accepted differences, and their reasons.

    Args:
        tolerance: relative to the largest derivative of an array.
        expected: reasons by name; "" for findings that concern no single array.
        names: the names of the arrays, if known.
    """

    def __init__(self, tolerance: float, expected: Mapping[str, str], names: Collection[str] | None) -> None:
        self.tolerance = number(tolerance, "tolerance", 0.0, float("inf"), open_high=True)
        self.expected = {str(k): str(v) for k, v in expected.items()}
        unknown = [k for k in self.expected if names is not None and k and k not in names]
        if unknown:
            raise ValueError(
                f"expected names {unknown[0]!r}, which is not one of the arrays ({', '.join(names or ())})"
            )

    def settled(self, report: Report) -> Report:
        """The report, with accepted differences as notes instead of findings."""
        if not (self.tolerance or self.expected):
            return report
        worst = {(row.where, row.name): row.worst for row in report.rows}
        findings, notes, verdicts = [], list(report.notes), {}
        for f in report.findings:
            known = next((k for k in (f.name, f"{f.where}.{f.name}") if k in self.expected), None)
            if known is not None:
                verdicts[f.where, f.name] = f"as expected: {self.expected[known]}"
                notes.append(f"as expected ({self.expected[known]}): {f.message}")
            elif worst.get((f.where, f.name), float("inf")) <= self.tolerance:
                verdicts[f.where, f.name] = f"within the tolerance of {self.tolerance:g}"
                notes.append(f"within the tolerance of {self.tolerance:g}: {f.message}")
            else:
                findings.append(f)
        rows = [r._replace(verdict=verdicts.get((r.where, r.name), r.verdict)) for r in report.rows]
        same = {r.name for r in rows if r.verdict.startswith("right")} & set(self.expected)
        notes += [f"{k} was expected to differ ({self.expected[k]}), but it is right" for k in sorted(same)]
        return report._replace(findings=tuple(findings), rows=tuple(rows), notes=tuple(notes))
