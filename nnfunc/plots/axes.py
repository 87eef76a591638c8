"""Plots: functions of arrays that draw with matplotlib (`pip install "nnfunc[plot]"`) and return the Axes.

Each takes `ax=`, the Axes to draw on; without it, it draws on a new figure. Figures are made without pyplot, so nothing
is global and no window or screen is needed: save one by `ax.figure.savefig("name.png")`. To see one in a window, hand
in pyplot's: `fig, ax = plt.subplots(layout="constrained"); plots.loss_curves(history, ax=ax); plt.show()`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfunc.arrays import Array, Patterns, matching
from nnfunc._internal.validate import number, numeric, positive_int

if TYPE_CHECKING:  # matplotlib is imported where it is used
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from nnfunc.checks import Finding, TaylorTest
    from nnfunc.inspection import Inspection, LayerInspection

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
"""The colours of Okabe & Ito (2008), which colour-blind people tell apart."""

WRONG = COLOURS[1]
MARKERS = "os^DvP*X"


def figure(width: float = 6.4, height: float = 4.8) -> Figure:
    """An empty figure of that size in inches, independent of pyplot, which keeps its parts from overlapping.

    Raises:
        ImportError: matplotlib is not installed.

    >>> from nnfunc import plots
    >>> fig = plots.figure(8, 3)
    >>> left, right = fig.subplots(1, 2)
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "nnfunc[plot]"') from error
    return Figure(figsize=(width, height), layout="constrained")


# -- training ----------------------------------------------------------------------------------------------------------


def loss_curves(history: Mapping[str, ArrayLike], *, ax: Axes | None = None) -> Axes:
    """The training and (if there is one) the validation loss over the epochs.

    Args:
        history: from `nn.history(epochs)`: "epoch" (epochs,), "loss" and perhaps "validation_loss", each (epochs,), or
            (epochs, K) for a stack of K networks, which gives a line for each.
        ax: the Axes to draw on.
    Raises:
        ValueError: a name is missing, lengths differ.

    >>> from nnfunc import plots
    >>> ax = plots.loss_curves({"epoch": [1, 2], "loss": [0.7, 0.5], "validation_loss": [0.8, 0.6]})
    >>> [line.get_label() for line in ax.lines]
    ['training', 'validation']
    """
    return _curves(history, "loss", ax)


def accuracy_curves(history: Mapping[str, ArrayLike], *, ax: Axes | None = None) -> Axes:
    """The training and (if there is one) the validation accuracy over the epochs; arguments as in `loss_curves`.

    >>> from nnfunc import plots
    >>> ax = plots.accuracy_curves({"epoch": [1, 2], "accuracy": [0.7, 0.9]})
    >>> ax.lines[0].get_ydata()
    array([0.7, 0.9])
    """
    return _curves(history, "accuracy", ax)


def _curves(history: Mapping[str, ArrayLike], what: str, ax: Axes | None) -> Axes:
    named = hasattr(history, "keys")  # a dict, or a DataFrame of pandas
    if not named or not {"epoch", what} <= set(history.keys()):
        came = ", ".join(history) or "nothing" if named else type(history).__name__
        raise ValueError(f"history has {came}, expected epoch and {what}: pass nn.history(epochs)")
    epoch = _shaped(history["epoch"], "history['epoch']", "(epochs,)", 1)
    columns = [(what, "training", COLOURS[0]), (f"validation_{what}", "validation", COLOURS[1])]
    drawn = [(numeric(history[name], name), name, label, colour) for name, label, colour in columns if name in history]
    for values, name, _, _ in drawn:
        if values.ndim not in (1, 2) or len(values) != len(epoch):
            raise ValueError(
                f"history[{name!r}] has shape {values.shape}, expected ({len(epoch)},), a value for each epoch"
            )
    ax = _axes(ax)
    from matplotlib.ticker import MaxNLocator

    for values, _, label, colour in drawn:
        marker = "o" if len(epoch) == 1 else ""  # a line of one point can't be seen
        lines = ax.plot(epoch, values, color=colour, linewidth=1.8 if values.ndim == 1 else 0.8, marker=marker)
        lines[0].set_label(label)
    ax.set(xlabel="epoch", ylabel=what)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    if len(drawn) > 1:
        ax.legend(frameon=False)
    return _plain(ax)


def spread(x: ArrayLike, runs: ArrayLike, *, label: str | None = None, ax: Axes | None = None) -> Axes:
    """The mean of several runs as a line, and one standard deviation (with K − 1) around it as a band.

    Args:
        x: (points,), like the epochs or the learning rates.
        runs: (K, points), a row for each run.
        label: of the line, for a legend.
        ax: the Axes to draw on; each call takes the next colour and marker.
    Raises:
        ValueError: shapes that do not fit.

    >>> from nnfunc import plots
    >>> ax = plots.spread([1, 2], [[0.5, 0.75], [0.5, 0.25]])
    >>> ax.lines[0].get_ydata()
    array([0.5, 0.5])
    """
    at = _shaped(x, "x", "(points,)", 1)
    values = _shaped(runs, "runs", "(K, points), a row for each run", 2, None, len(at))
    mean, std = values.mean(axis=0), values.std(axis=0, ddof=min(len(values) - 1, 1))
    ax = _axes(ax)
    i = len(ax.lines)
    colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)] if len(at) <= 12 else ""
    ax.fill_between(at, mean - std, mean + std, color=colour, alpha=0.2, linewidth=0)
    ax.plot(at, mean, color=colour, linewidth=1.8, marker=marker, label=label)
    ax.set_ylabel(ax.get_ylabel() or "mean ± standard deviation")
    return _plain(ax)


# -- predictions -------------------------------------------------------------------------------------------------------


def decision_boundary(
    predict: Callable[[Array], ArrayLike],
    X: ArrayLike,
    Y: ArrayLike,
    *,
    ax: Axes | None = None,
    resolution: int = 200,
) -> Axes:
    """The classes that a model predicts over the plane, the paler the less certain, and the examples on it.

    Args:
        predict: a function of points (n, 2) to the probability of class 1, (n,) or (n, 1), or to the probabilities of C
            classes, (n, C): `lambda x: nn.predict(model, ts, x)`.
        X: (examples, 2).
        Y: the classes of the examples: numbers (examples,) or (examples, 1), or one-hot rows (examples, C).
        ax: the Axes to draw on.
        resolution: how many points the plane is sampled at in each direction.
    Raises:
        ValueError: X or Y of another shape, predictions that are no probabilities, more than 8 classes.

    >>> from nnfunc import plots
    >>> X, Y = np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([0, 1])
    >>> ax = plots.decision_boundary(lambda x: x[:, 0] > 0.5, X, Y)
    >>> ax.images[0].get_array().shape
    (200, 200, 3)
    """
    X = _shaped(X, "X", "(examples, 2)", 2, None, 2)
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

    ax = _axes(ax)
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
    ax.legend(loc="upper right", framealpha=0.9)
    return ax


def _classes(Y: ArrayLike, examples: int) -> NDArray[np.intp]:
    labels = numeric(Y, "Y")
    if labels.ndim == 2:
        labels = labels.argmax(axis=-1) if labels.shape[1] > 1 else labels[:, 0]
    if labels.shape != (examples,):
        raise ValueError(f"Y has shape {np.shape(Y)} but X has {examples} rows, expected ({examples},)")
    if not ((labels >= 0) & (np.floor(labels) == labels)).all():
        raise ValueError(f"Y contains values from {labels.min()} to {labels.max()}, expected class numbers 0, 1, ...")
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
    """A confusion matrix: the counts in the cells, their colour the share of the true class.

    Args:
        matrix: (classes, classes) counts, from `nn.confusion_matrix`: the true class is the row.
        names: of the classes; without them, their numbers.
        ax: the Axes to draw on.
    Raises:
        ValueError: a matrix that is not square, or another number of names.

    >>> from nnfunc import plots
    >>> ax = plots.confusion([[8, 2], [1, 9]], names=["cat", "dog"])
    >>> [text.get_text() for text in ax.texts]
    ['8', '2', '1', '9']
    """
    counts = _shaped(matrix, "matrix", "(classes, classes)", 2)
    size = len(counts)
    if counts.shape != (size, size):
        raise ValueError(f"matrix has shape {counts.shape}, expected (classes, classes)")
    labels = [str(i) for i in range(size)] if names is None else [str(name) for name in names]
    if len(labels) != size:
        raise ValueError(f"names has {len(labels)} names, expected {size}, one for each class of the matrix")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    side = min(max(4.4, 0.32 * size), 12)
    ax = _axes(ax, side + 0.8, side + 0.4)
    box = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
    cell = 72 * min(box.width, box.height) / size  # in points, as fonts are
    digits = max(len(f"{count:g}") for count in counts.flat)
    fontsize = min(max(cell / (0.75 * digits), 4), 11)
    from matplotlib.colors import PowerNorm

    ax.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1))  # the root makes rare mistakes visible
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


# -- images ------------------------------------------------------------------------------------------------------------


def _class_numbers(value: ArrayLike, name: str, count: int) -> list[int]:
    classes = _shaped(value, name, "(images,), a class for each image", 1, count)
    if (classes != np.round(classes)).any() or (classes < 0).any():
        raise ValueError(f"{name} has numbers that are no classes, 0, 1, 2 ...: pass nn.predict_classes(model, ts, X)")
    numbers: list[int] = classes.astype(int).tolist()
    return numbers


def weight_images(
    W: ArrayLike,
    shape: tuple[int, int],
    *,
    count: int | None = None,
    columns: int | None = None,
    limit: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The weights that go into each unit as an image, all on one scale that is symmetric about 0.

    Args:
        W: (inputs, units), the weights of a first layer: `ts.params["dense1.W"]`.
        shape: (height, width) of an image; height · width = inputs.
        count: how many units to show, from the first; without it, all.
        columns: how many images stand in a row; without it, about as many as rows.
        limit: the colours range from −limit to limit; without it, to the largest weight.
        ax: the Axes to draw on.
    Raises:
        ValueError: W is not two-dimensional, or its inputs do not fill an image.

    >>> from nnfunc import plots
    >>> ax = plots.weight_images(np.eye(4), (2, 2))
    >>> len(ax.images), ax.images[0].get_clim()
    (4, (-1.0, 1.0))
    """
    W = _shaped(W, "W", "(inputs, units)", 2)
    if len(shape) != 2 or W.shape[0] != math.prod(shape):
        raise ValueError(f"W has shape {W.shape} but an image of shape {tuple(shape)} has {math.prod(shape)} pixels")
    shown = W[:, : W.shape[1] if count is None else positive_int(count, "count")]
    known = np.abs(shown[np.isfinite(shown)])
    end = float(known.max(initial=0.0)) or 1.0 if limit is None else number(limit, "limit", 0, math.inf, open_low=True)
    ax = _tiles(ax, shown.T.reshape(-1, *shape), columns, label=0.0, cmap="RdBu_r", vmin=-end, vmax=end)
    ax.get_figure(root=True).colorbar(ax.images[0], ax=ax, label="weight", shrink=0.8)  # type: ignore[union-attr]  # drawn on a figure
    return ax


def predictions(
    images: ArrayLike,
    predicted: ArrayLike,
    true: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    columns: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Images with the class that was predicted for each; a wrong one has a frame and says what is true.

    Args:
        images: (images, height, width), the larger the darker.
        predicted: (images,) class numbers, from `nn.predict_classes`.
        true: (images,) class numbers.
        names: of the classes; without them, their numbers.
        columns: how many images stand in a row; without it, about as many as rows.
        ax: the Axes to draw on.
    Raises:
        ValueError: images of another shape, or lengths that differ.

    >>> from nnfunc import plots
    >>> ax = plots.predictions(np.zeros((2, 8, 8)), [3, 5], [3, 8])
    >>> [text.get_text() for text in ax.texts]
    ['3', '5, not 8']
    """
    grey = _shaped(images, "images", "(images, height, width)", 3)
    guess, truth = (_class_numbers(v, n, len(grey)) for v, n in ((predicted, "predicted"), (true, "true")))
    if names is not None and max(guess + truth) >= len(names):
        raise ValueError(f"names has {len(names)} names, expected one for each class from 0 to {max(guess + truth)}")
    pairs = [(str(g), str(t)) if names is None else (names[g], names[t]) for g, t in zip(guess, truth, strict=True)]
    between = ", not " if names is None else "\nnot "
    said = [g if g == t else f"{g}{between}{t}" for g, t in pairs]
    widest = max(len(line) for text in said for line in text.split("\n"))
    label = 0.32 if names is None else 0.55
    ax = _tiles(
        ax,
        grey,
        columns,
        label=label,
        letters=widest,
        cmap="gray_r",
        vmin=float(grey.min()),
        vmax=float(grey.max()) or 1.0,
    )
    from matplotlib.patches import Rectangle

    box = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
    unit = 72 * min(box.width / np.ptp(ax.get_xlim()), box.height / np.ptp(ax.get_ylim()))  # the height of an image
    fontsize = min(9, 1.25 * unit * LETTER * 9 / 5.2)  # the layout makes the Axes larger by a quarter
    for image, text, g, t in zip(ax.images, said, guess, truth, strict=True):
        left, right, bottom, top = image.get_extent()
        colour = "black" if g == t else WRONG
        ax.text(
            (left + right) / 2,
            top - 0.04,
            text,
            ha="center",
            va="bottom",
            color=colour,
            fontsize=fontsize,
            linespacing=1,
        )
        frame = (left, top), right - left, bottom - top
        ax.add_patch(Rectangle(*frame, fill=False, edgecolor="0.85" if g == t else WRONG, linewidth=1 if g == t else 2))
    return ax


LETTER = 0.105
"""The width of a letter of 9 points on an image 0.7 inches high, in heights of the image."""


def _tiles(
    ax: Axes | None, images: NDArray[Any], columns: int | None, *, label: float, letters: int = 0, **look: Any
) -> Axes:
    """Images in rows and columns on one Axes, above each a free strip of `label` times its height for `letters`."""
    n, height, width = images.shape
    across = math.ceil(math.sqrt(n)) if columns is None else positive_int(columns, "columns")
    down, gap = math.ceil(n / across), 0.12
    wide, tall = max(width / height, letters * LETTER) + gap, 1 + gap + label  # of a cell, in heights of an image
    ax = _axes(ax, min(max(across * wide * 0.7, 3.2), 10), min(max(down * tall * 0.7, 2.4), 10))
    for i, image in enumerate(images):
        left, top = (i % across + 0.5) * wide - (width / height + gap) / 2, i // across * tall + label
        ax.imshow(image, extent=(left, left + width / height, top + 1, top), interpolation="nearest", **look)
    ax.set(xlim=(-gap / 2, across * wide - gap / 2), ylim=(down * tall, -gap / 2), aspect="equal")
    ax.axis("off")
    return ax


# -- optimizers --------------------------------------------------------------------------------------------------------


def optimizer_animation(
    surface: Callable[[Array, Array], ArrayLike],
    paths: Mapping[str, ArrayLike],
    *,
    limits: tuple[tuple[float, float], tuple[float, float]] | None = None,
    minimum: tuple[float, float] | None = None,
    losses: Mapping[str, ArrayLike] | None = None,
    frames: int = 80,
    ax: Axes | None = None,
    losses_ax: Axes | None = None,
) -> FuncAnimation:
    """Optimizers that walk down a surface, as an animation, to be saved by `animation.save("name.gif", "pillow")`.

    Args:
        surface: a function of the coordinates x and y, arrays of one shape, to the heights.
        paths: for each name (steps, 2): where it was before the first step, after it, ...
        limits: ((x from, x to), (y from, y to)) of what is shown; without it, what the paths need.
        minimum: (x, y) of a star.
        losses: for each name (steps,): a curve that grows beside the surface, as far along as the path.
        frames: how many pictures the animation has.
        ax: the Axes of the surface.
        losses_ax: the Axes of the curves; needed with `losses` where `ax` is given.
    Returns:
        a `matplotlib.animation.FuncAnimation`; its figure shows the end of all paths.
    Raises:
        ValueError: no path, or one of another shape.

    >>> from nnfunc import plots
    >>> paths = {"gd": np.array([[1.0, 1.0], [0.5, 0.5], [0.25, 0.25]])}
    >>> animation = plots.optimizer_animation(lambda x, y: x**2 + y**2, paths, frames=3)
    >>> page = animation.to_jshtml()
    """
    tracks = {name: _shaped(path, f"paths[{name!r}]", "(steps, 2)", 2, None, 2) for name, path in paths.items()}
    curves = {name: _shaped(c, f"losses[{name!r}]", "(steps,)", 1) for name, c in (losses or {}).items()}
    names = list(dict.fromkeys([*tracks, *curves]))
    if not tracks or len(names) > len(COLOURS):
        raise ValueError(f"paths and losses have {len(names)} names, expected 1 to {len(COLOURS)}, and at least 1 path")
    if curves and ax is not None and losses_ax is None:
        raise ValueError("losses_ax is None, expected the Axes of the losses, as ax is given too")
    last = positive_int(frames, "frames", 2) - 1
    if ax is None:
        beside = bool(curves) and losses_ax is None
        fig = figure(9.6 if beside else 5.6, 4.2)
        ax = fig.add_subplot(1, 2 if beside else 1, 1)
        losses_ax = fig.add_subplot(1, 2, 2) if beside else losses_ax
    from matplotlib.animation import FuncAnimation

    colour = dict(zip(names, COLOURS, strict=False))
    _contours(ax, surface, limits or _limits(list(tracks.values())), minimum)
    drawn: list[tuple[NDArray[Any], NDArray[Any], Line2D]] = []
    for name, path in tracks.items():
        (trail,) = ax.plot([], [], color=colour[name], linewidth=1.6, label=name)
        (head,) = ax.plot([], [], "o", color=colour[name], markeredgecolor="white")
        drawn += [(path[:, 0], path[:, 1], trail), (path[:, 0], path[:, 1], head)]
    if losses_ax is None:
        ax.legend(loc="lower right", framealpha=0.9)
    else:  # one legend, beside the surface, for both
        for name, curve in curves.items():
            (line,) = losses_ax.plot(
                curve, color=colour[name], linewidth=1.6, label=name
            )  # sets the limits of the Axes
            drawn += [(np.arange(len(curve)), curve, line)]
        fixed = {"xlim": losses_ax.get_xlim(), "ylim": losses_ax.get_ylim()}
        losses_ax.set(xlabel="step", ylabel="loss", **fixed)
        losses_ax.legend(frameon=False)
        _plain(losses_ax)

    def draw(frame: int) -> list[Any]:
        for xs, ys, line in drawn:
            reached = round(frame / last * (len(xs) - 1)) + 1
            shown = slice(reached - 1 if line.get_marker() == "o" else 0, reached)
            line.set_data(xs[shown], ys[shown])
        return [line for *_, line in drawn]

    draw(last)
    return FuncAnimation(ax.get_figure(root=True), draw, frames=last + 1, interval=50)  # type: ignore[arg-type]  # drawn on a figure


def _limits(paths: list[NDArray[Any]]) -> tuple[tuple[float, float], tuple[float, float]]:
    points = np.concatenate(paths)
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        raise ValueError("paths have no finite point")
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.15 * max(float((high - low).max()), 1e-6)
    (x0, y0), (x1, y1) = (low - margin).tolist(), (high + margin).tolist()
    return (x0, x1), (y0, y1)


def _contours(
    ax: Axes,
    surface: Callable[[Array, Array], ArrayLike],
    limits: tuple[tuple[float, float], tuple[float, float]],
    minimum: tuple[float, float] | None,
) -> None:
    """Contours at quantiles of the height, so that a deep valley has as many as the slopes."""
    (x0, x1), (y0, y1) = limits
    x, y = np.meshgrid(np.linspace(x0, x1, 200), np.linspace(y0, y1, 200))
    z = _shaped(surface(x, y), "surface's result", "the shape of x and y", 2, 200, 200)
    levels = np.unique(np.quantile(z, np.linspace(0, 1, 16) ** 1.5))
    if len(levels) > 1:
        shade = np.searchsorted(levels, z) / len(levels)
        ax.imshow(0.75 + 0.25 * shade, cmap="gray", vmin=0, vmax=1, extent=(x0, x1, y0, y1), origin="lower")
        ax.contour(x, y, z, levels=levels[1:-1], colors="white", linewidths=0.7)
    if minimum is not None:
        ax.plot(*minimum, "*", color="black", markersize=11, label="minimum")
    ax.set(xlim=(x0, x1), ylim=(y0, y1), xlabel="x", ylabel="y", aspect="auto")


# -- the inside of a network -------------------------------------------------------------------------------------------

Inspections: TypeAlias = "Inspection | Sequence[Inspection] | Mapping[int, Inspection]"
"""One inspection; or one for each epoch, from the first; or those of the epochs that are the keys."""


def activations(inspections: Inspections, *, layers: Patterns = "*", ax: Axes | None = None) -> Axes:
    """How the activations of each layer are distributed: a row for each layer, a curve for each epoch (dark: late).

    Each row has its own scale, the same for all epochs, so that layers of any size can be read: the number at its left
    is the activation at ±1. A curve shows the activations that are not 0, and is the lower the more of them are 0,
    which a line at 0 stands for. At the right stand the dead units and the saturated outputs of the last epoch.

    Args:
        inspections: from `nn.inspect`: one; a sequence, one for each epoch; or a dict of epoch to inspection.
        layers: which layers, by patterns of their names: "relu*", or a list of such.
        ax: the Axes to draw on.
    Raises:
        ValueError: no inspection, inspections of different models, a pattern that no layer has.

    >>> from nnfunc import plots
    >>> model = nn.mlp([2, 8, 1], ["relu", "sigmoid"])
    >>> params, state = model.init(nn.key(0), (2,))
    >>> ax = plots.activations(nn.inspect(model, params, np.eye(2)))
    >>> [label.get_text().split()[0] for label in ax.get_yticklabels()]
    ['dense1', 'relu1', 'dense2', 'sigmoid1']
    """
    shown = _inspections(inspections, layers)
    rows = [[layer.output for layer in row] for row in zip(*shown.values(), strict=True)]
    scales = [_scale(arrays) for arrays in rows]
    shares = [[np.where(a == 0, np.nan, a / s) for a in arrays] for arrays, s in zip(rows, scales, strict=True)]
    last = [row[-1] for row in zip(*shown.values(), strict=True)]
    ax = _ridges(
        ax, list(shown), shares,
        names=[f"{_short(layer.name)}  ±{scale:g}" for layer, scale in zip(last, scales, strict=True)],
        notes=[_note(layer) for layer in last], limits=(-1.05, 1.05),
    )  # fmt: skip
    ax.axvline(0, color="0.6", linewidth=0.6, zorder=0.5)
    ax.set_xticks([-1, -0.5, 0, 0.5, 1], ["−1", "−½", "0", "½", "1"])
    ax.set(xlabel="activation, as a share of the number at the left")
    return ax


def gradients(inspections: Inspections, *, layers: Patterns = "*", ax: Axes | None = None) -> Axes:
    """How the gradients of each layer's output are distributed by size, a row for each layer, a curve for each epoch.

    All rows share the axis of log₁₀ |gradient|: where the curves move to the left from the last layer up to the first,
    gradients vanish on their way. A curve shows the gradients that are not 0, and is the lower the more are 0; their
    share in the last epoch stands at the right.

    Args:
        inspections, layers, ax: see `activations`.
    Raises:
        ValueError: as in `activations`, or no gradient at all.

    >>> from nnfunc import plots
    >>> model = nn.mlp([2, 8, 1], ["relu", "sigmoid"])
    >>> params, state = model.init(nn.key(0), (2,))
    >>> ax = plots.gradients({0: nn.inspect(model, params, np.eye(2))})
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['dense1', 'relu1', 'dense2']
    """
    shown = _inspections(inspections, layers)
    rows = [
        [np.zeros(0) if layer.gradient is None else layer.gradient for layer in row]
        for row in zip(*shown.values(), strict=True)
    ]
    names = [layer.name for layer in next(iter(shown.values()))]
    kept = [i for i, arrays in enumerate(rows) if any(a.size for a in arrays)]
    sizes = [[_magnitude(a) for a in rows[i]] for i in kept]
    finite = [f for arrays in sizes for a in arrays if (f := a[np.isfinite(a)]).size]
    if not finite:
        raise ValueError("the inspections have no gradient that is not 0: nothing to draw")
    low, high = min(np.quantile(f, 0.25) for f in finite) - 1.5, max(f.max() for f in finite)
    last = [arrays[-1] for arrays in sizes]
    ax = _ridges(
        ax, list(shown), sizes, names=[_short(names[i]) for i in kept],
        notes=[f"{zero:.0%} are 0" if a.size and (zero := np.isneginf(a).mean()) >= 0.01 else "" for a in last],
        limits=(math.floor(low), math.ceil(high + 1e-9)),
    )  # fmt: skip
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"$10^{{{x:.0f}}}$"))
    ax.set(xlabel="|gradient of the loss with respect to the layer's output|, log scale")
    return ax


def _inspections(inspections: Inspections, layers: Patterns) -> dict[int, list[LayerInspection]]:
    """The chosen layers for each epoch."""
    if isinstance(inspections, Mapping):
        by_epoch = dict(inspections)
    else:
        one = hasattr(inspections, "findings")
        by_epoch = {1: inspections} if one else dict(enumerate(inspections, 1))  # type: ignore[dict-item, arg-type]  # a tuple itself
    if not by_epoch or not all(hasattr(i, "layers") for i in by_epoch.values()):
        raise ValueError("inspections: expected what nn.inspect returns, one or one for each epoch, and at least one")
    names = [[layer.name for layer in inspection.layers] for inspection in by_epoch.values()]
    if any(other != names[0] for other in names):
        raise ValueError("inspections are of models with different layers, expected one model at different epochs")
    chosen = set(matching(names[0], layers))
    return {epoch: [layer for layer in i.layers if layer.name in chosen] for epoch, i in by_epoch.items()}


def _scale(arrays: Sequence[Array]) -> float:
    """What all but a thousandth of the numbers stay below, to two digits."""
    sizes = [np.quantile(np.abs(a[np.isfinite(a)]), 0.999) for a in arrays if np.isfinite(a).any()]
    return float(f"{max(sizes, default=1.0):.2g}") or 1.0


def _magnitude(gradient: Array) -> NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        sizes: NDArray[np.float64] = np.log10(np.abs(gradient.ravel().astype(float)))
    return sizes


def _short(name: str, most: int = 24) -> str:
    return name if len(name) <= most else f"…{name[1 - most :]}"


def _note(layer: LayerInspection) -> str:
    if not np.isfinite(layer.output).all():
        return "not finite"
    return layer.flat


def _ridges(
    ax: Axes | None,
    epochs: list[int],
    rows: Sequence[Sequence[Array]],
    names: Sequence[str],
    notes: Sequence[str],
    limits: tuple[float, float],
) -> Axes:
    """Densities one below the other, the first row on top; each curve fills its row but for the share of NaN and −∞."""
    ax = _axes(ax, 6.4, min(max(0.42 * len(rows) + 1.2, 2.4), 12))
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    shades = ListedColormap(colormaps["viridis_r"](np.linspace(0.1, 1, 256)))
    norm = Normalize(min(epochs), max(epochs))
    at = np.linspace(*limits, BINS + 1)
    middle = (at[1:] + at[:-1]) / 2
    for base, arrays in zip(range(len(rows) - 1, -1, -1), rows, strict=True):
        densities = [_density(a, at) for a in arrays]
        most = max(share for _, share in densities) or 1.0
        ax.axhline(base, color="0.85", linewidth=0.6, zorder=0.5)
        for i, (epoch, (density, share)) in enumerate(zip(epochs, densities, strict=True)):
            height = base + 0.92 * density * share / most
            colour = shades(norm(epoch)) if len(epochs) > 1 else COLOURS[0]
            final = i == len(epochs) - 1
            if final:
                ax.fill_between(middle, base, height, color=colour, alpha=0.15, linewidth=0)
            ax.plot(
                middle,
                height,
                color=colour,
                linewidth=1.4 if final else 0.9,
                label=f"{names[-1 - base].split()[0]} {epoch}",
            )
        ax.text(1.01, base + 0.1, notes[-1 - base], transform=ax.get_yaxis_transform(), fontsize=8, va="bottom",
                color="0.3")  # fmt: skip
    ax.set_yticks(np.arange(len(rows))[::-1] + 0.3, names, fontsize=8, linespacing=0.9)
    ax.tick_params(axis="y", length=0)
    ax.set(xlim=limits, ylim=(-0.05, len(rows)))
    ax.spines[["top", "right", "left"]].set_visible(False)
    if len(epochs) > 1:
        from matplotlib.ticker import MaxNLocator

        bar = ax.get_figure(root=True).colorbar(  # type: ignore[union-attr]  # drawn on a figure
            ScalarMappable(norm, shades), ax=ax, label="epoch", aspect=40, pad=0.02, ticks=MaxNLocator(integer=True)
        )
        bar.outline.set_visible(False)
    return ax


BINS = 160


def _density(values: Array, at: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """A smoothed histogram with its peak at 1, of what is finite, and the share of that."""
    shown = values[np.isfinite(values)]
    counts, _ = np.histogram(shown, at)
    kernel = np.exp(-0.5 * (np.arange(-6, 7) / 1.7) ** 2)
    density = np.convolve(counts, kernel, mode="same")
    return density / (density.max() or 1.0), shown.size / max(values.size, 1)


# -- gradients ---------------------------------------------------------------------------------------------------------


def gradient_scatter(finding: Finding, *, ax: Axes | None = None) -> Axes:
    """The claimed gradient of each element against its numeric derivative; right ones lie on the line.

    Args:
        finding: of a report of `nn.check_gradients`, `check_layer` or `check_model`.
        ax: the Axes to draw on.
    Raises:
        ValueError: the finding has no measured elements (nothing was compared).

    >>> from nnfunc import plots
    >>> report = nn.check_gradients(lambda p: np.sum(p["w"] ** 2), lambda p: {"w": p["w"]}, {"w": np.arange(4.0)})
    >>> ax = plots.gradient_scatter(report.findings[0])
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('numeric derivative', 'claimed gradient')
    """
    claimed, numeric = _measured(finding)
    known = np.isfinite(numeric)
    x, y = numeric[known], claimed[known]
    ends = [float(min(x.min(), y.min())), float(max(x.max(), y.max()))]
    wrong = np.abs(x - y) > 1e-6 * max(abs(ends[0]), abs(ends[1]))
    ax = _axes(ax, 4.8, 4.4)
    ax.plot(ends, ends, color="0.6", linewidth=1, label="right")
    for chosen, label, colour in ((~wrong, None, COLOURS[0]), (wrong, "wrong", WRONG)):
        if chosen.any():
            ax.plot(x[chosen], y[chosen], "o", markersize=4, color=colour, label=label, alpha=0.8)
    ax.set(xlabel="numeric derivative", ylabel="claimed gradient", title=f"{_label(finding)}: {finding.kind}")
    ax.legend(frameon=False)
    return _plain(ax)


def error_map(finding: Finding, *, ax: Axes | None = None) -> Axes:
    """Where in an array the gradient is wrong: claimed − numeric, in colours symmetric about 0 (not measured: grey).

    An array of one axis is drawn as a row; one of more than two axes with all but the last in one.

    Args:
        finding: of a report.
        ax: the Axes to draw on.
    Raises:
        ValueError: the finding has no measured elements.

    >>> from nnfunc import plots
    >>> report = nn.check_gradients(lambda p: np.sum(p["w"] ** 2), lambda p: {"w": p["w"]}, {"w": np.ones((2, 3))})
    >>> plots.error_map(report.findings[0]).images[0].get_array().shape
    (2, 3)
    """
    claimed, numeric = _measured(finding)
    gap = np.ma.masked_invalid((claimed - numeric).reshape(-1, claimed.shape[-1] if claimed.ndim else 1))
    end = float(np.abs(gap).max()) or 1.0
    ax = _axes(ax)
    ax.set_facecolor("0.85")
    image = ax.imshow(gap, cmap="PuOr", vmin=-end, vmax=end, aspect="auto", interpolation="nearest")
    ax.figure.colorbar(image, ax=ax, label="claimed − numeric")
    names = {0: ("", ""), 1: ("element", ""), 2: ("column", "row")}
    xlabel, ylabel = names.get(claimed.ndim, ("index along the last axis", "index along all axes before"))
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.set_title(f"{_label(finding)}: {finding.kind}")
    from matplotlib.ticker import MaxNLocator

    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    if claimed.ndim < 2:
        ax.set_yticks([])
    return ax


def taylor(test: TaylorTest, *, ax: Axes | None = None) -> Axes:
    """The remainders of a Taylor test over the step, each direction a line, beside lines of order 1 and 2.

    Args:
        test: from `nn.taylor_test`.
        ax: the Axes to draw on.

    >>> from nnfunc import plots
    >>> test = nn.taylor_test(lambda p: np.sum(p["w"] ** 3), lambda p: {"w": 3 * p["w"] ** 2}, {"w": np.ones(3)})
    >>> plots.taylor(test).get_xscale()
    'log'
    """
    ax = _axes(ax)
    shown = np.where(test.remainders > 0, test.remainders, np.nan)
    for i, row in enumerate(shown):
        ax.plot(test.steps, row, "o-", markersize=3, linewidth=1.2, color=COLOURS[0], label=None if i else "remainder")
    top = float(np.nanmax(shown[:, 0], initial=test.floor or 1e-300))
    for order, style in ((1, "--"), (2, ":")):
        line = top * (test.steps / test.steps[0]) ** order
        ax.plot(
            test.steps, line, style, color="0.5", linewidth=1, label=f"order {order}: {('wrong', 'right')[order - 1]}"
        )
    ax.axhspan(0, test.floor, color="0.9", label="rounding errors", zorder=0)
    ax.set(xscale="log", yscale="log", ylim=(max(test.floor, 1e-300) / 30, 10 * top))
    ax.set(xlabel="step h (in units of the parameters' scale)", ylabel="|f(θ+hv) − f(θ) − h⟨g,v⟩|")
    ax.set_title(f"observed order {test.order:.2f}")
    ax.legend(frameon=False)
    return _plain(ax)


def _measured(finding: Finding) -> tuple[Array, Array]:
    claimed, numeric = getattr(finding, "analytic_array", None), getattr(finding, "numeric_array", None)
    if claimed is None or numeric is None or not np.isfinite(numeric).any():
        raise ValueError(
            "this finding has no measured elements to draw: pass report.findings[i] of a gradient that was compared"
        )
    return claimed, numeric


def _label(finding: Finding) -> str:
    return ".".join(part for part in (finding.where, finding.name) if part)


# -- what all of them do -----------------------------------------------------------------------------------------------


def _axes(ax: Axes | None, width: float = 5.6, height: float = 4.2) -> Axes:
    return figure(width, height).add_subplot() if ax is None else ax


def _plain(ax: Axes) -> Axes:
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)
    return ax


def _shaped(value: ArrayLike, name: str, expected: str, ndim: int, *lengths: int | None) -> NDArray[Any]:
    """`value` as an array with that many axes, of those lengths (None: any), not empty."""
    array = numeric(value, name)
    pairs = zip(array.shape, lengths, strict=False)
    if array.ndim != ndim or not array.size or any(length not in (None, came) for came, length in pairs):
        raise ValueError(f"{name} has shape {array.shape}, expected {expected}{'' if array.size else ', not empty'}")
    return array
