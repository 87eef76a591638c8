"""Plots of inspections: distributions of activations and gradients by layer, over training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnfunc.arrays import Array
from nnfunc.layout import Patterns, matching
from nnfunc.plots.axes import COLOURS, axes

if TYPE_CHECKING:  # matplotlib is imported where it is used
    from matplotlib.axes import Axes

    from nnfunc.inspection import Inspection, LayerInspection

Inspections: TypeAlias = "Inspection | Sequence[Inspection] | Mapping[int, Inspection]"
"""One inspection; a sequence with one per epoch, from the first; or a dict from epochs to inspections."""


def activations(inspections: Inspections, *, layers: Patterns = "*", ax: Axes | None = None) -> Axes:
    """Plots the distribution of each layer's activations: a row per layer, a curve per epoch (later ones darker).

    Each row has its own scale, the same for all epochs, so that layers of any magnitude are readable: the number on its
    left is the activation at ±1. A curve shows the non-zero activations and is lower if more of them are 0; a line
    marks 0. Dead units and saturated outputs of the last epoch are noted on the right.

    Args:
        inspections: from `nn.inspect`: one; a sequence with one per epoch; or a dict from epochs to inspections.
        layers: the layers to show, as a pattern of their names, "relu*", or a list of patterns.
        ax: the Axes to draw on.
    Raises:
        ValueError: no inspections, inspections of different models, or a pattern that matches no layer.

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
    ax.set(xlabel="activation / scale on the left")
    return ax


def gradients(inspections: Inspections, *, layers: Patterns = "*", ax: Axes | None = None) -> Axes:
    """Plots the distribution of the gradients of each layer's output by size: a row per layer, a curve per epoch.

    All rows share the axis of log₁₀ |gradient|: if the curves move left from the last layer up to the first, gradients
    vanish. A curve shows the non-zero gradients and is lower if more of them are 0; their fraction in the last epoch is
    noted on the right.

    Args:
        inspections, layers, ax: see `activations`.
    Raises:
        ValueError: as in `activations`, or no gradients.

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
        raise ValueError("inspections contain no non-zero gradient: nothing to draw")
    low, high = min(np.quantile(f, 0.25) for f in finite) - 1.5, max(f.max() for f in finite)
    last = [arrays[-1] for arrays in sizes]
    ax = _ridges(
        ax, list(shown), sizes, names=[_short(names[i]) for i in kept],
        notes=[f"{zero:.0%} are 0" if a.size and (zero := np.isneginf(a).mean()) >= 0.01 else "" for a in last],
        limits=(math.floor(low), math.ceil(high + 1e-9)),
    )  # fmt: skip
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"$10^{{{x:.0f}}}$"))
    ax.set(xlabel="|dL/dy|, log scale")
    return ax


def _inspections(inspections: Inspections, layers: Patterns) -> dict[int, list[LayerInspection]]:
    """The selected layers of each epoch."""
    if isinstance(inspections, Mapping):
        by_epoch = dict(inspections)
    else:
        one = hasattr(inspections, "findings")
        by_epoch = {1: inspections} if one else dict(enumerate(inspections, 1))  # type: ignore[dict-item, arg-type]  # a tuple itself
    if not by_epoch or not all(hasattr(i, "layers") for i in by_epoch.values()):
        raise ValueError("inspections: expected at least one result of nn.inspect, or one per epoch")
    names = [[layer.name for layer in inspection.layers] for inspection in by_epoch.values()]
    if any(other != names[0] for other in names):
        raise ValueError("inspections are of models with different layers: expected one model at different epochs")
    chosen = set(matching(names[0], layers))
    return {epoch: [layer for layer in i.layers if layer.name in chosen] for epoch, i in by_epoch.items()}


def _scale(arrays: Sequence[Array]) -> float:
    """The 99.9th percentile of the magnitudes, to two digits."""
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
    """Densities in rows, the first on top; each curve fills its row except for the fraction of NaN and −∞."""
    ax = axes(ax, 6.4, min(max(0.42 * len(rows) + 1.2, 2.4), 12))
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
        ax.text(1.01, base + 0.1, notes[-1 - base], transform=ax.get_yaxis_transform(), fontsize=9, va="bottom",
                color="0.3")  # fmt: skip
    ax.set_yticks(np.arange(len(rows))[::-1] + 0.3, names, fontsize=9, linespacing=0.9)
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
    """A smoothed histogram of the finite values with its peak at 1, and their fraction."""
    shown = values[np.isfinite(values)]
    counts, _ = np.histogram(shown, at)
    kernel = np.exp(-0.5 * (np.arange(-6, 7) / 1.7) ** 2)
    density = np.convolve(counts, kernel, mode="same")
    return density / (density.max() or 1.0), shown.size / max(values.size, 1)
