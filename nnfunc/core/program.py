"""The program of a model: a flat list of kernel calls on numbered values.

    serial(dense(3), relu())        %1 = dense1(%0)      x W + b      dense1.W, dense1.b
                                    %2 = relu1(%1)       max(x, 0)

For each layout of parameters and shape of inputs, the wiring of the whole nested model is run once, together with the
first forward, and recorded as the list. `forward` runs it in order, `backward` in reverse: gradients add where a value
fans out or an array is used twice, and calls that need no gradient are skipped. Everything that inspects a model walks
the same list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from nnfunc.arrays import Array
from nnfunc.core.kernel import Kernel
from nnfunc.core.values import Value, leaves, map_leaves
from nnfunc.layout import Shape
from nnfunc.stacks import each_member

if TYPE_CHECKING:
    from nnfunc.core.layer import Layer


class Op(NamedTuple):
    """One call of a kernel.

    Attributes:
        path: the layer's name in the model, like "residual1.dense1"; "" if it is the model.
        layer: the layer.
        x, y: the indices of the input and output values.
        names: the layer's names of its arrays; `full`: the model's names (for a tied array, that of its target).
        params: their positions among the parameters, followed by the state; `turned`: whether transposed.
        state: the positions of the layer's state arrays in the model's state, in the order of `state_names`.
        key: the integers folded into the model's key, one after another, to derive this call's.
        predicts: whether it always runs in prediction mode because it is frozen.
        casts: for each array of x, whether its integers are cast to floats.
    """

    path: str
    layer: Layer
    x: Value
    y: Value
    names: tuple[str, ...]
    full: tuple[str, ...]
    params: tuple[int, ...]
    turned: tuple[bool, ...]
    state: tuple[int, ...]
    state_names: tuple[str, ...]
    key: tuple[int, ...]
    predicts: bool
    casts: tuple[bool, ...]

    @property
    def kernel(self) -> Kernel:
        """The layer's kernel."""
        assert self.layer.kernel is not None
        return self.layer.kernel


class Program(NamedTuple):
    """The flat list of kernel calls of a model for one layout of parameters and one shape of inputs.

    Attributes:
        ops: the calls, in order.
        inputs, output: the indices of the model's inputs and outputs.
        shapes, integers: for each value the shape of one example, and whether its dtype is integer.
        arrays: the number of parameter arrays.
        constants: whether some arrays of layers are in the state because they are frozen.
        asks_key: whether some layer takes a key.
        lead: the number of axes before those of one example: 1, in a stack 2.
        last: for each call the indices of values that are neither used later nor outputs.
        ready: the entries that `forward` runs, one per call; `gradients`: those that `backward` runs, created on demand
            by (need_dx, need_grads).
    """

    ops: tuple[Op, ...]
    inputs: Value
    output: Value
    shapes: tuple[Shape, ...]
    integers: tuple[bool, ...]
    arrays: int
    constants: bool
    asks_key: bool
    lead: int
    last: tuple[tuple[int, ...], ...]
    ready: tuple[Ready, ...]
    gradients: dict[tuple[bool, bool], Gradients]

    def __repr__(self) -> str:
        from nnfunc.models.listing import listing

        return listing(self)

    def _repr_html_(self) -> str:
        from nnfunc.models.listing import html_listing

        return html_listing(self)


class Ready(NamedTuple):
    """A call prepared for `forward`: its function, getters of its arrays and its state, and the indices of its values.

    `special` is the call itself if its kernel takes more than parameters and x, or has several inputs or outputs.
    """

    forward: Callable[..., Any]
    own: Callable[[Sequence[Array]], Sequence[Array]]
    x: Value
    y: Value
    special: Op | None
    state: Callable[[Sequence[Array]], Sequence[Array]]


class Gradient(NamedTuple):
    """A call prepared for `backward`: its position in the list of calls, and the targets of its gradients."""

    at: int
    backward: Callable[..., Any]
    own: Callable[[Sequence[Array]], Sequence[Array]]
    grads: Callable[[Sequence[Array]], Sequence[Array | None]]
    x: Value
    y: Value
    need: Any
    special: tuple[tuple[int, bool, bool] | None, ...] | None


class Gradients(NamedTuple):
    """The calls of a backward, in reverse, and the parameters that receive no gradient."""

    calls: tuple[Gradient, ...]
    unused: tuple[int, ...]


# -- prepared once -----------------------------------------------------------------------------------------------------


def needs(program: Program, need_dx: bool, need_grads: bool) -> list[bool]:
    """Returns for each value whether its gradient is needed by an earlier parameter or an input."""
    found = [False] * len(program.shapes)
    for n in leaves(program.inputs):
        found[n] = need_dx and not program.integers[n]
    for op in program.ops:
        trained = need_grads and any(p < program.arrays for p in op.params)
        if trained or any(found[n] for n in leaves(op.x)):
            for n in leaves(op.y):
                found[n] = not program.integers[n]
    return found


def last_uses(ops: Sequence[Op], output: Value) -> tuple[tuple[int, ...], ...]:
    """Returns for each call its inputs and outputs that are not needed afterwards."""
    needed, found = set(leaves(output)), []
    for op in reversed(ops):
        found.append(tuple({*leaves(op.x), *leaves(op.y)} - needed))
        needed.update(leaves(op.x))
    return tuple(reversed(found))


def planned(program: Program, need_dx: bool, need_grads: bool) -> Gradients:
    """Plans the calls of a backward, and where each writes its gradients."""
    needed = needs(program, need_dx, need_grads)
    live = set(leaves(program.output))
    seen: set[int] = set()
    calls = []
    for at in reversed(range(len(program.ops))):
        op = program.ops[at]
        need = map_leaves(lambda n: needed[n], op.x)
        mine = [p if need_grads and p < program.arrays else None for p in op.params]
        if not any(n in live for n in leaves(op.y)) or not (any(leaves(need)) or any(p is not None for p in mine)):
            continue
        live.update(n for n in leaves(op.x) if needed[n])
        places = []
        for p, turned in zip(mine, op.turned, strict=True):
            places.append(None if p is None else (p, p not in seen, turned))
            seen.update([] if p is None else [p])
        plain = all(place is None or (place[1] and not place[2]) for place in places)
        plain = plain and type(op.x) is int and type(op.y) is int and not op.kernel.named
        _, backward = _functions(op, program.lead)
        grads = _getter(mine) if plain else None
        calls.append(
            Gradient(
                at, backward, _turned_getter(op), grads or NOTHING, op.x, op.y, need, None if plain else tuple(places)
            )
        )
    return Gradients(tuple(calls), tuple(p for p in range(program.arrays) if need_grads and p not in seen))


def _functions(op: Op, lead: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The kernel's two functions with their settings, called once per member if they do not support stacks."""
    forward, backward = op.kernel.forward, op.kernel.backward
    if op.kernel.uses:
        settings = {k: op.layer.settings[k] for k in op.kernel.uses}
        forward, backward = partial(forward, **settings), partial(backward, **settings)
    return each_member(forward, backward) if lead == 2 and not op.kernel.stacked else (forward, backward)


def prepared(op: Op, lead: int) -> Ready:
    plain = type(op.x) is int and type(op.y) is int and not (op.kernel.asks or any(op.casts) or op.kernel.named)
    forward, _ = _functions(op, lead)
    return Ready(forward, _turned_getter(op), op.x, op.y, None if plain else op, _getter(op.state))


NOTHING: Callable[[Sequence[Any]], Any] = itemgetter(slice(0, 0))
"""Selects no arrays."""


def _getter(positions: Sequence[int | None]) -> Callable[[Sequence[Any]], Any]:
    """Returns a function that selects the arrays at these positions, and None for None."""
    if not positions:
        return NOTHING
    if any(p is None for p in positions):
        return partial(_some, positions=tuple(positions))
    first = positions[0]
    if list(positions) == list(range(first, first + len(positions))):  # type: ignore[arg-type, operator]  # none is None
        return itemgetter(slice(first, first + len(positions)))  # type: ignore[operator]  # likewise
    return itemgetter(*positions)


def _some(arrays: Sequence[Any], *, positions: tuple[int | None, ...]) -> tuple[Any, ...]:
    return tuple(None if p is None else arrays[p] for p in positions)


def _turned_getter(op: Op) -> Callable[[Sequence[Any]], Any]:
    if not any(op.turned):
        return _getter(op.params)
    return partial(_turned, positions=op.params, turned=op.turned)


def _turned(arrays: Sequence[Any], *, positions: tuple[int, ...], turned: tuple[bool, ...]) -> tuple[Any, ...]:
    return tuple(arrays[p].mT if t else arrays[p] for p, t in zip(positions, turned, strict=True))
