"""A model is wired once into a straight program: a list of kernel calls on numbered values.

    serial(dense(3), relu())        %1 = dense1(%0)      x W + b      dense1.W, dense1.b
                                    %2 = relu1(%1)       max(x, 0)

For parameters of one layout and inputs of one shape the wiring of a whole nested model is run once, together with the
first forward, and what is left is the list. `run` goes through it, `run_backward` in reverse: it adds where a value
fans out, adds where an array is used twice, and leaves out what needs no gradient. All that looks into a model walks
over the same list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnfunc._internal.validate import real
from nnfunc.arrays import EMPTY, Array, ArrayDict, new_vector
from nnfunc.core.kernel import Cache, Kernel, view
from nnfunc.core.values import Value, leaves, map_leaves
from nnfunc.core.wiring import located
from nnfunc.keys import Keys, fold_in
from nnfunc.layout import Shape
from nnfunc.stacks import each_member

if TYPE_CHECKING:
    from nnfunc.core.layer import Layer


class Op(NamedTuple):
    """One call of a kernel.

    Attributes:
        path: the layer's name in the model, like "residual1.dense1"; "" if it is the model.
        layer: the layer.
        x, y: the numbers of the values that go in and come out.
        names: what the layer calls its arrays; `full` what the model calls them (of a tied array the one that it is).
        params: where they stand in the parameters, or behind all of these in the state; `turned`: whether transposed.
        state: where the arrays of the layer's state stand in the model's, in the order of `state_names`.
        key: the numbers that are folded into the model's key, one after another, to make this call's.
        predicts: whether it always works as in prediction, since it is frozen.
        casts: whether x has integers that become floats.
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
    casts: bool

    @property
    def kernel(self) -> Kernel:
        """The layer's."""
        assert self.layer.kernel is not None
        return self.layer.kernel


class Program(NamedTuple):
    """The straight list of kernel calls that a model is for one layout of parameters and one shape of inputs.

    Attributes:
        ops: the calls, in order.
        inputs, output: the numbers of the model's inputs and outputs.
        shapes, integers: of each value the shape of one example, and whether it is made of integers.
        arrays: how many arrays the parameters have.
        constants: whether some arrays of layers stand in the state, since they are frozen.
        asks_key: whether some layer takes a key.
        lead: how many axes stand before those of one example: 1, in a stack 2.
        ready: what `forward` runs, an entry for each call; `gradients`: what `backward` runs, made when it is asked
            for, by (need_dx, need_grads).
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
    ready: tuple[Ready, ...]
    gradients: dict[tuple[bool, bool], Gradients]

    def __repr__(self) -> str:
        from nnfunc.models.listing import listing

        return listing(self)

    def _repr_html_(self) -> str:
        from nnfunc.models.listing import html_listing

        return html_listing(self)


class Ready(NamedTuple):
    """A call as `forward` makes it: its function, how it finds its arrays and its state among all, and its values.

    `special` is the call itself if its kernel asks for more than parameters and x, or has several inputs or outputs.
    """

    forward: Callable[..., Any]
    own: Callable[[Sequence[Array]], Sequence[Array]]
    x: Value
    y: Value
    special: Op | None
    state: Callable[[Sequence[Array]], Sequence[Array]]


class Gradient(NamedTuple):
    """A call's backward: where in the list of calls it is, and how its gradients are written."""

    at: int
    backward: Callable[..., Any]
    own: Callable[[Sequence[Array]], Sequence[Array]]
    grads: Callable[[Sequence[Array]], Sequence[Array | None]]
    x: Value
    y: Value
    need: Any
    special: tuple[tuple[int, bool, bool] | None, ...] | None


class Gradients(NamedTuple):
    """The calls of a backward, in reverse, and the parameters that none of them reaches."""

    calls: tuple[Gradient, ...]
    unused: tuple[int, ...]


class Moving:
    """What changes while a program runs, beside its values: the arrays of the state."""

    __slots__ = ("arrays", "changed", "key", "lead", "params", "state", "train", "values")

    def __init__(
        self, params: ArrayDict, state: ArrayDict, key: Keys | None, train: bool, lead: int, values: list[Any]
    ) -> None:
        self.params, self.key, self.train, self.lead, self.values = params, key, train, lead, values
        self.state: list[NDArray[Any]] = [*(state._arrays or state.arrays), *state._integers.values()]
        self.changed = False


# -- forward -----------------------------------------------------------------------------------------------------------


def run(
    program: Program,
    params: ArrayDict,
    state: ArrayDict,
    x: Value,
    key: Keys | None,
    train: bool,
    folds: tuple[int, ...] = (),
) -> tuple[list[Any], list[Cache], ArrayDict]:
    """All values by their numbers, the caches of the calls, and the new state.

    `folds` are numbers to fold into the key before those of a layer, which is done where a layer asks for its key.
    """
    values: list[Any] = [None] * len(program.shapes)
    if type(program.inputs) is int:
        values[0] = x
    else:
        put(values, program.inputs, x)
    moving = None
    arrays: Sequence[Array] = params._arrays or params.arrays
    if program.constants:
        arrays = (*arrays, *state.arrays)
    caches: list[Cache] = []
    try:
        for entry in program.ready:
            forward, own, i, o, special, _ = entry
            if special is None:
                values[o], cache = forward(own(arrays), values[i])
            else:
                if moving is None:
                    key = folded(key, folds) if program.asks_key else None
                    moving = Moving(params, state, key, train, program.lead, values)
                y, cache = called(entry, special, own(arrays), moving)
                if type(o) is int:
                    values[o] = y
                else:
                    cache = put_several(values, o, y, cache)
            caches.append(cache)
    except Exception as error:
        raise located(error, program.ops[len(caches)].path) from error
    return values, caches, state if moving is None or not moving.changed else moved(state, moving.state)


def put_several(values: list[Any], numbers: Value, y: Value, cache: Cache) -> Cache:
    """Puts several outputs where they belong; the cache keeps their shapes."""
    put(values, numbers, y)
    return cache, map_leaves(lambda a: (a.shape, a.dtype), y)


def called(entry: Ready, op: Op, own: Sequence[Array], moving: Moving) -> tuple[Value, Cache]:
    """A call of a kernel that asks for more than parameters and x, or has several inputs or outputs."""
    kernel: Kernel = op.layer.kernel  # type: ignore[assignment]  # a call has one
    x = moving.values[op.x] if type(op.x) is int else _taken(moving.values, op.x)
    if op.casts:
        dtype = moving.params.dtype if moving.params.size else None
        x = map_leaves(lambda a: real(a, "x", dtype), x)
    params: Any = own
    if kernel.named:
        x, params = view(x), _named(op.names, own, moving.lead, moving.params, op)
    given: dict[str, Any] = {}
    for what in kernel.asks:
        if what == "train":
            given[what] = moving.train and not op.predicts
        elif what == "key":
            given[what] = folded(moving.key, op.key) if moving.train or kernel.named else None
        elif what == "lead":
            given[what] = moving.lead
        else:
            before = entry.state(moving.state)
            given[what] = _named(op.state_names, before, moving.lead) if kernel.named else before
    result = entry.forward(params, x, **given)
    if len(result) == 2:
        return result  # type: ignore[no-any-return]  # (y, cache)
    y, cache, after = result
    if kernel.named:
        after = given["state"].like(after, "the state that forward returned").values()
    for i, array in zip(op.state, after, strict=True):
        moving.changed = moving.changed or array is not moving.state[i]
        moving.state[i] = array
    return y, cache


def folded(key: Keys | None, numbers: tuple[int, ...]) -> Keys | None:
    """The key with numbers folded in, one after another."""
    if key is not None:
        for number in numbers:
            key = fold_in(key, number)
    return key


def _named(
    names: Sequence[str],
    arrays: Sequence[NDArray[Any]],
    lead: int,
    params: ArrayDict | None = None,
    op: Op | None = None,
) -> ArrayDict:
    """Arrays as the dict that a layer of your own takes: without a copy where they are a group of the parameters."""
    if params is not None and op is not None:
        group = params.group(op.path) if op.path else params
        if not any(op.turned) and tuple(group) == tuple(names) and all(p < len(params.names) for p in op.params):
            return group
    if not names and params is not None:
        return params.group("") if lead == 2 else EMPTY
    return ArrayDict(dict(zip(names, arrays, strict=True)), stacked=lead == 2)


def moved(state: ArrayDict, now: list[NDArray[Any]]) -> ArrayDict:
    """The state with the values that the calls left."""
    count = len(state.names)
    vector = new_vector(state._vector.shape, state.dtype)
    for part, value in zip(state._layout.views(vector), now, strict=False):
        part[...] = value
    integers = {k: np.array(v, np.int64) for k, v in zip(state._integers, now[count:], strict=True)}
    for array in integers.values():
        array.setflags(write=False)
    return ArrayDict._of(state._layout, vector, integers)


# -- backward ----------------------------------------------------------------------------------------------------------


def run_backward(
    program: Program,
    params: ArrayDict,
    state: ArrayDict,
    caches: list[Cache],
    dy: Value,
    vector: Array | None,
    need_dx: bool,
) -> list[Any]:
    """The gradients of all values by their numbers, None where there is none; those of the parameters in `vector`."""
    which = need_dx, vector is not None
    gradients = program.gradients.get(which)
    if gradients is None:
        gradients = program.gradients[which] = _gradients(program, *which)
    d: list[Any] = [None] * len(program.shapes)
    if type(program.output) is int:
        d[program.output] = dy
    else:
        _add(d, program.output, dy)
    arrays: Sequence[Array] = params._arrays or params.arrays
    if program.constants:
        arrays = (*arrays, *state.arrays)
    written = [] if vector is None else params._layout.views(vector)
    at = -1
    try:
        for at, backward, own, grads, i, o, need, special in gradients.calls:
            if special is None:
                dx = backward(own(arrays), caches[at], d[o], grads(written), need)
                if need:
                    d[i] = dx if d[i] is None else d[i] + dx
            else:
                _call_backward(program.ops[at], backward, own(arrays), caches[at], d, written, need, special, params)
    except Exception as error:
        raise located(error, program.ops[at].path) from error
    for p in gradients.unused:
        written[p][...] = 0
    return d


def _call_backward(
    op: Op,
    backward: Callable[..., Any],
    own: Sequence[Array],
    cache: Cache,
    d: list[Any],
    written: list[Array],
    need: Any,
    special: tuple[tuple[int, bool, bool] | None, ...],
    params: ArrayDict,
) -> None:
    """The backward of a call whose gradients are added to others, or that has several inputs or outputs.

    `special` says for each array where its gradient goes, whether as the first one, and whether it is transposed.
    """
    if type(op.y) is int:
        dy = d[op.y]
    else:
        cache, shapes = cache
        dy = _paired(lambda n, s: np.zeros(*s) if d[n] is None else d[n], op.y, shapes)
    grads: list[Array | None] = []
    for array, place in zip(own, special, strict=True):
        if place is None:
            grads.append(None)
        else:
            grads.append(written[place[0]] if place[1] and not place[2] else np.empty(array.shape, array.dtype))
    given: Any = own
    if op.kernel.named:
        dy = view(dy)
        given = _named(op.names, own, params._vector.ndim, params, op)
    dx = backward(given, cache, dy, tuple(grads), need)
    for gradient, place in zip(grads, special, strict=True):
        if gradient is None or place is None:
            continue
        position, first, turned = place
        gradient = gradient.mT if turned else gradient
        if not first:
            written[position] += gradient
        elif turned:
            written[position][...] = gradient
    if not isinstance(op.x, tuple):
        op_x, dx, need = (op.x,), (dx,), (need,)
    else:
        op_x = op.x
        if any(leaves(need)) and (not isinstance(dx, tuple) or len(dx) != len(op_x)):
            came = type(dx).__name__ if not isinstance(dx, tuple) else f"a tuple of {len(dx)}"
            raise TypeError(f"backward returned dx as {came}, expected a tuple of {len(op_x)}: one for each input")
    _hand_down(d, op_x, dx, need)


def _hand_down(d: list[Any], numbers: Value, dx: Value, need: Any) -> None:
    """Adds the gradients of a call's inputs to those that are there."""
    for n, gradient, needed in zip(numbers, dx or (None,) * len(numbers), need, strict=True):
        if isinstance(n, tuple):
            _hand_down(d, n, gradient, needed)
        elif needed:
            if gradient is None:
                raise ValueError("backward returned dx=None, but the layer below needs the gradient of its output")
            d[n] = gradient if d[n] is None else d[n] + gradient


def needs(program: Program, need_dx: bool, need_grads: bool) -> list[bool]:
    """For each value whether something depends on its gradient: a parameter before it, or an input."""
    found = [False] * len(program.shapes)
    for n in leaves(program.inputs):
        found[n] = need_dx and not program.integers[n]
    for op in program.ops:
        trained = need_grads and any(p < program.arrays for p in op.params)
        if trained or any(found[n] for n in leaves(op.x)):
            for n in leaves(op.y):
                found[n] = not program.integers[n]
    return found


def _gradients(program: Program, need_dx: bool, need_grads: bool) -> Gradients:
    """Which calls a backward goes through, and where each writes its gradients."""
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


# -- how arrays and values are found -----------------------------------------------------------------------------------


def _functions(op: Op, lead: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The kernel's two functions with the settings that they use, called for each member where they do not know it."""
    forward, backward = op.kernel.forward, op.kernel.backward
    if op.kernel.uses:
        settings = {k: op.layer.settings[k] for k in op.kernel.uses}
        forward, backward = partial(forward, **settings), partial(backward, **settings)
    return each_member(forward, backward) if lead == 2 and not op.kernel.stacked else (forward, backward)


def prepared(op: Op, lead: int) -> Ready:
    plain = type(op.x) is int and type(op.y) is int and not (op.kernel.asks or op.casts or op.kernel.named)
    forward, _ = _functions(op, lead)
    return Ready(forward, _turned_getter(op), op.x, op.y, None if plain else op, _getter(op.state))


NOTHING: Callable[[Sequence[Any]], Any] = itemgetter(slice(0, 0))
"""What takes no array out of all."""


def _getter(positions: Sequence[int | None]) -> Callable[[Sequence[Any]], Any]:
    """What takes the arrays at these positions out of all; None gives None."""
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


def put(values: list[Any], numbers: Value, value: Value) -> None:
    if not isinstance(numbers, tuple):
        values[numbers] = value
        return
    for n, part in zip(numbers, value, strict=True):
        put(values, n, part)


def _add(d: list[Any], numbers: Value, value: Value) -> None:
    if not isinstance(numbers, tuple):
        d[numbers] = value if d[numbers] is None else d[numbers] + value
        return
    for n, part in zip(numbers, value, strict=True):
        if part is not None:
            _add(d, n, part)


def _taken(values: list[Any], numbers: Value) -> Value:
    return map_leaves(lambda n: values[n], numbers)


def _paired(function: Callable[..., Any], numbers: Value, others: Any) -> Any:
    """`function` of each number and what belongs to it, in the structure of the numbers."""
    if not isinstance(numbers, tuple):
        return function(numbers, others)
    return map_leaves(lambda a: a, tuple(_paired(function, n, o) for n, o in zip(numbers, others, strict=True)))
