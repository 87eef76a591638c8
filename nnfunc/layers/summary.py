"""The table of a model's layers."""

from __future__ import annotations

from typing import TextIO

import numpy as np

from nnfunc.keys import key
from nnfunc.layers.base import Layer, Shape
from nnfunc.layers.observe import observe


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
    observed = observe(model)
    observed.model.forward(params, state, np.zeros((1, *input_shape), params.dtype))
    rows = [(path, str(y.shape[1:]), f"{own.size:,}") for path, _, own, _, y in observed.forwards]
    rows = [("layer", "output shape", "parameters"), *rows, ("total", "", f"{params.size:,}")]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [f"{name:{widths[0]}}  {shape:{widths[1]}}  {count:>{widths[2]}}" for name, shape, count in rows]
    rule = "-" * len(lines[0])
    print(lines[0], rule, *lines[1:-1], rule, lines[-1], sep="\n", file=file)
