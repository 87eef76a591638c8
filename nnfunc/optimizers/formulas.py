"""What update rules have in common: how an optimizer is made of a formula, and the checks of their settings."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from nnfunc._internal.validate import LEAST_EPS, number
from nnfunc.arrays import Array
from nnfunc.core.settings import Settings
from nnfunc.optimizers.base import Numbers, Optimizer, make
from nnfunc.optimizers.setting import Setting

Rate: TypeAlias = "float | Array"
"""A setting at this update: a number, or one for each element (or network of a stack)."""


def built_in(
    formula: Callable[..., tuple[Array, ...]], numbers: Callable[..., Numbers], slots: tuple[str, ...],
    **settings: Setting,
) -> Optimizer:  # fmt: skip
    """The optimizer of a formula, which is named like it, and of the function that makes its numbers.

    >>> from nnfunc.optimizers.rules import _gd, _gd_numbers
    >>> built_in(_gd, _gd_numbers, (), learning_rate=0.5)
    gd(learning_rate=0.5)
    """
    return make(formula.__name__.lstrip("_"), formula, slots, Settings(**settings), constants=numbers)


def beta_settings(**betas: float) -> dict[str, float]:
    """The shares of the old that averages keep, checked: in [0, 1).

    >>> beta_settings(beta1=0.9)
    {'beta1': 0.9}
    """
    for name, beta in betas.items():
        if number(beta, name, 0, 1, why="the share of the old average that stays") == 1:
            raise ValueError(f"{name}=1: expected a number below 1, or nothing new would ever count")
    return betas


def eps_settings(eps: float, eps_root: float) -> dict[str, float]:
    """The ε outside and inside the root, checked: one is positive, and large enough for float32.

    >>> eps_settings(1e-8, 0.0)
    {'eps': 1e-08, 'eps_root': 0.0}
    """
    number(eps, "eps", 0, math.inf)
    number(eps_root, "eps_root", 0, math.inf)
    if max(eps, eps_root) < LEAST_EPS:
        raise ValueError(
            f"eps={eps:g} and eps_root={eps_root:g}: one of them must be {LEAST_EPS:g} or more, or a gradient of 0 "
            "divides 0 by 0 in float32"
        )
    return {"eps": eps, "eps_root": eps_root}
