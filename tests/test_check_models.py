"""Layers and models in the laboratory: the faulty layer is named, and no other; the laws of user-defined layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

import nnfunc as nn
from nnfunc.arrays import Array, ArrayDict
from nnfunc.core.kernel import Initial, Kernel, Signature
from nnfunc.core.layer import make
from nnfunc.core.values import Value
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
        return dx * (1.5 if cache.over is None else 1.0)  # the statistics are fixed in prediction

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

    def clips_its_input(params: Any, x: Array) -> tuple[Array, Any]:
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


@pytest.mark.parametrize(
    "vector",
    [
        [0.4116305363741328, 1.0425133694426776, -0.1285346629440343, 1.3664634705496859, -0.6651946734866135,
         0.3515100700930197, 0.9034701816518086, 0.09401229776087457],
        [-4.204560644752284, 1.508048549624597, 2.969139099857415, -0.4928837778758721, -3.223094574685304,
         2.6191264578651197, -3.841181834143719, -2.1392042851778164],
    ],
)  # fmt: skip
def test_few_digits_and_small_kinks_of_right_parts_are_no_mistake_of_the_whole(vector: list[float]) -> None:
    """Saturated, beside a path that is not: the slope 1 − y² has few digits, and a kink below it hardly shows."""
    f, g = nn.serial(nn.residual(nn.leaky_relu(0.875)), nn.dense(1)), nn.serial(nn.dense(1), nn.tanh())
    model = nn.wired(gate, {"f": f, "g": g}, name="gate")
    params = model.init(nn.key(0), (3,), np.float64)[0].with_vector(vector)
    assert nn.check_model(model, params, np.array([[0.0, -5.0, 0.0]]), train=False).ok


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


# -- models that are no chain ------------------------------------------------------------------------------------------


class Sample(NamedTuple):
    image: Array
    table: Array


def gate(call: Callable[..., Value], x: Value) -> Value:
    return call(nn.multiply(), (call(nn.tanh(), call("f", x)), call(nn.sigmoid(), call("g", x))))


def two_inputs(layer: Layer) -> Layer:
    image = nn.serial(nn.flatten(), nn.dense(4), layer)
    return nn.serial(nn.parallel(image=image, table=nn.dense(4)), nn.add(), nn.tanh())


def test_several_inputs_have_a_gradient_each() -> None:
    x = Sample(np.random.default_rng(1).normal(size=(5, 2, 3)), X)

    def report(model: Layer) -> nn.Report:
        params, state = model.init(nn.key(1), Sample((2, 3), (4,)), np.float64)  # type: ignore[arg-type]  # shapes
        return nn.check_model(model, params, x, state=state)

    assert report(two_inputs(scaled(right))).ok
    assert [(f.where, f.name, f.kind) for f in report(two_inputs(scaled(doubled))).findings] == [
        ("parallel1.image.scaled1", "dx", "scale")
    ]

    def second_is_wrong(p: Any, x: Any, dy: Array, grads: Any, need: Any) -> tuple[Array, Array]:
        return dy * x[1], 3 * dy * x[0]

    product = nn.multiply()
    assert product.kernel is not None
    wrong = product._replace(kernel=product.kernel._replace(backward=second_is_wrong))
    found = nn.check_layer(wrong, ((4,), (4,))).findings
    assert [(f.where, f.name, f.kind) for f in found] == [("multiply", "dx[1]", "scale")]
    assert "dx[1]: " in found[0].message


def test_nested_values_are_named_by_their_places() -> None:
    inner = nn.layer(lambda p, x: (x[0] * x[1][1], x), nested_backward, name="nested")
    x = X, (np.arange(5), X + 1)
    report = nn.check_model(inner, nn.arrays.EMPTY, x)
    assert [(row.where, row.name) for row in report.rows] == [("nested", "dx[0]"), ("nested", "dx[1][1]")]
    assert [(f.name, f.kind) for f in report.findings] == [("dx[1][1]", "sign")]


def nested_backward(p: ArrayDict, x: Any, dy: Array) -> Any:
    return (dy * x[1][1], (None, -dy * x[0])), {}


def test_layers_in_a_wire_of_ones_own_are_checked_and_a_shared_one_once() -> None:
    parts = {"f": nn.serial(nn.dense(4), scaled(doubled)), "g": nn.dense(4)}
    assert [f.where for f in check(nn.wired(gate, parts, name="gate")).findings] == ["f.scaled1"]
    twice = nn.serial(nn.branch(nn.identity(), nn.tanh()), nn.shared(scaled(doubled)), nn.add())
    report = check(twice)
    assert [(f.where, f.name) for f in report.findings] == [("shared1.scaled1", "dx")]
    assert [row.name for row in report.rows if row.where == "shared1.scaled1"] == ["dx", "a"]


def test_a_layer_that_is_wrong_in_its_second_call_alone() -> None:
    def positive_alone(p: ArrayDict, x: Array, dy: Array) -> tuple[Array, dict[str, Array]]:
        return dy * p["a"] * np.where(x > 0, 1, 2), {"a": (dy * x).sum(0)}

    model = nn.serial(nn.branch(nn.softplus(), nn.identity()), nn.shared(scaled(positive_alone)), nn.add())
    assert [(f.where, f.name) for f in check(model).findings] == [("shared1.scaled1", "dx")]


def test_what_is_frozen_is_a_constant_and_what_is_tied_is_one() -> None:
    body = nn.serial(nn.dense(4), scaled(lambda p, x, dy: (dy * p["a"], {"a": 0 * p["a"]})), nn.tanh(), nn.dense(4))
    assert [(f.where, f.name) for f in check(body).findings] == [("scaled1", "a")]
    assert check(nn.freeze(body, "scaled1.*")).ok
    tied = nn.tie(nn.serial(nn.dense(4), nn.tanh(), nn.dense(4)), "dense2.W", to="dense1.W", transpose=True)
    report = check(tied)
    assert report.ok
    assert ("dense2", "W") in [(row.where, row.name) for row in report.rows]


def test_losses_where_training_takes_them() -> None:
    x = np.random.default_rng(0).normal(size=(5, 7, 3))
    classes = np.random.default_rng(1).integers(0, 4, size=(5, 7))
    sequence = nn.serial(nn.dense(4), nn.softmax())
    assert check(sequence, x, target=classes, loss=nn.sparse_categorical_cross_entropy).ok
    assert check(sequence, x, target=classes.tolist(), loss="sparse_categorical_cross_entropy").ok

    heads = nn.serial(nn.dense(3), nn.branch(label=sequence, value=nn.dense(1)))
    both = nn.losses.combined(nn.sparse_categorical_cross_entropy, nn.mean_squared_error, weights=(1.0, 0.5))
    target = classes, x[..., :1]
    assert check(heads, x, target=target, loss=both).ok
    gradient = nn.mean_squared_error.gradient
    assert gradient is not None
    halved = nn.mean_squared_error._replace(gradient=lambda residual: gradient(residual) / 2)
    wrong = nn.losses.combined(nn.sparse_categorical_cross_entropy, halved)
    assert [(f.where, f.name, f.kind) for f in check(heads, x, target=target, loss=wrong).findings] == [
        ("loss", "dy[1]", "scale")
    ]
    with pytest.raises(ValueError, match="applies it again"):
        check(sequence, x, target=classes, loss=nn.sparse_categorical_cross_entropy_with_logits)


def test_a_loss_of_ones_own_sees_outputs_as_the_model_gives_them() -> None:
    shapes = set()

    def forward(y: Array, target: Array) -> tuple[float, Any]:
        shapes.add(y.shape)
        return float(np.mean((y - target) ** 2)), (y, target)

    own = nn.Loss(forward, lambda cache: 2 * (cache[0] - cache[1]) / cache[0].size)
    x = np.random.default_rng(0).normal(size=(5, 7, 3))
    assert check(nn.dense(2), x, target=x[..., :2], loss=own).ok
    assert shapes == {(5, 7, 2)}
    wrong = nn.Loss(forward, lambda cache: (cache[0] - cache[1]) / cache[0].size)
    assert [(f.where, f.name, f.kind) for f in check(nn.dense(2), x, target=x[..., :2], loss=wrong).findings] == [
        ("loss", "dy", "scale")
    ]


def test_inputs_that_are_looked_up_are_generated() -> None:
    def lookup_backward(p: Any, i: Any, dy: Array, grads: Any, need: Any) -> None:
        grads[0][...] = 0
        np.add.at(grads[0], i, dy)

    def lookup(backward: Callable[..., Any]) -> Layer:
        signature = lambda shape: Signature((*shape, 2), {"E": Initial((6, 2), "he")})  # noqa: E731
        return make(
            "lookup", kernel=Kernel(lambda p, i: (p[0][i], i), backward, signature, takes="integers", stacked=False)
        )

    def overwrites(p: Any, i: Any, dy: Array, grads: Any, need: Any) -> None:
        grads[0][...] = 0
        grads[0][i] = dy

    assert nn.check_layer(lookup(lookup_backward), (3,)).ok
    assert [(f.where, f.name) for f in nn.check_layer(lookup(overwrites), (3,)).findings] == [("lookup", "E")]
    mixed = nn.serial(nn.parallel(nn.serial(lookup(lookup_backward), nn.flatten()), nn.dense(2)), nn.concatenate())
    assert nn.check_layer(mixed, ((3,), (4,))).ok
    assert_layer_laws(mixed, ((3,), (4,)), max_examples=5, leading_axes=False)
    with pytest.raises(ValueError, match="x is a tuple of 2, but input_shape is"):
        nn.check_layer(nn.dense(2), (3,), x=(X, X))


# -- the laws ----------------------------------------------------------------------------------------------------------


def test_a_failure_is_not_made_smaller_for_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnfunc.testing.laws.SHRINKING", 0.0)  # as if the time were over
    calls = []

    def sine(p: Any, x: Array) -> tuple[Array, Array]:
        calls.append(x)
        return np.sin(x), x

    wrong = nn.serial(nn.dense(64), nn.layer(sine, lambda p, x, dy: (dy, {})), nn.dense(32))
    with pytest.raises(AssertionError, match="gradients in"):
        assert_layer_laws(wrong, (64,))
    assert len(calls) < 3000


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


def test_two_kinks_that_undo_each_other_are_no_mistake() -> None:
    model = nn.serial(nn.leaky_relu(0.7), nn.dense(1, bias=False), nn.leaky_relu(0.7))
    params = nn.ArrayDict({"dense1.W": np.array([[-1.0]])})
    x = np.array([[0.5], [0.0], [-1.2]])  # at 0 the slope is 0.7 on both sides, and 0.7² by the chain rule
    assert nn.check_model(model, params, x, target=np.ones((3, 1)), loss=nn.mean_squared_error).ok
