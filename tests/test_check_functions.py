"""check_function: calling conventions, returned gradients, exceptions, caches; and diagnoses as in check_layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc.arrays import Array
from nnfunc.checks import Report
from nnfunc.checks.subject import arguments
from nnfunc.testing import gradient_test

rng = np.random.default_rng(3)
X, W, B = rng.normal(size=(5, 3)), rng.normal(size=(3, 4)), rng.normal(size=4)


def said(report: Report) -> list[tuple[str, str]]:
    return [(f.name, f.kind) for f in report.findings]


def forward(x: Array, w: Array, b: Array) -> tuple[Array, Any]:
    y = np.tanh(x @ w + b)
    return y, (x, w, y)


def grads(dy: Array, cache: Any, factor: float = 1.0) -> tuple[Array, Array, Array]:
    x, w, y = cache
    dz = dy * (1 - y * y)
    return dz @ w.T, factor * (x.T @ dz), dz.sum(axis=0)


def features_first(W: Array, X: Array) -> tuple[Array, Any]:
    return np.sin(W @ X), (W, X)


def features_first_back(dA: Array, cache: Any) -> Any:
    w, x = cache
    dz = dA * np.cos(w @ x)
    return dz @ x.T, w.T @ dz


# -- conventions of calling: (forward, backward, inputs) ---------------------------------------------------------------


def lstm_like(x: Array, h: Array, c: Array) -> tuple[Array, Array, Any]:
    c2 = np.tanh(x) * c + h
    return np.tanh(c2), c2, (x, c, c2)


def lstm_like_back(dh: Array, dc: Array, cache: Any) -> tuple[Array, Array, Array]:
    x, c, c2 = cache
    dc = dc + dh * (1 - np.tanh(c2) ** 2)
    return dc * c * (1 - np.tanh(x) ** 2), dc, dc * np.tanh(x)


def step_back_of_pair(dys: Any, cache: Any) -> Any:
    dh, dc = dys
    return lstm_like_back(dh, dc, cache)


def closure(x: Array, w: Array) -> tuple[Array, Callable[[Array], Any]]:
    return x @ w, lambda dy: (dy @ w.T, x.T @ dy)


def squares(x: Array, t: Array) -> tuple[float, Array]:
    return float(np.mean((x - t) ** 2)), 2 * (x - t) / x.size


def dict_of_params(params: dict[str, Array], x: Array) -> tuple[Array, Any]:
    return x @ params["W"] + params["b"], (params, x)


def dict_of_params_back(cache: Any, dy: Array) -> Any:
    params, x = cache
    return dy @ params["W"].T, {"dW": x.T @ dy, "db": dy.sum(axis=0)}


def list_of_weights(x: Array, weights: list[Array]) -> tuple[Array, Any]:
    return x @ weights[0] @ weights[1], (x, weights)


def list_of_weights_back(dy: Array, cache: Any) -> Any:
    x, (a, b) = cache
    return dy @ b.T @ a.T, [x.T @ dy @ b.T, (x @ a).T @ dy]


def lookup(table: Array, ids: Array, mask: Array) -> tuple[Array, Any]:
    return table[ids] * mask[:, None], (table, ids, mask)


def lookup_back(dy: Array, cache: Any) -> Any:
    table, ids, mask = cache
    dtable = np.zeros_like(table)
    np.add.at(dtable, ids, dy * mask[:, None])
    return dtable, None, None


def dropout(x: Array) -> tuple[Array, Array]:
    mask = (np.random.rand(*x.shape) < 0.5) / 0.5  # noqa: NPY002  # as courses do it
    return x * mask, mask


TABLE, IDS, MASK = rng.normal(size=(6, 2)), np.array([1, 3, 1, 0]), np.array([True, True, True, False])
CONVENTIONS: dict[str, tuple[Any, ...]] = {
    "dy, cache": (forward, grads, X, W, B),
    "cache, dy": (forward, lambda cache, dout: grads(dout, cache), X, W, B),
    "names that say nothing": (forward, lambda u, v: grads(u, v), X, W, B),
    "names that say nothing, cache first": (forward, lambda u, v: grads(v, u), X, W, B),
    "list": (forward, lambda dy, cache: list(grads(dy, cache)), X, W, B),
    "dict": (forward, lambda dy, cache: dict(zip(("dx", "dw", "db"), grads(dy, cache), strict=True)), X, W, B),
    "dict of others": (
        forward, lambda dy, cache: dict(zip(("x_grad", "grad_w", "b"), grads(dy, cache), strict=True)), X, W, B,
    ),
    "more": (forward, lambda dy, cache: (*grads(dy, cache), dy), X, W, B),
    "features first": (features_first, features_first_back, W.T, X.T),
    "two outputs": (lstm_like, lstm_like_back, *rng.normal(size=(3, 2, 3))),
    "two outputs as a tuple": (
        lambda x, h, c: (lstm_like(x, h, c)[:2], lstm_like(x, h, c)[2]), step_back_of_pair, *rng.normal(size=(3, 2, 3)),
    ),
    "closure": (closure, None, X, W),
    "inputs instead of a cache": (lambda x, w: x @ w, lambda dy, x, w: (dy @ w.T, x.T @ dy), X, W),
    "outputs instead of a cache": (np.tanh, lambda dy, y: dy * (1 - y * y), X),
    "loss and gradient": (squares, None, X, X[::-1]),
    "a loss's cache": (lambda x, t: (squares(x, t)[0], (x, t)), lambda cache: squares(*cache)[1], X, X[::-1]),
    "dict of parameters": (dict_of_params, dict_of_params_back, {"W": W, "b": B}, X),
    "list of weights": (list_of_weights, list_of_weights_back, X, [W, W.T]),
    "whole numbers and masks": (lookup, lookup_back, TABLE, IDS, MASK),
    "by name": (forward, grads, {"x": X, "w": W, "b": B}),
    "settings": (
        lambda x, conf: (x * conf["rate"] ** 2, conf), lambda dy, conf: dy * conf["rate"] ** 2,
        X, {"rate": 0.3, "mode": "train"},
    ),
    "one example as a vector": (
        lambda x, w: (w @ x, (x, w)), lambda dy, c: (c[1].T @ dy, np.outer(dy, c[0])), X[0], W.T,
    ),
    "outputs and no cache": (
        lambda x, w: (x * w, x + w), lambda d1, d2, x, w: (d1 * w + d2, d1 * x + d2), X, X[::-1],
    ),
    "cache and inputs": (
        lambda x, w: (x @ w, x), lambda dy, w, cache: (dy @ w.T, cache.T @ dy), X, W,
    ),
    "inputs first": (lambda x, w: x @ w, lambda x, w, dy: (dy @ w.T, x.T @ dy), X, W),
    "settings with arrays": (
        lambda x, conf: (x + conf["mean"], None), lambda dy, cache: dy, X, {"mean": np.ones(3), "mode": "train"},
    ),
    "several numbers": (
        lambda x: (float(x.sum()), float(x.prod()), x), lambda d1, d2, x: d1 + d2 * x.prod() / x, X[0],
    ),
    "a list of numbers": (lambda x: (np.tanh(x), np.asarray(x)), lambda dy, x: dy / np.cosh(x) ** 2, [0.3, -1.0]),
    "random": (lambda x: dropout(x), lambda dy, mask: dy * mask, X),
    "numbers": (lambda a, b: (a * b * b, (a, b)), lambda dy, c: (dy * c[1] ** 2, 2 * dy * c[0] * c[1]), 1.5, -0.7),
}  # fmt: skip


@pytest.mark.parametrize("name", CONVENTIONS)
def test_conventions(name: str) -> None:
    f, b, *inputs = CONVENTIONS[name]
    report = nn.check_function(f, b, *inputs)
    report.assert_ok()
    assert any(row.verdict.startswith("right") for row in report.rows)


def scaled(value: Any) -> Any:
    """Gradients three times too large."""
    if isinstance(value, dict):
        return {k: scaled(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(scaled(v) for v in value)
    return None if value is None else 3 * value


@pytest.mark.parametrize("name", CONVENTIONS)
def test_wrong_in_each_convention(name: str) -> None:
    f, b, *inputs = CONVENTIONS[name]
    right = nn.check_function(f, b, *inputs)
    if b is None:

        def f2(*args: Any) -> Any:
            y, given = f(*args)
            return y, (lambda dy: scaled(given(dy))) if callable(given) else scaled(given)

        report = nn.check_function(f2, None, *inputs)
    else:
        names = arguments(b) or ["dy", "cache"]
        source = f"lambda {', '.join(names)}: scaled(b({', '.join(names)}))"
        report = nn.check_function(f, eval(source, {"scaled": scaled, "b": b}), *inputs)  # the same names
    assert len(report.findings) == len(right.rows)
    assert {f.kind for f in report.findings} == {"scale"}


def test_notes_say_what_was_assumed() -> None:
    f, b, *inputs = CONVENTIONS["dict of others"]
    notes = nn.check_function(f, b, *inputs).notes
    assert notes == ("'x_grad' is taken as the gradient of x", "'grad_w' is taken as the gradient of w")
    assert "returned gradient 3 is ignored" in nn.check_function(*CONVENTIONS["more"]).notes[0]
    only = nn.check_function(forward, lambda dy, cache: grads(dy, cache)[:2], X, W, B)
    assert only.ok
    assert "no gradient of b" in only.notes[0]
    turned = nn.check_function(forward, lambda dy, cache: grads(dy, cache)[::-1], X, W, B)
    assert said(turned) == [("x", "shape"), ("b", "shape")]
    assert "those of b, w, x" in turned.notes[0]
    assert "Note: by their shapes" in str(turned)


# -- words as in check_layer -------------------------------------------------------------------------------------------


def test_words() -> None:
    def softmax(x: Array) -> tuple[Array, Array]:
        e = np.exp(x - x.max(axis=1, keepdims=True))
        y = e / e.sum(axis=1, keepdims=True)
        return y, y

    assert said(nn.check_function(softmax, lambda dy, y: dy * y * (1 - y), X)) == [("x", "missing-term")]
    dropped = nn.check_function(forward, lambda dy, cache: grads(np.ones_like(dy), cache), X, W, B)
    assert {kind for _, kind in said(dropped)} == {"missing-term"}
    assert "does not depend on dy" in dropped.findings[0].message
    mean = nn.check_function(forward, lambda dy, cache: grads(dy, cache, 1 / 5), X, W, B)
    assert said(mean) == [("w", "scale")]
    assert "5 is the batch size" in mean.findings[0].message


lengths = st.integers(1, 5)


@settings(max_examples=20, deadline=None)
@given(
    m=lengths, d=lengths, k=lengths, seed=st.integers(0, 99), turned=st.booleans(), times=st.sampled_from([1, -1, 3])
)
def test_any_shape_and_layout(m: int, d: int, k: int, seed: int, turned: bool, times: float) -> None:
    draw = np.random.default_rng(seed).normal

    def product(x: Array, w: Array) -> tuple[Array, Any]:
        return (np.tanh(w @ x), (x, w)) if turned else (np.tanh(x @ w), (x, w))

    def back(dy: Array, cache: Any) -> dict[str, Array]:
        x, w = cache
        if turned:
            dz = dy * (1 - np.tanh(w @ x) ** 2)
            return {"dx": w.T @ dz, "dw": times * (dz @ x.T)}
        dz = dy * (1 - np.tanh(x @ w) ** 2)
        return {"dx": dz @ w.T, "dw": times * (x.T @ dz)}

    x, w = (draw(size=(d, m)), draw(size=(k, d))) if turned else (draw(size=(m, d)), draw(size=(d, k)))
    report = nn.check_function(product, back, x, w)
    assert said(report) == {1: [], -1: [("w", "sign")], 3: [("w", "scale")]}[int(times)]


def test_one_output_of_two_is_forgotten() -> None:
    def back(dh: Array, dc: Array, cache: Any) -> Any:
        return lstm_like_back(dh, 0 * dc, cache)

    report = nn.check_function(lstm_like, back, *rng.normal(size=(3, 2, 3)))
    assert said(report) == [(name, "missing-term") for name in ("x", "h", "c")]
    assert "y[1] does not contribute" in report.findings[0].message
    assert "for y[0] alone it is right" in report.findings[0].message


# -- exceptions, caches, mutation --------------------------------------------------------------------------------------


def test_exceptions_are_findings_with_their_place() -> None:
    report = nn.check_function(forward, lambda dy, cache: grads(dy, cache[:2]), X, W, B)
    assert said(report) == [("", "shape")]
    assert "(x, w, y = cache): not enough values to unpack" in report.findings[0].message
    assert "of test_check_functions.py (x, w, y = cache)" in report.findings[0].message
    report = nn.check_function(lambda x: (x @ x, x), lambda dy, x: dy, X)
    assert "forward raises ValueError" in report.findings[0].message


def test_shapes_and_nothing_returned() -> None:
    report = nn.check_function(forward, lambda dy, cache: (*grads(dy, cache)[:2], dy), X, W, B)
    assert said(report) == [("b", "shape")]
    assert "a sum over the examples is missing" in report.findings[0].message
    assert said(nn.check_function(forward, lambda dy, cache: None, X, W, B)) == [("", "shape")]
    ragged = nn.check_function(forward, lambda dy, cache: ([[1.0], [1.0, 2.0]], *grads(dy, cache)[1:]), X, W, B)
    assert said(ragged) == [("x", "shape")]


def test_backward_that_writes() -> None:
    def into_dy(dy: Array, cache: Any) -> Any:
        x, w, y = cache
        dy *= 1 - y * y
        return dy @ w.T, x.T @ dy, dy.sum(axis=0)

    def into_cache(dy: Array, cache: Any) -> Any:
        x, w, y = cache
        y *= -y
        y += 1
        return (dy * y) @ w.T, x.T @ (dy * y), (dy * y).sum(axis=0)

    def shifts(dy: Array, cache: Any) -> Any:
        where, shape = cache
        where += shape[1] * np.arange(shape[0])
        dx = np.zeros(shape)
        dx.flat[where] = dy
        return dx

    report = nn.check_function(forward, into_dy, X, W, B)
    assert said(report) == [("", "mutation")]
    assert "writes into its argument dy" in report.findings[0].message
    report = nn.check_function(forward, into_cache, X, W, B)
    assert said(report) == [("", "mutation")]
    report = nn.check_function(lambda x: (x.max(axis=1), (x.argmax(axis=1), x.shape)), shifts, X)
    assert said(report) == [("", "mutation")]
    assert "IndexError" in report.findings[0].message


def test_what_the_last_forward_left() -> None:
    held = {}

    def remembers(x: Array) -> tuple[Array, None]:
        held["x"] = x
        return x**2, None

    assert said(nn.check_function(remembers, lambda dy, cache: 2 * dy * held["x"], X)) == [("", "stale")]
    assert nn.check_function(lambda x: remembers(x)[0], lambda dy: 2 * dy * held["x"], X).ok


def test_one_array_for_two_and_whole_numbers() -> None:
    report = nn.check_function(lambda x, t: (x + t, None), lambda dy, cache: (dy, dy), X, X)
    assert report.ok
    assert "the gradients of x and t are the same array" in report.notes[0]
    side_by_side = nn.check_function(
        lambda x, t: (np.concatenate([x, t], axis=1), None), lambda dy, cache: np.split(dy, 2, axis=1), X, X
    )
    assert side_by_side.ok
    assert not side_by_side.notes  # views of one array, but of other elements

    def changed(dy: Array, cache: Any) -> Any:
        x, t = cache
        dt = dx = -dy * x / (x + t) ** 2
        dx += dy / (x + t)
        return dx, dt

    report = nn.check_function(lambda x, t: (x / (x + t), (x, t)), changed, X**2 + 1, X**2 + 2)
    assert [name for name, _ in said(report)] == ["t"]
    assert "The gradients of x and t are the same array" in report.findings[0].message
    report = nn.check_function(lambda x: (3 * x, None), lambda dy, cache: (3 * dy).astype(int), X)
    assert said(report) == [("x", "precision")]


# -- meant -------------------------------------------------------------------------------------------------------------


def test_expected_and_tolerance() -> None:
    def straight(x: Array) -> tuple[Array, None]:
        return np.clip(x, -0.5, 0.5), None

    assert not nn.check_function(straight, lambda dy, cache: dy, X).ok
    report = nn.check_function(straight, lambda dy, cache: dy, X, expected={"x": "straight-through"})
    assert report.ok
    assert report.rows[0].verdict == "as expected: straight-through"
    assert report.notes[-1].startswith("as expected (straight-through): x: ")

    def off(dy: Array, cache: Any) -> Any:
        return grads(dy, cache, 1.0001)

    assert not nn.check_function(forward, off, X, W, B, tolerance=1e-5).ok
    report = nn.check_function(forward, off, X, W, B, tolerance=1e-3)
    assert report.ok
    assert "within the tolerance" in report.rows[1].verdict
    assert "is right" in nn.check_function(forward, grads, X, W, B, expected={"w": "clipped"}).notes[0]
    with pytest.raises(ValueError, match="expected names 'v'"):
        nn.check_function(forward, grads, X, W, B, expected={"v": "?"})


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((forward, grads, X, W), TypeError, "forward takes x, w, b"),
        ((forward, 3, X), TypeError, "functions"),
        ((lambda x: x, lambda dy: dy, np.arange(3)), TypeError, "no input is a float array"),
        ((np.tanh, lambda dy, y: dy, np.array([np.nan])), ValueError, "nan at"),
        ((np.tanh, None, X), TypeError, "expected .y, backprop."),
        ((lambda x: (x, x), None, X), TypeError, "pass both"),
    ],
)
def test_refused(arguments: tuple[Any, ...], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        nn.check_function(*arguments)


# -- of other libraries ------------------------------------------------------------------------------------------------


def test_pytorch() -> None:
    torch = pytest.importorskip("torch")
    from nnfunc.interop.torch import pair  # needs PyTorch

    class Scale(torch.autograd.Function):  # type: ignore[misc,name-defined]  # no types without PyTorch
        @staticmethod
        def forward(ctx: Any, x: Any, w: Any, power: int) -> Any:
            ctx.save_for_backward(x, w)
            return x * w**power

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            x, w = ctx.saved_tensors
            return dy * w**2, 2 * dy * x, None  # should be 2 dy x w

    report = nn.check_function(*pair(Scale), X, X, 2)
    assert [name for name, _ in said(report)] == ["w"]
    assert nn.check_function(*pair(lambda x, w: (torch.tanh(x @ w), x.sum())), X, W).ok
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.GELU())
    params = {k: v.detach().numpy() for k, v in module.named_parameters()}
    report = nn.check_function(*pair(module), params, X)
    report.assert_ok()
    assert len(report.rows) == 5


def test_jax() -> None:
    jax = pytest.importorskip("jax")
    from nnfunc.interop.jax import pair  # needs JAX

    def dense(params: Any, x: Any, ids: Any) -> Any:
        return jax.numpy.tanh(x @ params["W"])[ids], x.sum()

    report = nn.check_function(*pair(dense), {"W": W}, X, np.array([0, 0, 2]))
    report.assert_ok()
    assert len(report.rows) == 2
    bent = jax.custom_vjp(lambda x: x**2)
    bent.defvjp(lambda x: (x**2, x), lambda x, dy: (-2 * dy * x,))
    assert said(nn.check_function(*pair(bent), X)) == [("x", "sign")]
    rule = (lambda x: (jax.numpy.sin(x), x)), (lambda res, g: (g * jax.numpy.cos(res),))
    nn.check_function(*rule, X).assert_ok()  # in single precision


def test_thinc_and_autograd() -> None:
    from nnfunc.interop import autograd, thinc  # beside their tests

    class Node:
        """What is used of a model of Thinc's, of one node."""

        param_names = ("W",)

        def __init__(self, factor: float) -> None:
            self.params, self.grads, self.factor = {"W": W.copy()}, {"W": np.ones_like(W)}, factor
            self.get_param, self.set_param = self.params.get, self.params.__setitem__
            self.get_grad, self.set_grad = self.grads.get, self.grads.__setitem__
            self.has_grad = self.grads.__contains__

        def walk(self) -> list[Any]:
            return [self]

        def __call__(self, x: Array, is_train: bool = False) -> Any:
            w = self.params["W"]

            def backprop(dy: Array) -> Any:
                self.grads["W"] = self.grads["W"] + self.factor * (x.T @ dy)
                return dy @ w.T

            return x @ w, backprop

    nn.check_function(*thinc.pair(Node(1.0)), {"W": W}, X).assert_ok()
    assert said(nn.check_function(*thinc.pair(Node(-1.0)), {"W": W}, X)) == [("W", "sign")]
    nn.check_function(lambda x: Node(1.0)(x), None, X).assert_ok()
    rules = (lambda y, x: lambda dy: dy * (1 - y * y),)
    nn.check_function(*autograd.pair(np.tanh, *rules), X).assert_ok()


def test_thinc_itself() -> None:
    api = pytest.importorskip("thinc.api")
    from nnfunc.interop.thinc import pair  # beside its test

    model = api.Linear(4, 3)
    model.initialize()
    params = {name: model.get_param(name) for name in ("W", "b")}
    nn.check_function(*pair(model), params, X).assert_ok()


# -- what check_gradients and check_layer share with it ----------------------------------------------------------------


def step(x: Array) -> tuple[Array, Array]:
    return np.tanh(x), x


def test_a_sum_as_a_loss_is_noted() -> None:
    def unpacked(p: dict[str, Array]) -> float:
        y, _ = step(p["x"])
        return float(np.sum(y))

    def slopes(p: dict[str, Array]) -> dict[str, Array]:
        return {"x": 1 - np.tanh(p["x"]) ** 2}

    assert nn.check_gradients(unpacked, slopes, {"x": X}).notes[0].startswith("loss_fn sums y, so")
    indexed = nn.check_gradients(lambda p: step(p["x"])[0].sum(), slopes, {"x": X})
    assert indexed.notes[0].startswith("loss_fn sums step(p['x'])[0], so")

    def weighted(p: dict[str, Array]) -> float:
        y, _ = step(p["x"])
        return float(np.sum(y * X))

    def of_a_formula(p: dict[str, Array]) -> float:
        return float(np.mean(np.log(1 + p["x"] ** 2)))

    for loss in (weighted, of_a_formula):
        notes = nn.check_gradients(loss, slopes, {"x": X}).notes
        assert not any("sums" in note for note in notes)


def test_meant_in_every_entry() -> None:
    loss = nn.check_gradients(lambda p: np.sum(p["w"] ** 2), lambda p: {"w": p["w"]}, {"w": X}, expected={"w": "half"})
    assert loss.ok
    assert "half" in loss.rows[0].verdict
    hard = nn.layer(lambda p, x: (np.clip(x, -0.5, 0.5), None), lambda p, c, dy: (dy, {}), name="hard")
    assert not nn.check_layer(hard, (3,)).ok
    report = nn.check_layer(hard, (3,), expected={"dx": "straight-through"})
    assert report.ok
    assert "as expected (straight-through): hard.dx" in report.notes[0]
    model = nn.serial(nn.dense(3), hard)
    params, _ = model.init(nn.key(0), (3,))
    assert nn.check_model(model, params, 5 * X, expected={"hard1.dx": "straight-through"}).ok
    off = nn.layer(lambda p, x: (x**2, x), lambda p, x, dy: (2.0001 * dy * x, {}), name="off")
    assert not nn.check_layer(off, (3,)).ok
    assert nn.check_layer(off, (3,), tolerance=1e-3).ok


# -- as tests ----------------------------------------------------------------------------------------------------------

test_of_shapes = gradient_test(forward, grads, [[(5, 3), (3, 4), (4,)], [(1, 3), (3, 1), (1,)], [(0, 3), (3, 2), (2,)]])
test_of_a_lookup = gradient_test(lookup, lookup_back, [[(6, 2), IDS, MASK], [TABLE, IDS, MASK]], dtypes=["float32"])


def test_the_report_is_the_failure() -> None:
    def wrong(dy: Array, cache: Any) -> Any:
        return grads(dy, cache, -1.0)

    with pytest.raises(AssertionError, match=r"wrong gradients\n(.|\n)*w: the gradient has the wrong sign"):
        gradient_test(forward, wrong, [])([(5, 3), (3, 4), (4,)], "float64")

    def promoted(dy: Array, cache: Any) -> Any:
        return grads(dy.astype(float), cache)

    with pytest.raises(AssertionError, match="x: the gradient has dtype float64"):
        gradient_test(forward, promoted, [])([(5, 3), (3, 4), (4,)], "float32")


@pytest.mark.parametrize("features_first", [False, True])
def test_words_for_large_arrays(features_first: bool) -> None:
    turn: Callable[[Array], Array] = np.transpose if features_first else np.asarray

    def centred(x: Array, w: Array) -> tuple[Array, Any]:
        z = np.tanh(turn(x) @ w)
        return turn(z - z.mean(axis=1, keepdims=True)), (x, w, z)

    def back(dy: Array, cache: Any) -> Any:
        x, w, z = cache
        dz = turn(dy) * (1 - z * z)  # should be (dy - dy.mean(...)) * ...
        return turn(dz @ w.T), turn(x).T @ dz

    report = nn.check_function(centred, back, turn(rng.normal(size=(40, 30))), rng.normal(size=(30, 25)))
    assert said(report) == [("x", "missing-term"), ("w", "missing-term")]


def test_tensors_are_pointed_to_their_adapter() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"Tensor \(wrap it with nnfunc.interop.torch.pair\)"):
        nn.check_function(lambda x: torch.tensor(x), lambda dy: dy, X)


@pytest.mark.parametrize("at", [0.0, 1.3])
def test_ties_of_two_arrays(at: float) -> None:
    a, b = X.copy(), X[::-1].copy()
    a[:2], b[:2] = at, at

    def check(more: Callable[..., Any], less: Callable[..., Any], f: Callable[..., Any] = np.maximum) -> list[Any]:
        report = nn.check_function(
            lambda a, b: (f(a, b), (a, b)), lambda dy, c: (dy * more(c[0], c[1]), dy * less(c[0], c[1])), a, b
        )
        return said(report)

    wrong = [("a", "mask"), ("b", "mask")]
    assert check(np.greater, np.less) == wrong
    assert check(np.greater_equal, np.less_equal) == wrong
    assert check(np.greater_equal, np.less) == []
    assert check(np.greater, np.less_equal) == []
    half = [lambda a, b: (a > b) + 0.5 * (a == b), lambda a, b: (a < b) + 0.5 * (a == b)]
    assert check(*half) == []
    assert (
        check(lambda a, b: 1.0 * (a > 0), lambda a, b: 1.0 * (b < 0), lambda a, b: np.maximum(a, 0) - np.maximum(-b, 0))
        == []
    )
    assert check(lambda a, b: np.sign(a - b), lambda a, b: -np.sign(a - b), lambda a, b: np.abs(a - b)) == []


# -- which elements go where -------------------------------------------------------------------------------------------


def recurrence(x: Array, W: Array) -> tuple[Array, Any]:
    h = [np.zeros(x.shape[1:])]
    for step in x:
        h.append(np.tanh(step + h[-1] @ W))
    return np.stack(h[1:]), (W, h)


def recurrence_grads(dy: Array, cache: Any, last: int) -> tuple[Array, Array]:
    W, h = cache
    dx, dW, dh = np.zeros_like(dy), np.zeros_like(W), np.zeros_like(dy[0])
    for t in reversed(range(len(dy))):
        dx[t] = (dy[t] + dh) * (1 - h[t + 1] ** 2)
        dW += h[t].T @ dx[t]
        dh = dx[t] @ W.T * (t != last)
    return dx, dW


def test_the_step_at_which_a_gradient_is_not_handed_back() -> None:
    x, W = rng.normal(size=(6, 2, 3)), 0.5 * rng.normal(size=(3, 3))
    assert nn.check_function(recurrence, lambda dy, cache: recurrence_grads(dy, cache, -1), x, W).ok
    report = nn.check_function(recurrence, lambda dy, cache: recurrence_grads(dy, cache, 4), x, W)
    assert report.findings[0].kind == "missing-term"
    assert "the contribution of step 4 and later ones to the steps before it is missing" in report.findings[0].message


def test_the_same_where_time_runs_the_other_way() -> None:
    def forward(x: Array, W: Array) -> tuple[Array, Any]:
        y, cache = recurrence(x[::-1], W)
        return y[::-1], cache

    def backward(dy: Array, cache: Any, last: int = 4) -> tuple[Array, Array]:
        dx, dW = recurrence_grads(dy[::-1], cache, last)
        return dx[::-1], dW

    x, W = rng.normal(size=(6, 2, 3)), 0.5 * rng.normal(size=(3, 3))
    assert nn.check_function(forward, lambda dy, cache: backward(dy, cache, -1), x, W).ok
    report = nn.check_function(forward, backward, x, W)  # step 4 of those is step 1 of x
    assert "the contribution of step 1 and earlier ones to the steps after it is missing" in report.findings[0].message


def windows(x: Array, w: Array) -> tuple[Array, Any]:
    return np.stack([x[2 * i : 2 * i + 3] @ w for i in range(4)]), (x, w)


@pytest.mark.parametrize(
    ("stride", "adds", "kind", "said"),
    [
        (2, False, "missing-sum", "should be added by `+=`"),
        (1, True, "shift", "x: y[3] depends on elements [6–8], but its gradient is added to [3–5]: shifted by -3"),
    ],
)
def test_windows_that_overwrite_or_go_elsewhere(stride: int, adds: bool, kind: str, said: str) -> None:
    def backward(dy: Array, cache: Any) -> tuple[Array, Array]:
        x, w = cache
        dx = np.zeros_like(x)
        for i, d in enumerate(dy):
            window = dx[stride * i : stride * i + 3]
            window[...] = window * adds + d * w
        return dx, sum(d * x[2 * i : 2 * i + 3] for i, d in enumerate(dy))

    report = nn.check_function(windows, backward, rng.normal(size=9), rng.normal(size=3))
    assert [(f.name, f.kind) for f in report.findings] == [("x", kind)]
    assert said in report.findings[0].message


def test_which_elements_of_dy_are_ignored() -> None:
    def backward(dy: Array, cache: Any) -> tuple[Array, Array]:
        x, W = cache
        return dy[:, :4] @ W[:, :4].T, x.T @ dy

    report = nn.check_function(lambda x, W: (x @ W, (x, W)), backward, rng.normal(size=(5, 3)), rng.normal(size=(3, 8)))
    assert "columns 4–7 of dy" in report.findings[0].message


def test_writing_into_dy_or_the_cache_is_said_first_where_it_makes_gradients_wrong() -> None:
    x, g = np.random.default_rng(0).normal(size=(8, 4)), np.random.default_rng(1).normal(size=4)

    def forward(x: Array, g: Array) -> tuple[Array, tuple[Array, Array]]:
        h = np.tanh(x)
        return h * g, (h, g)

    def into_dy(dy: Array, cache: tuple[Array, Array]) -> tuple[Array, Array]:
        h, g = cache
        dy *= g
        return dy * (1 - h**2), (dy * h).sum(axis=0)

    def into_cache(dy: Array, cache: tuple[Array, Array]) -> tuple[Array, Array]:
        h, g = cache
        h *= g
        return dy * g * (1 - h**2), (dy * h).sum(axis=0)

    for backward, said in ((into_dy, "writes into its argument dy"), (into_cache, "the first modified the cache")):
        finding, *others = nn.check_function(forward, backward, x, g).findings
        assert finding.kind == "mutation"
        assert said in finding.message
        assert {f.name for f in others} >= {"g"}


def channels_first(x: Array, w: Array) -> tuple[Array, tuple[Array, Array]]:
    """Slides kernels w (outputs, channels, size) over x (examples, channels, length), channels first."""
    size = w.shape[2]
    seen = np.lib.stride_tricks.sliding_window_view(x, size, axis=2)
    return np.einsum("nctk,ock->not", seen, w), (x, w)


def test_a_kernel_that_is_not_reversed_is_told_from_channels_in_another_order() -> None:
    def spread(dy: Array, cache: tuple[Array, Array], taps: slice) -> tuple[Array, Array]:
        x, w = cache
        dx, dw = np.zeros_like(x), np.zeros_like(w)
        steps = dy.shape[2]
        for k, own in enumerate(np.moveaxis(w[:, :, taps], 2, 0)):
            dx[:, :, k : k + steps] += np.einsum("not,oc->nct", dy, own)
            dw[:, :, k] = np.einsum("not,nct->oc", dy, x[:, :, k : k + steps])
        return dx, dw

    x, w = rng.normal(size=(2, 3, 7)), rng.normal(size=(3, 3, 2))
    assert nn.check_function(channels_first, lambda dy, cache: spread(dy, cache, slice(None)), x, w).ok
    report = nn.check_function(channels_first, lambda dy, cache: spread(dy, cache, slice(None, None, -1)), x, w)
    assert [(f.name, f.kind) for f in report.findings] == [("x", "flip")]


def test_channels_in_another_order() -> None:
    def mixed(x: Array, w: Array) -> tuple[Array, tuple[Array, Array]]:
        return x @ w, (x, w)

    def reordered(dy: Array, cache: tuple[Array, Array]) -> tuple[Array, Array]:
        x, w = cache
        return dy @ w[::-1, ::-1].T, np.einsum("ntc,nto->co", x, dy)

    report = nn.check_function(mixed, reordered, rng.normal(size=(2, 5, 4)), rng.normal(size=(4, 4)))
    assert [(f.name, f.kind) for f in report.findings] == [("x", "shift")]
    assert "different order" in report.findings[0].message
