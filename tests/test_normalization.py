"""Norms: mean axes, compared with PyTorch and the formula; images, sequences, stacks, large means in float32."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc.arrays import Array, ArrayDict
from nnfunc.core.layer import Layer
from nnfunc.layout import Shape
from tests.catalogue import cotangents, randomized

GROUPED = {"group 1": nn.group_norm(1), "group 2": nn.group_norm(2), "group 4": nn.group_norm(4),
           "instance": nn.instance_norm()}  # fmt: skip
NORMS = {**GROUPED, "batch": nn.batch_norm(), "layer": nn.layer_norm(), "rms": nn.rms_norm()}
SHAPES: list[Shape] = [(6, 4), (3, 5, 4), (2, 2, 3, 4)]

layouts = st.sampled_from(SHAPES)
seeds = st.integers(0, 2**32 - 1)


def made(layer: Layer, shape: Shape, seed: int, dtype: Any = np.float64) -> tuple[ArrayDict, ArrayDict, Array]:
    params, state = layer.init(nn.key(seed), shape, dtype)
    return randomized(params, seed), state, np.random.default_rng(seed).normal(size=(5, *shape)).astype(dtype)


def by_hand(name: str, x: Array, eps: float = 1e-5) -> Array:
    """x̂ with every mean written out as the axes that it is over."""
    if name == "batch":
        axes, shape = tuple(range(x.ndim - 1)), x.shape
    elif name in ("layer", "rms"):
        axes, shape = (-1,), x.shape
    else:
        groups = x.shape[-1] if name == "instance" else int(name.split()[1])
        shape = (*x.shape[:-1], groups, x.shape[-1] // groups)
        axes = (*range(1, x.ndim - 1), -1)
    grouped = x.reshape(shape)
    mean, var = grouped.mean(axis=axes, keepdims=True), grouped.var(axis=axes, keepdims=True)
    if name == "rms":
        mean, var, eps = np.zeros(1), (x * x).mean(axis=axes, keepdims=True), 1e-6
    y: Array = (grouped - mean) / np.sqrt(var + eps)
    return y.reshape(x.shape)


@pytest.mark.parametrize("name", NORMS)
@given(shape=layouts, seed=seeds)
def test_the_formula(name: str, shape: Shape, seed: int) -> None:
    layer = NORMS[name]
    params, state, x = made(layer, shape, seed)
    y, _, _ = layer.forward(params, state, x, train=True)
    expected = by_hand(name, x) * params["gamma"] + params.get("beta", 0.0)
    np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NORMS)
@given(shape=layouts, seed=seeds)
def test_all_gradients(name: str, shape: Shape, seed: int) -> None:
    layer = NORMS[name]
    params, state, x = made(layer, shape, seed)
    nn.check_model(layer, params, x, state=state, key=nn.key(0), train=True).assert_ok()


@pytest.mark.parametrize("name", [*GROUPED, "rms"])
@given(shape=layouts, data=st.data(), seed=seeds)
def test_values_and_gradients_are_those_of_pytorch(name: str, shape: Shape, data: st.DataObject, seed: int) -> None:
    torch = pytest.importorskip("torch")
    layer = NORMS[name]
    params, state, x = made(layer, shape, seed)
    dy = data.draw(cotangents(x.shape))
    ours, cache, _ = layer.forward(params, state, x, train=True)
    dx, grads = layer.backward(params, cache, dy)

    features, axes = shape[-1], len(shape)
    instance = {2: torch.nn.InstanceNorm1d, 3: torch.nn.InstanceNorm2d, 4: torch.nn.InstanceNorm3d}[axes]
    module = {
        "rms": lambda: torch.nn.RMSNorm(features, eps=1e-6),
        "instance": lambda: instance(features, affine=True),
    }.get(name, lambda: torch.nn.GroupNorm(layer.settings["groups"], features))().double()

    def first(a: Any) -> Any:
        return a if name == "rms" else torch.moveaxis(a, -1, 1)

    with torch.no_grad():
        module.weight.copy_(torch.tensor(params["gamma"]))
        if "beta" in params:
            module.bias.copy_(torch.tensor(params["beta"]))
    leaf = torch.tensor(x, requires_grad=True)
    theirs = module(first(leaf))
    theirs.backward(first(torch.tensor(dy)))
    np.testing.assert_allclose(ours, first_last(theirs.detach().numpy(), name), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(dx, leaf.grad.numpy(), rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(grads["gamma"], module.weight.grad.numpy(), rtol=1e-8, atol=1e-11)
    if "beta" in params:
        np.testing.assert_allclose(grads["beta"], module.bias.grad.numpy(), rtol=1e-8, atol=1e-11)


def first_last(a: Array, name: str) -> Array:
    """PyTorch's channels as the last axis."""
    return a if name == "rms" else np.moveaxis(a, 1, -1)


@given(shape=layouts, momentum=st.floats(0, 1), data=st.data(), seed=seeds)
def test_every_position_is_a_row_of_a_batch_norm(shape: Shape, momentum: float, data: st.DataObject, seed: int) -> None:
    layer = nn.batch_norm(momentum=momentum)
    params, state, x = made(layer, shape, seed)
    dy = data.draw(cotangents(x.shape))
    y, cache, moved = layer.forward(params, state, x, train=True)
    dx, grads = layer.backward(params, cache, dy)
    rows = x.reshape(-1, shape[-1])
    y_of_rows, cache_of_rows, moved_by_rows = layer.forward(params, state, rows, train=True)
    dx_of_rows, grads_of_rows = layer.backward(params, cache_of_rows, dy.reshape(rows.shape))
    assert dx is not None
    assert dx_of_rows is not None
    np.testing.assert_array_equal(y, y_of_rows.reshape(x.shape))
    np.testing.assert_array_equal(dx, dx_of_rows.reshape(x.shape))
    assert nn.arrays.equal(grads, grads_of_rows)
    assert nn.arrays.equal(moved, moved_by_rows)
    np.testing.assert_allclose(moved["mean"], (1 - momentum) * rows.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(moved["var"], momentum + (1 - momentum) * rows.var(axis=0), atol=1e-12)
    predicted, _, still = layer.forward(params, moved, x)
    by_averages = (x - moved["mean"]) / np.sqrt(moved["var"] + 1e-5) * params["gamma"] + params["beta"]
    np.testing.assert_allclose(predicted, by_averages, atol=1e-10)
    assert nn.arrays.equal(still, moved)


@pytest.mark.parametrize("name", NORMS)
@given(shape=layouts, train=st.booleans(), shared=st.booleans(), data=st.data(), seed=st.integers(0, 1000))
def test_a_stack_is_its_members(
    name: str, shape: Shape, train: bool, shared: bool, data: st.DataObject, seed: int
) -> None:
    layer, K = NORMS[name], 3
    members = [made(layer, shape, seed + i) for i in range(K)]
    params, state = nn.stack([p for p, _, _ in members]), nn.stack([s for _, s, _ in members])
    x = members[0][2] if shared else np.stack([x for _, _, x in members])
    y, cache, moved = layer.forward(params, state, x if shared else nn.stacks.per_member(x), train=train)
    dy = data.draw(cotangents(y.shape))
    dx, grads = layer.backward(params, cache, dy)
    assert dx is not None
    for i, (p, s, _) in enumerate(members):
        yi, ci, si = layer.forward(p, s, x if shared else x[i], train=train)
        dxi, gi = layer.backward(p, ci, dy[i])
        np.testing.assert_allclose(y[i], yi, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(dx[i], dxi, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(nn.unstack(grads)[i].vector, gi.vector, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(nn.unstack(moved)[i].vector, si.vector, rtol=1e-12)


@pytest.mark.parametrize("name", sorted(NORMS.keys() - {"rms"}))
@given(shape=layouts, mean=st.sampled_from([1e4, -1e4]), seed=seeds)
def test_a_large_mean_costs_no_digits(name: str, shape: Shape, mean: float, seed: int) -> None:
    """E[x²] − E[x]² in float32 would be off by 8 and more here: 1e8 has a last digit of 8."""
    layer = NORMS[name]
    params, state, noise = made(layer, shape, seed, np.float32)
    x = (noise + np.float32(mean)).astype(np.float32)
    y, cache, moved = layer.forward(params, state, x, train=True)
    assert y.dtype == np.float32
    expected = by_hand(name, x.astype(np.float64)) * params["gamma"] + params["beta"]
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4 * max(1.0, abs(expected).max()))
    dx, grads = layer.backward(params, cache, noise)
    assert dx is not None
    assert dx.dtype == grads.dtype == np.float32
    if name == "batch":
        np.testing.assert_allclose(moved["var"], 0.9 + 0.1 * x.astype(float).var(axis=(*range(x.ndim - 1),)), rtol=1e-5)


@pytest.mark.parametrize("name", NORMS)
def test_equal_values_are_exactly_0_and_their_gradient_finite(name: str) -> None:
    layer, x = NORMS[name], np.full((5, 3, 4), 1 / 3, np.float32)
    params, state = layer.init(nn.key(0), (3, 4))
    y, cache, _ = layer.forward(params, state, x, train=True)
    dx, grads = layer.backward(params, cache, np.random.default_rng(0).normal(size=x.shape).astype(np.float32))
    assert dx is not None
    assert np.isfinite(dx).all()
    assert np.isfinite(grads.vector).all()
    if name != "rms":
        assert not y.any()
        assert not grads["gamma"].any()


@given(shape=layouts, seed=seeds)
def test_one_group_of_one_position_is_a_layer_norm_and_groups_of_one_feature_are_instances(
    shape: Shape, seed: int
) -> None:
    def outputs(layer: Layer, shape: Shape) -> Array:
        params, state, x = made(layer, shape, seed)
        y: Array = layer.forward(params, state, x)[0]
        return y

    np.testing.assert_allclose(outputs(nn.group_norm(1), (4,)), outputs(nn.layer_norm(), (4,)), atol=1e-12)
    np.testing.assert_allclose(outputs(nn.group_norm(4), shape), outputs(nn.instance_norm(), shape), atol=1e-12)


@given(shape=layouts, factor=st.floats(0.5, 100), shift=st.floats(-10, 10), seed=seeds)
def test_scale_and_shift_of_the_input_do_not_matter(shape: Shape, factor: float, shift: float, seed: int) -> None:
    for layer in (nn.group_norm(2, eps=1e-12), nn.instance_norm(eps=1e-12), nn.rms_norm(eps=1e-12)):
        params, state, x = made(layer, shape, seed)
        moved = factor * x if layer.name == "rms_norm" else factor * x + shift
        y, z = layer.forward(params, state, x)[0], layer.forward(params, state, moved)[0]
        np.testing.assert_allclose(y, z, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [*GROUPED, "rms"])
def test_an_example_depends_on_itself_alone(name: str) -> None:
    layer = NORMS[name]
    params, state, x = made(layer, (3, 4), 0)
    y, _, _ = layer.forward(params, state, x, train=True)
    for i in range(len(x)):
        np.testing.assert_allclose(y[i : i + 1], layer.forward(params, state, x[i : i + 1], train=True)[0], atol=1e-14)


@pytest.mark.parametrize("name", [*GROUPED, "rms"])
@pytest.mark.parametrize("need", [True, False])
def test_a_gradient_that_is_not_asked_for(name: str, need: bool) -> None:
    layer = NORMS[name]
    params, state, x = made(layer, (3, 4), 0)
    _, cache, _ = layer.forward(params, state, x)
    dx, grads = layer.backward(params, cache, x)
    alone, none = layer.backward(params, cache, x, need_grads=False)
    np.testing.assert_array_equal(alone, dx)
    assert not none
    assert nn.arrays.equal(layer.backward(params, cache, x, need_dx=False)[1], grads)
    beta_frozen = nn.freeze(layer, "beta") if "beta" in params else layer
    p, s = beta_frozen.init(nn.key(0), (3, 4), np.float64)
    _, cache, _ = beta_frozen.forward(p, s, x)
    assert list(beta_frozen.backward(p, cache, x, need_dx=need)[1]) == ["gamma"]


@pytest.mark.parametrize("name", NORMS)
def test_gamma_and_beta_are_not_decayed(name: str) -> None:
    params, _ = nn.serial(nn.dense(4), NORMS[name]).init(nn.key(0), (3, 4))
    grads = nn.l2(1.0).backward(randomized(params, 0), 1)
    assert [k for k in grads if grads[k].any()] == ["dense1.W"]


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (nn.group_norm(3), (5, 4), r"groups=3 does not divide the 4 features of an example of shape \(5, 4\)"),
        (nn.group_norm(4), (4,), "each mean would be of one value"),
        (nn.instance_norm(), (4,), "each mean would be of one value"),
        (nn.instance_norm(), (1, 1, 4), "expected several positions"),
        (nn.rms_norm(), (), "has no features"),
    ],
)
def test_what_has_no_norm(layer: Layer, shape: Shape, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layer.init(nn.key(0), shape)


def test_parameters_of_another_length() -> None:
    layer, wrong = nn.group_norm(2), ArrayDict({"gamma": np.ones(3), "beta": np.ones(3)})
    with pytest.raises(ValueError, match=r"gamma \(3,\), beta \(3,\), expected gamma \(inputs,\) and beta \(inputs,\)"):
        layer.forward(wrong, nn.arrays.EMPTY, np.ones((2, 3, 4)))


def test_arguments() -> None:
    for groups in (0, 1.5, True):
        with pytest.raises(ValueError, match="groups="):
            nn.group_norm(groups)  # type: ignore[arg-type]  # what must fail
    for make in (nn.instance_norm, nn.rms_norm):
        for eps in (0, -1.0, math.inf):
            with pytest.raises(ValueError, match="eps="):
                make(eps)
    with pytest.raises(TypeError, match="one array"):
        nn.instance_norm().init(nn.key(0), ((3, 2), (3, 2)))


@pytest.mark.parametrize("name", [*GROUPED, "rms"])
def test_files_and_a_network_that_learns(name: str, tmp_path: Any) -> None:
    model = nn.serial(nn.conv1d(4, 3, padding="same"), NORMS[name], nn.relu(), nn.flatten(), nn.dense(2), nn.softmax())
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 6, 2)).astype(np.float32)
    target = (x[:, 0, 0] > x[:, 5, 1]).astype(int)
    step = nn.train_step(model, nn.sparse_categorical_cross_entropy, nn.adam(0.02))
    ts = nn.train_state(model, step.optimizer, nn.key(0), (6, 2))
    for _ in range(60):
        ts, metrics = step(ts, (x, target))
    assert metrics.loss < 0.3
    nn.save(tmp_path / "model.npz", ts, model=model)
    again, same = nn.load(tmp_path / "model.npz")
    assert same == model
    assert nn.arrays.equal(again.params, ts.params)
