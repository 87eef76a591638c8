"""Detection of losses that only sum their outputs: their cotangents are all 1, which hides mistakes."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any


def blind_spot(loss_fn: Callable[..., Any]) -> str:
    """Describes what such a loss cannot detect; "" if it is not a plain sum of outputs, or has no source code.

    Args:
        loss_fn: a function, or a lambda that is the only one in its statement.

    >>> def loss_fn(p):
    ...     h, cache = forward(p["x"])
    ...     return h.sum()
    >>> blind_spot(loss_fn)[:14] if inspect.getsourcefile(loss_fn) else "loss_fn sums h"
    'loss_fn sums h'
    """
    try:
        code = textwrap.dedent(inspect.getsource(loss_fn)).strip()
        function = _function(code, getattr(loss_fn, "__name__", ""))
    except (OSError, TypeError, SyntaxError):
        return ""
    if isinstance(function, ast.Lambda):
        value: ast.expr | None = function.body
    else:
        last = function.body[-1]
        value = last.value if isinstance(last, ast.Return) else None
    summed = value and _summed(value)
    if summed is None or not _is_output(summed, function):
        return ""
    return (
        f"loss_fn sums {ast.unparse(summed)}, so all its elements have the same cotangent: mistakes in single elements "
        "and in other outputs may not be detected; weight all outputs with fixed random numbers, np.sum(w * y), or use "
        "nn.check_function"
    )


def _function(code: str, name: str) -> ast.FunctionDef | ast.Lambda:
    if name != "<lambda>":
        found = ast.parse(code).body[0]
        if isinstance(found, ast.FunctionDef):
            return found
    elif code.count("lambda") == 1:
        code = code[code.index("lambda") :]
        for end in range(len(code), 0, -1):  # the rest of the line does not belong to it
            try:
                tree = ast.parse(code[:end], mode="eval").body
            except SyntaxError:
                continue
            if isinstance(tree, ast.Lambda):
                return tree
    raise SyntaxError


def _summed(value: ast.expr) -> ast.expr | None:
    """The expression that is summed or averaged: y in np.sum(y), y.mean(), float(np.sum(y))."""
    if not isinstance(value, ast.Call):
        return None
    if isinstance(value.func, ast.Name):
        return _summed(value.args[0]) if value.func.id == "float" and value.args else None
    if not isinstance(value.func, ast.Attribute) or value.func.attr not in ("sum", "mean"):
        return None
    return value.args[0] if _is_module(value.func.value) and value.args else value.func.value


def _is_module(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id in ("np", "numpy")


def _is_output(value: ast.expr, function: ast.AST) -> bool:
    """Whether an expression is one of several outputs of a function: f(...)[0], or h in h, cache = f(...)."""
    if isinstance(value, ast.Subscript):
        own = value.value
        return isinstance(own, ast.Call) and not (isinstance(own.func, ast.Attribute) and _is_module(own.func.value))
    if not isinstance(value, ast.Name):
        return False
    for statement in ast.walk(function):
        if isinstance(statement, ast.Assign):
            target = statement.targets[0]
            if isinstance(target, ast.Tuple) and any(ast.unparse(t) == value.id for t in target.elts):
                return isinstance(statement.value, ast.Call)
            if isinstance(target, ast.Name) and target.id == value.id:
                return _is_output(statement.value, ast.Pass())
    return False


__all__ = ["blind_spot"]
