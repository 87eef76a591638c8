"""What a model's wiring says of its calls: which stand before which, and around which the signal has another way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import or_
from typing import NamedTuple

from nnfunc.core.program import Op
from nnfunc.core.values import Value, leaves


class Graph(NamedTuple):
    """The calls of a program as a graph. A set of values is a number with the bits of theirs set.

    Attributes:
        before: for each value those that it is made of, itself among them.
        around: for each call whether what goes into it comes together with its output again by another way: inside a
            residual, in a branch whose outputs are concatenated, in a scan.
    """

    ops: tuple[Op, ...]
    before: list[int]
    around: list[bool]

    def depends(self, i: int, j: int) -> bool:
        """Whether the call i gets, directly or not, what the call j returned; a call depends on itself."""
        return any(self.before[n] & bits(self.ops[j].y) for n in leaves(self.ops[i].y))

    def chains(self, calls: Sequence[int]) -> list[list[int]]:
        """From each of these calls that depends on no other to each on which no other depends, those between.

        If the signal has no way around any of them, each list is a series.
        """
        first = [i for i in calls if not any(self.depends(i, j) for j in calls if j != i)]
        last = [i for i in calls if not any(self.depends(j, i) for j in calls if j != i)]
        found = [[i for i in calls if self.depends(i, a) and self.depends(b, i)] for a in first for b in last]
        return [chain for chain in found if chain]


def graph(ops: Sequence[Op], inputs: Value, count: int) -> Graph:
    """The graph of calls in order, between `count` values.

    >>> made = nn.models.program(nn.serial(nn.dense(2), nn.residual(nn.tanh())), (2,))
    >>> graph(made.ops, made.inputs, len(made.shapes)).around
    [False, True, False]
    """
    before, after, fed = [1 << n for n in range(count)], [0] * count, [0] * count
    for op in ops:
        made_of = _union(lambda n: before[n], op.x)
        for n in leaves(op.y):
            before[n] |= made_of
    for op in reversed(ops):  # of each value what is made of it, and all that goes in there
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
    """The set of the numbers of a value.

    >>> bits((0, (2,)))
    5
    """
    return _union(lambda n: 1 << n, value)


def _union(of: Callable[[int], int], value: Value) -> int:
    return reduce(or_, map(of, leaves(value)), 0)
