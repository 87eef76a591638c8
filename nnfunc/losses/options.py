"""Options of losses: `loss(ignore=-1, label_smoothing=0.1)` is the same loss with these options.

label_smoothing     ε in [0, 1): the target is (1 − ε) Y + ε / classes, as in PyTorch (Szegedy et al. 2016); for losses
                    on probabilities; a bit has two classes (as in Keras). Class weights are those of Y.
ignore              a class index: examples of that class have weight 0, also in Σ w, in a penalty's m and in the
                    accuracy. It need not be a class of the outputs. PyTorch's `ignore_index`.
positive_weights    p, a number, or one per output: the weight of the label 1 in binary cross-entropies,
                    −Σ (p Y log A + (1 − Y) log(1 − A)). PyTorch's `pos_weight`.
output_weights      one per output: the value of an example is the weighted mean of its outputs (or the weighted sum,
                    if the loss is a sum over outputs).
missing             a target of NaN is missing: the value of an example is the mean (or sum) over its other outputs. An
                    example with all targets missing has weight 0; one with some missing has full weight.
reduction           "sum": Σ wᵢ lᵢ instead of Σ wᵢ lᵢ / Σ wᵢ. A penalty's m is still Σ w, and the loss of an epoch
                    is still the mean of its batches' losses weighted by Σ w.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

import numpy as np

from nnfunc._internal.numerics import sum_of_columns
from nnfunc._internal.validate import choice, flag, is_number, number, numeric, real
from nnfunc.arrays import Array, Numbers
from nnfunc.core.settings import Settings

if TYPE_CHECKING:
    from nnfunc.losses.base import Loss

Over: TypeAlias = Literal["mean", "sum"]
"""The reduction from values per output to a value per example."""


class Options(TypedDict, total=False):
    """The options, as a loss takes them; None takes one back."""

    label_smoothing: float | None
    ignore: int | None
    positive_weights: Numbers | None
    output_weights: Numbers | None
    missing: bool | None
    reduction: Over | None


# -- supported options and their checks --------------------------------------------------------------------------------


MARGINS = ("hinge", "multi_class_hinge")
"""Losses whose targets are classes but not probabilities."""


def options_of(loss: Loss) -> list[str]:
    """Returns the names of the options that a loss supports."""
    if loss.values is None:
        return []
    takes = {
        "label_smoothing": loss.targets in ("bits", "one-hot", "classes") and loss.name not in MARGINS,
        "ignore": loss.targets == "classes",
        "positive_weights": "positive_weights" in loss.settings,
        "output_weights": loss.over is not None,
        "missing": loss.over is not None,
        "reduction": True,
    }
    return [name for name, taken in takes.items() if taken]


def _smoothing(value: Any) -> float | None:
    return number(value, "label_smoothing", 0, 1, open_high=True, why="the share spread over all classes") or None


def _ignore(value: Any) -> int:
    if not is_number(value) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"ignore={value!r}: expected a class index, like -1")
    return int(value)


def _numbers(value: Any, name: str) -> tuple[float, ...]:
    array = np.atleast_1d(numeric(value, name)).astype(float)
    if array.ndim != 1 or not ((array >= 0) & (array < math.inf)).all() or not array.any():
        raise ValueError(f"{name}={value!r}: expected non-negative numbers, one per output, not all 0")
    return tuple(array.tolist())


def _missing(value: Any) -> bool | None:
    return flag(value, "missing") or None


def _reduction(value: Any) -> str | None:
    return None if choice(value, "reduction", "mean", "sum") == "mean" else "sum"


CHECKS: dict[str, Callable[[Any], Any]] = {
    "label_smoothing": _smoothing,
    "ignore": _ignore,
    "positive_weights": lambda value: _numbers(value, "positive_weights"),
    "output_weights": lambda value: _numbers(value, "output_weights"),
    "missing": _missing,
    "reduction": _reduction,
}
"""Checks of the values of options; they return None for a default."""


# -- targets -----------------------------------------------------------------------------------------------------------


def known(options: Settings | dict[str, Any], target: Any) -> tuple[Any, Any]:
    """Returns the target with 0 where it is ignored or missing, and a mask of the known entries (None: all)."""
    if "ignore" in options:
        T = numeric(target, "target")
        there = np.not_equal(T, _ignore(options["ignore"]))
    elif "missing" in options:
        T = real(target, "target")
        there = ~np.isnan(T)
    else:
        return target, None
    return np.where(there, T, T.dtype.type(0)), there


def asks(loss: Loss, option: str) -> bool:
    """Whether a loss, or one of its parts, has an option."""
    return option in loss.options or any(asks(part, option) for _, part in loss.parts)


def smoothed(loss: Loss, T: Any) -> Any:
    """Applies label smoothing to the targets."""
    amount = loss.options.get("label_smoothing")
    if amount is None:
        return T
    return (1 - amount) * T + amount / (2 if loss.targets == "bits" else T.shape[-1])


# -- from outputs to examples ------------------------------------------------------------------------------------------


def share_of_outputs(loss: Loss, there: Any, found: Array) -> tuple[Array | None, Array | None]:
    """Returns the weights of the outputs in the value of their example, and 1 for each known example, 0 for the others;
    None where all are the same."""
    given = loss.options.get("output_weights")
    if there is None and given is None:
        return None, None
    if loss.over is None:
        return None, there.reshape(found.shape).astype(found.dtype)
    cells = np.ones(found.shape, found.dtype) if there is None else there.reshape(found.shape).astype(found.dtype)
    if given is not None:
        if len(given) != found.shape[-1]:
            raise ValueError(
                f"output_weights has {len(given)} values, expected one for each of {found.shape[-1]} outputs"
            )
        cells *= np.array(given, found.dtype)
    total = cells.sum(axis=-1, keepdims=True)
    if loss.over == "mean":
        cells /= np.where(total == 0, found.dtype.type(1), total)
    return cells, None if there is None else (total[..., 0] > 0).astype(found.dtype)


def over_outputs(elements: Array, over: Over, cells: Array | None = None) -> Array:
    """Reduces the values per output to values per example."""
    if cells is not None:
        return sum_of_columns(np.where(cells == 0, 0, elements) * cells)
    return sum_of_columns(elements / elements.shape[-1] if over == "mean" else elements)


def within(dy: Array, over: Over, cells: Array | None = None) -> Array:
    """The backward of `over_outputs`: scales the gradients per output by their share in the example."""
    if cells is not None:
        return np.where(cells == 0, 0, dy) * cells
    return dy / dy.shape[-1] if over == "mean" else dy
