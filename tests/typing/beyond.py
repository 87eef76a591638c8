"""Estimators, other libraries, pictures, sweeps, laws."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, assert_type

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

import nnfunc as nn
from nnfunc.interop import flax, keras, onnx, source
from nnfunc.interop.sklearn import NNClassifier, NNRegressor

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(30, 4)), rng.integers(0, 3, 30)
model = nn.mlp([4, 5, 3], ["relu", "softmax"])


def make(features: int, outputs: int) -> nn.Layer:
    return nn.mlp([features, 5, outputs], ["tanh", "softmax"])


def estimators() -> None:
    """As those of scikit-learn."""
    net = NNClassifier(hidden_layer_sizes=(5,), optimizer="adam", learning_rate=1e-2, epochs=2, random_state=0)
    net = net.fit(X, Y)
    assert_type(net, NNClassifier)
    said = net.predict(X), net.predict_proba(X)
    own = NNClassifier(model=make, loss=nn.categorical_cross_entropy, penalty=nn.l2(0.1), epochs=2, activation="tanh")
    regressor = NNRegressor(activation=nn.leaky_relu(), learning_rate=nn.schedules.cosine_decay(0.1, 10), epochs=2)
    regressor.fit(X, X[:, 0], sample_weight=np.ones(30)).predict(X)
    own.fit(X, Y, X_val=X, y_val=Y)
    print(said)


def libraries() -> None:
    """Weights from and to other libraries."""
    params, state = model.init(nn.key(0), (4,))
    flat = keras.to_weights(model, params, state)
    read = keras.from_weights(model, flat, (4,))
    assert_type(read, tuple[nn.ArrayDict, nn.ArrayDict])
    tree = flax.to_variables(model, params, state)
    params, state = flax.from_variables(model, tree, (4,))
    ts = nn.train_state(model, "adam", nn.key(0), (4,))
    text = source.to_source(model, ts, input_shape=(4,), loss="mean_squared_error", optimizer="adam")
    assert_type(text, str)
    proto = onnx.to_onnx(model, ts.params, input_shape=(4,))
    again, params, state = onnx.from_onnx(proto)
    assert_type(again, nn.Layer)
    assert_type(params, nn.ArrayDict)
    nn.summary(again, (4,), io.StringIO())


def pictures() -> None:
    """A picture in axes."""
    mpl.use("Agg")
    figure = nn.plots.figure(4, 3)
    ax = figure.add_subplot()
    step = nn.train_step(model, nn.sparse_categorical_cross_entropy, nn.adam())
    ts = nn.train_state(model, step.optimizer, nn.key(0), (4,))
    table = nn.history(nn.train(step, ts, (X, Y), epochs=2, key=nn.key(1)))
    nn.plots.loss_curves(table, ax=ax)
    nn.plots.confusion(nn.metrics.confusion_matrix(model, ts, X, Y), names=["a", "b", "c"])
    nn.plots.wiring(model, (4,))
    nn.plots.weight_images(ts.params["dense1.W"], (2, 2))


Settings = Mapping[str, float]


def task(settings: Sequence[Settings], keys: tuple[nn.Key, ...], x: NDArray[Any], y: NDArray[Any]) -> list[float]:
    rates = np.array([setting["rate"] for setting in settings])
    step = nn.train_step(model, nn.sparse_categorical_cross_entropy, nn.adam(rates))
    ts = nn.train_state(model, step.optimizer, keys, (4,))
    ts, metrics = step(ts, (x, y))
    losses: list[float] = np.asarray(metrics.loss).tolist()
    return losses


def many() -> None:
    """Sweeps, and a batch in shards."""
    trials = nn.distributed.sweep(task, [{"rate": 0.1}, {"rate": 0.01}], seeds=range(2), data=(X, Y))
    assert_type(trials, list[nn.distributed.Trial])
    reduce = nn.distributed.sharded(2)
    step = nn.train_step(model, nn.sparse_categorical_cross_entropy, nn.adam(), reduce=reduce)
    ts = nn.train_state(model, step.optimizer, nn.key(0), (4,))
    for batch in nn.minibatches(nn.key(1), (X, Y), reduce=reduce):
        ts, _ = step(ts, batch)
    ts = nn.distributed.gathered(ts, reduce)
    nn.testing.assert_layer_laws(nn.dense(2), (3,), max_examples=2)
    print(trials[0].setting, trials[0].result, ts.step)


if __name__ == "__main__":
    estimators()
    libraries()
    pictures()
    many()
