"""A formula as a straight program of NumPy's calls, each of which writes where memory is free already.

Passes over memory are what a step costs: so the results stand where they belong, and what is computed on the way in the
memory of a result to come.
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
    """Which numbers are 0: in ε and the like, which most forms of a rule are without.

    >>> zeros_in((0.0, 0.5, np.zeros(2)))
    (True, False, False)
    """
    return tuple([type(n) is float and n == 0 for n in numbers])


@lru_cache(maxsize=256)
def straight(formula: Callable[..., Any], arrays: int, zeros: tuple[bool, ...]) -> Run:
    """The program of a formula of so many arrays, and of numbers of which these are 0; they may be arrays too.

    The memory of a new slot may be that of the old one; that of the new w is another.

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
    """The program as Python.

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
    """The array that each call writes to: y0, y1, … are the results of the formula, others scratch."""
    count, end = len(trace.results), len(trace.calls)
    homes = [""] * end
    taken: dict[str, list[tuple[int, int]]] = {}  # from which call to which a memory is in use
    for i, chain in enumerate(chains_of(trace)):
        first, last = chain[-1] if chain else end, end if i < count else last_use(trace, chain)
        unused = (  # the memory of new slots may be that of old ones
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
    """Calls that write to the same memory, the last first: of each result of the formula, then others.

    A value makes room for what is computed of it where it is used for the last time; results stay, and a new slot is
    not written before the old one was read for the last time.
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
    """The last call that takes a value of a chain; the end if it is a result."""
    values = [f"x{i}" for i in chain]
    if any(value in trace.results for value in values):
        return len(trace.calls)
    return max(*chain, *map(trace.last_use, values))
