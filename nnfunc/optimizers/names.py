"""The optimizers that can be given by name."""

from __future__ import annotations

from collections.abc import Callable

from nnfunc.optimizers.adaptive import adadelta, adamax, amsgrad, lion, nadam, radam
from nnfunc.optimizers.base import Optimizer
from nnfunc.optimizers.rules import adagrad, adam, adamw, gd, momentum, nesterov, rmsprop

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adadelta": adadelta,
    "adagrad": adagrad,
    "adam": adam,
    "adamax": adamax,
    "adamw": adamw,
    "amsgrad": amsgrad,
    "gd": gd,
    "lion": lion,
    "momentum": momentum,
    "nadam": nadam,
    "nesterov": nesterov,
    "radam": radam,
    "rmsprop": rmsprop,
}
"""Names of optimizers, with their default settings."""
