"""Extracts functions of this package and all their dependencies into the source of one file that requires only NumPy.

`Extract.use(function)` adds a function and returns its name in the file. Dependencies are found by name in the source
of its module: functions, classes and constants of this package are copied, everything else is imported. Annotations
are removed, and only the first paragraph of docstrings is kept. If two modules use one name for different things, the
second is prefixed with the name of its module.
"""

from __future__ import annotations

import ast
import builtins
import copy
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple, TypeGuard

from nnfunc.interop._fold import UNKNOWN, Known, Text, folded, in_braces, parameters, walked

WIDTH = 120
PACKAGE = __name__.partition(".")[0]


class Module(NamedTuple):
    """The source of a module: its lines as UTF-8, and for each top-level name its statement and the one after it."""

    lines: list[bytes]
    says: dict[str, tuple[ast.stmt, ast.stmt | None]]


def module(name: str) -> Module:
    """The source of an imported module; a user's module is read again each time, as it may have changed."""
    return _read(name) if name.partition(".")[0] == PACKAGE else _read.__wrapped__(name)


@cache
def _read(name: str) -> Module:
    text = inspect.getsource(sys.modules[name])
    body = ast.parse(text).body
    says: dict[str, tuple[ast.stmt, ast.stmt | None]] = {}
    for statement, below in zip(body, [*body[1:], None], strict=True):
        for bound in _bound(statement):
            says[bound] = statement, below
    return Module(text.encode().splitlines(keepends=True), says)


def _bound(statement: ast.stmt) -> Iterator[str]:
    """The names that a top-level statement of a module binds."""
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        yield statement.name
    elif isinstance(statement, (ast.Import, ast.ImportFrom)):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in statement.names)
    elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        yield from (node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))
    elif isinstance(statement, ast.If):  # names under TYPE_CHECKING are only for annotations
        return


class Extract:
    """The contents of a file.

    Args:
        taken: names that must not be used.
        backward: whether to include backward functions; otherwise they are None in constants that contain one.

    >>> from nnfunc._internal.numerics import logistic
    >>> extract = Extract()
    >>> extract.use(logistic)
    'logistic'
    >>> print(extract.pieces[-1].partition("np")[0].rstrip())
    def logistic(x):
        \"""σ(x) = 1/(1 + exp(−x)), without overflow.\"""
        y =
    """

    def __init__(self, taken: set[str] | None = None, backward: bool = True) -> None:
        self.taken = {"np", "_forward", "_backward", *(taken or ())}  # the last two would be too generic
        self.backward = backward
        self.imports: set[str] = {"import numpy as np"}
        self.pieces: list[str] = []
        self.names: dict[tuple[str, str], str] = {}
        self.known = Known()
        self.special: dict[tuple[Any, ...], str | None] = {}
        self.called: dict[str, str] = {}

    def use(self, function: Callable[..., Any], name: str | None = None) -> str:
        """Adds a function and returns its name in the file."""
        function = inspect.unwrap(function)
        if not inspect.isfunction(function):
            raise ValueError(f"{function!r} is not a function whose source can be written: define it with def")
        home = function.__module__
        if getattr(function, "__closure__", None) or function.__qualname__ != function.__name__:
            raise ValueError(
                f"{function.__qualname__} is defined inside another function, whose variables cannot be written: "
                "define it at the top level of a module"
            )
        try:
            module(home)
        except (OSError, TypeError, KeyError):
            raise ValueError(
                f"the source of {function.__qualname__} cannot be found: define it in a file that is imported"
            ) from None
        return self.global_name(home, function.__name__, name)

    def use_with(self, function: Callable[..., Any], given: Mapping[str, Any]) -> tuple[str, set[str]]:
        """Adds a function with some of its arguments fixed, if possible, and returns its name and these arguments.

        Args:
            given: keywords. None, booleans and strings select branches; numbers are only passed on.
        """
        function = inspect.unwrap(function)
        if inspect.isfunction(function) and function.__module__ in sys.modules:
            own = inspect.signature(function).parameters
            rest = any(p.kind is p.VAR_KEYWORD for p in own.values())
            fixed = {k: v for k, v in given.items() if (decides(v) or k == "lead" if k in own else rest)}
            name = self.decided(function.__module__, function.__name__, fixed)
            if name is not None:
                return name, set(fixed)
        return self.use(function), set()

    def decided(self, home: str, name: str, fixed: Mapping[str, Any]) -> str | None:
        """The name of a function with some of its arguments fixed; None if that is not possible."""
        statement, _ = module(home).says[name]
        if isinstance(statement, ast.ImportFrom) and str(statement.module).partition(".")[0] == PACKAGE:
            original = next(a.name for a in statement.names if (a.asname or a.name) == name)
            return self.decided(str(statement.module), original, fixed)
        if not isinstance(statement, ast.FunctionDef) or not fixed or statement.decorator_list:
            return None
        if any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(statement)):  # it is recursive
            return None
        which = home, name, tuple(sorted((k, repr(v)) for k, v in fixed.items()))
        if which not in self.special:
            lines = module(home).lines[statement.lineno - 1 : statement.end_lineno]
            text = folded(b"".join(lines).decode(), fixed, self.known)
            if text is None:
                self.special[which] = None
                return None
            self.special[which] = emitted = self._free(home, name)
            text = self.known.spelled(self._inner_calls(home, text))
            (changed,) = ast.parse(text).body
            self.pieces.append(self._text(home, changed, text, emitted))
        return self.special[which]

    def _inner_calls(self, home: str, text: str) -> str:
        """The text after specializing calls of functions that have marks among their arguments."""
        done: set[int] = set()
        while True:
            here = Text(text)
            for node in walked(here.function):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or here.start(node) in done:
                    continue
                if node.func.id in module(home).says and (said := self._said(home, node, here)) is not None:
                    text = here.edited((here.start(node), here.stop(node), said))
                    break
                done.add(here.start(node))
            else:
                return text

    def _said(self, home: str, node: ast.Call, here: Text) -> str | None:
        """A call without the arguments that are marks; None if it is unchanged."""
        assert isinstance(node.func, ast.Name)
        function = self._function(home, node.func.id)
        if function is None:
            return None
        names = list(parameters(function))
        starred = next((i for i, a in enumerate(node.args) if isinstance(a, ast.Starred)), len(node.args))
        given: dict[str, ast.expr] = dict(zip(names, node.args[:starred], strict=False))
        given |= {k.arg: k.value for k in node.keywords if k.arg is not None}
        values = {k: self.known.of(v) for k, v in given.items()}
        fixed = {k: v for k, v in values.items() if v is not UNKNOWN and (decides(v) or k not in names)}
        if not fixed or any(k not in fixed for k in values if k not in names):
            return None
        name = self.decided(home, node.func.id, fixed)
        if name is None:
            return None
        place = f"_called_{name}_"
        self.called[place] = name
        gone = [given[k] for k in fixed]
        said = [here.of(a) for a in node.args if a not in gone]
        said += [here.of(k) for k in node.keywords if k.value not in gone]
        return f"{place}({', '.join(said)})"

    def _function(self, home: str, name: str) -> ast.FunctionDef | None:
        """The function that a top-level name of a module refers to, in this package."""
        statement, _ = module(home).says.get(name, (None, None))
        if isinstance(statement, ast.ImportFrom) and str(statement.module).partition(".")[0] == PACKAGE:
            original = next(a.name for a in statement.names if (a.asname or a.name) == name)
            return self._function(str(statement.module), original)
        return statement if isinstance(statement, ast.FunctionDef) else None

    def global_name(self, home: str, name: str, wanted: str | None = None) -> str:
        """Adds a top-level name of a module, with its dependencies, and returns its name in the file."""
        statement, below = module(home).says[name]
        if isinstance(statement, ast.ImportFrom) and (source := self._source(home, statement)) is not None:
            original = next(a.name for a in statement.names if (a.asname or a.name) == name)
            if original in module(source).says:
                return self.global_name(source, original, wanted)
        if (home, name) in self.names:
            return self.names[home, name]
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            self.names[home, name] = found = self._imported(home, name, statement)
            return found
        for bound in _bound(statement):
            self.names[home, bound] = wanted if wanted and bound == name else self._free(home, bound)
        plain = _is_record(statement) and not any(isinstance(s, ast.FunctionDef) for s in statement.body)
        text = self._record(home, statement) if plain else self._text(home, statement)  # type: ignore[arg-type]  # a class
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and isinstance(below, ast.Expr):
            text = _comment(below.value) + text
        self.pieces.append(text)
        return self.names[home, name]

    def _source(self, home: str, statement: ast.ImportFrom) -> str | None:
        """The module that names are imported from, if its source is to be copied: of this package, or the user's."""
        parents = home.split(".")[: -statement.level] if statement.level else []
        name = ".".join([*parents, *([statement.module] if statement.module else [])])
        top = name.partition(".")[0]
        return None if top == "numpy" or top in sys.stdlib_module_names or name not in sys.modules else name

    def _imported(self, home: str, name: str, statement: ast.Import | ast.ImportFrom) -> str:
        """The name in the file of an import from NumPy or the standard library."""
        alias = next(a for a in statement.names if (a.asname or a.name.partition(".")[0]) == name)
        place = alias.name if isinstance(statement, ast.Import) else f"{'.' * statement.level}{statement.module or ''}"
        if place.partition(".")[0] not in ("numpy", *sys.stdlib_module_names):
            raise ValueError(
                f"{home} uses {name} of {place}, which the file must not need: only NumPy, the standard library and "
                "top-level functions of modules can be written"
            )
        said = "" if isinstance(statement, ast.Import) else f"from {place} "
        if said + f"import {ast.unparse(alias)}" not in self.imports and name in self.taken:
            alias = ast.alias(alias.name, self._free(place, name))
        self.imports.add(said + f"import {ast.unparse(alias)}")
        found = alias.asname or alias.name.partition(".")[0]
        self.taken.add(found)
        return found

    def _free(self, home: str, name: str) -> str:
        """An unused name."""
        place, bare = home.rpartition(".")[2], name.lstrip("_")
        candidates = [name, f"{'_' * (len(name) - len(bare))}{place}_{bare}"]
        found = next((c for c in candidates if c not in self.taken), None)
        number = 2
        while found is None:
            found = f"{candidates[1]}{number}" if f"{candidates[1]}{number}" not in self.taken else None
            number += 1
        self.taken.add(found)
        return found

    def _text(self, home: str, statement: ast.stmt, own: str | None = None, name: str | None = None) -> str:
        """The source of a statement, from the module or given, as written to the file."""
        lines = module(home).lines if own is None else own.encode().splitlines(keepends=True)
        starts = [0]
        for line in lines:
            starts.append(starts[-1] + len(line))
        source = b"".join(lines)

        def at(line: int, column: int) -> int:
            return starts[line - 1] + column

        def start(node: Any) -> int:
            return at(node.lineno, node.col_offset)

        def stop(node: Any) -> int:
            return at(node.end_lineno, node.end_col_offset)

        renamed = self._renamed(home, statement, name)
        fields = statement.body if _is_record(statement) else []
        edits: list[tuple[int, int, str]] = []
        inside: list[tuple[int, int]] = []  # spans already replaced by an edit
        for node in ast.walk(statement):
            if isinstance(node, ast.FunctionDef):
                last = max([stop(a) for a in ast.walk(node.args) if hasattr(a, "end_lineno")], default=start(node) + 4)
                colon = source.index(b":", last if node.returns is None else stop(node.returns))
                edits.append((start(node), colon + 1, _signature(node, renamed)))
                inside.append((start(node), colon + 1))
            if isinstance(node, ast.ClassDef) and node is statement and node.name in renamed:
                name_at = source.index(node.name.encode(), start(node))
                edits.append((name_at, name_at + len(node.name.encode()), renamed[node.name]))
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node):
                first = node.body[0]
                edits.append((start(first), stop(first), _docstring(node, first.col_offset)))
            if _is_record(node):
                edits.append((start(node.bases[0]), stop(node.bases[0]), self._base(home, node)))
                edits += [(start(s), stop(s), "pass") for s in node.body if isinstance(s, ast.AnnAssign)]
            elif isinstance(node, ast.AnnAssign) and node not in fields:
                if node.value is None:
                    edits.append((start(node), stop(node), "pass"))
                else:
                    edits.append((stop(node.target), stop(node.annotation), ""))
        edits = [e for e in edits if not any(a <= e[0] and e[1] <= b and (a, b) != e[:2] for a, b in inside)]
        inside += [(a, b) for a, b, _ in edits]
        for node in ast.walk(statement):
            used = (
                {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} if isinstance(node, ast.JoinedStr) else set()
            )
            if any(renamed.get(k, k) != k for k in used):
                said = in_braces(source[start(node) : stop(node)].decode(), lambda k: renamed.get(k, k))
                edits.append((start(node), stop(node), said))
        for node in walked(statement):
            old = node.id if isinstance(node, ast.Name) else ""
            new = renamed.get(old, old)
            if new != old and not any(a <= start(node) and stop(node) <= b for a, b in inside):
                edits.append((start(node), stop(node), new))
        decorators = getattr(statement, "decorator_list", [])
        begin = min([start(statement), *(start(d) - 1 for d in decorators)])
        end = starts[statement.end_lineno] if statement.end_lineno else len(source)
        for a, b, text in sorted(edits, reverse=True):
            added = text.encode()
            source = source[:a] + added + source[b:]
            end += len(added) - (b - a)
        text = source[begin:end].decode()
        text = re.sub(r"[ \t]*# (fmt: skip|type: ignore|noqa).*", "", text)
        text = re.sub(r"(?m)^[ \t]*pass\n(?=[ \t]*\S)", "", text)
        return re.sub(r"(?m)[ \t]+$", "", text).strip() + "\n"

    def _renamed(self, home: str, statement: ast.stmt, own: str | None = None) -> dict[str, str]:
        """The names in the file of the module's names that a statement uses, which are added too."""
        annotations = {id(node) for part in ast.walk(statement) for node in _annotation(part)}
        local = {
            name
            for node in ast.walk(statement)
            for name in (
                [node.arg]
                if isinstance(node, ast.arg)
                else [node.id]
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
                else [str(node.name)]
                if isinstance(node, (ast.FunctionDef, ast.ExceptHandler)) and node is not statement
                else [(alias.asname or alias.name).partition(".")[0] for alias in node.names]
                if isinstance(node, (ast.Import, ast.ImportFrom))
                else []
            )
        }
        if isinstance(statement, (ast.Assign, ast.AnnAssign)):
            local = set()
        found: dict[str, str] = {}
        bases = {id(base) for node in ast.walk(statement) if _is_record(node) for base in node.bases}
        constant = isinstance(statement, (ast.Assign, ast.AnnAssign))
        for node in ast.walk(statement):
            if (
                not isinstance(node, ast.Name)
                or id(node) in annotations | bases
                or node.id in local
                or node.id in found
            ):
                continue
            if node.id in self.called:
                found[node.id] = self.called[node.id]
            elif node.id in module(home).says:
                if constant and not self.backward and re.search("_(backward|gradients)$", node.id):
                    found[node.id] = "None"
                else:
                    found[node.id] = self.global_name(home, node.id)
            elif not hasattr(builtins, node.id):
                raise ValueError(f"{home} uses {node.id}, whose source cannot be found")
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            found[statement.name] = own or self.names[home, statement.name]
        return found

    def _record(self, home: str, statement: ast.ClassDef) -> str:
        """A NamedTuple, as a call of `namedtuple`."""
        above = _comment(statement.body[0].value) if isinstance(statement.body[0], ast.Expr) else ""
        return f"{above}{self.names[home, statement.name]} = {self._base(home, statement)}\n"

    def _base(self, home: str, statement: ast.ClassDef) -> str:
        """`namedtuple(name, fields)`."""
        self.imports.add("from collections import namedtuple")
        name = self.names[home, statement.name]
        fields = [s for s in statement.body if isinstance(s, ast.AnnAssign)]
        defaults = [ast.unparse(f.value) for f in fields if f.value is not None]
        said = f", defaults=({', '.join(defaults)},)" if defaults else ""
        return f'namedtuple("{name}", "{" ".join(ast.unparse(f.target) for f in fields)}"{said})'


def decides(value: object) -> bool:
    """Whether an argument with this value selects branches."""
    return value is None or isinstance(value, (bool, str))


def _is_record(node: ast.AST) -> TypeGuard[ast.ClassDef]:
    """Whether a statement is the class of a NamedTuple."""
    return isinstance(node, ast.ClassDef) and [ast.unparse(base) for base in node.bases] == ["NamedTuple"]


def _annotation(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes in the annotations of a part of a statement."""
    parts = [getattr(node, "annotation", None), getattr(node, "returns", None)]
    yield from (inner for part in parts if isinstance(part, ast.AST) for inner in ast.walk(part))


def _first_paragraph(text: str) -> str:
    return inspect.cleandoc(text).split("\n\n")[0]


def _comment(node: ast.expr) -> str:
    """The first paragraph of a docstring as a comment."""
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return ""
    said = " ".join(_first_paragraph(node.value).split())
    return "".join(f"# {line}\n" for line in textwrap.wrap(said, WIDTH - 2, break_on_hyphens=False))


def _docstring(node: ast.FunctionDef | ast.ClassDef, indent: int) -> str:
    """The first paragraph of a docstring, indented."""
    said = textwrap.indent(_first_paragraph(ast.get_docstring(node) or ""), " " * indent).lstrip()
    raw = "r" if "\\" in said else ""
    last = (" " * indent + f'{raw}"""{said}').rpartition("\n")[2]
    end = f"\n{' ' * indent}" if len(last) + 3 > WIDTH else ""
    return f'{raw}"""{said}{end}"""'


def _signature(node: ast.FunctionDef, renamed: dict[str, str]) -> str:
    """`def name(arguments):`, without annotations."""
    args = copy.deepcopy(node.args)
    for part in ast.walk(args):
        if isinstance(part, ast.arg):
            part.annotation = None
        if isinstance(part, ast.Name):
            part.id = renamed.get(part.id, part.id)
    name = renamed.get(node.name, node.name)
    said = ast.unparse(args).replace("'", '"')
    return called("", f"def {name}", parted(said), node.col_offset, ":").lstrip()


def called(target: str, function: str, arguments: list[str], indent: int = 0, end: str = "") -> str:
    """The source of a call, on one line if it fits.

    >>> called("y = ", "f", ["x", "2"], indent=4)
    '    y = f(x, 2)'
    """
    line = f"{' ' * indent}{target}{function}({', '.join(arguments)}){end}"
    if len(line) <= WIDTH:
        return line
    inner = indent + 4
    return "\n".join([f"{' ' * indent}{target}{function}(", *packed(arguments, inner), f"{' ' * indent}){end}"])


def quoted(name: str) -> str:
    """A name as a string literal in the file.

    >>> print(quoted('a "b"'))
    "a \\"b\\""
    """
    return json.dumps(name, ensure_ascii=False)


def letters(text: str) -> Iterator[tuple[int, str, int]]:
    """For each letter outside of strings: its position, the letter, and the number of open brackets after it.

    >>> [letter for _, letter, depth in letters('f("(", x)') if depth]
    ['(', ',', ' ', 'x']
    """
    depth, inside, escaped = 0, False, False
    for i, letter in enumerate(text):
        if letter == '"' and not escaped:
            inside = not inside
        elif not inside:
            depth += (letter in "([{") - (letter in ")]}")
            yield i, letter, depth
        escaped = letter == "\\" and not escaped


def parted(text: str) -> list[str]:
    """The parts between the commas of a tuple or a call, given without brackets.

    >>> parted('a, f(b, c), "d, e",')
    ['a', 'f(b, c)', '"d, e"']
    """
    commas = [-1, *(i for i, letter, depth in letters(text) if letter == "," and depth == 0), len(text)]
    return [part for a, b in pairwise(commas) if (part := text[a + 1 : b].strip())]


def packed(parts: list[str], indent: int) -> list[str]:
    """Parts of a call as lines, as many on each as fit; a tuple too long for a line is broken itself.

    >>> packed(["1", "2"], 4)
    ['    1, 2,']
    """
    lines, inner = [""], " " * indent
    for part in parts:
        if len(inner) + len(part) + 1 > WIDTH and part[0] == part[-1].replace(")", "("):
            lines += [
                *("\n" + each for each in [f"{inner}(", *packed(parted(part[1:-1]), indent + 4), f"{inner}),"]),
                "",
            ]
            continue
        if lines[-1] and len(inner) + len(lines[-1]) + len(part) + 2 > WIDTH:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + part + ","
    return [each[1:] if each[0] == "\n" else inner + each for each in lines if each]


def line(target: str, expression: str, comment: str = "", sign: str = "=") -> list[str]:
    """The lines of an assignment inside a function, broken before its operators if it is too long.

    >>> line("y", "x.dot(W) + b", "(rows, 3)")
    ['y = x.dot(W) + b  # (rows, 3)']
    """
    target = f"{target} {sign} "
    said, after = f"{target}{expression}", f"  # {comment}" if comment else ""
    if len(said + after) + 4 <= WIDTH:
        return [said + after]
    if len(said) + 4 <= WIDTH:
        return [said]
    parts, spans = [0], [(0, 0)]
    for i, letter, depth in letters(expression):
        if letter in "([" and depth == 1:
            spans.append((i + 1, i + 1))
        elif letter in ")]" and depth == 0:
            spans[-1] = spans[-1][0], i
        elif depth == 0 and expression[i : i + 3] in (" * ", " + ", " - "):
            parts.append(i + 1)
    if len(parts) > 1:
        pieces = [expression[a:b].rstrip() for a, b in zip(parts, [*parts[1:], None], strict=True)]
        return [f"{target}({after}", *(f"    {piece}" for piece in pieces), ")"]
    start, stop = max(spans, key=lambda span: span[1] - span[0])
    return [f"{target}{expression[:start]}", f"    {expression[start:stop]}", f"{expression[stop:]}{after}"]


def call(target: str, function: str, arguments: list[str], end: str = "") -> list[str]:
    """The lines of a call inside a function.

    >>> call("y = ", "f", ["x", "2"])
    ['y = f(x, 2)']
    """
    return [each[4:] for each in called(target, function, arguments, 4, end).split("\n")]
