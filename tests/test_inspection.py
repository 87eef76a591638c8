"""The inspection: its numbers are those of the forward and the backward, its findings those of networks made ill on
purpose, and healthy networks have none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import nnfunc as nn
from nnfunc.arrays import Array
from nnfunc.inspection import findings
from nnfunc.inspection.graph import graph
from nnfunc.inspection.measure import Call

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 20))
LABELS = RNG.integers(0, 5, 200)
SPARSE = nn.sparse_categorical_cross_entropy


def made(model: nn.Layer, features: int = 20, seed: int = 0, dtype: Any = np.float64) -> nn.TrainState:
    return nn.train_state(model, nn.gd(), nn.key(seed), (features,), dtype=dtype)


def kinds(found: nn.inspection.Inspection) -> list[tuple[str, str]]:
    return [(f.where, f.kind) for f in found.findings]


def relus(depth: int = 2, width: int = 64, **options: Any) -> nn.Layer:
    return nn.mlp([20, *[width] * depth, 5], ["relu"] * depth + ["softmax"], **options)


# -- the numbers -------------------------------------------------------------------------------------------------------


def test_activations_and_gradients_are_those_of_training() -> None:
    model = nn.mlp([20, 8, 5], ["tanh", "softmax"])
    ts = made(model)
    dense1, tanh1, dense2, softmax1 = nn.inspect(model, ts, X, target=LABELS, loss=SPARSE).layers
    W1, b1, W2, b2 = ts.params.arrays
    a = np.tanh(X @ W1 + b1)
    z = a @ W2 + b2
    A = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    dz = (A - np.eye(5)[LABELS]) / 200
    da = dz @ W2.T
    for layer, output, gradient in ((dense1, X @ W1 + b1, da * (1 - a**2)), (tanh1, a, da), (dense2, z, dz)):
        np.testing.assert_allclose(layer.output, output, atol=1e-12)
        assert layer.gradient is not None
        np.testing.assert_allclose(layer.gradient, gradient, atol=1e-12)
        assert layer.gradient_norm == pytest.approx(np.sqrt(np.sum(gradient**2)))
        assert (layer.mean, layer.std) == pytest.approx((output.mean(), output.std()))
    np.testing.assert_allclose(softmax1.output, A, atol=1e-12)
    assert softmax1.gradient is None  # one with its loss
    np.testing.assert_allclose(dense2.grads["W"], a.T @ dz, atol=1e-12)
    relative = np.sqrt((np.sum((a.T @ dz) ** 2) + np.sum(dz.sum(axis=0) ** 2)) / (np.sum(W2**2) + np.sum(b2**2)))
    assert dense2.relative_gradient == pytest.approx(relative)
    assert np.isnan(tanh1.relative_gradient)


def test_shares_are_counted() -> None:
    ts = made(nn.serial(nn.dense(4), nn.relu(), nn.dense(3), nn.tanh(), nn.dense(2), nn.sigmoid()))
    model = nn.serial(nn.dense(4), nn.relu(), nn.dense(3), nn.tanh(), nn.dense(2), nn.sigmoid())
    layers = {
        layer.name: layer for layer in nn.inspect(model, ts.params.replace({"dense1.b": [-99.0, 0, 0, 99]}), X).layers
    }
    assert (layers["relu1"].dead, layers["relu1"].units, layers["dense1"].dead) == (1, 4, 0)
    assert layers["tanh1"].saturated == np.mean(np.abs(layers["tanh1"].output) > 0.98)
    y = layers["sigmoid1"].output
    assert layers["sigmoid1"].saturated == np.mean((y < 0.01) | (y > 0.99))
    assert np.isnan(layers["dense1"].saturated)


def test_what_is_returned_cannot_be_changed_and_is_the_same_each_time() -> None:
    model = relus()
    x = X.copy()
    x.setflags(write=False)
    first, second = (nn.inspect(model, made(model), x) for _ in range(2))
    assert str(first) == str(second)
    for array in (first.layers[0].output, first.layers[0].gradient):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1  # type: ignore[index]  # that is what must fail


def test_without_a_loss_gradients_are_of_a_random_sum_of_the_logits() -> None:
    """Directional derivative of that sum, by differences: the cotangent is read off the last layer."""
    model = relus(1, 8)
    ts = made(model)
    layers = nn.inspect(model, ts, X).layers
    c = layers[-2].gradient
    assert c is not None
    assert c.std() == pytest.approx(1 / 200, rel=0.1)
    direction = np.random.default_rng(1).normal(size=ts.params.size)

    def total(h: float) -> float:
        moved = nn.inspect(model, ts.params.with_vector(ts.params.vector + h * direction), X)
        return float(np.sum(c * moved.layers[-2].output))

    grads = np.concatenate([layer.grads.vector for layer in layers if layer.grads])
    assert grads @ direction == pytest.approx((total(1e-6) - total(-1e-6)) / 2e-6, rel=1e-5)


# -- what is ill -------------------------------------------------------------------------------------------------------


def test_dead_relus_are_counted_in_words() -> None:
    model = relus()
    b = np.where(np.arange(64) < 37, -20.0, 0.0)
    found = nn.inspect(model, made(model).params.replace({"dense2.b": b}), X)
    [finding] = found.findings
    assert (finding.where, finding.kind, finding.fraction) == ("relu2", "dead", 37 / 64)
    assert "37 of 64 units are 0 for all 200 examples" in finding.message
    assert "mostly because of the biases dense2.b" in finding.message
    assert "learning rate" in finding.message
    assert not found.ok


@pytest.mark.parametrize("name", ["leaky_relu", "elu", "gelu", "silu", "softplus"])
def test_relatives_of_relu_do_not_die(name: str) -> None:
    model = nn.mlp([20, 64, 5], [name, "softmax"])
    params = made(model).params.replace({"dense1.b": np.where(np.arange(64) < 37, -8.0, 0.0)})
    found = nn.inspect(model, params, X)
    assert found.layers[1].dead == 0
    assert "dead" not in [f.kind for f in found.findings]


def test_a_few_dead_units_or_few_examples_are_no_finding() -> None:
    model = relus(1, 16)
    few = made(model).params.replace({"dense1.b": np.where(np.arange(16) < 2, -20.0, 0.0)})
    assert nn.inspect(model, few, X).layers[1].dead == 2
    assert nn.inspect(model, few, X).ok
    for seed in range(50):  # one row: half of the units are 0
        found = nn.inspect(model, made(model, seed=seed), X[:1])
        assert found.ok
    assert "1 example, too few to judge" in str(found)


def test_saturation() -> None:
    model = nn.mlp(
        [20, 32, 32, 5], ["tanh", "sigmoid", "softmax"], initializer=partial(nn.initializers.random, std=3.0)
    )
    found = nn.inspect(model, made(model), X)
    assert kinds(found)[:2] == [("tanh1", "saturated"), ("sigmoid1", "saturated")]
    assert found.findings[0].fraction > 0.5
    assert "within 1 % of −1 or 1" in found.findings[0].message


@pytest.mark.parametrize("last", ["softmax", "sigmoid"])
@pytest.mark.parametrize("with_loss", [True, False])
def test_a_confident_output_is_no_fault(last: str, with_loss: bool) -> None:
    model = nn.mlp([20, 32, 5], ["relu", last])
    ts = made(model)
    params = ts.params.replace({"dense2.W": 20 * ts.params["dense2.W"]})
    loss = SPARSE if last == "softmax" else nn.binary_cross_entropy
    target = nn.predict_classes(model, ts._replace(params=params), X)
    found = nn.inspect(model, params, X, target=target, loss=loss) if with_loss else nn.inspect(model, params, X)
    assert found.layers[-1].saturated > 0.5
    assert found.ok


def test_a_hidden_softmax_may_saturate() -> None:
    model = nn.serial(nn.dense(8), nn.softmax(), nn.dense(2))
    ts = made(model)
    assert nn.inspect(model, ts, X).ok
    params = ts.params.replace({"dense1.W": 100 * ts.params["dense1.W"]})
    assert ("softmax1", "saturated") in kinds(nn.inspect(model, params, X))


@pytest.mark.parametrize("with_loss", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_vanish_in_deep_sigmoids(with_loss: bool, dtype: Any) -> None:
    model = nn.mlp([20, *[32] * 8, 5], ["sigmoid"] * 8 + ["softmax"])
    given: dict[str, Any] = {"target": LABELS, "loss": "sparse_categorical_cross_entropy"} if with_loss else {}
    found = nn.inspect(model, made(model, dtype=dtype), X, **given)
    [finding] = [f for f in found.findings if f.kind == "vanishing"]
    assert finding.where.startswith("sigmoid")
    assert "the slope of a sigmoid is at most 1/4" in finding.message
    norms = {layer.name: layer.gradient_norm for layer in found.layers}
    assert f"{norms['dense1']:.2g} at dense1" in finding.message


def test_small_and_large_weights_are_named() -> None:
    small = relus(5, 32, initializer="random")
    found = nn.inspect(small, made(small), X)
    assert {f.kind for f in found.findings} == {"vanishing", "shrinking"}
    assert "root mean square of 0.01, he has 0.25" in " ".join(f.message for f in found.findings)
    large = relus(5, 32, initializer=partial(nn.initializers.random, std=1.0))
    assert {f.kind for f in nn.inspect(large, made(large), X).findings} == {"exploding", "growing"}


def test_a_layer_that_forgets_the_examples_is_named_once() -> None:
    model = relus(3, 16)
    params = made(model).params
    params = params.replace({"dense2.W": 0 * params["dense2.W"] + 1e-9, "dense2.b": np.linspace(-1, 1, 16)})
    constant = [f for f in nn.inspect(model, params, X).findings if f.kind == "constant"]
    assert [f.where for f in constant] == ["dense2"]


def test_parameters_without_gradient() -> None:
    model = relus(2, 16, initializer="zeros")
    found = {f.kind: f for f in nn.inspect(model, made(model), X).findings}
    assert "dense3 passes no gradient on (its weights are all 0)" in found["no-gradient"].message
    assert "dense1.W, dense1.b, dense2.W, dense2.b" in found["no-gradient"].message

    scale = nn.layer(
        lambda p, x: (x * p["a"], x), lambda p, x, dy: (dy * p["a"], {"a": 0 * p["a"]}), {"a": np.ones(8)}, name="scale"
    )
    model = nn.serial(nn.dense(8), scale, nn.dense(2))
    [finding] = nn.inspect(model, made(model), X).findings
    assert (finding.where, finding.name, finding.kind) == ("scale1", "a", "no-gradient")


def test_what_is_not_finite_is_named() -> None:
    model = relus()
    params = made(model).params
    W = params["dense2.W"].copy()
    W[3, 4] = np.nan
    [finding] = nn.inspect(model, params.replace({"dense2.W": W}), X).findings
    assert (finding.where, finding.name, finding.kind) == ("dense2", "W", "nonfinite")
    assert "[3, 4]" in finding.message
    found = nn.inspect(model, params.replace({"dense1.W": params["dense1.W"] * 1e308}), X)
    assert kinds(found) == [("dense1", "nonfinite")]
    assert "inf" in str(found) or "nan" in str(found)


@pytest.mark.parametrize(
    ("x", "word"),
    [
        (X * np.r_[1e5, np.ones(19)], "feature 0 from"),
        (X + 100, "is far from 0"),
        (255 * RNG.random((200, 20)), "x is large, with a root mean square of 1.5e+02"),
    ],
)
def test_inputs_that_are_not_scaled(x: Array, word: str) -> None:
    model = relus(1)
    finding = nn.inspect(model, made(model), x).findings[0]
    assert (finding.where, finding.kind) == ("x", "inputs")
    assert word in finding.message


def test_equal_rows_are_not_to_be_divided_by_their_standard_deviation() -> None:
    model = relus(1)
    finding = nn.inspect(model, made(model), np.ones((200, 20))).findings[0]
    assert (finding.where, finding.kind) == ("x", "constant")
    assert "the same row for every example" in finding.message


def test_units_that_begin_alike_stay_alike() -> None:
    model = nn.mlp([20, 16, 3], ["tanh", "softmax"], initializer=partial(nn.initializers.constant, value=0.02))
    found = nn.inspect(model, made(model), X)
    assert ("dense1", "symmetric") in kinds(found)
    assert "all 16 units have the same weights and biases" in str(found)


def test_averages_that_never_moved_are_not_taken_for_those_of_the_data() -> None:
    model = nn.mlp([20] + [32] * 6 + [3], ["sigmoid"] * 6 + ["softmax"], batch_norm=True)
    ts = nn.train_state(model, "adam", nn.key(0), (20,))
    assert nn.inspect(model, ts, X).ok
    assert nn.inspect(model, ts.params, X).ok


def test_a_small_factor_for_each_of_many_layers_counts() -> None:
    model = nn.mlp([20] + [32] * 30 + [3], ["relu"] * 30 + ["softmax"], initializer="glorot")
    found = nn.inspect(model, made(model), X)
    assert {"vanishing", "shrinking"} <= {f.kind for f in found.findings}
    assert "in each of 30 layers" in str(found)


def test_a_saturated_output_under_another_loss_than_its_own_is_at_fault() -> None:
    model = nn.mlp([20, 16, 1], ["relu", "sigmoid"])
    params = made(model).params.replace({"dense2.b": [30.0]})
    target = np.full((200, 1), 25.0)
    found = nn.inspect(model, params, X, target=target, loss=nn.mean_squared_error)
    assert ("sigmoid1", "saturated") in kinds(found)
    assert nn.inspect(model, params, X, target=np.ones((200, 1)), loss=nn.binary_cross_entropy).ok


def test_large_weights_are_no_reason_for_small_gradients() -> None:
    model = nn.mlp(
        [20, 64, 32, 3], ["relu", "relu", "softmax"], initializer=partial(nn.initializers.constant, value=5.0)
    )
    found = nn.inspect(model, made(model), X, target=np.arange(200) % 3, loss="sparse_categorical_cross_entropy")
    [vanishing] = [f.message for f in found.findings if f.kind == "vanishing"]
    assert "root mean square" not in vanishing
    assert "relu1 (times 1)" not in vanishing


def test_advice_is_given_once() -> None:
    model = relus(3, 32)
    params = made(model).params.replace({f"dense{i}.b": np.full(32, -30.0) for i in (1,)})
    params = params.replace({"dense3.b": np.where(np.arange(32) < 20, -30.0, 1.0)})
    text = str(nn.inspect(model, params, X))
    assert text.count("Usual causes") == 1


# -- what is healthy ---------------------------------------------------------------------------------------------------


def healthy() -> dict[str, nn.Layer]:
    blocks = [nn.residual(nn.layer_norm(), nn.dense(32), nn.relu(), nn.dense(32)) for _ in range(6)]
    normed = [part for _ in range(6) for part in (nn.dense(32), nn.layer_norm(), nn.relu())]
    return {
        **{f"relu {depth}x{width}": relus(depth, width) for depth in (1, 3, 10) for width in (16, 64)},
        **{
            f"tanh {n}": nn.mlp([20, *[32] * n, 5], ["tanh"] * n + ["softmax"], initializer="glorot")
            for n in (1, 3, 10)
        },
        "batch norm, dropout": relus(5, 32, batch_norm=True, keep_prob=0.8),
        "layer norm": nn.serial(*normed, nn.dense(5), nn.softmax()),
        "residual": nn.serial(nn.dense(32), *blocks, nn.layer_norm(), nn.dense(5), nn.softmax()),
        "gelu": nn.mlp([20, 32, 32, 5], ["gelu", "gelu", "softmax"]),
        "logits": nn.serial(nn.dense(5)),
        "regression": nn.mlp([20, 32, 1], ["silu", "identity"]),
    }


@pytest.mark.parametrize("name", healthy())
def test_fresh_networks_have_no_findings(name: str) -> None:
    model = healthy()[name]
    for seed in range(12):
        x = np.random.default_rng(seed).normal(size=((30, 200)[seed % 2], 20))
        ts = made(model, seed=seed, dtype=(np.float32, np.float64)[seed % 2])
        assert kinds(nn.inspect(model, ts, x)) == []
        assert kinds(nn.inspect(model, ts.params, x)) == []
        assert kinds(nn.inspect(model, ts, x, train=True, key=nn.key(seed))) == []


@pytest.mark.parametrize(
    ("activation", "initializer", "rate"), [("relu", "he", 1e-3), ("relu", "he", 1e-2), ("tanh", "glorot", 3e-3)]
)
def test_trained_digits_have_no_findings(
    activation: str, initializer: nn.initializers.InitializerName, rate: float
) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    D, T = datasets.load_digits(return_X_y=True)
    model = nn.mlp([64, 64, 32, 10], [activation, activation, "softmax"], initializer=initializer)
    step = nn.train_step(model, SPARSE, nn.adam(rate))
    ts = nn.train_state(model, step.optimizer, nn.key(0), (64,))
    *_, epoch = nn.train(step, ts, (D / 16, T), epochs=30, batch_size=64, key=nn.key(1))
    assert nn.accuracy(model, epoch.state, D / 16, T) > 0.98
    assert kinds(nn.inspect(model, epoch.state, D / 16, target=T, loss=SPARSE)) == []
    assert kinds(nn.inspect(model, epoch.state, D[:100] / 16)) == []


def test_too_large_a_learning_rate_kills_relus() -> None:
    model = relus()
    step = nn.train_step(model, SPARSE, nn.adam(0.3))
    ts = nn.train_state(model, step.optimizer, nn.key(0), (20,))
    *_, epoch = nn.train(step, ts, (X, LABELS), epochs=10, batch_size=20, key=nn.key(1))
    assert "dead" in [f.kind for f in nn.inspect(model, epoch.state, X).findings]


def test_chance_is_calibrated() -> None:
    """Units with random weights are dead as often as it is estimated: the estimate is of that layer's own inputs."""
    h = np.maximum(np.random.default_rng(2).normal(size=(30, 16)) + 1.5, 0)  # all inputs alike
    dead = (h @ np.random.default_rng(3).normal(size=(16, 4000)) <= 0).all(axis=0).mean()
    params = nn.ArrayDict({"W": np.zeros((16, 4))})
    call = Call("dense1", nn.dense(4), (h,), np.zeros((30, 4)), params, None, nn.arrays.EMPTY, (0,))
    assert findings._share_dead_at_random(call) == pytest.approx(dead, abs=0.06)
    assert dead > 0.1


# -- what it takes -----------------------------------------------------------------------------------------------------


def test_single_layers_own_layers_and_nested_ones() -> None:
    own = nn.layer(lambda p, x: (np.maximum(x, 0), x), lambda p, x, dy: (dy * (x > 0), {}), name="clip")
    x = X - np.where(np.arange(20) < 12, 50, 0)
    [clip] = nn.inspect(own, nn.arrays.EMPTY, x).layers
    assert (clip.name, clip.dead) == ("clip", 12)
    assert clip.gradient is not None
    model = nn.serial(
        nn.serial(nn.dense(8), own), nn.residual(nn.dense(8), nn.tanh()), nn.serial(nn.dense(3), nn.softmax())
    )
    found = nn.inspect(model, made(model), X, target=LABELS % 3, loss=SPARSE)
    names = [layer.name for layer in found.layers]
    assert names == [
        "serial1.dense1",
        "serial1.clip1",
        "residual1.dense1",
        "residual1.tanh1",
        "residual1.add",
        "serial2.dense1",
        "serial2.softmax1",
    ]
    assert found.ok


def plain_backward(params: nn.ArrayDict, cache: Array, dy: Array) -> tuple[Array, nn.ArrayDict]:
    return dy * cache, nn.arrays.EMPTY


def test_a_layer_of_the_full_form() -> None:
    def forward(params: Any, state: Any, x: Array, *, key: Any = None, train: bool = False) -> Any:
        return x**2 / 2, x, state

    half_square = nn.Layer(nn.relu().init, forward, plain_backward, "square")
    assert nn.inspect(half_square, {}, X).layers[0].name == "square"
    model = nn.serial(nn.dense(4), half_square, nn.dense(2))
    assert len(nn.inspect(model, made(model).params, X).layers) == 3


def test_whole_numbers_and_tables() -> None:
    def look_up(params: nn.ArrayDict, x: Array) -> tuple[Array, Any]:
        i = x[:, 0].astype(int)
        return params["table"][i], i

    def backward(params: nn.ArrayDict, i: Any, dy: Array) -> tuple[None, dict[str, Array]]:
        grads = np.zeros_like(params["table"])
        np.add.at(grads, i, dy)
        return None, {"table": grads}

    table = nn.layer(
        look_up, backward, lambda key, shape: {"table": nn.keys.generator(key).normal(size=(5000, 8))}, "table"
    )
    model = nn.serial(table, nn.dense(8), nn.relu(), nn.dense(2))
    x = np.random.default_rng(0).integers(0, 5000, (200, 1))
    found = nn.inspect(model, made(model, 1), x)
    assert found.ok
    assert found.layers[0].output.shape == (200, 8)
    counts = np.random.default_rng(0).integers(0, 9, (50, 20))
    assert nn.inspect(relus(), made(relus()), counts).ok


def test_leading_axes_are_examples() -> None:
    model = relus()
    ts = made(model)
    flat, cube = (
        nn.inspect(model, ts, X),
        nn.inspect(model, ts, X.reshape(4, 50, 20), target=LABELS.reshape(4, 50), loss=SPARSE),
    )
    assert flat.examples == cube.examples == 200
    assert cube.layers[1].output.shape == (4, 50, 64)
    assert cube.layers[1].dead == flat.layers[1].dead
    images = nn.serial(nn.flatten(), nn.dense(4), nn.relu(), nn.dense(2))
    state = nn.train_state(images, "gd", nn.key(0), (4, 5))
    found = nn.inspect(images, state, X.reshape(200, 4, 5))
    assert found.examples == 200
    assert found.layers[0].gradient is None  # no parameter hears it


def test_without_a_state_batch_norm_takes_the_statistics_of_x() -> None:
    model = nn.serial(nn.dense(8), nn.batch_norm(), nn.relu(), nn.dense(2))
    ts = made(model)
    normed = nn.inspect(model, ts.params, 50 * X).layers[1].output
    np.testing.assert_allclose(normed.std(axis=0), 1, rtol=1e-3)
    assert nn.inspect(model, ts.params, X[:1]).ok  # a single row has no statistics
    np.testing.assert_array_equal(nn.inspect(model, ts, 50 * X).layers[1].output, normed)  # never moved: none
    moved = ts._replace(state=ts.state * 1.01)
    raw = nn.inspect(model, moved, 50 * X).layers[1].output
    assert raw.std() > 20
    np.testing.assert_array_equal(nn.inspect(model, ts.params, 50 * X, state=moved.state).layers[1].output, raw)


def test_dropout_drops_in_training_alone() -> None:
    model = relus(1, 8, keep_prob=0.5)
    ts = made(model)
    dropped, kept = (nn.inspect(model, ts, X, train=train).layers[2] for train in (True, False))
    assert np.mean(dropped.output == 0) > np.mean(kept.output == 0) + 0.1
    assert dropped.dead == 0


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no model": ({"model": "relu"}, TypeError, "model='relu' is not of type Layer: expected a Layer"),
    "no params": ({"params": 3}, TypeError, "params is int, expected a dict of arrays or a TrainState"),
    "half a loss": ({"loss": SPARSE}, ValueError, "loss and target go together"),
    "unknown loss": ({"loss": "spars", "target": LABELS}, ValueError, "unknown loss 'spars'"),
    "NaN": ({"x": np.full((3, 20), np.nan)}, ValueError, "x contains NaN"),
    "one axis": ({"x": X[0]}, ValueError, r"x has shape \(20,\), expected \(examples"),
    "transposed": ({"x": X.T}, ValueError, "rows are examples, so pass x.T"),
    "softmax twice": (
        {"loss": nn.categorical_cross_entropy_with_logits, "target": np.eye(5)[LABELS]}, ValueError, "applies it again",
    ),
    "a stack": ({"params": nn.stack([made(relus()).params] * 2)}, ValueError, r"stack of 2 networks.*nn\.unstack"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_refused(what: str) -> None:
    given, kind, message = REFUSED[what]
    arguments = {"model": relus(), "params": made(relus()), "x": X, **given}
    with pytest.raises(kind, match=message):
        nn.inspect(arguments.pop("model"), arguments.pop("params"), arguments.pop("x"), **arguments)


def test_the_report_is_a_table_and_words_of_80_columns() -> None:
    model = nn.serial(*[nn.serial(nn.serial(nn.residual(nn.dense(20), nn.tanh()))) for _ in range(2)], nn.dense(5))
    params = made(model).params.replace({"serial2.serial1.residual1.dense1.b": np.full(20, 30.0)})
    found = nn.inspect(model, params, X)
    lines = str(found).splitlines()
    assert max(map(len, lines)) <= 80
    assert "100% saturated" in str(found)
    assert lines[-1] == "1 wrong: 200 examples"
    html = found._repr_html_()
    assert html.count("<tr") == 8
    assert 'style="color' in html


# -- networks that are no chain ----------------------------------------------------------------------------------------


def towers() -> nn.Layer:
    image = nn.serial(nn.flatten(), nn.dense(16), nn.relu())
    return nn.serial(nn.parallel(image=image, table=nn.dense(8)), nn.concatenate(), nn.dense(3), nn.softmax())


PAIR = RNG.normal(size=(100, 4, 4)), RNG.normal(size=(100, 5))


def test_several_inputs_are_looked_at_one_by_one() -> None:
    model = towers()
    params, _ = model.init(nn.key(0), ((4, 4), (5,)))
    found = nn.inspect(model, params, PAIR, target=np.arange(100) % 3, loss=SPARSE)
    names = [layer.name.removeprefix("parallel1.") for layer in found.layers]
    assert names == ["image.flatten1", "image.dense1", "image.relu1", "table", "concatenate1", "dense1", "softmax1"]
    assert found.ok
    [finding] = nn.inspect(model, params, (PAIR[0], PAIR[1] + 100)).findings
    assert (finding.where, finding.kind) == ("x[1]", "inputs")
    assert "x[1] is far from 0" in finding.message
    dead = params.replace({"parallel1.image.dense1.b": np.full(16, -30.0)})
    assert kinds(nn.inspect(model, dead, PAIR)) == [("parallel1.image.relu1", "dead")]
    with pytest.raises(ValueError, match=r"x\[1\] contains NaN"):
        nn.inspect(model, params, (PAIR[0], PAIR[1] * np.nan))


def test_the_gradients_of_a_branch_are_those_of_training() -> None:
    """Of several outputs, each activation that is one with its part of the loss has no gradient of its own."""
    heads = nn.branch(kind=nn.serial(nn.dense(3), nn.softmax()), size=nn.dense(1))
    model = nn.serial(nn.dense(8), nn.tanh(), heads)
    loss = nn.losses.combined(nn.sparse_categorical_cross_entropy, nn.mean_squared_error)
    target = LABELS % 3, X[:, :1]
    ts = made(model)
    found = nn.inspect(model, ts, X, target=target, loss=loss)
    *_, kind, softmax, size = found.layers
    assert [kind.name, softmax.name, size.name] == ["branch1.kind.dense1", "branch1.kind.softmax1", "branch1.size"]
    y = nn.predict(model, ts, X)
    np.testing.assert_allclose(softmax.output, y[0])
    np.testing.assert_allclose(size.output, y[1])
    assert softmax.gradient is None
    result = nn.value_and_grad(model, loss)(ts.params, ts.state, (X, target), train=False)
    for layer in found.layers:
        for name, g in layer.grads.items():
            np.testing.assert_allclose(g, result.grads[f"{layer.name}.{name}"])
    confident = ts.params.replace({"branch1.kind.dense1.W": 50 * ts.params["branch1.kind.dense1.W"]})
    for given in ({}, {"target": target, "loss": loss}):
        assert "saturated" not in [f.kind for f in nn.inspect(model, confident, X, **given).findings]  # type: ignore[arg-type]


def test_a_layer_that_is_called_more_than_once_stands_once_for_all_its_calls() -> None:
    model = nn.serial(nn.shared(nn.serial(nn.dense(6), nn.relu())), nn.subtract(), nn.dense(1))
    params, _ = model.init(nn.key(0), ((5,), (5,)))
    a, b = PAIR[1], 2 * PAIR[1][::-1]
    dense, relu, subtract, _ = nn.inspect(model, params, (a, b)).layers
    assert dense.output.shape == (200, 6)
    np.testing.assert_allclose(
        dense.output,
        np.concatenate([a, b]).astype(np.float32) @ params["shared1.serial1.dense1.W"],
        rtol=1e-4,
        atol=1e-5,
    )
    assert relu.gradient is not None
    assert subtract.gradient is not None
    np.testing.assert_array_equal(relu.gradient, np.concatenate([subtract.gradient, -subtract.gradient]))
    # a unit that is 0 for one of two inputs is not dead
    half = params.replace({"shared1.serial1.dense1.b": np.full(6, -20.0)})
    assert nn.inspect(model, half, (a, b)).layers[1].dead == 6
    assert nn.inspect(model, half, (a, 100 * b)).layers[1].dead == 0


def test_a_bias_that_cancels_is_not_said_to_be_forgotten() -> None:
    model = nn.serial(nn.shared(nn.dense(6)), nn.subtract(), nn.dense(1))
    params, _ = model.init(nn.key(0), ((5,), (5,)))
    assert nn.inspect(model, params, (PAIR[1], PAIR[1][::-1])).ok


def test_a_scan_is_judged_by_all_steps_and_not_by_depth() -> None:
    cell = nn.serial(nn.concatenate(), nn.dense(4), nn.tanh())
    model = nn.serial(nn.scan(cell, units=4), nn.flatten(), nn.dense(2), nn.softmax())
    params, _ = model.init(nn.key(0), (30, 3))
    x = RNG.normal(size=(50, 30, 3))
    found = nn.inspect(model, params, x, target=np.arange(50) % 2, loss=SPARSE)
    layers = {layer.name: layer for layer in found.layers}
    assert layers["scan1.serial1.tanh1"].output.shape == (50 * 30, 4)
    assert found.ok
    sure = params.replace({"scan1.serial1.dense1.W": 50 * params["scan1.serial1.dense1.W"]})
    assert ("scan1.serial1.tanh1", "saturated") in kinds(nn.inspect(model, sure, x))
    faint = params.replace({"scan1.serial1.dense1.W": 1e-4 * params["scan1.serial1.dense1.W"]})
    assert not {"vanishing", "shrinking"} & {f.kind for f in nn.inspect(model, faint, x).findings}


def test_frozen_layers_have_no_gradient_and_no_finding_for_it() -> None:
    model = nn.freeze(relus(), "dense1.*")
    params, state = model.init(nn.key(0), (20,), np.float64)
    found = nn.inspect(model, params, X, state=state, target=LABELS, loss=SPARSE)
    dense1, relu1, dense2, *_ = found.layers
    assert dense1.gradient is None
    assert relu1.gradient is None
    assert (list(dense1.params), list(dense1.grads), list(dense2.grads)) == (["W", "b"], [], ["W", "b"])
    assert found.ok
    zero = params.replace({"dense3.W": 0 * params["dense3.W"]})
    messages = [f.message for f in nn.inspect(model, zero, X, state=state).findings if f.kind == "no-gradient"]
    assert len(messages) == 1
    assert "dense2.W, dense2.b" in messages[0]
    assert "dense1.W" not in messages[0]
    with pytest.raises(ValueError, match="dense1"):  # frozen parameters are never drawn anew
        nn.inspect(model, params, X)


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ({"ways": nn.residual}, False),
        ({"ways": lambda *layers: nn.serial(nn.branch(nn.serial(*layers), nn.identity()), nn.concatenate())}, False),
        ({"ways": nn.serial}, True),
    ],
)
def test_depth_is_judged_where_the_signal_has_no_other_way(parts: Any, named: bool) -> None:
    sigmoids = [part for _ in range(8) for part in (nn.dense(20), nn.sigmoid())]
    model = nn.serial(nn.dense(20), parts["ways"](*sigmoids), nn.dense(5))
    found = {f.kind for f in nn.inspect(model, made(model), X).findings}
    assert ("vanishing" in found) == named


def test_what_has_another_way_around_it_is_read_off_the_wiring() -> None:
    def around(model: nn.Layer, shape: Any) -> list[str]:
        made = nn.models.program(model, shape)
        found = graph(made.ops, made.inputs, len(made.shapes)).around
        return [op.path for op, way in zip(made.ops, found, strict=True) if way]

    assert around(nn.serial(nn.dense(3), nn.residual(nn.dense(3), nn.tanh()), nn.dense(1)), (2,)) == [
        "residual1.dense1", "residual1.tanh1",
    ]  # fmt: skip
    assert around(towers(), ((4, 4), (5,))) == []
    joined = nn.serial(nn.dense(3), nn.branch(a=nn.serial(nn.dense(2), nn.tanh()), b=nn.dense(1)), nn.concatenate())
    assert around(joined, (2,)) == ["branch1.a.dense1", "branch1.a.tanh1", "branch1.b"]
    assert around(nn.serial(nn.dense(3), nn.branch(a=nn.dense(2), b=nn.dense(1))), (2,)) == []  # two outputs


def test_a_residual_that_begins_at_0_is_no_fault() -> None:
    """Its last layer returns 0 for all examples, and passes no gradient on, but the signal goes around it."""
    block = nn.residual(nn.dense(20), nn.relu(), nn.dense(20, "zeros"))
    model = nn.serial(nn.dense(20), block, nn.dense(5))
    assert nn.inspect(model, made(model), X).ok
    chain = nn.serial(nn.dense(20), nn.relu(), nn.dense(20, "zeros"), nn.dense(5))
    assert {f.kind for f in nn.inspect(chain, made(chain), X).findings} == {"constant", "no-gradient"}


def test_each_of_two_towers_has_a_depth_of_its_own() -> None:
    deep = nn.serial(*[part for _ in range(8) for part in (nn.dense(16), nn.sigmoid())])
    flat = nn.serial(nn.dense(16), nn.tanh())
    model = nn.serial(nn.parallel(deep=deep, flat=flat), nn.concatenate(), nn.dense(3))
    params, _ = model.init(nn.key(0), ((5,), (5,)))
    findings = nn.inspect(model, params, (PAIR[1], PAIR[1][::-1])).findings
    [vanishing] = [f for f in findings if f.kind == "vanishing"]
    assert "at parallel1.deep.dense1" in vanishing.message
    assert not [f for f in findings if f.where.startswith("parallel1.flat")]


def test_tokens_are_no_inputs_to_be_scaled() -> None:
    def look_up(params: nn.ArrayDict, x: Any) -> tuple[Array, Any]:
        return params["table"][x], x

    def backward(params: nn.ArrayDict, x: Any, dy: Array) -> tuple[None, dict[str, Array]]:
        grads = np.zeros_like(params["table"])
        np.add.at(grads, x, dy)
        return None, {"table": grads}

    table = nn.layer(
        look_up, backward, lambda key, shape: {"table": nn.keys.generator(key).normal(size=(5000, 8))}, "table"
    )
    model = nn.serial(
        nn.parallel(words=nn.serial(table, nn.flatten()), table=nn.dense(4)), nn.concatenate(), nn.dense(2)
    )
    params, _ = model.init(nn.key(0), ((6,), (5,)))
    tokens = RNG.integers(0, 5000, (100, 6))
    found = nn.inspect(model, params, (tokens, PAIR[1]))
    assert found.ok
    assert found.layers[0].output.shape == (100, 6, 8)
    assert [f.where for f in nn.inspect(relus(), made(relus()), 1000 * RNG.integers(0, 5, (50, 20))).findings] == ["x"]


# -- beside the targets ------------------------------------------------------------------------------------------------


def of_targets(change: Callable[[Array], Array], **params: Array) -> list[tuple[str, str]]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 4))
    model = nn.serial(nn.dense(16), nn.leaky_relu(), nn.dense(16), nn.leaky_relu(), nn.dense(1))
    ts = nn.train_state(model, "gd", nn.key(0), (4,), np.float64)
    arrays = ts.params.replace({name.replace("_", "."): value for name, value in params.items()})
    found = nn.inspect(model, arrays, x, target=change(x[:, :1]), loss="mean_squared_error").findings
    return [(f.where, f.kind) for f in found]


def test_targets_that_fit_have_no_finding() -> None:
    assert of_targets(lambda t: t) == []
    assert of_targets(lambda t: 20 * t) == []


def test_large_and_far_targets_are_told() -> None:
    assert of_targets(lambda t: 1e5 * t) == [("dense3", "targets")]
    assert of_targets(lambda t: t + 1000) == [("dense3", "targets")]
    assert of_targets(lambda t: t / 10 + 8) == [("dense3", "targets")]  # far, not large


def test_outputs_that_are_all_alike_are_told() -> None:
    W = np.random.default_rng(1).normal(size=(16, 1)) * 1e-6
    assert ("dense3", "constant") in of_targets(lambda t: t, dense3_W=W)


def test_a_layer_that_has_exploded_is_told() -> None:
    W = np.random.default_rng(1).normal(size=(4, 16)) * 1e7
    assert of_targets(lambda t: t, dense1_W=W) == [("dense1", "growing")]


def test_classes_that_are_all_predicted_alike_are_told() -> None:
    x = np.random.default_rng(0).normal(size=(90, 4))
    model = nn.mlp([4, 8, 3], ["tanh", "softmax"])
    ts = nn.train_state(model, "gd", nn.key(0), (4,))
    flat = ts.params.replace({"dense2.W": np.asarray(ts.params["dense2.W"]) * 1e-6})
    loss: nn.losses.LossName = "sparse_categorical_cross_entropy"
    assert nn.inspect(model, ts, x, target=np.arange(90) % 3, loss=loss).ok
    kinds = [f.kind for f in nn.inspect(model, flat, x, target=np.arange(90) % 3, loss=loss).findings]
    assert "constant" in kinds
