"""One training step with batch norm and dropout in each hidden layer."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks import peers
from tests.benchmarks.networks import MNIST, SMALL
from tests.benchmarks.parts.steps import compare
from tests.benchmarks.report import Cell, Options, Table
from tests.benchmarks.timing import equal_work, first_steps

PEERS = ("ours", "torch_peer", "torch_compiled", "jax_peer")
ABSENT = ("by fused loop", "by bare products", "by scan")
NOTE = (
    "Dense, batch norm, ReLU, dropout (keep 0.8). Masks are random, so equal work is proved with keep 1: the losses of "
    "20 steps agree to 1e-3."
)


def run(options: Options) -> Iterator[Table]:
    chosen = [name for name in PEERS if name in options.peers]
    summary: list[dict[str, Cell]] = []
    for task in (SMALL, MNIST):
        if task.name not in options.tasks:
            continue
        task = task._replace(batch_norm=True)
        equal_work(peers.contestants("steps", task, chosen))
        task = task._replace(keep_prob=0.8)
        contestants = peers.contestants("steps", task, chosen)
        rows, ratios = compare(task, contestants, options, first={c.name: first_steps(c)[1] for c in contestants})
        summary.append({"network": task.label, **{k: v for k, v in ratios.items() if k not in ABSENT}})
        yield Table(f"Training step with batch norm and dropout: {task.label}", rows, NOTE)
    if summary:
        yield Table("Training step with batch norm and dropout: nnfunc's time by that of the best peer", summary)
