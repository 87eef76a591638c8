"""Options of losses: `loss(ignore=-1, label_smoothing=0.1)` is the same loss with these.

label_smoothing     ε in [0, 1): the target is (1 − ε) Y + ε / classes, as in PyTorch (Szegedy et al. 2016); in losses
                    of probabilities; a bit has two classes (as in Keras). Class weights are those of Y.
ignore              a class number: examples of that class count as those of weight 0, also in Σ w, in a penalty's m
                    and in the accuracy. It need not be a class of the outputs. PyTorch's `ignore_index`.
positive_weights    p, a number, or one for each output: what a label of 1 weighs in binary cross-entropies,
                    −Σ (p Y log A + (1 − Y) log(1 − A)). PyTorch's `pos_weight`.
output_weights      one for each output: the value of an example is the weighted mean of its outputs (where the loss
                    takes their sum, the weighted sum).
missing             a target of NaN is one that is not there: the value of an example is the mean (or sum) over the
                    outputs that are. An example without any counts as one of weight 0; one with a few as a whole one.
reduction           "sum": Σ wᵢ lᵢ instead of Σ wᵢ lᵢ / Σ wᵢ. A penalty's m stays Σ w, and the loss of an epoch the mean
                    of its batches' by Σ w.
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
"""How the values of the outputs make that of an example."""


class Options(TypedDict, total=False):
    """The options, as a loss takes them; None takes one back."""

    label_smoothing: float | None
    ignore: int | None
    positive_weights: Numbers | None
    output_weights: Numbers | None
    missing: bool | None
    reduction: Over | None


# -- what a loss takes, and what it may be -----------------------------------------------------------------------------


MARGINS = ("hinge", "multi_class_hinge")
"""Losses whose targets are classes, but no probabilities."""


def options_of(loss: Loss) -> list[str]:
    """The names of the options that a loss takes."""
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
    return number(value, "label_smoothing", 0, 1, open_high=True, why="what the other classes share") or None


def _ignore(value: Any) -> int:
    if not is_number(value) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"ignore={value!r}: expected a class number, like -1")
    return int(value)


def _numbers(value: Any, name: str) -> tuple[float, ...]:
    array = np.atleast_1d(numeric(value, name)).astype(float)
    if array.ndim != 1 or not ((array >= 0) & (array < math.inf)).all() or not array.any():
        raise ValueError(f"{name}={value!r}: expected numbers of 0 or more, one for each output, not all 0")
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
"""What reads the value of an option; None where it says what holds anyway."""


# -- targets -----------------------------------------------------------------------------------------------------------


def known(options: Settings | dict[str, Any], target: Any) -> tuple[Any, Any]:
    """The target with a 0 where it says nothing, and where it says something; None: everywhere."""
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
    """Whether a loss, or a part of it, has an option."""
    return option in loss.options or any(asks(part, option) for _, part in loss.parts)


def smoothed(loss: Loss, T: Any) -> Any:
    """The targets with their label smoothing."""
    amount = loss.options.get("label_smoothing")
    if amount is None:
        return T
    return (1 - amount) * T + amount / (2 if loss.targets == "bits" else T.shape[-1])


# -- from outputs to examples ------------------------------------------------------------------------------------------


def share_of_outputs(loss: Loss, there: Any, found: Array) -> tuple[Array | None, Array | None]:
    """The weights of the outputs in the value of their example, and 1 for each example that is there, 0 for the others;
    None where they are all the same."""
    given = loss.options.get("output_weights")
    if there is None and given is None:
        return None, None
    if loss.over is None:
        return None, there.reshape(found.shape).astype(found.dtype)
    cells = np.ones(found.shape, found.dtype) if there is None else there.reshape(found.shape).astype(found.dtype)
    if given is not None:
        if len(given) != found.shape[-1]:
            raise ValueError(
                f"output_weights has {len(given)} numbers, expected one for each of {found.shape[-1]} outputs"
            )
        cells *= np.array(given, found.dtype)
    total = cells.sum(axis=-1, keepdims=True)
    if loss.over == "mean":
        cells /= np.where(total == 0, found.dtype.type(1), total)
    return cells, None if there is None else (total[..., 0] > 0).astype(found.dtype)


def over_outputs(elements: Array, over: Over, cells: Array | None = None) -> Array:
    """The values of the examples from those of their outputs."""
    if cells is not None:
        return sum_of_columns(np.where(cells == 0, 0, elements) * cells)
    return sum_of_columns(elements / elements.shape[-1] if over == "mean" else elements)


def within(dy: Array, over: Over, cells: Array | None = None) -> Array:
    """The gradients of the values of the examples from those of their outputs."""
    if cells is not None:
        return np.where(cells == 0, 0, dy) * cells
    return dy / dy.shape[-1] if over == "mean" else dy
