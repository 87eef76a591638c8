"""Losses of several embeddings: y is a tuple of them, as returned by `nn.shared(tower)`.

contrastive(margin)     matching pairs are pulled together, others pushed at least a margin apart
triplet(margin)         the positive should be closer to the anchor than the negative, by a margin
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np

from nnfunc._internal.numerics import sum_of_columns, zero
from nnfunc._internal.validate import number
from nnfunc.arrays import Array
from nnfunc.core.settings import Settings
from nnfunc.losses.base import Loss, Residual, make

__all__ = ["contrastive", "triplet"]

Pair: TypeAlias = tuple[Array, Array]
Triple: TypeAlias = tuple[Array, Array, Array]


def _distance(a: Array, b: Array) -> Pair:
    """Returns ‖a − b‖ as a column, and its gradient with respect to a (0 where they are equal)."""
    d = a - b
    length = np.sqrt(sum_of_columns(d * d))[..., None]
    return length, d / np.where(length == 0, d.dtype.type(1), length)


def contrastive(margin: float = 1.0) -> Loss:
    """½ Y d² + ½ (1 − Y) max(0, margin − d)², d = ‖a − b‖ (Hadsell et al., CVPR 2006).

    y = (a, b), embeddings (examples, features); target (examples,), 1 for matching pairs, else 0 (the paper
    reverses this).

    >>> y = np.array([[0.0, 0.0], [0.0, 0.0]]), np.array([[0.6, 0.8], [0.3, 0.4]])
    >>> nn.losses.contrastive().forward(y, np.array([1, 0]))[1].values
    array([0.5  , 0.125])
    """
    margin = number(margin, "margin", 0, math.inf, open_low=True, why="the minimum distance of other pairs")
    return make("contrastive", Settings(margin=margin), _contrastive, _contrastive_gradient, "pairs", outputs=2)


def _contrastive(y: Pair, T: Array, *, margin: float) -> tuple[Array, Residual]:
    d, unit = _distance(*y)
    lacking = np.maximum(margin - d, zero(d.dtype))
    value: Array = 0.5 * (T * d * d + (1 - T) * lacking * lacking)
    return value[..., 0], (d, unit, lacking, T)


def _contrastive_gradient(residual: tuple[Array, Array, Array, Array], *, margin: float) -> Pair:
    d, unit, lacking, T = residual
    da = (T * d - (1 - T) * lacking) * unit
    return da, -da


def triplet(margin: float = 1.0) -> Loss:
    """max(0, ‖a − p‖ − ‖a − n‖ + margin): PyTorch's `triplet_margin_loss` with p=2 and eps=0.

    Schroff et al., CVPR 2015, without the squares.

    y = (a, p, n), embeddings (examples, features): anchor, positive, negative. The target is ignored: any target
    with one row per example is accepted, like zeros (examples,).

    >>> y = np.array([[0.0, 0.0]]), np.array([[0.6, 0.8]]), np.array([[0.9, 1.2]])
    >>> nn.losses.triplet().forward(y, np.zeros(1))[0]
    0.5
    """
    margin = number(margin, "margin", 0, math.inf, why="the margin by which the negative should be farther away")
    return make("triplet", Settings(margin=margin), _triplet, _triplet_gradient, "nothing", outputs=3)


def _triplet(y: Triple, T: Array, *, margin: float) -> tuple[Array, Residual]:
    (near, toward), (far, away) = _distance(y[0], y[1]), _distance(y[0], y[2])
    value = np.maximum(near - far + margin, zero(near.dtype))
    return value[..., 0], ((value > 0).astype(value.dtype), toward, away)


def _triplet_gradient(residual: Triple, *, margin: float) -> Triple:
    counts, toward, away = residual
    dp, dn = -counts * toward, counts * away
    return -(dp + dn), dp, dn
