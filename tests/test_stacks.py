"""The stack axis is explicit, never guessed: member i is the network that would have been trained alone."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import nnfunc as nn
from nnfunc.core.values import leaves, map_leaves

K = 3
rng = np.random.default_rng(0)


def own_forward(params: nn.ArrayDict, x: nn.Array) -> tuple[nn.Array, nn.Array]:
    return x * params["a"], x


def own_backward(params: nn.ArrayDict, x: nn.Array, dy: nn.Array) -> tuple[nn.Array, dict[str, nn.Array]]:
    return dy * params["a"], {"a": (dy * x).sum(axis=tuple(range(x.ndim - 1)))}


def own_layer(width: int) -> nn.Layer:
    return nn.layer(own_forward, own_backward, {"a": np.linspace(0.5, 1.5, width)}, "own")


def own_loss_forward(y: nn.Array, target: nn.Array, weights: Any = None) -> tuple[float, Any]:
    assert y.shape == target.shape
    return float(np.mean((y - target) ** 4)), (y, target)


def own_loss_backward(cache: Any) -> nn.Array:
    y, target = cache
    return np.asarray(4 * (y - target) ** 3 / y.size)


OWN_LOSS = nn.Loss(own_loss_forward, own_loss_backward)


def own_step(params: nn.ArrayDict, grads: nn.ArrayDict, opt_state: nn.ArrayDict) -> tuple[nn.ArrayDict, nn.ArrayDict]:
    """A step of length 0.1 along the gradient: its norm is that of one network."""
    norm = float(np.linalg.norm(grads.vector)) or 1.0
    return params - grads * (0.1 / norm), opt_state | {"norm": [norm]}


OWN_OPTIMIZER = nn.Optimizer(lambda params: nn.ArrayDict({"norm": [0.0]}, params.dtype), own_step)


def whole(params: nn.ArrayDict, m: Any) -> float:
    return float(np.abs(params.vector).max() / m)


def whole_gradient(params: nn.ArrayDict, m: Any) -> nn.ArrayDict:
    largest = np.abs(params.vector) == np.abs(params.vector).max()
    return params.with_vector(np.sign(params.vector) * largest / m)


RUNS: dict[str, tuple[nn.Layer, Any, Any, Any, Any, Any]] = {
    # model, loss, optimizer, input shape, x, target
    "sequences": (
        nn.serial(nn.dense(4), nn.tanh(), nn.dense(2)),
        nn.mean_squared_error,
        nn.adam(0.1),
        (7, 3),
        rng.normal(size=(5, 7, 3)),
        rng.normal(size=(5, 7, 2)),
    ),
    "as many examples as members": (
        nn.serial(nn.dense(4), nn.softmax()),
        nn.sparse_categorical_cross_entropy,
        nn.adam(0.1),
        (K, 3),
        rng.normal(size=(K, K, 3)),
        rng.integers(0, 4, size=(K, K)),
    ),
    "images": (
        nn.serial(nn.flatten(), nn.dense(4), nn.batch_norm(), nn.dropout(0.5), nn.dense(1), nn.sigmoid()),
        nn.binary_cross_entropy,
        nn.momentum(0.1),
        (4, 4, 2),
        rng.normal(size=(6, 4, 4, 2)),
        rng.integers(0, 2, size=(6, 1)),
    ),
    "tuples": (
        nn.serial(
            nn.parallel(nn.serial(nn.flatten(), nn.dense(3)), nn.dense(3)),
            nn.add(),
            nn.branch(nn.dense(2), nn.dense(1)),
        ),
        nn.losses.combined(nn.mean_squared_error, nn.mean_absolute_error, weights=(1.0, 0.5)),
        nn.adam(0.1),
        ((2, 2), (3,)),
        (rng.normal(size=(5, 2, 2)), rng.normal(size=(5, 3))),
        (rng.normal(size=(5, 2)), rng.normal(size=(5, 1))),
    ),
    "one's own layer, loss and optimizer": (
        nn.serial(nn.dense(3), own_layer(3), nn.layer(lambda p, x: (x**2, x), lambda p, x, dy: (2 * x * dy, {}))),
        OWN_LOSS,
        OWN_OPTIMIZER,
        (2, 4),
        rng.normal(size=(5, 2, 4)),
        rng.normal(size=(5, 2, 3)),
    ),
    "a recurrent cell": (
        nn.serial(nn.scan(nn.serial(nn.concatenate(), nn.dense(3), nn.dropout(0.5), nn.tanh()), 3), nn.dense(1)),
        nn.huber(0.5),
        nn.clip_by_global_norm(nn.adam(0.1), 0.1),
        (4, 2),
        rng.normal(size=(5, 4, 2)),
        rng.normal(size=(5, 4, 1)),
    ),
}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("own_data", [False, True])
def test_a_stack_trains_as_its_members_alone(name: str, own_data: bool) -> None:
    model, loss, optimizer, shape, x, target = RUNS[name]
    step = nn.train_step(model, loss, optimizer, penalty=nn.l2(0.1))
    keys = nn.split(nn.key(0), K)
    ts = nn.train_state(model, optimizer, keys, shape, np.float64)

    def of_members(a: NDArray[Any]) -> NDArray[Any]:
        return np.stack([np.roll(a, k, axis=0) for k in range(K)])

    stacked = map_leaves(of_members, x), map_leaves(of_members, target)
    batch = nn.stacks.per_member(stacked) if own_data else (x, target)
    alone = [nn.train_state(model, optimizer, key, shape, np.float64) for key in keys]
    for _ in range(3):
        ts, metrics = step(ts, batch)
        assert np.shape(metrics.loss) == (K,)
        for k in range(K):
            mine = map_leaves(lambda a, k=k: a[k], stacked) if own_data else (x, target)
            alone[k], own = step(alone[k], mine)
            np.testing.assert_allclose(np.asarray(metrics.loss)[k], own.loss, rtol=1e-12)
    for k, member in enumerate(nn.unstack(ts)):
        assert nn.arrays.allclose(member.params, alone[k].params, rtol=1e-9, atol=1e-12)
        assert not member.state or nn.arrays.allclose(member.state, alone[k].state, rtol=1e-9)
        assert nn.arrays.allclose(member.opt_state, alone[k].opt_state, rtol=1e-9, atol=1e-12)
    everything = nn.evaluate(model, loss, ts, *batch)
    outputs = nn.predict(model, ts, batch[0])
    for k in range(K):
        mine = map_leaves(lambda a, k=k: a[k], stacked) if own_data else (x, target)
        own_evaluation = nn.evaluate(model, loss, alone[k], *mine)
        np.testing.assert_allclose(np.asarray(everything.loss)[k], own_evaluation.loss, rtol=1e-9)
        np.testing.assert_allclose(np.asarray(everything.accuracy)[k], own_evaluation.accuracy)
        for a, b in zip(leaves(outputs), leaves(nn.predict(model, alone[k], mine[0])), strict=True):
            np.testing.assert_allclose(a[k], b, rtol=1e-9, atol=1e-12)


def test_a_penalty_of_ones_own_is_called_for_each_member() -> None:
    penalty = nn.Penalty(whole, whole_gradient)
    model = nn.serial(nn.dense(2))
    step = nn.train_step(model, nn.mean_squared_error, nn.gd(0.1), penalty=penalty)
    keys = nn.split(nn.key(0), K)
    batch = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    ts, metrics = step(nn.train_state(model, step.optimizer, keys, (3,), np.float64), batch)
    for k, key in enumerate(keys):
        own, own_metrics = step(nn.train_state(model, step.optimizer, key, (3,), np.float64), batch)
        assert nn.arrays.allclose(nn.unstack(ts)[k].params, own.params, rtol=1e-12)
        assert np.asarray(metrics.loss)[k] == pytest.approx(own_metrics.loss)


def test_data_weights_and_rows_of_each_member() -> None:
    """Folds of a cross-validation: each member trains on its own rows, with weights of its own."""
    X, Y = rng.normal(size=(12, 4)), rng.integers(0, 3, 12)
    model = nn.mlp([4, 5, 3], ["relu", "softmax"], keep_prob=0.8)
    rows = np.stack([np.delete(np.arange(12), np.s_[4 * k : 4 * k + 4]) for k in range(K)])
    weights = rng.uniform(0.5, 2.0, size=(K, 12))
    step = nn.train_step(model, nn.sparse_categorical_cross_entropy, nn.adam(0.05))
    keys = nn.split(nn.key(0), K)
    ts = nn.train_state(model, step.optimizer, keys, (4,), np.float64)
    data = X, Y, nn.stacks.per_member(weights)
    *_, epoch = nn.train(step, ts, data, epochs=3, batch_size=4, key=nn.key(1), rows=nn.stacks.per_member(rows))
    for k in range(K):
        own = nn.train_state(model, step.optimizer, keys[k], (4,), np.float64)
        *_, alone = nn.train(
            step, own, (X[rows[k]], Y[rows[k]], weights[k][rows[k]]), epochs=3, batch_size=4, key=nn.key(1)
        )
        assert nn.arrays.allclose(nn.unstack(epoch.state)[k].params, alone.state.params, rtol=1e-9)
        np.testing.assert_allclose(np.asarray(epoch.loss)[k], alone.loss, rtol=1e-9)
        np.testing.assert_allclose(np.asarray(epoch.accuracy)[k], alone.accuracy, rtol=1e-9)


def test_rows_and_tasks_of_each_member_in_batches() -> None:
    tasks = nn.stacks.per_member(np.arange(K * 4 * 2).reshape(K, 4, 2))
    (first,), _ = nn.minibatches(None, (tasks,), 2)
    assert np.array_equal(first.array, tasks.array[:, :2])
    shared = np.arange(8).reshape(4, 2)
    rows = nn.stacks.per_member(np.array([[0, 1], [2, 3], [3, 0]]))
    [(mine, own)] = nn.minibatches(None, (shared, tasks), None, rows=rows)
    assert np.array_equal(mine.array, shared[rows.array])
    assert np.array_equal(own.array[2], tasks.array[2][[3, 0]])


def test_a_tuple_of_keys_makes_a_stack() -> None:
    model = nn.serial(nn.dense(2), nn.batch_norm())
    keys = nn.split(nn.key(0), K)
    params, state = model.init(keys, (3,))
    assert (params.stack_shape, state.stack_shape) == ((K,), (K,))
    for k, key in enumerate(keys):
        assert nn.unstack(params)[k] == model.init(key, (3,))[0]


def test_keys_and_parameters_that_do_not_go_together() -> None:
    model = nn.serial(nn.dense(4), nn.dropout(0.5), nn.dense(1))
    one, _ = model.init(nn.key(0), (3,))
    stack, _ = model.init(nn.split(nn.key(0), 2), (3,))
    with pytest.raises(ValueError, match="a tuple of 4 keys, but params are those of one network"):
        nn.train_state(model, "gd", nn.split(nn.key(0), 4), params=one)
    with pytest.raises(ValueError, match="a tuple of 3 keys, but params are those of a stack of 2"):
        nn.train_state(model, "gd", nn.split(nn.key(0), 3), params=stack)
    step = nn.train_step(model, "mean_squared_error", "gd")
    batch = np.ones((5, 3)), np.ones((5, 1))
    ts = nn.train_state(model, "gd", nn.split(nn.key(0), 2), (3,))
    with pytest.raises(ValueError, match="a tuple of 3 keys, but the parameters are a stack of 2"):
        step(ts._replace(key=nn.split(nn.key(0), 3)), batch)


def test_one_key_is_shared_by_all_members() -> None:
    model = nn.serial(nn.dense(4), nn.dropout(0.5), nn.dense(1))
    params, _ = model.init(nn.split(nn.key(0), K), (3,), np.float64)
    step = nn.train_step(model, "mean_squared_error", "gd")
    batch = rng.normal(size=(5, 3)), rng.normal(size=(5, 1))
    _, metrics = step(nn.train_state(model, "gd", nn.key(1), params=params), batch)
    for k, own in enumerate(nn.unstack(params)):
        _, alone = step(nn.train_state(model, "gd", nn.key(1), params=own), batch)
        assert np.asarray(metrics.loss)[k] == pytest.approx(alone.loss)


def test_a_dict_of_a_stack_stays_one() -> None:
    model = nn.serial(nn.dense(4))
    ts = nn.train_state(model, nn.adam(), nn.split(nn.key(0), K), (6,))
    for again in (
        nn.ArrayDict(ts.params),
        nn.ArrayDict(dict(ts.params)),
        nn.ArrayDict({**ts.params}),
        ts.params | {},
        ts.params | {"rate": 0.1},
        ts.params.map(np.abs),
        ts.params * np.arange(1.0, 4.0),
        ts.params.select("*.W"),
        ts.params.without("*.W"),
        ts.params.astype(np.float64),
        ts.opt_state | {},
        ts.opt_state.map(lambda a: a),
        nn.arrays.join(a=ts.params, b=ts.params),
    ):
        assert again.stack_shape == (K,)
    np.testing.assert_array_equal(
        (ts.params * np.arange(1.0, 4.0)).vector, ts.params.vector * np.arange(1, 4, dtype=np.float32)[:, None]
    )
    with pytest.raises(ValueError, match=r"shape \(2,\), expected \(3,\), a number for each network"):
        ts.params * np.ones(2)


def test_arrays_of_a_stack_that_lost_the_mark_are_refused() -> None:
    model = nn.serial(nn.dense(4))
    params, _ = model.init(nn.split(nn.key(0), K), (6,))
    copies = nn.ArrayDict({k: v.copy() for k, v in params.items()})
    assert copies.stack_shape == ()
    with pytest.raises(ValueError, match=r"stacked=True"):
        model.forward(copies, nn.arrays.EMPTY, np.ones((9, 6)))
    said = nn.ArrayDict({k: v.copy() for k, v in params.items()}, stacked=True)
    assert said == params


def test_a_4_axis_array_is_no_stack() -> None:
    own = nn.layer(
        lambda p, x: (x * p["W"].sum(), x),
        lambda p, x, dy: (dy * p["W"].sum(), {"W": np.full_like(p["W"], (dy * x).sum())}),
        {"W": np.ones((2, 2, 1, 3))},
        "window",
    )
    model = nn.serial(own, nn.dense(2))
    ts = nn.train_state(model, "gd", nn.key(0), (4,))
    _, metrics = nn.train_step(model, "mean_squared_error", "gd")(ts, (np.ones((5, 4)), np.ones((5, 2))))
    assert np.ndim(metrics.loss) == 0
    assert ts.params.stack_shape == ()


def test_a_member_that_diverges_is_named_and_can_be_skipped() -> None:
    model = nn.serial(nn.dense(4), nn.relu())
    rates = np.array([1e-3, 1e30, 1e-3])
    batch = rng.normal(size=(9, 6)), np.ones((9, 4))
    start = nn.train_state(model, "gd", nn.split(nn.key(0), K), (6,))
    step = nn.train_step(model, "mean_squared_error", nn.gd(rates))

    def run(step: nn.TrainStep, ts: nn.TrainState) -> tuple[nn.TrainState, nn.Metrics]:
        for _ in range(20):
            ts, metrics = step(ts, batch)
        return ts, metrics

    with pytest.raises(nn.NonFiniteError, match="the loss of member 1 is"):
        run(step, start)
    skipping = nn.train_step(model, "mean_squared_error", nn.gd(rates), nonfinite="skip")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ts, metrics = run(skipping, start)
    assert metrics.updated.tolist() == [True, False, True]
    assert np.isfinite(ts.params.vector).all()
    alone = nn.train_step(model, "mean_squared_error", nn.gd(1e-3))
    for k in (0, 2):
        own, _ = run(alone, nn.unstack(start)[k])
        assert nn.arrays.allclose(nn.unstack(ts.params)[k], own.params, rtol=1e-5)


def test_gradients_of_single_examples() -> None:
    model, loss = nn.mlp([4, 3, 2], ["tanh", "softmax"]), nn.sparse_categorical_cross_entropy
    params, state = model.init(nn.key(0), (4,), np.float64)
    x, target = rng.normal(size=(6, 4)), rng.integers(0, 2, 6)
    gradients = nn.value_and_grad(model, loss)
    each = gradients(nn.stacks.repeated(params, 6), state, nn.stacks.per_member((x[:, None], target[:, None]))).grads
    for i in range(6):
        one = gradients(params, state, (x[i : i + 1], target[i : i + 1])).grads
        np.testing.assert_allclose(each.vector[i], one.vector, rtol=1e-12, atol=1e-15)
    assert nn.stacks.repeated(params, 6).vector.strides[0] == 0  # one vector, six times


def test_what_is_marked_must_fit() -> None:
    model = nn.serial(nn.dense(2))
    params, state = model.init(nn.split(nn.key(0), K), (3,))
    with pytest.raises(ValueError, match="x is data for 2 networks, but the parameters are a stack of 3"):
        model.forward(params, state, nn.stacks.per_member(np.ones((2, 5, 3))))
    with pytest.raises(ValueError, match="marked as data per member, but the parameters are those of one network"):
        model.forward(*model.init(nn.key(0), (3,)), nn.stacks.per_member(np.ones((2, 5, 3))))


def test_a_loss_by_hand_says_what_is_of_a_stack() -> None:
    y, target = rng.normal(size=(K, 5, 2)), rng.normal(size=(K, 5, 2))
    value, cache = nn.mean_squared_error.forward(y, target)
    assert isinstance(value, float)  # 15 examples: three sequences of length 5
    stacked, of_stack = nn.mean_squared_error.forward(nn.stacks.per_member(y), nn.stacks.per_member(target))
    np.testing.assert_allclose(stacked, ((y - target) ** 2).mean(axis=(1, 2)))
    np.testing.assert_allclose(nn.mean_squared_error.backward(of_stack), K * nn.mean_squared_error.backward(cache))
