"""The table of a model's layers."""

from __future__ import annotations

from typing import TextIO

from nnfunc._internal.validate import instance
from nnfunc.core.build import program
from nnfunc.core.layer import Layer
from nnfunc.core.values import InputShape, taken
from nnfunc.core.wiring import FROZEN
from nnfunc.keys import key


def summary(model: Layer, input_shape: InputShape, file: TextIO | None = None) -> None:
    """Prints the name, output shape and number of parameters of each layer, and the total.

    Args:
        model: a layer or a composition.
        input_shape: the shape of one example, like (64,); a tuple of shapes for several inputs.
        file: the file to print to; None: standard output.

    A layer that is called more than once is listed once. `nn.models.program` prints every call.

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
    instance(model, Layer, "model")
    params, state = model.init(key(0), input_shape)
    called = program(model, input_shape, params, state)
    sizes = {k: v.size for k, v in (*params.items(), *state.group(FROZEN[:-1]).items())}
    rows: dict[str, tuple[str, str, str]] = {}
    counted: set[str] = set()
    frozen = 0
    for op in called.ops:
        if op.path in rows:
            continue
        own = sum(sizes[name] for name in op.full if name not in counted)
        frozen += sum(sizes[name] for name in op.full if name not in counted and name not in params)
        counted.update(op.full)
        shape = taken(called.shapes, op.y)
        rows[op.path] = op.path or op.layer.name, _short(shape), f"{own:,}"
    total = [("total", "", f"{params.size + frozen:,}")] + [("of these frozen", "", f"{frozen:,}")] * bool(frozen)
    table = [("layer", "output shape", "parameters"), *rows.values(), *total]
    widths = [max(len(row[i]) for row in table) for i in range(3)]
    lines = [f"{name:{widths[0]}}  {shape:{widths[1]}}  {count:>{widths[2]}}" for name, shape, count in table]
    rule = "-" * len(lines[0])
    print(lines[0], rule, *lines[1 : -len(total)], rule, *lines[-len(total) :], sep="\n", file=file)


def _short(shape: object) -> str:
    text = str(shape)
    return text if len(text) <= 40 or not isinstance(shape, tuple) else f"{len(shape)} × {shape[0]}"
