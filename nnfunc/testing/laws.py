"""The laws that every layer satisfies, as one property."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc._internal.validate import positive_int
from nnfunc.arrays import Array, ArrayDict
from nnfunc.checks.calls import flat, looked_up
from nnfunc.core.layer import Layer
from nnfunc.core.values import Shapes, Value, check_shapes, leaves, map_leaves, map_shapes
from nnfunc.keys import Key, fold_in
from nnfunc.layout import Shape
from nnfunc.testing.strategies import arrays

Draw: TypeAlias = Callable[[st.SearchStrategy[Any]], Any]

SHRINKING = 8.0
"""The number of seconds for shrinking a failure; then the smallest so far is shown."""


class Point(NamedTuple):
    """A drawn example: a layer and its arguments. `xs` contains two batches, one per member of a stack."""

    layer: Layer
    params: ArrayDict
    state: ArrayDict
    xs: Value
    seed: int
    key: Key
    train: bool

    @property
    def x(self) -> Value:
        """The first of the two batches, read-only."""
        return map_leaves(lambda a: _read_only(a[0]), self.xs)

    def cotangent(self, y: Value, seed: int = 0) -> Value:
        """A gradient of y that differs from element to element: a uniform one would hide a missing sum."""
        rng = np.random.default_rng(self.seed + seed)
        return map_leaves(lambda a: _read_only(rng.normal(size=a.shape)), y)


def assert_layer_laws(
    layer: Layer,
    input_shape: Shapes,
    *,
    params: ArrayDict | None = None,
    state: ArrayDict | None = None,
    leading_axes: bool = True,
    max_examples: int = 50,
) -> None:
    """Applies nnfunc's own layer tests to a layer, on generated inputs; failures are shrunk and explained.

    The laws: the same arguments give the same result, whatever was computed in between; nothing is modified, and no
    result is a writable alias of an input; results have the parameters' dtype; backward is linear in dy, and computes
    dx and gradients only on request; every gradient is right, in training and in prediction (`nn.check_model`);
    additional leading axes are allowed; a member of a stack behaves like the network alone.

    Args:
        layer: a built-in or user-defined layer, or a composition.
        input_shape: the shape of one example; for several inputs a tuple of shapes.
        params, state: the layer's; by default from its init, with random values.
        leading_axes: False for a layer that takes (examples, ...) without additional leading axes.
        max_examples: the number of inputs to generate.
    Raises:
        AssertionError: a law is violated; the message names it and, for a wrong gradient, contains the diagnosis.

    >>> assert_layer_laws(nn.dense(2), (3,), max_examples=5)
    >>> def forward(params, x):
    ...     return x ** 2, x
    >>> def backward(params, x, dy):
    ...     return x * dy, {}  # should be 2 * x * dy
    >>> square = nn.layer(forward, backward, name="square")
    >>> try:
    ...     assert_layer_laws(square, (3,), max_examples=5)
    ... except AssertionError as error:
    ...     print(str(error).splitlines()[0])
    the gradients in prediction are right: wrong gradients
    """
    if not isinstance(layer, Layer):
        raise TypeError(f"layer is {type(layer).__name__}, expected a Layer: make one with nn.layer(forward, backward)")
    shape = check_shapes(input_shape)
    max_examples = positive_int(max_examples, "max_examples")
    failed: dict[bytes, Exception] = {}
    until = math.inf

    @settings(
        max_examples=max_examples,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],  # the report explains, and tracing slows checks down tenfold
    )
    @given(st.data())
    def laws_hold(data: st.DataObject) -> None:
        nonlocal until
        point = _drawn(data.draw, layer, shape, params, state)
        drawn = point.params._vector.tobytes() + flat(point.xs).tobytes() + repr(point[4:]).encode()
        if time.monotonic() > until:  # Hypothesis would continue for minutes: accept new examples
            if drawn in failed:
                raise failed[drawn]
            return
        try:
            _hold(point, leading_axes)
        except Exception as error:
            failed[drawn] = error
            until = min(until, time.monotonic() + SHRINKING)
            raise

    laws_hold()


def hold_laws(
    draw: Draw,
    layer: Layer,
    input_shape: Shapes,
    *,
    params: ArrayDict | None = None,
    state: ArrayDict | None = None,
    leading_axes: bool = True,
) -> None:
    """Checks the laws at one drawn input, as `assert_layer_laws` does repeatedly, for use in your own property tests.

    >>> from hypothesis import given, strategies as st
    >>> @given(st.data())
    ... def test_dense(data):
    ...     hold_laws(data.draw, nn.dense(data.draw(st.integers(1, 3))), (2,))
    """
    _hold(_drawn(draw, layer, check_shapes(input_shape), params, state), leading_axes)


def _drawn(draw: Draw, layer: Layer, shape: Shapes, params: ArrayDict | None, state: ArrayDict | None) -> Point:
    key = nn.key(draw(st.integers(0, 100)))
    if params is None:
        params, own = layer.init(key, shape, np.float64)
        params = params.with_vector(draw(away_from_0(params.vector.shape))) if params.names else params
        state = own if state is None else state
    params, state = (ArrayDict(d).astype(np.float64) if d else nn.arrays.EMPTY for d in (params, state))
    least = 2 if state.names else 1  # a single row has no statistics
    m, words = draw(st.integers(least, 4)), iter(looked_up(layer, params, shape))

    def inputs(s: Shape) -> Any:
        size, indices = (2, m, *s), next(words)
        if indices is None:
            return draw(arrays(size))
        return np.random.default_rng(draw(st.integers(0, 2**32))).integers(0, indices, size=size)

    xs = map_shapes(inputs, shape)
    return Point(layer, params, state, xs, draw(st.integers(0, 2**32)), key, draw(st.booleans()))


def _hold(point: Point, leading_axes: bool) -> None:
    layer, params, state, _, _, key, train = point
    _pure(point)
    _linear(point)
    _asked_for(point)
    _dtype(point)
    report = nn.check_model(layer, params, point.x, state=state, key=key, train=train)
    _law(f"the gradients in {'training' if train else 'prediction'} are right", report.ok, f"wrong gradients\n{report}")
    if leading_axes:
        _leading_axes(point)
    _stacked(point)


def away_from_0(shape: Shape) -> st.SearchStrategy[Array]:
    """Parameters away from zeros and ones, which hide mistakes.

    >>> from hypothesis import find
    >>> bool(abs(find(away_from_0((3,)), lambda a: True)).min() >= 0.1)
    True
    """

    def values(seed: int) -> Array:
        drawn = np.random.default_rng(seed).normal(size=shape)
        return np.where(np.abs(drawn) < 0.1, 0.1, drawn)

    return st.integers(0, 2**32).map(values)


# -- the laws ----------------------------------------------------------------------------------------------------------


def _pure(point: Point) -> None:
    layer, params, state, _, _, key, train = point
    x = point.x
    y, cache, new = layer.forward(params, state, x, key=key, train=train)
    dy = point.cotangent(y)
    before = map_leaves(np.copy, (x, dy, params.vector))
    _law(
        "y is finite for finite x",
        all(np.isfinite(a).all() for a in leaves(y)),
        "it contains NaN or infinity: pass a layer that accepts any x",
    )
    dx, grads = _backward(layer, params, cache, dy)
    copies = _copied((y, dx))
    other = map_leaves(lambda a: a + 1.0 if a.dtype.kind == "f" else a[::-1], x)
    layer.forward(params, state, other, key=fold_in(key, 1), train=train)  # overwrites anything the layer has kept
    _law("backward depends on its arguments alone", _same((dx, grads), _backward(layer, params, cache, dy)))
    again, other_cache, other_state = layer.forward(params, state, x, key=key, train=train)
    _law("forward depends on its arguments alone (dropout: on the key)", _same((y, new), (again, other_state)))
    _law("a cache depends on the arguments of its forward alone",
         _same((dx, grads), _backward(layer, params, other_cache, dy)))  # fmt: skip
    _law("x, dy and params are not changed", _same(before, (x, dy, params.vector)))
    _law("results are not changed by later calls", _same(copies, (y, dx)))
    for a, b in _pairs(dx, x):
        _law("dx has the shape of x", a is None or a.shape == b.shape, f"dx has shape {np.shape(a)}, x {b.shape}")
        _law("integers have no dx, and floats have one", (a is None) == (b.dtype.kind != "f"))
    x, dy = map_leaves(np.copy, x), map_leaves(np.copy, dy)  # writable, as most callers pass them
    y, cache, _ = layer.forward(params, state, x, key=key, train=train)
    dx, _ = _backward(layer, params, cache, dy)
    _law("y is no alias of x that could be written to", not _written_through(y, x))
    _law("dx is no alias of dy that could be written to", not _written_through(dx, dy))
    parts = [a for a in leaves(dx) if a is not None]
    aliases = any(_written_through(a, b) for i, a in enumerate(parts) for b in parts[:i])
    _law("the gradients of two inputs are no aliases that could be written to", not aliases)


def _linear(point: Point) -> None:
    layer, params, state, _, _, key, train = point
    y, cache, _ = layer.forward(params, state, point.x, key=key, train=train)
    dy, other = point.cotangent(y), point.cotangent(y, 1)
    both = map_leaves(lambda a, b: 2 * a - 3 * b, dy, other)
    a, b, c = (_flat(_backward(layer, params, cache, d)) for d in (dy, other, both))
    size = float(np.abs(a).max(initial=0) + np.abs(b).max(initial=0))
    # cancellation, as in a saturated softmax, leaves rounding errors relative to dy
    floor = 1e-14 * max(float(np.abs(leaf).max(initial=0)) for leaf in leaves(both)) + float(np.finfo(np.float64).tiny)
    linear = np.allclose(c, 2 * a - 3 * b, rtol=1e-8, atol=1e-9 * size + floor)
    _law("backward is linear in dy", linear, "backward(2·dy1 − 3·dy2) is not 2·backward(dy1) − 3·backward(dy2)")


def _asked_for(point: Point) -> None:
    layer, params, state, _, _, key, train = point
    y, cache, _ = layer.forward(params, state, point.x, key=key, train=train)
    dy = point.cotangent(y)
    dx, grads = _backward(layer, params, cache, dy)
    none, alone = _backward(layer, params, cache, dy, need_dx=False)
    _law("dx is None where it is not asked for", none is None)
    _law("the gradients are the same where dx is not asked for", _same((grads,), (alone,)))
    alone_dx, nothing = _backward(layer, params, cache, dy, need_grads=False)
    _law("there are no gradients where they are not asked for", not nothing.names)
    _law("dx is the same where gradients are not asked for", _same((dx,), (alone_dx,)))


def _dtype(point: Point) -> None:
    layer, params, state, _, _, key, train = point
    for dtype in (np.float32, np.float64):
        p, s = (d.astype(dtype) if d else d for d in (params, state))
        x = point.x if p else map_leaves(lambda a, to=dtype: a.astype(to) if a.dtype.kind == "f" else a, point.x)
        y, cache, new = layer.forward(p, s, x, key=key, train=train)
        dx, grads = _backward(layer, p, cache, map_leaves(lambda a, to=dtype: a.astype(to), point.cotangent(y)))
        _law("the state keeps its dtype", new.dtype == s.dtype, f"the state is {new.dtype}, expected {s.dtype}")
        for what, value in (("y", y), ("dx", dx)):
            for a in leaves(value):
                fits = a is None or a.dtype == dtype or a.dtype.kind in "iub"
                _law(f"{what} has the parameters' dtype", fits, f"{what} is not {np.dtype(dtype)}")
        _law("gradients have the parameters' dtype", not grads.names or grads.dtype == dtype)


def _leading_axes(point: Point) -> None:
    """(2, m, ...) is equivalent to 2 m examples."""
    layer, params, state, xs, _, key, train = point
    rows = map_leaves(lambda a: a.reshape(-1, *a.shape[2:]), xs)
    hint = "the layer takes (examples, ...) only: sum over all axes but the last, or pass leading_axes=False"
    try:
        y, cache, _ = layer.forward(params, state, xs, key=key, train=train)
        flat_y, flat_cache, _ = layer.forward(params, state, rows, key=key, train=train)
        dy = point.cotangent(y)
        dx, grads = _backward(layer, params, cache, dy)
        flat_dy = map_leaves(lambda d, a: d.reshape(a.shape), dy, flat_y)
        flat_dx, flat_grads = _backward(layer, params, flat_cache, flat_dy)
    except (ValueError, IndexError, TypeError) as error:
        raise AssertionError(f"leading axes are free: {error}; {hint}") from error
    lead = leaves(xs)[0].shape[:2]

    def arranged(long: Value, short: Value) -> bool:
        pairs = _pairs(long, short)
        return all(
            a is b is None or (a.shape == lead + b.shape[1:] and _close(a.reshape(b.shape), b)) for a, b in pairs
        )

    _law("leading axes are free", arranged(y, flat_y), hint)
    same = arranged(dx, flat_dx) and _close(grads.vector, flat_grads.vector)
    _law("leading axes are free in backward", same, hint)


def _stacked(point: Point) -> None:
    """A stack of two networks gives the same results as each network alone."""
    layer, params, state, xs, seed, key, train = point
    law, keys = "a member of a stack is the network alone", nn.split(key, 2)
    other = params.with_vector(params.vector[::-1] + np.random.default_rng(seed).normal(size=params.vector.shape))
    try:
        both, states = nn.stack([params, other]), nn.stack([state, state])
        y, cache, new = layer.forward(both, states, nn.stacks.per_member(xs), key=keys, train=train)
        dy = point.cotangent(y)
        dx, grads = _backward(layer, both, cache, dy)
    except (ValueError, IndexError, TypeError) as error:
        raise AssertionError(f"{law}: {error}") from error
    for i, own in enumerate((params, other)):
        x, of_y, of_dy = (map_leaves(lambda a, i=i: a[i], v) for v in (xs, y, dy))
        y_i, cache_i, new_i = layer.forward(own, state, x, key=keys[i], train=train)
        dx_i, grads_i = _backward(layer, own, cache_i, of_dy)
        of_dx = map_leaves(lambda a, i=i: None if a is None else a[i], dx)
        what = f"network {i} of 2 has another"
        _law(law, all(_close(*pair) for pair in _pairs(of_y, y_i)), f"{what} y")
        _law(law, all(a is b is None or _close(a, b) for a, b in _pairs(of_dx, dx_i)), f"{what} dx")
        _law(law, _close(grads.vector[i], grads_i.vector), f"{what} gradient")
        _law(law, _close(new.vector[i], new_i.vector), f"{what} state")


# -- helpers -----------------------------------------------------------------------------------------------------------


def _law(law: str, holds: bool, what: str = "") -> None:
    __tracebackhide__ = True
    if not holds:
        raise AssertionError(f"{law}: {what or 'it is not so'}")


def _backward(layer: Layer, params: ArrayDict, cache: Any, dy: Value, **asked: bool) -> tuple[Value, ArrayDict]:
    try:
        return layer.backward(params, cache, dy, **asked)
    except ValueError as error:
        if "read-only" in str(error):
            raise AssertionError(f"x, dy and params are not changed: backward writes into one ({error})") from error
        raise


def _read_only(array: Array) -> Array:
    array = array.copy()
    array.setflags(write=False)
    return array


def _copied(value: Value) -> Value:
    return map_leaves(lambda a: None if a is None else a.copy(), value)


def _pairs(a: Value, b: Value) -> list[tuple[Any, Any]]:
    return list(zip(leaves(a), leaves(b), strict=True))


def _same(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    return all(
        nn.arrays.equal(v, w) if isinstance(v, ArrayDict) else v is w or np.array_equal(v, w, equal_nan=True)
        for v, w in _pairs(a, b)
    )


def _written_through(result: Value, given: Value) -> bool:
    return any(
        a is not None and a.flags.writeable and np.shares_memory(a, b) for a in leaves(result) for b in leaves(given)
    )


def _flat(result: tuple[Value, ArrayDict]) -> Array:
    dx, grads = result
    return np.concatenate([*(a.ravel() for a in leaves(dx) if a is not None), grads.vector])


def _close(a: Array, b: Array) -> bool:
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-9, atol=1e-9))
