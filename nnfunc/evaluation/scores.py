"""Scores of outputs against what is true: `score(y, target, weights=None) -> number`, each of the whole data.

y is what `nn.predict` gives, (examples, ..., outputs), every position an example; target has class numbers
(examples, ...), one-hot rows, or 0 and 1 (for `r2_score` numbers). The values are scikit-learn's, where the docstring
says nothing else. An example of weight 0 is one that is not there; without any example a score is NaN. They are of one
network: `nn.evaluate(..., metrics={"f1": nn.metrics.f1_score})` calls them for each member of a stack.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfunc._internal.validate import choice, first_bad, flag, numeric, positive_int
from nnfunc.arrays import Array, Scalar
from nnfunc.evaluation.metrics import classes_of, decision_of, labels
from nnfunc.losses.classification import (
    categorical_cross_entropy,
    categorical_cross_entropy_with_logits,
    sparse_categorical_cross_entropy,
    sparse_categorical_cross_entropy_with_logits,
)
from nnfunc.losses.options import known
from nnfunc.losses.targets import same_outputs
from nnfunc.losses.weights import weights_of

__all__ = ["f1_score", "perplexity", "precision", "r2_score", "recall", "roc_auc", "top_k_accuracy"]

Average: TypeAlias = "Literal['binary', 'macro', 'micro', 'weighted'] | None"

FLOAT = np.dtype(np.float64)


# -- from decisions ----------------------------------------------------------------------------------------------------


def precision(
    y: ArrayLike,
    target: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    average: Average = "binary",
    threshold: float | None = None,
    ignore: int | None = None,
) -> Scalar:
    """The share of those predicted to be of a class that are: TP/(TP + FP), 0 where none is predicted.

    Args:
        y: outputs; or the predicted classes as whole numbers, of the target's shape.
        target: class numbers, one-hot rows, or 0 and 1.
        weights: of the examples, or of each position.
        average: "binary": the score of class 1, for two classes; None: an array of the scores of all classes; "macro":
            the mean over the classes that occur in target or prediction; "weighted": over all, each by how often it is
            the true one; "micro": of the sums over the classes of TP, FP and FN.
        threshold: each output is a decision, 1 where it is above this: see `nn.predict_classes`. The classes are then
            the outputs, if there are several.
        ignore: a class number whose examples do not count.
    Raises:
        ValueError: average="binary" for several classes, labels of another shape or range.

    >>> nn.metrics.precision([1, 1, 1, 0], [1, 1, 0, 1])
    0.6666666666666666
    >>> nn.metrics.precision(np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]), [0, 1, 1], average=None)
    array([0.5, 1. ])
    """
    counts = _counts(y, target, weights, threshold, ignore)
    return _averaged(counts.right, counts.predicted, counts, average)


def recall(
    y: ArrayLike,
    target: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    average: Average = "binary",
    threshold: float | None = None,
    ignore: int | None = None,
) -> Scalar:
    """The share of those of a class that are predicted to be: TP/(TP + FN), 0 where there is none.

    Arguments are those of `precision`.

    >>> nn.metrics.recall([1, 1, 1, 0], [1, 1, 0, 1])
    0.6666666666666666
    """
    counts = _counts(y, target, weights, threshold, ignore)
    return _averaged(counts.right, counts.actual, counts, average)


def f1_score(
    y: ArrayLike,
    target: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    average: Average = "binary",
    threshold: float | None = None,
    ignore: int | None = None,
) -> Scalar:
    """The harmonic mean of precision and recall, 2 TP/(2 TP + FP + FN), 0 where a class does not occur.

    Arguments are those of `precision`. The macro average is the mean of the classes' scores, not the score of the mean
    precision and the mean recall.

    >>> nn.metrics.f1_score(np.array([[0.9], [0.7], [0.6], [0.2]]), [1, 1, 0, 0])
    0.8
    """
    counts = _counts(y, target, weights, threshold, ignore)
    return _averaged(2 * counts.right, counts.predicted + counts.actual, counts, average)


class Counts(NamedTuple):
    """Of each class Σ w of the examples that are predicted to be of it and are, are predicted to be, and are; which
    classes the macro average is over; whether an example is of one of two classes; Σ w of all."""

    right: Array
    predicted: Array
    actual: Array
    counted: NDArray[np.bool_]
    binary: bool
    total: float


def _counts(y: ArrayLike, target: ArrayLike, weights: Any, threshold: float | None, ignore: int | None) -> Counts:
    outputs = numeric(y, "y")
    T, there = known({} if ignore is None else {"ignore": ignore}, target)
    if outputs.dtype.kind == "f":
        outputs = _outputs(outputs)
        decision, last = decision_of(outputs, threshold), outputs.shape[-1]
        predicted = classes_of(outputs, decision)
        true = labels(T, outputs, decision, 1, "target").astype(np.intp)
        classes, several = max(last, 2), predicted.ndim == outputs.ndim
    else:
        predicted, true = _whole(outputs, "y"), _whole(numeric(T, "target"), "target")
        classes, several = 1 + int(max(predicted.max(initial=1), true.max(initial=1))), False
    if true.shape != predicted.shape or (there is not None and there.size != true.size):
        raise ValueError(f"target has shape {np.shape(target)}, expected class numbers of shape {predicted.shape}")
    w = _weights(weights, (*predicted.shape[:-1], 1) if several else (*predicted.shape, 1))
    if several:  # each output is a decision of its own, with weights where it is there
        P, T, cells = predicted.reshape(-1, last), true.reshape(-1, last), np.broadcast_to(w[:, None], (len(w), last))
        cells = cells if there is None else cells * there.reshape(cells.shape)
        right, sums, actual = ((cells * a).sum(axis=0) for a in (P * T, P, T))
        return Counts(right, sums, actual, np.ones(last, bool), False, float(cells.sum()))
    w, predicted, true = w if there is None else w * there.reshape(-1), predicted.reshape(-1), true.reshape(-1)
    right, sums, actual = (
        np.bincount(of, own, classes).astype(FLOAT)
        for of, own in ((true, w * (predicted == true)), (predicted, w), (true, w))
    )
    return Counts(right, sums, actual, sums + actual > 0, classes == 2, float(w.sum()))


def _averaged(part: Array, whole: Array, counts: Counts, average: Average) -> Scalar:
    """part/whole of each class, averaged."""
    choice(average, "average", "binary", "macro", "micro", "weighted", None)
    if average == "binary" and not counts.binary:
        raise ValueError(
            f"average='binary' is the score of class 1 of two, but there are {len(whole)} classes: pass "
            "average='macro', 'micro' or 'weighted', or None for the score of each class"
        )
    if counts.total == 0:
        return np.full(len(whole), math.nan) if average is None else math.nan
    if average == "micro":
        return float(_divided(part.sum(), whole.sum()))
    scores = _divided(part, whole)
    if average is None:
        return scores
    if average == "binary":
        return float(scores[1])
    share = counts.actual if average == "weighted" else counts.counted
    return float(_divided((share * scores).sum(), share.sum()))


def _divided(part: ArrayLike, whole: ArrayLike) -> Array:
    """part/whole, 0 where there is nothing."""
    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=np.greater(whole, 0))


# -- from scores and numbers -------------------------------------------------------------------------------------------


def roc_auc(
    y: ArrayLike,
    target: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    average: Literal["macro"] | None = "macro",
    ignore: int | None = None,
) -> Scalar:
    """The area under the ROC curve: how often an example of the class has a larger output than one that is not of it,
    equal ones counted half.

    Args:
        y: outputs, probabilities or logits: only their order counts.
        target: 0 and 1, or class numbers or one-hot rows for several outputs, each of which is then held against all
            others.
        weights: of the examples, or of each position.
        average: "macro": the mean over the outputs; None: an array of the areas of all outputs.
        ignore: a class number whose examples do not count.
    Returns:
        NaN for a class of which there is no example, or nothing else; so is the mean over it.

    >>> nn.metrics.roc_auc(np.array([[0.1], [0.4], [0.4], [0.8]]), [0, 0, 1, 1])
    0.875
    """
    choice(average, "average", "macro", None)
    scores = _outputs(numeric(y, "y"))
    T, there = known({} if ignore is None else {"ignore": ignore}, target)
    T, last = numeric(T, "target"), scores.shape[-1]
    if T.shape == scores.shape or last == 1:
        T = labels(T, scores, 0.0, 1, "target").reshape(-1, last)
    else:
        T = labels(T, scores, "largest", 1, "target").reshape(-1, 1) == np.arange(last)
    w = np.broadcast_to(_weights(weights, scores.shape)[:, None], T.shape)
    if there is not None:
        w = w * there.reshape(len(w), -1)
    areas = np.array([_area(*column) for column in zip(scores.reshape(-1, last).T, T.T, w.T, strict=True)])
    return areas if average is None else float(areas.mean())


def _area(scores: Array, true: Array, w: Array) -> float:
    values, where = np.unique(scores, return_inverse=True)
    ones, zeros = (np.bincount(where, w * of, len(values)) for of in (true, 1 - 1.0 * true))
    pairs = ones.sum() * zeros.sum()
    smaller = np.cumsum(zeros) - zeros
    return float((ones * (smaller + zeros / 2)).sum() / pairs) if pairs else math.nan


def top_k_accuracy(
    y: ArrayLike, target: ArrayLike, k: int = 5, weights: ArrayLike | None = None, *, ignore: int | None = None
) -> Scalar:
    """The share of examples whose true class is one of the k with the largest outputs.

    Args:
        y: outputs, probabilities or logits, several.
        target: class numbers or one-hot rows.
        k: of equal outputs the first are the larger ones, as in `nn.accuracy`, which k=1 is; in scikit-learn the last.
        weights: of the examples, or of each position.
        ignore: a class number whose examples do not count.
    Raises:
        ValueError: k larger than the number of classes.

    >>> nn.metrics.top_k_accuracy(np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]), [1, 0], k=2)
    0.5
    """
    scores = _outputs(numeric(y, "y"))
    last = scores.shape[-1]
    if positive_int(k, "k") > last or last == 1:
        raise ValueError(f"k={k} of {last} outputs: expected several outputs, one for each class, and at most as many")
    T, there = known({} if ignore is None else {"ignore": ignore}, target)
    true = labels(T, scores, "largest", 1, "target").astype(np.intp)[..., None]
    own = np.take_along_axis(scores, true, axis=-1)
    before = (scores > own) | ((scores == own) & (np.arange(last) < true))
    right = (before.sum(axis=-1) < k).reshape(-1)
    w = _weights(weights, scores.shape)
    w = w if there is None else w * there.reshape(w.shape)
    return float(right @ w / w.sum()) if w.any() else math.nan


def r2_score(
    y: ArrayLike,
    target: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    average: Literal["macro"] | None = "macro",
) -> Scalar:
    """The coefficient of determination: 1 − Σ w (target − y)² / Σ w (target − mean)², the share of variance explained.

    Args:
        y, target: numbers of one shape; of one output the target may be (examples, ...).
        weights: of the examples, or of each position.
        average: "macro": the mean over the outputs; None: an array of the scores of all outputs.
    Returns:
        where all targets are equal 1 if they are met exactly, else 0; NaN for fewer than two examples.

    >>> nn.metrics.r2_score(np.array([[1.0], [2.0], [4.0]]), [1.0, 2.0, 3.0])
    0.5
    """
    choice(average, "average", "macro", None)
    outputs = _outputs(numeric(y, "y"))
    w = _weights(weights, outputs.shape)[:, None]
    T = same_outputs(outputs, target).reshape(len(w), -1)
    if np.count_nonzero(w) < 2:
        return np.full(T.shape[-1], math.nan) if average is None else math.nan
    shifted = T - T[np.argmax(w > 0)]  # exactly 0 where all that count are equal
    spread = (w * (shifted - (w * shifted).sum(axis=0) / w.sum()) ** 2).sum(axis=0)
    missed = (w * (T - outputs.reshape(T.shape)) ** 2).sum(axis=0)
    scores = np.where(spread > 0, 1 - missed / np.where(spread > 0, spread, 1), missed == 0)
    return scores if average is None else float(scores.mean())


def perplexity(
    y: ArrayLike,
    target: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    logits: bool = False,
    ignore: int | None = None,
) -> Scalar:
    """exp of the mean cross-entropy −log A of the true class: the number of equally probable classes to choose from.

    Args:
        y: probabilities, or with `logits` the values before a softmax.
        target: class numbers, or one-hot rows (or probabilities).
        weights: of the examples, or of each position.
        logits: whether y are logits.
        ignore: a class number whose examples do not count, such as that of padding.

    >>> nn.metrics.perplexity(np.full((3, 4), 1 / 4), [0, 1, 3])
    4.0
    """
    outputs, logits = _outputs(numeric(y, "y")), flag(logits, "logits")
    if ignore is None and numeric(target, "target").shape == outputs.shape:
        loss = categorical_cross_entropy_with_logits if logits else categorical_cross_entropy
    else:
        sparse = sparse_categorical_cross_entropy_with_logits if logits else sparse_categorical_cross_entropy
        loss = sparse(ignore=ignore)
    value, cache = loss.forward(outputs, target, weights)
    with np.errstate(over="ignore"):
        return float(np.exp(value)) if cache.total else math.nan


# -- arguments ---------------------------------------------------------------------------------------------------------


def _outputs(y: NDArray[Any]) -> Array:
    """y as float64, checked to have an axis of outputs and some examples."""
    if y.ndim < 2 or not y.size:
        hint = ": pass y[:, None]" if y.ndim == 1 and y.size else ""
        raise ValueError(f"y has shape {y.shape}, expected (examples, outputs) and at least one example{hint}")
    if np.isnan(y).any():
        raise ValueError(f"y contains {first_bad(y, np.isnan(y))}: did the training diverge?")
    return y.astype(FLOAT, copy=False)


def _whole(classes: NDArray[Any], name: str) -> NDArray[np.intp]:
    """Class numbers."""
    bad = ~((classes >= 0) & (np.floor(classes) == classes))
    if bad.any():
        raise ValueError(f"{name} contains {first_bad(classes, bad)}, expected class numbers, 0 or more")
    return classes.astype(np.intp)


def _weights(weights: Any, shape: tuple[int, ...]) -> Array:
    """The weights of all examples and positions as one axis; without any they are 1."""
    return np.ones(math.prod(shape[:-1])) if weights is None else weights_of(weights, shape, 1, FLOAT)
