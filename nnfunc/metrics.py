"""Prediction and evaluation."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfunc import losses
from nnfunc.arrays import Array, ArrayDict, Scalar
from nnfunc.errors import by_name, cast, first_bad, number, numeric
from nnfunc.layers.activations import sigmoid, softmax
from nnfunc.layers.base import Layer
from nnfunc.layers.combinators import by_rows, last_layer
from nnfunc.losses import Loss, loss_of, of_network
from nnfunc.values import same


class Trained(Protocol):
    """What prediction needs of a `TrainState`: params and state."""

    @property
    def params(self) -> ArrayDict: ...
    @property
    def state(self) -> ArrayDict: ...


class Evaluation(NamedTuple):
    """The mean loss (without penalty) and the accuracy on some data; NaN where there are no classes.

    >>> Evaluation(loss=0.5, accuracy=0.9).accuracy
    0.9
    """

    loss: Scalar
    accuracy: Scalar


ROWS = 2048
"""How many rows are predicted at once where they do not depend on each other, so that activations stay in the cache."""


def predict(model: Layer, ts: Trained, X: ArrayLike) -> Array:
    """The model's outputs for the rows of X, in prediction mode: no dropout, running averages in batch norm.

    Args:
        model: the model.
        ts: a `TrainState`, or anything with `params` and `state`.
        X: (examples, features); of a stack also (K, examples, features).
    Returns:
        (examples, outputs), of a stack (K, examples, outputs), of the parameters' dtype.
    Raises:
        ValueError: NaN or infinity in X, a shape that does not fit.

    >>> model = nn.mlp([2, 3, 1], ["relu", "sigmoid"])
    >>> ts = nn.train_state(model, nn.gd(), nn.key(0), input_shape=(2,))
    >>> nn.predict(model, ts, np.zeros((2, 2)))
    array([[0.5],
           [0.5]], dtype=float32)
    """
    if not isinstance(model, Layer) or not hasattr(ts, "params") or not hasattr(ts, "state"):
        came = f"{type(model).__name__}, {type(ts).__name__}"
        raise TypeError(f"the first two arguments are {came}; expected a model and a TrainState: predict(model, ts, X)")
    params = ts.params
    x = numeric(X, "X")

    def outputs(rows: slice) -> Array:
        part = x[rows] if x.ndim else x
        y, _, _ = model.forward(params, ts.state, cast(part, "X", params.dtype if params.size else None))
        return y

    if x.ndim > 1 and len(x) > ROWS and not params.stack_shape and by_rows(model):
        with suppress(ValueError, TypeError):  # what is wrong is said of all rows below
            return np.concatenate([outputs(slice(i, i + ROWS)) for i in range(0, len(x), ROWS)])
    return outputs(slice(None)).copy()  # what forward returns is read-only


def predict_classes(model: Layer, ts: Trained, X: ArrayLike, threshold: float | None = None) -> NDArray[np.intp]:
    """The predicted classes: of one output 1 where it is > 0.5, else 0; of several the largest (first of equals).

    Several outputs of a sigmoid are decisions of their own: each is 1 where it is > 0.5.

    Args:
        model, ts, X: see `predict`.
        threshold: each output is a decision, 1 where it is above this; 0.0 for a model whose outputs are logits.
    Returns:
        (examples,), or (examples, outputs) for several decisions; of a stack with a leading axis K.
    Raises:
        ValueError: one output that is no probability, and no threshold.

    >>> model = nn.mlp([2, 3], ["softmax"])
    >>> ts = nn.train_state(model, nn.gd(), nn.key(0), input_shape=(2,))
    >>> nn.predict_classes(model, ts, np.zeros((2, 2)))
    array([0, 0])
    """
    y = predict(model, ts, X)
    return classes_of(y, _decision(model, y, threshold))


def accuracy(model: Layer, ts: Trained, X: ArrayLike, Y: ArrayLike, threshold: float | None = None) -> Scalar:
    """The share of examples whose predicted class is the true one; of several decisions, the share of decisions.

    Args:
        model, ts, X: see `predict`.
        Y: class numbers (examples,), one-hot rows (examples, classes), or 0 and 1 (examples,) or (examples, 1).
        threshold: see `predict_classes`.
    Raises:
        ValueError: labels of another shape or range.

    >>> model = nn.mlp([2, 3], ["softmax"])
    >>> ts = nn.train_state(model, nn.gd(), nn.key(0), input_shape=(2,))
    >>> nn.accuracy(model, ts, np.zeros((4, 2)), [0, 0, 0, 1])
    0.75
    """
    y = predict(model, ts, X)
    y, Y, _ = of_network(ts.params, y, Y)
    decision = _decision(model, y, threshold)
    return share_equal(classes_of(y, decision), labels(Y, y, decision), ts.params)


def confusion_matrix(
    model: Layer, ts: Trained, X: ArrayLike, Y: ArrayLike, threshold: float | None = None
) -> NDArray[np.intp]:
    """How often each true class (row) was predicted as each class (column).

    Arguments are those of `accuracy`; a single network, one decision for each example.

    >>> model = nn.mlp([2, 3], ["softmax"])
    >>> ts = nn.train_state(model, nn.gd(), nn.key(0), input_shape=(2,))
    >>> nn.confusion_matrix(model, ts, np.zeros((4, 2)), [0, 0, 0, 1])
    array([[3, 0, 0],
           [1, 0, 0],
           [0, 0, 0]])
    """
    y = predict(model, ts, X)
    decision = _decision(model, y, threshold)
    predicted, true = classes_of(y, decision), labels(Y, y, decision)
    if predicted.ndim != 1:
        raise ValueError(
            f"outputs of shape {y.shape}: a confusion matrix needs one network and one decision per example"
        )
    classes = max(y.shape[-1], 2)
    counts = np.bincount(true.astype(np.intp) * classes + predicted, minlength=classes**2)
    return counts.reshape(classes, classes)


def evaluate(
    model: Layer,
    loss: Loss | str,
    ts: Trained,
    X: ArrayLike,
    Y: ArrayLike,
    weights: ArrayLike | None = None,
    class_weights: ArrayLike | None = None,
) -> Evaluation:
    """The mean loss (without penalty) and the accuracy of a model in prediction mode.

    Args:
        model, ts, X: see `predict`.
        loss: a loss, or its name.
        Y: the targets of the loss.
        weights, class_weights: of the mean loss; the accuracy counts every example alike.

    >>> model = nn.mlp([2, 3], ["softmax"])
    >>> ts = nn.train_state(model, nn.gd(), nn.key(0), input_shape=(2,))
    >>> nn.evaluate(model, nn.sparse_categorical_cross_entropy, ts, np.zeros((4, 2)), [0, 0, 0, 1]).accuracy
    0.75
    """
    loss = by_name("loss", loss, losses.LOSSES)
    y = predict(model, ts, X)
    y, Y, weights = of_network(ts.params, y, Y, weights)
    value, _ = loss_of(losses.for_stack(loss, ts.params), y, Y, weights, class_weights)
    decision = decision_under(model, loss)
    true = None if decision is None else known_labels(Y, y, decision)
    if decision is None or true is None:
        return Evaluation(value, unknown(ts.params))
    return Evaluation(value, share_equal(classes_of(y, decision), true, ts.params))


# -- from outputs to classes -------------------------------------------------------------------------------------------

Decision: TypeAlias = "float | Literal['largest']"
"""How outputs become classes: the largest of them, or each is 1 above a threshold."""

_UNDER_LOSS: tuple[tuple[Loss, Decision], ...] = (
    (losses.binary_cross_entropy, 0.5),
    (losses.binary_cross_entropy_with_logits, 0.0),
    (losses.categorical_cross_entropy, "largest"),
    (losses.categorical_cross_entropy_with_logits, "largest"),
    (losses.sparse_categorical_cross_entropy, "largest"),
    (losses.sparse_categorical_cross_entropy_with_logits, "largest"),
)


def decision_under(model: Layer, loss: Loss) -> Decision | None:
    """How the outputs of a model become classes, if its loss (or else its last layer) says so; None: no classes."""
    for known, decision in _UNDER_LOSS:
        if same(loss, known):
            return decision
    last = last_layer(model)
    return 0.5 if same(last, sigmoid()) else "largest" if same(last, softmax()) else None


def _decision(model: Layer, y: Array, threshold: float | None) -> Decision:
    """How the outputs of a model become classes, where the loss is not known."""
    if threshold is not None:
        return number(threshold, "threshold", -math.inf, math.inf)
    last = last_layer(model)
    if same(last, sigmoid()):
        return 0.5
    if y.shape[-1] > 1:
        return "largest"
    if last.name in ("dense", "identity") or y.min() < 0 or y.max() > 1:
        raise ValueError(
            "the model's one output is no probability: end it with nn.sigmoid(), or pass threshold=0.0 if it is a logit"
        )
    return 0.5


def classes_of(y: Array, decision: Decision) -> NDArray[np.intp]:
    """The classes that outputs stand for."""
    if not np.isfinite(y).all():
        bad = first_bad(y, ~np.isfinite(y))
        raise ValueError(f"the outputs contain {bad}, which is no class: did the training diverge?")
    return decided(y, decision).astype(np.intp, copy=False)


def decided(y: Array, decision: Decision) -> NDArray[Any]:  # class numbers, or booleans
    """`classes_of` finite outputs, as they come."""
    if decision == "largest":
        largest: NDArray[np.intp] = np.argmax(y, axis=-1)
        return largest
    above: NDArray[np.bool_] = y > decision
    return above[..., 0] if y.shape[-1] == 1 else above


def labels(Y: ArrayLike, y: Array, decision: Decision) -> NDArray[Any]:  # of whichever dtype the labels came in
    """True classes in the form of the predicted ones: from class numbers, one-hot rows, or columns of 0 and 1."""
    T = numeric(Y, "Y")
    largest, outputs = decision == "largest", y.shape[-1]
    if T.ndim > 1 and T.shape[-2:] == y.shape[-2:]:
        if largest and not (np.allclose(T.sum(axis=-1), 1, atol=1e-3) and T.min(initial=0) >= 0):
            raise ValueError(
                f"Y has shape {T.shape} but its rows do not sum to 1: expected one-hot rows or class numbers"
            )
        T = T.argmax(axis=-1) if largest else T[..., 0] if outputs == 1 else T
    expected = y.shape[-2:-1] if largest or outputs == 1 else y.shape[-2:]
    if T.shape not in (expected, (*y.shape[:-2], *expected)):
        raise ValueError(f"Y has shape {T.shape} but the outputs have shape {y.shape}: expected classes {expected}")
    highest = outputs - 1 if largest else 1
    bad = ~((T >= 0) & (highest >= T) & (np.floor(T) == T))
    if bad.any():
        raise ValueError(f"Y contains {first_bad(T, bad)}, expected classes from 0 to {highest}")
    return T


def known_labels(Y: ArrayLike, y: Array, decision: Decision) -> NDArray[Any] | None:
    """`labels`, or None where the targets are none: probabilities, numbers to regress on."""
    try:
        return labels(Y, y, decision)
    except ValueError:
        return None


def unknown(params: ArrayDict) -> Scalar:
    """The accuracy where there are no classes: NaN, for each network of a stack."""
    return np.full(params.stack_shape, math.nan) if params.stack_shape else math.nan


def share_equal(predicted: NDArray[Any], true: NDArray[Any], params: ArrayDict) -> Scalar:
    """The share of decisions that are right, for each network of a stack."""
    right = predicted == true
    if not params.stack_shape:
        return int(np.count_nonzero(right)) / int(right.size) if right.size else math.nan
    share: Array = right.mean(axis=tuple(range(1, right.ndim)))
    return share
