"""One training step: forward, loss, backward, step, composed into a pure function of a state and a batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from nnfunc import losses, penalties
from nnfunc.arrays import EMPTY, Array, ArrayDict, Scalar, stack
from nnfunc.errors import NonFiniteError, all_finite, by_name, instance, numeric
from nnfunc.keys import Keys, check, fold_in, split
from nnfunc.layers.activations import sigmoid, softmax
from nnfunc.layers.base import Layer, Shape, full_form
from nnfunc.layers.combinators import last_layer, with_layers
from nnfunc.losses import (
    LOSSES,
    Loss,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    categorical_cross_entropy,
    categorical_cross_entropy_with_logits,
    loss_of,
    of_network,
    sparse_categorical_cross_entropy,
    sparse_categorical_cross_entropy_with_logits,
)
from nnfunc.optimizers.base import Optimizer
from nnfunc.optimizers.rules import OPTIMIZERS
from nnfunc.penalties import Penalty
from nnfunc.training.nonfinite import where_it_began
from nnfunc.values import same

Batch: TypeAlias = tuple[ArrayLike, ...]
"""(x, target), or (x, target, weights) with a weight for each example."""


class TrainState(NamedTuple):
    """All that training changes: a step takes one and gives the next.

    `params`, `state` (running averages and the like) and `opt_state` are immutable dicts of arrays; `key` is the source
    of randomness of all steps; `step` counts the updates so far.

    >>> ts = nn.train_state(nn.serial(nn.dense(3)), nn.gd(), nn.key(0), input_shape=(2,))
    >>> ts.step, ts.params.size, list(ts.opt_state)
    (0, 9, ['step'])
    """

    params: ArrayDict
    state: ArrayDict
    opt_state: ArrayDict
    key: Keys
    step: int


class Metrics(NamedTuple):
    """What a step reports, all from before its update: the cost of the batch (loss and penalty) and the outputs.

    `output` is what the loss saw; where a sigmoid or softmax was fused with its cross-entropy, these are logits.

    >>> nn.Metrics(loss=0.5, output=np.zeros((1, 2))).loss
    0.5
    """

    loss: Scalar
    output: Array


class TrainStep(NamedTuple):
    """A training step as a value: call it with a state and a batch. Made by `train_step`.

    `computed` are the model and the loss as they are computed in training: without the output activation and on
    logits, where the two belong together.

    >>> step = nn.train_step(nn.mlp([2, 1], ["sigmoid"]), nn.binary_cross_entropy, nn.gd(0.1), penalty=nn.l2(0.1))
    >>> step.optimizer, step.penalty, step.computed[1]
    (gd(learning_rate=0.1), l2(strength=0.1, where='*W'), binary_cross_entropy_with_logits)
    """

    model: Layer
    loss: Loss
    optimizer: Optimizer
    penalty: Penalty | None
    class_weights: tuple[float, ...] | None
    computed: tuple[Layer, Loss]

    def __call__(self, ts: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """The state after one update on a batch, and the metrics before it.

        Args:
            ts: from `train_state`, or the last step.
            batch: (x, target) or (x, target, weights).
        Raises:
            NonFiniteError: the loss or the gradient is NaN or infinite; the message says in which layer it began.
            ValueError: shapes or labels that do not fit, dropout without a key, parameters that are not the model's.
        """
        x, target, weights = _parts(batch)
        if not isinstance(ts, TrainState):
            raise TypeError(f"ts is {type(ts).__name__}, expected a TrainState: make one with nn.train_state")
        key = fold_in(ts.key, ts.step)
        model, loss = self.computed
        penalty = self.penalty
        if ts.params.stack_shape:
            loss = losses.for_stack(loss, ts.params)
            penalty = None if penalty is None else penalties.for_stack(penalty, ts.params)
        with np.errstate(all="ignore"):  # what is not finite is an error below, with more to say than a warning
            y, cache, state = model.forward(ts.params, ts.state, numeric(x, "x"), key=key, train=True)
            rows, target, weights = of_network(ts.params, y, target, weights)
            value, loss_cache = loss_of(loss, rows, target, weights, self.class_weights)
            dy = loss.backward(loss_cache)
            if np.shape(dy) != rows.shape:
                raise ValueError(
                    f"loss.backward returned shape {np.shape(dy)}, expected that of the outputs, {rows.shape}"
                )
            dy = dy if rows is y else dy.reshape(y.shape)
            _, grads = model.backward(ts.params, cache, dy, need_dx=False)
            if penalty is not None:
                examples = rows.shape[-2]
                value = value + penalty.forward(ts.params, examples)
                grads = grads + penalty.backward(ts.params, examples)
            finite_loss = math.isfinite(value) if isinstance(value, float) else np.isfinite(value).all()
            if not (finite_loss and all_finite(grads.vector) and (state is ts.state or all_finite(state.vector))):
                raise NonFiniteError(
                    where_it_began(model, loss, ts.params, ts.state, ts.step, x, target, key, value, grads, state)
                )
            params, opt_state = self.optimizer.step(ts.params, grads, ts.opt_state)
        return TrainState(params, state, opt_state, ts.key, ts.step + 1), Metrics(value, y)


def train_step(
    model: Layer,
    loss: Loss | str,
    optimizer: Optimizer | str,
    penalty: Penalty | None = None,
    class_weights: ArrayLike | None = None,
) -> TrainStep:
    """A pure function (train_state, batch) -> (train_state, metrics) that makes one update.

    Args:
        model: a layer or a composition.
        loss: a loss or its name. A sigmoid or softmax at the end of the model and its cross-entropy are computed
            together, from the logits.
        optimizer: an optimizer, or the name of one with its default settings.
        penalty: `nn.l2(λ)`, `nn.l1(λ)`, or one of your own.
        class_weights: (classes,), the weight of the examples of each class.
    Raises:
        ValueError: an unknown name; the message has the nearest one.

    >>> model = nn.mlp([2, 3, 1], ["tanh", "sigmoid"])
    >>> step = nn.train_step(model, nn.binary_cross_entropy, nn.adam(0.1), penalty=nn.l2(0.01))
    >>> ts = nn.train_state(model, step.optimizer, nn.key(0), input_shape=(2,))
    >>> batch = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0, 1])
    >>> for _ in range(100):
    ...     ts, metrics = step(ts, batch)
    >>> metrics.loss < 0.3, ts.step
    (True, 100)
    """
    classes = None if class_weights is None else _class_weights(class_weights)
    model = full_form(instance(model, Layer, "model"))
    loss = instance(by_name("loss", loss, LOSSES), Loss, "loss")
    optimizer = instance(by_name("optimizer", optimizer, OPTIMIZERS), Optimizer, "optimizer")
    penalty = None if penalty is None else instance(penalty, Penalty, "penalty")
    _check_output(model, loss)
    return TrainStep(model, loss, optimizer, penalty, classes, fused(model, loss))


def train_state(
    model: Layer,
    optimizer: Optimizer | str,
    key: Keys,
    input_shape: Shape | None = None,
    dtype: DTypeLike = np.float32,
    params: Mapping[str, ArrayLike] | None = None,
    state: Mapping[str, ArrayLike] | None = None,
) -> TrainState:
    """The state to begin with.

    Args:
        model, optimizer: those of the step.
        key: the source of the initial parameters and of all later randomness; a tuple of K keys gives a stack of K
            networks.
        input_shape: the shape of one example, like (64,); not needed where params are given to a model without state.
        dtype: of the parameters, and so of all computation.
        params: the parameters to begin with, instead of initial ones; they keep their dtype.
        state: the model's state to begin with, likewise.
    Raises:
        ValueError: neither input_shape nor params; with both, params that do not fit the model (else the first step
            says so).

    >>> model = nn.serial(nn.dense(3))
    >>> ts = nn.train_state(model, nn.adam(), nn.key(0), input_shape=(2,))
    >>> list(ts.params), list(ts.opt_state), ts.step
    (['dense1.W', 'dense1.b'], ['m.dense1.W', 'm.dense1.b', 'v.dense1.W', 'v.dense1.b', 'step'], 0)
    """
    model = instance(model, Layer, "model")
    optimizer = instance(by_name("optimizer", optimizer, OPTIMIZERS), Optimizer, "optimizer")
    key = tuple(key) if isinstance(key, list) else key
    if key == ():
        raise ValueError("key is an empty tuple: expected a key, or a key for each network of a stack")
    keys = [check(k) for k in (key if isinstance(key, tuple) else (key,))]
    pairs = [split(k) for k in keys]
    if input_shape is not None:
        members = [model.init(init_key, input_shape, dtype) for init_key, _ in pairs]
        fresh, fresh_state = members[0]
        if isinstance(key, tuple):
            fresh, fresh_state = stack([p for p, _ in members]), stack([s for _, s in members])
        state = fresh_state if state is None else fresh_state.like(state, "state")
        if params is not None:
            params = params if isinstance(params, ArrayDict) else ArrayDict(params, stacked=isinstance(key, tuple))
            params = fresh.astype(params.dtype).like(params, "params: they do not fit the model, whose params it")
        else:
            params = fresh
    elif params is None:
        raise ValueError("neither input_shape nor params: pass input_shape=(features,), the shape of one example")
    params = params if isinstance(params, ArrayDict) else ArrayDict(params)
    state = EMPTY if state is None else state if isinstance(state, ArrayDict) else ArrayDict(state)
    state = state.astype(params.dtype)
    later = tuple(k for _, k in pairs)
    return TrainState(params, state, optimizer.init(params), later if isinstance(key, tuple) else later[0], 0)


# -- fusing an output activation with its loss -------------------------------------------------------------------------

FUSED = (
    (sigmoid(), binary_cross_entropy, binary_cross_entropy_with_logits),
    (softmax(), categorical_cross_entropy, categorical_cross_entropy_with_logits),
    (softmax(), sparse_categorical_cross_entropy, sparse_categorical_cross_entropy_with_logits),
)
"""(output activation, loss on its probabilities, the same loss on logits)"""


def fused(model: Layer, loss: Loss) -> tuple[Layer, Loss]:
    """A model without its output activation and the loss on logits, where the two belong together; else as they are.

    >>> model, loss = fused(nn.serial(nn.dense(1), nn.sigmoid()), nn.binary_cross_entropy)
    >>> [name for name, _ in model.layers], loss
    (['dense1'], binary_cross_entropy_with_logits)
    """
    for activation, on_probabilities, on_logits in FUSED:
        if same(loss, on_probabilities):
            body = without_last(model, activation)
            if body is not None:
                return body, on_logits
    return model, loss


def _check_output(model: Layer, loss: Loss) -> None:
    """Refuses an output activation that the loss applies too, and one of another kind of decision than the loss."""
    last = last_layer(model)
    for activation, on_probabilities, on_logits in FUSED:
        if same(last, activation) and same(loss, on_logits):
            raise ValueError(
                f"the model ends with {last!r} and {on_logits!r} applies it again: use {on_probabilities!r}, or end "
                "the model with its logits"
            )
    if same(last, softmax()) and (same(loss, binary_cross_entropy) or same(loss, binary_cross_entropy_with_logits)):
        raise ValueError(
            f"the model ends with softmax(), whose outputs are one decision, but {loss!r} takes each as its own: use "
            "sigmoid(), or categorical_cross_entropy"
        )
    if same(last, sigmoid()) and (
        same(loss, categorical_cross_entropy) or same(loss, sparse_categorical_cross_entropy)
    ):
        raise ValueError(
            f"the model ends with sigmoid(), whose outputs are decisions of their own, but {loss!r} takes them as one "
            "and would drive all of them to 1: use softmax(), or binary_cross_entropy"
        )


def without_last(model: Layer, last: Layer) -> Layer | None:
    """The series without its last layer, if that is `last`; series may nest. None if it is not."""
    if model.name != "serial" or not model.layers:
        return None
    *before, (name, layer) = model.layers
    if same(layer[:3], last[:3]):
        return with_layers(model, tuple(before)) if before else None
    inner = without_last(layer, last)
    return None if inner is None else with_layers(model, (*before, (name, inner)))


# -- what is handed in -------------------------------------------------------------------------------------------------


def _class_weights(class_weights: ArrayLike) -> tuple[float, ...]:
    if isinstance(class_weights, (Mapping, str)) or np.ndim(class_weights) != 1:
        raise TypeError(f"class_weights={class_weights!r}: expected a list, the weight of each class in order")
    weights = numeric(class_weights, "class_weights").astype(float)
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(f"class_weights={class_weights!r}: expected numbers of 0 or more")
    return tuple(weights.tolist())


def _parts(batch: Batch) -> tuple[ArrayLike, ArrayLike, ArrayLike | None]:
    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
        came = f"{len(batch)} parts" if isinstance(batch, (tuple, list)) else type(batch).__name__
        raise ValueError(f"batch has {came}, expected (x, target) or (x, target, weights)")
    x, target, *weights = batch
    return x, target, weights[0] if weights else None
