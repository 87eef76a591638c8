"""What layers, losses and optimizers have in common: they are tuples of functions, and their hyperparameters stand in
`functools.partial`s. Here these are read back, to compare two such values and to print one."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any


def hyperparameters(functions: Iterable[object]) -> dict[str, Any]:  # of any type: units, a name, a function
    """The keywords that these functions are partial in.

    >>> hyperparameters([partial(int, base=2)])
    {'base': 2}
    """
    return {k: v for f in functions if isinstance(f, partial) for k, v in f.keywords.items()}


def same(a: Iterable[object], b: Iterable[object]) -> bool:
    """Whether two values are made of the same functions with the same hyperparameters (also after pickling).

    >>> same(nn.sigmoid(), nn.sigmoid()), same(nn.dropout(0.5), nn.dropout(0.8))
    (True, False)
    """
    return [_parts(x) for x in a] == [_parts(x) for x in b]


def _parts(x: object) -> object:
    if isinstance(x, partial):
        return _parts(x.func), _parts(x.args), _parts(x.keywords)
    if isinstance(x, dict):
        return {k: _parts(v) for k, v in x.items()}
    return [_parts(v) for v in x] if isinstance(x, tuple) else x


def call(name: str, arguments: dict[str, Any], hidden: Iterable[str] = ()) -> str:
    """How a value is printed: as the call that makes it, without what is None or hidden.

    >>> call("dropout", {"keep_prob": 0.5, "f": max}, hidden=["f"])
    'dropout(keep_prob=0.5)'
    """
    shown = {k: getattr(v, "__name__", repr(v)) for k, v in arguments.items() if k not in hidden and v is not None}
    return f"{name}({', '.join(f'{k}={v}' for k, v in shown.items())})"
