"""The laboratory's reports on small backwards with typical mistakes (tests/corpus.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nnfunc as nn
from nnfunc.arrays import Array
from tests.benchmarks import coursework
from tests.benchmarks.coursework import alarms, deep, edges
from tests.corpus import right_cases, wrong_cases


def test_every_wrong_gradient_is_found_and_named_and_nine_of_ten_in_a_right_word() -> None:
    count, told, other = 0, 0, []
    for case in wrong_cases():
        found = nn.check_gradients(case.loss, case.grads, case.params).findings
        assert {f.name for f in found} == case.wrong, case.name
        count += 1
        if {f.kind for f in found} <= case.kinds - {"unknown"}:
            told += 1
        else:
            other.append((case.name, [(f.name, f.kind) for f in found]))
    assert count >= 120
    assert told >= 0.9 * count, other


def test_no_right_gradient_is_accused() -> None:
    accused = {}
    for case in right_cases():
        report = nn.check_gradients(case.loss, case.grads, case.params)
        if not report.ok:
            accused[case.name] = [f.message for f in report.findings]
    assert not accused


@pytest.mark.parametrize("make", [edges, deep])
def test_no_course_like_gradient_is_accused(make: Callable[[int], coursework.Case]) -> None:
    assert alarms(make, range(40) if make is edges else range(4)) == []


# -- what a layer's map says -------------------------------------------------------------------------------------------

W = np.random.default_rng(0).normal(size=(4, 4))


def said(forward: Callable[..., Any], backward: Callable[..., Any], params: dict[str, Any] | None = None) -> str:
    (finding,) = nn.check_layer(nn.layer(forward, backward, params, name="own"), (4,)).findings
    return f"{finding.kind}: {finding.message}"


def test_a_transpose_that_is_forgotten_behind_an_activation() -> None:
    def forward(p: Any, x: Array) -> tuple[Array, Array]:
        return np.tanh(x @ p["W"]), x

    def backward(p: Any, x: Array, dy: Array) -> tuple[Array, dict[str, Array]]:
        dz = dy * (1 - np.tanh(x @ p["W"]) ** 2)
        return dz @ p["W"], {"W": x.T @ dz}

    assert said(forward, backward, {"W": W}).startswith("transpose")


def test_a_part_that_dy_is_not_multiplied_into() -> None:
    text = said(lambda p, x: (x * x, x), lambda p, x, dy: (2 * x * dy + x, {}))
    assert text.startswith("missing-term")
    assert "does not depend on dy" in text


def test_a_backward_that_spoils_its_cache_or_adds_up() -> None:
    def spoils(p: Any, cache: Any, dy: Array) -> tuple[Array, dict[str, Array]]:
        where, shape = cache
        where += shape[1] * np.arange(shape[0])
        dx = np.zeros(shape)
        dx.flat[where] = dy[:, 0]
        return dx, {}

    text = said(lambda p, x: (x.max(axis=1, keepdims=True), (x.argmax(axis=1), x.shape)), spoils)
    assert text.startswith("mutation")
    assert "raises IndexError" in text

    def adds(p: Any, cache: Any, dy: Array) -> tuple[Array, dict[str, Array]]:
        x, grad = cache
        grad += (dy * x).sum(axis=0)
        return dy * p["a"], {"a": grad}

    text = said(lambda p, x: (x * p["a"], (x, np.zeros(4))), adds, {"a": W[0]})
    assert "adds to existing gradients" in text


def test_what_backward_raises_is_a_finding_with_its_line() -> None:
    text = said(lambda p, x: (2 * x, x), lambda p, x, dy: (dy[:, 9], {}))
    assert "raises IndexError in line" in text
    report = nn.check_gradients(lambda p: float(p["w"] @ p["w"]), lambda p: {"w": p["v"]}, {"w": W[0]})
    assert "grads_fn raises KeyError" in report.findings[0].message


def test_digits_run_out() -> None:
    report = nn.check_gradients(
        lambda p: float(np.sum(np.sin(1e7 * p["x"]))), lambda p: {"x": 1e7 * np.cos(1e7 * p["x"])}, {"x": W[0]}
    )
    assert report.ok
    assert "undecided" in report.rows[0].verdict
