"""check_jacobian and check_hessian: matrices of derivatives, compared entry by entry with numerical values."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfunc._internal.validate import first_bad, numeric
from nnfunc.arrays import Array
from nnfunc.checks.compare import Comparison
from nnfunc.checks.constants import Hints
from nnfunc.checks.diagnosis import Diagnosis
from nnfunc.checks.function import Function, UserError
from nnfunc.checks.gradients import examine
from nnfunc.checks.held import held, named_numbers
from nnfunc.checks.maps import Maps, explain
from nnfunc.checks.meant import Meant
from nnfunc.checks.report import Finding, Report, Row
from nnfunc.checks.subject import arguments, called
from nnfunc.keys import Key, generator
from nnfunc.keys import key as new_key

if TYPE_CHECKING:  # it costs a tenth of the import of NumPy
    from numpy.random import Generator


def check_jacobian(
    f: Callable[..., Any],
    jac: Callable[..., Any] | None,
    x: ArrayLike,
    *,
    args: Sequence[Any] = (),
    tolerance: float = 0.0,
    expected: Mapping[str, str] | None = None,
    key: Key | None = None,
) -> Report:
    """Checks a Jacobian, as used by `scipy.optimize.least_squares` and `root`: row i, column j is ∂f_i/∂x_j.

    Args:
        f: x, *args -> residuals (m,) or outputs of any shape; or (outputs, Jacobian), then jac is None.
        jac: x, *args -> (m, n), or in general the shape of the outputs followed by that of x; sparse matrices and
            linear operators are converted to dense arrays.
        x: the point, (n,) or of any shape.
        args: further arguments of both.
        tolerance, expected, key: as in `check_function`; the array is named "jac".
    Returns:
        a Report for one array "jac": rows are outputs, columns elements of x.

    >>> def f(x):
    ...     return np.array([x[0] * x[1], np.sin(x[1])])
    >>> def jac(x):
    ...     return np.array([[x[1], x[0]], [0.0, np.sin(x[1])]])
    >>> print(nn.check_jacobian(f, jac, [0.5, 2.0]).findings[0].message[:47])
    jac: element [1, 1] is wrong, the rest of the 4
    """
    point = _point(x)
    said = ("f", "jac")

    def outputs(at: Array) -> Any:
        value = called(said[0], f, at, *args)
        return value if jac is not None else _pair(value)[0]

    def claims(at: Array) -> Any:
        return _pair(called(said[0], f, at, *args))[1] if jac is None else called(said[1], jac, at, *args)

    sources = [g for g in (f, jac) if g is not None]
    return _report("jac", outputs, claims, point, sources, said, tolerance, expected, key)


def check_hessian(
    grad: Callable[..., Any],
    hess: Callable[..., Any] | None,
    x: ArrayLike,
    *,
    args: Sequence[Any] = (),
    tolerance: float = 0.0,
    expected: Mapping[str, str] | None = None,
    key: Key | None = None,
) -> Report:
    """Checks second derivatives: a Hessian, its diagonal, or its products with vectors.

    Args:
        grad: x, *args -> the gradient, with x's shape; or the function itself, x, *args -> scalar, which is less
            accurate; or (gradient, Hessian), then hess is None: a custom objective of XGBoost or LightGBM.
        hess: x, *args -> the Hessian (n, n), or its diagonal, with x's shape; or x, v, *args -> its product with v
            (`hessp` of `scipy.optimize.minimize`).
        x: the point, (n,) or of any shape.
        args: further arguments of both.
        tolerance, expected, key: as in `check_function`; the array is named "hess".
    Returns:
        a Report for one array "hess".

    For a diagonal only ∂g_i/∂x_i is checked, even where g_i depends on other elements of x.

    >>> t = np.array([0.0, 1.0, 1.0])
    >>> def objective(margin):
    ...     p = 1 / (1 + np.exp(-margin))
    ...     return p - t, p * (1 + p)  # should be p (1 - p)
    >>> nn.check_hessian(objective, None, [0.2, -1.0, 0.5]).ok
    False
    """
    point = _point(x)
    said = ("grad", "hess")
    first = np.asarray(_first(grad, hess, point, args))
    of_value = first.size == 1 != point.size

    def slopes(at: Array) -> Any:
        return _first(grad, hess, at, args)

    def claims(at: Array) -> Any:
        if hess is None:
            return _pair(called(said[0], grad, at, *args))[1]
        if len(arguments(hess) or ()) - len(args) == 2:
            units = np.eye(at.size).reshape((at.size, *at.shape))
            columns = [np.ravel(called(said[1], hess, at.copy(), v, *args)) for v in units]
            return np.stack(columns, axis=1).reshape(at.shape + at.shape)
        return called(said[1], hess, at, *args)

    sources = [g for g in (grad, hess) if g is not None]
    outputs = (lambda at: _numeric_gradient(slopes, at)) if of_value else slopes
    return _report("hess", outputs, claims, point, sources, said, tolerance, expected, key, of_gradient=True)


def _first(grad: Callable[..., Any], hess: Any, at: Array, args: Sequence[Any]) -> Any:
    value = called("grad", grad, at, *args)
    return value if hess is not None else _pair(value)[0]


def _pair(value: Any) -> tuple[Any, Any]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"the function returned {type(value).__name__}, expected a pair: its value and the derivatives")
    return value[0], value[1]


def _point(x: ArrayLike) -> Array:
    array = numeric(x, "x").astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"x contains {first_bad(array, ~np.isfinite(array))}: there is no derivative at such a point")
    return array


def _dense(matrix: Any, columns: int) -> NDArray[Any]:
    """A matrix as a dense array, also from sparse matrices and linear operators."""
    if hasattr(matrix, "toarray"):
        return np.asarray(matrix.toarray())
    if hasattr(matrix, "matvec") and not isinstance(matrix, np.ndarray):
        return np.asarray(matrix @ np.eye(columns))
    return np.asarray(matrix)


def _numeric_gradient(f: Callable[[Array], Any], at: Array) -> Array:
    """A gradient accurate to about 10 digits, by central differences extrapolated twice."""
    h = 2e-2 * np.maximum(np.abs(at), 0.1 * (float(np.sqrt(np.mean(at * at))) or 1.0))
    gradient = np.empty(at.shape)
    for i in np.ndindex(at.shape):

        def slope(step: float, i: tuple[int, ...] = i) -> float:
            up, down = at.copy(), at.copy()
            up[i] += step
            down[i] -= step
            return float((np.asarray(f(up)) - np.asarray(f(down))).sum() / (up[i] - down[i]))

        a, b, c = (slope(float(h[i]) / k) for k in (1, 2, 4))
        gradient[i] = (64 * c - 20 * b + a) / 45
    return gradient


@np.errstate(all="ignore")
def _report(
    name: str, outputs: Callable[[Array], Any], claims: Callable[[Array], Any], x: Array,
    sources: list[Callable[..., Any]], said: tuple[str, str], tolerance: float, expected: Mapping[str, str] | None,
    key: Key | None, of_gradient: bool = False,
) -> Report:  # fmt: skip
    """Checks a matrix: row i is the gradient of output i alone, at its own point, initially x."""
    began = time.perf_counter()
    meant = Meant(tolerance, expected or {}, (name,))
    rng = generator(new_key(0) if key is None else key)
    findings: list[Finding] = []
    rows: list[Row] = []
    notes: list[str] = []
    evaluations = 0
    try:
        y, claimed = np.asarray(outputs(x.copy())), _dense(claims(x.copy()), x.size)
        diagonal = of_gradient and claimed.shape == x.shape
        shape = x.shape if diagonal else y.shape + x.shape
        if y.dtype.kind not in "fiu" or (of_gradient and y.shape != x.shape):
            raise TypeError(
                f"{said[0]} returns {y.dtype} of shape {y.shape}, expected reals" + " with x's shape" * of_gradient
            )
        if claimed.shape != shape and claimed.shape == (y.size, x.size):  # outputs and x flattened
            shape = claimed.shape
        if not diagonal and of_gradient and claimed.shape == shape and claimed.ndim == 2:
            gap = np.abs(claimed - claimed.T).max(initial=0)
            notes += ["hess is not symmetric"] if gap > 1e-9 * np.abs(claimed).max(initial=0) else []
        hints = Hints(named_numbers(held(sources)), None)
        more = None if diagonal else partial(_explained, y_ndim=len(shape) - (1 if claimed.ndim == 2 else x.ndim))
        parts = _Rows(outputs, claims, x, y.shape, shape, diagonal)
        for at_once in (True, False) if diagonal and parts.is_elementwise(rng) else (False,):
            parts.at_once = at_once
            function = Function(
                lambda a: parts.terms(a[name]), lambda a: {name: parts.claims(a[name])}, {name: parts.start}
            )
            rows, findings = examine(function, sources, rng, hints, names=said, explain=more)
            if not findings:  # repeated without at_once, as elements may not be independent
                break
        evaluations = parts.evaluations
        findings = [f._replace(message=f.message.replace(", the array (", ", expected (")) for f in findings]
    except UserError as error:
        findings, rows = [Finding("", "", error.kind, f"{error}.")], [Row("", name, (), np.nan, "not compared")]
    report = Report(tuple(findings), tuple(rows), evaluations, time.perf_counter() - began, tuple(notes))
    return meant.settled(report)


def _explained(c: Comparison, found: Diagnosis, y_ndim: int) -> Diagnosis | None:
    """A diagnosis of the matrix as a map from cotangents to gradients."""
    if found.kind not in ("unknown", "penalty") or not c.measured.all() or not y_ndim:
        return None
    axes = (*range(y_ndim, c.numeric.ndim), *range(y_ndim))
    return explain(Maps(c.analytic.transpose(axes), c.numeric.transpose(axes), y_ndim), "x")


class _Rows:
    """Σ_i f_i(X_i), whose gradient in X is the Jacobian if each row X_i is x.

    For a diagonal, f_i(x with X_i as element i). Evaluations are cached: most rows are at the same point.
    """

    def __init__(
        self, outputs: Callable[[Array], Any], claims: Callable[[Array], Any], x: Array, y: tuple[int, ...],
        shape: tuple[int, ...], diagonal: bool,
    ) -> None:  # fmt: skip
        self.f, self.jac, self.x, self.y, self.shape, self.diagonal = outputs, claims, x, y, shape, diagonal
        m = int(np.prod(y, dtype=int))
        self.start = x if diagonal else np.broadcast_to(x.ravel(), (m, x.size)).reshape(shape)
        self.evaluations, self.at_once = 0, False
        self.known: dict[bytes, Array] = {}

    def points(self, moved: Array) -> list[Array]:
        """The point of each output."""
        if not self.diagonal:
            return [row.reshape(self.x.shape) for row in moved.reshape(-1, self.x.size)]
        return [self.point(moved, i) for i in range(self.x.size)]

    def point(self, moved: Array, i: int) -> Array:
        """The point of one output."""
        if not self.diagonal:
            return np.asarray(moved.reshape(-1, self.x.size)[i].reshape(self.x.shape))
        point = self.x.copy()
        point.flat[i] = moved.flat[i]
        return point

    def is_elementwise(self, rng: Generator) -> bool:
        """Whether each output appears to depend on its own element alone, so that all can be moved at once."""
        moved = self.x + 0.1 * np.abs(self.x) * rng.normal(size=self.x.shape)
        together, sample = self.value(moved), rng.permutation(self.x.size)[:50]
        return all(self.value(self.point(moved, int(i)))[i] == together[i] for i in sample)

    def terms(self, moved: Array) -> Array:
        """Each output at its own point."""
        if self.at_once:
            return self.value(moved)
        terms = self.value(self.x).copy()
        away = (moved != self.start).reshape(terms.size, -1).any(axis=1)
        for i in np.flatnonzero(away):
            terms[i] = self.value(self.point(moved, int(i)))[i]
        return terms

    def value(self, at: Array) -> Array:
        """The outputs at a point."""
        own = at.tobytes()
        if own not in self.known:
            self.evaluations += 1
            if len(self.known) > 10_000:
                self.known.clear()
            self.known[own] = np.asarray(self.f(at.copy()), np.float64).ravel()
        known: Array = self.known[own]
        return known

    def claims(self, moved: Array) -> NDArray[Any]:
        """Row i of the Jacobian at point i."""
        if self.at_once:
            return _dense(self.jac(moved.copy()), self.x.size)
        points = self.points(moved)
        if all(np.array_equal(p, points[0]) for p in points[1:]) and not self.diagonal:
            return _dense(self.jac(points[0].copy()), self.x.size)
        matrices = [_dense(self.jac(p.copy()), self.x.size).reshape(len(points), -1) for p in points]
        entries = [m[i, 0 if self.diagonal else slice(None)] for i, m in enumerate(matrices)]
        return np.array(entries).reshape(self.shape)


__all__ = ["check_hessian", "check_jacobian"]
