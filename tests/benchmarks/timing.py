"""Alternating timings: A B A B ..., each turn short, with a guard against other processes on the machine."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeVar

import numpy as np

if TYPE_CHECKING:
    from nnfunc.arrays import Array
    from tests.benchmarks.report import Cell

PAUSE = 0.15
"""Seconds before a turn: the threads of the last contestant's matrix products wait busily for up to 0.1 s."""

DISTURBED = 0.15
"""A turn is disturbed if other processes used more than this share of a core."""

REPEATS = 3
"""How often a disturbed turn is repeated."""


CHILDREN = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
"""The environment of processes that are timed: with compiled bytecode on the disk, as installed packages have it."""


class Contestant(NamedTuple):
    """Something to time: `run` makes `steps` steps and returns their losses (or outputs); a float for one step.

    `params` gives nnfunc's vector of parameters.
    """

    name: str
    run: Callable[[], float | Array]
    kind: Literal["ours", "compiled", "peer", "epoch", "fused", "bare"] = "peer"
    steps: int = 1
    params: Callable[[], Array] | None = None


class Clock(NamedTuple):
    """Where the seconds come from: the wall, the processor time of this process and that of the whole machine."""

    wall: Callable[[], float]
    own: Callable[[], float]
    machine: Callable[[], float]
    sleep: Callable[[float], None]


def machine_seconds() -> float:
    """Processor seconds that the whole machine has worked, or that its host took; NaN where psutil is missing."""
    if find_spec("psutil") is None:
        return float("nan")
    import psutil

    busy = psutil.cpu_times()
    return float(sum(busy) - busy.idle - getattr(busy, "iowait", 0.0))


CLOCK = Clock(time.perf_counter, time.process_time, machine_seconds, time.sleep)


class Guarded(Protocol):
    """A measurement that knows how many cores other processes used meanwhile."""

    @property
    def others(self) -> float: ...


G = TypeVar("G", bound=Guarded)


def disturbed(measured: Guarded) -> bool:
    return measured.others > DISTURBED


def undisturbed(attempt: Callable[[], G]) -> tuple[G, int]:
    """The first attempt that is not disturbed, or else the least disturbed; how many were repeated."""
    attempts = [attempt()]
    while disturbed(attempts[-1]) and len(attempts) <= REPEATS:
        attempts.append(attempt())
    return min(attempts[::-1], key=lambda a: a.others * disturbed(a)), len(attempts) - 1


class Turn(NamedTuple):
    """Seconds per step; processor time of this process and of all others per second of the turn."""

    seconds: float
    cpu: float
    others: float


class Times(NamedTuple):
    """The turns of a contestant, one for each round, and how many disturbed ones were repeated."""

    name: str
    turns: list[Turn]
    repeated: int

    @property
    def seconds(self) -> list[float]:
        return [turn.seconds for turn in self.turns]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def disturbed(self) -> int:
        return sum(map(disturbed, self.turns))

    def row(self, unit: Literal["µs", "ms"] = "µs") -> dict[str, Cell]:
        """A row of a table: median, spread and what the guard saw."""
        times = [seconds * {"µs": 1e6, "ms": 1e3}[unit] for seconds in self.seconds]
        return {
            "contestant": self.name,
            f"median, {unit}": statistics.median(times),
            "min": min(times),
            "max": max(times),
            "CPU/wall": statistics.median(turn.cpu for turn in self.turns),
            "turns repeated": self.repeated,
            "still disturbed": self.disturbed,
            "turns": times,
            "others": [turn.others for turn in self.turns],
        }


def one_turn(contestant: Contestant, seconds: float, clock: Clock = CLOCK) -> Turn:
    """At least `seconds` and 3 steps, after a pause and one call that is not timed."""
    clock.sleep(PAUSE)
    contestant.run()
    steps, machine, own, start = 0, clock.machine(), clock.own(), clock.wall()
    while steps < 3 or clock.wall() - start < seconds:
        contestant.run()
        steps += contestant.steps
    wall, own, machine = clock.wall() - start, clock.own() - own, clock.machine() - machine
    return Turn(wall / steps, own / wall, max(machine - own, 0.0) / wall)


def measure(contestants: Sequence[Contestant], rounds: int, seconds: float, clock: Clock = CLOCK) -> list[Times]:
    """The times of all contestants, in turn."""
    times = [Times(c.name, [], 0) for c in contestants]
    for _ in range(rounds):
        for i, contestant in enumerate(contestants):
            turn, repeated = undisturbed(partial(one_turn, contestant, seconds, clock))
            times[i] = Times(contestant.name, [*times[i].turns, turn], times[i].repeated + repeated)
    return times


def ratio(times: Times, other: Times) -> tuple[float, float, float]:
    """The ratio of the medians, and the smallest and largest ratio of two turns of one round."""
    each = [a / b for a, b in zip(times.seconds, other.seconds, strict=True)]
    return times.median / other.median, min(each), max(each)


def first_steps(contestant: Contestant, steps: int = 20) -> tuple[Array, float]:
    """The losses of the first steps, and the seconds of the first call, which compiles where something is compiled."""
    start = time.perf_counter()
    losses = [contestant.run()]
    first = time.perf_counter() - start
    losses += [contestant.run() for _ in range(1, -(-steps // contestant.steps))]
    return np.concatenate([np.atleast_1d(loss) for loss in losses])[:steps], first


def equal_work(contestants: Sequence[Contestant], rtol: float = 1e-3) -> dict[str, float]:
    """Asserts that the losses of 20 steps agree with the first contestant's; the seconds of each first call."""
    reference, first = first_steps(contestants[0])
    seconds = {contestants[0].name: first}
    for contestant in contestants[1:]:
        losses, seconds[contestant.name] = first_steps(contestant)
        if contestant.kind != "bare":
            np.testing.assert_allclose(losses, reference, rtol, err_msg=f"{contestant.name} does not do equal work")
    return seconds
