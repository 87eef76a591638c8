"""Numeric derivatives to hold backward functions against: central differences in float64 with their own error estimate,
and one-sided ones at kinks, where any value between the two slopes is right."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nnfunc.arrays import Array, ArrayDict
from nnfunc.keys import Keys
from nnfunc.layers.base import Layer

STEPS = (1e-3, 1e-4, 1e-5, 1e-6)


def derivative(f: Callable[[float], float]) -> tuple[float, float]:
    """f'(0) and an estimate of its error: for each step, central differences extrapolated; the surest one."""
    best = (0.0, np.inf)
    for h in STEPS:
        coarse, fine = ((f(s) - f(-s)) / (2 * s) for s in (h, h / 2))
        value = (4 * fine - coarse) / 3
        error = abs(value - fine) + 1e-15 / h * max(abs(f(h)), abs(f(-h)))
        best = min(best, (value, error), key=lambda pair: pair[1])
    return best


def slopes(f: Callable[[float], float]) -> tuple[float, float]:
    """The one-sided derivatives of f at 0, the lower one first."""
    h, f0 = 1e-6, f(0.0)
    left, right = (s * (4 * (f(s * h / 2) - f0) - (f(s * h) - f0)) / h for s in (-1.0, 1.0))
    return min(left, right), max(left, right)


def assert_gradient(
    f: Callable[[Array], float], x: Array, gradient: NDArray[np.floating], what: str, tolerance: float = 1e-6
) -> None:
    """Fails where an element of the gradient is neither the derivative of f nor, at a kink, between the two slopes."""
    assert gradient.shape == x.shape, f"{what}: shape {gradient.shape}, expected {x.shape}"
    for index in np.ndindex(x.shape):

        def along(t: float, index: tuple[int, ...] = index) -> float:
            moved = np.array(x, np.float64)
            moved[index] += t
            return f(moved)

        a = float(gradient[index])
        n, error = derivative(along)
        if abs(a - n) <= tolerance * max(1, abs(n)) + 3 * error and error < 1e-2 * max(1, abs(n)):
            continue
        low, high = slopes(along)
        slack = 1e-5 * max(1, abs(low), abs(high))
        between = low - slack <= a <= high + slack
        assert between, f"{what}{list(index)}: analytic {a}, numeric {n} ± {error:.0e}, one-sided {low} and {high}"


def assert_layer_gradients(
    layer: Layer,
    params: ArrayDict,
    state: ArrayDict,
    x: Array,
    dy: Array,
    *,
    train: bool,
    key: Keys | None,
) -> None:
    """Fails where the input gradient or a parameter gradient of a layer, under the cotangent dy, is wrong."""

    def cost(p: ArrayDict, z: Array) -> float:
        return float(np.sum(dy * layer.forward(p, state, z, key=key, train=train)[0]))

    _, cache, _ = layer.forward(params, state, x, key=key, train=train)
    dx, grads = layer.backward(params, cache, dy)
    assert dx is not None
    assert_gradient(lambda z: cost(params, z), x, dx, "dx")
    assert list(grads) == list(params)
    for name in params:
        assert_gradient(
            lambda value, name=name: cost(params.replace({name: value}), x),  # type: ignore[misc]  # a bound default
            params[name],
            grads[name],
            name,
        )
