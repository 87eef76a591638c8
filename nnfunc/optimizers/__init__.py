"""Optimizers. `rules`, `adaptive` and `orthogonal` contain the update rules; `base` defines the `Optimizer` type and
`update` performs a step; `schedules` contains learning-rate schedules; `clipping`, `averaging`, `plateau` and `groups`
contain optimizers that wrap others."""

from typing import TYPE_CHECKING

from nnfunc._internal.moved import moved
from nnfunc.optimizers.adaptive import adadelta, adamax, amsgrad, lion, nadam, radam
from nnfunc.optimizers.averaging import averaged, ema, lookahead
from nnfunc.optimizers.base import Optimizer, OptimizerName, Rule, optimizer
from nnfunc.optimizers.clipping import clip_by_global_norm, clip_by_value
from nnfunc.optimizers.compiling import compiled
from nnfunc.optimizers.groups import partition
from nnfunc.optimizers.orthogonal import muon
from nnfunc.optimizers.plateau import observe, reduce_on_plateau
from nnfunc.optimizers.rules import adagrad, adam, adamw, gd, momentum, nesterov, rmsprop
from nnfunc.optimizers.setting import Setting

__all__ = [
    "Optimizer",
    "OptimizerName",
    "Rule",
    "Setting",
    "adadelta",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "amsgrad",
    "averaged",
    "clip_by_global_norm",
    "clip_by_value",
    "compiled",
    "ema",
    "gd",
    "lion",
    "lookahead",
    "momentum",
    "muon",
    "nadam",
    "nesterov",
    "observe",
    "optimizer",
    "partition",
    "radam",
    "reduce_on_plateau",
    "rmsprop",
]

_MOVED = dict.fromkeys(
    ("constant_schedule", "cosine_decay", "exponential_decay", "linear_warmup", "step_decay"), "nnfunc.schedules"
)

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        return moved("nnfunc.optimizers", name, _MOVED)
