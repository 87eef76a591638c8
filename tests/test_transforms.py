"""Wrappers around optimizers: lookahead, moving averages of parameters, partitions; and muon, which needs one."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc import distributed
from nnfunc.arrays import Array, ArrayDict
from nnfunc.optimizers import averaged, ema, lookahead, muon, partition, reduce_on_plateau
from nnfunc.optimizers.orthogonal import orthogonalized

rng = np.random.default_rng(0)
W0 = rng.normal(size=(3, 2))
GRADIENTS = [rng.normal(size=(3, 2)) for _ in range(12)]

MODEL = nn.mlp([3, 5, 2], ["tanh", "softmax"])
DATA = rng.normal(size=(20, 3)).astype(np.float32), rng.integers(0, 2, 20)


def path(
    optimizer: nn.Optimizer, w: Array = W0, gradients: Sequence[Array] = GRADIENTS
) -> list[tuple[ArrayDict, ArrayDict]]:
    """The parameters and states after each update."""
    params, steps = ArrayDict({"W": w}), []
    opt_state = optimizer.init(params)
    for g in gradients:
        params, opt_state = optimizer.step(params, {"W": g}, opt_state)
        steps.append((params, opt_state))
    return steps


def trained(
    optimizer: nn.Optimizer, model: nn.Layer = MODEL, steps: int = 7, members: int | None = None
) -> nn.TrainState:
    step = nn.train_step(model, "sparse_categorical_cross_entropy", optimizer)
    keys = nn.key(0) if members is None else nn.split(nn.key(0), members)
    ts = nn.train_state(model, optimizer, keys, (3,), np.float64)
    for _ in range(steps):
        ts, _ = step(ts, DATA)
    return ts


# -- lookahead ---------------------------------------------------------------------------------------------------------


@given(every=st.integers(1, 5), rate=st.floats(0, 1))
def test_lookahead_by_hand(every: int, rate: float) -> None:
    w, slow = W0, W0
    for t, ((params, opt_state), g) in enumerate(
        zip(path(lookahead(nn.gd(0.1), every, rate)), GRADIENTS, strict=True), 1
    ):
        w = w - 0.1 * g
        if t % every == 0:
            w = slow = slow + rate * (w - slow)
        np.testing.assert_allclose(params["W"], w, rtol=1e-12)
        np.testing.assert_allclose(opt_state["slow.W"], slow, rtol=1e-12)


def test_lookahead_of_optax() -> None:
    optax, jax = pytest.importorskip("optax"), pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    theirs = optax.lookahead(optax.adam(0.1), 3, 0.7)
    w = optax.LookaheadParams.init_synced(W0)
    state = theirs.init(w)
    mine = path(lookahead(nn.adam(0.1, eps=1e-8, eps_root=0.0), 3, 0.7))
    for g, (params, opt_state) in zip(GRADIENTS, mine, strict=True):
        update, state = theirs.update(g, state, w)
        w = optax.apply_updates(w, update)
        np.testing.assert_allclose(params["W"], w.fast, rtol=1e-6)
        np.testing.assert_allclose(opt_state["slow.W"], w.slow, rtol=1e-6)


# -- moving averages ---------------------------------------------------------------------------------------------------


def test_ema_of_optax() -> None:
    optax, jax = pytest.importorskip("optax"), pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    theirs = optax.ema(0.8, debias=True)
    state = theirs.init(W0)
    for params, opt_state in path(ema(nn.adam(0.1), 0.8)):
        expected, state = theirs.update(params["W"], state)
        np.testing.assert_allclose(averaged(opt_state)["W"], expected, rtol=1e-6)


def test_ema_of_torch() -> None:
    torch = pytest.importorskip("torch")
    from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

    module = torch.nn.Linear(3, 2, bias=False).double()
    theirs = AveragedModel(module, avg_fn=get_ema_avg_fn(0.8))
    for params, opt_state in path(ema(nn.adam(0.1), 0.8, bias_correction=False)):
        with torch.no_grad():
            module.weight.copy_(torch.tensor(params["W"].T.copy()))
        theirs.update_parameters(module)
        np.testing.assert_allclose(averaged(opt_state)["W"], theirs.module.weight.detach().numpy().T, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_average_changes_nothing_of_the_training(dtype: type[np.floating]) -> None:
    plain, around = path(nn.adam(0.1), W0.astype(dtype)), path(ema(nn.adam(0.1)), W0.astype(dtype))
    for (params, opt_state), (same, more) in zip(plain, around, strict=True):
        assert nn.arrays.equal(params, same)
        assert nn.arrays.equal(opt_state, more.without("average.*"))
        assert averaged(more).dtype == dtype


def test_what_is_averaged_has_the_names_of_the_parameters() -> None:
    frozen = nn.freeze(MODEL, "dense1.*")
    ts = trained(ema(nn.adam(0.1)), frozen)
    assert list(averaged(ts.opt_state)) == list(ts.params) == ["dense2.W", "dense2.b"]
    assert nn.evaluate(frozen, "sparse_categorical_cross_entropy", ts._replace(params=averaged(ts.opt_state)), *DATA)
    start = nn.train_state(MODEL, ema("adam"), nn.key(0), (3,))
    assert nn.arrays.equal(averaged(start.opt_state), start.params)  # before the first update
    stacked = trained(ema(nn.adam(np.array([0.1, 0.2]))), members=2)
    assert averaged(stacked.opt_state).stack_shape == (2,)
    alone = nn.unstack(stacked)[1]
    assert nn.arrays.equal(averaged(alone.opt_state), nn.unstack(averaged(stacked.opt_state))[1])
    with pytest.raises(ValueError, match="opt_state contains no average: train with"):
        averaged(trained(nn.adam()).opt_state)


def test_they_stand_around_each_other() -> None:
    inside = path(lookahead(ema(nn.gd(0.1), 0.5, False), 2, 0.5), gradients=GRADIENTS[:2])
    outside = path(ema(lookahead(nn.gd(0.1), 2, 0.5), 0.5, False), gradients=GRADIENTS[:2])
    assert nn.arrays.equal(inside[-1][0], outside[-1][0])
    fast = W0 - 0.1 * GRADIENTS[0], W0 - 0.1 * (GRADIENTS[0] + GRADIENTS[1])
    np.testing.assert_allclose(averaged(inside[-1][1])["W"], (fast[0] + fast[1]) / 2)
    np.testing.assert_allclose(averaged(outside[-1][1])["W"], (fast[0] + (W0 + fast[1]) / 2) / 2)
    clipped = path(ema(nn.clip_by_global_norm(nn.gd(1.0), 0.1)), gradients=[1e3 * W0])[0]
    assert nn.arrays.equal(clipped[0], path(nn.clip_by_global_norm(ema(nn.gd(1.0)), 0.1), gradients=[1e3 * W0])[0][0])
    np.testing.assert_allclose(np.linalg.norm(clipped[0]["W"] - W0), 0.1)
    with pytest.raises(ValueError, match="ema wraps an optimizer that contains ema already"):
        ema(nn.optimizers.clip_by_value(ema("adam"), 1.0))
    with pytest.raises(ValueError, match="lookahead wraps an optimizer that contains lookahead already"):
        lookahead(lookahead("adam"))


def test_a_skipped_update_is_not_averaged() -> None:
    step = nn.train_step(MODEL, "sparse_categorical_cross_entropy", lookahead(ema("adam"), 1), nonfinite="skip")
    ts = nn.train_state(MODEL, step.optimizer, nn.key(0), (3,))
    with np.errstate(all="ignore"):
        after, metrics = step(ts._replace(params=ts.params * 1e38), (DATA[0] * 1e38, DATA[1]))
    assert not metrics.updated
    assert nn.arrays.equal(after.opt_state, ts.opt_state)


def test_blocks_change_no_bit_of_wrappers(monkeypatch: pytest.MonkeyPatch) -> None:
    params = ArrayDict({"W": rng.normal(size=1000)})
    optimizer, found = ema(lookahead(nn.adamw({"W": 0.1}), 1)), []
    for block in (1 << 15, 37 * 8):  # bytes
        monkeypatch.setattr("nnfunc.optimizers.update.BLOCK", block)
        found.append(optimizer.step(params, params * 0.5, optimizer.init(params)))
    assert nn.arrays.equal(found[0][0], found[1][0])
    assert nn.arrays.equal(found[0][1], found[1][1])


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="every=0: expected an integer, 1 or more"):
        lookahead("adam", every=0)
    with pytest.raises(ValueError, match=r"rate=1.5: expected a number in \[0, 1\]"):
        lookahead("adam", rate=1.5)
    with pytest.raises(ValueError, match=r"decay=1: expected a number in \[0, 1\): with 1, new values"):
        ema("adam", decay=1)
    with pytest.raises(TypeError, match="bias_correction=1: expected True or False"):
        ema("adam", bias_correction=1)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ValueError, match="unknown optimizer 'adm'"):
        ema("adm")  # type: ignore[arg-type]  # what is tested
    with pytest.raises(TypeError, match=r"is not of type Optimizer: call it: adam\(\.\.\.\)"):
        lookahead(nn.adam)  # type: ignore[arg-type]  # what is tested
    own = nn.Optimizer(lambda params: {}, lambda params, grads, opt_state: (params, opt_state))
    for around in (ema, lookahead, lambda o: partition({"*": o})):
        with pytest.raises(TypeError, match=r"cannot wrap an Optimizer\(init, step\).*create it with nn.optimizer"):
            around(own)


# -- partitions --------------------------------------------------------------------------------------------------------

GROUPS = ArrayDict({"dense1.W": W0, "dense1.b": np.ones(2), "dense2.W": W0.T, "dense2.b": np.ones(3)})


def test_each_part_is_its_optimizer_alone() -> None:
    parts = {"dense2.b": nn.gd(0.5), "*W": ema(nn.adam(0.1)), "*": nn.clip_by_global_norm(nn.rmsprop(0.2), 0.01)}
    names = ["dense2.b"], ["dense1.W", "dense2.W"], ["dense1.b"]
    optimizer = partition(parts)
    params, opt_state = GROUPS, optimizer.init(GROUPS)
    alone = [
        (GROUPS.select(own), part.init(GROUPS.select(own))) for own, part in zip(names, parts.values(), strict=True)
    ]
    for i in range(4):
        grads = GROUPS.map(lambda v: np.cos(v + i))  # noqa: B023  # called at once
        params, opt_state = optimizer.step(params, grads, opt_state)
        alone = [
            part.step(p, grads.select(own), s) for own, part, (p, s) in zip(names, parts.values(), alone, strict=True)
        ]
    assert nn.arrays.equal(params, {k: p[k] for p, _ in alone for k in p})
    for _, state in alone:
        assert all(np.array_equal(opt_state[k], state[k]) for k in state)
    assert len(opt_state) == 3 * 2 + 1 + 1  # m, v and average of two; v of one; step
    assert pickle.loads(pickle.dumps(optimizer)) == optimizer
    assert repr(optimizer).startswith(
        "partition({'dense2.b': gd(learning_rate=0.5), '*W': ema(adam(learning_rate=0.1, "
    )


def test_a_partition_of_a_stack_with_rates_of_its_members() -> None:
    rates = np.array([0.1, 0.02])
    optimizers = [partition({"*W": muon(r), "*": ema(nn.adam(r))}) for r in (rates, *rates)]
    stacked = trained(optimizers[0], members=2)
    for k, (member, optimizer) in enumerate(zip(nn.unstack(stacked), optimizers[1:], strict=True)):
        step = nn.train_step(MODEL, "sparse_categorical_cross_entropy", optimizer)
        ts = nn.train_state(MODEL, optimizer, nn.split(nn.key(0), 2)[k], (3,), np.float64)
        for _ in range(7):
            ts, _ = step(ts, DATA)
        assert nn.arrays.allclose(member.params, ts.params, rtol=1e-9)
        assert nn.arrays.allclose(member.opt_state, ts.opt_state, rtol=1e-9, atol=1e-12)


def test_errors_of_partitions() -> None:
    with pytest.raises(ValueError, match=r"partition has no pattern that matches dense1.b, dense2.b: add '\*'"):
        partition({"*W": "adam"}).init(GROUPS)
    with pytest.raises(ValueError, match=r"pattern 'conv\*' does not match any name"):
        partition({"conv*": "adam", "*": "gd"}).init(GROUPS)
    wrong: object
    for wrong in ({}, ["adam"]):
        with pytest.raises(TypeError, match="expected a dict of patterns"):
            partition(wrong)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ValueError, match=r"opt_state \(of another optimizer"):
        partition({"*": "adam"}).step(GROUPS, GROUPS, nn.gd().init(GROUPS))
    for whole in (partition({"*": "adam"}), muon(), ema("adam")):  # a part of the vector has no names and no shapes
        with pytest.raises(ValueError, match="expected an elementwise rule"):
            distributed.divided(whole, distributed.sharded(2))
    assert nn.arrays.equal(
        partition({"*": "gd", "*b": "adam"}).init(GROUPS), nn.gd().init(GROUPS)
    )  # a part may be empty


# -- muon --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 2), (2, 5), (4, 4)])
def test_muon_of_torch(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)  # in which it computes
    start, *gradients = rng.normal(size=(8, *shape))
    w = torch.tensor(start.T.copy(), requires_grad=True)
    theirs = torch.optim.Muon([w], lr=0.1, weight_decay=0.3)
    for g, (params, _) in zip(gradients, path(muon(0.1, weight_decay=0.3), start, gradients), strict=True):
        w.grad = torch.tensor(g.T.copy())
        theirs.step()
        np.testing.assert_allclose(params["W"], w.detach().numpy().T, rtol=1e-10, atol=1e-13)


def test_orthogonalization_of_optax() -> None:
    jax, contrib = pytest.importorskip("jax"), pytest.importorskip("optax.contrib._muon")
    jax.config.update("jax_enable_x64", True)
    for shape in ((3, 7), (7, 3), (5, 5)):
        a = rng.normal(size=shape)
        expected = contrib.orthogonalize_via_newton_schulz(a, jax.numpy.array(contrib._DEFAULT_NS_COEFFS), eps=0.0)
        np.testing.assert_allclose(orthogonalized(a), expected, rtol=1e-9, atol=1e-12)


@given(rows=st.integers(1, 12), columns=st.integers(1, 12), seed=st.integers(0, 1000), scale=st.floats(1e-3, 1e3))
def test_orthogonalized_keeps_the_singular_vectors(rows: int, columns: int, seed: int, scale: float) -> None:
    a = scale * np.random.default_rng(seed).normal(size=(rows, columns))
    u, s, v = np.linalg.svd(a, full_matrices=False)
    inside = u.T @ orthogonalized(a) @ v.T
    np.testing.assert_allclose(inside, np.diag(np.diag(inside)), atol=1e-9)
    large = s > 0.02 * np.linalg.norm(s)
    assert ((np.diag(inside)[large] > 0.65) & (np.diag(inside)[large] < 1.2)).all()


def test_a_kernel_of_many_axes_is_a_matrix() -> None:
    kernel, g = rng.normal(size=(2, 3, 3, 2, 5))
    [(params, _)] = path(muon(0.1), kernel, [g])
    [(matrix, _)] = path(muon(0.1), kernel.reshape(-1, 5), [g.reshape(-1, 5)])
    np.testing.assert_array_equal(params["W"].reshape(-1, 5), matrix["W"])


def test_muon_learns_and_says_what_it_is_for() -> None:
    optimizer = partition({"*W": muon(nn.schedules.cosine_decay(0.3, 60)), "*": nn.adam(0.1)})
    step = nn.train_step(MODEL, "sparse_categorical_cross_entropy", optimizer)
    target = (DATA[0][:, 0] > DATA[0][:, 1]).astype(int)
    ts = nn.train_state(MODEL, optimizer, nn.key(0), (3,))
    for _ in range(60):
        ts, metrics = step(ts, (DATA[0], target))
    assert metrics.loss < 0.05
    with pytest.raises(ValueError, match=r"dense1.b: it has shape \(5,\), but muon is for matrices.*partition"):
        trained(muon())


@pytest.mark.parametrize("elementwise", [False, True])
def test_they_stand_around_a_rule_of_ones_own(elementwise: bool) -> None:
    own = nn.optimizer(heavy, ("m",), elementwise=elementwise, rate=0.1)
    same = nn.momentum(0.1, 0.5, dampening=0.0)
    around: tuple[Callable[[nn.Optimizer], nn.Optimizer], ...] = (
        ema,
        lambda o: lookahead(o, 2),
        reduce_on_plateau,
        lambda o: partition({"*W": o, "*": o}),
        lambda o: nn.clip_by_global_norm(ema(lookahead(o)), 0.01),
    )
    for wrap in around:
        for members in (None, 2):
            ts, expected = trained(wrap(own), members=members), trained(wrap(same), members=members)
            assert nn.arrays.allclose(ts.params, expected.params, rtol=1e-9)
            mine, theirs = (s.opt_state.without("step") for s in (ts, expected))
            assert nn.arrays.allclose(mine, theirs, rtol=1e-9, atol=1e-12)
        step = nn.train_step(MODEL, "sparse_categorical_cross_entropy", wrap(own))
        kept = nn.train_state(MODEL, step.optimizer, nn.key(0), (3,))
        assert nn.arrays.equal(step(kept, DATA, donate=True)[0].params, step(kept, DATA)[0].params)


def heavy(w: Array, g: Array, m: Array, *, t: int, rate: float) -> tuple[Array, Array]:
    m = 0.5 * m + g
    return w - rate * m, m


def test_a_shaped_rule_of_ones_own_gets_arrays_and_settings_by_name() -> None:
    optimizer = nn.optimizer(centred, shaped=True, rate={"dense1.*": 0.5, "*": nn.schedules.constant_schedule(1.0)})
    params = nn.stack([GROUPS, GROUPS * 2.0])
    after, _ = optimizer.step(params, params, optimizer.init(params))
    for k, rate in {"dense1.W": 0.5, "dense2.W": 1.0}.items():
        for own, new in zip(params[k], after[k], strict=True):
            np.testing.assert_allclose(new, own - rate * (own - own.mean(axis=0)))


def centred(w: Array, g: Array, *, t: int, rate: float) -> tuple[Array]:
    return (w - rate * (g - g.mean(axis=0)),)
