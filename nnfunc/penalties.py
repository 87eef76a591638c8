"""Penalties: terms added to the loss for large weights.

    forward(params, examples) -> value
    backward(params, examples) -> gradient (a dict like params)

`examples` is the number m of examples in the batch, or the sum of their weights. The loss is a mean over them, and the
penalties here are divided by m too, so that they count as much as one example. The penalised arrays are selected by
name ("*W"): biases, gammas and betas are not penalised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from nnfunc._internal.validate import numeric
from nnfunc.arrays import Array, ArrayDict, Numbers, Scalar, as_dict, new_vector
from nnfunc.core.settings import NO_SETTINGS, Settings, arguments, shown
from nnfunc.layout import Patterns, patterns
from nnfunc.stacks import member, stack, unstack

__all__ = ["Penalty", "l1", "l2"]


class Fields(NamedTuple):
    """The fields of a `Penalty`."""

    name: str
    settings: Settings = NO_SETTINGS
    value: Callable[[Array], Array] | None = None
    gradient: Callable[[Array], Array] | None = None
    own: tuple[Callable[..., Any], Callable[..., Any]] | None = None


class Penalty(Fields):
    """A penalty: `forward(params, examples) -> value` and `backward(params, examples) -> gradient`.

    Attributes:
        name, settings: its name; its strength and the name patterns of the penalised arrays.
        value, gradient: functions of a vector of weights.
        own: the two functions of a user-defined penalty, `Penalty(forward, backward)`; in a stack they are called
            once per network.

    >>> nn.l2(0.1)
    l2(strength=0.1, where='*W')
    """

    def __new__(
        cls,
        forward: Callable[[ArrayDict, Any], Numbers],
        backward: Callable[[ArrayDict, Any], Mapping[str, ArrayLike]],
    ) -> Penalty:
        """Creates a penalty from two user-defined functions."""
        for name, function in (("forward", forward), ("backward", backward)):
            if not callable(function):
                raise TypeError(f"{name}={function!r} is not callable: a Penalty is built from two functions")
        return make("Penalty", own=(forward, backward))

    def __reduce__(self) -> tuple[Any, ...]:
        return make, tuple(self)

    def __repr__(self) -> str:
        if self.own is not None:
            return f"Penalty(forward={shown(self.own[0])}, backward={shown(self.own[1])})"
        return f"{self.name}({arguments(self.settings)})"

    def forward(self, params: ArrayDict, examples: Scalar) -> Scalar:
        """Returns the value, divided by m.

        Args:
            params: the parameters.
            examples: m, the number of examples or the sum of their weights; in a stack also one value per network.
        """
        params = as_dict(params, "params")
        if self.own is not None:
            if params.stack_shape:
                m = np.broadcast_to(examples, params.stack_shape)
                return np.array([_own_value(self.own[0], p, m[k]) for k, p in enumerate(unstack(params))], params.dtype)
            return _own_value(self.own[0], params, examples)
        assert self.value is not None
        slices = params.layout.slices(self.settings["where"])
        norms = sum((self.value(params._vector[..., s]) for s in slices), start=np.zeros((), params.dtype))
        total = _factor(self.settings["strength"], examples, params) * norms
        return total if total.ndim else float(total)

    def backward(self, params: ArrayDict, examples: Scalar) -> ArrayDict:
        """Returns the gradient, a dict like params."""
        params = as_dict(params, "params")
        if self.own is not None:
            if params.stack_shape:
                m = np.broadcast_to(examples, params.stack_shape)
                return stack([_own_gradient(self.own[1], member(params, k), m[k]) for k in range(len(m))])
            return _own_gradient(self.own[1], params, examples)
        assert self.gradient is not None
        vector = new_vector(params._vector.shape, params.dtype)
        vector[...] = 0
        factor = _factor(self.settings["strength"], examples, params)[..., None]
        for s in params.layout.slices(self.settings["where"]):
            vector[..., s] = factor * self.gradient(params._vector[..., s])
        return ArrayDict._of(params.layout, vector)


def _own_value(function: Callable[..., Any], params: ArrayDict, examples: Scalar) -> Scalar:
    value = numeric(function(params, examples), "the penalty's value")
    if value.ndim:
        raise TypeError(f"the penalty's value has shape {value.shape}, expected a scalar")
    return float(value)


def _own_gradient(function: Callable[..., Any], params: ArrayDict, examples: Scalar) -> ArrayDict:
    return params.like(function(params, examples), "the penalty's gradient")


def make(
    name: str,
    settings: Settings = NO_SETTINGS,
    value: Callable[[Array], Array] | None = None,
    gradient: Callable[[Array], Array] | None = None,
    own: tuple[Callable[..., Any], Callable[..., Any]] | None = None,
) -> Penalty:
    """Builds a penalty from its fields."""
    return Penalty._make((name, settings, value, gradient, own))


def l2(strength: Numbers, where: Patterns = "*W") -> Penalty:
    """λ/(2m) · Σ‖W‖²; its gradient is λ/m · W.

    Args:
        strength: λ ≥ 0; for a stack of K networks also an array (K,), one λ per network.
        where: the name patterns of the penalised arrays.
    Raises:
        ValueError: λ negative or NaN; when used: a pattern that matches no name.

    >>> params = nn.ArrayDict({"W": [[3.0], [1.0]], "b": [5.0]})
    >>> nn.l2(0.1).forward(params, 2), nn.l2(0.1).backward(params, 2).vector
    (0.25, array([0.15, 0.05, 0.  ]))
    """
    return _penalty(strength, where, _l2, _l2_gradient)


def l1(strength: Numbers, where: Patterns = "*W") -> Penalty:
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
    strength: Numbers, where: Patterns, value: Callable[[Array], Array], gradient: Callable[[Array], Array]
) -> Penalty:
    given = numeric(strength, "strength")
    if given.dtype.kind == "b" or given.ndim > 1 or not (np.isfinite(given) & (given >= 0)).all():
        raise ValueError(f"strength={strength!r}: expected a number (for a stack, an array) in [0, ∞)")
    if given.ndim:
        given = given.copy()  # so that it cannot be changed later
        given.setflags(write=False)
    settings = Settings(strength=given if given.ndim else given.item(), where=patterns(where))
    return make(value.__name__.lstrip("_"), settings, value, gradient)


def _factor(strength: Numbers, examples: Scalar, params: ArrayDict) -> Array:
    """Returns λ/m; 0 where no example counts."""
    m = numeric(examples, "examples")
    if m.shape not in ((), params.stack_shape):
        raise ValueError(f"examples has shape {m.shape}, expected a scalar, or for a stack one value per network")
    factor = np.asarray(np.where(m > 0, np.divide(strength, np.where(m > 0, m, 1)), 0), params.dtype)
    if factor.shape not in ((), params.stack_shape):
        members = f"a stack of {params.stack_shape[0]}" if params.stack_shape else "a single network"
        raise ValueError(f"strength has shape {factor.shape}, but the parameters are {members}")
    return factor
