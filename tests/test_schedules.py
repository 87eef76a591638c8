"""Schedules compared with PyTorch, Optax and Keras, their common properties, and their errors."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc.optimizers.schedules import (
    inverse_time_decay,
    join,
    one_cycle,
    piecewise,
    polynomial_decay,
    warm_restarts,
    warmup_cosine,
)
from nnfunc.optimizers.setting import Schedule
from tests.catalogue import SCHEDULES


def assert_same(mine: Schedule, theirs: Callable[[int], float], rel: float, steps: int = 60) -> None:
    assert [mine(t) for t in range(steps)] == pytest.approx([float(theirs(t)) for t in range(steps)], rel=rel, abs=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_values(name: str) -> None:
    schedule = SCHEDULES[name]
    same = pickle.loads(pickle.dumps(schedule))
    assert same == schedule
    assert hash(same) == hash(schedule)
    assert repr(same) == repr(schedule)
    assert repr(schedule).startswith(f"{name}(")
    assert [k for k, other in SCHEDULES.items() if other == schedule] == [name]
    values = [schedule(t) for t in range(50)]
    assert all(type(value) is float and 0 <= value <= 0.2 for value in values)
    assert nn.gd(schedule) == nn.gd(same)


def test_schedules_of_optax() -> None:
    optax = pytest.importorskip("optax")
    pairs = [
        (polynomial_decay(0.5, 20, 0.1, 1.7), optax.polynomial_schedule(0.5, 0.1, 1.7, 20)),
        (warmup_cosine(0.5, 7, 30, 0.05, 0.01), optax.warmup_cosine_decay_schedule(0.05, 0.5, 7, 30, 0.01)),
        (one_cycle(0.5, 40, 0.25, 10.0, 100.0), optax.cosine_onecycle_schedule(40, 0.5, 0.25, 10.0, 100.0)),
        (piecewise([5, 9], [0.5, 0.25, 0.0]), optax.piecewise_constant_schedule(0.5, {5: 0.5, 9: 0.0})),
        (
            join([0.5, nn.schedules.cosine_decay(0.3, 8), nn.schedules.exponential_decay(0.1, 0.5, 3)], [4, 10]),
            optax.join_schedules(
                [
                    optax.constant_schedule(0.5),
                    optax.cosine_decay_schedule(0.3, 8),
                    optax.exponential_decay(0.1, 3, 0.5),
                ],
                [4, 10],
            ),
        ),
        (
            warm_restarts(0.5, 5, 2),
            optax.sgdr_schedule(
                [{"init_value": 0.5, "peak_value": 0.5, "warmup_steps": 0, "decay_steps": n} for n in (5, 10, 20, 40)]
            ),
        ),
    ]
    for mine, theirs in pairs:
        assert_same(mine, theirs, rel=1e-5)


def test_schedules_of_torch() -> None:
    torch = pytest.importorskip("torch")
    schedulers = torch.optim.lr_scheduler

    def rates(make: Callable[[object], object]) -> Callable[[int], float]:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
        scheduler, found = make(optimizer), []
        for _ in range(40):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()  # type: ignore[attr-defined]  # any of its schedulers
        return found.__getitem__

    pairs = [
        (polynomial_decay(0.5, 20, power=1.7), lambda o: schedulers.PolynomialLR(o, 20, 1.7)),
        (warm_restarts(0.5, 5, 2, 0.1), lambda o: schedulers.CosineAnnealingWarmRestarts(o, 5, 2, 0.1)),
        (warm_restarts(0.5, 7, 1), lambda o: schedulers.CosineAnnealingWarmRestarts(o, 7)),
        (piecewise([3, 8], [0.5, 0.05, 0.005]), lambda o: schedulers.MultiStepLR(o, [3, 8], 0.1)),
        (one_cycle(0.5, 40, (0.3 * 41 - 1) / 40), lambda o: schedulers.OneCycleLR(o, 0.5, total_steps=41)),
    ]
    for mine, theirs in pairs:
        assert_same(mine, rates(theirs), rel=1e-9, steps=40)


def test_schedules_of_keras() -> None:
    keras = pytest.importorskip("keras")
    theirs = keras.optimizers.schedules.InverseTimeDecay(0.5, 7, 0.3)
    assert_same(inverse_time_decay(0.5, 0.3, 7), theirs, rel=1e-5)


@given(
    boundaries=st.lists(st.integers(1, 50), min_size=1, max_size=5, unique=True).map(sorted), step=st.integers(0, 60)
)
def test_joined_constants_are_piecewise(boundaries: list[int], step: int) -> None:
    values = [i + 0.5 for i in range(len(boundaries) + 1)]
    expected = values[int(np.sum(step >= np.array(boundaries)))]
    assert join(values, boundaries)(step) == piecewise(boundaries, values)(step) == expected


@given(steps=st.integers(1, 20), growth=st.integers(1, 3), k=st.integers(0, 5))
def test_each_restart_is_at_the_top_and_the_step_before_it_near_the_bottom(steps: int, growth: int, k: int) -> None:
    start = steps * sum(growth**i for i in range(k))
    schedule = warm_restarts(1.0, steps, growth)
    assert schedule(start) == 1.0
    length = steps * growth**k
    assert schedule(start + length - 1) == nn.schedules.cosine_decay(1.0, length)(length - 1)


@given(steps=st.integers(2, 50), rising=st.floats(0.05, 0.95))
def test_one_cycle_rises_and_falls(steps: int, rising: float) -> None:
    values = [one_cycle(1.0, steps, rising)(t) for t in range(steps + 3)]
    top = int(np.argmax(values))
    assert abs(top - rising * steps) <= 1
    assert all(a < b for a, b in pairwise(values[: top + 1]))
    assert all(a > b for a, b in pairwise(values[top : steps + 1]))
    assert values[0] == pytest.approx(0.04)
    assert values[steps:] == pytest.approx([4e-6] * 3)


WRONG: list[tuple[Callable[[], Schedule], str]] = [
    (lambda: piecewise([5], [0.1]), r"boundaries=\[5\] are 1 for 1 values: expected one less"),
    (lambda: join([0.1, 0.2], []), r"boundaries=\[\] are 0 for 2 schedules: expected one less"),
    (lambda: piecewise([5, 5], [0.1] * 3), r"boundaries=\[5, 5\]: expected each to be larger"),
    (lambda: piecewise([0], [0.1] * 2), r"boundaries\[0\]=0: expected a whole number, 1 or more"),
    (lambda: piecewise([1], [0.1, -0.1]), r"values\[1\]=-0.1: expected a number in \[0, ∞\)"),
    (lambda: join([-0.1, 0.2], [1]), "schedules.*=-0.1: expected"),
    (lambda: one_cycle(0.1, 10, rising=1.0), r"rising=1.0: expected a number in \(0, 1\)"),
    (lambda: one_cycle(0.1, 0), "steps=0: expected"),
    (lambda: one_cycle(0.1, 9, initial_divisor=0), r"initial_divisor=0: expected a number in \(0, ∞\)"),
    (lambda: warmup_cosine(0.1, 10, 10), "steps=10: expected a whole number, 11 or more"),
    (lambda: warmup_cosine(0.1, 0, 10), "warmup=0: expected"),
    (lambda: warm_restarts(0.1, 3, growth=0), "growth=0: expected a whole number"),
    (lambda: polynomial_decay(0.1, 3, power=0.0), r"power=0.0: expected a number in \(0, ∞\)"),
    (lambda: inverse_time_decay(0.1, -1.0, 3), "factor=-1.0: expected"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG)
def test_wrong_arguments(wrong: Callable[[], Schedule], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()
