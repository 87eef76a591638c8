"""Reducing the learning rate on a plateau: compared with PyTorch, in a stack, in the loop, stopped and resumed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc.arrays import ArrayDict
from nnfunc.optimizers import ema, observe, partition, reduce_on_plateau

PARAMS = ArrayDict({"dense1.W": np.ones((2, 3)), "dense1.b": np.zeros(3)})


def scales(optimizer: nn.Optimizer, values: list[float], dtype: type[np.floating] = np.float64) -> list[float]:
    opt_state, found = optimizer.init(PARAMS.astype(dtype)), []
    for value in values:
        opt_state = observe(optimizer, opt_state, value)
        found.append(float(opt_state["reduce_on_plateau.scale"]))
    return found


@given(
    values=st.lists(st.floats(-2, 2).map(lambda v: round(v, 1)), min_size=1, max_size=40),
    patience=st.integers(0, 3),
    cooldown=st.integers(0, 3),
    threshold=st.sampled_from([0.0, 1e-4, 0.3]),
    largest=st.booleans(),
)
def test_it_is_that_of_torch(
    values: list[float], patience: int, cooldown: int, threshold: float, largest: bool
) -> None:
    torch = pytest.importorskip("torch")
    values = [abs(v) for v in values]  # with a threshold of a share, PyTorch's is for these
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    mode = "max" if largest else "min"
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode, 0.5, patience, threshold, cooldown=cooldown, min_lr=0.01, eps=0.0
    )
    expected = []
    for value in values:
        theirs.step(value)
        expected.append(optimizer.param_groups[0]["lr"])
    mine = reduce_on_plateau("gd", 0.5, patience, threshold, cooldown, min_scale=0.01)
    assert scales(mine, [-v if largest else v for v in values]) == expected


def test_the_same_number_again_is_no_better_in_float32() -> None:
    mine = reduce_on_plateau("gd", 0.5, patience=2, threshold=0.0)
    assert scales(mine, [0.1] * 4, np.float32) == [1.0, 1.0, 1.0, 0.5]
    assert scales(mine, [np.nan] * 3) == [1.0, 1.0, 0.5]


def test_the_updates_are_those_of_a_smaller_rate() -> None:
    for make in (nn.gd, nn.adam, nn.adamw, nn.momentum, nn.optimizers.lion, nn.optimizers.adadelta):
        small, plain = make(0.05), make(0.1)
        optimizer = reduce_on_plateau(plain, 0.5, patience=0)
        opt_state = optimizer.init(PARAMS)
        params, _ = optimizer.step(PARAMS, PARAMS * 0.3, opt_state)
        assert nn.arrays.equal(params, plain.step(PARAMS, PARAMS * 0.3, plain.init(PARAMS))[0])
        for value in (1.0, 1.0):
            opt_state = observe(optimizer, opt_state, value)
        halved, after = optimizer.step(PARAMS, PARAMS * 0.3, opt_state)
        assert nn.arrays.allclose(halved, small.step(PARAMS, PARAMS * 0.3, small.init(PARAMS))[0], rtol=1e-12)
        assert after.group("reduce_on_plateau") == opt_state.group("reduce_on_plateau")


def test_each_network_of_a_stack_has_its_own() -> None:
    optimizer = ema(reduce_on_plateau(nn.optimizers.clip_by_value(nn.gd(np.array([1.0, 0.5])), 1.0), 0.1, patience=0))
    params = nn.stack([PARAMS, PARAMS])
    opt_state = observe(optimizer, optimizer.init(params), [1.0, 1.0])
    opt_state = observe(optimizer, opt_state, [2.0, 0.5])
    np.testing.assert_array_equal(opt_state["reduce_on_plateau.scale"], [0.1, 1.0])
    after, moved = optimizer.step(params, params, opt_state)
    np.testing.assert_allclose(after["dense1.W"], np.array([0.9, 0.5])[:, None, None] * np.ones((2, 2, 3)))
    np.testing.assert_array_equal(moved["reduce_on_plateau.best"], [1.0, 0.5])
    with pytest.raises(ValueError, match=r"value has shape \(\), expected \(2,\): a number for each network"):
        observe(optimizer, opt_state, 1.0)


def observed(step: nn.TrainStep, epoch: nn.Epoch) -> nn.TrainState:
    assert epoch.validation is not None
    opt_state = observe(step.optimizer, epoch.state.opt_state, epoch.validation.loss)
    return epoch.state._replace(opt_state=opt_state)


@pytest.mark.parametrize("K", [None, 2])
def test_with_the_loop_stopped_and_gone_on(tmp_path: Path, K: int | None) -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(30, 3)).astype(np.float32), rng.integers(0, 2, 30)
    model = nn.mlp([3, 8, 2], ["tanh", "softmax"])
    optimizer = nn.clip_by_global_norm(ema(reduce_on_plateau(nn.adam(0.3), 0.5, patience=1)), 5.0)
    step = nn.train_step(model, "sparse_categorical_cross_entropy", optimizer)
    start = nn.train_state(model, optimizer, nn.split(nn.key(0), K) if K else nn.key(0), (3,))

    def run(ts: nn.TrainState, epochs: int) -> list[nn.Epoch]:
        loop = nn.train(step, ts, data, epochs=epochs, batch_size=8, key=nn.key(1), validation=data,
                        after=lambda epoch: observed(step, epoch))  # fmt: skip
        return list(loop)

    whole = run(start, 12)
    assert (whole[-1].state.opt_state["reduce_on_plateau.scale"] < 1).any()
    assert whole[0].validation is not None
    np.testing.assert_allclose(
        whole[0].state.opt_state["reduce_on_plateau.best"], whole[0].validation.loss, rtol=1e-6
    )  # what it observed is in the epoch's state
    nn.save(tmp_path / "run.npz", whole[4].state, model)
    rest = run(nn.load(tmp_path / "run.npz").state, 7)
    assert [epoch.number for epoch in rest] == list(range(6, 13))
    assert nn.arrays.equal(rest[-1].state.params, whole[-1].state.params)
    assert nn.arrays.equal(rest[-1].state.opt_state, whole[-1].state.opt_state)


def test_what_after_returns_is_checked() -> None:
    model = nn.dense(1)
    step = nn.train_step(model, "mean_squared_error", "gd")
    ts = nn.train_state(model, "gd", nn.key(0), (2,))
    data = np.ones((4, 2)), np.ones((4, 1))
    with pytest.raises(TypeError, match="after=3: expected a function of an epoch"):
        nn.train(step, ts, data, epochs=1, key=nn.key(0), after=3)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(TypeError, match="after= returned NoneType, expected the TrainState to go on from, of step 1"):
        next(nn.train(step, ts, data, epochs=1, key=nn.key(0), after=lambda epoch: None))  # type: ignore[arg-type, return-value]  # likewise
    with pytest.raises(TypeError, match="after= returned a state of step 0"):
        next(nn.train(step, ts, data, epochs=1, key=nn.key(0), after=lambda epoch: ts))


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match=r"factor=1.0: expected a number in \(0, 1\)"):
        reduce_on_plateau("gd", factor=1.0)
    with pytest.raises(ValueError, match="patience=-1: expected a whole number, 0 or more"):
        reduce_on_plateau("gd", patience=-1)
    with pytest.raises(ValueError, match=r"threshold=1: expected a number in \[0, 1\)"):
        reduce_on_plateau("gd", threshold=1)
    with pytest.raises(ValueError, match=r"cooldown=0\.5: expected a whole number"):
        reduce_on_plateau("gd", cooldown=0.5)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ValueError, match=r"min_scale=2: expected a number in \[0, 1\]"):
        reduce_on_plateau("gd", min_scale=2)
    with pytest.raises(ValueError, match=r"optimizer=gd.* has no reduce_on_plateau"):
        observe(nn.gd(), nn.gd().init(PARAMS), 1.0)
    with pytest.raises(ValueError, match="partition of more than one reduce_on_plateau: put one around the partition"):
        partition({"*W": reduce_on_plateau("gd"), "*": reduce_on_plateau("adam")})
    with pytest.raises(ValueError, match=r"reduce_on_plateau around ema, which must see .* put ema around"):
        reduce_on_plateau(nn.optimizers.clip_by_value(ema("adam"), 1.0))
    inside = partition({"*W": reduce_on_plateau("gd", 0.5, 0), "*": nn.gd()})
    assert scales(inside, [1.0, 1.0]) == [1.0, 0.5]


def test_a_skipped_update_keeps_what_was_observed() -> None:
    optimizer = reduce_on_plateau("gd")
    step = nn.train_step(nn.dense(1), "mean_squared_error", optimizer, nonfinite="skip")
    ts = nn.train_state(step.model, optimizer, nn.key(0), (2,))
    after, metrics = step(ts, (np.ones((4, 2)), np.ones((4, 1))))
    assert metrics.updated  # a best that is not known yet is not taken for one that is not finite
    assert after.step == 1
