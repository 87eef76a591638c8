"""Evaluation of outputs: predicted classes, accuracy, the mean loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfunc._internal.validate import callable_, first_bad, number, numeric
from nnfunc.arrays import Array, ArrayDict, Numbers, Scalar, as_mapping
from nnfunc.core.layer import Layer
from nnfunc.core.values import Value, map_leaves
from nnfunc.evaluation.predict import Given, HasParams, predict, trained
from nnfunc.layers.structure import last_layer
from nnfunc.losses import named_loss
from nnfunc.losses.base import Decision, Loss, LossName, loss_of
from nnfunc.losses.options import known
from nnfunc.losses.weights import weights_of
from nnfunc.stacks import member, with_axis, without_axis

Metric: TypeAlias = Callable[..., Scalar]
"""(y, target) -> number, or (y, target, weights) -> number: of one network's outputs."""


class Evaluation(NamedTuple):
    """The mean loss (without penalty), the accuracy (NaN if there are no classes), and other metrics by name.

    >>> Evaluation(loss=0.5, accuracy=0.9).accuracy
    0.9
    """

    loss: Scalar
    accuracy: Scalar
    metrics: Mapping[str, Scalar] = {}


def predict_classes(model: Layer, ts: Given, X: Value, threshold: float | None = None) -> NDArray[np.intp]:
    """The predicted classes: for a single output, 1 if it is > 0.5, else 0; for several, the (first) largest.

    Several outputs of a sigmoid are separate decisions: each is 1 where it is > 0.5.

    Args:
        model, ts, X: see `predict`.
        threshold: makes each output a decision, 1 where it exceeds this; use 0.0 for models that return logits.
    Returns:
        (examples,), or (examples, outputs) for several decisions; with a leading axis K for a stack.
    Raises:
        ValueError: a single output that is not a probability, and no threshold.

    >>> model = nn.mlp([2, 3], ["softmax"])
    >>> ts = nn.train_state(model, nn.gd(), nn.key(0), input_shape=(2,))
    >>> nn.predict_classes(model, ts, np.zeros((2, 2)))
    array([0, 0])
    """
    y = predict(model, ts, X)
    return classes_of(y, _decision(model, y, threshold))


def accuracy(
    model: Layer, ts: Given, X: Value, Y: ArrayLike, threshold: float | None = None, ignore: int | None = None
) -> Scalar:
    """The fraction of examples whose predicted class is correct; for several decisions, the fraction of decisions.

    Args:
        model, ts, X: see `predict`.
        Y: class indices (examples,), one-hot rows (examples, classes), or 0 and 1 (examples,) or (examples, 1).
        threshold: see `predict_classes`.
        ignore: a class index whose examples are ignored: see `nnfunc.losses.options`.
    Raises:
        ValueError: labels of the wrong shape or range.

    >>> model = nn.mlp([2, 3], ["softmax"])
    >>> ts = nn.train_state(model, nn.gd(), nn.key(0), input_shape=(2,))
    >>> nn.accuracy(model, ts, np.zeros((4, 2)), [0, 0, 0, 1])
    0.75
    """
    ts = trained(model, ts, "accuracy(model, ts, X, Y)")
    y = predict(model, ts, X)
    decision, Y, lead = _decision(model, y, threshold), as_members(ts, Y, "Y"), 1 + len(ts.params.stack_shape)
    Y, there = known({} if ignore is None else {"ignore": ignore}, Y)
    right = classes_of(y, decision) == labels(Y, y, decision, lead)
    counted = np.broadcast_to(True if there is None else there.reshape(right.shape), right.shape)
    axes = tuple(range(lead - 1, right.ndim))
    return ratio((right & counted).sum(axis=axes), counted.sum(axis=axes), math.nan)


def confusion_matrix(
    model: Layer, ts: Given, X: Value, Y: ArrayLike, threshold: float | None = None, ignore: int | None = None
) -> NDArray[np.intp]:
    """Counts of each true class (row) predicted as each class (column).

    The arguments are those of `accuracy`, for a single network with one decision per example.

    >>> model = nn.mlp([2, 3], ["softmax"])
    >>> ts = nn.train_state(model, nn.gd(), nn.key(0), input_shape=(2,))
    >>> nn.metrics.confusion_matrix(model, ts, np.zeros((4, 2)), [0, 0, 0, 1])
    array([[3, 0, 0],
           [1, 0, 0],
           [0, 0, 0]])
    """
    y = predict(model, ts, X)
    decision = _decision(model, y, threshold)
    Y, there = known({} if ignore is None else {"ignore": ignore}, Y)
    predicted, true = classes_of(y, decision), labels(Y, y, decision, 1)
    if predicted.ndim != 1:
        raise ValueError(
            f"outputs of shape {y.shape}: a confusion matrix needs one network and one decision per example"
        )
    classes = max(y.shape[-1], 2)
    pairs = true.astype(np.intp) * classes + predicted
    counts = np.bincount(pairs if there is None else pairs[there.reshape(-1)], minlength=classes**2)
    return counts.reshape(classes, classes)


def evaluate(
    model: Layer,
    loss: Loss | LossName,
    ts: Given,
    X: Value,
    Y: Any,
    weights: Any = None,
    class_weights: Numbers | None = None,
    *,
    metrics: Mapping[str, Metric] | None = None,
) -> Evaluation:
    """The mean loss (without penalty) and the accuracy of a model in prediction mode, and other metrics.

    Args:
        model, ts, X: see `predict`.
        loss: a loss, or its name.
        Y: the targets of the loss.
        weights: per-example weights, for the mean loss and the accuracy.
        class_weights: class weights, for the mean loss.
        metrics: a dict from names to functions (y, target) of all outputs and targets, or (y, target, weights=) if
            weights are given, such as `nn.metrics.f1_score` or `partial(nn.metrics.f1_score, average="macro")`; they
            are called for each member of a stack.

    >>> model = nn.mlp([2, 3], ["softmax"])
    >>> ts = nn.train_state(model, nn.gd(), nn.key(0), input_shape=(2,))
    >>> nn.evaluate(model, nn.sparse_categorical_cross_entropy, ts, np.zeros((4, 2)), [0, 0, 0, 1]).accuracy
    0.75
    """
    loss = named_loss(loss)
    if metrics is not None:
        for name, metric in as_mapping(metrics, "metrics", "a dict of functions").items():
            callable_(metric, f"metrics[{name!r}]", "(y, target) -> number")
    ts = trained(model, ts, "evaluate(model, loss, ts, X, Y)")
    y, lead = predict(model, ts, X), 1 + len(ts.params.stack_shape)
    Y, weights = as_members(ts, Y, "Y"), None if weights is None else as_members(ts, weights, "weights")
    value, _ = loss_of(loss, y, Y, weights, class_weights, lead)
    decision = decision_under(model, loss)
    share = None if decision is None else share_right(y, Y, weights, decision, lead, loss)
    accuracy = unknown(ts.params) if share is None else ratio(*share, math.nan)
    given = {} if weights is None else {"weights": weights}

    def of_each(metric: Metric) -> Scalar:
        if lead == 1:
            return metric(y, Y, **given)
        each = ((member(y, k), member(Y, k), member(weights, k)) for k in range(ts.params.stack_shape[0]))
        return np.array([metric(a, b) if w is None else metric(a, b, weights=w) for a, b, w in each])

    return Evaluation(value, accuracy, {name: of_each(metric) for name, metric in (metrics or {}).items()})


def as_members(ts: HasParams, value: Any, name: str) -> Any:
    """Targets or weights with the axis of a stack, if the parameters have one."""
    stack = ts.params.stack_shape
    if stack:
        return with_axis(value, stack[0], name)
    return map_leaves(lambda a: numeric(a, name), without_axis(value, name))


# -- from outputs to classes -------------------------------------------------------------------------------------------


def decision_under(model: Layer, loss: Loss) -> Decision | None:
    """How the outputs of a model become classes, according to its loss (or else its last layer); None: no classes."""
    if loss.decision is not None or loss.parts or loss.outputs > 1 or loss.axes > 1:
        return loss.decision
    last = last_layer(model).kernel
    return None if last is None else last.decision


def _decision(model: Layer, y: Array, threshold: float | None) -> Decision:
    """How the outputs of a model become classes if the loss is unknown."""
    last = last_layer(model)
    if threshold is None and last.kernel is not None and last.kernel.decision == 0.5:
        return 0.5
    return decision_of(y, threshold, last.name in LINEAR)


def decision_of(y: Value, threshold: float | None, linear: bool = False) -> Decision:
    """How outputs become classes if neither model nor loss is known, except whether the last layer is linear."""
    if threshold is not None:
        return number(threshold, "threshold", -math.inf, math.inf)
    if isinstance(y, tuple):
        raise ValueError(f"the model has {len(y)} outputs: select one, and pass threshold= or compare it directly")
    if y.shape[-1] > 1:
        return "largest"
    if linear or y.min() < 0 or y.max() > 1:
        raise ValueError(
            "the single output is not a probability: end the model with nn.sigmoid(), or pass threshold=0.0 for a logit"
        )
    return 0.5


LINEAR = ("dense", "identity")
"""Layers whose single output is not a probability, even if it is between 0 and 1."""


def classes_of(y: Array, decision: Decision) -> NDArray[np.intp]:
    """The classes that outputs represent."""
    if not np.isfinite(y).all():
        bad = first_bad(y, ~np.isfinite(y))
        raise ValueError(f"the outputs contain {bad}, which is not a class: did training diverge?")
    return decided(y, decision).astype(np.intp, copy=False)


def decided(y: Array, decision: Decision) -> NDArray[Any]:  # class indices, or booleans
    """`classes_of` for outputs that are finite, without a cast."""
    if decision == "largest":
        largest: NDArray[np.intp] = np.argmax(y, axis=-1)
        return largest
    above: NDArray[np.bool_] = y > decision
    return above[..., 0] if y.shape[-1] == 1 else above


def labels(Y: ArrayLike, y: Array, decision: Decision, lead: int, name: str = "Y") -> NDArray[Any]:
    """True classes in the form of the predicted ones: from class indices, one-hot rows, or columns of 0 and 1.

    Args:
        Y: of y's shape, or without its last axis.
        lead: 1, or 2 in a stack.
        name: the name of Y in messages.
    """
    T = numeric(Y, name)
    largest, outputs = decision == "largest", y.shape[-1]
    if largest and T.shape == y.shape and not (np.allclose(T.sum(axis=-1), 1, atol=1e-3) and T.min(initial=0) >= 0):
        raise ValueError(
            f"{name} has shape {T.shape[lead - 1 :]} but its rows do not sum to 1: expected one-hot rows or class "
            "indices"
        )
    read = read_labels(T, y, decision)
    if read is None:
        expected = y.shape[lead - 1 : -1] if largest or outputs == 1 else y.shape[lead - 1 :]
        raise ValueError(
            f"{name} has shape {T.shape[lead - 1 :]} but the outputs have shape {y.shape[lead - 1 :]}: expected "
            f"classes {expected}"
        )
    highest = outputs - 1 if largest else 1
    bad = ~((read >= 0) & (highest >= read) & (np.floor(read) == read))
    if bad.any():
        raise ValueError(f"{name} contains {first_bad(read, bad)}, expected classes from 0 to {highest}")
    return read


def read_labels(T: NDArray[Any], y: Array, decision: Decision) -> NDArray[Any] | None:
    """True classes in the form of the predicted ones, unchecked; None if the shape does not fit labels."""
    if T.shape == y.shape:
        return T.argmax(axis=-1) if decision == "largest" else T[..., 0] if y.shape[-1] == 1 else T
    return T if T.shape == y.shape[:-1] and (decision == "largest" or y.shape[-1] == 1) else None


def share_right(
    y: Value, Y: Any, weights: Any, decision: Decision, lead: int, loss: Loss
) -> tuple[Scalar, Scalar] | None:
    """Σ w of the correct decisions, and Σ w of all, (K,) for a stack; None if the targets are not classes."""
    if isinstance(y, tuple) or isinstance(Y, tuple):
        return None
    Y, there = known(loss.options, Y)
    true = read_labels(np.asarray(Y), y, decision)
    if true is None or (true.dtype.kind == "f" and (true != np.floor(true)).any()):
        return None
    right = decided(y, decision) == true
    if weights is None and there is None:
        if lead == 1:
            return float(np.count_nonzero(right)), float(right.size)
        axes = tuple(range(1, right.ndim))
        return right.sum(axis=axes).astype(float), np.full(len(right), right[0].size, float)
    counted: Any = 1.0 if there is None else there.reshape(right.shape)
    if weights is not None:
        w = weights_of(weights, y.shape, lead, np.dtype(np.float64)).reshape(y.shape[:-1])
        counted = counted * (w[..., None] if right.ndim > w.ndim else w)
    counted = np.broadcast_to(counted, right.shape)
    axes = tuple(range(lead - 1, right.ndim))
    total, correct = counted.sum(axis=axes), (counted * right).sum(axis=axes)
    return (float(correct), float(total)) if lead == 1 else (correct, total)


def ratio(total: Any, weight: Any, empty: float) -> Scalar:
    """Σ w v / Σ w, for each member of a stack; `empty` where the total weight is 0."""
    if np.ndim(total) == 0 and np.ndim(weight) == 0:
        return float(total / weight) if weight else empty
    return np.where(weight == 0, empty, total / np.where(np.asarray(weight) == 0, 1, weight))


def unknown(params: ArrayDict) -> Scalar:
    """The accuracy if there are no classes: NaN, for each network of a stack."""
    return np.full(params.stack_shape, math.nan) if params.stack_shape else math.nan
