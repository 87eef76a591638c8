"""The fast path of a training step, bound once to the layouts and shapes of its arguments.

Everything that depends on these alone (the program, the reader of targets, the update rule and its numbers) is looked
up when the step is bound. This covers the plain case: one network, one input array, one row of outputs per example, a
built-in loss without weights. The plain mean of a loss is inlined here, as in `loss_of`: a call would cost 5 % of a
small step. There are no checks and no messages: in any other case it gives up, and the step takes the general path,
which returns the same bits or raises the error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from nnfunc._internal.validate import all_finite
from nnfunc.arrays import Array, ArrayDict, give_away
from nnfunc.core.backward import run_backward
from nnfunc.core.forward import run
from nnfunc.core.program import Program
from nnfunc.losses.options import over_outputs, within
from nnfunc.losses.targets import ACCEPTS
from nnfunc.losses.weights import one_of
from nnfunc.optimizers.base import Optimizer
from nnfunc.optimizers.straight import straight, zeros_in
from nnfunc.optimizers.update import BLOCK, update

if TYPE_CHECKING:
    from nnfunc.training.state import TrainState
    from nnfunc.training.step import TrainStep

Straight: TypeAlias = "Callable[[TrainState, Array, Any, bool], tuple[Any, ...] | None]"
"""(ts, x, target, donate) -> (params, state, opt_state, value, outputs, examples), or None if it gives up."""

Advance: TypeAlias = Callable[[ArrayDict, Array, ArrayDict, bool], tuple[ArrayDict, ArrayDict]]
"""(params, gradient, opt_state, donate) -> (params, opt_state)"""


def layouts_of(ts: TrainState, x: Any) -> tuple[Any, ...] | None:
    """The layouts and shapes that a step is bound to; None if the case is not plain."""
    params, state, opt_state, key, _ = ts
    if type(x) is not np.ndarray or type(key) is tuple or x.ndim < 2 or not x.size or x.dtype.kind != "f":
        return None
    w, s = params._vector, opt_state._vector
    if w.ndim != 1 or s.ndim != 1 or state._vector.ndim != 1 or w.dtype != s.dtype or not w.size:
        return None
    return params._layout, state._layout, opt_state._layout, x.shape[1:], w.dtype


def bind(step: TrainStep, ts: TrainState, program: Program) -> Straight | None:
    """The step bound to states and inputs like these; None if the case is not plain."""
    _, loss = step.computed
    function = step.value_and_grad
    output = program.output
    if loss.values is None or loss.gradient is None or function.class_weights is not None or step.nonfinite != "raise":
        return None
    if loss.options or loss.axes > 1:
        return None
    if type(output) is not int or len(program.shapes[output]) != 1 or type(program.inputs) is not int:
        return None
    values, gradient, settings, accept = loss.values, loss.gradient, loss.settings._items, ACCEPTS[loss.targets]
    over = loss.over
    penalty, size = function.penalty, ts.params.size
    advance = _advance(step.optimizer, ts)

    def straight(ts: TrainState, x: Array, target: Any, donate: bool) -> tuple[Any, ...] | None:
        params, state, opt_state, key, t = ts
        dtype = params._vector.dtype
        found, caches, moved = run(program, params, state, x if x.dtype == dtype else x.astype(dtype), key, True, (t,))
        y = found[output]
        per_example, residual = values(y, accept(y, target, 1), **settings)
        if over is not None:
            per_example = over_outputs(per_example, over)
        rows = len(per_example)
        value = float(np.add.reduce(per_example) / rows)
        dy = gradient(residual, **settings)
        if over is not None:
            dy = within(dy, over)
        dy *= one_of(rows, dtype)
        g = np.empty(size, dtype)
        run_backward(program, params, state, caches, dy, g, False)
        if penalty is not None:
            value = value + penalty.forward(params, rows)  # type: ignore[assignment]  # one network: a scalar
            g += penalty.backward(params, rows)._vector
        if not (math.isfinite(value) and all_finite(g) and (moved is state or all_finite(moved._vector))):
            return None
        return (*advance(params, g, opt_state, donate), moved, value, y, float(rows))

    return straight


def _advance(optimizer: Optimizer, ts: TrainState) -> Advance:
    """The update of an optimizer, bound to the layout if all settings are plain numbers."""
    rule, settings, n = optimizer.rule, optimizer.settings._items, ts.params.size
    where, stacked = ts.params._layout, ts.params._layout.repeated(optimizer.slots)
    constants, loop = optimizer.constants, optimizer.loop
    plain = optimizer.inner is None and not optimizer.shaped and optimizer.settings.floats
    fits = (ts.params._vector.nbytes <= BLOCK or loop is not None) and ts.opt_state._layout is stacked
    if rule is None or constants is None or not plain or not fits or ts.opt_state._integers["step"].ndim:
        return lambda *given: update(optimizer, *given)
    parts = [slice(i * n, (i + 1) * n) for i in range(len(optimizer.slots))]
    total, count = stacked.size, len(parts) + 2

    def advance(params: ArrayDict, g: Array, opt_state: ArrayDict, donate: bool) -> tuple[ArrayDict, ArrayDict]:
        w, before, t = params._vector, opt_state._vector, opt_state._integers["step"].item() + 1
        new, moved = np.empty(n, w.dtype), give_away(opt_state) if donate else np.empty(total, w.dtype)
        old, out = [w, g, *[before[p] for p in parts]], [new, *[moved[p] for p in parts]]
        numbers = constants(t, **settings)
        (loop or straight(rule, count, zeros_in(numbers)))(old, out, numbers)
        steps = np.array(t)
        steps.setflags(write=False)
        return ArrayDict._of(where, new), ArrayDict._of(stacked, moved, {"step": steps})

    return advance
