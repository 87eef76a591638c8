"""The loss: a value per example and its gradient. The weighted mean over examples is implemented here, once for all.

    forward(y, target, weights=None, *, class_weights=None) -> (value, cache)
    backward(cache) -> dy

A loss is two functions: `values(y, target) -> (values, residual)` and `gradient(residual) -> ∂ values/∂y`. The values
are one per example; or one per output, and the example's value is their mean or sum (`Loss.over`). The weighted mean
over examples is the same for all: value = Σ wᵢ lᵢ / Σ wᵢ. Outputs y have shape (examples, ..., outputs); each position
on the axes in between is an example, and weights are given per example or per position. For a stack, y is marked with
`nn.stacks.per_member`, and there is one value per member. `cache.values` are the values per example, `cache.total` is
Σ w. If all weights are 0, the mean and its gradient are 0. See `nnfunc.losses.options` for the options of losses.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias, Unpack

import numpy as np
from numpy.typing import ArrayLike

from nnfunc._internal.validate import numeric, real
from nnfunc.arrays import Array, Numbers, Scalar
from nnfunc.core.settings import NO_SETTINGS, Settings, arguments, shown
from nnfunc.core.values import Value, leaves, map_leaves
from nnfunc.losses.options import (
    CHECKS,
    Options,
    Over,
    known,
    options_of,
    over_outputs,
    share_of_outputs,
    smoothed,
    within,
)
from nnfunc.losses.own import Members, value_of_own
from nnfunc.losses.targets import ACCEPTS, Targets
from nnfunc.losses.weights import of_classes, one_of, weights_of
from nnfunc.stacks import PerMember, with_axis, without_axis

Residual: TypeAlias = Any
"""The values a loss saves for its gradient, of a loss-specific type."""

Decision: TypeAlias = "float | Literal['largest']"
"""The rule that turns outputs into classes: the largest output, or each output is 1 above a threshold."""


LossName: TypeAlias = Literal[
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "categorical_cross_entropy",
    "categorical_cross_entropy_with_logits", "contrastive", "cosine", "ctc", "focal", "gaussian", "hinge", "huber",
    "kl_divergence", "log_cosh", "mean_absolute_error", "mean_squared_error", "multi_class_hinge", "poisson",
    "quantile", "sparse_categorical_cross_entropy", "sparse_categorical_cross_entropy_with_logits", "triplet",
]  # fmt: skip
"""The names that stand for losses with their default settings."""


class LossCache(NamedTuple):
    """The values `forward` saves for `backward`: the values per example, the share of each in the mean (a scalar, or an
    array of the rows of y with a last axis of 1), Σ w (for a stack (K,)), the shape of y, the loss's residual, and the
    weight of each output in its example's value, if they differ."""

    values: Array
    share: Array
    total: Scalar
    shape: tuple[int, ...]
    residual: Residual
    cells: Array | None = None


class Fields(NamedTuple):
    """The fields of a `Loss`."""

    name: str
    settings: Settings = NO_SETTINGS
    values: Callable[..., tuple[Array, Residual]] | None = None
    gradient: Callable[..., Value] | None = None
    targets: Targets = "outputs"
    activation: str | None = None
    logits: str | None = None
    decision: Decision | None = None
    parts: tuple[tuple[float, Loss], ...] = ()
    own: tuple[Callable[..., Any], Callable[..., Any]] | None = None
    over: Over | None = None
    outputs: int = 1
    axes: int = 1
    options: Settings = NO_SETTINGS


class Loss(Fields):
    """A loss: a named tuple of its definition, with `forward` and `backward`.

    Attributes:
        name, settings: its name, and the arguments that it was created with.
        values, gradient: its mathematics: `values(y, T, **settings) -> (values, residual)`,
            `gradient(residual, **settings) -> ∂ values/∂y`, a new array.
        targets: the kind of target: "outputs" (like y), "bits" (in [0, 1]), "one-hot" rows, "classes" (class indices),
            "pairs" (one bit per example), "nothing" (ignored), "labels" (sequences of class indices).
        activation: the output activation that it expects, "sigmoid" or "softmax"; None for any outputs.
        logits: the name of the same loss on logits, which training uses to compute loss and activation together.
        decision: the rule that turns outputs into classes: each is 1 above this threshold, or "largest"; None: there
            are no classes.
        parts: the (weight, loss) pairs of a combined loss.
        own: the two functions of a user-defined loss.
        over: whether values are per output, and an example's value is their "mean" or "sum"; None: values are per
            example.
        outputs: the number of arrays in y: 1, or the length of the tuple.
        axes: the number of axes of an example in y: 1, or 2 for losses of whole sequences.
        options: its options, see `__call__`.

    A user-defined loss is `Loss(forward, backward)`: `forward(y, target) -> (value, cache)`, or
    `forward(y, target, weights)` if it supports weights, and `backward(cache) -> dy`, a gradient of y's shape. It
    always receives the model's output y of a single network, also in checks and stacks.

    >>> value, cache = nn.mean_squared_error.forward(np.array([[1.0], [3.0]]), np.array([[1.0], [1.0]]))
    >>> value, cache.values, nn.mean_squared_error.backward(cache).ravel()
    (2.0, array([0., 4.]), array([0., 2.]))
    """

    def __new__(cls, forward: Callable[..., tuple[Numbers, Any]], backward: Callable[[Any], Value]) -> Loss:
        """Creates a loss from two user-defined functions."""
        for name, function in (("forward", forward), ("backward", backward)):
            if not callable(function):
                raise TypeError(f"{name}={function!r} is not callable: a Loss is built from two functions")
        return make("Loss", own=(forward, backward))

    def __call__(self, **options: Unpack[Options]) -> Loss:
        """Returns the same loss with other options; None removes one. See `nnfunc.losses.options` for their meaning.

        Args:
            options: those that this loss supports, among `label_smoothing`, `ignore`, `positive_weights`,
                `output_weights`, `missing`, `reduction`.
        Raises:
            TypeError: an option that this loss does not support.

        >>> loss = nn.sparse_categorical_cross_entropy(label_smoothing=0.1, ignore=-1)
        >>> loss, loss(label_smoothing=None)
        (sparse_categorical_cross_entropy(label_smoothing=0.1, ignore=-1), sparse_categorical_cross_entropy(ignore=-1))
        """
        taken = options_of(self)
        for name in options:
            if name not in taken:
                hint = (
                    f"it supports {', '.join(taken)}"
                    if taken
                    else "pass it to its parts"
                    if self.parts
                    else "it supports none"
                )
                raise TypeError(f"{self!r} has no option {name!r}: {hint}")
        checked = {k: None if v is None else CHECKS[k](v) for k, v in options.items()}
        merged = {**self.options, **{k: v for k, v in checked.items() if k not in self.settings}}
        settings = Settings(**{k: checked.get(k, v) for k, v in self.settings.items()})
        kept = Settings(**{k: merged[k] for k in taken if merged.get(k) is not None})
        return self._replace(settings=settings, options=kept)

    def __reduce__(self) -> tuple[Any, ...]:
        return make, tuple(self)

    def __repr__(self) -> str:
        if self.own is not None:
            return f"Loss(forward={shown(self.own[0])}, backward={shown(self.own[1])})"
        if self.parts:
            inner = ", ".join(repr(part) for _, part in self.parts)
            return f"combined({inner}, weights={tuple(weight for weight, _ in self.parts)})"
        given = arguments({**self.settings, **self.options})
        return f"{self.name}({given})" if given else self.name

    def forward(
        self, y: Value, target: Any, weights: Any = None, *, class_weights: ArrayLike | None = None
    ) -> tuple[Scalar, Any]:
        """Returns the weighted mean of the values, and the cache for backward.

        Args:
            y: outputs (examples, ..., outputs), or a tuple of `outputs` such arrays; for a stack
                `nn.stacks.per_member(y)`.
            target: see `targets`; in a stack it is shared by all members unless marked too.
            weights: (examples,), or of y's shape without its last axis.
            class_weights: (classes,), the weight of each class's examples.
        Returns:
            value (for a stack an array (K,)), cache.
        Raises:
            ValueError: mismatched shapes, labels out of range, outputs that are not probabilities.
        """
        K = stacked_by(y)
        if K is None:
            parts = without_axis(y, "y"), without_axis(target, "target"), without_axis(weights, "weights")
        else:
            shared = with_axis(weights, K, "weights") if weights is not None else None
            parts = with_axis(y, K, "y"), with_axis(target, K, "target"), shared
        return loss_of(self, *parts, class_weights, 1 if K is None else 2)

    def backward(self, cache: Any) -> Value:
        """Returns the gradient of the value with respect to y."""
        if self.values is not None and not isinstance(cache, LossCache):
            raise TypeError(f"cache is {type(cache).__name__}, expected the cache that forward returned")
        return gradient_of(self, cache)


def stacked_by(y: Value) -> int | None:
    """Returns the number of networks that outputs are marked for; None if they are unmarked."""
    marked = {len(leaf.array) for leaf in leaves(y) if isinstance(leaf, PerMember)}
    if len(marked) > 1:
        raise ValueError(
            f"y contains data for {' and for '.join(map(str, sorted(marked)))} networks, expected the same number"
        )
    return next(iter(marked), None)


def make(
    name: str,
    settings: Settings = NO_SETTINGS,
    values: Callable[..., tuple[Array, Residual]] | None = None,
    gradient: Callable[..., Value] | None = None,
    targets: Targets = "outputs",
    activation: str | None = None,
    logits: str | None = None,
    decision: Decision | None = None,
    parts: tuple[tuple[float, Loss], ...] = (),
    own: tuple[Callable[..., Any], Callable[..., Any]] | None = None,
    over: Over | None = None,
    outputs: int = 1,
    axes: int = 1,
    options: Settings = NO_SETTINGS,
) -> Loss:
    """Creates a loss from its fields."""
    fields = (name, settings, values, gradient, targets, activation, logits, decision, parts, own)
    return Loss._make((*fields, over, outputs, axes, options))


# -- forward and backward, on arrays with the stack axis if there is one (lead 2) --------------------------------------


def loss_of(
    loss: Loss, y: Value, target: Any, weights: Any, class_weights: ArrayLike | None, lead: int
) -> tuple[Scalar, Any]:
    """Returns the value of a loss and its cache."""
    if loss.values is None:
        if loss.own is not None:
            return value_of_own(loss.own[0], y, target, weights, class_weights, lead)
        return _combined(loss, y, target, weights, class_weights, lead)
    if type(y) is not np.ndarray or y.dtype.kind != "f" or loss.outputs > 1:
        y = _outputs(loss, y)
    first, axes, options = (y[0] if loss.outputs > 1 else y), loss.axes, loss.options._items
    shape, dtype = first.shape, first.dtype
    if first.ndim < lead + axes or first.size == 0 or (axes > 1 and first.ndim > lead + axes):
        wanted = "(examples, outputs)" if axes == 1 else "(examples, positions, outputs)"
        raise ValueError(f"y has shape {shape[lead - 1 :]}, expected {wanted} and at least one example")
    target, there = known(loss.options, target) if options else (target, None)
    T = ACCEPTS[loss.targets](first, target, lead)
    if first.ndim > lead + axes:  # every position is an example

        def rows_of(a: Array) -> Array:
            return a.reshape(*shape[: lead - 1], -1, a.shape[-1])

        y, T = map_leaves(rows_of, y), map_leaves(rows_of, T)
    found, residual = loss.values(y, smoothed(loss, T) if options else T, **loss.settings._items)
    w = None if weights is None else weights_of(weights, (*shape[:-axes], 1), lead, dtype)
    if class_weights is not None:
        w = of_classes(loss.targets, class_weights, T) * (1 if w is None else w)
    cells, is_sum = None, "reduction" in options
    if options:
        cells, rows_there = share_of_outputs(loss, there, found)
        if rows_there is not None:
            w = rows_there if w is None else w * rows_there
    per_example = found if loss.over is None else over_outputs(found, loss.over, cells)
    rows = per_example.shape[-1]
    total: Any
    if w is None and is_sum:
        w = np.ones(per_example.shape, dtype)
    if w is None and lead == 1:
        value: Any = np.add.reduce(per_example) / rows
        share, total = one_of(rows, dtype), float(rows)
    elif w is None:
        value = np.add.reduce(per_example, axis=-1) / rows
        share, total = one_of(rows, dtype), np.full(len(first), float(rows), dtype)
    else:
        total = np.add.reduce(w, axis=-1)
        safe = np.where(is_sum | (total == 0), dtype.type(1), total)  # a batch of only padding rows has no effect
        share = (w / safe[..., None])[..., None]
        share = share if axes == 1 else share[..., None]
        value = np.add.reduce(np.where(w == 0, 0, per_example) * w, axis=-1) / safe  # even if a target is NaN
        total = float(total) if lead == 1 else total
    if len(shape) > lead + axes:
        per_example = per_example.reshape(shape[:-1])
    return float(value) if lead == 1 else value, LossCache(per_example, share, total, shape, residual, cells)


def _outputs(loss: Loss, y: Value) -> Any:
    """Returns outputs as a float array, or as the tuple of arrays of equal shapes that a loss takes."""
    if loss.outputs == 1:
        if isinstance(y, tuple):
            raise TypeError(f"y is a tuple of {len(y)} outputs, but {loss!r} takes one: use nn.losses.combined")
        return real(y, "y")
    if not isinstance(y, tuple) or len(y) != loss.outputs:
        came = f"a tuple of {len(y)}" if isinstance(y, tuple) else "one array"
        raise TypeError(f"y is {came}, but {loss!r} takes a tuple of {loss.outputs} outputs")
    arrays = tuple(real(a, "y") for a in y)
    if len({a.shape for a in arrays}) > 1:
        raise ValueError(f"y has outputs of shapes {', '.join(str(a.shape) for a in arrays)}, expected equal ones")
    return arrays


def gradient_of(loss: Loss, cache: Any) -> Value:
    """Returns the gradient of the value with respect to y, in y's shape."""
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
    return _weighed(dy, loss.over, cache) if loss.outputs == 1 else tuple(_weighed(d, loss.over, cache) for d in dy)


def _weighed(dy: Array, over: Over | None, cache: LossCache) -> Array:
    """Multiplies the gradient of the values by their weights in the mean."""
    if over is not None:
        dy = within(dy, over, cache.cells)
    if cache.share.ndim:
        dy = np.where(cache.share == 0, 0, dy)
    dy *= cache.share
    return dy if dy.shape == cache.shape else dy.reshape(cache.shape)


def total_weight(cache: Any, y: Value, weights: Any, lead: int) -> Scalar:
    """Σ w over the examples, the divisor of the loss; for several outputs the mean of theirs. For a user-defined loss,
    the number of rows or the sum of their weights."""
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


# -- several outputs -------------------------------------------------------------------------------------------------


class Combined(tuple[Any, ...]):
    """The caches of the parts of a combined loss."""


def _factor(weight: float, like: Array) -> Any:
    return like.dtype.type(weight)


def _combined(
    loss: Loss, y: Value, target: Any, weights: Any, class_weights: ArrayLike | None, lead: int
) -> tuple[Scalar, Any]:
    count = len(loss.parts)
    if class_weights is not None:
        raise ValueError("class_weights were passed to a loss of several outputs: pass weights, one per example")
    for name, value in (("y", y), ("target", target)):
        if not isinstance(value, tuple) or len(value) != count:
            came = f"a tuple of {len(value)}" if isinstance(value, tuple) else "one array"
            raise ValueError(f"{name} is {came}, expected a tuple of {count}, one per loss")
    each = weights if isinstance(weights, tuple) else (weights,) * count
    if len(each) != count:
        raise ValueError(f"weights is a tuple of {len(each)}, expected one for all, or a tuple of {count}")
    results = [
        loss_of(part, output, wanted, w, None, lead)
        for (_, part), output, wanted, w in zip(loss.parts, y, target, each, strict=True)
    ]
    total: Any = sum(weight * v for (weight, _), (v, _) in zip(loss.parts, results, strict=True))
    return total, Combined(cache for _, cache in results)


def combined(*losses: Loss, weights: Numbers | None = None) -> Loss:
    """Σ cₖ Lₖ: a loss of a tuple of outputs and a tuple of targets, one per part.

    Args:
        losses: one per output; each may be a combined loss itself.
        weights: cₖ ≥ 0, one per loss; 1 by default.
    Raises:
        ValueError: a wrong number of weights.

    Example weights apply to all parts, or are a tuple with the weights of each part. The m of a penalty is the mean of
    those of the parts.

    >>> both = nn.losses.combined(nn.mean_squared_error, nn.mean_absolute_error, weights=(1.0, 0.5))
    >>> y, target = (np.array([[2.0]]), np.array([[3.0]])), (np.array([[0.0]]), np.array([[0.0]]))
    >>> value, cache = both.forward(y, target)
    >>> value, both.backward(cache)
    (5.5, (array([[4.]]), array([[0.5]])))
    """
    if not losses or not all(isinstance(loss, Loss) for loss in losses):
        raise TypeError(f"losses={losses!r}: expected one loss per output, like nn.mean_squared_error")
    numbers = np.ones(len(losses)) if weights is None else np.atleast_1d(numeric(weights, "weights"))
    if numbers.shape != (len(losses),) or not ((numbers >= 0) & (numbers < math.inf)).all():
        raise ValueError(f"weights={weights!r}: expected {len(losses)} non-negative numbers, one per loss")
    return make("combined", parts=tuple(zip(numbers.astype(float).tolist(), losses, strict=True)))
