"""Many steps, predictions, saves and errors, without memory that grows.

python -m tests.reliability soak 20000      rounds
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import nnfunc as nn
from tests.reliability.configurations import configuration

ALLOWED = 64 * 1024
"""Bytes by which the second half of the rounds may grow: tables of CPython's own."""


def rounds(folder: Path) -> Iterator[None]:
    """One of everything that a long run does, with batches of all lengths."""
    own = configuration(0)
    ts = own.start
    for i in itertools.count():
        rows = slice(0, 1 + i % len(own.data[0]))
        ts, _ = own.step(ts, tuple(part[rows] for part in own.data))
        nn.predict(own.model, ts, own.data[0][rows])
        if i % 50 == 0:
            nn.save(folder / "run.npz", ts, own.model)
            ts = nn.load(folder / "run.npz").state
        if i % 10 == 0:
            with contextlib.suppress(ValueError, TypeError):
                own.step(ts, (np.ones((2, 99)), own.data[1]))
            nn.optimizers.clip_by_value(nn.adam(0.1 + i), 1.0)
        yield


def run(count: int) -> tuple[str, list[str]]:
    half = max(count // 2, 1)
    with tempfile.TemporaryDirectory() as folder:
        running = rounds(Path(folder))
        tracemalloc.start()
        try:
            seen = []
            for _ in range(2):
                for _ in range(half):
                    next(running)
                gc.collect()
                seen.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
    grown = seen[1] - seen[0]
    failures = [f"{grown:,} bytes more after the second half"] if grown > ALLOWED else []
    return f"{2 * half} rounds, {grown:,} bytes more after the second half than after the first", failures
