"""Frozen parts are constants; tied arrays are one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nnfunc as nn

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(20, 6)), rng.integers(0, 2, (20, 1)).astype(float)
BODY = nn.serial(nn.dense(8), nn.batch_norm(), nn.relu(), nn.dropout(0.5))
MODEL = nn.serial(body=BODY, head=nn.serial(nn.dense(1), nn.sigmoid()))
LOSS = nn.binary_cross_entropy


def trained() -> nn.TrainState:
    step = nn.train_step(MODEL, LOSS, nn.adam(0.01))
    ts = nn.train_state(MODEL, step.optimizer, nn.key(0), (6,))
    *_, epoch = nn.train(step, ts, (X, Y), epochs=3, batch_size=8, key=nn.key(1))
    return epoch.state


def test_a_frozen_part_is_a_constant() -> None:
    whole, frozen = trained(), nn.freeze(MODEL, "body.*")
    optimizer = nn.adam(0.01)
    step = nn.train_step(frozen, LOSS, optimizer, penalty=nn.l2(1.0))
    ts = nn.train_state(frozen, optimizer, nn.key(2), params=whole.params, state=whole.state)
    assert list(ts.params) == ["head.dense1.W", "head.dense1.b"]
    assert [k for k in ts.opt_state if "body" in k] == []
    after = ts
    for _ in range(3):
        after, _ = step(after, (3 * X + 5, Y))
    assert after.params != ts.params
    assert after.state == ts.state  # the averages too, and dropout inside is off
    features = BODY.forward(whole.params.group("body"), whole.state.group("body"), X)[0]
    head = MODEL.layers[1][1]
    by_hand = head.forward(after.params.group("head"), nn.arrays.EMPTY, features)[0]
    assert np.array_equal(nn.predict(frozen, after, X), by_hand)
    by_head = nn.value_and_grad(head, LOSS, penalty=nn.l2(1.0))(ts.params.group("head"), nn.arrays.EMPTY, (features, Y))
    whole_step = step.value_and_grad(ts.params, ts.state, (X, Y), key=nn.key(9))
    assert whole_step.value == by_head.value  # the penalty does not know the frozen part
    assert nn.arrays.equal(whole_step.grads.group("head"), by_head.grads)


def test_backward_stops_above_a_frozen_part() -> None:
    frozen = nn.freeze(MODEL, "body.*")
    program = nn.models.program(frozen, (6,))
    needed = {line.split()[1]: line.split()[-1] for line in str(program).splitlines()[2:]}
    assert needed["body.dense1"] == needed["body.batch_norm1"] == "no"
    assert needed["head.dense1"] == "yes"


def test_a_part_between_is_frozen_but_passes_the_gradient() -> None:
    model = nn.serial(nn.dense(3), nn.dense(3), nn.dense(1))
    params, state = model.init(nn.key(0), (6,), np.float64)
    frozen = nn.freeze(model, "dense2.*")
    ts = nn.train_state(frozen, "gd", nn.key(0), params=params, state=state)
    grads = nn.value_and_grad(model, nn.mean_squared_error)(params, state, (X, Y)).grads
    part = nn.value_and_grad(frozen, nn.mean_squared_error)(ts.params, ts.state, (X, Y)).grads
    assert list(part) == ["dense1.W", "dense1.b", "dense3.W", "dense3.b"]
    assert part == grads.without("dense2.*")


def test_one_array_of_a_layer_is_frozen() -> None:
    model = nn.serial(nn.dense(3), nn.batch_norm(), nn.dense(1))
    params, state = model.init(nn.key(0), (6,), np.float64)
    frozen = nn.freeze(model, ["dense1.W", "batch_norm1.gamma"])
    ts = nn.train_state(frozen, "gd", nn.key(0), params=params, state=state)
    part = nn.value_and_grad(frozen, nn.mean_squared_error)(ts.params, ts.state, (X, Y))
    whole = nn.value_and_grad(model, nn.mean_squared_error)(params, state, (X, Y))
    assert part.grads == whole.grads.without(["dense1.W", "batch_norm1.gamma"])
    assert nn.arrays.equal(part.state.group("batch_norm1"), whole.state.group("batch_norm1"))  # in training, it moves
    assert part.value == whole.value


def test_the_norm_of_clipping_leaves_out_the_frozen() -> None:
    model = nn.serial(nn.dense(50), nn.dense(1))
    params, _ = model.init(nn.key(0), (6,), np.float64)
    params = params.replace({"dense2.W": 100 * params["dense2.W"]})
    frozen = nn.freeze(model, "dense1.*")
    for part, optimizer in (
        (frozen, nn.clip_by_global_norm(nn.gd(1.0), 1.0)),
        (model, nn.clip_by_global_norm(nn.gd({"dense2.*": 1.0, "*": 0.0}), 1.0)),
    ):
        ts = nn.train_state(part, optimizer, nn.key(1), params=params)
        after, _ = nn.train_step(part, nn.mean_squared_error, optimizer)(ts, (100 * X, 10 * Y))
        assert np.linalg.norm((after.params - ts.params).vector) == pytest.approx(1.0)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_frozen_parts_are_saved_and_loaded_with_the_model(tmp_path: Path, suffix: str) -> None:
    frozen = nn.freeze(MODEL, "body.*")
    whole = trained()
    ts = nn.train_state(frozen, nn.adam(0.01), nn.key(2), params=whole.params, state=whole.state)
    step = nn.train_step(frozen, LOSS, nn.adam(0.01))
    ts, _ = step(ts, (X, Y))
    nn.save(tmp_path / f"run{suffix}", ts, frozen)
    saved = nn.load(tmp_path / f"run{suffix}")
    assert saved.model == frozen
    assert saved.state == ts
    assert step(saved.state, (X, Y))[0] == step(ts, (X, Y))[0]


@pytest.mark.parametrize("keys", [0, 3])
def test_unfreezing_gives_the_state_to_go_on_from(keys: int) -> None:
    key = nn.split(nn.key(0), keys) if keys else nn.key(0)
    start = nn.train_state(MODEL, nn.adam(0.01), key, (6,))
    frozen = nn.freeze(MODEL, "body.*")
    ts = nn.train_state(frozen, nn.adam(0.01), key, params=start.params, state=start.state)
    model, params, state = nn.unfreeze(frozen, ts.params, ts.state)
    assert (model, params, state) == (MODEL, start.params, start.state)
    assert params.names == start.params.names
    again = nn.train_state(model, nn.adam(0.01), key, params=params, state=state)
    assert again == start


def test_freezing_inside_a_composition() -> None:
    model = nn.serial(nn.residual(nn.freeze(nn.serial(nn.dense(6), nn.tanh()), "dense1.*")), nn.dense(1))
    params, state = model.init(nn.key(0), (6,))
    assert list(params) == ["dense1.W", "dense1.b"]
    assert list(state) == ["frozen.residual1.serial1.dense1.W", "frozen.residual1.serial1.dense1.b"]


def test_a_pattern_that_freezes_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"'boby\.\*' does not match any name: body.dense1.W"):
        nn.freeze(MODEL, "boby.*").init(nn.key(0), (6,))


def test_initial_values_do_not_depend_on_what_is_frozen() -> None:
    params, _ = MODEL.init(nn.key(0), (6,))
    mine, state = nn.freeze(MODEL, "body.*").init(nn.key(0), (6,))
    assert nn.arrays.equal(state.group("frozen"), params.select("body.*"))
    assert nn.arrays.equal(mine, params.select("head.*"))


def test_tied_arrays_are_one_in_the_dict_the_optimizer_and_the_file(tmp_path: Path) -> None:
    model = nn.tie(nn.serial(nn.dense(3), nn.tanh(), nn.dense(6)), "dense2.W", "dense1.W", transpose=True)
    ts = nn.train_state(model, nn.adam(0.1), nn.key(0), (6,), np.float64)
    assert list(ts.params) == ["dense1.W", "dense1.b", "dense2.b"]
    assert list(ts.opt_state)[:3] == ["m.dense1.W", "m.dense1.b", "m.dense2.b"]
    W = ts.params["dense1.W"]
    hidden = np.tanh(X @ W)
    np.testing.assert_allclose(model.forward(ts.params, ts.state, X)[0], hidden @ W.T, rtol=1e-12)
    target = rng.normal(size=(20, 6))
    result = nn.value_and_grad(model, nn.mean_squared_error)(ts.params, ts.state, (X, target))
    dy = 2 * (hidden @ W.T - target) / target.size
    expected = X.T @ (dy @ W * (1 - hidden**2)) + dy.T @ hidden
    np.testing.assert_allclose(result.grads["dense1.W"], expected, rtol=1e-10)
    nn.save(tmp_path / "tied.npz", ts, model)
    assert nn.load(tmp_path / "tied.npz") == (ts, model)


def test_what_is_tied_is_tied_once() -> None:
    model = nn.tie(nn.serial(nn.dense(3), nn.dense(3), nn.dense(3)), "dense2.W", "dense1.W")
    with pytest.raises(ValueError, match="already tied"):
        nn.tie(model, "dense2.W", "dense3.W")
    with pytest.raises(ValueError, match="already tied"):
        nn.tie(model, "dense3.W", "dense2.W")
