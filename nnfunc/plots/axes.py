"""Shared parts of the plots: colours, figures, and checks of shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike, NDArray

from nnfunc._internal.validate import numeric

if TYPE_CHECKING:  # matplotlib is imported where it is used
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000", "#999999", "#882255")
"""The colour-blind safe palette of Okabe & Ito (2008), then grey and wine, for ten classes.

>>> nn.plots.COLOURS[0]
'#0072B2'
"""

WRONG = COLOURS[1]
"""The colour of errors.

>>> nn.plots.WRONG
'#D55E00'
"""

MARKERS = "os^DvP*X<>"
"""One marker per colour, so that lines and classes can be distinguished without colours.

>>> len(nn.plots.MARKERS) == len(nn.plots.COLOURS)
True
"""


STYLE: dict[Any, Any] = {
    "figure.facecolor": "white",  # opaque, so that a picture reads the same on a dark page
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
    "figure.constrained_layout.w_pad": 0.1,  # a margin in inches
    "figure.constrained_layout.h_pad": 0.1,
    "savefig.dpi": 100,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,  # by `plain`, where there are curves and no image
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "axes.prop_cycle": f"cycler('color', {list(COLOURS)})",
}
"""The matplotlib settings of these plots and of the figures that they create: background, fonts, lines, colours.

For all figures of a script: `matplotlib.rcParams.update(plots.STYLE)`; for some of them:
`with matplotlib.rc_context(plots.STYLE):`.

>>> nn.plots.STYLE["font.size"]
10
"""


def figure(width: float = 6.4, height: float = 4.8) -> Figure:
    """An empty figure of this size in inches, independent of pyplot, with a layout that prevents overlaps.

    Raises:
        ImportError: matplotlib is not installed.

    >>> from nnfunc import plots
    >>> fig = plots.figure(8, 3)
    >>> left, right = fig.subplots(1, 2)
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "nnfunc[plot]"') from error

    with rc_context(STYLE):
        return Figure(figsize=(width, height), layout="constrained")


def axes(ax: Axes | None, width: float = 5.6, height: float = 4.2) -> Axes:
    """`ax`, or Axes on a new figure of this size."""
    if ax is not None:
        return ax
    fig = figure(width, height)
    from matplotlib import rc_context

    with rc_context(STYLE):
        return fig.add_subplot()


def plain(ax: Axes) -> Axes:
    """`ax` with a light grid and without the top and right spines."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)
    return ax


def shaped(value: ArrayLike, name: str, expected: str, ndim: int, *lengths: int | None) -> NDArray[Any]:
    """`value` as a non-empty array with `ndim` axes of the given lengths (None: any)."""
    array = numeric(value, name)
    pairs = zip(array.shape, lengths, strict=False)
    if array.ndim != ndim or not array.size or any(length not in (None, came) for came, length in pairs):
        raise ValueError(f"{name} has shape {array.shape}, expected {expected}{'' if array.size else ', not empty'}")
    return array
