"""Muon: orthogonalized momentum, for matrices."""

from __future__ import annotations

import math

import numpy as np

from nnfunc.arrays import Array
from nnfunc.core.settings import Settings
from nnfunc.optimizers.base import Numbers, Optimizer, make
from nnfunc.optimizers.formulas import Rate, beta_settings
from nnfunc.optimizers.setting import Setting

COEFFICIENTS = 3.4445, -4.7750, 2.0315
"""Coefficients of the polynomial whose five-fold iteration brings singular values in (0, 1] close to 1."""

ITERATIONS = 5


def muon(learning_rate: Setting = 0.02, beta1: float = 0.95, weight_decay: Setting = 0.0) -> Optimizer:
    """V = βV + (1 − β) dW;  W − α (√max(1, out/in) · orthogonalized(βV + (1 − β) dW) + λW) (Jordan 2024).

    For matrices, weights of shape (in, out); a kernel with more axes is treated as a matrix (all others, out). Use
    another rule for other parameters and, as its author advises, for embeddings and the last layer:
    `partition({"embedding*": nn.adamw(), "*W": muon(), "*": nn.adamw()})`.

    Args:
        learning_rate: α ≥ 0, about the size of the scaled singular values of each update.
        beta1: β in [0, 1).
        weight_decay: λ ≥ 0.
    Raises:
        ValueError: on use: a parameter with fewer than two axes.

    Values match `torch.optim.Muon`, except that it computes in bfloat16 and has other defaults. Optax's version applies
    bias correction to V and dW.

    >>> optimizer = nn.optimizers.partition({"*W": nn.optimizers.muon(0.02), "*": nn.adamw(1e-3)})
    >>> optimizer.parts[0]
    ('*W', muon(learning_rate=0.02, weight_decay=0.0, beta1=0.95))
    """
    settings = Settings(learning_rate=learning_rate, weight_decay=weight_decay, **beta_settings(beta1=beta1))
    return make("muon", _muon, ("m",), settings, constants=_muon_numbers, shaped=True)


def _muon(w: Array, g: Array, m: Array, keep: float, new: float, rate: Rate, decay: Rate) -> tuple[Array, ...]:
    if w.ndim < 2:
        raise ValueError(
            f"it has shape {w.shape}, but muon is for matrices: use another rule for the others, as in "
            "nn.optimizers.partition({'*W': nn.optimizers.muon(), '*': nn.adamw()})"
        )
    m = m * keep + g * new
    ahead = m * keep + g * new
    direction = orthogonalized(ahead.reshape(-1, w.shape[-1])).reshape(w.shape)
    direction *= math.sqrt(max(1.0, w.shape[-1] * w.shape[-1] / w.size))
    direction += w * decay
    return w - direction * rate, m


def _muon_numbers(t: int, learning_rate: Rate, weight_decay: Rate, beta1: float) -> Numbers:
    return beta1, 1 - beta1, learning_rate, weight_decay


def orthogonalized(a: Array) -> Array:
    """An approximation of U Vᵀ, where U S Vᵀ is the singular value decomposition.

    Singular values above 2 % of ‖a‖ become 0.68 to 1.14, smaller ones less than that.

    Five Newton-Schulz iterations with a polynomial of degree 5.

    >>> np.linalg.svd(orthogonalized(np.diag([3.0, 1.0, 0.1])))[1].round(2)
    array([1.13, 1.13, 0.75])
    """
    c1, c3, c5 = COEFFICIENTS
    x = a if a.shape[0] <= a.shape[1] else a.T
    x = x / max(float(np.linalg.norm(x)), 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = c1 * x + (c3 * square + c5 * (square @ square)) @ x
    return x if a.shape[0] <= a.shape[1] else x.T
