"""Edge cases that could easily give a wrong answer or an obscure error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnfunc as nn
from nnfunc.layers.activations import ACTIVATIONS

rng = np.random.default_rng(0)
CHAIN = nn.serial(nn.dense(4), nn.tanh(), nn.dense(2))
X3, T2 = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))


def test_what_is_frozen_does_not_stand_among_the_parameters() -> None:
    frozen = nn.freeze(CHAIN, "dense1.*")
    ts = nn.train_state(CHAIN, "adam", nn.key(0), (3,))
    with pytest.raises(ValueError, match=r"dense1\.W is frozen in this model, but stands among the parameters"):
        nn.train_step(frozen, "mean_squared_error", "adam")(ts, (X3, T2))
    given = nn.train_state(frozen, "adam", nn.key(0), params=ts.params)
    after, _ = nn.train_step(frozen, "mean_squared_error", "adam")(given, (X3, T2))
    assert np.array_equal(after.state["frozen.dense1.W"], ts.params["dense1.W"])


def test_a_skipped_member_is_the_network_alone_also_afterwards() -> None:
    bad = X3.copy()
    bad[0, 0] = np.nan
    step = nn.train_step(
        CHAIN, "mean_squared_error", nn.adam(nn.schedules.exponential_decay(0.1, 0.5, 1)), nonfinite="skip"
    )
    keys = nn.split(nn.key(0), 2)
    both = nn.train_state(CHAIN, step.optimizer, keys, (3,), np.float64)
    alone = nn.train_state(CHAIN, step.optimizer, keys[1], (3,), np.float64)
    for i in range(3):
        mine = bad if i == 0 else X3
        both, _ = step(both, (nn.stacks.per_member(np.stack([X3, mine])), T2))
        alone, _ = step(alone, (mine, T2))
    member = nn.unstack(both)[1]
    assert nn.arrays.allclose(member.params, alone.params, rtol=1e-12)
    assert member.opt_state["step"] == alone.opt_state["step"] == 2


def test_the_order_of_outputs_does_not_change_a_penalty() -> None:
    model, both = nn.branch(nn.dense(2), nn.dense(3)), nn.losses.combined(nn.mean_squared_error, nn.mean_squared_error)
    params, state = model.init(nn.key(0), (3,), np.float64)
    ones = np.ones(6)
    weights = [
        nn.value_and_grad(model, both)(params, state, (X3, (T2, X3), w)).weight
        for w in ((ones, 3 * ones), (3 * ones, ones), (0 * ones, ones))
    ]
    assert weights == [12.0, 12.0, 3.0]


def test_a_row_of_weight_0_may_have_a_target_that_is_not_known() -> None:
    w, target = np.r_[np.ones(5), 0.0], np.where(np.arange(6)[:, None] == 5, np.nan, T2)
    function, arrays = nn.value_and_grad(CHAIN, "mean_squared_error"), CHAIN.init(nn.key(0), (3,), np.float64)
    masked, without = function(*arrays, (X3, target, w)), function(*arrays, (X3[:5], T2[:5]))
    assert np.isclose(masked.value, without.value)
    assert nn.arrays.allclose(masked.grads, without.grads)


def test_training_leaves_out_rows_of_weight_0_whose_target_is_not_known() -> None:
    w, target = np.r_[np.ones(5), 0.0], np.where(np.arange(6)[:, None] == 5, np.nan, T2)
    step = nn.train_step(CHAIN, "mean_squared_error", "adam")
    start = nn.train_state(CHAIN, "adam", nn.key(0), (3,), np.float64)
    ends = [
        list(nn.train(step, start, data, epochs=3, batch_size=None, key=nn.key(1)))[-1]
        for data in ((X3, target, w), (X3[:5], T2[:5]))
    ]
    assert np.isclose(ends[0].loss, ends[1].loss)
    assert nn.arrays.allclose(ends[0].state.params, ends[1].state.params)
    with pytest.raises(nn.NonFiniteError, match="target contains NaN or infinity"):
        next(nn.train(step, start, (X3, target, np.ones(6)), epochs=1, key=nn.key(1)))


def test_inputs_have_one_number_of_rows() -> None:
    model = nn.serial(nn.multiply(), nn.dense(2))
    ts = nn.train_state(model, "gd", nn.key(0), ((3,), (3,)))
    with pytest.raises(ValueError, match="the parts of x have 1 and 6 rows"):
        nn.predict(model, ts, (X3, X3[:1]))


def test_a_loss_of_ones_own_cannot_change_what_it_gets() -> None:
    def forward(y: nn.Array, t: nn.Array) -> tuple[float, nn.Array]:
        return float(((y - t) ** 2).mean()), np.subtract(y, t, out=t)

    target = T2.copy()
    step = nn.train_step(CHAIN, nn.Loss(forward, lambda r: 2 * r / r.size), "gd")
    with pytest.raises(ValueError, match="read-only"):
        step(nn.train_state(CHAIN, "gd", nn.key(0), (3,), np.float64), (X3, target))
    assert np.array_equal(target, T2)


def test_stacks_of_different_lengths_do_not_mix() -> None:
    def stacked(K: int) -> nn.ArrayDict:
        return nn.stack([nn.ArrayDict({"b": [1.0, 2.0]})] * K)

    with pytest.raises(ValueError, match="the right dict is a stack of 2, but the left one is one of 3"):
        stacked(3) | stacked(2)
    with pytest.raises(ValueError, match="the right dict is a stack of 2, but the left one is none"):
        nn.ArrayDict({"b": [1.0]}) | stacked(2)
    with pytest.raises(ValueError, match="two arrays get one name"):
        nn.arrays.join(**{"a": nn.ArrayDict({"b.W": [1.0]}), "a.b": nn.ArrayDict({"W": [2.0]})})


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_take_one_array(name: str) -> None:
    model = nn.serial(nn.parallel(nn.dense(4), nn.dense(4)), ACTIVATIONS[name](), nn.add())
    with pytest.raises(TypeError, match="x is a tuple of 2 values, but the layer takes one array"):
        model.init(nn.key(0), ((3,), (3,)))


@pytest.mark.parametrize("name", ["gd", "momentum", "nesterov", "rmsprop", "adam", "adamw", "adagrad"])
def test_a_model_of_constants_alone_steps(name: str) -> None:
    model = nn.freeze(CHAIN, "*")
    ts = nn.train_state(model, name, nn.key(0), (3,))
    after, metrics = nn.train_step(model, "mean_squared_error", name)(ts, (X3, T2))
    assert after.step == 1
    assert np.isfinite(metrics.loss)


def test_an_own_layer_of_several_outputs_says_their_shapes() -> None:
    split = nn.layer(lambda p, z: ((z[..., :1], z[..., 1:]), None), lambda p, c, dy: (np.concatenate(dy, -1), {}))
    with pytest.raises(TypeError, match="forward returned a tuple of 2 outputs: say their shapes"):
        nn.serial(split, nn.concatenate()).init(nn.key(0), (3,))


def untyped(value: object) -> Any:
    """A value whose type is wrong on purpose."""
    return value


EPOCH = nn.Epoch(1, 0.5, 0.5, None, nn.train_state(CHAIN, "gd", nn.key(0), (3,)))
DOORS: dict[str, tuple[Callable[[], object], str]] = {
    "one epoch": (lambda: nn.best_epoch(untyped(EPOCH)), "epochs is one Epoch, expected several"),
    "no epochs": (lambda: nn.early_stopping(untyped(None)), "epochs is NoneType, expected several"),
    "numbers": (lambda: list(nn.early_stopping(untyped([1, 2]))), "epochs has a part that is int"),
    "a name": (lambda: nn.early_stopping([EPOCH], monitor=untyped("loss")), "monitor='loss': expected a function"),
    "nothing": (
        lambda: nn.best_epoch([EPOCH], monitor=lambda e: untyped(None)),
        "monitor returned None, expected one number",
    ),
    "several": (lambda: nn.best_epoch([EPOCH], monitor=lambda e: untyped(np.ones(2))), r"an array of shape \(2,\)"),
    "summary": (lambda: nn.summary(untyped(3), (4,)), "model=3 is no Layer: expected a Layer"),
    "freeze": (lambda: nn.freeze(CHAIN, untyped(3)), "where=3: expected one or more name patterns"),
    "fold_in": (lambda: nn.fold_in(nn.key(0), untyped("a")), "i='a': expected a whole number"),
}


@pytest.mark.parametrize("name", DOORS)
def test_what_is_no_such_thing_is_said_at_the_door(name: str) -> None:
    call, message = DOORS[name]
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize("rows", [slice(0, 5), 3, "all"])
def test_rows_that_are_no_numbers_of_rows(rows: Any) -> None:
    step = nn.train_step(CHAIN, "mean_squared_error", "gd")
    with pytest.raises((TypeError, ValueError), match="rows has"):
        next(nn.train(step, nn.train_state(CHAIN, "gd", nn.key(0), (3,)), (X3, T2), epochs=1, key=nn.key(0), rows=rows))


INITIAL = nn.initializers
VALUES: dict[str, tuple[Callable[[], object], str]] = {
    "counts beyond 64 bits": (lambda: nn.ArrayDict({"n": np.array([2**63 + 5], np.uint64)}), "expected whole numbers"),
    "a keyword beyond": (
        lambda: nn.ArrayDict({"n": np.array([1])}).replace(n=np.array([2**64 - 1], np.uint64)),
        "n contains 18446744073709551615",
    ),
    "a gradient that is a number": (
        lambda: nn.train_step(
            CHAIN, "mean_squared_error", "gd", nn.Penalty(lambda p, m: 0.0, lambda p, m: untyped(0.5))
        )(nn.train_state(CHAIN, "gd", nn.key(0), (3,)), (X3, T2)),
        "the penalty's gradient is float, expected a dict",
    ),
    "no pattern to penalise": (
        lambda: nn.l2(1.0, where=[]).forward(nn.ArrayDict({"W": [1.0]}), 1),
        "where=.*none chooses nothing",
    ),
    "no pattern to select": (lambda: nn.ArrayDict({"W": [1.0]}).select([]), "none chooses nothing"),
    "a fold that is not new": (lambda: nn.fold_in(nn.key(0), 2**127), "below 2..126"),
    "a key for a number": (lambda: nn.split(nn.key(0), nn.key(1)), "from 1 to 1,000,000"),
    "too long a key": (lambda: nn.keys.generator(nn.Key(2**200)), "expected 128 bits"),
    "a type of whole numbers": (lambda: INITIAL.he_normal(nn.key(0), (2, 2), int), "dtype=int64: expected np.float32"),
    "an unknown type": (lambda: CHAIN.init(nn.key(0), (3,), "flaot32"), "dtype=flaot32: expected np.float32"),
    "a type of rows": (lambda: nn.one_hot([0], 2, dtype=untyped("x")), "dtype=x: expected np.float32"),
    "a deviation that is none": (lambda: INITIAL.random(nn.key(0), (2, 2), std=np.nan), r"std=nan: expected a number"),
    "a constant in words": (
        lambda: INITIAL.constant(nn.key(0), (2,), value=untyped("nan")),
        "value='nan': expected a number",
    ),
    "a key in words": (lambda: INITIAL.zeros(untyped("no key"), (2,)), "key='no key' is no key"),
    "no inputs": (lambda: INITIAL.he_normal(nn.key(0), (0, 3)), r"shape=\(0, 3\): expected \(inputs, outputs\)"),
    "a shape without axes": (
        lambda: INITIAL.glorot_uniform(nn.key(0), ()),
        r"shape=\(\): expected \(inputs, outputs\)",
    ),
    "an array for an initializer": (
        lambda: nn.dense(3, untyped(np.ones((2, 3)))),
        "initializer is ndarray, expected a name",
    ),
    "complex initial values": (
        lambda: nn.dense(2, untyped(lambda k, s, d: np.full(s, 1 + 5j))).init(nn.key(0), (2,)),
        "gave has dtype complex128, expected real numbers",
    ),
    "masked initial values": (
        lambda: nn.dense(2, untyped(lambda k, s, d: np.ma.array(np.full(s, 7.0), mask=True))).init(nn.key(0), (2,)),
        "is a masked array",
    ),
    "initial NaN": (
        lambda: nn.dense(2, untyped(lambda k, s, d: np.full(s, np.nan))).init(nn.key(0), (2,)),
        "contains NaN",
    ),
    "no dict to compare": (
        lambda: nn.arrays.equal(nn.arrays.EMPTY, untyped(None)),
        "b is NoneType, expected a dict of arrays",
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_that_would_pass_in_silence(name: str) -> None:
    call, message = VALUES[name]
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_infinity_on_disk_is_met_in_its_batch(tmp_path: Path) -> None:
    on_disk = np.memmap(tmp_path / "x", np.float64, "w+", shape=(8, 3))
    on_disk[:] = rng.normal(size=(8, 3))
    on_disk[3, 1] = np.inf
    model = nn.serial(nn.tanh(), nn.dense(1))
    ts = nn.train_state(model, "gd", nn.key(0), (3,))
    with pytest.raises(ValueError, match="X contains NaN or infinity: inf"):
        next(nn.train(nn.train_step(model, "mean_squared_error", "gd"), ts, (on_disk, np.zeros(8)), epochs=1, key=None))


@pytest.mark.parametrize("x", [1e20, -1e20])
def test_gelu_far_out(x: float) -> None:
    y, cache, _ = nn.gelu("tanh").forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.array([[x]], np.float32))
    dx, _ = nn.gelu("tanh").backward(nn.arrays.EMPTY, cache, np.ones_like(y))
    assert dx.item() == float(x > 0)


def test_many_dead_units_are_counted() -> None:
    model = nn.serial(nn.dense(2048), nn.relu(), nn.dense(1))
    params, _ = model.init(nn.key(0), (5,))
    params = params.replace({"dense1.b": np.linspace(-20, 5, 2048)})
    found = nn.inspect(model, params, np.random.default_rng(0).normal(size=(64, 5)))
    assert "of 2048 units are 0" in str(found)


def test_a_backward_takes_the_parameters_of_its_forward() -> None:
    """Of others with the same numbers the gradient would be another, without a word."""
    params, state = CHAIN.init(nn.key(0), (3,), np.float64)
    y, cache, _ = CHAIN.forward(params, state, X3)
    turned = nn.ArrayDict({k: params[k] for k in reversed(list(params))})
    for other in (turned, nn.arrays.EMPTY, params.without("dense1.b")):
        with pytest.raises(ValueError, match=r"params are .* but those of the forward were"):
            CHAIN.backward(other, cache, y)
    again = nn.ArrayDict(params.to_dict())
    assert nn.arrays.equal(CHAIN.backward(again, cache, y)[1], CHAIN.backward(params, cache, y)[1])


@pytest.mark.parametrize("value", ["no", 1, None, np.ones(2), [], np.str_("")])
def test_only_true_and_false_are_true_or_false(value: Any) -> None:
    for call, name in (
        (lambda: nn.dense(2, bias=value), "bias"),
        (lambda: nn.gru(2, reverse=value), "reverse"),
        (lambda: nn.minibatches(None, (X3,), drop_last=value), "drop_last"),
        (lambda: CHAIN.forward(*CHAIN.init(nn.key(0), (3,)), X3, train=value), "train"),
    ):
        with pytest.raises(TypeError, match=rf"{name}=.*: expected True or False"):
            call()
    assert nn.dense(2, bias=untyped(np.False_)) == nn.dense(2, bias=False)


@pytest.mark.parametrize("value", [nn.key(0), np.timedelta64(1, "s"), True, 10**400, float("nan")])
def test_what_is_a_number_by_its_type_alone_is_none(value: Any) -> None:
    for call in (
        lambda: nn.dropout(value),
        lambda: nn.dense(value),
        lambda: nn.gd(nn.schedules.step_decay(value, 0.5, 3)),
    ):
        with pytest.raises(ValueError, match=r"expected a (whole )?number"):
            call()


def test_a_schedule_calculates_with_plain_numbers() -> None:
    of_bytes = nn.schedules.linear_warmup(300, untyped(np.uint8(1)))
    assert [of_bytes(t) for t in (0, 299)] == [1 / 300, 1.0]
    assert nn.schedules.cosine_decay(untyped(np.float32(0.1)), 9) == nn.schedules.cosine_decay(
        float(np.float32(0.1)), 9
    )


@pytest.mark.parametrize("make", [nn.adam, nn.rmsprop, nn.adagrad])
def test_what_keeps_a_root_away_from_0_is_no_less_than_float32_holds(make: Callable[..., nn.Optimizer]) -> None:
    with pytest.raises(ValueError, match=r"one of them must be 1e-30 or more"):
        make(0.1, eps=0.0, eps_root=1e-60)
    with pytest.raises(ValueError, match="it keeps the root away from 0"):
        nn.batch_norm(eps=1e-46)
