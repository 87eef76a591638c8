"""From a model to its program: one run of its wiring that checks and records each layer call."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray

from nnfunc._internal.validate import instance
from nnfunc.arrays import EMPTY, ArrayDict, as_dict
from nnfunc.core.forward import Moving, called, folded, moved, put, put_several
from nnfunc.core.initial import initial
from nnfunc.core.kernel import Cache, Gather, Signature
from nnfunc.core.layer import Layer, check_stacks
from nnfunc.core.program import Op, Program, Ready, last_uses, prepared
from nnfunc.core.signatures import fitted, probed
from nnfunc.core.values import InputShape, Shapes, Value, check_shapes, leaves, map_leaves, map_shapes, taken
from nnfunc.core.wiring import FROZEN, Wiring
from nnfunc.keys import Keys
from nnfunc.keys import key as new_key
from nnfunc.layout import Shape, within


def build(
    model: Layer,
    params: ArrayDict,
    state: ArrayDict,
    x: Value,
    lead: int,
    key: Keys | None,
    train: bool | Gather,
    folds: tuple[int, ...] = (),
) -> tuple[Program, list[Any], list[Cache], ArrayDict]:
    """Builds the program of a model for parameters, state and inputs like these, and runs it once.

    It is run while being built, since a user-defined layer need not declare the shape of its output.
    """
    check_stacks(params, state)
    moving = Moving(params, state, folded(key, folds), train, lead, [])
    first = FirstRun(moving, [], (*params.arrays, *state.arrays))

    def kind(a: NDArray[Any]) -> Kind:
        if a.ndim < lead:
            raise ValueError(f"x has shape {a.shape[lead - 1 :]}, expected examples on the first axis")
        return Kind(a.shape[lead:], a.dtype.kind != "f")

    builder = Builder(params, state, leaves(x)[0].shape[:lead], lead, first)
    made = builder.program(model, map_leaves(kind, x), x)
    return made, moving.values, first.caches, moved(state, moving.state) if moving.changed else state


def program(
    model: Layer, input_shape: InputShape, params: ArrayDict | None = None, state: ArrayDict | None = None
) -> Program:
    """Returns the flat program of a model, for printing: one line per layer call.

    Args:
        model: a layer or a composition.
        input_shape: the shape of one example; for several inputs a tuple of shapes.
        params, state: of the model; initial ones if not given.
    Returns:
        the program. Each line has the output's number, the layer, its formula, the numbers of its inputs, its arrays,
        the shapes of one example, and whether it has a backward in training.

    >>> nn.models.program(nn.serial(nn.dense(3), nn.residual(nn.tanh())), (2,))
    value  layer            formula      of      arrays  shapes             backward
    --------------------------------------------------------------------------------
    %1     dense1           x W + b      %0      W, b    (2,) → (3,)        yes
    %2     residual1.tanh1  tanh x       %1              (3,) → (3,)        yes
    %3     residual1.add    x₁ + x₂ + …  %1, %2          (3,), (3,) → (3,)  yes
    """
    instance(model, Layer, "model")
    if params is None:
        params, initial_state = initial(model, new_key(0), input_shape)
        state = initial_state if state is None else state
    params, state = as_dict(params, "params"), EMPTY if state is None else as_dict(state, "state")
    check_stacks(params, state)
    kinds = map_shapes(lambda s: Kind(s, False), check_shapes(input_shape))
    lead = 1 + len(params.stack_shape)
    return Builder(params, state, (1,) * lead, lead, None).program(model, kinds, None)


def output_shape(model: Layer, params: ArrayDict, state: ArrayDict, input_shape: InputShape) -> Shapes:
    """Returns the output shape of one example, from the layers' signatures without a forward.

    >>> params, state = nn.dense(3).init(nn.key(0), (2,))
    >>> nn.output_shape(nn.dense(3), params, state, (2,))
    (3,)
    """
    made = program(model, input_shape, params, state)
    return taken(made.shapes, made.output)


class Kind:
    """The shape of one example of an array, and whether its dtype is integer."""

    __slots__ = ("integers", "shape")

    def __init__(self, shape: Shape, integers: bool) -> None:
        self.shape, self.integers = shape, integers


class FirstRun(NamedTuple):
    """The results computed while a program is built: the moving parts, the caches, and all arrays."""

    moving: Moving
    caches: list[Cache]
    arrays: tuple[NDArray[Any], ...]


class Builder:
    """Records the calls of one run of the wiring.

    Args:
        params, state: the arrays, which the layers find by name.
        rows: the leading axes of the inputs, before those of one example, for messages.
        lead: the number of leading axes.
        run: the results computed along the way; None for a program that is only displayed.
    """

    def __init__(self, params: ArrayDict, state: ArrayDict, rows: Shape, lead: int, run: FirstRun | None) -> None:
        self.params, self.state, self.rows, self.lead, self.run = params, state, rows, lead, run
        where, held = params.layout, state.layout
        self.state_at = {name: i for i, name in enumerate((*held.names, *held.integers))}
        frozen = [n.removeprefix(FROZEN) for n in held.names if n.startswith(FROZEN)]
        self.at = {n: len(where.names) + self.state_at[FROZEN + n] for n in frozen}
        self.at |= {n: i for i, n in enumerate(where.names)}
        self.shapes = {n: held.entries[FROZEN + n][2] for n in frozen} | where.shapes
        self.inputs = 0
        self.used: set[str] = set()
        self.ops: list[Op] = []
        self.ready: list[Ready] = []

    def program(self, model: Layer, kinds: Any, x: Value) -> Program:
        """Builds the program of a model for inputs of these kinds."""
        wiring = Wiring(self.leaf)
        inputs = map_leaves(lambda kind: wiring.node(kind.shape, kind.integers), kinds)
        self.inputs = len(wiring.nodes)
        if self.run is not None:
            self.run.moving.values += [None] * self.inputs
            put(self.run.moving.values, _numbers(inputs), x)
        output = wiring.run("", model, inputs)
        where = self.params.layout
        left = [n for n in (*where.names, *where.integers) if n not in self.used]
        if left:
            raise ValueError(f"the parameters do not match the model: it has no layer for {', '.join(left)}")
        wiring.check_frozen([n for op in self.ops for n in op.full])
        for name in where.names:
            if wiring.is_frozen(name):
                raise ValueError(
                    f"{name} is frozen in this model, but is among the parameters: "
                    "nn.train_state(model, optimizer, key, params=params, state=state) moves it into the state"
                )
        return Program(
            ops=tuple(self.ops),
            inputs=_numbers(inputs),
            output=_numbers(output),
            shapes=tuple(node.shape for node in wiring.nodes),
            integers=tuple(node.integers for node in wiring.nodes),
            arrays=len(where.names),
            constants=any(p >= len(where.names) for op in self.ops for p in op.params),
            asks_key=any("key" in op.kernel.asks for op in self.ops),
            lead=self.lead,
            last=last_uses(self.ops, _numbers(output)),
            ready=tuple(self.ready),
            gradients={},
        )

    def leaf(self, wiring: Wiring, path: str, layer: Layer, x: Value, key: tuple[int, ...], again: int) -> Value:
        """Records one kernel call and returns its output."""
        kernel, prefix = layer.kernel, within(path)
        assert kernel is not None
        kinds = kernel.kinds(x)
        for i, (node, wanted) in enumerate(zip(leaves(x), kinds, strict=True)):
            if wanted == "integers" and not node.integers:
                if self.run is not None:
                    name = f"x[{i}]" if len(kinds) > 1 else "x"
                    raise TypeError(f"{name} contains floats, expected integers: pass {name}.astype(int)")
                node.integers = True  # only shapes were given
        integers = [node.integers for node in leaves(x)]
        own = self.own_arrays(wiring, prefix, kernel.named)
        wiring.check_named(path, list(own))
        shape = map_leaves(lambda node: node.shape, x)
        first = all(node.number < self.inputs for node in leaves(x))
        said = fitted(layer, {k: self.own_shape(*place) for k, place in own.items()}, shape, self.rows, first)
        names = tuple(own) if kernel.named else tuple(said.params)
        full = tuple(own[k][0] for k in names)
        state_names = self.own_state(said, prefix, kernel.named and "state" in kernel.asks)
        op = Op(
            path=path,
            layer=layer,
            x=_numbers(x),
            y=(),
            names=names,
            full=full,
            params=tuple(self.at[n] for n in full),
            turned=tuple(own[k][1] for k in names),
            state=tuple(self.state_at[prefix + k] for k in state_names),
            state_names=state_names,
            key=key,
            predicts=(bool(names) and all(map(wiring.is_frozen, full))) or (bool(path) and wiring.is_frozen(prefix)),
            casts=tuple(whole and wanted == "floats" for whole, wanted in zip(integers, kinds, strict=True)),
        )
        stays = set(kinds) == {"any"} and not kernel.named and all(integers)
        output = said.output
        if output is None and self.run is None:
            output = probed(layer, self.params.group(path) if path else self.params, EMPTY, shape)
        y = None if output is None else map_shapes(lambda s: wiring.node(s, stays), output)
        return self.noted(wiring, op, y)

    def own_arrays(self, wiring: Wiring, prefix: str, named: bool) -> dict[str, tuple[str, bool]]:
        """A layer's arrays: for each its name in the model (if tied, its target's), and whether it is transposed."""
        own = {n[len(prefix) :]: (n, False) for n in self.at if n.startswith(prefix) and self.mine(wiring, n)}
        self.used.update(n for n, _ in own.values())
        for name, (to, turned) in wiring.ties.items():
            if name.startswith(prefix):
                if to not in self.at:
                    raise ValueError(f"{name[len(prefix) :]} is tied to {to!r}, which is not among the parameters")
                own[name[len(prefix) :]] = to, turned
        counts = [n for n in self.params.layout.integers if n.startswith(prefix)]
        self.used.update(counts)
        if counts and not named:
            raise ValueError(
                f"{counts[0][len(prefix) :]} has dtype int64, expected floats: pass dtype=np.float32 to ArrayDict"
            )
        return own

    def mine(self, wiring: Wiring, name: str) -> bool:
        """Whether an array is one of the parameters, or is frozen by this model."""
        return self.at[name] < len(self.params.names) or wiring.is_frozen(name)

    def own_shape(self, name: str, turned: bool) -> Shape:
        """The shape of an array as seen by a layer."""
        return self.shapes[name][::-1] if turned else self.shapes[name]

    def own_state(self, said: Signature, prefix: str, all_of_it: bool) -> tuple[str, ...]:
        """The names of a layer's state arrays, checked for presence and against the shapes in its signature."""
        there = {n[len(prefix) :] for n in self.state_at if n.startswith(prefix) and not n.startswith(FROZEN)}
        if all_of_it:
            return tuple(n[len(prefix) :] for n in self.state_at if n[len(prefix) :] in there and n.startswith(prefix))
        for name, array in said.state.items():
            if name not in there:
                raise ValueError(
                    f"the state has {', '.join(there) or 'nothing'}, expected {' and '.join(said.state)}: pass the "
                    "state that model.init returned"
                )
            shape = self.state.layout.shapes.get(prefix + name, ())
            if shape != array.shape:
                raise ValueError(
                    f"the state {name} has shape {shape}, expected {array.shape}: pass the state that model.init "
                    "returned"
                )
        return tuple(said.state)

    def noted(self, wiring: Wiring, op: Op, y: Value) -> Value:
        """Adds a call to the program, runs it if there are values, and returns its outputs."""
        if y is not None:
            op = op._replace(y=_numbers(y))
        entry = prepared(op, self.lead)
        if self.run is not None:
            moving = self.run.moving
            value, cache = called(entry, op, entry.own(self.run.arrays), moving)
            if y is None:  # the output determines its shape
                y = map_leaves(lambda a: wiring.node(a.shape[self.lead :]), value)
                op = op._replace(y=_numbers(y))
                entry = prepared(op, self.lead)
            elif op.kernel.named:
                _check_output(value, map_leaves(lambda node: node.shape, y), self.lead)
            moving.values += [None] * (len(wiring.nodes) - len(moving.values))
            if type(op.y) is int:
                moving.values[op.y] = value
            else:
                cache = put_several(moving.values, op.y, value, cache)
            self.run.caches.append(cache)
        self.ops.append(op)
        self.ready.append(entry)
        return y


def _numbers(nodes: Value) -> Value:
    return map_leaves(lambda node: node.number, nodes)


def _check_output(value: Value, said: Any, lead: int) -> None:
    """Raises an error if a user-defined layer returns a different shape than it declares."""
    came = map_leaves(lambda a: tuple(a.shape[lead:]), value)
    if came != said:
        raise ValueError(f"forward returned y with examples of shape {came}, but shape= returned {said}")
