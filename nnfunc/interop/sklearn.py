"""scikit-learn estimators (`pip install "nnfunc[sklearn]"`): thin shells over the pure functions.

`fit` makes the model, `train_step` and `train_state` from the constructor's arguments and runs `nn.train`; `predict` is
`nn.predict`. With random_state=s the keys are `init_key, order_key, holdout_key = nn.split(nn.key(s), 3)`, so a fit has
the bits of the same calls by hand.

With their default arguments both pass all of scikit-learn's estimator checks. Some arguments give up a law by their
nature: with dropout, batch norm or held-out rows a weight of 2 is not quite the same as the row twice, with float32 not
to as many digits; class weights and categorical losses are for one label, not for several at once.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, is_classifier
except ImportError as error:
    raise ImportError('the estimators need scikit-learn: pip install "nnfunc[sklearn]"') from error
from sklearn.utils import Tags, check_random_state
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data

import nnfunc as nn
from nnfunc.arrays import Array
from nnfunc._internal.validate import by_name, instance, number
from nnfunc.initializers import Initializer, uniform
from nnfunc.layers.combinators import last_layer, map_layers
from nnfunc.models.description import CONSTRUCTORS
from nnfunc.losses import LOSSES
from nnfunc.optimizers.base import Setting
from nnfunc.optimizers.rules import OPTIMIZERS
from nnfunc.values import hyperparameters, same

__all__ = ["NNClassifier", "NNRegressor"]

ModelFunction: TypeAlias = Callable[[int, int], nn.Layer]
"""(n_features, n_outputs) -> model"""

Labels: TypeAlias = NDArray[Any]  # numbers, strings, objects
Rows: TypeAlias = tuple[NDArray[Any], ...]  # (X, target) or (X, target, weights)
Weights: TypeAlias = Array | None
Classes: TypeAlias = ArrayLike | None
Given: TypeAlias = tuple[ArrayLike, ArrayLike, ArrayLike | None]
RandomState: TypeAlias = "int | np.integer[Any] | np.random.RandomState | None"

SPARSE = (nn.sparse_categorical_cross_entropy, nn.sparse_categorical_cross_entropy_with_logits)
CATEGORICAL = (nn.categorical_cross_entropy, nn.categorical_cross_entropy_with_logits, *SPARSE)
BINARY = (nn.binary_cross_entropy, nn.binary_cross_entropy_with_logits)
ON_LOGITS = (BINARY[1], *CATEGORICAL[1::2])
LINEAR = ("dense", "identity", "residual")
"""The layers whose outputs may be logits."""


class _Head(NamedTuple):
    """How a network ends: its outputs, their activation, and the loss on these and on logits."""

    outputs: int
    activation: str
    loss: nn.Loss
    loss_on_logits: nn.Loss


@dataclass(kw_only=True, eq=False, repr=False)  # its constructor stores the arguments untouched, as sklearn asks
class _Network(BaseEstimator):
    """What the two estimators share; its fields are the constructor's arguments."""

    hidden_layer_sizes: int | Sequence[int] = (100,)
    activation: str | nn.Layer = "relu"
    keep_prob: float | Sequence[float] = 1.0
    batch_norm: bool = False
    initializer: Initializer = "glorot_uniform"  # as MLPClassifier's: on small tables it generalises better than "he"
    model: ModelFunction | nn.Layer | None = None
    loss: nn.Loss | str | None = None
    optimizer: nn.Optimizer | str = "adam"
    learning_rate: Setting | None = None
    penalty: nn.Penalty | float | None = None
    batch_size: int | None = 64
    epochs: int = 200
    patience: int | None = None
    validation_fraction: float = 0.1
    random_state: RandomState = None
    dtype: DTypeLike = np.float64  # the estimator checks of scikit-learn ask for more digits than float32 has
    warm_start: bool = False
    verbose: bool = False

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Trains for `epochs` passes over the data, or until `patience` ends; with warm_start goes on from the last.

        Args:
            X: (examples, features).
            y: (examples,), or (examples, outputs).
            sample_weight: (examples,), how much each example counts.
            X_val, y_val, sample_weight_val: data to evaluate after each epoch, and for early stopping. A pipeline
                transforms X_val like X with `transform_input=["X_val"]` and metadata routing.
        Raises:
            ValueError: data or constructor arguments that do not fit.
            NonFiniteError: the loss or a gradient became NaN or infinite.
        """
        validation = (X_val, y_val, sample_weight_val)
        return self._train((X, y, sample_weight), validation, self.epochs, self.patience, self.warm_start)

    def _train(
        self,
        given: Given,
        validation: tuple[ArrayLike | None, ...],
        epochs: int,
        patience: int | None,
        go_on: bool,
        classes: Classes = None,
    ) -> Self:
        before = dict(vars(self))
        try:
            return self._trained(given, validation, epochs, patience, go_on and hasattr(self, "state_"), classes)
        except BaseException:  # a fit that fails leaves all as it was
            vars(self).clear()
            vars(self).update(before)
            raise

    def _trained(
        self,
        given: Given,
        validation: tuple[ArrayLike | None, ...],
        epochs: int,
        patience: int | None,
        goes_on: bool,
        classes: Classes,
    ) -> Self:
        X, y, weights = self._checked(*given, reset=not goes_on)
        loss = None if self.loss is None else instance(by_name("loss", self.loss, LOSSES), nn.Loss, "loss")
        head = self._begin(y, weights, loss, classes, goes_on)
        model = self._model(X.shape[1], head)
        self._logits = self._ends_with_logits(last_layer(model), loss)
        if loss is None:
            loss = head.loss_on_logits if self._logits else head.loss
        step = nn.train_step(model, loss, self._optimizer(), self._penalty())

        if not goes_on:
            self._key = nn.key(_seed(self.random_state))
        init_key, order_key, holdout_key = nn.split(self._key, 3)
        shapes = X.shape[1], head.outputs, self.dtype
        ts = _continued(step, self.state_, *shapes) if goes_on else _started(step, init_key, *shapes)
        X, y, weights = _counted(X, y, weights)
        data = (X, *self._targets(y, weights, loss))
        held_out: Rows | None = None
        X_val, y_val, weights_val = validation
        if X_val is not None and y_val is not None:
            X, y, weights = _counted(*self._checked(X_val, y_val, weights_val, reset=False))
            held_out = (X, *self._targets(y, weights, loss))
        elif any(part is not None for part in validation):
            raise ValueError("X_val and y_val belong together, and sample_weight_val to them: pass both or none")
        elif patience is not None:
            fraction = number(self.validation_fraction, "validation_fraction", 0, 1, open_low=True, open_high=True)
            data, held_out = _split(holdout_key, data, fraction, y if is_classifier(self) and y.ndim == 1 else None)

        run: Iterable[nn.Epoch] = nn.train(
            step, ts, data, epochs=epochs, batch_size=self.batch_size, key=order_key, validation=held_out
        )
        if self.verbose:
            run = _shown(run)
        log: list[nn.Epoch] = []
        run = _recorded(run, log, ts)
        if patience is None or held_out is None:
            best = deque(run, maxlen=1).pop()
        else:
            if goes_on:  # the state to go on from may stay the best
                run = chain([nn.Epoch(0, np.nan, np.nan, nn.evaluate(model, loss, ts, *held_out), ts)], run)
            best = nn.best_epoch(nn.early_stopping(run, patience))
        self.model_: nn.Layer = model
        self.state_: nn.TrainState = best.state
        self.history_: dict[str, Array] = _joined(self.history_ if goes_on else {}, nn.history(log))
        self.n_iter_ = len(self.history_["epoch"])
        return self

    def _checked(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, *, reset: bool
    ) -> tuple[Array, Labels, Array | None]:
        x, labels = validate_data(self, X, y, dtype=self.dtype, multi_output=True, reset=reset)
        labels = labels.toarray() if hasattr(labels, "toarray") else labels  # scipy's sparse columns of 0 and 1
        labels = column_or_1d(labels, warn=True) if labels.shape[1:] == (1,) else labels
        if sample_weight is None:
            return x, labels, None
        return x, labels, _check_sample_weight(sample_weight, x, dtype=x.dtype, ensure_non_negative=True)

    def _model(self, inputs: int, head: _Head) -> nn.Layer:
        if self.model is not None:
            if isinstance(self.model, nn.Layer) or not callable(self.model):
                return instance(self.model, nn.Layer, "model")
            return instance(self.model(inputs, head.outputs), nn.Layer, "model")
        hidden = np.atleast_1d(self.hidden_layer_sizes).tolist()
        activations = [*[self.activation] * len(hidden), head.activation]
        sizes = [inputs, *hidden, head.outputs]
        model = nn.mlp(sizes, activations, self.keep_prob, self.initializer, self.batch_norm)
        return map_layers(_with_random_biases, model)

    def _optimizer(self) -> nn.Optimizer | str:
        if self.learning_rate is None:
            return self.optimizer
        if not isinstance(self.optimizer, str):
            raise ValueError(
                f"learning_rate={self.learning_rate!r} beside {self.optimizer!r}, which has its own: pass one"
            )
        rated = {name: partial(make, learning_rate=self.learning_rate) for name, make in OPTIMIZERS.items()}
        return by_name("optimizer", self.optimizer, rated)

    def _penalty(self) -> nn.Penalty | None:
        if self.penalty is None or isinstance(self.penalty, nn.Penalty):
            return self.penalty
        strength = number(self.penalty, "penalty", 0, np.inf, why="the λ of nn.l2, or an nn.Penalty like nn.l1(0.1)")
        return nn.l2(strength) if strength else None

    def _outputs(self, X: ArrayLike, dtype: DTypeLike) -> Array:
        check_is_fitted(self, "state_")
        x = validate_data(self, X, dtype=dtype, reset=False)
        params, state = self.state_.params.astype(dtype), self.state_.state.astype(dtype)
        return nn.predict(self.model_, self.state_._replace(params=params, state=state), x)

    def _begin(self, y: Labels, weights: Weights, loss: nn.Loss | None, classes: Classes, goes_on: bool) -> _Head:
        raise NotImplementedError

    def _ends_with_logits(self, last: nn.Layer, loss: nn.Loss | None) -> bool:
        return False

    def _targets(self, y: Labels, weights: Weights, loss: nn.Loss) -> Rows:
        raise NotImplementedError


@dataclass(kw_only=True, eq=False, repr=False)
class NNClassifier(ClassifierMixin, _Network):
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
        epochs: passes over the data. There is no other stopping criterion unless patience is given.
        patience: stop after as many epochs in a row without a lower validation loss, and keep the best epoch's state.
        validation_fraction: of the data, held out where patience is given and `fit` gets no validation data; by class.
        class_weight: {class: weight}, "balanced" or None; multiplies the sample weights, also of validation data.
        random_state: of all randomness; the same int gives the same bits.
        dtype: of the parameters and all computation.
        warm_start: a further `fit` goes on from the state of the last, also as the best so far: without patience,
            epochs=4 twice has the bits of epochs=8.
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
            y = activation.forward(nn.EMPTY, nn.EMPTY, y)[0]
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

    def _begin(self, y: Labels, weights: Weights, loss: nn.Loss | None, classes: Classes, goes_on: bool) -> _Head:
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
            return _Head(len(self.classes_), "sigmoid", *BINARY)
        if len(self.classes_) == 2 and not _is_one_of(loss, CATEGORICAL):
            return _Head(1, "sigmoid", *BINARY)
        return _Head(len(self.classes_), "softmax", *SPARSE)

    def _ends_with_logits(self, last: nn.Layer, loss: nn.Loss | None) -> bool:
        """Whether the outputs are logits; if they are not, they have to be probabilities."""
        own = loss is None or "values" not in hyperparameters([loss.forward])
        if _is_one_of(loss, ON_LOGITS) or (own and last.name in LINEAR):
            return True
        wanted = "softmax" if len(self.classes_) > 2 and not self._multilabel else "sigmoid"
        refused = (CONSTRUCTORS.keys() if len(self.classes_) > 2 else CONSTRUCTORS.keys() - {"softmax"}) - {wanted}
        if last.name in refused:
            raise ValueError(
                f"the model ends with {last.name}, whose outputs are not the probabilities that {loss or 'the loss'} "
                f"and predict_proba ask for: end it with {wanted}, or with dense and loss=None"
            )
        return False

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        loss = LOSSES[self.loss]() if isinstance(self.loss, str) and self.loss in LOSSES else self.loss
        categorical = isinstance(loss, nn.Loss) and _is_one_of(loss, CATEGORICAL)
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
        if not _is_one_of(loss, SPARSE):
            one = len(self.classes_) == 2 and not _is_one_of(loss, CATEGORICAL)
            target = codes if self._multilabel else codes[:, None] if one else np.eye(len(self.classes_))[codes]
        return (target,) if weights is None else (target, weights)


@dataclass(kw_only=True, eq=False, repr=False)
class NNRegressor(RegressorMixin, _Network):
    """A network that predicts numbers: one, or several outputs (y of shape (examples, outputs)).

    Args: those of `NNClassifier` without class_weight. The network ends with `nn.dense`; the default loss is the mean
    squared error. y is taken as it comes: scale it where it is far from 0 or large
    (`sklearn.compose.TransformedTargetRegressor`).
    Attributes: those of `NNClassifier` without classes_.

    >>> X = np.linspace(-1, 1, 100)[:, None]
    >>> net = NNRegressor(hidden_layer_sizes=(32,), learning_rate=0.01, random_state=0)
    >>> net.fit(X, np.sin(3 * X[:, 0])).score(X, np.sin(3 * X[:, 0])) > 0.99
    True
    """

    def partial_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """One epoch over these data, in batches of shuffled rows: k calls with the same data have the bits of epochs=k.

        Args:
            X, y, sample_weight: see `fit`.

        >>> X = np.linspace(-1, 1, 100)[:, None]
        >>> once, twice = (NNRegressor(epochs=n, random_state=0).fit(X, X[:, 0]) for n in (1, 2))
        >>> nn.equal(once.partial_fit(X, X[:, 0]).state_.params, twice.state_.params)
        True
        """
        return self._train((X, y, sample_weight), (None, None, None), 1, None, True)

    def predict(self, X: ArrayLike) -> Array:
        """The outputs (examples, outputs), or (examples,) of one; computed in float64, as scikit-learn asks."""
        y = self._outputs(X, np.float64)
        return y[:, 0] if y.shape[1] == 1 else y

    def _begin(self, y: Labels, weights: Weights, loss: nn.Loss | None, classes: Classes, goes_on: bool) -> _Head:
        outputs = 1 if y.ndim == 1 else y.shape[1]
        return _Head(outputs, "identity", nn.mean_squared_error, nn.mean_squared_error)

    def _targets(self, y: Labels, weights: Weights, loss: nn.Loss) -> Rows:
        target = y.astype(self.dtype).reshape(len(y), -1)
        return (target,) if weights is None else (target, weights)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


# -- a run and its history ---------------------------------------------------------------------------------------------


def _with_random_biases(path: str, layer: nn.Layer) -> nn.Layer:
    """A dense layer whose biases begin at random, as MLPClassifier's, so that ReLUs bend elsewhere than at 0."""
    if layer.name != "dense":
        return layer
    made = hyperparameters([layer.init])
    biases = partial(uniform, limit=math.sqrt(6 / (made["inputs"] + made["units"])))
    return nn.dense(made["units"], made["initializer"], biases, inputs=made["inputs"])


def _started(step: nn.TrainStep, key: nn.Key, inputs: int, outputs: int, dtype: DTypeLike) -> nn.TrainState:
    """The state to begin with, of a model that has as many outputs as y asks for."""
    ts = nn.train_state(step.model, step.optimizer, key, (inputs,), dtype)
    shape = nn.output_shape(step.model, ts.params, ts.state, (inputs,))
    if shape != (outputs,):
        raise ValueError(f"the model has outputs of shape {shape}, but y asks for {outputs}: end it with that many")
    return ts


def _continued(step: nn.TrainStep, ts: nn.TrainState, inputs: int, outputs: int, dtype: DTypeLike) -> nn.TrainState:
    """The state of the last fit, if these arguments can go on from it."""
    why = ""
    try:
        shape = nn.output_shape(step.model, ts.params, ts.state, (inputs,))
        if shape != (outputs,):
            why = f"it has outputs of shape {shape}, but y asks for {outputs}"
    except ValueError as error:
        why = str(error)
    if ts.opt_state.keys() != step.optimizer.init(ts.params).keys():
        why = why or "it is that of another optimizer"
    if ts.params.dtype != np.dtype(dtype):
        why = why or f"it is {ts.params.dtype}"
    if why:
        raise ValueError(f"the state of the last fit does not fit these arguments ({why}): fit with warm_start=False")
    return ts


def _counted(X: Array, y: Labels, weights: Weights) -> tuple[Array, Labels, Weights]:
    """The rows that count: one with a weight of 0 is no row at all, in no batch, not held out."""
    if weights is None:
        return X, y, None
    counted = weights > 0
    return X[counted], y[counted], weights[counted]


def _seed(random_state: RandomState) -> int:
    if isinstance(random_state, bool) or (isinstance(random_state, (int, np.integer)) and random_state < 0):
        raise ValueError(f"random_state={random_state!r}: expected a whole number, 0 or more, a RandomState or None")
    if isinstance(random_state, (int, np.integer)):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def _split(key: nn.Key, data: Rows, fraction: float, classes: Labels | None) -> tuple[Rows, Rows]:
    """The data without and with that fraction of random rows, in which each class has its share."""
    rows = nn.generator(key).permutation(len(data[0]))
    if classes is not None:
        rows = rows[np.argsort(classes[rows], kind="stable")]
    count = max(round(fraction * len(rows)), 1)
    if count == len(rows):
        raise ValueError(f"validation_fraction={fraction} of n_samples={count} leaves nothing to train on")
    held_out = np.zeros(len(rows), bool)
    held_out[rows[np.arange(count) * len(rows) // count]] = True  # every tenth, of rows in the order of their classes
    return tuple(part[~held_out] for part in data), tuple(part[held_out] for part in data)


def _recorded(epochs: Iterable[nn.Epoch], log: list[nn.Epoch], ts: nn.TrainState) -> Iterator[nn.Epoch]:
    """The epochs, whose numbers go into the log; with one old state for all, as theirs would fill the memory."""
    for epoch in epochs:
        log.append(epoch._replace(state=ts))
        yield epoch


def _shown(epochs: Iterable[nn.Epoch]) -> Iterable[nn.Epoch]:
    try:
        from tqdm import tqdm
    except ImportError:
        return (print(epoch) or epoch for epoch in epochs)
    return tqdm(epochs)


def _joined(old: Mapping[str, Array], new: Mapping[str, Array]) -> dict[str, Array]:
    """The history of all epochs, with NaN where one of the two has no such column."""
    before, after = len(old.get("epoch", ())), len(new["epoch"])
    columns = {
        name: np.concatenate([old.get(name, np.full(before, np.nan)), new.get(name, np.full(after, np.nan))])
        for name in {**old, **new}
    }
    columns["epoch"] = np.arange(1, before + after + 1)  # of this estimator, whatever data each of them saw
    return {name: column for name, column in columns.items() if not np.isnan(column).all()}


def _is_one_of(loss: nn.Loss | None, known: Iterable[nn.Loss]) -> bool:
    return loss is not None and any(same(loss, other) for other in known)
