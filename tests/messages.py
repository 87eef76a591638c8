"""Every error message of the package as it stands in the source, for review: python -m tests.messages writes them.

Interpolated values are in braces. One that is put together elsewhere is shown by the names of its parts.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import nnfunc

PACKAGE = Path(nnfunc.__file__).parent
FILE = Path(__file__).parent / "data" / "messages.md"


def messages() -> str:
    """The file: a heading for each module, a line for each message."""
    lines = ["# Error messages", "", "Written by `python -m tests.messages`."]
    for path in sorted(PACKAGE.rglob("*.py")):
        found = list(_raised(ast.parse(path.read_text()), ""))
        if found:
            lines += ["", f"## {path.relative_to(PACKAGE.parent).as_posix()}", "", *dict.fromkeys(found)]
    return "\n".join(lines) + "\n"


def _raised(node: ast.AST, where: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        inner = where
        if isinstance(child, (ast.FunctionDef, ast.ClassDef)):
            inner = f"{where}.{child.name}".lstrip(".")
        if isinstance(child, ast.Raise) and isinstance(child.exc, ast.Call) and child.exc.args:
            yield f"- `{where}` {ast.unparse(child.exc.func)}: {_text(child.exc.args[0])}"
        yield from _raised(child, inner)


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_text, node.values))
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.FormattedValue):
        return f"{{{ast.unparse(node.value)}}}"
    return f"{{{ast.unparse(node)}}}"


if __name__ == "__main__":
    FILE.write_text(messages())
