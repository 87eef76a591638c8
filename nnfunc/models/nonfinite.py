"""The origin of a loss or gradient that is not finite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnfunc._internal.validate import finite, first_bad
from nnfunc.arrays import Array, ArrayDict
from nnfunc.core.values import leaves
from nnfunc.stacks import PerMember

if TYPE_CHECKING:
    from nnfunc.training.gradients import Trace, ValueAndGrad
    from nnfunc.training.state import TrainState

ACTIVATION = "is the learning rate too large, or is the data not scaled?"
GRADIENT = "does the backward divide by 0, or take the root or logarithm of 0?"
LOSS = "does the loss take the logarithm of 0, or the square of a huge number?"
WEIGHTS = "are the weights of the examples so large that their products with the values overflow?"


def where_it_began(function: ValueAndGrad, ts: TrainState, batch: tuple[Any, ...], trace: Trace) -> str:
    """Describes the first value that is not finite: in the data, the parameters, an activation or a gradient."""
    what = f"at step {ts.step} the loss {_loss(trace)}"
    for name, value in zip(("x", "target", "weights"), batch, strict=False):
        for leaf in leaves(value):
            try:
                finite(np.asarray(leaf.array if isinstance(leaf, PerMember) else leaf, float), name)
            except ValueError as error:
                return f"{what}: {error}"
    for name, parameter in ts.params.items():
        if not np.isfinite(parameter).all():
            bad = first_bad(parameter, ~np.isfinite(parameter))
            cause = "it was so initially" if ts.step == 0 else "an earlier update made it so, by too large a step"
            return f"{what}: the parameter {name} is not finite ({bad}); {cause}"
    _, text = first_nonfinite(trace, ts.params)
    if text:
        return f"{what}: {text}"
    for name, array in trace.state.items():
        if not np.isfinite(array).all():
            return f"{what}: the state of {name} is not finite ({first_bad(array, ~np.isfinite(array))})"
    return f"{what}: the penalty or its gradient is not finite: are the parameters huge?"


def _loss(trace: Trace) -> str:
    if np.ndim(trace.total) == 0:
        return f"is {trace.total}" if not np.isfinite(trace.total) else "is finite"
    bad = np.flatnonzero(~np.isfinite(np.asarray(trace.total)))
    if not bad.size and trace.vector is not None:
        bad = np.flatnonzero(~np.isfinite(trace.vector).all(axis=-1))
        return f"is finite, but the gradient is not finite for member {', '.join(map(str, bad))}"
    return f"of member {', '.join(map(str, bad))} is {np.asarray(trace.total)[bad[0]]}"


def first_nonfinite(trace: Trace, params: ArrayDict) -> tuple[str, str]:
    """The layer (or "the loss") where an evaluation first became non-finite, and a description; "" if all is finite.

    The order is that of the computation: activations, the loss, then the gradients from the last layer to the first.
    """
    program = trace.program
    for op in program.ops:
        for n in leaves(op.y):
            if bad := _bad(trace.values[n]):
                where = op.path or op.layer.name
                return op.path, f"the activation of {where} is the first that is not finite ({bad}); {ACTIVATION}"
    values = getattr(trace.loss_cache, "values", None)
    if values is not None and (bad := _bad(values)):
        return "the loss", f"the value of the loss is the first that is not finite ({bad}); {LOSS}"
    if not np.isfinite(trace.value).all():
        what, cause = ("value", LOSS) if values is None else ("mean", WEIGHTS)
        came = np.asarray(trace.value)
        return "the loss", f"the {what} of the loss is the first that is not finite ({came}); {cause}"
    for leaf in leaves(trace.dy):
        if bad := _bad(leaf):
            return "the loss", f"the gradient of the loss is the first that is not finite ({bad}); {GRADIENT}"
    grads = {} if trace.vector is None else dict(zip(params.names, params.layout.views(trace.vector), strict=True))
    for op in reversed(program.ops):
        where = op.path or op.layer.name
        for name, full in zip(op.names, op.full, strict=True):
            if full in grads and (bad := _bad(grads[full])):
                return op.path, f"the gradient of {where}.{name} is the first that is not finite ({bad}); {GRADIENT}"
        for n in leaves(op.x):
            if trace.d[n] is not None and (bad := _bad(trace.d[n])):
                return (
                    op.path,
                    f"the gradient of the input of {where} is the first that is not finite ({bad}); {GRADIENT}",
                )
    return "", ""


def _bad(array: Array | NDArray[Any]) -> str:
    """The first element that is not finite and its index; "" if there is none."""
    good = np.isfinite(array)
    return "" if good.all() else first_bad(np.asarray(array), ~good)
