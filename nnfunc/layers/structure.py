"""Inspection of compositions: their layers, the last layer, and whether parameters match."""

from __future__ import annotations

from collections.abc import Callable

from nnfunc._internal.validate import callable_, instance
from nnfunc.arrays import ArrayDict
from nnfunc.core.layer import Layer
from nnfunc.core.signatures import check_parameters
from nnfunc.core.wiring import FROZEN, located
from nnfunc.layers.combinators import serial
from nnfunc.layout import within

__all__ = ["map_layers"]


def map_layers(function: Callable[[str, Layer], Layer], model: Layer, path: str = "") -> Layer:
    """Replaces each layer that is not a composition by `function(path, layer)`.

    >>> doubled = map_layers(lambda path, layer: nn.dense(2 * layer.settings["units"]), nn.serial(nn.dense(3)))
    >>> doubled.layers[0][1].settings["units"]
    6
    """
    instance(model, Layer, "model"), instance(path, str, "path")
    if model.wire is None:
        callable_(function, "function", "(path, layer) -> layer")
        return instance(function(path, model), Layer, "the function's result")
    prefix = within(path)
    layers = tuple((name, map_layers(function, layer, prefix + name)) for name, layer in model.layers)
    return model._replace(layers=layers)


def kernels(model: Layer, path: str = "") -> list[tuple[str, Layer]]:
    """Returns all layers that are not compositions, with their paths.

    >>> kernels(nn.serial(nn.dense(2), nn.residual(nn.relu())))
    [('dense1', dense(units=2, initializer='he', bias_initializer='zeros', bias=True)), ('residual1.relu1', relu())]
    """
    if model.wire is None:
        return [(path, model)]
    prefix = within(path)
    return [pair for name, layer in model.layers for pair in kernels(layer, prefix + name)]


def by_rows(model: Layer) -> bool:
    """Whether in prediction each output row is known to depend only on its own row of x.

    >>> by_rows(nn.mlp([2, 3, 1], ["relu", "sigmoid"])), by_rows(nn.layer(lambda p, x: (x, None), lambda p, c, dy: dy))
    (True, False)
    """
    return all(layer.kernel is not None and layer.kernel.by_rows for _, layer in kernels(model))


def check_params(model: Layer, params: ArrayDict, state: ArrayDict | None = None) -> None:
    """Raises an error if the parameters do not have the names and shapes of the model's layers.

    User-defined layers do not declare their parameters, so their arrays are not checked.

    >>> check_params(nn.serial(nn.dense(3)), nn.ArrayDict({"dense1.W": np.ones((2, 4)), "dense1.b": np.ones(4)}))
    Traceback (most recent call last):
    ValueError: dense1: the parameters do not match the model: W (2, 4), b (4,), expected W (inputs, 3) and b (3,), ...
    """
    patterns, ties = frozen_patterns(model), all_ties(model)
    shapes = {**params.layout.shapes}
    if state is not None:
        shapes |= state.group(FROZEN[:-1]).layout.shapes
    elif patterns:  # frozen arrays are not among the parameters
        return
    known: set[str] = set()
    for path, layer in kernels(model):
        prefix = within(path)
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
        raise ValueError(f"the parameters do not match the model: it has no layer for {extra}")


def last_layer(model: Layer) -> Layer:
    """Returns the layer that computes a model's outputs: the last of a series, also of a nested one.

    >>> last_layer(nn.mlp([2, 3, 1], ["relu", "sigmoid"]))
    sigmoid()
    """
    return last_layer(model.layers[-1][1]) if is_serial(model) and model.layers else model


SERIES = serial().wire
"""The wire of layers one after another."""


def is_serial(model: Layer) -> bool:
    """Whether a model is a series of layers."""
    return model.wire is SERIES


def frozen_patterns(model: Layer, path: str = "") -> list[tuple[str, str]]:
    """Returns the (prefix, pattern) pairs of everything frozen in a model."""
    prefix = within(path)
    inner = [p for name, layer in model.layers for p in frozen_patterns(layer, prefix + name)]
    return [*((prefix, pattern) for pattern in model.frozen), *inner]


def all_ties(model: Layer, path: str = "") -> dict[str, tuple[str, bool]]:
    """Returns for each tied array in a model its target, and whether it is transposed."""
    prefix = within(path)
    found = {prefix + t.name: (prefix + t.to, t.transposed) for t in model.ties}
    for name, layer in model.layers:
        found |= all_ties(layer, prefix + name)
    return found
