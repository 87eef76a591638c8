"""Losses: the objectives minimized in training. The shared parts are in `base`, accepted targets in `targets`.

classification      binary_cross_entropy, categorical_cross_entropy, sparse_categorical_cross_entropy, each also
                    ..._with_logits; focal, kl_divergence
margins             hinge, multi_class_hinge
regression          mean_squared_error, mean_absolute_error, huber, log_cosh, quantile, poisson, gaussian, cosine
pairs               contrastive, triplet
sequences           ctc
combined            a weighted sum for several outputs

A loss is given options by calling it, `nn.categorical_cross_entropy(label_smoothing=0.1)`: see `nnfunc.losses.options`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from nnfunc._internal.validate import by_name, instance
from nnfunc.losses.base import Loss, LossCache, LossName, combined
from nnfunc.losses.classification import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    categorical_cross_entropy,
    categorical_cross_entropy_with_logits,
    focal,
    kl_divergence,
    sparse_categorical_cross_entropy,
    sparse_categorical_cross_entropy_with_logits,
)
from nnfunc.losses.margins import hinge, multi_class_hinge
from nnfunc.losses.pairs import contrastive, triplet
from nnfunc.losses.regression import (
    cosine,
    gaussian,
    huber,
    log_cosh,
    mean_absolute_error,
    mean_squared_error,
    poisson,
    quantile,
)
from nnfunc.losses.sequences import ctc
from nnfunc.losses.targets import one_hot

__all__ = [
    "Loss",
    "LossCache",
    "LossName",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "categorical_cross_entropy",
    "categorical_cross_entropy_with_logits",
    "combined",
    "contrastive",
    "cosine",
    "ctc",
    "focal",
    "gaussian",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_squared_error",
    "multi_class_hinge",
    "one_hot",
    "poisson",
    "quantile",
    "sparse_categorical_cross_entropy",
    "sparse_categorical_cross_entropy_with_logits",
    "triplet",
]

NOT_LOSSES = ("Loss", "LossCache", "LossName", "combined", "one_hot")


def _made(value: Loss | Callable[[], Loss]) -> Loss:
    return value if isinstance(value, Loss) else value()


def built_in() -> list[Loss]:
    """Returns all losses except those built from others, with their default settings."""
    return [_made(globals()[name]) for name in __all__ if name not in NOT_LOSSES]


@cache
def by_names() -> dict[str, Callable[[], Loss]]:
    """Returns the losses by name."""
    return {loss.name: (lambda loss=loss: loss) for loss in built_in()}  # type: ignore[misc]  # a default that binds


def named_loss(loss: Loss | LossName) -> Loss:
    """The loss, or the one of a name.

    >>> named_loss("huber")
    huber(delta=1.0)
    """
    return instance(by_name("loss", loss, by_names()), Loss, "loss")
