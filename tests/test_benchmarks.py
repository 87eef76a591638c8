"""The benchmark: that it asks for equal work and repeats disturbed turns. No time is asserted."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

import pytest

from tests.benchmarks import peers, timing
from tests.benchmarks.__main__ import main
from tests.benchmarks.networks import TINY
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
