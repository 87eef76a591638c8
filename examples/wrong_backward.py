"""Which backward is wrong: a backward with one mistake, beside the report of its check, as a picture.

    python examples/wrong_backward.py

It prints the report and saves wrong_backward.png, the picture at the top of the README: the source of `backward` below,
where the lines of the arrays that the check calls wrong are marked, and the words of the report.
"""

import inspect
import textwrap
from pathlib import Path

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes

import nnfunc as nn
from nnfunc import plots
from nnfunc.arrays import Array

RIGHT, WRONG, INK = plots.COLOURS[2], plots.WRONG, "0.15"
COLUMNS = 47  # letters in a line of the report

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(64, 5)), rng.normal(size=(64, 3))
Params = dict[str, Array]


def loss(p: Params) -> float:
    y = np.tanh(X @ p["W1"]) @ p["W2"]
    return float(0.5 * np.mean(np.sum((y - Y) ** 2, axis=1)))


def backward(p: Params) -> Params:
    h = np.tanh(X @ p["W1"])
    dy = h @ p["W2"] - Y
    dz = dy @ p["W2"].T * (1 - h**2)
    return {
        "W1": X.T @ dz / len(X),
        "W2": h.T @ dy,
    }


def write(ax: Axes, title: str, lines: list[str], colours: list[str], rows: int) -> None:
    """A panel of `rows` lines of letters; a line in the colour of what is wrong has a ground in it."""
    ax.set(xlim=(0, 1), ylim=(rows + 0.3, -0.3), xticks=[], yticks=[], facecolor="0.97")
    ax.spines[:].set(visible=True, color="0.8")
    ax.set_title(title, loc="left", weight="bold")
    for row, (line, colour) in enumerate(zip(lines, colours, strict=True)):
        weight = "bold" if colour == WRONG else "normal"
        where = 0.025, row + 0.5
        ax.text(*where, line, family="monospace", va="center", color=colour, weight=weight, in_layout=False)
        if colour == WRONG:
            ax.axhspan(row, row + 1, color=WRONG, alpha=0.12, linewidth=0)


def main(picture: Path) -> None:
    params = {"W1": rng.normal(size=(5, 4)), "W2": rng.normal(size=(4, 3))}
    report = nn.check_gradients(loss, backward, params, batch_size=len(X))
    print(report.text())

    code = inspect.getsource(backward).splitlines()
    guilty = [f'"{finding.name}":' for finding in report.findings]
    marked = [WRONG if any(name in line for name in guilty) else INK for line in code]
    table, *why = report.text().split("\n\n")
    said = table.splitlines() + [line for text in why for line in ("", *textwrap.wrap(text, COLUMNS))]
    verdicts = [WRONG if "WRONG" in line else RIGHT if line.endswith("  right") else INK for line in said]

    rcParams.update(plots.STYLE)
    fig = plots.figure(8.4, 3.0)
    left, right = fig.subplots(1, 2, width_ratios=(39, COLUMNS + 1))
    rows = max(len(code), len(said))
    write(left, "backward, by hand", code, marked, rows)
    write(right, "nn.check_gradients", said, verdicts, rows)
    fig.savefig(picture, dpi=200)


if __name__ == "__main__":
    main(Path(__file__).with_suffix(".png"))
