"""Metrics compared with scikit-learn, in all details: ties, absent classes, weights, positions."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import nnfunc as nn
from nnfunc import metrics
from nnfunc.arrays import Array

sk = pytest.importorskip("sklearn.metrics")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")

DECIDED: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "precision": (metrics.precision, sk.precision_score),
    "recall": (metrics.recall, sk.recall_score),
    "f1_score": (metrics.f1_score, sk.f1_score),
}
AVERAGES = ("macro", "micro", "weighted")
tenths = st.integers(0, 8).map(lambda i: i / 8)  # that tie


def drawn(data: st.DataObject, m: int, outputs: int) -> tuple[Array, Array, Array | None]:
    """Outputs that tie, class numbers of which some may not occur, and weights or none."""
    y = data.draw(arrays(np.float64, (m, outputs), elements=tenths))
    target = data.draw(arrays(np.int64, m, elements=st.integers(0, max(outputs, 2) - 1)))
    weights = data.draw(st.none() | arrays(np.float64, m, elements=st.sampled_from([0.5, 1.0, 2.0, 0.1])))
    return y, target, weights


def close(a: Any, b: Any) -> None:
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


# -- precision, recall, F1 ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DECIDED)
@given(data=st.data(), m=st.integers(1, 8), classes=st.integers(2, 5))
def test_several_classes(name: str, data: st.DataObject, m: int, classes: int) -> None:
    ours, theirs = DECIDED[name]
    y, target, weights = drawn(data, m, classes)
    predicted = y.argmax(axis=-1)
    given = {"sample_weight": weights, "zero_division": 0}
    for average in AVERAGES:
        expected = theirs(target, predicted, average=average, **given)
        close(ours(y, target, weights, average=average), expected)
        close(ours(predicted, target, weights, average=average), expected)
        close(ours(y, np.eye(classes)[target], weights, average=average), expected)
    each = theirs(target, predicted, labels=range(classes), average=None, **given)
    close(ours(y, target, weights, average=None), each)


@pytest.mark.parametrize("name", DECIDED)
@given(data=st.data(), m=st.integers(1, 8), threshold=st.sampled_from([None, 0.25]))
def test_two_classes(name: str, data: st.DataObject, m: int, threshold: float | None) -> None:
    ours, theirs = DECIDED[name]
    y, target, weights = drawn(data, m, 1)
    predicted = (y[:, 0] > (threshold or 0.5)).astype(int)
    given = {"sample_weight": weights, "zero_division": 0}
    close(ours(y, target, weights, threshold=threshold), theirs(target, predicted, **given))
    close(ours(y, target[:, None], weights, threshold=threshold), theirs(target, predicted, **given))
    close(ours(predicted, target, weights), theirs(target, predicted, **given))
    two = np.concatenate([1 - y, y], axis=-1)
    close(ours(two, target, weights), theirs(target, two.argmax(axis=-1), **given))
    for average in AVERAGES:
        expected = theirs(target, predicted, average=average, **given)
        close(ours(y, target, weights, threshold=threshold, average=average), expected)


@pytest.mark.parametrize("name", DECIDED)
@given(data=st.data(), m=st.integers(1, 8), outputs=st.integers(2, 4))
def test_several_decisions(name: str, data: st.DataObject, m: int, outputs: int) -> None:
    ours, theirs = DECIDED[name]
    y, _, weights = drawn(data, m, outputs)
    target = data.draw(arrays(np.int64, (m, outputs), elements=st.integers(0, 1)))
    for average in (*AVERAGES, None):
        expected = theirs(target, (y > 0.4).astype(int), average=average, sample_weight=weights, zero_division=0)
        close(ours(y, target, weights, threshold=0.4, average=average), expected)


def test_a_class_counts_in_the_macro_average_if_it_is_true_or_predicted() -> None:
    predicted, target = [0, 1, 1, 3], [0, 0, 1, 1]  # 2 is neither; 3 is only predicted
    close(metrics.precision(predicted, target, average="macro"), (1 + 1 / 2 + 0) / 3)
    close(metrics.recall(predicted, target, average="macro"), (1 / 2 + 1 / 2 + 0) / 3)
    close(metrics.precision(predicted, target, average=None), [1, 1 / 2, 0, 0])


def test_of_several_decisions_those_ignored_do_not_count() -> None:
    y, target = np.array([[0.9, 0.9], [0.9, 0.1]]), np.array([[1, -1], [0, 1]])
    close(metrics.precision(y, target, threshold=0.5, average=None, ignore=-1), [1 / 2, 0])
    close(metrics.precision(y, target, threshold=0.5, average="micro", ignore=-1), 1 / 2)


# -- the area under the curve ------------------------------------------------------------------------------------------


@given(data=st.data(), m=st.integers(2, 10))
def test_the_area_of_two_classes(data: st.DataObject, m: int) -> None:
    y, target, weights = drawn(data, m, 1)
    area = metrics.roc_auc(y, target, weights)
    if len(set(target.tolist())) < 2:
        assert math.isnan(float(area))
        return
    close(area, sk.roc_auc_score(target, y[:, 0], sample_weight=weights))
    close(metrics.roc_auc(4 * y - 2, target[:, None], weights), area)  # logits: only the order counts
    w = np.ones(m) if weights is None else weights
    pairs = [
        (w[i] * w[j], (y[i, 0] > y[j, 0]) + (y[i, 0] == y[j, 0]) / 2)
        for i in np.flatnonzero(target)
        for j in np.flatnonzero(target == 0)
    ]
    close(area, sum(a * b for a, b in pairs) / sum(a for a, _ in pairs))


@given(data=st.data(), m=st.integers(3, 10), classes=st.integers(3, 4))
def test_the_area_of_one_class_against_the_others(data: st.DataObject, m: int, classes: int) -> None:
    y, target, weights = drawn(data, m, classes)
    each = [
        sk.roc_auc_score(target == k, y[:, k], sample_weight=weights) if 0 < (target == k).sum() < m else np.nan
        for k in range(classes)
    ]
    close(metrics.roc_auc(y, target, weights, average=None), each)
    close(metrics.roc_auc(y, np.eye(classes)[target], weights, average=None), each)
    close(metrics.roc_auc(y, target, weights), np.mean(each))
    assume(len(set(target.tolist())) == classes and y.sum(axis=1).all())
    y = y / y.sum(axis=1, keepdims=True)
    close(metrics.roc_auc(y, target, weights), sk.roc_auc_score(target, y, sample_weight=weights, multi_class="ovr"))


def test_the_area_of_outputs_that_are_infinite() -> None:
    close(metrics.roc_auc(np.array([[-np.inf], [0.0], [np.inf]]), [0, 1, 1]), 1.0)


# -- top k, R², perplexity ---------------------------------------------------------------------------------------------


@given(data=st.data(), m=st.integers(1, 8), classes=st.integers(3, 6), k=st.integers(1, 6))
def test_top_k(data: st.DataObject, m: int, classes: int, k: int) -> None:
    assume(k <= classes)
    y, target, weights = drawn(data, m, classes)
    reversed_ties = y[:, ::-1], classes - 1 - target  # of equal outputs scikit-learn has the last first
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # k = classes
        expected = sk.top_k_accuracy_score(
            reversed_ties[1], reversed_ties[0], k=k, labels=range(classes), sample_weight=weights
        )
    close(metrics.top_k_accuracy(y, target, k, weights), expected)
    close(metrics.top_k_accuracy(y, np.eye(classes)[target], k, weights), expected)
    if k == 1:
        close(metrics.top_k_accuracy(y, target, 1, weights), np.average(y.argmax(axis=-1) == target, weights=weights))


@given(data=st.data(), m=st.integers(2, 8), outputs=st.integers(1, 3))
def test_r2(data: st.DataObject, m: int, outputs: int) -> None:
    y, _, weights = drawn(data, m, outputs)
    target = data.draw(arrays(np.float64, (m, outputs), elements=tenths))
    if data.draw(st.booleans()):
        target[:, 0] = 0.5
    if data.draw(st.booleans()):
        y[:, 0] = target[:, 0]
    each = sk.r2_score(target, y, sample_weight=weights, multioutput="raw_values")
    np.testing.assert_allclose(metrics.r2_score(y, target, weights, average=None), each, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(metrics.r2_score(y, target, weights), np.mean(each), rtol=1e-9, atol=1e-12)
    if outputs == 1:
        assert metrics.r2_score(y, target[:, 0], weights) == metrics.r2_score(y, target, weights)


def test_r2_of_equal_targets_and_of_far_ones() -> None:
    y = np.array([[0.1], [0.1], [0.2]])
    assert metrics.r2_score(y, np.full((3, 1), 0.1)) == 0  # whose mean is not 0.1
    assert metrics.r2_score(np.full((3, 1), 0.1), np.full((3, 1), 0.1)) == 1
    assert math.isnan(float(metrics.r2_score(y[:1], y[:1])))
    assert math.isnan(float(metrics.r2_score(y, y, [1.0, 0.0, 0.0])))
    near = np.array([[1.0], [2.0], [4.0]])
    close(metrics.r2_score(near + 2.0**40, np.array([1.0, 2.0, 3.0]) + 2.0**40), 0.5)


@given(data=st.data(), m=st.integers(1, 6), classes=st.integers(2, 5))
def test_perplexity(data: st.DataObject, m: int, classes: int) -> None:
    z, target, weights = drawn(data, m, classes)
    A = np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows that sum to 1 within rounding
        expected = math.exp(sk.log_loss(target, A, labels=range(classes), sample_weight=weights))
    np.testing.assert_allclose(metrics.perplexity(A, target, weights), expected, rtol=1e-9)
    np.testing.assert_allclose(metrics.perplexity(z, target, weights, logits=True), expected, rtol=1e-9)
    np.testing.assert_allclose(metrics.perplexity(A, np.eye(classes)[target], weights), expected, rtol=1e-9)
    np.testing.assert_allclose(metrics.perplexity(z, np.eye(classes)[target], weights, logits=True), expected)


def test_perplexity_may_be_infinite() -> None:
    assert metrics.perplexity(np.array([[0.0, 1e6]]), [0], logits=True) == math.inf


# -- what holds for all ------------------------------------------------------------------------------------------------

SCORES: dict[str, Callable[..., Any]] = {
    **{f"{name} {average}": partial(DECIDED[name][0], average=average) for name in DECIDED for average in AVERAGES},
    **{f"{name} None": partial(DECIDED[name][0], average=None) for name in DECIDED},
    "roc_auc": partial(metrics.roc_auc, average=None),
    "top_k_accuracy": partial(metrics.top_k_accuracy, k=2),
    "perplexity": partial(metrics.perplexity, logits=True),
}
"""Of class numbers."""


@pytest.mark.parametrize("name", SCORES)
@given(data=st.data(), m=st.integers(1, 6))
def test_a_weight_of_0_is_a_row_that_is_not_there_and_whole_weights_are_repetitions(
    name: str, data: st.DataObject, m: int
) -> None:
    y, target, _ = drawn(data, m, 3)
    times = data.draw(arrays(np.int64, m, elements=st.integers(0, 3)))
    score = SCORES[name]
    if not times.any():
        assert np.isnan(score(y, target, weights=times)).all()
        return
    repeated = np.repeat(np.arange(m), times)
    close(score(y, target, weights=times), score(y[repeated], target[repeated]))
    ignored = np.where(times > 0, target, -1)
    close(score(y, ignored, ignore=-1), score(y[times > 0], target[times > 0]))


@pytest.mark.parametrize("name", [*SCORES, "r2_score"])
@given(data=st.data(), m=st.integers(2, 4), T=st.integers(1, 3))
def test_every_position_is_an_example(name: str, data: st.DataObject, m: int, T: int) -> None:
    y, target, weights = drawn(data, m * T, 3)
    numbers = name == "r2_score"
    score = metrics.r2_score if numbers else SCORES[name]
    target = np.eye(3)[target] if numbers else target
    shape = (m, T, 3) if numbers else (m, T)
    shaped = None if weights is None else weights.reshape(m, T)
    close(
        score(y.reshape(m, T, 3), target.reshape(shape), weights=shaped),
        score(y, target, weights=weights),
    )
    per_example = np.arange(1.0, m + 1)
    close(
        score(y.reshape(m, T, 3), target.reshape(shape), weights=per_example),
        score(y, target, weights=np.repeat(per_example, T)),
    )


def test_arguments_are_not_changed_and_float32_is_as_good() -> None:
    rng = np.random.default_rng(0)
    y, target = rng.random((50, 3)).astype(np.float32), rng.integers(0, 3, 50)
    for a in (y, target):
        a.setflags(write=False)
    for score in SCORES.values():
        assert np.array_equal(score(y, target), score(y.astype(float), target))


# -- evaluate ----------------------------------------------------------------------------------------------------------

X = np.random.default_rng(0).normal(size=(40, 4))
Y = np.random.default_rng(1).integers(0, 3, 40)
MODEL = nn.mlp([4, 5, 3], ["tanh", "softmax"])
FOUND = {
    "f1": partial(metrics.f1_score, average="macro"),
    "each": partial(metrics.recall, average=None),
    "top": partial(metrics.top_k_accuracy, k=2),
}


@pytest.mark.parametrize("weights", [None, np.linspace(0, 2, 40)])
def test_evaluate_takes_metrics_of_all_outputs(weights: Array | None) -> None:
    loss = nn.sparse_categorical_cross_entropy
    ts = nn.train_state(MODEL, nn.gd(), nn.key(0), (4,))
    plain = nn.evaluate(MODEL, loss, ts, X, Y, weights)
    found = nn.evaluate(MODEL, loss, ts, X, Y, weights, metrics=FOUND)
    assert (found.loss, found.accuracy) == (plain.loss, plain.accuracy)
    assert plain.metrics == {}
    y = nn.predict(MODEL, ts, X)
    for name, metric in FOUND.items():
        assert np.array_equal(found.metrics[name], metric(y, Y, weights=weights))
    close(metrics.recall(y, Y, weights, average="micro"), plain.accuracy)


@pytest.mark.parametrize("weights", [None, np.linspace(0, 2, 40)])
def test_evaluate_calls_metrics_for_each_member_of_a_stack(weights: Array | None) -> None:
    loss = nn.sparse_categorical_cross_entropy
    alone = [nn.train_state(MODEL, nn.gd(), nn.key(i), (4,)) for i in range(3)]
    params, state = nn.stack([ts.params for ts in alone]), nn.stack([ts.state for ts in alone])
    ts = alone[0]._replace(params=params, state=state)
    found = nn.evaluate(MODEL, loss, ts, X, Y, weights, metrics=FOUND).metrics
    for k, member in enumerate(alone):
        own = nn.evaluate(MODEL, loss, member, X, Y, weights, metrics=FOUND).metrics
        for name in FOUND:
            np.testing.assert_allclose(np.asarray(found[name])[k], own[name])


# -- errors ------------------------------------------------------------------------------------------------------------

BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: metrics.f1_score(np.ones((2, 3)) / 3, [0, 1]), "average='binary' is the score of class 1 of two"),
    (lambda: metrics.f1_score([0, 2], [1, 2]), "there are 3 classes"),
    (lambda: metrics.f1_score([0, 1], [1, 0], average="mean"), "average='mean': expected"),  # type: ignore[arg-type]
    (lambda: metrics.f1_score([0, -1], [1, 0]), r"y contains -1 at \[1\], expected class numbers"),
    (lambda: metrics.f1_score([0, 1], [0.5, 0]), r"target contains 0.5 at \[0\]"),
    (lambda: metrics.f1_score([0, 1], [1, 0, 1]), r"target has shape \(3,\), expected class numbers of shape \(2,\)"),
    (lambda: metrics.f1_score(np.array([[2.0], [-1.0]]), [1, 0]), "no probability.*threshold=0.0"),
    (lambda: metrics.f1_score(np.array([0.5, 0.2]), [1, 0]), r"y has shape \(2,\).*pass y\[:, None\]"),
    (lambda: metrics.f1_score(np.array([[np.nan]]), [1]), "y contains nan"),
    (lambda: metrics.precision(np.ones((2, 3)) / 3, [0, 3], average="macro"), r"target contains 3 at \[1\]"),
    (lambda: metrics.recall([0, 1], [1, 0], [1.0]), r"weights has shape \(1,\)"),
    (lambda: metrics.recall([0, 1], [1, 0], [1.0, -1.0]), "weights contains -1.0"),
    (lambda: metrics.recall(np.ones((2, 2)) / 2, np.eye(2), ignore=0), "expected class numbers"),
    (lambda: metrics.roc_auc(np.ones((2, 1)), [0, 2]), "target contains 2"),
    (lambda: metrics.roc_auc(np.ones((2, 3)), [0, 1, 2]), r"target has shape \(3,\)"),
    (lambda: metrics.roc_auc(np.ones((2, 1)), [0, 1], average="micro"), "average='micro'"),  # type: ignore[arg-type]
    (lambda: metrics.top_k_accuracy(np.ones((2, 3)), [0, 1], k=4), "k=4 of 3 outputs"),
    (lambda: metrics.top_k_accuracy(np.ones((2, 1)), [0, 1], k=1), "expected several outputs"),
    (lambda: metrics.top_k_accuracy(np.ones((2, 3)), [0, 1], k=0), "k=0"),
    (lambda: metrics.r2_score(np.ones((2, 3)), np.ones((2, 2))), r"target has shape \(2, 2\)"),
    (lambda: metrics.perplexity(np.ones((2, 3)), [0, 5]), "5"),
    (lambda: metrics.perplexity(np.zeros((0, 3)), []), "at least one example"),
]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_errors(number: int) -> None:
    call, message = BAD[number]
    with pytest.raises(ValueError, match=message):
        call()


def test_parameters_and_state_may_come_as_a_pair() -> None:
    model = nn.serial(nn.dense(3), nn.batch_norm(), nn.softmax())
    ts = nn.train_state(model, "gd", nn.key(0), (4,))
    X, Y = np.random.default_rng(0).normal(size=(9, 4)), np.arange(9) % 3
    pair = ts.params, ts.state
    np.testing.assert_array_equal(nn.predict(model, pair, X), nn.predict(model, ts, X))
    np.testing.assert_array_equal(nn.predict_classes(model, pair, X), nn.predict_classes(model, ts, X))
    loss = nn.sparse_categorical_cross_entropy
    assert nn.accuracy(model, pair, X, Y) == nn.accuracy(model, ts, X, Y)
    assert nn.evaluate(model, loss, pair, X, Y) == nn.evaluate(model, loss, ts, X, Y)
    np.testing.assert_array_equal(
        nn.metrics.confusion_matrix(model, pair, X, Y), nn.metrics.confusion_matrix(model, ts, X, Y)
    )
    with pytest.raises(TypeError, match="the first two arguments are Layer, tuple"):
        nn.predict(model, (ts.params, ts.state, 1), X)  # type: ignore[arg-type]  # three parts
