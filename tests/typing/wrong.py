"""Calls that a type checker must refuse, each on a line of its own that ends with the mark; all others are right."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import nnfunc as nn
from nnfunc.interop.sklearn import NNClassifier
from nnfunc.layers import Shape

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(20, 4)), rng.integers(0, 3, 20)
key = nn.key(0)
model = nn.mlp([4, 8, 3], ["relu", "softmax"])
loss = nn.sparse_categorical_cross_entropy
optimizer = nn.adam()
step = nn.train_step(model, loss, optimizer)
ts = nn.train_state(model, optimizer, key, (4,))
params, state = model.init(key, (4,))
report = nn.check_layer(model, (4,))


def bad_rule(w: nn.Array, g: nn.Array, *, t: int) -> float:
    return 0.0


def bad_schedule(step: str) -> float:
    return 0.1


def bad_backward(params: nn.ArrayDict, cache: None, dy: nn.Array) -> nn.Array:
    return dy


def forward(params: nn.ArrayDict, x: nn.Array) -> tuple[nn.Array, None]:
    return x, None


def bad_forward(params: nn.ArrayDict, x: nn.Array) -> nn.Array:
    return x


def backward(params: nn.ArrayDict, cache: None, dy: nn.Array) -> tuple[nn.Array, dict[str, nn.Array]]:
    return dy, {}


def value(params: nn.ArrayDict, examples: float) -> float:
    return 0.0


def gradient(params: nn.ArrayDict, examples: float) -> nn.ArrayDict:
    return params


def bad_initializer(shape: Shape) -> nn.Array:
    return np.zeros(shape)


def bad_batches(batches: Iterator[int]) -> Iterator[int]:
    return batches


def monitor(epoch: nn.Epoch) -> str:
    return "low"


def layers() -> None:
    """Layers and combinators."""
    nn.dense("10")  # wrong
    nn.dense(10.0)  # wrong
    nn.dense()  # wrong
    nn.dense(10, activation="relu")  # wrong
    nn.dense(10, "hee")  # wrong
    nn.dense(10, 0.1)  # wrong
    nn.dense(10, bad_initializer)  # wrong
    nn.dense(10, bias=None)  # wrong
    nn.dropout(keep_prob="0.5")  # wrong
    nn.dropout(rate=0.5)  # wrong
    nn.mlp(3, ["relu"])  # wrong
    nn.mlp([3, 1], [nn.relu])  # wrong
    nn.mlp([3, 1], ["relu"], initializer="xaver")  # wrong
    nn.conv2d(8, "3")  # wrong
    nn.conv2d(8, 3, padding="sam")  # wrong
    nn.lstm(8, output="all")  # wrong
    nn.rnn(8, "sigmoid")  # wrong
    nn.transformer_block(8, heads=2, activation="geluu")  # wrong
    nn.serial([nn.dense(3), nn.relu()])  # wrong
    nn.serial(nn.dense(3), "relu")  # wrong
    nn.serial(nn.dense(3), nn.relu)  # wrong
    nn.parallel(a=3)  # wrong
    nn.residual(lambda x: x)  # wrong
    nn.freeze("dense1.*", model)  # wrong
    nn.layer(forward, bad_backward)  # wrong
    nn.layer(forward, None)  # wrong
    nn.layer(bad_forward, backward)  # wrong
    nn.layer(forward, backward, asks="key")  # wrong
    nn.layer(forward, backward, (3,))  # wrong
    nn.Layer(forward, backward)  # wrong
    nn.Layer(value, forward, backward)  # wrong
    nn.wired(model, "gate")  # wrong
    model.init(0, (4,))  # wrong
    model.init(key, 4)  # wrong
    model.init(key, "4")  # wrong
    model.forward(params, X)  # wrong
    model.forward(params, state, X, train="yes")  # wrong
    model.forward(params, state, X, training=True)  # wrong
    _y, _cache = model.forward(params, state, X)  # wrong
    model.name = "mine"  # wrong
    params["dense1.W"] = X  # wrong
    print(params.vectr)  # wrong


def parts() -> None:
    """Optimizers, losses, penalties and schedules."""
    nn.adam(learning_rate="fast")  # wrong
    nn.adam(lr=0.1)  # wrong
    nn.adam(bad_schedule)  # wrong
    nn.adam({"*": "fast"})  # wrong
    nn.adam({1: 0.1})  # wrong
    nn.adam(0.1, 0.9, 0.999, 0.0, 1e-8, 0.1)  # wrong
    nn.optimizer(bad_rule)  # wrong
    nn.optimizer(0.1)  # wrong
    nn.clip_by_global_norm("adamm", 1.0)  # wrong
    nn.clip_by_global_norm(nn.adam, 1.0)  # wrong
    nn.clip_by_global_norm(1.0, nn.adam())  # wrong
    optimizer.step(params, params)  # wrong
    optimizer.step(params, X, optimizer.init(params))  # wrong
    nn.l2("x")  # wrong
    nn.l2(0.1, 3)  # wrong
    nn.l2()  # wrong
    nn.Penalty(forward)  # wrong
    nn.Penalty(gradient, value)  # wrong
    nn.Loss(value, gradient)  # wrong
    nn.Optimizer(value, gradient)  # wrong
    nn.Optimizer(nn.adam(), nn.gd())  # wrong
    nn.Loss(forward, "mean")  # wrong
    nn.mean_squared_error(X, Y)  # wrong
    nn.mean_squared_error(smoothing=0.1)  # wrong
    nn.mean_squared_error(reduction="total")  # wrong
    nn.huber("1")  # wrong
    nn.losses.combined([loss, loss])  # wrong
    nn.schedules.cosine_decay("0.1", steps=100)  # wrong
    nn.schedules.cosine_decay(0.1)  # wrong
    nn.schedules.join([nn.adam], [1])  # wrong
    nn.key("0")  # wrong
    nn.fold_in(0, 1)  # wrong
    nn.split(key, n=2.5)  # wrong


def training() -> None:
    """Steps, states and loops."""
    nn.train_step(model, loss)  # wrong
    nn.train_step(model, optimizer, loss)  # wrong
    nn.train_step(model, model, optimizer)  # wrong
    nn.train_step(model, loss, nn.l2(0.1))  # wrong
    nn.train_step(model, loss, optimizer, optimizer)  # wrong
    nn.train_step(model, loss, optimizer, penalty=0.1)  # wrong
    nn.train_step(model, loss, nn.adam)  # wrong
    nn.train_step(model, "cross_entropy", "adam")  # wrong
    nn.train_step(model, loss, "Adam")  # wrong
    nn.train_step(model, loss, optimizer, class_weights="balanced")  # wrong
    nn.train_step(model, loss, optimizer, nonfinite="ignore")  # wrong
    nn.train_step(model, loss, optimizer, reduce="mean")  # wrong
    nn.train_state(model, "adamm", key, (4,))  # wrong
    nn.train_state(model, "adam", 0, (4,))  # wrong
    nn.train_state(model, "adam", key, 4)  # wrong
    nn.train_state(model, "adam")  # wrong
    nn.train_state(model, loss, key, (4,))  # wrong
    step(ts, X)  # wrong
    step(ts, (X,))  # wrong
    step(ts, (X, Y, X, Y))  # wrong
    step((X, Y), ts)  # wrong
    step(ts, X, Y)  # wrong
    _after, _metrics, _rest = step(ts, (X, Y))  # wrong
    print(step(ts, (X, Y)).loss)  # wrong
    print(step(ts, (X, Y))[1].los)  # wrong
    nn.minibatches(0, (X, Y))  # wrong
    nn.minibatches(key, X)  # wrong
    nn.minibatches(key, (X, Y), batch_size="64")  # wrong
    nn.minibatches((X, Y), batch_size=64)  # wrong
    for _x, _y, _z in nn.minibatches(key, (X, Y)):  # wrong
        pass
    nn.train(step, ts, (X, Y), epochs="3", key=key)  # wrong
    nn.train(step, ts, (X, Y), epochs=3)  # wrong
    nn.train(step, ts, (X, Y), 3, key=key)  # wrong
    nn.train(step, ts, X, epochs=3, key=key)  # wrong
    nn.train(step, ts, (X, Y), epochs=3, key=0)  # wrong
    nn.train(step, ts, (X, Y), epochs=3, key=key, shuffle=True)  # wrong
    nn.train(step, ts, (X, Y), epochs=3, key=key, validation=X)  # wrong
    nn.train(step, ts, (X, Y), epochs=3, key=key, batches=bad_batches)  # wrong
    nn.train(model, ts, (X, Y), epochs=3, key=key)  # wrong
    for epoch in nn.train(step, ts, (X, Y), epochs=3, key=key):
        print(epoch.validation.loss)  # wrong
        print(epoch.val_loss)  # wrong
    nn.early_stopping(ts)  # wrong
    nn.early_stopping([], patience="10")  # wrong
    nn.best_epoch([], monitor)  # wrong
    nn.value_and_grad(model, optimizer)  # wrong
    _value, _grads = nn.value_and_grad(model, loss)(params, state, (X, Y))  # wrong
    print(nn.value_and_grad(model, loss)(params, state, (X, Y)).gradients)  # wrong
    nn.stack(ts)  # wrong
    nn.stack([ts, params])  # wrong
    nn.unstack(X)  # wrong


def beside() -> None:
    """What a model says, checks, files, names that are not."""
    nn.predict(model, X, ts)  # wrong
    nn.predict(ts, model, X)  # wrong
    nn.accuracy(model, ts, X)  # wrong
    nn.metrics.f1_score(X, Y, average="mean")  # wrong
    nn.evaluate(model, ts, loss, X, Y)  # wrong
    nn.evaluate(model, loss, ts, X, Y, metrics=[nn.metrics.r2_score])  # wrong
    nn.check_layer(nn.dense, (4,))  # wrong
    nn.check_layer(model, 4)  # wrong
    nn.check_layer(model, (4,), key=0)  # wrong
    nn.check_model(model, X, params)  # wrong
    nn.check_gradients(X, X, params)  # wrong
    nn.check_function(forward)  # wrong
    print(report.oks)  # wrong
    print(report.findings[0].where.nam)  # wrong
    print(report["ok"])  # wrong
    nn.save(ts, "run.npz")  # wrong
    nn.load("run.npz", "model")  # wrong
    _a, _b, _c = nn.load("run.npz")  # wrong
    nn.plots.loss_curves([0.1, 0.2])  # wrong
    NNClassifier(optimizer="adamm")  # wrong
    print(nn.nonexistent)  # wrong
    print(nn.cosine_decay)  # wrong
    print(nn.layers.nonexistent)  # wrong
    print(nn.losses.mse)  # wrong
