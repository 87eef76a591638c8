"""The options of losses against PyTorch, against the rows that they leave out, and through training."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc import distributed
from nnfunc.arrays import Array
from nnfunc.core.values import leaves, map_leaves
from nnfunc.losses.options import options_of
from tests.catalogue import LOSSES, STRUCTURED, outputs_and_targets, structured

SPARSE = nn.sparse_categorical_cross_entropy_with_logits
DENSE = nn.categorical_cross_entropy_with_logits
BINARY = nn.binary_cross_entropy_with_logits

CONFIGURATIONS = {
    "m": st.integers(1, 6),
    "n": st.integers(1, 4),
    "seed": st.integers(0, 1000),
    "dtype": st.sampled_from([np.float32, np.float64]),
}


def both(loss: nn.Loss, y: Any, target: Any, weights: Any = None) -> tuple[Any, Any]:
    value, cache = loss.forward(y, target, weights)
    return value, loss.backward(cache)


def same(found: tuple[Any, Any], expected: tuple[Any, Any], dtype: Any = np.float64) -> None:
    rtol = 1e-4 if dtype == np.float32 else 1e-9
    assert found[1].dtype == dtype
    np.testing.assert_allclose(found[0], expected[0], rtol=rtol, atol=rtol)
    np.testing.assert_allclose(found[1], expected[1], rtol=rtol, atol=rtol)


def by_torch(function: Any, y: Array) -> tuple[float, Array]:
    """The value and the gradient of a function of a tensor."""
    import torch

    tensor = torch.tensor(y, requires_grad=True)
    value = function(tensor)
    value.backward()
    return value.item(), tensor.grad.numpy()


# -- against PyTorch ---------------------------------------------------------------------------------------------------


@given(**CONFIGURATIONS, smoothing=st.sampled_from([0.0, 0.1, 0.7]), total=st.booleans(), ignored=st.booleans())
def test_cross_entropy_is_that_of_pytorch(
    m: int, n: int, seed: int, dtype: Any, smoothing: float, total: bool, ignored: bool
) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    y, target = rng.normal(size=(m, n)).astype(dtype) * 5, rng.integers(0, n, m)
    if ignored:
        target[1:][rng.random(m - 1) < 0.5] = -100
    reduction: Literal["sum", "mean"] = "sum" if total else "mean"
    loss = SPARSE(label_smoothing=smoothing, ignore=-100, reduction=reduction)
    expected = by_torch(
        lambda z: torch.nn.functional.cross_entropy(
            z, torch.tensor(target), label_smoothing=smoothing, reduction=reduction, ignore_index=-100
        ),
        y,
    )
    same(both(loss, y, target), expected, dtype)
    if not smoothing:
        cw = rng.uniform(0.1, 2, n).astype(dtype)
        value, cache = loss.forward(y, target, class_weights=cw)
        weighted = by_torch(
            lambda z: torch.nn.functional.cross_entropy(
                z, torch.tensor(target), weight=torch.tensor(cw), reduction=reduction, ignore_index=-100
            ),
            y,
        )
        same((value, loss.backward(cache)), weighted, dtype)
    if not ignored:
        rows = np.eye(n)[target]
        same(both(DENSE(label_smoothing=smoothing, reduction=reduction), y, rows), expected, dtype)


@given(**CONFIGURATIONS, several=st.booleans(), weighted=st.booleans())
def test_positive_weights_are_those_of_pytorch(
    m: int, n: int, seed: int, dtype: Any, several: bool, weighted: bool
) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    y, target = rng.normal(size=(m, n)).astype(dtype) * 5, rng.random((m, n)).round(1).astype(dtype)
    p = rng.uniform(0.1, 4, n if several else 1).astype(dtype)
    w = rng.uniform(0.1, 2, m).astype(dtype) if weighted else np.ones(m, dtype)
    each = torch.nn.BCEWithLogitsLoss(reduction="none", pos_weight=torch.tensor(p))

    def mean(z: Any) -> Any:
        return (each(z, torch.tensor(target)).sum(1) * torch.tensor(w)).sum() / w.sum()

    loss = BINARY(positive_weights=p)
    same(both(loss, y, target, w), by_torch(mean, y), dtype)
    A = 1 / (1 + np.exp(-y.astype(np.float64)))
    on_probabilities = both(nn.binary_cross_entropy(positive_weights=p), A, target, w)
    same((on_probabilities[0], on_probabilities[1] * A * (1 - A)), both(loss, y.astype(np.float64), target, w))


# -- what is left out is not there -------------------------------------------------------------------------------------

REGRESSION = ["mean_squared_error", "mean_absolute_error", "huber", "log_cosh", "quantile", "poisson"]
BY_OUTPUTS = [*REGRESSION, "binary_cross_entropy", "binary_cross_entropy_with_logits", "hinge"]


def drawn(name: str, m: int, n: int, rng: np.random.Generator) -> tuple[nn.Loss, Array, Array]:
    loss = nn.losses.by_names()[name]()
    y = rng.uniform(0.1, 0.9, size=(m, n)) if loss.activation else rng.normal(size=(m, n))
    return loss, y, rng.integers(0, 2, (m, n)).astype(float) if loss.targets == "bits" else rng.normal(size=(m, n))


@pytest.mark.parametrize("name", BY_OUTPUTS)
@given(m=st.integers(1, 5), n=st.integers(1, 4), seed=st.integers(0, 1000), weighted=st.booleans())
def test_a_missing_target_is_an_output_that_is_not_there(name: str, m: int, n: int, seed: int, weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    loss, y, target = drawn(name, m, n, rng)
    there = rng.random((m, n)) < 0.6
    weights = rng.uniform(0.1, 2, m) if weighted else np.ones(m)
    value, dy = both(loss(missing=True), y, np.where(there, target, np.nan), weights if weighted else None)
    expected, total, gradient = 0.0, weights[there.any(1)].sum(), np.zeros((m, n))
    for i in np.flatnonzero(there.any(1)):  # the loss of each example's outputs alone
        own, d = both(loss, y[i : i + 1, there[i]], target[i : i + 1, there[i]])
        expected += weights[i] * own / total
        gradient[i, there[i]] = weights[i] * d / total
    same((value, dy), (expected, gradient))
    _, cache = loss(missing=True).forward(y, np.where(there, target, np.nan), weights)
    assert math.isclose(cache.total, total)


@pytest.mark.parametrize("name", BY_OUTPUTS)
@given(m=st.integers(1, 5), n=st.integers(1, 4), seed=st.integers(0, 1000))
def test_whole_output_weights_are_outputs_repeated(name: str, m: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    loss, y, target = drawn(name, m, n, rng)
    times = np.array([1, *rng.integers(0, 3, n - 1)])
    repeated = np.repeat(np.arange(n), times)
    value, d = both(loss, y[:, repeated], target[:, repeated])
    dy = np.zeros((m, n))
    np.add.at(dy.T, repeated, d.T)
    same(both(loss(output_weights=times), y, target), (value, dy))


@given(m=st.integers(1, 5), T=st.integers(1, 4), n=st.integers(2, 4), seed=st.integers(0, 1000), by=st.booleans())
def test_ignored_positions_are_positions_of_weight_0(m: int, T: int, n: int, seed: int, by: bool) -> None:
    rng = np.random.default_rng(seed)
    y, target = rng.normal(size=(m, T, n)), rng.integers(0, n, (m, T))
    w = rng.uniform(0.1, 2, (m, T) if by else m)
    left_out = rng.random((m, T)) < 0.4
    zeros = np.where(left_out, 0, w if by else w[:, None])
    for loss, outputs in ((SPARSE, y), (nn.sparse_categorical_cross_entropy, rng.dirichlet(np.ones(n), (m, T)))):
        found = loss(ignore=-1).forward(outputs, np.where(left_out, -1, target), w)
        wanted = loss.forward(outputs, target, zeros)
        assert found[0] == wanted[0]
        assert found[1].total == wanted[1].total
        np.testing.assert_array_equal(loss.backward(found[1]), loss.backward(wanted[1]))
        stack = (
            nn.stacks.per_member(np.stack([outputs, outputs])),
            nn.stacks.per_member(np.stack([target, np.full((m, T), -1)])),
        )
        values, cache = loss(ignore=-1).forward(*stack, w)
        assert np.array_equal(np.asarray(values) == 0, [False, True])
        assert not loss.backward(cache)[1].any()


# -- every option of every loss: gradients, and stacks -----------------------------------------------------------------

DRAWN: dict[str, Any] = {
    "label_smoothing": lambda n, rng: rng.uniform(0, 0.9),
    "ignore": lambda n, rng: -1,
    "positive_weights": lambda n, rng: rng.uniform(0.1, 3, n),
    "output_weights": lambda n, rng: rng.uniform(0, 3, n) + np.eye(n)[0],
    "missing": lambda n, rng: True,
    "reduction": lambda n, rng: "sum",
}


@pytest.mark.parametrize("name", sorted({*LOSSES, *STRUCTURED}))
@given(m=st.integers(1, 4), n=st.integers(1, 3), seed=st.integers(0, 1000), weighted=st.booleans())
def test_gradients_and_stacks_of_every_loss_with_its_options(
    name: str, m: int, n: int, seed: int, weighted: bool
) -> None:
    rng = np.random.default_rng(seed)
    plain = STRUCTURED.get(name) or LOSSES[name][0]
    loss = plain(**{k: DRAWN[k](n, rng) for k in options_of(plain) if rng.random() < 0.6})

    def member(seed: int) -> tuple[Any, Any]:
        if name in STRUCTURED:
            y, target = structured(loss, m, n, seed)
        else:
            y, target = outputs_and_targets(LOSSES[name][1:], m, n, seed)
        if "missing" in loss.options:
            target = np.where(rng.random(target.shape) < 0.3, np.nan, target)
        if "ignore" in loss.options:
            target = np.where(rng.random(target.shape) < 0.3, -1, target)
        return y, target

    weights = rng.uniform(0.1, 3, m) if weighted else None
    members = [member(seed + k) for k in range(2)]
    y, target = (map_leaves(lambda *parts: np.stack(parts), *parts) for parts in zip(*members, strict=True))
    values, cache = loss.forward(nn.stacks.per_member(y), nn.stacks.per_member(target), weights)
    dys = loss.backward(cache)
    for k, (own, own_target) in enumerate(members):
        value, dy = both(loss, own, own_target, weights)
        assert np.asarray(values)[k] == pytest.approx(value)
        for a, b in zip(leaves(dys), leaves(dy), strict=True):
            np.testing.assert_allclose(a[k], b, rtol=1e-9, atol=1e-12)

    own, own_target = members[0]

    def forward(p: dict[str, Array]) -> Any:
        return loss.forward(tuple(p.values()) if loss.outputs > 1 else p["0"], own_target, weights)

    nn.check_gradients(
        lambda p: forward(p)[0],
        lambda p: {str(i): d for i, d in enumerate(leaves(loss.backward(forward(p)[1])))},
        {str(i): a for i, a in enumerate(leaves(own))},
    ).assert_ok()


# -- through training --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4,), (2, 3)])
def test_training_ignores_positions_of_sequences_and_images(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(6, *shape, 5)), rng.integers(0, 3, (6, *shape))
    hidden = rng.random(Y.shape) < 0.4
    model, loss = nn.serial(nn.dense(3), nn.softmax()), nn.sparse_categorical_cross_entropy
    marked, weights = np.where(hidden, -1, Y), (~hidden).astype(float)
    steps = [nn.train_step(model, f, nn.adam(0.1), penalty=nn.l2(0.1)) for f in (loss(ignore=-1), loss)]
    ts = nn.train_state(model, steps[0].optimizer, nn.key(0), (*shape, 5), dtype=np.float64)
    assert steps[0].computed[1] == SPARSE(ignore=-1)
    one, other = steps[0](ts, (X, marked)), steps[1](ts, (X, Y, weights))
    assert nn.arrays.equal(one[0].params, other[0].params)
    assert one[1].loss == other[1].loss
    assert one[1].weight == weights.sum()
    run = list(nn.train(steps[0], ts, (X, marked), epochs=3, batch_size=4, key=nn.key(1), validation=(X, marked)))
    ran = list(
        nn.train(steps[1], ts, (X, Y, weights), epochs=3, batch_size=4, key=nn.key(1), validation=(X, Y, weights))
    )
    for a, b in zip(run, ran, strict=True):
        assert (a.loss, a.accuracy, a.validation) == (b.loss, b.accuracy, b.validation)
    right = nn.predict_classes(model, ts, X) == Y
    evaluation = nn.evaluate(model, loss(ignore=-1), ts, X, marked)
    assert evaluation.accuracy == nn.accuracy(model, ts, X, marked, ignore=-1) == right[~hidden].mean()
    nn.check_model(model, ts.params, X, target=marked, loss=loss(ignore=-1, label_smoothing=0.2)).assert_ok()


def test_training_leaves_out_missing_targets_in_stacks_too() -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(6, 5)), rng.normal(size=(6, 3))
    Y[0] = Y[1, 1] = Y[4, 2] = np.nan
    model = nn.serial(nn.dense(4), nn.tanh(), nn.dense(3))
    loss = nn.mean_squared_error(missing=True, output_weights=[1, 2, 3])
    step = nn.train_step(model, loss, nn.adam(0.1), penalty=nn.l2(0.1))
    alone = [nn.train_state(model, step.optimizer, nn.key(k), (5,), dtype=np.float64) for k in range(2)]
    stack = nn.train_state(model, step.optimizer, (nn.key(0), nn.key(1)), (5,), dtype=np.float64)
    moved, metrics = step(stack, (X, Y))
    for k, ts in enumerate(alone):
        own, own_metrics = step(ts, (X, Y))
        without, _ = step(ts, (X[1:], Y[1:]))
        assert nn.arrays.allclose(own.params, without.params, rtol=1e-12)
        assert own_metrics.weight == 5
        np.testing.assert_allclose(np.asarray(metrics.loss)[k], own_metrics.loss, rtol=1e-12)
        np.testing.assert_allclose(moved.params.vector[k], own.params.vector, rtol=1e-10)
    epoch = list(nn.train(step, alone[0], (X, Y), epochs=2, batch_size=2, key=nn.key(1), validation=(X, Y)))[-1]
    assert math.isfinite(epoch.loss)
    assert epoch.validation is not None
    assert math.isfinite(epoch.validation.loss)
    assert math.isnan(epoch.accuracy)
    with pytest.raises(ValueError, match="nan"):
        list(nn.train(nn.train_step(model, "mean_squared_error", "adam"), alone[0], (X, Y), epochs=1, key=nn.key(1)))


def test_missing_labels_count_in_no_accuracy() -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(8, 5)), rng.integers(0, 2, (8, 3)).astype(float)
    model = nn.serial(nn.dense(3), nn.sigmoid())
    ts = nn.train_state(model, nn.gd(), nn.key(0), (5,))
    there = rng.random(Y.shape) < 0.5
    right = nn.predict_classes(model, ts, X) == Y
    found = nn.evaluate(model, nn.binary_cross_entropy(missing=True), ts, X, np.where(there, Y, np.nan))
    assert found.accuracy == pytest.approx(right[there].mean())


def test_ignored_examples_are_in_no_confusion_matrix() -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(9, 2)), rng.integers(-1, 3, 9)
    model = nn.mlp([2, 3], ["softmax"])
    ts = nn.train_state(model, nn.gd(), nn.key(0), (2,))
    wanted = nn.metrics.confusion_matrix(model, ts, X[Y >= 0], Y[Y >= 0])
    np.testing.assert_array_equal(nn.metrics.confusion_matrix(model, ts, X, Y, ignore=-1), wanted)
    with pytest.raises(ValueError, match="Y contains -1"):
        nn.metrics.confusion_matrix(model, ts, X, Y)


def test_a_sum_moves_as_many_times_more() -> None:
    X, Y = np.ones((4, 2)), np.arange(4.0)
    model, w = nn.dense(1), np.array([1, 2, 0, 1])
    ts = nn.train_state(model, nn.gd(), nn.key(0), (2,), dtype=np.float64)
    mean, total = (
        nn.value_and_grad(model, nn.huber()(reduction=r))(ts.params, ts.state, (X, Y, w)) for r in ("mean", "sum")
    )
    assert total.value == pytest.approx(4 * mean.value)
    assert mean.weight == total.weight == 4
    assert nn.arrays.allclose(total.grads, mean.grads * 4, rtol=1e-12)
    assert nn.huber()(reduction="sum").forward(Y[:, None], np.zeros(4))[0] == pytest.approx(0.5 + 1.5 + 2.5)


def test_shards_have_the_mean_over_what_is_there_and_no_sum() -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(7, 4, 2)), rng.integers(-1, 3, (7, 4))
    model, loss = nn.serial(nn.dense(3), nn.softmax()), nn.sparse_categorical_cross_entropy(ignore=-1)
    ts = nn.train_state(model, nn.gd(), nn.key(0), (4, 2), dtype=np.float64)
    whole, one = nn.train_step(model, loss, nn.gd(0.1))(ts, (X, Y))
    sharded, two = nn.train_step(model, loss, nn.gd(0.1), reduce=distributed.sharded(3))(ts, (X, Y))
    assert nn.arrays.allclose(whole.params, sharded.params, rtol=1e-12)
    assert one.weight == two.weight == (Y >= 0).sum()
    with pytest.raises(ValueError, match="is a sum"):
        nn.train_step(model, loss(reduction="sum"), nn.gd(0.1), reduce=distributed.sharded(3))


# -- as values ---------------------------------------------------------------------------------------------------------


def test_losses_with_options_are_values() -> None:
    loss = nn.categorical_cross_entropy(label_smoothing=0.1, reduction="sum")
    assert repr(loss) == "categorical_cross_entropy(label_smoothing=0.1, reduction='sum')"
    assert loss == nn.categorical_cross_entropy(reduction="sum")(label_smoothing=0.1) != nn.categorical_cross_entropy
    assert pickle.loads(pickle.dumps(loss)) == loss == copy.deepcopy(loss)
    assert hash(loss) == hash(pickle.loads(pickle.dumps(loss)))
    assert (
        loss(label_smoothing=0, reduction="mean")
        == nn.categorical_cross_entropy
        == loss(label_smoothing=None, reduction=None)
    )
    weighted = nn.binary_cross_entropy(positive_weights=[1, 2])
    assert repr(weighted) == "binary_cross_entropy(positive_weights=(1.0, 2.0))"
    assert weighted(positive_weights=None) == nn.binary_cross_entropy
    assert repr(nn.huber(0.5)(missing=True)) == "huber(delta=0.5, missing=True)"
    assert nn.train_step(nn.mlp([2, 1], ["sigmoid"]), weighted, "adam").computed[1] == BINARY(positive_weights=(1, 2))


@pytest.mark.parametrize(
    ("loss", "options", "error", "says"),
    [
        (nn.mean_squared_error, {"ignore": 1}, TypeError, "no option 'ignore': it supports output_weights, missing"),
        (nn.huber(), {"delta": 2.0}, TypeError, "no option 'delta'"),
        (nn.losses.combined(nn.losses.hinge), {"reduction": "sum"}, TypeError, "pass it to its parts"),
        (nn.Loss(max, min), {"reduction": "sum"}, TypeError, "it supports none"),
        (SPARSE, {"label_smoothing": 1.0}, ValueError, "label_smoothing=1.0"),
        (SPARSE, {"ignore": 0.5}, TypeError, "ignore=0.5"),
        (BINARY, {"positive_weights": [-1]}, ValueError, "positive_weights"),
        (BINARY, {"output_weights": [0, 0]}, ValueError, "not all 0"),
        (BINARY, {"missing": 1}, TypeError, "missing=1"),
        (BINARY, {"reduction": "none"}, ValueError, "'mean' or 'sum'"),
    ],
)
def test_wrong_options_are_refused(loss: nn.Loss, options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        loss(**options)


def test_options_that_do_not_fit_the_outputs_are_refused() -> None:
    y = np.zeros((2, 3))
    with pytest.raises(ValueError, match="output_weights has 2 values, expected one for each of 3"):
        nn.mean_squared_error(output_weights=[1, 2]).forward(y, y)
    with pytest.raises(ValueError, match="positive_weights has 2 values"):
        BINARY(positive_weights=[1, 2]).forward(y, y)
    with pytest.raises(ValueError, match="target contains -1"):
        SPARSE(ignore=-2).forward(y, np.array([-1, -2]))


# -- masked classes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(m=st.integers(1, 4), seed=st.integers(0, 100))
def test_masked_classes_are_classes_that_are_not_there(dtype: Any, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(m, 5)).astype(dtype)
    masked = z.copy()
    masked[:, [1, 3]] = -np.inf
    target = rng.integers(0, 3, m)
    value, dy = both(SPARSE, masked, np.array([0, 2, 4])[target])
    expected, d = both(SPARSE, z[:, [0, 2, 4]], target)
    same((value, dy[:, [0, 2, 4]]), (expected, d), dtype)
    assert not dy[:, [1, 3]].any()
    for activation in (nn.softmax(), nn.log_softmax()):
        y, cache, _ = activation.forward(nn.arrays.EMPTY, nn.arrays.EMPTY, masked)
        alone, other, _ = activation.forward(nn.arrays.EMPTY, nn.arrays.EMPTY, z[:, [0, 2, 4]])
        np.testing.assert_allclose(y[:, [0, 2, 4]], alone, rtol=1e-5)
        dy = np.zeros_like(y)
        dy[:, [0, 2, 4]] = cotangent = rng.normal(size=alone.shape)
        dx = activation.backward(nn.arrays.EMPTY, cache, dy)[0]
        np.testing.assert_allclose(
            dx[:, [0, 2, 4]],
            activation.backward(nn.arrays.EMPTY, other, cotangent.astype(dtype))[0],
            rtol=1e-4,
            atol=1e-5,
        )
        np.testing.assert_allclose(dx[:, [1, 3]], 0, atol=1e-30)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_whose_classes_are_all_masked(dtype: Any) -> None:
    z = np.array([[-np.inf] * 3, [1.0, 2.0, 3.0]], dtype)
    y, cache, _ = nn.softmax().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, z)
    assert not y[0].any()
    assert np.abs(nn.softmax().backward(nn.arrays.EMPTY, cache, np.ones_like(y))[0][0]).max() < 1e-30
    assert np.isneginf(nn.log_softmax().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, z)[0][0]).all()
    value, dy = both(SPARSE, z, np.array([0, 1]))  # as any target that is masked: it is certain not to be
    assert np.isfinite(value)
    assert value > 1e37
    np.testing.assert_array_equal(dy[0], np.array([-0.5, 0, 0], dtype))
    value, dy = both(SPARSE, z, np.array([0, 1]), [0, 1])
    assert value == pytest.approx(both(SPARSE, z[1:], np.array([1]))[0])
    assert not dy[0].any()


@pytest.mark.parametrize("loss", [BINARY, BINARY(positive_weights=2)])
def test_binary_logits_at_the_extremes(loss: nn.Loss) -> None:
    z = np.array([[-np.inf], [-1000.0], [1000.0], [1000.0], [-1000.0]])
    p = 2.0 if loss.settings["positive_weights"] else 1.0
    _, cache = loss.forward(z, np.array([0, 0, 1, 0, 1]))
    np.testing.assert_array_equal(cache.values, [0, 0, 0, 1000, 1000 * p])
    np.testing.assert_allclose(5 * loss.backward(cache)[:, 0], [0, 0, 0, 1, -p], atol=1e-300)
