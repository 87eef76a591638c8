"""Findings: problems of a network, diagnosed from the inputs and outputs of its layers and described in words.

The thresholds come first, each with its rationale; healthy networks, fresh or trained, have no findings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from nnfunc._internal.validate import first_bad
from nnfunc.arrays import Array, ArrayDict
from nnfunc.core.values import Value, leaves
from nnfunc.inspection.depth import activations_over_depth, constant, gradients_over_depth, without_gradient
from nnfunc.inspection.measure import Call, Measured
from nnfunc.inspection.outputs import beside_targets, exploded
from nnfunc.inspection.units import FEW, dead, norm, rows, saturated, short, units, weights
from nnfunc.keys import fold_in, generator
from nnfunc.keys import key as new_key
from nnfunc.layers.affine import DENSE
from nnfunc.models.nonfinite import first_nonfinite
from nnfunc.report import Finding

KINDS = (
    "nonfinite", "inputs", "symmetric", "dead", "saturated", "constant", "vanishing", "exploding", "shrinking",
    "growing", "no-gradient", "targets",
)  # fmt: skip
"""The values of `Finding.kind` in an inspection.

>>> from nnfunc.inspection import KINDS
>>> len(KINDS)
12
"""

# -- thresholds --------------------------------------------------------------------------------------------------------

DEAD_SHARE, DEAD_CHANCE, DEAD_LAYER = 1 / 3, 1e-5, 0.9
"""Dead units are a finding if they make up at least a third of the layer (on the digits, up to 28 % died with the
largest suitable learning rate, up to 44 % with three times that) and more than expected by chance: among units with
random weights of mean 0 on the same inputs, as many would be dead with a probability below 1e-5. (Deep in a fresh
network all inputs are alike, and a third of the units is dead by chance.) A layer of which at least nine tenths are
dead lets no signal through, whatever the cause.
"""

SATURATED_SHARE = 0.5
"""Saturated outputs (see `units.EDGE`) are a finding if they make up more than half. In trained networks up to a third
are saturated, and they still learn."""

SCALES, OFFSET, LARGE = 1e3, 10.0, 30.0
"""Inputs are not scaled if the range of a feature is 1,000 times that of another, so that no learning rate fits both;
if their means are 10 times as large as their variation between examples, so that the biases must cancel them first; or
if their root mean square exceeds 30, like that of pixels from 0 to 255, as initial weights and learning rates suit
values near 1. The range is used because the standard deviation of a rarely inked pixel is small in good data too."""

RANDOM_UNITS = 512
"""The number of units with random weights drawn to estimate how many are dead by chance."""


# -- the findings ------------------------------------------------------------------------------------------------------

ADVICE = {
    "dead": " Usual causes: too large a learning rate, inputs that are not scaled, very negative biases. Try a smaller "
    "learning rate or nn.clip_by_global_norm, x of mean 0 and standard deviation 1, nn.leaky_relu.",
    "saturated": " Usual causes: weights or inputs that are too large. Try x of mean 0 and standard deviation 1, "
    'initializer="glorot", a smaller learning rate, nn.batch_norm before the activation.',
    "vanishing": ' Try nn.relu with initializer="he" or nn.tanh with "glorot", nn.batch_norm or nn.layer_norm, '
    "nn.residual.",
    "exploding": ' Try initializer="he" (for ReLU) or "glorot" (for tanh), nn.batch_norm or nn.layer_norm, '
    "nn.clip_by_global_norm.",
    "inputs": " Standardize x: subtract the mean of each feature and divide by its standard deviation, both of the "
    "training data.",
}
"""Remedies, given once per kind."""


def findings(found: Measured, params: ArrayDict, x: Value, target: Any = None) -> list[Finding]:
    """All findings."""
    inputs = _inputs(found, x)
    if bad := _nonfinite(found, params):
        return [*bad, *inputs]  # NaN is neither dead nor small
    wrong: list[Finding] = []
    for call in found.calls:
        wrong += _equal_units(call)
        wrong += _dead_units(call, _affine_below(found, call.at[0]))
        wrong += _saturation(call) if not found.heads.intersection(call.at) else []  # final outputs may be saturated
    wrong += constant(found, guilty={f.where for f in wrong})
    ways = found.graph.chains([i for i, op in enumerate(found.graph.ops) if op.full and not found.graph.around[i]])
    wrong += _once(f for way in ways for f in gradients_over_depth(found, way))
    if not {f.kind for f in [*inputs, *wrong]} & {"inputs", "dead", "saturated"}:  # which would be the cause
        wrong += _once(f for way in ways for f in activations_over_depth(found, way[:-1]))
    wrong += without_gradient(found, explained=any(f.kind != "constant" for f in wrong))
    if not {f.kind for f in [*inputs, *wrong]} & {"inputs", "growing", "exploding"}:
        wrong += exploded(found)
    if target is not None and not {f.kind for f in [*inputs, *wrong]} & {"inputs", "constant", "dead", "growing"}:
        wrong += beside_targets(found, target)
    wrong = [*inputs, *wrong]
    kinds = [f.kind for f in wrong]
    return [
        f._replace(message=f.message + ADVICE.get(f.kind, "")) if f.kind not in kinds[:i] else f
        for i, f in enumerate(wrong)
    ]


def _once(found: Iterator[Finding]) -> list[Finding]:
    """The first of the findings of one kind in one layer: several paths may lead through it."""
    first: dict[tuple[str, str], Finding] = {}
    for finding in found:
        first.setdefault((finding.where, finding.kind), finding)
    return list(first.values())


def _nonfinite(found: Measured, params: ArrayDict) -> list[Finding]:
    for call in found.calls:
        for name, array in call.params.items():
            if not np.isfinite(array).all():
                bad = first_bad(array, ~np.isfinite(array))
                text = f"The parameter {call.path}.{name} is not finite ({bad}): was a step too large?"
                return [Finding(call.path, name, "nonfinite", text)]
    where, text = first_nonfinite(found.trace, params)
    return [Finding(where, "", "nonfinite", f"{text[0].upper()}{text[1:]}")] if text else []


# -- the inputs --------------------------------------------------------------------------------------------------------


def _inputs(found: Measured, x: Value) -> list[Finding]:
    program = found.trace.program
    # integers that are cast to floats
    counted = {n for op in program.ops for n, casts in zip(leaves(op.x), op.casts, strict=True) if casts}
    made_of = [n for n in leaves(program.inputs) if any(found.graph.before[m] >> n & 1 for m in counted)]
    wrong = []
    for (name, array), n in zip(_named(x, "x"), leaves(program.inputs), strict=True):
        if not program.integers[n] or n in made_of:
            wrong += _input(name, rows(array))
    return wrong


def _named(x: Value, name: str) -> list[tuple[str, Array]]:
    """The arrays of the inputs with their names: x, or x[0], x[1], ..."""
    if not isinstance(x, tuple):
        return [(name, x)]
    return [pair for i, part in enumerate(x) for pair in _named(part, f"{name}[{i}]")]


def _input(name: str, x: Array) -> list[Finding]:
    if len(x) < FEW:
        return []
    x = x.astype(float)
    low, high, mean, std = x.min(axis=0), x.max(axis=0), x.mean(axis=0), x.std(axis=0)
    span = np.where(high > low, high - low, np.nan)
    if np.isnan(span).all():
        text = f"{name} has the same row for every example, so nothing can be learned from it."
        return [Finding(name, "", "constant", text)]
    least, most = int(np.nanargmin(span)), int(np.nanargmax(span))
    if span[most] > SCALES * span[least]:
        ranges = [f"feature {i} from {low[i]:.4g} to {high[i]:.4g}" for i in (most, least)]
        text = f"{name} has features of very different scales: {' but '.join(ranges)}, so no learning rate fits both."
        return [Finding(name, "", "inputs", text)]
    if norm(mean) > OFFSET * norm(std):
        i = int(np.abs(mean).argmax())
        text = (
            f"{name} is far from 0 compared with how it varies: feature {i} has mean {mean[i]:.4g} and standard "
            f"deviation {std[i]:.2g}, so the examples look alike to the first layer."
        )
        return [Finding(name, "", "inputs", text)]
    if (size := norm(x) / math.sqrt(x.size)) > LARGE:
        text = f"{name} is large, with a root mean square of {short(size)}"
        return [Finding(name, "", "inputs", f"{text}: initial weights and learning rates are chosen for about 1.")]
    return []


# -- units -------------------------------------------------------------------------------------------------------------


def _dead_units(call: Call, below: Call | None) -> list[Finding]:
    silent, y = dead(call), rows(call.y)
    count, total, n = int(silent.sum()), len(silent), len(y)
    if count < DEAD_SHARE * total or not count or call.x is None:
        return []
    on = int((y != 0).all(axis=0).sum())
    # a unit and its negative are equally likely, so by chance as many units are always on as are dead
    others, p = (on, 0.5) if below is None else (total - count, _share_dead_at_random(below))
    chance = _chance(count, count + others, p)
    if chance > DEAD_CHANCE and (count < DEAD_LAYER * total or n < FEW):
        return []
    into = rows(call.x)[:, silent].astype(float)
    text = (
        f"{call.path}: {count} of {total} units are 0 for all {n:,} examples, so they have stopped learning. "
        f"Their inputs are between {short(into.min())} and {short(into.max())}"
    )
    b = None if below is None else below.params.get("b")
    if below is not None and b is not None and b.shape == (total,):
        bias = float(b[silent].mean())
        text += f", mostly because of the biases {below.path}.b" if bias < 0 and 2 * bias < into.mean() else ""
    return [Finding(call.path, "", "dead", f"{text}.", fraction=count / total)]


def _equal_units(call: Call) -> list[Finding]:
    """The finding for a dense layer whose units all have the same weights and biases."""
    W = weights(call)
    if W is None or W.shape[1] < 2 or not W.any() or any(np.ptp(a, axis=-1).any() for a in call.params.values()):
        return []
    text = (
        f"{call.path}: all {W.shape[1]} units have the same weights and biases, so they get the same gradients and "
        "stay identical: weights must be initialized at random."
    )
    return [Finding(call.path, "W", "symmetric", text)]


def _affine_below(found: Measured, i: int) -> Call | None:
    """The x W + b from which a call gets its input, directly or through layers without weights and normalizations."""
    ops = found.graph.ops
    makers = {n: j for j, op in enumerate(ops) for n in leaves(op.y)}
    while (x := ops[i].x) in makers:
        i = makers[x]
        below = found.call(i)
        if below.layer.kernel == DENSE:
            return below
        if any(a.ndim > 1 for a in below.params.values()):
            return None
    return None


def _share_dead_at_random(below: Call) -> float:
    """The fraction of units with random weights of mean 0 that would be dead on the inputs of this layer."""
    (x,) = below.xs
    draws = generator(fold_in(new_key(0), 1)).normal(size=(units(x), RANDOM_UNITS))
    hits = (rows(x) @ draws.astype(below.y.dtype) <= 0).all(axis=0).sum()
    return float((hits + 1) / (RANDOM_UNITS + 2))


def _chance(count: int, total: int, p: float) -> float:
    """The probability that at least `count` of `total` units are dead, each with probability p."""
    k = np.arange(count, total + 1)
    choices = math.lgamma(total + 1) - np.array([math.lgamma(i + 1) + math.lgamma(total - i + 1) for i in k])
    return float(np.exp(choices + k * math.log(p) + (total - k) * math.log1p(-p)).sum())


def _saturation(call: Call) -> list[Finding]:
    share, kernel = saturated(call), call.layer.kernel
    if not share > SATURATED_SHARE or len(rows(call.y)) < FEW or kernel is None or call.x is None:
        return []
    if kernel.limits is None:
        text = f"{call.path}: in {share:.0%} of the rows, one probability is above 99 %"
    else:
        limits = " or ".join(f"{limit:g}".replace("-", "−") for limit in kernel.limits)
        text = f"{call.path}: {share:.0%} of the outputs are within 1 % of {limits}"
    size = norm(call.x) / math.sqrt(call.x.size)
    text += f", where the slope is almost 0; the inputs have a root mean square of {short(size)}."
    return [Finding(call.path, "", "saturated", text, fraction=share)]
