"""Compositions of layers: the only place where parameter names are routed to layers.

A composition is a layer whose functions are partial in `layers`, the (name, layer) pairs it is made of, each named
by its kind and its count: "dense1", "relu1", "dense2". Inside it the arrays of the layer "dense1" are the group
"dense1" of the parameters ("dense1.W"); compositions nest, and so do the names ("residual1.dense1.W").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from nnfunc.arrays import Array, ArrayDict, Layout
from nnfunc.errors import number, numeric, positive_int, real
from nnfunc.initializers import Initializer
from nnfunc.keys import Key, Keys, fold_in
from nnfunc.layers.activations import activation
from nnfunc.layers.base import (
    Cache,
    Layer,
    Shape,
    example_shape,
    full_form,
    output_shape,
    same_shape,
    view,
)
from nnfunc.layers.dense import dense
from nnfunc.layers.dropout import dropout
from nnfunc.layers.normalization import batch_norm

Named: TypeAlias = tuple[tuple[str, Layer], ...]
SerialCache: TypeAlias = tuple[list[Cache], Shape]
"""What each layer left for its backward (a layer that is no kernel also the shape of its x), and the shape of y."""


class Route(NamedTuple):
    """How a composition calls a layer: the functions of its kernel (None where it has none), how it gets its arrays
    from all of them, and whether the forward asks for state, key and train."""

    forward: Callable[..., Any] | None  # one of the two forms of a kernel
    backward: Callable[..., Array | None] | None
    own: Callable[[tuple[Array, ...]], Sequence[Array]]
    in_training: bool


class Plan(NamedTuple):
    """The routes of all layers for one layout of parameters, and the first layer that has any."""

    routes: list[Route]
    first: int


class Layers(tuple[tuple[str, Layer], ...]):
    """The named layers of a composition, which remember their plan for each layout of parameters."""

    _plans: dict[Layout, Plan]

    def __new__(cls, pairs: Iterable[tuple[str, Layer]]) -> Layers:
        new = super().__new__(cls, pairs)
        new._plans = {}
        return new

    def __reduce__(self) -> tuple[type[Layers], tuple[Named]]:
        return Layers, (tuple(self),)

    def plan(self, where: Layout) -> Plan:
        """The plan for parameters of this layout, which are checked to be those that the layers take."""
        plan = self._plans.get(where)
        if plan is None:
            plan = self._plans[where] = _plan(self, where)
        return plan


def _plan(layers: Named, where: Layout) -> Plan:
    routes = [_route(name, layer, where) for name, layer in layers]
    heads = tuple(f"{name}." for name, _ in layers)
    extra = ", ".join(k for k in where.names if not k.startswith(heads))
    if extra:
        raise ValueError(f"the parameters do not fit the model: it has no layer for {extra}")
    return Plan(routes, next((i for i, (name, _) in enumerate(layers) if name in where.groups), len(layers)))


def _route(name: str, layer: Layer, where: Layout) -> Route:
    kernel = layer.kernel
    if kernel is None:
        return Route(None, None, tuple, True)
    group = where.groups.get(name)
    inside = slice(0) if group is None else group.arrays
    names = () if group is None else group.layout.names
    try:
        kernel.check(names, [shape for _, _, shape in where.spans[inside]])
    except ValueError as error:
        locate(error, name)
        raise
    own = [inside.start + names.index(k) for k in kernel.names]
    getter = itemgetter(inside) if names == kernel.names else itemgetter(*own)
    return Route(kernel.forward, kernel.backward, getter, kernel.in_training)


def serial(*layers: Layer) -> Layer:
    """One layer after another: y = fₙ(… f₂(f₁(x))).

    Args:
        layers: the layers in the order of the data; each is named by its kind and count ("dense1", "relu1", "dense2").
    Raises:
        TypeError: something that is no layer.

    x is cast to the dtype of the parameters on entry. `backward(..., need_dx=False)` leaves out the gradient of x,
    which training does not need.

    >>> model = nn.serial(nn.dense(3), nn.relu(), nn.dense(1))
    >>> params, state = model.init(nn.key(0), (2,))
    >>> list(params)
    ['dense1.W', 'dense1.b', 'dense2.W', 'dense2.b']
    """
    return _composed("serial", named(layers), _serial_forward, _serial_backward)


def residual(*layers: Layer) -> Layer:
    """x + f(x), f the layers in series, whose output must have the shape of x (He et al., CVPR 2016).

    >>> model = nn.residual(nn.dense(2), nn.relu())
    >>> params, state = model.init(nn.key(0), (2,))
    >>> model.forward(params, state, np.ones((5, 2)))[0].shape
    (5, 2)
    """
    pairs = named(layers)
    model = _composed("residual", pairs, _residual_forward, _residual_backward)
    return model._replace(init=partial(_residual_init, layers=pairs))


def mlp(
    layer_dims: Sequence[int],
    activations: Sequence[str | Layer],
    keep_prob: float | Sequence[float] = 1.0,
    initializer: Initializer = "he",
    batch_norm: bool = False,
) -> Layer:
    """A multi-layer perceptron: for each layer dense, batch norm (if asked for), activation, dropout.

    Args:
        layer_dims: [features, units, ..., outputs], so one more than there are layers.
        activations: a name or a layer for each layer.
        keep_prob: the probability to keep an output of a hidden layer; one for all, or one for each hidden layer. No
            dropout on the output layer, and none where it is 1.
        initializer: of the weights.
        batch_norm: whether the hidden layers have batch normalisation, between dense and activation.
    Raises:
        ValueError: lengths that do not fit, an unknown activation or initializer, a keep_prob outside (0, 1].

    >>> nn.mlp([2, 3, 1], ["relu", "sigmoid"], keep_prob=0.8)
    serial(dense(units=3, initializer='he', bias_initializer='zeros', bias=True, inputs=2), relu(), \
dropout(keep_prob=0.8), dense(units=1, initializer='he', bias_initializer='zeros', bias=True, inputs=3), sigmoid())
    """
    if not isinstance(layer_dims, (list, tuple)):
        raise TypeError(f"layer_dims={layer_dims!r}: expected a list, [features, units, ..., outputs]")
    if (
        not isinstance(activations, (list, tuple))
        or isinstance(activations, Layer)
        or len(activations) != len(layer_dims) - 1
    ):
        count = f"{len(layer_dims)} layer_dims (the features, then each layer's units)"
        raise ValueError(f"activations={activations!r}: expected one for each layer, {len(layer_dims) - 1} for {count}")
    if len(layer_dims) < 2:
        raise ValueError(f"layer_dims={layer_dims!r}: expected the number of features and the units of each layer")
    hidden = len(layer_dims) - 2
    keep = list(keep_prob) if isinstance(keep_prob, Sequence) else [keep_prob] * hidden
    for probability in [keep_prob] if not isinstance(keep_prob, Sequence) else keep:
        number(probability, "keep_prob", 0, 1, open_low=True, why="the probability to keep an output, not to drop it")
    if len(keep) != hidden:
        raise ValueError(f"keep_prob={keep_prob!r}: expected one number, or {hidden}, one for each hidden layer")
    layers: list[Layer] = []
    for i, (inputs, units) in enumerate(pairwise(layer_dims)):
        layers.append(dense(units, initializer, inputs=positive_int(inputs, "layer_dims")))
        if batch_norm and i < hidden:
            layers.append(_batch_norm())
        layers.append(activation(activations[i]))
        if i < hidden and keep[i] != 1:
            layers.append(dropout(keep[i]))
    return serial(*layers)


_batch_norm = batch_norm  # `mlp` has an argument of that name


def named(layers: Sequence[Layer]) -> Layers:
    """The layers with their names: kind and count."""
    count: Counter[str] = Counter()
    pairs = []
    for layer in layers:
        if isinstance(layer, (list, tuple)) and not isinstance(layer, Layer):
            raise TypeError("the layers came as one list: pass them one by one, nn.serial(*layers)")
        if not isinstance(layer, Layer):
            made = f"call it: nn.{layer.__name__}()" if callable(layer) else "make one with nn.layer"
            raise TypeError(f"{layer!r} is no layer: {made}")
        count[layer.name] += 1
        pairs.append((f"{layer.name}{count[layer.name]}", full_form(layer)))
    if len(dict(pairs)) != len(pairs):
        raise ValueError(f"two layers get one name: {', '.join(name for name, _ in pairs)}; end no name with a digit")
    return Layers(pairs)


def map_layers(function: Callable[[str, Layer], Layer], model: Layer, path: str = "") -> Layer:
    """The same composition with `function(path, layer)` in the place of each layer that is no composition.

    >>> doubled = map_layers(lambda path, layer: nn.dense(2 * layer.init.keywords["units"]), nn.serial(nn.dense(3)))
    >>> doubled.layers[0][1].init.keywords["units"]
    6
    """
    if not model.layers:
        return function(path, model)
    prefix = f"{path}." if path else ""
    layers = tuple((name, map_layers(function, layer, prefix + name)) for name, layer in model.layers)
    return with_layers(model, layers)


def with_layers(model: Layer, layers: Named) -> Layer:
    """A composition like `model` of other layers."""
    layers = Layers(layers)
    init: Callable[..., Any] = model.init
    return _composed(model.name, layers, model.forward, model.backward)._replace(init=partial(init, layers=layers))


def by_rows(model: Layer) -> bool:
    """Whether in prediction each row of the outputs depends on its own row of x alone, as far as is known.

    >>> by_rows(nn.mlp([2, 3, 1], ["relu", "sigmoid"])), by_rows(nn.layer(lambda p, x: (x, None), lambda p, c, dy: dy))
    (True, False)
    """
    return model.kernel is not None or (bool(model.layers) and all(by_rows(layer) for _, layer in model.layers))


def check_params(model: Layer, params: ArrayDict) -> None:
    """Raises an error if the parameters have not the names and shapes that the model's layers take.

    A layer of a user's own does not say what it takes, so its arrays are not looked at.

    >>> check_params(nn.serial(nn.dense(3)), nn.ArrayDict({"dense1.W": np.ones((2, 4)), "dense1.b": np.ones(4)}))
    Traceback (most recent call last):
    ValueError: dense1: the parameters do not fit the model: W (2, 4), b (4,), expected W (inputs, 3) and b (3,)
    """
    if isinstance(model.layers, Layers):
        _plan(model.layers, params.layout)
    elif model.kernel is not None:
        model.kernel.check(params.names, [shape for _, _, shape in params.layout.spans])
    for name, layer in model.layers:
        try:
            check_params(layer, params.group(name))
        except ValueError as error:
            locate(error, name)
            raise


def last_layer(model: Layer) -> Layer:
    """The layer that makes a model's outputs: the last of a series, also of a nested one.

    >>> last_layer(nn.mlp([2, 3, 1], ["relu", "sigmoid"]))
    sigmoid()
    """
    return last_layer(model.layers[-1][1]) if model.layers and model.name == "serial" else model


def _composed(name: str, layers: Layers, forward: Callable[..., Any], backward: Callable[..., Any]) -> Layer:
    return Layer(partial(_init, layers=layers), partial(forward, layers=layers), partial(backward, layers=layers), name)


def _init(
    key: Key, input_shape: Shape, dtype: DTypeLike = np.float32, *, layers: Layers
) -> tuple[ArrayDict, ArrayDict]:
    params: dict[str, Array] = {}
    state: dict[str, Array] = {}
    shape, name = example_shape(input_shape), ""
    try:
        for i, (name, layer) in enumerate(layers):
            p, s = layer.init(fold_in(key, i), shape, dtype)
            params |= {f"{name}.{k}": v for k, v in p.items()}
            state |= {f"{name}.{k}": v for k, v in s.items()}
            shape = output_shape(layer, ArrayDict(p, dtype), ArrayDict(s), shape)
    except Exception as error:
        locate(error, name)
        raise
    return ArrayDict(params, dtype), ArrayDict(state)


def _residual_init(
    key: Key, input_shape: Shape, dtype: DTypeLike = np.float32, *, layers: Layers
) -> tuple[ArrayDict, ArrayDict]:
    params, state = _init(key, input_shape, dtype, layers=layers)
    _residual_forward(params, state, np.zeros((1, *input_shape), dtype), layers=layers)  # do the shapes fit?
    return params, state


def _serial_forward(
    params: ArrayDict, state: ArrayDict, x: Array, *, key: Keys | None = None, train: bool = False, layers: Layers
) -> tuple[Array, SerialCache, ArrayDict]:
    x, params, state = _entry(params, state, x)
    routes, arrays = layers.plan(params.layout).routes, params.arrays
    caches: list[Cache] = []
    changed: dict[str, ArrayDict] = {}
    try:
        if x.dtype.kind != "f" and routes and routes[0].forward is not None:
            x = real(x, "x", params.dtype if params.size else None)
        for forward, _, own, in_training in routes:
            if forward is not None and not in_training:
                x, cache = forward(x, *own(arrays))
            else:
                name, layer = layers[len(caches)]
                before, own_key = state.group(name), None if key is None else fold_in(key, len(caches))
                if forward is not None:
                    x, cache, after = forward(x, *own(arrays), state=before, key=own_key, train=train)
                else:
                    x, cache, after = _layer_forward(layer, params.group(name), before, x, own_key, train)
                if after is not before:
                    changed[name] = after
            caches.append(cache)
    except Exception as error:
        locate(error, layers[len(caches)][0], first=not caches)
        raise
    return view(x), (caches, x.shape), _moved(state, changed) if changed else state


def _moved(state: ArrayDict, changed: dict[str, ArrayDict]) -> ArrayDict:
    """The state with other values for some groups."""
    if state.counts:
        return state.replace({f"{name}.{k}": v for name, after in changed.items() for k, v in after.items()})
    new = state.draft()
    new.vector[...] = state.vector
    for name, after in changed.items():
        new.group(name).vector[...] = after.vector
    return new.freeze()


def _layer_forward(
    layer: Layer, params: ArrayDict, state: ArrayDict, x: Array, key: Keys | None, train: bool
) -> tuple[Array, tuple[Cache, Shape], ArrayDict]:
    """A layer that is no kernel, by its public form. Its cache has the shape of x too."""
    y, cache, after = layer.forward(params, state, view(x), key=key, train=train)
    if after is not state:
        after = state.like(after, "the state that forward returned") if after or state else state
    return real(y, "y", params.dtype if params.size else None), (cache, x.shape), after


def _serial_backward(
    params: ArrayDict,
    cache: SerialCache,
    dy: Array,
    *,
    need_dx: bool = True,
    out: ArrayDict | None = None,
    layers: Layers,
) -> tuple[Array | None, ArrayDict]:
    params = params if isinstance(params, ArrayDict) else ArrayDict(params)
    caches, shape = cache
    (routes, first), grads = layers.plan(params.layout), params.draft(out)
    arrays, written = params.arrays, grads.arrays
    dx, i = real(dy, "dy", params.dtype if params.size else None), len(routes)
    lowest = 0 if need_dx else first
    try:
        same_shape(dx, shape, leading=not params)
        while i > lowest:
            i -= 1
            _, backward, own, _ = routes[i]
            need = need_dx or i > lowest
            if backward is not None:
                below = backward(dx, caches[i], own(arrays), own(written), need)
            else:
                below = _layer_backward(*layers[i], params, caches[i], dx, need, grads)
            if below is not None:
                dx = below
            elif i > lowest:
                raise ValueError("backward returned dx=None, but the layer below needs the gradient of its output")
            else:
                need_dx = False
    except Exception as error:
        locate(error, layers[min(i, len(layers) - 1)][0])
        raise
    return dx if need_dx else None, grads.freeze()


def _layer_backward(
    name: str, layer: Layer, params: ArrayDict, cache: tuple[Cache, Shape], dy: Array, need_dx: bool, grads: ArrayDict
) -> Array | None:
    """A layer that is no kernel, by its public form; its gradients go into `grads`."""
    (inner, shape), own = cache, grads.group(name)
    dx, written = layer.backward(params.group(name), inner, view(dy), need_dx=need_dx, out=own)
    if written is not own and own:  # a layer of a user's own that made its own dict
        own.vector[...] = own.like(written, "the dict of gradients that backward returned").vector
    if dx is None:
        return None
    if dx.shape[-len(shape) :] != shape:
        raise ValueError(f"backward returned dx of shape {dx.shape}, expected the input's shape {shape}")
    return real(dx, "dx", params.dtype if params.size else None)


def _residual_forward(
    params: ArrayDict, state: ArrayDict, x: Array, *, key: Keys | None = None, train: bool = False, layers: Layers
) -> tuple[Array, SerialCache, ArrayDict]:
    x, params, state = _entry(params, state, x)
    y, caches, state = _serial_forward(params, state, x, key=key, train=train, layers=layers)
    if y.shape[-x.ndim :] != x.shape:
        raise ValueError(
            f"the layers turn x {x.shape} into {y.shape}: a residual adds them, so the shapes must be equal"
        )
    return x.astype(y.dtype, copy=False) + y, caches, state


def _residual_backward(
    params: ArrayDict,
    cache: SerialCache,
    dy: Array,
    *,
    need_dx: bool = True,
    out: ArrayDict | None = None,
    layers: Layers,
) -> tuple[Array | None, ArrayDict]:
    dx, grads = _serial_backward(params, cache, dy, need_dx=need_dx, out=out, layers=layers)
    return None if dx is None else real(dy, "dy", dx.dtype) + dx, grads


def _entry(params: ArrayDict, state: ArrayDict, x: Array) -> tuple[Array, ArrayDict, ArrayDict]:
    """x as an array of the parameters' dtype; whole numbers are left to the first layer, which may count with them.

    Plain dicts are made immutable ones.
    """
    params = params if isinstance(params, ArrayDict) else ArrayDict(params)
    state = state if isinstance(state, ArrayDict) else ArrayDict(state)
    array = x if type(x) is np.ndarray and x.dtype == params.dtype else numeric(x, "x")
    if array.size == 0:
        raise ValueError(f"x is empty: it has shape {array.shape}, expected at least one example")
    if array.dtype.kind == "f" and array.dtype != params.dtype and params.size:
        array = array.astype(params.dtype)
    return array, params, state


def locate(error: Exception, name: str, first: bool = True) -> None:
    """Puts the name of the layer that an error comes from before its message."""
    if type(error) not in (ValueError, TypeError):
        error.add_note(f"in the layer {name}")
        return
    inner = getattr(error, "layer", "")
    path = f"{name}.{inner}" if inner else name
    message = str(error).removeprefix(f"{inner}: ") if inner else str(error)
    if not first:  # what goes between two layers is not the user's to transpose
        message = message.removesuffix(", so pass x.T")
    error.args = (f"{path}: {message}",)
    error.layer = path  # type: ignore[attr-defined]  # read back by the next composition outwards
