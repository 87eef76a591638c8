"""Stochastic layers: dropout (Srivastava et al., JMLR 15, 2014) and samples of a normal distribution."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from nnfunc._internal.validate import number
from nnfunc.arrays import Array
from nnfunc.core.expressions import first, same
from nnfunc.core.kernel import Kernel, Signature, view
from nnfunc.core.layer import Layer, make
from nnfunc.core.settings import Settings
from nnfunc.core.values import Shapes
from nnfunc.keys import Keys, generator, random_bits
from nnfunc.layout import Shape

__all__ = ["dropout", "reparametrize"]


def dropout(keep_prob: float) -> Layer:
    """y = x · mask / keep_prob, where each element of the mask is 1 with probability keep_prob, else 0.

    Args:
        keep_prob: the probability that an element is KEPT, in (0, 1].
    Raises:
        ValueError: keep_prob outside (0, 1], or below 2⁻³².

    In training `forward` needs a key (a tuple of K keys for a stack of K networks); in prediction y is x.

    >>> x = np.ones((1, 6))
    >>> nn.dropout(0.5).forward(nn.arrays.EMPTY, nn.arrays.EMPTY, x, key=nn.key(1), train=True)[0]
    array([[0., 2., 0., 0., 0., 0.]])
    """
    why = "the probability of keeping an element, not of dropping it"
    keep_prob = number(keep_prob, "keep_prob", 0, 1, open_low=True, why=why)
    if keep_prob < 2**-32:
        raise ValueError(f"keep_prob={keep_prob!r}: expected at least 2⁻³², as masks are drawn from 32 random bits")
    return make("dropout", Settings(keep_prob=keep_prob), DROPOUT)


def _dropout(
    params: Sequence[Array], x: Array, *, key: Keys | None, train: bool, keep_prob: float
) -> tuple[Array, Array | None]:
    """Returns y and the mask, or None if nothing is dropped."""
    if not train or keep_prob == 1:
        return view(x), None
    if key is None:
        raise ValueError("dropout in training needs a key: pass key=nn.key(seed), or train=False to predict")
    mask = _mask(key, x.shape, keep_prob, x.dtype)
    return x * mask, mask


def _mask(key: Keys, shape: Shape, keep_prob: float, dtype: np.dtype[np.floating]) -> Array:
    """1/keep_prob or 0 for each element; drawn as integers, so that masks do not depend on the dtype."""
    if isinstance(key, tuple):
        return np.stack([_mask(k, shape[1:], keep_prob, dtype) for k in key])
    kept = random_bits(key, prod(shape)).reshape(shape) < np.uint32(keep_prob * 2**32)
    mask: Array = kept.astype(dtype)
    mask *= 1 / keep_prob
    return mask


def _dropout_backward(
    params: Sequence[Array], mask: Array | None, dy: Array, grads: Sequence[Array | None], need: bool, **_: float
) -> Array:
    dx: Array = view(dy) if mask is None else dy * mask
    return dx


def reparametrize() -> Layer:
    """(mu, logvar) → mu + exp(logvar/2) · ε, ε ~ N(0, 1) in training; mu in prediction (Kingma & Welling, ICLR 2014).

    Both inputs have the same shape. In training `forward` needs a key.

    >>> x = np.zeros((1, 2)), np.full((1, 2), -1000.0)
    >>> nn.reparametrize().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, x, key=nn.key(0), train=True)[0].round(3) + 0.0
    array([[0., 0.]])
    """
    return make("reparametrize", kernel=REPARAMETRIZE)


def _pair(input_shape: Shapes) -> Signature:
    if len(input_shape) != 2 or not all(isinstance(s, tuple) for s in input_shape) or input_shape[0] != input_shape[1]:
        raise ValueError(f"the inputs have shapes {input_shape}, expected two of the same shape: (mu, logvar)")
    return Signature(input_shape[0])


def _sample(
    params: Sequence[Array], x: tuple[Array, Array], *, key: Keys | None, train: bool
) -> tuple[Array, Array | None]:
    """Returns the sample and std · ε."""
    mu, logvar = x
    if not train:
        return view(mu), None
    if key is None:
        raise ValueError("sampling needs a key: pass key=nn.key(seed), or train=False for the mean")
    noise = np.exp(0.5 * logvar) * _normal(key, mu.shape, mu.dtype)
    return mu + noise, noise


def _normal(key: Keys, shape: Shape, dtype: np.dtype[np.floating]) -> Array:
    if isinstance(key, tuple):
        return np.stack([_normal(k, shape[1:], dtype) for k in key])
    return generator(key).normal(size=shape).astype(dtype)


def _sample_backward(
    params: Sequence[Array],
    noise: Array | None,
    dy: Array,
    grads: Sequence[Array | None],
    need: tuple[bool, bool],
) -> tuple[Array, Array]:
    return dy, np.zeros_like(dy) if noise is None else 0.5 * dy * noise


DROPOUT = Kernel(
    _dropout, _dropout_backward, formula="x · mask / keep_prob", uses=("keep_prob",), asks=("key", "train"), onnx=same
)
REPARAMETRIZE = Kernel(
    _sample, _sample_backward, _pair, formula="mu + exp(logvar/2) · ε", asks=("key", "train"),
    onnx=first,
)  # fmt: skip
