"""Smaller steps when a monitored value stops improving: a wrapper, and the function that reports values to it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from nnfunc._internal.validate import instance, number, numeric, positive_int
from nnfunc.arrays import Array, ArrayDict
from nnfunc.core.settings import Settings
from nnfunc.optimizers.base import Optimizer, OptimizerName, chain, make
from nnfunc.optimizers.names import named_optimizer

NAME = "reduce_on_plateau"
NUMBERS = ("scale", 1.0), ("best", math.inf), ("waited", 0.0), ("resting", 0.0)


def reduce_on_plateau(
    optimizer: Optimizer | OptimizerName,
    factor: float = 0.1,
    patience: int = 10,
    threshold: float = 1e-4,
    cooldown: int = 0,
    min_scale: float = 0.0,
) -> Optimizer:
    """`optimizer` with its updates multiplied by a scale that `observe` reduces: PyTorch's `ReduceLROnPlateau`.

    Args:
        optimizer: an optimizer or a name.
        factor: in (0, 1), multiplies the scale after more than `patience` values in a row without improvement.
        patience: the number of values without improvement to tolerate.
        threshold: in [0, 1): a value below best − threshold·|best| is an improvement.
        cooldown: the number of values after a reduction that do not count.
        min_scale: in [0, 1], the lower bound of the scale: PyTorch's `min_lr` divided by the learning rate. Arbitrarily
            small reductions are made: PyTorch's `eps` is 0 here.

    The scale and the values behind it are part of the state (`opt_state["reduce_on_plateau.scale"]`), so they are saved
    and restored with it. The update is W + scale·(W′ − W), where W′ are the parameters that `optimizer` returns: for
    all rules here, this equals a smaller learning rate (a decoupled weight decay is scaled too). In a stack, each
    network has its own scale.

    Raises:
        ValueError: around `ema` or `lookahead`, which would not see the parameters after scaling.

    >>> optimizer = nn.optimizers.reduce_on_plateau(nn.gd(1.0), factor=0.5, patience=1)
    >>> params = nn.ArrayDict({"b": [0.0]})
    >>> opt_state = optimizer.init(params)
    >>> for loss in (3.0, 3.0, 3.0):
    ...     opt_state = nn.optimizers.observe(optimizer, opt_state, loss)
    >>> float(opt_state["reduce_on_plateau.scale"]), optimizer.step(params, {"b": [1.0]}, opt_state)[0]["b"]
    (0.5, array([-0.5]))
    """
    settings = Settings(
        factor=number(factor, "factor", 0, 1, open_low=True, open_high=True),
        patience=positive_int(patience, "patience", 0),
        threshold=number(threshold, "threshold", 0, 1, open_high=True),
        cooldown=positive_int(cooldown, "cooldown", 0),
        min_scale=number(min_scale, "min_scale", 0, 1),
    )
    inner = named_optimizer(optimizer)
    averages = [o.name for o in chain(inner) if o.inner is not None and o.slots]
    if averages:
        raise ValueError(
            f"reduce_on_plateau cannot wrap {averages[0]}, which must see scaled values: put {averages[0]} around it"
        )
    return make(NAME, _scaled, settings=settings, inner=inner, numbers=NUMBERS)


def _scaled(w: Array, moved: Array, *, t: int, scale: Array, **rest: float | Array) -> tuple[Array, ...]:
    return (moved - (moved - w) * (1 - scale),)  # so that a scale of 1 changes no bit


def observe(optimizer: Optimizer, opt_state: ArrayDict, value: ArrayLike) -> ArrayDict:
    """Reports a value, such as the validation loss of an epoch, to `reduce_on_plateau` and returns the new state.

    Args:
        optimizer: one that contains `reduce_on_plateau` anywhere.
        opt_state: its state.
        value: the value to minimize (for an accuracy, its negative); an array (K,) for a stack. NaN is not an
            improvement.

    With `nn.train`, where `step.optimizer` is such an optimizer:

        nn.train(..., after=lambda epoch: epoch.state._replace(
            opt_state=observe(step.optimizer, epoch.state.opt_state, epoch.validation.loss)))

    Raises:
        ValueError: an optimizer without `reduce_on_plateau`, or a value of the wrong shape.

    >>> optimizer = nn.optimizers.reduce_on_plateau("adam")
    >>> opt_state = optimizer.init(nn.ArrayDict({"b": [0.0]}))
    >>> float(nn.optimizers.observe(optimizer, opt_state, 0.5)["reduce_on_plateau.best"])
    0.5
    """
    around = [o for o in chain(instance(optimizer, Optimizer, "optimizer")) if o.name == NAME]
    if not around:
        raise ValueError(f"optimizer={optimizer!r} has no reduce_on_plateau, so it has no use for a value")
    factor, patience, threshold, cooldown, min_scale = around[0].settings.values()
    opt_state = instance(opt_state, ArrayDict, "opt_state")
    scale, best, waited, resting = (opt_state[f"{NAME}.{name}"] for name, _ in NUMBERS)
    now = numeric(value, "value").astype(opt_state.dtype)
    if now.shape != best.shape:
        raise ValueError(f"value has shape {now.shape}, expected {best.shape}: one value per network")
    better = now < best - threshold * np.abs(best)
    waited = np.where(better | (resting > 0), 0, waited + 1)
    too_long = waited > patience
    return opt_state.replace(
        {
            f"{NAME}.scale": np.where(too_long, np.maximum(scale * factor, min_scale), scale),
            f"{NAME}.best": np.where(better, now, best),
            f"{NAME}.waited": np.where(too_long, 0, waited),
            f"{NAME}.resting": np.where(too_long, cooldown, np.maximum(resting - 1, 0)),
        }
    )
