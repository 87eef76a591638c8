"""Stacks: K networks as one, whose arrays have a leading axis K and whose randomness is a tuple of K keys.

Everything that takes one network takes a stack: a step makes one update of each member, from the same batch (or from a
batch of its own, with inputs of shape (K, examples, features)), and losses and accuracies come as arrays (K,). What may
differ between members: parameters, keys, and as arrays (K,) learning rates, weight decay and strengths of penalties.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from nnfunc import arrays
from nnfunc.arrays import ArrayDict
from nnfunc.keys import Key
from nnfunc.training.step import TrainState


@overload
def stack(members: Sequence[ArrayDict]) -> ArrayDict: ...
@overload
def stack(members: Sequence[TrainState]) -> TrainState: ...
def stack(members: Sequence[ArrayDict] | Sequence[TrainState]) -> ArrayDict | TrainState:
    """K dicts of arrays, or K train states, as one.

    Args:
        members: at least one; all have the same names, shapes and dtype (and, as train states, have made the same
            number of steps).
    Returns:
        of dicts: a dict whose arrays have a leading axis K and whose vector is (K, n); of states: a state of such
        dicts, whose key is the tuple of the members' keys.
    Raises:
        ValueError: no member, or names, shapes or numbers of steps that differ; the message lists the differences.
        TypeError: something else than all ArrayDicts or all TrainStates.

    >>> nn.stack([nn.ArrayDict({"b": [1.0, 2.0]}), nn.ArrayDict({"b": [3.0, 4.0]})])["b"]
    array([[1., 2.],
           [3., 4.]])

    Two networks with learning rates of their own, trained as one:

    >>> model = nn.mlp([2, 3, 1], ["tanh", "sigmoid"])
    >>> step = nn.train_step(model, nn.binary_cross_entropy, nn.adam(learning_rate=np.array([0.1, 0.01])))
    >>> ts = nn.stack([nn.train_state(model, step.optimizer, key, (2,)) for key in nn.split(nn.key(0), 2)])
    >>> ts, metrics = step(ts, (np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0, 1])))
    >>> metrics.loss.shape, ts.params["dense1.W"].shape
    ((2,), (2, 2, 3))
    """
    members = list(members)  # type: ignore[assignment]  # an iterator too
    states = [member for member in members if isinstance(member, TrainState)]
    dicts = [member for member in members if isinstance(member, ArrayDict)]
    if states and len(states) == len(members):
        return _states(states)
    if len(dicts) != len(members):
        came = ", ".join(sorted({type(member).__name__ for member in members}))
        raise TypeError(f"members are {came}, expected all ArrayDicts (make them with nn.ArrayDict) or all TrainStates")
    return arrays.stack(dicts)


def _states(members: list[TrainState]) -> TrainState:
    steps = sorted({member.step for member in members})
    if len(steps) > 1:
        raise ValueError(f"the members have made {', '.join(map(str, steps))} steps, expected the same number for all")
    nested = [i for i, member in enumerate(members) if not isinstance(member.key, Key)]
    if nested:
        raise ValueError(f"members[{nested[0]}] is a stack, expected single networks: pass nn.unstack of it")
    return TrainState(
        arrays.stack([member.params for member in members]),
        arrays.stack([member.state for member in members]),
        arrays.stack([member.opt_state for member in members]),
        tuple(member.key for member in members if isinstance(member.key, Key)),
        steps[0],
    )


@overload
def unstack(stacked: ArrayDict) -> list[ArrayDict]: ...
@overload
def unstack(stacked: TrainState) -> list[TrainState]: ...
def unstack(stacked: ArrayDict | TrainState) -> list[ArrayDict] | list[TrainState]:
    """The K members of a stack, in order.

    Raises:
        ValueError: a single dict, or the state of a single network.

    >>> a, b = nn.ArrayDict({"b": [1.0, 2.0]}), nn.ArrayDict({"b": [3.0, 4.0]})
    >>> nn.unstack(nn.stack([a, b])) == [a, b]
    True
    """
    if isinstance(stacked, ArrayDict):
        return arrays.unstack(stacked)
    if not isinstance(stacked, TrainState):
        raise TypeError(f"stacked is {type(stacked).__name__}, expected an ArrayDict or a TrainState")
    params, state, opt_state, keys, step = stacked
    if not isinstance(keys, tuple):
        raise ValueError("stacked is the state of a single network, expected that of a stack: make one with nn.stack")
    states = arrays.unstack(state) if state.stack_shape else [state] * len(keys)
    parts = zip(arrays.unstack(params), states, arrays.unstack(opt_state), keys, strict=True)
    return [TrainState(p, s, o, key, step) for p, s, o, key in parts]
