"""The losses against PyTorch, against their formulas, at the extremes, and in training."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import groupby, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc._internal.numerics import log1pexp, sum_of_columns
from nnfunc.arrays import Array
from nnfunc.core.values import leaves

CONFIGURATIONS = {
    "m": st.integers(1, 6),
    "n": st.integers(1, 5),
    "seed": st.integers(0, 10_000),
    "dtype": st.sampled_from([np.float32, np.float64]),
}


def agrees(loss: nn.Loss, each: Any, y: Any, target: Any, weights: Any, digits: float | None = None) -> None:
    """A loss has the values and gradients of the weighted mean of `each(tensors of y) -> (m,)`."""
    import torch

    value, cache = loss.forward(y, target, weights)
    tensors = [torch.tensor(a, requires_grad=True) for a in leaves(y)]
    values = each(*tensors)
    w = torch.tensor(np.ones(len(values)) if weights is None else weights, dtype=values.dtype)
    mean = (w * values).sum() / w.sum()
    mean.backward()
    tol = digits or (1e-4 if leaves(y)[0].dtype == np.float32 else 1e-8)
    np.testing.assert_allclose(cache.values, values.detach().numpy(), rtol=tol, atol=tol)
    np.testing.assert_allclose(value, mean.item(), rtol=tol, atol=tol)
    for dy, tensor in zip(leaves(loss.backward(cache)), tensors, strict=True):
        np.testing.assert_allclose(dy, tensor.grad.numpy(), rtol=tol, atol=tol)


def drawn_weights(m: int, rng: np.random.Generator) -> Array | None:
    return None if rng.random() < 0.3 else rng.uniform(0.1, 2, m)


# -- against PyTorch ---------------------------------------------------------------------------------------------------


@given(**CONFIGURATIONS, margin=st.sampled_from([0.0, 0.5, 1.0, 3.0]))
def test_multi_class_hinge_is_that_of_pytorch(m: int, n: int, seed: int, dtype: Any, margin: float) -> None:
    F = pytest.importorskip("torch").nn.functional
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    y, target = rng.normal(size=(m, n)).astype(dtype), rng.integers(0, n, m)
    agrees(
        nn.losses.multi_class_hinge(margin),
        lambda y: F.multi_margin_loss(y, torch.tensor(target), margin=margin, reduction="none"),
        y, target, drawn_weights(m, rng),
    )  # fmt: skip


@given(**CONFIGURATIONS, sparse=st.booleans())
def test_kl_divergence_is_that_of_pytorch(m: int, n: int, seed: int, dtype: Any, sparse: bool) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    y = np.log(rng.dirichlet(np.ones(n), m)).astype(dtype)
    target = np.eye(n)[rng.integers(0, n, m)] if sparse else rng.dirichlet(np.ones(n), m)
    wanted = torch.tensor(target.astype(dtype))
    agrees(
        nn.losses.kl_divergence,
        lambda y: torch.nn.functional.kl_div(y, wanted, reduction="none").sum(1),
        y, target, drawn_weights(m, rng),
    )  # fmt: skip


@given(**CONFIGURATIONS)
def test_cosine_is_that_of_pytorch(m: int, n: int, seed: int, dtype: Any) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    y, target = rng.normal(size=(2, m, n))
    y, target = ((a + np.copysign(0.3, a)).astype(dtype) for a in (y, target))  # PyTorch adds 1e-12 to short lengths
    ones = torch.ones(m)
    agrees(
        nn.losses.cosine,
        lambda y: torch.nn.functional.cosine_embedding_loss(y, torch.tensor(target), ones, reduction="none"),
        y, target, drawn_weights(m, rng), 1e-3 if dtype == np.float32 else 1e-6,
    )  # fmt: skip


@given(**CONFIGURATIONS, margin=st.sampled_from([0.1, 1.0, 3.0]))
def test_triplet_is_that_of_pytorch(m: int, n: int, seed: int, dtype: Any, margin: float) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    y = tuple(rng.normal(size=(3, m, n)).astype(dtype))
    agrees(
        nn.losses.triplet(margin),
        lambda *y: torch.nn.functional.triplet_margin_loss(*y, margin=margin, eps=0.0, reduction="none"),
        y, np.zeros(m), drawn_weights(m, rng),
    )  # fmt: skip


@given(**CONFIGURATIONS, margin=st.sampled_from([0.1, 1.0, 3.0]))
def test_contrastive_is_its_formula(m: int, n: int, seed: int, dtype: Any, margin: float) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    y, target = tuple(rng.normal(size=(2, m, n)).astype(dtype)), rng.integers(0, 2, m)

    def each(a: Any, b: Any) -> Any:
        d = (a - b).norm(dim=1)
        far = torch.clamp(margin - d, min=0) ** 2
        return torch.where(torch.tensor(target) == 1, d**2, far) / 2

    agrees(nn.losses.contrastive(margin), each, y, target, drawn_weights(m, rng))


@given(**CONFIGURATIONS, full=st.booleans())
def test_gaussian_is_that_of_pytorch(m: int, n: int, seed: int, dtype: Any, full: bool) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    y, target = tuple(rng.normal(size=(2, m, n)).astype(dtype)), rng.normal(size=(m, n)).astype(dtype)

    def each(mean: Any, s: Any) -> Any:
        wanted = torch.tensor(target)
        return torch.nn.functional.gaussian_nll_loss(mean, wanted, s.exp(), full=full, reduction="none").mean(1)

    agrees(nn.losses.gaussian(full), each, y, target, drawn_weights(m, rng))


@given(**CONFIGURATIONS, gamma=st.sampled_from([0.0, 0.5, 2.0, 5.0]), alpha=st.sampled_from([None, 0.25, 0.9]))
def test_focal_is_its_formula(m: int, n: int, seed: int, dtype: Any, gamma: float, alpha: float | None) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    z, target = (rng.normal(size=(m, n)) * 4).astype(dtype), rng.integers(0, 2, (m, n)).astype(float)
    T = torch.tensor(target.astype(dtype))

    def each(z: Any) -> Any:  # as torchvision's sigmoid_focal_loss
        p, entropy = z.sigmoid(), torch.nn.functional.binary_cross_entropy_with_logits(z, T, reduction="none")
        right = p * T + (1 - p) * (1 - T)
        value = entropy * (1 - right) ** gamma
        return (value if alpha is None else (alpha * T + (1 - alpha) * (1 - T)) * value).sum(1)

    agrees(nn.losses.focal(gamma, alpha), each, z, target, drawn_weights(m, rng))


@given(
    m=st.integers(1, 4), L=st.integers(1, 4), T=st.integers(1, 9), C=st.integers(2, 5), seed=st.integers(0, 10_000),
    dtype=st.sampled_from([np.float32, np.float64]), blank=st.sampled_from([0, 1]), zero=st.booleans(),
)  # fmt: skip
def test_ctc_is_that_of_pytorch(m: int, L: int, T: int, C: int, seed: int, dtype: Any, blank: int, zero: bool) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    z, lengths, frames = (
        (rng.normal(size=(m, T, C)) * 3).astype(dtype),
        rng.integers(0, L + 1, m),
        rng.integers(1, T + 1, m),
    )
    labels = rng.choice([c for c in range(C) if c != blank], (m, L))
    labels[np.arange(L) >= lengths[:, None]] = -1
    weights = drawn_weights(m, rng)

    def each(z: Any) -> Any:
        return torch.nn.functional.ctc_loss(
            z.log_softmax(-1).transpose(0, 1), torch.tensor(np.where(labels < 0, blank, labels)), torch.tensor(frames),
            torch.tensor(lengths), blank=blank, reduction="none", zero_infinity=zero,
        )  # fmt: skip

    loss = nn.losses.ctc(blank, zero)
    if not zero:  # of infinite values PyTorch's gradient is NaN
        impossible = np.isposinf(loss.forward(z, (labels, frames))[1].values)
        assert np.array_equal(impossible, np.isposinf(each(torch.tensor(z)).numpy()))
        w = np.where(impossible, 0, 1)
        _, cache = loss.forward(z, (labels, frames), w)
        assert np.isfinite(loss.backward(cache)).all()
        if impossible.any():
            return
    agrees(loss, each, z, (labels, frames), weights, 1e-4 if dtype == np.float32 else 1e-8)


# -- against all paths, and themselves ---------------------------------------------------------------------------------


@given(L=st.integers(0, 3), T=st.integers(1, 5), C=st.integers(2, 3), seed=st.integers(0, 1000))
def test_ctc_sums_over_all_paths(L: int, T: int, C: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, labels = rng.dirichlet(np.ones(C), T), rng.integers(1, C, L)
    total = sum(
        math.prod(p[t, c] for t, c in enumerate(path))
        for path in product(range(C), repeat=T)
        if [c for c, _ in groupby(path) if c != 0] == labels.tolist()
    )
    _, cache = nn.losses.ctc().forward(np.log(p)[None], np.array([[*labels, -1]]))
    np.testing.assert_allclose(np.exp(-cache.values), total, rtol=1e-9)


def test_ctc_is_the_same_whatever_stands_after_the_ends() -> None:
    rng = np.random.default_rng(0)
    z, labels = rng.normal(size=(1, 5, 4)), np.array([[2, 2]])
    longer = np.concatenate([z, rng.normal(size=(1, 3, 4))], axis=1)
    loss = nn.losses.ctc()
    value, cache = loss.forward(z, labels)
    padded, other = loss.forward(longer, (np.array([[2, 2, -1, -1]]), np.array([5])))
    assert value == pytest.approx(padded)
    np.testing.assert_allclose(loss.backward(other)[:, :5], loss.backward(cache), rtol=1e-12)
    assert not loss.backward(other)[:, 5:].any()
    log_probabilities = nn.log_softmax().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, z)[0]
    assert loss.forward(log_probabilities, labels)[0] == pytest.approx(value)


@given(m=st.integers(1, 5), n=st.integers(1, 4), seed=st.integers(0, 1000))
def test_losses_that_are_others_at_an_end_of_their_settings(m: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, bits, target = rng.normal(size=(m, n)), rng.integers(0, 2, (m, n)), rng.normal(size=(m, n))
    q = rng.dirichlet(np.ones(n), m)
    log_softmax = nn.log_softmax().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, y)[0]
    pairs: list[tuple[nn.Loss, Any, Any, nn.Loss, Any, Any, float]] = [
        (nn.losses.focal(0.0), y, bits, nn.binary_cross_entropy_with_logits, y, bits, 0.0),
        (nn.losses.gaussian(), (y, np.zeros((m, n))), target, nn.huber(1e9), y, target, 0.0),
        (nn.losses.kl_divergence, log_softmax, q, nn.categorical_cross_entropy_with_logits, y, q,
         (q * np.log(q)).sum() / m),
    ]  # fmt: skip
    for loss, a, wanted, other, b, target, constant in pairs:
        assert loss.forward(a, wanted)[0] == pytest.approx(other.forward(b, target)[0] + constant)


# -- extremes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_losses_at_the_extremes(dtype: Any) -> None:
    z = np.array([[-np.inf], [-1000], [1000], [1000], [-1000], [np.inf]], dtype)
    for gamma in (0.0, 2.0):
        value, cache = nn.losses.focal(gamma).forward(z, np.array([0, 0, 1, 0, 1, 1]))
        np.testing.assert_allclose(cache.values, [0, 0, 0, 1000, 1000, 0])
        np.testing.assert_allclose(6 * nn.losses.focal(gamma).backward(cache)[:, 0], [0, 0, 0, 1, -1, 0], atol=1e-30)
        assert np.isfinite(value)
    y: Any = np.array([[0, -np.inf, -np.inf], [-1000, 0, -1000]], dtype)
    _, cache = nn.losses.kl_divergence.forward(y, np.array([[1, 0, 0], [0, 0.5, 0.5]]))
    np.testing.assert_allclose(cache.values, [0, 500 - math.log(2)], rtol=1e-6)
    _, cache = nn.losses.multi_class_hinge().forward(
        np.array([[1000, -np.inf, 1001], [-1000, 1000, 0]], dtype), np.array([0, 0])
    )
    np.testing.assert_allclose(cache.values, [2 / 3, 3002 / 3], rtol=1e-6)
    np.testing.assert_allclose(
        2 * nn.losses.multi_class_hinge().backward(cache), np.array([[-1, 0, 1], [-2, 1, 1]]) / 3, rtol=1e-6
    )
    zero, far = np.zeros((1, 2), dtype), np.full((1, 2), 1000, dtype)
    value, cache = nn.losses.cosine.forward(zero, far)
    assert value == 1
    assert not nn.losses.cosine.backward(cache).any()
    for loss, y, wanted in (
        (nn.losses.contrastive(), (zero, zero), 0.5),
        (nn.losses.triplet(), (zero, zero, zero), 1.0),
        (nn.losses.triplet(), (zero, zero, far), 0.0),
    ):
        value, cache = loss.forward(y, np.zeros(1))
        assert value == wanted
        assert not any(dy.any() for dy in loss.backward(cache))
    y = np.array([[1.0, 1.0]], dtype), np.array([[-1000, 1000]], dtype)
    value, cache = nn.losses.gaussian().forward(y, np.array([[1.0, 1.0]]))
    assert value == 0
    dmean, ds = nn.losses.gaussian().backward(cache)
    assert not dmean.any()
    np.testing.assert_allclose(ds, [[0.25, 0.25]])


def test_ctc_at_the_extremes() -> None:
    z = np.array([[[1000.0, 0, -np.inf]] * 3, [[0, 1000.0, -np.inf]] * 3, [[-1000.0, 0, 0]] * 3])
    loss = nn.losses.ctc()
    _, cache = loss.forward(z, np.array([[-1, -1], [1, -1], [1, 2]]))
    np.testing.assert_allclose(cache.values[:2], 0, atol=1e-12)
    np.testing.assert_allclose(cache.values[2], 3 * math.log(2) - math.log(2), rtol=1e-12)  # 112 and 122
    assert np.isfinite(loss.backward(cache)).all()
    value, cache = loss.forward(z[:1], np.array([[2]]))  # the class of its label is masked
    assert math.isinf(value)
    assert not loss.backward(cache).any()
    assert nn.losses.ctc(zero_infinity=True).forward(z[:1], np.array([[2]]))[0] == 0


# -- in training -------------------------------------------------------------------------------------------------------


def last_loss(model: nn.Layer, loss: nn.Loss, shape: Any, X: Any, Y: Any) -> tuple[float, float]:
    step = nn.train_step(model, loss, nn.adam(0.05))
    ts = nn.train_state(model, step.optimizer, nn.key(0), shape)
    epochs = list(nn.train(step, ts, (X, Y), epochs=40, batch_size=10, key=nn.key(1), validation=(X, Y)))
    assert math.isnan(epochs[-1].accuracy)
    nn.check_model(model, epochs[-1].state.params, X, target=Y, loss=loss).assert_ok()
    return float(epochs[0].loss), float(epochs[-1].loss)


def test_embeddings_are_trained() -> None:
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 3, (20, 3))
    X = tuple(rng.normal(size=(20, 4)) * 0.3 + np.eye(3, 4)[k] for k in kinds.T)
    tower = nn.serial(nn.dense(6), nn.tanh(), nn.dense(2))
    before, after = last_loss(nn.shared(tower), nn.losses.contrastive(), ((4,),) * 2, X[:2], kinds[:, 0] == kinds[:, 1])
    assert after < before / 3
    positives = np.eye(3, 4)[kinds[:, 0]]
    negatives = np.eye(3, 4)[(kinds[:, 0] + 1) % 3]
    X = X[0], positives, negatives
    before, after = last_loss(nn.shared(tower), nn.losses.triplet(), ((4,),) * 3, X, np.zeros(20))
    assert after < before / 3


def test_means_and_variances_are_trained() -> None:
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (40, 1))
    Y = X + rng.normal(size=(40, 1)) * np.where(X > 0, 1, 0.1)
    model = nn.branch(mean=nn.dense(1), log_variance=nn.dense(1))
    before, after = last_loss(model, nn.losses.gaussian(), (1,), X, Y)
    assert after < before - 0.3


def test_sequences_are_trained() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(1, 4, (20, 3))
    labels[::2, 2] = -1
    X = np.repeat(np.eye(4)[np.maximum(labels, 0)], 3, axis=1) + rng.normal(size=(20, 9, 4)) * 0.1
    frames = np.where(labels[:, 2] < 0, 6, 9)
    before, after = last_loss(nn.dense(4), nn.losses.ctc(), (9, 4), X, (labels, frames))
    assert after < before / 3


def test_embeddings_of_stacks_and_combined_losses() -> None:
    rng = np.random.default_rng(0)
    X, same = tuple(rng.normal(size=(2, 6, 4))), rng.integers(0, 2, 6)
    model = nn.branch(pair=nn.shared(nn.dense(2)), mean=nn.serial(nn.concatenate(), nn.dense(1)))
    loss = nn.losses.combined(nn.losses.contrastive(), nn.mean_squared_error)
    step = nn.train_step(model, loss, nn.adam(0.1))
    Y = same, rng.normal(size=(6, 1))
    stack = nn.train_state(model, step.optimizer, (nn.key(0), nn.key(1)), ((4,), (4,)), dtype=np.float64)
    moved, metrics = step(stack, (X, Y))
    for k in range(2):
        ts = nn.train_state(model, step.optimizer, nn.key(k), ((4,), (4,)), dtype=np.float64)
        own, own_metrics = step(ts, (X, Y))
        np.testing.assert_allclose(moved.params.vector[k], own.params.vector, rtol=1e-10)
        assert np.asarray(metrics.loss)[k] == pytest.approx(own_metrics.loss)


# -- errors ------------------------------------------------------------------------------------------------------------


def test_wrong_outputs_and_targets_are_refused() -> None:
    y, z = np.zeros((2, 3)), np.zeros((2, 4, 3))
    losses = nn.losses
    cases: list[tuple[nn.Loss, Any, Any, str]] = [
        (losses.contrastive(), y, [0, 1], "y is one array, but contrastive.* takes a tuple of 2"),
        (losses.triplet(), (y, y), [0, 1], "a tuple of 2, but triplet"),
        (losses.contrastive(), (y, y[:, :2]), [0, 1], "equal ones"),
        (losses.contrastive(), (y, y), [0, 2], "target contains 2"),
        (losses.kl_divergence, y + 0.5, np.eye(2, 3), "log_softmax"),
        (losses.ctc(), y, [[1], [1]], "examples, positions, outputs"),
        (losses.ctc(), z, [1, 1], "padded with −1"),
        (losses.ctc(), z, np.array([[1, -1, 1], [1, 1, 1]]), "only after the last"),
        (losses.ctc(), z, np.array([[1, 3], [1, 1]]), "target contains 3"),
        (losses.ctc(), z, np.array([[1, 0], [1, 1]]), "has it among its labels"),
        (losses.ctc(5), z, np.array([[1], [1]]), "blank=5, but y has classes from 0 to 2"),
        (losses.ctc(), z, (np.array([[1], [1]]), np.array([1, 5])), "from 1 to the 4 positions"),
    ]
    for loss, outputs, target, says in cases:
        with pytest.raises((ValueError, TypeError), match=says):
            loss.forward(outputs, target)
    for model, loss in (
        (nn.serial(nn.dense(2), nn.sigmoid()), losses.focal()),
        (nn.serial(nn.dense(2), nn.softmax()), losses.ctc()),
    ):
        with pytest.raises(ValueError, match="applies it again: end the model with its logits"):
            nn.train_step(model, loss, nn.gd())
    makes: list[Callable[[], nn.Loss]] = [
        lambda: losses.focal(-1), lambda: losses.focal(alpha=1.0), lambda: losses.multi_class_hinge(-1),
        lambda: losses.contrastive(0), lambda: losses.triplet(-1), lambda: losses.ctc(-1),
    ]  # fmt: skip
    for make in makes:
        with pytest.raises(ValueError, match="expected a"):
            make()


def test_a_path_that_does_not_exist_is_said_in_training() -> None:
    model = nn.dense(3)
    step = nn.train_step(model, nn.losses.ctc(), nn.gd(0.1))
    ts = nn.train_state(model, step.optimizer, nn.key(0), (2, 4))
    X, Y = np.ones((2, 2, 4), np.float32), np.array([[1, 1], [1, 2]])
    with pytest.raises(nn.NonFiniteError):
        step(ts, (X, Y))
    moved, metrics = step(ts, (X, Y, np.array([0.0, 1.0])))
    alone, _ = step(ts, (X[1:], Y[1:]))
    assert math.isfinite(metrics.loss)
    assert nn.arrays.allclose(moved.params, alone.params, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [3, 1000])  # one call computes few, several calls compute many
def test_log_1_plus_exp_for_few_and_many_numbers(size: int, dtype: type[np.floating]) -> None:
    x = np.linspace(-30, 30, size).astype(dtype)
    np.testing.assert_allclose(log1pexp(x), np.logaddexp(x.astype(np.float64), 0), 4 * float(np.finfo(dtype).eps))
    assert log1pexp(x).dtype == dtype
    edges = np.resize(np.array([-np.inf, -1000, 1000, np.inf], dtype), size + 1)
    np.testing.assert_array_equal(log1pexp(edges), np.maximum(edges, 0))
    with np.errstate(invalid="ignore"):
        assert np.isnan(log1pexp(np.full(size, np.nan, dtype))).all()


@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_sums_of_columns_of_any_number_of_axes(shape: list[int]) -> None:
    a = np.arange(float(np.prod(shape))).reshape(shape)
    np.testing.assert_allclose(sum_of_columns(a), a.sum(axis=-1), 1e-12)
    np.testing.assert_allclose(sum_of_columns(a.T), a.T.sum(axis=-1), 1e-12)
