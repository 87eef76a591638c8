"""Values and gradients against PyTorch, updates against PyTorch and Optax, where they are installed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import nnfunc as nn
from nnfunc.arrays import Array, ArrayDict

rng = np.random.default_rng(0)
X = np.round(rng.normal(size=(6, 5)) * 4) / 4  # with exact zeros: the kinks' conventions are compared too
TARGETS = {
    "bits": rng.integers(0, 2, size=(6, 5)).astype(float),
    "classes": rng.integers(0, 5, size=6),
    "reals": X[::-1],
}
WEIGHTS = rng.uniform(0.5, 2, size=6)

ACTIVATIONS: dict[str, tuple[nn.Layer, str, dict[str, Any]]] = {
    "elu": (nn.elu(0.7), "elu", {"alpha": 0.7}),
    "gelu": (nn.gelu(), "gelu", {}),
    "gelu_tanh": (nn.gelu(approximate="tanh"), "gelu", {"approximate": "tanh"}),
    "hard_sigmoid": (nn.hard_sigmoid(), "hardsigmoid", {}),
    "hard_swish": (nn.hard_swish(), "hardswish", {}),
    "hard_tanh": (nn.hard_tanh(), "hardtanh", {}),
    "log_softmax": (nn.log_softmax(), "log_softmax", {"dim": -1}),
    "mish": (nn.mish(), "mish", {}),
    "relu6": (nn.relu6(), "relu6", {}),
    "softsign": (nn.softsign(), "softsign", {}),
    "leaky_relu": (nn.leaky_relu(0.2), "leaky_relu", {"negative_slope": 0.2}),
    "relu": (nn.relu(), "relu", {}),
    "selu": (nn.selu(), "selu", {}),
    "sigmoid": (nn.sigmoid(), "sigmoid", {}),
    "silu": (nn.silu(), "silu", {}),
    "softmax": (nn.softmax(), "softmax", {"dim": -1}),
    "softplus": (nn.softplus(), "softplus", {}),
    "tanh": (nn.tanh(), "tanh", {}),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str) -> None:
    torch = pytest.importorskip("torch")
    layer, theirs, hyper = ACTIVATIONS[name]
    function = getattr(torch.nn.functional, theirs, None) or getattr(torch, theirs)
    x = torch.tensor(X, requires_grad=True)
    expected = function(x, **hyper)
    dy = rng.normal(size=X.shape)
    expected.backward(torch.tensor(dy))
    y, cache, _ = layer.forward(nn.arrays.EMPTY, nn.arrays.EMPTY, X)
    dx, _ = layer.backward(nn.arrays.EMPTY, cache, dy)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-12, atol=1e-14)
    assert dx is not None
    rtol = 1e-7 if name == "hard_sigmoid" else 1e-10  # PyTorch's 1/6 is rounded to float32 there
    np.testing.assert_allclose(dx, x.grad.numpy(), rtol=rtol, atol=1e-12)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("name", ["batch_norm", "layer_norm"])
def test_normalization(name: str, train: bool) -> None:
    torch = pytest.importorskip("torch")
    layer = {"batch_norm": nn.batch_norm(), "layer_norm": nn.layer_norm()}[name]
    module = {"batch_norm": torch.nn.BatchNorm1d(5), "layer_norm": torch.nn.LayerNorm(5)}[name].double().train(train)
    params, state = layer.init(nn.key(0), (5,), np.float64)
    params = params.with_vector(rng.normal(size=10))
    if name == "batch_norm":
        state = state.replace(mean=rng.normal(size=5), var=rng.uniform(0.5, 2, size=5))
        module.running_mean.copy_(torch.tensor(state["mean"].copy()))
        module.running_var.copy_(torch.tensor(state["var"].copy()))
    with torch.no_grad():
        module.weight.copy_(torch.tensor(params["gamma"].copy()))
        module.bias.copy_(torch.tensor(params["beta"].copy()))
    x = torch.tensor(X, requires_grad=True)
    dy = rng.normal(size=X.shape)
    expected = module(x)
    expected.backward(torch.tensor(dy))
    y, cache, new = layer.forward(params, state, X, train=train)
    dx, grads = layer.backward(params, cache, dy)
    assert dx is not None
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(dx, x.grad.numpy(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(grads["gamma"], module.weight.grad.numpy(), rtol=1e-9)
    np.testing.assert_allclose(grads["beta"], module.bias.grad.numpy(), rtol=1e-9)
    if name == "batch_norm":
        np.testing.assert_allclose(new["mean"], module.running_mean.numpy(), rtol=1e-12)
        if not train:  # in training PyTorch's running variance is the unbiased one, ours the biased
            np.testing.assert_allclose(new["var"], module.running_var.numpy(), rtol=1e-12)


def torch_losses(torch: Any) -> dict[str, tuple[nn.Loss, Callable[[Any, Any, Any], Any], str]]:
    """Ours, theirs as a function of (output, target, weights), the kind of target."""
    F = torch.nn.functional

    def mean(per_example: Any, w: Any) -> Any:
        return (per_example * w).sum() / w.sum()

    return {
        "bce": (
            nn.binary_cross_entropy_with_logits,
            lambda y, t, w: mean(F.binary_cross_entropy_with_logits(y, t, reduction="none").sum(-1), w),
            "bits",
        ),
        "cross_entropy": (
            nn.sparse_categorical_cross_entropy_with_logits,
            lambda y, t, w: mean(F.cross_entropy(y, t, reduction="none"), w),
            "classes",
        ),
        "mse": (
            nn.mean_squared_error,
            lambda y, t, w: mean(F.mse_loss(y, t, reduction="none").mean(-1), w),
            "reals",
        ),
        "mae": (nn.mean_absolute_error, lambda y, t, w: mean(F.l1_loss(y, t, reduction="none").mean(-1), w), "reals"),
        "huber": (
            nn.huber(0.75),
            lambda y, t, w: mean(F.huber_loss(y, t, reduction="none", delta=0.75).mean(-1), w),
            "reals",
        ),
        "log_cosh": (nn.losses.log_cosh, lambda y, t, w: mean(torch.log(torch.cosh(y - t)).mean(-1), w), "reals"),
        "poisson": (
            nn.losses.poisson,
            lambda y, t, w: mean(F.poisson_nll_loss(y, t, log_input=True, reduction="none").mean(-1), w),
            "reals",
        ),
        "quantile": (
            nn.losses.quantile(0.3),
            lambda y, t, w: mean((0.3 * F.relu(t - y) + 0.7 * F.relu(y - t)).mean(-1), w),
            "reals",
        ),
        "hinge": (nn.losses.hinge, lambda y, t, w: mean(F.relu(1 - (2 * t - 1) * y).sum(-1), w), "bits"),
    }


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "name", ["bce", "cross_entropy", "mse", "mae", "huber", "log_cosh", "poisson", "quantile", "hinge"]
)
def test_losses(name: str, weighted: bool) -> None:
    torch = pytest.importorskip("torch")
    loss, theirs, kind = torch_losses(torch)[name]
    y = torch.tensor(X, requires_grad=True)
    weights = WEIGHTS if weighted else np.ones(6)
    expected = theirs(y, torch.tensor(TARGETS[kind].copy()), torch.tensor(weights))
    expected.backward()
    value, cache = loss.forward(X, TARGETS[kind], WEIGHTS if weighted else None)
    assert value == pytest.approx(expected.item(), rel=1e-12)
    np.testing.assert_allclose(loss.backward(cache), y.grad.numpy(), rtol=1e-10, atol=1e-14)


def test_class_weights() -> None:
    torch = pytest.importorskip("torch")
    w = np.array([1.0, 2.0, 0.5, 3.0, 0.0])
    expected = torch.nn.functional.cross_entropy(torch.tensor(X), torch.tensor(TARGETS["classes"]), torch.tensor(w))
    for loss, target in (
        (nn.sparse_categorical_cross_entropy_with_logits, TARGETS["classes"]),
        (nn.categorical_cross_entropy_with_logits, np.eye(5)[TARGETS["classes"]]),
    ):
        assert loss.forward(X, target, class_weights=w)[0] == pytest.approx(expected.item(), rel=1e-12)


def ours(optimizer: nn.Optimizer, w: Array, gradients: Sequence[Array]) -> list[Array]:
    params = ArrayDict({"W": w})
    opt_state, path = optimizer.init(params), []
    for g in gradients:
        params, opt_state = optimizer.step(params, {"W": g}, opt_state)
        path.append(params["W"])
    return path


GRADIENTS = [rng.normal(size=(3, 2)) for _ in range(20)]
W0 = rng.normal(size=(3, 2))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("optimizer", "name", "settings"),
    [
        (nn.gd(0.1), "SGD", {"lr": 0.1}),
        (nn.momentum(0.1, 0.8, dampening=0.0), "SGD", {"lr": 0.1, "momentum": 0.8}),
        (nn.nesterov(0.1, 0.8, dampening=0.0), "SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True}),
        (nn.adagrad(0.1, eps=1e-10, eps_root=0.0), "Adagrad", {"lr": 0.1}),
        (nn.rmsprop(0.1, 0.99, eps=1e-8, eps_root=0.0), "RMSprop", {"lr": 0.1}),
        (nn.adam(0.1, eps=1e-8, eps_root=0.0), "Adam", {"lr": 0.1}),
        (nn.adamw(0.1, eps=1e-8, eps_root=0.0, weight_decay=0.3), "AdamW", {"lr": 0.1, "weight_decay": 0.3}),
        (nn.optimizers.adadelta(0.7, 0.8), "Adadelta", {"lr": 0.7, "rho": 0.8}),
        (nn.optimizers.adamax(0.1), "Adamax", {"lr": 0.1}),
        (nn.optimizers.amsgrad(0.1, eps=1e-3, eps_root=0.0), "Adam", {"lr": 0.1, "eps": 1e-3, "amsgrad": True}),
        (nn.optimizers.nadam(0.1, eps=1e-3, eps_root=0.0), "NAdam", {"lr": 0.1, "eps": 1e-3}),
        (nn.optimizers.radam(0.1, eps=1e-14, eps_root=0.0), "RAdam", {"lr": 0.1, "eps": 1e-14}),
    ],
)
def test_optimizers_of_torch(
    optimizer: nn.Optimizer, name: str, settings: dict[str, Any], dtype: type[np.floating]
) -> None:
    torch = pytest.importorskip("torch")
    w = torch.tensor(W0.astype(dtype), requires_grad=True)
    theirs = getattr(torch.optim, name)([w], **settings)
    torch.set_default_dtype(torch.float64)  # NAdam's product of momenta has this
    try:
        for g, mine in zip(GRADIENTS, ours(optimizer, W0.astype(dtype), GRADIENTS), strict=True):
            w.grad = torch.tensor(g.astype(dtype))
            theirs.step()
            np.testing.assert_allclose(mine, w.detach().numpy(), rtol=1e-12 if dtype is np.float64 else 1e-4)
    finally:
        torch.set_default_dtype(torch.float32)


def test_optimizers_and_schedules_of_optax() -> None:
    optax, jax = pytest.importorskip("optax"), pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    schedule, schedule_of_ours = optax.cosine_decay_schedule(0.1, 15), nn.schedules.cosine_decay(0.1, 15)
    pairs = [
        (nn.adam(0.1, eps=1e-8, eps_root=0.0), optax.adam(0.1, eps=1e-8)),
        (nn.adam(0.1, eps=0.0, eps_root=1e-8), optax.adam(0.1, eps=0.0, eps_root=1e-8)),
        (nn.adam(schedule_of_ours, eps=1e-8, eps_root=0.0), optax.adam(schedule, eps=1e-8)),
        (nn.rmsprop(0.1, 0.9), optax.rmsprop(0.1, 0.9, eps=1e-8, eps_in_sqrt=True)),
        (nn.momentum(0.1, dampening=0.0), optax.sgd(0.1, 0.9)),
        (nn.nesterov(0.1, dampening=0.0), optax.sgd(0.1, 0.9, nesterov=True)),
        (
            nn.clip_by_global_norm(nn.gd(0.1), 1.0),
            optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1)),
        ),
        (nn.optimizers.adadelta(0.7, 0.8), optax.adadelta(0.7, 0.8)),
        (nn.optimizers.adamax(0.1), optax.adamax(0.1)),
        (nn.optimizers.lion(0.1, weight_decay=0.3), optax.lion(0.1, weight_decay=0.3)),
        (
            nn.optimizers.nadam(0.1, eps=1e-3, eps_root=1e-3, momentum_decay=None),
            optax.nadam(0.1, eps=1e-3, eps_root=1e-3),
        ),
        (
            nn.optimizers.radam(schedule_of_ours, eps=1e-3, eps_root=1e-3),
            optax.radam(schedule, eps=1e-3, eps_root=1e-3),
        ),
        (nn.optimizers.clip_by_value(nn.gd(0.1), 0.5), optax.chain(optax.clip(0.5), optax.sgd(0.1))),
    ]
    for mine, theirs in pairs:
        w, state = W0, theirs.init(W0)
        for g, expected in zip(GRADIENTS, ours(mine, W0, GRADIENTS), strict=True):
            update, state = theirs.update(g, state, w)
            w = optax.apply_updates(w, update)
            np.testing.assert_allclose(expected, w, rtol=1e-6, err_msg=repr(mine))


def test_schedules_of_optax() -> None:
    optax = pytest.importorskip("optax")
    pairs = [
        (nn.schedules.cosine_decay(0.1, 15, final=0.01), optax.cosine_decay_schedule(0.1, 15, alpha=0.1)),
        (nn.schedules.exponential_decay(0.1, 0.5, 10), optax.exponential_decay(0.1, 10, 0.5)),
        (nn.schedules.step_decay(0.1, 0.5, 10), optax.exponential_decay(0.1, 10, 0.5, staircase=True)),
        (nn.schedules.constant_schedule(0.1), optax.constant_schedule(0.1)),
    ]
    for mine, theirs in pairs:
        assert [mine(t) for t in range(40)] == pytest.approx([float(theirs(t)) for t in range(40)], rel=1e-5)


def test_a_training_run_of_torch() -> None:
    torch = pytest.importorskip("torch")
    model = nn.mlp([5, 7, 4, 3], ["relu", "tanh", "softmax"])
    step = nn.train_step(model, nn.sparse_categorical_cross_entropy, nn.adam(0.01, eps=1e-8, eps_root=0.0))
    ts = nn.train_state(model, step.optimizer, nn.key(0), (5,), np.float64)
    linear = [torch.nn.Linear(a, b).double() for a, b in ((5, 7), (7, 4), (4, 3))]
    with torch.no_grad():
        for i, module in enumerate(linear, 1):
            module.weight.copy_(torch.tensor(ts.params[f"dense{i}.W"].T.copy()))
            module.bias.copy_(torch.tensor(ts.params[f"dense{i}.b"].copy()))
    theirs = torch.nn.Sequential(linear[0], torch.nn.ReLU(), linear[1], torch.nn.Tanh(), linear[2])
    optimizer = torch.optim.Adam(theirs.parameters(), 0.01)
    data, labels = rng.normal(size=(40, 5)), rng.integers(0, 3, size=40)
    for x, y in nn.minibatches(nn.key(3), (data, labels), 7):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(y))
        loss.backward()
        optimizer.step()
        ts, metrics = step(ts, (x, y))
        assert metrics.loss == pytest.approx(loss.item(), rel=1e-10)
    np.testing.assert_allclose(ts.params["dense1.W"], linear[0].weight.detach().numpy().T, rtol=1e-9, atol=1e-12)
