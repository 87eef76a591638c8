"""Wiring: the calls of a composition's layers, and one run of the wiring of a whole model.

A wire is a function `wire(call, x) -> y`. x is the composition's input, a value or a tuple of values; `call(name, x)`
applies the layer of that name to x. Values support no operations other than calls; their only attribute is the shape of
one example, `x.shape`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from nnfunc.core.values import Value, leaves
from nnfunc.layout import Shape, matches, matching, within

if TYPE_CHECKING:
    from nnfunc.core.layer import Layer
    from nnfunc.core.settings import Settings


class Node:
    """A value while a model is wired: its index, the shape of one example, and whether its dtype is integer."""

    __slots__ = ("_shape", "integers", "number")
    number: int
    integers: bool

    def __init__(self, number: int, shape: Shape | Callable[[], Shape], integers: bool) -> None:
        self.number, self._shape, self.integers = number, shape, integers

    @property
    def shape(self) -> Shape:
        """The shape of one example."""
        if callable(self._shape):  # of a user-defined layer that does not declare it
            self._shape = self._shape()
        return self._shape

    def _no_arithmetic(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("a wire computes only by calls: call(nn.add(), (a, b)), likewise nn.subtract, nn.multiply")

    if not TYPE_CHECKING:  # type checkers refuse arithmetic that is not there
        __array_ufunc__ = __array_function__ = __neg__ = __pow__ = __truediv__ = __matmul__ = _no_arithmetic
        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _no_arithmetic


FROZEN = "frozen."
"""The prefix of the names of frozen arrays in the state."""

Leaf: TypeAlias = "Callable[[Wiring, str, Layer, Value, tuple[int, ...], int], Value]"
"""The handler of a kernel call: (wiring, path, layer, x, integers to fold into the key, index of the call) -> y."""


class Wiring:
    """One run of the wiring of a model; `leaf` handles each kernel call, in order."""

    def __init__(self, leaf: Leaf) -> None:
        self.leaf = leaf
        self.nodes: list[Node] = []
        self.calls: Counter[str] = Counter()
        self.ties: dict[str, tuple[str, bool]] = {}
        self.frozen: list[tuple[str, str]] = []
        self.unnamed: set[str] = set()
        self.failed: bool = False

    def node(self, shape: Shape | Callable[[], Shape], integers: bool = False) -> Node:
        """Creates a new value."""
        self.nodes.append(Node(len(self.nodes), shape, integers))
        return self.nodes[-1]

    def run(self, path: str, layer: Layer, x: Value, key: tuple[int, ...] = (), again: int = 0) -> Value:
        """Applies a layer to x."""
        prefix = within(path)
        for tie in layer.ties:
            self.ties[prefix + tie.name] = prefix + tie.to, tie.transposed
        self.frozen += [(prefix, pattern) for pattern in layer.frozen if (prefix, pattern) not in self.frozen]
        try:
            if layer.wire is None:
                return self.leaf(self, path, layer, x, key, again)
            return _nodes(layer.wire(Call(self, layer, path, key), x), "the wire returned")
        except Exception as error:
            if self.failed:  # already located in the layer that raised it
                raise
            self.failed = True
            raise located(error, path) from error

    def is_frozen(self, name: str) -> bool:
        """Whether an array, or a layer (its path and a dot), is constant."""
        return is_frozen(name, self.frozen)

    def check_named(self, path: str, arrays: Sequence[str]) -> None:
        """Raises an error if an unnamed layer has arrays: two such layers would share them."""
        if arrays and any(f"{path}.".startswith(f"{unnamed}.") for unnamed in self.unnamed):
            raise ValueError(
                f"has the arrays {', '.join(arrays)}, so it needs a name: "
                "nn.wired(wire, {'a': layer}), and call('a', x)"
            )

    def check_frozen(self, names: Sequence[str]) -> None:
        """Raises an error for a pattern that matches nothing."""
        for prefix, pattern in self.frozen:
            matching([n[len(prefix) :] for n in names if n.startswith(prefix)], pattern)


class Call:
    """The object with which a wire calls its layers: `call(name, x) -> y`, or `call(layer, x)` without parameters.

    Attributes:
        layers: the names of the composition's layers.
        settings: its settings.
    """

    __slots__ = ("_anonymous", "_key", "_layer", "_path", "_wiring", "layers", "settings")

    def __init__(self, wiring: Wiring, layer: Layer, path: str, key: tuple[int, ...]) -> None:
        self._wiring, self._layer, self._path, self._key = wiring, layer, path, key
        self.layers: tuple[str, ...] = tuple(name for name, _ in layer.layers)
        self.settings: Settings = layer.settings
        self._anonymous = len(self.layers)

    def __call__(self, layer: str | Layer, x: Value) -> Value:
        if not isinstance(layer, str):
            name, inner, number = layer.name, layer, self._anonymous
            self._anonymous += 1
        elif layer in self.layers:
            number = self.layers.index(layer)
            name, inner = self._layer.layers[number]
        else:
            raise ValueError(f"the wire calls {layer!r}, but its layers are {', '.join(self.layers) or 'none'}")
        path = within(self._path) + name
        if not isinstance(layer, str):
            self._wiring.unnamed.add(path)
        again = 0 if not isinstance(layer, str) else self._wiring.calls[path]
        self._wiring.calls[path] += 1
        key = (*self._key, number, *((-again,) if again else ()))  # each call of a layer has its own key
        return self._wiring.run(path, inner, _nodes(x, f"the wire passes to {path}"), key, again)

    def parts(self, x: Value, count: int | None = None) -> tuple[Value, ...]:
        """Returns x if it is a tuple (of `count` values)."""
        name = self._path or self._layer.name
        if not isinstance(x, tuple):
            raise TypeError(f"{name} takes a tuple of {count or 'several'} values, got one array")
        if count is not None and len(x) != count:
            raise ValueError(f"{name} takes a tuple of {count} values, got {len(x)}")
        return x

    def whole(self, x: Value) -> Node:
        """Returns x if it is a single array."""
        if isinstance(x, tuple):
            raise TypeError(f"{self._path or self._layer.name} takes one array, got a tuple of {len(x)} values")
        return x  # type: ignore[no-any-return]  # a value that is not a tuple is a node


def _nodes(x: Value, what: str) -> Value:
    x = tuple(x) if isinstance(x, list) else x
    for leaf in leaves(x):
        if not isinstance(leaf, Node):
            raise TypeError(f"{what} {type(leaf).__name__}, expected its inputs or results of calls")
    return x


def is_frozen(name: str, patterns: Sequence[tuple[str, str]]) -> bool:
    """Whether one of these (prefix, pattern) pairs freezes an array, or a layer (its path and a dot)."""
    return any(name.startswith(prefix) and matches(name[len(prefix) :], pattern) for prefix, pattern in patterns)


def located(error: Exception, path: str) -> Exception:
    """Prefixes the message of an error with the name of the layer that raised it."""
    if not path:
        return error
    if type(error) in (ValueError, TypeError):
        return type(error)(f"{path}: {error}")
    error.add_note(f"in the layer {path}")
    return error
