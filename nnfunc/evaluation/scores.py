"""Scores of outputs against targets: `score(y, target, weights=None) -> number`, for the whole data at once.

y is the output of `nn.predict`, (examples, ..., outputs), where every position is an example; target contains class
indices (examples, ...), one-hot rows, or 0 and 1 (numbers for `r2_score`). Values match scikit-learn unless the
docstring says otherwise. An example of weight 0 is equivalent to a missing one; without any example a score is NaN.
Scores are those of a single network: `nn.evaluate(..., metrics={"f1": nn.metrics.f1_score})` calls them for each
member of a stack.
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
    """The fraction of the examples predicted as a class that belong to it: TP/(TP + FP), 0 if none is predicted.

    Args:
        y: outputs; or the predicted classes as integers, of the target's shape.
        target: class indices, one-hot rows, or 0 and 1.
        weights: per-example weights, or one per position.
        average: "binary": the score of class 1, for two classes; None: an array of the scores of all classes; "macro":
            the mean over the classes that occur in target or prediction; "weighted": the mean over all classes,
            weighted by their number of true examples; "micro": the score of TP, FP and FN summed over the classes.
        threshold: makes each output a decision, 1 where it exceeds this: see `nn.predict_classes`. If there are several
            outputs, they are the classes.
        ignore: a class index whose examples are ignored.
    Raises:
        ValueError: average="binary" for more than two classes, or labels of the wrong shape or range.

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
    """The fraction of the examples of a class that are predicted as it: TP/(TP + FN), 0 if there are none.

    The arguments are those of `precision`.

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
    """The harmonic mean of precision and recall, 2 TP/(2 TP + FP + FN), 0 if a class does not occur.

    The arguments are those of `precision`. The macro average is the mean of the classes' scores, not the score of the
    mean precision and the mean recall.

    >>> nn.metrics.f1_score(np.array([[0.9], [0.7], [0.6], [0.2]]), [1, 1, 0, 0])
    0.8
    """
    counts = _counts(y, target, weights, threshold, ignore)
    return _averaged(2 * counts.right, counts.predicted + counts.actual, counts, average)


class Counts(NamedTuple):
    """For each class, Σ w of the examples correctly predicted as it, predicted as it, and belonging to it; the classes
    of the macro average; whether there are exactly two classes; Σ w of all examples."""

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
        raise ValueError(f"target has shape {np.shape(target)}, expected class indices of shape {predicted.shape}")
    w = _weights(weights, (*predicted.shape[:-1], 1) if several else (*predicted.shape, 1))
    if several:  # each output is a separate decision, with its own weights
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
    """part/whole per class, averaged."""
    choice(average, "average", "binary", "macro", "micro", "weighted", None)
    if average == "binary" and not counts.binary:
        raise ValueError(
            f"average='binary' is the score of class 1 of two, but there are {len(whole)} classes: pass "
            "average='macro', 'micro' or 'weighted', or None for all scores"
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
    """part/whole, 0 where whole is 0."""
    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=np.greater(whole, 0))


# -- from scores and values --------------------------------------------------------------------------------------------


def roc_auc(
    y: ArrayLike,
    target: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    average: Literal["macro"] | None = "macro",
    ignore: int | None = None,
) -> Scalar:
    """The area under the ROC curve: the probability that an example of the class has a larger output than one outside
    it, where ties count half.

    Args:
        y: outputs, probabilities or logits: only their order matters.
        target: 0 and 1, or class indices or one-hot rows for several outputs, each of which is compared with all
            others.
        weights: per-example weights, or one per position.
        average: "macro": the mean over the outputs; None: an array of the areas of all outputs.
        ignore: a class index whose examples are ignored.
    Returns:
        NaN for a class with no examples, or with all of them, and for the mean over such a class.

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
    """The fraction of examples whose true class is among the k with the largest outputs.

    Args:
        y: several outputs, probabilities or logits.
        target: class indices or one-hot rows.
        k: the number of classes. Among equal outputs the first rank higher, as in `nn.accuracy` (k=1); in scikit-learn,
            the last.
        weights: per-example weights, or one per position.
        ignore: a class index whose examples are ignored.
    Raises:
        ValueError: k larger than the number of classes.

    >>> nn.metrics.top_k_accuracy(np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]), [1, 0], k=2)
    0.5
    """
    scores = _outputs(numeric(y, "y"))
    last = scores.shape[-1]
    if positive_int(k, "k") > last or last == 1:
        raise ValueError(f"k={k} of {last} outputs: expected one output per class, and k at most their number")
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
    """The coefficient of determination: 1 − Σ w (target − y)² / Σ w (target − mean)², the explained share of variance.

    Args:
        y, target: arrays of the same shape; for a single output, the target may be (examples, ...).
        weights: per-example weights, or one per position.
        average: "macro": the mean over the outputs; None: an array of the scores of all outputs.
    Returns:
        The score; if all targets are equal, 1 if they are predicted exactly, else 0; NaN for fewer than two
        examples.

    >>> nn.metrics.r2_score(np.array([[1.0], [2.0], [4.0]]), [1.0, 2.0, 3.0])
    0.5
    """
    choice(average, "average", "macro", None)
    outputs = _outputs(numeric(y, "y"))
    w = _weights(weights, outputs.shape)[:, None]
    T = same_outputs(outputs, target).reshape(len(w), -1)
    if np.count_nonzero(w) < 2:
        return np.full(T.shape[-1], math.nan) if average is None else math.nan
    shifted = T - T[np.argmax(w > 0)]  # exactly 0 if all weighted targets are equal
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
    """exp of the mean cross-entropy −log A of the true class: the effective number of equally probable classes.

    Args:
        y: probabilities, or logits if `logits`.
        target: class indices, or one-hot rows (or probabilities).
        weights: per-example weights, or one per position.
        logits: whether y are logits.
        ignore: a class index whose examples are ignored, such as that of padding.

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
    """y as float64, checked to have an axis of outputs and at least one example."""
    if y.ndim < 2 or not y.size:
        hint = ": pass y[:, None]" if y.ndim == 1 and y.size else ""
        raise ValueError(f"y has shape {y.shape}, expected (examples, outputs) and at least one example{hint}")
    if np.isnan(y).any():
        raise ValueError(f"y contains {first_bad(y, np.isnan(y))}: did training diverge?")
    return y.astype(FLOAT, copy=False)


def _whole(classes: NDArray[Any], name: str) -> NDArray[np.intp]:
    """Class indices, checked."""
    bad = ~((classes >= 0) & (np.floor(classes) == classes))
    if bad.any():
        raise ValueError(f"{name} contains {first_bad(classes, bad)}, expected class indices, 0 or larger")
    return classes.astype(np.intp)


def _weights(weights: Any, shape: tuple[int, ...]) -> Array:
    """The weights of all examples and positions as a single axis; 1 by default."""
    return np.ones(math.prod(shape[:-1])) if weights is None else weights_of(weights, shape, 1, FLOAT)
