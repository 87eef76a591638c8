"""The scikit-learn estimators: scikit-learn's own checks, and that a fit is what the pure functions give."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import nnfunc as nn
from nnfunc.arrays import Array, Scalar

pytest.importorskip("sklearn")

from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_diabetes, load_digits, load_wine
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from nnfunc.interop.sklearn import NNClassifier, NNRegressor
from nnfunc.interop.sklearn._base import split


@dataclass(frozen=True)
class Tanh:
    """A model of one's own, which ends with logits; printed alike in every process."""

    units: int = 16

    def __call__(self, n_features: int, n_outputs: int) -> nn.Layer:
        return nn.serial(nn.dense(self.units), nn.tanh(), nn.dense(n_outputs))


# -- scikit-learn's checks ---------------------------------------------------------------------------------------------

QUICK = {"learning_rate": 0.03, "epochs": 50}
EQUIVALENCE = [f"check_sample_weight_equivalence_on_{kind}_data" for kind in ("dense", "sparse")]
SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({}, ""),
    ({"dtype": np.float32}, "it asks for predictions that agree to 1e-7, which float32 does not hold"),
    (QUICK | {"batch_norm": True, "keep_prob": 0.9}, "repeated rows get a dropout mask each"),
    (QUICK | {"patience": 40}, "which rows are held out depends on their number"),
    (QUICK | {"model": Tanh()}, ""),
]
"""Constructor arguments, and the reason for which the check that a weight of 2 is a row twice fails with them."""

ESTIMATORS = [kind(**settings) for settings, _ in SETTINGS for kind in (NNClassifier, NNRegressor)]


def expected_failures(estimator: BaseEstimator) -> dict[str, str]:
    own = estimator.get_params()
    [reason] = [why for given, why in SETTINGS if own == type(estimator)(**given).get_params()]
    return dict.fromkeys(EQUIVALENCE, reason) if reason else {}


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failures)
def test_checks_of_scikit_learn(estimator: BaseEstimator, check: Callable[[BaseEstimator], None]) -> None:
    check(estimator)


# -- what a fit is -----------------------------------------------------------------------------------------------------

DIGITS = load_digits()
X, Y = (DIGITS.data / 16)[:300], DIGITS.target[:300]
NAMES = np.array([f"digit {i}" for i in range(10)])


def same_bits(a: NNClassifier | NNRegressor, b: NNClassifier | NNRegressor) -> bool:
    """Whether two fits left one state, bit for bit, and one history."""
    groups = zip(a.state_[:3], b.state_[:3], strict=True)
    histories = all(
        np.array_equal(a.history_[name], b.history_[name]) for name in a.history_.keys() | b.history_.keys()
    )
    return all(nn.arrays.equal(one, other) for one, other in groups) and a.state_[3:] == b.state_[3:] and histories


def drawn_as_by_sklearn(inputs: int, units: int) -> nn.Layer:
    """Weights and biases within ±√(6/(inputs + units))."""
    return nn.dense(units, "glorot_uniform", partial(nn.initializers.uniform, limit=np.sqrt(6 / (inputs + units))))


def test_a_fit_is_the_pure_functions_by_hand() -> None:
    net = NNClassifier(hidden_layer_sizes=(16, 8), keep_prob=0.8, penalty=0.1, epochs=3, random_state=7).fit(
        X, NAMES[Y]
    )
    init_key, order_key, _ = nn.split(nn.key(7), 3)
    denses = [drawn_as_by_sklearn(*sizes) for sizes in ((64, 16), (16, 8), (8, 10))]
    hidden = [[layer, nn.relu(), nn.dropout(0.8)] for layer in denses[:2]]
    model = nn.serial(*hidden[0], *hidden[1], denses[2], nn.softmax())
    step = nn.train_step(model, nn.sparse_categorical_cross_entropy, "adam", nn.l2(0.1))
    ts = nn.train_state(model, "adam", init_key, input_shape=(64,), dtype=np.float64)
    epochs = list(nn.train(step, ts, (X, Y), epochs=3, key=order_key))
    assert nn.arrays.equal(net.state_.params, epochs[-1].state.params)
    assert np.array_equal(net.history_["loss"], nn.history(epochs)["loss"])
    assert np.array_equal(net.predict(X), NAMES[nn.predict_classes(model, epochs[-1].state, X)])
    assert list(net.classes_) == list(NAMES)


@pytest.mark.parametrize("kind", [NNClassifier, NNRegressor])
def test_the_same_seed_gives_the_same_bits_and_another_does_not(kind: type[NNClassifier] | type[NNRegressor]) -> None:
    net = kind(epochs=2, keep_prob=0.5, random_state=0)
    first, again = clone(net).fit(X, Y), clone(net).fit(X, Y).fit(X, Y)
    assert same_bits(first, again)
    assert not same_bits(first, kind(epochs=2, keep_prob=0.5, random_state=1).fit(X, Y))
    drawn = [kind(epochs=1, random_state=np.random.RandomState(3)).fit(X, Y) for _ in range(2)]
    assert same_bits(*drawn)


@pytest.mark.parametrize("kind", [NNClassifier, NNRegressor])
@pytest.mark.parametrize("seed", [0, None])
def test_warm_start_goes_on_as_if_it_had_never_stopped(
    kind: type[NNClassifier] | type[NNRegressor], seed: int | None
) -> None:
    settings: dict[str, Any] = {"hidden_layer_sizes": (16,), "batch_norm": True, "keep_prob": 0.8}
    halves = kind(**settings, epochs=4, warm_start=True, random_state=seed).fit(X, Y)
    key = halves._key
    restored: NNClassifier | NNRegressor = pickle.loads(pickle.dumps(halves))
    for net in (halves.fit(X, Y), restored.fit(X, Y)):
        assert net.n_iter_ == 8 == net.history_["epoch"][-1]
        assert net._key == key
        if seed is not None:
            assert same_bits(net, kind(**settings, epochs=8, random_state=seed).fit(X, Y))
    assert same_bits(halves, restored)


def test_partial_fit_is_one_epoch_of_fit() -> None:
    whole = NNClassifier(keep_prob=0.8, epochs=3, random_state=0).fit(X, Y)
    parts = NNClassifier(keep_prob=0.8, random_state=0)
    for _ in range(3):
        parts.partial_fit(X, Y, classes=range(10))
    assert same_bits(whole, parts)
    assert parts.partial_fit(X[:5], Y[:5]).n_iter_ == 4  # a batch with a few of the classes

    regressor = NNRegressor(random_state=0).partial_fit(X, Y).partial_fit(X, Y)
    assert same_bits(regressor, NNRegressor(epochs=2, random_state=0).fit(X, Y))


def test_early_stopping_on_given_data_stops_where_it_does_by_hand() -> None:
    data, validation = (X[:200], Y[:200]), (X[200:], Y[200:])
    net = NNClassifier(learning_rate=0.02, epochs=100, patience=3, random_state=0)
    net.fit(*data, X_val=X[200:], y_val=Y[200:])
    init_key, order_key, _ = nn.split(nn.key(0), 3)
    model = nn.serial(drawn_as_by_sklearn(64, 100), nn.relu(), drawn_as_by_sklearn(100, 10), nn.softmax())
    step = nn.train_step(model, nn.sparse_categorical_cross_entropy, nn.adam(0.02))
    ts = nn.train_state(model, step.optimizer, init_key, input_shape=(64,), dtype=np.float64)
    run = nn.train(step, ts, data, epochs=100, key=order_key, validation=validation)
    epochs = list(nn.early_stopping(run, patience=3))
    assert net.n_iter_ == len(epochs) < 100
    assert nn.arrays.equal(net.state_.params, nn.best_epoch(epochs).state.params)
    assert int(net.history_["validation_loss"].argmin()) == len(epochs) - 4  # the best, and 3 that were not better


def test_validation_data_are_evaluated_without_early_stopping() -> None:
    net = NNClassifier(epochs=3, random_state=0, class_weight="balanced")
    net.fit(X, Y, X_val=X, y_val=Y, sample_weight_val=np.ones(300))
    by_class = 1 / np.bincount(Y)[Y]  # the weights of the rows are those of their classes
    assert net.history_["validation_accuracy"][-1] == pytest.approx(net.score(X, Y, by_class))
    without = NNClassifier(epochs=3, random_state=0, class_weight="balanced").fit(X, Y)
    assert nn.arrays.equal(net.state_.params, without.state_.params)


def test_held_out_rows_have_each_class_by_its_share_and_are_not_trained_on() -> None:
    y = np.repeat(["rare", "common"], [30, 270])
    net = NNClassifier(epochs=2, patience=5, random_state=0).fit(X, y)
    holdout_key = nn.split(nn.key(0), 3)[2]
    (_, trained), (_, held_out) = split(holdout_key, (X, y), 0.1, y)
    assert [(part == "rare").sum() for part in (trained, held_out)] == [27, 3]
    assert len(trained) + len(held_out) == 300
    assert net.history_["validation_loss"].shape == (2,)


# -- weights -----------------------------------------------------------------------------------------------------------


def exact(**settings: Any) -> NNClassifier:
    """One batch of all rows in float64, so that a mean over other rows differs by rounding alone."""
    common: dict[str, Any] = {"dtype": np.float64, "batch_size": None, "epochs": 20, "random_state": 0}
    return NNClassifier(**common, **settings)


def test_a_weight_is_a_row_as_often() -> None:
    counts = np.random.default_rng(0).integers(0, 4, 300)
    weighted = exact().fit(X, Y, sample_weight=counts)
    repeated = exact().fit(X.repeat(counts, axis=0), Y.repeat(counts))
    assert nn.arrays.allclose(weighted.state_.params, repeated.state_.params)
    unweighted = exact().fit(X, Y)
    assert not nn.arrays.allclose(weighted.state_.params, unweighted.state_.params)
    balanced = exact(class_weight="balanced").fit(X, Y, sample_weight=counts)
    repeated = exact(class_weight="balanced").fit(X.repeat(counts, axis=0), Y.repeat(counts))
    assert nn.arrays.allclose(balanced.state_.params, repeated.state_.params)


@pytest.mark.parametrize("labels", [Y, NAMES[Y], Y % 2])
def test_class_weights_are_sample_weights(labels: NDArray[Any]) -> None:
    sample_weight = np.random.default_rng(0).uniform(0.5, 2, 300)
    first = labels[0].item()
    by_class = exact(class_weight={first: 3.0}).fit(X, labels, sample_weight)
    by_sample = exact().fit(X, labels, np.where(labels == first, 3, 1) * sample_weight)
    assert nn.arrays.allclose(by_class.state_.params, by_sample.state_.params)
    share = np.unique(labels, return_counts=True)[1][np.unique(labels, return_inverse=True)[1]]
    balanced = exact(class_weight="balanced").fit(X, labels)
    assert nn.arrays.allclose(balanced.state_.params, exact().fit(X, labels, 1 / share).state_.params)


# -- tasks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_probabilities_are_of_each_class_and_sum_to_1(classes: int) -> None:
    y = NAMES[Y % classes]
    net = NNClassifier(epochs=20, random_state=0).fit(X, y)
    p = net.predict_proba(X)
    assert p.shape == (300, classes)
    assert p.sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert np.array_equal(net.classes_[p.argmax(axis=1)], net.predict(X))
    assert np.allclose(net.predict_log_proba(X), np.log(p))
    assert net.score(X, y) > 0.9
    assert net.state_.params["dense2.W"].shape[1] == (1 if classes == 2 else classes)


OTHERS = {"cosine", "kl_divergence", "poisson"}  # of directions and of logarithms, which are no probabilities
BY_NAME = [f.name for f in nn.losses.built_in() if f.name not in OTHERS and f.outputs == f.axes == 1]


@pytest.mark.parametrize("loss", [None, *BY_NAME])
@pytest.mark.parametrize("classes", [2, 3])
def test_every_loss_by_name(loss: str | None, classes: int) -> None:
    """What a loss asks of the network and of its targets is read from its fields: a new one is taken as it is."""
    on_logits = loss is not None and (loss.endswith("with_logits") or loss == "focal")
    settings: dict[str, Any] = {"loss": loss, "learning_rate": 0.01, "random_state": 0}
    net = NNClassifier(model=Tanh(32) if on_logits else None, epochs=40, **settings)
    if loss in ("binary_cross_entropy", "hinge") and classes == 3:
        with pytest.raises(ValueError, match=r"ends with softmax\(\), whose outputs are one joint decision"):
            net.fit(X, Y % classes)
        return
    net.fit(X, Y % classes)
    assert net.score(X, Y % classes) > 0.9
    assert net.predict_proba(X).sum(axis=1) == pytest.approx(1)
    outputs = 2 if loss is not None and ("categorical" in loss or loss == "multi_class_hinge") else 1
    assert net.state_.params["dense2.b"].shape == (outputs if classes == 2 else 3,)


def brier_forward(y: NDArray[Any], target: NDArray[Any]) -> tuple[float, NDArray[Any]]:
    return float(np.mean(np.sum((y - target) ** 2, axis=1))), 2 * (y - target) / len(y)


def brier_backward(cache: NDArray[Any]) -> NDArray[Any]:
    return cache


def test_a_loss_of_ones_own_gets_a_column_for_each_output() -> None:
    brier = nn.Loss(brier_forward, brier_backward)
    for classes in (2, 5):
        net = NNClassifier(loss=brier, epochs=30, learning_rate=0.01, random_state=0).fit(X, Y % classes)
        assert net.score(X, Y % classes) > 0.9
        assert pickle.loads(pickle.dumps(net)).score(X, Y % classes) == net.score(X, Y % classes)


def test_a_model_of_ones_own_may_end_with_logits_or_with_probabilities() -> None:
    last = nn.serial(nn.dense(16), nn.tanh(), nn.dense(10))
    ends: list[Callable[[int, int], nn.Layer] | nn.Layer] = [Tanh(), nn.serial(last, nn.softmax()), last]
    nets = [NNClassifier(model=m, epochs=20, learning_rate=0.01, random_state=0).fit(X, Y) for m in ends]
    for net in nets:
        assert net.predict_proba(X).sum(axis=1) == pytest.approx(1, abs=1e-6)
        assert net.score(X, Y) > 0.9
    assert same_bits(nets[0], nets[2])


def test_several_labels_at_once() -> None:
    labels = np.c_[Y % 2 == 0, Y > 4, Y == 0].astype(int)
    net = NNClassifier(epochs=40, learning_rate=0.01, random_state=0).fit(X, labels)
    assert net.predict(X).shape == net.predict_proba(X).shape == (300, 3)
    assert net.score(X, labels) > 0.9
    assert net.partial_fit(X, labels).n_iter_ == 41
    with pytest.raises(ValueError, match="multilabel problems"):
        NNClassifier(class_weight="balanced").fit(X, labels)


def test_regression_of_one_and_of_several_outputs() -> None:
    diabetes = load_diabetes()
    inputs, target = StandardScaler().fit_transform(diabetes.data), diabetes.target / 100
    one = NNRegressor(epochs=50, random_state=0).fit(inputs, target)
    assert one.predict(inputs).shape == (442,)
    assert one.score(inputs, target) > 0.5
    assert set(one.history_) == {"epoch", "loss"}
    two = NNRegressor(loss=nn.huber(1.0), epochs=50, random_state=0).fit(inputs, np.c_[target, -target])
    assert two.predict(inputs).shape == (442, 2)
    with pytest.warns(DataConversionWarning):
        NNRegressor(epochs=1).fit(inputs, target[:, None])


# -- inside scikit-learn -----------------------------------------------------------------------------------------------


def test_pipeline_grid_search_cross_validation_and_pickling() -> None:
    wine = load_wine()
    net = NNClassifier(hidden_layer_sizes=(16,), epochs=30, learning_rate=0.02, random_state=0)
    pipeline = make_pipeline(StandardScaler(), net)
    assert cross_val_score(pipeline, wine.data, wine.target, cv=3).mean() > 0.93
    grid: dict[str, list[object]] = {
        "nnclassifier__hidden_layer_sizes": [(4,), (8, 8)],
        "nnclassifier__optimizer": ["adam", "adamw"],
    }
    search = GridSearchCV(pipeline, grid, cv=3).fit(wine.data, wine.target)
    assert search.best_score_ > 0.93
    restored = pickle.loads(pickle.dumps(pipeline.fit(wine.data, wine.target)))
    assert np.array_equal(restored.predict_proba(wine.data), pipeline.predict_proba(wine.data))


def test_optimizers_schedules_and_learning_rates() -> None:
    by_name = NNClassifier(optimizer="nesterov", learning_rate=0.3, epochs=2, random_state=0).fit(X, Y)
    assert same_bits(by_name, NNClassifier(optimizer=nn.nesterov(0.3), epochs=2, random_state=0).fit(X, Y))
    schedule = nn.schedules.cosine_decay(0.01, 50)
    scheduled = NNClassifier(learning_rate=schedule, epochs=2, random_state=0).fit(X, Y)
    assert same_bits(scheduled, NNClassifier(optimizer=nn.adam(schedule), epochs=2, random_state=0).fit(X, Y))


@pytest.mark.parametrize("tqdm", [True, False])
def test_verbose_shows_every_epoch(
    tqdm: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if tqdm:
        pytest.importorskip("tqdm")
    else:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    NNClassifier(epochs=2, verbose=True).fit(X, Y)
    shown = capsys.readouterr()
    assert "2/2" in shown.err if tqdm else shown.out.startswith("Epoch 1: loss=")


ERRORS: list[tuple[dict[str, Any], str]] = [
    ({"activation": "rleu"}, "unknown activation 'rleu': did you mean 'relu'"),
    ({"optimizer": "adamm"}, "unknown optimizer 'adamm': did you mean 'adam'"),
    ({"optimizer": "adamm", "learning_rate": 0.1}, "unknown optimizer 'adamm': did you mean 'adam'"),
    ({"optimizer": nn.adam(), "learning_rate": 0.1}, "learning_rate=0.1, but adam"),
    ({"loss": "cross_entropy"}, "unknown loss"),
    ({"epochs": 0}, "epochs=0: expected an integer"),
    ({"batch_size": 0}, "batch_size=0"),
    ({"patience": 0}, "patience=0"),
    ({"patience": 2, "validation_fraction": 1.5}, "validation_fraction=1.5: expected a number in"),
    ({"patience": 2, "validation_fraction": 1.0}, r"validation_fraction=1.0: expected a number in \(0, 1\)"),
    ({"patience": 2, "validation_fraction": 0.999}, "validation_fraction=0.999 of n_samples=300 leaves nothing"),
    ({"penalty": -1.0}, "penalty=-1.0: expected a number"),
    ({"penalty": nn.l2}, "penalty=<function l2"),
    ({"random_state": -1}, "random_state=-1: expected a non-negative integer"),
    ({"random_state": True}, "random_state=True: expected a non-negative integer"),
    ({"class_weight": np.ones(10)}, "class_weight=.*: expected a dict"),
    ({"class_weight": {0: np.nan}}, r"class_weight\[0\]=nan: expected a number"),
    ({"model": nn.mlp([64, 10], ["sigmoid"])}, "the model ends with sigmoid, .* end it with softmax"),
    ({"model": nn.mlp([64, 10], ["tanh"]), "loss": "mean_squared_error"}, "the model ends with tanh"),
    ({"model": nn.dense(10), "loss": "mean_squared_error"}, "the model ends with dense"),
    ({"model": nn.dense(10), "loss": nn.huber(2.0)}, "the model ends with dense"),
    ({"model": nn.mlp([64, 10], ["sigmoid"]), "loss": "sparse_categorical_cross_entropy"}, "the model ends with sigm"),
    ({"keep_prob": 0.0}, "keep_prob=0.0"),
    ({"model": nn.dense(3)}, "the model has outputs of shape .3,., but y requires 10"),
    ({"class_weight": {"cat": 2.0}}, "class_weight contains .cat., which is not a class of y"),
]


WRONG_KINDS: list[dict[str, Any]] = [
    {"model": 3},
    {"model": "mlp"},
    {"model": lambda inputs, outputs: None},
    {"model": lambda inputs, outputs: nn.dense},
    {"loss": nn.huber},
    {"loss": 3},
    {"optimizer": None},
    {"optimizer": nn.adam},
]


@pytest.mark.parametrize("settings", WRONG_KINDS)
def test_what_is_no_model_loss_or_optimizer_is_named(settings: dict[str, Any]) -> None:
    [name] = settings
    with pytest.raises(
        TypeError, match=f"{name}=.* is not of type {name.capitalize().replace('Model', 'Layer')}: (call|exp)"
    ):
        NNClassifier(**settings, epochs=1).fit(X, Y)


@pytest.mark.parametrize(("settings", "message"), ERRORS)
def test_errors_name_the_argument(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NNClassifier(**settings).fit(X, Y)


def test_errors_of_data() -> None:
    net = NNClassifier(epochs=1, random_state=0)
    with pytest.raises(NotFittedError):
        net.predict(X)
    with pytest.raises(ValueError, match="y has one class"):
        net.fit(X, np.zeros(300, int))
    with pytest.raises(ValueError, match="classes=None in the first call"):
        net.partial_fit(X, Y)
    with pytest.raises(ValueError, match="needs all data"):
        NNClassifier(class_weight="balanced").partial_fit(X, Y, classes=range(10))
    with pytest.raises(ValueError, match="X_val and y_val must be passed together"):
        net.fit(X, Y, X_val=X)
    with pytest.raises(ValueError, match="several classes in a column"):
        net.fit(X, np.c_[Y, Y])
    net.fit(X, Y % 3)
    with pytest.raises(ValueError, match=r"classes \[7\], which are not among \[0, 1, 2\]"):
        net.partial_fit(X[:2], [1, 7])
    with pytest.raises(ValueError, match="those of the first call"):
        net.partial_fit(X, Y % 3, classes=[0, 1])
    with pytest.raises(ValueError, match="differs from the previous y"):
        net.fit(X, Y % 3, X_val=X, y_val=np.c_[Y, Y] % 2)


# -- what goes wrong unseen --------------------------------------------------------------------------------------------


def test_a_whole_number_of_numpy_is_the_same_seed() -> None:
    assert same_bits(*(NNClassifier(epochs=1, random_state=seed).fit(X, Y) for seed in (3, np.int64(3))))


def test_a_class_whose_rows_all_have_weight_0_is_a_class() -> None:
    weights = (Y > 0).astype(float)
    net = NNClassifier(epochs=2, random_state=0).fit(X, Y, sample_weight=weights)
    assert net.classes_.tolist() == list(range(10))
    assert net.predict_proba(X).shape == (300, 10)


def test_a_fit_that_fails_leaves_the_last_one_whole() -> None:
    net = NNClassifier(epochs=2, random_state=0).fit(X, Y)
    predicted = net.predict(X)
    with pytest.raises(nn.NonFiniteError):
        net.set_params(learning_rate=1e300).fit(X[:, :8], np.array(list("abcdefghij"))[Y])
    assert np.array_equal(net.predict(X), predicted)
    new = NNClassifier(learning_rate=1e300)
    with pytest.raises(nn.NonFiniteError):
        new.fit(X, Y)
    with pytest.raises(NotFittedError):
        new.predict(X)


@pytest.mark.parametrize("patience", [None, 30])
def test_an_interrupted_fit_keeps_its_whole_epochs(patience: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"learning_rate": 0.01, "patience": patience, "random_state": 0}
    whole = NNClassifier(epochs=3, **settings).fit(X, Y)

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        for i, epoch in enumerate(train(*args, **kwargs)):
            if i == stop_at:
                raise KeyboardInterrupt
            yield epoch

    train = nn.train
    monkeypatch.setattr(nn, "train", interrupted)
    stop_at, net = 3, NNClassifier(epochs=100, **settings)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y)
    assert same_bits(net, whole)
    stop_at, new = 0, NNClassifier(epochs=100, **settings)
    with pytest.raises(KeyboardInterrupt):
        new.fit(X, Y)
    with pytest.raises(NotFittedError):
        new.predict(X)


def test_a_warm_start_keeps_the_best_of_all_epochs() -> None:
    net = NNClassifier(learning_rate=0.02, epochs=40, patience=2, random_state=0, warm_start=True).fit(X, Y)
    best, first = net.history_["validation_loss"].min(), net.n_iter_
    state = net.state_
    net.set_params(learning_rate=1.0).fit(X, Y)  # nothing good can come of it
    assert net.history_["validation_loss"][first:].min() > best
    assert net.n_iter_ == first + 2
    assert nn.arrays.equal(net.state_.params, state.params)


def test_rows_held_out_stay_so_in_a_warm_start() -> None:
    """No state is judged on rows that it was trained on."""
    half = slice(0, len(X), 2)
    net = NNClassifier(epochs=2, batch_size=len(X) - 15, patience=2, random_state=0, warm_start=True).fit(
        X[half], Y[half]
    )
    first = net._held_out
    assert first is not None
    held_out = {row.tobytes() for row in first[0]}
    begun = net.state_
    net.fit(X, Y)
    assert net._held_out is first
    assert len(held_out) == 15
    assert net.state_.step - begun.step in (
        1,
        2,
    )  # each epoch was one batch, of the other rows, and one of them is best
    with pytest.raises(ValueError, match="X contains only rows that the first fit held out"):
        net.fit(first[0], first[1])
    with pytest.raises(ValueError, match="the previous fit held no rows out"):
        NNClassifier(epochs=1, warm_start=True).fit(X, Y).set_params(patience=1).fit(X, Y)


def test_a_pipeline_transforms_the_validation_data() -> None:
    with config_context(enable_metadata_routing=True):
        net = NNClassifier(epochs=3, random_state=0).set_fit_request(X_val=True, y_val=True)
        pipe = Pipeline([("scale", StandardScaler()), ("net", net)], transform_input=["X_val"])
        pipe.fit(X, Y, X_val=X, y_val=Y)
    by_hand = NNClassifier(epochs=3, random_state=0)
    scaled = StandardScaler().fit_transform(X)
    by_hand.fit(scaled, Y, X_val=scaled, y_val=Y)
    assert np.array_equal(pipe[-1].history_["validation_loss"], by_hand.history_["validation_loss"])


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"optimizer": "momentum"}, "it belongs to another optimizer"),
    ({"hidden_layer_sizes": (7,)}, "dense1: the parameters do not match the model"),
    ({"dtype": np.float32}, "it is float64"),
]


@pytest.mark.parametrize(("settings", "message"), CHANGES)
def test_a_warm_start_with_other_arguments_says_how_to_begin_anew(settings: dict[str, Any], message: str) -> None:
    net = NNClassifier(epochs=1, warm_start=True).fit(X, Y).set_params(**settings)
    with pytest.raises(ValueError, match=f"incompatible with these arguments .{message}.*warm_start=False"):
        net.fit(X, Y)


def test_a_regressor_goes_on_with_as_many_outputs_only() -> None:
    with pytest.raises(ValueError, match="the last state is incompatible"):
        NNRegressor(epochs=1).partial_fit(X, Y).partial_fit(X, np.c_[Y, Y])


def test_probabilities_of_a_loss_of_ones_own_on_logits() -> None:
    def forward(y: Array, target: NDArray[Any], weights: Array | None = None) -> tuple[Scalar, Any]:
        return nn.categorical_cross_entropy_with_logits.forward(y, target, weights)

    own = nn.Loss(forward, nn.categorical_cross_entropy_with_logits.backward)
    net = NNClassifier(model=nn.dense(10), loss=own, epochs=5, random_state=0).fit(X, Y)
    assert net.predict_proba(X).sum(axis=1) == pytest.approx(1)


def test_several_labels_are_not_offered_where_they_are_refused() -> None:
    several = [NNClassifier(), NNClassifier(class_weight={}), NNClassifier(loss="categorical_cross_entropy")]
    assert [net.__sklearn_tags__().classifier_tags.multi_label for net in several] == [True, False, False]


def test_a_row_that_is_left_over_does_not_stop_batch_norm() -> None:
    X = np.random.default_rng(0).normal(size=(65, 3))
    net = NNRegressor(hidden_layer_sizes=(4,), batch_norm=True, epochs=3, random_state=0).fit(X, X[:, 0])
    assert net.predict(X).shape == (65,)
    with pytest.raises(ValueError, match="one sample"):
        NNRegressor(hidden_layer_sizes=(4,), batch_norm=True, batch_size=1, epochs=1).fit(X, X[:, 0])
