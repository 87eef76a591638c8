"""Layers and models in the laboratory: the guilty layer is named, the others are left alone; the laws of own layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import nnfunc as nn
from nnfunc.arrays import Array, ArrayDict
from nnfunc.core.kernel import Kernel
from nnfunc.layers import Layer
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
    gradient = nn.mean_squared_error.gradient
    assert gradient is not None
    loss = nn.mean_squared_error._replace(gradient=lambda residual: -gradient(residual))
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
    assert norm.kernel is not None
    right = norm.kernel.backward

    def backward(params: Any, cache: Any, dy: Array, grads: Any, need: Any, **settings: Any) -> Array:
        dx: Array = right(params, cache, dy, grads, need, **settings)
        return dx * (1.5 if cache.axis is None else 1.0)  # the statistics are fixed in prediction

    assert nn.check_layer(norm, (3,)).ok
    wrong = norm._replace(kernel=norm.kernel._replace(backward=backward))
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


def test_caches_and_inputs_belong_to_their_call() -> None:
    last: dict[str, Array] = {}

    def uses_its_cache_up(p: ArrayDict, cache: Array, dy: Array) -> tuple[Array, dict[str, Array]]:
        cache *= dy
        return dy * p["a"], {"a": cache.sum(axis=0)}

    def centres_its_input(params: ArrayDict, x: Array) -> tuple[Array, Array]:
        x -= x.mean(axis=0)
        return x * params["a"], x.copy()

    def clips_its_input(params: Any, x: Array) -> tuple[Array, Array]:
        return np.clip(x, -0.5, 0.5, out=x), abs(x) < 0.5

    def keeps_on_the_side(p: ArrayDict, x: Array) -> tuple[Array, None]:
        last["x"] = x
        return x * p["a"], None

    parts = {"a": np.linspace(0.5, 2, 4)}
    used_up = nn.layer(lambda p, x: (x * p["a"], x.copy()), uses_its_cache_up, parts)
    in_place = nn.layer(centres_its_input, right, parts)
    kernel = Kernel(clips_its_input, lambda p, inside, dy, grads, need: dy * inside)
    in_a_kernel = nn.tanh()._replace(kernel=kernel)
    on_the_side = nn.layer(keeps_on_the_side, lambda p, _, dy: right(p, last["x"], dy), parts)
    for layer, kind in (
        (used_up, "mutation"),
        (in_place, "mutation"),
        (in_a_kernel, "mutation"),
        (on_the_side, "stale"),
    ):
        assert {f.kind for f in check(nn.serial(nn.dense(4), layer, nn.tanh())).findings} == {kind}


def test_a_backward_that_does_not_pass_dy_on() -> None:
    cases: list[tuple[Backward, str]] = [
        (lambda p, x, dy: (np.broadcast_to(p["a"], dy.shape) * 1.0, {"a": (dy * x).sum(0)}), "missing-term"),
        (lambda p, x, dy: (dy / np.linalg.norm(dy) * p["a"], {"a": (dy * x).sum(0)}), "scale"),
    ]
    for backward, kind in cases:
        report = check(nn.serial(nn.dense(4), scaled(backward), nn.tanh()))
        assert [(f.where, f.name, f.kind) for f in report.findings] == [("scaled1", "dx", kind)]


def test_tied_maxima() -> None:
    """At a tie each of the tied may have the slope, or all a share of it; all of it for each is too much."""
    x = np.array([[1.0, 3.0, 3.0, 2.0], [2.0, 2.0, 2.0, 2.0], [0.0, 1.0, 5.0, 4.0]])

    def maximum(share: Callable[[Array], Array]) -> Layer:
        def forward(p: ArrayDict, x: Array) -> tuple[Array, Array]:
            return x.max(axis=1, keepdims=True), x

        return nn.layer(forward, lambda p, x, dy: (dy * share(x == x.max(axis=1, keepdims=True)), {}), name="maximum")

    def report(share: Callable[[Array], Array]) -> nn.Report:
        return nn.check_model(maximum(share), nn.ArrayDict(), x)

    assert report(lambda tied: tied / tied.sum(axis=1, keepdims=True)).ok
    assert report(lambda tied: tied * (np.cumsum(tied, axis=1) == 1)).ok
    assert [(f.name, f.kind) for f in report(lambda tied: 1.0 * tied).findings] == [("dx", "mask")]


def test_a_saturated_sigmoid_below_its_loss() -> None:
    model = nn.serial(nn.dense(1), nn.sigmoid())
    params = nn.ArrayDict({"dense1.W": np.array([[30.0], [-20.0]]), "dense1.b": np.array([5.0])})
    x = np.array([[1.0, 0.1], [0.4, 1.2], [-0.2, 1.0], [0.1, 0.2]])
    target = np.array([[1.0], [0.0], [0.0], [1.0]])
    assert nn.check_model(model, params, x, target=target, loss=nn.binary_cross_entropy).ok


@pytest.mark.parametrize("tiny", [0.0, 4e-116, 1e-14])
def test_inputs_at_and_beside_a_kink(tiny: float) -> None:
    x = np.array([[0.0, 0.0, tiny], [tiny, -tiny, 1.0], [-1.0, 0.5, -tiny]])
    for activation in (nn.relu(), nn.elu(alpha=0.0), nn.leaky_relu()):
        assert nn.check_model(activation, nn.ArrayDict(), x).ok
    zeros = nn.serial(nn.dense(3), nn.relu(), nn.dense(2))
    params, _ = zeros.init(nn.key(0), (3,), np.float64)
    assert nn.check_model(zeros, params.with_vector(0 * params.vector), x).ok


def test_a_layer_that_looks_up_whole_numbers() -> None:
    def backward(p: ArrayDict, x: NDArray[np.intp], dy: Array) -> tuple[None, dict[str, Array]]:
        dE = np.zeros((7, 4))
        np.add.at(dE, x, dy)
        return None, {"E": dE}

    embedding = nn.layer(
        lambda p, x: (p["E"][x.astype(int)], x.astype(int)), backward, {"E": np.ones((7, 4))}, name="embedding"
    )
    assert nn.check_layer(embedding, (3,), x=np.array([[0, 1, 1], [6, 1, 2]])).ok
    with pytest.raises(ValueError, match="x contains nan at"):
        nn.check_layer(nn.tanh(), (2,), x=np.array([[1.0, np.nan]]))
    with pytest.raises(ValueError, match="x contains nan at"):
        check(nn.tanh(), np.array([[1.0, np.nan]]))


def test_long_names_fit_the_table() -> None:
    inner = scaled(doubled, name="a_rather_long_name_for_a_layer_that_scales")
    report = check(nn.serial(nn.serial(nn.residual(nn.serial(inner, nn.tanh())))))
    assert not report.ok
    assert max(map(len, str(report).splitlines())) <= 80


def test_gradients_that_do_not_fit() -> None:
    cases: list[tuple[Backward, str]] = [
        (lambda p, x, dy: (dy[:, :2], {"a": (dy * x).sum(0)}), "shape"),
        (lambda p, x, dy: (dy * p["a"], {}), "shape"),
        (lambda p, x, dy: (dy * p["a"], {"a": (dy * x).sum(0) * np.nan}), "nonfinite"),
    ]
    for backward, kind in cases:
        assert {f.kind for f in check(scaled(backward)).findings} == {kind}


def of_kernel(forward: Callable[..., Any], backward: Callable[..., Any]) -> Layer:
    return nn.identity()._replace(kernel=Kernel(forward, backward))


def lazy_backward(params: Any, x: Array, dy: Array, grads: Any, need: bool) -> Array | None:
    """No gradients of the parameters where no dx is asked for."""
    assert dense.kernel is not None
    if need:
        return dense.kernel.backward(params, x, dy, grads, need)  # type: ignore[no-any-return]  # of Callable[..., Any]
    for g in grads:
        g[...] = 0
    return None


dense = nn.dense(2)
assert dense.kernel is not None
lazy = dense.kernel._replace(backward=lazy_backward)


@pytest.mark.parametrize(
    ("law", "layer"),
    {
        "gradients in": nn.layer(lambda p, x: (2 * x, None), lambda p, c, dy: (dy, {}), name="double"),
        "backward is linear in dy": nn.layer(lambda p, x: (x + 0, None), lambda p, c, dy: (dy + 0.1 * dy**2, {})),
        "not changed": nn.layer(lambda p, x: (x + 0, None), lambda p, c, dy: (np.multiply(dy, 1, out=dy), {})),
        "leading axes": scaled(right),
        "dx is no alias": of_kernel(lambda p, x: (x + 0, None), lambda p, c, dy, g, need: dy),
        "dtype": of_kernel(lambda p, x: (x.astype(float), None), lambda p, c, dy, g, need: dy + 0),
        "leading axes are free in backward": of_kernel(
            lambda p, x: (x + 0, x.shape), lambda p, shape, dy, g, need: dy.reshape(-1, shape[-1]) + 0
        ),
        "a member of a stack is the network alone": of_kernel(
            lambda p, x: (x - x.mean(axis=0), None), lambda p, c, dy, g, need: dy - dy.mean(axis=0)
        ),
        "the gradients are the same where dx is not asked for": nn.dense(2)._replace(kernel=lazy),
        "depends on its arguments": nn.layer(
            lambda p, x: (x + np.random.default_rng().normal(), None), lambda p, c, dy: (dy, {}), name="random"
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
