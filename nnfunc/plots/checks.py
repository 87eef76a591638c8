"""Plots of gradient checks: claimed against numeric gradients, a map of their differences, a Taylor test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnfunc.arrays import Array
from nnfunc.checks.report import label
from nnfunc.plots.axes import COLOURS, WRONG, axes, plain

if TYPE_CHECKING:  # matplotlib is imported where it is used
    from matplotlib.axes import Axes

    from nnfunc.checks import Finding, TaylorTest


def gradient_scatter(finding: Finding, *, ax: Axes | None = None) -> Axes:
    """Plots the claimed gradient of each element against its numeric derivative; correct ones lie on the line.

    Args:
        finding: a finding of `nn.check_gradients`, `check_layer` or `check_model`.
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
    ax = axes(ax, 4.8, 4.4)
    ax.plot(ends, ends, color="0.6", linewidth=1, label="right")
    for chosen, said, colour in ((~wrong, None, COLOURS[0]), (wrong, "wrong", WRONG)):
        if chosen.any():
            ax.plot(x[chosen], y[chosen], "o", markersize=4, color=colour, label=said, alpha=0.8)
    ax.set(
        xlabel="numeric derivative",
        ylabel="claimed gradient",
        title=f"{label(finding.where, finding.name)}: {finding.kind}",
    )
    ax.legend(frameon=False)
    return plain(ax)


def error_map(finding: Finding, *, ax: Axes | None = None) -> Axes:
    """Maps the error of a gradient over an array: claimed − numeric, in colours symmetric about 0 (not measured: grey).

    An array of one axis is drawn as a row; if there are more than two axes, all but the last are merged.

    Args:
        finding: a finding of a report.
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
    ax = axes(ax)
    ax.set_facecolor("0.85")
    image = ax.imshow(gap, cmap="PuOr", vmin=-end, vmax=end, aspect="auto", interpolation="nearest")
    ax.figure.colorbar(image, ax=ax, label="claimed − numeric")
    names = {0: ("", ""), 1: ("element", ""), 2: ("column", "row")}
    xlabel, ylabel = names.get(claimed.ndim, ("index along the last axis", "index along all axes before"))
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.set_title(_title(finding))
    from matplotlib.ticker import MaxNLocator

    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    if claimed.ndim < 2:
        ax.set_yticks([])
    return ax


def taylor(test: TaylorTest, *, ax: Axes | None = None) -> Axes:
    """Plots the remainders of a Taylor test against the step, one line per direction, with lines of order 1 and 2.

    Args:
        test: from `nn.taylor_test`.
        ax: the Axes to draw on.

    >>> from nnfunc import plots
    >>> test = nn.taylor_test(lambda p: np.sum(p["w"] ** 3), lambda p: {"w": 3 * p["w"] ** 2}, {"w": np.ones(3)})
    >>> plots.taylor(test).get_xscale()
    'log'
    """
    ax = axes(ax)
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
    return plain(ax)


def _measured(finding: Finding) -> tuple[Array, Array]:
    claimed, numeric = getattr(finding, "analytic_array", None), getattr(finding, "numeric_array", None)
    if claimed is None or numeric is None or not np.isfinite(numeric).any():
        raise ValueError(
            "finding has no measured elements to draw: pass the report.findings[i] of a gradient that was compared"
        )
    return claimed, numeric


def _title(finding: Finding) -> str:
    return f"{label(finding.where, finding.name)}: {finding.kind}"
