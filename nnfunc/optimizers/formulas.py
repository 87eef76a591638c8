"""Shared parts of the update rules: the construction of an optimizer from a formula, and checks of its settings."""

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
"""A setting at this update: a scalar, or an array with one value per element (or per network of a stack)."""


def built_in(
    formula: Callable[..., tuple[Array, ...]], numbers: Callable[..., Numbers], slots: tuple[str, ...],
    **settings: Setting,
) -> Optimizer:  # fmt: skip
    """An optimizer, named after its formula, from the formula and the function that computes its numbers.

    >>> from nnfunc.optimizers.rules import _gd, _gd_numbers
    >>> built_in(_gd, _gd_numbers, (), learning_rate=0.5)
    gd(learning_rate=0.5)
    """
    return make(formula.__name__.lstrip("_"), formula, slots, Settings(**settings), constants=numbers)


def beta_settings(**betas: float) -> dict[str, float]:
    """The decay rates of running averages, checked to be in [0, 1).

    >>> beta_settings(beta1=0.9)
    {'beta1': 0.9}
    """
    for name, beta in betas.items():
        if number(beta, name, 0, 1, why="the weight of the old average") == 1:
            raise ValueError(f"{name}=1: expected a number below 1, because new values would have no weight")
    return betas


def eps_settings(eps: float, eps_root: float) -> dict[str, float]:
    """The ε outside and inside the root, checked: one of them is positive and large enough for float32.

    >>> eps_settings(1e-8, 0.0)
    {'eps': 1e-08, 'eps_root': 0.0}
    """
    number(eps, "eps", 0, math.inf)
    number(eps_root, "eps_root", 0, math.inf)
    if max(eps, eps_root) < LEAST_EPS:
        raise ValueError(
            f"eps={eps:g} and eps_root={eps_root:g}: one of them must be at least {LEAST_EPS:g}, or a gradient of 0 "
            "would divide 0 by 0 in float32"
        )
    return {"eps": eps, "eps_root": eps_root}
