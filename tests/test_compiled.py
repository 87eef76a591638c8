"""Compiled rules have the bits of NumPy's form; formulas have the same bits in one block and in many."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import numpy as np
import pytest

import nnfunc as nn
from nnfunc.arrays import Array, ArrayDict
from nnfunc.optimizers import compiling, update

RULES: dict[str, nn.Optimizer] = {
    "gd": nn.gd(0.1), "momentum": nn.momentum(0.1), "nesterov": nn.nesterov(0.1), "adagrad": nn.adagrad(0.1),
    "rmsprop": nn.rmsprop(0.1), "adam": nn.adam(0.1), "adam, ε outside": nn.adam(0.1, eps=1e-8, eps_root=0.0),
    "adamw": nn.adamw(0.1), "nadam": nn.optimizers.nadam(0.1), "amsgrad": nn.optimizers.amsgrad(0.1),
    "adamax": nn.optimizers.adamax(0.1), "adadelta": nn.optimizers.adadelta(), "radam": nn.optimizers.radam(0.1),
    "lion": nn.optimizers.lion(0.1, weight_decay=0.1),
}  # fmt: skip
AROUND: dict[str, nn.Optimizer] = {
    "by name": nn.adamw({"*W": 0.1, "*": 0.01}, weight_decay={"*W": 0.1, "*": 0.0}),
    "a schedule": nn.adam(nn.cosine_decay(0.1, 10)),
    "clipped": nn.clip_by_global_norm(nn.adam(0.1), 0.5),
    "averaged": nn.optimizers.ema(nn.adam(0.1)),
    "a partition": nn.optimizers.partition({"*W": nn.adam(0.1), "*": nn.momentum(0.1)}),
}


def arrays(seed: int, dtype: Any, *lead: int) -> ArrayDict:
    rng = np.random.default_rng(seed)
    given = {"d.W": rng.normal(size=(*lead, 5, 4)), "d.b": rng.normal(size=(*lead, 4))}
    return ArrayDict({k: v.astype(dtype) for k, v in given.items()}, stacked=bool(lead))


def run(optimizer: nn.Optimizer, dtype: Any, *lead: int, steps: int = 7) -> tuple[ArrayDict, ArrayDict]:
    params = arrays(0, dtype, *lead)
    state = optimizer.init(params)
    for t in range(steps):
        params, state = optimizer.step(params, arrays(t + 1, dtype, *lead), state)
    return params, state


@pytest.mark.parametrize("name", RULES)
def test_blocks_change_no_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(RULES[name], np.float32)
    monkeypatch.setattr(update, "BLOCK", 7)
    assert run(RULES[name], np.float32) == whole


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [*RULES, *AROUND])
def test_compiled_rules_have_the_same_bits(name: str, dtype: Any) -> None:
    pytest.importorskip("numba")
    optimizer = (RULES | AROUND)[name]
    fast = nn.optimizers.compiled(optimizer)
    assert run(fast, dtype) == run(optimizer, dtype)
    assert run(fast, dtype, 3) == run(optimizer, dtype, 3)


def test_rates_of_each_network_of_a_stack() -> None:
    pytest.importorskip("numba")
    optimizer = nn.adam(np.array([0.1, 0.01, 0.0]))
    assert run(nn.optimizers.compiled(optimizer), np.float32, 3) == run(optimizer, np.float32, 3)


def test_a_compiled_optimizer_is_a_value() -> None:
    pytest.importorskip("numba")
    fast = nn.optimizers.compiled("adam")
    assert fast == nn.optimizers.compiled(nn.adam())
    assert fast != nn.adam()
    assert pickle.loads(pickle.dumps(fast)) == fast
    assert repr(fast).startswith("compiled(adam(")
    params, state = run(fast, np.float32)
    assert nn.adam().step(params, params, state) == fast.step(params, params, state)  # the state is that of Adam


def test_a_step_of_training_is_the_same_with_threads_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    model = nn.mlp([6, 8, 3], ["relu", "softmax"])
    x, t = np.random.default_rng(0).normal(size=(9, 6)), np.arange(9) % 3
    states = []
    for threads_from, optimizer in ((1 << 20, nn.adam()), (1 << 20, nn.optimizers.compiled("adam")),
                                    (1, nn.optimizers.compiled("adam"))):  # fmt: skip
        monkeypatch.setattr(compiling, "THREADED", threads_from)
        step = nn.train_step(model, nn.sparse_categorical_cross_entropy, optimizer)
        ts = nn.train_state(model, optimizer, nn.key(0), (6,))
        for _ in range(3):
            ts, _ = step(ts, (x, t))
        states.append(ts)
    assert states[0] == states[1] == states[2]


def own_rule(w: Array, g: Array, m: Array, *, t: int, learning_rate: float, keep: float) -> tuple[Array, Array]:
    m = m * keep + g
    return w - m * learning_rate, m


def own_number(w: Array, g: Array, *, t: int, learning_rate: float) -> tuple[Array, ...]:
    return (w - 0.1 * g * learning_rate,)


def own_python(w: Array, g: Array, *, t: int, learning_rate: float) -> tuple[Array, ...]:
    return (w - g * learning_rate * eval("1"),)


def test_rules_of_your_own() -> None:
    pytest.importorskip("numba")
    own = nn.optimizer(own_rule, ("m",), elementwise=True, learning_rate=0.1, keep=0.9)
    assert run(nn.optimizers.compiled(own), np.float32) == run(own, np.float32)
    number = nn.optimizer(own_number, elementwise=True, learning_rate=0.1)
    assert run(nn.optimizers.compiled(number), np.float64) == run(number, np.float64)
    with pytest.raises(ValueError, match=r"the rule own_number has other bits when it is compiled for float32"):
        run(nn.optimizers.compiled(number), np.float32)
    with pytest.raises(ValueError, match="numba does not compile the rule own_python: "):
        run(nn.optimizers.compiled(nn.optimizer(own_python, elementwise=True, learning_rate=0.1)), np.float64)


def test_what_is_not_compiled_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(ImportError, match=r'pip install "nnfunc\[fast\]"'):
        nn.optimizers.compiled("adam")
    monkeypatch.undo()
    pytest.importorskip("numba")
    for optimizer in (nn.optimizers.muon(), nn.optimizer(own_rule, ("m",), learning_rate=0.1, keep=0.5)):
        with pytest.raises(ValueError, match="has no rule for each element by itself"):
            nn.optimizers.compiled(optimizer)
