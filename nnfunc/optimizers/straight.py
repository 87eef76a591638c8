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
    lines += [f"{out}[...] = {place[r]}" for out, r in zip(outs, trace.results, strict=True) if place[r] != out]
    return "\n    ".join(["def run(arrays, out, numbers):", *lines])


def _several(names: list[str]) -> str:
    return ", ".join(names) if len(names) > 1 else f"[{names[0]}]"


def homes_of(trace: Trace) -> list[str]:
    """The array that the result of each call is written to: y0, y1, … are the results of the formula, others scratch.

    A value that is used for the last time makes room for what is computed of it.
    """
    count, end = len(trace.results), len(trace.calls)
    last = {f"x{i}": trace.last_use(f"x{i}") for i in range(end)}
    read = [-1, *(trace.last_use(f"a{i + 1}") for i in range(1, count))]  # when old slots are not needed any more
    chains: list[list[int]] = [[] for _ in range(count)]  # calls that write to the same memory, the last first
    chain_of: dict[str, list[int]] = {}
    for i, result in enumerate(trace.results):
        if result in last and result not in chain_of and int(result[1:]) >= read[i]:
            chain_of[result] = chains[i]
    for i, call in reversed(list(enumerate(trace.calls))):
        chain = chain_of.get(f"x{i}")
        if chain is None:
            chains.append(chain := [])
        chain.append(i)
        needed = max((r for own, r in zip(chains, read, strict=False) if own is chain), default=-1)
        for value in call.values:
            free = value in last and value not in chain_of and value not in trace.results
            if free and last[value] == i and int(value[1:]) >= needed:
                chain_of[value] = chain
                break
    taken: list[list[tuple[int, int]]] = []  # of each memory, from which call to which
    homes = [0] * end
    for i, chain in enumerate(chains):
        kept = i < count or any(f"x{k}" in trace.results for k in chain)
        until = end if kept else max(chain[0], *(last[f"x{k}"] for k in chain))
        span = chain[-1] if chain else end, until
        unused = (k for k in (0, *range(count, len(taken))) if all(span[1] <= a or b <= span[0] for a, b in taken[k]))
        home = i if i < count else next(unused, len(taken))
        if home == len(taken):
            taken.append([])
        taken[home].append(span)
        for k in chain:
            homes[k] = home
    return [f"y{home}" for home in homes]
