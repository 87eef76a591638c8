"""Tables, as Markdown to read and as JSON to compute with."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, TypeAlias

from tests.benchmarks import peers

Cell: TypeAlias = "str | int | float | Sequence[float] | None"
"""None is unknown; a list of numbers is only in the JSON."""


class Options(NamedTuple):
    """What the command line says; `peers` are files of tests/benchmarks/peers, `tasks` names of networks; `store` is
    whether the figures of `regression` become those to compare with."""

    rounds: int
    seconds: float
    quick: bool
    tasks: Sequence[str]
    peers: Sequence[str]
    mnist: Path | None
    out: Path
    store: bool = False


class Table(NamedTuple):
    """Rows with the same columns."""

    title: str
    rows: Sequence[Mapping[str, Cell]]
    note: str = ""

    def markdown(self) -> str:
        columns = [c for c in self.rows[0] if isinstance(self.rows[0][c], (str, int, float, type(None)))]
        lines = [columns, ["---"] * len(columns), *([shown(row[c]) for c in columns] for row in self.rows)]
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n\n".join(filter(None, [f"## {self.title}", body, self.note])) + "\n"


def shown(cell: Cell) -> str:
    """Three digits of a number, all of a large one before its point."""
    if not isinstance(cell, float):
        return "–" if cell is None else f"{cell:,}" if isinstance(cell, int) else str(cell)
    if cell == 0 or abs(cell) >= 100:
        return f"{cell:,.0f}"
    return f"{cell:.1f}" if abs(cell) >= 10 else f"{cell:.2f}" if abs(cell) >= 0.1 else f"{cell:.2g}"


def machine() -> dict[str, str]:
    """What the numbers depend on besides the code."""
    found = {"processor": platform.processor(), "cores": str(os.cpu_count())}
    info = Path("/proc/cpuinfo")
    if info.exists():  # says more, where there is one
        found["processor"] = info.read_text().partition("model name")[2].partition(": ")[2].partition("\n")[0]
    found["guard"] = "on" if find_spec("psutil") else "off: psutil is missing, no turn is known to be disturbed"
    found |= {"system": platform.platform(), "Python": platform.python_version()}
    names = ["nnfunc", "numpy", "torch", "jax", "optax", "scikit-learn", "mygrad", "autograd", "smallpebble", "psutil"]
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    found["threads"] = os.environ.get("OMP_NUM_THREADS", "as many as the libraries choose")
    return found | {"left out": ", ".join(peers.missing()) or "no contestant"}


def write(options: Options, tables: Mapping[str, Sequence[Table]]) -> None:
    """results.json and results.md with all tables so far."""
    options.out.mkdir(parents=True, exist_ok=True)
    facts = machine() | {"rounds": str(options.rounds), "seconds of a turn": str(options.seconds)}
    parts = {part: [{"title": t.title, "rows": t.rows, "note": t.note} for t in of] for part, of in tables.items()}
    (options.out / "results.json").write_text(json.dumps({"machine": facts, "parts": parts}, indent=1))
    text = ["# Benchmarks\n", "\n".join(f"- {k}: {v}" for k, v in facts.items()) + "\n"]
    text += [table.markdown() for of in tables.values() for table in of]
    (options.out / "results.md").write_text("\n".join(text))
