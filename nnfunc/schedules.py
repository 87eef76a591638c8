"""Learning-rate schedules: functions of the number of updates so far, passed to an optimizer as `learning_rate`."""

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
