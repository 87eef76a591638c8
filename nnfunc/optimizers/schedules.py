"""Learning-rate schedules: functions from the number of updates so far (0 at the first update) to a number.

Wherever a learning rate is accepted, any such function will do; these are the common ones.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from nnfunc._internal.validate import number, positive_int, sequence
from nnfunc.core.settings import arguments, comparable
from nnfunc.optimizers.setting import Schedule


class Formula(partial[float]):
    """A function of the step with its constants, compared by value and printed as the call that created it.

    >>> nn.schedules.step_decay(0.1, factor=0.5, every=10)
    step_decay(initial=0.1, factor=0.5, every=10)
    >>> nn.schedules.constant_schedule(0.1) == nn.schedules.constant_schedule(0.1)
    True
    """

    def __repr__(self) -> str:
        return f"{self.func.__name__[1:]}({arguments(self.keywords)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Formula) and comparable(self) == comparable(other)

    def __hash__(self) -> int:
        return hash((self.func, tuple(self.keywords)))


def constant_schedule(value: float) -> Schedule:
    """The same value at every step.

    >>> nn.schedules.constant_schedule(0.1)(1000)
    0.1
    """
    return Formula(_constant_schedule, value=number(value, "value", 0, math.inf))


def _constant_schedule(step: int, *, value: float) -> float:
    return value


def step_decay(initial: float, factor: float, every: int) -> Schedule:
    """initial · factor^⌊step/every⌋.

    >>> [round(nn.schedules.step_decay(0.1, factor=0.5, every=10)(t), 3) for t in (0, 9, 10, 20)]
    [0.1, 0.1, 0.05, 0.025]
    """
    initial = number(initial, "initial", 0, math.inf)
    factor = number(factor, "factor", 0, math.inf, open_low=True)
    return Formula(_step_decay, initial=initial, factor=factor, every=positive_int(every, "every"))


def _step_decay(step: int, *, initial: float, factor: float, every: int) -> float:
    return initial * factor ** (step // every)


def exponential_decay(initial: float, factor: float, every: int) -> Schedule:
    """initial · factor^(step/every): a continuous `step_decay`.

    >>> [round(nn.schedules.exponential_decay(0.1, factor=0.25, every=10)(t), 3) for t in (0, 5, 10)]
    [0.1, 0.05, 0.025]
    """
    initial = number(initial, "initial", 0, math.inf)
    factor = number(factor, "factor", 0, math.inf, open_low=True)
    return Formula(_exponential_decay, initial=initial, factor=factor, every=positive_int(every, "every"))


def _exponential_decay(step: int, *, initial: float, factor: float, every: int) -> float:
    return float(initial * factor ** (step / every))


def cosine_decay(initial: float, steps: int, final: float = 0.0) -> Schedule:
    """final + (initial − final)·½(1 + cos(π·step/steps)), then final (Loshchilov & Hutter, SGDR, ICLR 2017).

    >>> [round(nn.schedules.cosine_decay(0.1, steps=10)(t), 3) for t in (0, 5, 10, 99)]
    [0.1, 0.05, 0.0, 0.0]
    """
    initial = number(initial, "initial", 0, math.inf)
    final = number(final, "final", 0, math.inf)
    return Formula(_cosine_decay, initial=initial, steps=positive_int(steps, "steps"), final=final)


def _cosine_decay(step: int, *, initial: float, steps: int, final: float) -> float:
    return final + (initial - final) * 0.5 * (1 + math.cos(math.pi * min(step / steps, 1)))


def linear_warmup(steps: int, then: float | Schedule) -> Schedule:
    """then(0)·(step + 1)/steps for the first `steps` updates, then(step − steps) afterwards.

    Args:
        steps: the number of warm-up updates.
        then: the learning rate afterwards: a number or a schedule.

    >>> warm = nn.schedules.linear_warmup(4, nn.schedules.cosine_decay(0.1, steps=10))
    >>> [round(warm(t), 3) for t in (0, 1, 3, 4, 9, 14)]
    [0.025, 0.05, 0.1, 0.1, 0.05, 0.0]
    """
    schedule = then if callable(then) else constant_schedule(number(then, "then", 0, math.inf))
    return Formula(_linear_warmup, steps=positive_int(steps, "steps"), then=schedule)


def _linear_warmup(step: int, *, steps: int, then: Callable[[int], float]) -> float:
    return then(0) * (step + 1) / steps if step < steps else then(step - steps)


def inverse_time_decay(initial: float, factor: float, every: int) -> Schedule:
    """initial/(1 + factor·step/every), as in Keras.

    >>> [nn.schedules.inverse_time_decay(0.1, factor=1.0, every=10)(t) for t in (0, 10, 30)]
    [0.1, 0.05, 0.025]
    """
    initial = number(initial, "initial", 0, math.inf)
    factor = number(factor, "factor", 0, math.inf)
    return Formula(_inverse_time_decay, initial=initial, factor=factor, every=positive_int(every, "every"))


def _inverse_time_decay(step: int, *, initial: float, factor: float, every: int) -> float:
    return initial / (1 + factor * step / every)


def polynomial_decay(initial: float, steps: int, final: float = 0.0, power: float = 1.0) -> Schedule:
    """final + (initial − final)·(1 − step/steps)^power, then final; with power 1, a straight line. May also increase.

    >>> [nn.schedules.polynomial_decay(0.5, steps=10, power=2.0)(t) for t in (0, 5, 10, 99)]
    [0.5, 0.125, 0.0, 0.0]
    """
    initial = number(initial, "initial", 0, math.inf)
    final = number(final, "final", 0, math.inf)
    power = number(power, "power", 0, math.inf, open_low=True)
    steps = positive_int(steps, "steps")
    return Formula(_polynomial_decay, initial=initial, steps=steps, final=final, power=power)


def _polynomial_decay(step: int, *, initial: float, steps: int, final: float, power: float) -> float:
    return float(final + (initial - final) * (1 - min(step / steps, 1)) ** power)


def warmup_cosine(peak: float, warmup: int, steps: int, initial: float = 0.0, final: float = 0.0) -> Schedule:
    """A linear rise from `initial` to `peak` at step `warmup`, then a cosine decay to `final` at step `steps`.

    Args:
        peak: the largest value.
        warmup: the number of updates of the rise.
        steps: the total number of updates, including `warmup` and larger than it.
        initial, final: the first and the last value. With an `initial` of 0 the first update has no effect, as in
            Optax.

    >>> [round(nn.schedules.warmup_cosine(0.1, warmup=4, steps=14)(t), 3) for t in (0, 2, 4, 9, 14)]
    [0.0, 0.05, 0.1, 0.05, 0.0]
    """
    peak, initial = number(peak, "peak", 0, math.inf), number(initial, "initial", 0, math.inf)
    final, warmup = number(final, "final", 0, math.inf), positive_int(warmup, "warmup")
    steps = positive_int(steps, "steps", warmup + 1)
    return Formula(_warmup_cosine, peak=peak, warmup=warmup, steps=steps, initial=initial, final=final)


def _warmup_cosine(step: int, *, peak: float, warmup: int, steps: int, initial: float, final: float) -> float:
    if step < warmup:
        return initial + (peak - initial) * step / warmup
    return _cosine_decay(step - warmup, initial=peak, steps=steps - warmup, final=final)


def one_cycle(
    peak: float, steps: int, rising: float = 0.3, initial_divisor: float = 25.0, final_divisor: float = 1e4
) -> Schedule:
    """A cosine rise from peak/initial_divisor to `peak`, then a cosine decay to almost 0 (Smith & Topin 2018).

    Args:
        peak: the largest value, at step rising·steps.
        steps: the total number of updates. From step `steps` on, the value is peak/(initial_divisor·final_divisor).
        rising: in (0, 1), the fraction of the steps spent rising.
        initial_divisor, final_divisor: peak/initial and initial/final.

    Values match Optax. PyTorch's end one step earlier: its `OneCycleLR(…, total_steps=T, pct_start=p)` corresponds to
    steps=T − 1 and rising=(p·T − 1)/(T − 1).

    >>> [round(nn.schedules.one_cycle(1.0, steps=10)(t), 3) for t in (0, 3, 10)]
    [0.04, 1.0, 0.0]
    """
    peak = number(peak, "peak", 0, math.inf)
    rising = number(rising, "rising", 0, 1, open_low=True, open_high=True)
    initial_divisor = number(initial_divisor, "initial_divisor", 0, math.inf, open_low=True)
    final_divisor = number(final_divisor, "final_divisor", 0, math.inf, open_low=True)
    return Formula(
        _one_cycle,
        peak=peak,
        steps=positive_int(steps, "steps"),
        rising=rising,
        initial_divisor=initial_divisor,
        final_divisor=final_divisor,
    )


def _one_cycle(
    step: int, *, peak: float, steps: int, rising: float, initial_divisor: float, final_divisor: float
) -> float:
    initial, top = peak / initial_divisor, rising * steps
    if step < top:
        return peak + (initial - peak) * 0.5 * (1 + math.cos(math.pi * step / top))
    final, down = initial / final_divisor, min((step - top) / (steps - top), 1)
    return final + (peak - final) * 0.5 * (1 + math.cos(math.pi * down))


def warm_restarts(initial: float, steps: int, growth: int = 1, final: float = 0.0) -> Schedule:
    """Repeated cosine decay from `initial` to `final` (SGDR: Loshchilov & Hutter, ICLR 2017).

    Args:
        initial, final: the ends of each cycle; `final` itself is not reached, since the next cycle begins there.
        steps: the length of the first cycle.
        growth: the ratio of the length of each cycle to that of the previous one.

    >>> [round(nn.schedules.warm_restarts(0.1, steps=2, growth=2)(t), 3) for t in range(7)]
    [0.1, 0.05, 0.1, 0.085, 0.05, 0.015, 0.1]
    """
    initial = number(initial, "initial", 0, math.inf)
    final = number(final, "final", 0, math.inf)
    growth = positive_int(growth, "growth")
    return Formula(_warm_restarts, initial=initial, steps=positive_int(steps, "steps"), growth=growth, final=final)


def _warm_restarts(step: int, *, initial: float, steps: int, growth: int, final: float) -> float:
    if growth == 1:
        step %= steps
    while step >= steps:
        step, steps = step - steps, steps * growth
    return _cosine_decay(step, initial=initial, steps=steps, final=final)


def piecewise(boundaries: Sequence[int], values: Sequence[float]) -> Schedule:
    """Piecewise constant: values[0] before the first boundary, values[i] from step boundaries[i − 1] on.

    Args:
        boundaries: increasing steps of at least 1.
        values: one more than boundaries.

    >>> [nn.schedules.piecewise([10, 20], [0.1, 0.01, 0.001])(t) for t in (0, 9, 10, 19, 20)]
    [0.1, 0.1, 0.01, 0.01, 0.001]
    """
    values = tuple(number(value, f"values[{i}]", 0, math.inf) for i, value in enumerate(sequence(values, "values")))
    return Formula(_piecewise, boundaries=_boundaries(boundaries, len(values), "values"), values=values)


def _piecewise(step: int, *, boundaries: tuple[int, ...], values: tuple[float, ...]) -> float:
    return values[bisect_right(boundaries, step)]


def join(schedules: Sequence[float | Schedule], boundaries: Sequence[int]) -> Schedule:
    """Concatenates schedules: schedules[i] starts at step boundaries[i − 1], as its own step 0.

    Args:
        schedules: schedules, or numbers for constant ones.
        boundaries: increasing steps of at least 1, one fewer than schedules.

    >>> joined = nn.schedules.join([0.1, nn.schedules.step_decay(0.2, factor=0.5, every=1)], [3])
    >>> [joined(t) for t in range(6)]
    [0.1, 0.1, 0.1, 0.2, 0.1, 0.05]
    """
    schedules = sequence(schedules, "schedules")
    parts = tuple(
        part if callable(part) else constant_schedule(number(part, f"schedules[{i}]", 0, math.inf))
        for i, part in enumerate(schedules)
    )
    return Formula(_join, schedules=parts, boundaries=_boundaries(boundaries, len(parts), "schedules"))


def _join(step: int, *, schedules: tuple[Schedule, ...], boundaries: tuple[int, ...]) -> float:
    i = bisect_right(boundaries, step)
    return schedules[i](step - boundaries[i - 1] if i else step)


def _boundaries(boundaries: Sequence[int], parts: int, name: str) -> tuple[int, ...]:
    """The boundaries as a tuple, checked: increasing, and one fewer than the parts."""
    boundaries = sequence(boundaries, "boundaries")
    steps = tuple(positive_int(step, f"boundaries[{i}]") for i, step in enumerate(boundaries))
    if len(steps) != parts - 1:
        raise ValueError(f"boundaries={list(boundaries)}: got {len(steps)} for {parts} {name}, expected one fewer")
    if any(a >= b for a, b in pairwise(steps)):
        raise ValueError(f"boundaries={list(boundaries)}: expected increasing steps")
    return steps
