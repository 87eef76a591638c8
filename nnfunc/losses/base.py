"""What a loss is: a value per example and its gradient. The weighted mean over the examples stands here, once.

    forward(y, target, weights=None, *, class_weights=None) -> (value, cache)
    backward(cache) -> dy

A loss is two functions: `values(y, target) -> (value per example, residual)` and `gradient(residual) -> ∂ values/∂y`.
The weighted mean is the same for all: value = Σ wᵢ lᵢ / Σ wᵢ. Outputs y have shape (examples, ..., outputs): axes
between are free, each position is an example; weights are given for each example, or for each position. Of a stack, y
is marked by `nn.per_member`, and there is a value for each member. `cache.values` holds the values per example,
`cache.total` Σ w. Where all weights are 0, the mean and its gradient are 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from inspect import signature
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from nnfunc._internal.validate import first_bad, real
from nnfunc.arrays import Array, Scalar
from nnfunc.core.kernel import view
from nnfunc.core.settings import NO_SETTINGS, Settings, arguments, shown
from nnfunc.core.values import Value, leaves, map_leaves
from nnfunc.losses.targets import ACCEPTS, Targets
from nnfunc.stacks import PerMember, member, with_axis, without_axis

Residual: TypeAlias = Any
"""What the values of a loss leave for its gradient: a type of each loss's own."""

Decision: TypeAlias = "float | Literal['largest']"
"""How outputs become classes: the largest of them, or each is 1 above a threshold."""


class LossCache(NamedTuple):
    """What `forward` leaves for `backward`: the values per example, the share of each in the mean (one for all, or an
    array of the rows of y with a last axis of 1), Σ w (of a stack (K,)), the shape of y, the loss's own."""

    values: Array
    share: Array
    total: Scalar
    shape: tuple[int, ...]
    residual: Residual


class Fields(NamedTuple):
    """The fields of a `Loss`."""

    name: str
    settings: Settings = NO_SETTINGS
    values: Callable[..., tuple[Array, Residual]] | None = None
    gradient: Callable[..., Array] | None = None
    targets: Targets = "outputs"
    activation: str | None = None
    logits: str | None = None
    decision: Decision | None = None
    parts: tuple[tuple[float, Loss], ...] = ()
    own: tuple[Callable[..., Any], Callable[..., Any]] | None = None


class Loss(Fields):
    """A loss: a named tuple whose fields say what it is, with `forward` and `backward`.

    Attributes:
        name, settings: what it is called, and the arguments that it was made with.
        values, gradient: its mathematics: `values(y, T, **settings) -> (value per example, residual)`,
            `gradient(residual, **settings) -> ∂ values/∂y`.
        targets: what a target is: "outputs" (like y), "bits" (in [0, 1]), "one-hot" rows, "classes" (their numbers).
        activation: the output activation whose results it takes, "sigmoid" or "softmax"; None for any outputs.
        logits: the name of the same loss of the values before that activation, by which training computes the two.
        decision: how outputs become classes: each is 1 above this number, or "largest"; None: there are no classes.
        parts: the (weight, loss) pairs of a combined loss.
        own: the two functions of a loss of your own.

    A loss of your own is `Loss(forward, backward)`: `forward(y, target) -> (value, cache)`, or `forward(y, target,
    weights)` if it can be trained with weights, and `backward(cache) -> dy`, a gradient of y's shape. It gets y as the
    model gives it, one network's, in training, in checks and in stacks alike.

    >>> value, cache = nn.mean_squared_error.forward(np.array([[1.0], [3.0]]), np.array([[1.0], [1.0]]))
    >>> value, cache.values, nn.mean_squared_error.backward(cache).ravel()
    (2.0, array([0., 4.]), array([0., 2.]))
    """

    def __new__(cls, forward: Callable[..., Any], backward: Callable[..., Any]) -> Loss:
        """A loss from two functions of your own."""
        for name, function in (("forward", forward), ("backward", backward)):
            if not callable(function):
                raise TypeError(f"{name}={function!r} is not callable: a Loss is made of two functions")
        return make("Loss", own=(forward, backward))

    def __reduce__(self) -> tuple[Any, ...]:
        return make, tuple(self)

    def __repr__(self) -> str:
        if self.own is not None:
            return f"Loss(forward={shown(self.own[0])}, backward={shown(self.own[1])})"
        if self.parts:
            inner = ", ".join(repr(part) for _, part in self.parts)
            return f"combined({inner}, weights={tuple(weight for weight, _ in self.parts)})"
        return f"{self.name}({arguments(self.settings)})" if self.settings else self.name

    def forward(
        self, y: Value, target: Any, weights: Any = None, *, class_weights: ArrayLike | None = None
    ) -> tuple[Scalar, Any]:
        """The weighted mean of the values, and what backward needs.

        Args:
            y: outputs (examples, ..., outputs); of a stack `nn.per_member(y)`.
            target: see `targets`; in a stack shared by all members, unless it is marked too.
            weights: (examples,), or of y's shape without its last axis.
            class_weights: (classes,), the weight of the examples of each class.
        Returns:
            value (of a stack an array (K,)), cache.
        Raises:
            ValueError: shapes that do not fit, labels out of range, outputs that are no probabilities.
        """
        K = stacked_by(y)
        if K is None:
            parts = without_axis(y, "y"), without_axis(target, "target"), without_axis(weights, "weights")
        else:
            shared = with_axis(weights, K, "weights") if weights is not None else None
            parts = with_axis(y, K, "y"), with_axis(target, K, "target"), shared
        return loss_of(self, *parts, class_weights, 1 if K is None else 2)

    def backward(self, cache: Any) -> Value:
        """The gradient of the value with respect to y."""
        return gradient_of(self, cache)


def stacked_by(y: Value) -> int | None:
    """How many networks outputs are marked as those of; None where they are of one."""
    marked = {len(leaf.array) for leaf in leaves(y) if isinstance(leaf, PerMember)}
    if len(marked) > 1:
        raise ValueError(f"y is data for {' and for '.join(map(str, sorted(marked)))} networks, expected one number")
    return next(iter(marked), None)


def make(
    name: str,
    settings: Settings = NO_SETTINGS,
    values: Callable[..., tuple[Array, Residual]] | None = None,
    gradient: Callable[..., Array] | None = None,
    targets: Targets = "outputs",
    activation: str | None = None,
    logits: str | None = None,
    decision: Decision | None = None,
    parts: tuple[tuple[float, Loss], ...] = (),
    own: tuple[Callable[..., Any], Callable[..., Any]] | None = None,
) -> Loss:
    """The loss of these fields."""
    return Loss._make((name, settings, values, gradient, targets, activation, logits, decision, parts, own))


# -- forward and backward, of arrays that have the stack's axis if there is one (lead 2) -------------------------------


def loss_of(
    loss: Loss, y: Value, target: Any, weights: Any, class_weights: ArrayLike | None, lead: int
) -> tuple[Scalar, Any]:
    """The value of a loss and its cache."""
    if loss.values is None:
        if loss.own is not None:
            return _own(loss.own[0], y, target, weights, class_weights, lead)
        return _combined(loss, y, target, weights, class_weights, lead)
    if type(y) is not np.ndarray or y.dtype.kind != "f":
        if isinstance(y, tuple):
            raise TypeError(f"y is a tuple of {len(y)} outputs, but {loss!r} takes one: use nn.losses.combined")
        y = real(y, "y")
    shape = y.shape
    if y.ndim < lead + 1 or y.size == 0:
        raise ValueError(f"y has shape {shape}, expected (examples, outputs) and at least one example")
    T = ACCEPTS[loss.targets](y, target, lead)
    if y.ndim > lead + 1:  # every position is an example
        y, T = y.reshape(*shape[: lead - 1], -1, shape[-1]), T.reshape(*shape[: lead - 1], -1, shape[-1])
    per_example, residual = loss.values(y, T, **loss.settings._items)
    w = None if weights is None else weights_of(weights, shape, lead, y.dtype)
    if class_weights is not None:
        w = _of_classes(loss, class_weights, T) * (1 if w is None else w)
    rows = per_example.shape[-1]
    total: Any
    if w is None and lead == 1:
        value: Any = np.add.reduce(per_example) / rows
        share, total = one_of(rows, y.dtype), float(rows)
    elif w is None:
        value = np.add.reduce(per_example, axis=-1) / rows
        share, total = one_of(rows, y.dtype), np.full(len(y), float(rows), y.dtype)
    else:
        total = np.add.reduce(w, axis=-1)
        safe = np.where(total == 0, y.dtype.type(1), total)  # a batch of padding rows alone moves nothing
        share = (w / safe[..., None])[..., None]
        value = np.add.reduce(np.where(w == 0, 0, per_example) * w, axis=-1) / safe  # also where a target is NaN
        total = float(total) if lead == 1 else total
    if len(shape) > lead + 1:
        per_example = per_example.reshape(shape[:-1])
    return float(value) if lead == 1 else value, LossCache(per_example, share, total, shape, residual)


def gradient_of(loss: Loss, cache: Any) -> Value:
    """The gradient of the value with respect to y, of y's shape."""
    if loss.gradient is None and loss.own is not None:
        if isinstance(cache, Members):
            dys = [loss.own[1](own) for own in cache.caches]
            return map_leaves(lambda *parts: np.stack([np.asarray(part) for part in parts]), *dys)
        return loss.own[1](cache)
    if loss.gradient is None:
        return tuple(
            map_leaves(lambda dy, weight=weight: dy * _factor(weight, dy), gradient_of(part, own))
            for (weight, part), own in zip(loss.parts, cache, strict=True)
        )
    dy = loss.gradient(cache.residual, **loss.settings._items)
    if cache.share.ndim:
        dy = np.where(cache.share == 0, 0, dy)
    dy *= cache.share
    return dy if dy.shape == cache.shape else dy.reshape(cache.shape)


def total_weight(cache: Any, y: Value, weights: Any, lead: int) -> Scalar:
    """Σ w over the examples: what the loss divided by; of several outputs the mean of theirs. Of a loss of your own the
    number of rows, or their weights."""
    if isinstance(cache, LossCache):
        return cache.total
    if isinstance(cache, Combined):
        each = weights if isinstance(weights, tuple) else (weights,) * len(y)
        totals = [total_weight(*part, lead) for part in zip(cache, y, each, strict=True)]
        return sum(totals) / len(totals)
    shape = np.shape(leaves(y)[0])[:-1] or (1,)
    if weights is None:
        rows = float(math.prod(shape[lead - 1 :]))
        return rows if lead == 1 else np.full(shape[0], rows)
    total = np.asarray(weights, float).sum(axis=tuple(range(lead - 1, np.ndim(weights))))
    return float(total) if lead == 1 else total


@lru_cache(maxsize=64)
def one_of(examples: int, dtype: np.dtype[np.floating]) -> Array:
    """1/m, as 1/Σw is for weights of 1, bit for bit."""
    share: Array = np.divide(1, examples, dtype=dtype)[...]
    share.setflags(write=False)
    return share


def weights_of(weights: Any, shape: tuple[int, ...], lead: int, dtype: np.dtype[np.floating]) -> Array:
    """Weights of the rows of y, for each of its positions, as (examples,), of a stack (K, examples)."""
    w = real(weights, "weights", dtype)
    if w.shape not in (shape[:-1], shape[:lead]):
        by_position = "" if len(shape) == lead + 1 else f", or for each position: {shape[lead - 1 : -1]}"
        raise ValueError(
            f"weights has shape {w.shape[lead - 1 :]}, expected one for each example: {shape[lead - 1 : lead]}"
            f"{by_position}"
        )
    bad = ~((w >= 0) & (w < math.inf))
    if bad.any():
        raise ValueError(f"weights contains {first_bad(w, bad)}, expected numbers of 0 or more")
    if w.ndim < len(shape) - 1:
        w = np.broadcast_to(w.reshape(*w.shape, *(1 for _ in shape[lead:-1])), shape[:-1])
    return w.reshape(*shape[: lead - 1], -1)


def _of_classes(loss: Loss, class_weights: ArrayLike, T: Array) -> Array:
    """The weight of each example's class."""
    if loss.targets == "outputs":
        raise ValueError("class_weights were passed to a loss without classes: pass weights, one for each example")
    cw, bits = real(class_weights, "class_weights", T.dtype), loss.targets == "bits"
    classes = 2 if bits else T.shape[-1]
    if cw.shape != (classes,) or (bits and T.shape[-1] != 1):
        several = f" (of the {T.shape[-1]} outputs each is a decision of its own)" if T.shape[-1] != classes > 1 else ""
        raise ValueError(f"class_weights has shape {cw.shape}, expected one for each of {classes} classes{several}")
    if not ((cw >= 0) & (cw < math.inf)).all():
        raise ValueError(f"class_weights contains {first_bad(cw, ~((cw >= 0) & (cw < math.inf)))}, expected 0 or more")
    of_examples: Array = cw[0] + (cw[1] - cw[0]) * T[..., 0] if bits else T @ cw
    return of_examples


# -- losses of your own, and of several outputs ------------------------------------------------------------------------


class Members(NamedTuple):
    """The caches of a loss of your own that was called for each member of a stack."""

    caches: list[Any]


class Combined(tuple[Any, ...]):
    """The caches of the parts of a combined loss."""


def _own(
    function: Callable[..., Any], y: Value, target: Any, weights: Any, class_weights: ArrayLike | None, lead: int
) -> tuple[Scalar, Any]:
    """Weights are passed only if there are some, so a loss of your own need not take them."""
    if lead == 2:
        first = leaves(y)[0]
        parts = [
            _own(function, member(y, k), member(target, k), None if weights is None else weights[k], class_weights, 1)
            for k in range(len(first))
        ]
        return np.array([value for value, _ in parts], first.dtype), Members([cache for _, cache in parts])
    y, target = (map_leaves(lambda a: view(np.asarray(a)), value) for value in (y, target))
    given = {} if class_weights is None else {"class_weights": class_weights}
    if weights is not None:
        try:
            signature(function).bind(y, target, weights, **given)
        except TypeError as error:
            raise TypeError(
                "weights were passed to a loss that takes none: write its forward as (y, target, weights)"
            ) from error
    result = function(y, target, **given) if weights is None else function(y, target, weights, **given)
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"loss.forward returned {type(result).__name__}, expected the pair (value, cache)")
    value = np.asarray(result[0])
    if value.ndim or value.dtype.kind not in "fiu":
        came = f"an array of shape {value.shape}" if value.ndim else repr(result[0])
        raise TypeError(f"loss.forward returned the value {came}, expected one number: the mean over the examples")
    return float(value), result[1]


def _factor(weight: float, like: Array) -> Any:
    return like.dtype.type(weight)


def _combined(
    loss: Loss, y: Value, target: Any, weights: Any, class_weights: ArrayLike | None, lead: int
) -> tuple[Scalar, Any]:
    count = len(loss.parts)
    if class_weights is not None:
        raise ValueError("class_weights were passed to a loss of several outputs: pass weights, one for each example")
    for name, value in (("y", y), ("target", target)):
        if not isinstance(value, tuple) or len(value) != count:
            came = f"a tuple of {len(value)}" if isinstance(value, tuple) else "one array"
            raise ValueError(f"{name} is {came}, expected a tuple of {count}, one for each loss")
    each = weights if isinstance(weights, tuple) else (weights,) * count
    if len(each) != count:
        raise ValueError(f"weights is a tuple of {len(each)}, expected one for all, or a tuple of {count}")
    results = [
        loss_of(part, output, wanted, w, None, lead)
        for (_, part), output, wanted, w in zip(loss.parts, y, target, each, strict=True)
    ]
    total: Any = sum(weight * v for (weight, _), (v, _) in zip(loss.parts, results, strict=True))
    return total, Combined(cache for _, cache in results)


def combined(*losses: Loss, weights: Any = None) -> Loss:
    """Σ cₖ Lₖ: a loss of a tuple of outputs and a tuple of targets, one for each.

    Args:
        losses: one for each output; one may be combined itself.
        weights: cₖ ≥ 0, a number for each; 1 if not given.
    Raises:
        ValueError: another number of weights.

    Weights of examples are those of all parts, or a tuple with the weights of each. The m of a penalty is the mean of
    theirs.

    >>> both = nn.losses.combined(nn.mean_squared_error, nn.mean_absolute_error, weights=(1.0, 0.5))
    >>> y, target = (np.array([[2.0]]), np.array([[3.0]])), (np.array([[0.0]]), np.array([[0.0]]))
    >>> value, cache = both.forward(y, target)
    >>> value, both.backward(cache)
    (5.5, (array([[4.]]), array([[0.5]])))
    """
    if not losses or not all(isinstance(loss, Loss) for loss in losses):
        raise TypeError(f"losses={losses!r}: expected one loss for each output, like nn.mean_squared_error")
    numbers = (1.0,) * len(losses) if weights is None else tuple(weights) if np.ndim(weights) else (weights,)
    if len(numbers) != len(losses) or not all(
        isinstance(c, (int, float, np.number)) and 0 <= c < math.inf for c in numbers
    ):
        raise ValueError(f"weights={weights!r}: expected {len(losses)} numbers of 0 or more, one for each loss")
    return make("combined", parts=tuple(zip(map(float, numbers), losses, strict=True)))
