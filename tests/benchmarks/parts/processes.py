"""Whole processes: import, load a file, train, evaluate; wall time, its phases, processor time, peak memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.benchmarks import peers
from tests.benchmarks.networks import MNIST, SMALL, Labels, Task
from tests.benchmarks.report import Cell, Options, Table
from tests.benchmarks.timing import CHILDREN, disturbed, machine_seconds, undisturbed

LAUNCH = Path(__file__).parents[1] / "launch.py"
PROGRAMS = {
    "nnfunc": "ours",
    "numpy": "numpy_loops",
    "sklearn": "sklearn_peer",
    "torch": "torch_peer",
    "jax": "jax_peer",
    "nnfunc_cnn": "ours",
    "torch_cnn": "torch_peer",
}
"""The functions of `programs`, and the file of tests/benchmarks/peers that stands for each."""

NOTE = (
    "Medians over the processes, run in turn; each begins with parameters of its own (He, PyTorch and scikit-learn "
    "their defaults). Peak: the largest resident memory. Phases, in seconds: import is that of the library, compiling "
    "is in training; the rest of the wall time is Python's start with NumPy, and the end."
)


CNN = Task("MNIST CNN", (784, 10), 128)
"""Two convolutions of 16 and 32 filters, pooled, and a dense layer."""


class Data(NamedTuple):
    """Rows of whole numbers from 0 to `scale`, and their classes."""

    x: Labels
    y: Labels
    x_test: Labels
    y_test: Labels
    scale: int

    def save(self, file: Path, batch: int) -> None:
        """The training rows are cut to full batches, so that all take the same steps."""
        rows = len(self.x) // batch * batch
        flat, flat_test = self.x.reshape(len(self.x), -1), self.x_test.reshape(len(self.x_test), -1)
        y, y_test = self.y.astype(np.int64), self.y_test.astype(np.int64)
        np.savez(file, x_train=flat[:rows], y_train=y[:rows], x_test=flat_test, y_test=y_test, scale=self.scale)


def run(options: Options) -> Iterator[Table]:
    with tempfile.TemporaryDirectory() as folder:
        for task, epochs in ((SMALL, 50), (MNIST, 5), (CNN, 1)):
            if task.name in options.tasks or (task == CNN and MNIST.name in options.tasks):
                source, data = digits() if task == SMALL else mnist(options.mnist)
                if options.quick:
                    data = data._replace(x=data.x[:10_000], y=data.y[:10_000])
                file = Path(folder) / f"{task.batch}.npz"
                data.save(file, task.batch)
                yield compare(task, source, file, 1 if options.quick else epochs, options)


def compare(task: Task, source: str, file: Path, epochs: int, options: Options) -> Table:
    chosen = [name for name, peer in PROGRAMS.items() if peer in options.peers and peer in peers.available()]
    names = [name for name in chosen if name.endswith("_cnn") == (task == CNN)]
    arguments = [str(file), str(epochs), str(task.batch), *map(str, task.dims)]
    runs: dict[str, list[Run]] = {name: [] for name in names}
    repeated = dict.fromkeys(names, 0)
    for _ in range(options.rounds):
        for name in names:
            done, again = undisturbed(partial(whole_process, name, arguments))
            runs[name].append(done)
            repeated[name] += again
    rows = []
    for name, each in runs.items():
        wall, cpu, peak, accuracy, _, *phases = (
            statistics.median(column) for column in zip(*((*run[:-1], *run.phases) for run in each), strict=True)
        )
        row: dict[str, Cell] = {"program": name, "wall, s": wall}
        row |= {"min": min(run.wall for run in each), "max": max(run.wall for run in each)}
        row |= dict(zip(PHASES, phases, strict=True))
        row |= {"CPU, s": cpu, "peak, MB": peak / 1e6, "accuracy": f"{accuracy:.2%}"}
        row |= {"runs repeated": repeated[name], "still disturbed": sum(map(disturbed, each))}
        rows.append(row | {"runs": [run.wall for run in each], "others": [run.others for run in each]})
    return Table(f"Whole process: {source}, {task.label}, epochs: {epochs}", rows, NOTE)


PHASES = ("import", "data", "training", "evaluation")


class Run(NamedTuple):
    """Seconds, bytes and accuracy of a process, the cores that other processes used meanwhile, seconds of `PHASES`."""

    wall: float
    cpu: float
    peak: float
    accuracy: float
    others: float
    phases: tuple[float, ...]


def whole_process(name: str, arguments: list[str]) -> Run:
    command = [sys.executable, str(LAUNCH), sys.executable, "-m", "tests.benchmarks.programs", name, *arguments]
    machine, own = machine_seconds(), time.process_time()
    done = json.loads(subprocess.run(command, env=CHILDREN, stdout=subprocess.PIPE, text=True, check=True).stdout)
    others = machine_seconds() - machine - (time.process_time() - own) - done["cpu"] - done["launcher"]
    said = json.loads(done["output"])
    phases = tuple(said["seconds"][name] for name in PHASES)
    return Run(done["wall"], done["cpu"], done["peak"], said["accuracy"], max(others, 0.0) / done["wall"], phases)


def digits() -> tuple[str, Data]:
    if find_spec("sklearn") is None:
        return "synthetic digits", synthetic(1437, 360, 64, 16)
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.data))
    x, y = data.data[order].astype(np.uint8), data.target[order]
    return "digits", Data(x[360:], y[360:], x[:360], y[:360], 16)


def mnist(file: Path | None) -> tuple[str, Data]:
    if file is None:
        return "synthetic data of MNIST's size", synthetic(60_000, 10_000, 784, 255)
    with np.load(file) as data:
        return "MNIST", Data(data["x_train"], data["y_train"], data["x_test"], data["y_test"], 255)


def synthetic(rows: int, test_rows: int, features: int, scale: int) -> Data:
    """Ten random patterns under noise."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, rows + test_rows)
    x = rng.integers(0, scale // 2 + 1, (len(y), features), np.uint8)
    x += rng.integers(0, scale // 8 + 1, (10, features), np.uint8)[y]
    return Data(x[:rows], y[:rows], x[rows:], y[rows:], scale)
