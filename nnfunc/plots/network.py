"""Diagrams of models: boxes for calls of layers, arrows for the values between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnfunc.arrays import ArrayDict
from nnfunc.core.build import program as program_of
from nnfunc.core.layer import Layer
from nnfunc.core.program import Op, Program
from nnfunc.core.values import InputShape, Value, leaves
from nnfunc.models.listing import series, shapes_text
from nnfunc.plots.axes import axes
from nnfunc.plots.ranks import Places, places

if TYPE_CHECKING:  # matplotlib is imported where it is used
    from matplotlib.axes import Axes

HEIGHT, BETWEEN, GAP, MARGIN = 0.62, 0.4, 0.4, 0.15
"""In inches: the height of a box, the space between rows, between adjacent boxes, and inside a box."""

LETTERS, SIZE = 32, 8.0
"""The maximum length of a line in letters, and the font size in points."""

SHADES = ("#AADAF4", "#F5D58C", "#8CD3BE", "#E8C1D6", "#F7F0A0", "#8CBDDB", "#EDB48C")
"""The colours of parameters that several calls share: pale versions of `COLOURS`."""


SUBSCRIPT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


class Box(NamedTuple):
    """A box: its name, lines of text, and fill, whether it is frozen, and whether it is an input or output."""

    name: str
    lines: tuple[str, ...]
    fill: str = "white"
    frozen: bool = False
    end: bool = False


class Arrow(NamedTuple):
    """An arrow between boxes: the inputs of the second that it represents; `back`: to the next step of a scan."""

    start: int
    end: int
    inputs: tuple[int, ...]
    back: bool


def wiring(
    model: Layer,
    input_shape: InputShape,
    *,
    params: ArrayDict | None = None,
    state: ArrayDict | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draws a model as a diagram: a box per call of a layer, with its path, its formula and the shape of its output for
    one example, and arrows for the values, from the inputs at the top to the outputs at the bottom.

    Calls that use the same parameters have the same colour; frozen ones are grey. A repeated series of calls in which
    each continues the previous one, as in a scan, is drawn once, with the number of repetitions and an arrow back.
    Arrows to one of several inputs are labelled with it.

    Args:
        model: a layer or a composition.
        input_shape: the shape of one example, or a tuple of shapes for several inputs.
        params, state: those of the model, if it has user-defined layers with parameters that `init` does not create.
        ax: the Axes to draw on.
    Raises:
        ValueError: a shape that a layer does not accept.

    >>> from nnfunc import plots
    >>> ax = plots.wiring(nn.serial(nn.dense(3), nn.residual(nn.tanh())), (2,))
    >>> [patch.get_gid() for patch in ax.patches if "→" not in patch.get_gid()]
    ['x', 'dense1', 'residual1.tanh1', 'residual1.add', 'y']
    """
    made = program_of(model, input_shape, params, state)
    boxes, arrows, last = _diagram(made)
    widths = [max(_width(line, i == 0) for i, line in enumerate(box.lines)) + 2 * MARGIN for box in boxes]
    forward = [(min(a.start, a.end), max(a.start, a.end)) for a in arrows if a.start != a.end]
    at = places(widths, list(dict.fromkeys(forward)), last, GAP)
    return _drawn(ax, boxes, arrows, widths, at)


# -- boxes and arrows --------------------------------------------------------------------------------------------------


def _diagram(program: Program) -> tuple[list[Box], list[Arrow], list[int]]:
    """The boxes in data-flow order, the arrows between them, and the boxes of the outputs."""
    maker = {n: i for i, n in enumerate(leaves(program.inputs))}  # for each value, the box that it comes from
    boxes = [Box(name, (name, str(program.shapes[n])), end=True) for name, n in _named(program.inputs, "x")]
    shades = _shades(program)
    drawn: dict[tuple[int, int, bool], list[int]] = {}
    for first, length, times in _steps(program):
        base = len(boxes)
        for op in program.ops[first : first + length]:
            boxes.append(_box(program, op, times, shades))
        for i, op in enumerate(program.ops[first : first + length * times]):
            here = base + i % length
            for slot, n in enumerate(leaves(op.x)):
                start = maker[n]
                slots = drawn.setdefault((start, here, start >= here), [])
                slots += [slot] if slot not in slots else []
            maker |= dict.fromkeys(leaves(op.y), here)
    last = []
    for name, n in _named(program.output, "y"):
        last.append(len(boxes))
        drawn[maker[n], len(boxes), False] = [0]
        boxes.append(Box(name, (name, str(program.shapes[n])), end=True))
    return boxes, [Arrow(a, b, tuple(slots), back) for (a, b, back), slots in drawn.items()], last


def _box(program: Program, op: Op, times: int, shades: Mapping[str, str]) -> Box:
    frozen = op.predicts or (bool(op.params) and all(p >= program.arrays for p in op.params))
    name = op.path or op.layer.name
    title = _cut(name) + (f" × {times}" if times > 1 else "") + (", frozen" if frozen else "")
    what = op.layer.name if op.kernel.named else op.kernel.formula or op.layer.name
    fill = "0.92" if frozen else next((shades[full] for full in op.full if full in shades), "white")
    return Box(name, (title, what[:LETTERS], shapes_text(program.shapes, op.y)), fill, frozen)


def _steps(program: Program) -> list[tuple[int, int, int]]:
    """Series of calls as (start, length, repetitions): one, unless each repetition continues the previous one."""
    found = []
    for first, length, times in series([op.path for op in program.ops]):
        one, two = (program.ops[i : i + length] for i in (first, first + length))
        made = {n for op in one for n in leaves(op.y)}
        goes_on = times > 1 and any(n in made for op in two for n in leaves(op.x))
        found += [(first, length, times)] if goes_on else [(first, length * times, 1)]
    return found


def _shades(program: Program) -> dict[str, str]:
    """The colour of each array that several boxes use; arrays of the same box share it."""
    boxes = [op.full for i, length, _ in _steps(program) for op in program.ops[i : i + length]]
    uses = Counter(name for full in boxes for name in full)
    shades: dict[str, str] = {}
    for full in boxes:
        several = [name for name in full if uses[name] > 1]
        known = [shades[name] for name in several if name in shades]
        shade = known[0] if known else SHADES[len(set(shades.values())) % len(SHADES)]
        shades |= dict.fromkeys(several, shade)
    return shades


def _named(value: Value, name: str) -> list[tuple[str, int]]:
    """The indices of a value with names: x, or x[0], x[1], ..."""
    if not isinstance(value, tuple):
        return [(name, value)]
    return [pair for i, part in enumerate(value) for pair in _named(part, f"{name}[{i}]")]


def _cut(text: str) -> str:
    return text if len(text) <= LETTERS else f"…{text[1 - LETTERS :]}"


def _width(text: str, bold: bool) -> float:
    """The width of a line in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    font = FontProperties(size=SIZE, weight="bold" if bold else "normal")
    return float(np.ptp(np.asarray(TextPath((0, 0), text, prop=font).vertices)[:, 0])) / 72


# -- drawing -----------------------------------------------------------------------------------------------------------


def _drawn(ax: Axes | None, boxes: Sequence[Box], arrows: Sequence[Arrow], widths: Sequence[float], at: Places) -> Axes:
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    y = [-(HEIGHT + BETWEEN) * row for row in at.rows]
    every = [x for bends in at.bends.values() for x in bends]
    loop = GAP if any(arrow.back for arrow in arrows) else 0
    left = min([*every, *(x - w / 2 for x, w in zip(at.x, widths, strict=True))]) - 0.1 - loop
    right = max([*every, *(x + w / 2 for x, w in zip(at.x, widths, strict=True))]) + 0.1 + loop
    bottom, top = min(y) - HEIGHT / 2 - 0.1, HEIGHT / 2 + 0.1
    size = SIZE
    if ax is not None:
        room = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
        size *= min(1.0, room.width / (right - left), room.height / (top - bottom))
    ax = axes(ax, right - left + 0.1, top - bottom + 0.1)
    ax.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    ax.axis("off")
    for box, x, middle, width in zip(boxes, at.x, y, widths, strict=True):
        corner = x - width / 2, middle - HEIGHT / 2
        shape = f"round,pad=0,rounding_size={0.2 if box.end else 0.06}"
        patch = FancyBboxPatch(corner, width, HEIGHT, boxstyle=shape, zorder=2)
        patch.set(facecolor="0.95" if box.end else box.fill, edgecolor="0.6" if box.frozen or box.end else "0.2")
        patch.set(linewidth=0.9, gid=box.name)
        ax.add_patch(patch)
        for i, line in enumerate(box.lines):
            height = middle + (len(box.lines) - 1) * 0.085 - 0.17 * i
            weight, colour = "bold" if i == 0 else "normal", "0.45" if box.frozen else "black" if i < 2 else "0.3"
            ax.text(x, height, line, ha="center", va="center", fontsize=size, weight=weight, color=colour, zorder=3)
    for arrow in arrows:
        path = _way_back(arrow, at, y, widths) if arrow.back else _way(arrow, arrows, at, y, widths)
        drawn = FancyArrowPatch(path=path, arrowstyle="-|>", mutation_scale=size, color="0.35", linewidth=0.9, zorder=1)
        drawn.set_gid(f"{boxes[arrow.start].name} → {boxes[arrow.end].name}")
        ax.add_patch(drawn)
        if sum(other.end == arrow.end for other in arrows) > 1:  # to label which of several inputs it is
            tip, middle = path.vertices[-1]
            right = (tip > at.x[arrow.end]) if arrow.back else (tip < at.x[arrow.end])  # the side with room
            label = ", ".join(f"x{i + 1}".translate(SUBSCRIPT) for i in arrow.inputs[:3])
            where = tip + (0.04 if right else -0.04), middle + 0.03
            side = "left" if right else "right"
            ax.text(*where, label, ha=side, va="bottom", fontsize=0.8 * size, color="0.35", zorder=3)
    return ax


def _way(arrow: Arrow, arrows: Sequence[Arrow], at: Places, y: Sequence[float], widths: Sequence[float]) -> Any:
    """The path from the bottom of a box through the bends of its arrow to the top of another, each to its own point."""
    from matplotlib.path import Path

    def comes_from(other: Arrow) -> float:
        return ([at.x[other.start], *at.bends[other.start, other.end]])[-1]

    into = sorted((a for a in arrows if a.end == arrow.end and not a.back), key=comes_from)
    port = (into.index(arrow) + 0.5) / len(into) - 0.5
    points = [(at.x[arrow.start], y[arrow.start] - HEIGHT / 2)]
    for k, x in enumerate(at.bends[arrow.start, arrow.end], 1):
        middle = y[arrow.start] - k * (HEIGHT + BETWEEN)
        points += [(x, middle + HEIGHT / 2), (x, middle - HEIGHT / 2)]
    points.append((at.x[arrow.end] + 0.75 * port * widths[arrow.end], y[arrow.end] + HEIGHT / 2))
    vertices, codes = [points[0]], [Path.MOVETO]
    for i, ((x0, y0), (x1, y1)) in enumerate(pairwise(points)):
        if i % 2:  # next to a row of boxes
            vertices, codes = [*vertices, (x1, y1)], [*codes, Path.LINETO]
        else:
            half = (y0 + y1) / 2
            vertices, codes = [*vertices, (x0, half), (x1, half), (x1, y1)], [*codes, *[Path.CURVE4] * 3]
    return Path(vertices, codes)


def _way_back(arrow: Arrow, at: Places, y: Sequence[float], widths: Sequence[float]) -> Any:
    """The path from the side of a box, around those between, to the side of the box where the next step begins."""
    from matplotlib.path import Path

    start, end = arrow.start, arrow.end
    bends = at.bends.get((end, start), [])
    side = -1 if bends and sum(bends) / len(bends) < at.x[start] else 1
    edges = [side * at.x[n] + widths[n] / 2 for n in (start, end)]
    far = side * max(*edges, *(side * x - GAP / 2 for x in bends)) + side * GAP * 0.7
    (x0, y0), (x1, y1) = (side * edges[0], y[start] - HEIGHT / 5), (side * edges[1], y[end] + HEIGHT / 5)
    points = [(x0, y0), (far, y0), (far, (y0 + y1) / 2), (far, y1), (x1, y1)]
    return Path(points, [Path.MOVETO, *[Path.CURVE3] * 4])
