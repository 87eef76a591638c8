"""A program as a table with one row per call of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nnfunc._internal.text import html_table, text_table
from nnfunc.core.program import needs
from nnfunc.core.values import Value, leaves

if TYPE_CHECKING:
    from nnfunc.core.program import Op, Program

HEAD = ("value", "layer", "formula", "of", "arrays", "shapes", "backward")
LONGEST = 32
"""The longest series of calls that is searched for repetitions."""


def listing(program: Program) -> str:
    """The table as text."""
    return text_table(HEAD, rows(program), right=[], width=160)


def html_listing(program: Program) -> str:
    """The table for a notebook."""
    text = f"inputs: {_numbers(program.inputs)}; output: {_numbers(program.output)}"
    return html_table(HEAD, rows(program), [], [], text)


def rows(program: Program) -> list[tuple[str, ...]]:
    """The rows of the table. A repeated series of calls, as in a scan, is shown once with its number of repetitions."""
    needed = needs(program, need_dx=False, need_grads=True)
    found = [
        (
            _numbers(op.y),
            op.path or op.layer.name,
            op.kernel.formula,
            _numbers(op.x),
            ", ".join(_array(op, k) for k in range(len(op.names))),
            f"{shapes_text(program.shapes, op.x)} → {shapes_text(program.shapes, op.y)}",
            "yes" if any(needed[n] for n in leaves(op.y)) else "no",
        )
        for op in program.ops
    ]
    result: list[tuple[str, ...]] = []
    for i, length, times in series([row[1] for row in found]):
        result += [(f"{row[0]} × {times}" if times > 1 else row[0], *row[1:]) for row in found[i : i + length]]
    return result


def series(paths: Sequence[str]) -> list[tuple[int, int, int]]:
    """Splits calls, given by the layers' paths, into repeated series: (start, length, repetitions).

    >>> series(["a", "b", "c", "b", "c", "b", "c"])
    [(0, 1, 1), (1, 2, 3)]
    """
    found, i = [], 0
    while i < len(paths):
        length, times = _repetition(paths[i:])
        found.append((i, length, times))
        i += length * times
    return found


def _array(op: Op, k: int) -> str:
    """The name of an array in the layer, or in the model if it is tied."""
    own = op.full[k] == (f"{op.path}.{op.names[k]}" if op.path else op.names[k])
    return f"{op.names[k] if own else op.full[k]}{'ᵀ' * op.turned[k]}"


def _repetition(paths: Sequence[str]) -> tuple[int, int]:
    """The initial series of calls, repeated at least three times, that covers most: its length and repetitions."""
    best = 1, 1
    for length in range(1, min(LONGEST, len(paths) // 3) + 1):
        times = 1
        while paths[times * length : (times + 1) * length] == paths[:length]:
            times += 1
        if times > 2 and length * times > best[0] * best[1]:
            best = length, times
    return best


def _numbers(value: Value) -> str:
    found = [f"%{n}" for n in leaves(value)]
    return ", ".join(found if len(found) <= 4 else [*found[:2], "…", found[-1]])


def shapes_text(shapes: Sequence[tuple[int, ...]], value: Value) -> str:
    """The shapes of the parts of a value, abbreviated.

    >>> shapes_text([(3,), (4,)], (0, 1))
    '(3,), (4,)'
    """
    found = [str(shapes[n]) for n in leaves(value)]
    return ", ".join(found) if len(found) <= 4 else f"{len(found)} × {found[0]}"
