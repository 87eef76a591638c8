"""Models as JSON: by which constructors, with which arguments, the built-in layers of a model are made.

    {"serial": {"layers": [{"dense": {"units": 16, "initializer": "he", ...}}, {"relu": {}}]}}

The arguments are read from a layer's value, where they stand in `functools.partial`s. That they are all of it is tried,
not trusted: a description counts only if it gives the same layer back. Rebuilding calls only what stands in
`CONSTRUCTORS` and `INITIALIZERS`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeAlias, TypeVar

from nnfunc.errors import nearest
from nnfunc.initializers import INITIALIZERS
from nnfunc.layers.activations import ACTIVATIONS
from nnfunc.layers.base import Layer
from nnfunc.layers.combinators import residual, serial
from nnfunc.layers.dense import dense
from nnfunc.layers.dropout import dropout
from nnfunc.layers.flatten import flatten
from nnfunc.layers.normalization import batch_norm, layer_norm
from nnfunc.values import hyperparameters, same

T = TypeVar("T")

Description: TypeAlias = dict[str, dict[str, object]]
"""{name: arguments}, made of what JSON has."""

CONSTRUCTORS: dict[str, Callable[..., Layer]] = {
    **ACTIVATIONS,
    "batch_norm": batch_norm,
    "dense": dense,
    "dropout": dropout,
    "flatten": flatten,
    "layer_norm": layer_norm,
    "residual": residual,
    "serial": serial,
}
"""What makes the built-in layers, by the name that these carry; `mlp` makes a `serial`."""


def describe(model: Layer) -> Description:
    """The description of a model of built-in layers.

    Raises:
        ValueError: layers or initializers of a user's own, which are named.

    >>> describe(nn.serial(nn.dropout(0.5), nn.relu()))
    {'serial': {'layers': [{'dropout': {'keep_prob': 0.5}}, {'relu': {}}]}}
    """
    own: list[str] = []
    description = _described(model, "", own)
    if own:
        raise ValueError(
            f"model contains what is not built in, so a file cannot hold it: {', '.join(own)}. Save without model=, "
            "make the model in code, and pass it to nn.load(path, model=model)"
        )
    return description


def build(description: object) -> Layer:
    """The model of a description.

    Raises:
        ValueError: no description, an unknown name, an argument outside its range.
        TypeError: arguments that are missing or unknown.

    >>> build({"serial": {"layers": [{"dropout": {"keep_prob": 0.5}}, {"relu": {}}]}})
    serial(dropout(keep_prob=0.5), relu())
    """
    make, arguments = _found(description, CONSTRUCTORS, "layer")
    layers = arguments.pop("layers", ())
    if not isinstance(layers, (list, tuple)):
        raise ValueError(f"layers={layers!r}: expected a list")
    values = {k: _initializer(v) if isinstance(v, dict) else v for k, v in arguments.items()}
    return make(*map(build, layers), **values)


def _described(layer: Layer, path: str, own: list[str]) -> Description:
    """The description of a layer; what has none is noted in `own`."""
    noted = len(own)
    make = CONSTRUCTORS.get(layer.name)
    known = inspect.signature(make).parameters if make else {}
    arguments: dict[str, object] = {}
    for name, value in hyperparameters((*layer, *(layer.kernel or ()))).items():
        if name in known and name == "layers":
            arguments[name] = [_described(inner, f"{path}.{k}".lstrip("."), own) for k, inner in layer.layers]
        elif name in known:
            arguments[name] = value if _plain(value) else _described_initializer(value)
            if arguments[name] is None and value is not None:
                own.append(f"{path or layer.name} ({name}={getattr(value, '__name__', repr(value))})")
    description = {layer.name: arguments}
    if len(own) == noted and not (make and same(build(description), layer)):
        own.append(path or layer.name)
    return description


def _described_initializer(value: object) -> Description | None:
    function, keywords = (value.func, value.keywords) if isinstance(value, partial) else (value, {})
    names = [name for name, known in INITIALIZERS.items() if known is function]
    return {names[0]: keywords} if names and all(map(_plain, keywords.values())) else None


def _initializer(description: object) -> Callable[..., object]:
    function, keywords = _found(description, INITIALIZERS, "initializer")
    unknown = keywords.keys() - inspect.getfullargspec(function).kwonlyargs
    if unknown:
        raise TypeError(f"{function.__name__} takes no {', '.join(sorted(unknown))}")
    return partial(function, **keywords) if keywords else function


def _plain(value: object) -> bool:
    """Whether JSON has the value: a NumPy number is none of these, and would come back as another."""
    return value is None or type(value) in (bool, int, float, str)


def _found(description: object, known: Mapping[str, T], kind: str) -> tuple[T, dict[str, object]]:
    if isinstance(description, dict) and len(description) == 1:
        [(name, arguments)] = description.items()
        if name not in known:
            raise ValueError(nearest(kind, name, known))
        if isinstance(arguments, dict):
            return known[name], dict(arguments)
    raise ValueError(f"{description!r} describes no {kind}: expected {{name: {{argument: value}}}}")
