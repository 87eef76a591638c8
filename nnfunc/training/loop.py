"""The standard training loop, as an iterator of epochs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from nnfunc._internal.validate import cast, finite, first_bad, numeric, positive_int
from nnfunc.arrays import EMPTY, Scalar
from nnfunc.core.values import Value, leaves, map_leaves
from nnfunc.errors import NonFiniteError
from nnfunc.evaluation.metrics import Evaluation, as_members, decision_under, evaluate, ratio, share_right, unknown
from nnfunc.keys import Key, check, fold_in
from nnfunc.losses.options import asks
from nnfunc.stacks import PerMember
from nnfunc.training.batches import batch_count, minibatches, row_count, same_length
from nnfunc.training.gradients import Batch
from nnfunc.training.progress import Counted, say, shown
from nnfunc.training.shards import Shards
from nnfunc.training.state import TrainState
from nnfunc.training.step import TrainStep

Data: TypeAlias = Batch
"""(X, Y) or (X, Y, weights), whose rows are examples; each is a value whose arrays may be marked by
`nn.stacks.per_member`."""

Rows: TypeAlias = "tuple[Any, ...]"
"""A batch: its rows of each part of the data."""


class Epoch(NamedTuple):
    """The results of one pass over the data.

    `number` counts passes over this data in batches of this size from 1, including those of an earlier run that this
    one continues. `loss` (including the penalty) and `accuracy` are weighted means over the examples of all batches,
    each computed before the update, as in `evaluate`. `validation` is the evaluation of the validation data after the
    epoch, or None. `state` is the `TrainState` after the epoch.

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
    """The epochs, (at most) `count` of them, for a progress bar that shows their metrics."""
    return Counted(epochs, count, _numbers)


def train(
    step: TrainStep,
    ts: TrainState,
    data: Data,
    *,
    epochs: int,
    batch_size: int | None = 64,
    key: Key | None,
    validation: Data | None = None,
    batches: Callable[[Counted[Rows]], Iterable[Rows]] | None = None,
    rows: ArrayLike | PerMember | None = None,
    drop_last: bool = False,
    after: Callable[[Epoch], TrainState] | None = None,
) -> Counted[Epoch]:
    """Trains one epoch per `next`: loop over it, break out of it, slice it, wrap it in a progress bar.

    `tqdm(nn.train(...))` shows the metrics of the last epoch next to the count.

    Args:
        step: from `train_step`.
        ts: the state to start or continue from.
        data: (X, Y) or (X, Y, weights). In a stack, it is shared by all networks except for parts marked by
            `nn.stacks.per_member`.
        epochs: the number of (further) passes over the data.
        batch_size: rows per batch; None for all rows at once.
        key: the key of the order of the rows. The order in an epoch depends on this key and the number of updates so
            far, so continuing from the state of epoch 3 gives the same bits as an uninterrupted run. None: no
            shuffling.
        validation: data to evaluate after each epoch.
        batches: wraps the iterator over each epoch's batches, to show a progress bar within long epochs: `batches=tqdm`
            or `batches=lambda b: tqdm(b, leave=False)`. The bar shows the mean loss so far. It may also modify the
            batches (noise, augmentation), but must return the same number of them.
        rows: the indices of the rows to train on, in a stack those of each network: see `nn.minibatches`.
        drop_last: drops the last batch of an epoch if it is smaller than the others. Otherwise it would have the same
            weight in the running averages of a batch norm; there, a batch with a single row is an error.
        after: a function of an epoch that returns the state to continue from, which replaces that of the epoch: for
            changes that depend on its metrics, like `nn.optimizers.observe`.
    Raises:
        ValueError: mismatched lengths, no rows, NaN or infinity in the data, or batches dropped by `batches`.
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
        raise TypeError(f"step={step!r} is not a TrainStep: create one with nn.train_step(model, loss, optimizer)")
    if not isinstance(ts, TrainState):
        raise TypeError(f"ts is {type(ts).__name__}, expected a TrainState: create one with nn.train_state")
    ready, held_out = _agreed(step, ts, data, validation)
    if after is not None and not callable(after):
        raise TypeError(f"after={after!r}: expected a function of an epoch that returns the state to continue from")
    if batches is not None and not callable(batches):
        raise TypeError(f"batches={batches!r}: expected a function that wraps the batches of an epoch, like tqdm")
    key = None if key is None else check(key)
    return counted(_epochs(step, ts, ready, count, size, key, held_out, batches or iter, rows, drop_last, after), count)


def _agreed(step: TrainStep, ts: TrainState, data: Data, validation: Data | None) -> tuple[Data, Data | None]:
    """Checks the data; an error on one process is raised on all, and all must start from the same state."""
    ready = error = held_out = None
    try:
        ready = _ready(data, step, ts, "data")
        held_out = None if validation is None else _ready(validation, step, ts, "validation")
    except Exception as raised:
        error = raised
    if step.reduce is not None:
        error = step.reduce.agreed(error)
        if error is None:
            shared = step.optimizer.root.own is None  # otherwise each process may keep a part of the state
            step.reduce.check_same("the train state", *(ts if shared else ts._replace(opt_state=EMPTY)))
            step.reduce.check_same("the number of rows", row_count(leaves(data[0])[0]))
    if error is not None:
        raise error
    assert ready is not None
    return ready, held_out


def _ready(data: Data, step: TrainStep, ts: TrainState, name: str) -> Data:
    """Checks the data and casts X to the parameters' dtype, once; arrays on disk stay there."""
    if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
        raise TypeError(f"{name} is {type(data).__name__}, expected (X, Y) or (X, Y, weights)")
    same_length(data)
    if len(data) > 2 and not all(np.sum(numeric(_bare(w), "weights"), dtype=np.float64) > 0 for w in leaves(data[2])):
        raise ValueError("weights are all 0 or not non-negative numbers: no example would count")

    def inputs(a: Any) -> Any:
        if isinstance(a, np.memmap):
            return a
        if isinstance(a, PerMember):
            return PerMember(inputs(a.array))
        return cast(numeric(a, "X"), "X", ts.params.dtype)

    def targets(a: Any) -> Any:
        if isinstance(a, np.memmap):
            return a
        if isinstance(a, PerMember):
            return PerMember(targets(a.array))
        Y = numeric(a, "Y")
        checked = Y.dtype.kind == "f" and step.loss.own is None and len(data) == 2  # if weighted, NaN may mean unknown
        return finite(Y, "Y") if checked and not asks(step.loss, "missing") else Y

    return map_leaves(inputs, data[0]), map_leaves(targets, data[1]), *data[2:]


def _bare(a: Any) -> Any:
    return a.array if isinstance(a, PerMember) else a


def _epochs(
    step: TrainStep,
    ts: TrainState,
    data: Data,
    count: int,
    size: int | None,
    key: Key | None,
    validation: Data | None,
    around: Callable[[Counted[Rows]], Iterable[Rows]],
    rows: ArrayLike | PerMember | None,
    drop_last: bool,
    after: Callable[[Epoch], TrainState] | None,
) -> Iterator[Epoch]:
    total = row_count(leaves(data[0])[0]) if rows is None else (np.shape(_bare(rows)) or (0,))[-1]
    on_disk = any(isinstance(_bare(a), np.memmap) for a in leaves(data[0]))
    per_epoch = batch_count(total, size, drop_last)
    decision = decision_under(*step.computed)
    lead = 1 + len(ts.params.stack_shape)
    for _ in range(count):
        loss: Scalar = 0.0
        weight: Scalar = 0.0
        right: Scalar = 0.0
        counted_by: Scalar = 0.0
        first = ts.step
        order = None if key is None else fold_in(key, ts.step)
        batches = minibatches(order, data, size, rows=rows, drop_last=drop_last, reduce=step.reduce)
        given = around(batches)
        if not isinstance(given, Iterable):
            raise TypeError(f"batches= returned {given!r}, expected an iterable of batches: return tqdm(batches)")
        for batch in given:
            ts, metrics = step(ts, batch, donate=ts.step > first)  # states within an epoch are not visible outside
            if isinstance(batch, Shards):
                batch = batch.joined()
            if on_disk:  # data in memory was checked as a whole
                check_finite(batch[0])
            loss, weight = loss + metrics.weight * metrics.loss, weight + metrics.weight
            if decision is not None and metrics.output is not None:
                target, weights = as_members(ts, batch[1], "Y"), None
                if len(batch) > 2:
                    weights = as_members(ts, batch[2], "weights")
                share = share_right(metrics.output, target, weights, decision, lead, step.loss)
                if share is None:
                    decision = None
                else:
                    right, counted_by = right + share[0], counted_by + share[1]
            say(batches, _so_far, (loss, weight))
        if ts.step - first != per_epoch:
            raise ValueError(f"batches= returned {ts.step - first} of {per_epoch} batches: it must return all of them")
        if step.nonfinite == "raise":
            _check_parameters(ts)
        if step.reduce is not None:
            counts = [np.zeros(2) for _ in step.reduce.own]
            counts[0][:] = right, counted_by
            right, counted_by = step.reduce.total(counts).tolist()
        held_out = None
        if validation is not None:
            X, Y, *weights = validation
            weighting = weights[0] if weights else None
            held_out = evaluate(step.model, step.loss, ts, X, Y, weighting, step.class_weights)
        accuracy = unknown(ts.params) if decision is None else ratio(right, counted_by, 0.0)
        epoch = Epoch(ts.step // per_epoch, ratio(loss, weight, 0.0), accuracy, held_out, ts)
        if after is not None:
            ts = _went_on(after(epoch), ts)
        yield epoch._replace(state=ts)


def check_finite(x: Value) -> None:
    """Raises an error if the inputs of a batch contain NaN or infinity."""
    for a in map(_bare, leaves(x)):
        if a.dtype.kind == "f":
            finite(a, "X")


def _went_on(given: object, ts: TrainState) -> TrainState:
    """The state that `after` returned, checked."""
    if not isinstance(given, TrainState) or given.step != ts.step:
        came = f"a state at step {given.step}" if isinstance(given, TrainState) else type(given).__name__
        raise TypeError(f"after= returned {came}, expected the TrainState to continue from, at step {ts.step}")
    return given


def _so_far(sums: tuple[Scalar, Scalar]) -> str:
    return shown("loss", ratio(*sums, math.nan))


def _check_parameters(ts: TrainState) -> None:
    """Raises an error for non-finite parameters: the next step would detect them, but there may not be one."""
    for name, parameter in ts.params.items():
        if not np.isfinite(parameter).all():
            bad = first_bad(parameter, ~np.isfinite(parameter))
            raise NonFiniteError(f"the update of step {ts.step - 1} made {name} non-finite ({bad}): step too large?")
