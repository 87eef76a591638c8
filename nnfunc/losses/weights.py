"""Weights of examples, and of classes."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nnfunc._internal.validate import first_bad, real
from nnfunc.arrays import Array
from nnfunc.losses.targets import Targets


@lru_cache(maxsize=64)
def one_of(examples: int, dtype: np.dtype[np.floating]) -> Array:
    """1/m, bitwise equal to 1/Σw for weights of 1."""
    share: Array = np.divide(1, examples, dtype=dtype)[...]
    share.setflags(write=False)
    return share


def weights_of(weights: Any, shape: tuple[int, ...], lead: int, dtype: np.dtype[np.floating]) -> Array:
    """Returns one weight per row of y (each position is a row), (examples,), or (K, examples) for a stack."""
    w = real(weights, "weights", dtype)
    if w.shape not in (shape[:-1], shape[:lead]):
        by_position = "" if len(shape) == lead + 1 else f", or one per position: {shape[lead - 1 : -1]}"
        raise ValueError(
            f"weights has shape {w.shape[lead - 1 :]}, expected one per example: {shape[lead - 1 : lead]}{by_position}"
        )
    bad = ~((w >= 0) & (w < math.inf))
    if bad.any():
        raise ValueError(f"weights contains {first_bad(w, bad)}, expected non-negative numbers")
    if w.ndim < len(shape) - 1:
        w = np.broadcast_to(w.reshape(*w.shape, *(1 for _ in shape[lead:-1])), shape[:-1])
    return w.reshape(*shape[: lead - 1], -1)


def of_classes(targets: Targets, class_weights: ArrayLike, T: Array) -> Array:
    """Returns the weight of each example's class."""
    if targets not in ("bits", "one-hot", "classes"):
        raise ValueError("class_weights were passed to a loss without classes: pass weights, one per example")
    cw, bits = real(class_weights, "class_weights", T.dtype), targets == "bits"
    classes = 2 if bits else T.shape[-1]
    if cw.shape != (classes,) or (bits and T.shape[-1] != 1):
        several = f" (each of the {T.shape[-1]} outputs is a separate decision)" if T.shape[-1] != classes > 1 else ""
        raise ValueError(f"class_weights has shape {cw.shape}, expected one for each of {classes} classes{several}")
    if not ((cw >= 0) & (cw < math.inf)).all():
        raise ValueError(f"class_weights contains {first_bad(cw, ~((cw >= 0) & (cw < math.inf)))}, expected 0 or more")
    of_examples: Array = cw[0] + (cw[1] - cw[0]) * T[..., 0] if bits else T @ cw
    return of_examples
