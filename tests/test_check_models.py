"""Layers and models in the laboratory: the guilty layer is named, the others are left alone; the laws of own layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import nnfunc as nn
from nnfunc.arrays import Array, ArrayDict
from nnfunc.layers.base import Layer
from nnfunc.testing import assert_layer_laws

X = np.random.default_rng(0).normal(size=(5, 4))
Backward = Callable[[ArrayDict, Any, Array], tuple[Array | None, dict[str, Array]]]


def scaled(backward: Backward, name: str = "scaled") -> Layer:
    """y = a x, with this backward."""
    return nn.layer(lambda p, x: (x * p["a"], x), backward, {"a": np.linspace(0.5, 2, 4)}, name=name)


def right(p: ArrayDict, x: Array, dy: Array) -> tuple[Array, dict[str, Array]]:
    return dy * p["a"], {"a": (dy * x).sum(0)}


def doubled(p: ArrayDict, x: Array, dy: Array) -> tuple[Array, dict[str, Array]]:
    return 2 * dy * p["a"], {"a": (dy * x).sum(0)}


def deep(layer: Layer) -> Layer:
    """The layer three compositions deep, with others on all sides."""
    inner = nn.serial(nn.dense(4), layer, nn.tanh())
    return nn.serial(nn.dense(4), nn.residual(nn.serial(inner, nn.relu())), nn.dense(3), nn.softmax())


def check(model: Layer, x: Array = X, **arguments: Any) -> nn.Report:
    params, state = model.init(nn.key(1), x.shape[1:], np.float64)
    return nn.check_model(model, params, x, state=state, **arguments)


def test_a_guilty_layer_deep_inside_is_named_and_no_victim() -> None:
    target: dict[str, Any] = {"target": np.array([0, 1, 2, 0, 1]), "loss": nn.sparse_categorical_cross_entropy}
    assert check(deep(scaled(right)), **target).ok
    cases: tuple[dict[str, Any], ...] = ({}, target)
    for arguments in cases:
        report = check(deep(scaled(doubled)), **arguments)
        assert [(f.where, f.name, f.kind) for f in report.findings] == [
            ("residual1.serial1.serial1.scaled1", "dx", "scale")
        ]
        assert max(map(len, str(report).splitlines())) <= 80


def test_two_guilty_layers_are_both_named() -> None:
    model = nn.serial(nn.dense(4), scaled(doubled), nn.tanh(), scaled(lambda p, x, dy: (dy * p["a"], {"a": -x.sum(0)})))
    assert [(f.where, f.name) for f in check(model).findings] == [("scaled1", "dx"), ("scaled2", "a")]


def test_a_wrong_loss_is_named_and_no_layer() -> None:
    loss = nn.mean_squared_error._replace(backward=lambda cache: -nn.mean_squared_error.backward(cache))
    report = check(nn.serial(nn.dense(4), nn.tanh()), target=X, loss=loss)
    assert [(f.where, f.name, f.kind) for f in report.findings] == [("loss", "dy", "sign")]


def test_whole_numbers_as_inputs_have_no_gradient() -> None:
    def backward(p: ArrayDict, x: NDArray[np.intp], dy: Array) -> tuple[None, dict[str, Array]]:
        dE = np.zeros((7, 4))
        np.add.at(dE, x, dy)
        return None, {"E": dE}

    def overwrites(p: ArrayDict, x: NDArray[np.intp], dy: Array) -> tuple[None, dict[str, Array]]:
        dE = np.zeros((7, 4))
        dE[x] += dy  # a word that occurs twice counts once
        return None, {"E": dE}

    words, E = np.array([1, 3, 3, 6]), np.random.default_rng(2).normal(size=(7, 4))
    for back, findings in ((backward, []), (overwrites, [("embedding1", "E")])):
        model = nn.serial(
            nn.layer(lambda p, x: (p["E"][x.astype(int)], x.astype(int)), back, {"E": E}, name="embedding"), nn.tanh()
        )
        report = nn.check_model(model, nn.ArrayDict({"embedding1.E": E}), words)
        assert [(f.where, f.name) for f in report.findings] == findings


def test_a_mistake_in_one_mode_only() -> None:
    norm = nn.batch_norm()

    def forward(params: ArrayDict, state: ArrayDict, x: Array, *, key: Any = None, train: bool = False) -> Any:
        y, cache, new = norm.forward(params, state, x, key=key, train=train)
        return y, (*cache, train), new

    def backward(params: ArrayDict, cache: Any, dy: Array, **_: Any) -> tuple[Any, ArrayDict]:
        dx, grads = norm.backward(params, cache[:-1], dy)
        return np.asarray(dx) * (1.0 if cache[-1] else 1.5), grads

    assert nn.check_layer(norm, (3,)).ok
    wrong = norm._replace(forward=forward, backward=backward)
    assert [(f.name, f.kind) for f in nn.check_layer(wrong, (3,)).findings] == [("dx", "scale")]
    params, state = wrong.init(nn.key(0), (4,), np.float64)
    assert nn.check_model(wrong, params, X, state=state, train=True).ok
    assert not nn.check_model(wrong, params, X, state=state, train=False).ok


def test_layers_that_remember_or_write_into_what_they_get() -> None:
    kept: dict[str, Array] = {}

    def remembers(p: ArrayDict, x: Array, dy: Array) -> tuple[Array, dict[str, Array]]:
        return dy * p["a"], {"a": (dy * kept.setdefault("x", x)).sum(0)}

    def writes(p: ArrayDict, x: Array, dy: Array) -> tuple[Array, dict[str, Array]]:
        x *= dy
        return dy * p["a"], {"a": x.sum(0)}

    assert {f.kind for f in check(scaled(remembers)).findings} == {"stale"}
    assert {f.kind for f in check(scaled(writes)).findings} <= {"mutation"} != set()


def test_gradients_that_do_not_fit() -> None:
    cases: list[tuple[Backward, str]] = [
        (lambda p, x, dy: (dy[:, :2], {"a": (dy * x).sum(0)}), "shape"),
        (lambda p, x, dy: (dy * p["a"], {}), "shape"),
        (lambda p, x, dy: (dy * p["a"], {"a": (dy * x).sum(0) * np.nan}), "nonfinite"),
    ]
    for backward, kind in cases:
        assert {f.kind for f in check(scaled(backward)).findings} == {kind}


@pytest.mark.parametrize(
    ("law", "layer"),
    {
        "gradients in": nn.layer(lambda p, x: (2 * x, None), lambda p, c, dy: (dy, {}), name="double"),
        "backward is linear in dy": nn.layer(lambda p, x: (x + 0, None), lambda p, c, dy: (dy + 0.1 * dy**2, {})),
        "not changed": nn.layer(lambda p, x: (x + 0, None), lambda p, c, dy: (np.multiply(dy, 1, out=dy), {})),
        "leading axes": scaled(right),
        "y is no alias": nn.identity()._replace(forward=lambda p, s, x, *, key=None, train=False: (x, x.shape, s)),
        "dx is no alias": nn.identity()._replace(
            backward=lambda p, c, dy, *, need_dx=True, out=None: (dy, nn.EMPTY)
        ),
        "dtype": nn.identity()._replace(forward=lambda p, s, x, key=None, train=False: (x.astype(float), x.shape, s)),
        "depends on its arguments": nn.layer(
            lambda p, x: (x * np.random.default_rng().normal(), None), lambda p, c, dy: (dy, {}), name="random"
        ),
    }.items(),
)  # fmt: skip
def test_a_broken_law_is_named(law: str, layer: Layer) -> None:
    with pytest.raises(AssertionError, match=law):
        assert_layer_laws(layer, (4,), max_examples=5)


def test_a_right_layer_holds_all_laws() -> None:
    def backward(p: ArrayDict, x: Array, dy: Array) -> tuple[Array, dict[str, Array]]:
        return dy * p["a"], {"a": (dy * x).sum(axis=tuple(range(dy.ndim - 1)))}

    assert_layer_laws(scaled(backward), (4,), max_examples=10)
    assert_layer_laws(scaled(right), (4,), max_examples=10, leading_axes=False)
