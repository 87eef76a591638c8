"""Optimizers: convergence, settings by name and by step, state, errors. Their formulas: test_readme_formulas and
test_torch_optax."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc.arrays import Array, ArrayDict
from nnfunc.optimizers import names, update
from nnfunc.optimizers.setting import Schedule, Setting
from tests.catalogue import OPTIMIZERS


def descend(optimizer: nn.Optimizer, gradient: object, start: list[float], steps: int) -> Array:
    assert callable(gradient)
    params = ArrayDict({"x": start})
    opt_state = optimizer.init(params)
    for _ in range(steps):
        params, opt_state = optimizer.step(params, {"x": gradient(params["x"])}, opt_state)
    return params["x"]


def rosenbrock_gradient(x: Array) -> Array:
    return np.array([-2 * (1 - x[0]) - 4 * (x[1] - x[0] ** 2) * x[0], 2 * (x[1] - x[0] ** 2)])


@pytest.mark.parametrize("name", [k for k in OPTIMIZERS if k != "optimizer"])
def test_it_finds_the_bottom_of_a_parabola(name: str) -> None:
    optimizer = nn.adamw(0.1, weight_decay=0.0) if name == "adamw" else OPTIMIZERS[name]
    x = descend(optimizer, lambda x: x - [1.0, -2.0], [3.0, 4.0], 5000)
    np.testing.assert_allclose(x, [1.0, -2.0], atol=0.1)


@pytest.mark.parametrize(
    "optimizer",
    [
        nn.gd(0.05),
        nn.momentum(0.05),
        nn.nesterov(0.05),
        nn.adam(0.01),
        nn.rmsprop(0.01, 0.9),
        nn.adagrad(0.5),
        nn.optimizers.adadelta(nn.schedules.exponential_decay(1.0, 0.5, 800)),
        nn.optimizers.adamax(0.02),
        nn.optimizers.amsgrad(0.01),
        nn.optimizers.lion(nn.schedules.exponential_decay(0.01, 0.5, 1000)),
        nn.optimizers.nadam(0.01),
        nn.optimizers.radam(0.01),
    ],
    ids=repr,
)
def test_it_finds_the_valley_of_rosenbrock(optimizer: nn.Optimizer) -> None:
    x = descend(optimizer, rosenbrock_gradient, [-1.0, 1.0], 5000)
    np.testing.assert_allclose(x, [1.0, 1.0], atol=0.03)


def test_a_gradient_of_zero_moves_nothing() -> None:
    for name, optimizer in OPTIMIZERS.items():
        if name != "adamw":
            x = descend(optimizer, np.zeros_like, [1.0, -1.0], 3)
            np.testing.assert_array_equal(x, [1.0, -1.0], err_msg=name)


@pytest.mark.parametrize("name", sorted(names.OPTIMIZERS))
@given(
    bottom=st.lists(st.floats(-2, 2), min_size=1, max_size=4),
    steepness=st.floats(0.3, 3),
    schedule=st.sampled_from([nn.schedules.cosine_decay, nn.schedules.polynomial_decay]),
)
@settings(max_examples=5)
def test_with_a_rate_that_falls_to_0_it_finds_the_bottom_of_any_parabola(
    name: str, bottom: list[float], steepness: float, schedule: Callable[[float, int], Schedule]
) -> None:
    decay = {"weight_decay": 0.0} if name == "adamw" else {}
    rate = {"adadelta": 10.0, "gd": 0.3, "momentum": 0.3, "nesterov": 0.3, "adagrad": 1.0}.get(name, 0.1)
    optimizer = names.OPTIMIZERS[name](learning_rate=schedule(rate, 600), **decay)
    x = descend(optimizer, lambda x: steepness * (x - bottom), [0.0] * len(bottom), 600)
    np.testing.assert_allclose(x, bottom, atol=0.02)


def test_muon_finds_the_bottom_of_a_parabola_of_matrices() -> None:
    bottom = np.random.default_rng(0).normal(size=(4, 3))
    optimizer = nn.optimizers.muon(nn.schedules.cosine_decay(0.3, 200))
    params = ArrayDict({"W": np.zeros((4, 3))})
    opt_state = optimizer.init(params)
    for _ in range(200):
        params, opt_state = optimizer.step(params, {"W": params["W"] - bottom}, opt_state)
    np.testing.assert_allclose(params["W"], bottom, atol=0.02)


params = ArrayDict({"dense1.W": np.ones((2, 3)), "dense1.b": np.ones(3), "dense2.W": np.ones((3, 1))})
grads = params.map(lambda v: 0.5 * v)


def test_settings_by_name_the_first_pattern_counts() -> None:
    optimizer = nn.gd({"dense2.*": 0.0, "*.W": nn.schedules.constant_schedule(0.2), "*": 1.0})
    after, _ = optimizer.step(params, grads, optimizer.init(params))
    np.testing.assert_array_equal(after["dense2.W"], params["dense2.W"])  # frozen
    np.testing.assert_allclose(after["dense1.W"], 0.9)
    np.testing.assert_allclose(after["dense1.b"], 0.5)
    with pytest.raises(ValueError, match=r"learning_rate has no pattern that matches dense1.b: add '\*'"):
        nn.gd({"*.W": 0.1}).step(params, grads, nn.gd({"*.W": 0.1}).init(params))
    with pytest.raises(ValueError, match=r"pattern 'conv\*' does not match any name"):
        nn.gd({"conv*": 0.1, "*": 1.0}).step(params, grads, nn.gd(0.1).init(params))


def test_no_decay_on_biases() -> None:
    optimizer = nn.adamw(0.1, weight_decay={"*W": 0.5, "*": 0.0})
    after, _ = optimizer.step(params, grads * 0, optimizer.init(params))
    np.testing.assert_allclose(after["dense1.W"], 1 - 0.1 * 0.5)
    np.testing.assert_array_equal(after["dense1.b"], 1.0)


def test_a_learning_rate_for_each_member_of_a_stack() -> None:
    optimizer = nn.gd(np.array([0.1, 0.2]))
    after, _ = optimizer.step(nn.stack([params] * 2), nn.stack([grads] * 2), optimizer.init(nn.stack([params] * 2)))
    np.testing.assert_allclose(after["dense1.b"], [[0.95] * 3, [0.9] * 3])
    with pytest.raises(ValueError, match=r"learning_rate has shape \(2,\), but the parameters are a single network"):
        optimizer.step(params, grads, optimizer.init(params))


def test_members_of_a_stack_may_have_different_step_counts() -> None:
    optimizer = nn.adam(nn.schedules.cosine_decay(0.1, 5))
    fresh = optimizer.init(params)
    later = optimizer.step(params, grads, optimizer.step(params, grads, fresh)[1])[1]
    both, state = optimizer.step(nn.stack([params] * 2), nn.stack([grads] * 2), nn.stack([fresh, later]))
    for got, start in zip(nn.unstack(both), (fresh, later), strict=True):
        assert nn.arrays.equal(got, optimizer.step(params, grads, start)[0])
    assert state["step"].tolist() == [1, 3]


def test_blocks_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for vector in (rng.normal(size=1000), rng.normal(size=(3, 400))):
        big = ArrayDict({"W": vector}, stacked=vector.ndim > 1)
        steps = []
        for block in (1 << 15, 37 * 8):  # bytes
            monkeypatch.setattr(update, "BLOCK", block)
            optimizer = nn.adamw({"W": 0.1}, weight_decay=0.1)
            steps.append(optimizer.step(big, big * 0.5, optimizer.init(big)))
        assert nn.arrays.equal(steps[0][0], steps[1][0])
        assert nn.arrays.equal(steps[0][1], steps[1][1])


def test_state_is_matched_by_name() -> None:
    optimizer = nn.adam()
    _, opt_state = optimizer.step(params, grads, optimizer.init(params))
    shuffled = ArrayDict(dict(reversed(list(opt_state.items()))))
    assert list(shuffled) != list(opt_state)
    assert nn.arrays.equal(optimizer.step(params, grads, opt_state)[0], optimizer.step(params, grads, shuffled)[0])
    with pytest.raises(ValueError, match=r"lacks v\.dense1\.W"):
        optimizer.step(params, grads, nn.momentum().init(params))


def test_clipping() -> None:
    after, _ = nn.clip_by_global_norm(nn.gd(1.0), 100.0).step(params, grads, nn.gd().init(params))
    assert nn.arrays.equal(after, params - grads)  # short gradients stay as they are
    huge = params.map(lambda v: v * 1e30).astype(np.float32)
    small = params.astype(np.float32)
    after, _ = nn.clip_by_global_norm(nn.gd(1.0), 1.0).step(small, huge, nn.gd().init(small))
    np.testing.assert_allclose(np.linalg.norm((small - after).vector), 1.0, rtol=1e-5)


@pytest.mark.parametrize("make", list(names.OPTIMIZERS.values()))
@pytest.mark.parametrize("rate", [-0.1, np.nan, np.inf, {"*": -1.0}, [0.1, -0.1], True])
def test_wrong_learning_rates(make: object, rate: object) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=r"learning_rate.*expected a number in \[0, ∞\)"):
        make(rate)


def test_other_wrong_settings() -> None:
    with pytest.raises(ValueError, match=r"beta1=1.5: expected a number in \[0, 1\]"):
        nn.adam(beta1=1.5)
    with pytest.raises(ValueError, match="beta2=1: expected a number below 1"):
        nn.rmsprop(beta2=1)
    with pytest.raises(ValueError, match="eps=0 and eps_root=0"):
        nn.adam(eps_root=0.0)
    with pytest.raises(ValueError, match=r"eps=0 and eps_root=1e-46: .* in float32"):
        nn.adam(eps_root=1e-46)
    with pytest.raises(ValueError, match="max_norm=0"):
        nn.clip_by_global_norm(nn.gd(), 0)
    with pytest.raises(ValueError, match="limit=-1"):
        nn.optimizers.clip_by_value(nn.gd(), -1)
    with pytest.raises(ValueError, match=r"the schedule of learning_rate at step 0=-1\.0"):
        nn.gd(lambda t: -1.0).step(params, grads, nn.gd().init(params))
    with pytest.raises(ValueError, match="initial=-1: expected"):
        nn.schedules.step_decay(-1, 0.5, 1)
    with pytest.raises(ValueError, match="steps=0: expected"):
        nn.schedules.cosine_decay(0.1, 0)
    with pytest.raises(ValueError, match="steps=0: expected"):
        nn.schedules.linear_warmup(0, 0.1)


def test_long_runs_count_exactly() -> None:
    state = nn.gd().init(params).replace(step=2**40)
    assert int(nn.gd().step(params, grads, state)[1]["step"]) == 2**40 + 1


def test_wrong_settings_of_the_relatives_of_adam() -> None:
    with pytest.raises(ValueError, match=r"eps=0: expected a number in \[1e-30, ∞\): a gradient of 0 would"):
        nn.optimizers.adamax(eps=0)
    with pytest.raises(ValueError, match=r"eps_root=0: expected a number in \[1e-30, ∞\): from a D of 0"):
        nn.optimizers.adadelta(eps_root=0)
    with pytest.raises(ValueError, match="momentum_decay=-1: expected"):
        nn.optimizers.nadam(momentum_decay=-1)
    with pytest.raises(ValueError, match=r"weight_decay=-0.1: expected a number in \[0, ∞\)"):
        nn.optimizers.lion(weight_decay=-0.1)
    with pytest.raises(ValueError, match="unknown optimizer 'adamx': did you mean 'adamax'"):
        nn.train_step(nn.dense(1), "mean_squared_error", "adamx")  # type: ignore[arg-type]  # what is tested


def test_radam_with_a_short_memory_never_divides() -> None:
    sure = descend(nn.optimizers.radam(0.1, beta2=0.5), np.ones_like, [0.0], 5)  # ρ∞ = 3: no Ŝ is ever sure
    np.testing.assert_allclose(sure, [-0.5], rtol=1e-12)


def test_nadams_product_of_momenta_vanishes_without_a_jump() -> None:
    optimizer = nn.optimizers.nadam(1.0, eps=1.0, eps_root=0.0)
    for t in range(369, 374):  # 0.9ᵗ goes below a rounding of 1
        after, _ = optimizer.step(params, grads, optimizer.init(params).replace(step=t - 1))
        now, later = (0.9 * (1 - 0.5 * 0.96 ** (0.004 * s)) for s in (t, t + 1))
        root = np.sqrt(0.001 * 0.25 / (1 - 0.999**t))
        wanted = 1 - (later * 0.05 + (1 - now) * 0.5) / (root + 1)
        np.testing.assert_allclose(after["dense1.b"], wanted, rtol=1e-14)


@pytest.mark.parametrize("name", sorted(names.OPTIMIZERS))
def test_rates_by_name_by_network_and_by_step(name: str) -> None:
    make = names.OPTIMIZERS[name]
    falling = nn.schedules.exponential_decay(0.1, 0.5, 2)

    def run(rate: Setting, start: ArrayDict, steps: int = 5) -> ArrayDict:
        optimizer, p = make(learning_rate=rate), start
        opt_state = optimizer.init(p)
        for i in range(steps):
            p, opt_state = optimizer.step(p, p.map(lambda v: np.cos(3 * v + i)), opt_state)  # noqa: B023  # at once
        return p

    by_name = run({"dense1.*": 0.1, "*": falling}, params)
    assert nn.arrays.equal(by_name.select("dense1.*"), run(0.1, params).select("dense1.*"))
    assert nn.arrays.allclose(by_name.select("dense2.*"), run(falling, params).select("dense2.*"), rtol=1e-12)
    stacked = nn.unstack(run([0.1, 0.02], nn.stack([params, params * 0.5])))
    assert nn.arrays.allclose(stacked[0], run(0.1, params), rtol=1e-12)
    assert nn.arrays.allclose(stacked[1], run(0.02, params * 0.5), rtol=1e-12)
    assert not nn.arrays.allclose(run(falling, params), run(0.1, params), rtol=1e-6)
