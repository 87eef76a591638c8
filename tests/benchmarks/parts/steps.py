"""One training step: forward, loss, backward, Adam."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from tests.benchmarks import peers
from tests.benchmarks.networks import TASKS, Task
from tests.benchmarks.report import Cell, Options, Table
from tests.benchmarks.timing import Contestant, Times, equal_work, measure, ratio

NOTE = (
    "All begin with the same parameters and see the same batches; the losses of 20 steps agree to 1e-3. Each call "
    "waits for its loss. First call: with compilation, where something is compiled (torch.compile may find its code "
    "on the disk)."
)


def run(options: Options) -> Iterator[Table]:
    summary: list[Mapping[str, Cell]] = []
    for task in TASKS:
        if task.name in options.tasks:
            contestants = peers.contestants("steps", task, options.peers)
            rows, ratios = compare(task, contestants, options, first=equal_work(contestants))
            summary.append({"network": task.label, **ratios})
            yield Table(f"Training step: {task.label}", rows, NOTE)
    yield Table("Training step: nnfunc's time by that of others", summary, "In brackets: over the rounds.")


def compare(
    task: Task, contestants: Sequence[Contestant], options: Options, first: Mapping[str, float]
) -> tuple[list[Mapping[str, Cell]], dict[str, Cell]]:
    """A row for each contestant, and nnfunc's ratios, where it takes part; `first` are the seconds of first calls."""
    times = measure(contestants, options.rounds, options.seconds)
    rows: list[Mapping[str, Cell]] = [t.row() | {"first call, s": first[t.name]} for t in times]
    kinds = {c.name: c.kind for c in contestants}
    of_kind = {
        kind: [t for t in times if kinds[t.name] == kind]
        for kind in ("ours", "compiled", "peer", "epoch", "fused", "bare")
    }
    if not of_kind["ours"]:
        return rows, {}
    [ours] = of_kind["ours"]
    best = {kind: min(found, key=lambda t: t.median, default=None) for kind, found in of_kind.items()}
    by = partial(shown_ratio, ours)
    peer = best["peer"]
    ratios: dict[str, Cell] = {
        "nnfunc, µs": ours.median * 1e6,
        "best peer": peer.name if peer else None,
        "by best peer": by(peer),
        "compiled by best peer": shown_ratio(best["compiled"], peer) if best["compiled"] else None,
        "by fused loop": by(best["fused"]),
        "by bare products": by(best["bare"]),
        "by scan": by(best["epoch"]),
    }
    for name, kind in (("step", "peer"), ("scan", "epoch")):
        compiled = next((t for t in of_kind[kind] if t.name.startswith("JAX")), None)
        if compiled:
            calls = task.epoch if kind == "epoch" else 1
            seconds = first[compiled.name] - calls * compiled.median
            ratios[f"JAX {name} compiles, s"] = seconds
            ratios[f"JAX {name} pays from step"] = pays_from(seconds, compiled.median, ours.median)
    return rows, ratios


def shown_ratio(ours: Times, other: Times | None) -> str | None:
    if other is None:
        return None
    middle, low, high = ratio(ours, other)
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"


def pays_from(compiling: float, step: float, ours: float) -> int | None:
    """The number of steps from which compiling and then stepping takes less time than nnfunc does; None: never."""
    return int(compiling / (ours - step)) + 1 if step < ours else None
