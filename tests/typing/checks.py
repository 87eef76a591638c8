"""The laboratory: what is checked, and what the reports say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_type

import numpy as np

import nnfunc as nn
from nnfunc.checks import Finding, Report, Row

rng = np.random.default_rng(0)
X = rng.normal(size=(5, 3))


def loss_fn(p: Mapping[str, nn.Array]) -> float:
    return float(0.5 * np.sum((X @ p["W"]) ** 2))


def grads_fn(p: Mapping[str, nn.Array]) -> dict[str, nn.Array]:
    return {"W": X.T @ (X @ p["W"])}


def forward(x: nn.Array, w: nn.Array) -> tuple[nn.Array, tuple[nn.Array, nn.Array]]:
    return x @ w, (x, w)


def backward(dy: nn.Array, cache: tuple[nn.Array, nn.Array]) -> tuple[nn.Array, nn.Array]:
    x, w = cache
    return dy @ w.T, x.T @ dy


def f(x: nn.Array) -> nn.Array:
    return np.sin(x)


def jac(x: nn.Array) -> nn.Array:
    return np.diag(np.cos(x))


class Linear:
    """An object that keeps its gradients."""

    def __init__(self) -> None:
        self.W = rng.normal(size=(3, 2))
        self.dW = np.zeros((3, 2))

    def forward(self, x: nn.Array) -> nn.Array:
        self.x = x
        return x @ self.W

    def backward(self, dy: nn.Array) -> nn.Array:
        self.dW = self.x.T @ dy
        return dy @ self.W.T


def used() -> None:
    """All checks, and how a report is read."""
    params = {"W": rng.normal(size=(3, 2))}
    report = nn.check_gradients(loss_fn, grads_fn, params, batch_size=5)
    assert_type(report, Report)
    reports: list[nn.Report] = [
        report,
        nn.check_gradients(lambda p: float(np.sum(p["w"] ** 2)), lambda p: {"w": 2 * p["w"]}, {"w": np.ones(3)}),
        nn.check_gradients(loss_fn, grads_fn(params), params),
        nn.check_function(forward, backward, X, params["W"]),
        nn.check_function(forward, backward, X, params["W"], cache_first=False, key=nn.key(1)),
        nn.check_jacobian(f, jac, rng.normal(size=3)),
        nn.check_hessian(f, jac, rng.normal(size=3)),
        nn.check_object(Linear(), X),
        nn.check_layer(nn.dense(3), (4,)),
        nn.check_layer(nn.add(), ((4,), (4,)), key=nn.key(0), expected={"x": "meant"}),
    ]
    model = nn.mlp([3, 2], ["softmax"])
    weights, state = model.init(nn.key(0), (3,))
    reports.append(nn.check_model(model, weights, X, target=np.zeros(5, int), loss="sparse_categorical_cross_entropy"))
    reports.append(nn.check_model(model, weights, X, state=state, train=False))
    for one in reports:
        assert_type(one.ok, bool)
        assert_type(one.findings, tuple[Finding, ...])
        assert_type(one.rows, tuple[Row, ...])
        for finding in one.findings:
            said: tuple[str, str, str, float] = finding.where, finding.name, finding.kind, finding.error
            print(said, finding.index, finding.fraction, finding.message)
            if finding.numeric_array is not None:
                print(finding.numeric_array.shape)
        for row in one.rows:
            print(row.where, row.name, row.shape, row.worst, row.verdict)
        print(one.table(), one.text(), one.seconds, one.notes)
    report.assert_ok()
    test = nn.taylor_test(loss_fn, grads_fn, params)
    assert_type(test, nn.checks.TaylorTest)
    assert_type(test.order, float)
    seen = nn.inspect(model, weights, X, target=np.zeros(5, int), loss=nn.sparse_categorical_cross_entropy)
    assert_type(seen, nn.inspection.Inspection)
    for layer in seen.layers:
        print(layer.name, layer.output.shape, layer.dead, layer.mean, layer.grads.names)


if __name__ == "__main__":
    used()
