"""Times nnfunc and its peers.

    python -m tests.benchmarks                       all parts
    python -m tests.benchmarks steps predict --quick few rounds, without the wide network and torch.compile

Peers that are not installed are left out: `pip install ".[bench]"` installs all. Results go to results.json and
results.md in the folder --out.
"""

from __future__ import annotations

import argparse
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
    "predict",
    "stacks",
    "optimizers",
    "processes",
    "imports",
    "growth",
    "detection",
    "distributed",
)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m tests.benchmarks", description="Times nnfunc and its peers.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all if none is named")
    parser.add_argument("--rounds", type=int, help="turns of each contestant (7)")
    parser.add_argument("--quick", action="store_true", help="2 short turns, no wide network, no torch.compile")
    parser.add_argument("--tasks", nargs="+", choices=[task.name for task in TASKS], help="only these networks")
    parser.add_argument("--peers", nargs="+", choices=list(peers.PACKAGES), help="only these contestants")
    parser.add_argument("--mnist", type=Path, help=".npz with x_train, y_train, x_test, y_test, for `processes`")
    parser.add_argument("--out", type=Path, default=Path("benchmark-results"), help="folder (benchmark-results)")
    given = parser.parse_args(arguments)
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no part {', '.join(unknown)}: expected {', '.join(PARTS)}")
    options = Options(
        rounds=given.rounds or (2 if given.quick else 7),
        seconds=0.05 if given.quick else 0.2,
        quick=given.quick,
        tasks=given.tasks or [task.name for task in TASKS if not given.quick or task != WIDE],
        peers=given.peers or [name for name in peers.PACKAGES if not given.quick or name != "torch_compiled"],
        mnist=given.mnist,
        out=given.out,
    )
    tables: dict[str, list[Table]] = {}
    for part in given.parts or PARTS:
        tables[part] = []
        for table in import_module(f"tests.benchmarks.parts.{part}").run(options):
            print(table.markdown(), flush=True)
            tables[part].append(table)
            write(options, tables)


if __name__ == "__main__":
    main()
