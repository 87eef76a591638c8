"""When a loss or a gradient is not finite: where it began."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from nnfunc.arrays import Array, ArrayDict, Scalar
from nnfunc.errors import finite, first_bad
from nnfunc.keys import Keys
from nnfunc.layers.base import Cache, Layer
from nnfunc.layers.combinators import map_layers
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
    seen: list[tuple[str, str, Array]] = []
    observed = map_layers(lambda path, layer: _recording(path, layer, seen), model)
    y, cache, _ = observed.forward(params, state, np.asarray(x), key=key, train=True)
    rows, target, _ = of_network(params, y, target)
    _, loss_cache = loss.forward(rows, target)
    seen.append(("the loss", "value", np.asarray(getattr(loss_cache, "values", value))))
    dy = loss.backward(loss_cache).reshape(y.shape)
    seen.append(("the loss", "gradient", dy))
    observed.backward(params, cache, dy)
    for path, kind, array in seen:
        if not np.isfinite(array).all():
            bad = first_bad(array, ~np.isfinite(array))
            return f"{what}: the {kind} of {path} is the first that is not finite ({bad}); {_advice(kind)}"
    for kind, found in (("gradient", grads), ("state", new_state)):
        for name, array in found.items():
            if not np.isfinite(array).all():
                return f"{what}: the {kind} of {name} is not finite ({first_bad(array, ~np.isfinite(array))})"
    return f"{what}: the weights of the examples or the penalty are not finite"


def _advice(kind: str) -> str:
    return {
        "activation": "is the learning rate too large, or are the data not scaled?",
        "gradient": "does the backward divide by 0, or take the root or logarithm of 0?",
    }.get(kind, "does the loss take the logarithm of 0, or the square of a huge number?")


def _recording(path: str, layer: Layer, seen: list[tuple[str, str, Array]]) -> Layer:
    def forward(
        params: ArrayDict, state: ArrayDict, x: Array, *, key: Keys | None = None, train: bool = False
    ) -> tuple[Array, Cache, ArrayDict]:
        y, cache, state = layer.forward(params, state, x, key=key, train=train)
        seen.append((path or layer.name, "activation", y))
        return y, cache, state

    def backward(
        params: ArrayDict, cache: Cache, dy: Array, *, need_dx: bool = True, out: ArrayDict | None = None
    ) -> tuple[Array | None, ArrayDict]:
        dx, grads = layer.backward(params, cache, dy, need_dx=need_dx, out=out)
        seen.extend((f"{path or layer.name}.{k}", "gradient", g.copy()) for k, g in grads.items())
        if dx is not None:
            seen.append((f"the input of {path or layer.name}", "gradient", dx))
        return dx, grads

    return layer._replace(forward=forward, backward=backward)
