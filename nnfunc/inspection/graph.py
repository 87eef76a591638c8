"""The graph of a model's calls: which ones depend on which, and which ones the signal can bypass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import or_
from typing import NamedTuple

from nnfunc.core.program import Op
from nnfunc.core.values import Value, leaves


class Graph(NamedTuple):
    """The calls of a program as a graph. A set of values is an integer with their bits set.

    Attributes:
        before: for each value, the values that it is computed from, including itself.
        around: for each call, whether its input joins its output again by another path: inside a residual, in a branch
            whose outputs are concatenated, in a scan.
    """

    ops: tuple[Op, ...]
    before: list[int]
    around: list[bool]

    def depends(self, i: int, j: int) -> bool:
        """Whether call i depends, directly or indirectly, on the result of call j; a call depends on itself."""
        return any(self.before[n] & bits(self.ops[j].y) for n in leaves(self.ops[i].y))

    def chains(self, calls: Sequence[int]) -> list[list[int]]:
        """For each first call (that depends on no other) and last call (on which no other depends), those between them.

        If the signal cannot bypass any of them, each list is a series.
        """
        first = [i for i in calls if not any(self.depends(i, j) for j in calls if j != i)]
        last = [i for i in calls if not any(self.depends(j, i) for j in calls if j != i)]
        found = [[i for i in calls if self.depends(i, a) and self.depends(b, i)] for a in first for b in last]
        return [chain for chain in found if chain]


def graph(ops: Sequence[Op], inputs: Value, count: int) -> Graph:
    """The graph of calls, in order, on `count` values.

    >>> made = nn.models.program(nn.serial(nn.dense(2), nn.residual(nn.tanh())), (2,))
    >>> graph(made.ops, made.inputs, len(made.shapes)).around
    [False, True, False]
    """
    before, after, fed = [1 << n for n in range(count)], [0] * count, [0] * count
    for op in ops:
        made_of = _union(lambda n: before[n], op.x)
        for n in leaves(op.y):
            before[n] |= made_of
    for op in reversed(ops):  # for each value, what is computed from it, and the inputs of those calls
        made, goes_in = bits(op.y) | _union(lambda n: after[n], op.y), bits(op.x) | _union(lambda n: fed[n], op.y)
        for n in leaves(op.x):
            after[n], fed[n] = after[n] | made, fed[n] | goes_in
    around = []
    for op in ops:
        through = bits(op.y) | _union(lambda n: after[n], op.y)
        beside = _union(lambda n: fed[n], op.y) & ~through
        sources = [i for i in leaves(inputs) if _union(lambda n: before[n], op.x) >> i & 1]
        around.append(any(beside & (after[i] | 1 << i) for i in sources))
    return Graph(tuple(ops), before, around)


def bits(value: Value) -> int:
    """The set of the indices of a value.

    >>> bits((0, (2,)))
    5
    """
    return _union(lambda n: 1 << n, value)


def _union(of: Callable[[int], int], value: Value) -> int:
    return reduce(or_, map(of, leaves(value)), 0)
