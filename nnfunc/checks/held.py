"""The arrays, numbers and random generators that functions use besides their arguments: in closures, partial
arguments, objects and globals. They are named in messages ("12 is len(x)") and watched for modifications."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

DEPTH = 4
LARGEST = 50_000_000
"""The largest number of elements that a snapshot copies."""


def held(functions: Iterable[Callable[..., Any]]) -> dict[str, object]:
    """The arrays, numbers and generators that functions use, by their names there.

    >>> x, rate = np.zeros((12, 3)), 0.5
    >>> sorted(held([partial(np.dot, x), lambda: None]))
    ['argument 0']
    """
    found: dict[str, object] = {}
    seen: set[int] = set()
    for function in functions:
        for name, value in _parts(function, DEPTH, seen):
            found.setdefault(name, value)
    return found


def _parts(value: object, depth: int, seen: set[int], name: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, (np.ndarray, np.generic, int, float, np.random.Generator, np.random.RandomState)):
        if name and not isinstance(value, bool):
            yield name, value
        return
    if id(value) in seen or depth == 0 or isinstance(value, (str, bytes, type, ModuleType)):
        return
    seen.add(id(value))
    for inner_name, inner in _inside(value, name):
        yield from _parts(inner, depth - 1, seen, inner_name)


def _inside(value: object, name: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, partial):
        yield name, value.func
        yield from ((f"argument {i}", a) for i, a in enumerate(value.args))
        yield from value.keywords.items()
    elif isinstance(value, MethodType):
        yield name, value.__func__
        yield name, value.__self__
    elif isinstance(value, FunctionType):
        if value.__closure__:
            for free, cell in zip(value.__code__.co_freevars, value.__closure__, strict=True):
                try:
                    yield free, cell.cell_contents
                except ValueError:  # not filled yet
                    continue
        yield from ((n, value.__globals__[n]) for n in value.__code__.co_names if n in value.__globals__)
        yield from (value.__kwdefaults__ or {}).items()
    elif isinstance(value, tuple) and hasattr(value, "_asdict"):  # a layer, a loss
        yield from ((f"{name}.{k}" if name else k, v) for k, v in value._asdict().items())
    elif isinstance(value, Mapping):
        yield from ((f"{name}[{k!r}]", v) for k, v in list(value.items())[:100])
    elif isinstance(value, (list, tuple)):
        yield from ((f"{name}[{i}]", v) for i, v in enumerate(value[:100]))
    elif hasattr(value, "__dict__") and not callable(value):
        yield from ((f"{name}.{k}" if name else k, v) for k, v in vars(value).items())


class Snapshot:
    """A copy of the arrays that functions use, to detect modifications.

    >>> x = np.zeros(3)
    >>> before = Snapshot([partial(np.dot, x)])
    >>> x[0] = 1
    >>> before.changed()
    ['argument 0']
    """

    def __init__(self, functions: Iterable[Callable[..., Any]]) -> None:
        values = held(functions)
        self.arrays = {k: v for k, v in values.items() if isinstance(v, np.ndarray) and v.dtype.kind in "fiub"}
        if sum(a.size for a in self.arrays.values()) > LARGEST:
            self.arrays = {}
        self.copies = {k: v.copy() for k, v in self.arrays.items()}
        self.generators = {
            k: v for k, v in values.items() if isinstance(v, (np.random.Generator, np.random.RandomState))
        }
        self.states = {k: _state(v) for k, v in self.generators.items()}
        self.global_state = repr(np.random.get_state())  # noqa: NPY002  # it is watched, not used

    def changed(self) -> list[str]:
        """The names of the arrays whose values have changed since."""
        return [k for k, v in self.arrays.items() if not np.array_equal(v, self.copies[k], equal_nan=True)]

    def drawn(self) -> list[str]:
        """The names of the random generators that have been used since."""
        names = [k for k, v in self.generators.items() if _state(v) != self.states[k]]
        if repr(np.random.get_state()) != self.global_state:  # noqa: NPY002
            names.append("np.random")
        return names


def _state(generator: object) -> str:
    if isinstance(generator, np.random.Generator):
        return repr(generator.bit_generator.state)
    assert isinstance(generator, np.random.RandomState)
    return repr(generator.get_state())


def named_numbers(values: Mapping[str, object], skip: Iterable[str] = ()) -> list[tuple[str, float]]:
    """(name, value) of the numbers that functions use, and of the lengths of their arrays.

    >>> named_numbers({"keep": 0.75, "x": np.zeros((12, 3))})
    [('keep', 0.75), ('len(x)', 12.0), ('x.shape[1]', 3.0)]
    """
    numbers = [
        (k, float(v)) for k, v in values.items() if isinstance(v, (int, float, np.number)) and not np.iscomplexobj(v)
    ]
    for k, v in values.items():
        if isinstance(v, np.ndarray) and k not in skip:
            numbers += [(f"len({k})" if i == 0 else f"{k}.shape[{i}]", float(n)) for i, n in enumerate(v.shape)]
            if v.ndim == 0 and v.dtype.kind in "fiu":
                numbers.append((k, float(v)))
    return numbers


def held_arrays(values: Mapping[str, object]) -> list[tuple[str, NDArray[Any]]]:
    """(name, values) of the numeric arrays that functions use.

    >>> held_arrays({"keep": 0.75, "x": np.zeros(2, int)})
    [('x', array([0, 0]))]
    """
    return [(k, v) for k, v in values.items() if isinstance(v, np.ndarray) and v.dtype.kind in "fiub" and v.ndim]
