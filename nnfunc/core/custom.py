"""Layers from functions of your own: `layer` from two or three of them, `wired` from a wire."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from nnfunc._internal.validate import flag, real, sequence
from nnfunc.arrays import Array, ArrayDict
from nnfunc.core.kernel import Cache, Kernel, Signature
from nnfunc.core.layer import Layer, make
from nnfunc.core.settings import Settings
from nnfunc.core.values import Shapes, Value, leaves, map_leaves
from nnfunc.keys import Key, Keys

ASKED = ("key", "train", "state")


def layer(
    forward: Callable[..., tuple[Any, ...]],
    backward: Callable[[ArrayDict, Cache, Value], tuple[Value, Mapping[str, ArrayLike]]],
    init: Callable[..., Mapping[str, ArrayLike]] | Mapping[str, ArrayLike] | None = None,
    name: str = "layer",
    *,
    shape: Callable[[Shapes], Shapes] | None = None,
    state: Callable[[Shapes], Mapping[str, ArrayLike]] | Mapping[str, ArrayLike] | None = None,
    asks: tuple[str, ...] = (),
    dtype_aware: bool = False,
) -> Layer:
    """Creates a layer from two or three user-defined functions.

    Args:
        forward: `forward(params, x) -> (y, cache)`; x has shape (examples, ..., features), or is a tuple of arrays.
        backward: `backward(params, cache, dy) -> (dx, grads)`; grads is a dict with the names and shapes of params
            ({} without parameters); dx has the shape of x, or is None where x contains integers.
        init: `init(key, input_shape) -> dict of arrays`; or a dict of initial values; or None if there are no
            parameters or you supply them yourself.
        name: the layer's name in parameter names, summaries and reports.
        shape: `shape(input_shape) -> shape of one example of y`. By default, init determines it by a forward on an
            empty batch; if that fails, it assumes the shape of x.
        state: the initial state, a dict or `state(input_shape) -> dict`; forward must ask for "state".
        asks: the extra keyword arguments of forward: "key" (this layer's, or None), "train" (bool), "state" (a dict);
            a forward that asks for "state" returns (y, cache, new state).
        dtype_aware: whether init takes the dtype as its third argument.
    Raises:
        TypeError: forward or backward is not callable.
        ValueError: an unknown entry in asks.

    x and dy are read-only views: work on copies. Floats are cast to the parameters' dtype, integers are passed as they
    are. In a stack of K networks your functions are called once per network, with its parameters. Returned gradients
    are copied. The content of the cache is not: if x is modified in place before backward, the gradients are wrong.

    >>> def forward(params, x):
    ...     return x * params["scale"], x
    >>> def backward(params, x, dy):
    ...     return dy * params["scale"], {"scale": (dy * x).sum(axis=0)}
    >>> def init(key, input_shape):
    ...     return {"scale": np.ones(input_shape)}
    >>> scale = nn.layer(forward, backward, init, name="scale")
    >>> params, state = nn.serial(scale, nn.dense(3)).init(nn.key(0), (2,))
    >>> list(params)
    ['scale1.scale', 'dense1.W', 'dense1.b']
    """
    for what, function in (("forward", forward), ("backward", backward)):
        if not callable(function):
            raise TypeError(f"{what}={function!r} is not callable: pass a function")
    if not (init is None or callable(init) or isinstance(init, Mapping)):
        raise TypeError(f"init={init!r}: expected a function (key, input_shape) -> dict, a dict of arrays, or None")
    if not (state is None or callable(state) or isinstance(state, Mapping)):
        raise TypeError(f"state={state!r}: expected a function input_shape -> dict, a dict of arrays, or None")
    if shape is not None and not callable(shape):
        raise TypeError(f"shape={shape!r}: expected a function, input_shape -> shape of one example of y")
    check_name(name)
    asks = (asks,) if isinstance(asks, str) else tuple(sequence(asks, "asks"))
    if not all(isinstance(what, str) and what in ASKED for what in asks):
        raise ValueError(f"asks={asks!r}: expected some of {', '.join(ASKED)}")
    if state is not None and "state" not in asks:
        raise ValueError('state is given, but forward does not ask for it: pass asks=("state",)')
    settings = Settings(
        forward=forward,
        backward=backward,
        initial=ArrayDict(init) if isinstance(init, Mapping) else init,
        initial_state=ArrayDict(state) if isinstance(state, Mapping) else state,
        shape=shape,
        asks=asks,
        dtype_aware=flag(dtype_aware, "dtype_aware") or None,
    )
    return make(name, settings, _own_kernel(asks))


def check_name(name: str) -> None:
    if not isinstance(name, str) or not name.strip() or "." in name:
        raise ValueError(
            f"name={name!r}: expected a string without dots, which separate a layer's name from its arrays'"
        )


def _init(
    key: Key,
    input_shape: Shapes,
    dtype: DTypeLike,
    *,
    initial: Any,
    initial_state: Any,
    dtype_aware: bool | None,
    **_: Any,
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    if initial is None:
        arrays: Any = {}
    elif callable(initial):
        arrays = initial(key, input_shape, dtype) if dtype_aware else initial(key, input_shape)
    else:
        arrays = initial
    if not isinstance(arrays, Mapping):
        raise TypeError(f"init returned {type(arrays).__name__}, expected a dict of arrays")
    state: Any = initial_state(input_shape) if callable(initial_state) else initial_state or {}
    if not isinstance(state, Mapping):
        raise TypeError(f"state returned {type(state).__name__}, expected a dict of arrays")
    return ArrayDict(arrays, dtype), ArrayDict(state)


def _signature(input_shape: Shapes, *, shape: Callable[[Shapes], Shapes] | None, **_: Any) -> Signature:
    return Signature(None if shape is None else shape(input_shape))


def _forward(
    params: ArrayDict,
    x: Value,
    *,
    forward: Callable[..., Any],
    asks: tuple[str, ...],
    backward: object = None,
    **asked: Any,
) -> Any:
    result = forward(params, x, **asked)
    count = 3 if "state" in asks else 2
    if not isinstance(result, tuple) or len(result) != count:
        expected = "the pair (y, cache)" if count == 2 else "(y, cache, state)"
        raise TypeError(f"forward returned {type(result).__name__}, expected {expected}")
    first = leaves(x)[0]
    dtype = params.dtype if params.size else first.dtype if first.dtype.kind == "f" else None

    def own(a: Any) -> Array:
        y = real(a, "y", dtype)
        if y.ndim == 1 or (y.ndim and y.shape[:1] != first.shape[:1]):  # such as a loss as the last layer
            raise ValueError(
                f"forward returned y of shape {y.shape} for x of shape {first.shape}: expected one row per row of x"
            )
        return y

    y = map_leaves(own, result[0])
    cache = result[1], map_leaves(np.shape, x)
    if count == 2:
        return y, cache
    if not isinstance(result[2], Mapping):
        raise TypeError(f"forward returned the state {type(result[2]).__name__}, expected a dict of arrays")
    return y, cache, asked["state"].like(result[2], "the state that forward returned")


def _backward(
    params: ArrayDict,
    cache: tuple[Cache, Any],
    dy: Value,
    grads: tuple[Array | None, ...],
    need: Any,
    *,
    backward: Callable[..., Any],
    **_: Any,
) -> Value:
    own, x_shape = cache
    result = backward(params, own, dy)
    if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], (Mapping, type(None))):
        came = [type(r).__name__ for r in result] if isinstance(result, tuple) else type(result).__name__
        raise TypeError(f"backward returned {came}, expected the pair (dx, grads), grads a dict of arrays")
    dx, given = result
    given = params.like(given or {}, "the dict of gradients that backward returned")
    for array, written in zip((given[name] for name in params), grads, strict=True):
        if written is not None:
            written[...] = array
    return _checked(dx, x_shape, need, params.dtype if params.size else leaves(dy)[0].dtype)


def _checked(dx: Value, shape: Any, need: Any, dtype: DTypeLike) -> Value:
    """Returns dx with the structure, shapes and dtype of x; None where it is not needed."""
    if isinstance(need, tuple):
        if not isinstance(dx, tuple) or len(dx) != len(need):
            came = f"a tuple of {len(dx)}" if isinstance(dx, tuple) else type(dx).__name__
            raise TypeError(f"backward returned dx as {came}, expected a tuple of {len(need)}: one per input")
        return tuple(_checked(*part, dtype) for part in zip(dx, shape, need, strict=True))
    if not need:
        return None
    if dx is None:
        raise ValueError("backward returned dx=None, but the layer below needs the gradient of its output")
    array = real(dx, "dx", dtype)
    if array.shape != shape:
        raise ValueError(f"backward returned dx of shape {array.shape}, expected the input's shape {shape}")
    return array


def _own_kernel(asks: tuple[str, ...]) -> Kernel:
    """The kernel of a user-defined layer with these extra arguments."""
    return Kernel(
        _forward, _backward, _signature, formula="forward(params, x)", uses=("forward", "backward", "asks"),
        asks=tuple(a for a in ASKED if a in asks), takes="any", by_rows=False, stacked=False, named=True, init=_init,
    )  # fmt: skip


# -- user-defined wiring -----------------------------------------------------------------------------------------------


def wired(wire: Callable[..., Value], layers: Mapping[str, Layer], name: str = "wired", **settings: Any) -> Layer:
    """Creates a user-defined combinator from named layers and a function that calls them on values.

    Args:
        wire: a module-level function `wire(call, x) -> y`. x is the combinator's input, a value or a tuple of values;
            `call("name", x)` applies the layer of that name, `call(layer, x)` a layer without parameters. A layer
            called twice shares its parameters, and their gradients add. `x.shape` is the shape of one example,
            `call.settings` are the settings; values support no other operations.
        layers: the layers by name. Parameter names begin with these names.
        name: the combinator's name.
        settings: values that the wire reads (numbers and the like), part of the combinator's identity.

    It is equal to the built-in ones: checks, summary, inspection, stacks and files look inside.

    >>> def gate(call, x):  # tanh(f(x)) · σ(g(x))
    ...     return call(nn.multiply(), (call(nn.tanh(), call("f", x)), call(nn.sigmoid(), call("g", x))))
    >>> model = nn.serial(nn.wired(gate, {"f": nn.dense(3), "g": nn.dense(3)}, name="gate"), nn.dense(1))
    >>> list(model.init(nn.key(0), (2,))[0])
    ['gate1.f.W', 'gate1.f.b', 'gate1.g.W', 'gate1.g.b', 'dense1.W', 'dense1.b']
    """
    if not callable(wire):
        raise TypeError(f"wire={wire!r} is not callable: pass a function (call, x) -> y")
    if not isinstance(layers, Mapping):
        raise TypeError(f"layers is {type(layers).__name__}, expected a dict of names to layers")
    check_name(name)
    for key, inner in layers.items():
        check_name(key)
        check_layer(inner)
    return make(name, Settings(**settings), layers=tuple(layers.items()), wire=wire)


def check_layer(layer: object) -> Layer:
    """Returns `layer` if it is one; the error explains how to create one."""
    if isinstance(layer, Layer):
        return layer
    if isinstance(layer, (list, tuple)):
        if len(layer) == 2 and isinstance(layer[0], str) and isinstance(layer[1], Layer):
            raise TypeError("got a (name, layer) pair, expected a layer: pass layer for name, layer in model.layers")
        raise TypeError("got a list, expected layers: pass them one by one, nn.serial(*layers)")
    made = (
        f"call it: nn.{layer.__name__}()"
        if callable(layer) and hasattr(layer, "__name__")
        else "create one with nn.layer"
    )
    raise TypeError(f"{layer!r} is not a layer: {made}")


# -- a layer from functions like a model's -----------------------------------------------------------------------------


def from_functions(
    init: Callable[..., Any], forward: Callable[..., Any], backward: Callable[..., Any], name: str
) -> Layer:
    """Creates a layer from `init(key, input_shape, dtype) -> (params, state)`,
    `forward(params, state, x, *, key, train) -> (y, cache, state)` and `backward(params, cache, dy) -> (dx, grads)`."""
    for what, function in (("init", init), ("forward", forward), ("backward", backward)):
        if not callable(function):
            raise TypeError(f"{what}={function!r} is not callable: a Layer is built from three functions and a name")
    check_name(name)
    return make(name, Settings(init=init, forward=forward, backward=backward), FULL)


def _full_init(key: Key, input_shape: Shapes, dtype: DTypeLike, *, init: Callable[..., Any], **_: Any) -> Any:
    return init(key, input_shape, dtype)


def _full_forward(
    params: ArrayDict,
    x: Value,
    *,
    forward: Callable[..., Any],
    key: Keys | None,
    train: bool,
    state: ArrayDict,
    **_: Any,
) -> Any:
    def full(params: ArrayDict, x: Value, key: Keys | None, train: bool, state: ArrayDict) -> Any:
        return forward(params, state, x, key=key, train=train)

    return _forward(params, x, forward=full, asks=ASKED, key=key, train=train, state=state)


def _full_signature(input_shape: Shapes, **_: Any) -> Signature:
    return Signature(None)


FULL = Kernel(
    _full_forward, _backward, _full_signature, formula="forward(params, state, x)",
    uses=("forward", "backward"), asks=ASKED, takes="any", by_rows=False, stacked=False, named=True, init=_full_init,
)  # fmt: skip
