"""Times nnfunc and its peers.

    python -m tests.benchmarks                       all parts
    python -m tests.benchmarks steps predict --quick few rounds, without the wide network and torch.compile
    python -m tests.benchmarks predict --threads 1 2 in fresh processes, of one thread and of two

Peers that are not installed are named and left out: `pip install ".[bench]"` installs all. Results go to results.json
and results.md in the folder --out; with --threads into one folder within it for each number.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from tests.benchmarks import peers
from tests.benchmarks.networks import TASKS, WIDE
from tests.benchmarks.report import Options, Table, write

PARTS = (
    "steps",
    "profile",
    "regularised",
    "layers",
    "larger",
    "composed",
    "predict",
    "stacks",
    "optimizers",
    "checks",
    "processes",
    "imports",
    "growth",
    "detection",
    "distributed",
    "regression",
)
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NPROC",
)
"""What says how many threads there are, to be set before a library is loaded; JAX reads the last."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m tests.benchmarks", description="Times nnfunc and its peers.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all if none is named")
    parser.add_argument("--rounds", type=int, help="turns of each contestant (7)")
    parser.add_argument("--quick", action="store_true", help="2 short turns, no wide network, no torch.compile")
    parser.add_argument("--tasks", nargs="+", choices=[task.name for task in TASKS], help="only these networks")
    parser.add_argument("--peers", nargs="+", choices=list(peers.PACKAGES), help="only these contestants")
    parser.add_argument("--mnist", type=Path, help=".npz with x_train, y_train, x_test, y_test, for `processes`")
    parser.add_argument("--threads", nargs="+", type=int, help="of BLAS and the peers, each number in a fresh process")
    parser.add_argument("--store", action="store_true", help="`regression`: store its figures, instead of comparing")
    parser.add_argument("--out", type=Path, default=Path("benchmark-results"), help="folder (benchmark-results)")
    given = parser.parse_args(arguments)
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no part {', '.join(unknown)}: expected {', '.join(PARTS)}")
    if given.threads and [os.environ.get(name) for name in THREADS] != [str(given.threads[0])] * len(THREADS):
        sys.exit(with_threads(given.threads, sys.argv[1:] if arguments is None else arguments, given.out))
    for what in peers.missing(given.peers):
        print(f"left out: {what}", flush=True)
    options = Options(
        rounds=given.rounds or (2 if given.quick else 7),
        seconds=0.05 if given.quick else 0.2,
        quick=given.quick,
        tasks=given.tasks or [task.name for task in TASKS if not given.quick or task != WIDE],
        peers=given.peers or [name for name in peers.PACKAGES if not given.quick or name != "torch_compiled"],
        mnist=given.mnist,
        out=given.out,
        store=given.store,
    )
    tables: dict[str, list[Table]] = {}
    for part in given.parts or PARTS:
        tables[part] = []
        for table in import_module(f"tests.benchmarks.parts.{part}").run(options):
            print(table.markdown(), flush=True)
            tables[part].append(table)
            write(options, tables)


def with_threads(numbers: Sequence[int], arguments: Sequence[str], out: Path) -> int:
    """Runs the command with each number of threads, in a process of its own; the largest status."""
    statuses = []
    for n in numbers:
        own = ["--threads", str(n), "--out", str(out / f"threads-{n}")]  # of an option given twice the last one counts
        command = [sys.executable, "-m", "tests.benchmarks", *arguments, *own]
        print(f"# Threads: {n}\n", flush=True)
        statuses.append(
            subprocess.run(command, env=os.environ | dict.fromkeys(THREADS, str(n)), check=False).returncode
        )
    return max(statuses)


if __name__ == "__main__":
    main()
