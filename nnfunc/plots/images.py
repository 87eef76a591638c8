"""Image plots: weights, filters, feature maps, attention maps, images with predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfunc._internal.validate import number, positive_int
from nnfunc.plots.axes import WRONG, axes, shaped

if TYPE_CHECKING:  # matplotlib is imported where it is used
    from matplotlib.axes import Axes


def _class_numbers(value: ArrayLike, name: str, count: int) -> list[int]:
    classes = shaped(value, name, "(images,), one class per image", 1, count)
    if (classes != np.round(classes)).any() or (classes < 0).any():
        raise ValueError(f"{name} contains values other than classes 0, 1, 2 ...: use nn.predict_classes(model, ts, X)")
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
    """Plots the input weights of each unit as an image, all on one scale that is symmetric about 0.

    Args:
        W: (inputs, units), the weights of a first layer: `ts.params["dense1.W"]`.
        shape: (height, width) of an image; height · width = inputs.
        count: the number of units to show, from the first; by default all.
        columns: the number of images in a row; by default about as many as rows.
        limit: the colours range from −limit to limit; by default, the largest weight.
        ax: the Axes to draw on.
    Raises:
        ValueError: W is not two-dimensional, or its inputs do not fill an image.

    >>> from nnfunc import plots
    >>> ax = plots.weight_images(np.eye(4), (2, 2))
    >>> len(ax.images), ax.images[0].get_clim()
    (4, (-1.0, 1.0))
    """
    W = shaped(W, "W", "(inputs, units)", 2)
    if len(shape) != 2 or W.shape[0] != math.prod(shape):
        raise ValueError(f"W has shape {W.shape} but an image of shape {tuple(shape)} has {math.prod(shape)} pixels")
    shown = W[:, : W.shape[1] if count is None else positive_int(count, "count")]
    known = np.abs(shown[np.isfinite(shown)])
    end = float(known.max(initial=0.0)) or 1.0 if limit is None else number(limit, "limit", 0, math.inf, open_low=True)
    ax = _tiles(ax, shown.T.reshape(-1, *shape), columns, label=0.0, cmap="RdBu_r", vmin=-end, vmax=end)
    ax.get_figure(root=True).colorbar(ax.images[0], ax=ax, label="weight", shrink=0.8)  # type: ignore[union-attr]  # drawn on a figure
    return ax


def filters(W: ArrayLike, *, count: int | None = None, limit: float | None = None, ax: Axes | None = None) -> Axes:
    """Plots the filters of a convolution as images; with several channels, a row per filter and an image per channel.

    Args:
        W: (kh, kw, channels, filters): `ts.params["conv2d1.W"]`.
        count: the number of filters to show, from the first; by default all.
        limit: the colours range from −limit to limit; by default, the largest weight.
        ax: the Axes to draw on.
    Raises:
        ValueError: W has the wrong shape.

    >>> from nnfunc import plots
    >>> ax = plots.filters(np.ones((3, 3, 2, 8)))
    >>> len(ax.images), ax.images[0].get_array().shape
    (16, (3, 3))
    """
    W = shaped(W, "W", "(kh, kw, channels, filters)", 4)
    kh, kw, channels, n = W.shape
    units = W.transpose(0, 1, 3, 2).reshape(kh * kw, n * channels)
    shown = None if count is None else positive_int(count, "count") * channels
    return weight_images(units, (kh, kw), count=shown, columns=channels if channels > 1 else None, limit=limit, ax=ax)


def feature_maps(y: ArrayLike, *, columns: int | None = None, ax: Axes | None = None) -> Axes:
    """Plots the output of a convolution for one image: an image per feature, all on one scale.

    Args:
        y: (height, width, features), the outputs for one example.
        columns: the number of images in a row; by default about as many as rows.
        ax: the Axes to draw on.
    Raises:
        ValueError: y has the wrong shape.

    >>> from nnfunc import plots
    >>> layer = nn.conv2d(8, 3)
    >>> params, state = layer.init(nn.key(0), (28, 28, 1))
    >>> y, _, _ = layer.forward(params, state, np.ones((1, 28, 28, 1)))
    >>> len(plots.feature_maps(y[0]).images)
    8
    """
    y = shaped(y, "y", "(height, width, features), the outputs for one example", 3)
    known = y[np.isfinite(y)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    high = high if high > low else low + 1
    return _tiles(ax, np.moveaxis(y, -1, 0), columns, label=0.0, cmap="viridis", vmin=low, vmax=high)


def predictions(
    images: ArrayLike,
    predicted: ArrayLike,
    true: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    columns: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plots images with their predicted classes; wrong ones are framed and show the true class.

    Args:
        images: (images, height, width); larger values are darker.
        predicted: (images,) class indices, from `nn.predict_classes`.
        true: (images,) class indices.
        names: the names of the classes; their indices by default.
        columns: the number of images in a row; by default about as many as rows.
        ax: the Axes to draw on.
    Raises:
        ValueError: images of the wrong shape, or mismatched lengths.

    >>> from nnfunc import plots
    >>> ax = plots.predictions(np.zeros((2, 8, 8)), [3, 5], [3, 8])
    >>> [text.get_text() for text in ax.texts]
    ['3', '5, not 8']
    """
    grey = shaped(images, "images", "(images, height, width)", 3)
    guess, truth = (_class_numbers(v, n, len(grey)) for v, n in ((predicted, "predicted"), (true, "true")))
    if names is not None and max(guess + truth) >= len(names):
        raise ValueError(f"names has {len(names)} names, expected one per class from 0 to {max(guess + truth)}")
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
    fontsize = min(9, 1.25 * unit * LETTER * 9 / 5.2)  # the layout enlarges the Axes by a quarter
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


def attention_maps(A: ArrayLike, *, words: Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
    """Plots attention weights, an image per head: a row per position, darker where it attends.

    Args:
        A: (heads, T, S), the weights of one example: `nn.inspection.attention_weights(layer, params, x)[0]`.
        words: labels of the S positions, below the image at the lower left; if T = S, also next to its rows.
        ax: the Axes to draw on.
    Raises:
        ValueError: A has the wrong shape or is not in [0, 1]; the wrong number of words.

    >>> from nnfunc import plots
    >>> ax = plots.attention_maps(np.ones((4, 3, 3)) / 3, words=["the", "old", "man"])
    >>> len(ax.images), [text.get_text() for text in ax.texts][:4]
    (4, ['head 0', 'head 1', 'head 2', 'head 3'])
    """
    A = shaped(A, "A", "(heads, T, S), the weights of one example", 3)
    if A.min() < 0 or A.max() > 1 + 1e-3:
        raise ValueError(f"A ranges from {A.min():g} to {A.max():g}, expected weights from 0 to 1")
    T, S = A.shape[1:]
    if words is not None and len(words) != S:
        raise ValueError(f"words has {len(words)} words, expected one per attended position, {S}")
    unit = min(max(0.18 * T, 1.2), 4)
    ax = _tiles(ax, A, None, label=0.2, unit=unit, cmap="Greys", vmin=0.0, vmax=1.0)
    from matplotlib.patches import Rectangle

    for i, image in enumerate(ax.images):
        left, right, bottom, top = image.get_extent()
        ax.text((left + right) / 2, top - 0.04, f"head {i}", ha="center", va="bottom", fontsize=8)
        ax.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor="0.7", linewidth=0.6))
    left, right, bottom, top = max((image.get_extent() for image in ax.images), key=lambda at: (at[2], -at[0]))
    letters: dict[str, Any] = {"fontsize": min(8, 0.5 * 72 * unit / T)}
    for i, word in enumerate(words or ()):  # at the image at the lower left
        ax.text(
            left + (i + 0.5) / S * (right - left), bottom + 0.03, word, ha="center", va="top", rotation=90, **letters
        )
        if T == S:
            ax.text(left - 0.03, top + (i + 0.5) / S * (bottom - top), word, ha="right", va="center", **letters)
    ax.get_figure(root=True).colorbar(ax.images[0], ax=ax, label="weight", shrink=0.8)  # type: ignore[union-attr]  # drawn on a figure
    return ax


LETTER = 0.105
"""The width of a 9-point letter on an image 0.7 inches high, in heights of the image."""


def _tiles(
    ax: Axes | None,
    images: NDArray[Any],
    columns: int | None,
    *,
    label: float,
    letters: int = 0,
    unit: float = 0.7,
    **look: Any,
) -> Axes:
    """Images in rows and columns on one Axes, each below a strip of `label` times its height for `letters`; in a new
    figure, an image is `unit` inches high."""
    n, height, width = images.shape
    across = math.ceil(math.sqrt(n)) if columns is None else positive_int(columns, "columns")
    down, gap = math.ceil(n / across), 0.12
    wide, tall = max(width / height, letters * LETTER) + gap, 1 + gap + label  # of a cell, in heights of an image
    ax = axes(ax, min(max(across * wide * unit, 3.2), 10), min(max(down * tall * unit, 2.4), 10))
    for i, image in enumerate(images):
        left, top = (i % across + 0.5) * wide - (width / height + gap) / 2, i // across * tall + label
        ax.imshow(image, extent=(left, left + width / height, top + 1, top), interpolation="nearest", **look)
    ax.set(xlim=(-gap / 2, across * wide - gap / 2), ylim=(down * tall, -gap / 2), aspect="equal")
    ax.axis("off")
    return ax
