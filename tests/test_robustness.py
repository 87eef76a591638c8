"""Regression tests: each of these once gave a plausible wrong result or a confusing error."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
import pytest

import nnfunc as nn
from nnfunc.arrays import Array, ArrayDict
from nnfunc.distributed import sharded
from nnfunc.keys import Keys
from nnfunc.layout import Shape
from tests.catalogue import bent

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(50, 2)), rng.normal(size=(50, 1))

# -- layers of a user's own, in the full form --------------------------------------------------------------------------


def scale_init(key: nn.Key, input_shape: Shape, dtype: Any = np.float32) -> Any:
    return {"s": np.full(input_shape, 2.0)}, {}


def scale_forward(params: Any, state: Any, x: Array, *, key: Any = None, train: bool = False) -> Any:
    return x * params["s"], x, state


def plain_backward(params: Any, x: Array, dy: Array) -> Any:
    return dy * params["s"], {"s": (dy * x).sum(axis=0)}


def backward_with_unused_out(params: Any, x: Array, dy: Array, *, need_dx: bool = True, out: Any = None) -> Any:
    return dy * params["s"], ArrayDict({"s": (dy * x).sum(axis=0)})


def backward_with_keywords(params: Any, x: Array, dy: Array, **_: Any) -> Any:
    return dy * params["s"], ArrayDict({"s": (dy * x).sum(axis=0)})


@pytest.mark.parametrize("backward", [plain_backward, backward_with_unused_out, backward_with_keywords])
def test_a_full_form_layer_of_plain_functions_works_in_a_series(backward: Any) -> None:
    model = nn.serial(nn.dense(3), nn.Layer(scale_init, scale_forward, backward, "scale"), nn.dense(2))
    params, state = model.init(nn.key(0), (2,), np.float64)
    nn.check_model(model, params, X[:3], state=state).assert_ok()
    step = nn.train_step(model, nn.mean_squared_error, nn.adam(0.1))
    ts, _ = step(nn.train_state(model, step.optimizer, nn.key(0), (2,)), (X, np.hstack([Y, Y])))
    assert ts.step == 1


def test_an_own_layer_in_a_stack_is_called_for_each_network() -> None:
    free = nn.layer(lambda p, x: (np.maximum(x, 0), x), lambda p, x, dy: (dy * (x > 0), {}), name="free")
    model = nn.serial(nn.dense(4), bent(), free, nn.dense(1))
    step = nn.train_step(model, nn.mean_squared_error, nn.adam(0.1))
    for K in (3, 5):  # 5 is the number of rows too: broadcasting would mix them up without a word
        keys = nn.split(nn.key(1), K)
        both, metrics = step(nn.train_state(model, step.optimizer, keys, (2,), np.float64), (X[:5], Y[:5]))
        for i, key in enumerate(keys):
            ts, solo = step(nn.train_state(model, step.optimizer, key, (2,), np.float64), (X[:5], Y[:5]))
            assert np.asarray(metrics.loss)[i] == pytest.approx(solo.loss, rel=1e-12)
            assert nn.arrays.allclose(nn.unstack(both.params)[i], ts.params, rtol=1e-9)


def test_an_own_layer_cannot_change_what_it_is_given() -> None:
    def forward(params: Any, x: Array) -> Any:
        x *= 2
        return x, None

    def backward(params: Any, cache: Array, dy: Array) -> Any:
        dy[cache < 0] = 0
        return dy, {}

    with pytest.raises(ValueError, match="own1: output array is read-only"):
        nn.serial(nn.layer(forward, backward, name="own")).forward(nn.arrays.EMPTY, nn.arrays.EMPTY, X.copy())
    model = nn.residual(nn.layer(lambda p, x: (x + 0, x), backward, name="own"))
    _, cache, _ = model.forward(nn.arrays.EMPTY, nn.arrays.EMPTY, X)
    with pytest.raises(ValueError, match="own1: assignment destination is read-only"):
        model.backward(nn.arrays.EMPTY, cache, np.ones(X.shape))
    y, _, _ = nn.mlp([2, 3], ["softmax"]).forward(*nn.mlp([2, 3], ["softmax"]).init(nn.key(0), (2,)), X)
    with pytest.raises(ValueError, match="read-only"):
        y -= 1  # it is the cache of the softmax
    with pytest.raises(ValueError, match="read-only"):
        next(nn.minibatches(None, (X,), 10))[0][...] = 0


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda x, dy: (dy, dy), r"backward returned \['ndarray', 'ndarray'\], expected the pair \(dx, grads\)"),
        (lambda x, dy: ({}, dy), r"backward returned \['dict', 'ndarray'\]"),
        (lambda x, dy: dy, "backward returned ndarray, expected the pair"),
    ],
)
def test_what_an_own_backward_returns_is_checked(result: Any, message: str) -> None:
    model = nn.serial(nn.layer(lambda p, x: (x, x), lambda p, x, dy: result(x, dy), name="own"))
    _, cache, _ = model.forward(nn.arrays.EMPTY, nn.arrays.EMPTY, X)
    with pytest.raises(TypeError, match=message):
        model.backward(nn.arrays.EMPTY, cache, np.ones(X.shape))


def test_an_own_forward_must_keep_the_rows() -> None:
    model = nn.serial(nn.layer(lambda p, x: (x.sum(0, keepdims=True), x), lambda p, x, dy: (dy, {}), name="own"))
    with pytest.raises(ValueError, match=r"own1: forward returned y of shape \(1, 2\) for x of shape \(50, 2\)"):
        model.forward(nn.arrays.EMPTY, nn.arrays.EMPTY, X)


# -- parameters that do not fit ----------------------------------------------------------------------------------------

W, b = np.ones((2, 3)), np.ones(3)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"dense1.W": W, "dense1.bias": b}, "dense1: the parameters do not fit the model: b missing"),
        ({"dense1.W": W, "dense1.b": b, "dense1.c": b}, "dense1: the parameters do not fit the model: c too much"),
        ({"dense1.W": W}, "dense1: the parameters do not fit the model: b missing"),
        ({"dense1.W": W, "dense1.b": b[:1]}, r"dense1: .*W \(2, 3\), b \(1,\), expected"),
        ({"dense1.W": np.ones((5, 2, 3)), "dense1.b": b}, r"dense1: .*W \(5, 2, 3\).*nn.stack"),
        ({"dense1.W": W, "dense1.b": b, "relu1.a": b}, "relu1: the parameters do not fit the model: a too much"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(params: dict[str, Array], message: str) -> None:
    model = nn.serial(nn.dense(3), nn.relu())
    with pytest.raises(ValueError, match=message):
        model.forward(ArrayDict(params), nn.arrays.EMPTY, X)
    with pytest.raises(ValueError, match=message):
        model.forward(params, nn.arrays.EMPTY, X)  # type: ignore[arg-type]  # a plain dict is as good


def test_running_averages_and_scales_that_do_not_fit_are_refused() -> None:
    layer = nn.batch_norm()
    params, state = layer.init(nn.key(0), (2,))
    with pytest.raises(ValueError, match=r"the state mean has shape \(1,\), expected \(2,\)"):
        layer.forward(params, ArrayDict({"mean": [0.0], "var": [1.0]}), X)
    with pytest.raises(ValueError, match=r"gamma \(2,\), beta \(1,\)"):
        layer.forward(ArrayDict({"gamma": [1.0, 1.0], "beta": [0.0]}), state, X)


# -- optimizers of a user's own ----------------------------------------------------------------------------------------


def test_a_rule_sees_the_whole_vector_unless_it_is_elementwise() -> None:
    def normalized(w: Array, g: Array, *, t: int) -> tuple[Array, ...]:
        return (w - g / np.linalg.norm(g),)

    params = ArrayDict({"b": np.zeros(600_000)})
    after, _ = nn.optimizer(normalized).step(params, {"b": np.ones(600_000)}, nn.optimizer(normalized).init(params))
    assert np.linalg.norm(after.vector) == pytest.approx(1)


@pytest.mark.parametrize(
    ("rule", "slots"),
    [
        (lambda w, g, *, t: w - g, ()),
        (lambda w, g, m, *, t: (w - g,), ("m",)),
        (lambda w, g, *, t: (np.sum(w),), ()),
        (lambda w, g, *, t: (w, w), ()),
    ],
)
def test_a_rule_that_returns_something_else_is_refused(rule: Any, slots: tuple[str, ...]) -> None:
    params = ArrayDict({"b": [1.0, 2.0, 3.0]})
    optimizer = nn.optimizer(rule, slots)
    with pytest.raises(TypeError, match=r"the rule <lambda> returned .* expected the tuple \(w"):
        optimizer.step(params, params, optimizer.init(params))
    with pytest.raises(TypeError, match="slots='velocity': expected a tuple"):
        nn.optimizer(rule, "velocity")  # type: ignore[arg-type]  # what must fail


def test_a_numpy_learning_rate_is_a_learning_rate() -> None:
    params = ArrayDict({"b": rng.normal(size=9)}, np.float32)
    plain, numpy = (o.step(params, params, o.init(params))[0] for o in (nn.adam(0.1), nn.adam(np.float64(0.1))))
    assert nn.arrays.equal(plain, numpy)


# -- NaN, and numbers that are too large -------------------------------------------------------------------------------


def test_nan_is_no_class() -> None:
    model = nn.mlp([2, 8, 1], ["relu", "sigmoid"])
    ts = nn.train_state(model, nn.gd(), nn.key(0), (2,))
    ts = ts._replace(params=ts.params * np.nan)
    labels = (X[:, 0] > 0).astype(int)
    for call in (nn.accuracy, nn.metrics.confusion_matrix):
        with pytest.raises(ValueError, match=r"the outputs contain nan .* which is no class"):
            call(model, ts, X, labels)
    with pytest.raises(ValueError, match="threshold=nan"):
        nn.predict_classes(model, ts, X, threshold=np.nan)
    step = nn.train_step(model, nn.binary_cross_entropy, nn.gd(1e38))
    start = nn.train_state(model, step.optimizer, nn.key(0), (2,))
    run = nn.train(step, start, (100 * X, labels), epochs=1, batch_size=None, key=nn.key(0), validation=(X, labels))
    with np.errstate(all="ignore"), pytest.raises(nn.NonFiniteError, match=r"the update of step 0 made .* not finite"):
        next(run)
    bad, good = (nn.Epoch(i, loss, 0.0, None, start) for i, loss in enumerate([np.nan, 1.0]))
    assert nn.best_epoch([bad, good]) is good


def test_a_state_that_overflows_is_noticed() -> None:
    model = nn.serial(nn.dense(3), nn.batch_norm(), nn.dense(1))
    step = nn.train_step(model, nn.mean_squared_error, nn.gd(0.01))
    with pytest.raises(nn.NonFiniteError, match=r"batch_norm1"):
        step(nn.train_state(model, step.optimizer, nn.key(0), (2,)), (X * 1e25, Y))


@pytest.mark.parametrize("value", [0.1, 1234.567, 123456.7, 20230101.0])
@pytest.mark.parametrize("rows", [2, 64, 100])
def test_an_all_equal_batch_is_normalized_to_0(value: float, rows: int) -> None:
    for layer in (nn.batch_norm(), nn.layer_norm()):
        params, state = layer.init(nn.key(0), (3,))
        y, run, _ = layer.forward(params, state, np.full((rows, 3), value, np.float32), train=True)
        assert not y.any()
        np.testing.assert_allclose(run.caches[0].inverse_std, 1 / np.sqrt(1e-5), rtol=1e-6)


def test_batch_norm_of_one_row_is_refused_in_training() -> None:
    layer = nn.batch_norm()
    params, state = layer.init(nn.key(0), (3,), np.float64)
    x = np.arange(3.0)[None]
    with pytest.raises(ValueError, match=r"one sample, a single row: .* drop_last=True, or another batch_size"):
        layer.forward(params, state, x, train=True)
    y, _, _ = layer.forward(params, state, x)
    np.testing.assert_allclose(y, x / np.sqrt(1 + 1e-5))
    pixels = np.arange(12.0).reshape(1, 2, 2, 3)  # one image has several positions
    assert layer.forward(params, state, pixels, train=True)[0].shape == pixels.shape
    model = nn.serial(nn.dense(2), nn.batch_norm())
    step = nn.train_step(model, "mean_squared_error", "gd")
    data = np.ones((9, 3)), np.ones((9, 2))
    with pytest.raises(ValueError, match="batch_norm1: batch norm in training got one sample"):
        list(nn.train(step, nn.train_state(model, "gd", nn.key(0), (3,)), data, epochs=1, batch_size=4, key=None))
    shared = nn.train_step(model, "mean_squared_error", "gd", reduce=sharded(2))
    shared(nn.train_state(model, "gd", nn.key(0), (3,)), (data[0][:3], data[1][:3]))  # a shard may have one


def test_infinite_settings_are_refused() -> None:
    for call in (lambda: nn.clip_by_global_norm(nn.gd(), np.inf), lambda: nn.l2(np.inf), lambda: nn.elu(np.inf)):
        with pytest.raises(ValueError, match="expected"):
            call()
    with pytest.raises(TypeError, match=r"dtype=float16: expected np\.float32 or np\.float64"):
        ArrayDict({"W": np.ones(2, np.float16)})


# -- data --------------------------------------------------------------------------------------------------------------


def test_data_for_each_network_are_said_to_be_so() -> None:
    model = nn.serial(nn.dense(1))
    step = nn.train_step(model, nn.mean_squared_error, nn.gd(0.1))
    ts = nn.train_state(model, step.optimizer, nn.split(nn.key(0), 4), (2,))
    data = rng.normal(size=(4, 50, 2)), rng.normal(size=(4, 50, 1))
    shared, own = step(ts, data)[1], step(ts, nn.stacks.per_member(data))[1]
    assert np.shape(shared.output) == (4, 4, 50, 1)
    assert np.shape(own.output) == (4, 50, 1)
    [epoch] = nn.train(step, ts, nn.stacks.per_member(data), epochs=1, batch_size=None, key=nn.key(0))
    np.testing.assert_allclose(epoch.loss, own.loss, rtol=1e-6)


def test_further_leading_axes_of_one_network_are_more_rows() -> None:
    model = nn.serial(nn.dense(4), nn.relu(), nn.dense(1), nn.sigmoid())
    step = nn.train_step(model, nn.binary_cross_entropy, nn.gd(0.1), penalty=nn.l2(1.0))
    ts = nn.train_state(model, step.optimizer, nn.key(0), (2,), np.float64)
    x, y = rng.normal(size=(10, 5, 2)), rng.integers(0, 2, size=(10, 5, 1))
    a, ma = step(ts, (x, y))
    b, mb = step(ts, (x.reshape(50, 2), y.reshape(50, 1)))
    assert ma.loss == pytest.approx(mb.loss, rel=1e-12)
    assert nn.arrays.allclose(a.params, b.params, rtol=1e-12)
    assert nn.accuracy(model, ts, x, y) == nn.accuracy(model, ts, x.reshape(50, 2), y.reshape(50, 1))
    *_, epoch = nn.train(step, ts, (x, y), epochs=2, batch_size=4, key=nn.key(0), validation=(x, y))
    assert np.ndim(epoch.loss) == np.ndim(epoch.accuracy) == 0


def test_a_batch_of_padding_rows_moves_nothing() -> None:
    model = nn.serial(nn.dense(1))
    step = nn.train_step(model, nn.mean_squared_error, nn.gd(0.1))
    ts = nn.train_state(model, step.optimizer, nn.key(0), (2,))
    after, metrics = step(ts, (X, Y, np.zeros(50)))
    assert metrics.loss == 0
    assert nn.arrays.equal(after.params, ts.params)


@pytest.mark.parametrize(
    ("activation", "loss"),
    [
        ("softmax", "sparse_categorical_cross_entropy_with_logits"),
        ("softmax", "categorical_cross_entropy_with_logits"),
        ("sigmoid", "binary_cross_entropy_with_logits"),
        ("softmax", "binary_cross_entropy"),
    ],
)
def test_an_output_activation_that_does_not_go_with_the_loss_is_refused(activation: str, loss: str) -> None:
    with pytest.raises(ValueError, match=f"the model ends with {activation}"):
        nn.train_step(nn.mlp([2, 3], [activation]), loss, "gd")


def test_targets_that_are_no_labels_have_no_accuracy() -> None:
    for activation, target in (("sigmoid", np.full((50, 1), 5)), ("softmax", np.ones((50, 1)))):
        model = nn.mlp([2, 1], [activation])
        step = nn.train_step(model, nn.mean_squared_error, nn.gd(0.1))
        ts = nn.train_state(model, step.optimizer, nn.key(0), (2,))
        assert len(list(nn.train(step, ts, (X, target * 3), epochs=1, key=nn.key(0)))) == 1


def test_a_loss_of_a_users_own_is_enough() -> None:
    def forward(y: Array, target: Any, weights: Any = None) -> tuple[float, Array]:
        return float(np.mean((y - target) ** 4)), y - target

    def backward(d: Array) -> Array:
        return 4 * d**3 / d.size

    model = nn.serial(nn.dense(1))
    step = nn.train_step(model, nn.Loss(forward, backward), nn.gd(1e-3))
    ts = nn.train_state(model, step.optimizer, nn.key(0), (2,), np.float64)
    ts, first = step(ts, (X, Y))
    assert step(ts, (X, Y))[1].loss < first.loss
    with pytest.raises(nn.NonFiniteError, match="the value of the loss is the first"):
        step(ts, (X * 1e90, Y))


def test_maps_and_unions_of_a_stack_are_stacks() -> None:
    stacked = nn.stack([ArrayDict({"W": [[1.0, 2.0]], "b": [0.0, 0.0]})] * 3)
    for other in (stacked.map(np.abs), stacked | {}, stacked | {"b": np.ones((3, 2))}, stacked.select("*")):
        assert other.stack_shape == (3,)
    with pytest.raises(ValueError, match=r"expected \(4,\), or \(K, 4\)"):
        stacked.with_vector(np.ones((2, 3, 4)))
    with pytest.raises(TypeError, match="dtypes float64, float32"):
        nn.stack([ArrayDict({"b": [1.0]}), ArrayDict({"b": [1.0]}, np.float32)])


def test_whole_numbers_are_for_counting() -> None:
    counts = ArrayDict({"n": np.array([1, 2])})
    with pytest.raises(TypeError, match="arithmetic is for floats"):
        counts + counts
    assert ArrayDict({"x": [1, 2]}).vector.tolist() == [1.0, 2.0]
    with pytest.raises(TypeError, match="dtype=int64"):
        ArrayDict({"b": [1.5]}).astype(int)
    with pytest.raises(TypeError, match="masked array"):
        ArrayDict({"b": np.ma.array([1.0, 2.0], mask=[True, False])})


def test_whole_numbers_into_a_residual_give_the_parameters_dtype() -> None:
    model = nn.residual(nn.dense(2))
    params, state = model.init(nn.key(0), (2,))
    y, cache, _ = model.forward(params, state, np.ones((3, 2), int))
    dx, grads = model.backward(params, cache, np.ones((3, 2)))
    assert dx is None
    assert y.dtype == grads.dtype == np.float32
    with pytest.raises(ValueError, match=r"the layers turn an example \(2,\) into \(3,\)"):
        nn.residual(nn.dense(3)).init(nn.key(0), (2,))


def test_two_layers_of_one_name_are_refused() -> None:
    own = nn.layer(lambda p, x: (x, x), lambda p, x, dy: (dy, {}), name="dense1")
    with pytest.raises(ValueError, match="two layers get one name"):
        nn.serial(*[nn.dense(2)] * 11, own)


# -- more of them ------------------------------------------------------------------------------------------------------


def test_an_own_layer_without_parameters_in_a_stack_sees_one_network_at_a_time() -> None:
    centre = nn.layer(
        lambda p, x: (x - x.mean(axis=0), None), lambda p, c, dy: (dy - dy.mean(axis=0), {}), name="centre"
    )
    keys = nn.split(nn.key(0), 3)
    for model in (
        nn.serial(nn.dense(2), centre),
        nn.serial(centre, nn.dense(2)),
        nn.serial(nn.dense(2), nn.residual(centre)),
    ):
        solo = [model.init(key, (2,), np.float64)[0] for key in keys]
        y, cache, _ = model.forward(nn.stack(solo), nn.arrays.EMPTY, X[:8])
        _, grads = model.backward(nn.stack(solo), cache, y**2)
        for i, params in enumerate(solo):
            yi, ci, _ = model.forward(params, nn.arrays.EMPTY, X[:8])
            np.testing.assert_allclose(y[i], yi, rtol=1e-12)
            assert nn.arrays.allclose(nn.unstack(grads)[i], model.backward(params, ci, yi**2)[1], rtol=1e-9)


def test_a_loss_gradient_of_another_shape_is_refused() -> None:
    loss = nn.Loss(lambda y, t: (float(np.sum((y - t) ** 2)), y - t), lambda d: (2 * d).T)
    model = nn.serial(nn.dense(3))
    step = nn.train_step(model, loss, nn.gd())
    with pytest.raises(
        ValueError, match=r"loss.backward returned shape \(3, 50\), expected that of the outputs, \(50, 3\)"
    ):
        step(nn.train_state(model, nn.gd(), nn.key(0), (2,)), (X, np.ones((50, 3))))


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_hyperparameters_of_numpys_promote_nothing(kind: Any) -> None:
    a = kind(0.1)
    for layer in (nn.leaky_relu(a), nn.elu(a), nn.batch_norm(a, a), nn.layer_norm(a), nn.dropout(a)):
        model = nn.serial(nn.dense(3), layer)
        params, state = model.init(nn.key(0), (2,))
        for train in (True, False):
            y, cache, new = model.forward(params, state, X, key=nn.key(0), train=train)
            dx, _ = model.backward(params, cache, y)
            assert dx is not None
            assert y.dtype == dx.dtype == new.dtype == np.float32
    loss = nn.huber(a)
    assert loss.backward(loss.forward(X.astype(np.float32), X)[1]).dtype == np.float32


def test_an_array_of_a_dict_keeps_its_shape_and_dtype() -> None:
    d = ArrayDict({"W": np.ones((2, 3)), "step": np.array([1, 2])})
    for array in (d["W"], d["step"], d.vector):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer NumPys warn
            array.shape = (1, -1)
    assert (d["W"].shape, d["step"].shape, d.vector.shape) == ((2, 3), (2,), (6,))


def test_counts_stay_whole() -> None:
    with pytest.raises(TypeError, match="step is a count, of whole numbers, but float64 came"):
        ArrayDict({"step": np.array([1, 2])}).replace(step=np.array([1.5, 2.5]))


def test_the_loss_of_an_epoch_counts_examples_by_their_weights() -> None:
    model = nn.serial(nn.dense(1))
    step = nn.train_step(model, nn.mean_squared_error, nn.gd(0.0))
    ts = nn.train_state(model, step.optimizer, nn.key(0), (2,), np.float64)
    w = np.repeat([1.0, 0.0, 3.0, 0.5, 0.0], 10)
    (epoch,) = nn.train(step, ts, (X, Y, w), epochs=1, batch_size=3, key=nn.key(0), validation=(X, Y, w))
    assert epoch.validation is not None
    assert epoch.loss == pytest.approx(epoch.validation.loss, rel=1e-12)
    with pytest.raises(ValueError, match="weights are all 0"):
        nn.train(step, ts, (X, Y, 0 * w), epochs=1, key=nn.key(0))


@pytest.mark.parametrize("layer", [nn.softmax(), nn.identity(), nn.flatten(), nn.dropout(0.5), nn.relu()], ids=repr)
def test_no_layer_computes_an_input_gradient_that_is_not_needed(layer: nn.Layer) -> None:
    y, cache, _ = layer.forward(nn.arrays.EMPTY, nn.arrays.EMPTY, X, key=nn.key(0), train=True)
    assert layer.backward(nn.arrays.EMPTY, cache, y, need_dx=False)[0] is None


def test_only_the_input_of_the_model_is_the_users_to_transpose() -> None:
    params = {"dense1.W": np.ones((2, 6)), "dense1.b": np.ones(6), "dense2.W": np.ones((7, 1)), "dense2.b": np.ones(1)}
    with pytest.raises(ValueError, match=r"dense2: x has shape \(7, 6\) .*rows are examples$"):
        nn.serial(nn.dense(6), nn.dense(1)).forward(ArrayDict(params), nn.arrays.EMPTY, X[:7])


# -- what a user brings, in a stack ------------------------------------------------------------------------------------


def own_value(y: Array, target: Array) -> tuple[float, Array]:
    d = np.asarray(y - target)
    return float(np.mean(d * d)), 2 * d / d.size


def norm_penalty(params: ArrayDict, examples: int) -> float:
    return 0.1 * float(np.sum(params.vector**2))


def norm_penalty_gradient(params: ArrayDict, examples: int) -> ArrayDict:
    return params * 0.2


def by_its_norm(w: Array, g: Array, *, t: int, learning_rate: float) -> tuple[Array, ...]:
    return (w - learning_rate * g / np.linalg.norm(g),)


def test_losses_penalties_and_rules_of_a_users_own_see_one_network_at_a_time() -> None:
    K = 3
    model = nn.mlp([4, 3, 2], ["tanh", "identity"])
    loss = nn.Loss(own_value, lambda cache: np.asarray(cache))
    penalty = nn.Penalty(norm_penalty, norm_penalty_gradient)
    step = nn.train_step(model, loss, nn.optimizer(by_its_norm, learning_rate=0.1), penalty)
    rng = np.random.default_rng(0)
    batch = rng.normal(size=(8, 4)), rng.normal(size=(8, 2))
    solo = [nn.train_state(model, step.optimizer, key, (4,), np.float64) for key in nn.split(nn.key(0), K)]
    both = nn.stack(solo)
    for _ in range(3):
        both, metrics = step(both, batch)
        alone = [step(ts, batch) for ts in solo]
        solo = [ts for ts, _ in alone]
        np.testing.assert_allclose(np.asarray(metrics.loss), np.array([m.loss for _, m in alone]), rtol=1e-12)
    for member, ts in zip(nn.unstack(both), solo, strict=True):
        assert nn.arrays.allclose(member.params, ts.params, rtol=1e-12)
    np.testing.assert_allclose(
        np.asarray(nn.evaluate(model, loss, both, *batch).loss),
        np.array([nn.evaluate(model, loss, ts, *batch).loss for ts in solo]),
        rtol=1e-12,
    )


def test_batches_of_as_many_rows_as_networks_are_shared_by_all() -> None:
    model = nn.serial(nn.dense(3), nn.tanh(), nn.dense(2))
    step = nn.train_step(model, "mean_squared_error", nn.gd(0.1))
    keys = nn.split(nn.key(0), 4)
    each: tuple[Keys, ...] = (keys, *keys)
    data = rng.normal(size=(12, 5, 4)), rng.normal(size=(12, 5, 2))
    (epoch,), *alone = (
        nn.train(step, nn.train_state(model, step.optimizer, k, (4,)), data, epochs=1, batch_size=4, key=nn.key(5))
        for k in each  # the stack, then each alone
    )
    for member, (own,) in zip(nn.unstack(epoch.state), alone, strict=True):
        assert nn.arrays.allclose(member.params, own.state.params, rtol=1e-4, atol=1e-6)


# -- layers of a user's own in the full form ---------------------------------------------------------------------------


def doubled(params: Any, state: Any, x: Array, *, key: Any = None, train: bool = False, kernel: Any) -> Any:
    return 2 * x, None, state


def doubled_backward(params: Any, cache: Any, dy: Array, *, need_dx: bool = True, out: Any = None, kernel: Any) -> Any:
    return 2 * dy, nn.arrays.EMPTY


@pytest.mark.parametrize("kernel", [(3, 3), np.ones((3, 3)), "rbf"])
def test_hyperparameters_may_have_any_name(kernel: Any) -> None:
    forward, backward = partial(doubled, kernel=kernel), partial(doubled_backward, kernel=kernel)
    own = nn.Layer(nn.relu().init, forward, backward, "conv")
    model = nn.serial(nn.dense(2), own)
    step = nn.train_step(model, "mean_squared_error", nn.gd(0.1))
    ts = nn.train_state(model, step.optimizer, nn.key(0), (3,))
    ts, _ = step(ts, (np.ones((4, 3)), np.ones((4, 2))))
    assert nn.predict(model, ts, np.ones((4, 3))).shape == (4, 2)
    assert "conv" in repr(model)


@pytest.mark.parametrize("given", [{}, nn.ArrayDict()])
def test_a_state_of_nothing_is_no_state(given: Any) -> None:
    def forward(params: Any, state: Any, x: Array, *, key: Any = None, train: bool = False) -> Any:
        return x + 0, None, given

    own = nn.Layer(nn.identity().init, forward, doubled_plain, "own")
    model = nn.serial(nn.dense(2), own, nn.batch_norm())
    params, before = model.init(nn.key(0), (3,))
    _, _, after = model.forward(params, before, np.arange(12.0).reshape(4, 3), train=True)
    assert after.names == before.names
    assert not nn.arrays.equal(after, before)


def doubled_plain(params: Any, cache: Any, dy: Array, *, need_dx: bool = True, out: Any = None) -> Any:
    dy *= 2
    return dy, nn.arrays.EMPTY


def test_a_state_with_other_names_is_refused_by_the_layers_name() -> None:
    def forward(params: Any, state: Any, x: Array, *, key: Any = None, train: bool = False) -> Any:
        return x + 0, None, {"seen": np.ones(1)}

    model = nn.serial(nn.dense(2), nn.Layer(nn.identity().init, forward, doubled_plain, "watch"))
    with pytest.raises(ValueError, match=r"watch1: .*state that forward returned has seen too much"):
        model.forward(*model.init(nn.key(0), (3,)), np.ones((4, 3)))


def test_a_backward_that_writes_into_dy_is_refused() -> None:
    own = nn.Layer(
        nn.identity().init, lambda p, s, x, key=None, train=False: (x + 0, None, s), doubled_plain, "identity"
    )
    model = nn.residual(nn.dense(3), own)
    params, state = model.init(nn.key(0), (3,))
    y, cache, _ = model.forward(params, state, np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"identity1: .*read-only"):
        model.backward(params, cache, np.ones_like(y))


# -- numbers of unusual kinds ------------------------------------------------------------------------------------------


def test_labels_of_the_other_byte_order() -> None:
    y = np.full((4, 3), 1 / 3)
    labels = np.array([0, 2, 1, 2])
    loss = nn.sparse_categorical_cross_entropy
    for kind in (">i4", ">i2", ">u2", "<i8", "i1"):
        assert loss.forward(y, labels.astype(kind))[0] == loss.forward(y, labels)[0]
    with pytest.raises(ValueError, match="target contains -256"):
        nn.one_hot(np.array([-256], ">i2"), 256)


@pytest.mark.parametrize("kind", [">f4", ">f8", np.longdouble, np.float16])
def test_floats_of_unusual_kinds_are_cast(kind: Any) -> None:
    x = np.array([[-1.0, 0.5, 2.0]])
    for layer in (nn.sigmoid(), nn.softplus(), nn.silu(), nn.softmax(), nn.relu()):
        y, cache, _ = layer.forward(nn.arrays.EMPTY, nn.arrays.EMPTY, x.astype(kind))
        np.testing.assert_allclose(y, layer.forward(nn.arrays.EMPTY, nn.arrays.EMPTY, x)[0], rtol=1e-6)
        layer.backward(nn.arrays.EMPTY, cache, np.ones_like(y))


def test_numbers_that_the_parameters_dtype_cannot_hold_are_named() -> None:
    model = nn.mlp([2, 1], ["sigmoid"])
    step = nn.train_step(model, "binary_cross_entropy", nn.gd())
    ts = nn.train_state(model, step.optimizer, nn.key(0), (2,))
    X = np.array([[1.0, 2.0], [3.0, 1e300]])
    for call in (lambda: nn.predict(model, ts, X), lambda: nn.train(step, ts, (X, [0, 1]), epochs=1, key=nn.key(0))):
        with pytest.raises(ValueError, match=r"X contains 1e\+300 at \[1, 1\], too large for float32"):
            call()
    assert np.isfinite(nn.predict(model, ts, np.full((2, 2), 1e30))).all()  # large, but no overflow and no warning


def test_weights_of_few_digits_and_of_nothing() -> None:
    model = nn.mlp([1, 1], ["sigmoid"])
    step = nn.train_step(model, "binary_cross_entropy", nn.gd())
    ts = nn.train_state(model, step.optimizer, nn.key(0), (1,))
    rows = 70_000  # more than float16 can count
    data = np.ones((rows, 1)), np.ones(rows), np.ones(rows, np.float16)
    [epoch] = nn.train(step, ts, data, epochs=1, batch_size=None, key=nn.key(0))
    assert epoch.loss > 0
    with pytest.raises(ValueError, match="x is empty"):
        nn.accuracy(nn.sigmoid(), nn.train_state(nn.sigmoid(), "gd", nn.key(0), (1,)), np.ones((0, 1)), [])


def test_settings_are_those_of_the_moment_when_they_were_given() -> None:
    rates, strengths = np.array([0.1, 0.2]), np.array([0.1, 0.2])
    optimizer, penalty = nn.gd(rates), nn.l2(strengths, "b")
    params = nn.stack([ArrayDict({"b": [1.0]}), ArrayDict({"b": [2.0]})])
    before = optimizer.step(params, params, optimizer.init(params))[0], penalty.forward(params, 2)
    rates[:], strengths[:] = 5, 5
    after = optimizer.step(params, params, optimizer.init(params))[0], penalty.forward(params, 2)
    assert nn.arrays.equal(before[0], after[0])
    np.testing.assert_array_equal(before[1], after[1])
    with pytest.raises(ValueError, match="settings have the name 'out'"):
        nn.optimizer(by_its_norm, out=1.0)


def test_a_gradient_whose_squares_overflow_is_clipped() -> None:
    params = ArrayDict({"b": [0.0, 0.0]})
    optimizer = nn.clip_by_global_norm(nn.gd(1.0), max_norm=1.0)
    after, _ = optimizer.step(params, {"b": [3e200, 4e200]}, optimizer.init(params))
    np.testing.assert_allclose(after.vector, [-0.6, -0.8])


def test_errors_of_predict_speak_of_all_rows() -> None:
    model = nn.mlp([2048, 2], ["softmax"])
    ts = nn.train_state(model, "gd", nn.key(0), (2048,))
    with pytest.raises(ValueError, match=r"x has shape \(5000, 7\) but the model takes 2048 features .* examples$"):
        nn.predict(model, ts, np.ones((5000, 7)))
    X = np.ones((5000, 2048), np.float32)
    X[4000, 5] = np.nan
    with pytest.raises(ValueError, match=r"contains NaN or infinity: nan at \[4000, 5\]"):
        nn.predict(model, ts, X)
    with pytest.raises(ValueError, match=r"x has shape \(\)"):
        nn.predict(model, ts, 3.0)


def test_batches_of_single_numbers_are_refused() -> None:
    with pytest.raises(TypeError, match="arrays has a single number among its parts"):
        next(nn.minibatches(nn.key(0), (np.array(3.0), np.array(1))))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_silu_of_a_huge_negative_number_is_0(dtype: type[np.floating]) -> None:
    x = np.array([[-1e4, -1e30, -1e37]], dtype)
    y, cache, _ = nn.silu().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, x)
    dx, _ = nn.silu().backward(nn.arrays.EMPTY, cache, np.ones_like(x))
    assert dx is not None
    assert abs(y).max() < 1e-35
    assert abs(dx).max() < 1e-35
