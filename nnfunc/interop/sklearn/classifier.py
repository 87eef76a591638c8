"""The scikit-learn classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target

import nnfunc as nn
from nnfunc._internal.validate import number
from nnfunc.arrays import Array
from nnfunc.interop.sklearn._base import Classes, Head, Labels, Network, Rows, Weights
from nnfunc.losses import by_names
from nnfunc.losses.heads import applies
from nnfunc.models.description import is_built_in

__all__ = ["NNClassifier"]

LINEAR = ("dense", "identity", "residual")
"""Layers whose outputs may be logits."""


@dataclass(kw_only=True, eq=False, repr=False)
class NNClassifier(ClassifierMixin, Network):
    """A neural network classifier: binary, multiclass or multilabel (y of 0 and 1, (examples, labels)).

    Args:
        hidden_layer_sizes: the units of each hidden layer; () for none.
        activation, keep_prob, batch_norm, initializer: see `nn.mlp`, whose default initializer differs. Biases are
            initialized from U(±√(6/(inputs + units))), as in MLPClassifier.
        model: instead of these, a layer or a function (n_features, n_outputs) -> layer. It ends with a sigmoid (binary,
            multilabel) or softmax (multiclass), or with `nn.dense`, whose outputs are then logits. Binary classifiers
            have one output (two with a categorical cross-entropy). To be picklable, the function must be defined in a
            module.
        loss: a loss or its name; None: sparse categorical cross-entropy, or binary cross-entropy for binary and
            multilabel problems. A sparse loss receives class indices, all others a column per output. A user-defined
            loss receives the model's output, so logits if it ends with `nn.dense`.
        optimizer: a name, or an `nn.Optimizer`, with schedules and all settings.
        learning_rate: for an optimizer given by name, a number or a schedule; None: the optimizer's default.
        penalty: a number λ for `nn.l2(λ)`, an `nn.Penalty`, or None.
        batch_size: rows per batch; None for all.
        epochs: passes over the data, unless patience or tol stop training earlier.
        patience: stop after this many epochs in a row without a lower validation loss, and keep the best epoch's state.
        validation_fraction: the fraction of the data held out if patience is given and `fit` receives no validation
            data; stratified by class.
        scoring: a score to maximize instead, on the held-out rows or those of `X_val`: a name like "roc_auc" or a
            function (estimator, X, y) -> number, see `sklearn.metrics.get_scorer_names`. It is recorded in `history_`
            as "validation_score" and, with patience, determines the best epoch.
        tol, n_iter_no_change: stop after n_iter_no_change epochs in a row in which the training loss did not improve on
            the lowest one by more than tol; None: do not stop. The last state is kept.
        shuffle: whether to shuffle the rows in each epoch.
        class_weight: {class: weight}, "balanced" or None; multiplies the sample weights, also of validation data.
        random_state: the source of all randomness; the same int gives the same bits.
        dtype: the dtype of the parameters and all computation.
        warm_start: another `fit` continues from the state of the last; without patience, epochs=4 twice gives the same
            bits as epochs=8. Rows that the first fit held out for `patience` stay held out, also in `partial_fit`,
            until a fit receives X_val. On the same data, the state of the last fit may remain the best; on other rows,
            one of the new epochs is chosen.
        verbose: show a progress bar if tqdm is installed, otherwise print a line per epoch.
    Attributes: classes_, n_features_in_, n_iter_ (epochs run), history_ (a dict of arrays, see `nn.history`), state_
    (the `TrainState`), model_; feature_names_in_ if X has names.

    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> net = NNClassifier(hidden_layer_sizes=(16,), learning_rate=0.01, epochs=100, random_state=0).fit(X, y)
    >>> net.score(X, y) > 0.95, net.predict_proba(X).shape, net.n_iter_
    (True, (150, 3), 100)
    """

    class_weight: Mapping[Any, float] | str | None = None  # the keys are labels

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, classes: Classes = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Trains for one epoch on this data, in shuffled batches: k calls with the same data are identical to epochs=k.

        Args:
            X, y, sample_weight: see `fit`.
            classes: all labels, required in the first call; not needed for multilabel problems.
        Raises:
            ValueError: no classes in the first call, or different ones later.

        >>> net = NNClassifier(learning_rate=0.01, random_state=0)
        >>> for rows in np.split(np.arange(40.0).reshape(20, 2), 4):
        ...     net = net.partial_fit(rows, np.repeat(["a"], 5), classes=["a", "b"])
        >>> net.n_iter_, net.predict([[0.0, 1.0]])
        (4, array(['a'], dtype='<U1'))
        """
        if isinstance(self.class_weight, str):
            raise ValueError(
                f"class_weight={self.class_weight!r} needs all data, but partial_fit sees only a part: pass a dict, "
                "like dict(zip(classes, compute_class_weight('balanced', classes=classes, y=y)))"
            )
        if classes is None and not hasattr(self, "state_") and (np.ndim(y) < 2 or np.shape(y)[1] == 1):
            raise ValueError("classes=None in the first call of partial_fit: pass all labels that y may ever contain")
        return self._train((X, y, sample_weight), (None, None, None), 1, None, True, classes)

    def predict_proba(self, X: ArrayLike) -> Array:
        """Returns the probability of each class (examples, classes), in the order of `classes_`, or of each label."""
        y = self._outputs(X, self.dtype)
        if self._logits:
            activation = nn.sigmoid() if self._multilabel or y.shape[1] == 1 else nn.softmax()
            y = activation.forward(nn.arrays.EMPTY, nn.arrays.EMPTY, y)[0]
        return np.hstack([1 - y, y]) if y.shape[1] == 1 and not self._multilabel else y

    def predict_log_proba(self, X: ArrayLike) -> Array:
        """Returns the logarithm of `predict_proba`."""
        with np.errstate(divide="ignore"):  # the logarithm of a probability that rounds to 0 is −∞
            logarithms: Array = np.log(self.predict_proba(X))
        return logarithms

    def predict(self, X: ArrayLike) -> Labels:
        """Returns the most probable class of each example; for multiple labels, 1 where the probability exceeds 0.5."""
        p = self.predict_proba(X)
        chosen: Labels = (p > 0.5).astype(int) if self._multilabel else self.classes_[p.argmax(axis=1)]
        return chosen

    def _begin(self, y: Labels, weights: Weights, loss: nn.Loss | None, classes: Classes, goes_on: bool) -> Head:
        check_classification_targets(y)
        if type_of_target(y) == "multiclass-multioutput":
            raise ValueError(f"y has shape {y.shape} and several classes in a column: expected columns of 0 and 1")
        if not goes_on:
            self._multilabel = y.ndim == 2
            labels = np.asarray(y if classes is None else classes)
            self.classes_: Labels = np.arange(y.shape[1]) if self._multilabel else np.unique(labels)
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"classes={classes!r}, but those of the first call are {self.classes_.tolist()}")
        if len(self.classes_) < 2:
            raise ValueError(f"y has one class, {self.classes_.tolist()}: expected at least two")
        self._weight_of_class = self._class_weights(y, weights)
        if self._multilabel:
            return _head(len(self.classes_), nn.binary_cross_entropy)
        if len(self.classes_) == 2 and not _is_categorical(loss):
            return _head(1, nn.binary_cross_entropy)
        return _head(len(self.classes_), nn.sparse_categorical_cross_entropy)

    def _ends_with_logits(self, last: nn.Layer, loss: nn.Loss | None) -> bool:
        """Whether the outputs are logits; otherwise they must be probabilities."""
        own = loss is None or loss.own is not None
        if _is_on_logits(loss) or (own and last.name in LINEAR and is_built_in(last)):
            return True
        wanted = "softmax" if len(self.classes_) > 2 and not self._multilabel else "sigmoid"
        taken = {wanted} if len(self.classes_) > 2 else {wanted, "softmax"}
        if is_built_in(last) and last.name not in taken:
            raise ValueError(
                f"the model ends with {last.name}, whose outputs are not the probabilities that {loss or 'the loss'} "
                f"and predict_proba require: end it with {wanted}, or with dense and loss=None"
            )
        return False

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        known = by_names()
        loss = known[self.loss]() if isinstance(self.loss, str) and self.loss in known else self.loss
        categorical = isinstance(loss, nn.Loss) and _is_categorical(loss)
        tags.classifier_tags.multi_label = self.class_weight is None and not categorical
        return tags

    def _class_weights(self, y: Labels, weights: Weights) -> Array | None:
        if self.class_weight is None:
            return None
        if self._multilabel:
            raise ValueError("class_weight is not supported for multilabel problems: pass sample_weight")
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            # by sample weights, so that a weight of 2 is equivalent to a duplicated row
            counts = np.bincount(self._codes(y), weights, minlength=len(self.classes_))
            even = counts.sum() / len(counts)
            weight: Array = even / np.where(counts == 0, even, counts)
            return weight
        if not isinstance(self.class_weight, Mapping):
            raise ValueError(f"class_weight={self.class_weight!r}: expected a dict of weights, 'balanced' or None")
        for label, factor in self.class_weight.items():
            number(factor, f"class_weight[{label!r}]", 0, np.inf)
            if label not in self.classes_.tolist():
                raise ValueError(
                    f"class_weight contains {label!r}, which is not a class of y: {self.classes_.tolist()}"
                )
        return compute_class_weight(self.class_weight, classes=self.classes_, y=self.classes_)

    def _codes(self, y: Labels) -> NDArray[np.intp]:
        """The class indices of labels; for multilabel problems, the columns as integers."""
        columns = y.shape[1] if y.ndim == 2 else 0
        if columns != (len(self.classes_) if self._multilabel else 0):
            raise ValueError(f"y has shape {y.shape}, which differs from the previous y, with classes {self.classes_}")
        if self._multilabel:
            return y.astype(np.intp)
        unknown = np.setdiff1d(y, self.classes_)
        if unknown.size:
            raise ValueError(
                f"y contains classes {unknown.tolist()}, which are not among {self.classes_.tolist()} of the first fit"
            )
        return np.searchsorted(self.classes_, y)

    def _targets(self, y: Labels, weights: Weights, loss: nn.Loss) -> Rows:
        codes = self._codes(y)
        if self._weight_of_class is not None:
            of_rows = self._weight_of_class[codes]
            weights = of_rows if weights is None else of_rows * weights
        target: NDArray[Any] = codes
        if loss.targets != "classes":
            one = len(self.classes_) == 2 and loss.targets != "one-hot"
            target = codes if self._multilabel else codes[:, None] if one else np.eye(len(self.classes_))[codes]
        return (target,) if weights is None else (target, weights)


# -- properties of losses ----------------------------------------------------------------------------------------------


def _head(outputs: int, loss: nn.Loss) -> Head:
    assert loss.activation is not None
    assert loss.logits is not None
    return Head(outputs, loss.activation, loss, by_names()[loss.logits]())


def _is_categorical(loss: nn.Loss | None) -> bool:
    """Whether a loss requires one output per class, even for two classes."""
    return loss is not None and loss.targets in ("one-hot", "classes")


def _is_on_logits(loss: nn.Loss | None) -> bool:
    """Whether a loss itself applies the activation that turns outputs into probabilities."""
    return loss is not None and applies(loss) is not None
