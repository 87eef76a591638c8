"""Plots: functions of arrays that draw with matplotlib (`pip install "nnfunc[plot]"`) and return the Axes.

Each takes `ax=`, the Axes to draw on; by default it draws on a new figure. Figures are created without pyplot, so there
is no global state and no display is needed: save one with `ax.figure.savefig("name.png")`. To show one in a window,
pass pyplot's Axes: `fig, ax = plt.subplots(layout="constrained"); plots.loss_curves(history, ax=ax); plt.show()`.
"""

from nnfunc.plots import axes as axes
from nnfunc.plots.axes import COLOURS, MARKERS, STYLE, WRONG, figure
from nnfunc.plots.checks import error_map, gradient_scatter, taylor
from nnfunc.plots.classes import confusion, decision_boundary
from nnfunc.plots.images import attention_maps, feature_maps, filters, predictions, weight_images
from nnfunc.plots.inspection import activations, gradients
from nnfunc.plots.network import wiring
from nnfunc.plots.optimizers import optimizer_animation
from nnfunc.plots.training import accuracy_curves, loss_curves, spread

__all__ = [
    "COLOURS",
    "MARKERS",
    "STYLE",
    "WRONG",
    "accuracy_curves",
    "activations",
    "attention_maps",
    "confusion",
    "decision_boundary",
    "error_map",
    "feature_maps",
    "figure",
    "filters",
    "gradient_scatter",
    "gradients",
    "loss_curves",
    "optimizer_animation",
    "predictions",
    "spread",
    "taylor",
    "weight_images",
    "wiring",
]
