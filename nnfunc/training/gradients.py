"""The first half of a training step as one function: forward, loss, backward, penalty.

`value_and_grad` is the basis of training steps, the search for NaN, `inspect`, `check_model`, gradient accumulation and
the use of optimizers from other libraries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from nnfunc._internal.validate import flag, instance, numeric, real
from nnfunc.arrays import EMPTY, Array, ArrayDict, Numbers, Scalar, as_dict, new_vector
from nnfunc.core.backward import run_backward
from nnfunc.core.kernel import Cache, Gather, view
from nnfunc.core.layer import Layer
from nnfunc.core.program import Program
from nnfunc.core.values import Value, leaves, map_leaves, taken
from nnfunc.keys import Keys, check_keys
from nnfunc.losses import named_loss
from nnfunc.losses.base import Loss, LossName, gradient_of, loss_of, total_weight
from nnfunc.losses.heads import check_output, fused
from nnfunc.penalties import Penalty
from nnfunc.stacks import with_axis, without_axis

Batch: TypeAlias = "tuple[Value, Value] | tuple[Value, Value, Any]"
"""(x, target), or (x, target, weights) with one weight per example; x and target are values."""


class Result(NamedTuple):
    """The result of `value_and_grad`.

    Attributes:
        value: the loss plus the penalty; an array (K,) for a stack.
        grads: the gradients, a dict like the parameters.
        state: the model's new state.
        output: the input of the loss (logits where a sigmoid or softmax is fused with its cross-entropy), read-only.
        dx: the gradient of x, None unless requested.
        weight: m, the number of examples or the sum of their weights.
    """

    value: Scalar
    grads: ArrayDict
    state: ArrayDict
    output: Value
    dx: Value
    weight: Scalar


class Trace(NamedTuple):
    """All intermediate results of an evaluation, for inspection.

    Attributes:
        program: the program of the model.
        values, d: the values of the program, and their gradients (None where there is none).
        caches: the cache of each call.
        output, value, loss_cache, dy: those of the loss, without the penalty.
        total: the loss plus the penalty.
        vector: the gradients of the parameters.
        state, weight: see `Result`.
    """

    program: Program
    values: list[Any]
    caches: list[Cache]
    output: Value
    value: Scalar
    loss_cache: Any
    dy: Value
    d: list[Any]
    total: Scalar
    vector: Array | None
    state: ArrayDict
    weight: Scalar


class ValueAndGrad(NamedTuple):
    """The loss and its gradients as a function of parameters, state and a batch. Created by `value_and_grad`.

    `computed` are the model and the loss as they are evaluated: where output activation and loss are fused, the model
    without the activation, and the loss on logits.
    """

    model: Layer
    loss: Loss
    penalty: Penalty | None
    class_weights: tuple[float, ...] | None
    computed: tuple[Layer, Loss]

    def __call__(
        self,
        params: ArrayDict,
        state: ArrayDict,
        batch: Batch,
        *,
        key: Keys | None = None,
        train: bool = True,
        need_dx: bool = False,
        need_grads: bool = True,
    ) -> Result:
        """Computes the value and its gradients.

        Args:
            params, state: those of the model, or of all networks of a stack.
            batch: (x, target) or (x, target, weights); in a stack, shared by all networks except for parts marked by
                `nn.stacks.per_member`.
            key: the key of dropout masks and the like. A training step uses `nn.fold_in(ts.key, ts.step)`; the key of a
                layer is obtained from it by folding in the layer's position, after those of the enclosing compositions.
            train: whether the layers run in training mode.
            need_dx: whether to compute `dx`.
            need_grads: whether to compute `grads`, which is empty otherwise.
        """
        check_keys(key)
        train, need_dx, need_grads = flag(train, "train"), flag(need_dx, "need_dx"), flag(need_grads, "need_grads")
        with np.errstate(all="ignore"):  # non-finite values show in the result
            trace = self.trace(params, state, batch, key, train, need_dx, need_grads)
        params = as_dict(params, "params")
        dx = None
        if need_dx:
            values, d = trace.values, trace.d

            def of_input(n: int) -> Any:
                integers = trace.program.integers[n]
                return np.zeros_like(values[n]) if d[n] is None and not integers else d[n]

            dx = map_leaves(of_input, trace.program.inputs)
        grads = EMPTY if trace.vector is None else ArrayDict._of(params._layout, trace.vector)
        return Result(trace.total, grads, trace.state, view(trace.output), dx, trace.weight)

    def trace(
        self,
        params: ArrayDict,
        state: ArrayDict,
        batch: Batch,
        key: Keys | None = None,
        train: bool | Gather = True,
        need_dx: bool = False,
        need_grads: bool = True,
        folds: tuple[int, ...] = (),
        sums: Array | None = None,
    ) -> Trace:
        """The evaluation with all intermediate results; `folds` are integers to fold into the key first.

        `sums` is an array for the gradients of the sum over the examples of a shard, Σ w times those of the mean.
        """
        if type(batch) is tuple and len(batch) == 2:
            (x, target), weights = batch, None
        else:
            x, target, weights = parts_of(batch)
        model, loss = self.computed
        if type(params) is not ArrayDict or type(state) is not ArrayDict:
            params, state = as_dict(params, "params"), as_dict(state, "state")
        program, values, caches, new = model.run(params, state, x, key, train, folds)
        lead = program.lead
        if lead == 1:
            if type(target) is not np.ndarray:
                target = map_leaves(lambda a: numeric(a, "target"), without_axis(target, "target"))
            weights = None if weights is None else without_axis(weights, "weights")
        else:
            K = params.stack_shape[0]
            target = with_axis(target, K, "target")
            weights = None if weights is None else with_axis(weights, K, "weights")
        y = taken(values, program.output)
        value, loss_cache = loss_of(loss, y, target, weights, self.class_weights, lead)
        dy = gradient_of(loss, loss_cache)
        if loss.own is not None or loss.parts:
            dy = _checked_dy(dy, y)
        weight, total = total_weight(loss_cache, y, weights, lead), value
        vector = sums
        if sums is not None:
            dy = map_leaves(lambda a: a * weight if weight else np.zeros_like(a), dy)
        elif need_grads:
            like = params._vector
            vector = np.empty(like.size, like.dtype) if lead == 1 else new_vector(like.shape, like.dtype)
        d = run_backward(program, params, state, caches, dy, vector, need_dx)
        if self.penalty is not None:
            total = total + self.penalty.forward(params, weight)
            if vector is not None:
                vector += self.penalty.backward(params, weight)._vector
        return Trace(program, values, caches, y, value, loss_cache, dy, d, total, vector, new, weight)


def value_and_grad(
    model: Layer,
    loss: Loss | LossName,
    penalty: Penalty | None = None,
    class_weights: Numbers | None = None,
) -> ValueAndGrad:
    """Returns the function (params, state, batch, key=, train=) -> Result(value, grads, state, output, dx, weight).

    Args:
        model: a layer or a composition.
        loss: a loss or its name. A sigmoid or softmax at the end of the model and its cross-entropy are computed
            together, from the logits.
        penalty: `nn.l2(λ)`, `nn.l1(λ)`, or a user-defined one.
        class_weights: (classes,), the weight of the examples of each class.
    Raises:
        ValueError: an unknown name, or an output activation that does not match the loss.

    Accumulating the gradients of two batches for a single update:

    >>> model, optimizer = nn.mlp([2, 3, 1], ["tanh", "sigmoid"]), nn.adam()
    >>> gradients = nn.value_and_grad(model, nn.binary_cross_entropy)
    >>> params, state = model.init(nn.key(0), (2,))
    >>> x, target = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0.0], [1.0]])
    >>> a, b = gradients(params, state, (x[:1], target[:1])), gradients(params, state, (x[1:], target[1:]))
    >>> params, opt_state = optimizer.step(params, (a.grads + b.grads) / 2, optimizer.init(params))
    """
    model = instance(model, Layer, "model")
    loss = named_loss(loss)
    penalty = None if penalty is None else instance(penalty, Penalty, "penalty", ", like nn.l2(0.1)")
    classes = None if class_weights is None else _class_weights(class_weights)
    check_output(model, loss)
    return ValueAndGrad(model, loss, penalty, classes, fused(model, loss))


def parts_of(batch: Batch) -> tuple[Any, Any, Any]:
    """x, target and weights (or None) of a batch."""
    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
        came = f"{len(batch)} parts" if isinstance(batch, (tuple, list)) else type(batch).__name__
        raise ValueError(f"batch has {came}, expected (x, target) or (x, target, weights)")
    return batch[0], batch[1], batch[2] if len(batch) == 3 else None


def _class_weights(class_weights: ArrayLike) -> tuple[float, ...]:
    given = None if isinstance(class_weights, (Mapping, str)) else numeric(class_weights, "class_weights")
    if given is None or given.ndim != 1:
        raise TypeError(f"class_weights={class_weights!r}: expected a list of one weight per class, in order")
    weights = given.astype(float)
    if not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
        raise ValueError(f"class_weights={class_weights!r}: expected finite numbers, 0 or larger, not all of them 0")
    return tuple(weights.tolist())


def _checked_dy(dy: Value, y: Value) -> Value:
    """The gradient of a user-defined or combined loss, checked for y's structure and shapes, in y's dtype."""
    if isinstance(dy, tuple) != isinstance(y, tuple) or len(leaves(dy)) != len(leaves(y)):
        raise ValueError(f"loss.backward returned {len(leaves(dy))} arrays, expected one per output, {len(leaves(y))}")

    def checked(gradient: Any, output: Array) -> Array:
        if np.shape(gradient) != output.shape:
            raise ValueError(
                f"loss.backward returned shape {np.shape(gradient)}, expected that of the output, {output.shape}"
            )
        return real(gradient, "loss.backward's gradient", output.dtype)

    return map_leaves(checked, dy, y)
