"""Gated linear units and the trained slope: compared with PyTorch and the formula, and which half is the gate."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc.arrays import Array
from nnfunc.core.layer import Layer
from nnfunc.layout import Shape
from tests.catalogue import cotangents, randomized, reals

GATED = {"glu": nn.glu(), "swiglu": nn.swiglu(), "geglu": nn.geglu(), "geglu tanh": nn.geglu(approximate=True)}
shapes = st.sampled_from([(2,), (6,), (3, 4), (2, 3, 4)])


def run(layer: Layer, x: Array, dy: Array | None = None, seed: int = 0) -> tuple[Array, Array, Any]:
    params, state = layer.init(nn.key(0), x.shape[1:], x.dtype)
    params = randomized(params, seed).astype(x.dtype) if params else params
    y, cache, _ = layer.forward(params, state, x)
    dx, grads = layer.backward(params, cache, np.ones_like(y) if dy is None else dy)
    assert dx is not None
    return y, dx, (params, grads)


@pytest.mark.parametrize("name", GATED)
@given(shape=shapes, data=st.data())
def test_values_and_gradients_are_those_of_pytorch(name: str, shape: Shape, data: st.DataObject) -> None:
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    x = data.draw(reals((3, *shape)))
    dy = data.draw(cotangents((3, *shape[:-1], shape[-1] // 2)))
    y, dx, _ = run(GATED[name], x, dy)
    leaf = torch.tensor(x, requires_grad=True)
    first, second = leaf.chunk(2, -1)
    theirs = {
        "glu": lambda: F.glu(leaf, -1),
        "swiglu": lambda: F.silu(first) * second,
        "geglu": lambda: F.gelu(first) * second,
        "geglu tanh": lambda: F.gelu(first, approximate="tanh") * second,
    }[name]()
    theirs.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, theirs.detach().numpy(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(dx, leaf.grad.numpy(), rtol=1e-11, atol=1e-13)


@given(shape=shapes, data=st.data(), seed=st.integers(0, 1000))
def test_a_trained_slope_is_that_of_pytorch(shape: Shape, data: st.DataObject, seed: int) -> None:
    torch = pytest.importorskip("torch")
    x, dy = data.draw(reals((3, *shape))), data.draw(cotangents((3, *shape)))
    y, dx, (params, grads) = run(nn.prelu(), x, dy, seed)
    leaf, slope = torch.tensor(x, requires_grad=True), torch.tensor(params["slope"], requires_grad=True)
    rows = torch.nn.functional.prelu(leaf.reshape(-1, shape[-1]), slope)
    rows.backward(torch.tensor(dy).reshape(rows.shape))
    np.testing.assert_allclose(y, rows.detach().numpy().reshape(x.shape), rtol=1e-12)
    np.testing.assert_allclose(dx, leaf.grad.numpy(), rtol=1e-12)
    np.testing.assert_allclose(grads["slope"], slope.grad.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", GATED)
@given(data=st.data())
def test_a_gate_is_an_activation_and_a_product(name: str, data: st.DataObject) -> None:
    activation = {"glu": nn.sigmoid(), "swiglu": nn.silu(), "geglu": nn.gelu(), "geglu tanh": nn.gelu(True)}[name]
    x = data.draw(reals((3, 6)))
    gate, value = (x[:, 3:], x[:, :3]) if name == "glu" else (x[:, :3], x[:, 3:])
    np.testing.assert_array_equal(run(GATED[name], x)[0], run(activation, gate)[0] * value)


@pytest.mark.parametrize("name", [*GATED, "prelu"])
@given(shape=shapes, shared=st.booleans(), data=st.data(), seed=st.integers(0, 1000))
def test_a_stack_is_its_members(name: str, shape: Shape, shared: bool, data: st.DataObject, seed: int) -> None:
    layer, K = (GATED | {"prelu": nn.prelu()})[name], 3
    model = nn.serial(nn.dense(2 * shape[-1]), layer, nn.dense(2))
    members = [model.init(nn.key(i), shape, np.float64)[0] for i in range(K)]
    members = [randomized(p, seed + i) for i, p in enumerate(members)]
    x = data.draw(reals((2, *shape) if shared else (K, 2, *shape)))
    params = nn.stack(members)
    y, cache, _ = model.forward(params, nn.arrays.EMPTY, x if shared else nn.stacks.per_member(x))
    dy = data.draw(cotangents(y.shape))
    dx, grads = model.backward(params, cache, dy)
    assert dx is not None
    for i, p in enumerate(members):
        yi, ci, _ = model.forward(p, nn.arrays.EMPTY, x if shared else x[i])
        dxi, gi = model.backward(p, ci, dy[i])
        np.testing.assert_allclose(y[i], yi, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(dx[i], dxi, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(nn.unstack(grads)[i].vector, gi.vector, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", [*GATED, "prelu"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extremes_are_finite_and_the_dtype_stays(name: str, dtype: type[np.floating]) -> None:
    extremes = np.array([-1e15, -1000, -100, -1, 0, 1, 100, 1000, 1e15], dtype)
    gate = np.repeat(extremes, 2).reshape(-1, 2)
    x = np.concatenate([gate, np.ones_like(gate)] if name != "glu" else [np.ones_like(gate), gate], axis=-1)
    y, dx, (_, grads) = run((GATED | {"prelu": nn.prelu()})[name], x)
    assert y.dtype == dx.dtype == dtype
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()
    assert np.isfinite(grads.vector).all()


def test_the_slope_begins_as_told_is_trained_and_not_decayed() -> None:
    layer = nn.prelu(initial=-0.5)
    params, _ = layer.init(nn.key(0), (4, 3))
    assert np.array_equal(params["slope"], np.full(3, -0.5, np.float32))
    model = nn.serial(nn.dense(3), layer)
    params, _ = model.init(nn.key(0), (3,))
    assert [k for k, g in nn.l2(1.0).backward(params, 1).items() if g.any()] == ["dense1.W"]
    x = np.random.default_rng(0).normal(size=(64, 1)).astype(np.float32)
    step = nn.train_step(nn.prelu(), nn.mean_squared_error, nn.adam(0.05))
    ts = nn.train_state(step.model, step.optimizer, nn.key(0), (1,))
    for _ in range(200):
        ts, _ = step(ts, (x, np.where(x > 0, x, 0.7 * x)))
    np.testing.assert_allclose(ts.params["slope"], 0.7, atol=1e-3)


@pytest.mark.parametrize("name", GATED)
def test_an_odd_number_of_features_is_refused(name: str) -> None:
    for shape in ((3,), (4, 1)):
        with pytest.raises(ValueError, match=r"features, an odd number.*nn\.dense\(2 \* n\)"):
            GATED[name].init(nn.key(0), shape)
    with pytest.raises(ValueError, match=r"glu1: .*5 features, an odd number"):
        nn.serial(nn.dense(5), nn.relu(), GATED[name]).init(nn.key(0), (2,))
    with pytest.raises(TypeError, match="one array"):
        GATED[name].init(nn.key(0), ((4,), (4,)))


def test_arguments() -> None:
    with pytest.raises(ValueError, match="initial="):
        nn.prelu(np.inf)
    with pytest.raises(ValueError, match="approximate="):
        nn.geglu("erf")


@pytest.mark.parametrize("layer", [*GATED.values(), nn.prelu(0.1)], ids=repr)
def test_files_and_pickles(layer: Layer, tmp_path: Any) -> None:
    assert pickle.loads(pickle.dumps(layer)) == layer
    model = nn.serial(nn.dense(4), layer, nn.dense(1))
    ts = nn.train_state(model, nn.gd(0.1), nn.key(0), (2,))
    nn.save(tmp_path / "model.npz", ts, model=model)
    assert nn.load(tmp_path / "model.npz").model == model
