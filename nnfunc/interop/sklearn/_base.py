"""Shared parts of the two estimators: the constructor's arguments, fitting, and the history."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from itertools import chain
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from sklearn.base import BaseEstimator, is_classifier
from sklearn.metrics import check_scoring
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data

import nnfunc as nn
from nnfunc._internal.validate import by_name, instance, number, positive_int
from nnfunc.arrays import Array
from nnfunc.initializers import Initializer, uniform
from nnfunc.layers.activations import ActivationName
from nnfunc.layers.structure import last_layer, map_layers
from nnfunc.losses import LossName, named_loss
from nnfunc.optimizers.base import OptimizerName
from nnfunc.optimizers.names import OPTIMIZERS
from nnfunc.optimizers.setting import Setting
from nnfunc.training.stopping import validation_loss

ModelFunction: TypeAlias = Callable[[int, int], nn.Layer]
"""(n_features, n_outputs) -> model"""

Labels: TypeAlias = NDArray[Any]  # numbers, strings, objects
Rows: TypeAlias = tuple[Any, ...]  # (X, target) or (X, target, weights), all arrays
Weights: TypeAlias = Array | None
Classes: TypeAlias = ArrayLike | None
Given: TypeAlias = tuple[ArrayLike, ArrayLike, ArrayLike | None]
RandomState: TypeAlias = "int | np.integer[Any] | np.random.RandomState | None"


class Head(NamedTuple):
    """The end of a network: the number of outputs, their activation, and the loss on these and on logits."""

    outputs: int
    activation: str
    loss: nn.Loss
    loss_on_logits: nn.Loss


@dataclass(eq=False, repr=False)  # its constructor stores the arguments unchanged, as sklearn requires
class Network(BaseEstimator):
    """The base class of the two estimators; its fields are the constructor's arguments."""

    hidden_layer_sizes: int | Sequence[int] = (100,)
    _: KW_ONLY
    activation: ActivationName | nn.Layer = "relu"
    keep_prob: float | Sequence[float] = 1.0
    batch_norm: bool = False
    initializer: Initializer = "glorot_uniform"  # like MLPClassifier: on small tables it generalizes better than "he"
    model: ModelFunction | nn.Layer | None = None
    loss: nn.Loss | LossName | None = None
    optimizer: nn.Optimizer | OptimizerName = "adam"
    learning_rate: Setting | None = None
    penalty: nn.Penalty | float | None = None
    batch_size: int | None = 64
    epochs: int = 200
    patience: int | None = None
    validation_fraction: float = 0.1
    scoring: str | Callable[..., float] | None = None
    tol: float | None = None
    n_iter_no_change: int = 10
    shuffle: bool = True
    random_state: RandomState = None
    dtype: DTypeLike = np.float64  # scikit-learn's estimator checks require more digits than float32 has
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
        """Trains for `epochs` passes over the data, or until `patience` or `tol` stops it; with warm_start, continues.

        Args:
            X: (examples, features); a sparse matrix is converted to dense as a whole.
            y: (examples,), or (examples, outputs).
            sample_weight: (examples,), the weight of each example.
            X_val, y_val, sample_weight_val: data to evaluate after each epoch, and for early stopping. A pipeline
                transforms X_val like X with `transform_input=["X_val"]` and metadata routing.
        Raises:
            ValueError: invalid data or constructor arguments.
            NonFiniteError: the loss or a gradient became NaN or infinite.
            KeyboardInterrupt: re-raised; the state after the last complete epoch (with patience, the best one) is kept.
        """
        validation = (X_val, y_val, sample_weight_val)
        if self.scoring is not None and self.patience is None and X_val is None:
            raise ValueError(f"scoring={self.scoring!r} needs held-out rows: set patience=, or pass X_val and y_val")
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
            stop = self._trained(given, validation, epochs, patience, go_on and hasattr(self, "state_"), classes)
        except BaseException:  # a failed fit leaves everything unchanged
            vars(self).clear()
            vars(self).update(before)
            raise
        if stop is not None:
            raise stop
        return self

    def _trained(
        self,
        given: Given,
        validation: tuple[ArrayLike | None, ...],
        epochs: int,
        patience: int | None,
        goes_on: bool,
        classes: Classes,
    ) -> KeyboardInterrupt | None:
        """Fits; if interrupted, completed epochs are kept, and the interrupt is returned."""
        X, y, weights = self._checked(*given, reset=not goes_on)
        loss = None if self.loss is None else named_loss(self.loss)
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
        data: Rows = (X, y) if weights is None else (X, y, weights)
        held_out: Rows | None = None
        X_val, y_val, weights_val = validation
        before = self._held_out if goes_on else None
        if X_val is not None and y_val is not None:
            X, y, weights = _counted(*self._checked(X_val, y_val, weights_val, reset=False))
            held_out = (X, y) if weights is None else (X, y, weights)
            before = None
        elif any(part is not None for part in validation):
            raise ValueError("X_val and y_val must be passed together, and sample_weight_val only with them")
        elif before is not None:
            data = _without(data, before[0])
            held_out = before if patience is not None else None
        elif patience is not None and goes_on:
            raise ValueError(
                "patience=, but the previous fit held no rows out, so the state has seen all of them: pass "
                "X_val and y_val, or use patience from the start"
            )
        elif patience is not None:
            fraction = number(self.validation_fraction, "validation_fraction", 0, 1, open_low=True, open_high=True)
            data, before = split(holdout_key, data, fraction, y if is_classifier(self) and y.ndim == 1 else None)
            held_out = before
        trained_on = hashlib.sha256(data[0].tobytes()).digest()
        # They stay held out, since the next state is compared with this one on them.
        self._held_out: Rows | None = before if self.warm_start or goes_on else None

        targets, held_out_targets = (
            None if rows is None else (rows[0], *self._targets(rows[1], rows[2] if len(rows) > 2 else None, loss))
            for rows in (data, held_out)
        )
        assert targets is not None
        order = order_key if self.shuffle else None
        size = len(data[0]) if self.batch_size is None else self.batch_size
        single = bool(ts.state.names) and len(data[0]) > size and len(data[0]) % size == 1  # rejected by batch norm
        run: Iterable[nn.Epoch] = nn.train(
            step, ts, targets, epochs=epochs, batch_size=self.batch_size, key=order, validation=held_out_targets,
            drop_last=single,
        )  # fmt: skip
        if self.verbose:
            run = _shown(run)
        log: list[nn.Epoch] = []
        run = _recorded(run, log, ts)
        if self.tol is not None:
            tol = number(self.tol, "tol", 0, np.inf, why="the minimum decrease of the training loss, or None")
            count = positive_int(self.n_iter_no_change, "n_iter_no_change")
            run = nn.early_stopping(run, count, tol, lambda epoch: float(epoch.loss))
        if patience is not None and held_out_targets is not None and goes_on and trained_on == self._trained_on:
            before_all = nn.evaluate(model, loss, ts, *held_out_targets)  # the initial state may remain the best
            run = chain([nn.Epoch(0, np.nan, np.nan, before_all, ts)], run)
        scores: dict[int, float] = {}
        monitor: Callable[[nn.Epoch], float] = validation_loss
        if self.scoring is not None and held_out is not None:
            run = self._scored(run, model, held_out, scores)
            monitor = lambda epoch: -scores[epoch.number]  # noqa: E731  # a single expression
        if patience is not None and held_out is not None:
            run = nn.early_stopping(run, patience, monitor=monitor)
        best: nn.Epoch | None = None
        stop: KeyboardInterrupt | None = None
        try:
            for epoch in run:
                best = nn.best_epoch([best, epoch], monitor) if patience is not None and best is not None else epoch
        except KeyboardInterrupt as interrupt:
            stop = interrupt
        if scores and np.isnan(list(scores.values())).all():
            raise ValueError(
                f"scoring={self.scoring!r} is nan on the held-out rows in every epoch: do they contain all classes? "
                "A larger validation_fraction holds out more of a rare one"
            )
        if best is None or (stop is not None and not log):  # the first epoch was not completed
            raise stop or RuntimeError("no epoch was run")
        self._trained_on: bytes = trained_on
        self.model_: nn.Layer = model
        self.state_: nn.TrainState = best.state
        columns = nn.history(log)
        if scores:
            columns["validation_score"] = np.array([scores.get(epoch.number, np.nan) for epoch in log])
        self.history_: dict[str, Array] = _joined(self.history_ if goes_on else {}, columns)
        self.n_iter_ = len(self.history_["epoch"])
        return stop

    def _scored(
        self, epochs: Iterable[nn.Epoch], model: nn.Layer, held_out: Rows, scores: dict[int, float]
    ) -> Iterator[nn.Epoch]:
        """Yields the epochs and records the scores on the held-out rows of an estimator with their state."""
        scorer = check_scoring(self, self.scoring)
        given = {"sample_weight": held_out[2]} if len(held_out) > 2 else {}
        for epoch in epochs:
            fitted = copy.copy(self)
            fitted.model_, fitted.state_ = model, epoch.state
            scores[epoch.number] = float(scorer(fitted, *held_out[:2], **given))
            yield epoch

    def _checked(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, *, reset: bool
    ) -> tuple[Array, Labels, Array | None]:
        x, labels = validate_data(self, X, y, dtype=self.dtype, multi_output=True, reset=reset, accept_sparse="csr")
        x = dense(x)
        labels = labels.toarray() if hasattr(labels, "toarray") else labels  # SciPy's sparse columns of 0 and 1
        labels = column_or_1d(labels, warn=True) if labels.shape[1:] == (1,) else labels
        if sample_weight is None:
            return x, labels, None
        return x, labels, _check_sample_weight(sample_weight, x, dtype=x.dtype, ensure_non_negative=True)

    def _model(self, inputs: int, head: Head) -> nn.Layer:
        if self.model is not None:
            if isinstance(self.model, nn.Layer) or not callable(self.model):
                return instance(self.model, nn.Layer, "model")
            return instance(self.model(inputs, head.outputs), nn.Layer, "model")
        hidden = np.atleast_1d(self.hidden_layer_sizes).tolist()
        activations = [*[self.activation] * len(hidden), head.activation]
        sizes = [inputs, *hidden, head.outputs]
        model = nn.mlp(sizes, activations, self.keep_prob, self.initializer, self.batch_norm)
        return map_layers(_with_random_biases, model)

    def _optimizer(self) -> nn.Optimizer | OptimizerName:
        if self.learning_rate is None:
            return self.optimizer
        if not isinstance(self.optimizer, str):
            raise ValueError(f"learning_rate={self.learning_rate!r}, but {self.optimizer!r} has its own: pass only one")
        rated = {name: partial(make, learning_rate=self.learning_rate) for name, make in OPTIMIZERS.items()}
        return by_name("optimizer", self.optimizer, rated)

    def _penalty(self) -> nn.Penalty | None:
        if self.penalty is None or isinstance(self.penalty, nn.Penalty):
            return self.penalty
        strength = number(self.penalty, "penalty", 0, np.inf, why="the λ of nn.l2, or an nn.Penalty like nn.l1(0.1)")
        return nn.l2(strength) if strength else None

    def _outputs(self, X: ArrayLike, dtype: DTypeLike) -> Array:
        check_is_fitted(self, "state_")
        x = dense(validate_data(self, X, dtype=dtype, reset=False, accept_sparse="csr"))
        params, state = self.state_.params.astype(dtype), self.state_.state.astype(dtype)
        y: Array = nn.predict(self.model_, self.state_._replace(params=params, state=state), x)
        return y

    def _begin(self, y: Labels, weights: Weights, loss: nn.Loss | None, classes: Classes, goes_on: bool) -> Head:
        raise NotImplementedError

    def _ends_with_logits(self, last: nn.Layer, loss: nn.Loss | None) -> bool:
        return False

    def _targets(self, y: Labels, weights: Weights, loss: nn.Loss) -> Rows:
        raise NotImplementedError

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def dense(X: Any) -> Array:
    """Converts a sparse matrix to an array."""
    array: Array = X.toarray() if hasattr(X, "toarray") else X
    return array


# -- a run and its history ---------------------------------------------------------------------------------------------


def _with_random_biases(path: str, layer: nn.Layer) -> nn.Layer:
    """A dense layer with random initial biases, like MLPClassifier's, so that the kinks of ReLUs are not all at 0."""
    if layer.name != "dense":
        return layer
    made = layer.settings
    biases = partial(uniform, limit=math.sqrt(6 / (made["inputs"] + made["units"])))
    return nn.dense(made["units"], made["initializer"], biases, inputs=made["inputs"])


def _started(step: nn.TrainStep, key: nn.Key, inputs: int, outputs: int, dtype: DTypeLike) -> nn.TrainState:
    """The initial state of a model, whose number of outputs is checked against y."""
    ts = nn.train_state(step.model, step.optimizer, key, (inputs,), dtype)
    shape = nn.output_shape(step.model, ts.params, ts.state, (inputs,))
    if shape != (outputs,):
        raise ValueError(f"the model has outputs of shape {shape}, but y requires {outputs}: end it with that many")
    return ts


def _continued(step: nn.TrainStep, ts: nn.TrainState, inputs: int, outputs: int, dtype: DTypeLike) -> nn.TrainState:
    """The state of the last fit, if it is compatible with these arguments."""
    why = ""
    try:
        shape = nn.output_shape(step.model, ts.params, ts.state, (inputs,))
        if shape != (outputs,):
            why = f"it has outputs of shape {shape}, but y requires {outputs}"
    except ValueError as error:
        why = str(error)
    if ts.opt_state.keys() != step.optimizer.init(ts.params).keys():
        why = why or "it belongs to another optimizer"
    if ts.params.dtype != np.dtype(dtype):
        why = why or f"it is {ts.params.dtype}"
    if why:
        raise ValueError(f"the last state is incompatible with these arguments ({why}): fit with warm_start=False")
    return ts


def _counted(X: Array, y: Labels, weights: Weights) -> tuple[Array, Labels, Weights]:
    """The rows with a positive weight: others are ignored, in no batch and not held out."""
    if weights is None:
        return X, y, None
    counted = weights > 0
    return X[counted], y[counted], weights[counted]


def _seed(random_state: RandomState) -> int:
    if isinstance(random_state, bool) or (isinstance(random_state, (int, np.integer)) and random_state < 0):
        raise ValueError(f"random_state={random_state!r}: expected a non-negative integer, a RandomState or None")
    if isinstance(random_state, (int, np.integer)):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def split(key: nn.Key, data: Rows, fraction: float, classes: Labels | None) -> tuple[Rows, Rows]:
    """Splits off a random fraction of the rows, stratified by class."""
    rows = nn.keys.generator(key).permutation(len(data[0]))
    if classes is not None:
        rows = rows[np.argsort(classes[rows], kind="stable")]
    count = max(round(fraction * len(rows)), 1)
    if count == len(rows):
        raise ValueError(f"validation_fraction={fraction} of n_samples={count} leaves nothing to train on")
    held_out = np.zeros(len(rows), bool)
    held_out[rows[np.arange(count) * len(rows) // count]] = True  # equally spaced among rows sorted by class
    return tuple(part[~held_out] for part in data), tuple(part[held_out] for part in data)


def _without(data: Rows, held_out: Array) -> Rows:
    """The rows of the data that are not held out."""
    known = {row.tobytes() for row in held_out}
    kept = np.array([row.tobytes() not in known for row in data[0]])
    if not kept.any():
        raise ValueError("X contains only rows that the first fit held out: nothing is left to train on")
    return tuple(part[kept] for part in data)


def _recorded(epochs: Iterable[nn.Epoch], log: list[nn.Epoch], ts: nn.TrainState) -> Iterator[nn.Epoch]:
    """Yields the epochs and logs their metrics, with the same old state for all, as their own would fill the memory."""
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
    """The concatenated history, with NaN where one of the two lacks a column."""
    before, after = len(old.get("epoch", ())), len(new["epoch"])
    columns = {
        name: np.concatenate([old.get(name, np.full(before, np.nan)), new.get(name, np.full(after, np.nan))])
        for name in {**old, **new}
    }
    columns["epoch"] = np.arange(1, before + after + 1)  # counted for this estimator, whatever the data
    return {name: column for name, column in columns.items() if not np.isnan(column).all()}
