"""Every public name has a docstring with an example, and every example runs and prints what it says."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
from itertools import pairwise
from types import ModuleType

import numpy as np
import pytest

import nnfunc as nn

MODULES = ["nnfunc", *(m.name for m in pkgutil.walk_packages(nn.__path__, "nnfunc."))]
EXTRAS = {
    "nnfunc.plots": "matplotlib",
    "nnfunc.interop.jax": "jax",
    "nnfunc.interop.onnx": "onnx",
    "nnfunc.interop.sklearn": "sklearn",
    "nnfunc.interop.torch": "torch",
}
"""What the examples of a module need beyond NumPy."""

OPTIONS = doctest.IGNORE_EXCEPTION_DETAIL


def needed(name: str) -> str | None:
    """What a module or the package that it is in needs."""
    return next((extra for part, extra in EXTRAS.items() if f"{name}.".startswith(f"{part}.")), None)


def of_values(module: ModuleType) -> dict[str, str]:
    """The docstrings that stand below module-level assignments: those of losses and tables."""
    body = ast.parse(inspect.getsource(module)).body
    found = {}
    for statement, below in pairwise(body):
        target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
        if isinstance(target, ast.Name) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            found[target.id] = str(below.value.value)
    return found


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    if extra := needed(name):
        pytest.importorskip(extra)
    module = importlib.import_module(name)
    names = {**vars(module), "np": np, "nn": nn}
    assert doctest.testmod(module, extraglobs={"np": np, "nn": nn}, optionflags=OPTIONS).failed == 0
    for value, text in of_values(module).items():
        test = doctest.DocTestParser().get_doctest(text, names, f"{name}.{value}", None, None)
        runner = doctest.DocTestRunner(optionflags=OPTIONS)
        assert runner.run(test).failed == 0, value


def public(module: ModuleType) -> list[str]:
    """What `__all__` names; without it, the functions and classes that the module itself defines."""
    own = [
        name
        for name, value in vars(module).items()
        if inspect.isroutine(value) or inspect.isclass(value)
        if value.__module__ == module.__name__ and not name.startswith("_")
    ]
    return list(getattr(module, "__all__", own))


PUBLIC = ["nnfunc", "nnfunc.initializers", "nnfunc.plots", "nnfunc.testing"]
PUBLIC += [name for name in MODULES if name.startswith("nnfunc.interop.") and "._" not in name]
"""Where users import from."""


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_an_example(name: str) -> None:
    if extra := needed(name):
        pytest.importorskip(extra)
    module = importlib.import_module(name)
    readable = [importlib.import_module(m) for m in MODULES if needed(m) in (None, needed(name))]
    values = {k: v for m in readable for k, v in of_values(m).items()}
    without = []
    for member in public(module):
        value = getattr(module, member)
        own = inspect.getdoc(value) if inspect.isroutine(value) or inspect.isclass(value) else values.get(member)
        if not inspect.ismodule(value) and ">>>" not in (own or ""):
            without.append(member)
    assert without == []
