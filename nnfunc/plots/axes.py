"""What all plots do: colours, figures, and arrays of the right shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike, NDArray

from nnfunc._internal.validate import numeric

if TYPE_CHECKING:  # matplotlib is imported where it is used
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
"""The colours of Okabe & Ito (2008), which colour-blind people tell apart.

>>> nn.plots.COLOURS[0]
'#0072B2'
"""

WRONG = COLOURS[1]
"""The colour of what is wrong.

>>> nn.plots.WRONG
'#D55E00'
"""

MARKERS = "os^DvP*X"
"""One for each colour, so that lines and classes can be told apart without colours.

>>> len(nn.plots.MARKERS) == len(nn.plots.COLOURS)
True
"""


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


def axes(ax: Axes | None, width: float = 5.6, height: float = 4.2) -> Axes:
    """`ax`, or one on a new figure of that size."""
    return figure(width, height).add_subplot() if ax is None else ax


def plain(ax: Axes) -> Axes:
    """`ax` with a pale grid and without the frame on top and at the right."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)
    return ax


def shaped(value: ArrayLike, name: str, expected: str, ndim: int, *lengths: int | None) -> NDArray[Any]:
    """`value` as an array with that many axes, of those lengths (None: any), not empty."""
    array = numeric(value, name)
    pairs = zip(array.shape, lengths, strict=False)
    if array.ndim != ndim or not array.size or any(length not in (None, came) for came, length in pairs):
        raise ValueError(f"{name} has shape {array.shape}, expected {expected}{'' if array.size else ', not empty'}")
    return array
