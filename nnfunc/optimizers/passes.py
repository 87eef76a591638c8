"""What update rules are made of: the passes over vectors, and the checks of their settings.

Passes over memory are what a step costs, so what is written serves as the scratch space of what comes before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from nnfunc._internal.validate import TINY, number
from nnfunc.arrays import Array
from nnfunc.core.settings import Settings
from nnfunc.optimizers.base import Optimizer, Rule, make
from nnfunc.optimizers.setting import Setting

Rate: TypeAlias = "float | Array"
"""A setting at this update: a number, or one for each element (or network of a stack)."""

Out: TypeAlias = "Sequence[Array]"
"""Where a rule writes the new w and slots, and what it returns."""


def built_in(rule: Rule, slots: tuple[str, ...], **settings: Setting) -> Optimizer:
    """The optimizer of a rule that writes into `out` and is named like it.

    >>> from nnfunc.optimizers.rules import _gd
    >>> built_in(_gd, (), learning_rate=0.5)
    gd(learning_rate=0.5)
    """
    return make(rule.__name__.lstrip("_"), rule, slots, Settings(**settings), writes=True)


def descend(w: Array, direction: Array, learning_rate: Rate, out: Array) -> None:
    """w − α direction.

    >>> new_w = np.empty(2)
    >>> descend(np.array([1.0, 2.0]), np.array([1.0, -1.0]), 0.5, out=new_w)
    >>> new_w
    array([0.5, 2.5])
    """
    np.multiply(direction, learning_rate, out=out)
    np.subtract(w, out, out=out)


def weighted_sum(a: Array, alpha: float, b: Array, beta: float, out: Array, scratch: Array) -> None:
    """αa + βb; b may be the scratch space.

    >>> a, b = np.array([1.0]), np.array([2.0])
    >>> weighted_sum(a, 0.5, b, 2.0, out=a, scratch=b)
    >>> a
    array([4.5])
    """
    np.multiply(b, beta, out=scratch)
    np.multiply(a, alpha, out=out)
    out += scratch


def moments(
    g: Array, m: Array, v: Array, beta1: float, beta2: float, new_m: Array, new_v: Array, scratch: Array
) -> None:
    """Adam's averages, of the gradient and of its square.

    >>> g, m, v = np.array([2.0]), np.array([0.0]), np.array([1.0])
    >>> moments(g, m, v, 0.5, 0.75, new_m=m, new_v=v, scratch=np.empty(1))
    >>> m, v
    (array([1.]), array([1.75]))
    """
    np.multiply(g, g, out=scratch)
    weighted_sum(v, beta2, scratch, 1 - beta2, out=new_v, scratch=scratch)
    weighted_sum(m, beta1, g, 1 - beta1, out=new_m, scratch=scratch)


def divide_by_root(a: Array, v: Array, eps: float, eps_root: float, out: Array) -> None:
    """a/(√(v + eps_root) + eps).

    >>> a = np.array([3.0])
    >>> divide_by_root(a.copy(), np.array([4.0]), eps=1.0, eps_root=0.0, out=a)
    >>> a
    array([1.])
    """
    root = np.add(v, eps_root, out=out) if eps_root else v
    np.sqrt(root, out=out)
    if eps:
        out += eps
    np.divide(a, out, out=out)


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
    """The ε outside and inside the root, checked: one is positive.

    >>> eps_settings(1e-8, 0.0)
    {'eps': 1e-08, 'eps_root': 0.0}
    """
    eps = number(eps, "eps", 0, math.inf)
    eps_root = number(eps_root, "eps_root", 0, math.inf)
    if max(eps, eps_root) < TINY:  # in float32 it would be 0
        said = f"eps={eps:g} and eps_root={eps_root:g}"
        raise ValueError(f"{said}: one of them must be at least {TINY:.2g}, or a gradient of 0 divides 0 by 0")
    return {"eps": eps, "eps_root": eps_root}
