"""Dropout (Srivastava et al., JMLR 15, 2014), in the inverted form: scaled in training, the identity in prediction."""

from __future__ import annotations

from functools import partial

import numpy as np

from nnfunc.arrays import Array, ArrayDict
from nnfunc.errors import number
from nnfunc.keys import Keys, random_bits
from nnfunc.layers.base import Kernel, Layer, of_kernel, view


def dropout(keep_prob: float) -> Layer:
    """y = x · mask / keep_prob, each element of the mask 1 with probability keep_prob, else 0.

    Args:
        keep_prob: the probability that an element is KEPT, in (0, 1].
    Raises:
        ValueError: keep_prob outside (0, 1], or below 2⁻³².

    In training `forward` needs a key (a tuple of K keys for a stack of K networks); in prediction y is x.

    >>> x = np.ones((1, 6))
    >>> nn.dropout(0.5).forward(nn.EMPTY, nn.EMPTY, x, key=nn.key(1), train=True)[0]
    array([[0., 2., 0., 0., 0., 0.]])
    """
    why = "the probability to keep an element, not to drop it"
    keep_prob = number(keep_prob, "keep_prob", 0, 1, open_low=True, why=why)
    if keep_prob < 2**-32:
        raise ValueError(f"keep_prob={keep_prob!r}: expected at least 2⁻³², as masks are drawn with 32 bits")
    return of_kernel("dropout", Kernel(partial(_forward, keep_prob=keep_prob), _backward, in_training=True))


def _forward(
    x: Array, *, state: ArrayDict, key: Keys | None, train: bool, keep_prob: float
) -> tuple[Array, Array | None, ArrayDict]:
    """The cache is the mask, or None where nothing is dropped."""
    if not train or keep_prob == 1:
        return view(x), None, state
    if key is None:
        raise ValueError("dropout in training needs a key: pass key=nn.key(seed), or train=False to predict")
    mask = _mask(key, x, keep_prob)
    return x * mask, mask, state


def _mask(key: Keys, x: Array, keep_prob: float) -> Array:
    """1/keep_prob or 0 for each element; drawn as whole numbers, so that the dtype changes no mask."""
    if isinstance(key, tuple):
        members = x if x.ndim > 2 else np.broadcast_to(x, (len(key), *x.shape))
        if len(members) != len(key):
            raise ValueError(f"key is a tuple of {len(key)} keys but x is a stack of {len(members)}")
        return np.stack([_mask(k, member, keep_prob) for k, member in zip(key, members, strict=True)])
    kept = random_bits(key, x.size).reshape(x.shape) < np.uint32(keep_prob * 2**32)
    return np.multiply(kept, 1 / keep_prob, dtype=x.dtype)


def _backward(dy: Array, mask: Array | None, *_: object) -> Array:
    return view(dy) if mask is None else dy * mask
