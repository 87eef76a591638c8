"""Deliberate defects in the engine: adding, sharing, tying, omitting and drawing; a check or a law must detect each."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np
import pytest

import nnfunc as nn
from nnfunc.checks.calls import drawn_input
from nnfunc.core import backward, forward, program, wiring
from nnfunc.core.layer import Layer
from nnfunc.core.values import Shapes, Value, leaves
from nnfunc.layers.reshaping import unstack_steps
from nnfunc.testing import assert_layer_laws
from tests.catalogue import randomized


def last_step(call: Callable[..., Value], x: Value) -> Value:
    """The outputs of all other steps are dead."""
    return call(nn.tanh(), call(unstack_steps(), x)[-1])


def twice(call: Callable[..., Value], x: Value) -> Value:
    """One value is two outputs."""
    y = call("f", x)
    return y, y


def tied() -> Layer:
    body = nn.serial(nn.dense(3, bias=False), nn.tanh(), nn.dense(3, bias=False))
    return nn.tie(body, "dense2.W", to="dense1.W", transpose=True)


def frozen() -> Layer:
    return nn.freeze(nn.serial(nn.dense(3), nn.batch_norm(), nn.tanh(), nn.dense(2)), ["dense1.*", "batch_norm1.*"])


# -- what notices ------------------------------------------------------------------------------------------------------

MODELS: dict[str, tuple[Callable[[], Layer], Shapes]] = {
    "fan-out": (lambda: nn.serial(nn.dense(3), nn.branch(nn.tanh(), nn.dense(3)), nn.multiply()), (3,)),
    "fan-out to several inputs": (lambda: nn.serial(nn.dense(3), nn.residual(nn.tanh()), nn.tanh()), (3,)),
    "shared": (lambda: nn.serial(nn.shared(nn.dense(2)), nn.subtract()), ((3,), (3,))),
    "scan": (lambda: nn.scan(nn.serial(nn.concatenate(), nn.dense(2), nn.tanh()), 2), (3, 2)),
    "tied": (tied, (3,)),
    "frozen": (frozen, (3,)),
    "unused": (lambda: nn.serial(nn.branch(nn.dense(3), nn.tanh()), nn.take(1)), (3,)),
    "dead output": (lambda: nn.serial(nn.dense(2), nn.wired(last_step, {})), (3, 2)),
    "one value, two outputs": (lambda: nn.wired(twice, {"f": nn.dense(2)}), (3,)),
    "several inputs": (lambda: nn.serial(nn.parallel(nn.tanh(), nn.dense(3)), nn.add()), ((3,), (2,))),
}


def checked(name: str) -> None:
    make, shape = MODELS[name]
    model = make()
    params, state = model.init(nn.key(0), shape, np.float64)
    x = drawn_input(model, params, shape, 4, nn.key(1))
    report = nn.check_model(model, randomized(params, 0), x, state=state, key=nn.key(2))
    assert report.ok, f"{name}: {report}"


def lawful() -> None:
    assert_layer_laws(nn.serial(nn.dense(3), nn.tanh(), nn.dense(2)), (3,), max_examples=3)
    assert_layer_laws(nn.serial(nn.shared(nn.dense(2)), nn.add()), ((3,), (3,)), max_examples=3)
    assert_layer_laws(nn.serial(nn.add(), nn.tanh()), ((3,), (3,)), max_examples=3)
    assert_layer_laws(nn.serial(), (3,), max_examples=3)


def each_call_draws_its_own() -> None:
    model, x = nn.shared(nn.dropout(0.5)), np.ones((5, 7))
    a, b = model.forward(nn.arrays.EMPTY, nn.arrays.EMPTY, (x, x), key=nn.key(0), train=True)[0]
    assert not np.array_equal(a, b)


def what_is_frozen_predicts() -> None:
    model = frozen()
    params, state = model.init(nn.key(0), (3,))
    new = model.forward(params, state, np.random.default_rng(0).normal(size=(5, 3)), train=True)[2]
    assert nn.arrays.equal(state, new)


def integers_are_looked_up() -> None:
    table = nn.layer(lambda p, i: (p["E"][i], i), gather_backward, {"E": np.ones((5, 2))}, name="table")
    model = nn.serial(nn.parallel(table, nn.dense(2)), nn.add())
    params, state = model.init(nn.key(0), ((), (3,)), np.float64)
    x = np.array([1, 4, 1]), np.random.default_rng(0).normal(size=(3, 3))
    assert nn.check_model(model, params, x, state=state).ok


def gather_backward(p: Any, i: Any, dy: Any) -> tuple[None, dict[str, Any]]:
    dE = np.zeros_like(p["E"])
    np.add.at(dE, i, dy)
    return None, {"E": dE}


CATCHERS: dict[str, Callable[[], None]] = {
    **{name: lambda name=name: checked(name) for name in MODELS},  # type: ignore[misc]  # a default that binds
    "laws": lawful,
    "keys": each_call_draws_its_own,
    "predicts": what_is_frozen_predicts,
    "integers": integers_are_looked_up,
}

# -- what is broken ----------------------------------------------------------------------------------------------------

Mutant = tuple[Callable[..., Any], str, str, str]
"""(function, a piece of its source, what stands there instead, the first that must notice)"""

MUTANTS: dict[str, Mutant] = {
    "a gradient is overwritten where a value fans out": (
        backward.run_backward, "d[i] = dx if d[i] is None else d[i] + dx", "d[i] = dx", "fan-out",
    ),
    "and where it goes into a call with several inputs": (
        backward._hand_down, "gradient if d[n] is None else d[n] + gradient", "gradient", "scan",
    ),
    "the gradient of a value that is two outputs is that of one": (
        backward._add, "value if d[numbers] is None else d[numbers] + value", "value", "one value, two outputs",
    ),
    "the second use of shared parameters overwrites": (
        backward._call_backward, "written[position] += gradient", "written[position][...] = gradient", "shared",
    ),
    "the second use of shared parameters is forgotten": (
        backward._call_backward, "written[position] += gradient", "pass", "shared",
    ),
    "a tied gradient is not transposed": (
        backward._call_backward, "gradient.mT if turned else gradient", "gradient", "tied",
    ),
    "a tied array is not transposed": (program._turned, "arrays[p].mT if t else arrays[p]", "arrays[p]", "tied"),
    "a frozen part has a gradient": (
        program.planned, "p if need_grads and p < program.arrays else None", "p", "frozen",
    ),
    "the gradient stops above whatever is frozen": (
        program.needs, "trained or any(found[n] for n in leaves(op.x))", "trained", "fan-out to several inputs",
    ),
    "what is frozen works as in training": (
        forward.called, "bool(moving.train) and not op.predicts", "bool(moving.train)", "predicts",
    ),
    "the gradient of a dead output is garbage": (backward._call_backward, "np.zeros(*s)", "np.ones(*s)", "dead output"),
    "parameters that are not used have garbage for a gradient": (
        backward.run_backward, "written[p][...] = 0", "written[p][...] = 7", "unused",
    ),
    "without dx parameters below others have no gradient": (
        program.needs, "need_grads and any(p < program.arrays for p in op.params)", "need_dx", "laws",
    ),
    "dx is computed where it is not asked for": (
        program.needs, "need_dx and not program.integers[n]", "True", "integers",
    ),
    "dx is dy itself": (Layer.backward, "seen: Array = view(array)", "seen: Array = array", "laws"),
    "the gradients of two inputs are one array": (
        Layer.backward, "view(d[n]) if type(program.inputs) is tuple else d[n]", "d[n]", "laws",
    ),
    "the key of the second call is that of the first": (
        wiring.Call.__call__, "(-again,) if again else ()", "()", "keys",
    ),
}  # fmt: skip


def broken(function: Callable[..., Any], old: str, new: str) -> Any:
    """The code of a function with another piece in it."""
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1, f"{function.__name__} has {old!r} {source.count(old)} times"
    made: dict[str, Any] = {}
    exec("from __future__ import annotations\n" + source.replace(old, new), function.__globals__, made)
    return made[function.__name__].__code__


@pytest.mark.parametrize("name", CATCHERS)
def test_the_engine_is_right(name: str) -> None:
    CATCHERS[name]()


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_engine_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function, old, new, catcher = MUTANTS[name]
    assert isinstance(function, FunctionType)
    monkeypatch.setattr(function, "__code__", broken(function, old, new))
    with pytest.raises(Exception):  # noqa: B017, PT011  # a finding, or an error on the way
        CATCHERS[catcher]()


def test_each_array_of_a_value_is_looked_at() -> None:
    """The random cotangent is one of all outputs: a mistake behind the second shows."""
    wrong = nn.layer(lambda p, x: (2 * x, None), lambda p, c, dy: (dy, {}), name="doubled")
    params, state = (model := nn.branch(nn.dense(2), wrong)).init(nn.key(0), (3,), np.float64)
    report = nn.check_model(model, params, np.ones((4, 3)), state=state)
    assert [(f.where, f.name, f.kind) for f in report.findings] == [("doubled1", "dx", "scale")]
    assert len(leaves(model.forward(params, state, np.ones((4, 3)))[0])) == 2
