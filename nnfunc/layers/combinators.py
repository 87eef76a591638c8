"""Compositions: wires of a few lines, which say which layer is called on which values.

The layers of a composition are named by their kind and count, "dense1", "relu1", "dense2", or by the name that they are
given. Inside it the arrays of the layer "dense1" are the group "dense1" of the parameters ("dense1.W"); compositions
nest, and so do the names ("residual1.dense1.W").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from nnfunc._internal.validate import instance, number, positive_int
from nnfunc.arrays import ArrayDict
from nnfunc.core.custom import check_layer
from nnfunc.core.layer import Layer, Tie, make
from nnfunc.core.settings import Settings
from nnfunc.core.signatures import check_parameters
from nnfunc.core.values import Value
from nnfunc.core.wiring import FROZEN, Call, located
from nnfunc.initializers import Initializer
from nnfunc.layers.activations import activation
from nnfunc.layers.affine import dense
from nnfunc.layers.joining import add
from nnfunc.layers.normalization import batch_norm as normalization  # `mlp` has an argument of that name
from nnfunc.layers.reshaping import stack_steps, unstack_steps, zeros_of
from nnfunc.layers.stochastic import dropout
from nnfunc.layout import Patterns, matches

__all__ = [
    "branch",
    "freeze",
    "map_layers",
    "mlp",
    "parallel",
    "residual",
    "scan",
    "serial",
    "shared",
    "tie",
    "unfreeze",
]

# Each combinator is a constructor and its wire.


def serial(*layers: Layer, **names: Layer) -> Layer:
    """One layer after another: y = fₙ(… f₂(f₁(x))).

    Args:
        layers: the layers in the order of the data; each is named by its kind and count ("dense1", "relu1", "dense2").
        names: further layers, after these, under names of your own: `serial(encoder=f, decoder=g)`.
    Raises:
        TypeError: something that is no layer.

    x is cast to the dtype of the parameters on entry. `backward(..., need_dx=False)` leaves out the gradient of x,
    which training does not need.

    >>> model = nn.serial(nn.dense(3), nn.relu(), nn.dense(1))
    >>> params, state = model.init(nn.key(0), (2,))
    >>> list(params)
    ['dense1.W', 'dense1.b', 'dense2.W', 'dense2.b']
    """
    return make("serial", layers=named(layers, names), wire=_serial)


def _serial(call: Call, x: Value) -> Value:
    for layer in call.layers:
        x = call(layer, x)
    return x


def residual(*layers: Layer, **names: Layer) -> Layer:
    """x + f(x), f the layers in series, whose output must have the shape of x (He et al., CVPR 2016).

    >>> model = nn.residual(nn.dense(2), nn.relu())
    >>> params, state = model.init(nn.key(0), (2,))
    >>> model.forward(params, state, np.ones((5, 2)))[0].shape
    (5, 2)
    """
    return make("residual", layers=named(layers, names), wire=_residual)


def _residual(call: Call, x: Value) -> Value:
    y = _serial(call, x)
    if not isinstance(y, tuple) and call.whole(x).shape != y.shape:
        raise ValueError(
            f"the layers turn an example {x.shape} into {y.shape}: a residual adds them, so both must be equal"
        )
    return call(add(), (x, y))


def parallel(*layers: Layer, **names: Layer) -> Layer:
    """(x₁, x₂, …) → (f₁(x₁), f₂(x₂), …): a layer for each of several inputs.

    Args:
        layers, names: as of `serial`.

    >>> model = nn.serial(nn.parallel(image=nn.flatten(), table=nn.dense(8)), nn.concatenate(), nn.dense(3))
    >>> params, state = model.init(nn.key(0), ((8, 8), (5,)))
    >>> params.layout.shapes
    {'parallel1.table.W': (5, 8), 'parallel1.table.b': (8,), 'dense1.W': (72, 3), 'dense1.b': (3,)}
    """
    return make("parallel", layers=named(layers, names), wire=_parallel)


def _parallel(call: Call, x: Value) -> Value:
    return tuple(map(call, call.layers, call.parts(x, len(call.layers))))


def branch(*layers: Layer, **names: Layer) -> Layer:
    """x → (f₁(x), f₂(x), …): several layers on one input.

    Args:
        layers, names: as of `serial`.

    >>> model = nn.branch(mu=nn.dense(2), logvar=nn.dense(2))
    >>> params, state = model.init(nn.key(0), (3,))
    >>> mu, logvar = model.forward(params, state, np.ones((5, 3)))[0]
    >>> mu.shape, list(params)
    ((5, 2), ['mu.W', 'mu.b', 'logvar.W', 'logvar.b'])
    """
    return make("branch", layers=named(layers, names), wire=_branch)


def _branch(call: Call, x: Value) -> Value:
    return tuple(call(layer, x) for layer in call.layers)


def shared(layer: Layer) -> Layer:
    """(x₁, x₂, …) → (f(x₁), f(x₂), …): one layer, with one set of parameters, on each input; their gradients add.

    >>> model = nn.serial(nn.shared(nn.dense(2)), nn.subtract())
    >>> params, state = model.init(nn.key(0), ((3,), (3,)))
    >>> list(params)
    ['shared1.dense1.W', 'shared1.dense1.b']
    """
    return make("shared", layers=named([layer], {}), wire=_shared)


def _shared(call: Call, x: Value) -> Value:
    (layer,) = call.layers
    return tuple(call(layer, part) for part in call.parts(x))


def scan(cell: Layer, units: int) -> Layer:
    """(..., T, features) → (..., T, units): hₜ = cell((xₜ, hₜ₋₁)), h₀ = 0, one cell at each of T steps.

    Args:
        cell: a layer that makes of the pair (xₜ, h) the next h, of `units` numbers.
        units: the length of h.
    Returns:
        a layer whose output is h at every step. Its parameters are those of the cell, whose gradients add over time.

    >>> cell = nn.serial(nn.concatenate(), nn.dense(4), nn.tanh())
    >>> model = nn.scan(cell, units=4)
    >>> params, state = model.init(nn.key(0), (7, 3))
    >>> model.forward(params, state, np.ones((5, 7, 3)))[0].shape
    (5, 7, 4)
    """
    return make("scan", Settings(units=positive_int(units, "units")), layers=named([cell], {}), wire=_scan)


def _scan(call: Call, x: Value) -> Value:
    (cell,) = call.layers
    steps = call(unstack_steps(), call.whole(x))
    h = call(zeros_of(call.settings["units"]), steps[0])
    hs = []
    for x_t in steps:
        h = call(cell, (x_t, h))
        if isinstance(h, tuple) or h.shape[-1:] != (call.settings["units"],):
            came = f"a tuple of {len(h)}" if isinstance(h, tuple) else h.shape
            raise ValueError(f"the cell gives h of shape {came}, expected {call.settings['units']} units")
        hs.append(h)
    return call(stack_steps(), tuple(hs))


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
            layers.append(normalization())
        layers.append(activation(activations[i]))
        if i < hidden and keep[i] != 1:
            layers.append(dropout(keep[i]))
    return serial(*layers)


# -- parts that are constant, arrays that are one ----------------------------------------------------------------------


def freeze(model: Layer, where: Patterns) -> Layer:
    """`model` with a part that is a constant: its arrays stand in the state, so there is no gradient of them.

    Args:
        model: a layer or a composition.
        where: the patterns of what is frozen, by the names of parameters: "dense1.*", "body.*".
    Returns:
        a model whose `init` puts the frozen arrays into the state, `state.group("frozen")`. They are not in the
        gradient, the optimizer's state, the penalty or the norm that clipping uses, and backward stops above them. A
        layer whose arrays are all frozen works as in prediction (a batch norm uses its averages and does not move
        them), and so does one whose own name matches ("body.dropout1" by "body.*").
    Raises:
        ValueError: (when used) a pattern that matches no parameter.

    `nn.train_state(freeze(model, ...), ..., params=params, state=state)` takes the parameters of the whole model and
    sorts them; `unfreeze` gives them back.

    >>> model = nn.freeze(nn.serial(nn.dense(3), nn.relu(), nn.dense(1)), "dense1.*")
    >>> params, state = model.init(nn.key(0), (2,))
    >>> list(params), list(state)
    (['dense2.W', 'dense2.b'], ['frozen.dense1.W', 'frozen.dense1.b'])
    """
    instance(model, Layer, "model")
    patterns = (where,) if isinstance(where, str) else tuple(where)
    if not all(isinstance(p, str) for p in patterns) or not patterns:
        raise TypeError(f"where={where!r}: expected one or more name patterns, like 'dense1.*'")
    return model._replace(frozen=(*model.frozen, *patterns))


def unfreeze(model: Layer, params: ArrayDict, state: ArrayDict) -> tuple[Layer, ArrayDict, ArrayDict]:
    """A model without frozen parts, and its parameters and state, to go on from.

    Args:
        model: of `freeze`, or with parts that are.
        params, state: of it.
    Returns:
        (model, params, state), in which the arrays that were frozen are parameters again.

    >>> frozen = nn.freeze(nn.serial(nn.dense(3), nn.relu(), nn.dense(1)), "dense1.*")
    >>> model, params, state = nn.unfreeze(frozen, *frozen.init(nn.key(0), (2,)))
    >>> list(params), list(state)
    (['dense1.W', 'dense1.b', 'dense2.W', 'dense2.b'], [])
    """
    held = state.group(FROZEN[:-1])
    if not held:
        return thaw(model), params, state
    thawed = {**held, **params}
    order = [k for path, _ in kernels(model) for k in thawed if k.startswith(f"{path}." if path else "")]
    params = ArrayDict({k: thawed[k] for k in order}, stacked=bool(params.stack_shape))
    return thaw(model), params, state.without(FROZEN + "*")


def sorted_by_freezing(model: Layer, params: ArrayDict, state: ArrayDict) -> tuple[ArrayDict, ArrayDict]:
    """Parameters and state in which what the model holds frozen stands in the state."""
    patterns = frozen_patterns(model)
    held = [k for k in params.names if is_frozen(k, patterns)]
    if not held:
        return params, state
    both = {**state, **{FROZEN + k: params[k] for k in held}}
    return params.without(held), ArrayDict(both, stacked=bool(params.stack_shape))


def frozen_patterns(model: Layer, path: str = "") -> list[tuple[str, str]]:
    """(prefix, pattern) of all that is frozen in a model."""
    prefix = f"{path}." if path else ""
    inner = [p for name, layer in model.layers for p in frozen_patterns(layer, prefix + name)]
    return [*((prefix, pattern) for pattern in model.frozen), *inner]


def is_frozen(name: str, patterns: Sequence[tuple[str, str]]) -> bool:
    """Whether a parameter of this name is frozen."""
    return any(name.startswith(prefix) and matches(name[len(prefix) :], pattern) for prefix, pattern in patterns)


def thaw(model: Layer) -> Layer:
    """The model without frozen parts."""
    return model._replace(frozen=(), layers=tuple((name, thaw(layer)) for name, layer in model.layers))


def tie(model: Layer, name: str, to: str, transpose: bool = False) -> Layer:
    """`model` in which the array `name` is the array `to`: one array, whose gradients add.

    Args:
        model: a composition.
        name: the parameter that is no array of its own any more, like "dense1.W".
        to: the one that it is.
        transpose: whether it is its transpose: an output layer W (features, words) as that of an embedding E (words,
            features).

    >>> model = nn.serial(nn.dense(3, bias=False), nn.tanh(), nn.dense(2, bias=False))
    >>> model = nn.tie(model, "dense2.W", to="dense1.W", transpose=True)
    >>> list(model.init(nn.key(0), (2,))[0])
    ['dense1.W']
    """
    instance(model, Layer, "model")
    if name == to or not isinstance(name, str) or not isinstance(to, str):
        raise ValueError(f"name={name!r}, to={to!r}: expected the names of two parameters, like 'dense2.W', 'dense1.W'")
    if any(name in t[:2] for t in model.ties) or any(to == t.name for t in model.ties):
        raise ValueError(f"{name!r} or {to!r} is tied already: tie each array once, to one that is not tied itself")
    return model._replace(ties=(*model.ties, Tie(name, to, bool(transpose))))


# -- names and what looks into compositions ----------------------------------------------------------------------------


def named(layers: Sequence[Layer], names: Mapping[str, Layer]) -> tuple[tuple[str, Layer], ...]:
    """The layers with their names: kind and count, or the name that they are given."""
    count: Counter[str] = Counter()
    pairs = []
    for layer in layers:
        check_layer(layer)
        count[layer.name] += 1
        pairs.append((f"{layer.name}{count[layer.name]}", layer))
    pairs += [(name, check_layer(layer)) for name, layer in names.items()]
    if FROZEN[:-1] in dict(pairs):
        raise ValueError("a layer has the name 'frozen', which is kept for frozen arrays in the state: choose another")
    if len(dict(pairs)) != len(pairs):
        raise ValueError(f"two layers get one name: {', '.join(name for name, _ in pairs)}; end no name with a digit")
    return tuple(pairs)


def map_layers(function: Callable[[str, Layer], Layer], model: Layer, path: str = "") -> Layer:
    """The same composition with `function(path, layer)` in the place of each layer that is no composition.

    >>> doubled = map_layers(lambda path, layer: nn.dense(2 * layer.settings["units"]), nn.serial(nn.dense(3)))
    >>> doubled.layers[0][1].settings["units"]
    6
    """
    if model.wire is None:
        return instance(function(path, model), Layer, "what the function returned")
    prefix = f"{path}." if path else ""
    layers = tuple((name, map_layers(function, layer, prefix + name)) for name, layer in model.layers)
    return model._replace(layers=layers)


def kernels(model: Layer, path: str = "") -> list[tuple[str, Layer]]:
    """All layers that are no composition, with their paths.

    >>> kernels(nn.serial(nn.dense(2), nn.residual(nn.relu())))
    [('dense1', dense(units=2, initializer='he', bias_initializer='zeros', bias=True)), ('residual1.relu1', relu())]
    """
    if model.wire is None:
        return [(path, model)]
    prefix = f"{path}." if path else ""
    return [pair for name, layer in model.layers for pair in kernels(layer, prefix + name)]


def by_rows(model: Layer) -> bool:
    """Whether in prediction each row of the outputs depends on its own row of x alone, as far as is known.

    >>> by_rows(nn.mlp([2, 3, 1], ["relu", "sigmoid"])), by_rows(nn.layer(lambda p, x: (x, None), lambda p, c, dy: dy))
    (True, False)
    """
    return all(layer.kernel is not None and layer.kernel.by_rows for _, layer in kernels(model))


def check_params(model: Layer, params: ArrayDict, state: ArrayDict | None = None) -> None:
    """Raises an error if the parameters have not the names and shapes that the model's layers take.

    A layer of your own does not say what it takes, so its arrays are not looked at.

    >>> check_params(nn.serial(nn.dense(3)), nn.ArrayDict({"dense1.W": np.ones((2, 4)), "dense1.b": np.ones(4)}))
    Traceback (most recent call last):
    ValueError: dense1: the parameters do not fit the model: W (2, 4), b (4,), expected W (inputs, 3) and b (3,), ...
    """
    patterns, ties = frozen_patterns(model), all_ties(model)
    shapes = {**params.layout.shapes}
    if state is not None:
        shapes |= state.group(FROZEN[:-1]).layout.shapes
    elif patterns:  # what is frozen is not here
        return
    known: set[str] = set()
    for path, layer in kernels(model):
        prefix = f"{path}." if path else ""
        own = {k[len(prefix) :]: s for k, s in shapes.items() if k.startswith(prefix)}
        for name, (to, transposed) in ties.items():
            if name.startswith(prefix) and to in shapes:
                own[name[len(prefix) :]] = shapes[to][::-1] if transposed else shapes[to]
        known.update(k for k in (*shapes, *params.counts) if k.startswith(prefix))
        try:
            check_parameters(layer, own)
        except ValueError as error:
            raise located(error, path) from error
    extra = ", ".join(k for k in (*shapes, *params.counts) if k not in known)
    if extra:
        raise ValueError(f"the parameters do not fit the model: it has no layer for {extra}")


def all_ties(model: Layer, path: str = "") -> dict[str, tuple[str, bool]]:
    """Of all tied arrays in a model the one that they are, and whether transposed."""
    prefix = f"{path}." if path else ""
    found = {prefix + t.name: (prefix + t.to, t.transposed) for t in model.ties}
    for name, layer in model.layers:
        found |= all_ties(layer, prefix + name)
    return found


def last_layer(model: Layer) -> Layer:
    """The layer that makes a model's outputs: the last of a series, also of a nested one.

    >>> last_layer(nn.mlp([2, 3, 1], ["relu", "sigmoid"]))
    sigmoid()
    """
    return last_layer(model.layers[-1][1]) if is_serial(model) and model.layers else model


def is_serial(model: Layer) -> bool:
    """Whether a model is its layers one after another."""
    return model.wire is _serial
