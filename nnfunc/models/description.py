"""Models as JSON: the constructors of a model's built-in layers, with their arguments.

    {"serial": {"layers": [{"dense": {"units": 16, "initializer": "he", ...}}, {"relu": {}}]}}

The arguments are the settings of a layer. Named layers of a composition are listed under "names"; "tie" and "freeze"
wrap a model with ties and frozen parts. Rebuilding calls only exports of `nnfunc.layers` and `INITIALIZERS`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias, TypeVar

from nnfunc import layers
from nnfunc._internal.validate import nearest
from nnfunc.core.layer import Layer
from nnfunc.initializers import INITIALIZERS
from nnfunc.layers.combinators import named
from nnfunc.layers.parts import freeze, tie

T = TypeVar("T")

Description: TypeAlias = dict[str, dict[str, Any]]
"""{name: arguments}, of JSON types."""

NOT_CONSTRUCTORS = {"layer", "wired", "map_layers", "mlp", "freeze", "unfreeze", "tie", "swish"}


def constructors() -> dict[str, Callable[..., Layer]]:
    """The constructors of the built-in layers, by layer name (`mlp` returns a `serial`)."""
    return {
        name: getattr(layers, name) for name in layers.__all__ if name[0].islower() and name not in NOT_CONSTRUCTORS
    } | {
        "swish": layers.silu,
        "linear": layers.identity,
    }


def is_built_in(layer: Layer) -> bool:
    """Whether a layer (or a composition, ignoring its layers) is what the built-in constructor of its name returns."""
    make = constructors().get(layer.name)
    if make is None:
        return False
    try:
        made = _made(make, [part for _, part in layer.layers], dict(layer.settings))
    except (TypeError, ValueError):  # a layer of another kind under this name
        return False
    return made.kernel == layer.kernel and made.wire == layer.wire and made.settings == layer.settings


def _made(
    make: Callable[..., Layer], inner: list[Layer], settings: dict[str, Any], names: dict[str, Layer] | None = None
) -> Layer:
    """Calls a constructor; a setting may hold its variadic arguments, like the lengths of a shape."""
    several = [p.name for p in inspect.signature(make).parameters.values() if p.kind is p.VAR_POSITIONAL]
    spread = [n for k in several if k in settings for n in settings.pop(k)]
    return make(*inner, *spread, **settings, **(names or {}))


def describe(model: Layer) -> Description:
    """Returns the description of a model of built-in layers.

    Raises:
        ValueError: user-defined layers or initializers; the message lists them.

    >>> describe(nn.serial(nn.dropout(0.5), nn.relu()))
    {'serial': {'layers': [{'dropout': {'keep_prob': 0.5}}, {'relu': {}}]}}
    """
    own: list[str] = []
    description = _described(model, "", own)
    if own:
        raise ValueError(
            f"model contains parts that are not built in and cannot be saved: {', '.join(own)}. Save without model=, "
            "create the model in code, and pass it to nn.load(path, model=model)"
        )
    return description


def build(description: object) -> Layer:
    """Builds the model of a description.

    Raises:
        ValueError: not a description, an unknown name, or an argument out of range.
        TypeError: missing or unexpected arguments.

    >>> build({"serial": {"layers": [{"dropout": {"keep_prob": 0.5}}, {"relu": {}}]}})
    serial(dropout(keep_prob=0.5), relu())
    """
    name, arguments = _one(description, "layer")
    if name == "freeze":
        return freeze(build(arguments["model"]), [str(p) for p in arguments["where"]])
    if name == "tie":
        return tie(build(arguments["model"]), arguments["name"], arguments["to"], bool(arguments["transpose"]))
    known = constructors()
    if name not in known:
        raise ValueError(nearest("layer", name, known))
    inner, names = arguments.pop("layers", ()), arguments.pop("names", {})
    if not isinstance(inner, (list, tuple)) or not isinstance(names, dict):
        raise ValueError(f"layers={inner!r}, names={names!r}: expected a list and a dict")
    values = {k: _initializer(v) if isinstance(v, dict) else v for k, v in arguments.items()}
    return _made(known[name], [build(part) for part in inner], values, {k: build(v) for k, v in names.items()})


def _described(layer: Layer, path: str, own: list[str]) -> Description:
    """The description of a layer; parts that have none are appended to `own`."""
    if layer.frozen:
        bare = layer._replace(frozen=())
        return {"freeze": {"where": list(layer.frozen), "model": _described(bare, path, own)}}
    if layer.ties:
        *others, last = layer.ties
        bare = layer._replace(ties=tuple(others))
        described = _described(bare, path, own)
        return {"tie": {"name": last.name, "to": last.to, "transpose": last.transposed, "model": described}}
    noted = len(own)
    arguments: dict[str, Any] = {}
    if layer.kernel is not None and layer.kernel.named:
        own.append(path or layer.name)
        return {layer.name: arguments}
    for name, value in layer.settings.items():
        arguments[name] = value if _plain(value) else _described_initializer(value)
        if arguments[name] is None and value is not None:
            own.append(f"{path or layer.name} ({name}={getattr(value, '__name__', repr(value))})")
    if layer.layers or layer.wire is not None:
        automatic = [name for name, _ in named([part for _, part in layer.layers], {})]
        inner = [(name, _described(part, f"{path}.{name}".lstrip("."), own)) for name, part in layer.layers]
        first = next((i for i, (name, _) in enumerate(inner) if name != automatic[i]), len(inner))
        if inner or layer.name == "serial":
            arguments["layers"] = [described for _, described in inner[:first]]
        if inner[first:]:
            arguments["names"] = dict(inner[first:])
    if len(own) == noted and not is_built_in(layer):
        own.append(path or layer.name)
    return {layer.name: arguments}


def _described_initializer(value: object) -> Description | None:
    function, keywords = (value.func, value.keywords) if isinstance(value, partial) else (value, {})
    names = [name for name, known in INITIALIZERS.items() if known is function]
    return {names[0]: keywords} if names and all(map(_plain, keywords.values())) else None


def _initializer(description: object) -> Callable[..., object]:
    name, keywords = _one(description, "initializer")
    if name not in INITIALIZERS:
        raise ValueError(nearest("initializer", name, INITIALIZERS))
    function = INITIALIZERS[name]
    unknown = keywords.keys() - inspect.getfullargspec(function).kwonlyargs
    if unknown:
        raise TypeError(f"{function.__name__} got unexpected arguments {', '.join(sorted(unknown))}")
    return partial(function, **keywords) if keywords else function


def _plain(value: object) -> bool:
    """Whether JSON can represent the value: a NumPy scalar cannot, since it would be loaded as another type."""
    if type(value) is tuple:
        return all(type(n) in (int, tuple) and _plain(n) for n in value)
    return value is None or type(value) in (bool, int, float, str)


def _one(description: object, kind: str) -> tuple[str, dict[str, Any]]:
    if isinstance(description, dict) and len(description) == 1:
        [(name, arguments)] = description.items()
        if isinstance(arguments, dict):
            return str(name), dict(arguments)
    raise ValueError(f"{description!r} does not describe a {kind}: expected {{name: {{argument: value}}}}")
