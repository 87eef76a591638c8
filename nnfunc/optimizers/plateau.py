"""Smaller steps when what is watched gets no better: an optimizer around another, and the function that tells it."""

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
    """`optimizer`, whose updates are scaled by a number that `observe` makes smaller: PyTorch's `ReduceLROnPlateau`.

    Args:
        optimizer: an optimizer or a name.
        factor: in (0, 1), by what the scale is multiplied when more than `patience` values in a row were no better.
        patience: how many values without improvement to bear.
        threshold: in [0, 1): a value is better if it is below best − threshold·|best|.
        cooldown: for how many values after that none is counted.
        min_scale: in [0, 1], below which the scale never goes: PyTorch's `min_lr` divided by the learning rate. However
            small a change is, it is made: PyTorch's `eps` is 0 here.

    The scale and what it depends on are part of the state (`opt_state["reduce_on_plateau.scale"]`), so they are saved
    and go on with it. W + scale·(W′ − W), where `optimizer` would go to W′, is what a smaller learning rate gives with
    all rules here (a decoupled weight decay is scaled with it). In a stack each network has its own.

    Raises:
        ValueError: around `ema` or `lookahead`, which would see other parameters than there will be.

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
            f"reduce_on_plateau around {averages[0]}, which must see what it makes: put {averages[0]} around"
        )
    return make(NAME, _scaled, settings=settings, inner=inner, numbers=NUMBERS)


def _scaled(w: Array, moved: Array, *, t: int, scale: Array, **rest: float | Array) -> tuple[Array, ...]:
    return (moved - (moved - w) * (1 - scale),)  # so that with a scale of 1 not a bit changes


def observe(optimizer: Optimizer, opt_state: ArrayDict, value: ArrayLike) -> ArrayDict:
    """The state of an optimizer with `reduce_on_plateau` after it has seen a value: a validation loss, once per epoch.

    Args:
        optimizer: with `reduce_on_plateau` at any place.
        opt_state: its state.
        value: what is to become small (for an accuracy, its negative); of a stack an array (K,). NaN is no better.

    With `nn.train`, where `step.optimizer` is such an optimizer:

        nn.train(..., after=lambda epoch: epoch.state._replace(
            opt_state=observe(step.optimizer, epoch.state.opt_state, epoch.validation.loss)))

    Raises:
        ValueError: an optimizer without `reduce_on_plateau`, a value of another shape.

    >>> optimizer = nn.optimizers.reduce_on_plateau("adam")
    >>> opt_state = optimizer.init(nn.ArrayDict({"b": [0.0]}))
    >>> float(nn.optimizers.observe(optimizer, opt_state, 0.5)["reduce_on_plateau.best"])
    0.5
    """
    around = [o for o in chain(instance(optimizer, Optimizer, "optimizer")) if o.name == NAME]
    if not around:
        raise ValueError(f"optimizer={optimizer!r} has no reduce_on_plateau, which alone looks at a value")
    factor, patience, threshold, cooldown, min_scale = around[0].settings.values()
    opt_state = instance(opt_state, ArrayDict, "opt_state")
    scale, best, waited, resting = (opt_state[f"{NAME}.{name}"] for name, _ in NUMBERS)
    now = numeric(value, "value").astype(opt_state.dtype)
    if now.shape != best.shape:
        raise ValueError(f"value has shape {now.shape}, expected {best.shape}: a number for each network")
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
