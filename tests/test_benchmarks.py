"""The benchmark: that it asks for equal work and repeats disturbed turns. No time is asserted."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnfunc as nn
from tests.benchmarks import peers, timing
from tests.benchmarks.__main__ import main
from tests.benchmarks.networks import TINY
from tests.benchmarks.parts import composed, regression
from tests.benchmarks.parts.regression import Figure
from tests.benchmarks.peers import numpy_loops
from tests.benchmarks.timing import Clock, Contestant, equal_work, measure


def test_results_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "PAUSE", 0.0)
    chosen = ["ours", "numpy_loops", "sklearn_peer"]
    main(["steps", "--quick", "--tasks", "tiny", "--peers", *chosen, "--out", str(tmp_path)])
    table, summary = json.loads((tmp_path / "results.json").read_text())["parts"]["steps"]
    names = {row["contestant"] for row in table["rows"]}
    assert {"nnfunc", "NumPy, fused by hand", "NumPy, bare matrix products"} <= names
    assert summary["rows"][0]["network"] == TINY.label
    text = (tmp_path / "results.md").read_text()
    assert all(f"| {name} |" in text for name in names)


@pytest.mark.parametrize("make", [composed.two_inputs, lambda rng: composed.head(rng, frozen=True)])
def test_a_formula_is_the_network(make: Callable[[np.random.Generator], composed.Network]) -> None:
    """The losses of 20 steps of a network and of its formula in PyTorch agree, also where a part is frozen."""
    pytest.importorskip("torch")
    network = make(np.random.default_rng(0))
    start = network.model.init(nn.key(0), network.shape)
    equal_work([composed.nnfunc(network, *start), composed.pytorch(network, *start)])


def test_threads_are_set_in_fresh_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each number of threads in a process whose environment says it; the worst status is that of the command."""
    calls: list[tuple[list[str], dict[str, str]]] = []

    def run(command: list[str], env: dict[str, str], check: bool) -> subprocess.CompletedProcess[str]:
        calls.append((command, env))
        return subprocess.CompletedProcess(command, len(calls) - 1)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(SystemExit) as status:
        main(["steps", "--threads", "1", "2", "--out", str(tmp_path)])
    assert status.value.code == 1
    assert [env["OMP_NUM_THREADS"] for _, env in calls] == ["1", "2"]
    assert [command[-4:] for command, _ in calls] == [
        ["--threads", n, "--out", str(tmp_path / f"threads-{n}")] for n in "12"
    ]


def test_absent_peers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(peers.PACKAGES, "mygrad_peer", "no_such_package")
    assert "mygrad_peer (no_such_package is not installed)" in peers.missing()
    assert peers.missing(["ours"]) == []


def test_what_became_slower_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stored figure of a tenth is one that now is slower; the command's status says so."""
    monkeypatch.setattr(timing, "PAUSE", 0.0)
    monkeypatch.setattr(regression, "STORED", tmp_path / "speed.json")
    command = ["regression", "--quick", "--tasks", "tiny", "--out", str(tmp_path)]
    main([*command, "--store"])
    kept = json.loads(regression.STORED.read_text())
    kept["figures"] = {k: [10 * n for n in v] for k, v in kept["figures"].items()}
    kept["figures"]["predict 1 row, tiny"] = [0.01, 0.01, 0.01]
    regression.STORED.write_text(json.dumps(kept))
    with pytest.raises(SystemExit, match=r"slower than at the last release: predict 1 row, tiny$"):
        main(command)
    found = json.loads((tmp_path / "results.json").read_text())["parts"]["regression"][0]["rows"]
    assert [row["what"] for row in found if row["finding"]] == ["predict 1 row, tiny"]


@pytest.mark.parametrize(
    ("now", "then", "slow"),
    [
        ((1.2, 1.3, 1.4), (0.9, 1.0, 1.1), True),
        ((1.1, 1.2, 1.3), (0.9, 1.0, 1.05), False),  # by 20 %
        ((1.0, 1.3, 1.4), (0.9, 1.0, 1.1), False),  # within the spread
        ((0.6, 0.7, 0.8), (0.9, 1.0, 1.1), False),
    ],
)
def test_slower_is_by_more_than_a_quarter_and_than_the_spread(now: Any, then: Any, slow: bool) -> None:
    assert bool(regression.slower({"step": Figure(*now)}, {"step": Figure(*then)})) == slow


def test_other_work_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    contestants = peers.contestants("steps", TINY, ["ours", "numpy_loops"])
    monkeypatch.setattr(numpy_loops, "LEARNING_RATE", 2e-3)
    with pytest.raises(AssertionError, match="fused by hand does not do equal work"):
        equal_work(contestants)


def test_disturbed_turns_are_repeated() -> None:
    seconds = count()
    others = iter([0, 50, 50, 50])  # processor seconds of the machine before and after two turns
    clock = Clock(wall=lambda: next(seconds), own=lambda: 0.0, machine=lambda: next(others), sleep=lambda _: None)
    [times] = measure([Contestant("idle", lambda: 0.0)], rounds=1, seconds=1, clock=clock)
    assert (times.repeated, times.disturbed, times.turns[0].others) == (1, 0, 0.0)


def test_a_turn_that_stays_disturbed_is_counted() -> None:
    seconds, busy = count(), count(step=50)
    clock = Clock(wall=lambda: next(seconds), own=lambda: 0.0, machine=lambda: next(busy), sleep=lambda _: None)
    [times] = measure([Contestant("idle", lambda: 0.0)], rounds=1, seconds=1, clock=clock)
    assert (times.repeated, times.disturbed) == (3, 1)
