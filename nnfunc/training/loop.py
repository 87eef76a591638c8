"""The usual training loop, as an iterator of epochs, and functions over such iterators."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnfunc.arrays import Scalar
from nnfunc.errors import NonFiniteError, cast, finite, first_bad, numeric, positive_int
from nnfunc.keys import Key, check, fold_in
from nnfunc.losses import of_network
from nnfunc.metrics import (
    Decision,
    Evaluation,
    decided,
    decision_under,
    evaluate,
    known_labels,
    predict,
    share_equal,
    unknown,
)
from nnfunc.training.batches import minibatches, same_length
from nnfunc.training.progress import Counted, say, shown
from nnfunc.training.step import Batch, TrainState, TrainStep

Data: TypeAlias = Batch
"""(X, Y), or (X, Y, weights): rows are examples."""

Rows: TypeAlias = tuple[NDArray[Any], ...]
"""The rows of a batch, of each array of the data."""


class Epoch(NamedTuple):
    """What one pass over the data gave.

    `number` counts passes over these data in batches of this size from 1, those of an earlier run that this one goes
    on from included; `loss`
    (penalty included) and `accuracy` are means over the batches, each from before its update, counted by its rows or by
    their weights; `validation` is the evaluation of the validation data after the epoch, or None; `state` is the
    `TrainState` after it.

    >>> model = nn.mlp([2, 1], ["sigmoid"])
    >>> step = nn.train_step(model, nn.binary_cross_entropy, nn.gd(0.1))
    >>> ts = nn.train_state(model, step.optimizer, nn.key(0), input_shape=(2,))
    >>> data = np.zeros((4, 2)), np.array([0, 0, 0, 1])
    >>> next(nn.train(step, ts, data, epochs=1, key=nn.key(1), validation=data))
    Epoch 1: loss=0.6931, accuracy=0.75, validation.loss=0.687, validation.accuracy=0.75
    """

    number: int
    loss: Scalar
    accuracy: Scalar
    validation: Evaluation | None
    state: TrainState

    def __repr__(self) -> str:
        return f"Epoch {self.number}: {_numbers(self)}"


def _numbers(epoch: Epoch) -> str:
    values = {"loss": epoch.loss, "accuracy": epoch.accuracy}
    if epoch.validation is not None:
        values |= {"validation.loss": epoch.validation.loss, "validation.accuracy": epoch.validation.accuracy}
    absent = {name for name, value in values.items() if name.endswith("accuracy") and np.isnan(value).all()}
    return ", ".join(shown(name, value) for name, value in values.items() if name not in absent)


def counted(epochs: Iterator[Epoch], count: int | None) -> Counted[Epoch]:
    """The epochs, of which there are (at most) `count`, for a progress bar that shows their numbers."""
    return Counted(epochs, count, _numbers)


def train(
    step: TrainStep,
    ts: TrainState,
    data: Data,
    *,
    epochs: int,
    batch_size: int | None = 64,
    key: Key,
    validation: Data | None = None,
    batches: Callable[[Counted[Rows]], Iterable[Rows]] | None = None,
) -> Counted[Epoch]:
    """Trains, an epoch at each `next`: loop over it, break out of it, slice it, wrap it in a progress bar.

    `tqdm(nn.train(...))` shows the numbers of the last epoch beside the count.

    Args:
        step: from `train_step`.
        ts: the state to begin with, or to go on from.
        data: (X, Y) or (X, Y, weights).
        epochs: how many more passes over the data.
        batch_size: None for all rows at once.
        key: of the order of the rows. That of an epoch depends on this key and on the number of updates before it, so
            going on from the state of epoch 3 gives the bits of never stopping.
        validation: data to evaluate after each epoch.
        batches: goes around the iterator of each epoch's batches, to show a bar within long epochs:
            `batches=tqdm`, or `batches=lambda b: tqdm(b, leave=False)`. The bar shows the mean loss so far.
    Raises:
        ValueError: lengths that differ, no rows, NaN or infinity in the data; `batches` left some out.
        NonFiniteError: (while iterating) the loss or the gradient became NaN or infinite.

    >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> Y = np.array([0, 1, 1, 0])
    >>> model = nn.mlp([2, 8, 1], ["tanh", "sigmoid"])
    >>> step = nn.train_step(model, nn.binary_cross_entropy, nn.adam(0.1))
    >>> ts = nn.train_state(model, step.optimizer, nn.key(0), input_shape=(2,))
    >>> for epoch in nn.train(step, ts, (X, Y), epochs=50, batch_size=None, key=nn.key(1)):
    ...     pass
    >>> epoch.number, epoch.accuracy
    (50, 1.0)
    """
    count = positive_int(epochs, "epochs")
    size = None if batch_size is None else positive_int(batch_size, "batch_size")
    if not isinstance(step, TrainStep):
        raise TypeError(f"step={step!r} is no TrainStep: make one with nn.train_step(model, loss, optimizer)")
    if not isinstance(ts, TrainState):
        raise TypeError(f"ts is {type(ts).__name__}, expected a TrainState: make one with nn.train_state")
    ready = _ready(data, ts, "data")
    _unambiguous(ready, ts, size)
    held_out = None if validation is None else _ready(validation, ts, "validation")
    if batches is not None and not callable(batches):
        raise TypeError(f"batches={batches!r}: expected a function around the batches of an epoch, like tqdm")
    return counted(_epochs(step, ts, ready, count, size, check(key), held_out, batches or iter), count)


def _ready(data: Data, ts: TrainState, name: str) -> Data:
    """The data checked and X cast to the parameters' dtype, once; arrays on disk stay there."""
    if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
        raise TypeError(f"{name} is {type(data).__name__}, expected (X, Y) or (X, Y, weights)")
    same_length(data)
    shape = np.shape(data[0])
    if ts.params.stack_shape == shape[:1] and len(shape) > 2:
        raise ValueError(
            f"X has shape {shape}, data for each of {shape[0]} networks, but rows are shuffled along the first axis: "
            "pass data that all networks share, or call the step on batches of your own"
        )
    if len(data) > 2 and not np.sum(numeric(data[2], "weights"), dtype=np.float64) > 0:
        raise ValueError("weights are all 0, or not numbers of 0 or more: no example would count")
    if isinstance(data[0], np.memmap):
        return data
    X, Y = cast(numeric(data[0], "X"), "X", ts.params.dtype), numeric(data[1], "Y")
    return X, finite(Y, "Y") if Y.dtype.kind == "f" else Y, *data[2:]


def _unambiguous(data: Data, ts: TrainState, size: int | None) -> None:
    """A batch of as many rows as there are networks, of more axes than one, would be taken for data of each network."""
    rows, networks = same_length(data), ts.params.stack_shape
    lengths = {rows} if size is None else {min(size, rows), rows % size}
    if networks and np.ndim(data[0]) > 2 and networks[0] in lengths:
        raise ValueError(
            f"batches of {networks[0]} rows of X {np.shape(data[0])} would be taken for data of each of {networks[0]} "
            "networks: choose another batch_size"
        )


def _epochs(
    step: TrainStep,
    ts: TrainState,
    data: Data,
    count: int,
    size: int | None,
    key: Key,
    validation: Data | None,
    around: Callable[[Counted[Rows]], Iterable[Rows]],
) -> Iterator[Epoch]:
    rows = same_length(data)
    total = float(np.sum(data[2], dtype=np.float64)) if len(data) > 2 else rows
    per_epoch = 1 if size is None else math.ceil(rows / size)
    decision = decision_under(*step.computed)
    classes = None if decision is None else _classes(step, ts, data, rows, decision)
    parts = data if classes is None else (*data, classes)
    for _ in range(count):
        loss: Scalar = 0.0
        right: Scalar = 0.0 if classes is not None else unknown(ts.params)
        done = 0.0
        first = ts.step
        batches = minibatches(fold_in(key, ts.step), parts, size)
        given = around(batches)
        if not isinstance(given, Iterable):
            raise TypeError(f"batches= returned {given!r}, expected the batches one by one: return tqdm(batches)")
        for batch in given:
            ts, metrics = step(ts, batch[: len(data)])
            share = float(np.sum(batch[2], dtype=np.float64)) / total if len(data) > 2 else len(batch[0]) / rows
            loss = loss + share * metrics.loss
            if decision is not None and classes is not None:
                right = right + share * share_equal(decided(metrics.output, decision), batch[-1], ts.params)
            done += share
            say(batches, _so_far, (loss, done))
        if ts.step - first != per_epoch:
            raise ValueError(f"batches= gave back {ts.step - first} of {per_epoch} batches: it must give back each one")
        _check_parameters(ts)
        held_out = None
        if validation is not None:
            X, Y, *weights = validation
            weighting = weights[0] if weights else None
            held_out = evaluate(step.model, step.loss, ts, X, Y, weighting, step.class_weights)
        yield Epoch(ts.step // per_epoch, loss, right, held_out, ts)


def _so_far(sums: tuple[Scalar, float]) -> str:
    loss, share = sums
    return shown("loss", loss / share if share else np.nan)


def _classes(step: TrainStep, ts: TrainState, data: Data, rows: int, decision: Decision) -> NDArray[Any] | None:
    """The true classes of all rows, checked once instead of in every batch; None where there are none."""
    y = predict(step.computed[0], ts, np.asarray(data[0])[:1])
    tail = y.shape[-1:] if ts.params.stack_shape else y.shape[1:]
    outputs, target, _ = of_network(ts.params, np.empty((rows, *tail)), data[1])
    true = known_labels(target, outputs, decision)
    return true if true is None or len(true) == rows else true.reshape(rows, *tail[:-1], *true.shape[1:])


def _check_parameters(ts: TrainState) -> None:
    """The next step would notice; after the last one of an epoch there may be none."""
    for name, parameter in ts.params.items():
        if not np.isfinite(parameter).all():
            bad = first_bad(parameter, ~np.isfinite(parameter))
            raise NonFiniteError(f"the update of step {ts.step - 1} made {name} not finite ({bad}): too large a step?")
