"""Optimizers: rules that move parameters along their gradient. `rules` has the formulas, each a few lines on a vector;
`base` what they share; `schedules` learning rates that change; `clipping` wrappers of any optimizer."""

from nnfunc.optimizers.base import Optimizer, optimizer
from nnfunc.optimizers.clipping import clip_by_global_norm, clip_by_value
from nnfunc.optimizers.rules import adagrad, adam, adamw, gd, momentum, nesterov, rmsprop
from nnfunc.optimizers.schedules import constant_schedule, cosine_decay, exponential_decay, linear_warmup, step_decay

__all__ = [
    "Optimizer",
    "adagrad",
    "adam",
    "adamw",
    "clip_by_global_norm",
    "clip_by_value",
    "constant_schedule",
    "cosine_decay",
    "exponential_decay",
    "gd",
    "linear_warmup",
    "momentum",
    "nesterov",
    "optimizer",
    "rmsprop",
    "step_decay",
]
