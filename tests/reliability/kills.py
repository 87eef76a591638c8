"""Kills a process that saves in a loop, N times at random moments, and counts the files that are lost by it.

    python -m tests.reliability kills 100

The child saves two states in turn to one path. Whenever it is killed, the file must load and be one of the two. How
often a temporary file was left behind says how many kills came in the middle of a save.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path

import nnfunc as nn


def states() -> list[nn.TrainState]:
    """Two states of the same 100,000 numbers and more, large enough for a kill to come while they are written."""
    model = nn.mlp([100, 300, 10], ["relu", "softmax"])
    return [nn.train_state(model, nn.adam(), nn.key(i), (100,)) for i in range(2)]


def kill(path: Path, rng: random.Random) -> bool:
    """Kills a child that saves to `path`; says whether it was in the middle of a save."""
    before = set(path.parent.glob("*.tmp"))
    command = [sys.executable, "-c", f"from tests.reliability import kills; kills.save_for_ever({str(path)!r})"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(rng.uniform(0, 0.05))
        child.kill()
    return bool(set(path.parent.glob("*.tmp")) - before)


def save_for_ever(path: str) -> None:
    """What the child does."""
    for i, ts in enumerate(cycle(states())):
        nn.save(path, ts)
        if i == 1:
            print("saving", flush=True)


def lost(path: Path) -> str:
    """What is wrong with the file; empty if it is one of the two states."""
    try:
        return "" if nn.load(path).state in states() else f"{path} is neither of the two states"
    except (ValueError, OSError) as error:
        return str(error)


def run(count: int) -> tuple[str, list[str]]:
    rng, said, failures = random.Random(0), [], []
    for suffix in (".npz", ".safetensors"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"run{suffix}"
            results = [(kill(path, rng), lost(path)) for _ in range(count)]
            nn.save(path, states()[0])
            if len(left := list(Path(folder).iterdir())) > 1:
                failures.append(f"{suffix}: the next save left {[p.name for p in left]}")
        failures += [message for _, message in results if message]
        said.append(f"{suffix}: {count} kills, {sum(within for within, _ in results)} of them in the middle of a save")
    return "; ".join(said), failures
