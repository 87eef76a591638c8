"""Traces of formulas as loops over elements, compiled by numba: see `compiling`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from nnfunc._internal.disk import replaced
from nnfunc.optimizers.tracing import Call, Trace


@lru_cache(maxsize=256)
def loop_of(trace: Trace, vectors: tuple[bool, ...], in_place: bool, dtype: np.dtype[Any]) -> Callable[..., None]:
    """`loop(*vectors, *results, numbers)`, where `vectors` are the vector arguments of a formula.

    `numbers` are the scalar arguments followed by the constants, as float64. If in place, new slots overwrite the old
    ones, and only the new w is passed; otherwise arrays must not overlap.
    """
    import numba

    count = len(trace.results)
    given = numba.types.Array(numba.from_dtype(dtype), 1, "C", readonly=True)
    written = given.copy(readonly=False)
    kinds = [written if in_place and 2 <= i <= count else given for i, vector in enumerate(vectors) if vector]
    kinds += [written] * (1 if in_place else count)
    numbers = numba.types.Array(numba.float64, 1, "C", readonly=False)
    function, on_disk = _function(source(trace, vectors, in_place, dtype))
    compiled = numba.njit([numba.void(*kinds, numbers)], error_model="numpy", nogil=True, cache=on_disk)
    loop: Callable[..., None] = compiled(function)
    return loop


def source(trace: Trace, vectors: tuple[bool, ...], in_place: bool, dtype: np.dtype[Any]) -> str:
    """The loop as Python source. Each value is cast to the dtype that NumPy's ufunc would cast it to.

    >>> from nnfunc.optimizers.tracing import traced
    >>> kind = np.dtype("f4")
    >>> trace, _ = traced(lambda w, g, rate: (w - 2 * g * rate,), (kind, kind, float))
    >>> print(source(trace, (True, True, False), False, kind))
    def loop(a0, a1, y0, numbers):
        a2 = numbers[0]
        c0 = numbers[1]
        for i in range(a0.size):
            e0, e1 = a0[i], a1[i]
            x0 = np.multiply(np.float32(c0), e1)
            x1 = np.multiply(x0, np.float32(a2))
            x2 = np.subtract(e0, x1)
            y0[i] = x2
    """
    given = [i for i, vector in enumerate(vectors) if vector]
    values = {f"a{i}": (f"e{i}", dtype) for i in given}
    single = [f"a{i}" for i, vector in enumerate(vectors) if not vector]
    single += [f"c{i}" for i in range(trace.constants)]
    lines = [f"{', '.join(f'e{i}' for i in given)} = {', '.join(f'a{i}[i]' for i in given)}"]
    for i, call in enumerate(trace.calls):
        lines.append(f"x{i} = {_called(call, values)}")
        values[f"x{i}"] = f"x{i}", call.kinds[-1]
    outs = [f"y{i}" if not in_place or i == 0 else f"a{i + 1}" for i in range(len(trace.results))]
    for out, result in zip(outs, trace.results, strict=True):
        lines.append(f"{out}[i] = {values.get(result, (result, None))[0]}")
    arguments = [f"a{i}" for i in given] + [y for y in outs if y.startswith("y")]
    return "\n".join(
        [
            f"def loop({', '.join(arguments)}, numbers):",
            *(f"    {name} = numbers[{i}]" for i, name in enumerate(single)),
            "    for i in range(a0.size):",
            *(f"        {line}" for line in lines),
        ]
    )


def _called(call: Call, values: dict[str, tuple[str, np.dtype[Any]]]) -> str:
    """The expression of a call."""
    taken = []
    for value, wanted in zip(call.values, call.kinds, strict=False):
        text, kind = values.get(value, (value, None))
        taken.append(text if kind == wanted else f"np.{wanted.type.__name__}({text})")
    if call.function is np.where:
        return "{1} if {0} else {2}".format(*taken)
    name = call.function.__name__
    if getattr(np, name, None) is not call.function:
        raise TypeError(f"it calls {name}, which is not a NumPy function")
    return f"np.{name}({', '.join(taken)})"


def _function(text: str) -> tuple[Callable[..., None], bool]:
    """The function of a source, written to a file so that numba can cache compiled code on disk, and whether it can."""
    name = f"loop_{hashlib.sha256(text.encode()).hexdigest()[:24]}.py"
    path = Path(os.environ.get("NUMBA_CACHE_DIR") or Path.home() / ".cache" / "nnfunc") / name
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            with replaced(path, str(path)) as file:
                file.write(text.encode())
        on_disk = os.access(path.parent, os.W_OK)
    except (OSError, RuntimeError):  # no home directory, or not writable
        on_disk = False
    names: dict[str, Any] = {"np": np, "__name__": __name__}  # numba finds cached code by module and file
    exec(compile(text, str(path), "exec"), names)
    return names["loop"], on_disk
