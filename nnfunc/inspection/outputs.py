"""Findings about the outputs compared with their targets, and about values that become too large."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nnfunc.arrays import Array
from nnfunc.core.values import leaves
from nnfunc.inspection.depth import ALIKE
from nnfunc.inspection.measure import Measured
from nnfunc.inspection.units import FEW, norm, rows, short
from nnfunc.report import Finding

LARGE, FAR, EXPLODED = 30.0, 10.0, 1e4
"""Targets are large above a root mean square of 30, if the outputs are no better than their mean. Outputs are far if
their mean is 10 standard deviations of the targets away, which the last bias must learn first. A layer has exploded if
its outputs are 10,000 times as large as x or 1, whichever is larger."""


def exploded(found: Measured) -> list[Finding]:
    """The first inner layer whose outputs are excessively large."""
    inputs = [found.trace.values[n] for n in leaves(found.trace.program.inputs)]
    usual = max(1.0, *(_size(x) for x in inputs))
    for call in found.calls:
        last = any(n in found.outputs for i in call.at for n in leaves(found.graph.ops[i].y))
        if not last and _size(call.y) > EXPLODED * usual:
            text = (
                f"{call.path}: the outputs have a root mean square of {short(_size(call.y))}, x has "
                f"{short(max(map(_size, inputs)))}: is the learning rate too large, or are the initial weights?"
            )
            return [Finding(call.path, "", "growing", text)]
    return []


def beside_targets(found: Measured, target: Any) -> list[Finding]:
    """Findings for a single output and a single array of targets: large targets, outputs far off, or all alike."""
    if len(found.outputs) != 1 or isinstance(target, tuple):
        return []
    y, t = rows(found.trace.values[found.outputs[0]]).astype(float), np.asarray(target)
    where = next(call.path for call in found.calls[::-1])
    same = y.std(axis=0)
    if len(y) < FEW:
        return []
    if t.dtype.kind != "f" or t.size != y.size:  # class indices
        alike = norm(same) <= ALIKE * norm(y) / math.sqrt(len(y))
        text = f"{where}: the outputs are the same for all examples, but the targets are not."
        return [Finding(where, "", "constant", text)] if alike and np.ptp(t) else []
    t = t.reshape(y.shape).astype(float)
    if np.isnan(t).any():
        return []
    spread, error = t.std(axis=0), np.sqrt(((y - t) ** 2).mean(axis=0))
    if not spread.any():
        return []
    i = int(np.argmax(np.abs(t).max(axis=0)))
    if _size(t) > LARGE and (error >= spread)[i]:
        text = (
            f"target is large, with a root mean square of {short(_size(t))}, so errors and gradients are too. Train on "
            "(target − mean) / standard deviation, both of the training data, and invert this for predictions."
        )
        return [Finding(where, "", "targets", text)]
    offset = np.abs(y.mean(axis=0) - t.mean(axis=0))
    i = int(np.argmax(np.where(spread > 0, offset / np.where(spread > 0, spread, 1), 0)))
    if offset[i] > FAR * spread[i] > 0:
        text = (
            f"{where}: the outputs are far from the targets: output {i} has mean {short(float(y[:, i].mean()))}, "
            f"target {i} {short(float(t[:, i].mean()))} with a standard deviation of {short(float(spread[i]))}. "
            "Subtract the mean from the target, or initialize the last bias with it."
        )
        return [Finding(where, "", "targets", text)]
    if norm(same) <= ALIKE * norm(spread):
        text = (
            f"{where}: the outputs differ by {short(norm(same))} between examples, the targets by "
            f"{short(norm(spread))}: the network predicts the same for all."
        )
        return [Finding(where, "", "constant", text)]
    return []


def _size(a: Array) -> float:
    """The root mean square."""
    return norm(a) / math.sqrt(a.size) if a.size else 0.0
