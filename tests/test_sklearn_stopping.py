"""Stopping criteria of a fit: training loss, any score, held-out rows; sparse X, order, quantiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import nnfunc as nn
from nnfunc.arrays import Array

pytest.importorskip("sklearn")

from scipy.sparse import csr_array
from sklearn.datasets import make_classification
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV

from nnfunc.interop.sklearn import NNClassifier, NNRegressor
from nnfunc.interop.sklearn._base import dense

X, Y = make_classification(300, 6, n_informative=4, n_classes=3, weights=[0.6, 0.3], flip_y=0.1, random_state=0)
BINARY = np.where(Y > 0, "yes", "no")
T = X[:, 0] ** 2 + X[:, 1]
SETTINGS: dict[str, Any] = {"hidden_layer_sizes": (8,), "learning_rate": 0.02, "random_state": 0}


def same(a: Any, b: Any) -> bool:
    return bool(nn.arrays.equal(a.state_.params, b.state_.params)) and a.state_.step == b.state_.step


# -- by the training loss ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [NNClassifier, NNRegressor])
def test_the_training_loss_stops_a_fit_as_by_hand(make: Any) -> None:
    y = Y if make is NNClassifier else T
    whole = make(epochs=60, **SETTINGS).fit(X, y).history_["loss"]
    best, waited, expected = np.inf, 0, len(whole)
    for i, loss in enumerate(whole, 1):
        best, waited = (loss, 0) if loss < best - 0.02 else (best, waited + 1)
        if waited == 3:
            expected = i
            break
    net = make(epochs=60, tol=0.02, n_iter_no_change=3, **SETTINGS).fit(X, y)
    assert net.n_iter_ == expected < 60
    assert np.array_equal(net.history_["loss"], whole[:expected])
    assert same(net, make(epochs=expected, **SETTINGS).fit(X, y))  # the last state, and not the best


def test_a_tolerance_of_0_and_none() -> None:
    assert NNClassifier(epochs=30, tol=None, n_iter_no_change=1, **SETTINGS).fit(X, Y).n_iter_ == 30
    assert NNClassifier(epochs=300, tol=0.0, n_iter_no_change=1, **SETTINGS).fit(X, Y).n_iter_ < 300


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tol": -1.0}, "tol=-1.0"),
        ({"tol": 0.1, "n_iter_no_change": 0}, "n_iter_no_change=0"),
        ({"scoring": "nonsense", "patience": 2}, "scoring"),
    ],
)
def test_wrong_arguments_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NNClassifier(epochs=2, **settings).fit(X, Y)


# -- by a score --------------------------------------------------------------------------------------------------------


def accuracy_of_the_rare(estimator: Any, X: Array, y: Any) -> float:
    return float((estimator.predict(X) == y)[y == 2].mean())


@pytest.mark.parametrize(
    "scoring",
    ["accuracy", "roc_auc_ovr", "neg_log_loss", accuracy_of_the_rare],
    ids=lambda s: getattr(s, "__name__", s),
)
def test_the_best_epoch_is_that_of_the_best_score(scoring: Any) -> None:
    train, val = slice(0, 200), slice(200, None)
    net = NNClassifier(epochs=40, patience=6, scoring=scoring, **SETTINGS)
    net.fit(X[train], Y[train], X_val=X[val], y_val=Y[val])
    scores = net.history_["validation_score"]
    scorer = scoring if callable(scoring) else get_scorer(scoring)
    for number in (1, int(scores.argmax()) + 1):  # of the state after so many epochs
        fitted = NNClassifier(epochs=number, **SETTINGS).fit(X[train], Y[train])
        assert scorer(fitted, X[val], Y[val]) == scores[number - 1]
    assert same(net, fitted)
    assert scores.min() < scores.max()
    assert len(scores) == min(40, int(scores.argmax()) + 1 + 6)
    assert len(net.history_["validation_loss"]) == len(scores)


def test_scores_of_two_classes_and_of_numbers_on_held_out_rows() -> None:
    two = NNClassifier(epochs=10, patience=3, scoring="roc_auc", **SETTINGS).fit(X, BINARY)
    assert 0.5 < two.history_["validation_score"].max() <= 1
    one = NNRegressor(epochs=10, patience=3, scoring="neg_mean_absolute_error", **SETTINGS).fit(X, T)
    assert one.history_["validation_score"].max() < 0
    labels = np.stack([Y > 0, Y > 1], 1).astype(int)
    several = NNClassifier(epochs=10, patience=3, scoring="f1_macro", **SETTINGS).fit(X, labels)
    assert several.history_["validation_score"].shape == (several.n_iter_,)


def test_a_score_counts_rows_by_their_weights() -> None:
    weights = np.where(Y == 2, 0.0, 1.0)
    net = NNClassifier(epochs=3, scoring="accuracy", **SETTINGS)
    net.fit(X, Y, X_val=X, y_val=Y, sample_weight_val=weights)
    kept = NNClassifier(epochs=3, scoring="accuracy", **SETTINGS)
    kept.fit(X, Y, X_val=X[Y < 2], y_val=Y[Y < 2])
    assert np.allclose(net.history_["validation_score"], kept.history_["validation_score"])


def test_a_warm_start_keeps_the_state_of_the_best_score() -> None:
    net = NNClassifier(epochs=30, patience=2, scoring="accuracy", warm_start=True, **SETTINGS).fit(X, Y)
    state = net.state_
    net.set_params(learning_rate=2.0).fit(X, Y)  # nothing good can come of it
    assert nn.arrays.equal(net.state_.params, state.params)
    assert len(net.history_["validation_score"]) == net.n_iter_


# -- held-out rows for the life of a warm start ------------------------------------------------------------------------


def rows_trained_on(net: Any, *fits: Any) -> set[bytes]:
    """All rows that go into training while these run."""
    seen: set[bytes] = set()
    train = nn.train

    def watched(step: Any, ts: Any, data: Any, **settings: Any) -> Any:
        seen.update(row.tobytes() for row in data[0])
        return train(step, ts, data, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn, "train", watched)
        for fit in fits:
            fit(net)
    return seen


def test_no_fit_of_a_warm_start_trains_on_rows_held_out() -> None:
    net = NNClassifier(epochs=2, patience=5, warm_start=True, **SETTINGS).fit(X[:200], Y[:200])
    held_out = {row.tobytes() for row in net._held_out[0]}  # type: ignore[index]  # there are some
    assert len(held_out) == 20
    more = rows_trained_on(
        net,
        lambda net: net.partial_fit(X, Y),
        lambda net: net.set_params(patience=None).fit(X, Y),
        lambda net: net.set_params(patience=5).fit(X, Y),
    )
    assert len(more) == 280
    assert not more & held_out
    assert {row.tobytes() for row in net._held_out[0]} == held_out  # type: ignore[index]  # likewise
    assert rows_trained_on(net, lambda net: net.fit(X, Y, X_val=X, y_val=Y)) >= held_out
    with pytest.raises(ValueError, match="the previous fit held no rows out"):
        net.fit(X, Y)


def test_partial_fit_follows_fit_and_fit_follows_partial_fit() -> None:
    for make, y in ((NNClassifier, Y), (NNRegressor, T)):
        both = make(epochs=2, **SETTINGS).fit(X, y)
        first: Any = make(epochs=1, warm_start=True, **SETTINGS)
        assert same(first.fit(X, y).partial_fit(X, y), both)
        second: Any = make(epochs=1, warm_start=True, **SETTINGS)
        assert same(second.partial_fit(X, y, *([[0, 1, 2]] if make is NNClassifier else [])).fit(X, y), both)
        assert second.n_iter_ == 2
        anew: Any = make(epochs=2, **SETTINGS)
        assert same(anew.partial_fit(X, y, *([[0, 1, 2]] if make is NNClassifier else [])).fit(X, y), both)


# -- sparse X, order ---------------------------------------------------------------------------------------------------


def test_a_sparse_matrix_is_its_numbers() -> None:
    full = np.where(abs(X) > 1, X, 0.0)
    sparse: Any = csr_array(full)
    for make, y in ((NNClassifier, Y), (NNRegressor, T)):
        a: Any = make(epochs=3, patience=2, **SETTINGS).fit(sparse, y)
        b: Any = make(epochs=3, patience=2, **SETTINGS).fit(full, y)
        assert same(a, b)
        assert np.array_equal(a.predict(sparse.tocsc()), b.predict(full))
        assert same(a.partial_fit(sparse, y), b.partial_fit(full, y))
        assert same(a.fit(full, y, X_val=sparse, y_val=y), b.fit(full, y, X_val=full, y_val=y))
    assert dense(full) is full


def test_rows_in_their_order() -> None:
    net = NNRegressor(epochs=2, shuffle=False, batch_size=50, **SETTINGS).fit(X, T)
    model = net.model_
    step = nn.train_step(model, nn.mean_squared_error, nn.adam(0.02))
    init, _, _ = nn.split(nn.key(0), 3)
    ts = nn.train_state(model, step.optimizer, init, (6,), np.float64)
    *_, last = nn.train(step, ts, (X, T[:, None]), epochs=2, batch_size=50, key=None)
    assert nn.arrays.equal(net.state_.params, last.state.params)
    assert not same(net, NNRegressor(epochs=2, batch_size=50, **SETTINGS).fit(X, T))


# -- quantiles ---------------------------------------------------------------------------------------------------------

LEVELS = (0.1, 0.5, 0.9)


def test_the_loss_of_several_levels_is_the_mean_of_theirs() -> None:
    rng = np.random.default_rng(0)
    y, t = rng.normal(size=(7, 3)), rng.normal(size=(7, 3))
    y[0] = t[0]
    value, cache = nn.losses.quantile(LEVELS).forward(y, t)
    parts = [nn.losses.quantile(level).forward(y[:, [i]], t[:, [i]]) for i, level in enumerate(LEVELS)]
    assert np.isclose(value, np.mean([v for v, _ in parts]))
    dy = nn.losses.quantile(LEVELS).backward(cache)
    columns = [nn.losses.quantile(level).backward(c) / 3 for level, (_, c) in zip(LEVELS, parts, strict=True)]
    np.testing.assert_allclose(dy, np.hstack(columns))
    with pytest.raises(ValueError, match=r"level=\(0\.1, 0\.5, 0\.9\) has 3 values, but y has 2 outputs"):
        nn.losses.quantile(LEVELS).forward(y[:, :2], t[:, :2])
    for level in ([], [0.5, 1.0], (0.0,)):
        with pytest.raises(ValueError, match="level"):
            nn.losses.quantile(level)


@pytest.mark.parametrize("penalty", [None, 0.01])
def test_an_output_for_each_level_of_one_target(penalty: float | None) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(600, 1))
    t = x[:, 0] + (1 + x[:, 0]) * rng.normal(size=600) / 2
    settings: dict[str, Any] = {"epochs": 150, "learning_rate": 0.01, "random_state": 0, "penalty": penalty}
    net = NNRegressor(hidden_layer_sizes=(16,), loss=nn.losses.quantile(list(LEVELS)), **settings)
    y = net.fit(x, t).predict(x)
    assert y.shape == (600, 3)
    np.testing.assert_allclose((t[:, None] < y).mean(axis=0), LEVELS, atol=0.05)
    middle = 1 - ((t - y[:, 1]) ** 2).sum() / ((t - t.mean()) ** 2).sum()
    assert np.isclose(net.score(x, t), middle)
    assert np.isclose(net.score(x[:9], t[:9], np.ones(9)), net.score(x[:9], t[:9]))


def test_quantiles_in_a_search_and_of_several_targets() -> None:
    net = NNRegressor(loss=nn.losses.quantile(LEVELS), epochs=3, **SETTINGS)
    search = GridSearchCV(net, {"learning_rate": [0.01, 0.05]}, cv=2).fit(X, T)
    assert search.best_estimator_.predict(X).shape == (300, 3)
    with pytest.raises(ValueError, match=r"y has 2 columns, but quantile with the levels \(0\.1, 0\.5, 0\.9\)"):
        net.fit(X, np.stack([T, T], 1))
    assert NNRegressor(loss=nn.losses.quantile(0.9), epochs=2, **SETTINGS).fit(X, T).predict(X).shape == (300,)


def test_a_score_that_is_never_a_number_is_an_error() -> None:
    X = np.random.default_rng(0).normal(size=(60, 3))
    net = NNClassifier((4,), epochs=9, patience=2, scoring=lambda net, X, y: np.nan, random_state=0)
    with pytest.raises(ValueError, match=r"scoring=.* is nan on the held-out rows in every epoch"):
        net.fit(X, X[:, 0] > 0)
    assert not hasattr(net, "state_")
    with pytest.raises(ValueError, match="scoring='f1' needs held-out rows: set patience="):
        NNClassifier(scoring="f1", epochs=1).fit(X, X[:, 0] > 0)


def test_a_class_weight_of_a_class_that_is_not_there_is_an_error() -> None:
    X = np.random.default_rng(0).normal(size=(20, 3))
    with pytest.raises(ValueError, match=r"class_weight contains 'zebra', which is not a class of y: \['ant', 'bee'\]"):
        NNClassifier(class_weight={"ant": 1, "zebra": 2}).fit(X, np.where(X[:, 0] > 0, "ant", "bee"))
