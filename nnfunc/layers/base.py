"""What a layer is: three functions and a name.

    init(key, input_shape, dtype) -> (params, state)
    forward(params, state, x, *, key=None, train=False) -> (y, cache, state)
    backward(params, cache, dy, *, need_dx=True, out=None) -> (dx, grads)

`params` and `state` are immutable dicts of arrays; `input_shape` is the shape of one example; rows of x are examples
and its last axis is features. In a stack of K networks all arrays of params and state have a leading axis K, and so
have y, dy and, unless it is shared by all, x: a layer of this full form has to handle that axis (those of `layer` are
called for each network). `cache` is whatever backward needs; only that layer's own backward looks inside. With
need_dx=False the gradient of the input is not computed and dx is None. `out` is a draft of the gradients
(`ArrayDict.draft`) that a composition hands down, so that all layers write into one vector.

A model is a layer too: `serial(dense(64), relu())` has the same three functions.

The mathematics of the built-in layers is a `Kernel`, two functions on plain arrays. `of_kernel` puts the border around
it that all layers have: what comes in is checked and cast, what goes out is read-only. A composition checks once what
its kernels get and then calls them directly.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from nnfunc.arrays import EMPTY, Array, ArrayDict, unstack
from nnfunc.errors import positive_int, real
from nnfunc.keys import Key, Keys
from nnfunc.values import call, hyperparameters

Shape: TypeAlias = tuple[int, ...]
Cache: TypeAlias = Any
"""What a forward leaves for its own backward: a type of each layer's own, opaque to everyone else."""


class Init(Protocol):
    """(key, input_shape, dtype) -> (params, state)"""

    def __call__(self, key: Key, input_shape: Shape, dtype: DTypeLike = ...) -> tuple[ArrayDict, ArrayDict]: ...


class Forward(Protocol):
    """(params, state, x, *, key, train) -> (y, cache, state)"""

    def __call__(
        self, params: ArrayDict, state: ArrayDict, x: Array, *, key: Keys | None = None, train: bool = False
    ) -> tuple[Array, Cache, ArrayDict]: ...


class Backward(Protocol):
    """(params, cache, dy, *, need_dx, out) -> (dx, grads)"""

    def __call__(
        self, params: ArrayDict, cache: Cache, dy: Array, *, need_dx: bool = True, out: ArrayDict | None = None
    ) -> tuple[Array | None, ArrayDict]: ...


class Layer(NamedTuple):
    """A layer: three pure functions, and the name that its parameters carry in a model.

    The hyperparameters stand in `functools.partial`s over module-level functions, so a layer pickles and prints what
    it is. The module `nnfunc.layers.base` says what goes into and out of the three.

    >>> nn.dense(3)
    dense(units=3, initializer='he', bias_initializer='zeros', bias=True)
    """

    init: Init
    forward: Forward
    backward: Backward
    name: str = "layer"

    @property
    def layers(self) -> tuple[tuple[str, Layer], ...]:
        """The (name, layer) pairs that a composition is made of; () for any other layer."""
        layers = hyperparameters([self.forward]).get("layers")
        if not isinstance(layers, tuple) or not all(isinstance(p, tuple) and isinstance(p[-1], Layer) for p in layers):
            return ()  # a hyperparameter of a user's own
        return layers

    @property
    def kernel(self) -> Kernel | None:
        """The kernel that both functions are made of; None for a layer of another kind."""
        forward, backward = (hyperparameters([f]).get("kernel") for f in (self.forward, self.backward))
        return forward if isinstance(forward, Kernel) and forward is backward else None

    def __repr__(self) -> str:
        if self.layers:
            return f"{self.name}({', '.join(repr(layer) for _, layer in self.layers)})"
        functions = (*self, *(self.kernel or ()))
        return call(self.name, hyperparameters(functions), hidden=("kernel", "f", "slope", "function", "initial"))


class Kernel(NamedTuple):
    """The mathematics of a layer, on arrays.

        forward(x, *params) -> (y, cache)
        backward(dy, cache, params, grads, need_dx) -> dx
        fits(*shapes)

    One with a state, or that is another function in training, is marked `in_training` and has

        forward(x, *params, state=state, key=key, train=train) -> (y, cache, state)

    `params` are the parameters in the order of `names`, `grads` arrays of their shapes to write their gradients into.
    A kernel without parameters is only asked for dx. `fits` raises an error where parameters of these shapes do not
    belong together. x and dy are of the parameters' dtype, and dy has the shape of y. In prediction each row of y
    depends on its own row of x alone.
    """

    forward: Callable[..., Any]  # one of the two forms
    backward: Callable[..., Array | None]
    names: tuple[str, ...] = ()
    fits: Callable[..., None] | None = None
    in_training: bool = False

    def check(self, names: tuple[str, ...], shapes: Sequence[Shape]) -> None:
        """Raises an error if parameters with these names and shapes are not the kernel's."""
        check_names(names, self.names)
        if self.fits is not None:
            self.fits(*(shapes[names.index(name)] for name in self.names))


def no_parameters(key: Key, input_shape: Shape, dtype: DTypeLike = np.float32) -> tuple[ArrayDict, ArrayDict]:
    """The init of a layer that has neither parameters nor state."""
    return EMPTY, EMPTY


def output_shape(layer: Layer, params: ArrayDict, state: ArrayDict, input_shape: Shape) -> Shape:
    """The shape of one example after a layer, found by passing one example of zeros through it.

    >>> params, state = nn.dense(3).init(nn.key(0), (2,))
    >>> output_shape(nn.dense(3), params, state, (2,))
    (3,)
    """
    x = np.zeros((1, *input_shape), params.dtype)
    with np.errstate(all="ignore"):
        y, _, _ = layer.forward(params, state, x)
    return y.shape[1:]


def parameter(params: ArrayDict, *names: str) -> Sequence[Array]:
    """The parameters of a layer; an error names what is missing, too much, or no array of floats."""
    if not isinstance(params, ArrayDict):
        raise TypeError(f"params is {type(params).__name__}, expected an ArrayDict: pass nn.ArrayDict(params)")
    if params.names == names:
        return params.arrays
    counts = [name for name in params.counts if name in names]
    if counts:
        raise ValueError(f"{counts[0]} has dtype int64, expected floats: pass dtype=np.float32 to ArrayDict")
    check_names(params.names, names)
    return [params[name] for name in names]


def check_names(names: Sequence[str], expected: Sequence[str]) -> None:
    """Raises an error that lists which parameters are missing or too much."""
    missing, extra = [k for k in expected if k not in names], [k for k in names if k not in expected]
    if missing:
        has = ", ".join(names) or "no arrays"
        raise ValueError(f"the parameters do not fit the model: {', '.join(missing)} missing (there: {has})")
    if extra:
        wanted = ", ".join(expected) or "none"
        raise ValueError(f"the parameters do not fit the model: {', '.join(extra)} too much (expected: {wanted})")


def of_kernel(name: str, kernel: Kernel, init: Init | None = None) -> Layer:
    """The layer of a kernel.

    >>> doubled = of_kernel("doubled", Kernel(lambda x: (2 * x, None), lambda dy, *_: 2 * dy))
    >>> doubled.forward(nn.EMPTY, nn.EMPTY, np.ones((1, 2)))[0]
    array([[2., 2.]])
    """
    forward, backward = partial(_kernel_forward, kernel=kernel), partial(_kernel_backward, kernel=kernel)
    return Layer(init or no_parameters, forward, backward, name)


def _kernel_forward(
    params: ArrayDict,
    state: ArrayDict,
    x: Array,
    *,
    key: Keys | None = None,
    train: bool = False,
    kernel: Kernel,
) -> tuple[Array, tuple[Cache, Shape], ArrayDict]:
    arrays = parameter(params, *kernel.names) if kernel.names else ()
    if kernel.fits is not None:
        kernel.fits(*(a.shape for a in arrays))
    x = real(x, "x", params.dtype if arrays else None)
    if kernel.in_training:
        y, cache, state = kernel.forward(x, *arrays, state=state, key=key, train=train)
    else:
        y, cache = kernel.forward(x, *arrays)
    return view(y), (cache, y.shape), state  # read-only, as y may be the cache


def _kernel_backward(
    params: ArrayDict,
    cache: tuple[Cache, Shape],
    dy: Array,
    *,
    need_dx: bool = True,
    out: ArrayDict | None = None,
    kernel: Kernel,
) -> tuple[Array | None, ArrayDict]:
    inner, shape = cache
    same_shape(dy, shape, leading=not kernel.names)
    if not kernel.names:
        return kernel.backward(dy, inner, (), (), True) if need_dx else None, EMPTY
    grads = params.draft(out)
    written = parameter(grads, *kernel.names)
    dx = kernel.backward(real(dy, "dy", params.dtype), inner, parameter(params, *kernel.names), written, need_dx)
    return dx, grads.freeze()


def example_shape(input_shape: Shape) -> Shape:
    """`input_shape`, checked to be a tuple of whole numbers from 1."""
    if isinstance(input_shape, (int, np.integer)):
        raise TypeError(f"input_shape={input_shape}: expected the shape of one example as a tuple, ({input_shape},)")
    if not isinstance(input_shape, (tuple, list)):
        raise TypeError(f"input_shape is {type(input_shape).__name__}, expected the shape of one example, like (64,)")
    if not input_shape:
        raise ValueError("input_shape=() has no features: pass the shape of one example, like (64,)")
    return tuple(positive_int(n, "input_shape") for n in input_shape)


def same_shape(dy: Array, shape: Shape, leading: bool = False) -> None:
    """Checks that an output gradient has the output's shape: NumPy would broadcast it without a word.

    With `leading` it may have axes in front: a layer without parameters that gets the input that all networks of a
    stack share gets an output gradient from each.
    """
    if dy.shape != shape and not (leading and dy.shape[-len(shape) :] == shape):
        raise ValueError(f"dy has shape {dy.shape}, expected the output's shape {shape}")


def view(x: Array, shape: Shape | None = None) -> Array:
    """A read-only view of x: what a layer that changes nothing hands on, so that no one can change x through it."""
    y = x.view() if shape is None else x.reshape(shape).view()
    y.setflags(write=False)
    return y


# -- a layer of a user's own ---------------------------------------------------------------------------------------


def layer(
    forward: Callable[[ArrayDict, Array], tuple[ArrayLike, Cache]],
    backward: Callable[[ArrayDict, Cache, Array], tuple[ArrayLike | None, Mapping[str, ArrayLike]]],
    init: Callable[..., Mapping[str, ArrayLike]] | Mapping[str, ArrayLike] | None = None,
    name: str = "layer",
) -> Layer:
    """A layer from two or three functions of your own.

    Args:
        forward: `forward(params, x) -> (y, cache)`; x has shape (examples, ..., features).
        backward: `backward(params, cache, dy) -> (dx, grads)`; grads is a dict with the names and shapes of params
            ({} without parameters); dx has the shape of x.
        init: `init(key, input_shape)` (or `init(key, input_shape, dtype)`) `-> dict of arrays`; or a dict of initial
            values; or None where there are no parameters, or you bring them yourself.
        name: what the layer is called in names of parameters, summaries and reports.
    Raises:
        TypeError: forward or backward is not callable.

    x and dy come as read-only views: work on copies. x is cast to the parameters' dtype (a table lookup takes
    `x.astype(int)`). In a stack of K networks your functions are called for each of
    them, with its own parameters.
    A layer that needs state, a key or to know whether it trains is a `Layer` of three functions of the full form (see
    `nnfunc.layers.base`).

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
    if not isinstance(name, str) or not name or "." in name:
        raise ValueError(
            f"name={name!r}: expected a string without dots, which separate a layer's name from its arrays'"
        )
    return Layer(
        partial(_own_init, initial={} if init is None else init),
        partial(_own_forward, function=forward),
        partial(_own_backward, function=backward),
        name,
    )


def _own_init(
    key: Key,
    input_shape: Shape,
    dtype: DTypeLike = np.float32,
    *,
    initial: Callable[..., Mapping[str, ArrayLike]] | Mapping[str, ArrayLike],
) -> tuple[ArrayDict, ArrayDict]:
    if callable(initial):
        wants_dtype = len(inspect.signature(initial).parameters) > 2
        initial = initial(key, input_shape, dtype) if wants_dtype else initial(key, input_shape)
    if not isinstance(initial, Mapping):
        raise TypeError(f"init returned {type(initial).__name__}, expected a dict of arrays")
    return ArrayDict(initial, dtype), EMPTY


def _own_forward(
    params: ArrayDict,
    state: ArrayDict,
    x: Array,
    *,
    key: Keys | None = None,
    train: bool = False,
    function: Callable[[ArrayDict, Array], tuple[ArrayLike, Cache]],
) -> tuple[Array, Cache, ArrayDict]:
    x = real(x, "x", params.dtype if params.size else None)
    if params.stack_shape:  # the function is written for one network, so it is called for each
        K = len(params.vector)
        members = zip(unstack(params), x if x.ndim > 2 and len(x) == K else [x] * K, strict=True)
        results = [_own_forward(p, state, xi, function=function) for p, xi in members]
        return np.stack([y for y, _, _ in results]), ([cache for _, cache, _ in results], x), state
    result = function(params, view(x))
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"forward returned {type(result).__name__}, expected the pair (y, cache)")
    y, cache = real(result[0], "y", x.dtype), result[1]
    if y.ndim == 1 or y.shape[:1] not in ((), x.shape[:1]):  # () is that of a loss as the last layer
        raise ValueError(
            f"forward returned y of shape {y.shape} for x of shape {x.shape}: expected a row for each row of x"
        )
    return y, (cache, x), state


def _own_backward(
    params: ArrayDict,
    cache: tuple[Cache, Array],
    dy: Array,
    *,
    need_dx: bool = True,
    out: ArrayDict | None = None,
    function: Callable[[ArrayDict, Cache, Array], tuple[ArrayLike | None, Mapping[str, ArrayLike]]],
) -> tuple[Array | None, ArrayDict]:
    own, x = cache
    if params.stack_shape:
        members = zip(unstack(params), own, dy, strict=True)
        each = [_own_backward(p, c, d, function=function) for p, c, d in members]
        grads = params.draft(out)
        if params:
            grads.vector[...] = np.stack([g.vector for _, g in each])
        inputs = [dx for dx, _ in each if dx is not None]
        return np.stack(inputs) if need_dx and inputs else None, grads.freeze()
    dx, grads = _plain_backward(params, own, dy, need_dx=need_dx, out=out, function=function)
    if dx is not None and dx.shape != x.shape:
        raise ValueError(f"backward returned dx of shape {dx.shape}, expected the input's shape {x.shape}")
    return dx, grads


def full_form(layer: Layer) -> Layer:
    """`layer`, its backward made to take need_dx and out if it is a plain `backward(params, cache, dy)`."""
    known = inspect.signature(layer.backward).parameters
    if {"need_dx", "out"} <= known.keys() or any(p.kind is p.VAR_KEYWORD for p in known.values()):
        return layer
    return layer._replace(backward=partial(_plain_backward, function=layer.backward))


def _plain_backward(
    params: ArrayDict,
    cache: Cache,
    dy: Array,
    *,
    need_dx: bool = True,
    out: ArrayDict | None = None,
    function: Callable[[ArrayDict, Cache, Array], tuple[ArrayLike | None, Mapping[str, ArrayLike]]],
) -> tuple[Array | None, ArrayDict]:
    result = function(params, cache, view(dy))
    if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], (Mapping, type(None))):
        came = [type(r).__name__ for r in result] if isinstance(result, tuple) else type(result).__name__
        raise TypeError(f"backward returned {came}, expected the pair (dx, grads), grads a dict of arrays")
    dx, given = result
    given = params.like(given or {}, "the dict of gradients that backward returned")
    grads = params.draft(out)
    if given:  # the draft of no arrays is no draft
        grads.vector[...] = given.vector
    return None if dx is None or not need_dx else real(dx, "dx", dy.dtype), grads.freeze()
