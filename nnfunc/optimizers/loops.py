"""Loops over the elements of rules, written and compiled where they are first used: see `compiling`."""

from __future__ import annotations

import ast
import hashlib
import inspect
import os
import sys
import tempfile
import textwrap
from collections.abc import Callable
from functools import lru_cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np

from nnfunc._internal.disk import replaced
from nnfunc.core.settings import shown


@lru_cache(maxsize=256)
def tried(
    rule: Callable[..., Any],
    names: tuple[str, ...] | None,
    count: int,
    dtype: np.dtype[np.floating],
) -> None:
    """Raises an error where a rule of your own is not compiled, or to other bits than NumPy's."""
    if names is None:
        return
    old = [np.random.default_rng(i).uniform(0.1, 1, 4096).astype(dtype) for i in range(count)]
    out = [np.empty_like(a) for a in old[1:]]
    t, settings = 3, [0.5] * (len(names) - 1)
    try:
        loop_of_one = loop_of(rule, count - 2, (False,) * len(names), names, False)
        for before, after in zip((old[0], *old[2:]), out, strict=True):
            after[...] = before
        loop_of_one(old[1], *out, *(dtype.type(n) for n in (t, *settings)))
    except Exception as error:  # numba has many
        said = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ValueError(f"numba does not compile the rule {shown(rule)}: {said}") from error
    right = rule(*old, t=t, **dict(zip(names[1:], settings, strict=True)))
    if not all(np.array_equal(a, b, equal_nan=True) for a, b in zip(out, right, strict=True)):
        raise ValueError(
            f"the rule {shown(rule)} has other bits when it is compiled for {dtype}: a number in it "
            "(2 * g, 1 - beta) is of float64 there: pass what is made of settings as settings, or train in float64"
        )


@lru_cache(maxsize=256)
def loop_of(
    rule: Callable[..., Any], slots: int, arrays: tuple[bool, ...], names: tuple[str, ...] | None, threaded: bool
) -> Callable[..., None]:
    """The compiled loop over the elements of a rule with so many slots; of its numbers some are arrays."""
    import numba

    if not hasattr(rule, "__code__"):
        raise ValueError(f"the rule {shown(rule)} is no plain function: numba compiles those alone")
    kept = [f"s{i}" for i in range(slots)]
    constants = [f"c{i}" for i in range(len(arrays))]
    given = [f"{name}[i]" for name in ("w", "g", *kept)]
    values = [f"{name}[i]" if array else name for name, array in zip(constants, arrays, strict=True)]
    values = values if names is None else [f"{name}={value}" for name, value in zip(names, values, strict=True)]
    results = ", ".join(f"{name}[i]" for name in ("w", *kept)) + ("" if kept else ",")
    source = _standing_alone(rule)
    options = f"cache={source is not None}, error_model='numpy'"
    module = _module(
        "from __future__ import annotations\nimport numpy as np\nfrom numba import njit, prange\n\n\n"
        + (f"@njit({options})\n{source}\n\n" if source else "")
        + f"@njit({options}, parallel={threaded})\n"
        f"def loop({', '.join(['g', 'w', *kept, *constants])}):\n"
        f"    for i in {'prange' if threaded else 'range'}(w.size):\n"
        f"        {results} = {rule.__name__ if source else 'rule'}({', '.join([*given, *values])})\n",
        None if source else numba.njit(_positional(rule), error_model="numpy"),
    )
    loop: Callable[..., None] = module.loop
    return loop


def _standing_alone(rule: Callable[..., Any]) -> str | None:
    """The source of a rule that needs nothing but NumPy, so that what is compiled of it may stay on the disk."""
    names = [name for name in rule.__code__.co_names if name in rule.__globals__]
    if rule.__closure__ or any(name != "np" or rule.__globals__[name] is not np for name in names):
        return None
    try:
        source = textwrap.dedent(inspect.getsource(rule))
    except (OSError, TypeError):
        return None
    try:
        [own] = ast.parse(source).body
    except (SyntaxError, ValueError):  # a lambda within something else
        return None
    if not isinstance(own, ast.FunctionDef):
        return None
    own.args.args += own.args.kwonlyargs
    own.args.kwonlyargs, own.args.kw_defaults = [], []
    return ast.unparse(own)


def _positional(rule: Any) -> Any:
    """The rule without arguments that are keywords alone, which numba does not know."""
    code = rule.__code__
    code = code.replace(co_argcount=code.co_argcount + code.co_kwonlyargcount, co_kwonlyargcount=0)
    return FunctionType(code, rule.__globals__, rule.__name__, rule.__defaults__, rule.__closure__)


def _module(source: str, rule: Any) -> Any:
    """A module of generated source, which stands in a file, as numba wants it."""
    name = f"nnfunc_loop_{hashlib.sha256(source.encode()).hexdigest()[:16]}"
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or Path(tempfile.gettempdir()) / f"nnfunc-{os.getuid()}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{name}.py"
    if not path.exists() or path.read_text() != source:
        with replaced(path, str(path)) as file:
            file.write(source.encode())
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    module.rule = rule  # type: ignore[attr-defined]  # what the loop calls, if its source is not there
    sys.modules[name] = module  # numba finds what it has compiled by this name
    spec.loader.exec_module(module)
    return module
