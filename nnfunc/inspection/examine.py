"""`inspect`: evaluates a network and describes what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from nnfunc._internal.validate import cast, flag, instance, numeric
from nnfunc.arrays import EMPTY, Array, ArrayDict, as_dict
from nnfunc.core.kernel import view
from nnfunc.core.layer import Layer
from nnfunc.core.values import Value, leaves, map_leaves, rebuilt
from nnfunc.core.wiring import FROZEN
from nnfunc.evaluation.predict import HasParams
from nnfunc.inspection.findings import findings
from nnfunc.inspection.measure import measured
from nnfunc.inspection.report import Inspection, LayerInspection
from nnfunc.inspection.units import FEW, dead, rows, saturated, units
from nnfunc.keys import Key, check
from nnfunc.keys import key as new_key
from nnfunc.losses.base import Loss, LossName


def inspect(
    model: Layer,
    params: Mapping[str, ArrayLike] | HasParams,
    x: Value,
    *,
    target: Any = None,
    loss: Loss | LossName | None = None,
    state: Mapping[str, ArrayLike] | None = None,
    key: Key | None = None,
    train: bool | None = None,
) -> Inspection:
    """Inspects the activations and gradients of every layer in one forward and backward pass, and reports problems.

    Args:
        model: a layer or a composition, arbitrarily nested.
        params: its parameters, or a `TrainState`, which also contains the state.
        x: (examples, ..., features), or a tuple for several inputs; a few hundred examples suffice. All activations and
            gradients are kept.
        target, loss: the gradients are those of this loss, computed as in training: a sigmoid or softmax at the end is
            fused with its cross-entropy, and its saturation is not a fault. Without them, the gradients are those of
            Σ c·y/m, with c from the normal distribution (with a fixed key), y the outputs (before a sigmoid or softmax
            at the end) and m the number of examples: no direction is special, so the effect of the layers on a gradient
            shows just as well. With a target, findings also include outputs that are far from it or all alike, and a
            target that is too large.
        state: running averages and frozen parameters, if params is not a TrainState.
        key: the key of dropout masks in training mode; nn.key(0) by default.
        train: whether the layers run in training mode. By default they run in prediction mode, unless the model has a
            state and none is given, or one that training has not changed: batch norm then uses the statistics of x, if
            it has at least 10 rows.
    Returns:
        an `Inspection`: layers, findings, ok; print it.
    Raises:
        ValueError: NaN or infinity in x, a shape mismatch, a stack of networks, or a target without a loss.
        TypeError: an argument that is not a model or not a loss.

    Dead units are detected in any layer without parameters, including user-defined ones; saturation only in sigmoid,
    tanh and softmax. Layers that the signal can bypass (inside a residual, in a branch that is joined with others, in
    a scan) are not judged by the effect of depth. A layer that is called more than once is judged by all its calls.

    >>> model = nn.mlp([4, 16, 16, 1], ["relu", "relu", "sigmoid"])
    >>> ts = nn.train_state(model, nn.adam(), nn.key(0), input_shape=(4,))
    >>> x = nn.keys.generator(nn.key(1)).normal(size=(200, 4))
    >>> nn.inspect(model, ts, x).ok
    True
    >>> killed = ts.params.replace({"dense1.b": np.full(16, -20.0)})
    >>> for finding in nn.inspect(model, killed, x).findings:
    ...     print(finding.where, finding.kind, finding.fraction)
    relu1 dead 1.0
    """
    instance(model, Layer, "model")
    if (loss is None) != (target is None):
        raise ValueError("loss and target go together: pass both, or none")
    if isinstance(params, Mapping):
        arrays = as_dict(params, "params")
    elif isinstance(getattr(params, "params", None), ArrayDict):
        arrays, state = params.params, params.state if state is None else state
    else:
        raise TypeError(f"params is {type(params).__name__}, expected a dict of arrays or a TrainState")
    if arrays.stack_shape:
        raise ValueError(f"params is a stack of {arrays.stack_shape[0]} networks: inspect one, nn.unstack(params)[0]")
    inputs = _inputs(x, "x", arrays.dtype if arrays.size else None)
    fresh = _initial_averages(model, inputs)
    own = fresh if state is None else as_dict(state, "state")
    if train is None:  # averages that never changed do not count
        unmoved = all(k in own and np.array_equal(own[k], fresh[k]) for k in fresh)
        train = bool(fresh) and unmoved and len(rows(leaves(inputs)[0])) >= FEW
    key = new_key(0) if key is None else check(key)
    found = measured(model, arrays, own, inputs, target, loss, key, flag(train, "train"))
    layers = tuple(
        LayerInspection(
            call.path, _kept(call.y), None if call.dy is None else _kept(call.dy), units(call.y),
            int(dead(call).sum()), saturated(call), call.params, call.grads,
        )
        for call in found.calls
    )  # fmt: skip
    y = found.trace.values[found.outputs[0]]
    return Inspection(layers, tuple(findings(found, arrays, inputs, target)), y.size // units(y))


def _inputs(x: Value, name: str, dtype: DTypeLike | None) -> Value:
    """The inputs as arrays of finite numbers."""
    if isinstance(x, tuple):
        return rebuilt(x, [_inputs(part, f"{name}[{i}]", dtype) for i, part in enumerate(x)])
    array = cast(numeric(x, name), name, dtype)
    if array.ndim < (2 if array.dtype.kind == "f" else 1):
        raise ValueError(f"{name} has shape {array.shape}, expected (examples, ..., features)")
    return array


def _initial_averages(model: Layer, x: Value) -> ArrayDict:
    """The initial state of a model without frozen parameters, which are not drawn again; empty if the model cannot be
    initialized (user-defined layers with parameters created by hand)."""
    try:
        state = model.init(new_key(0), map_leaves(lambda a: a.shape[1:], x))[1]
    except Exception:  # any error: a model that needs its state will raise one in forward
        return EMPTY
    frozen = [name for name in state if name.startswith(FROZEN)]
    return state.without(frozen) if frozen else state


def _kept(array: Array) -> Array:
    return view(array.copy())  # type: ignore[no-any-return]  # a view of an array is one
