"""Settings: the arguments that define a layer, a loss, an optimizer or a penalty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np


class Settings(Mapping[str, Any]):
    """An immutable dict of arguments, compared by value, including arrays and partial functions.

    >>> Settings(units=3) == Settings(units=3), Settings(units=3)["units"]
    (True, 3)
    """

    __slots__ = ("_items", "floats")

    def __init__(self, **settings: Any) -> None:
        self._items = settings
        self.floats: bool = all(type(value) is float for value in settings.values())
        """Whether all values are plain floats, so that nothing needs resolving."""

    def __getitem__(self, name: str) -> Any:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Settings) and comparable(self._items) == comparable(other._items)

    def __hash__(self) -> int:
        return hash(tuple(self._items))

    def __repr__(self) -> str:
        return f"Settings({arguments(self)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _settings, (self._items,)


def _settings(items: dict[str, Any]) -> Settings:
    return Settings(**items)


NO_SETTINGS = Settings()


def comparable(value: Any) -> Any:
    """Returns a stand-in that compares by content: arrays by their elements, partial functions by their parts."""
    if isinstance(value, np.ndarray):
        return "array", value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, partial):
        return "partial", comparable(value.func), comparable(value.args), comparable(value.keywords)
    if isinstance(value, dict):
        return {k: comparable(v) for k, v in value.items()}
    return [comparable(v) for v in value] if type(value) in (tuple, list) else value


def shown(value: Any) -> str:
    """Formats an argument for printing: functions by name, so that no address appears.

    >>> shown(max), shown(partial(int, base=2)), shown(0.5)
    ('max', 'int(base=2)', '0.5')
    """
    if type(value) is partial:
        given = [*map(shown, value.args), *(f"{k}={shown(v)}" for k, v in value.keywords.items())]
        return f"{shown(value.func)}({', '.join(given)})"
    if type(value) is dict:
        return "{" + ", ".join(f"{k!r}: {shown(v)}" for k, v in value.items()) + "}"
    if type(value) in (tuple, list) and any(map(callable, value)):
        return f"[{', '.join(map(shown, value))}]"
    if callable(value) and not isinstance(value, (tuple, partial)):
        return str(getattr(value, "__name__", type(value).__name__))
    return repr(value)


def arguments(settings: Mapping[str, Any]) -> str:
    """Formats the arguments of a call, omitting those that are None.

    >>> arguments({"units": 3, "inputs": None})
    'units=3'
    """
    return ", ".join(f"{k}={shown(v)}" for k, v in settings.items() if v is not None)
