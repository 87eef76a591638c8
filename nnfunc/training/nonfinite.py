"""When a loss or a gradient is not finite: where it began."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from nnfunc.arrays import Array, ArrayDict, Scalar
from nnfunc.errors import finite, first_bad
from nnfunc.keys import Keys
from nnfunc.layers.base import Layer
from nnfunc.layers.observe import Observed, observe
from nnfunc.losses import Loss, of_network


def where_it_began(
    model: Layer,
    loss: Loss,
    params: ArrayDict,
    state: ArrayDict,
    step: int,
    x: ArrayLike,
    target: ArrayLike,
    key: Keys,
    value: Scalar,
    grads: ArrayDict,
    new_state: ArrayDict,
) -> str:
    """Says which number was the first that is not finite: of the data, the parameters, an activation, a gradient."""
    what = f"at step {step} the loss is {'finite' if np.isfinite(value).all() else value}"
    for name, array in (("x", x), ("target", target)):
        try:
            finite(np.asarray(array, float), name)
        except ValueError as error:
            return f"{what}: {error}"
    for name, parameter in params.items():
        if not np.isfinite(parameter).all():
            bad = first_bad(parameter, ~np.isfinite(parameter))
            cause = "it came in so" if step == 0 else "an update before made it so, by too large a step or gradient"
            return f"{what}: the parameter {name} is not finite ({bad}); {cause}"
    observed = observe(model)
    y, cache, _ = observed.model.forward(params, state, np.asarray(x), key=key, train=True)
    rows, target, _ = of_network(params, y, target)
    _, loss_cache = loss.forward(rows, target)
    dy = loss.backward(loss_cache).reshape(y.shape)
    observed.model.backward(params, cache, dy)
    _, text = first_nonfinite(observed, np.asarray(getattr(loss_cache, "values", value)), dy)
    if text:
        return f"{what}: {text}"
    for kind, found in (("gradient", grads), ("state", new_state)):
        for name, array in found.items():
            if not np.isfinite(array).all():
                return f"{what}: the {kind} of {name} is not finite ({first_bad(array, ~np.isfinite(array))})"
    return f"{what}: the weights of the examples or the penalty are not finite"


def first_nonfinite(observed: Observed, values: Array, dy: Array) -> tuple[str, str]:
    """The layer (or "the loss") where a forward and a backward first met what is not finite, and what in words.

    Args:
        observed: the model after both.
        values: of the loss.
        dy: the gradient of the loss.
    Returns:
        a pair of texts, both "" if all is finite.
    """
    seen = [(call.path, f"the activation of {call.path}", call.y, ACTIVATION) for call in observed.forwards]
    seen += [
        ("the loss", "the value of the loss", values, LOSS),
        ("the loss", "the gradient of the loss", dy, GRADIENT),
    ]
    for path, _, dx, grads in observed.backwards:
        seen += [(path, f"the gradient of {path}.{name}", g, GRADIENT) for name, g in grads.items()]
        seen += [] if dx is None else [(path, f"the gradient of the input of {path}", dx, GRADIENT)]
    for path, name, array, advice in seen:
        if not np.isfinite(array).all():
            bad = first_bad(array, ~np.isfinite(array))
            return path, f"{name} is the first that is not finite ({bad}); {advice}"
    return "", ""


ACTIVATION = "is the learning rate too large, or are the data not scaled?"
GRADIENT = "does the backward divide by 0, or take the root or logarithm of 0?"
LOSS = "does the loss take the logarithm of 0, or the square of a huge number?"
