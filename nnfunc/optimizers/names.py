"""The optimizers that can be given by name."""

from __future__ import annotations

from collections.abc import Callable

from nnfunc._internal.validate import by_name, instance
from nnfunc.optimizers.adaptive import adadelta, adamax, amsgrad, lion, nadam, radam
from nnfunc.optimizers.base import Optimizer, OptimizerName
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


def named_optimizer(optimizer: Optimizer | OptimizerName, argument: str = "optimizer") -> Optimizer:
    """Returns the optimizer, or the one with this name.

    >>> named_optimizer("gd")
    gd(learning_rate=0.01)
    """
    return instance(by_name("optimizer", optimizer, OPTIMIZERS), Optimizer, argument)
