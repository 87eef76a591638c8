"""From a model to its initial parameters and to its program: one run of its wiring, on shapes or with the first inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nnfunc.arrays import EMPTY, ArrayDict
from nnfunc.core.kernel import Cache
from nnfunc.core.layer import Layer, check_stacks
from nnfunc.core.program import (
    Moving,
    Op,
    Program,
    Ready,
    called,
    folded,
    functions,
    kept,
    moved,
    put,
    prepared,
    turned_getter,
)
from nnfunc.core.signatures import fitted, probed
from nnfunc.core.values import Shapes, Value, check_shapes, leaves, map_leaves, map_shapes
from nnfunc.core.wiring import FROZEN, Wiring
from nnfunc.initializers import initial as drawn
from nnfunc.keys import Key, Keys, check, fold_in
from nnfunc.keys import key as new_key
from nnfunc.layout import Shape
from nnfunc.stacks import stack

# -- initial parameters ------------------------------------------------------------------------------------------------


def initial(model: Layer, key: Keys, input_shape: Shapes, dtype: DTypeLike = np.float32) -> tuple[ArrayDict, ArrayDict]:
    """Initial parameters and state: the wiring is run on shapes alone, and each layer draws its arrays."""
    if isinstance(key, (tuple, list)):
        if not key:
            raise ValueError("key is an empty tuple: expected a key, or a key for each network of a stack")
        members = [_initial(model, check(k), input_shape, dtype) for k in key]
        return stack([p for p, _ in members]), stack([s for _, s in members])
    return _initial(model, check(key), input_shape, dtype)


def _initial(model: Layer, key: Key, input_shape: Shapes, dtype: DTypeLike) -> tuple[ArrayDict, ArrayDict]:
    params: dict[str, Any] = {}
    state: dict[str, Any] = {}

    def leaf(wiring: Wiring, path: str, layer: Layer, x: Value, numbers: tuple[int, ...], again: int) -> Value:
        kernel, prefix = layer.kernel, f"{path}." if path else ""
        assert kernel is not None
        own_key = folded(key, numbers)
        shape = map_leaves(lambda node: node.shape, x)
        said = kernel.signature(shape, **layer.settings)
        if kernel.init is not None:
            arrays = kernel.init(own_key, shape, dtype, **layer.settings) if not again else ({}, {})
        else:
            arrays = tuple(
                {k: drawn(a.initializer, fold_in(own_key, i), a.shape, dtype) for i, (k, a) in enumerate(d.items())
                 if not again and prefix + k not in wiring.ties}
                for d in (said.params, said.state)
            )  # fmt: skip
        own, own_state = arrays
        params.update({prefix + k: v for k, v in own.items() if prefix + k not in wiring.ties})
        state.update({prefix + k: v for k, v in own_state.items()})
        if kernel.named and said.output is None:
            dicts = ArrayDict(own, dtype), ArrayDict(own_state)
            return wiring.node(lambda: probed(layer, *dicts, shape))
        integers = kernel.takes == "any" and not kernel.named and all(node.integers for node in leaves(x))
        return map_shapes(lambda s: wiring.node(s, integers), said.output)

    wiring = Wiring(leaf)
    wiring.run("", model, map_shapes(wiring.node, check_shapes(input_shape)))
    _check_ties(wiring, params)
    wiring.check_frozen(list(params))
    held = {FROZEN + k: np.asarray(v, dtype) for k, v in params.items() if wiring.is_frozen(k)}
    trained = {k: v for k, v in params.items() if FROZEN + k not in held}
    if not state and not held:
        return ArrayDict(trained, dtype, stacked=False), EMPTY if np.dtype(dtype) == np.float32 else EMPTY.astype(dtype)
    kept = {k: v if np.asarray(v).dtype.kind in "iub" else np.asarray(v, dtype) for k, v in state.items()}
    return ArrayDict(trained, dtype, stacked=False), ArrayDict({**kept, **held}, stacked=False)


def _check_ties(wiring: Wiring, params: dict[str, Any]) -> None:
    for name, (to, _) in wiring.ties.items():
        if to not in params:
            raise ValueError(f"{name} is tied to {to!r}, which the model does not have: {', '.join(params) or 'no arrays'}")


# -- building ----------------------------------------------------------------------------------------------------------


def build(
    model: Layer,
    params: ArrayDict,
    state: ArrayDict,
    x: Value,
    lead: int,
    key: Keys | None,
    train: bool,
    folds: tuple[int, ...] = (),
) -> tuple[Program, list[Any], list[Cache], ArrayDict]:
    """The program of a model for parameters, state and inputs like these, which are checked to fit, and its first run.

    It is run while it is built, since a layer of your own need not say the shape of its output.
    """
    check_stacks(params, state)
    moving = Moving(params, state, key, train, lead, folds)
    rows = leaves(x)[0].shape[:lead]

    def shapes_of(a: NDArray[Any]) -> Shape:
        if a.ndim < lead:
            raise ValueError(f"x has shape {a.shape[lead - 1 :]}, expected an axis of examples first")
        return a.shape[lead:]

    kinds = map_leaves(lambda a: Kind(shapes_of(a), a.dtype.kind != "f"), x)
    program = _built(model, params, state, kinds, rows, lead, x, moving)
    return program, moving.values, moving.caches, moved(state, moving.state)


def program(model: Layer, input_shape: Shapes, params: ArrayDict | None = None, state: ArrayDict | None = None) -> Program:
    """The straight program that a model is, to be printed: a line for each call of a layer.

    Args:
        model: a layer or a composition.
        input_shape: the shape of one example; for several inputs a tuple of shapes.
        params, state: of the model; initial ones if not given.
    Returns:
        the program. Each line has the number of what comes out, the layer, its formula, the numbers of what goes in,
        the arrays that it uses, the shapes of one example, and whether a backward goes through it in training.

    >>> nn.program(nn.serial(nn.dense(3), nn.residual(nn.tanh())), (2,))
    value  layer            formula    of      arrays              shapes             backward
    ------------------------------------------------------------------------------------------
    %1     dense1           x W + b    %0      dense1.W, dense1.b  (2,) → (3,)        yes
    %2     residual1.tanh1  tanh x     %1                          (3,) → (3,)        yes
    %3     residual1.add    x₁ + x₂ …  %1, %2                      (3,), (3,) → (3,)  yes
    """
    if not isinstance(model, Layer):
        raise TypeError(f"model is {type(model).__name__}, expected a Layer, as nn.serial makes one")
    if params is None:
        params, initial_state = initial(model, new_key(0), input_shape)
        state = initial_state if state is None else state
    state = EMPTY if state is None else state
    check_stacks(params, state)
    kinds = map_shapes(lambda s: Kind(s, False), check_shapes(input_shape))
    return _built(model, params, state, kinds, (1,), 1 + len(params.stack_shape), None, None)


def output_shape(model: Layer, params: ArrayDict, state: ArrayDict, input_shape: Shapes) -> Shapes:
    """The shape of one example after a model: what its layers say of it, without a forward.

    >>> params, state = nn.dense(3).init(nn.key(0), (2,))
    >>> nn.output_shape(nn.dense(3), params, state, (2,))
    (3,)
    """
    made = program(model, input_shape, params, state)
    return map_leaves(lambda n: made.shapes[n], made.output)


class Kind:
    """The shape of one example of an array, and whether it is made of integers."""

    __slots__ = ("integers", "shape")

    def __init__(self, shape: Shape, integers: bool) -> None:
        self.shape, self.integers = shape, integers


def _built(
    model: Layer,
    params: ArrayDict,
    state: ArrayDict,
    kinds: Any,
    rows: Shape,
    lead: int,
    x: Value,
    moving: Moving | None,
) -> Program:
    where, held = params.layout, state.layout
    state_positions = {name: i for i, name in enumerate((*held.names, *held.integers))}
    frozen = {n.removeprefix(FROZEN): i for n, i in state_positions.items() if n.startswith(FROZEN)}
    positions = {name: len(where.names) + i for name, i in frozen.items()}
    positions |= {name: i for i, name in enumerate(where.names)}
    entries = {**{n: held.entries[FROZEN + n] for n in frozen}, **where.entries}
    used: set[str] = set()
    ops: list[Op] = []
    ready: list[Ready] = []

    def leaf(wiring: Wiring, path: str, layer: Layer, x: Value, key: tuple[int, ...], again: int) -> Value:
        kernel, prefix = layer.kernel, f"{path}." if path else ""
        assert kernel is not None
        own = {n[len(prefix) :]: n for n in where.names if n.startswith(prefix)}
        own |= {n[len(prefix) :]: n for n in frozen if n.startswith(prefix) and wiring.is_frozen(n)}
        tied = {n[len(prefix) :]: t for n, t in wiring.ties.items() if n.startswith(prefix)}
        integers = all(node.integers for node in leaves(x))
        counts = [n for n in where.integers if n.startswith(prefix)]
        if kernel.takes == "integers" and not integers:
            raise TypeError("x is made of floats, expected integers: pass x.astype(int)")
        if counts and not kernel.named:
            raise ValueError(
                f"{counts[0][len(prefix) :]} has dtype int64, expected floats: pass dtype=np.float32 to ArrayDict"
            )
        shapes = {k: entries[n][2] for k, n in own.items()}
        for k, (to, turned) in tied.items():
            if to not in entries:
                raise ValueError(f"{k} is tied to {to!r}, which the parameters do not have")
            shapes[k] = entries[to][2][::-1] if turned else entries[to][2]
        first = all(node.number < len(leaves(kinds)) for node in leaves(x))
        said = fitted(layer, shapes, map_leaves(lambda node: node.shape, x), rows, first)
        names = tuple(shapes) if kernel.named else tuple(said.params)
        full = tuple(tied[k][0] if k in tied else own[k] for k in names)
        state_names = tuple(said.state)
        if kernel.named and "state" in kernel.asks:
            mine = [n for n in state_positions if n.startswith(prefix) and not n.startswith(FROZEN)]
            state_names = tuple(n[len(prefix) :] for n in mine)
        _check_state(said.state, state_names, prefix, held, state_positions)
        used.update(own.values(), counts)
        predicts = bool(names) and all(wiring.is_frozen(n) for n in full) or (bool(path) and wiring.is_frozen(prefix))
        op = Op(
            path, layer, map_leaves(lambda node: node.number, x), (), names, full, tuple(positions[n] for n in full),
            tuple(k in tied and tied[k][1] for k in names), tuple(state_positions[prefix + k] for k in state_names),
            state_names, key, predicts, kernel.takes == "floats" and any(node.integers for node in leaves(x)),
        )  # fmt: skip
        stays = kernel.takes == "any" and not kernel.named and integers
        if said.output is not None:
            y: Value = map_shapes(lambda s: wiring.node(s, stays), said.output)
        elif moving is None:
            group = params.group(path) if path else params
            y = wiring.node(probed(layer, group, EMPTY, map_leaves(lambda node: node.shape, x)))
        else:
            y = None
        return _ran(wiring, op, y, lead, moving, ops, ready)

    wiring = Wiring(leaf)
    inputs = map_leaves(lambda kind: wiring.node(kind.shape, kind.integers), kinds)
    if moving is not None:
        moving.values = [None] * len(wiring.nodes)
        put(moving.values, map_leaves(lambda node: node.number, inputs), x)
    output = wiring.run("", model, inputs)
    extra = ", ".join(k for k in (*where.names, *where.integers) if k not in used and k not in _ends(wiring))
    if extra:
        raise ValueError(f"the parameters do not fit the model: it has no layer for {extra}")
    wiring.check_frozen([n for op in ops for n in op.full])
    numbers = map_leaves(lambda node: node.number, (inputs, output))
    return Program(
        tuple(ops), *numbers, tuple(node.shape for node in wiring.nodes), tuple(node.integers for node in wiring.nodes),
        len(where.names), any(p >= len(where.names) for op in ops for p in op.params), lead, tuple(ready), {},
    )  # fmt: skip


def _ends(wiring: Wiring) -> set[str]:
    return {to for to, _ in wiring.ties.values()}


def _ran(
    wiring: Wiring, op: Op, y: Value, lead: int, moving: Moving | None, ops: list[Op], ready: list[Ready]
) -> Value:
    """Adds a call to the program, and makes it if there are values to make it with; gives the nodes of its output."""
    if y is not None:
        op = op._replace(y=map_leaves(lambda node: node.number, y))
    if moving is not None:
        forward, own = functions(op, lead)[0], turned_getter(op)
        result, cache = called(op, forward, own(moving.arrays), moving)
        if y is None:  # what comes out says its shape
            y = map_leaves(lambda a: wiring.node(a.shape[lead:]), result)
            op = op._replace(y=map_leaves(lambda node: node.number, y))
        moving.values += [None] * (len(wiring.nodes) - len(moving.values))
        moving.caches.append(kept(op, result, cache, moving))
    ops.append(op)
    ready.append(prepared(op, lead))
    return y


def _check_state(said: Any, names: Sequence[str], prefix: str, held: Any, positions: dict[str, int]) -> None:
    missing = [k for k in names if prefix + k not in positions]
    if missing:
        came = ", ".join(n[len(prefix) :] for n in positions if n.startswith(prefix)) or "nothing"
        raise ValueError(
            f"the state has {came}, expected {' and '.join(names)}: pass the state that model.init returned"
        )
    for k, a in said.items():
        shape = held.entries[prefix + k][2]
        if shape != a.shape:
            raise ValueError(f"the state {k} has shape {shape}, expected {a.shape}: pass the state that model.init returned")

