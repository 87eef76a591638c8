"""The train state, of a single network or a stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from nnfunc import stacks
from nnfunc._internal.validate import instance, sequence
from nnfunc.arrays import EMPTY, ArrayDict
from nnfunc.core.layer import Layer
from nnfunc.core.values import InputShape
from nnfunc.keys import Key, Keys, check, split
from nnfunc.layers.parts import sorted_by_freezing
from nnfunc.optimizers.base import Optimizer, OptimizerName
from nnfunc.optimizers.names import named_optimizer


class TrainState(NamedTuple):
    """Everything that training changes: a step takes a state and returns the next.

    `params`, `state` (running averages, frozen parts and the like) and `opt_state` are immutable dicts of arrays; `key`
    is the source of randomness of all steps; `step` is the number of updates so far.

    >>> ts = nn.train_state(nn.serial(nn.dense(3)), nn.gd(), nn.key(0), input_shape=(2,))
    >>> ts.step, ts.params.size, list(ts.opt_state)
    (0, 9, ['step'])
    """

    params: ArrayDict
    state: ArrayDict
    opt_state: ArrayDict
    key: Keys
    step: int


def train_state(
    model: Layer,
    optimizer: Optimizer | OptimizerName,
    key: Keys,
    input_shape: InputShape | None = None,
    dtype: DTypeLike = np.float32,
    params: Mapping[str, ArrayLike] | None = None,
    state: Mapping[str, ArrayLike] | None = None,
) -> TrainState:
    """Creates the initial train state.

    Args:
        model, optimizer: those of the training step.
        key: the key of the initial parameters and of all later randomness; a tuple of K keys creates a stack of K
            networks. With the parameters of a stack, a single key is shared by all members.
        input_shape: the shape of one example, like (64,), or a tuple of shapes; not needed if params are given and the
            model has no state.
        dtype: the dtype of the parameters, and thus of all computation.
        params: initial parameters, instead of random ones; they keep their dtype. They may include parameters that the
            model freezes, which are moved to the state.
        state: the initial state of the model, likewise.
    Raises:
        ValueError: neither input_shape nor params; with both, params that do not fit the model (otherwise, the first
            step raises the error); a tuple of keys with the parameters of a single network.

    >>> model = nn.serial(nn.dense(3))
    >>> ts = nn.train_state(model, nn.adam(), nn.key(0), input_shape=(2,))
    >>> list(ts.params), list(ts.opt_state), ts.step
    (['dense1.W', 'dense1.b'], ['m.dense1.W', 'm.dense1.b', 'v.dense1.W', 'v.dense1.b', 'step'], 0)
    """
    model = instance(model, Layer, "model")
    optimizer = named_optimizer(optimizer)
    key = tuple(key) if isinstance(key, list) else key
    if isinstance(key, tuple) and not key:
        raise ValueError("key is an empty tuple: expected a key, or one key per network of a stack")
    for k in key if isinstance(key, tuple) else (key,):
        check(k)
    init_key, later = halves(key)
    given = None if params is None else _as_given(params, key)
    own = EMPTY if state is None else state if isinstance(state, ArrayDict) else ArrayDict(state)
    if given is not None:
        if isinstance(key, tuple) and given.stack_shape != (len(key),):
            came = f"those of a stack of {given.stack_shape[0]}" if given.stack_shape else "those of one network"
            raise ValueError(f"key is a tuple of {len(key)} keys, but params are {came}")
        if given.stack_shape and not isinstance(key, tuple):
            init_key, later = halves((key,) * given.stack_shape[0])
        given, own = sorted_by_freezing(model, given, own)
    if input_shape is not None:
        fresh, fresh_state = model.init(init_key, input_shape, dtype)
        if given is not None:
            fresh_state = fresh_state.astype(given.dtype)
            what = "params: they do not fit the model, whose params it"
            given = fresh.astype(given.dtype).like(given, what)
        else:
            given = fresh
        own = fresh_state if state is None and not own else fresh_state.like(own, "state")
    elif given is None:
        raise ValueError("neither input_shape nor params: pass input_shape=(features,), the shape of one example")
    return TrainState(given, own.astype(given.dtype), optimizer.init(given), later, 0)


def _as_given(params: Mapping[str, ArrayLike], key: Keys) -> ArrayDict:
    if isinstance(params, ArrayDict):
        return params
    plain = ArrayDict(params)
    return plain if plain.stack_shape or not isinstance(key, tuple) else ArrayDict(params, stacked=True)


def halves(key: Keys) -> tuple[Keys, Keys]:
    """The key of the initial parameters and that of the steps: `split(key)`, for each network of a stack."""
    if isinstance(key, tuple):
        pairs = [split(k) for k in key]
        return tuple(a for a, _ in pairs), tuple(b for _, b in pairs)
    init_key, later = split(key)
    return init_key, later


@overload
def stack(members: Sequence[ArrayDict]) -> ArrayDict: ...
@overload
def stack(members: Sequence[TrainState]) -> TrainState: ...
def stack(members: Sequence[ArrayDict] | Sequence[TrainState]) -> ArrayDict | TrainState:
    """Stacks K dicts of arrays, or K train states.

    Args:
        members: at least one; all must have the same names, shapes and dtype (and train states the same number of
            steps).
    Returns:
        for dicts, a dict whose arrays have a leading axis K and whose vector is (K, n); for states, a state of such
        dicts, whose key is the tuple of the members' keys.
    Raises:
        ValueError: no members, or mismatched names, shapes or numbers of steps; the message lists the differences.
        TypeError: members that are neither all ArrayDicts nor all TrainStates.

    >>> nn.stack([nn.ArrayDict({"b": [1.0, 2.0]}), nn.ArrayDict({"b": [3.0, 4.0]})])["b"]
    array([[1., 2.],
           [3., 4.]])

    Two networks with different learning rates, trained together:

    >>> model = nn.mlp([2, 3, 1], ["tanh", "sigmoid"])
    >>> step = nn.train_step(model, nn.binary_cross_entropy, nn.adam(learning_rate=np.array([0.1, 0.01])))
    >>> ts = nn.stack([nn.train_state(model, step.optimizer, key, (2,)) for key in nn.split(nn.key(0), 2)])
    >>> ts, metrics = step(ts, (np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0, 1])))
    >>> metrics.loss.shape, ts.params["dense1.W"].shape
    ((2,), (2, 2, 3))
    """
    members = sequence(members, "members")  # type: ignore[assignment]  # also an iterator
    states = [member for member in members if isinstance(member, TrainState)]
    dicts = [member for member in members if isinstance(member, ArrayDict)]
    if states and len(states) == len(members):
        return _states(states)
    if len(dicts) != len(members):
        came = ", ".join(sorted({type(member).__name__ for member in members}))
        raise TypeError(f"members are {came}, expected only ArrayDicts (created by nn.ArrayDict) or only TrainStates")
    return stacks.stack(dicts)


def _states(members: list[TrainState]) -> TrainState:
    steps = sorted({member.step for member in members})
    if len(steps) > 1:
        raise ValueError(f"the members are at steps {', '.join(map(str, steps))}, expected the same step for all")
    nested = [i for i, member in enumerate(members) if not isinstance(member.key, Key)]
    if nested:
        raise ValueError(f"members[{nested[0]}] is a stack, expected single networks: pass the members from nn.unstack")
    return TrainState(
        stacks.stack([member.params for member in members]),
        stacks.stack([member.state for member in members]),
        stacks.stack([member.opt_state for member in members]),
        tuple(member.key for member in members if isinstance(member.key, Key)),
        steps[0],
    )


@overload
def unstack(stacked: ArrayDict) -> list[ArrayDict]: ...
@overload
def unstack(stacked: TrainState) -> list[TrainState]: ...
def unstack(stacked: ArrayDict | TrainState) -> list[ArrayDict] | list[TrainState]:
    """Returns the K members of a stack, in order.

    Raises:
        ValueError: a dict or a state that is not a stack.

    >>> a, b = nn.ArrayDict({"b": [1.0, 2.0]}), nn.ArrayDict({"b": [3.0, 4.0]})
    >>> nn.unstack(nn.stack([a, b])) == [a, b]
    True
    """
    if isinstance(stacked, ArrayDict):
        return stacks.unstack(stacked)
    if not isinstance(stacked, TrainState):
        raise TypeError(f"stacked is {type(stacked).__name__}, expected an ArrayDict or a TrainState")
    params, state, opt_state, keys, step = stacked
    if not isinstance(keys, tuple):
        raise ValueError("stacked is the state of a single network, expected that of a stack: create one with nn.stack")
    states = stacks.unstack(state) if state.stack_shape else [state] * len(keys)
    parts = zip(stacks.unstack(params), states, stacks.unstack(opt_state), keys, strict=True)
    return [TrainState(p, s, o, key, step) for p, s, o, key in parts]
