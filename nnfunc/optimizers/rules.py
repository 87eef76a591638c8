"""The update rules, each on vectors: w parameters, g gradient, then what the rule remembers; t counts updates from 1.
The new values are written into `out`, in the same order and without g.

By default ε stands inside the root (`eps_root`) and momentum averages (its gradient has the factor 1 − β). The forms
of Kingma & Ba, PyTorch and Optax: `adam(..., eps=1e-8, eps_root=0.0)`, `momentum(..., dampening=0.0)`.
Every learning rate and weight decay is a `Setting`: see `nnfunc.optimizers.base`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from nnfunc._internal.validate import number
from nnfunc.arrays import Array
from nnfunc.core.settings import Settings
from nnfunc.optimizers.base import Optimizer, Rule, Setting, make

Rate: TypeAlias = "float | Array"
"""A setting at this update: a number, or one for each element (or network of a stack)."""

Out: TypeAlias = "Sequence[Array]"
"""Where a rule writes the new w and slots, and what it returns."""


def gd(learning_rate: Setting = 0.01) -> Optimizer:
    """Gradient descent: W − α dW.

    Args:
        learning_rate: α ≥ 0.

    >>> nn.gd(0.1)
    gd(learning_rate=0.1)
    """
    return _built_in(_gd, (), learning_rate=learning_rate)


def _gd(w: Array, g: Array, *, out: Out, t: int, learning_rate: Rate) -> Out:
    [new_w] = out
    _descend(w, g, learning_rate, out=new_w)
    return out


def momentum(learning_rate: Setting = 0.01, beta1: float = 0.9, dampening: float | None = None) -> Optimizer:
    """V = βV + (1 − dampening) dW;  W − αV (Polyak 1964). V starts at 0, without bias correction.

    Args:
        learning_rate: α ≥ 0.
        beta1: β in [0, 1): how much of the old direction stays.
        dampening: in [0, 1]; None: β, so that V is an average, (1 − β) dW. 0: the form of PyTorch and Optax.

    >>> nn.momentum(0.1)
    momentum(learning_rate=0.1, beta1=0.9, dampening=0.9)
    """
    settings = _momentum_settings(beta1, dampening)
    return _built_in(_momentum, ("m",), learning_rate=learning_rate, **settings)


def _momentum(
    w: Array, g: Array, m: Array, *, out: Out, t: int, learning_rate: Rate, beta1: float, dampening: float
) -> Out:
    new_w, new_m = out
    _sum(m, beta1, g, 1 - dampening, out=new_m, scratch=new_w)
    _descend(w, new_m, learning_rate, out=new_w)
    return out


def nesterov(learning_rate: Setting = 0.01, beta1: float = 0.9, dampening: float | None = None) -> Optimizer:
    """V = βV + (1 − dampening) dW;  W − α(βV + (1 − dampening) dW) (Nesterov 1983; Sutskever et al., ICML 2013).

    Arguments are those of `momentum`; dampening=0.0 is PyTorch's and Optax's form.

    >>> nn.nesterov(0.1, dampening=0.0)
    nesterov(learning_rate=0.1, beta1=0.9, dampening=0.0)
    """
    settings = _momentum_settings(beta1, dampening)
    return _built_in(_nesterov, ("m",), learning_rate=learning_rate, **settings)


def _nesterov(
    w: Array, g: Array, m: Array, *, out: Out, t: int, learning_rate: Rate, beta1: float, dampening: float
) -> Out:
    new_w, new_m = out
    _sum(m, beta1, g, 1 - dampening, out=new_m, scratch=new_w)
    new_w += np.multiply(new_m, beta1)  # it holds (1 − dampening) dW
    _descend(w, new_w, learning_rate, out=new_w)
    return out


def adagrad(learning_rate: Setting = 0.01, eps: float = 0.0, eps_root: float = 1e-8) -> Optimizer:
    """S = S + dW²;  W − α dW/(√(S + eps_root) + eps) (Duchi et al., JMLR 12, 2011).

    >>> nn.adagrad(0.1)
    adagrad(learning_rate=0.1, eps=0.0, eps_root=1e-08)
    """
    return _built_in(_adagrad, ("v",), learning_rate=learning_rate, **_eps_settings(eps, eps_root))


def _adagrad(
    w: Array, g: Array, v: Array, *, out: Out, t: int, learning_rate: Rate, eps: float, eps_root: float
) -> Out:
    new_w, new_v = out
    np.multiply(g, g, out=new_w)
    np.add(v, new_w, out=new_v)
    _divide_by_root(g, new_v, eps, eps_root, out=new_w)
    _descend(w, new_w, learning_rate, out=new_w)
    return out


def rmsprop(
    learning_rate: Setting = 0.001, beta2: float = 0.999, eps: float = 0.0, eps_root: float = 1e-8
) -> Optimizer:
    """S = βS + (1 − β) dW²;  W − α dW/(√(S + eps_root) + eps) (Tieleman & Hinton 2012).

    Args:
        learning_rate: α ≥ 0.
        beta2: β in [0, 1). PyTorch's default is 0.99, Keras's 0.9.
        eps, eps_root: outside and inside the root.

    >>> nn.rmsprop(0.1)
    rmsprop(learning_rate=0.1, beta2=0.999, eps=0.0, eps_root=1e-08)
    """
    settings = _beta_settings(beta2=beta2) | _eps_settings(eps, eps_root)
    return _built_in(_rmsprop, ("v",), learning_rate=learning_rate, **settings)


def _rmsprop(
    w: Array, g: Array, v: Array, *, out: Out, t: int, learning_rate: Rate, beta2: float, eps: float, eps_root: float
) -> Out:
    new_w, new_v = out
    np.multiply(g, g, out=new_w)
    _sum(v, beta2, new_w, 1 - beta2, out=new_v, scratch=new_w)
    _divide_by_root(g, new_v, eps, eps_root, out=new_w)
    _descend(w, new_w, learning_rate, out=new_w)
    return out


def adam(
    learning_rate: Setting = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 0.0,
    eps_root: float = 1e-8,
) -> Optimizer:
    """V = β₁V + (1 − β₁) dW;  S = β₂S + (1 − β₂) dW²;  W − α V̂/(√(Ŝ + eps_root) + eps).

    V̂ = V/(1 − β₁ᵗ) and Ŝ = S/(1 − β₂ᵗ) correct the bias towards 0 (Kingma & Ba, ICLR 2015, alg. 1, whose form
    is eps=1e-8, eps_root=0.0).

    >>> nn.adam(1e-3)
    adam(learning_rate=0.001, beta1=0.9, beta2=0.999, eps=0.0, eps_root=1e-08)
    """
    settings = _beta_settings(beta1=beta1, beta2=beta2) | _eps_settings(eps, eps_root)
    return _built_in(_adam, ("m", "v"), learning_rate=learning_rate, **settings)


def _adam(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    *,
    out: Out,
    t: int,
    learning_rate: Rate,
    beta1: float,
    beta2: float,
    eps: float,
    eps_root: float,
) -> Out:
    new_w, new_m, new_v = out
    np.multiply(g, g, out=new_w)
    new_w *= 1 - beta2
    np.multiply(v, beta2, out=new_v)
    new_v += new_w
    np.multiply(g, 1 - beta1, out=new_w)
    np.multiply(m, beta1, out=new_m)
    new_m += new_w
    c = 1 - beta2**t  # √(v/c + eps_root) + eps, times √c: both corrections in the learning rate save passes
    _divide_by_root(new_m, new_v, eps * math.sqrt(c), eps_root * c, out=new_w)
    new_w *= learning_rate * (math.sqrt(c) / (1 - beta1**t))
    np.subtract(w, new_w, out=new_w)
    return out


def adamw(
    learning_rate: Setting = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 0.0,
    eps_root: float = 1e-8,
    weight_decay: Setting = 0.01,
) -> Optimizer:
    """`adam` with decoupled weight decay: W − α (V̂/(√(Ŝ + eps_root) + eps) + λW) (Loshchilov & Hutter, ICLR 2019).

    Args:
        weight_decay: λ ≥ 0, for all parameters; by name: `{"*W": 0.01, "*": 0.0}` leaves out the biases.

    >>> nn.adamw(1e-3, weight_decay={"*W": 0.01, "*": 0.0})
    adamw(learning_rate=0.001, weight_decay={'*W': 0.01, '*': 0.0}, beta1=0.9, beta2=0.999, eps=0.0, eps_root=1e-08)
    """
    settings = _beta_settings(beta1=beta1, beta2=beta2) | _eps_settings(eps, eps_root)
    return _built_in(_adamw, ("m", "v"), learning_rate=learning_rate, weight_decay=weight_decay, **settings)


def _adamw(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    *,
    out: Out,
    t: int,
    learning_rate: Rate,
    weight_decay: Rate,
    **settings: float,
) -> Out:
    decayed = w * (1 - learning_rate * weight_decay)
    return _adam(decayed, g, m, v, out=out, t=t, learning_rate=learning_rate, **settings)


def _built_in(rule: Rule, slots: tuple[str, ...], **settings: Setting) -> Optimizer:
    return make(rule.__name__.lstrip("_"), rule, slots, Settings(**settings), writes=True)


# Passes over memory are what a step costs, so what is written serves as the scratch space of what comes before it.


def _descend(w: Array, direction: Array, learning_rate: Rate, out: Array) -> None:
    """w − α direction."""
    np.multiply(direction, learning_rate, out=out)
    np.subtract(w, out, out=out)


def _sum(a: Array, alpha: float, b: Array, beta: float, out: Array, scratch: Array) -> None:
    """αa + βb; b may be the scratch space."""
    np.multiply(b, beta, out=scratch)
    np.multiply(a, alpha, out=out)
    out += scratch


def _divide_by_root(a: Array, v: Array, eps: float, eps_root: float, out: Array) -> None:
    """a/(√(v + eps_root) + eps)."""
    root = np.add(v, eps_root, out=out) if eps_root else v
    np.sqrt(root, out=out)
    if eps:
        out += eps
    np.divide(a, out, out=out)


def _beta_settings(**betas: float) -> dict[str, float]:
    for name, beta in betas.items():
        if number(beta, name, 0, 1, why="the share of the old average that stays") == 1:
            raise ValueError(f"{name}=1: expected a number below 1, or nothing new would ever count")
    return betas


def _momentum_settings(beta1: float, dampening: float | None) -> dict[str, float]:
    _beta_settings(beta1=beta1)
    dampening = beta1 if dampening is None else number(dampening, "dampening", 0, 1)
    return {"beta1": beta1, "dampening": dampening}


def _eps_settings(eps: float, eps_root: float) -> dict[str, float]:
    number(eps, "eps", 0, math.inf)
    number(eps_root, "eps_root", 0, math.inf)
    if eps == eps_root == 0:
        raise ValueError("eps=0 and eps_root=0: one of them must be positive, or a gradient of 0 divides 0 by 0")
    return {"eps": eps, "eps_root": eps_root}


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adagrad": adagrad,
    "adam": adam,
    "adamw": adamw,
    "gd": gd,
    "momentum": momentum,
    "nesterov": nesterov,
    "rmsprop": rmsprop,
}
"""The names that stand for optimizers with their default settings."""
