"""The time of nnfunc's step by size of network and batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from tests.benchmarks.networks import Task
from tests.benchmarks.peers import ours
from tests.benchmarks.report import Cell, Options, Table
from tests.benchmarks.timing import Times, measure

if TYPE_CHECKING:
    from pathlib import Path

SWEEPS = {
    "width": [(w, Task("", (64, w, w, 10), 64)) for w in (8, 16, 32, 64, 128, 256, 512, 1024)],
    "hidden layers": [(d, Task("", (64, *[64] * d, 10), 64)) for d in (1, 2, 4, 8, 16, 32)],
    "batch": [(b, Task("", (64, 64, 32, 10), b)) for b in (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)],
    "parameters": [
        (task.size, task) for task in (Task("", (2 * w, w, w, 10), 32) for w in (8, 16, 32, 64, 128, 256, 512, 1024))
    ],
}
"""What grows: its values, and the network and batch of each."""

NOTE = (
    "Exponent: the slope of log time over log size in the upper half of the sweep, by least squares. Width: 64-w-w-10, "
    "batch 64. Hidden layers: of 64 units, batch 64. Batch: 64-64-32-10. Parameters: 2w-w-w-10, batch 32."
)


def run(options: Options) -> Iterator[Table]:
    measured: dict[str, tuple[list[int], list[Times]]] = {}
    rows: list[dict[str, Cell]] = []
    for name, sweep in SWEEPS.items():
        sweep = sweep[:-2] if options.quick else sweep
        sizes = [size for size, _ in sweep]
        contestants = [ours.trained(task, task.start()) for _, task in sweep]
        measured[name] = sizes, measure(contestants, options.rounds, options.seconds / 2)
        medians = [t.median * 1e6 for t in measured[name][1]]
        ends: dict[str, Cell] = {"from": sizes[0], "to": sizes[-1], "first, µs": medians[0], "last, µs": medians[-1]}
        slope = exponent(sizes, medians)
        rows.append({"what grows": name, **ends, "exponent": slope, "sizes": sizes, "medians": medians})
    if find_spec("matplotlib"):
        options.out.mkdir(parents=True, exist_ok=True)
        draw(measured, options.out / "growth.png")
    yield Table("Growth of nnfunc's step", rows, NOTE)


def exponent(sizes: Sequence[int], times: Sequence[float]) -> float:
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half:]), np.log(times[half:]), 1)[0])


def draw(measured: dict[str, tuple[list[int], list[Times]]], file: Path) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    figure = Figure(figsize=(12, 3.2), layout="constrained")
    for ax, (name, (sizes, times)) in zip(
        figure.subplots(1, len(measured), sharey=True), measured.items(), strict=True
    ):
        medians = np.array([t.median * 1e6 for t in times])
        spread = [medians - [min(t.seconds) * 1e6 for t in times], [max(t.seconds) * 1e6 for t in times] - medians]
        ax.errorbar(sizes, medians, spread, marker="o", markersize=3, capsize=2)
        ax.set(
            xscale="log", yscale="log", xlabel=LABELS[name], title=f"exponent {exponent(sizes, medians.tolist()):.2f}"
        )
        ax.xaxis.set_minor_formatter(NullFormatter())  # its numbers overlap
        ax.grid(alpha=0.3)
    figure.axes[0].set_ylabel("time of a step (µs)")
    figure.savefig(file, dpi=150)


LABELS = {
    "width": "units of each hidden layer",
    "hidden layers": "hidden layers of 64 units",
    "batch": "examples in the batch",
    "parameters": "parameters",
}
