"""The layout of a dict's vector: the slice of each array, groups of names, name patterns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Shape: TypeAlias = tuple[int, ...]
"""The shape of an array, or of one example."""

Patterns: TypeAlias = "str | Sequence[str]"
"""One or more name patterns, as in a shell: "*.W", "dense1.*"."""


def within(path: str) -> str:
    """The prefix of all names inside a layer; the path of the model itself is "".

    >>> within("residual1.dense1"), within("")
    ('residual1.dense1.', '')
    """
    return f"{path}." if path else ""


class Group(NamedTuple):
    """A group of arrays: its layout and its slices of the vector and of the list of arrays."""

    layout: Layout
    numbers: slice
    arrays: slice


class Layout:
    """The position of each array of a dict in its vector, and the names of the integer arrays outside it.

    Created by `layout`, which returns the same object for the same names and shapes, so that `is` compares them.
    """

    __slots__ = ("_groups", "_repeated", "entries", "integers", "names", "size", "spans")

    def __init__(self, shapes: Iterable[tuple[str, Shape]], integers: tuple[str, ...] = ()) -> None:
        entries: dict[str, tuple[int, int, Shape]] = {}
        size = 0
        for name, shape in shapes:
            stop = size + int(np.prod(shape, dtype=np.int64))
            entries[name] = size, stop, shape
            size = stop
        self.size: int = size
        self.entries: Mapping[str, tuple[int, int, Shape]] = MappingProxyType(entries)
        self.names: tuple[str, ...] = tuple(entries)
        self.spans: tuple[tuple[int, int, Shape], ...] = tuple(entries.values())
        self.integers: tuple[str, ...] = integers
        self._groups: dict[str, Group] | None = None
        self._repeated: dict[tuple[str, ...], Layout] = {}

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("_") and hasattr(self, name):
            raise AttributeError(f"{name} of a layout cannot be changed: all dicts of these names and shapes share it")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        return f"Layout of {len(self.names)} arrays: {self.size:,} numbers"

    @property
    def shapes(self) -> dict[str, Shape]:
        """The names and shapes of the float arrays, in their order in the vector."""
        return {name: shape for name, (_, _, shape) in self.entries.items()}

    @property
    def groups(self) -> Mapping[str, Group]:
        """The arrays whose names begin with `prefix.`, for each prefix."""
        if self._groups is None:
            inside: dict[str, list[int]] = {}
            counts: dict[str, list[str]] = {}
            for i, name in enumerate(self.names):
                for prefix in prefixes(name):
                    inside.setdefault(prefix, []).append(i)
            for name in self.integers:
                for prefix in prefixes(name):
                    counts.setdefault(prefix, []).append(name[len(prefix) + 1 :])
            self._groups = {p: self._group(p, inside.get(p, []), counts.get(p, [])) for p in [*inside, *counts]}
        return self._groups

    def _group(self, prefix: str, at: list[int], counts: list[str]) -> Group:
        spans = [self.spans[i] for i in at]
        inner = layout(
            tuple((self.names[i][len(prefix) + 1 :], shape) for i, (_, _, shape) in zip(at, spans, strict=True)),
            tuple(counts),
        )
        if not at:
            return Group(inner, slice(0), slice(0))
        return Group(inner, slice(spans[0][0], spans[-1][1]), slice(at[0], at[-1] + 1))

    def views(self, vector: NDArray[np.floating]) -> list[NDArray[np.floating]]:
        """The arrays as views of a vector (..., size), in the order of the names."""
        found = []
        if vector.ndim == 1:
            for start, stop, shape in self.spans:
                part = vector[start:stop]
                found.append(part if len(shape) == 1 else part.reshape(shape))
            return found
        lead = vector.shape[:-1]
        for start, stop, shape in self.spans:
            found.append(vector[..., start:stop].reshape(lead + shape))
        return found

    def slices(self, where: Patterns) -> tuple[slice, ...]:
        """The slices of the vector that contain the selected arrays, adjacent ones merged."""
        return _slices(self, patterns(where))

    def repeated(self, prefixes: tuple[str, ...]) -> Layout:
        """The layout that repeats all arrays of this one for each prefix in turn, plus the integer "step"."""
        if prefixes not in self._repeated:
            shapes = tuple((f"{p}.{k}", shape) for p in prefixes for k, shape in self.shapes.items())
            self._repeated[prefixes] = layout(shapes, ("step",))
        return self._repeated[prefixes]


@lru_cache(maxsize=4096)
def layout(shapes: tuple[tuple[str, Shape], ...], integers: tuple[str, ...] = ()) -> Layout:
    """Returns the unique layout of these names and shapes, in this order."""
    return Layout(shapes, integers)


@lru_cache(maxsize=1024)
def _slices(where: Layout, patterns: str | tuple[str, ...]) -> tuple[slice, ...]:
    merged: list[slice] = []
    for start, stop, _ in (where.entries[name] for name in matching(where.entries, patterns)):
        if merged and merged[-1].stop == start:
            start = merged.pop().start
        merged.append(slice(start, stop))
    return tuple(merged)


def prefixes(name: str) -> list[str]:
    """The part of a name before each of its dots.

    >>> prefixes("residual1.dense1.W")
    ['residual1', 'residual1.dense1']
    """
    return [name[:i] for i, letter in enumerate(name) if letter == "."]


def matches(name: str, where: Patterns) -> bool:
    """Whether a name equals or matches one of the patterns.

    >>> matches("dense1.W", "*.W"), matches("W[0]", "W[0]")
    (True, True)
    """
    return any(name == p or fnmatchcase(name, p) for p in ([where] if isinstance(where, str) else where))


def patterns(where: Patterns) -> str | tuple[str, ...]:
    """Returns `where` if it is one or more patterns; an iterable is consumed once."""
    several: str | tuple[str, ...] = where if isinstance(where, str) else ()
    if isinstance(where, Iterable) and not isinstance(where, str):
        with suppress(TypeError):  # of an array without axes
            several = tuple(where)
    if not several or not (isinstance(several, str) or all(isinstance(pattern, str) for pattern in several)):
        raise ValueError(f"where={where!r}: expected one or more name patterns, like '*.W'")
    return several


def matching(names: Iterable[str], where: Patterns) -> list[str]:
    """The names that match one of the patterns.

    Raises:
        ValueError: a pattern matches no name, because it is almost certainly a typo.
    """
    names, where = list(names), patterns(where)
    for pattern in [where] if isinstance(where, str) else where:
        if not any(matches(name, pattern) for name in names):
            raise ValueError(f"the pattern {pattern!r} does not match any name: {', '.join(names) or '(no arrays)'}")
    return [name for name in names if matches(name, where)]


def grouped(names: Iterable[str]) -> list[str]:
    """Reorders names so that those of a group are contiguous, at the group's first appearance.

    >>> grouped(["a.W", "b.W", "a.b"])
    ['a.W', 'a.b', 'b.W']
    """
    rank: dict[str, int] = {}
    parts = {name: [name[: i + 1] for i, c in enumerate(name) if c == "."] + [name] for name in names}
    for own in parts.values():
        for part in own:
            rank.setdefault(part, len(rank))
    return sorted(parts, key=lambda name: [rank[part] for part in parts[name]])
