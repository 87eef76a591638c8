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
from nnfunc.layers.base import Layer, Shape
from nnfunc.losses import Loss

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


def layers(max_units: int = 5) -> st.SearchStrategy[Layer]:
    """Any layer for inputs of shape (examples, features), compositions included.

    >>> from hypothesis import find
    >>> find(layers(), lambda layer: layer.name == "residual").name
    'residual'
    """
    keeps_shape = st.one_of(
        activations(),
        st.builds(nn.batch_norm, st.sampled_from([1e-5, 1e-3, 0.1])),
        st.builds(nn.layer_norm, st.sampled_from([1e-5, 1e-3, 0.1])),
        st.builds(nn.dropout, st.floats(0.3, 1)),
        st.builds(nn.flatten, st.just(1)),
    )
    residual = st.lists(keeps_shape, min_size=1, max_size=2).map(lambda inner: nn.residual(*inner))
    dense = st.builds(nn.dense, st.integers(1, max_units), bias=st.booleans())
    simple = st.one_of(dense, keeps_shape)
    series = st.lists(simple, min_size=1, max_size=2).map(lambda inner: nn.serial(*inner))
    return st.one_of(dense, keeps_shape, residual, series)


class Network(NamedTuple):
    """A whole network at one point: everything that `nn.check_model` takes.

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
    x: Array
    loss: Loss
    target: NDArray[Any]

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of `nn.check_model`."""
        return {"state": self.state, "loss": self.loss, "target": self.target}


Head = tuple[Callable[[], Layer], Loss, str]

HEADS: tuple[Head, ...] = (
    (nn.identity, nn.mean_squared_error, "reals"),
    (nn.identity, nn.mean_absolute_error, "reals"),
    (nn.identity, nn.huber(0.75), "reals"),
    (nn.sigmoid, nn.binary_cross_entropy, "bits"),
    (nn.identity, nn.binary_cross_entropy_with_logits, "bits"),
    (nn.softmax, nn.categorical_cross_entropy, "one-hot"),
    (nn.identity, nn.categorical_cross_entropy_with_logits, "one-hot"),
    (nn.softmax, nn.sparse_categorical_cross_entropy, "classes"),
    (nn.identity, nn.sparse_categorical_cross_entropy_with_logits, "classes"),
)
"""Last layers with the losses that take their outputs, and the kind of targets that these take."""


@st.composite
def networks(draw: st.DrawFn, max_layers: int = 4, max_units: int = 5) -> Network:
    """Random networks: layers, parameters away from zeros and ones, a batch on the grid of kinks or off it, a loss.

    >>> from hypothesis import find
    >>> network = find(networks(), lambda network: len(network.model.layers) > 2)
    >>> nn.check_model(network.model, network.params, network.x, **network.arguments).ok
    True
    """
    features, m, outputs = draw(st.integers(1, max_units)), draw(st.integers(1, 6)), draw(st.integers(1, 4))
    head, loss, kind = draw(st.sampled_from(HEADS))
    hidden = draw(st.lists(layers(max_units), min_size=0, max_size=max_layers))
    model = nn.serial(*hidden, nn.dense(outputs), head())
    seed = draw(st.integers(0, 2**32))
    params, state = model.init(nn.key(seed), (features,), np.float64)
    rng = np.random.default_rng(seed)
    spread = draw(st.sampled_from([0.3, 0.3, 1.0]))
    params = params.with_vector(params.vector + spread * rng.normal(size=params.vector.shape))
    x = draw(arrays((m, features))) if draw(st.booleans()) else rng.normal(size=(m, features))
    return Network(model, params, state, x, loss, _target(kind, m, outputs, rng))


def _target(kind: str, m: int, outputs: int, rng: np.random.Generator) -> NDArray[Any]:
    if kind == "reals":
        return np.round(rng.normal(size=(m, outputs)) * 4) / 4
    if kind == "bits":
        return rng.integers(0, 2, size=(m, outputs)).astype(float)
    classes = rng.integers(0, outputs, size=m)
    return np.eye(outputs)[classes] if kind == "one-hot" else classes
