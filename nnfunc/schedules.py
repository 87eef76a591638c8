"""Learning-rate schedules: functions of the number of updates so far, given to an optimizer as its `learning_rate`."""

from nnfunc.optimizers.schedules import (
    constant_schedule,
    cosine_decay,
    exponential_decay,
    inverse_time_decay,
    join,
    linear_warmup,
    one_cycle,
    piecewise,
    polynomial_decay,
    step_decay,
    warm_restarts,
    warmup_cosine,
)
from nnfunc.optimizers.setting import Schedule

__all__ = [
    "Schedule",
    "constant_schedule",
    "cosine_decay",
    "exponential_decay",
    "inverse_time_decay",
    "join",
    "linear_warmup",
    "one_cycle",
    "piecewise",
    "polynomial_decay",
    "step_decay",
    "warm_restarts",
    "warmup_cosine",
]
