"""Training curves: losses, accuracies, and the spread of several runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from nnfunc._internal.validate import numeric
from nnfunc.plots.axes import COLOURS, MARKERS, axes, plain, shaped

if TYPE_CHECKING:  # matplotlib is imported where it is used
    from matplotlib.axes import Axes


def loss_curves(history: Mapping[str, ArrayLike], *, ax: Axes | None = None) -> Axes:
    """Plots the training loss and, if present, the validation loss over the epochs.

    Args:
        history: from `nn.history(epochs)`: "epoch" (epochs,), "loss" and optionally "validation_loss", each (epochs,),
            or (epochs, K) for a stack of K networks, drawn as K lines.
        ax: the Axes to draw on.
    Raises:
        ValueError: a missing name, or mismatched lengths.

    >>> from nnfunc import plots
    >>> ax = plots.loss_curves({"epoch": [1, 2], "loss": [0.7, 0.5], "validation_loss": [0.8, 0.6]})
    >>> [line.get_label() for line in ax.lines]
    ['training', 'validation']
    """
    return _curves(history, "loss", ax)


def accuracy_curves(history: Mapping[str, ArrayLike], *, ax: Axes | None = None) -> Axes:
    """Plots the training accuracy and, if present, the validation accuracy over the epochs, like `loss_curves`.

    >>> from nnfunc import plots
    >>> ax = plots.accuracy_curves({"epoch": [1, 2], "accuracy": [0.7, 0.9]})
    >>> ax.lines[0].get_ydata()
    array([0.7, 0.9])
    """
    return _curves(history, "accuracy", ax)


def _curves(history: Mapping[str, ArrayLike], what: str, ax: Axes | None) -> Axes:
    named = hasattr(history, "keys")  # a dict, or a pandas DataFrame
    if not named or not {"epoch", what} <= set(history.keys()):
        came = ", ".join(history) or "nothing" if named else type(history).__name__
        raise ValueError(f"history contains {came}, expected epoch and {what}: pass nn.history(epochs)")
    epoch = shaped(history["epoch"], "history['epoch']", "(epochs,)", 1)
    columns = [(what, "training", COLOURS[0]), (f"validation_{what}", "validation", COLOURS[1])]
    drawn = [(numeric(history[name], name), name, label, colour) for name, label, colour in columns if name in history]
    for values, name, _, _ in drawn:
        if values.ndim not in (1, 2) or len(values) != len(epoch):
            raise ValueError(
                f"history[{name!r}] has shape {values.shape}, expected ({len(epoch)},), one value per epoch"
            )
    ax = axes(ax)
    from matplotlib.ticker import MaxNLocator

    for values, _, label, colour in drawn:
        marker = "o" if len(epoch) == 1 else ""  # a line of one point is invisible
        lines = ax.plot(epoch, values, color=colour, linewidth=1.6 if values.ndim == 1 else 0.8, marker=marker)
        lines[0].set_label(label)
    ax.set(xlabel="epoch", ylabel=what)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    if len(drawn) > 1:
        ax.legend(frameon=False)
    return plain(ax)


def spread(x: ArrayLike, runs: ArrayLike, *, label: str | None = None, ax: Axes | None = None) -> Axes:
    """Plots the mean of several runs as a line, and one standard deviation (with K − 1) around it as a band.

    Args:
        x: (points,), like epochs or learning rates.
        runs: (K, points), a row per run.
        label: the label of the line, for a legend.
        ax: the Axes to draw on; each call uses the next colour and marker.
    Raises:
        ValueError: mismatched shapes.

    >>> from nnfunc import plots
    >>> ax = plots.spread([1, 2], [[0.5, 0.75], [0.5, 0.25]])
    >>> ax.lines[0].get_ydata()
    array([0.5, 0.5])
    """
    at = shaped(x, "x", "(points,)", 1)
    values = shaped(runs, "runs", "(K, points), a row per run", 2, None, len(at))
    mean, std = values.mean(axis=0), values.std(axis=0, ddof=min(len(values) - 1, 1))
    ax = axes(ax)
    i = len(ax.lines)
    colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)] if len(at) <= 12 else ""
    ax.fill_between(at, mean - std, mean + std, color=colour, alpha=0.2, linewidth=0)
    ax.plot(at, mean, color=colour, linewidth=1.6, marker=marker, label=label)
    ax.set_ylabel(ax.get_ylabel() or "mean ± standard deviation")
    return plain(ax)
