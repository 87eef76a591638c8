"""Hypothesis strategies: shapes, arrays, cotangents, layers, whole random networks with data and a loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as numpy_arrays
from numpy.typing import DTypeLike, NDArray

import nnfunc as nn
from nnfunc.arrays import Array, ArrayDict
from nnfunc.core.layer import Layer
from nnfunc.core.values import Shapes, Value
from nnfunc.layout import Shape
from nnfunc.losses import Loss, combined

elements = st.one_of(st.integers(-12, 12).map(lambda i: i / 4), st.floats(-3, 3))
"""Values that hit kinks (0, ±0.75) and ties exactly and often, and any others in [−3, 3]."""


def shapes(min_dims: int = 1, max_dims: int = 3, max_side: int = 4) -> st.SearchStrategy[Shape]:
    """Shapes of small arrays.

    >>> from hypothesis import find
    >>> find(shapes(2, 2), lambda shape: shape[0] > 2)
    (3, 1)
    """
    return st.lists(st.integers(1, max_side), min_size=min_dims, max_size=max_dims).map(tuple)


def arrays(shape: Shape, dtype: DTypeLike = np.float64) -> st.SearchStrategy[Array]:
    """Arrays of moderate values, among them exact zeros and ties.

    >>> from hypothesis import find
    >>> find(arrays((2,)), lambda a: a.sum() > 2).shape
    (2,)
    """
    return numpy_arrays(np.float64, shape, elements=elements).map(lambda a: a.astype(dtype))


def cotangents(shape: Shape) -> st.SearchStrategy[Array]:
    """Output gradients that differ from element to element: a uniform one would hide a missing sum.

    >>> from hypothesis import find
    >>> dy = find(cotangents((2, 3)), lambda dy: True)
    >>> len(np.unique(dy))
    6
    """
    return st.integers(0, 2**32).map(lambda seed: np.random.default_rng(seed).normal(size=shape))


def activations() -> st.SearchStrategy[Layer]:
    """Elementwise activations and softmax, with their hyperparameters.

    >>> from hypothesis import find
    >>> find(activations(), lambda layer: layer.name == "elu").name
    'elu'
    """
    plain = [nn.identity, nn.relu, nn.selu, nn.sigmoid, nn.silu, nn.softmax, nn.softplus, nn.tanh]
    return st.one_of(
        st.sampled_from(plain).map(lambda make: make()),
        st.builds(nn.elu, st.floats(0, 3)),
        st.builds(nn.gelu, st.booleans()),
        st.builds(nn.leaky_relu, st.floats(0, 1)),
    )


def layers(max_units: int = 5, depth: int = 1) -> st.SearchStrategy[Layer]:
    """Any layer for inputs of shape (examples, features), compositions included.

    Args:
        max_units: the largest number of outputs of a dense layer.
        depth: how deep compositions of several paths nest.

    >>> from hypothesis import find
    >>> find(layers(), lambda layer: layer.name == "residual").name
    'residual'
    """
    simple = st.one_of(_dense(max_units), _keeps_shape())
    return st.one_of(simple, residuals(), series(max_units), *([graph_layers(max_units, depth)] if depth else []))


def _dense(max_units: int) -> st.SearchStrategy[Layer]:
    return st.builds(nn.dense, st.integers(1, max_units), bias=st.booleans())


def _keeps_shape() -> st.SearchStrategy[Layer]:
    return st.one_of(
        activations(),
        st.builds(nn.batch_norm, st.sampled_from([1e-5, 1e-3, 0.1])),
        st.builds(nn.layer_norm, st.sampled_from([1e-5, 1e-3, 0.1])),
        st.builds(nn.rms_norm, st.sampled_from([1e-5, 1e-3, 0.1])),
        st.builds(nn.dropout, st.floats(0.3, 1)),
        st.builds(nn.flatten, st.just(1)),
    )


def residuals() -> st.SearchStrategy[Layer]:
    """Residual layers around one or two shape-preserving layers.

    >>> from hypothesis import find
    >>> find(residuals(), lambda layer: len(layer.layers) == 2).name
    'residual'
    """
    return st.lists(_keeps_shape(), min_size=1, max_size=2).map(lambda inner: nn.residual(*inner))


def series(max_units: int = 5) -> st.SearchStrategy[Layer]:
    """One or two simple layers in series.

    >>> from hypothesis import find
    >>> find(series(), lambda layer: len(layer.layers) == 2).name
    'serial'
    """
    simple = st.one_of(_dense(max_units), _keeps_shape())
    return st.lists(simple, min_size=1, max_size=2).map(lambda inner: nn.serial(*inner))


JOINS: tuple[Callable[[], Layer], ...] = (nn.concatenate, nn.add, nn.subtract, nn.multiply)


@st.composite
def graph_layers(draw: st.DrawFn, max_units: int = 5, depth: int = 1) -> Layer:
    """Layers with several paths for inputs of shape (examples, features): joined branches, a layer used twice, one of
    two branches selected, a sample, a scan over time, a custom wiring, nested up to `depth`.

    >>> from hypothesis import find
    >>> [name for name, _ in find(graph_layers(), lambda layer: "scan" in repr(layer)).layers]
    ['dense1', 'reshape1', 'scan1', 'flatten1']
    """
    units = draw(st.integers(1, max_units))

    def path() -> Layer:
        """A layer whose output has `units` features."""
        inner = draw(layers(max_units, depth - 1))
        return nn.serial(inner, nn.dense(units)) if draw(st.booleans()) else nn.serial(nn.dense(units), draw(_smooth()))

    kind = draw(st.sampled_from(["join", "shared", "take", "residual", "sample", "scan", "gate"]))
    if kind == "join":
        return nn.serial(nn.branch(path(), path()), draw(st.sampled_from(JOINS))())
    if kind == "shared":
        return nn.serial(nn.branch(nn.identity(), draw(_smooth())), nn.shared(path()), draw(st.sampled_from(JOINS))())
    if kind == "take":
        return nn.serial(nn.branch(path(), draw(layers(max_units, depth - 1))), nn.take(0))
    if kind == "residual":
        return nn.serial(nn.dense(units), nn.residual(nn.branch(path(), path()), nn.multiply()))
    if kind == "sample":
        logvar = nn.serial(nn.dense(units), nn.tanh())
        return nn.serial(nn.branch(mu=path(), logvar=logvar), nn.reparametrize())
    if kind == "scan":
        steps, features = draw(st.integers(1, 3)), draw(st.integers(1, 2))
        cell = nn.serial(nn.concatenate(), nn.dense(units), nn.tanh())
        return nn.serial(
            nn.dense(steps * features), nn.reshape(steps, features), nn.scan(cell, units), nn.flatten(axes=2)
        )
    return nn.wired(gate, {"f": path(), "g": path()}, name="gate")


def _smooth() -> st.SearchStrategy[Layer]:
    return st.sampled_from([nn.tanh, nn.sigmoid, nn.softplus]).map(lambda make: make())


def gate(call: Callable[..., Value], x: Value) -> Value:
    """A wire: tanh(f(x)) · σ(g(x)).

    >>> nn.wired(gate, {"f": nn.dense(1), "g": nn.dense(1)}, name="gate").name
    'gate'
    """
    return call(nn.multiply(), (call(nn.tanh(), call("f", x)), call(nn.sigmoid(), call("g", x))))


class Network(NamedTuple):
    """A whole network at one point, with all arguments of `nn.check_model`.

    >>> from hypothesis import given, settings
    >>> @settings(max_examples=3, deadline=None)
    ... @given(networks())
    ... def test_gradients(network):
    ...     nn.check_model(network.model, network.params, network.x, **network.arguments).assert_ok()
    >>> test_gradients()
    """

    model: Layer
    params: ArrayDict
    state: ArrayDict
    x: Value
    loss: Loss
    target: Value

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of `nn.check_model`."""
        return {"state": self.state, "loss": self.loss, "target": self.target}


Head = tuple[Callable[[], Layer], Loss, str]

HEADS: tuple[Head, ...] = (
    (nn.identity, nn.mean_squared_error, "reals"),
    (nn.identity, nn.mean_absolute_error, "reals"),
    (nn.identity, nn.huber(0.75), "reals"),
    (nn.identity, nn.losses.log_cosh, "reals"),
    (nn.identity, nn.losses.quantile(0.9), "reals"),
    (nn.identity, nn.losses.hinge, "bits"),
    (nn.sigmoid, nn.binary_cross_entropy, "bits"),
    (nn.identity, nn.binary_cross_entropy_with_logits, "bits"),
    (nn.softmax, nn.categorical_cross_entropy, "one-hot"),
    (nn.identity, nn.categorical_cross_entropy_with_logits, "one-hot"),
    (nn.softmax, nn.sparse_categorical_cross_entropy, "classes"),
    (nn.identity, nn.sparse_categorical_cross_entropy_with_logits, "classes"),
)
"""Output layers with matching losses, and the kind of targets."""


@st.composite
def networks(draw: st.DrawFn, max_layers: int = 4, max_units: int = 5, depth: int = 0) -> Network:
    """Random networks: layers, parameters away from zeros and ones, a batch on or off the grid of kinks, a loss.

    With `depth` > 0, some layers have several paths; see `graphs` for networks with several inputs and outputs.

    >>> from hypothesis import given, settings
    >>> @settings(max_examples=2, deadline=None)
    ... @given(networks())
    ... def test_predictions_are_finite(network):
    ...     assert np.isfinite(network.model.forward(network.params, network.state, network.x)[0]).all()
    >>> test_predictions_are_finite()
    """
    features, m, outputs = draw(st.integers(1, max_units)), draw(st.integers(1, 6)), draw(st.integers(1, 4))
    head, loss, kind = draw(st.sampled_from(HEADS))
    hidden = draw(st.lists(layers(max_units, depth), min_size=0, max_size=max_layers))
    model = nn.serial(*hidden, nn.dense(outputs), head())
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    params, state = _initial(draw, model, (features,), rng)
    x = draw(arrays((m, features))) if draw(st.booleans()) else rng.normal(size=(m, features))
    return Network(model, params, state, x, loss, _target(kind, m, outputs, rng))


@st.composite
def graphs(draw: st.DrawFn, max_units: int = 3, depth: int = 2) -> Network:
    """Random networks with one or more inputs, nested paths, and one or two outputs with a loss for each.

    >>> from hypothesis import given, settings
    >>> @settings(max_examples=2, deadline=None)
    ... @given(graphs())
    ... def test_initial_parameters_are_finite(network):
    ...     assert np.isfinite(network.params.vector).all()
    >>> test_initial_parameters_are_finite()
    """
    m, units = draw(st.integers(1, 4)), draw(st.integers(1, max_units))
    inner = layers(max_units, depth)
    entrance = draw(st.sampled_from(["one", "parallel", "shared"]))
    shape: Shapes = (draw(st.integers(1, max_units)),)
    before: list[Layer] = []
    if entrance == "parallel":
        shape = shape, (draw(st.integers(1, max_units)),)
        before = [nn.parallel(*(nn.serial(draw(inner), nn.dense(units)) for _ in shape))]
    elif entrance == "shared":
        shape = (shape,) * draw(st.integers(2, 3))
        before = [nn.shared(draw(inner))]
    if before:
        several = len(shape) == 2
        before.append(draw(st.sampled_from(JOINS if several else tuple(j for j in JOINS if j is not nn.subtract)))())
    heads = [(draw(st.sampled_from(HEADS)), draw(st.integers(1, 3))) for _ in range(draw(st.integers(1, 2)))]
    ends = [nn.serial(draw(inner), nn.dense(outputs), head()) for (head, _, _), outputs in heads]
    model = nn.serial(*before, nn.branch(*ends)) if len(heads) == 2 else nn.serial(*before, *ends)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    params, state = _initial(draw, model, shape, rng)
    x = tuple(rng.normal(size=(m, *s)) for s in shape) if before else rng.normal(size=(m, *shape))
    targets = tuple(_target(kind, m, outputs, rng) for (_, _, kind), outputs in heads)
    losses = [loss for (_, loss, _), _ in heads]
    if len(heads) == 1:
        return Network(model, params, state, x, losses[0], targets[0])
    return Network(model, params, state, x, combined(*losses, weights=(1.0, draw(st.floats(0.1, 2)))), targets)


def _initial(draw: st.DrawFn, model: Layer, shape: Shapes, rng: np.random.Generator) -> tuple[ArrayDict, ArrayDict]:
    """Initial parameters, moved away from zeros and ones, and the state."""
    params, state = model.init(nn.key(draw(st.integers(0, 100))), shape, np.float64)
    spread = draw(st.sampled_from([0.3, 0.3, 1.0]))
    return params.with_vector(params.vector + spread * rng.normal(size=params.vector.shape)), state


def _target(kind: str, m: int, outputs: int, rng: np.random.Generator) -> NDArray[Any]:
    if kind == "reals":
        return np.round(rng.normal(size=(m, outputs)) * 4) / 4
    if kind == "bits":
        return rng.integers(0, 2, size=(m, outputs)).astype(float)
    classes = rng.integers(0, outputs, size=m)
    return np.eye(outputs)[classes] if kind == "one-hot" else classes
