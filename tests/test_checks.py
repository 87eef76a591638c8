"""The gradient laboratory: difficult correct gradients, each kind of mistake, reports, large networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc.arrays import Array
from nnfunc.checks import KINDS
from nnfunc.checks.numeric import beside, central, rounding

Params = dict[str, Array]
Grads = Callable[[Params], dict[str, Any]]

rng = np.random.default_rng(0)
X, T = rng.normal(size=(9, 5)), rng.normal(size=(9, 5))
START: Params = {"W": rng.normal(size=(5, 5)), "b": 0.1 * rng.normal(size=5)}


def loss(p: Params) -> float:
    return float(0.5 * np.sum((np.tanh(X @ p["W"] + p["b"]) - T) ** 2) / 9 + 0.015 * np.sum(p["W"] ** 2))


def grads(p: Params) -> Params:
    a = np.tanh(X @ p["W"] + p["b"])
    dz = (a - T) / 9 * (1 - a * a)
    return {"W": X.T @ dz + 0.03 * p["W"], "b": dz.sum(axis=0)}


def changed(name: str, change: Callable[[Array, Array], Array]) -> Grads:
    def wrong(p: Params) -> Params:
        g = grads(p)
        return {**g, name: change(g[name], p[name])}

    return wrong


def set_at(index: Any, value: Callable[[Array], Array | float]) -> Callable[[Array, Array], Array]:
    def change(g: Array, p: Array) -> Array:
        g = g.copy()
        g[index] = value(g[index])
        return g

    return change


def noisy(g: Array, p: Array) -> Array:
    return g.astype(np.float32).astype(float)


# -- each kind of mistake ----------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[str, str, Callable[[Array, Array], Array], str]] = {
    "sign": ("W", "sign", lambda g, p: -g, "wrong sign in every element"),
    "sign of a row": ("W", "sign", set_at(2, lambda v: -v), "row 2"),
    "sign of columns": ("W", "sign", set_at((slice(None), [1, 3]), lambda v: -v), "columns 1, 3"),
    "scale by m": ("W", "scale", lambda g, p: 9 * g, "9 times too large in every element, and 9 is the batch size"),
    "scale by 1/m": ("b", "scale", lambda g, p: g / 9, "9 times too small"),
    "scale by 2": ("b", "scale", lambda g, p: 2 * g, "1/2 of the loss"),
    "scale, hardly": ("W", "scale", lambda g, p: 1.0001 * g, "1.0001 times"),
    "transpose": ("W", "transpose", lambda g, p: g.T, "transposed"),
    "flip": ("W", "flip", lambda g, p: g[::-1], "reversed along axis 0"),
    "flip of both": ("W", "flip", lambda g, p: g[::-1, ::-1], "reversed along axes 0, 1"),
    "shift": ("b", "shift", lambda g, p: np.roll(g, 1), "shifted by +1 along axis 0"),
    "rows permuted": ("W", "shift", lambda g, p: g[[1, 0, 3, 4, 2]], "are permuted"),
    "averaged": ("W", "axis", lambda g, p: np.broadcast_to(g.mean(axis=0), g.shape), "averaged along axis 0"),
    "zero": ("W", "zero", lambda g, p: 0 * g, "is 0"),
    "zero column": ("W", "zero", set_at((slice(None), 4), lambda v: 0 * v), "column 4"),
    "penalty forgotten": ("W", "penalty", lambda g, p: g - 0.03 * p, "lacks a term 0.03 · parameter"),
    "penalty on the bias": ("b", "penalty", lambda g, p: g + 0.01 * p, "has an extra term 0.01 · parameter"),
    "l1": ("W", "penalty", lambda g, p: g + 0.2 * np.sign(p), "has an extra term 0.2 · sign(parameter)"),
    "mask": ("W", "mask", lambda g, p: g * (np.arange(25).reshape(5, 5) % 3 > 0), "a mask"),
    "sparse, zero": ("W", "sparse", set_at((3, 1), lambda v: 0.0), "element [3, 1]"),
    "sparse, 1 %": ("W", "sparse", set_at((0, 4), lambda v: 1.01 * v), "element [0, 4]"),
    "sparse bias": ("b", "sparse", set_at(3, lambda v: 1.01 * v), "element [3]"),
    "small": ("W", "small", lambda g, p: g + 1e-4 * np.cos(p), "smooth"),
    "precision": ("W", "precision", noisy, "float32"),
    "unknown": ("W", "unknown", lambda g, p: g + np.cos(7 * p), "no simple mistake"),
}


@pytest.mark.parametrize("case", WRONG)
def test_each_mistake_is_named(case: str) -> None:
    name, kind, change, words = WRONG[case]
    report = nn.check_gradients(loss, changed(name, change), START, batch_size=9)
    assert [(f.where, f.name, f.kind) for f in report.findings] == [("", name, kind)]
    finding = report.findings[0]
    assert words in finding.message
    assert finding.message.startswith(f"{name}: ")
    assert 0 < finding.fraction <= 1
    true, claimed = grads(START)[name], changed(name, change)(START)[name]
    assert finding.analytic == claimed[finding.index]
    assert finding.numeric == pytest.approx(true[finding.index], rel=1e-7, abs=1e-9)
    assert finding.error == pytest.approx(
        abs(finding.analytic - finding.numeric) / max(abs(finding.analytic), abs(finding.numeric))
    )


def test_the_right_gradient_is_not_accused() -> None:
    report = nn.check_gradients(loss, grads, START)
    assert report.ok
    report.assert_ok()
    assert [row.verdict for row in report.rows] == ["right", "right"]
    assert max(row.worst for row in report.rows) < 1e-9
    assert nn.check_gradients(loss, grads(START), START).ok


def test_constants_are_recognised_by_the_names_that_the_functions_give_them() -> None:
    keep_rate = 0.65

    def wrong(p: Params) -> Params:
        return {**grads(p), "W": grads(p)["W"] * keep_rate}

    assert "which is keep_rate" in nn.check_gradients(loss, wrong, START).findings[0].message


# -- functions that are none -------------------------------------------------------------------------------------------


def found(
    loss_fn: Callable[[Params], Any], grads_fn: Callable[[Params], Any], start: Any = START
) -> list[tuple[str, str]]:
    return [(f.name, f.kind) for f in nn.check_gradients(loss_fn, grads_fn, start).findings]


def test_random_functions() -> None:
    generator = np.random.default_rng(0)
    redrawn = lambda p: {**grads(p), "b": grads(p)["b"] * generator.integers(0, 2, 5)}  # noqa: E731
    assert found(loss, redrawn) == [("b", "nondeterministic")]
    assert "'generator'" in nn.check_gradients(loss, redrawn, START).findings[0].message
    assert found(lambda p: loss(p) + generator.normal(), grads) == [("", "nondeterministic")]


def test_functions_that_change_what_they_are_given() -> None:
    def in_place(p: Params) -> Params:
        p["W"] *= 2
        return grads(p)

    def normalising(p: Params) -> float:
        p["b"] -= p["b"].mean()
        return loss(p)

    data = T.copy()

    def overwrites_data(p: Params) -> Params:
        data[...] -= 1
        return grads(p)

    def with_data(p: Params) -> float:
        return loss(p) + float(data.sum())

    kept: Params = {k: np.zeros_like(v) for k, v in START.items()}

    def one_buffer(p: Params) -> Params:
        for k, v in grads(p).items():
            kept[k][...] = v
        return kept

    def accumulates(p: Params) -> Params:
        for k, v in grads(p).items():
            kept[k] += v
        return kept

    assert found(loss, in_place) == [("W", "mutation")]
    assert found(normalising, grads) == [("b", "mutation")]
    assert found(with_data, overwrites_data) == [("", "mutation")]
    assert "'data'" in nn.check_gradients(with_data, overwrites_data, START).findings[0].message
    assert found(loss, one_buffer) == [("", "mutation")]
    assert [kind for _, kind in found(loss, accumulates)] == ["mutation"]


def test_functions_that_remember() -> None:
    last: dict[str, Params] = {}

    def remembering(p: Params) -> float:
        last["p"] = p
        return loss(p)

    def of_the_last(p: Params) -> Params:
        return grads(last["p"])

    assert {kind for _, kind in found(remembering, of_the_last)} == {"stale"}
    first = grads(START)
    assert found(loss, lambda p: first) == [("W", "stale"), ("b", "stale")]


def test_a_mistake_that_the_point_hides_is_found_at_another() -> None:
    start = {"W": START["W"], "b": np.zeros(5)}
    report = nn.check_gradients(loss, lambda p: {**grads(p), "b": grads(p)["b"] + p["b"]}, start)
    assert [(f.name, f.kind) for f in report.findings] == [("b", "penalty")]
    assert "does not show at the given point" in report.findings[0].message


def test_names_shapes_and_values() -> None:
    assert found(loss, lambda p: {"W": grads(p)["W"]}) == [("b", "shape")]
    assert found(loss, lambda p: {**grads(p), "c": 1.0}) == [("c", "shape")]
    assert found(loss, lambda p: {**grads(p), "b": grads(p)["b"][None]}) == [("b", "shape")]
    assert found(loss, lambda p: {**grads(p), "b": None}) == [("b", "shape")]
    assert found(loss, lambda p: {**grads(p), "b": ["a"] * 5}) == [("b", "shape")]
    assert found(loss, lambda p: list(grads(p).values())) == [("", "shape")]
    assert found(loss, changed("W", set_at((1, 2), lambda v: np.nan))) == [("W", "nonfinite")]
    assert found(lambda p: loss(p) + np.inf, grads) == [("", "nonfinite")]


# -- hard but right ----------------------------------------------------------------------------------------------------


def relu(z: Array) -> Array:
    return np.maximum(z, 0)


def test_kinks() -> None:
    zeros: Params = {"W": np.zeros((5, 4)), "b": np.zeros(4), "g": rng.normal(size=4)}
    target = rng.normal(size=(9, 4))

    def branch(p: Params) -> float:
        return float(0.5 * np.sum((relu(X @ p["W"] + p["b"]) * p["g"] - target) ** 2))

    def slopes(p: Params, at_0: float = 0.0) -> Params:
        z = X @ p["W"] + p["b"]
        dy = relu(z) * p["g"] - target
        dz = dy * p["g"] * np.where(z > 0, 1.0, np.where(z == 0, at_0, 0.0))
        return {"W": X.T @ dz, "b": dz.sum(axis=0), "g": (dy * relu(z)).sum(axis=0)}

    for at_0 in (0.0, 0.5, 1.0):
        assert nn.check_gradients(branch, lambda p, at_0=at_0: slopes(p, at_0), zeros).ok  # type: ignore[misc]  # default
    wrong = nn.check_gradients(branch, lambda p: slopes(p, 3.0), zeros)
    assert {f.name for f in wrong.findings} <= {"W", "b"}
    assert not wrong.ok


def test_ties() -> None:
    tied: Params = {"v": np.array([1.0, 3.0, 3.0, 2.0])}

    def largest(share: Callable[[Array], Array]) -> Grads:
        return lambda p: {"v": share(p["v"] == p["v"].max())}

    assert not found(lambda p: p["v"].max(), largest(lambda at: at / at.sum()), tied)
    assert not found(lambda p: p["v"].max(), largest(lambda at: at * (np.cumsum(at) == 1.0)), tied)
    assert found(lambda p: p["v"].max(), largest(lambda at: 1.0 * at), tied)

    def middle(p: Params) -> Params:
        order = np.argsort(p["v"], kind="stable")
        return {"v": np.isin(np.arange(4), order[1:3]) / 2}

    assert not found(lambda p: np.median(p["v"]), middle, {"v": np.array([1.0, 2.0, 2.0, 3.0])})


def test_a_zero_column_in_a_large_array() -> None:
    params, f, g = large()
    used = np.abs(g(params)["V"]).sum(axis=0).argsort()
    quiet = {**params, "V": params["V"] * (np.arange(150) != used[-2])}

    def wrong(p: Params) -> Params:
        return {**g(p), "V": g(p)["V"] * (np.arange(150) != used[-1])}

    assert not found(f, g, quiet)
    assert found(f, wrong, quiet) == [("V", "zero")]


def test_a_wrong_value_very_near_a_kink_is_found() -> None:
    start = {"w": np.array([1e-8, -0.5, -3e-8])}
    assert nn.check_gradients(lambda p: np.abs(p["w"]).sum(), lambda p: {"w": np.sign(p["w"])}, start).ok
    wrong = set_at(0, lambda v: -v)
    report = nn.check_gradients(lambda p: np.abs(p["w"]).sum(), lambda p: {"w": wrong(np.sign(p["w"]), p["w"])}, start)
    assert [f.index for f in report.findings] == [(0,)]


@pytest.mark.parametrize("ulps", range(-6, 7))
@pytest.mark.parametrize("kink", [-3.0, 3.0])
def test_kinks_a_few_roundings_away(kink: float, ulps: int) -> None:
    x = np.array([[0.0, kink + ulps * np.spacing(kink), 0.0]])
    nn.check_layer(nn.layers.hard_sigmoid(), (3,), x=x).assert_ok()


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("constant", [0.0, 1e6])
def test_scales_and_constants(scale: float, constant: float) -> None:
    report = nn.check_gradients(
        lambda p: scale * (loss(p) + constant), lambda p: {k: scale * v for k, v in grads(p).items()}, START
    )
    assert report.ok
    assert not any("undecided" in row.verdict for row in report.rows)


def test_domains_saturation_float32_and_odd_arrays() -> None:
    v = {"v": np.array([1e-7, 0.3, 4.0]), "unused": np.ones(2), "empty": np.zeros((0, 3)), "scalar": np.array(2.0)}

    def f(p: Params) -> float:
        return float(np.sum(np.sqrt(p["v"])) * p["scalar"])

    def g(p: Params) -> dict[str, Any]:
        root = np.sqrt(p["v"])
        return {"v": p["scalar"] / (2 * root), "unused": np.zeros(2), "empty": np.zeros((0, 3)), "scalar": root.sum()}

    assert nn.check_gradients(f, g, v).ok
    logits = {"w": np.array([500.0, -500.0, 30.0])}
    assert nn.check_gradients(
        lambda p: np.sum(np.logaddexp(0, p["w"])), lambda p: {"w": 0.5 * (1 + np.tanh(0.5 * p["w"]))}, logits
    ).ok
    single = {k: np.asfortranarray(a, dtype=np.float32) for k, a in START.items()}
    assert nn.check_gradients(loss, grads, single).ok

    def in_single(p: Params) -> float:
        z = (X.astype(np.float32) @ p["W"].astype(np.float32) + p["b"].astype(np.float32)).astype(float)
        return float(0.5 * np.sum((np.tanh(z) - T) ** 2) / 9 + 0.015 * np.sum(p["W"] ** 2))

    assert nn.check_gradients(in_single, grads, START).ok
    assert not nn.check_gradients(in_single, changed("W", lambda g, p: 1.01 * g), START).ok


def test_too_few_digits_are_said_to_be_so() -> None:
    report = nn.check_gradients(lambda p: 1e16 + loss(p), lambda p: {k: 5 * v for k, v in grads(p).items()}, START)
    assert all("undecided" in row.verdict for row in report.rows)
    assert "partly undecided" in str(report)


# -- the numbers -------------------------------------------------------------------------------------------------------

FUNCTIONS: dict[str, tuple[Callable[[float], float], float]] = {
    "exp": (np.exp, 1.0),
    "sin(20 t + 1)": (lambda t: np.sin(20 * t + 1), 20 * np.cos(1.0)),
    "log(1e-3 + t)": (lambda t: np.log(1e-3 + t) if t > -1e-3 else np.nan, 1e3),
    "|t + 1e-6|": (lambda t: abs(t + 1e-6), 1.0),
    "1e8 + t": (lambda t: 1e8 + t, 1.0),
    "tanh(1e3 t)": (lambda t: np.tanh(1e3 * t), 1e3),
    "0": (lambda t: 0.0, 0.0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_and_their_errors(name: str) -> None:
    f, expected = FUNCTIONS[name]
    slope = central(lambda t: np.array([f(t)]))
    assert abs(slope.value - expected) <= 4 * slope.error
    assert slope.error <= 1e-5 * max(1, abs(expected))


@given(st.floats(-2, 2), st.floats(-2, 2))
def test_slopes_on_both_sides(left: float, right: float) -> None:
    def f(t: float) -> Array:
        return np.array([(left if t < 0 else right) * t + t * t])

    sides = beside(f)
    assert sides.kink == (abs(left - right) > 1e-6) or abs(left - right) < 1e-5
    assert sides.low <= min(left, right) + 1e-9
    assert sides.high >= max(left, right) - 1e-9
    assert sides.high - sides.low <= abs(left - right) + 1e-4


def test_rounding_errors_are_estimated() -> None:
    x = rng.normal(size=50)
    assert rounding(lambda t: np.tanh(x * (1 + t))) < 20
    assert 1e6 < rounding(lambda t: np.tanh((x * (1 + t)).astype(np.float32)).astype(float)) < 1e11


# -- reports -----------------------------------------------------------------------------------------------------------


def test_reports() -> None:
    names = {f"a_rather_long_name_of_a_parameter_of_a_deep_network_{i}.weight": START["W"] for i in range(3)}

    def f(p: Params) -> float:
        return float(sum(np.sum(np.sin(v)) for v in p.values()))

    report = nn.check_gradients(f, lambda p: {k: -np.cos(v) for k, v in p.items()}, names)
    assert len(report.findings) == 3
    assert all(len(line) <= 80 for line in str(report).splitlines())
    assert report.evaluations > 0
    assert report.seconds > 0
    with pytest.raises(AttributeError):
        report.findings = ()  # type: ignore[misc]  # what must fail
    with pytest.raises(AssertionError, match="WRONG: sign"):
        report.assert_ok()
    html = report._repr_html_()
    assert html.count("<tr") == 4
    assert "WRONG: sign" in html
    assert all(finding.kind in KINDS for finding in report.findings)


def test_two_checks_with_one_key_are_the_same() -> None:
    wrong = changed("W", WRONG["unknown"][2])
    a, b = (nn.check_gradients(loss, wrong, START, key=nn.key(3)) for _ in range(2))
    assert a.text() == b.text()
    assert a.evaluations == b.evaluations


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.0, grads, START), "loss_fn is float"),
        ((lambda p: X, grads, START), "expected one real number"),
        ((lambda p: "a", grads, START), "expected one real number"),
        ((loss, grads, [1.0]), "params is list, expected a dict"),
        ((loss, grads, {"W": np.arange(3)}), "has dtype int64, expected floats"),
        ((loss, grads, {"W": [np.nan]}), "contains NaN"),
    ],
)
def test_wrong_arguments(arguments: tuple[Any, Any, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        nn.check_gradients(*arguments)


# -- large networks ----------------------------------------------------------------------------------------------------


def large() -> tuple[Params, Callable[[Params], float], Grads]:
    x, labels = rng.random((8, 60)), rng.integers(0, 4, 8)
    params: Params = {"V": 0.2 * rng.normal(size=(60, 150)), "U": 0.2 * rng.normal(size=(150, 4))}

    def probabilities(p: Params) -> tuple[Array, Array]:
        h = relu(x @ p["V"])
        e = np.exp(h @ p["U"])
        return h, e / e.sum(axis=1, keepdims=True)

    def f(p: Params) -> float:
        return float(-np.mean(np.log(probabilities(p)[1][np.arange(8), labels])))

    def g(p: Params) -> Params:
        h, s = probabilities(p)
        dz = (s - np.eye(4)[labels]) / 8
        return {"U": h.T @ dz, "V": x.T @ (dz @ p["U"].T * (h > 0))}

    return params, f, g


LARGE: dict[str, tuple[Callable[[Array, Array], Array] | None, str, str]] = {
    "right": (None, "", ""),
    "one element, 1 %": (lambda g, p: set_at(np.unravel_index(np.abs(g).argmax(), g.shape), lambda v: 1.01 * v)(g, p),
                         "sparse", "the rest of the 9000"),
    "everywhere, 1e-4": (lambda g, p: 1.0001 * g, "scale", "in every element"),
    "a row": (set_at(33, lambda v: -v), "sign", "row 33"),
    "a column": (lambda g, p: set_at((slice(None), np.abs(g).sum(axis=0).argmax()), lambda v: 0 * v)(g, p),
                 "zero", "column"),
    "a penalty": (lambda g, p: g + 0.01 * p, "penalty", "has an extra term 0.01 · parameter"),
}  # fmt: skip


@pytest.mark.parametrize("case", LARGE)
def test_large_arrays_are_searched_by_halving(case: str) -> None:
    change, kind, words = LARGE[case]
    params, f, g = large()
    report = nn.check_gradients(f, lambda p: {**g(p), "V": change(g(p)["V"], p["V"])} if change else g(p), params)
    assert [(x.name, x.kind) for x in report.findings] == ([("V", kind)] if kind else [])
    assert not kind or words in report.findings[0].message
    assert report.evaluations < 9600  # measuring every element takes six times as many


# -- Taylor ------------------------------------------------------------------------------------------------------------


def test_taylor() -> None:
    right = nn.taylor_test(loss, grads, START)
    assert right.ok
    assert right.order == pytest.approx(2, abs=0.1)
    for factor in (1.001, 2.0, -1.0):
        wrong = nn.taylor_test(loss, changed("W", lambda g, p, factor=factor: factor * g), START)  # type: ignore[misc]
        assert not wrong.ok
        assert wrong.order == pytest.approx(1, abs=0.1)
    assert nn.taylor_test(lambda p: p["w"].sum(), lambda p: {"w": np.ones(3)}, {"w": np.ones(3)}).ok
    with pytest.raises(ValueError, match="W: the gradient has shape"):
        nn.taylor_test(loss, lambda p: {**grads(p), "W": np.ones(3)}, START)


def test_an_array_of_some_elements_in_a_large_function() -> None:
    A, M, noise = rng.normal(size=6000), rng.normal(size=(80, 80)), rng.normal(size=80)

    def loss(p: Any) -> float:
        return float(np.sin(p["big"]) @ A + np.sum(np.sin(M @ p["w"])))

    def grads(p: Any) -> dict[str, Array]:
        return {"big": np.cos(p["big"]) * A, "w": M.T @ np.cos(M @ p["w"]) * noise + np.cos(3 * p["w"])}

    report = nn.check_gradients(loss, grads, {"big": rng.normal(size=6000), "w": rng.normal(size=80)})
    assert [f.name for f in report.findings] == ["w"]


def test_gradients_may_be_named_after_their_arrays() -> None:
    params = {"W": rng.normal(size=(2, 3)), "b": rng.normal(size=3)}

    def grads(p: Any, factor: float = 1.0) -> dict[str, Array]:
        return {"dW": 2 * p["W"], "db": factor * np.cos(p["b"])}

    def loss(p: Any) -> float:
        return float((p["W"] ** 2).sum() + np.sin(p["b"]).sum())

    right = nn.check_gradients(loss, grads, params)
    wrong = nn.check_gradients(loss, lambda p: grads(p, 2.0), params)
    assert right.ok
    assert right.notes == ("'dW' is taken as the gradient of W", "'db' is taken as the gradient of b")
    assert [(f.name, f.kind) for f in wrong.findings] == [("b", "scale")]
    assert nn.check_gradients(loss, grads(params), params).ok  # also where they are given as they are
    unknown = nn.check_gradients(loss, lambda p: {"W": 2 * p["W"], "bias": np.cos(p["b"])}, params)
    assert {f.name for f in unknown.findings} == {"b", "bias"}


def test_the_gradient_0_of_a_bias_before_a_mean_is_right_up_to_rounding() -> None:
    x, c = rng.normal(size=(8, 3)), rng.normal(size=(8, 4))
    params = {"W": rng.normal(size=(3, 4)), "b": rng.normal(size=4)}

    def centered(p: Any) -> Array:
        z = x @ p["W"] + p["b"]
        return np.asarray(z - z.mean(axis=0))

    def grads(p: Any) -> dict[str, Array]:
        dz = (1 - np.tanh(centered(p)) ** 2) * c
        dz -= dz.mean(axis=0)
        return {"W": x.T @ dz, "b": dz.sum(axis=0)}

    report = nn.check_gradients(lambda p: np.sum(np.tanh(centered(p)) * c), grads, params)
    assert np.abs(grads(params)["b"]).max() > 0
    assert [row.verdict for row in report.rows] == ["right", "right"]
    assert report.rows[1].worst == 0
    wrong = nn.check_gradients(
        lambda p: np.sum(np.tanh(centered(p)) * c), lambda p: grads(p) | {"b": c[0] * 1e-9}, params
    )
    assert [f.name for f in wrong.findings] == ["b"]


def test_a_factor_2_is_rather_that_of_the_loss_than_a_length() -> None:
    report = nn.check_gradients(
        lambda p: np.sum(p["w"] ** 2) / 2, lambda p: {"w": 2 * p["w"]}, {"w": np.array([0.5, 3.0])}
    )
    assert "perhaps the factor 1/2 of the loss is missing, or it is the length of w's axis 0" in str(report.findings[0])


def test_where_nothing_explains_a_mistake_the_check_of_a_part_is_suggested() -> None:
    params = {"w": rng.normal(size=6)}
    report = nn.check_gradients(
        lambda p: np.sum(np.sin(p["w"])), lambda p: {"w": np.cos(p["w"]) + np.sin(9 * p["w"][::-1])}, params
    )
    assert [f.kind for f in report.findings] == ["unknown"]
    assert "check_function" in str(report)


def test_loss_and_gradients_that_are_swapped_are_noticed() -> None:
    with pytest.raises(TypeError, match=r"loss_fn returned a dict, .*: are loss_fn and grads_fn swapped"):
        nn.check_gradients(lambda p: {"W": 2 * p["W"]}, lambda p: (p["W"] ** 2).sum(), {"W": np.ones(2)})  # type: ignore[arg-type, return-value]  # swapped
