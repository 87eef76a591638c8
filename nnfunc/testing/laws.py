"""The laws that every layer holds, as one property."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc.arrays import Array, ArrayDict
from nnfunc._internal.validate import positive_int
from nnfunc.keys import Key, fold_in
from nnfunc.layers.base import Layer, Shape, example_shape
from nnfunc.testing.strategies import arrays, cotangents

Draw: TypeAlias = Callable[[st.SearchStrategy[Any]], Any]
Result: TypeAlias = tuple[Array, Array | None, ArrayDict, ArrayDict]
"""(y, dx, grads, state)"""


def assert_layer_laws(
    layer: Layer,
    input_shape: Shape,
    *,
    params: ArrayDict | None = None,
    state: ArrayDict | None = None,
    leading_axes: bool = True,
    max_examples: int = 50,
) -> None:
    """Runs all that nnfunc runs on its own layers on yours, on generated inputs; a failure is shrunk and explained.

    The laws: the same arguments give the same result, whatever was computed in between; nothing is changed, and no
    result is an alias of an input that could be changed through it; the parameters' dtype comes out; backward is
    linear in dy; every gradient is right, in training and in prediction (`nn.check_model`); further leading axes are
    free.

    Args:
        layer: built-in, your own, or a composition.
        input_shape: the shape of one example.
        params, state: of the layer; from its init, with random values, if not given.
        leading_axes: False for a layer that takes (examples, ...) and no axes before it.
        max_examples: how many inputs to generate.
    Raises:
        AssertionError: a law is broken; the message says which and, for a wrong gradient, what is wrong with it.

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
    shape = example_shape(input_shape)
    positive_int(max_examples, "max_examples")

    @settings(
        max_examples=max_examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],  # to explain is the report's work, and tracing slows checks down tenfold
    )
    @given(st.data())
    def laws_hold(data: st.DataObject) -> None:
        hold_laws(data.draw, layer, shape, params=params, state=state, leading_axes=leading_axes)

    laws_hold()


def hold_laws(
    draw: Draw,
    layer: Layer,
    input_shape: Shape,
    *,
    params: ArrayDict | None = None,
    state: ArrayDict | None = None,
    leading_axes: bool = True,
) -> None:
    """The laws at one drawn input: what `assert_layer_laws` repeats, for use in a property of your own.

    >>> from hypothesis import given, strategies as st
    >>> @given(st.data())
    ... def test_dense(data):
    ...     hold_laws(data.draw, nn.dense(data.draw(st.integers(1, 3))), (2,))
    """
    key = nn.key(draw(st.integers(0, 100)))
    if params is None:
        params, own = layer.init(key, input_shape, np.float64)
        params = params.with_vector(draw(away_from_0(params.vector.shape))) if params else params
        state = own if state is None else state
    state = nn.EMPTY if state is None else state
    params, state = (ArrayDict(d).astype(np.float64) if d else nn.EMPTY for d in (params, state))
    m = draw(st.integers(1, 4))
    x = _read_only(draw(arrays((m, *input_shape))))
    train = draw(st.booleans())
    shape = _forward(layer, params, state, x, key, train)[0].shape
    dy = _read_only(draw(cotangents(shape)))

    # another cotangent, not a multiple of dy
    other = dy * np.cos(np.arange(dy.size).reshape(shape)) - np.sin(1.0 + np.arange(dy.size).reshape(shape))

    _pure(layer, params, state, x, dy, key, train)
    _linear(layer, params, state, x, dy, other, key, train)
    _dtype(layer, params, state, x, dy, key, train)
    report = nn.check_model(layer, params, x, state=state, key=key, train=train)
    _law(f"the gradients in {'training' if train else 'prediction'} are right", report.ok, f"wrong gradients\n{report}")
    if leading_axes:
        _leading_axes(layer, params, state, draw(arrays((2, m, *input_shape))), key, train)


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


def _pure(layer: Layer, params: ArrayDict, state: ArrayDict, x: Array, dy: Array, key: Key, train: bool) -> None:
    before = x.copy(), dy.copy(), params.vector.copy()
    y, cache, new = _forward(layer, params, state, x, key, train)
    _law(
        "y is finite for finite x", bool(np.isfinite(y).all()), "it has NaN or infinity: pass a layer that takes any x"
    )
    dx, grads = _backward(layer, params, cache, dy)
    copies = y.copy(), None if dx is None else dx.copy()
    _forward(layer, params, state, x + 1.0, fold_in(key, 1), train)  # what a layer keeps would be lost now
    again_dx, again = _backward(layer, params, cache, dy)
    _law("backward depends on its arguments alone", _same((dx, grads), (again_dx, again)))
    other_y, other_cache, other = _forward(layer, params, state, x, key, train)
    _law("forward depends on its arguments alone (dropout: on the key)", _same((y, new), (other_y, other)))
    _law("a cache depends on the arguments of its forward alone",
         _same((dx, grads), _backward(layer, params, other_cache, dy)))  # fmt: skip
    unchanged = all(np.array_equal(a, b) for a, b in zip(before, (x, dy, params.vector), strict=True))
    _law("x, dy and params are not changed", unchanged)
    _law("results are not changed by later calls", _same((copies[0], copies[1]), (y, dx)))
    if dx is not None:
        _law("dx has the shape of x", dx.shape == x.shape, f"dx has shape {dx.shape}, x {x.shape}")
    x, dy = x.copy(), dy.copy()  # as most callers have them: not read-only
    y, cache, _ = _forward(layer, params, state, x, key, train)
    dx, _ = _backward(layer, params, cache, dy)
    _law("y is no alias of x that could be written to", not _written_through(y, x))
    _law("dx is no alias of dy that could be written to", dx is None or not _written_through(dx, dy))


def _linear(
    layer: Layer, params: ArrayDict, state: ArrayDict, x: Array, dy: Array, other: Array, key: Key, train: bool
) -> None:
    _, cache, _ = _forward(layer, params, state, x, key, train)
    a, b, both = (_flat(_backward(layer, params, cache, d)) for d in (dy, other, 2 * dy - 3 * other))
    size = float(np.abs(a).max(initial=0) + np.abs(b).max(initial=0))
    denormal = float(np.finfo(np.float64).tiny)  # numbers below this have fewer digits
    linear = np.allclose(both, 2 * a - 3 * b, rtol=1e-8, atol=1e-9 * size + denormal)
    _law("backward is linear in dy", linear, "backward(2·dy1 − 3·dy2) is not 2·backward(dy1) − 3·backward(dy2)")


def _dtype(layer: Layer, params: ArrayDict, state: ArrayDict, x: Array, dy: Array, key: Key, train: bool) -> None:
    for dtype in (np.float32, np.float64):
        p, s = (d.astype(dtype) if d else d for d in (params, state))
        given: Array = x if p else x.astype(dtype)
        y, cache, new = _forward(layer, p, s, given, key, train)
        dx, grads = _backward(layer, p, cache, dy.astype(dtype))
        _law("the state keeps its dtype", new.dtype == s.dtype, f"the state is {new.dtype}, expected {s.dtype}")
        _law("y has the parameters' dtype", y.dtype == dtype, f"y is {y.dtype}, expected {np.dtype(dtype)}")
        if dx is not None:
            _law("dx has the parameters' dtype", dx.dtype == dtype, f"dx is {dx.dtype}, expected {np.dtype(dtype)}")
        _law("gradients have the parameters' dtype", not grads or grads.dtype == dtype)


def _leading_axes(layer: Layer, params: ArrayDict, state: ArrayDict, x: Array, key: Key, train: bool) -> None:
    """(2, m, ...) is 2 m examples in another arrangement."""
    rows = x.reshape(-1, *x.shape[2:])
    hint = "the layer takes (examples, ...) only: sum over all axes but the last, or pass leading_axes=False"
    try:
        y, cache, _ = _forward(layer, params, state, x, key, train)
        flat_y, flat_cache, _ = _forward(layer, params, state, rows, key, train)
        dy = np.cos(np.arange(y.size, dtype=np.float64)).reshape(y.shape)
        dx, grads = _backward(layer, params, cache, dy)
        flat_dx, flat_grads = _backward(layer, params, flat_cache, dy.reshape(flat_y.shape))
    except (ValueError, IndexError, TypeError) as error:
        raise AssertionError(f"leading axes are free: {error}; {hint}") from error
    _law("leading axes are free", _close(y.ravel(), flat_y.ravel()), hint)
    same = (dx is None or flat_dx is None or _close(dx.ravel(), flat_dx.ravel())) and _close(
        grads.vector, flat_grads.vector
    )
    _law("leading axes are free in backward", same, hint)


# -- helpers -----------------------------------------------------------------------------------------------------------


def _law(law: str, holds: bool, what: str = "") -> None:
    __tracebackhide__ = True
    if not holds:
        raise AssertionError(f"{law}: {what or 'it is not so'}")


def _forward(
    layer: Layer, params: ArrayDict, state: ArrayDict, x: Array, key: Key, train: bool
) -> tuple[Array, Any, ArrayDict]:
    y, cache, new = layer.forward(params, state, x, key=key, train=train)
    return np.asarray(y), cache, new


def _backward(layer: Layer, params: ArrayDict, cache: Any, dy: Array) -> tuple[Array | None, ArrayDict]:
    try:
        return layer.backward(params, cache, dy)
    except ValueError as error:
        if "read-only" in str(error):
            raise AssertionError(f"x, dy and params are not changed: backward writes into one ({error})") from error
        raise


def _read_only(array: Array) -> Array:
    array = array.copy()
    array.setflags(write=False)
    return array


def _same(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    return all(
        nn.equal(v, w) if isinstance(v, ArrayDict) else v is w or np.array_equal(v, w, equal_nan=True)
        for v, w in zip(a, b, strict=True)
    )


def _written_through(result: Array, given: Array) -> bool:
    return result.flags.writeable and np.shares_memory(result, given)


def _flat(result: tuple[Array | None, ArrayDict]) -> Array:
    dx, grads = result
    return np.concatenate([np.empty(0) if dx is None else dx.ravel(), grads.vector])


def _close(a: Array, b: Array) -> bool:
    return bool(np.allclose(a, b, rtol=1e-9, atol=1e-9))
