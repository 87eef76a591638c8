"""A model that notes what goes through its layers: what the summary, the inspection and the search for NaN look at."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from nnfunc.arrays import Array, ArrayDict
from nnfunc.keys import Keys
from nnfunc.layers.base import Cache, Layer
from nnfunc.layers.combinators import map_layers


class Forward(NamedTuple):
    """One call of a layer's forward: the layer's path in the model, what it took and what it returned."""

    path: str
    layer: Layer
    params: ArrayDict
    x: Array
    y: Array


class Backward(NamedTuple):
    """One call of a layer's backward: the gradient of its output, of its input (if asked for), of its parameters."""

    path: str
    dy: Array
    dx: Array | None
    grads: dict[str, Array]


class Observed(NamedTuple):
    """A model like another one, and the calls of its layers, the first one first, which grow as it is called."""

    model: Layer
    forwards: list[Forward]
    backwards: list[Backward]


def observe(model: Layer) -> Observed:
    """A model that computes the same and notes each call of a layer that is no composition.

    >>> model = nn.serial(nn.dense(3), nn.relu())
    >>> params, state = model.init(nn.key(0), (2,))
    >>> observed = observe(model)
    >>> y, cache, state = observed.model.forward(params, state, np.ones((5, 2)))
    >>> [(call.path, call.y.shape) for call in observed.forwards]
    [('dense1', (5, 3)), ('relu1', (5, 3))]
    """
    forwards: list[Forward] = []
    backwards: list[Backward] = []

    def observed(path: str, layer: Layer) -> Layer:
        path = path or layer.name
        return layer._replace(
            forward=partial(_forward, layer=layer, path=path, seen=forwards),
            backward=partial(_backward, layer=layer, path=path, seen=backwards),
        )

    return Observed(map_layers(observed, model), forwards, backwards)


def _forward(
    params: ArrayDict,
    state: ArrayDict,
    x: Array,
    *,
    key: Keys | None = None,
    train: bool = False,
    layer: Layer,
    path: str,
    seen: list[Forward],
) -> tuple[Array, Cache, ArrayDict]:
    y, cache, state = layer.forward(params, state, x, key=key, train=train)
    seen.append(Forward(path, layer, params, x, y))
    return y, cache, state


def _backward(
    params: ArrayDict,
    cache: Cache,
    dy: Array,
    *,
    need_dx: bool = True,
    out: ArrayDict | None = None,
    layer: Layer,
    path: str,
    seen: list[Backward],
) -> tuple[Array | None, ArrayDict]:
    dx, grads = layer.backward(params, cache, dy, need_dx=need_dx, out=out)
    seen.append(Backward(path, dy, dx, {name: g.copy() for name, g in grads.items()}))
    return dx, grads
