"""Penalties: what is added to the loss for large weights.

    forward(params, examples) -> value
    backward(params, examples) -> gradient (a dict like params)

`examples` is the number m of examples in the batch: the loss is a mean over them, and the penalties here are divided
by m too, so that they weigh as much as one example does. The weights are chosen by name ("*W"): biases, gammas and
betas are not penalised.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from nnfunc.arrays import Array, ArrayDict, Patterns, Scalar, stack, unstack
from nnfunc.errors import numeric
from nnfunc.values import call, hyperparameters


class Penalty(NamedTuple):
    """A penalty: `forward(params, examples) -> value` and `backward(params, examples) -> gradient`.

    >>> nn.l2(0.1)
    l2(strength=0.1, where='*W')
    """

    forward: Callable[[ArrayDict, int], Scalar]
    backward: Callable[[ArrayDict, int], ArrayDict]

    def __repr__(self) -> str:
        keywords = hyperparameters([self.forward])
        value = keywords.get("value")
        if value is None:
            return f"Penalty(forward={self.forward!r}, backward={self.backward!r})"
        return call(value.__name__.lstrip("_"), keywords, hidden=["value"])


def for_stack(penalty: Penalty, params: ArrayDict) -> Penalty:
    """`penalty` for these parameters: one of a user's own is called for each network of a stack."""
    built_in = getattr(penalty.forward, "func", None) is _forward
    if built_in or not params.stack_shape:
        return penalty
    return Penalty(partial(_each_forward, function=penalty.forward), partial(_each_backward, function=penalty.backward))


def _each_forward(params: ArrayDict, examples: int, *, function: Callable[[ArrayDict, int], Scalar]) -> Array:
    return np.array([function(member, examples) for member in unstack(params)], params.dtype)


def _each_backward(params: ArrayDict, examples: int, *, function: Callable[[ArrayDict, int], ArrayDict]) -> ArrayDict:
    return stack([member.like(function(member, examples), "the penalty's gradient") for member in unstack(params)])


def l2(strength: float | ArrayLike, where: Patterns = "*W") -> Penalty:
    """λ/(2m) · Σ‖W‖²; its gradient is λ/m · W.

    Args:
        strength: λ ≥ 0; of a stack of K networks also an array (K,), a λ for each.
        where: the patterns of the names that are penalised.
    Raises:
        ValueError: λ negative or NaN; when used: a pattern that matches no name.

    >>> params = nn.ArrayDict({"W": [[3.0], [1.0]], "b": [5.0]})
    >>> nn.l2(0.1).forward(params, 2), nn.l2(0.1).backward(params, 2).vector
    (0.25, array([0.15, 0.05, 0.  ]))
    """
    return _penalty(strength, where, _l2, _l2_gradient)


def l1(strength: float | ArrayLike, where: Patterns = "*W") -> Penalty:
    """λ/m · Σ|W|; its gradient is λ/m · sign(W), 0 at 0.

    Arguments and errors are those of `l2`.

    >>> params = nn.ArrayDict({"W": [[3.0], [-1.0]], "b": [5.0]})
    >>> nn.l1(0.1).forward(params, 2), nn.l1(0.1).backward(params, 2).vector
    (0.2, array([ 0.05, -0.05,  0.  ]))
    """
    return _penalty(strength, where, _l1, _l1_gradient)


def _l2(w: Array) -> Array:
    total: Array = np.sum(w * w, axis=-1)
    return total / 2


def _l2_gradient(w: Array) -> Array:
    return w


def _l1(w: Array) -> Array:
    total: Array = np.sum(np.abs(w), axis=-1)
    return total


def _l1_gradient(w: Array) -> Array:
    return np.sign(w)


def _penalty(
    strength: float | ArrayLike, where: Patterns, value: Callable[[Array], Array], gradient: Callable[[Array], Array]
) -> Penalty:
    given = numeric(strength, "strength")
    if given.dtype.kind == "b" or given.ndim > 1 or not (np.isfinite(given) & (given >= 0)).all():
        raise ValueError(f"strength={strength!r}: expected a number (for a stack, an array of them) in [0, ∞)")
    if given.ndim:
        strength = given.copy()  # which no one can change later
        strength.setflags(write=False)
    where = where if isinstance(where, str) else tuple(where)
    return Penalty(
        partial(_forward, strength=strength, where=where, value=value),
        partial(_backward, strength=strength, where=where, gradient=gradient),
    )


def _factor(strength: float | ArrayLike, examples: int, params: ArrayDict) -> Array:
    factor = np.asarray(np.divide(strength, examples), params.dtype)
    if factor.shape not in ((), params.stack_shape):
        members = f"a stack of {params.stack_shape[0]}" if params.stack_shape else "a single network"
        raise ValueError(f"strength has shape {factor.shape}, but the parameters are {members}")
    return factor


def _forward(
    params: ArrayDict, examples: int, *, strength: float | ArrayLike, where: Patterns, value: Callable[[Array], Array]
) -> Scalar:
    norms = sum((value(params.vector[..., s]) for s in params.slices(where)), start=np.zeros((), params.dtype))
    total = _factor(strength, examples, params) * norms
    return total if total.ndim else float(total)


def _backward(
    params: ArrayDict,
    examples: int,
    *,
    strength: float | ArrayLike,
    where: Patterns,
    gradient: Callable[[Array], Array],
) -> ArrayDict:
    grads = params.draft()
    grads.vector[...] = 0
    for s in params.slices(where):
        grads.vector[..., s] = _factor(strength, examples, params)[..., None] * gradient(params.vector[..., s])
    return grads.freeze()
