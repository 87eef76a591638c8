"""Layered layout of a diagram: boxes in rows from top to bottom, successors below their predecessors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

BOX, BEND = 1000.0, 1.0
"""The weights of the alignment with neighbours, of a box and of a bend in a long arrow."""

SWEEPS = 12
BEND_WIDTH = 0.15


class Places(NamedTuple):
    """The row of each box and the position of its centre, and the bends of each arrow, one in each row between."""

    rows: list[int]
    x: list[float]
    bends: dict[tuple[int, int], list[float]]


def places(widths: Sequence[float], edges: Sequence[tuple[int, int]], last: Sequence[int], gap: float) -> Places:
    """Positions boxes of these widths so that arrows from one to another (a < b) lead down and few of them cross.

    Args:
        widths: the widths of the boxes.
        edges: (from, to) of the arrows, without duplicates.
        last: the boxes in the last row.
        gap: the space between adjacent boxes.

    >>> places([1.0, 1.0, 1.0], [(0, 1), (1, 2), (0, 2)], [2], 0.5).rows
    [0, 1, 2]
    """
    rows = _rows(len(widths), edges, last)
    all_rows, all_widths, pairs = [*rows], [*widths], list[tuple[int, int]]()
    bends: dict[tuple[int, int], list[int]] = {}
    for a, b in edges:  # a long arrow occupies a place in each row that it crosses
        new = list(range(len(all_rows), len(all_rows) + rows[b] - rows[a] - 1))
        all_rows += range(rows[a] + 1, rows[b])
        all_widths += [BEND_WIDTH] * len(new)
        bends[a, b] = new
        way = [a, *new, b]
        pairs += pairwise(way)
    above: dict[int, list[int]] = {n: [] for n in range(len(all_rows))}
    below: dict[int, list[int]] = {n: [] for n in range(len(all_rows))}
    for a, b in pairs:
        above[b].append(a)
        below[a].append(b)
    levels = _ordered(all_rows, above, below)
    x = _positions(levels, above, below, all_widths, len(widths), gap)
    for new in bends.values():
        _straightened(new, x, levels, all_rows, all_widths, gap)
    return Places(rows, x[: len(widths)], {edge: [x[n] for n in new] for edge, new in bends.items()})


def _rows(count: int, edges: Sequence[tuple[int, int]], last: Sequence[int]) -> list[int]:
    rows = [0] * count
    for b in range(count):
        rows[b] = max((rows[a] + 1 for a, to in edges if to == b), default=0)
    for n in last:
        rows[n] = max(rows[m] for m in last)
    return rows


def _ordered(rows: Sequence[int], above: Mapping[int, list[int]], below: Mapping[int, list[int]]) -> list[list[int]]:
    """Orders each row so that few arrows cross: boxes move to the mean position of their neighbours, in sweeps down and
    up."""
    levels: list[list[int]] = [[] for _ in range(max(rows) + 1)]
    for n, row in enumerate(rows):
        levels[row].append(n)
    best, fewest = [[*level] for level in levels], _crossings(levels, below)
    for sweep in range(SWEEPS):
        near = (above, below)[sweep % 2]
        for level in levels if near is above else levels[::-1]:
            at = {n: i for other in levels for i, n in enumerate(other)}
            means = {n: sum(at[m] for m in near[n]) / len(near[n]) if near[n] else at[n] for n in level}
            level.sort(key=means.__getitem__)
        crossings = _crossings(levels, below)
        if crossings < fewest:
            best, fewest = [[*level] for level in levels], crossings
    return best


def _crossings(levels: Sequence[Sequence[int]], below: Mapping[int, list[int]]) -> int:
    count = 0
    at = {n: i for level in levels for i, n in enumerate(level)}
    for level in levels:
        ends = [(i, at[m]) for i, n in enumerate(level) for m in below[n]]
        count += sum((a - c) * (b - d) < 0 for k, (a, b) in enumerate(ends) for c, d in ends[:k])
    return count


def _positions(
    levels: Sequence[Sequence[int]],
    above: Mapping[int, list[int]],
    below: Mapping[int, list[int]],
    widths: Sequence[float],
    boxes: int,
    gap: float,
) -> list[float]:
    """The centres, each as close to those of its neighbours as the order and the widths allow."""
    x = [0.0] * len(widths)
    for sweep in range(2 * SWEEPS):
        last = sweep >= 2 * SWEEPS - 2
        for level in levels if sweep % 2 == 0 else levels[::-1]:
            wanted = []
            for n in level:
                near = [*above[n], *below[n]] if last or not sweep else (above, below)[sweep % 2][n]
                near = [m for m in near if m < boxes] or near
                wanted.append(sum(x[m] for m in near) / len(near) if near else x[n])
            weights = [BOX if n < boxes else BEND for n in level]
            for n, middle in zip(level, _apart(wanted, weights, [widths[n] for n in level], gap), strict=True):
                x[n] = middle
    return x


def _apart(wanted: Sequence[float], weights: Sequence[float], widths: Sequence[float], gap: float) -> list[float]:
    """The positions closest to those wanted, in this order and without overlap: colliding neighbours move together."""
    offsets, groups = [0.0], list[tuple[float, float, int]]()  # (position, weight, how many)
    for a, b in pairwise(widths):
        offsets.append(offsets[-1] + (a + b) / 2 + gap)
    for want, weight, offset in zip(wanted, weights, offsets, strict=True):
        group = want - offset, weight, 1
        while groups and groups[-1][0] > group[0]:
            at, heavy, count = groups.pop()
            total = heavy + group[1]
            group = (at * heavy + group[0] * group[1]) / total, total, count + group[2]
        groups.append(group)
    flat = [at for at, _, count in groups for _ in range(count)]
    return [at + offset for at, offset in zip(flat, offsets, strict=True)]


def _straightened(
    bends: Sequence[int],
    x: list[float],
    levels: Sequence[Sequence[int]],
    rows: Sequence[int],
    widths: Sequence[float],
    gap: float,
) -> None:
    """Aligns the bends of an arrow vertically, if there is room on one side of their neighbours."""
    for middle in sorted({x[n] for n in bends}, key=lambda at: -sum(abs(at - x[n]) for n in bends)):
        near = [(n, m) for n in bends for m in levels[rows[n]] if m != n]
        if all(abs(middle - x[m]) >= (widths[n] + widths[m]) / 2 + gap / 2 for n, m in near):
            for n in bends:
                x[n] = middle
            return
