"""PyTorch with torch.compile: a file of its own, as compiling takes half a minute for each network."""

from __future__ import annotations

from tests.benchmarks.networks import Task
from tests.benchmarks.peers.torch_peer import trained
from tests.benchmarks.timing import Contestant


def steps(task: Task) -> list[Contestant]:
    return [trained(task, "PyTorch compiled, fused Adam", fused=True, compiled=True)]
