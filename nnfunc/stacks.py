"""Stacks: K networks as one, whose arrays have a leading axis K and whose randomness is a tuple of K keys.

Everything that accepts one network accepts a stack: a step updates each member once, and losses and accuracies are
arrays (K,). Member i is identical to the network trained alone.

The axis is explicit, never guessed. Parameters declare it (`ArrayDict.stack_shape`). Any other input array is shared
by all members unless it is marked with `per_member`. Internally every array has the axis; functions that do not
support it are called once per member, here.
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
    """Data with separate values for each network of a stack: an array (K, ...). Created by `per_member`.

    >>> nn.stacks.per_member(np.zeros((3, 5, 2)))
    PerMember of 3: (5, 2)
    """

    __slots__ = ("array",)

    def __init__(self, array: ArrayLike) -> None:
        self.array: NDArray[Any] = numeric(array, "array")
        if self.array.ndim == 0:
            raise ValueError("array is a scalar, expected an array with a leading stack axis")

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
    """Marks data as separate for each network of a stack: its first axis is the stack axis.

    Args:
        data: an array (K, examples, ...), or an arbitrarily nested tuple of them. Unmarked arrays are shared by all
            members.

    >>> model = nn.dense(2)
    >>> params, state = model.init(nn.split(nn.key(0), 3), (4,))
    >>> x = np.ones((3, 5, 4))  # 5 rows for each of 3 networks, or 3 sequences of length 5 for all of them
    >>> model.forward(params, state, nn.stacks.per_member(x))[0].shape, model.forward(params, state, x)[0].shape
    ((3, 5, 2), (3, 3, 5, 2))
    """
    return map_leaves(lambda a: a if isinstance(a, PerMember) else PerMember(a), data)


def with_axis(value: Any, K: int, name: str) -> Any:
    """Returns arrays with the axis of the K networks: marked ones as they are, others as broadcast views."""

    def own(a: Any) -> NDArray[Any]:
        if not isinstance(a, PerMember):
            array = a if type(a) is np.ndarray else numeric(a, name)
            return np.broadcast_to(array, (K, *array.shape))
        if len(a.array) != K:
            raise ValueError(f"{name} contains data for {len(a.array)} networks, but the parameters are a stack of {K}")
        return a.array

    return map_leaves(own, value)


def without_axis(value: Any, name: str) -> Any:
    """Returns the value itself for a single network, where no array may be marked."""

    def own(a: Any) -> Any:
        if isinstance(a, PerMember):
            raise ValueError(f"{name} is marked with per_member, but the parameters belong to a single network")
        return a

    return map_leaves(own, value)


def keys_of(key: Keys | None, K: int | None) -> Keys | None:
    """Returns the key of one network (K None), or K keys; a single key is shared by all members."""
    if K is None:
        if isinstance(key, tuple):
            raise ValueError(f"key is a tuple of {len(key)} keys, but the parameters belong to a single network")
        return key
    if isinstance(key, tuple) and len(key) != K:
        raise ValueError(f"key is a tuple of {len(key)} keys, but the parameters are a stack of {K}")
    return (key,) * K if isinstance(key, Key) else key


# -- functions without stack support are called once per member --------------------------------------------------------


def member(value: Any, k: int) -> Any:
    """Returns member k of arrays, dicts of arrays, keys, and tuples of these."""
    if isinstance(value, ArrayDict):
        return ArrayDict._of(
            value.layout, value._vector[k], {n: v[k] if v.ndim else v for n, v in value._integers.items()}
        )
    if isinstance(value, tuple):
        return value[k] if value and isinstance(value[0], Key) else tuple(member(v, k) for v in value)
    return None if value is None else value[k]


def together(values: Sequence[Value]) -> Value:
    """Stacks the values of all members along a new leading axis."""
    if values[0] is None:
        return None  # a gradient is missing for all members or for none
    return map_leaves(lambda *parts: None if parts[0] is None else np.stack(parts), *values)


def each_member(
    forward: Callable[..., Any], backward: Callable[..., Any]
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Wraps the two functions of a kernel to be called once per network of a stack."""

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
    """Stacks K dicts of the same names, shapes and dtype; arrays and vector get a leading axis K.

    >>> stack([ArrayDict({"b": [1.0, 2.0]}), ArrayDict({"b": [3.0, 4.0]})]).vector.shape
    (2, 2)
    """
    if not members:
        raise ValueError("members is empty: a stack needs at least one")
    first, *rest = members
    if len({d.dtype for d in members if d.size}) > 1:
        raise TypeError(
            f"members have different dtypes ({', '.join(str(d.dtype) for d in members)}): convert them with astype"
        )
    if any(d.stack_shape for d in members):
        raise ValueError("members contains a stack, expected dicts of single networks: pass its nn.unstack")
    same = [first, *(first.like(d, f"members[{i}]") for i, d in enumerate(rest, 1))]
    vector = new_vector((len(same), first.layout.size), first.dtype)
    np.stack([d._vector for d in same], out=vector)
    integers = {k: np.stack([d._integers[k] for d in same]) for k in first._integers}
    for array in integers.values():
        array.setflags(write=False)
    return ArrayDict._of(first.layout, vector, integers)


def unstack(stacked: ArrayDict) -> list[ArrayDict]:
    """Returns the K dicts of a stack, in order. Integers without a leading axis are shared by all."""
    if not stacked.stack_shape:
        raise ValueError(
            "stacked is a single dict (its vector has one axis), expected a stack: create one with nn.stack"
        )
    return [member(stacked, k) for k in range(stacked.stack_shape[0])]


def repeated(params: ArrayDict, K: int) -> ArrayDict:
    """Returns a stack of K copies of one dict that share its memory.

    This gives per-example gradients in two lines: each member gets one example.

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
