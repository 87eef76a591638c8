"""User-defined layers and combinators: their requests, initialisation and results."""

from __future__ import annotations

from functools import partial
from io import StringIO
from typing import Any

import numpy as np
import pytest

import nnfunc as nn

X = np.linspace(0.5, 2.0, 12).reshape(4, 3)


def same(params: nn.ArrayDict, x: nn.Array) -> tuple[nn.Array, None]:
    return x * 1.0, None


def same_backward(params: nn.ArrayDict, cache: None, dy: nn.Array) -> tuple[nn.Array, dict[str, nn.Array]]:
    return dy * 1.0, {}


def log_forward(params: nn.ArrayDict, x: nn.Array) -> tuple[nn.Array, nn.Array]:
    if (x <= 0).any():
        raise ValueError("x must be positive")
    return np.log(x), x


LOG = nn.layer(log_forward, lambda p, x, dy: (dy / x, {}), name="log")


def test_a_layer_that_refuses_zeros_is_initialised_and_trained() -> None:
    model = nn.serial(LOG, nn.dense(2))
    params, state = model.init(nn.key(0), (3,))
    assert params["dense1.W"].shape == (3, 2)
    assert nn.output_shape(model, params, state, (3,)) == (2,)
    nn.summary(model, (3,), file=StringIO())
    step = nn.train_step(model, nn.mean_squared_error, nn.gd(0.1))
    _, metrics = step(nn.train_state(model, step.optimizer, nn.key(0), (3,)), (X, np.zeros((4, 2))))
    assert np.isfinite(metrics.loss)


def test_init_gives_a_layer_no_made_up_numbers() -> None:
    seen: list[int] = []

    def forward(params: nn.ArrayDict, x: nn.Array) -> tuple[nn.Array, None]:
        seen.append(x.size)
        return x * 1.0, None

    nn.serial(nn.layer(forward, same_backward), nn.dense(2)).init(nn.key(0), (3,))
    assert sum(seen) == 0  # at most a batch of no examples
    seen.clear()
    nn.serial(nn.layer(forward, same_backward, shape=lambda shape: shape), nn.dense(2)).init(nn.key(0), (3,))
    nn.serial(nn.dense(2), nn.layer(forward, same_backward)).init(nn.key(0), (3,))
    assert seen == []


def test_the_shape_of_an_output_is_found_or_said() -> None:
    def pairs(params: nn.ArrayDict, x: nn.Array) -> tuple[nn.Array, Any]:
        return np.concatenate([x, x], axis=-1), None

    def pairs_backward(params: nn.ArrayDict, cache: Any, dy: nn.Array) -> tuple[nn.Array, dict[str, nn.Array]]:
        half = dy.shape[-1] // 2
        return dy[..., :half] + dy[..., half:], {}

    for layer in (
        nn.layer(pairs, pairs_backward, name="pairs"),
        nn.layer(pairs, pairs_backward, name="pairs", shape=lambda shape: (*shape[:-1], 2 * shape[-1])),
    ):
        model = nn.serial(layer, nn.dense(2))
        params, state = model.init(nn.key(0), (3,), np.float64)
        assert params["dense1.W"].shape == (6, 2)
        assert nn.check_model(model, params, X).ok
    wrong = nn.serial(nn.layer(pairs, pairs_backward, name="pairs", shape=lambda shape: shape), nn.dense(2))
    params, state = wrong.init(nn.key(0), (3,))
    with pytest.raises(
        ValueError, match=r"pairs1: forward returned y with examples of shape \(6,\), but shape= says \(3,"
    ):
        wrong.forward(params, state, X)


def test_an_embedding_and_what_follows_it_in_a_stack() -> None:
    table = nn.layer(
        lambda p, x: (p["E"][x.astype(int)], x),
        lambda p, x, dy: (None, {"E": np.zeros_like(p["E"])}),
        {"E": np.ones((9, 2))},
        name="table",
    )
    model = nn.serial(table, nn.flatten(), nn.dense(2))
    ts = nn.train_state(model, "gd", nn.split(nn.key(0), 3), (4,))
    assert nn.predict(model, ts, np.zeros((5, 4), int)).shape == (3, 5, 2)


def scaled(key: Any, input_shape: tuple[int, ...], scale: float) -> dict[str, nn.Array]:
    return {"a": np.full(input_shape, scale)}


def scaled_by_default(key: Any, input_shape: tuple[int, ...], scale: float = 0.1) -> dict[str, nn.Array]:
    return {"a": np.full(input_shape, scale)}


def with_keyword(key: Any, input_shape: tuple[int, ...], *, scale: float = 0.1) -> dict[str, nn.Array]:
    return {"a": np.full(input_shape, scale)}


@pytest.mark.parametrize("init", [partial(scaled, scale=0.1), scaled_by_default, with_keyword])
def test_the_arity_of_init_is_said_not_sniffed(init: Any) -> None:
    params, _ = nn.layer(same, same_backward, init).init(nn.key(0), (2,))
    np.testing.assert_allclose(params["a"], 0.1)


def test_init_gets_the_dtype_if_it_says_so() -> None:
    def init(key: Any, input_shape: tuple[int, ...], dtype: Any) -> dict[str, nn.Array]:
        assert np.dtype(dtype) == np.float64
        return {"a": np.ones(input_shape, dtype)}

    nn.layer(same, same_backward, init, dtype_aware=True).init(nn.key(0), (2,), np.float64)


def test_initial_values_are_copied() -> None:
    values = {"a": np.ones(2)}
    layer = nn.layer(same, same_backward, values)
    values["a"][:] = 5.0
    values["a"] = np.full(2, 7.0)
    assert layer.init(nn.key(0), (2,))[0]["a"].tolist() == [1.0, 1.0]


def test_a_gradient_of_another_dtype_is_cast_though_the_layer_has_no_parameters() -> None:
    doubled = nn.layer(lambda p, x: (2 * x, None), lambda p, c, dy: (np.full(dy.shape, 2.0) * dy, {}), name="doubled")
    model = nn.serial(nn.dense(3), doubled, nn.dense(1))
    params, state = model.init(nn.key(0), (2,))
    y, cache, _ = model.forward(params, state, np.ones((4, 2)))
    dx, grads = model.backward(params, cache, np.ones_like(y))
    assert dx.dtype == np.float32
    np.testing.assert_allclose(grads["dense1.b"], 8 * params["dense2.W"][:, 0], rtol=1e-6)


# -- what a forward may ask for ----------------------------------------------------------------------------------------


def noisy_forward(params: nn.ArrayDict, x: nn.Array, *, key: Any, train: bool) -> tuple[nn.Array, None]:
    return x + nn.keys.generator(key).normal(size=x.shape) if train else x * 1.0, None


def counting_forward(
    params: nn.ArrayDict, x: nn.Array, *, train: bool, state: nn.ArrayDict
) -> tuple[nn.Array, tuple[nn.Array, bool], dict[str, Any]]:
    mean = 0.5 * state["mean"] + 0.5 * x.mean(axis=tuple(range(x.ndim - 1))) if train else state["mean"]
    return (x - mean) * params["a"], (x - mean, train), {"mean": mean, "calls": state["calls"] + train}


def counting_backward(
    params: nn.ArrayDict, cache: tuple[nn.Array, bool], dy: nn.Array
) -> tuple[nn.Array, dict[str, nn.Array]]:
    centered, train = cache
    dz = dy * params["a"]
    return dz - 0.5 * dz.mean(axis=0) * train, {"a": (dy * centered).sum(axis=tuple(range(dy.ndim - 1)))}


def counting_state(input_shape: tuple[int, ...]) -> dict[str, Any]:
    return {"mean": np.zeros(input_shape), "calls": np.array(0)}


NOISY = nn.layer(noisy_forward, same_backward, name="noisy", asks=("key", "train"))
COUNTING = nn.layer(
    counting_forward, counting_backward, {"a": np.ones(3)}, "counting", state=counting_state, asks=("train", "state")
)


def test_a_layer_that_asks_for_key_and_train() -> None:
    model = nn.serial(nn.dense(3), NOISY)
    params, state = model.init(nn.key(0), (3,))
    plain, _, _ = model.forward(params, state, X)
    noise = nn.keys.generator(nn.fold_in(nn.key(5), 1)).normal(size=plain.shape)
    noisy, _, _ = model.forward(params, state, X, key=nn.key(5), train=True)
    np.testing.assert_allclose(noisy, plain + noise, rtol=1e-6)


@pytest.mark.parametrize("keys", [0, 3])
def test_a_layer_with_a_state(keys: int) -> None:
    model = nn.serial(nn.dense(3), COUNTING, nn.dense(1))
    step = nn.train_step(model, nn.mean_squared_error, nn.gd(0.1))
    key = nn.split(nn.key(0), keys) if keys else nn.key(0)
    ts = nn.train_state(model, step.optimizer, key, (3,), np.float64)
    assert set(ts.state) == {"counting1.mean", "counting1.calls"}
    for i in range(3):
        ts, _ = step(ts, (X, np.zeros((4, 1))))
        assert (np.asarray(ts.state["counting1.calls"]) == i + 1).all()
    assert ts.state["counting1.mean"].any()
    _, _, after = model.forward(ts.params, ts.state, X)
    assert after == ts.state


def test_the_gradient_of_a_layer_with_a_state_is_checked() -> None:
    assert nn.check_layer(COUNTING, (3,)).ok


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: nn.layer(same, same_backward, asks=("rng",)), ValueError, "expected some of key, train, state"),
        (lambda: nn.layer(same, same_backward, state={"a": np.ones(1)}), ValueError, "does not ask for it"),
        (lambda: nn.layer(same, 3), TypeError, "backward=3 is not callable"),  # type: ignore[arg-type]  # what must fail
        (lambda: nn.layer(same, same_backward, shape=(3,)), TypeError, r"shape=.*expected a function"),  # type: ignore[arg-type]  # what must fail
        (lambda: nn.layer(same, same_backward, name="a.b"), ValueError, "without dots"),
    ],
)
def test_wrong_layers(make: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        make()


def call(layer: nn.Layer, x: Any = X) -> Any:
    model = nn.serial(nn.dense(3), layer)
    params, state = model.init(nn.key(0), (3,))
    y, cache, _ = model.forward(params, state, x, key=nn.key(1), train=True)
    return model.backward(params, cache, np.ones_like(y))


@pytest.mark.parametrize(
    ("layer", "kind", "message"),
    [
        (nn.layer(lambda p, x: x, same_backward), TypeError, r"layer1: forward returned ndarray, expected the pair"),
        (nn.layer(lambda p, x: (x[:2], None), same_backward), ValueError, "layer1: .*expected a row for each row of x"),
        (nn.layer(same, lambda p, c, dy: dy), TypeError, "layer1: backward returned .*expected the pair"),
        (nn.layer(same, lambda p, c, dy: (dy, {"a": dy})), ValueError, "layer1: .*dict of gradients.*has a"),
        (nn.layer(same, lambda p, c, dy: (dy[:, :2], {})), ValueError, r"layer1: .*dx of shape \(4, 2\), expected"),
        (nn.layer(same, lambda p, c, dy: (None, {})), ValueError, "layer1: backward returned dx=None"),
        (
            nn.layer(lambda p, x, state: (x, None), same_backward, asks=("state",)),
            TypeError,
            r"layer1: forward returned tuple, expected \(y, cache, state\)",
        ),
    ],
)
def test_what_ones_own_functions_return_is_met_at_the_border(
    layer: nn.Layer, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        call(layer)


def test_ones_own_functions_cannot_change_what_they_are_given() -> None:
    def forward(params: nn.ArrayDict, x: nn.Array) -> tuple[nn.Array, None]:
        x *= 2
        return x, None

    with pytest.raises(ValueError, match=r"layer1: .*read-only"):
        call(nn.layer(forward, same_backward))
    kept: list[nn.Array] = []

    def backward(params: nn.ArrayDict, cache: None, dy: nn.Array) -> tuple[nn.Array, dict[str, nn.Array]]:
        kept.append(np.ones(3))
        return dy * 1.0, {"a": kept[-1]}

    _, grads = call(nn.layer(same, backward, {"a": np.ones(3)}))
    kept[-1][:] = 99
    assert grads["layer1.a"].tolist() == [1, 1, 1]


# -- the form that models have -----------------------------------------------------------------------------------------


def full_init(key: Any, shape: Any, dtype: Any = np.float32) -> Any:
    return nn.ArrayDict({"a": np.ones(shape)}, dtype), nn.arrays.EMPTY


def full_forward(params: Any, state: Any, x: Any, *, key: Any = None, train: bool = False) -> Any:
    return x * params["a"], x, state


def full_backward(params: Any, x: Any, dy: Any) -> Any:
    return dy * params["a"], {"a": (dy * x).sum(axis=0)}


FULL = nn.Layer(full_init, full_forward, full_backward, "mine")


def test_a_layer_of_three_functions_has_all_rights() -> None:
    for model in (nn.serial(FULL, nn.dense(2)), nn.map_layers(lambda path, layer: FULL, nn.serial(nn.relu()))):
        params, state = model.init(nn.key(0), (3,), np.float64)
        assert nn.check_model(model, params, X, state=state).ok
    with pytest.raises(TypeError, match=r"what the function returned=None is no Layer"):
        nn.map_layers(lambda path, layer: None, nn.serial(nn.relu()))  # type: ignore[arg-type, return-value]  # what must fail


def test_modules_are_not_hidden_by_functions_of_their_name() -> None:
    """`import nnfunc.layers.dense` must not give something else than it says."""
    import importlib
    import pkgutil
    from types import ModuleType

    for package in (nn, nn.layers, nn.losses, nn.optimizers, nn.training):
        for module in pkgutil.iter_modules(package.__path__):
            name = f"{package.__name__}.{module.name}"
            if "interop" in name:
                continue
            importlib.import_module(name)
            assert isinstance(getattr(package, module.name), ModuleType), name
