"""Losses: what a network is trained to make small.

    forward(y, target, weights=None, *, class_weights=None) -> (value, cache)
    backward(cache) -> dy

A loss is two functions: `values(y, target) -> (value per example, residual)` and `gradient(residual) -> ∂ values/∂y`.
The weighted mean over the examples is the same for all and stands here once: value = Σ wᵢ lᵢ / Σ wᵢ. Outputs y
have shape (examples, outputs); of a stack (K, examples, outputs), and then there is a value for each member.
`cache.values` holds the values per example. Where all weights are 0, the mean and its gradient are 0.

    binary_cross_entropy                −Σ (Y log A + (1 − Y) log(1 − A)), summed over the outputs
    categorical_cross_entropy           −Σ Y log A, Y one-hot rows
    sparse_categorical_cross_entropy    −log A_Y, Y class numbers
    ..._with_logits                     the same of A = σ(z) or softmax(z), from z
    mean_squared_error                  the mean over the outputs of (y − target)²
    mean_absolute_error                 the mean over the outputs of |y − target|
    huber(delta)                        a parabola near 0, lines beyond ±delta
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from nnfunc.arrays import Array, ArrayDict, Scalar
from nnfunc.errors import first_bad, number, numeric, positive_int, real
from nnfunc.layers.activations import floor, logistic, shifted_exp, zero
from nnfunc.sums import sum_of_columns
from nnfunc.values import call, hyperparameters

Residual: TypeAlias = Any
"""What the values of a loss leave for its gradient: a type of each loss's own."""


class LossCache(NamedTuple):
    """What `forward` leaves for `backward`: the values per example, the share of each in the mean (examples, 1) or one
    for all, the loss's own."""

    values: Array
    share: Array
    residual: Residual


LossForward: TypeAlias = Callable[..., tuple[Scalar, Any]]
"""(y, target, weights=None, *, class_weights=None) -> (value, cache); one of your own may leave out the weights."""


class Loss(NamedTuple):
    """A loss: two pure functions, `forward(y, target, weights) -> (value, cache)` and `backward(cache) -> dy`.

    >>> value, cache = nn.mean_squared_error.forward(np.array([[1.0], [3.0]]), np.array([[1.0], [1.0]]))
    >>> value, cache.values, nn.mean_squared_error.backward(cache).ravel()
    (2.0, array([0., 4.]), array([0., 2.]))
    """

    forward: LossForward
    backward: Callable[[Any], Array]

    def __repr__(self) -> str:
        values = hyperparameters([self.forward]).get("values")
        if values is None:
            return f"Loss(forward={self.forward!r}, backward={self.backward!r})"
        name = getattr(values, "func", values).__name__.lstrip("_")
        return call(name, values.keywords) if isinstance(values, partial) else name


def _forward(
    y: Array,
    target: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    class_weights: ArrayLike | None = None,
    values: Callable[[Array, Array], tuple[Array, Residual]],
    accept: Callable[[Array, ArrayLike], Array],
) -> tuple[Scalar, LossCache]:
    y = real(y, "y")
    if y.ndim < 2 or y.size == 0:
        raise ValueError(f"y has shape {y.shape}, expected (examples, outputs) and at least one example")
    T = accept(y, target)
    per_example, residual = values(y, T)
    w = None if weights is None else _weights(weights, per_example)
    if class_weights is not None:
        w = _of_classes(class_weights, T, accept) * (1 if w is None else w)
    if w is None:
        share = _one_of(y.shape[-2], y.dtype)
        value = np.add.reduce(per_example, axis=-1) / y.shape[-2]
    else:
        total = np.add.reduce(w, axis=-1, keepdims=True)
        total = np.where(total == 0, y.dtype.type(1), total)  # a batch of padding rows alone moves nothing
        share = (w / total)[..., None]
        value = np.add.reduce(per_example * w, axis=-1) / total[..., 0]
    return value if value.ndim else float(value), LossCache(per_example, share, residual)


def _backward(cache: LossCache, *, gradient: Callable[[Residual], Array]) -> Array:
    dy = gradient(cache.residual)
    dy *= cache.share
    return dy


@lru_cache(maxsize=64)
def _one_of(examples: int, dtype: np.dtype[np.floating]) -> Array:
    """1/m, as 1/Σw is for weights of 1, bit for bit."""
    share: Array = np.divide(1, examples, dtype=dtype)[...]
    share.setflags(write=False)
    return share


def _loss(
    values: Callable[..., tuple[Array, Residual]],
    gradient: Callable[[Residual], Array],
    accept: Callable[[Array, ArrayLike], Array],
) -> Loss:
    return Loss(partial(_forward, values=values, accept=accept), partial(_backward, gradient=gradient))


# -- what is accepted as target and as weights -----------------------------------------------------------------------


def _same_outputs(y: Array, target: ArrayLike) -> Array:
    """The target in y's dtype; of one output (examples,) will do; a stack's members may share it."""
    T = real(target, "target", y.dtype)
    if T.shape == y.shape:
        return T
    if T.shape == y.shape[-1 - T.ndim : -1] and y.shape[-1] == 1:
        T = T[..., None]
    if T.shape != y.shape[-T.ndim :] or T.ndim < 2:
        cause = _length_or_kind(T, y)
        raise ValueError(f"target has shape {T.shape} but the outputs have shape {y.shape}{cause}")
    return T


def _length_or_kind(T: Array, y: Array) -> str:
    if T.ndim and T.shape[0] != y.shape[-2] and T.shape[0] != y.shape[0]:
        return f": {T.shape[0]} targets for {y.shape[-2]} examples; X and Y must have the same length"
    if T.ndim == 1 or (T.ndim == 2 and T.shape[-1] == 1):
        return (
            f": expected one column for each of the {y.shape[-1]} outputs. For class numbers use "
            f"sparse_categorical_cross_entropy, or nn.one_hot(target, {y.shape[-1]})"
        )
    return ": expected one column for each output"


def _probabilities(y: Array, target: ArrayLike) -> Array:
    """Targets in [0, 1]."""
    T = _same_outputs(y, target)
    if not (np.minimum.reduce(T, axis=None) >= 0 and np.maximum.reduce(T, axis=None) <= 1):
        bad = ~((T >= 0) & (T <= 1))
        raise ValueError(f"target contains {first_bad(T, bad)}, expected labels of 0 and 1 (or probabilities)")
    return T


def _one_hot_rows(y: Array, target: ArrayLike) -> Array:
    """Targets in [0, 1] that sum to 1 in each row."""
    T = _probabilities(y, target)
    sums = np.add.reduce(T, axis=-1)
    if not (np.abs(sums - 1) <= 1e-3).all():
        bad = ~(np.abs(sums - 1) <= 1e-3)
        raise ValueError(
            f"a row of target sums to {first_bad(sums, bad)}, expected 1: one class for each example. For several "
            "classes at once use sigmoid outputs and binary_cross_entropy"
        )
    return T


def _class_numbers(y: Array, target: ArrayLike) -> Array:
    """Class numbers, as one-hot rows."""
    T = numeric(target, "target")
    if T.shape == y.shape and T.ndim > 1:
        raise ValueError(
            f"target has shape {T.shape}, expected class numbers of shape {T.shape[:-1]}: for one-hot rows use "
            "categorical_cross_entropy, or pass target.argmax(axis=-1)"
        )
    if T.shape not in (y.shape[:-1], y.shape[-2:-1]):
        cause = ": pass target[:, 0]" if T.ndim == 2 and T.shape[-1] == 1 else ": X and Y must have the same length"
        raise ValueError(
            f"target has shape {T.shape}, expected one class number for each example of y {y.shape}{cause}"
        )
    if T.dtype.kind == "f":
        raise ValueError(f"target has dtype {T.dtype}, expected whole numbers: pass target.astype(int)")
    classes = y.shape[-1]
    unsigned = T.view(T.dtype.str.replace("i", "u")) if T.dtype.kind == "i" else T  # negative numbers are huge there
    if np.maximum.reduce(unsigned, axis=None) >= classes:
        bad = (T < 0) | (classes <= T)
        raise ValueError(f"target contains {first_bad(T, bad)}, expected class numbers from 0 to {classes - 1}")
    if classes <= FEW:
        rows: Array = _unit_rows(classes, y.dtype).take(T, axis=0)
    else:
        rows = (T[..., None] == np.arange(classes)).astype(y.dtype)
    return rows


FEW = 256
"""Up to this number of classes their one-hot rows are kept in a table."""


@lru_cache(maxsize=16)
def _unit_rows(classes: int, dtype: np.dtype[np.floating]) -> Array:
    return np.eye(classes, dtype=dtype)


def _weights(weights: ArrayLike, per_example: Array) -> Array:
    w = real(weights, "weights", per_example.dtype)
    if w.shape not in (per_example.shape, per_example.shape[-1:]):
        raise ValueError(f"weights has shape {w.shape}, expected one for each example: {per_example.shape[-1:]}")
    if not ((w >= 0) & (w < math.inf)).all():
        raise ValueError(
            f"weights contains {first_bad(w, ~((w >= 0) & (w < math.inf)))}, expected numbers of 0 or more"
        )
    return w


def _of_classes(class_weights: ArrayLike, T: Array, accept: Callable[[Array, ArrayLike], Array]) -> Array:
    """The weight of each example's class."""
    if accept is _same_outputs:
        raise ValueError("class_weights were passed to a loss without classes: pass weights, one for each example")
    cw = real(class_weights, "class_weights", T.dtype)
    classes = T.shape[-1] if accept is not _probabilities else 2
    if cw.shape != (classes,) or (accept is _probabilities and T.shape[-1] != 1):
        several = f" (of the {T.shape[-1]} outputs each is a decision of its own)" if T.shape[-1] != classes > 1 else ""
        raise ValueError(f"class_weights has shape {cw.shape}, expected one for each of {classes} classes{several}")
    if not ((cw >= 0) & (cw < math.inf)).all():
        raise ValueError(f"class_weights contains {first_bad(cw, ~((cw >= 0) & (cw < math.inf)))}, expected 0 or more")
    of_examples: Array = T @ cw if accept is not _probabilities else cw[0] + (cw[1] - cw[0]) * T[..., 0]
    return of_examples


def for_stack(loss: Loss, params: ArrayDict) -> Loss:
    """`loss` for the outputs of these parameters: one of a user's own is called for each network of a stack."""
    built_in = getattr(loss.forward, "func", None) is _forward
    if built_in or not params.stack_shape:
        return loss
    return Loss(partial(_each_forward, function=loss.forward), partial(_each_backward, function=loss.backward))


def _each_forward(
    y: Array, target: ArrayLike, weights: ArrayLike | None = None, *, function: LossForward, **given: ArrayLike
) -> tuple[Array, list[Any]]:  # each cache is the loss's own
    def own(shared_or_not: ArrayLike, i: int) -> ArrayLike:
        a = np.asarray(shared_or_not)
        return a[i] if a.shape[:2] == y.shape[:2] and a.shape != y.shape[1:] else a

    parts = [(y[i], own(target, i), *(() if weights is None else (own(weights, i),))) for i in range(len(y))]
    results = [function(*part, **given) for part in parts]
    return np.array([value for value, _ in results], y.dtype), [cache for _, cache in results]


def _each_backward(caches: list[Any], *, function: Callable[[Any], Array]) -> Array:
    return np.stack([function(cache) for cache in caches])


def loss_of(
    loss: Loss, y: Array, target: ArrayLike, weights: ArrayLike | None, class_weights: ArrayLike | None
) -> tuple[Scalar, Any]:  # the cache is the loss's own
    """`loss.forward`; weights are passed only if there are some, so a loss of a user's own need not take them."""
    if weights is None and class_weights is None:
        result = loss.forward(y, target)
    else:
        given = {} if class_weights is None else {"class_weights": class_weights}
        result = loss.forward(y, target, **given) if weights is None else loss.forward(y, target, weights, **given)
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"loss.forward returned {type(result).__name__}, expected the pair (value, cache)")
    return result


def of_network(
    params: ArrayDict, y: Array, target: ArrayLike, weights: ArrayLike | None = None
) -> tuple[Array, ArrayLike, ArrayLike | None]:
    """Outputs, targets and weights as a loss takes them: those of one network with all leading axes joined to rows.

    A loss takes a third axis for that of a stack, with a value for each network.
    """
    if y.ndim == 2 or params.stack_shape:
        return y, target, weights
    lead = y.shape[:-1]

    def joined(a: ArrayLike) -> ArrayLike:
        array = np.asarray(a)
        return array.reshape(-1, *array.shape[len(lead) :]) if array.shape[: len(lead)] == lead else a

    return y.reshape(-1, y.shape[-1]), joined(target), None if weights is None else joined(weights)


def one_hot(target: ArrayLike, classes: int, dtype: type[np.floating] = np.float32) -> Array:
    """Class numbers (...) as rows (..., classes) with a 1 at the class.

    Raises:
        ValueError: a number outside 0 ... classes − 1, or numbers that are not whole.

    >>> nn.one_hot([2, 0], 3)
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """
    T = np.asarray(target)
    return _class_numbers(np.empty((*T.shape, positive_int(classes, "classes")), dtype), T)


# -- cross-entropies on probabilities --------------------------------------------------------------------------------


def _checked_probabilities(y: Array) -> Array:
    if np.minimum.reduce(y, axis=None) < 0 or np.maximum.reduce(y, axis=None) > 1 + 1e-3:
        raise ValueError(
            f"y contains {first_bad(y, (y < 0) | (y > 1 + 1e-3))}, expected probabilities: end the model with sigmoid "
            "or softmax, or use the form of this loss on logits (..._with_logits)"
        )
    return y


def _binary_cross_entropy(y: Array, T: Array) -> tuple[Array, Residual]:
    least = floor(y.dtype)
    A, B = np.maximum(_checked_probabilities(y), least), np.maximum(1 - y, least)
    return -sum_of_columns(T * np.log(A) + (1 - T) * np.log(B)), (A, B, T)


def _binary_cross_entropy_gradient(residual: tuple[Array, Array, Array]) -> Array:
    A, B, T = residual
    return (1 - T) / B - T / A


binary_cross_entropy = _loss(_binary_cross_entropy, _binary_cross_entropy_gradient, _probabilities)
"""−Σ (Y log A + (1 − Y) log(1 − A)), summed over the outputs, A = probabilities (of a sigmoid), Y in [0, 1].

y (examples, outputs), target of the same shape, or (examples,) for one output. A probability of 0 counts as the least
normal number of its dtype, so the value stays finite.

>>> nn.binary_cross_entropy.forward(np.array([[0.5], [0.5]]), np.array([[0.0], [1.0]]))[0]
0.6931471805599453
"""


def _categorical_cross_entropy(y: Array, T: Array) -> tuple[Array, Residual]:
    A = np.maximum(_checked_probabilities(y), floor(y.dtype))
    return -sum_of_columns(T * np.log(A)), (A, T)


def _sparse_categorical_cross_entropy(y: Array, T: Array) -> tuple[Array, Residual]:
    return _categorical_cross_entropy(y, T)


def _categorical_cross_entropy_gradient(residual: tuple[Array, Array]) -> Array:
    A, T = residual
    return -T / A


categorical_cross_entropy = _loss(_categorical_cross_entropy, _categorical_cross_entropy_gradient, _one_hot_rows)
"""−Σ Y log A, A = probabilities (of a softmax), Y one-hot rows (or probabilities) of the same shape.

>>> nn.categorical_cross_entropy.forward(np.array([[0.5, 0.5]]), np.array([[0.0, 1.0]]))[0]
0.6931471805599453
"""

sparse_categorical_cross_entropy = _loss(
    _sparse_categorical_cross_entropy, _categorical_cross_entropy_gradient, _class_numbers
)
"""−log A_Y, A = probabilities (of a softmax), Y = class numbers (examples,) from 0.

>>> nn.sparse_categorical_cross_entropy.forward(np.array([[0.5, 0.5]]), np.array([1]))[0]
0.6931471805599453
"""


# -- cross-entropies on logits ---------------------------------------------------------------------------------------


def _binary_cross_entropy_with_logits(z: Array, T: Array) -> tuple[Array, Residual]:
    return sum_of_columns(np.logaddexp(z, zero(z.dtype)) - T * z), (z, T)


def _binary_cross_entropy_with_logits_gradient(residual: tuple[Array, Array]) -> Array:
    z, T = residual
    return logistic(z) - T


binary_cross_entropy_with_logits = _loss(
    _binary_cross_entropy_with_logits, _binary_cross_entropy_with_logits_gradient, _probabilities
)
"""`binary_cross_entropy` of σ(z): Σ log(1 + exp(z)) − Y z; its gradient is (σ(z) − Y)/m. Right at ±1000 too.

>>> nn.binary_cross_entropy_with_logits.forward(np.array([[1000.0]]), np.array([[0.0]]))[0]
1000.0
"""


def _categorical_cross_entropy_with_logits(z: Array, T: Array) -> tuple[Array, Residual]:
    shifted, exp, total = shifted_exp(z)
    return np.log(total[..., 0]) - sum_of_columns(T * shifted), (exp, total, T)


def _sparse_categorical_cross_entropy_with_logits(z: Array, T: Array) -> tuple[Array, Residual]:
    return _categorical_cross_entropy_with_logits(z, T)


def _categorical_cross_entropy_with_logits_gradient(residual: tuple[Array, Array, Array]) -> Array:
    exp, total, T = residual
    return exp / total - T


categorical_cross_entropy_with_logits = _loss(
    _categorical_cross_entropy_with_logits, _categorical_cross_entropy_with_logits_gradient, _one_hot_rows
)
"""`categorical_cross_entropy` of softmax(z): log Σ exp(z) − Σ Y z; its gradient is (softmax(z) − Y)/m.

>>> nn.categorical_cross_entropy_with_logits.forward(np.array([[1000.0, 0.0]]), np.array([[0.0, 1.0]]))[0]
1000.0
"""

sparse_categorical_cross_entropy_with_logits = _loss(
    _sparse_categorical_cross_entropy_with_logits, _categorical_cross_entropy_with_logits_gradient, _class_numbers
)
"""`sparse_categorical_cross_entropy` of softmax(z): log Σ exp(z) − z_Y.

>>> nn.sparse_categorical_cross_entropy_with_logits.forward(np.array([[1000.0, 0.0]]), np.array([1]))[0]
1000.0
"""


# -- regression ------------------------------------------------------------------------------------------------------


def _per_output(elements: Array) -> Array:
    outputs: int = elements.shape[-1]
    return elements / outputs


def _mean_of_outputs(elements: Array) -> Array:
    return sum_of_columns(_per_output(elements))


def _mean_squared_error(y: Array, T: Array) -> tuple[Array, Residual]:
    d = y - T
    return _mean_of_outputs(d * d), d


def _mean_squared_error_gradient(d: Array) -> Array:
    return _per_output(2 * d)


mean_squared_error = _loss(_mean_squared_error, _mean_squared_error_gradient, _same_outputs)
"""The mean over the outputs of (y − target)².

>>> nn.mean_squared_error.forward(np.array([[1.0, 3.0]]), np.array([[1.0, 1.0]]))[0]
2.0
"""


def _mean_absolute_error(y: Array, T: Array) -> tuple[Array, Residual]:
    d = y - T
    return _mean_of_outputs(np.abs(d)), d


def _mean_absolute_error_gradient(d: Array) -> Array:
    return _per_output(np.sign(d))


mean_absolute_error = _loss(_mean_absolute_error, _mean_absolute_error_gradient, _same_outputs)
"""The mean over the outputs of |y − target|; its gradient is 0 where they are equal.

>>> nn.mean_absolute_error.forward(np.array([[1.0, 3.0]]), np.array([[1.0, 1.0]]))[0]
1.0
"""


def huber(delta: float = 1.0) -> Loss:
    """The mean over the outputs of ½d² where |d| ≤ delta, else delta·(|d| − ½delta), d = y − target (Huber 1964).

    >>> nn.huber(1.0).forward(np.array([[0.5, 3.0]]), np.array([[0.0, 0.0]]))[0]
    1.3125
    """
    delta = number(delta, "delta", 0, math.inf, open_low=True, why="where the parabola becomes a line")
    return _loss(partial(_huber, delta=delta), partial(_huber_gradient, delta=delta), _same_outputs)


def _huber(y: Array, T: Array, delta: float) -> tuple[Array, Residual]:
    d = y - T
    small = np.clip(d, -delta, delta)
    return _mean_of_outputs(small * (d - 0.5 * small)), d


def _huber_gradient(d: Array, delta: float) -> Array:
    return _per_output(np.clip(d, -delta, delta))


LOSSES: dict[str, Callable[[], Loss]] = {
    "binary_cross_entropy": lambda: binary_cross_entropy,
    "binary_cross_entropy_with_logits": lambda: binary_cross_entropy_with_logits,
    "categorical_cross_entropy": lambda: categorical_cross_entropy,
    "categorical_cross_entropy_with_logits": lambda: categorical_cross_entropy_with_logits,
    "huber": huber,
    "mean_absolute_error": lambda: mean_absolute_error,
    "mean_squared_error": lambda: mean_squared_error,
    "sparse_categorical_cross_entropy": lambda: sparse_categorical_cross_entropy,
    "sparse_categorical_cross_entropy_with_logits": lambda: sparse_categorical_cross_entropy_with_logits,
}
"""The names that stand for losses."""
