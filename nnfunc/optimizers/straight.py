"""A formula as a straight-line program of NumPy calls that write into memory that is already allocated.

The cost of a step is its passes over memory: so results are written directly to their destination, and intermediate
values to the memory of later results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from nnfunc.arrays import Array
from nnfunc.optimizers.tracing import Trace, traced

FLOAT = np.dtype(np.float32)

Run: TypeAlias = Callable[[Sequence[Array], Sequence[Array], Sequence[Any]], None]
"""((w, g, *slots), (new w, *new slots), numbers) -> None"""


def zeros_in(numbers: Sequence[Any]) -> tuple[bool, ...]:
    """Flags of the numbers that are 0, such as an ε that most forms of a rule lack.

    >>> zeros_in((0.0, 0.5, np.zeros(2)))
    (True, False, False)
    """
    return tuple([type(n) is float and n == 0 for n in numbers])


@lru_cache(maxsize=256)
def straight(formula: Callable[..., Any], arrays: int, zeros: tuple[bool, ...]) -> Run:
    """The program of a formula of that many arrays and of numbers, which may be arrays; those flagged in `zeros` are 0.

    A new slot may share the memory of the old one; the new w must not share memory with the old.

    >>> old, out = [np.array([1.0]), np.array([2.0])], [np.empty(1)]
    >>> straight(lambda w, g, rate: (w - g * rate,), 2, (False,))(old, out, (0.25,))
    >>> out
    [array([0.5])]
    """
    trace, constants = traced(formula, (FLOAT,) * arrays + (float,) * len(zeros), zeros)
    functions: dict[str, Any] = {call.function.__name__: call.function for call in trace.calls}
    functions |= {f"c{i}": constant for i, constant in enumerate(constants)} | {"empty_like": np.empty_like}
    exec(source(trace, arrays, len(zeros)), functions)
    run: Run = functions["run"]
    return run


def source(trace: Trace, arrays: int, numbers: int) -> str:
    """The program as Python source.

    >>> print(source(traced(lambda w, g, rate: (w - g * rate,), (FLOAT, FLOAT, float))[0], 2, 1))
    def run(arrays, out, numbers):
        a0, a1 = arrays
        [a2] = numbers
        [y0] = out
        multiply(a1, a2, out=y0)
        subtract(a0, y0, out=y0)
    """
    homes = homes_of(trace)
    given = [f"a{i}" for i in range(arrays + numbers)]
    outs = [f"y{i}" for i in range(len(trace.results))]
    lines = [f"{_several(names)} = {of}" for names, of in
             ((given[:arrays], "arrays"), (given[arrays:], "numbers"), (outs, "out")) if names]  # fmt: skip
    lines += [f"{name} = empty_like(y0)" for name in sorted(set(homes) - set(outs))]
    place = {f"x{i}": home for i, home in enumerate(homes)}
    for call, home in zip(trace.calls, homes, strict=True):
        lines.append(f"{call.function.__name__}({', '.join(place.get(v, v) for v in call.values)}, out={home})")
    found = [place.get(result, result) for result in trace.results]
    lines += [f"{out}[...] = {value}" for out, value in zip(outs, found, strict=True) if value != out]
    return "\n    ".join(["def run(arrays, out, numbers):", *lines])


def _several(names: list[str]) -> str:
    return ", ".join(names) if len(names) > 1 else f"[{names[0]}]"


def homes_of(trace: Trace) -> list[str]:
    """The name of the array that each call writes to: y0, y1, … are the results of the formula, the rest is scratch."""
    count, end = len(trace.results), len(trace.calls)
    homes = [""] * end
    taken: dict[str, list[tuple[int, int]]] = {}  # the first and last call of each use of an array
    for i, chain in enumerate(chains_of(trace)):
        first, last = chain[-1] if chain else end, end if i < count else last_use(trace, chain)
        unused = (  # new slots may share the memory of old ones
            y
            for y, spans in taken.items()
            if (y == "y0" or int(y[1:]) >= count) and all(last <= a or b <= first for a, b in spans)
        )
        home = f"y{i}" if i < count else next(unused, f"y{len(taken)}")
        taken.setdefault(home, []).append((first, last))
        for call in chain:
            homes[call] = home
    return homes


def chains_of(trace: Trace) -> list[list[int]]:
    """Chains of calls that write to the same memory, last call first: one for each result of the formula, then others.

    At its last use, a value is overwritten by what is computed from it. Results are never overwritten, and a new slot
    is not written before the last read of the old one.
    """
    chains: list[list[int]] = [[] for _ in trace.results]
    not_before = [-1, *(trace.last_use(f"a{i}") for i in range(2, len(trace.results) + 1))]
    chain_of: dict[str, int] = {}
    for i, result in enumerate(trace.results):
        if result.startswith("x") and result not in chain_of and int(result[1:]) >= not_before[i]:
            chain_of[result] = i
    for i, call in reversed(list(enumerate(trace.calls))):
        if f"x{i}" not in chain_of:
            chain_of[f"x{i}"] = len(chains)
            chains.append([])
            not_before.append(-1)
        own = chain_of[f"x{i}"]
        chains[own].append(i)
        for value in call.values:
            free = value.startswith("x") and value not in (*chain_of, *trace.results) and trace.last_use(value) == i
            if free and int(value[1:]) >= not_before[own]:
                chain_of[value] = own
                break
    return chains


def last_use(trace: Trace, chain: list[int]) -> int:
    """The index of the last call that uses a value of a chain; the number of calls if a value is a result."""
    values = [f"x{i}" for i in chain]
    if any(value in trace.results for value in values):
        return len(trace.calls)
    return max(*chain, *map(trace.last_use, values))
