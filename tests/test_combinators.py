"""Combinators: non-sequential networks, their gradients, names, keys and errors."""

from __future__ import annotations

import pickle
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nnfunc as nn
from nnfunc.core.values import leaves, map_leaves

rng = np.random.default_rng(0)
ROWS = 5


def reals(*shape: int) -> nn.Array:
    return rng.normal(size=(ROWS, *shape))


def gate(call: Any, x: Any) -> Any:
    """tanh(f(x)) · σ(f(f(x))): one layer used twice."""
    once = call("f", x)
    return call(nn.multiply(), (call(nn.tanh(), once), call(nn.sigmoid(), call("f", once))))


Pair = namedtuple("Pair", ["image", "table"])
TOWER = nn.serial(nn.dense(3), nn.tanh())
CELL = nn.serial(nn.concatenate(), nn.dense(3), nn.tanh())

MODELS: dict[str, tuple[nn.Layer, Any, Any]] = {
    "two inputs": (
        nn.serial(
            nn.parallel(image=nn.serial(nn.flatten(), nn.dense(4), nn.tanh()), table=nn.dense(3)),
            nn.concatenate(),
            nn.dense(2),
        ),
        ((3, 3), (4,)),
        (reals(3, 3), reals(4)),
    ),
    "a named tuple": (
        nn.serial(nn.parallel(nn.flatten(), nn.dense(2)), nn.concatenate(), nn.dense(2)),
        Pair((2, 2), (3,)),
        Pair(reals(2, 2), reals(3)),
    ),
    "nested tuples": (
        nn.serial(
            nn.parallel(nn.serial(nn.shared(TOWER), nn.add()), nn.dense(3)),
            nn.subtract(),
            nn.branch(nn.dense(2), TOWER),
        ),
        (((4,), (4,)), (2,)),
        ((reals(4), reals(4)), reals(2)),
    ),
    "two heads": (nn.serial(TOWER, nn.branch(mu=nn.dense(2), logvar=nn.dense(1))), (4,), reals(4)),
    "variational": (
        nn.serial(TOWER, nn.branch(mu=nn.dense(2), logvar=nn.dense(2)), nn.reparametrize(), nn.dense(4)),
        (4,),
        reals(4),
    ),
    "siamese": (nn.serial(nn.shared(TOWER), nn.subtract(), nn.dense(1)), ((4,), (4,)), (reals(4), reals(4))),
    "recurrent": (nn.serial(nn.scan(CELL, 3), nn.dense(2)), (6, 2), reals(6, 2)),
    "a scan in a scan": (
        nn.scan(nn.serial(nn.parallel(nn.dense(3), nn.residual(TOWER)), nn.add()), 3),
        (4, 2),
        reals(4, 2),
    ),
    "a value that is not used": (nn.serial(nn.branch(nn.dense(2), TOWER), nn.take(1)), (4,), reals(4)),
    "gated": (nn.serial(nn.branch(nn.dense(3), nn.serial(nn.dense(3), nn.sigmoid())), nn.multiply()), (4,), reals(4)),
    "residual in residual": (
        nn.serial(nn.dense(3), nn.residual(nn.layer_norm(), nn.residual(nn.tanh()), nn.dense(3))),
        (2,),
        reals(2),
    ),
    "the same input twice": (nn.residual(nn.residual(nn.residual(nn.dense(4)))), (4,), reals(4)),
    "a wire of one's own": (nn.serial(nn.wired(gate, {"f": TOWER}, name="gate"), nn.dense(1)), (3,), reals(3)),
    "tied": (
        nn.tie(nn.serial(nn.dense(3, bias=False), nn.tanh(), nn.dense(4, bias=False)), "dense2.W", "dense1.W", True),
        (4,),
        reals(4),
    ),
    "tied inside": (
        nn.serial(nn.residual(nn.tie(nn.serial(nn.dense(4), nn.tanh(), nn.dense(4)), "dense2.W", "dense1.W"))),
        (4,),
        reals(4),
    ),
    "batch norm used twice": (nn.shared(nn.serial(nn.dense(3), nn.batch_norm())), ((4,), (4,)), (reals(4), reals(4))),
    "reshaped": (nn.serial(nn.reshape(2, -1), nn.dense(3), nn.flatten(), nn.dense(1)), (4,), reals(4)),
    "dropout used twice": (nn.serial(nn.shared(nn.dropout(0.5)), nn.add(), nn.dense(2)), ((3,), (3,)), (reals(3),) * 2),
}


def made(name: str) -> tuple[nn.Layer, nn.ArrayDict, nn.ArrayDict, Any]:
    model, shape, x = MODELS[name]
    params, state = model.init(nn.key(0), shape, np.float64)
    drawn = np.random.default_rng(1).normal(size=params.vector.shape)
    return model, params.with_vector(drawn), state, x


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("train", [True, False])
def test_gradients_of_graphs(name: str, train: bool) -> None:
    """Of every parameter and of every input, against central differences along random cotangents of all outputs."""
    model, params, state, x = made(name)

    def outputs(params: nn.ArrayDict, x: Any) -> Any:
        return model.forward(params, state, x, key=nn.key(3), train=train)

    y, cache, _ = outputs(params, x)
    dy = map_leaves(lambda a: np.random.default_rng(2).normal(size=a.shape), y)
    dx, grads = model.backward(params, cache, dy)

    def value(params: nn.ArrayDict, x: Any) -> float:
        pairs = zip(leaves(outputs(params, x)[0]), leaves(dy), strict=True)
        return float(sum(np.sum(a * b) for a, b in pairs))

    def slope(f: Callable[[nn.Array], float], vector: nn.Array, i: int) -> float:
        moved = [vector.copy(), vector.copy()]
        moved[0][i] += 1e-6
        moved[1][i] -= 1e-6
        return (f(moved[0]) - f(moved[1])) / 2e-6

    for i in range(params.size):
        numeric = slope(lambda v: value(params.with_vector(v), x), params.vector, i)
        assert grads.vector[i] == pytest.approx(numeric, abs=2e-7)
    assert type(dx) is type(x)
    for n, (part, gradient) in enumerate(zip(leaves(x), leaves(dx), strict=True)):
        for i in range(0, part.size, 3):

            def moved_input(v: nn.Array, n: int = n, part: nn.Array = part) -> float:
                parts = iter([*leaves(x)[:n], v.reshape(part.shape), *leaves(x)[n + 1 :]])
                return value(params, map_leaves(lambda _: next(parts), x))

            assert gradient.ravel()[i] == pytest.approx(slope(moved_input, part.ravel(), i), abs=2e-7)


@pytest.mark.parametrize("name", MODELS)
def test_a_second_call_runs_the_same_program(name: str) -> None:
    """The first forward builds the program; what it gives is what every later one gives."""
    model, params, state, x = made(name)
    first = model.forward(params, state, x, key=nn.key(3), train=True)
    again = model.forward(params, state, x, key=nn.key(3), train=True)
    assert all(np.array_equal(a, b) for a, b in zip(leaves(first[0]), leaves(again[0]), strict=True))
    assert first[2] == again[2]
    dy = map_leaves(np.ones_like, first[0])
    assert model.backward(params, first[1], dy)[1] == model.backward(params, again[1], dy)[1]


@pytest.mark.parametrize("name", MODELS)
def test_a_stack_of_graphs_is_its_members(name: str) -> None:
    K = 3
    model, shape, x = MODELS[name]
    keys = nn.split(nn.key(4), K)
    params, state = model.init(keys, shape, np.float64)
    y, cache, new = model.forward(params, state, x, key=keys, train=True)
    dy = map_leaves(lambda a: np.random.default_rng(2).normal(size=a.shape), y)
    dx, grads = model.backward(params, cache, dy)
    states = nn.unstack(state) if state.names else [state] * K
    for k, (p, s) in enumerate(zip(nn.unstack(params), states, strict=True)):
        own, own_cache, own_new = model.forward(p, s, x, key=keys[k], train=True)
        own_dx, own_grads = model.backward(p, own_cache, map_leaves(lambda a, k=k: a[k], dy))
        for stacked, single in ((y, own), (dx, own_dx)):
            for a, b in zip(leaves(stacked), leaves(single), strict=True):
                np.testing.assert_allclose(a[k], b, rtol=1e-12, atol=1e-13)
        assert nn.arrays.allclose(nn.unstack(grads)[k], own_grads, rtol=1e-10, atol=1e-12)
        assert not own_new or nn.arrays.allclose(nn.unstack(new)[k], own_new, rtol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_compositions_pickle_print_and_compare(name: str) -> None:
    model, shape, _ = MODELS[name]
    model.init(nn.key(0), shape)
    again = pickle.loads(pickle.dumps(model))
    assert again == model
    assert repr(again) == repr(model)
    assert " at 0x" not in repr(model)
    assert nn.serial(model) != model


def test_names_of_nested_parameters() -> None:
    params, _ = MODELS["two inputs"][0].init(nn.key(0), MODELS["two inputs"][1])
    assert list(params) == [
        "parallel1.image.dense1.W",
        "parallel1.image.dense1.b",
        "parallel1.table.W",
        "parallel1.table.b",
        "dense1.W",
        "dense1.b",
    ]
    assert list(nn.scan(CELL, 3).init(nn.key(0), (6, 2))[0]) == ["serial1.dense1.W", "serial1.dense1.b"]
    assert list(nn.serial(nn.dense(1), head=nn.dense(2)).init(nn.key(0), (3,))[0])[2:] == ["head.W", "head.b"]


def test_a_shared_layer_has_one_set_of_arrays_and_one_state_of_the_optimizer() -> None:
    model = nn.serial(nn.shared(nn.dense(2)), nn.subtract())
    ts = nn.train_state(model, nn.adam(), nn.key(0), ((3,), (3,)))
    assert list(ts.params) == ["shared1.dense1.W", "shared1.dense1.b"]
    assert ts.opt_state.size == 2 * ts.params.size


def test_gradients_of_a_shared_layer_add_exactly() -> None:
    layer = nn.dense(2)
    params, _ = layer.init(nn.key(0), (3,), np.float64)
    a, b, dy = reals(3), reals(3), reals(2)
    by_hand = nn.ArrayDict({"W": a.T @ dy + b.T @ (2 * dy), "b": dy.sum(0) + (2 * dy).sum(0)})
    shared = nn.shared(layer)
    inside = nn.ArrayDict({f"dense1.{k}": v for k, v in params.items()})
    _, cache, _ = shared.forward(inside, nn.arrays.EMPTY, (a, b))
    grads = shared.backward(inside, cache, (dy, 2 * dy))[1].group("dense1")
    assert nn.arrays.allclose(grads, by_hand, rtol=1e-12)


def test_each_call_of_a_shared_layer_draws_its_own_mask() -> None:
    model = nn.shared(nn.dropout(0.5))
    x = np.ones((4, 50))
    a, b = model.forward(nn.arrays.EMPTY, nn.arrays.EMPTY, (x, x), key=nn.key(0), train=True)[0]
    assert not np.array_equal(a, b)


def test_batch_norm_that_is_used_twice_moves_its_averages_twice() -> None:
    model = nn.shared(nn.batch_norm(momentum=0.5))
    params, state = model.init(nn.key(0), ((1,), (1,)), np.float64)
    a, b = np.full((4, 1), 2.0), np.full((4, 1), 6.0)
    _, _, state = model.forward(params, state, (a, b), train=True)
    assert state["batch_norm1.mean"] == 0.5 * (0.5 * 0 + 0.5 * 2) + 0.5 * 6


def test_a_scan_is_its_cell_at_each_step() -> None:
    model = nn.scan(CELL, 3)
    params, state = model.init(nn.key(0), (6, 2), np.float64)
    x, h = reals(6, 2), np.zeros((ROWS, 3))
    y = model.forward(params, state, x)[0]
    for t in range(6):
        h = CELL.forward(params.group("serial1"), nn.arrays.EMPTY, (x[:, t], h))[0]
        np.testing.assert_allclose(y[:, t], h, rtol=1e-13)


def test_gradients_go_where_they_are_asked_for() -> None:
    model, params, state, x = made("two inputs")
    _, cache, _ = model.forward(params, state, x)
    dy = np.ones((ROWS, 2))
    dx, grads = model.backward(params, cache, dy)
    assert model.backward(params, cache, dy, need_dx=False)[0] is None
    alone, nothing = model.backward(params, cache, dy, need_grads=False)
    assert len(nothing) == 0
    assert all(np.array_equal(a, b) for a, b in zip(alone, dx, strict=True))
    assert model.backward(params, cache, dy, need_dx=False)[1] == grads


def test_an_input_that_nothing_depends_on_has_the_gradient_0() -> None:
    model = nn.serial(nn.take(0), nn.dense(1))
    params, state = model.init(nn.key(0), ((2,), (3,)))
    _, cache, _ = model.forward(params, state, (np.ones((4, 2)), np.ones((4, 3))))
    dx, _ = model.backward(params, cache, np.ones((4, 1)))
    assert dx[1].shape == (4, 3)
    assert not dx[1].any()


def test_parameters_that_no_output_depends_on_have_the_gradient_0() -> None:
    model, params, state, x = made("a value that is not used")
    _, cache, _ = model.forward(params, state, x)
    for _ in range(3):  # memory that came from elsewhere must not show
        np.full(params.size, np.nan)
        grads = model.backward(params, cache, np.ones((ROWS, 3)))[1]
        assert not grads.group("branch1.dense1").vector.any()
        assert grads.group("branch1.serial1").vector.any()


ERRORS = {
    "one array for two": (
        lambda: nn.parallel(nn.dense(1), nn.dense(1)).init(nn.key(0), (3,)),
        TypeError,
        "parallel takes a tuple of 2 values, but one array came",
    ),
    "three for two": (
        lambda: nn.parallel(nn.dense(1), nn.dense(1)).init(nn.key(0), ((3,), (3,), (3,))),
        ValueError,
        "takes a tuple of 2 values, but 3 came",
    ),
    "a tuple for one array": (
        lambda: nn.serial(nn.dense(1)).init(nn.key(0), ((3,), (3,))),
        TypeError,
        "dense1: x is a tuple of 2 values, but the layer takes one array",
    ),
    "shapes that do not add": (
        lambda: nn.serial(nn.branch(nn.dense(1), nn.dense(2)), nn.add()).init(nn.key(0), (3,)),
        ValueError,
        r"add1: the inputs have the shapes \(1,\), \(2,\), expected one shape",
    ),
    "a residual of another width": (
        lambda: nn.serial(nn.residual(nn.dense(2))).init(nn.key(0), (3,)),
        ValueError,
        r"residual1: the layers turn an example \(3,\) into \(2,\)",
    ),
    "take beyond the end": (
        lambda: nn.take(2).forward(nn.arrays.EMPTY, nn.arrays.EMPTY, (np.ones((1, 1)),) * 2),
        ValueError,
        "x has 2 values",
    ),
    "a wire that calls what is not there": (
        lambda: nn.wired(gate, {"g": nn.dense(1)}).init(nn.key(0), (3,)),
        ValueError,
        "the wire calls 'f', but its layers are g",
    ),
    "a wire that returns no value": (
        lambda: nn.serial(nn.wired(lambda call, x: 3, {"g": nn.dense(1)})).init(nn.key(0), (3,)),
        TypeError,
        "wired1: the wire returned int",
    ),
    "a cell of another width": (
        lambda: nn.scan(nn.serial(nn.concatenate(), nn.dense(2)), 3).init(nn.key(0), (4, 1)),
        ValueError,
        r"the cell gives h of shape \(2,\), expected 3 units",
    ),
    "no sequence": (lambda: nn.scan(CELL, 3).init(nn.key(0), (4,)), ValueError, "expected .*time, features"),
    "dy of one array for two outputs": (
        lambda: nn.branch(nn.tanh(), nn.tanh()).backward(
            nn.arrays.EMPTY,
            nn.branch(nn.tanh(), nn.tanh()).forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.ones((1, 1)))[1],
            np.ones((1, 1)),
        ),
        TypeError,
        "dy is one array, expected a tuple of 2",
    ),
    "tied to nothing": (
        lambda: nn.tie(nn.serial(nn.dense(2)), "dense1.b", "dense2.b").init(nn.key(0), (2,)),
        ValueError,
        "tied to 'dense2.b'",
    ),
    "a pair for a layer": (
        lambda: nn.serial(*nn.serial(nn.dense(1)).layers),  # type: ignore[arg-type]  # what must fail
        TypeError,
        r"a \(name, layer\) pair came.*pass layer for name, layer in model.layers",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_the_part_and_the_cause(name: str) -> None:
    call: Any
    call, kind, message = ERRORS[name]
    with pytest.raises(kind, match=message):
        call()


def test_an_output_that_nothing_depends_on_needs_no_gradient() -> None:
    model = nn.branch(nn.dense(2), nn.serial(nn.dense(3), nn.tanh()))
    params, state = model.init(nn.key(0), (4,), np.float64)
    x, dy = reals(4), reals(3)
    _, cache, _ = model.forward(params, state, x)
    dx, grads = model.backward(params, cache, (None, dy))
    same_dx, same_grads = model.backward(params, cache, (np.zeros((ROWS, 2)), dy))
    assert np.array_equal(dx, same_dx)
    assert nn.arrays.equal(grads, same_grads)


def test_a_layer_with_parameters_has_a_name_in_a_wire() -> None:
    model = nn.wired(lambda call, x: call(nn.serial(nn.dense(3)), x), {})
    params = nn.ArrayDict({"serial.dense1.W": np.ones((2, 3)), "serial.dense1.b": np.ones(3)})
    for use in (lambda: model.init(nn.key(0), (2,)), lambda: model.forward(params, nn.arrays.EMPTY, reals(2))):
        with pytest.raises(ValueError, match=r"serial.dense1: has the arrays W, b, so it needs a name: nn.wired\(wire"):
            use()


@pytest.mark.parametrize("wire", [lambda call, x: x * x, lambda call, x: 1.0 - x, lambda call, x: x + call("a", x)])
def test_arithmetic_in_a_wire_says_what_to_call(wire: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"call\(nn.add\(\), \(a, b\)\), and so with nn.subtract, nn.multiply"):
        nn.wired(wire, {"a": nn.tanh()}).init(nn.key(0), (2,))


def test_softmax_needs_an_axis_of_classes() -> None:
    with pytest.raises(ValueError, match=r"input_shape=\(\) has no features"):
        nn.softmax().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.ones(4))


def test_weights_for_a_loss_that_takes_none_are_an_error() -> None:
    own = nn.Loss(lambda y, t: (float(np.mean(y - t)), y), lambda y: np.ones_like(y) / y.size)
    both = nn.losses.combined(nn.mean_squared_error, own)
    y = reals(2)
    for loss, outputs in ((own, y), (both, (y, y))):
        with pytest.raises(TypeError, match=r"a loss that takes none: write its forward as \(y, target, weights\)"):
            loss.forward(outputs, outputs, np.ones(ROWS))


def test_the_cache_of_another_model_is_an_error() -> None:
    model, equal, other = (nn.serial(nn.dense(2), activation()) for activation in (nn.tanh, nn.tanh, nn.relu))
    params, state = model.init(nn.key(0), (4,), np.float64)
    y, cache, _ = model.forward(params, state, reals(4))
    equal.backward(params, cache, y)
    with pytest.raises(ValueError, match="cache is what another model's forward returned"):
        other.backward(params, cache, y)


@pytest.mark.parametrize("name", ["dense9.W", "Dense2.W", "dense2.w"])
def test_a_tie_of_what_no_layer_has_is_an_error(name: str) -> None:
    model = nn.tie(nn.serial(nn.dense(4), nn.dense(4)), name, to="dense1.W")
    with pytest.raises(ValueError, match=f"'{name}' is tied, but no layer of the model has it: dense1.W, dense1.b, "):
        model.init(nn.key(0), (4,))


@pytest.mark.parametrize("make", [nn.serial, nn.branch, nn.parallel, nn.residual])
def test_a_name_with_a_dot_is_an_error(make: Callable[..., nn.Layer]) -> None:
    with pytest.raises(ValueError, match=r"name='a\.b': expected a string without dots"):
        make(**{"a.b": nn.dense(3)})
