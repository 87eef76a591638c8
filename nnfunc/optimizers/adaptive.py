"""Relatives of Adam, as rules on vectors: see `nnfunc.optimizers.rules` for their form, and for ε.

Values match PyTorch and Optax where these agree; the docstrings note where they differ.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nnfunc._internal.validate import LEAST_EPS, number
from nnfunc.arrays import Array
from nnfunc.optimizers.base import Numbers, Optimizer
from nnfunc.optimizers.formulas import Rate, beta_settings, built_in, eps_settings
from nnfunc.optimizers.rules import adam_numbers
from nnfunc.optimizers.setting import Setting


def nadam(
    learning_rate: Setting = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 0.0,
    eps_root: float = 1e-8,
    momentum_decay: float | None = 0.004,
) -> Optimizer:
    """Adam with Nesterov momentum (Dozat, ICLR workshop 2016).

    V and S as in `adam`;  W − α (μₜ₊₁ V/(1 − μ₁⋯μₜ₊₁) + (1 − μₜ) dW/(1 − μ₁⋯μₜ)) / (√(Ŝ + eps_root) + eps), with
    the momentum warm-up μₜ = β₁(1 − ½·0.96^(t·momentum_decay)).

    Args:
        momentum_decay: 0.004 as in the paper, PyTorch and Keras; None: μₜ = β₁ from the start, as in Optax.

    >>> nn.optimizers.nadam(1e-3, momentum_decay=None)
    nadam(learning_rate=0.001, beta1=0.9, beta2=0.999, eps=0.0, eps_root=1e-08)
    """
    settings = beta_settings(beta1=beta1, beta2=beta2) | eps_settings(eps, eps_root)
    if momentum_decay is not None:
        settings["momentum_decay"] = number(momentum_decay, "momentum_decay", 0, math.inf)
    return built_in(_nadam, _nadam_numbers, ("m", "v"), learning_rate=learning_rate, **settings)


def _nadam(
    w: Array, g: Array, m: Array, v: Array, keep1: float, new1: float, keep2: float, new2: float, eps: float,
    eps_root: float, of_m: float, of_g: float, root: float, rate: Rate,
) -> tuple[Array, ...]:  # fmt: skip
    m = m * keep1 + g * new1
    v = v * keep2 + g * g * new2
    return w - (m * of_m + g * of_g) / (np.sqrt(v + eps_root) + eps) * root * rate, m, v


def _nadam_numbers(
    t: int, learning_rate: Rate, beta1: float, beta2: float, eps: float, eps_root: float,
    momentum_decay: float = math.inf,
) -> Numbers:  # fmt: skip
    now = _momentum_at(t, beta1, momentum_decay)
    next_ = _momentum_at(t + 1, beta1, momentum_decay)
    # once β₁ᵗ is below the rounding error of 1, so is the product
    product = float(np.prod(_momentum_at(np.arange(1, t + 1), beta1, momentum_decay))) if beta1**t > 1e-17 else 0.0
    *averages, _ = adam_numbers(t, learning_rate, beta1, beta2, eps, eps_root)
    root = math.sqrt(1 - beta2**t)
    return *averages, next_ / (1 - product * next_), (1 - now) / (1 - product), root, learning_rate


def _momentum_at(t: Any, beta1: float, decay: float) -> Any:
    """μₜ, for a single t or an array of them."""
    return beta1 * (1 - 0.5 * 0.96 ** (t * decay))


def amsgrad(
    learning_rate: Setting = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 0.0,
    eps_root: float = 1e-8,
) -> Optimizer:
    """`adam` with the maximum of S so far in place of S (Reddi et al., ICLR 2018).

    As in PyTorch's `Adam(amsgrad=True)`, the maximum is taken first and then bias-corrected; Optax takes the maximum of
    the bias-corrected values.

    >>> nn.optimizers.amsgrad(1e-3)
    amsgrad(learning_rate=0.001, beta1=0.9, beta2=0.999, eps=0.0, eps_root=1e-08)
    """
    settings = beta_settings(beta1=beta1, beta2=beta2) | eps_settings(eps, eps_root)
    return built_in(_amsgrad, adam_numbers, ("m", "v", "largest_v"), learning_rate=learning_rate, **settings)


def _amsgrad(
    w: Array, g: Array, m: Array, v: Array, largest_v: Array, keep1: float, new1: float, keep2: float, new2: float,
    eps: float, eps_root: float, rate: Rate,
) -> tuple[Array, ...]:  # fmt: skip
    m = m * keep1 + g * new1
    v = v * keep2 + g * g * new2
    largest_v = np.maximum(largest_v, v)
    return w - m / (np.sqrt(largest_v + eps_root) + eps) * rate, m, v, largest_v


def adamax(learning_rate: Setting = 0.002, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> Optimizer:
    """V = β₁V + (1 − β₁) dW;  U = max(β₂U, |dW| + eps);  W − α V̂/U (Kingma & Ba, ICLR 2015, alg. 2).

    Args:
        eps: > 0, added to |dW|, as in PyTorch and Optax.

    >>> nn.optimizers.adamax()
    adamax(learning_rate=0.002, beta1=0.9, beta2=0.999, eps=1e-08)
    """
    eps = number(eps, "eps", LEAST_EPS, math.inf, why="a gradient of 0 would divide 0 by 0")
    betas = beta_settings(beta1=beta1, beta2=beta2)
    return built_in(_adamax, _adamax_numbers, ("m", "largest"), learning_rate=learning_rate, **betas, eps=eps)


def _adamax(
    w: Array, g: Array, m: Array, largest: Array, keep1: float, new1: float, keep2: float, eps: float, rate: Rate
) -> tuple[Array, ...]:
    m = m * keep1 + g * new1
    largest = np.maximum(largest * keep2, np.abs(g) + eps)
    return w - m / largest * rate, m, largest


def _adamax_numbers(t: int, learning_rate: Rate, beta1: float, beta2: float, eps: float) -> Numbers:
    return beta1, 1 - beta1, beta2, eps, learning_rate * (1 / (1 - beta1**t))


def adadelta(learning_rate: Setting = 1.0, beta2: float = 0.9, eps_root: float = 1e-6) -> Optimizer:
    """S = βS + (1 − β) dW²;  Δ = √(D + ε)/√(S + ε) dW;  D = βD + (1 − β) Δ²;  W − α Δ (Zeiler 2012).

    Args:
        learning_rate: α; the paper has none, which corresponds to 1. With Keras's default of 0.001, parameters barely
            move.
        beta2: β in [0, 1), called ρ elsewhere.
        eps_root: ε > 0, which determines the size of the first steps.

    >>> nn.optimizers.adadelta()
    adadelta(learning_rate=1.0, beta2=0.9, eps_root=1e-06)
    """
    eps_root = number(eps_root, "eps_root", LEAST_EPS, math.inf, why="from a D of 0, parameters would never move")
    return built_in(
        _adadelta,
        _adadelta_numbers,
        ("v", "d"),
        learning_rate=learning_rate,
        **beta_settings(beta2=beta2),
        eps_root=eps_root,
    )


def _adadelta(
    w: Array, g: Array, v: Array, d: Array, keep: float, new: float, eps_root: float, rate: Rate
) -> tuple[Array, ...]:
    v = v * keep + g * g * new
    delta = np.sqrt((d + eps_root) / (v + eps_root)) * g
    d = d * keep + delta * delta * new
    return w - delta * rate, v, d


def _adadelta_numbers(t: int, learning_rate: Rate, beta2: float, eps_root: float) -> Numbers:
    return beta2, 1 - beta2, eps_root, learning_rate


def radam(
    learning_rate: Setting = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 0.0,
    eps_root: float = 1e-8,
) -> Optimizer:
    """`adam` with shorter steps while Ŝ is estimated from few gradients (Liu et al., ICLR 2020).

    With ρ∞ = 2/(1 − β₂) − 1 and ρ = ρ∞ − 2tβ₂ᵗ/(1 − β₂ᵗ):  W − α r V̂/(√(Ŝ + eps_root) + eps) where ρ > 5, with
    r² = (ρ − 4)(ρ − 2)ρ∞ / ((ρ∞ − 4)(ρ∞ − 2)ρ), and W − α V̂ in the first steps. PyTorch adds its ε to the root
    before the bias correction, Optax after it, as here.

    >>> nn.optimizers.radam()
    radam(learning_rate=0.001, beta1=0.9, beta2=0.999, eps=0.0, eps_root=1e-08)
    """
    settings = beta_settings(beta1=beta1, beta2=beta2) | eps_settings(eps, eps_root)
    return built_in(_radam, _radam_numbers, ("m", "v"), learning_rate=learning_rate, **settings)


def _radam(
    w: Array, g: Array, m: Array, v: Array, keep1: float, new1: float, keep2: float, new2: float, share: float,
    eps: float, eps_root: float, rate: Rate,
) -> tuple[Array, ...]:  # fmt: skip
    m = m * keep1 + g * new1
    v = v * keep2 + g * g * new2
    return w - m / (np.sqrt(v + eps_root) * share + eps) * rate, m, v


def _radam_numbers(t: int, learning_rate: Rate, beta1: float, beta2: float, eps: float, eps_root: float) -> Numbers:
    *averages, outside, inside, _ = adam_numbers(t, learning_rate, beta1, beta2, eps, eps_root)
    c = 1 - beta2**t
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * t * (1 - c) / c
    rate = learning_rate * (1 / (1 - beta1**t))
    if length <= 5:  # m by 0·√v + 1
        return *averages, 0.0, 1.0, inside, rate
    r = math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
    return *averages, 1.0, outside, inside, rate * (r * math.sqrt(c))


def lion(
    learning_rate: Setting = 0.0001, beta1: float = 0.9, beta2: float = 0.99, weight_decay: Setting = 0.0
) -> Optimizer:
    """W − α (sign(β₁V + (1 − β₁) dW) + λW);  V = β₂V + (1 − β₂) dW (Chen et al., NeurIPS 2023).

    Every element moves by α at each step: use learning rates 3 to 10 times smaller than for `adamw`, and λ larger by
    the same factor.

    Args:
        weight_decay: λ ≥ 0, for all parameters or by name: `{"*W": 0.1, "*": 0.0}` excludes the biases.

    >>> nn.optimizers.lion(weight_decay=0.1)
    lion(learning_rate=0.0001, weight_decay=0.1, beta1=0.9, beta2=0.99)
    """
    betas = beta_settings(beta1=beta1, beta2=beta2)
    return built_in(_lion, _lion_numbers, ("m",), learning_rate=learning_rate, weight_decay=weight_decay, **betas)


def _lion(
    w: Array, g: Array, m: Array, heavy: float, keep: float, new: float, rate: Rate, decay: Rate
) -> tuple[Array, ...]:
    direction = np.sign(m * heavy + g)  # (β₁V + (1 − β₁) dW)/(1 − β₁) has the same sign
    return w - (direction + w * decay) * rate, (m * keep + g) * new


def _lion_numbers(t: int, learning_rate: Rate, weight_decay: Rate, beta1: float, beta2: float) -> Numbers:
    return beta1 / (1 - beta1), beta2 / (1 - beta2), 1 - beta2, learning_rate, weight_decay
