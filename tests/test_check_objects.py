"""check_object, check_jacobian, check_hessian: objects with gradients in their attributes, matrices of derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nnfunc as nn
from nnfunc.arrays import Array
from nnfunc.checks import Report

rng = np.random.default_rng(5)
X, W, B = rng.normal(size=(5, 3)), rng.normal(size=(3, 4)), rng.normal(size=4)


def said(report: Report) -> list[tuple[str, str]]:
    return [(f.name, f.kind) for f in report.findings]


def names(report: Report) -> set[str]:
    return {row.name for row in report.rows}


class Dense:
    """Gradients in attributes, made by backward."""

    def __init__(self, factor: float = 1.0, dtype: type = float) -> None:
        self.W: Any = W.astype(dtype)
        self.b: Any = B.astype(dtype)
        self.factor = factor

    def forward(self, x: Array) -> Array:
        self.x = x
        y: Array = x @ self.W + self.b
        return y

    def backward(self, dy: Array) -> Array:
        self.keep(self.factor * (self.x.T @ dy), dy.sum(axis=0))
        dx: Array = dy @ self.W.T
        return dx

    def keep(self, dW: Array, db: Array) -> None:
        self.dW, self.db = dW, db


class Adding(Dense):
    def __init__(self, factor: float = 1.0) -> None:
        super().__init__(factor)
        self.grad_W, self.grad_b = np.ones_like(W), np.ones_like(B)

    def keep(self, dW: Array, db: Array) -> None:
        self.grad_W += dW
        self.grad_b += db


class Dicts(Dense):
    def __init__(self, factor: float = 1.0) -> None:
        super().__init__(factor)
        self.params = {"W": self.W, "b": self.b}
        self.grads: dict[str, Array] = {}

    def keep(self, dW: Array, db: Array) -> None:
        self.grads = {"dW": dW, "db": db}


class Lists(Dense):
    def __init__(self, factor: float = 1.0) -> None:
        super().__init__(factor)
        self.params = [self.W, self.b]
        self.grads = [np.zeros_like(W), np.zeros_like(B)]

    def keep(self, dW: Array, db: Array) -> None:
        self.grads[0][...], self.grads[1][...] = dW, db


class Parameter:
    def __init__(self, data: Array) -> None:
        self.data, self.grad = data, np.zeros_like(data)


class Boxes:
    """Parameters that hold their gradient."""

    __slots__ = ("W", "b", "factor", "x")

    def __init__(self, factor: float = 1.0) -> None:
        self.W, self.b, self.factor = Parameter(W), Parameter(B), factor

    def __call__(self, x: Array) -> Array:
        self.x = x
        return np.asarray(x @ self.W.data + self.b.data)

    def backward(self, dy: Array) -> Array:
        self.W.grad += self.factor * (self.x.T @ dy)
        self.b.grad += dy.sum(axis=0)
        return np.asarray(dy @ self.W.data.T)


class Tanh:
    def forward(self, x: Array) -> Array:
        self.y = np.tanh(x)
        return self.y

    def backward(self, dy: Array) -> Array:
        return np.asarray(dy * (1 - self.y**2))


class Network:
    """Layers in a list, a loss, the parameters of all in a list; backward takes nothing and returns nothing."""

    def __init__(self, factor: float = 1.0) -> None:
        self.layers: list[Any] = [Adding(), Tanh(), Adding(factor)]
        self.layers[2].W, self.layers[2].grad_W = rng.normal(size=(4, 4)), np.zeros((4, 4))
        self.params = [layer.W for layer in self.layers if hasattr(layer, "W")]

    def forward(self, x: Array, target: Array) -> float:
        for layer in self.layers:
            x = layer.forward(x)
        self.dy = (x - target) / len(x)
        return float(0.5 * np.sum((x - target) ** 2) / len(x))

    def backward(self) -> None:
        dy = self.dy
        for layer in reversed(self.layers):
            dy = layer.backward(dy)


OBJECTS: dict[str, tuple[Callable[[float], Any], set[str], str]] = {
    "attributes": (Dense, {"x", "W", "b"}, "W"),
    "adding": (Adding, {"x", "W", "b"}, "W"),
    "dicts": (Dicts, {"x", "W", "b"}, "W"),
    "lists": (Lists, {"x", "W", "b"}, "W"),
    "boxes": (Boxes, {"x", "W.data", "b.data"}, "W.data"),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_objects(name: str) -> None:
    make, expected, wrong = OBJECTS[name]
    layer = make(1.0)
    report = nn.check_object(layer, X)
    report.assert_ok()
    assert names(report) == expected
    assert not hasattr(layer, "x")  # it was not touched
    report = nn.check_object(make(0.2), X)
    assert said(report) == [(wrong, "scale")]
    assert "5 is the batch size" in report.findings[0].message


def test_growth_is_said() -> None:
    assert "adds to existing gradients" in nn.check_object(Boxes(), X).notes[0]
    assert nn.check_object(Dense(), X).notes == ()


def test_single_precision() -> None:
    nn.check_object(Dense(dtype=np.float32), X).assert_ok()


def test_network_of_objects() -> None:
    report = nn.check_object(Network(), X, rng.normal(size=(5, 4)))
    report.assert_ok()
    found = {f"layers[{i}].{k}" for i in (0, 2) for k in ("W", "b")}
    assert {row.name for row in report.rows if row.verdict == "right"} == found
    assert said(nn.check_object(Network(2.0), X, rng.normal(size=(5, 4)))) == [("layers[2].W", "scale")]


def test_random_and_changing_objects() -> None:
    class Dropout:
        def __init__(self) -> None:
            self.rng, self.calls = np.random.default_rng(0), 0.0

        def forward(self, x: Array) -> Array:
            self.mask = self.rng.random(x.shape) < 0.5
            self.calls += 1
            return np.asarray(x * self.mask * self.calls)

        def backward(self, dy: Array) -> Array:
            return np.asarray(dy * self.mask * self.calls)

    nn.check_object(Dropout(), X).assert_ok()


def test_objects_that_raise_or_are_none() -> None:
    class Broken(Dense):
        def backward(self, dy: Array) -> Array:
            return np.asarray(dy @ self.W)

    report = nn.check_object(Broken(), X)
    assert said(report) == [("", "shape")]
    assert "return np.asarray(dy @ self.W))" in report.findings[0].message
    with pytest.raises(TypeError, match="no methods forward and backward"):
        nn.check_object(3, X)
    with pytest.raises(TypeError, match="no methods run and backward"):
        nn.check_object(Dense(), X, forward="run")


# -- matrices ----------------------------------------------------------------------------------------------------------


def residual(p: Array) -> Array:
    return np.array([p[0] * np.exp(-p[1] * t) - 1.0 for t in range(4)])


def jacobian(p: Array) -> Array:
    t = np.arange(4)
    e = np.exp(-p[1] * t)
    return np.stack([e, -t * p[0] * e], axis=1)


P = np.array([1.7, 0.4])


def test_jacobians() -> None:
    scipy_sparse = pytest.importorskip("scipy.sparse")
    linalg = pytest.importorskip("scipy.sparse.linalg")
    nn.check_jacobian(residual, jacobian, P).assert_ok()
    nn.check_jacobian(lambda p: (residual(p), jacobian(p)), None, P).assert_ok()
    nn.check_jacobian(residual, lambda p: scipy_sparse.csr_matrix(jacobian(p)), P).assert_ok()
    nn.check_jacobian(residual, lambda p: linalg.aslinearoperator(jacobian(p)), P).assert_ok()
    nn.check_jacobian(lambda p, c: c * residual(p), lambda p, c: c * jacobian(p), P, args=(3,)).assert_ok()
    nn.check_jacobian(lambda p: float(p @ p), lambda p: 2 * p, P).assert_ok()
    rows = np.eye(5)[:, :, None]
    nn.check_jacobian(lambda x: np.tanh(x).sum(axis=1), lambda x: rows * (1 - np.tanh(x) ** 2), X).assert_ok()


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda j: -j, "sign"),
        (lambda j: j.T, "shape"),
        (lambda j: j[:, ::-1], "flip"),
        (lambda j: j * [1, 2], "scale"),
        (lambda j: j * [1, 0], "zero"),
        (lambda j: j[:3], "shape"),
        (lambda j: np.where(np.arange(8).reshape(4, 2) == 3, 0.5, j), "sparse"),
    ],
)
def test_wrong_jacobians(change: Callable[[Array], Array], kind: str) -> None:
    assert said(nn.check_jacobian(residual, lambda p: change(jacobian(p)), P)) == [("jac", kind)]


def test_square_jacobian_transposed() -> None:
    a = rng.normal(size=(4, 4))
    report = nn.check_jacobian(lambda x: np.tanh(a @ x), lambda x: ((1 - np.tanh(a @ x) ** 2)[:, None] * a).T, B)
    assert said(report) == [("jac", "transpose")]


def banana(x: Array) -> float:
    return float(np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2))


def test_hessians() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    x = np.array([-1.2, 0.7, 1.1])
    f, g, h = optimize.rosen, optimize.rosen_der, optimize.rosen_hess
    nn.check_hessian(g, h, x).assert_ok()
    nn.check_hessian(g, optimize.rosen_hess_prod, x).assert_ok()
    nn.check_hessian(f, h, x).assert_ok()
    nn.check_function(lambda x: (f(x), g(x)), None, x).assert_ok()  # jac=True
    for first in (f, g):
        assert said(nn.check_hessian(first, lambda x: 2 * h(x), x)) == [("hess", "scale")]
        report = nn.check_hessian(first, lambda x: np.triu(h(x)), x)
        assert [name for name, _ in said(report)] == ["hess"]
        assert report.notes == ("hess is not symmetric",)


def test_objectives_of_boosting() -> None:
    t = np.array([0.0, 1.0, 1.0, 0.0])

    def logistic(margin: Array, factor: float = 1.0) -> tuple[Array, Array]:
        p = 1 / (1 + np.exp(-margin))
        return p - t, factor * p * (1 - p)

    nn.check_hessian(logistic, None, B).assert_ok()
    assert said(nn.check_hessian(lambda m: logistic(m, 2.0), None, B)) == [("hess", "scale")]
    report = nn.check_hessian(lambda m: logistic(m, 2.0), None, B, expected={"hess": "an upper bound"})
    assert report.ok

    def softmax(margin: Array) -> tuple[Array, Array]:  # the diagonal of what is no diagonal matrix
        e = np.exp(margin)
        p = e / e.sum(axis=1, keepdims=True)
        return p - np.eye(3)[[0, 2, 1, 1, 0]], p * (1 - p)

    nn.check_hessian(softmax, None, X).assert_ok()


def test_matrices_that_raise() -> None:
    report = nn.check_jacobian(residual, lambda p: jacobian(p)[9], P)
    assert said(report) == [("", "shape")]
    assert "jac raises IndexError" in report.findings[0].message
    with pytest.raises(TypeError, match="expected a pair"):
        nn.check_jacobian(residual, None, P)
    with pytest.raises(ValueError, match="x contains nan"):
        nn.check_hessian(banana, banana, np.array([np.nan]))


class TwoLayers:
    """A network as courses write it: parameters in a dict, the gradients returned in one."""

    def __init__(self, factor: float = 1.0) -> None:
        own = np.random.default_rng(1)
        self.params = {"W1": own.normal(size=(3, 4)), "b1": np.zeros(4), "W2": own.normal(size=(4, 2))}
        self.factor, self.reg = factor, 0.1

    def loss(self, X: Array, y: Array) -> tuple[float, dict[str, Array]]:
        W1, W2 = self.params["W1"], self.params["W2"]
        a = np.tanh(X @ W1 + self.params["b1"])
        gap = a @ W2 - y
        dz = gap @ W2.T * (1 - a * a)
        grads = {"W1": X.T @ dz, "b1": self.factor * dz.sum(axis=0), "W2": a.T @ gap + 2 * self.reg * W2}
        return float(0.5 * np.sum(gap**2) + self.reg * np.sum(W2**2)), grads

    def value(self, X: Array, y: Array) -> float:
        return self.loss(X, y)[0]

    def gradient(self, X: Array, y: Array) -> dict[str, Array]:
        return {f"d{k}": v for k, v in self.loss(X, y)[1].items()}


@pytest.mark.parametrize("methods", [("loss", None), ("value", "gradient")])
def test_gradients_returned_by_name(methods: tuple[str, str | None]) -> None:
    y = rng.normal(size=(5, 2))
    forward, backward = methods
    report = nn.check_object(TwoLayers(), X, y, forward=forward, backward=backward)
    report.assert_ok()
    assert {r.name for r in report.rows if r.verdict == "right"} == {"W1", "b1", "W2"}
    report = nn.check_object(TwoLayers(0.5), X, y, forward=forward, backward=backward)
    assert said(report) == [("b1", "scale")]


def test_what_has_no_gradient_is_said() -> None:
    class Norm(Dense):
        def __init__(self) -> None:
            super().__init__()
            self.running_mean = np.zeros(4)

    assert nn.check_object(Norm(), X).notes == ("no gradient of running_mean is found: not checked",)
