"""Learning-rate schedules: functions of the number of updates so far (0 at the first update) that give a number.

Any function of that kind will do wherever a learning rate is taken; these are the usual ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from nnfunc._internal.validate import number, positive_int
from nnfunc.core.settings import arguments, comparable
from nnfunc.optimizers.base import Schedule


class Formula(partial[float]):
    """A function of the step with its numbers, equal by value and printed as the call that made it.

    >>> nn.step_decay(0.1, factor=0.5, every=10), nn.constant_schedule(0.1) == nn.constant_schedule(0.1)
    (step_decay(initial=0.1, factor=0.5, every=10), True)
    """

    def __repr__(self) -> str:
        return f"{self.func.__name__[1:]}({arguments(self.keywords)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Formula) and comparable(self) == comparable(other)

    def __hash__(self) -> int:
        return hash((self.func, tuple(self.keywords)))


def constant_schedule(value: float) -> Schedule:
    """The same value at every step.

    >>> nn.constant_schedule(0.1)(1000)
    0.1
    """
    return Formula(_constant, value=number(value, "value", 0, math.inf))


def _constant(step: int, *, value: float) -> float:
    return value


def step_decay(initial: float, factor: float, every: int) -> Schedule:
    """initial · factor^⌊step/every⌋.

    >>> [round(nn.step_decay(0.1, factor=0.5, every=10)(t), 3) for t in (0, 9, 10, 20)]
    [0.1, 0.1, 0.05, 0.025]
    """
    number(initial, "initial", 0, math.inf)
    number(factor, "factor", 0, math.inf, open_low=True)
    return Formula(_step_decay, initial=initial, factor=factor, every=positive_int(every, "every"))


def _step_decay(step: int, *, initial: float, factor: float, every: int) -> float:
    return initial * factor ** (step // every)


def exponential_decay(initial: float, factor: float, every: int) -> Schedule:
    """initial · factor^(step/every): `step_decay` without the steps.

    >>> [round(nn.exponential_decay(0.1, factor=0.25, every=10)(t), 3) for t in (0, 5, 10)]
    [0.1, 0.05, 0.025]
    """
    number(initial, "initial", 0, math.inf)
    number(factor, "factor", 0, math.inf, open_low=True)
    return Formula(_exponential_decay, initial=initial, factor=factor, every=positive_int(every, "every"))


def _exponential_decay(step: int, *, initial: float, factor: float, every: int) -> float:
    return float(initial * factor ** (step / every))


def cosine_decay(initial: float, steps: int, final: float = 0.0) -> Schedule:
    """final + (initial − final)·½(1 + cos(π·step/steps)), then final (Loshchilov & Hutter, SGDR, ICLR 2017).

    >>> [round(nn.cosine_decay(0.1, steps=10)(t), 3) for t in (0, 5, 10, 99)]
    [0.1, 0.05, 0.0, 0.0]
    """
    number(initial, "initial", 0, math.inf)
    number(final, "final", 0, math.inf)
    return Formula(_cosine_decay, initial=initial, steps=positive_int(steps, "steps"), final=final)


def _cosine_decay(step: int, *, initial: float, steps: int, final: float) -> float:
    return final + (initial - final) * 0.5 * (1 + math.cos(math.pi * min(step / steps, 1)))


def linear_warmup(steps: int, then: float | Schedule) -> Schedule:
    """then(0)·(step + 1)/steps for the first `steps` updates; after them then(step − steps).

    Args:
        steps: how many updates the warm-up takes.
        then: the learning rate afterwards: a number or a schedule.

    >>> warm = nn.linear_warmup(4, nn.cosine_decay(0.1, steps=10))
    >>> [round(warm(t), 3) for t in (0, 1, 3, 4, 9, 14)]
    [0.025, 0.05, 0.1, 0.1, 0.05, 0.0]
    """
    schedule = then if callable(then) else constant_schedule(then)
    return Formula(_linear_warmup, steps=positive_int(steps, "steps"), then=schedule)


def _linear_warmup(step: int, *, steps: int, then: Callable[[int], float]) -> float:
    return then(0) * (step + 1) / steps if step < steps else then(step - steps)
