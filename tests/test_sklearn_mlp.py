"""Weights of scikit-learn's own networks: the same predictions in both libraries, in both directions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import nnfunc as nn

pytest.importorskip("sklearn")

from sklearn.exceptions import NotFittedError
from sklearn.neural_network import MLPClassifier, MLPRegressor

from nnfunc.interop.sklearn import NNClassifier, NNRegressor, from_mlp, to_mlp

rng = np.random.default_rng(0)
X = rng.normal(size=(80, 4))
label = X[:, 0] + X[:, 1] ** 2
TARGETS: dict[str, Any] = {
    "binary": np.where(label > 1, "yes", "no"),
    "multi-class": np.array(["c", "a", "b"])[np.digitize(label, [0, 1])],
    "multi-label": np.stack([label > 1, X[:, 2] > 0, X[:, 3] > 1], 1).astype(int),
    "regression": label,
    "several outputs": np.stack([label, X[:, 2] - 1], 1),
}
CLASSIFIED = ("binary", "multi-class", "multi-label")


def assert_same_predictions(mlp: Any, net: Any, kind: str, tolerance: float = 1e-6) -> None:
    given = X.astype(net.state_.params.dtype)
    if kind in CLASSIFIED:
        np.testing.assert_allclose(mlp.predict_proba(given), net.predict_proba(given), atol=tolerance)
        assert mlp.predict(given).dtype.kind == net.predict(given).dtype.kind
        assert np.array_equal(mlp.predict(given), net.predict(given))
        assert np.array_equal(mlp.classes_, net.classes_)
    else:
        np.testing.assert_allclose(mlp.predict(given), net.predict(given), atol=tolerance)
    assert mlp.n_features_in_ == net.n_features_in_


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("kind", TARGETS)
def test_there_and_here_and_there(kind: str, activation: str, dtype: type[np.floating]) -> None:
    make = MLPClassifier if kind in CLASSIFIED else MLPRegressor
    mlp = make(hidden_layer_sizes=(7, 5), activation=activation, max_iter=300, tol=10.0, random_state=0)
    mlp.fit(X.astype(dtype), TARGETS[kind].astype(dtype) if kind not in CLASSIFIED else TARGETS[kind])
    net = from_mlp(mlp)
    assert net.state_.params.dtype == dtype
    assert_same_predictions(mlp, net, kind)
    again = to_mlp(net)
    assert_same_predictions(again, net, kind)
    for a, b in zip((*again.coefs_, *again.intercepts_), (*mlp.coefs_, *mlp.intercepts_), strict=True):
        assert np.array_equal(a, b)
        assert a.dtype == b.dtype
    assert (again.activation, again.out_activation_) == (mlp.activation, mlp.out_activation_)


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize(
    "settings", [{}, {"hidden_layer_sizes": (), "dtype": np.float32}, {"keep_prob": 0.8}], ids=repr
)
def test_what_is_trained_here(kind: str, settings: dict[str, Any]) -> None:
    make = NNClassifier if kind in CLASSIFIED else NNRegressor
    net = make(epochs=3, random_state=0, **settings).fit(X, TARGETS[kind])
    mlp = to_mlp(net)
    assert_same_predictions(mlp, net, kind, 1e-6)
    assert mlp.n_iter_ == 3


@pytest.mark.parametrize("kind", TARGETS)
def test_training_goes_on_on_both_sides(kind: str) -> None:
    make = MLPClassifier if kind in CLASSIFIED else MLPRegressor
    mlp = make(hidden_layer_sizes=(7,), max_iter=20, tol=10.0, random_state=0).fit(X, TARGETS[kind])
    net = from_mlp(mlp)
    before = net.state_.params
    net.set_params(epochs=5).fit(X, TARGETS[kind])
    assert net.n_iter_ == 5
    assert not nn.arrays.equal(net.state_.params, before)
    assert abs(net.state_.params.vector - before.vector).max() < 0.1  # from there, and not anew
    net.partial_fit(X, TARGETS[kind])
    assert net.n_iter_ == 6
    back = to_mlp(net)
    weights = back.coefs_[0].copy()
    back.partial_fit(X, TARGETS[kind])
    assert 0 < abs(back.coefs_[0] - weights).max() < 0.01


def test_a_step_of_both_is_the_same() -> None:
    """alpha is the λ of nn.l2, and the loss the same mean: gradient descent on all rows makes the same step."""
    for kind in ("binary", "multi-class", "regression"):
        make = MLPClassifier if kind in CLASSIFIED else MLPRegressor
        settings: dict[str, Any] = {"alpha": 0.3, "batch_size": 80, "solver": "sgd", "momentum": 0.0}
        mlp = make(hidden_layer_sizes=(7,), activation="tanh", max_iter=20, tol=10.0, random_state=0, **settings).fit(
            X, TARGETS[kind]
        )
        net = from_mlp(mlp)
        factor = 1 if kind in CLASSIFIED else 0.5  # half squares there
        net.set_params(optimizer=nn.gd(mlp.learning_rate_init * factor), epochs=1)
        if kind == "regression":
            net.set_params(penalty=2 * 0.3)
        net.state_ = net.state_._replace(opt_state=nn.gd().init(net.state_.params))
        mlp.partial_fit(X, TARGETS[kind])
        net.fit(X, TARGETS[kind])
        assert_same_predictions(mlp, net, kind, 1e-9)


def test_a_model_that_ends_with_logits() -> None:
    def model(inputs: int, outputs: int) -> nn.Layer:
        return nn.serial(nn.dense(6), nn.tanh(), nn.dense(outputs))

    for kind in ("binary", "multi-class"):
        net = NNClassifier(model=model, epochs=2, random_state=0).fit(X, TARGETS[kind])
        assert_same_predictions(to_mlp(net), net, kind)


REFUSED: list[tuple[nn.Layer, str]] = [
    (nn.mlp([4, 5, 3], ["silu", "softmax"]), r"silu1 is silu\(\), expected a chain of dense layers"),
    (nn.mlp([4, 5, 3], ["relu", "softmax"], batch_norm=True), r"batch_norm1 is batch_norm"),
    (nn.mlp([4, 5, 5, 3], ["relu", "tanh", "softmax"]), r"activations are relu, tanh, softmax, expected one for all"),
    (nn.serial(nn.residual(nn.dense(4)), nn.dense(3), nn.softmax()), r"residual1 is residual"),
    (nn.serial(nn.dense(4), nn.relu(), nn.tanh(), nn.dense(3), nn.softmax()), r"tanh1 is tanh\(\)"),
]


@pytest.mark.parametrize(("model", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_models_that_are_none_there(model: nn.Layer, message: str) -> None:
    net = NNClassifier(model=model, epochs=1, random_state=0).fit(X, TARGETS["multi-class"])
    with pytest.raises(ValueError, match=message):
        to_mlp(net)


def test_other_arguments() -> None:
    with pytest.raises(TypeError, match="mlp is int, expected an MLPClassifier or an MLPRegressor"):
        from_mlp(3)  # type: ignore[arg-type]  # refused by the types too
    with pytest.raises(TypeError, match="net is int, expected an NNClassifier or an NNRegressor"):
        to_mlp(3)  # type: ignore[arg-type]  # likewise
    with pytest.raises(NotFittedError):
        from_mlp(MLPClassifier())
    with pytest.raises(NotFittedError):
        to_mlp(NNRegressor())
    net = NNClassifier(loss="categorical_cross_entropy", epochs=1, random_state=0).fit(X, TARGETS["binary"])
    with pytest.raises(ValueError, match="two outputs for two classes"):
        to_mlp(net)
    mlp = MLPRegressor(hidden_layer_sizes=(3,), max_iter=20, tol=10.0).fit(X, label)
    mlp.out_activation_ = "exp"  # that of loss="poisson"
    with pytest.raises(ValueError, match="output activation 'exp'"):
        from_mlp(mlp)
