"""The update rules, each on vectors: w parameters, g gradient, then what the rule remembers; t counts updates from 1.
The new values are written into `out`, in the same order and without g.

By default ε stands inside the root (`eps_root`) and momentum averages (its gradient has the factor 1 − β). The forms
of Kingma & Ba, PyTorch and Optax: `adam(..., eps=1e-8, eps_root=0.0)`, `momentum(..., dampening=0.0)`.
Every learning rate and weight decay is a `Setting`: see `nnfunc.optimizers.base`.
"""

from __future__ import annotations

import math

import numpy as np

from nnfunc._internal.validate import number
from nnfunc.arrays import Array
from nnfunc.optimizers.base import Optimizer
from nnfunc.optimizers.passes import (
    Out,
    Rate,
    beta_settings,
    built_in,
    descend,
    divide_by_root,
    eps_settings,
    moments,
    weighted_sum,
)
from nnfunc.optimizers.setting import Setting


def gd(learning_rate: Setting = 0.01) -> Optimizer:
    """Gradient descent: W − α dW.

    Args:
        learning_rate: α ≥ 0.

    >>> nn.gd(0.1)
    gd(learning_rate=0.1)
    """
    return built_in(_gd, (), learning_rate=learning_rate)


def _gd(w: Array, g: Array, *, out: Out, t: int, learning_rate: Rate) -> Out:
    [new_w] = out
    descend(w, g, learning_rate, out=new_w)
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
    return built_in(_momentum, ("m",), learning_rate=learning_rate, **settings)


def _momentum(
    w: Array, g: Array, m: Array, *, out: Out, t: int, learning_rate: Rate, beta1: float, dampening: float
) -> Out:
    new_w, new_m = out
    weighted_sum(m, beta1, g, 1 - dampening, out=new_m, scratch=new_w)
    descend(w, new_m, learning_rate, out=new_w)
    return out


def nesterov(learning_rate: Setting = 0.01, beta1: float = 0.9, dampening: float | None = None) -> Optimizer:
    """V = βV + (1 − dampening) dW;  W − α(βV + (1 − dampening) dW) (Nesterov 1983; Sutskever et al., ICML 2013).

    Arguments are those of `momentum`; dampening=0.0 is PyTorch's and Optax's form.

    >>> nn.nesterov(0.1, dampening=0.0)
    nesterov(learning_rate=0.1, beta1=0.9, dampening=0.0)
    """
    settings = _momentum_settings(beta1, dampening)
    return built_in(_nesterov, ("m",), learning_rate=learning_rate, **settings)


def _nesterov(
    w: Array, g: Array, m: Array, *, out: Out, t: int, learning_rate: Rate, beta1: float, dampening: float
) -> Out:
    new_w, new_m = out
    weighted_sum(m, beta1, g, 1 - dampening, out=new_m, scratch=new_w)
    new_w += np.multiply(new_m, beta1)  # it holds (1 − dampening) dW
    descend(w, new_w, learning_rate, out=new_w)
    return out


def adagrad(learning_rate: Setting = 0.01, eps: float = 0.0, eps_root: float = 1e-8) -> Optimizer:
    """S = S + dW²;  W − α dW/(√(S + eps_root) + eps) (Duchi et al., JMLR 12, 2011).

    >>> nn.adagrad(0.1)
    adagrad(learning_rate=0.1, eps=0.0, eps_root=1e-08)
    """
    return built_in(_adagrad, ("v",), learning_rate=learning_rate, **eps_settings(eps, eps_root))


def _adagrad(
    w: Array, g: Array, v: Array, *, out: Out, t: int, learning_rate: Rate, eps: float, eps_root: float
) -> Out:
    new_w, new_v = out
    np.multiply(g, g, out=new_w)
    np.add(v, new_w, out=new_v)
    divide_by_root(g, new_v, eps, eps_root, out=new_w)
    descend(w, new_w, learning_rate, out=new_w)
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
    settings = beta_settings(beta2=beta2) | eps_settings(eps, eps_root)
    return built_in(_rmsprop, ("v",), learning_rate=learning_rate, **settings)


def _rmsprop(
    w: Array, g: Array, v: Array, *, out: Out, t: int, learning_rate: Rate, beta2: float, eps: float, eps_root: float
) -> Out:
    new_w, new_v = out
    np.multiply(g, g, out=new_w)
    weighted_sum(v, beta2, new_w, 1 - beta2, out=new_v, scratch=new_w)
    divide_by_root(g, new_v, eps, eps_root, out=new_w)
    descend(w, new_w, learning_rate, out=new_w)
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
    settings = beta_settings(beta1=beta1, beta2=beta2) | eps_settings(eps, eps_root)
    return built_in(_adam, ("m", "v"), learning_rate=learning_rate, **settings)


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
    moments(g, m, v, beta1, beta2, new_m, new_v, scratch=new_w)
    c = 1 - beta2**t  # √(v/c + eps_root) + eps, times √c: both corrections in the learning rate save passes
    divide_by_root(new_m, new_v, eps * math.sqrt(c), eps_root * c, out=new_w)
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
    settings = beta_settings(beta1=beta1, beta2=beta2) | eps_settings(eps, eps_root)
    return built_in(_adamw, ("m", "v"), learning_rate=learning_rate, weight_decay=weight_decay, **settings)


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


def _momentum_settings(beta1: float, dampening: float | None) -> dict[str, float]:
    beta_settings(beta1=beta1)
    dampening = beta1 if dampening is None else number(dampening, "dampening", 0, 1)
    return {"beta1": beta1, "dampening": dampening}
