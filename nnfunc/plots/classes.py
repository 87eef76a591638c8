"""Plots of classifiers: decision boundaries and confusion matrices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfunc._internal.validate import numeric, positive_int
from nnfunc.arrays import Array
from nnfunc.plots.axes import COLOURS, MARKERS, axes, shaped

if TYPE_CHECKING:  # matplotlib is imported where it is used
    from matplotlib.axes import Axes


def decision_boundary(
    predict: Callable[[Array], ArrayLike],
    X: ArrayLike,
    Y: ArrayLike,
    *,
    ax: Axes | None = None,
    resolution: int = 200,
) -> Axes:
    """Plots the classes that a model predicts over the plane, paler where it is less certain, and the examples.

    Args:
        predict: a function from points (n, 2) to the probability of class 1, (n,) or (n, 1), or to the probabilities
            of C classes, (n, C): `lambda x: nn.predict(model, ts, x)`.
        X: (examples, 2).
        Y: the classes of the examples: indices (examples,) or (examples, 1), or one-hot rows (examples, C).
        ax: the Axes to draw on.
        resolution: the number of sample points in each direction.
    Raises:
        ValueError: X or Y of the wrong shape, predictions that are not probabilities, or more than 10 classes.

    >>> from nnfunc import plots
    >>> X, Y = np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([0, 1])
    >>> ax = plots.decision_boundary(lambda x: x[:, 0] > 0.5, X, Y)
    >>> ax.images[0].get_array().shape
    (200, 200, 3)
    """
    X = shaped(X, "X", "(examples, 2)", 2, None, 2)
    classes = _classes(Y, len(X))
    steps = positive_int(resolution, "resolution", 2)
    low, high = X.min(axis=0), X.max(axis=0)
    margin = 0.1 * np.where(high > low, high - low, 1)
    (x0, y0), (x1, y1) = low - margin, high + margin
    xs, ys = np.linspace(x0, x1, steps), np.linspace(y0, y1, steps)
    grid = np.stack(np.meshgrid(xs, ys), axis=-1)
    P = _probabilities(predict(grid.reshape(-1, 2)), steps * steps).reshape(steps, steps, -1)
    count = max(P.shape[-1], int(classes.max()) + 1)
    if count > len(COLOURS):
        raise ValueError(f"Y and predict have {count} classes, expected at most {len(COLOURS)}")

    ax = axes(ax)
    from matplotlib.colors import to_rgb

    palette = np.array([to_rgb(c) for c in COLOURS[: P.shape[-1]]])
    extent = (float(x0), float(x1), float(y0), float(y1))
    certainty = (P.max(axis=-1, keepdims=True) * P.shape[-1] - 1) / (P.shape[-1] - 1)
    shade = 1 - (0.1 + 0.4 * certainty) * (1 - palette[P.argmax(axis=-1)])
    ax.imshow(shade, extent=extent, origin="lower", aspect="auto")
    for c in range(1 if P.shape[-1] == 2 else 0, P.shape[-1]):
        lead = P[..., c] - np.delete(P, c, axis=-1).max(axis=-1)
        if lead.min() < 0 < lead.max():
            ax.contour(xs, ys, lead, levels=[0.0], colors="black", linewidths=1.2)
    for c in np.unique(classes).tolist():
        x, y = X[classes == c].T
        ax.scatter(x, y, s=18, c=COLOURS[c], marker=MARKERS[c], edgecolors="white", linewidths=0.5, label=f"class {c}")
    ax.set(xlim=(x0, x1), ylim=(y0, y1), xlabel="feature 0", ylabel="feature 1")
    ax.locator_params(nbins=6)
    ax.legend(loc="upper right", frameon=True, framealpha=0.9)
    return ax


def _classes(Y: ArrayLike, examples: int) -> NDArray[np.intp]:
    labels = numeric(Y, "Y")
    if labels.ndim == 2:
        labels = labels.argmax(axis=-1) if labels.shape[1] > 1 else labels[:, 0]
    if labels.shape != (examples,):
        raise ValueError(f"Y has shape {np.shape(Y)} but X has {examples} rows, expected ({examples},)")
    if not ((labels >= 0) & (np.floor(labels) == labels)).all():
        raise ValueError(f"Y contains values from {labels.min()} to {labels.max()}, expected class indices 0, 1, ...")
    return labels.astype(np.intp)


def _probabilities(output: ArrayLike, points: int) -> NDArray[np.float64]:
    """Predictions as (points, classes)."""
    p = numeric(output, "predict's result").astype(float)
    if p.shape not in ((points,), (points, 1)) and (p.ndim != 2 or len(p) != points):
        raise ValueError(
            f"predict returned shape {p.shape} for {points} points, expected ({points},) or ({points}, classes)"
        )
    if not (p.min() >= -1e-6 and p.max() <= 1 + 1e-6):
        raise ValueError(
            f"predict returned values from {p.min():.4g} to {p.max():.4g}, expected probabilities: "
            "apply a sigmoid or softmax to logits"
        )
    p = p.reshape(points, -1).clip(0, 1)
    return np.hstack([1 - p, p]) if p.shape[1] == 1 else p / p.sum(axis=1, keepdims=True)


def confusion(matrix: ArrayLike, *, names: Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
    """Plots a confusion matrix, with the counts in the cells, coloured by their fraction of the true class.

    Args:
        matrix: (classes, classes) counts, from `nn.metrics.confusion_matrix`: the true class is the row.
        names: the names of the classes; their indices by default.
        ax: the Axes to draw on.
    Raises:
        ValueError: a matrix that is not square, or the wrong number of names.

    >>> from nnfunc import plots
    >>> ax = plots.confusion([[8, 2], [1, 9]], names=["cat", "dog"])
    >>> [text.get_text() for text in ax.texts]
    ['8', '2', '1', '9']
    """
    counts = shaped(matrix, "matrix", "(classes, classes)", 2)
    size = len(counts)
    if counts.shape != (size, size):
        raise ValueError(f"matrix has shape {counts.shape}, expected (classes, classes)")
    labels = [str(i) for i in range(size)] if names is None else [str(name) for name in names]
    if len(labels) != size:
        raise ValueError(f"names has {len(labels)} names, expected {size}, one per class of the matrix")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    side = min(max(4.4, 0.32 * size), 12)
    ax = axes(ax, side + 0.8, side + 0.4)
    box = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
    cell = 72 * min(box.width, box.height) / size  # in points, like font sizes
    digits = max(len(f"{count:g}") for count in counts.flat)
    fontsize = min(max(cell / (0.75 * digits), 4), 11)
    from matplotlib.colors import PowerNorm

    ax.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1))  # the square root makes rare mistakes visible
    for (i, j), count in np.ndenumerate(counts):
        colour = "white" if shares[i, j] > 0.35 else "black" if count else "0.7"
        ax.text(j, i, f"{count:g}", ha="center", va="center", color=colour, fontsize=fontsize)
    small = min(max(0.8 * cell, 5), 10)
    slanted = max(map(len, labels)) * 0.7 * small > cell
    ax.set_xticks(range(size), labels, fontsize=small)
    if slanted:
        ax.tick_params(axis="x", rotation=45)
        for tick in ax.get_xticklabels():
            tick.set(ha="right", rotation_mode="anchor")
    ax.set_yticks(range(size), labels, fontsize=small)
    ax.set(xlabel="predicted class", ylabel="true class")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax
