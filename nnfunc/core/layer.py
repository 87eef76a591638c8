"""The layer: a value whose fields determine what it computes, with three pure functions.

    init(key, input_shape, dtype) -> (params, state)
    forward(params, state, x, *, key=None, train=False) -> (y, cache, state)
    backward(params, cache, dy, *, need_dx=True, need_grads=True) -> (dx, grads)

A layer has either a kernel or wiring: a function that calls its named layers on values. A model is a layer too.
`nnfunc.core.program` turns the wiring of a whole model into a flat list of kernel calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from nnfunc._internal.validate import flag, numeric, real
from nnfunc.arrays import EMPTY, Array, ArrayDict, as_dict, new_vector
from nnfunc.core.backward import run_backward
from nnfunc.core.forward import run
from nnfunc.core.kernel import Cache, Gather, Kernel, view
from nnfunc.core.program import Program
from nnfunc.core.settings import NO_SETTINGS, Settings, arguments
from nnfunc.core.values import InputShape, Value, leaves, map_leaves, rebuilt, taken
from nnfunc.keys import Keys, check_keys
from nnfunc.layout import Layout
from nnfunc.stacks import keys_of, with_axis, without_axis

Arrays: TypeAlias = Mapping[str, ArrayLike]
"""Arrays by their names."""

PROGRAMS = 32
"""The number of programs a model caches, one per layout of parameters and shape of x."""


class Tie(NamedTuple):
    """An array tied to another one, transposed or not."""

    name: str
    to: str
    transposed: bool


class Fields(NamedTuple):
    """The fields of a `Layer`."""

    name: str
    settings: Settings = NO_SETTINGS
    kernel: Kernel | None = None
    layers: tuple[tuple[str, Layer], ...] = ()
    wire: Callable[..., Value] | None = None
    ties: tuple[Tie, ...] = ()
    frozen: tuple[str, ...] = ()


class Layer(Fields):
    """A layer or a model: a named tuple of its definition, with `init`, `forward` and `backward`.

    Attributes:
        name: its name in parameter names, summaries and reports.
        settings: the arguments that it was created with.
        kernel: its mathematics; None for a composition.
        layers: the (name, layer) pairs of a composition; () for any other layer.
        wire: how these are called: `wire(call, x) -> y`, see `nnfunc.core.program.Call`.
        ties: the arrays tied to others, see `tie`.
        frozen: the name patterns of constant arrays, see `freeze`.

    Created by `nn.dense` and the like, by `nn.layer` from user-defined functions, and by `nn.serial` and the other
    combinators. Layers are equal if their fields are.

    >>> nn.dense(3)
    dense(units=3, initializer='he', bias_initializer='zeros', bias=True)
    >>> nn.dense(3) == nn.dense(3), nn.dense(3).settings["units"]
    (True, 3)
    """

    def __new__(
        cls,
        init: Callable[..., tuple[Arrays, Arrays]],
        forward: Callable[..., tuple[Value, Cache, Arrays]],
        backward: Callable[[ArrayDict, Cache, Value], tuple[Value, Arrays]],
        name: str = "layer",
    ) -> Layer:
        """Creates a layer from three functions as above, `backward(params, cache, dy)`; `nn.layer` requires less."""
        from nnfunc.core.custom import from_functions

        return from_functions(init, forward, backward, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return make, tuple(self)

    def __repr__(self) -> str:
        inner = [
            repr(layer) if name.rstrip("0123456789") == layer.name else f"{name}={layer!r}"
            for name, layer in self.layers
        ]
        own = self.kernel is not None and self.kernel.named
        given = {k: self.settings[k] for k in ("forward", "backward")} if own else self.settings
        said = f"{self.name}({', '.join(filter(None, [*inner, arguments(given)]))})"
        for t in self.ties:
            said = f"tie({said}, {t.name!r}, to={t.to!r}{', transpose=True' if t.transposed else ''})"
        return f"freeze({said}, {list(self.frozen)})" if self.frozen else said

    def init(self, key: Keys, input_shape: InputShape, dtype: DTypeLike = np.float32) -> tuple[ArrayDict, ArrayDict]:
        """Returns the initial parameters and state.

        Args:
            key: the source of randomness; a tuple of K keys creates a stack of K networks.
            input_shape: the shape of one example, like (64,); for several inputs a tuple of shapes.
            dtype: the dtype of both dicts.
        Raises:
            ValueError: a shape that a layer does not support.
        """
        from nnfunc.core.initial import initial

        return initial(self, key, input_shape, dtype)

    def forward(
        self, params: ArrayDict, state: ArrayDict, x: Value, *, key: Keys | None = None, train: bool = False
    ) -> tuple[Value, Run, ArrayDict]:
        """Returns the outputs, the cache for backward, and the new state.

        Args:
            params, state: from `init`, or dicts with the same names.
            x: (examples, ..., features), a tuple for several inputs. In a stack it is shared by all networks, unless it
                is marked by `nn.stacks.per_member`; y then has a leading axis K.
            key: the source of randomness (dropout masks and the like); a tuple of K keys for a stack.
            train: whether the layers run in training mode.
        Returns:
            y (read-only), cache, state. The cache refers to x itself: modifying x in place before `backward` yields
            wrong gradients.
        Raises:
            ValueError: mismatched shapes or names; the message begins with the layer's name.
        """
        params, state = as_dict(params, "params"), as_dict(state, "state")
        program, values, caches, new = self.run(params, state, x, check_keys(key), flag(train, "train"))
        x, y = taken(values, program.inputs), taken(values, program.output)
        shapes = map_leaves(np.shape, y), map_leaves(np.shape, x)
        return view(y), Run(self, program, caches, state, *shapes, params._layout), new

    def backward(
        self, params: ArrayDict, cache: Run, dy: Value, *, need_dx: bool = True, need_grads: bool = True
    ) -> tuple[Value, ArrayDict]:
        """Returns the gradients of x and of the parameters.

        Args:
            params: the parameters of the forward.
            cache: the cache returned by the forward.
            dy: the gradient of y, in y's shape; with several outputs, None for an unused one.
            need_dx: if False, dx is None and not computed.
            need_grads: if False, grads is empty and not computed.
        Returns:
            dx, of x's shape (None for integers), and grads, a dict like params.
        """
        params = as_dict(params, "params")
        if not isinstance(cache, Run):
            raise TypeError(f"cache is {type(cache).__name__}, expected the cache that forward returned")
        if cache.model is not self and cache.model != self:
            raise ValueError("cache was returned by another model's forward: call the forward of this one first")
        if params._layout is not cache.layout and params._layout.entries != cache.layout.entries:
            raise ValueError(f"params are {params._layout.shapes}, but those of the forward were {cache.layout.shapes}")
        need_dx, need_grads = flag(need_dx, "need_dx"), flag(need_grads, "need_grads")
        program, dtype = cache.program, params.dtype if params.size else None
        last = f"{program.ops[-1].path}: " if program.ops and program.ops[-1].path else ""

        def checked(gradient: Any, shape: Any) -> Array:
            if gradient is None and type(program.output) is tuple:
                gradient = np.zeros(shape, dtype)
            array = real(gradient, "dy", dtype)
            if array.shape != shape:
                raise ValueError(f"{last}dy has shape {array.shape}, expected the output's shape {shape}")
            seen: Array = view(array)
            return seen

        dy = paired(checked, dy, cache.y_shape, program.output)
        vector = new_vector(params._vector.shape, params.dtype) if need_grads else None
        d = run_backward(program, params, cache.state, cache.caches, dy, vector, need_dx)

        def of_input(n: int, shape: Any) -> Any:  # unused float inputs have gradient 0
            if d[n] is None:
                return None if program.integers[n] else np.zeros(shape, leaves(dy)[0].dtype)
            return view(d[n]) if type(program.inputs) is tuple else d[n]  # the inputs of a sum may share a gradient

        dx = paired(of_input, program.inputs, cache.x_shape, program.inputs) if need_dx else None
        return dx, EMPTY if vector is None else ArrayDict._of(params._layout, vector)

    def run(
        self,
        params: ArrayDict,
        state: ArrayDict,
        x: Value,
        key: Keys | None,
        train: bool | Gather,
        folds: tuple[int, ...] = (),
        keep: bool = True,
    ) -> tuple[Program, list[Any], list[Cache], ArrayDict]:
        """Runs the program for parameters and inputs of these layouts and shapes; returns the program, all values by
        index, the caches of its calls and the new state. `folds` are integers folded into the key first; without
        `keep`, only the outputs are guaranteed to be kept."""
        vector = params._vector
        dtype = vector.dtype if vector.size else state.dtype if state.size else None
        if vector.ndim == 1 and type(x) is np.ndarray and type(key) is not tuple:  # what training passes
            lead = 1
            if x.dtype != dtype or not x.size:
                x = as_input(x, dtype)
            which: Any = params._layout, state._layout, x.shape[1:], x.dtype.kind, x.ndim
        else:
            if not leaves(x):
                raise ValueError("x is an empty tuple, expected an array, or one per input")
            K = vector.shape[0] if vector.ndim > 1 else None
            lead, key = 1 if K is None else 2, keys_of(key, K)
            x = map_leaves(lambda a: as_input(a, dtype), without_axis(x, "x") if K is None else with_axis(x, K, "x"))
            if type(x) is tuple and len(rows := {a.shape[:lead] for a in leaves(x)}) > 1:
                numbers = " and ".join(str(shape[-1]) for shape in sorted(rows) if len(shape) == lead)
                raise ValueError(f"the parts of x have {numbers} rows, expected the same number: rows are examples")
            spec = map_leaves(lambda a: (a.shape[lead:], a.dtype.kind, a.ndim), x)
            which = params._layout, state._layout, spec, lead
        programs: dict[Any, Program] = self.__dict__.setdefault("_programs", {})
        program = programs.get(which)
        if program is not None:
            if state._vector.ndim != vector.ndim:
                check_stacks(params, state)
            return program, *run(program, params, state, x, key, train, folds, keep)
        from nnfunc.core.build import build

        program, values, caches, new = build(self, params, state, x, lead, key, train, folds)
        if len(programs) >= PROGRAMS:  # they can be rebuilt, so the oldest is dropped
            programs.pop(next(iter(programs)), None)
        programs[which] = program
        return program, values, caches, new


class Run(NamedTuple):
    """The values a forward saves for the backward: the model, its program, each call's cache, the state, the shapes,
    the layout of the parameters."""

    model: Layer
    program: Program
    caches: list[Cache]
    state: ArrayDict
    y_shape: Any
    x_shape: Any
    layout: Layout


def make(
    name: str,
    settings: Settings = NO_SETTINGS,
    kernel: Kernel | None = None,
    layers: tuple[tuple[str, Layer], ...] = (),
    wire: Callable[..., Value] | None = None,
    ties: tuple[Tie, ...] = (),
    frozen: tuple[str, ...] = (),
) -> Layer:
    """Creates a layer from its fields.

    >>> from nnfunc.core.kernel import Kernel
    >>> doubled = make("doubled", kernel=Kernel(lambda params, x: (2 * x, None), lambda p, cache, dy, g, need: 2 * dy))
    >>> doubled.forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.ones((1, 2)))[0]
    array([[2., 2.]])
    """
    return Layer._make((name, settings, kernel, layers, wire, ties, frozen))


def as_input(x: Any, dtype: DTypeLike | None) -> Any:
    """Returns an input as an array: floats are cast to `dtype`, integers kept."""
    array = x if type(x) is np.ndarray else numeric(x, "x")
    if array.dtype.kind == "f":
        array = real(array, "x", dtype)
    elif array.dtype.kind not in "iub":
        array = numeric(array, "x")
    if array.size == 0:
        raise ValueError(f"x is empty: it has shape {array.shape}, expected at least one example")
    return array


def check_stacks(params: ArrayDict, state: ArrayDict) -> None:
    """Raises an error for the parameters of a stack with the state of one network, or vice versa."""
    if state.stack_shape != params.stack_shape and state.names and (params.names or params.stack_shape):
        named = [f"a stack of {s[0]}" if s else "those of one network" for s in (params.stack_shape, state.stack_shape)]
        raise ValueError(f"the parameters are {named[0]}, but the state is {named[1]}: pass the matching state")


def paired(function: Callable[..., Any], value: Value, shapes: Any, structure: Any) -> Any:
    """Applies `function` to each array and its shape, in the structure of indices (shapes are leaves)."""
    if not isinstance(structure, tuple):
        if isinstance(value, tuple):
            raise TypeError(f"dy is a tuple of {len(value)}, expected one array, as y is")
        return function(value, shapes)
    if not isinstance(value, tuple) or len(value) != len(structure):
        came = f"a tuple of {len(value)}" if isinstance(value, tuple) else "one array"
        raise TypeError(f"dy is {came}, expected a tuple of {len(structure)}, as y is")
    parts = [paired(function, *part) for part in zip(value, shapes, structure, strict=True)]
    return rebuilt(value, parts)


__all__ = ["Layer", "Tie", "make"]
