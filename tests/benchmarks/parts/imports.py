"""Import times in seconds, each in a separate process."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec

from tests.benchmarks.report import Cell, Options, Table
from tests.benchmarks.timing import CHILDREN

MODULES = ("numpy", "nnfunc", "sklearn.neural_network", "jax", "torch")
NOTE = "Medians, in turn; all but numpy import NumPy too."


def run(options: Options) -> Iterator[Table]:
    modules = [m for m in MODULES if find_spec(m.partition(".")[0])]
    runs: dict[str, list[float]] = {m: [] for m in modules}
    for _ in range(options.rounds):
        for module in modules:
            runs[module].append(milliseconds(module))
    median = {m: statistics.median(each) for m, each in runs.items()}
    rows: list[dict[str, Cell]] = []
    for m, each in runs.items():
        spread: dict[str, Cell] = {"median, ms": median[m], "min": min(each), "max": max(each)}
        rows.append({"module": m, **spread, "by numpy": median[m] / median["numpy"]})
    yield Table("Import", rows, NOTE)


def milliseconds(module: str) -> float:
    program = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    command = [sys.executable, "-c", program]
    return 1e3 * float(subprocess.run(command, env=CHILDREN, stdout=subprocess.PIPE, text=True, check=True).stdout)
