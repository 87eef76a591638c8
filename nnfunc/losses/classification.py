"""Cross-entropies, on probabilities and on logits.

binary_cross_entropy                −Σ (Y log A + (1 − Y) log(1 − A)), summed over the outputs
categorical_cross_entropy           −Σ Y log A, Y one-hot rows
sparse_categorical_cross_entropy    −log A_Y, Y class indices
..._with_logits                     the same for A = σ(z) or softmax(z), from z
focal(gamma, alpha)                 binary cross-entropy on logits that down-weights easy examples
kl_divergence                       Σ Y (log Y − y), y = log-probabilities
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np

from nnfunc._internal.numerics import floor, log1pexp, logistic, lowest, shifted_exp, sum_of_columns
from nnfunc._internal.validate import first_bad, number
from nnfunc.arrays import Array
from nnfunc.core.settings import Settings
from nnfunc.losses.base import Loss, Residual, make

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "categorical_cross_entropy",
    "categorical_cross_entropy_with_logits",
    "focal",
    "kl_divergence",
    "sparse_categorical_cross_entropy",
    "sparse_categorical_cross_entropy_with_logits",
]

Positive: TypeAlias = "tuple[float, ...] | None"
"""`positive_weights`: see `nnfunc.losses.options`."""

# -- on probabilities --------------------------------------------------------------------------------------------------


def _checked_probabilities(y: Array) -> Array:
    if np.minimum.reduce(y, axis=None) < 0 or np.maximum.reduce(y, axis=None) > 1 + 1e-3:
        raise ValueError(
            f"y contains {first_bad(y, (y < 0) | (y > 1 + 1e-3))}, expected probabilities: end the model with sigmoid "
            "or softmax, or use the form of this loss on logits (..._with_logits)"
        )
    return y


def _binary(y: Array, T: Array, *, positive_weights: Positive = None) -> tuple[Array, Residual]:
    least = floor(y.dtype)
    A, B = np.maximum(_checked_probabilities(y), least), np.maximum(1 - y, least)
    P = _positive(T, positive_weights)
    return -(P * np.log(A) + (1 - T) * np.log(B)), (A, B, T, P)


def _binary_gradient(residual: tuple[Array, ...], *, positive_weights: Positive = None) -> Array:
    A, B, T, P = residual
    return (1 - T) / B - P / A


def _positive(T: Array, weights: Positive) -> Array:
    """The weight of the label 1: Y, or Y times its weight."""
    if weights is None:
        return T
    if len(weights) not in (1, T.shape[-1]):
        raise ValueError(
            f"positive_weights has {len(weights)} values, expected one, or one for each of {T.shape[-1]} outputs"
        )
    return T * np.array(weights, T.dtype)


binary_cross_entropy: Loss = make(
    "binary_cross_entropy", Settings(positive_weights=None), _binary, _binary_gradient, "bits", "sigmoid",
    "binary_cross_entropy_with_logits", 0.5, over="sum",
)  # fmt: skip
"""−Σ (Y log A + (1 − Y) log(1 − A)), summed over the outputs, A = probabilities (of a sigmoid), Y in [0, 1].

y (examples, outputs), target of the same shape, or (examples,) for one output. A probability of 0 counts as the
smallest normal number of its dtype, so the value stays finite.

>>> nn.binary_cross_entropy.forward(np.array([[0.5], [0.5]]), np.array([[0.0], [1.0]]))[0]
0.6931471805599453
"""


def _categorical(y: Array, T: Array) -> tuple[Array, Residual]:
    A = np.maximum(_checked_probabilities(y), floor(y.dtype))
    return -sum_of_columns(T * np.log(A)), (A, T)


def _categorical_gradient(residual: tuple[Array, Array]) -> Array:
    A, T = residual
    return -T / A


categorical_cross_entropy: Loss = make(
    "categorical_cross_entropy", values=_categorical, gradient=_categorical_gradient, targets="one-hot",
    activation="softmax", logits="categorical_cross_entropy_with_logits", decision="largest",
)  # fmt: skip
"""−Σ Y log A, A = probabilities (of a softmax), Y one-hot rows (or probabilities) of the same shape.

>>> nn.categorical_cross_entropy.forward(np.array([[0.5, 0.5]]), np.array([[0.0, 1.0]]))[0]
0.6931471805599453
"""

sparse_categorical_cross_entropy: Loss = make(
    "sparse_categorical_cross_entropy", values=_categorical, gradient=_categorical_gradient, targets="classes",
    activation="softmax", logits="sparse_categorical_cross_entropy_with_logits", decision="largest",
)  # fmt: skip
"""−log A_Y, A = probabilities (of a softmax), Y = class indices (examples,) from 0.

>>> nn.sparse_categorical_cross_entropy.forward(np.array([[0.5, 0.5]]), np.array([1]))[0]
0.6931471805599453
"""


# -- on logits ---------------------------------------------------------------------------------------------------------


def _binary_with_logits(z: Array, T: Array, *, positive_weights: Positive = None) -> tuple[Array, Residual]:
    z = np.maximum(z, lowest(z.dtype))  # a logit of −∞ means probability 0; 0 · −∞ is 0 here
    if positive_weights is None:
        return log1pexp(z) - T * z, (z, T, T)
    P = _positive(T, positive_weights)
    return (1 - T) * log1pexp(z) + P * log1pexp(-z), (z, T, P)


def _binary_with_logits_gradient(residual: tuple[Array, Array, Array], *, positive_weights: Positive = None) -> Array:
    z, T, P = residual
    if positive_weights is None:
        return logistic(z) - T
    return (1 - T) * logistic(z) - P * logistic(-z)


binary_cross_entropy_with_logits: Loss = make(
    "binary_cross_entropy_with_logits", Settings(positive_weights=None), _binary_with_logits,
    _binary_with_logits_gradient, "bits", decision=0.0, over="sum",
)  # fmt: skip
"""`binary_cross_entropy` of σ(z): Σ log(1 + exp(z)) − Y z; its gradient is (σ(z) − Y)/m. Exact even at ±1000.

>>> nn.binary_cross_entropy_with_logits.forward(np.array([[1000.0]]), np.array([[0.0]]))[0]
1000.0
"""


def _categorical_with_logits(z: Array, T: Array) -> tuple[Array, Residual]:
    shifted, exp, total = shifted_exp(z)
    finite = np.maximum(shifted, lowest(z.dtype))  # a logit of −∞ masks its class; 0 · −∞ is 0 here
    return np.log(total[..., 0]) - sum_of_columns(T * finite), (exp, total, T)


def _categorical_with_logits_gradient(residual: tuple[Array, Array, Array]) -> Array:
    exp, total, T = residual
    return exp / total - T


categorical_cross_entropy_with_logits: Loss = make(
    "categorical_cross_entropy_with_logits", values=_categorical_with_logits,
    gradient=_categorical_with_logits_gradient, targets="one-hot", decision="largest",
)  # fmt: skip
"""`categorical_cross_entropy` of softmax(z): log Σ exp(z) − Σ Y z; its gradient is (softmax(z) − Y)/m.

A logit of −∞ masks a class: its probability is 0. A masked target has the largest finite loss, as does a row in which
all classes are masked: give such rows weight 0.

>>> nn.categorical_cross_entropy_with_logits.forward(np.array([[1000.0, 0.0]]), np.array([[0.0, 1.0]]))[0]
1000.0
"""

sparse_categorical_cross_entropy_with_logits: Loss = make(
    "sparse_categorical_cross_entropy_with_logits", values=_categorical_with_logits,
    gradient=_categorical_with_logits_gradient, targets="classes", decision="largest",
)  # fmt: skip
"""`sparse_categorical_cross_entropy` of softmax(z): log Σ exp(z) − z_Y.

>>> nn.sparse_categorical_cross_entropy_with_logits.forward(np.array([[1000.0, 0.0]]), np.array([1]))[0]
1000.0
"""


# -- variants ----------------------------------------------------------------------------------------------------------


def focal(gamma: float = 2.0, alpha: float | None = None) -> Loss:
    """−Σ (α Y (1 − p)^γ log p + (1 − α)(1 − Y) p^γ log(1 − p)), p = σ(z), summed over the outputs, from logits z.

    Lin et al., ICCV 2017; with alpha, torchvision's `sigmoid_focal_loss`.

    z (examples, outputs), target 0 or 1, of the same shape, or (examples,) for one output.

    Args:
        gamma: the strength of down-weighting easy examples; 0 is the binary cross-entropy.
        alpha: the weight of the label 1, in (0, 1); None: both labels have weight 1, not ½.

    >>> nn.losses.focal().forward(np.array([[0.0], [1000.0]]), np.array([1, 0]))[1].values.round(4)
    array([1.733e-01, 1.000e+03])
    """
    gamma = number(gamma, "gamma", 0, math.inf, why="the strength of down-weighting easy examples")
    if alpha is not None:
        alpha = number(alpha, "alpha", 0, 1, open_low=True, open_high=True, why="the weight of the label 1")
    settings = Settings(gamma=gamma, alpha=alpha)
    return make("focal", settings, _focal, _focal_gradient, "bits", decision=0.0, over="sum")


def _focal(z: Array, T: Array, *, gamma: float, alpha: float | None) -> tuple[Array, Residual]:
    most = -lowest(z.dtype) / (1 + gamma)
    z = np.clip(z, -most, most)  # 0 · ∞ is 0 here
    log_p, log_q = -log1pexp(-z), -log1pexp(z)
    P, Q = (T, 1 - T) if alpha is None else (alpha * T, (1 - alpha) * (1 - T))
    return -(P * np.exp(gamma * log_q) * log_p + Q * np.exp(gamma * log_p) * log_q), (log_p, log_q, P, Q)


def _focal_gradient(residual: tuple[Array, Array, Array, Array], *, gamma: float, alpha: float | None) -> Array:
    log_p, log_q, P, Q = residual
    p, q = np.exp(log_p), np.exp(log_q)
    of_1, of_0 = np.exp(gamma * log_q) * (gamma * p * log_p - q), np.exp(gamma * log_p) * (gamma * q * log_q - p)
    dz: Array = P * of_1 - Q * of_0
    return dz


def _divergence(y: Array, T: Array) -> tuple[Array, Residual]:
    if np.maximum.reduce(y, axis=None) > 1e-3:
        raise ValueError(
            f"y contains {first_bad(y, y > 1e-3)}, expected log-probabilities: end the model with log_softmax"
        )
    log_T = np.log(np.maximum(T, floor(T.dtype)))
    divergence: Array = sum_of_columns(T * (log_T - np.maximum(y, lowest(y.dtype))))
    return divergence, T


def _divergence_gradient(T: Array) -> Array:
    return -T


kl_divergence: Loss = make(
    "kl_divergence", values=_divergence, gradient=_divergence_gradient, targets="one-hot", decision="largest"
)
"""Σ Y (log Y − y), y = log-probabilities (of a log_softmax), Y probabilities of the same shape.

Equals PyTorch's `kl_div` with reduction="batchmean". A probability Y of 0 contributes 0, even if y is −∞.

>>> nn.losses.kl_divergence.forward(np.log([[0.5, 0.5]]), np.array([[0.0, 1.0]]))[0]
0.6931471805599453
"""
