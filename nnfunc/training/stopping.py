"""Early stopping, the best state, and the history: plain functions over an iterator of epochs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sized

import numpy as np

from nnfunc._internal.validate import number, positive_int
from nnfunc.arrays import Array
from nnfunc.training.loop import Epoch, counted
from nnfunc.training.progress import Counted


def validation_loss(epoch: Epoch) -> float:
    """The validation loss of an epoch, or its training loss where there are no validation data."""
    loss = epoch.loss if epoch.validation is None else epoch.validation.loss
    if np.ndim(loss):
        raise ValueError("a stack of networks has a loss for each: pass monitor=, a function of an epoch to one number")
    return float(loss)


def early_stopping(
    epochs: Iterable[Epoch],
    patience: int = 10,
    min_delta: float = 0.0,
    monitor: Callable[[Epoch], float] = validation_loss,
) -> Counted[Epoch]:
    """The epochs, until `patience` of them in a row were not better than the best before them.

    A progress bar may go around them as around those of `train`; it counts to the last that may come.

    Args:
        epochs: from `train`.
        patience: how many epochs without improvement to bear.
        min_delta: by how much an epoch must be below the best to count as better.
        monitor: what is to become small; for an accuracy, its negative.

    >>> losses = [3.0, 1.0, 2.0, 2.0, 0.0]
    >>> epochs = [Epoch(i, loss, 0.0, None, None) for i, loss in enumerate(losses, 1)]
    >>> [epoch.number for epoch in nn.early_stopping(epochs, patience=2)]
    [1, 2, 3, 4]
    """
    _check(epochs, monitor)
    positive_int(patience, "patience")
    number(min_delta, "min_delta", 0, np.inf)
    count = len(epochs) if isinstance(epochs, Sized) else None
    return counted(_until_patience_ends(epochs, patience, min_delta, monitor), count)


def _until_patience_ends(
    epochs: Iterable[Epoch], patience: int, min_delta: float, monitor: Callable[[Epoch], float]
) -> Iterator[Epoch]:
    best, waited = np.inf, 0
    for epoch in epochs:
        yield epoch
        value = _number(monitor, epoch)
        best, waited = (value, 0) if value < best - min_delta else (best, waited + 1)
        if waited >= patience:
            return


def best_epoch(epochs: Iterable[Epoch], monitor: Callable[[Epoch], float] = validation_loss) -> Epoch:
    """The epoch with the least loss (the first of equals); runs through all of them. Its `state` is the best state.

    >>> nn.best_epoch([Epoch(i, loss, 0.0, None, None) for i, loss in enumerate([3.0, 1.0, 2.0], 1)]).number
    2
    """
    _check(epochs, monitor)
    best = min(epochs, key=lambda epoch: _number(monitor, epoch), default=None)
    if best is None:
        raise ValueError("epochs is empty: was the iterator used up before?")
    return best


def _check(epochs: object, monitor: object) -> None:
    if isinstance(epochs, Epoch) or not isinstance(epochs, Iterable):
        came = "one Epoch" if isinstance(epochs, Epoch) else type(epochs).__name__
        raise TypeError(f"epochs is {came}, expected several: what nn.train gives, or a list of it")
    if not callable(monitor):
        raise TypeError(f"monitor={monitor!r}: expected a function of an epoch, like lambda epoch: -epoch.accuracy")


def _number(monitor: Callable[[Epoch], float], epoch: Epoch) -> float:
    """What is to become small; NaN is no best."""
    if not isinstance(epoch, Epoch):
        raise TypeError(f"epochs has a part that is {type(epoch).__name__}, expected what nn.train gives")
    value = np.asarray(monitor(epoch))
    if value.ndim or value.dtype.kind not in "fiu":
        came = f"an array of shape {value.shape}" if value.ndim else repr(value[()])
        raise TypeError(f"monitor returned {came}, expected one number (of a stack of networks too)")
    return math.inf if math.isnan(value) else float(value)


def history(epochs: Iterable[Epoch]) -> dict[str, Array]:
    """The numbers of all epochs as arrays: "epoch", "loss", "accuracy", "validation_loss", "validation_accuracy".

    `pandas.DataFrame(nn.history(epochs))` is a table of them. Of a stack of K networks all but "epoch" are (epochs, K);
    network k's are `{name: c[:, k] if c.ndim == 2 else c for name, c in history.items()}`.

    >>> nn.history([Epoch(1, 3.0, 0.5, None, None), Epoch(2, 1.0, 0.75, None, None)])["loss"]
    array([3., 1.])
    """
    if isinstance(epochs, Epoch):
        raise TypeError("epochs is one Epoch, expected several: collect those of a run in a list")
    listed = list(epochs)
    if not all(isinstance(epoch, Epoch) for epoch in listed):
        raise TypeError("epochs has parts that are no Epoch: collect what nn.train gives in a list")
    if not listed:
        raise ValueError("epochs is empty: was the iterator used up before?")
    columns = {"epoch": [e.number for e in listed], "loss": [e.loss for e in listed]}
    table = {name: np.asarray(values) for name, values in columns.items()}
    table["accuracy"] = np.asarray([e.accuracy for e in listed])
    held_out = [e.validation for e in listed if e.validation is not None]
    if held_out:
        table["validation_loss"] = np.asarray([v.loss for v in held_out])
        table["validation_accuracy"] = np.asarray([v.accuracy for v in held_out])
    return table
