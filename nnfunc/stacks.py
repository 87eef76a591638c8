"""Stacks: K networks as one, whose arrays have a leading axis K and whose randomness is a tuple of K keys.

Everything that takes one network takes a stack: a step makes one update of each member, and losses and accuracies come
as arrays (K,). Member i is the network that would have been trained alone.

The axis is said, never guessed. Parameters say it themselves (`ArrayDict.stack_shape`). Any other array that comes in
is shared by all members, unless it is marked as `per_member`. Inside, every array that flows has the axis, and what
does not know it is called for each member, here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfunc._internal.validate import instance, numeric, positive_int
from nnfunc.arrays import ArrayDict, new_vector
from nnfunc.core.values import Value, leaves, map_leaves
from nnfunc.keys import Key, Keys

__all__ = ["PerMember", "per_member", "repeated"]

T = TypeVar("T")


class PerMember:
    """Data of which each network of a stack has its own: an array (K, ...). Made by `per_member`.

    >>> nn.stacks.per_member(np.zeros((3, 5, 2)))
    PerMember of 3: (5, 2)
    """

    __slots__ = ("array",)

    def __init__(self, array: ArrayLike) -> None:
        self.array: NDArray[Any] = numeric(array, "array")
        if self.array.ndim == 0:
            raise ValueError("array is one number, expected an array with a leading axis of the networks")

    def __repr__(self) -> str:
        return f"PerMember of {len(self.array)}: {self.array.shape[1:]}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PerMember) and np.array_equal(self.array, other.array)

    __hash__: ClassVar[None]  # type: ignore[assignment]  # equal by the values of an array


@overload
def per_member(data: tuple[Any, ...]) -> tuple[Any, ...]: ...
@overload
def per_member(data: PerMember | ArrayLike) -> PerMember: ...
def per_member(data: Any) -> Any:
    """Marks data as given for each network of a stack: its first axis is that of the networks.

    Args:
        data: an array (K, examples, ...), or a tuple of them, nested as you like. Without the mark, an array is shared
            by all members.

    >>> model = nn.dense(2)
    >>> params, state = model.init(nn.split(nn.key(0), 3), (4,))
    >>> x = np.ones((3, 5, 4))  # 5 rows for each of 3 networks, or 3 sequences of length 5 for all of them
    >>> model.forward(params, state, nn.stacks.per_member(x))[0].shape, model.forward(params, state, x)[0].shape
    ((3, 5, 2), (3, 3, 5, 2))
    """
    return map_leaves(lambda a: a if isinstance(a, PerMember) else PerMember(a), data)


def with_axis(value: Any, K: int, name: str) -> Any:
    """Arrays with the axis of the K networks: those that are marked as they are, the others as views that repeat."""

    def own(a: Any) -> NDArray[Any]:
        if not isinstance(a, PerMember):
            array = a if type(a) is np.ndarray else numeric(a, name)
            return np.broadcast_to(array, (K, *array.shape))
        if len(a.array) != K:
            raise ValueError(f"{name} is data for {len(a.array)} networks, but the parameters are a stack of {K}")
        return a.array

    return map_leaves(own, value)


def without_axis(value: Any, name: str) -> Any:
    """The value itself for a single network, for which nothing can be marked."""

    def own(a: Any) -> Any:
        if isinstance(a, PerMember):
            raise ValueError(f"{name} is marked as data per member, but the parameters are those of one network")
        return a

    return map_leaves(own, value)


def keys_of(key: Keys | None, K: int | None) -> Keys | None:
    """The key of one network (K None), or K keys, where one key is shared by all members."""
    if K is None:
        if isinstance(key, tuple):
            raise ValueError(f"key is a tuple of {len(key)} keys, but the parameters are those of one network")
        return key
    if isinstance(key, tuple) and len(key) != K:
        raise ValueError(f"key is a tuple of {len(key)} keys, but the parameters are a stack of {K}")
    return (key,) * K if isinstance(key, Key) else key


# -- what does not know the axis is called for each member -------------------------------------------------------------


def member(value: Any, k: int) -> Any:
    """The part of member k: of arrays, dicts of arrays, keys, and tuples of these."""
    if isinstance(value, ArrayDict):
        return ArrayDict._of(
            value.layout, value._vector[k], {n: v[k] if v.ndim else v for n, v in value._integers.items()}
        )
    if isinstance(value, tuple):
        return value[k] if value and isinstance(value[0], Key) else tuple(member(v, k) for v in value)
    return None if value is None else value[k]


def together(values: Sequence[Value]) -> Value:
    """The values of all members as one, with the axis of the networks in front."""
    if values[0] is None:
        return None  # a gradient that is not there is not there for any member
    return map_leaves(lambda *parts: None if parts[0] is None else np.stack(parts), *values)


def each_member(
    forward: Callable[..., Any], backward: Callable[..., Any]
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The two functions of a kernel, called for each network of a stack."""

    def stacked_forward(params: Any, x: Any, **asked: Any) -> Any:
        first = leaves(x)[0]
        given = {k: v for k, v in asked.items() if k not in ("lead", "train")}
        plain = {k: asked[k] for k in ("train",) if k in asked} | ({"lead": 1} if "lead" in asked else {})
        results = [
            forward(member(params, k), member(x, k), **{n: member(v, k) for n, v in given.items()}, **plain)
            for k in range(len(first))
        ]
        y, caches = together([r[0] for r in results]), [r[1] for r in results]
        if len(results[0]) == 2:
            return y, caches
        states = [r[2] for r in results]
        return y, caches, stack(states) if isinstance(states[0], ArrayDict) else together(states)

    def stacked_backward(params: Any, caches: list[Any], dy: Any, grads: Any, need: Any) -> Any:
        own = [tuple(None if g is None else g[k] for g in grads) for k in range(len(caches))]
        return together(
            [backward(member(params, k), cache, member(dy, k), own[k], need) for k, cache in enumerate(caches)]
        )

    return stacked_forward, stacked_backward


# -- dicts -------------------------------------------------------------------------------------------------------------


def stack(members: Sequence[ArrayDict]) -> ArrayDict:
    """K dicts of the same names, shapes and dtype as one, whose arrays and vector have a leading axis K.

    >>> stack([ArrayDict({"b": [1.0, 2.0]}), ArrayDict({"b": [3.0, 4.0]})]).vector.shape
    (2, 2)
    """
    if not members:
        raise ValueError("members is empty: a stack needs at least one")
    first, *rest = members
    if len({d.dtype for d in members if d.size}) > 1:
        raise TypeError(f"members have the dtypes {', '.join(str(d.dtype) for d in members)}: convert them with astype")
    if any(d.stack_shape for d in members):
        raise ValueError("members has a stack among them, expected dicts of single networks: pass nn.unstack of it")
    same = [first, *(first.like(d, f"members[{i}]") for i, d in enumerate(rest, 1))]
    vector = new_vector((len(same), first.layout.size), first.dtype)
    np.stack([d._vector for d in same], out=vector)
    integers = {k: np.stack([d._integers[k] for d in same]) for k in first._integers}
    for array in integers.values():
        array.setflags(write=False)
    return ArrayDict._of(first.layout, vector, integers)


def unstack(stacked: ArrayDict) -> list[ArrayDict]:
    """The K dicts of a stack, in order. Integers without a leading axis are shared by all."""
    if not stacked.stack_shape:
        raise ValueError("stacked is a single dict (its vector has one axis), expected a stack: make one with nn.stack")
    return [member(stacked, k) for k in range(stacked.stack_shape[0])]


def repeated(params: ArrayDict, K: int) -> ArrayDict:
    """One dict as a stack of K equal ones that share its memory: no copies.

    With it, gradients of single examples are two lines: each member gets one example.

    >>> model, loss = nn.serial(nn.dense(1)), nn.mean_squared_error
    >>> params, state = model.init(nn.key(0), (4,))
    >>> x, target = np.ones((5, 4)), np.zeros((5, 1))
    >>> rows = nn.stacks.per_member((x[:, None], target[:, None]))  # five networks, a row for each
    >>> each = nn.value_and_grad(model, loss)(nn.stacks.repeated(params, 5), state, rows)
    >>> each.grads.vector.shape
    (5, 5)
    """
    instance(params, ArrayDict, "params")
    if params.stack_shape:
        raise ValueError(f"params is a stack of {params.stack_shape[0]}, expected the dict of one network")
    vector = np.broadcast_to(params._vector, (positive_int(K, "K"), params.layout.size))
    return ArrayDict._of(params.layout, vector, params._integers)
