"""The Taylor test: checks a gradient by the order of the remainder of the linear approximation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from nnfunc._internal.validate import positive_int
from nnfunc.arrays import Array, ArrayDict
from nnfunc.checks.function import Arrays, Claims, Function, named_arrays
from nnfunc.checks.numeric import EPS
from nnfunc.checks.preflight import form
from nnfunc.keys import Key, generator
from nnfunc.keys import key as new_key

STEPS = 0.5 ** np.arange(2, 26)


class TaylorTest(NamedTuple):
    """The result of `taylor_test`.

    Attributes:
        order: the observed order of the remainder at the smallest steps above rounding errors, the lowest of
            all directions: about 2 (or more) if the gradient is right, 1 if it is wrong, infinite if no remainder is
            visible (a linear function), NaN if the loss has no value around the point.
        ok: whether the order is above 1.5.
        steps: (n,) the steps h, in units of the parameters' scale.
        remainders: (directions, n), |f(θ + h v) − f(θ) − h ⟨g, v⟩|.
        floor: the size of rounding errors, below which a remainder is meaningless.

    >>> test = nn.taylor_test(lambda p: np.sum(np.sin(p["w"])), lambda p: {"w": np.cos(p["w"])}, {"w": np.ones(3)})
    >>> round(test.order, 1), test.ok
    (2.0, True)
    """

    order: float
    ok: bool
    steps: Array
    remainders: Array
    floor: float

    def __str__(self) -> str:
        verdict = "right" if self.ok else "WRONG (or the point is at a kink)"
        if not self.order >= 0.8:
            return f"Taylor test: undecided, the remainder falls as h^{self.order:.2f}: the loss is random or too rough"
        return f"Taylor test: the remainder falls as h^{self.order:.2f} (2: right, 1: wrong): the gradient is {verdict}"


def taylor_test(
    loss_fn: Callable[[Any], ArrayLike],
    grads_fn: Callable[[Any], Claims] | Claims,
    params: Mapping[str, ArrayLike],
    *,
    directions: int = 3,
    key: Key | None = None,
) -> TaylorTest:
    """Measures the order in which |f(θ + h v) − f(θ) − h ⟨g, v⟩| falls with h, along random directions v.

    An independent alternative to `check_gradients`, which needs no choice of step and is easily plotted
    (`nnfunc.plots.taylor`), but gives no diagnosis and misses small mistakes in single elements. At a kink
    the order is 1 whatever the gradient.

    Args:
        loss_fn: params -> a scalar.
        grads_fn: params -> dict of gradients, or such a dict.
        params: the point, a dict of float arrays.
        directions: the number of directions.
        key: for the directions; nn.key(0) by default.
    Raises:
        TypeError, ValueError: params are not floats, the loss is not a finite number, gradients do not fit.

    >>> wrong = nn.taylor_test(lambda p: np.sum(p["w"] ** 2), lambda p: {"w": p["w"]}, {"w": np.ones(3)})
    >>> round(wrong.order, 1), wrong.ok
    (1.0, False)
    """
    directions = positive_int(directions, "directions")
    immutable = isinstance(params, ArrayDict)

    def given(point: Arrays) -> Mapping[str, Array]:
        return ArrayDict(point) if immutable else point

    function = Function(
        lambda p: np.asarray(loss_fn(given(p))),
        lambda p: grads_fn(given(p)) if callable(grads_fn) else grads_fn,
        named_arrays(params),
    )
    f0 = function.terms_at_start()
    if f0.size != 1 or not np.isfinite(f0).all():
        raise ValueError(f"loss_fn returned {f0 if f0.size < 5 else f0.shape}, expected one finite number")
    if malformed := form(function, function.claims(function.arrays(function.start))):
        raise ValueError(malformed[0].message)
    gradient = function.gradient(function.start)
    rng = generator(new_key(0) if key is None else key)
    scales = function.scales(function.start)
    remainders = np.empty((directions, len(STEPS)))
    floor = 0.0
    for row in remainders:
        v = scales * rng.normal(size=function.start.size) / np.sqrt(max(function.start.size, 1))
        slope = float(gradient @ v)
        values = np.array([function.terms(function.start + h * v)[0] for h in STEPS])
        row[:] = np.abs(values - f0[0] - STEPS * slope)
        floor = max(floor, 30 * EPS * float(np.nanmax(np.abs(values), initial=abs(f0[0]))))
    order = float(np.min([_order(row, floor) for row in remainders]))
    return TaylorTest(order, order > 1.5, STEPS, remainders, floor)


def _order(remainders: Array, floor: float) -> float:
    """The slope of log R against log h at the five smallest steps with a visible remainder."""
    if not np.isfinite(remainders).any():
        return np.nan
    visible = np.flatnonzero(np.isfinite(remainders) & (remainders > floor))
    if len(visible) < 3:
        return np.inf
    last = visible[-5:]
    return float(np.polyfit(np.log(STEPS[last]), np.log(remainders[last]), 1)[0])
