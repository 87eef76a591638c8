"""The training step as a pure function: value and gradients, the check that they are finite, and the update."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

from nnfunc._internal.validate import all_finite
from nnfunc.arrays import Array, ArrayDict, Numbers, Scalar, new_vector
from nnfunc.core.kernel import view
from nnfunc.core.layer import Layer
from nnfunc.core.values import Value
from nnfunc.errors import NonFiniteError
from nnfunc.losses.base import Loss, LossName
from nnfunc.losses.options import asks
from nnfunc.models.nonfinite import where_it_began
from nnfunc.optimizers.base import Optimizer, OptimizerName
from nnfunc.optimizers.names import named_optimizer
from nnfunc.optimizers.update import update
from nnfunc.penalties import Penalty
from nnfunc.training.bound import Straight, bind, layouts_of
from nnfunc.training.gradients import Batch, ValueAndGrad, value_and_grad
from nnfunc.training.shards import Reduction, Shards, added, by_function
from nnfunc.training.state import TrainState

BOUND = 8
"""The maximum number of layouts and shapes that a step is bound to."""


class Metrics(NamedTuple):
    """The metrics of a step, computed before its update.

    `loss` is the cost of the batch, including the penalty. `output` is the input of the loss (logits where a sigmoid or
    softmax is fused with its cross-entropy). `weight` is m, the number of examples or the sum of their weights.
    `updated` is whether the update was made, for each network of a stack: a step with nonfinite="skip" skips it if the
    loss or a gradient is not finite.

    >>> nn.Metrics(loss=0.5, output=np.zeros((1, 2))).loss
    0.5
    """

    loss: Scalar
    output: Value
    weight: Scalar = 1.0
    updated: Any = True


class Fields(NamedTuple):
    """The fields of a `TrainStep`."""

    value_and_grad: ValueAndGrad
    optimizer: Optimizer
    nonfinite: Literal["raise", "skip"] = "raise"
    reduce: Reduction | None = None


class TrainStep(Fields):
    """A training step as a value: call it with a state and a batch. Created by `train_step`.

    `value_and_grad` is its first half, which also contains `model`, `loss`, `penalty` and `class_weights`.

    >>> step = nn.train_step(nn.mlp([2, 1], ["sigmoid"]), nn.binary_cross_entropy, nn.gd(0.1), penalty=nn.l2(0.1))
    >>> step.optimizer, step.penalty, step.computed[1]
    (gd(learning_rate=0.1), l2(strength=0.1, where='*W'), binary_cross_entropy_with_logits)
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return TrainStep, tuple(self)

    @property
    def _bound(self) -> dict[Any, Straight]:
        """The steps bound so far, a cache that is not part of this value."""
        return self.__dict__.setdefault("_straight", {})  # type: ignore[no-any-return]  # filled below

    @property
    def model(self) -> Layer:
        """The model."""
        return self.value_and_grad.model

    @property
    def loss(self) -> Loss:
        """The loss."""
        return self.value_and_grad.loss

    @property
    def penalty(self) -> Penalty | None:
        """The penalty, or None."""
        return self.value_and_grad.penalty

    @property
    def class_weights(self) -> tuple[float, ...] | None:
        """The weight of the examples of each class, or None."""
        return self.value_and_grad.class_weights

    @property
    def computed(self) -> tuple[Layer, Loss]:
        """The model and the loss as they are computed in training: fused where possible."""
        return self.value_and_grad.computed

    @np.errstate(all="ignore")  # non-finite values raise an error, which says more than a warning
    def __call__(self, ts: TrainState, batch: Batch | Shards, *, donate: bool = False) -> tuple[TrainState, Metrics]:
        """Returns the state after one update on a batch, and the metrics before it.

        Args:
            ts: from `train_state` or the last step.
            batch: (x, target) or (x, target, weights).
            donate: reuses the memory of `ts.opt_state` for the new one, which saves time if it is large (tens of MB).
                Any later use of the old one is an error, and arrays that share its memory (its arrays and groups, the
                members of `nn.unstack`) are overwritten; the parameters are not. `nn.train` does this within an epoch.
                It has no effect with `nonfinite="skip"` or a user-defined rule.
        Raises:
            NonFiniteError: the loss or the gradient is NaN or infinite; the message names the layer where it began.
            ValueError: mismatched shapes or labels, dropout without a key, or parameters of another model.

        The key of step t is `nn.fold_in(ts.key, t)`, t = ts.step; the layers' keys are derived from it as documented in
        `nn.value_and_grad`.
        """
        if not isinstance(ts, TrainState):
            raise TypeError(f"ts is {type(ts).__name__}, expected a TrainState: create one with nn.train_state")
        if self.reduce is not None:
            found = added(self.value_and_grad, self.reduce, ts, batch, self.nonfinite == "raise")
            return self._advanced(ts, found.value, found.vector, found.state, found.output, found.weight, donate)
        if isinstance(batch, Shards):
            raise TypeError("batch is Shards, but the step has no reduce=: pass it the same one as to minibatches")
        which = layouts_of(ts, batch[0]) if type(batch) is tuple and len(batch) == 2 else None
        straight = None if which is None else self._bound.get(which)
        if straight is not None:
            try:
                result = straight(ts, batch[0], batch[1], donate)
            except Exception:  # the general path raises an error that says what is wrong
                result = None
            if result is not None:
                params, opt_state, state, value, y, rows = result
                return TrainState(params, state, opt_state, ts.key, ts.step + 1), Metrics(value, view(y), rows)
        return self._general(ts, batch, which, donate)

    def _general(
        self, ts: TrainState, batch: Batch, which: tuple[Any, ...] | None, donate: bool
    ) -> tuple[TrainState, Metrics]:
        """The general path; it binds a plain step for later calls."""
        params, state, _, key, t = ts
        trace = self.value_and_grad.trace(params, state, batch, key, folds=(t,))
        value, vector, moved = trace.total, trace.vector, trace.state
        assert vector is not None
        finite = math.isfinite(value) if type(value) is float else bool(np.isfinite(value).all())
        finite = finite and all_finite(vector) and (moved is state or all_finite(moved._vector))
        if not finite and self.nonfinite == "raise":
            raise NonFiniteError(where_it_began(self.value_and_grad, ts, batch, trace))
        if which is not None and which not in self._bound:
            straight = bind(self, ts, trace.program)
            if straight is not None:
                if len(self._bound) >= BOUND:
                    self._bound.pop(next(iter(self._bound)), None)
                self._bound[which] = straight
        return self._advanced(ts, value, vector, moved, trace.output, trace.weight, donate)

    def _advanced(
        self,
        ts: TrainState,
        value: Scalar,
        vector: Array,
        moved: ArrayDict,
        output: Value,
        weight: Scalar,
        donate: bool,
    ) -> tuple[TrainState, Metrics]:
        """Updates the state, given the value and gradient of a batch."""
        params, state, opt_state, key, t = ts
        donate = donate and self.nonfinite == "raise"
        new, new_opt = update(self.optimizer, params, vector, opt_state, donate)
        updated: Any = True
        if self.nonfinite == "skip":
            updated = _updated(value, vector, moved, new, new_opt)
            new, moved, new_opt = (
                _kept(params, new, updated),
                _kept(state, moved, updated),
                _kept(opt_state, new_opt, updated),
            )
        metrics = Metrics(value, None if output is None else view(output), weight, updated)
        return TrainState(new, moved, new_opt, key, t + 1), metrics


def train_step(
    model: Layer,
    loss: Loss | LossName,
    optimizer: Optimizer | OptimizerName,
    penalty: Penalty | None = None,
    class_weights: Numbers | None = None,
    *,
    nonfinite: Literal["raise", "skip"] = "raise",
    reduce: Reduction | Callable[[Array], Array] | None = None,
) -> TrainStep:
    """Returns a pure function (train_state, batch) -> (train_state, metrics) that makes one update.

    Args:
        model: a layer or a composition.
        loss: a loss or its name. A sigmoid or softmax at the end of the model and its cross-entropy are computed
            together, from the logits.
        optimizer: an optimizer, or the name of one with default settings.
        penalty: `nn.l2(λ)`, `nn.l1(λ)`, or a user-defined one.
        class_weights: (classes,), the weight of the examples of each class.
        nonfinite: the action if the loss or a gradient is NaN or infinite. "raise" raises an error that says where it
            began (a non-finite update is detected by the next step, or by `nn.train` at the end of the epoch). "skip"
            skips the update, also one that is itself non-finite: the network (each diverged one of a stack) stays as it
            is, and `metrics.updated` is False.
        reduce: distributes a batch over processes: `nn.distributed.mpi()`, or `nn.distributed.sharded(S)`; or a
            function that sums a vector over all processes, in which case each process has its own batch.
    Raises:
        ValueError: an unknown name; the message suggests the closest one.

    >>> model = nn.mlp([2, 3, 1], ["tanh", "sigmoid"])
    >>> step = nn.train_step(model, nn.binary_cross_entropy, nn.adam(0.1), penalty=nn.l2(0.01))
    >>> ts = nn.train_state(model, step.optimizer, nn.key(0), input_shape=(2,))
    >>> batch = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0, 1])
    >>> for _ in range(100):
    ...     ts, metrics = step(ts, batch)
    >>> metrics.loss < 0.3, ts.step
    (True, 100)
    """
    if not isinstance(nonfinite, str) or nonfinite not in ("raise", "skip"):
        raise ValueError(f"nonfinite={nonfinite!r}: expected 'raise' or 'skip'")
    optimizer = named_optimizer(optimizer)
    if reduce is not None and not isinstance(reduce, Reduction):
        if not callable(reduce):
            raise TypeError(f"reduce={reduce!r}: expected nn.distributed.mpi(), or a function of a vector")
        reduce = by_function(reduce)
    if reduce is not None and reduce.trivial:  # one shard is the whole batch
        reduce = None
    function = value_and_grad(model, loss, penalty, class_weights)
    if reduce is not None and asks(function.loss, "reduction"):
        raise ValueError(f"reduce= takes the mean over all shards, but {function.loss!r} is a sum: omit its reduction")
    return TrainStep(function, optimizer, nonfinite, reduce)


def _updated(value: Scalar, vector: Array, *dicts: ArrayDict) -> Any:
    """Whether all values are finite, for each network of a stack."""
    parts = [vector, *(d._vector for d in dicts if d.names)]
    finite: Any = np.isfinite(value) & np.all([np.isfinite(a).all(axis=-1) for a in parts], axis=0)
    return finite if vector.ndim > 1 else bool(finite)


def _kept(old: ArrayDict, new: ArrayDict, updated: Any) -> ArrayDict:
    """The new dict, with the old values where no update is made."""
    if np.all(updated):
        return new
    if np.ndim(updated) == 0:
        return old
    vector = new_vector(new._vector.shape, new.dtype)
    vector[...] = np.where(updated[:, None], new._vector, old._vector)
    counts = {k: np.where(updated, new._integers[k], old._integers[k]) for k in new._integers}
    for count in counts.values():
        count.setflags(write=False)
    return ArrayDict._of(new._layout, vector, counts)
