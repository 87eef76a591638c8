"""value_and_grad, the first half of a step: its individual parts, sample weights, requested gradients, fused heads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnfunc as nn

rng = np.random.default_rng(0)
X, LABELS = rng.normal(size=(7, 4)), rng.integers(0, 3, 7)
MODEL = nn.mlp([4, 5, 3], ["tanh", "softmax"], keep_prob=0.8, batch_norm=True)
LOSS = nn.sparse_categorical_cross_entropy


def test_it_is_the_parts_by_hand_bit_for_bit() -> None:
    params, state = MODEL.init(nn.key(0), (4,))
    result = nn.value_and_grad(MODEL, LOSS, penalty=nn.l2(0.1))(params, state, (X, LABELS), key=nn.key(1))
    body = MODEL._replace(layers=MODEL.layers[:-1])
    y, cache, new = body.forward(params, state, X, key=nn.key(1), train=True)
    value, loss_cache = nn.sparse_categorical_cross_entropy_with_logits.forward(y, LABELS)
    _, grads = body.backward(params, cache, nn.sparse_categorical_cross_entropy_with_logits.backward(loss_cache))
    assert result.value == value + nn.l2(0.1).forward(params, 7)
    assert result.grads == grads + nn.l2(0.1).backward(params, 7)
    assert result.state == new
    assert np.array_equal(result.output, y)
    assert (result.dx, result.weight) == (None, 7)


@pytest.mark.parametrize("keys", [0, 3])
def test_a_step_is_value_and_grad_and_the_optimizer_bit_for_bit(keys: int) -> None:
    optimizer = nn.clip_by_global_norm(nn.adam(0.01), 0.5)
    step = nn.train_step(MODEL, LOSS, optimizer, penalty=nn.l1(0.1), class_weights=[1.0, 2.0, 0.5])
    ts = nn.train_state(MODEL, optimizer, nn.split(nn.key(0), keys) if keys else nn.key(0), (4,))
    for _ in range(3):
        after, metrics = step(ts, (X, LABELS))
        result = step.value_and_grad(ts.params, ts.state, (X, LABELS), key=nn.fold_in(ts.key, ts.step))
        params, opt_state = optimizer.step(ts.params, result.grads, ts.opt_state)
        assert np.array_equal(metrics.loss, result.value)
        assert after == nn.TrainState(params, result.state, opt_state, ts.key, ts.step + 1)
        ts = after


def test_the_key_of_each_layer_is_public() -> None:
    """Of a step, the key folded with its number; of a layer, that with its place folded in, those around it first."""
    model = nn.serial(nn.dense(3), nn.serial(nn.tanh(), nn.dropout(0.5)))
    params, state = model.init(nn.key(0), (4,))
    output = nn.value_and_grad(model, nn.mean_squared_error)(
        params, state, (X, np.zeros((7, 3))), key=nn.fold_in(nn.key(5), 2)
    ).output
    mine = nn.fold_in(nn.fold_in(nn.fold_in(nn.key(5), 2), 1), 1)
    hidden = model.forward(params, state, X)[0]
    assert np.array_equal(
        output, nn.dropout(0.5).forward(nn.arrays.EMPTY, nn.arrays.EMPTY, hidden, key=mine, train=True)[0]
    )


@given(data=st.data(), penalty=st.sampled_from([None, nn.l2(0.3), nn.l1(0.3)]), keys=st.sampled_from([0, 2]))
def test_weights_are_rows(data: st.DataObject, penalty: nn.Penalty | None, keys: int) -> None:
    """A weight of 0 is a row that is not there, a weight of 2 a row that is there twice: in the loss, its gradient, the
    penalty's m, the accuracy and the numbers of an epoch."""
    counts = data.draw(st.lists(st.integers(0, 3), min_size=7, max_size=7).filter(any))
    model = nn.mlp([4, 5, 3], ["tanh", "softmax"])
    step = nn.train_step(model, LOSS, nn.gd(0.0), penalty=penalty)
    ts = nn.train_state(model, step.optimizer, nn.split(nn.key(0), keys) if keys else nn.key(0), (4,), np.float64)
    weighted = X, LABELS, np.array(counts, float)
    repeated = np.repeat(X, counts, axis=0), np.repeat(LABELS, counts)
    a = step.value_and_grad(ts.params, ts.state, weighted)
    b = step.value_and_grad(ts.params, ts.state, repeated)
    np.testing.assert_allclose(a.value, b.value, rtol=1e-12)
    np.testing.assert_allclose(a.grads.vector, b.grads.vector, rtol=1e-9, atol=1e-14)
    assert np.array_equal(a.weight, b.weight)
    pairs = (weighted, weighted), (repeated, repeated)
    one, other = (next(nn.train(step, ts, d, epochs=1, batch_size=None, key=nn.key(1), validation=v)) for d, v in pairs)
    np.testing.assert_allclose(one.loss, other.loss, rtol=1e-12)
    np.testing.assert_allclose(one.accuracy, other.accuracy, rtol=1e-12)
    assert one.validation is not None
    assert other.validation is not None
    np.testing.assert_allclose(one.validation.loss, other.validation.loss, rtol=1e-12)
    np.testing.assert_allclose(one.validation.accuracy, other.validation.accuracy, rtol=1e-12)


def test_padding_rows_change_nothing() -> None:
    step = nn.train_step(nn.mlp([4, 3], ["softmax"]), LOSS, nn.adam(0.1), penalty=nn.l2(0.5))
    ts = nn.train_state(step.model, step.optimizer, nn.key(0), (4,), np.float64)
    padded = np.vstack([X, rng.normal(size=(50, 4))]), np.concatenate([LABELS, np.zeros(50, int)])
    a, _ = step(ts, (X, LABELS))
    b, _ = step(ts, (*padded, np.repeat([1.0, 0.0], [7, 50])))
    assert nn.arrays.allclose(a.params, b.params, rtol=1e-12)


def test_a_batch_of_padding_alone_moves_nothing() -> None:
    step = nn.train_step(nn.mlp([4, 3], ["softmax"]), LOSS, nn.gd(0.1), penalty=nn.l2(0.5))
    ts = nn.train_state(step.model, step.optimizer, nn.key(0), (4,))
    after, metrics = step(ts, (X, LABELS, np.zeros(7)))
    assert metrics.loss == 0
    assert after.params == ts.params


@pytest.mark.parametrize("class_weights", [None, [1.0, 20.0]])
@pytest.mark.parametrize("weighted", [False, True])
def test_training_and_validation_have_the_same_numbers(class_weights: Any, weighted: bool) -> None:
    X, t = rng.normal(size=(100, 4)), rng.integers(0, 2, 100)
    data = (X, t, np.where(rng.random(100) < 0.5, 10.0, 0.1)) if weighted else (X, t)
    model = nn.mlp([4, 1], ["sigmoid"])
    step = nn.train_step(model, nn.binary_cross_entropy, nn.gd(0.0), class_weights=class_weights)
    ts = nn.train_state(model, step.optimizer, nn.key(0), (4,), np.float64)
    epoch = next(nn.train(step, ts, data, epochs=1, batch_size=16, key=nn.key(1), validation=data))
    assert epoch.validation is not None
    assert epoch.loss == pytest.approx(epoch.validation.loss, rel=1e-12)
    assert epoch.accuracy == pytest.approx(epoch.validation.accuracy, rel=1e-12)


def test_weights_of_positions() -> None:
    y, target = rng.normal(size=(3, 4, 2)), rng.normal(size=(3, 4, 2))
    w = rng.uniform(size=(3, 4))
    value, cache = nn.mean_squared_error.forward(y, target, w)
    each = ((y - target) ** 2).mean(axis=-1)
    assert value == pytest.approx((w * each).sum() / w.sum())
    np.testing.assert_allclose(cache.values, each)
    np.testing.assert_allclose(nn.mean_squared_error.backward(cache), (y - target) * w[..., None] / w.sum())
    of_rows = rng.uniform(size=3)
    same = nn.mean_squared_error.forward(y, target, of_rows)[0]
    assert same == pytest.approx(nn.mean_squared_error.forward(y, target, np.repeat(of_rows[:, None], 4, 1))[0])


@pytest.mark.parametrize("shape", [(5, 3), (5, 7, 3)])
def test_a_loss_of_ones_own_sees_one_shape_everywhere(shape: tuple[int, ...]) -> None:
    seen = []

    def forward(y: nn.Array, target: nn.Array) -> tuple[float, nn.Array]:
        seen.append((y.shape, target.shape))
        return float((y**2).mean()), y

    loss = nn.Loss(forward, lambda y: 2 * y / y.size)
    model, x, target = nn.serial(nn.dense(4)), rng.normal(size=shape), np.zeros((*shape[:-1], 4))
    step = nn.train_step(model, loss, nn.gd(0.1))
    ts = nn.train_state(model, step.optimizer, nn.key(0), shape[1:], np.float64)
    step(ts, (x, target))
    nn.evaluate(model, loss, ts, x, target)
    nn.check_model(model, ts.params, x, target=target, loss=loss)
    step(nn.train_state(model, step.optimizer, nn.split(nn.key(0), 3), shape[1:]), (x, target))
    assert set(seen) == {((*shape[:-1], 4), (*shape[:-1], 4))}


def test_several_outputs_and_losses_are_fused_one_by_one() -> None:
    """The gradient of each head is (A − Y)/m times its weight, though its probabilities are saturated."""
    model = nn.serial(
        nn.dense(3),
        nn.branch(
            kind=nn.serial(nn.dense(3), nn.softmax()), flag=nn.serial(nn.dense(1), nn.sigmoid()), size=nn.dense(1)
        ),
    )
    loss = nn.losses.combined(
        nn.categorical_cross_entropy, nn.binary_cross_entropy, nn.mean_squared_error, weights=(2.0, 0.5, 1.0)
    )
    function = nn.value_and_grad(model, loss)
    assert [part.name for _, part in function.computed[1].parts] == [
        "categorical_cross_entropy_with_logits",
        "binary_cross_entropy_with_logits",
        "mean_squared_error",
    ]
    params, state = model.init(nn.key(0), (4,), np.float64)
    params = params * 300.0
    targets = np.eye(3)[LABELS], rng.integers(0, 2, (7, 1)).astype(float), rng.normal(size=(7, 1))
    probabilities, flags, sizes = model.forward(params, state, X)[0]
    trace = function.trace(params, state, (X, targets))
    for d, expected in zip(
        trace.dy,
        (
            2.0 * (probabilities - targets[0]) / 7,
            0.5 * (flags - targets[1]) / 7,
            2 * (sizes - targets[2]) / 7,
        ),
        strict=True,
    ):
        np.testing.assert_allclose(d, expected, atol=1e-12)


def test_gradients_of_an_input_alone() -> None:
    params, state = MODEL.init(nn.key(0), (4,), np.float64)
    function = nn.value_and_grad(MODEL, LOSS)
    both = function(params, state, (X, LABELS), train=False, need_dx=True)
    alone = function(params, state, (X, LABELS), train=False, need_dx=True, need_grads=False)
    assert np.array_equal(alone.dx, both.dx)
    assert len(alone.grads) == 0
    numeric = np.zeros_like(X)
    for i in np.ndindex(X.shape):
        moved = [X.copy(), X.copy()]
        moved[0][i] += 1e-6
        moved[1][i] -= 1e-6
        a, b = (function(params, state, (x, LABELS), train=False).value for x in moved)
        numeric[i] = (a - b) / 2e-6
    np.testing.assert_allclose(alone.dx, numeric, atol=1e-8)


def test_integers_pass_uncast_and_have_no_gradient() -> None:
    seen = []

    def lookup(params: nn.ArrayDict, ids: Any) -> tuple[nn.Array, Any]:
        seen.append(ids)
        return params["E"][ids % 3], ids

    def lookup_backward(params: nn.ArrayDict, ids: Any, dy: nn.Array) -> tuple[None, dict[str, nn.Array]]:
        grads = np.zeros_like(params["E"])
        np.add.at(grads, ids % 3, dy)
        return None, {"E": grads}

    table = nn.layer(lookup, lookup_backward, {"E": np.arange(6.0).reshape(3, 2)}, "table")
    model = nn.serial(nn.parallel(table, nn.dense(2)), nn.add())
    ids, x = np.array([2**24 + 1, 5, 7]), rng.normal(size=(3, 4)).astype(np.float32)
    params, state = model.init(nn.key(0), ((), (4,)))
    y, cache, _ = model.forward(params, state, (ids, x))
    assert seen[-1].dtype == ids.dtype
    assert seen[-1].tolist() == ids.tolist()
    dx, grads = model.backward(params, cache, np.ones_like(y))
    assert dx[0] is None
    assert dx[1].shape == x.shape
    assert grads["parallel1.table1.E"].tolist() == [[0, 0], [1, 1], [2, 2]]
    result = nn.value_and_grad(model, nn.mean_squared_error)(params, state, ((ids, x), np.zeros((3, 2))), need_dx=True)
    assert result.dx[0] is None


def test_the_search_for_nan_does_not_blame_weights_that_are_fine() -> None:
    model = nn.serial(nn.dense(1))
    params = nn.ArrayDict({"dense1.W": np.full((2, 1), 1e20), "dense1.b": [0.0]}, np.float32)
    ts = nn.train_state(model, "gd", nn.key(0), params=params)
    step = nn.train_step(model, nn.mean_absolute_error, "gd")
    with pytest.raises(nn.NonFiniteError, match="the mean of the loss is the first that is not finite"):
        step(ts, (np.ones((2, 2)), np.zeros((2, 1)), np.full(2, 1e38)))


def test_a_cache_follows_arrays_that_are_changed_in_place() -> None:
    """As the docstrings of forward say: nothing is copied, so who changes x before backward gets another gradient."""
    model = nn.serial(nn.dense(2), nn.tanh())
    params, state = model.init(nn.key(0), (3,), np.float64)
    x = rng.normal(size=(4, 3))
    y, cache, _ = model.forward(params, state, x)
    before = model.backward(params, cache, np.ones_like(y))[1]
    x *= 0
    after = model.backward(params, cache, np.ones_like(y))[1]
    assert before != after
    assert not after["dense1.W"].any()


def squares(y: Any, target: Any, weights: Any = 1.0) -> tuple[float, Any]:
    return float(np.mean(weights * ((y - target) ** 2)[:, 0])), (y - target, weights)


def of_squares(cache: Any) -> Any:
    """In float64, whatever the model computes in."""
    difference, weights = cache
    return 2.0 * np.broadcast_to(np.float64(weights), len(difference))[:, None] * difference / len(difference)


def test_a_part_of_a_combined_loss_may_be_ones_own() -> None:
    model = nn.branch(a=nn.dense(1), b=nn.serial(nn.dense(3), nn.dense(1)))
    target, own = (X[:, :1], X[:, 1:2]), nn.Loss(squares, of_squares)
    params, state = model.init(nn.key(0), (4,))
    built_in = nn.losses.combined(nn.mean_squared_error, nn.mean_squared_error)
    for loss in (nn.losses.combined(nn.mean_squared_error, own), nn.losses.combined(own, nn.mean_squared_error)):
        result = nn.value_and_grad(model, loss)(params, state, (X, target))
        expected = nn.value_and_grad(model, built_in)(params, state, (X, target))
        assert nn.arrays.allclose(result.grads, expected.grads, atol=1e-6)
        assert np.isclose(result.value, expected.value)
    weights = np.full(7, 0.5), None
    assert (
        nn.value_and_grad(model, nn.losses.combined(own, own))(params, state, (X, target, weights)).weight
        == (3.5 + 7) / 2
    )
    flat = nn.Loss(squares, lambda cache: of_squares(cache)[:, 0])
    with pytest.raises(ValueError, match=r"loss.backward returned shape \(7,\), expected that of"):
        nn.value_and_grad(model, nn.losses.combined(own, flat))(params, state, (X, target))
