"""Optimizers, losses, penalties, schedules, metrics and initializers of a user's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, assert_type

import numpy as np

import nnfunc as nn
from nnfunc.arrays import Scalar
from nnfunc.optimizers import OptimizerName, Setting
from nnfunc.schedules import Schedule

# -- optimizers --------------------------------------------------------------------------------------------------------


def sign_descent(w: nn.Array, g: nn.Array, *, t: int, learning_rate: float) -> tuple[nn.Array]:
    return (w - learning_rate * np.sign(g),)


def heavy_ball(
    w: nn.Array, g: nn.Array, v: nn.Array, *, t: int, learning_rate: float | nn.Array, beta: float | nn.Array
) -> tuple[nn.Array, nn.Array]:
    v = beta * v - learning_rate * g
    return w + v, v


signs = nn.optimizer(sign_descent, elementwise=True, learning_rate=0.1)
ball = nn.optimizer(heavy_ball, ("v",), elementwise=True, learning_rate={"*W": 0.1, "*": 0.01}, beta=0.9)
assert_type(ball, nn.Optimizer)


def own_init(params: nn.ArrayDict) -> nn.ArrayDict:
    return nn.ArrayDict({"count": np.zeros((), np.int64)})


def own_step(params: nn.ArrayDict, grads: nn.ArrayDict, opt_state: nn.ArrayDict) -> tuple[nn.ArrayDict, nn.ArrayDict]:
    return params - 0.1 * grads, opt_state


own = nn.Optimizer(own_init, own_step)


def warm(step: int) -> float:
    return min(1e-3, 1e-5 * (step + 1))


class Decay(NamedTuple):
    """A schedule that is an object."""

    initial: float

    def __call__(self, step: int) -> float:
        return self.initial / (1 + step)


rate: Schedule = nn.schedules.cosine_decay(0.1, steps=100)
joined: Schedule = nn.schedules.join([warm, 0.1, rate], [10, 20])
setting: Setting = {"dense1.*": rate, "*": 1e-3}
word: OptimizerName = "adamw"
optimizers = [
    nn.adam(),
    nn.adam(1),
    nn.adam(rate),
    nn.adam(warm),
    nn.adam(Decay(0.1)),
    nn.adam(lambda step: 0.1 / (1 + step)),
    nn.adam(np.array([0.1, 0.01])),
    nn.adam(np.float32(0.1)),
    nn.adam([0.1, 0.01]),
    nn.adam({"*W": warm, "*": np.array([0.1, 0.2])}),
    nn.adamw(setting, weight_decay={"*W": 0.1, "*": 0}),
    nn.clip_by_global_norm("adam", 1.0),
    nn.optimizers.clip_by_value(nn.gd(0.1), 1.0),
    nn.optimizers.lookahead(word),
    nn.optimizers.ema(nn.momentum(0.1, 0.9)),
    nn.optimizers.partition({"*W": nn.optimizers.muon(0.02), "*": "adam"}),
    nn.optimizers.reduce_on_plateau("adam", patience=3),
]
assert_type(optimizers, list[nn.Optimizer])


# -- losses and penalties ----------------------------------------------------------------------------------------------


def cubic_forward(y: nn.Array, target: nn.Array) -> tuple[float, nn.Array]:
    return float(np.mean(np.abs(y - target) ** 3)), y - target


def cubic_backward(cache: nn.Array) -> nn.Array:
    return 3 * cache * np.abs(cache) / cache.size


def weighted_forward(y: nn.Array, target: nn.Array, weights: nn.Array | None = None) -> tuple[float, nn.Array]:
    return float(np.mean(y - target)), np.ones_like(y)


cubic = nn.Loss(cubic_forward, cubic_backward)
weighted = nn.Loss(weighted_forward, cubic_backward)
assert_type(cubic, nn.Loss)
smooth = nn.categorical_cross_entropy(label_smoothing=0.1)
losses = [
    nn.sparse_categorical_cross_entropy(ignore=-1, label_smoothing=0.1),
    nn.binary_cross_entropy(positive_weights=[1.0, 2.0]),
    nn.binary_cross_entropy(positive_weights=3.0, missing=True),
    nn.mean_squared_error(output_weights=np.array([1.0, 2.0]), reduction="sum"),
    nn.mean_squared_error,
    nn.huber(0.5),
    nn.losses.quantile([0.1, 0.9]),
    nn.losses.focal(2.0, alpha=0.25),
    nn.losses.combined(nn.mean_squared_error, cubic, weights=(1.0, 0.5)),
    nn.losses.combined(nn.mean_squared_error, smooth, weights=np.array([1.0, 0.5])),
]
assert_type(losses, list[nn.Loss])
value, cache = nn.mean_squared_error.forward(np.ones((2, 1)), [[1.0], [2.0]], weights=[1.0, 2.0])
assert_type(value, Scalar)
slope: nn.Array = nn.mean_squared_error.backward(cache)


def group_value(params: nn.ArrayDict, examples: Scalar) -> float:
    return float(np.sum(params["dense1.W"] ** 4) / float(np.asarray(examples)))


def group_gradient(params: nn.ArrayDict, examples: Scalar) -> dict[str, nn.Array]:
    zero = {name: np.zeros_like(array) for name, array in params.items()}
    return {**zero, "dense1.W": 4 * params["dense1.W"] ** 3 / float(np.asarray(examples))}


penalties: list[nn.Penalty | None] = [
    None,
    nn.Penalty(group_value, group_gradient),
    nn.l2(0.1),
    nn.l2(1, where=["*W", "*gamma"]),
    nn.l1(np.array([0.1, 0.2])),
    nn.l2([0.1, 0.2], "*W"),
]


# -- metrics -----------------------------------------------------------------------------------------------------------


def worst(y: nn.Array, target: nn.Array, weights: nn.Array | None = None) -> float:
    return float(np.max(np.abs(y - target)))


def used() -> None:
    """What these do in a step."""
    model = nn.serial(nn.dense(4), nn.tanh(), nn.dense(1))
    ts = nn.train_state(model, ball, nn.key(0), (3,))
    data = np.ones((5, 3)), np.ones((5, 1))
    for optimizer in (signs, ball, own):
        step = nn.train_step(model, cubic, optimizer, nn.Penalty(group_value, group_gradient))
        ts = nn.train_state(model, optimizer, nn.key(0), (3,))
        ts, metrics = step(ts, data)
        assert_type(metrics, nn.Metrics)
        assert_type(metrics.loss, Scalar)
    metrics_by_name: Mapping[str, nn.metrics.Metric] = {"worst": worst, "r2": nn.metrics.r2_score}
    held_out = nn.evaluate(model, cubic, ts, *data, metrics=metrics_by_name)
    assert_type(held_out, nn.metrics.Evaluation)
    assert_type(held_out.metrics, Mapping[str, Scalar])
    table = nn.metrics.confusion_matrix(nn.mlp([3, 2], ["softmax"]), nn.mlp([3, 2], ["softmax"]).init(nn.key(0), (3,)),
                                        data[0], [0, 1, 0, 1, 1])  # fmt: skip
    assert_type(int(table[0, 0]), int)
    drawn = nn.initializers.orthogonal(nn.key(0), (3, 3), np.float64)
    assert_type(drawn, nn.Array)
    state = nn.optimizers.reduce_on_plateau("gd").init(ts.params)
    state = nn.optimizers.observe(nn.optimizers.reduce_on_plateau("gd"), state, 0.5)
    assert_type(state, nn.ArrayDict)
    print(slope, value, joined(3), held_out.metrics["worst"])


if __name__ == "__main__":
    used()
