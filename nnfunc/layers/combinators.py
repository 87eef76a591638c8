"""Compositions: short wires that call layers on values.

The layers of a composition are named by kind and count, "dense1", "relu1", "dense2", or by keyword. The arrays of the
layer "dense1" are the group "dense1" of the composition's parameters ("dense1.W"); compositions nest, and so do the
names ("residual1.dense1.W").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from nnfunc._internal.validate import flag, number, positive_int
from nnfunc.core.custom import check_layer, check_name
from nnfunc.core.layer import Layer, make
from nnfunc.core.settings import Settings
from nnfunc.core.values import Value
from nnfunc.core.wiring import FROZEN, Call
from nnfunc.initializers import Initializer
from nnfunc.layers.activations import activation
from nnfunc.layers.affine import dense
from nnfunc.layers.joining import add
from nnfunc.layers.normalization import batch_norm as normalization  # `mlp` has an argument of that name
from nnfunc.layers.reshaping import stack_steps, unstack_steps, zeros_of
from nnfunc.layers.stochastic import dropout

__all__ = ["branch", "mlp", "parallel", "residual", "scan", "serial", "shared"]

# Each combinator is a constructor, which names its layers, and its wire.


def named(layers: Sequence[Layer], names: Mapping[str, Layer]) -> tuple[tuple[str, Layer], ...]:
    """Returns the layers with their names: kind and count, or the given name."""
    count: Counter[str] = Counter()
    pairs = []
    for layer in layers:
        check_layer(layer)
        count[layer.name] += 1
        pairs.append((f"{layer.name}{count[layer.name]}", layer))
    pairs += [(name, check_layer(layer)) for name, layer in names.items()]
    for name in names:
        check_name(name)
    if FROZEN[:-1] in dict(pairs):
        raise ValueError(
            "a layer is named 'frozen', which is reserved for frozen arrays in the state: choose another name"
        )
    if len(dict(pairs)) != len(pairs):
        raise ValueError(
            f"two layers have the same name: {', '.join(name for name, _ in pairs)}; names should not end with a digit"
        )
    return tuple(pairs)


def serial(*layers: Layer, **names: Layer) -> Layer:
    """One layer after another: y = fₙ(… f₂(f₁(x))).

    Args:
        layers: the layers in the order of the data; each is named by its kind and count ("dense1", "relu1", "dense2").
        names: further layers, after these, with your own names: `serial(encoder=f, decoder=g)`.
    Raises:
        TypeError: an argument that is not a layer.

    x is cast to the dtype of the parameters on entry. `backward(..., need_dx=False)` skips the gradient of x,
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
    """x + f(x), where f is the layers in series and f(x) must have the shape of x (He et al., CVPR 2016).

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
            f"the layers turn an example {x.shape} into {y.shape}: a residual adds them, so the shapes must be equal"
        )
    return call(add(), (x, y))


def parallel(*layers: Layer, **names: Layer) -> Layer:
    """(x₁, x₂, …) → (f₁(x₁), f₂(x₂), …): one layer per input.

    Args:
        layers, names: as in `serial`.

    >>> model = nn.serial(nn.parallel(image=nn.flatten(), table=nn.dense(8)), nn.concatenate(), nn.dense(3))
    >>> params, state = model.init(nn.key(0), ((8, 8), (5,)))
    >>> params.layout.shapes
    {'parallel1.table.W': (5, 8), 'parallel1.table.b': (8,), 'dense1.W': (72, 3), 'dense1.b': (3,)}
    """
    return make("parallel", layers=named(layers, names), wire=_parallel)


def _parallel(call: Call, x: Value) -> Value:
    return tuple(map(call, call.layers, call.parts(x, len(call.layers))))


def branch(*layers: Layer, **names: Layer) -> Layer:
    """x → (f₁(x), f₂(x), …): several layers on the same input.

    Args:
        layers, names: as in `serial`.

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
    """(x₁, x₂, …) → (f(x₁), f(x₂), …): the same layer, with shared parameters, on each input. Gradients add.

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
        cell: a layer that maps the pair (xₜ, h) to the next h, of length `units`.
        units: the length of h.
    Returns:
        a layer that outputs h at every step. Its parameters are those of the cell; their gradients add over time.

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
            raise ValueError(f"the cell returned h of shape {came}, expected {call.settings['units']} units")
        hs.append(h)
    return call(stack_steps(), tuple(hs))


def mlp(
    layer_dims: Sequence[int],
    activations: Sequence[str | Layer],
    keep_prob: float | Sequence[float] = 1.0,
    initializer: Initializer = "he",
    batch_norm: bool = False,
) -> Layer:
    """A multi-layer perceptron: per layer dense, batch norm (optional), activation, dropout.

    Args:
        layer_dims: [features, units, ..., outputs], one more than the number of layers.
        activations: a name or a layer for each layer.
        keep_prob: the probability of keeping an output of a hidden layer, a single value or one per hidden layer. The
            output layer has no dropout, nor do layers with a value of 1.
        initializer: the initializer of the weights.
        batch_norm: whether the hidden layers have batch normalisation, between dense and activation.
    Raises:
        ValueError: mismatched lengths, an unknown activation or initializer, a keep_prob outside (0, 1].

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
        raise ValueError(f"activations={activations!r}: expected one per layer, {len(layer_dims) - 1} for {count}")
    if len(layer_dims) < 2:
        raise ValueError(f"layer_dims={layer_dims!r}: expected the number of features and the units of each layer")
    hidden = len(layer_dims) - 2
    keep = list(keep_prob) if isinstance(keep_prob, Sequence) else [keep_prob] * hidden
    for probability in [keep_prob] if not isinstance(keep_prob, Sequence) else keep:
        number(
            probability,
            "keep_prob",
            0,
            1,
            open_low=True,
            why="the probability of keeping an output, not of dropping it",
        )
    if len(keep) != hidden:
        raise ValueError(f"keep_prob={keep_prob!r}: expected one number, or {hidden}, one per hidden layer")
    layers: list[Layer] = []
    for i, (inputs, units) in enumerate(pairwise(layer_dims)):
        layers.append(dense(units, initializer, inputs=positive_int(inputs, "layer_dims")))
        if flag(batch_norm, "batch_norm") and i < hidden:
            layers.append(normalization())
        layers.append(activation(activations[i]))
        if i < hidden and keep[i] != 1:
            layers.append(dropout(keep[i]))
    return serial(*layers)
