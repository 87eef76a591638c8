"""The classifier."""

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
"""The layers whose outputs may be logits."""


@dataclass(kw_only=True, eq=False, repr=False)
class NNClassifier(ClassifierMixin, Network):
    """A network that classifies: two classes, several, or several labels at once (y of 0 and 1, (examples, labels)).

    Args:
        hidden_layer_sizes: the units of each hidden layer; () for none.
        activation, keep_prob, batch_norm, initializer: see `nn.mlp`, whose default initializer is another. The biases
            begin in U(±√(6/(inputs + units))), as those of MLPClassifier.
        model: instead of these a function (n_features, n_outputs) -> layer, or a layer. It ends with the sigmoid (two
            classes, several labels) or softmax (several classes), or with `nn.dense`, whose outputs are then logits.
            Two classes have one output (two with a categorical cross-entropy). To be pickled, the function must stand
            in a module.
        loss: a loss or its name; None: sparse categorical cross-entropy; for two classes and for several labels binary
            cross-entropy. A sparse one gets class numbers, all others a column for each output. One of your own gets
            what the model gives, so logits from one that ends with `nn.dense`.
        optimizer: a name, or an `nn.Optimizer`, with schedules and all settings.
        learning_rate: of an optimizer given by name, a number or a schedule; None: the optimizer's default.
        penalty: a number λ for `nn.l2(λ)`, an `nn.Penalty`, or None.
        batch_size: rows of a batch, at most those of the data; None for all.
        epochs: passes over the data, unless patience or tol stop before.
        patience: stop after as many epochs in a row without a lower validation loss, and keep the best epoch's state.
        validation_fraction: of the data, held out where patience is given and `fit` gets no validation data; by class.
        scoring: what is to become large instead, on the held-out rows or those of `X_val`: a name like "roc_auc" or a
            function (estimator, X, y) -> number, see `sklearn.metrics.get_scorer_names`. It stands in `history_` as
            "validation_score", and with patience decides which epoch is best.
        tol, n_iter_no_change: stop after as many epochs in a row in which the training loss was not lower than the
            least before by more than tol; None: it goes on. The last state is kept.
        shuffle: the rows of each epoch in an order of their own; False: as they come.
        class_weight: {class: weight}, "balanced" or None; multiplies the sample weights, also of validation data.
        random_state: of all randomness; the same int gives the same bits.
        dtype: of the parameters and all computation.
        warm_start: a further `fit` goes on from the state of the last; without patience, epochs=4 twice has the bits of
            epochs=8. Rows that the first fit held out for `patience` stay held out, of `partial_fit` too, until a fit
            is given X_val; on the same data the state of the last fit may stay the best; with other rows one of the new
            epochs is taken.
        verbose: a progress bar, where tqdm is installed; else a line for each epoch.
    Attributes: classes_, n_features_in_, n_iter_ (epochs run), history_ (a dict of arrays, see `nn.history`), state_
    (the `TrainState`), model_; feature_names_in_ where X has names.

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
        """One epoch over these data, in batches of shuffled rows: k calls with the same data have the bits of epochs=k.

        Args:
            X, y, sample_weight: see `fit`.
            classes: all labels, at the first call; not needed for several labels at once.
        Raises:
            ValueError: no classes at the first call, or others later.

        >>> net = NNClassifier(learning_rate=0.01, random_state=0)
        >>> for rows in np.split(np.arange(40.0).reshape(20, 2), 4):
        ...     net = net.partial_fit(rows, np.repeat(["a"], 5), classes=["a", "b"])
        >>> net.n_iter_, net.predict([[0.0, 1.0]])
        (4, array(['a'], dtype='<U1'))
        """
        if isinstance(self.class_weight, str):
            raise ValueError(
                f"class_weight={self.class_weight!r} needs all data, but partial_fit sees a part: pass a dict, "
                "like dict(zip(classes, compute_class_weight('balanced', classes=classes, y=y)))"
            )
        if classes is None and not hasattr(self, "state_") and (np.ndim(y) < 2 or np.shape(y)[1] == 1):
            raise ValueError("classes=None at the first call of partial_fit: pass all labels that y may ever have")
        return self._train((X, y, sample_weight), (None, None, None), 1, None, True, classes)

    def predict_proba(self, X: ArrayLike) -> Array:
        """The probability of each class (examples, classes), in the order of `classes_`; of several labels, of each."""
        y = self._outputs(X, self.dtype)
        if self._logits:
            activation = nn.sigmoid() if self._multilabel or y.shape[1] == 1 else nn.softmax()
            y = activation.forward(nn.arrays.EMPTY, nn.arrays.EMPTY, y)[0]
        return np.hstack([1 - y, y]) if y.shape[1] == 1 and not self._multilabel else y

    def predict_log_proba(self, X: ArrayLike) -> Array:
        """The logarithm of `predict_proba`."""
        with np.errstate(divide="ignore"):  # −∞ is the logarithm of a probability that rounds to 0
            logarithms: Array = np.log(self.predict_proba(X))
        return logarithms

    def predict(self, X: ArrayLike) -> Labels:
        """The most probable class of each example; of several labels, 1 where the probability is above 0.5."""
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
            raise ValueError(f"y has one class, {self.classes_.tolist()}: expected two or more")
        self._weight_of_class = self._class_weights(y, weights)
        if self._multilabel:
            return _head(len(self.classes_), nn.binary_cross_entropy)
        if len(self.classes_) == 2 and not _is_categorical(loss):
            return _head(1, nn.binary_cross_entropy)
        return _head(len(self.classes_), nn.sparse_categorical_cross_entropy)

    def _ends_with_logits(self, last: nn.Layer, loss: nn.Loss | None) -> bool:
        """Whether the outputs are logits; if they are not, they have to be probabilities."""
        own = loss is None or loss.own is not None
        if _is_on_logits(loss) or (own and last.name in LINEAR and is_built_in(last)):
            return True
        wanted = "softmax" if len(self.classes_) > 2 and not self._multilabel else "sigmoid"
        taken = {wanted} if len(self.classes_) > 2 else {wanted, "softmax"}
        if is_built_in(last) and last.name not in taken:
            raise ValueError(
                f"the model ends with {last.name}, whose outputs are not the probabilities that {loss or 'the loss'} "
                f"and predict_proba ask for: end it with {wanted}, or with dense and loss=None"
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
            raise ValueError("class_weight with several labels, each of which is a decision: pass sample_weight")
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            # by the sample weights, so that a weight of 2 is a row twice
            counts = np.bincount(self._codes(y), weights, minlength=len(self.classes_))
            even = counts.sum() / len(counts)
            weight: Array = even / np.where(counts == 0, even, counts)
            return weight
        if not isinstance(self.class_weight, Mapping):
            raise ValueError(f"class_weight={self.class_weight!r}: expected a dict of weights, 'balanced' or None")
        for label, factor in self.class_weight.items():
            number(factor, f"class_weight[{label!r}]", 0, np.inf)
        return compute_class_weight(self.class_weight, classes=self.classes_, y=self.classes_)

    def _codes(self, y: Labels) -> NDArray[np.intp]:
        """The class numbers of labels; of several labels at once the columns as they are."""
        columns = y.shape[1] if y.ndim == 2 else 0
        if columns != (len(self.classes_) if self._multilabel else 0):
            raise ValueError(f"y has shape {y.shape}, which is not that of the y before, with classes {self.classes_}")
        if self._multilabel:
            return y.astype(np.intp)
        unknown = np.setdiff1d(y, self.classes_)
        if unknown.size:
            raise ValueError(
                f"y has the classes {unknown.tolist()}, which are not among {self.classes_.tolist()} of the first fit"
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


# -- what the fields of a loss say of a network's outputs --------------------------------------------------------------


def _head(outputs: int, loss: nn.Loss) -> Head:
    assert loss.activation is not None
    assert loss.logits is not None
    return Head(outputs, loss.activation, loss, by_names()[loss.logits]())


def _is_categorical(loss: nn.Loss | None) -> bool:
    """Whether a loss takes an output for each class, also of two."""
    return loss is not None and loss.targets in ("one-hot", "classes")


def _is_on_logits(loss: nn.Loss | None) -> bool:
    """Whether a loss applies the activation itself that makes probabilities of the outputs."""
    return loss is not None and applies(loss) is not None
