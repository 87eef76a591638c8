"""Training: by hand, composed, and with the usual loop; stacks; files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import assert_type

import numpy as np
from numpy.typing import NDArray

import nnfunc as nn
from nnfunc.arrays import Scalar
from nnfunc.keys import Key
from nnfunc.training import Batch, Counted, Data

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(20, 4)), rng.integers(0, 3, 20)
model = nn.mlp([4, 8, 3], ["relu", "softmax"], keep_prob=0.9)
loss = nn.sparse_categorical_cross_entropy


def by_hand(key: Key) -> nn.ArrayDict:
    """All that there is."""
    optimizer = nn.adam(1e-2)
    params, state = model.init(key, (4,))
    opt_state = optimizer.init(params)
    for x, y in nn.minibatches(key, (X, Y), batch_size=8):
        a, cache, state = model.forward(params, state, x, key=key, train=True)
        value, loss_cache = loss.forward(a, y)
        dx, grads = model.backward(params, cache, loss.backward(loss_cache))
        params, opt_state = optimizer.step(params, grads, opt_state)
        print(float(np.asarray(value)), dx.shape, grads.vector.shape, x.mean(), y.max())
    return params


def half_composed(key: Key) -> float:
    """Gradients that are added over two batches."""
    value_and_grad: nn.training.ValueAndGrad = nn.value_and_grad(model, "sparse_categorical_cross_entropy", nn.l2(0.1))
    params, state = model.init(key, (4,))
    result = value_and_grad(params, state, (X, Y), key=key)
    assert_type(result, nn.training.Result)
    value, grads, state, output, dx, weight = result
    assert_type(grads, nn.ArrayDict)
    more = value_and_grad(params, state, (X, Y, np.ones(20)), key=nn.fold_in(key, 1), need_dx=True)
    mean = (grads + more.grads) / 2
    assert_type(mean, nn.ArrayDict)
    params, _ = nn.gd(0.1).step(params, mean, nn.gd(0.1).init(params))
    print(output, dx, weight)
    return float(np.asarray(value))


def batches(key: Key) -> Iterator[tuple[nn.Array, NDArray[np.int64]]]:
    """Batches from anywhere."""
    for i in range(2):
        k = nn.fold_in(key, i)
        yield nn.keys.generator(k).normal(size=(5, 4)), np.zeros(5, np.int64)


def composed(key: Key) -> nn.TrainState:
    """A step, and a loop of one's own."""
    step = nn.train_step(model, loss, nn.adam(1e-2), penalty=nn.l2(0.1), class_weights=[1.0, 1.0, 2.0])
    assert_type(step, nn.TrainStep)
    ts = nn.train_state(model, step.optimizer, key, input_shape=(4,))
    for batch in batches(key):
        ts, metrics = step(ts, batch)
        assert_type(metrics.loss, Scalar)
        assert_type(metrics.output, nn.layers.Value)
    for one in nn.minibatches(key, (X, Y, np.ones(20))):
        ts, metrics = step(ts, one)
    plain: Batch = X, Y
    ts, metrics = step(ts, plain)
    assert_type(ts, nn.TrainState)
    by_name = nn.train_step(model, "sparse_categorical_cross_entropy", "adam", nonfinite="skip")
    ts, _ = by_name(nn.train_state(model, "adam", key, (4,), params=ts.params, state=ts.state), plain)
    return ts


def negative_accuracy(epoch: nn.Epoch) -> float:
    return -float(np.asarray(epoch.accuracy))


def noisy(part: Counted[tuple[nn.Array, nn.Array]]) -> Iterator[tuple[nn.Array, nn.Array]]:
    for x, y in part:
        yield x + 0.01, y


def loop(key: Key) -> nn.TrainState:
    """The usual loop."""
    step = nn.train_step(model, loss, nn.optimizers.reduce_on_plateau("adam"))
    ts = nn.train_state(model, step.optimizer, key, input_shape=(4,))
    data: Data = X, Y

    def after(epoch: nn.Epoch) -> nn.TrainState:
        assert epoch.validation is not None
        ts = epoch.state
        return ts._replace(opt_state=nn.optimizers.observe(step.optimizer, ts.opt_state, epoch.validation.loss))

    epochs = nn.train(step, ts, data, epochs=3, batch_size=8, key=key, validation=(X, Y), batches=noisy, after=after)
    assert_type(epochs, Counted[nn.Epoch])
    best, table = nn.training.best_and_history(nn.early_stopping(epochs, patience=2, monitor=negative_accuracy))
    assert_type(best, nn.Epoch)
    assert_type(table, dict[str, nn.Array])
    print(len(epochs), best.number, table["validation_loss"][-1])
    for epoch in nn.train(step, best.state, data, epochs=2, key=None, drop_last=True, batch_size=None):
        assert_type(epoch, nn.Epoch)
        if epoch.validation is not None:
            print(epoch.validation.loss)
    kept = list(nn.train(step, best.state, data, epochs=2, key=key, rows=np.arange(10)))
    print(nn.history(kept)["loss"], nn.best_epoch(kept, negative_accuracy).state.step)
    normed = nn.serial(nn.batch_norm(), nn.dense(3))
    averaged = nn.training.fresh_averages(normed, nn.train_state(normed, "gd", key, (4,)), X)
    assert_type(averaged, nn.ArrayDict)
    return best.state


def stacks(key: Key) -> None:
    """Three networks as one."""
    keys = nn.split(key, 3)
    step = nn.train_step(model, loss, nn.adam(np.array([0.1, 0.01, 0.001])), nn.l2([0.0, 0.1, 0.2]))
    ts = nn.train_state(model, step.optimizer, keys, input_shape=(4,))
    own = nn.stacks.per_member(rng.normal(size=(3, 20, 4)))
    ts, metrics = step(ts, (own, Y))
    both = nn.stacks.per_member((rng.normal(size=(3, 20, 4)), np.zeros((3, 20), int)))
    ts, metrics = step(ts, both)
    print(np.asarray(metrics.loss).shape)
    members = nn.unstack(ts)
    assert_type(members, list[nn.TrainState])
    again = nn.stack(members)
    assert_type(again, nn.TrainState)
    dicts = nn.unstack(ts.params)
    assert_type(dicts, list[nn.ArrayDict])
    assert_type(nn.stack(dicts), nn.ArrayDict)
    folds = nn.stacks.per_member(np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8]]))
    for epoch in nn.train(step, ts, (X, Y), epochs=1, key=key, rows=folds):
        print(np.asarray(epoch.loss).shape)


def files(ts: nn.TrainState, folder: Path) -> nn.TrainState:
    """What is saved is what is loaded."""
    nn.save(folder / "run.npz", ts, model)
    saved = nn.load(str(folder / "run.npz"))
    assert_type(saved, nn.files.Saved)
    state, again = saved
    assert_type(again, nn.Layer | None)
    loaded: nn.TrainState = state
    nn.save(folder / "both.npz", (ts.params, ts.state))
    return loaded


def prediction(ts: nn.TrainState) -> nn.Array:
    """What a trained model says."""
    y: nn.Array = nn.predict(model, ts, X)
    classes = nn.predict_classes(model, (ts.params, ts.state), X)
    assert_type(int(classes[0]), int)
    assert_type(nn.accuracy(model, ts, X, Y), Scalar)
    held_out = nn.evaluate(model, loss, ts, X, Y)
    assert_type(held_out, nn.metrics.Evaluation)
    print(nn.metrics.f1_score(y, Y, average="macro"), held_out.loss)
    return y


def dicts(params: nn.ArrayDict) -> None:
    """Dicts of arrays are values."""
    assert_type(params["dense1.W"], nn.Array)
    assert_type(params.vector, nn.Array)
    assert_type(params * 2, nn.ArrayDict)
    assert_type(2 * params, nn.ArrayDict)
    assert_type(params - params, nn.ArrayDict)
    assert_type(params.group("dense1"), nn.ArrayDict)
    assert_type(params.select("*W"), nn.ArrayDict)
    assert_type(params.map(np.sign), nn.ArrayDict)
    assert_type(params.map(lambda a, b: a + b, params), nn.ArrayDict)
    assert_type(params.replace({"dense1.b": np.zeros(8)}), nn.ArrayDict)
    assert_type(params.with_vector(params.vector), nn.ArrayDict)
    assert_type(params.astype(np.float64), nn.ArrayDict)
    assert_type(params.to_dict(), dict[str, nn.Array])
    assert_type(nn.arrays.join(a=params, b=params), nn.ArrayDict)
    assert_type(nn.arrays.allclose(params, params.to_dict()), bool)
    where: nn.arrays.Layout = params.layout
    for name, array in params.items():
        print(name, array.shape, where.shapes[name])


if __name__ == "__main__":
    by_hand(nn.key(0))
    half_composed(nn.key(0))
    trained = composed(nn.key(0))
    trained = loop(nn.key(1))
    stacks(nn.key(2))
    with tempfile.TemporaryDirectory() as folder:
        trained = files(trained, Path(folder))
    prediction(trained)
    dicts(trained.params)
