"""Early stopping, the best state, and the history: functions over an iterator of epochs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized

import numpy as np
from numpy.typing import ArrayLike

from nnfunc._internal.validate import number, numeric, positive_int
from nnfunc.arrays import Array, Scalar
from nnfunc.training.loop import Epoch, counted
from nnfunc.training.progress import Counted


def validation_loss(epoch: Epoch) -> float:
    """The validation loss of an epoch, or its training loss if there is no validation data."""
    loss = epoch.loss if epoch.validation is None else epoch.validation.loss
    if np.ndim(loss):
        raise ValueError("a stack has one loss per network: pass monitor=, a function from an epoch to a single number")
    return float(loss)


def early_stopping(
    epochs: Iterable[Epoch],
    patience: int = 10,
    min_delta: float = 0.0,
    monitor: Callable[[Epoch], float] = validation_loss,
    *,
    earlier: ArrayLike = (),
) -> Counted[Epoch]:
    """Yields epochs until `patience` of them in a row have not improved on the best one.

    A progress bar may wrap them, as with `train`; its total is the maximum number of epochs.

    Args:
        epochs: from `train`.
        patience: the number of epochs without improvement to tolerate.
        min_delta: the minimum decrease that counts as an improvement.
        monitor: the value to minimize; for an accuracy, its negative.
        earlier: the monitored values of an earlier run that this one continues, like `history["validation_loss"]`, so
            that an interrupted run stops at the same epoch as an uninterrupted one.

    >>> losses = [3.0, 1.0, 2.0, 2.0, 0.0]
    >>> epochs = [Epoch(i, loss, 0.0, None, None) for i, loss in enumerate(losses, 1)]
    >>> [epoch.number for epoch in nn.early_stopping(epochs, patience=2)]
    [1, 2, 3, 4]
    """
    _check(epochs, monitor)
    patience = positive_int(patience, "patience")
    min_delta = number(min_delta, "min_delta", 0, np.inf)
    count = len(epochs) if isinstance(epochs, Sized) else None
    before = np.zeros(0) if isinstance(earlier, (list, tuple)) and not earlier else numeric(earlier, "earlier")
    if before.ndim != 1:
        raise ValueError(f"earlier has shape {before.shape}, expected one value per earlier epoch")
    return counted(_until_patience_ends(epochs, patience, min_delta, monitor, before.tolist()), count)


def _until_patience_ends(
    epochs: Iterable[Epoch],
    patience: int,
    min_delta: float,
    monitor: Callable[[Epoch], float],
    earlier: Sequence[float],
) -> Iterator[Epoch]:
    best, waited = np.inf, 0
    for value in earlier:
        best, waited = (value, 0) if value < best - min_delta else (best, waited + 1)
    if waited >= patience:
        return
    for epoch in epochs:
        yield epoch
        value = _number(monitor, epoch)
        best, waited = (value, 0) if value < best - min_delta else (best, waited + 1)
        if waited >= patience:
            return


def best_epoch(epochs: Iterable[Epoch], monitor: Callable[[Epoch], float] = validation_loss) -> Epoch:
    """Consumes all epochs and returns the one with the lowest loss (the first if equal). Its `state` is the best state.

    >>> nn.best_epoch([Epoch(i, loss, 0.0, None, None) for i, loss in enumerate([3.0, 1.0, 2.0], 1)]).number
    2
    """
    _check(epochs, monitor)
    best = min(epochs, key=lambda epoch: _number(monitor, epoch), default=None)
    if best is None:
        raise ValueError("epochs is empty: was the iterator consumed before?")
    return best


def _check(epochs: object, monitor: object = validation_loss) -> None:
    if isinstance(epochs, Epoch) or not isinstance(epochs, Iterable) or hasattr(epochs, "__array__"):
        came = "a single Epoch" if isinstance(epochs, Epoch) else type(epochs).__name__
        raise TypeError(f"epochs is {came}, expected several: the iterator from nn.train, or a list of its epochs")
    if not callable(monitor):
        raise TypeError(f"monitor={monitor!r}: expected a function of an epoch, like lambda epoch: -epoch.accuracy")


def _number(monitor: Callable[[Epoch], float], epoch: Epoch) -> float:
    """The value to minimize; NaN becomes infinity."""
    if not isinstance(epoch, Epoch):
        raise TypeError(f"epochs contains {type(epoch).__name__}, expected the epochs that nn.train yields")
    found = monitor(epoch)
    value = np.asarray(found, None if np.isscalar(found) or hasattr(found, "__array__") else object)
    if value.ndim or value.dtype.kind not in "fiu":
        came = f"an array of shape {value.shape}" if value.ndim else repr(value[()])
        raise TypeError(f"monitor returned {came}, expected a single number (also for a stack of networks)")
    return math.inf if math.isnan(value) else float(value)


def history(epochs: Iterable[Epoch]) -> dict[str, Array]:
    """The metrics of all epochs as arrays: "epoch", "loss", "accuracy", "validation_loss", "validation_accuracy".

    No states are kept: given an iterator, memory use does not depend on their size. See also `best_and_history`.

    `pandas.DataFrame(nn.history(epochs))` is a table of them. For a stack of K networks all but "epoch" are (epochs,
    K); those of network k are `{name: c[:, k] if c.ndim == 2 else c for name, c in history.items()}`.

    >>> nn.history([Epoch(1, 3.0, 0.5, None, None), Epoch(2, 1.0, 0.75, None, None)])["loss"]
    array([3., 1.])
    """
    _check(epochs)
    return _table([_numbers(epoch) for epoch in epochs])


def _numbers(epoch: Epoch) -> dict[str, Scalar]:
    """The metrics of an epoch, without a reference to its state."""
    if not isinstance(epoch, Epoch):
        raise TypeError("epochs contains items other than Epoch: collect the epochs that nn.train yields in a list")
    numbers = {"epoch": epoch.number, "loss": epoch.loss, "accuracy": epoch.accuracy}
    if epoch.validation is not None:
        held_out = {"validation_loss": epoch.validation.loss, "validation_accuracy": epoch.validation.accuracy}
        return numbers | held_out
    return numbers


def _table(rows: Sequence[Mapping[str, Scalar]]) -> dict[str, Array]:
    """Columns of equal length, with NaN where an epoch has no validation."""
    if not rows:
        raise ValueError("epochs is empty: was the iterator consumed before?")
    names = dict.fromkeys(name for row in rows for name in row)
    unknown = np.full(np.shape(rows[0]["loss"]), np.nan)
    return {name: np.asarray([row.get(name, unknown) for row in rows]) for name in names}


def best_and_history(
    epochs: Iterable[Epoch], monitor: Callable[[Epoch], float] = validation_loss
) -> tuple[Epoch, dict[str, Array]]:
    """`best_epoch` and `history` in one pass over the epochs, keeping at most two states.

    >>> epochs = [Epoch(i, loss, 0.0, None, None) for i, loss in enumerate([3.0, 1.0, 2.0], 1)]
    >>> best, table = nn.training.best_and_history(iter(epochs))
    >>> best.number, table["loss"]
    (2, array([3., 1., 2.]))
    """
    _check(epochs, monitor)
    rows = []

    def noted() -> Iterator[Epoch]:
        for epoch in epochs:
            rows.append(_numbers(epoch))
            yield epoch

    return best_epoch(noted(), monitor), _table(rows)
