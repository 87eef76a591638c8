"""A call of a layer as a function of named arrays: inputs ("dx", of several "dx[0]", "dx[1]") and parameters."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnfunc._internal.validate import first_bad, numeric
from nnfunc.arrays import EMPTY, Array, ArrayDict
from nnfunc.checks.function import Arrays
from nnfunc.core.forward import folded, put
from nnfunc.core.layer import Layer, Run
from nnfunc.core.program import Op, Program
from nnfunc.core.signatures import probed
from nnfunc.core.values import Shapes, Value, is_shape, leaves, map_leaves, map_shapes, rebuilt, taken
from nnfunc.core.wiring import FROZEN, Wiring
from nnfunc.keys import Key, generator
from nnfunc.layout import Shape


class Call(NamedTuple):
    """A layer, its name in reports, and its arguments."""

    path: str
    layer: Layer
    params: ArrayDict
    state: ArrayDict
    x: Value
    key: Key | None
    train: bool

    @property
    def arrays(self) -> Arrays:
        """The arrays y depends on, by the names of their gradients: float inputs, then parameters."""
        return {**named("dx", self.x), **{k: self.params[k] for k in self.params.names}}

    @property
    def batch(self) -> int | None:
        """The number of examples, if the first axis is not the only one."""
        first = leaves(self.x)[0]
        return first.shape[0] if first.ndim > 1 else None

    @property
    def lengths(self) -> list[tuple[str, float]]:
        """(name, length) of the axes of the inputs."""
        several = isinstance(self.x, tuple)
        return [
            (f"the length of {_axis(i, a.ndim, name.replace('d', '', 1) if several else 'x')}", float(n))
            for name, a in zip(leaves(labels("dx", self.x)), leaves(self.x), strict=True)
            for i, n in enumerate(a.shape)
            if i
        ]

    def at(self, arrays: Arrays) -> tuple[ArrayDict, Value]:
        """The parameters and inputs with these arrays."""
        own = self.params
        if own.names:
            own = own.with_vector(np.concatenate([np.ravel(arrays[k]) for k in own.names]))
        return own, replaced("dx", self.x, arrays)

    def forward(self, arrays: Arrays) -> tuple[ArrayDict, Value, Run]:
        """The parameters, the outputs and the cache for these arrays."""
        own, x = self.at(arrays)
        y, cache, _ = self.layer.forward(own, self.state, x, key=self.key, train=self.train)
        return own, y, cache

    def output(self, arrays: Arrays) -> Array:
        """The outputs for these arrays; several outputs are flattened into one."""
        return flat(self.forward(arrays)[1])

    def backward(self, arrays: Arrays, dy: Value) -> dict[str, Any]:
        """The gradients for these arrays, by name."""
        own, _, cache = self.forward(arrays)
        return self.gradients(own, cache, dy)

    def gradients(self, params: ArrayDict, cache: Run, dy: Value) -> dict[str, Any]:
        """The results of `backward`, by name."""
        dx, grads = self.layer.backward(params, cache, dy)
        return {**named_like("dx", self.x, dx), **grads}


def _axis(axis: int, ndim: int, x: str) -> str:
    return ("the features" if x == "x" else f"{x}'s features") if axis == ndim - 1 else f"{x}'s axis {axis}"


class WritesError(Exception):
    """Raised if a forward writes into its arguments."""

    def __init__(self, path: str, error: Exception) -> None:
        self.path = path
        super().__init__(str(error))


def calls(root: Call) -> tuple[list[Call], Value]:
    """Each call of a layer in a model, and the model's outputs.

    Each call is of the layer alone, with tied and frozen arrays resolved.
    """
    try:
        program, *_ = root.layer.run(root.params, root.state, map_leaves(np.copy, root.x), root.key, root.train)
    except ValueError as error:
        if "read-only" not in str(error):
            raise
        path = str(error).removesuffix(str(error.__cause__)).removesuffix(": ")
        raise WritesError(_inside(root, path), error) from error
    values: list[Any] = [None] * len(program.shapes)
    put(values, program.inputs, root.x)
    found = []
    for op in program.ops:
        call = _alone(op, program, root, taken(values, op.x))
        try:
            y = call.layer.forward(
                call.params, call.state, map_leaves(read_only, call.x), key=call.key, train=call.train
            )[0]
        except ValueError as error:
            if "read-only" not in str(error):
                raise
            raise WritesError(call.path, error) from error
        put(values, op.y, y)
        found.append(call)
    return found, taken(values, program.output)


def _inside(root: Call, path: str) -> str:
    """The name of a layer of a model in reports."""
    return f"{root.path}.{path}" if root.path and path else path or root.path


def _alone(op: Op, program: Program, root: Call, x: Value) -> Call:
    arrays = (*root.params.arrays, *root.state.arrays)
    states = (*root.state.arrays, *(root.state[k] for k in root.state.counts))
    own = {k: arrays[p].mT if t else arrays[p] for k, p, t in zip(op.names, op.params, op.turned, strict=True)}
    held = tuple(k for k, p in zip(op.names, op.params, strict=True) if p >= program.arrays)
    state = {FROZEN + k: own.pop(k) for k in held}
    state |= {k: states[i] for k, i in zip(op.state_names, op.state, strict=True)}
    return Call(
        _inside(root, op.path),
        op.layer._replace(ties=(), frozen=held),
        ArrayDict(own, stacked=False) if own else EMPTY,
        ArrayDict(state, stacked=False) if state else EMPTY,
        x,
        None if root.key is None else folded(root.key, op.key),  # type: ignore[arg-type]  # one network has one key
        root.train and not op.predicts,
    )


def functions_of(layer: Layer) -> list[Any]:
    """The functions of a layer, to name the constants that they use."""
    kernel = layer.kernel
    if kernel is None:
        return [f for _, inner in layer.layers for f in functions_of(inner)]
    settings = {k: layer.settings[k] for k in kernel.uses}
    return [partial(kernel.forward, **settings), partial(kernel.backward, **settings)]


# -- values and their names --------------------------------------------------------------------------------------------


def labels(name: str, value: Value) -> Any:
    """The name of each array of a value, in its structure.

    >>> labels("dx", (1, (2, 3)))
    ('dx[0]', ('dx[1][0]', 'dx[1][1]'))
    """
    if not isinstance(value, tuple):
        return name
    return tuple(labels(f"{name}[{i}]", part) for i, part in enumerate(value))


def named(name: str, value: Value) -> dict[str, Array]:
    """The float arrays of a value, by name.

    >>> list(named("dx", (np.ones(1), np.arange(2), np.ones(3))))
    ['dx[0]', 'dx[2]']
    """
    pairs = zip(leaves(labels(name, value)), map(np.asarray, leaves(value)), strict=True)
    return {label: a for label, a in pairs if a.dtype.kind == "f"}


def replaced(name: str, value: Value, arrays: Arrays) -> Value:
    """A value with some arrays replaced, by name.

    >>> replaced("dx", (1, 2), {"dx[1]": 3})
    (1, 3)
    """
    return map_leaves(lambda a, label: arrays.get(label, a), value, labels(name, value))


def named_like(name: str, value: Value, gradient: Value) -> dict[str, Any]:
    """The gradients of the float arrays of a value, by name; none where the structure differs.

    >>> named_like("dx", (np.ones(1), np.arange(2)), (2.0, None))
    {'dx[0]': 2.0}
    """
    if not isinstance(value, tuple):
        return {name: gradient} if np.asarray(value).dtype.kind == "f" else {}
    if not isinstance(gradient, tuple) or len(gradient) != len(value):
        return {}
    parts = zip(value, gradient, strict=True)
    return {k: v for i, part in enumerate(parts) for k, v in named_like(f"{name}[{i}]", *part).items()}


def flat(value: Value) -> Array:
    """A single array as it is; several arrays flattened into one.

    >>> flat((np.zeros((2, 2)), np.ones(1)))
    array([0., 0., 0., 0., 1.])
    """
    return np.concatenate([np.ravel(a) for a in leaves(value)]) if isinstance(value, tuple) else np.asarray(value)


def shaped(numbers: Array, like: Value) -> Value:
    """A value with these elements and the structure and shapes of another one: the inverse of `flat`.

    >>> shaped(np.arange(3.0), (np.zeros((1, 2)), np.zeros(1)))
    (array([[0., 1.]]), array([2.]))
    """
    if not isinstance(like, tuple):
        return numbers.reshape(np.shape(like))
    ends = np.cumsum([flat(part).size for part in like])
    return rebuilt(
        like, [shaped(own, part) for own, part in zip(np.split(np.ravel(numbers), ends[:-1]), like, strict=True)]
    )


def read_only(array: Any) -> Any:
    """A view that cannot be written to."""
    seen = np.asarray(array).view()
    seen.setflags(write=False)
    return seen


# -- inputs ------------------------------------------------------------------------------------------------------------


def checked_input(x: Any, shape: Shapes | None = None, name: str = "x") -> Value:
    """Validates inputs and returns them as float64 or integers; `shape` is the shape of one example, if given."""
    if isinstance(x, tuple):
        if shape is not None and (is_shape(shape) or len(shape) != len(x)):
            raise ValueError(f"{name} is a tuple of {len(x)}, but input_shape is {shape}")
        return rebuilt(
            x, [checked_input(a, None if shape is None else shape[i], f"{name}[{i}]") for i, a in enumerate(x)]
        )
    array = numeric(x, name)
    if shape is not None and not is_shape(shape):
        raise ValueError(f"{name} is one array, but input_shape is {shape}")
    if array.ndim < 1 or (shape is not None and array.shape[1:] != shape):
        expected = "(examples, ...)" if shape is None else f"(examples, {', '.join(map(str, shape))})"
        raise ValueError(f"{name} has shape {array.shape}, expected {expected}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(
            f"{name} contains {first_bad(array, ~np.isfinite(array))}: there is no derivative at such a point"
        )
    return array.astype(np.float64 if array.dtype.kind == "f" else array.dtype)


def drawn_input(layer: Layer, params: ArrayDict, shape: Shapes, batch_size: int, key: Key) -> Value:
    """Random inputs with these shapes per example: normal numbers, or indices where a layer takes them."""
    rng, indices = generator(key), iter(looked_up(layer, params, shape))

    def own(s: Shape) -> NDArray[Any]:
        size, words = (batch_size, *s), next(indices)
        return rng.normal(size=size) if words is None else rng.integers(0, words, size=size)

    return map_shapes(own, shape)


def looked_up(layer: Layer, params: ArrayDict, shape: Shapes) -> list[int | None]:
    """For each input the number of valid indices, if a layer takes integers; None for floats.

    >>> looked_up(nn.dense(2), *nn.dense(2).init(nn.key(0), (3,))[:1], (3,))
    [None]
    """
    words: dict[int, int] = {}

    def leaf(wiring: Wiring, path: str, layer: Layer, x: Value, key: tuple[int, ...], again: int) -> Value:
        assert layer.kernel is not None
        own, given = params.group(path) if path else params, map_leaves(lambda node: node.shape, x)
        kinds = layer.kernel.kinds(x)
        if "integers" in kinds:
            least: Any = min((len(own[k]) for k in own.names if own[k].ndim), default=2)
            if layer.kernel.below is not None:
                least = layer.kernel.below(given, **layer.settings)
            bounds = leaves(least) if isinstance(least, tuple) else [least for _ in kinds]
            for node, kind, bound in zip(leaves(x), kinds, bounds, strict=True):
                if kind == "integers":
                    words[node.number] = min(words.get(node.number, bound), bound)
        said = layer.kernel.signature(given, **layer.settings).output
        if said is None:  # a user-defined layer
            return wiring.node(lambda: probed(layer, own, EMPTY, given))
        return map_shapes(wiring.node, said)

    wiring = Wiring(leaf)
    inputs = map_shapes(wiring.node, shape)
    wiring.run("", layer, inputs)
    return [words.get(node.number) for node in leaves(inputs)]
