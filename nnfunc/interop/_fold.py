"""Specialization of functions: with some arguments known, branches are resolved and the arguments removed.

The text of a function is changed step by step, so that the remaining code keeps its comments: known names become marks,
expressions and branches determined by marks alone are resolved, and local variables that become known are marked too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Edit = tuple[int, int, str]
MARK = re.compile(r"_known_(\d+)_")
UNKNOWN = object()


class Known:
    """The values that marks represent."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def mark(self, value: Any) -> str:
        """The mark of a value.

        >>> known = Known()
        >>> known.mark(None), known.of(ast.parse("_known_0_").body[0].value)
        ('_known_0_', None)
        """
        for i, other in enumerate(self.values):
            if type(other) is type(value) and other == value:
                return f"_known_{i}_"
        self.values.append(value)
        return f"_known_{len(self.values) - 1}_"

    def of(self, node: ast.AST, literals: bool = False) -> Any:
        """The value of a mark, or of a literal if `literals`; otherwise UNKNOWN."""
        found = MARK.fullmatch(node.id) if isinstance(node, ast.Name) else None
        if found:
            return self.values[int(found[1])]
        return node.value if literals and isinstance(node, ast.Constant) else UNKNOWN

    def spelled(self, text: str) -> str:
        """The text with values in place of marks."""
        return MARK.sub(lambda found: repr(self.values[int(found[1])]).replace("'", '"'), text)


class Text:
    """The source of a function, and the positions of its parts."""

    def __init__(self, text: str) -> None:
        self.source = text.encode()
        (self.function,) = (node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef))
        self.starts = [0]
        for line in self.source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def start(self, node: Any) -> int:
        return int(self.starts[node.lineno - 1] + node.col_offset)

    def stop(self, node: Any) -> int:
        return int(self.starts[node.end_lineno - 1] + node.end_col_offset)

    def of(self, node: ast.AST) -> str:
        return self.source[self.start(node) : self.stop(node)].decode()

    def edited(self, *edits: Edit) -> str:
        """The text with some parts replaced."""
        source = self.source
        for start, stop, new in sorted(edits, reverse=True):
            source = source[:start] + new.encode() + source[stop:]
        return source.decode()

    def lines(self, statements: list[ast.stmt], indent: int) -> str:
        """Statements with the comments between them, at another indentation, without that of the first line."""
        first, last = statements[0], statements[-1]
        assert last.end_lineno is not None
        text = self.source[self.starts[first.lineno - 1] : self.starts[last.end_lineno]].decode()
        shift = first.col_offset - indent
        return "".join(line[shift:] if line.strip() else line for line in text.splitlines(keepends=True)).strip()


def parameters(function: ast.FunctionDef) -> dict[str, ast.arg]:
    """The arguments of a function that may be known."""
    args = function.args
    return {a.arg: a for a in (*args.posonlyargs, *args.args, *args.kwonlyargs)}


def folded(text: str, fixed: Mapping[str, Any], known: Known) -> str | None:
    """The text of a function without the fixed arguments, with marks where they remain; None if they are used in a way
    that is not supported.

    >>> text = "def f(x, *, double):\\n    if double:\\n        x = 2 * x\\n    return x"
    >>> print(folded(text, {"double": False}, Known()))
    def f(x):
        return x
    """
    here = Text(text)
    own, rest = parameters(here.function), here.function.args.kwarg
    into_rest = {k: v for k, v in fixed.items() if k not in own}
    stored = {node.id for node in ast.walk(here.function) if isinstance(node, ast.Name) and _stores(node)}
    inner = [node for node in ast.walk(here.function) if isinstance(node, (ast.Lambda, ast.FunctionDef))]
    shadowed = {
        a.arg for node in inner if node is not here.function for a in ast.walk(node.args) if isinstance(a, ast.arg)
    }
    if (stored | shadowed) & fixed.keys() or (into_rest and rest is None):
        return None
    edits = [
        (here.start(here.function), _colon(here), _without(here.function, fixed.keys(), drop_rest=rest is not None))
    ]
    if rest is not None:
        uses = [n for n in ast.walk(here.function) if isinstance(n, ast.Name) and n.id == rest.arg]
        passed = [k for n in ast.walk(here.function) if isinstance(n, ast.Call) for k in n.keywords
                  if k.arg is None and isinstance(k.value, ast.Name) and k.value.id == rest.arg]  # fmt: skip
        if len(uses) != len(passed):
            return None
        said = ", ".join(f"{k}={known.mark(v)}" for k, v in into_rest.items())
        for keyword in passed:
            start = here.start(keyword.value) - 2  # of the two stars
            start = start if said else here.source.rindex(b",", 0, start)
            edits.append((start, here.stop(keyword.value), said))
    text = here.edited(*edits)
    text = _marked(text, {k: v for k, v in fixed.items() if k in own}, known)
    while (changed := _step(text, known)) is not None:
        text = changed
    return text


def _stores(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store)


def _colon(here: Text) -> int:
    """The position after the colon of `def name(...):`."""
    ends = [here.stop(a) for a in ast.walk(here.function.args) if hasattr(a, "end_lineno")]
    last = max(ends, default=here.start(here.function) + 4)
    after = here.stop(here.function.returns) if here.function.returns is not None else last
    return here.source.index(b":", after) + 1


def _without(function: ast.FunctionDef, names: Any, drop_rest: bool) -> str:
    """`def name(arguments):` without annotations and without some arguments."""
    args = function.args
    positional = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(positional) - len(args.defaults)) + list(args.defaults)
    said = [_argument(a, d) for a, d in zip(positional, defaults, strict=True) if a.arg not in names]
    only = [_argument(a, d) for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True) if a.arg not in names]
    if args.vararg is not None:
        said.append(f"*{args.vararg.arg}")
    elif only:
        said.append("*")
    rest = [f"**{args.kwarg.arg}"] if args.kwarg is not None and not drop_rest else []
    return f"def {function.name}({', '.join([*said, *only, *rest])}):"


def _argument(a: ast.arg, default: ast.expr | None) -> str:
    return a.arg if default is None else f"{a.arg}={ast.unparse(default)}"


def _marked(text: str, values: Mapping[str, Any], known: Known) -> str:
    """The text with marks in place of known names that are read."""
    here = Text(text)
    edits = [
        (here.start(n), here.stop(n), known.mark(values[n.id]))
        for n in walked(here.function)
        if isinstance(n, ast.Name) and n.id in values and not _stores(n)
    ]
    text = here.edited(*edits)
    here, edits = Text(text), []
    for n in ast.walk(here.function):
        if isinstance(n, ast.JoinedStr) and any(isinstance(i, ast.Name) and i.id in values for i in ast.walk(n)):
            edits.append(
                (
                    here.start(n),
                    here.stop(n),
                    in_braces(here.of(n), lambda k: known.mark(values[k]) if k in values else k),
                )
            )
    return here.edited(*edits)


def walked(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes except those in f-strings, whose positions are unknown, and in annotations."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns") or isinstance(node, ast.JoinedStr):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from walked(child)


def in_braces(text: str, renamed: Callable[[str], str]) -> str:
    """An f-string with the names inside its braces renamed.

    >>> in_braces('f"a is {a.b + a!r}"', lambda name: "c" if name == "a" else name)
    'f"a is {c.b + c!r}"'
    """
    return re.sub(
        r"\{[^{}]*\}",
        lambda group: re.sub(r"(?<![\w.!])[^\W\d]\w*", lambda found: renamed(found[0]), group[0]),
        text,
    )


# -- resolution --------------------------------------------------------------------------------------------------------


def _step(text: str, known: Known) -> str | None:
    """The text after resolving one expression or branch; None if none is left."""
    here = Text(text)
    for node in walked(here.function):
        decided = _decided(node, here, known)
        if decided is not None:
            return here.edited((here.start(node), here.stop(node), decided))
    for block in _blocks(here.function):
        for i, statement in enumerate(block):
            found = known.of(statement.test) if isinstance(statement, ast.If) else UNKNOWN
            if found is not UNKNOWN and not here.of(statement).startswith("elif"):
                return _taken(here, block, i, bool(found))
    return _local(here, known) or _unused(here)


def _blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    for inner in ast.walk(node):
        for name in ("body", "orelse"):
            block = getattr(inner, name, None)
            if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
                yield block


def _decided(node: ast.AST, here: Text, known: Known) -> str | None:
    """The text of an expression whose value marks determine; None otherwise."""
    if isinstance(node, ast.IfExp) and (found := known.of(node.test)) is not UNKNOWN:
        chosen = node.body if found else node.orelse
        value = known.of(chosen, literals=True)
        return known.mark(value) if value is None or isinstance(value, (bool, str)) else here.of(chosen)
    if (
        isinstance(node, ast.UnaryOp)
        and isinstance(node.op, ast.Not)
        and (found := known.of(node.operand)) is not UNKNOWN
    ):
        return known.mark(not found)
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        a, b = known.of(node.left), known.of(node.comparators[0])
        if a is UNKNOWN and b is UNKNOWN:
            return None
        a, b = known.of(node.left, literals=True), known.of(node.comparators[0], literals=True)
        if a is UNKNOWN or b is UNKNOWN:
            return None
        same = {"Is": a is b, "IsNot": a is not b, "Eq": a == b, "NotEq": a != b}.get(type(node.ops[0]).__name__)
        return None if same is None else known.mark(same)
    if isinstance(node, ast.BoolOp):
        ends = isinstance(node.op, ast.Or)  # the value that short-circuits
        for i, part in enumerate(node.values):
            found = known.of(part)
            if found is not UNKNOWN and (bool(found) != ends or i == 0):
                left = [part] if bool(found) == ends else [v for v in node.values if v is not part]
                return f" {'or' if ends else 'and'} ".join(here.of(v) for v in left)
    return None


def _taken(here: Text, block: list[ast.stmt], i: int, found: bool) -> str:
    """The text with an if replaced by the branch taken, and without unreachable code after it."""
    statement = block[i]
    assert isinstance(statement, ast.If)
    chosen = statement.body if found else statement.orelse
    text = here.lines(chosen, statement.col_offset) if chosen else ""
    if chosen and text.startswith("elif"):
        text = text[2:]
    ends = bool(chosen) and isinstance(chosen[-1], (ast.Return, ast.Raise))
    stop = here.stop(block[-1] if ends else statement)
    if not text and len(block) == 1:
        text = "pass"
    start = here.start(statement)
    if not text:
        start = here.starts[statement.lineno - 1]
        stop = here.starts[statement.end_lineno or statement.lineno]
    return here.edited((start, stop, text))


def _local(here: Text, known: Known) -> str | None:
    """The text without a local variable that is known, with marks where it is read."""
    names = [n for n in walked(here.function) if isinstance(n, ast.Name)]
    for statement in here.function.body[:-1]:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        if not isinstance(statement, (ast.Assign, ast.AnnAssign)) or statement.value is None or len(targets) > 1:
            continue
        name, found = getattr(targets[0], "id", ""), known.of(statement.value, literals=True)
        marked = known.of(statement.value) is not UNKNOWN or found is None
        once = [n.id for n in names if _stores(n)].count(name) == 1 and name not in parameters(here.function)
        if marked and once:
            start, stop = here.starts[statement.lineno - 1], here.starts[statement.end_lineno or statement.lineno]
            return _marked(here.edited((start, stop, "")), {name: found}, known)
    return None


def _unused(here: Text) -> str | None:
    """The text without an assignment to a local variable that is never read."""
    read = {n.id for n in ast.walk(here.function) if isinstance(n, ast.Name) and not _stores(n)}
    for statement in here.function.body[:-1]:
        if isinstance(statement, ast.Assign) and all(
            isinstance(t, ast.Name) and t.id not in read for t in statement.targets
        ):
            start, stop = here.starts[statement.lineno - 1], here.starts[statement.end_lineno or statement.lineno]
            return here.edited((start, stop, ""))
    return None
