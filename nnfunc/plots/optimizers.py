"""Animations of optimizers descending a surface."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfunc._internal.validate import positive_int
from nnfunc.arrays import Array
from nnfunc.plots.axes import COLOURS, figure, plain, shaped

if TYPE_CHECKING:  # matplotlib is imported where it is used
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


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
    """Animates optimizers descending a surface; save with `animation.save("name.gif", "pillow")`.

    Args:
        surface: a function from the coordinates x and y, arrays of the same shape, to heights.
        paths: for each name (steps, 2): its position before the first step, after it, ...
        limits: ((x from, x to), (y from, y to)) of the region shown; by default it fits the paths.
        minimum: (x, y), marked by a star.
        losses: for each name (steps,): a curve next to the surface that grows along with the path.
        frames: the number of frames.
        ax: the Axes of the surface.
        losses_ax: the Axes of the curves; required with `losses` if `ax` is given.
    Returns:
        a `matplotlib.animation.FuncAnimation`; its figure shows the complete paths.
    Raises:
        ValueError: no paths, or one of the wrong shape.

    >>> from nnfunc import plots
    >>> paths = {"gd": np.array([[1.0, 1.0], [0.5, 0.5], [0.25, 0.25]])}
    >>> animation = plots.optimizer_animation(lambda x, y: x**2 + y**2, paths, frames=3)
    >>> page = animation.to_jshtml()
    """
    tracks = {name: shaped(path, f"paths[{name!r}]", "(steps, 2)", 2, None, 2) for name, path in paths.items()}
    curves = {name: shaped(c, f"losses[{name!r}]", "(steps,)", 1) for name, c in (losses or {}).items()}
    names = list(dict.fromkeys([*tracks, *curves]))
    if not tracks or len(names) > len(COLOURS):
        raise ValueError(f"paths and losses have {len(names)} names, expected 1 to {len(COLOURS)}, and at least 1 path")
    if curves and ax is not None and losses_ax is None:
        raise ValueError("losses_ax is None: expected the Axes of the losses, since ax is given")
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
        ax.legend(loc="lower right", frameon=True, framealpha=0.9)
    else:  # one legend for both, next to the surface
        for name, curve in curves.items():
            (line,) = losses_ax.plot(
                curve, color=colour[name], linewidth=1.6, label=name
            )  # to set the limits of the Axes
            drawn += [(np.arange(len(curve)), curve, line)]
        fixed = {"xlim": losses_ax.get_xlim(), "ylim": losses_ax.get_ylim()}
        losses_ax.set(xlabel="step", ylabel="loss", **fixed)
        losses_ax.legend(frameon=False)
        plain(losses_ax)

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
        raise ValueError("paths contain no finite point")
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
    """Contours at quantiles of the height, so that a deep valley has as many of them as the slopes."""
    (x0, x1), (y0, y1) = limits
    x, y = np.meshgrid(np.linspace(x0, x1, 200), np.linspace(y0, y1, 200))
    z = shaped(surface(x, y), "surface's result", "the shape of x and y", 2, 200, 200)
    levels = np.unique(np.quantile(z, np.linspace(0, 1, 16) ** 1.5))
    if len(levels) > 1:
        shade = np.searchsorted(levels, z) / len(levels)
        ax.imshow(0.75 + 0.25 * shade, cmap="gray", vmin=0, vmax=1, extent=(x0, x1, y0, y1), origin="lower")
        ax.contour(x, y, z, levels=levels[1:-1], colors="white", linewidths=0.7)
    if minimum is not None:
        ax.plot(*minimum, "*", color="black", markersize=11, label="minimum")
    ax.set(xlim=(x0, x1), ylim=(y0, y1), xlabel="x", ylabel="y", aspect="auto")
