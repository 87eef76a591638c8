"""The table of a model's layers."""

from __future__ import annotations

from functools import partial
from typing import TextIO

import numpy as np

from nnfunc.arrays import Array, ArrayDict
from nnfunc.keys import Keys, key
from nnfunc.layers.base import Cache, Layer, Shape
from nnfunc.layers.combinators import map_layers


def summary(model: Layer, input_shape: Shape, file: TextIO | None = None) -> None:
    """Prints each layer's name, output shape and number of parameters, and the total.

    Args:
        model: a layer or a composition.
        input_shape: the shape of one example, like (64,).
        file: where to print; None: the screen.

    >>> nn.summary(nn.mlp([2, 3, 1], ["relu", "sigmoid"]), (2,))
    layer     output shape  parameters
    ----------------------------------
    dense1    (3,)                   9
    relu1     (3,)                   0
    dense2    (1,)                   4
    sigmoid1  (1,)                   0
    ----------------------------------
    total                           13
    """
    params, state = model.init(key(0), input_shape)
    seen: list[tuple[str, Shape, int]] = []

    def observed(path: str, layer: Layer) -> Layer:
        return layer._replace(forward=partial(_observed, layer=layer, path=path or layer.name, seen=seen))

    map_layers(observed, model).forward(params, state, np.zeros((1, *input_shape), params.dtype))
    rows = [(name, str(shape), f"{count:,}") for name, shape, count in seen]
    rows = [("layer", "output shape", "parameters"), *rows, ("total", "", f"{params.size:,}")]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [f"{name:{widths[0]}}  {shape:{widths[1]}}  {count:>{widths[2]}}" for name, shape, count in rows]
    rule = "-" * len(lines[0])
    print(lines[0], rule, *lines[1:-1], rule, lines[-1], sep="\n", file=file)


def _observed(
    params: ArrayDict,
    state: ArrayDict,
    x: Array,
    *,
    key: Keys | None = None,
    train: bool = False,
    layer: Layer,
    path: str,
    seen: list[tuple[str, Shape, int]],
) -> tuple[Array, Cache, ArrayDict]:
    y, cache, state = layer.forward(params, state, x, key=key, train=train)
    seen.append((path, y.shape[1:], params.size))
    return y, cache, state
