"""The update rules. Each is a formula, `(w, g, *slots, *numbers) -> (w, *slots)`, of arrays or scalars: w are the
parameters, g is the gradient, followed by the rule's state. The `numbers`, all the constants of the formula, are
computed from the settings and from t, which counts updates from 1, by the function that follows it.

By default ε is inside the root (`eps_root`) and momentum is an average (its gradient has the factor 1 − β). The forms
of Kingma & Ba, PyTorch and Optax: `adam(..., eps=1e-8, eps_root=0.0)`, `momentum(..., dampening=0.0)`.
Every learning rate and weight decay is a `Setting`: see `nnfunc.optimizers.base`.
"""

from __future__ import annotations

import math

import numpy as np

from nnfunc._internal.validate import number
from nnfunc.arrays import Array
from nnfunc.optimizers.base import Numbers, Optimizer
from nnfunc.optimizers.formulas import Rate, beta_settings, built_in, eps_settings
from nnfunc.optimizers.setting import Setting


def gd(learning_rate: Setting = 0.01) -> Optimizer:
    """Gradient descent: W − α dW.

    Args:
        learning_rate: α ≥ 0.

    >>> nn.gd(0.1)
    gd(learning_rate=0.1)
    """
    return built_in(_gd, _gd_numbers, (), learning_rate=learning_rate)


def _gd(w: Array, g: Array, rate: Rate) -> tuple[Array, ...]:
    return (w - g * rate,)


def _gd_numbers(t: int, learning_rate: Rate) -> Numbers:
    return (learning_rate,)


def momentum(learning_rate: Setting = 0.01, beta1: float = 0.9, dampening: float | None = None) -> Optimizer:
    """V = βV + (1 − dampening) dW;  W − αV (Polyak 1964). V starts at 0, without bias correction.

    Args:
        learning_rate: α ≥ 0.
        beta1: β in [0, 1), the weight of the old direction.
        dampening: in [0, 1]; None: β, so that V is an average, (1 − β) dW. 0: the form of PyTorch and Optax.

    >>> nn.momentum(0.1)
    momentum(learning_rate=0.1, beta1=0.9, dampening=0.9)
    """
    settings = _momentum_settings(beta1, dampening)
    return built_in(_momentum, _momentum_numbers, ("m",), learning_rate=learning_rate, **settings)


def _momentum(w: Array, g: Array, m: Array, keep: float, new: float, rate: Rate) -> tuple[Array, ...]:
    m = m * keep + g * new
    return w - m * rate, m


def _momentum_numbers(t: int, learning_rate: Rate, beta1: float, dampening: float) -> Numbers:
    return beta1, 1 - dampening, learning_rate


def nesterov(learning_rate: Setting = 0.01, beta1: float = 0.9, dampening: float | None = None) -> Optimizer:
    """V = βV + (1 − dampening) dW;  W − α(βV + (1 − dampening) dW) (Nesterov 1983; Sutskever et al., ICML 2013).

    The arguments are those of `momentum`; dampening=0.0 is the form of PyTorch and Optax.

    >>> nn.nesterov(0.1, dampening=0.0)
    nesterov(learning_rate=0.1, beta1=0.9, dampening=0.0)
    """
    settings = _momentum_settings(beta1, dampening)
    return built_in(_nesterov, _momentum_numbers, ("m",), learning_rate=learning_rate, **settings)


def _nesterov(w: Array, g: Array, m: Array, keep: float, new: float, rate: Rate) -> tuple[Array, ...]:
    m = m * keep + g * new
    return w - (g * new + m * keep) * rate, m


def adagrad(learning_rate: Setting = 0.01, eps: float = 0.0, eps_root: float = 1e-8) -> Optimizer:
    """S = S + dW²;  W − α dW/(√(S + eps_root) + eps) (Duchi et al., JMLR 12, 2011).

    >>> nn.adagrad(0.1)
    adagrad(learning_rate=0.1, eps=0.0, eps_root=1e-08)
    """
    return built_in(_adagrad, _adagrad_numbers, ("v",), learning_rate=learning_rate, **eps_settings(eps, eps_root))


def _adagrad(w: Array, g: Array, v: Array, eps: float, eps_root: float, rate: Rate) -> tuple[Array, ...]:
    v = v + g * g
    return w - g / (np.sqrt(v + eps_root) + eps) * rate, v


def _adagrad_numbers(t: int, learning_rate: Rate, eps: float, eps_root: float) -> Numbers:
    return eps, eps_root, learning_rate


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
    return built_in(_rmsprop, _rmsprop_numbers, ("v",), learning_rate=learning_rate, **settings)


def _rmsprop(
    w: Array, g: Array, v: Array, keep: float, new: float, eps: float, eps_root: float, rate: Rate
) -> tuple[Array, ...]:
    v = v * keep + g * g * new
    return w - g / (np.sqrt(v + eps_root) + eps) * rate, v


def _rmsprop_numbers(t: int, learning_rate: Rate, beta2: float, eps: float, eps_root: float) -> Numbers:
    return beta2, 1 - beta2, eps, eps_root, learning_rate


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
    return built_in(_adam, adam_numbers, ("m", "v"), learning_rate=learning_rate, **settings)


def _adam(
    w: Array, g: Array, m: Array, v: Array, keep1: float, new1: float, keep2: float, new2: float, eps: float,
    eps_root: float, rate: Rate,
) -> tuple[Array, ...]:  # fmt: skip
    m = m * keep1 + g * new1
    v = v * keep2 + g * g * new2
    return w - m / (np.sqrt(v + eps_root) + eps) * rate, m, v


def adam_numbers(t: int, learning_rate: Rate, beta1: float, beta2: float, eps: float, eps_root: float) -> Numbers:
    """The numbers of `adam`. √(v/c + eps_root) + eps is multiplied by √c, so that the learning rate contains both bias
    corrections.

    >>> adam_numbers(1, 0.1, 0.5, 0.75, 0.0, 1.0)
    (0.5, 0.5, 0.75, 0.25, 0.0, 0.25, 0.1)
    """
    c = 1 - beta2**t
    rate = learning_rate * (math.sqrt(c) / (1 - beta1**t))
    return beta1, 1 - beta1, beta2, 1 - beta2, eps * math.sqrt(c), eps_root * c, rate


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
        weight_decay: λ ≥ 0, for all parameters or by name: `{"*W": 0.01, "*": 0.0}` excludes the biases.

    >>> nn.adamw(1e-3, weight_decay={"*W": 0.01, "*": 0.0})
    adamw(learning_rate=0.001, weight_decay={'*W': 0.01, '*': 0.0}, beta1=0.9, beta2=0.999, eps=0.0, eps_root=1e-08)
    """
    settings = beta_settings(beta1=beta1, beta2=beta2) | eps_settings(eps, eps_root)
    rates = {"learning_rate": learning_rate, "weight_decay": weight_decay}
    return built_in(_adamw, _adamw_numbers, ("m", "v"), **rates, **settings)


def _adamw(
    w: Array, g: Array, m: Array, v: Array, keep1: float, new1: float, keep2: float, new2: float, eps: float,
    eps_root: float, rate: Rate, left: Rate,
) -> tuple[Array, ...]:  # fmt: skip
    m = m * keep1 + g * new1
    v = v * keep2 + g * g * new2
    return w * left - m / (np.sqrt(v + eps_root) + eps) * rate, m, v


def _adamw_numbers(t: int, learning_rate: Rate, weight_decay: Rate, **settings: float) -> Numbers:
    return *adam_numbers(t, learning_rate, **settings), 1 - learning_rate * weight_decay


def _momentum_settings(beta1: float, dampening: float | None) -> dict[str, float]:
    beta_settings(beta1=beta1)
    dampening = beta1 if dampening is None else number(dampening, "dampening", 0, 1)
    return {"beta1": beta1, "dampening": dampening}
