"""Compiled rules give the same bits as NumPy, and formulas give the same bits in one block and in many."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnfunc as nn
from nnfunc.arrays import Array, ArrayDict
from nnfunc.optimizers import compiling, update
from nnfunc.optimizers.straight import straight, zeros_in

RULES: dict[str, nn.Optimizer] = {
    "gd": nn.gd(0.1), "momentum": nn.momentum(0.1), "nesterov": nn.nesterov(0.1), "adagrad": nn.adagrad(0.1),
    "rmsprop": nn.rmsprop(0.1), "adam": nn.adam(0.1), "adam, ε outside": nn.adam(0.1, eps=1e-8, eps_root=0.0),
    "adamw": nn.adamw(0.1), "nadam": nn.optimizers.nadam(0.1), "amsgrad": nn.optimizers.amsgrad(0.1),
    "adamax": nn.optimizers.adamax(0.1), "adadelta": nn.optimizers.adadelta(), "radam": nn.optimizers.radam(0.1),
    "lion": nn.optimizers.lion(0.1, weight_decay=0.1),
}  # fmt: skip
AROUND: dict[str, nn.Optimizer] = {
    "by name": nn.adamw({"*W": 0.1, "*": 0.01}, weight_decay={"*W": 0.1, "*": 0.0}),
    "a schedule": nn.adam(nn.schedules.cosine_decay(0.1, 10)),
    "clipped": nn.clip_by_global_norm(nn.adam(0.1), 0.5),
    "averaged": nn.optimizers.ema(nn.adam(0.1)),
    "without decay": nn.optimizers.lion({"*W": nn.schedules.cosine_decay(0.1, 10), "*": 0.0}),
    "on a plateau": nn.optimizers.reduce_on_plateau(nn.adagrad(0.1)),
    "slow": nn.optimizers.lookahead(nn.optimizers.radam({"*W": 0.1, "*": 0.01}), every=2),
    "a partition": nn.optimizers.partition({"*W": nn.adam(0.1), "*": nn.momentum(0.1)}),
}


def arrays(seed: int, dtype: Any, *lead: int) -> ArrayDict:
    rng = np.random.default_rng(seed)
    given = {"d.W": rng.normal(size=(*lead, 5, 4)), "d.b": rng.normal(size=(*lead, 4))}
    return ArrayDict({k: v.astype(dtype) for k, v in given.items()}, stacked=bool(lead))


def run(
    optimizer: nn.Optimizer, dtype: Any, *lead: int, steps: int = 7, donate: bool = False
) -> tuple[ArrayDict, ArrayDict]:
    params = arrays(0, dtype, *lead)
    state = optimizer.init(params)
    for t in range(steps):
        params, state = optimizer.step(params, arrays(t + 1, dtype, *lead), state, donate)
    return params, state


def recorded(rule: str) -> list[tuple[nn.Optimizer, list[Array], tuple[Any, ...]]]:
    """What a rule is called with in each of some updates."""
    params = arrays(0, np.float32)
    state, found = RULES[rule].init(params), []
    for t in range(1, 8):
        g, optimizer = arrays(t, np.float32), RULES[rule]
        slots = [state.group(slot).vector for slot in optimizer.slots]
        assert optimizer.constants is not None
        found.append((optimizer, [params.vector, g.vector, *slots], optimizer.constants(t, **optimizer.settings)))
        params, state = optimizer.step(params, g, state)
    return found


@pytest.mark.parametrize("name", RULES)
def test_a_straight_program_computes_the_formula(name: str) -> None:
    for optimizer, old, numbers in recorded(name):
        assert optimizer.rule is not None
        wanted = optimizer.rule(*old, *numbers)
        slots = [a.copy() for a in old[2:]]
        for targets in ([np.empty_like(a) for a in slots], slots):  # elsewhere, and where the old ones are
            out = [np.empty_like(old[0]), *targets]
            straight(optimizer.rule, len(old), zeros_in(numbers))([*old[:2], *slots], out, numbers)
            for got, right in zip(out, wanted, strict=True):
                np.testing.assert_array_equal(got, right)


def random_formula(seed: int) -> Callable[..., tuple[Any, ...]]:
    """A formula of three arrays and two numbers, with results that are used again and values that live long."""

    def formula(*given: Any) -> tuple[Any, ...]:
        rng = np.random.default_rng(seed)
        values = list(given[:3])
        for _ in range(rng.integers(3, 14)):
            a, b = (values[i] for i in rng.integers(0, len(values), 2))
            other = given[rng.integers(3, 5)] if rng.random() < 0.4 else b
            values.append([np.add, np.subtract, np.multiply, np.maximum][rng.integers(4)](a, other))
        return tuple(values[i] for i in rng.integers(3, len(values), 2))

    return formula


@pytest.mark.parametrize("seed", range(100))
def test_a_straight_program_computes_any_formula(seed: int) -> None:
    formula, rng = random_formula(seed), np.random.default_rng(seed)
    old, numbers = [rng.normal(size=9).astype(np.float32) for _ in range(3)], (0.5, -1.25)
    wanted = formula(*old, *numbers)
    for slot in (np.empty_like(old[2]), old[2]):
        out = [np.empty_like(old[0]), slot]
        straight(formula, 3, zeros_in(numbers))(old, out, numbers)
        np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("name", RULES)
def test_blocks_change_no_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(RULES[name], np.float32)
    monkeypatch.setattr(update, "BLOCK", 28)  # bytes: seven numbers
    assert run(RULES[name], np.float32) == whole


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [*RULES, *AROUND])
def test_compiled_rules_have_the_same_bits(name: str, dtype: Any) -> None:
    pytest.importorskip("numba")
    optimizer = (RULES | AROUND)[name]
    fast = nn.optimizers.compiled(optimizer)
    assert run(fast, dtype) == run(optimizer, dtype)
    assert run(fast, dtype, 3) == run(optimizer, dtype, 3)
    assert run(fast, dtype, donate=True) == run(optimizer, dtype)
    assert run(optimizer, dtype, donate=True) == run(optimizer, dtype)


def test_rates_of_each_network_of_a_stack() -> None:
    pytest.importorskip("numba")
    optimizer = nn.adam(np.array([0.1, 0.01, 0.0]))
    assert run(nn.optimizers.compiled(optimizer), np.float32, 3) == run(optimizer, np.float32, 3)


def test_a_compiled_optimizer_is_a_value() -> None:
    pytest.importorskip("numba")
    fast = nn.optimizers.compiled("adam")
    assert fast == nn.optimizers.compiled(nn.adam())
    assert fast != nn.adam()
    assert fast != nn.optimizers.compiled("adam", threads=1)
    assert pickle.loads(pickle.dumps(fast)) == copy.deepcopy(fast) == fast
    other = fast._replace(settings=nn.adam(0.5, beta1=0.5).settings)
    assert other == nn.optimizers.compiled(nn.adam(0.5, beta1=0.5))
    assert run(other, np.float32) == run(nn.adam(0.5, beta1=0.5), np.float32)
    assert repr(fast).startswith("compiled(adam(")
    params, state = run(fast, np.float32)
    assert nn.adam().step(params, params, state) == fast.step(params, params, state)  # the state is that of Adam


def test_a_step_of_training_is_the_same_with_threads_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    model = nn.mlp([6, 8, 3], ["relu", "softmax"])
    x, t = np.random.default_rng(0).normal(size=(9, 6)), np.arange(9) % 3
    states = []
    for threads_from, optimizer in ((1 << 20, nn.adam()), (1 << 20, nn.optimizers.compiled("adam")),
                                    (1, nn.optimizers.compiled("adam")),
                                    (1, nn.optimizers.compiled("adam", threads=3))):  # fmt: skip
        monkeypatch.setattr(compiling, "THREADED", threads_from)
        step = nn.train_step(model, nn.sparse_categorical_cross_entropy, optimizer)
        ts = nn.train_state(model, optimizer, nn.key(0), (6,))
        for _ in range(3):
            ts, _ = step(ts, (x, t))
        states.append(ts)
    assert all(ts == states[0] for ts in states)


def test_frozen_parts_stay() -> None:
    pytest.importorskip("numba")
    model = nn.freeze(nn.serial(nn.dense(4), nn.relu(), nn.dense(3), nn.softmax()), "dense1.*")
    x, t = np.random.default_rng(0).normal(size=(9, 6)), np.arange(9) % 3
    states = []
    for optimizer in (nn.adamw(), nn.optimizers.compiled("adamw")):
        ts = nn.train_state(model, optimizer, nn.key(0), (6,))
        states.append(nn.train_step(model, nn.sparse_categorical_cross_entropy, optimizer)(ts, (x, t))[0])
    assert states[0] == states[1]


def own_rule(w: Array, g: Array, m: Array, *, t: int, learning_rate: float, keep: float) -> tuple[Array, Array]:
    m = m * keep + g
    return w - m * learning_rate, m


def own_numbers(w: Array, g: Array, m: Array, *, t: int, learning_rate: Any) -> tuple[Array, Array]:
    """Numbers of its own, a branch on t, elements chosen, powers, what NumPy computes in float64, `+=`."""
    keep = 0.5 if t < 3 else 1 - 0.9**t
    m = m * keep
    m += 2 * g
    strong = np.where(g > 0, 1.0, -1.0) * np.float64(0.1)
    return w - learning_rate * np.clip(m**2 + strong, -0.3, t) / (1 + np.abs(m) ** 0.5), m


def from_a_closure(share: float) -> Callable[..., tuple[Array]]:
    return lambda w, g, *, t, learning_rate: (halfway(w, w - g * (g != 0) * share * learning_rate),)


def halfway(a: Array, b: Array) -> Array:
    return (a + b) / 2


OWN = {
    "plain": nn.optimizer(own_rule, ("m",), elementwise=True, learning_rate=0.1, keep=0.9),
    "numbers": nn.optimizer(own_numbers, ("m",), elementwise=True, learning_rate=0.1),
    "by name": nn.optimizer(own_numbers, ("m",), elementwise=True, learning_rate={"*W": 0.1, "*": 0.3}),
    "a schedule": nn.optimizer(
        own_rule, ("m",), elementwise=True, learning_rate=nn.schedules.cosine_decay(0.1, 9), keep=0.9
    ),
    "a closure": nn.optimizer(from_a_closure(0.3), elementwise=True, learning_rate=0.1),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OWN)
def test_rules_of_your_own(name: str, dtype: Any) -> None:
    pytest.importorskip("numba")
    fast = nn.optimizers.compiled(OWN[name])
    assert run(fast, dtype) == run(OWN[name], dtype)
    assert run(fast, dtype, 3) == run(OWN[name], dtype, 3)


def test_a_rate_of_each_network_in_a_rule_of_your_own() -> None:
    pytest.importorskip("numba")
    own = nn.optimizer(own_numbers, ("m",), elementwise=True, learning_rate=[0.1, 0.2, 0.3])
    assert run(nn.optimizers.compiled(own), np.float32, 3) == run(own, np.float32, 3)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (lambda w, g, *, t: (w - g.sum(),), "no attribute 'sum'"),
        (lambda w, g, *, t: (w - np.sum(g),), "numpy.sum"),
        (lambda w, g, *, t: (w - np.add.accumulate(g),), "np.add in a form that is not elementwise"),
        (lambda w, g, *, t: (w - np.linalg.norm(g),), "numpy.linalg.norm"),
        (lambda w, g, *, t: (w - np.ones(3),), "it computes with ndarray"),
        (lambda w, g, *, t: (w if w > 0 else g,), r"write np\.where\(condition, a, b\)"),
        (lambda w, g, *, t: np.multiply(w, g, out=w), "it writes into its arguments"),
        (lambda w, g, *, t: w - g, "expected the tuple"),
        (lambda w, g, *, t: (w - g, g), "it returned 2 arrays, expected 1"),
        (lambda w, g, *, t: (w - np.heaviside(g, 0.5),), "unsupported NumPy function 'numpy.heaviside'"),
    ],
)
def test_a_rule_that_is_not_compiled_is_named(rule: Callable[..., Any], said: str) -> None:
    pytest.importorskip("numba")
    with pytest.raises(ValueError, match=rf"numba cannot compile the rule <lambda>: .*({said})"):
        run(nn.optimizers.compiled(nn.optimizer(rule, elementwise=True)), np.float64)


def test_what_is_compiled_stays_on_the_disk(tmp_path: Path) -> None:
    pytest.importorskip("numba")
    program = (  # a rule without a file, as in a notebook
        "import nnfunc as nn\n"
        "rule = eval('lambda w, g, *, t: (w - 0.3 * g,)')\n"
        "optimizer = nn.optimizers.compiled(nn.optimizer(rule, elementwise=True))\n"
        "params = nn.ArrayDict({'b': [1.0, 2.0]})\n"
        "print(optimizer.step(params, params, optimizer.init(params))[0]['b'])\n"
    )

    def kept(folder: Path) -> dict[str, int]:
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
        assert run.stdout == "[0.7 1.4]\n", run.stderr
        return {p.name: p.stat().st_mtime_ns for p in folder.rglob("*.nb?")} if folder.is_dir() else {}

    first = kept(tmp_path / "cache")
    assert len(first) == 2  # what numba compiled, and its index
    assert kept(tmp_path / "cache") == first
    (tmp_path / "file").touch()
    assert kept(tmp_path / "file") == {}  # nowhere to write


def test_what_is_not_compiled_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(ImportError, match=r'pip install "nnfunc\[fast\]"'):
        nn.optimizers.compiled("adam")
    monkeypatch.undo()
    pytest.importorskip("numba")
    for optimizer in (nn.optimizers.muon(), nn.optimizer(own_rule, ("m",), learning_rate=0.1, keep=0.5)):
        with pytest.raises(ValueError, match="has no elementwise rule"):
            nn.optimizers.compiled(optimizer)
