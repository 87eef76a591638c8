"""The effect of depth on signals and gradients: they shrink, grow, become constant or do not arrive.

Only series of layers that the signal cannot bypass are judged.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from nnfunc.arrays import Array
from nnfunc.core.values import Value, leaves
from nnfunc.inspection.measure import Call, Measured
from nnfunc.inspection.units import FEW, dead, norm, rows, saturated, short, weights
from nnfunc.layers.activations import SIGMOID
from nnfunc.report import Finding

TOTAL, PER_LAYER, TOO_MUCH = 100.0, 1.5, 1000.0
"""Gradients or activations that change by a factor of more than 100 in total and more than 1.5 per layer, or of more
than 1,000 over any number of layers. By chance alone, fresh He networks of 10 layers of 8 units stay below 25; a
sigmoid divides by 4 or more in each layer."""

ALIKE = 1e-3
"""A layer is constant if its outputs differ between examples by less than a thousandth of their size."""


def constant(found: Measured, guilty: set[str]) -> list[Finding]:
    """The first layer whose outputs are the same for all examples, unless earlier findings explain it."""
    wired = found.graph
    inputs = [rows(found.trace.values[n]) for n in leaves(found.trace.program.inputs)]
    if len(inputs[0]) < FEW or not any(map(_varies, inputs)):
        return []
    judged = [call for call in found.calls if not any(wired.around[i] for i in call.at)]
    inner = [call for call in judged if not any(n in found.outputs for i in call.at for n in leaves(wired.ops[i].y))]
    for call in inner or judged:
        y = rows(call.y).astype(float)
        if call.path in guilty or _varies(y) or not any(_varies(rows(x)) for x in call.xs):  # caused further below
            continue
        if guilty and not y.any():
            return []
        size, spread = norm(y) / math.sqrt(y.size), norm(y.std(axis=0)) / math.sqrt(y.shape[1])
        said = f"differ by {short(spread)} between examples, at a size of {short(size)}" if size else "are all 0"
        text = f"{call.path}: the outputs {said}: later layers cannot tell the examples apart."
        return [Finding(call.path, "", "constant", text)]
    return []


def _varies(values: Array) -> bool:
    values = values.astype(float)
    return norm(values - values.mean(axis=0)) > ALIKE * norm(values)


def gradients_over_depth(found: Measured, way: Sequence[int]) -> list[Finding]:
    """The effect of a series of layers with parameters on the gradient."""
    norms = [(i, size) for i in way if (size := _gradient(found, found.graph.ops[i].y))]
    if len(norms) < 2:
        return []
    (first, bottom), (last, top) = norms[0], norms[-1]
    factor = _factor(bottom, top, len(norms) - 1)
    if factor is None:
        return []
    steps = {i: step for i in _between(found, first, last) if (step := _step(found, i)) is not None}
    worst = sorted(steps, key=lambda i: steps[i], reverse=factor > 1)[:3]
    worst = [i for i in worst if (steps[i] < 0.9 if factor < 1 else steps[i] > 1.1)]
    why = next(filter(None, (_why(found.call(i), factor) for i in worst)), "")
    name = {i: found.call(i).path for i in (first, last, *worst)}
    text = (
        f"The gradient {'vanishes' if factor < 1 else 'explodes'} on its way down: its norm is {short(top)} at "
        f"{name[last]} but {short(bottom)} at {name[first]}, {_each(factor, len(norms) - 1)}."
    )
    if worst:
        text += (
            f" It {'shrinks' if factor < 1 else 'grows'} most in "
            f"{', '.join(f'{name[i]} (times {short(steps[i])})' for i in worst)}{why and f': {why}'}."
        )
    return [Finding(name[worst[0] if worst else first], "", "vanishing" if factor < 1 else "exploding", text)]


def _gradient(found: Measured, numbers: Value) -> float:
    """The norm of the gradients of values, 0 if there are none."""
    return math.hypot(*(norm(d) for n in leaves(numbers) if (d := found.trace.d[n]) is not None))


def _between(found: Measured, first: int, last: int) -> list[int]:
    """The calls between two calls, excluding the first, that no other path bypasses."""
    wired = found.graph
    calls = (i for i in range(first + 1, last + 1) if wired.depends(i, first) and wired.depends(last, i))
    return [i for i in calls if not wired.around[i]]


def _step(found: Measured, i: int) -> float | None:
    """The factor by which a call changes the norm of the gradient, if nothing else uses its input."""
    op = found.graph.ops[i]
    users = [other for other in found.graph.ops if op.x in leaves(other.x)]
    before, after = _gradient(found, op.y), _gradient(found, op.x)
    known = before and isinstance(op.x, int) and len(users) == 1 and found.trace.d[op.x] is not None
    return after / before if known else None


def _each(factor: float, steps: int) -> str:
    return f"a factor of {short(factor)}" + (f" in each of {steps} layers" if steps > 1 else "")


def _why(call: Call, factor: float) -> str:
    """A reason why a layer makes signals small (a factor below 1) or large, if one is known."""
    if call.layer.kernel == SIGMOID and factor < 1:
        return "the slope of a sigmoid is at most 1/4"
    if (share := saturated(call)) >= 0.1 and factor < 1:
        return f"{share:.0%} of {call.path} is saturated"
    W = weights(call)
    if W is not None:
        size, he = norm(W) / math.sqrt(W.size), math.sqrt(2 / len(W))
        if size < he / 3 if factor < 1 else size > 3 * he:
            return f"the weights of {call.path} have a root mean square of {short(size)}, he has {short(he)}"
    return ""


def _factor(end: float, begin: float, steps: int) -> float | None:
    """The factor per step, if the change exceeds `PER_LAYER` per step and `TOTAL` in total; None otherwise."""
    if begin == 0 or end == 0:  # nothing passes through, which is reported elsewhere
        return None
    limit = min(max(TOTAL, PER_LAYER**steps), TOO_MUCH)
    return (end / begin) ** (1 / steps) if end * limit < begin or end > limit * begin else None


def activations_over_depth(found: Measured, way: Sequence[int]) -> list[Finding]:
    """The effect of a series of layers with parameters on the activations."""
    if len(way) < 2:
        return []
    depth = [found.call(i) for i in way]
    first, last = (float(np.std(call.y, dtype=float)) for call in (depth[0], depth[-1]))
    factor = _factor(last, first, len(depth) - 1)
    if factor is None:
        return []
    why = next(filter(None, (_why(call, factor) for call in depth[1:])), "")
    text = (
        f"The activations {'shrink' if factor < 1 else 'grow'} from layer to layer: their standard deviation is "
        f"{short(first)} in {depth[0].path} and {short(last)} in {depth[-1].path}, "
        f"{_each(factor, len(depth) - 1)}{why and f': {why}'}."
    )
    return [Finding(depth[-1].path, "", "shrinking" if factor < 1 else "growing", text)]


def without_gradient(found: Measured, explained: bool) -> list[Finding]:
    """Parameters that no gradient reaches, and the layer that stops it unless another finding explains that."""
    wrong, uses = [], Counter(full for op in found.graph.ops for full in op.full)
    for call in found.calls:
        if call.dy is None or not call.dy.any():
            continue
        op = found.graph.ops[call.at[0]]
        once = [k for k, full in zip(op.names, op.full, strict=True) if uses[full] == 1]  # several uses may cancel
        for name, g in call.grads.items():
            if name in once and g.size > 1 and not g.any() and any(x.any() for x in call.xs):
                text = (
                    f"{call.path}.{name} has gradient 0 in every element, although that of the layer's output is not 0"
                )
                wrong.append(Finding(call.path, name, "no-gradient", f"{text}: does the backward omit it?"))
        below = [] if explained or dead(call).all() else _stopped(found, call)
        if below:
            weights = [a for a in call.params.values() if a.ndim > 1]
            why = (
                "its weights are all 0"
                if weights and not any(map(np.any, weights))
                else "the gradient of its input is 0"
            )
            text = f"{call.path} passes no gradient on ({why}), so these parameters get none: {_listed(below)}."
            wrong.append(Finding(call.path, "", "no-gradient", text))
    return wrong


def _stopped(found: Measured, call: Call) -> list[str]:
    """The parameters that get no gradient because a layer passes none on."""
    wired, trained = found.graph, found.trained
    dx = [d for i in call.at for n in leaves(wired.ops[i].x) if (d := found.trace.d[n]) is not None]
    if not dx or any(d.any() for d in dx) or any(wired.around[i] for i in call.at):
        return []
    below = [op for i in call.at for j, op in enumerate(wired.ops) if j != i and wired.depends(i, j)]
    return list(
        dict.fromkeys(
            f"{op.path}.{k}" for op in below for k, full in zip(op.names, op.full, strict=True) if full in trained
        )
    )


def _listed(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
