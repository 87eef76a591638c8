"""The laws that hold for everything: pure, immutable, values that pickle, leading axes and stacks, dtype, extremes."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import nnfunc as nn
from nnfunc.arrays import Array, ArrayDict
from nnfunc.core.layer import Layer
from nnfunc.core.values import leaves, map_leaves
from tests.catalogue import (
    FEATURES,
    LAYERS,
    LOSSES,
    OPTIMIZERS,
    PENALTIES,
    STRUCTURED,
    exported,
    outputs_and_targets,
    randomized,
    reals,
    structured,
)


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array


def assert_immutable(d: ArrayDict) -> None:
    """No array of the dict, nor its vector, can be changed."""
    for array in [*d.values(), d.vector]:
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
        with pytest.raises(ValueError, match="read-only"):
            array += 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.setflags(write=True)
    with pytest.raises(TypeError):
        d["x"] = np.zeros(1)  # type: ignore[index]  # what must fail
    for name in d:
        if d[name].dtype.kind == "f":
            assert d[name].size == 0 or np.shares_memory(d[name], d.vector)


def run(layer: Layer, params: ArrayDict, state: ArrayDict, x: Array, train: bool, seed: int = 0) -> tuple[Any, ...]:
    y, cache, new = layer.forward(params, state, x, key=nn.key(seed), train=train)
    dy = frozen(np.random.default_rng(0).normal(size=y.shape).astype(y.dtype))
    dx, grads = layer.backward(params, cache, dy)
    return y, new, dx, grads


def test_the_catalogue_has_every_exported_optimizer() -> None:
    assert set(OPTIMIZERS) == exported("Optimizer")


# -- pure and immutable ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYERS)
@given(data=st.data())
def test_the_dicts_of_layers_are_immutable(name: str, data: st.DataObject) -> None:
    layer, train = data.draw(LAYERS[name]), data.draw(st.booleans())
    params, state = layer.init(nn.key(0), (FEATURES,), np.float64)
    assert nn.arrays.equal(layer.init(nn.key(0), (FEATURES,), np.float64)[0], params)
    _, new, _, grads = run(layer, params, state, frozen(data.draw(reals((3, FEATURES))).copy()), train)
    for d in (params, state, new, grads):
        assert_immutable(d)


@pytest.mark.parametrize("name", LOSSES)
@given(m=st.integers(1, 5), n=st.integers(1, 4), seed=st.integers(0, 100))
def test_losses_are_pure_and_weights_of_1_are_no_weights(name: str, m: int, n: int, seed: int) -> None:
    loss, *kinds = LOSSES[name]
    for dtype in (np.float32, np.float64):
        y, target = outputs_and_targets((kinds[0], kinds[1]), m, n, seed)
        y, target = frozen(y.astype(dtype)), frozen(target)
        value, cache = loss.forward(y, target)
        again, _ = loss.forward(y, target)
        weighted, weighted_cache = loss.forward(y, target, np.ones(m))
        assert value == again == weighted
        assert np.array_equal(loss.backward(cache), loss.backward(weighted_cache))
        assert np.array_equal(loss.backward(cache), loss.backward(cache))
        assert loss.backward(cache).dtype == y.dtype
        assert cache.values.shape == (m,)


@pytest.mark.parametrize("name", OPTIMIZERS)
@given(seed=st.integers(0, 100), dtype=st.sampled_from([np.float32, np.float64]))
def test_optimizers_are_pure_and_their_dicts_immutable(name: str, seed: int, dtype: type[np.floating]) -> None:
    rng = np.random.default_rng(seed)
    arrays = {"dense1.W": rng.normal(size=(2, 3)), "dense1.b": rng.normal(size=3)}
    params, grads = ArrayDict(arrays, dtype), ArrayDict({k: rng.normal(size=v.shape) for k, v in arrays.items()}, dtype)
    optimizer = OPTIMIZERS[name]
    opt_state = optimizer.init(params)
    before = copy.deepcopy((params, grads, opt_state))
    for _ in range(2):
        first, second = optimizer.step(params, grads, opt_state), optimizer.step(params, grads, opt_state)
        assert nn.arrays.equal(first[0], second[0])
        assert nn.arrays.equal(first[1], second[1])
        assert first[0].dtype == first[0].vector.dtype == dtype
        assert int(first[1]["step"]) == int(opt_state["step"]) + 1
        params, opt_state = first
        assert_immutable(params)
        assert_immutable(opt_state)
    assert all(nn.arrays.equal(a, b) for a, b in zip(before, (before[0], grads, before[2]), strict=True))


@given(seed=st.integers(0, 100))
def test_a_dict_of_gradients_is_matched_by_name_not_by_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, 2)), rng.normal(size=(2, 2))
    params = ArrayDict({"a": a, "b": b})
    for optimizer in OPTIMIZERS.values():
        forwards = optimizer.step(params, {"a": b, "b": a}, optimizer.init(params))[0]
        backwards = optimizer.step(params, ArrayDict({"b": a, "a": b}), optimizer.init(params))[0]
        assert nn.arrays.equal(forwards, backwards)


# -- values that pickle and print what they are ------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYERS)
@given(data=st.data())
def test_layers_pickle_and_print(name: str, data: st.DataObject) -> None:
    layer = data.draw(LAYERS[name])
    restored = pickle.loads(pickle.dumps(layer))
    assert layer == restored
    assert repr(layer) == repr(restored)
    assert " at 0x" not in repr(layer)


def test_losses_optimizers_penalties_pickle_and_print() -> None:
    values: list[tuple[object, ...]] = [
        *(loss for loss, _, _ in LOSSES.values()),
        *STRUCTURED.values(),
        *PENALTIES.values(),
    ]
    values += [o for name, o in OPTIMIZERS.items() if name != "optimizer"]  # its rule here is a lambda
    for value in values:
        restored = pickle.loads(pickle.dumps(value))
        assert value == restored
        assert repr(value) == repr(restored)
        assert " at 0x" not in repr(value)


def test_an_unpickled_step_takes_the_same_path() -> None:
    model = nn.mlp([3, 4, 2], ["relu", "softmax"], keep_prob=0.5, batch_norm=True)
    step = nn.train_step(model, nn.categorical_cross_entropy, nn.adam(0.1), penalty=nn.l2(0.1))
    ts = nn.train_state(model, step.optimizer, nn.key(0), (3,))
    batch = np.ones((4, 3)), np.eye(2)[[0, 1, 0, 1]]
    (a, ma), (b, mb) = step(ts, batch), pickle.loads(pickle.dumps(step))(pickle.loads(pickle.dumps(ts)), batch)
    assert nn.arrays.equal(a.params, b.params)
    assert nn.arrays.equal(a.state, b.state)
    assert ma.loss == mb.loss


# -- compositions ------------------------------------------------------------------------------------------------------


@given(data=st.data(), train=st.booleans())
def test_a_composition_is_its_layers_one_after_another(data: st.DataObject, train: bool) -> None:
    """It calls kernels past their border, so the bits must be those of the layers called one by one."""
    model = data.draw(LAYERS["serial"])
    params, state = model.init(nn.key(0), (FEATURES,), np.float64)
    params = randomized(params, 1)
    x = data.draw(reals((4, FEATURES)))
    key = nn.key(2)
    y, cache, new = model.forward(params, state, x, key=key, train=train)
    dy = np.random.default_rng(0).normal(size=y.shape)
    dx, grads = model.backward(params, cache, dy)

    caches, states = [], {}
    for i, (name, layer) in enumerate(model.layers):
        layer_key = nn.fold_in(key, i)
        x, own, states[name] = layer.forward(params.group(name), state.group(name), x, key=layer_key, train=train)
        caches.append(own)
    np.testing.assert_array_equal(y, x)
    for (name, layer), own in reversed(list(zip(model.layers, caches, strict=True))):
        below, of_layer = layer.backward(params.group(name), own, dy)
        assert below is not None
        dy = below
        assert nn.arrays.equal(grads.group(name), of_layer)
        assert nn.arrays.equal(new.group(name), states[name])
    np.testing.assert_array_equal(dx, dy)


def test_parameters_are_found_by_name_in_whatever_order_they_came() -> None:
    model = nn.serial(nn.dense(3), nn.layer_norm(), nn.tanh(), nn.dense(2))
    params, state = model.init(nn.key(0), (4,), np.float64)
    turned = ArrayDict({name: params[name] for name in reversed(list(params))})
    assert turned.names != params.names
    x = np.random.default_rng(0).normal(size=(5, 4))
    (y, cache, _), (z, other, _) = model.forward(params, state, x), model.forward(turned, state, x)
    np.testing.assert_array_equal(y, z)
    assert nn.arrays.equal(model.backward(params, cache, y)[1], model.backward(turned, other, y)[1])


def test_parameters_that_do_not_fit_are_refused_each_time() -> None:
    """What a composition remembers of a layout that fits must not let another pass."""
    model = nn.serial(nn.dense(3), nn.relu())
    params, state = model.init(nn.key(0), (4,))
    x = np.ones((2, 4))
    for _ in range(2):
        model.forward(params, state, x)
        with pytest.raises(ValueError, match=r"dense1: .*b missing"):
            model.forward(ArrayDict({"dense1.W": np.ones((4, 3))}), state, x)
        with pytest.raises(ValueError, match=r"no layer for other\.W"):
            model.forward(params | {"other.W": np.ones((1, 1), np.float32)}, state, x)
        with pytest.raises(ValueError, match=r"relu1: .*a unexpected"):
            model.forward(params | {"relu1.a": np.ones(1, np.float32)}, state, x)
        with pytest.raises(ValueError, match=r"dense1: .*W \(4, 3\), b \(2,\)"):
            model.forward(ArrayDict({"dense1.W": np.ones((4, 3)), "dense1.b": np.ones(2)}), state, x)


# -- leading axes and stacks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYERS)
@given(data=st.data(), shared=st.booleans(), train=st.booleans())
def test_a_stack_is_its_members(name: str, data: st.DataObject, shared: bool, train: bool) -> None:
    K = 3
    layer = data.draw(LAYERS[name])
    members = [layer.init(nn.key(i), (FEATURES,), np.float64) for i in range(K)]
    members = [(randomized(p, i), s) for i, (p, s) in enumerate(members)]
    params, state = nn.stack([p for p, _ in members]), nn.stack([s for _, s in members])
    x = data.draw(reals((4, FEATURES) if shared else (K, 4, FEATURES)))
    keys = nn.split(nn.key(7), K)
    y, cache, new = layer.forward(params, state, x if shared else nn.stacks.per_member(x), key=keys, train=train)
    dy = np.random.default_rng(0).normal(size=y.shape)
    dx, grads = layer.backward(params, cache, dy)
    assert dx is not None
    for i, (p, s) in enumerate(members):
        xi = x if shared else x[i]
        yi, ci, si = layer.forward(p, s, xi, key=keys[i], train=train)
        dxi, gi = layer.backward(p, ci, dy[i])
        assert dxi is not None
        np.testing.assert_allclose(y[i], yi, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(dx[i], dxi, rtol=1e-9, atol=1e-9)
        assert not gi or nn.arrays.allclose(nn.unstack(grads)[i], gi, rtol=1e-9, atol=1e-9)
        assert not si or nn.arrays.allclose(nn.unstack(new)[i], si, rtol=1e-9, atol=1e-12)


def test_arrays_with_a_leading_axis_are_a_stack_if_they_are_said_to_be() -> None:
    model = nn.serial(nn.dense(4), nn.batch_norm(), nn.relu(), nn.dense(2))
    members = [model.init(nn.key(i), (3,), np.float64) for i in range(5)]
    stacked = nn.stack([p for p, _ in members])
    by_hand = ArrayDict({k: np.stack([p[k] for p, _ in members]) for k in stacked}, stacked=True)
    state = nn.stack([s for _, s in members])
    x = np.random.default_rng(0).normal(size=(6, 3))
    (y, cache, _), (z, other, _) = (model.forward(p, state, x, train=True) for p in (stacked, by_hand))
    np.testing.assert_array_equal(y, z)
    grads, same_grads = (model.backward(p, c, y)[1] for p, c in ((stacked, cache), (by_hand, other)))
    assert nn.arrays.equal(grads, same_grads)


@pytest.mark.parametrize("name", LOSSES)
@given(m=st.integers(1, 4), n=st.integers(1, 3), seed=st.integers(0, 100), shared=st.booleans())
def test_a_loss_of_a_stack_has_a_value_for_each_member(name: str, m: int, n: int, seed: int, shared: bool) -> None:
    loss, *kinds = LOSSES[name]
    pairs = [outputs_and_targets((kinds[0], kinds[1]), m, n, seed + i) for i in range(3)]
    y = np.stack([p[0] for p in pairs])
    target = pairs[0][1] if shared else np.stack([p[1] for p in pairs])
    values, cache = loss.forward(nn.stacks.per_member(y), target if shared else nn.stacks.per_member(target))
    dy = loss.backward(cache)
    for i in range(3):
        value, one = loss.forward(y[i], target if shared else target[i])
        assert np.isclose(np.asarray(values)[i], value)
        np.testing.assert_allclose(dy[i], loss.backward(one), rtol=1e-12)


@pytest.mark.parametrize("name", STRUCTURED)
@given(m=st.integers(1, 4), n=st.integers(1, 3), seed=st.integers(0, 100), shared=st.booleans())
def test_so_has_a_loss_of_tuples_and_sequences(name: str, m: int, n: int, seed: int, shared: bool) -> None:
    loss = STRUCTURED[name]
    pairs = [structured(loss, m, n, seed + i) for i in range(3)]
    if shared:
        pairs = [(y, pairs[0][1]) for y, _ in pairs]
    y, target = (map_leaves(lambda *parts: np.stack(parts), *part) for part in zip(*pairs, strict=True))
    w = np.random.default_rng(seed).uniform(0, 1, m)
    values, cache = loss.forward(nn.stacks.per_member(y), pairs[0][1] if shared else nn.stacks.per_member(target), w)
    dy = loss.backward(cache)
    for i, (own, own_target) in enumerate(pairs):
        value, one = loss.forward(own, own_target, w)
        assert np.isclose(np.asarray(values)[i], value)
        for d, expected, a in zip(leaves(dy), leaves(loss.backward(one)), leaves(y), strict=True):
            assert d.shape == a.shape
            np.testing.assert_allclose(d[i], expected, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("name", STRUCTURED)
@given(m=st.integers(1, 4), n=st.integers(1, 3), seed=st.integers(0, 100))
def test_losses_of_tuples_and_sequences_are_pure(name: str, m: int, n: int, seed: int) -> None:
    loss = STRUCTURED[name]
    for dtype in (np.float32, np.float64):
        y, target = structured(loss, m, n, seed)
        y, target = map_leaves(lambda a, t=dtype: frozen(a.astype(t)), y), map_leaves(frozen, target)
        (value, cache), (weighted, other) = loss.forward(y, target), loss.forward(y, target, np.ones(m))
        assert value == loss.forward(y, target)[0] == weighted
        assert cache.values.shape == (m,)
        for a, b, c in zip(*(leaves(loss.backward(k)) for k in (cache, cache, other)), strict=True):
            assert np.array_equal(a, b)
            assert np.array_equal(a, c)
            assert a.dtype == dtype


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_on_a_stack_is_it_on_the_members(name: str) -> None:
    rng = np.random.default_rng(0)
    members = [ArrayDict({"W": rng.normal(size=(2, 3)), "b": rng.normal(size=3)}) for _ in range(4)]
    grads = [ArrayDict({"W": rng.normal(size=(2, 3)), "b": rng.normal(size=3)}) for _ in range(4)]
    optimizer = OPTIMIZERS[name]
    params, states = nn.stack(members), [optimizer.init(p) for p in members]
    opt_state = optimizer.init(params)
    for _ in range(3):
        params, opt_state = optimizer.step(params, nn.stack(grads), opt_state)
        pairs = [optimizer.step(p, g, s) for p, g, s in zip(members, grads, states, strict=True)]
        members, states = [p for p, _ in pairs], [s for _, s in pairs]
    assert nn.arrays.allclose(params, nn.stack(members), rtol=1e-12)
    assert nn.arrays.allclose(opt_state | {"step": [3] * 4}, nn.stack(states), rtol=1e-12)


# -- dtype -------------------------------------------------------------------------------------------------------------


def test_training_keeps_float32_whatever_comes() -> None:
    model = nn.mlp([3, 4, 2], ["gelu", "softmax"], keep_prob=0.5, batch_norm=True)
    for loss, target in (
        (nn.sparse_categorical_cross_entropy, [0, 1, 0, 1]),
        (nn.mean_squared_error, np.eye(2)[[0, 1] * 2]),
    ):
        step = nn.train_step(model, loss, nn.adam(nn.schedules.cosine_decay(0.1, 10)), penalty=nn.l2(0.1))
        ts = nn.train_state(model, step.optimizer, nn.key(0), (3,))
        ts, metrics = step(ts, (np.random.default_rng(0).normal(size=(4, 3)), target, np.ones(4)))
        assert {ts.params.dtype, ts.opt_state.dtype, ts.state.dtype, metrics.output.dtype} == {np.dtype(np.float32)}


# -- extremes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [k for k in LAYERS if k not in ("dense", "serial", "mlp", "residual", "layer")])
@given(data=st.data(), train=st.booleans(), dtype=st.sampled_from([np.float32, np.float64]))
def test_layers_are_finite_at_the_extremes(
    name: str, data: st.DataObject, train: bool, dtype: type[np.floating]
) -> None:
    layer = data.draw(LAYERS[name])
    params, state = layer.init(nn.key(0), (FEATURES,), dtype)
    extremes = [[1000.0, -1000.0, 0.0], [1000.0, 1000.0, 1000.0], [-1000.0, -1000.0, -1000.0]]
    for rows in (extremes, extremes[1:2] * 4):
        y, _, dx, grads = run(layer, params, state, np.array(rows, dtype), train)
        assert np.isfinite(y).all()
        assert np.isfinite(dx).all()
        assert np.isfinite(grads.vector).all()


CE = [
    (nn.sigmoid(), nn.binary_cross_entropy, nn.binary_cross_entropy_with_logits),
    (nn.softmax(), nn.categorical_cross_entropy, nn.categorical_cross_entropy_with_logits),
]


@pytest.mark.parametrize(("activation", "loss", "on_logits"), CE)
@given(data=st.data(), dtype=st.sampled_from([np.float32, np.float64]), scale=st.sampled_from([1, 30, 1000, 1e6]))
def test_activation_and_cross_entropy_give_the_fused_gradient(
    activation: Layer,
    loss: nn.Loss,
    on_logits: nn.Loss,
    data: st.DataObject,
    dtype: type[np.floating],
    scale: float,
) -> None:
    z = (data.draw(reals((4, 3))) * scale).astype(dtype)
    target = np.eye(3)[data.draw(st.lists(st.integers(0, 2), min_size=4, max_size=4))]
    A, cache, _ = activation.forward(nn.arrays.EMPTY, nn.arrays.EMPTY, z)
    expected = (A.astype(np.float64) - target) / 4
    value, loss_cache = loss.forward(A, target)
    dz, _ = activation.backward(nn.arrays.EMPTY, cache, loss.backward(loss_cache))
    assert dz is not None
    assert np.isfinite(value)
    np.testing.assert_allclose(dz, expected, rtol=1e-5, atol=1e-6 if dtype == np.float32 else 1e-14)
    logits_value, logits_cache = on_logits.forward(z, target)
    assert np.isfinite(logits_value)
    np.testing.assert_allclose(on_logits.backward(logits_cache), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("activation", "loss", "on_logits"), CE)
def test_training_on_saturated_outputs_uses_the_fused_gradient(
    activation: Layer, loss: nn.Loss, on_logits: nn.Loss
) -> None:
    model = nn.serial(nn.dense(3), activation)
    params = {"dense1.W": 1000 * np.array([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]]), "dense1.b": np.zeros(3)}
    X, Y = np.eye(2), np.eye(3)[[1, 0]]
    step = nn.train_step(model, loss, nn.gd(1.0))
    ts = nn.train_state(model, step.optimizer, nn.key(0), params=params)
    A = nn.predict(model, ts, X)
    after, metrics = step(ts, (X, Y))
    np.testing.assert_allclose(ts.params["dense1.W"] - after.params["dense1.W"], X.T @ (A - Y) / 2, atol=1e-12)
    assert metrics.loss == on_logits.forward(X @ params["dense1.W"], Y)[0] >= 1000
