"""Losses: what a network is trained to make small. `base` says what they have in common, `targets` what they accept.

binary_cross_entropy, categorical_cross_entropy, sparse_categorical_cross_entropy, each also ..._with_logits
hinge
mean_squared_error, mean_absolute_error, huber, log_cosh, quantile, poisson
combined    of several outputs

A loss takes options by a call, `nn.categorical_cross_entropy(label_smoothing=0.1)`: see `nnfunc.losses.options`.
"""

from __future__ import annotations

from collections.abc import Callable

from nnfunc.losses.base import Loss, LossCache, combined
from nnfunc.losses.classification import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    categorical_cross_entropy,
    categorical_cross_entropy_with_logits,
    hinge,
    sparse_categorical_cross_entropy,
    sparse_categorical_cross_entropy_with_logits,
)
from nnfunc.losses.regression import huber, log_cosh, mean_absolute_error, mean_squared_error, poisson, quantile
from nnfunc.losses.targets import one_hot

__all__ = [
    "Loss",
    "LossCache",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "categorical_cross_entropy",
    "categorical_cross_entropy_with_logits",
    "combined",
    "hinge",
    "huber",
    "log_cosh",
    "mean_absolute_error",
    "mean_squared_error",
    "one_hot",
    "poisson",
    "quantile",
    "sparse_categorical_cross_entropy",
    "sparse_categorical_cross_entropy_with_logits",
]

NOT_LOSSES = ("Loss", "LossCache", "combined", "one_hot")


def _made(value: Loss | Callable[[], Loss]) -> Loss:
    return value if isinstance(value, Loss) else value()


def built_in() -> list[Loss]:
    """All losses of one output, with their default settings."""
    return [_made(globals()[name]) for name in __all__ if name not in NOT_LOSSES]


def by_names() -> dict[str, Callable[[], Loss]]:
    """The names that stand for losses."""
    return {loss.name: (lambda loss=loss: loss) for loss in built_in()}  # type: ignore[misc]  # a default that binds
