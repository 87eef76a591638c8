"""The way out: a trained model as one Python file that needs NumPy alone, and predicts the same bits.

The file has the calls of the model's program one after another, and above them the functions that these call, as they
stand in this package, without what they do not need. So it is also a way to see what a model computes.
"""

from __future__ import annotations

import ast
import base64
import builtins
import inspect
import io
import os
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

import nnfunc
from nnfunc.arrays import EMPTY, ArrayDict
from nnfunc.core.build import program
from nnfunc.core.layer import Layer
from nnfunc.core.program import Op, Program
from nnfunc.core.values import Shapes, Value, check_shapes, leaves
from nnfunc.evaluation.predict import HasParams
from nnfunc.interop._weights import single

__all__ = ["source", "write"]

WIDTH = 116


def source(
    model: Layer,
    params: ArrayDict | HasParams,
    state: ArrayDict = EMPTY,
    *,
    input_shape: Shapes,
    weights: str | None = None,
) -> str:
    """The text of a Python file with a function `predict(x)`.

    Args:
        model: of built-in layers.
        params: its parameters, of one network; or a `TrainState`, which has the state too.
        state: its state.
        input_shape: the shape of one example, a tuple of shapes for several inputs.
        weights: the name of the `.npz` beside the file in which the arrays are; None: they stand in the file, as text
            in base 64.
    Raises:
        ValueError: layers of your own, whose functions are yours already; parameters or an input_shape that do not fit.

    `predict(x)` takes the inputs of a batch, (rows, *input_shape), and gives the model's outputs as in prediction.

    >>> model = nn.mlp([2, 3, 1], ["relu", "sigmoid"])
    >>> text = source(model, *model.init(nn.key(0), (2,)), input_shape=(2,))
    >>> names = {}
    >>> exec(text, names)
    >>> names["predict"](np.ones((4, 2))).shape
    (4, 1)
    """
    model, params, state = single(model, params, state)
    made = program(model, check_shapes(input_shape), params, state)
    own = dict.fromkeys(op.path or op.layer.name for op in made.ops if op.kernel.named)
    if own:
        raise ValueError(f"model contains layers of your own, whose functions are yours already: {', '.join(own)}")
    arrays = {name: np.asarray(value) for name, value in {**params, **state}.items()}
    written = Written()
    calls = list(_calls(made, tuple(arrays), params.dtype if params.size else None, written))
    inputs = _names(made.inputs, made)
    about = (
        f"{model!r}\n\nWritten by nnfunc {nnfunc.__version__}; needs NumPy alone. predict(x): x has shape (rows, ...)."
    )
    shapes = [f"(rows, {', '.join(map(str, made.shapes[n]))})" for n in leaves(made.inputs)]
    if weights is not None:
        written.imports.add("from pathlib import Path")
    parts = [
        f'"""{textwrap.fill(about, WIDTH, replace_whitespace=False)}"""',
        "\n".join(sorted({"import base64", "import io", "import numpy as np", *written.imports})),
        *written.texts,
        _arrays(arrays, weights),
        f"def predict(x):\n    # x: {', '.join(shapes)}\n    {inputs} = x\n"
        + "".join(f"    {line}\n" for line in calls)
        + f"    return {_names(made.output, made)}",
    ]
    return "\n\n\n".join(part.strip("\n") for part in parts) + "\n"


def write(
    path: str | os.PathLike[str],
    model: Layer,
    params: ArrayDict | HasParams,
    state: ArrayDict = EMPTY,
    *,
    input_shape: Shapes,
    beside: bool = False,
) -> None:
    """Writes the file, and with `beside` the arrays into a `.npz` of the same name beside it.

    >>> import tempfile
    >>> model = nn.mlp([2, 1], ["sigmoid"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/net.py", model, *model.init(nn.key(0), (2,)), input_shape=(2,), beside=True)
    ...     print(*sorted(p.name for p in Path(folder).iterdir()))
    net.npz net.py
    """
    target = Path(path)
    if target.suffix != ".py":
        raise ValueError(f"path={os.fspath(path)!r} ends in {target.suffix!r}, expected .py")
    weights = f"{target.stem}.npz" if beside else None
    text = source(model, params, state, input_shape=input_shape, weights=weights)
    if beside:
        _, params, state = single(model, params, state)
        named: dict[str, Any] = {**params, **state}
        np.savez(target.with_suffix(".npz"), **named)
    target.write_text(text)


def _arrays(arrays: Mapping[str, Any], weights: str | None) -> str:
    if weights is not None:
        return f"W = dict(np.load(Path(__file__).parent / {weights!r}))"
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    text = base64.b85encode(stream.getvalue()).decode()
    lines = "\n".join(f'    r"{text[i : i + WIDTH - 8]}"' for i in range(0, len(text), WIDTH - 8))
    return f"WEIGHTS = (\n{lines}\n)\nW = dict(np.load(io.BytesIO(base64.b85decode(WEIGHTS))))"


# -- the calls ---------------------------------------------------------------------------------------------------------


def _names(numbers: Value, made: Program) -> str:
    if isinstance(numbers, tuple):
        return f"({', '.join(_names(n, made) for n in numbers)}{',' if len(numbers) == 1 else ''})"
    return f"v{numbers}"


def _calls(made: Program, names: tuple[str, ...], dtype: Any, written: Written) -> Iterator[str]:
    for n in leaves(made.inputs):
        yield f"v{n} = np.asarray(v{n}{'' if made.integers[n] or dtype is None else f', np.{dtype}'})"
    for op in made.ops:
        x = _names(op.x, made)
        if any(op.casts):
            kind = f"np.{dtype or np.dtype(float)}"
            cast = [f"np.asarray(v{n}, {kind})" if c else f"v{n}" for n, c in zip(leaves(op.x), op.casts, strict=True)]
            x = cast[0] if len(cast) == 1 else f"({', '.join(cast)})"
        own = [f"W[{names[i]!r}]{'.T' if turned else ''}" for i, turned in zip(op.params, op.turned, strict=True)]
        given = {name: _literal(op.layer.settings[name], op, written) for name in op.kernel.uses}
        asked = {"train": "False", "key": "None", "lead": "1", "gather": "None"}
        given |= {what: asked[what] for what in op.kernel.asks if what != "state"}
        if "state" in op.kernel.asks:
            held = [f"W[{name!r}]" for name in _state_names(op, names)]
            given["state"] = f"({', '.join(held)},)"
        arguments = [f"({', '.join(own)}{',' if len(own) == 1 else ''})", x, *(f"{k}={v}" for k, v in given.items())]
        more = ", _" if "state" in op.kernel.asks else ""
        shapes = ", ".join(f"(rows, {', '.join(map(str, made.shapes[n]))})" for n in leaves(op.y))
        call = f"{_names(op.y, made)}, _{more} = {written.name(op.kernel.forward)}({', '.join(arguments)})"
        yield f"# {op.path or op.layer.name}: {op.kernel.formula}, {shapes}"
        yield call


def _state_names(op: Op, names: tuple[str, ...]) -> list[str]:
    """What the model calls the arrays of the state of a layer."""
    prefix = f"{op.path}." if op.path else ""
    return [f"{prefix}{name}" for name in op.state_names]


def _literal(value: Any, op: Op, written: Written) -> str:
    """A setting as Python text."""
    if isinstance(value, FunctionType):
        return written.name(value)
    text = repr(value)
    try:
        same = ast.literal_eval(text) == value
    except (ValueError, SyntaxError):
        same = False
    if not same:
        raise ValueError(f"{op.path or op.layer.name} has the setting {value!r}, which is no text of Python")
    return text


# -- the functions -----------------------------------------------------------------------------------------------------


class Written:
    """The functions, classes and constants that the calls need, each once, in an order in which they can stand."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.imports: set[str] = set()
        self.known: dict[int, str] = {}
        self.constants: dict[str, str] = {}
        self.kept: list[Any] = []  # an object that is gone may give its number to another

    def name(self, thing: Any) -> str:
        """The name of a function, class or constant in the file, which it is written into if it was not."""
        if id(thing) not in self.known:
            self.kept.append(thing)
            plain = inspect.unwrap(thing) if callable(thing) and not inspect.isclass(thing) else thing
            module, own = str(plain.__module__), str(plain.__qualname__)
            if not module.startswith("nnfunc."):
                self.known[id(thing)] = own
                self.imports.add(f"from {module} import {own}")
                return own
            short = own.strip("_")
            name = short if short[0].isupper() else f"{module_of(plain)}_{short}"
            self.known[id(thing)] = name
            self.texts.append(self._text(thing, plain, name))
        return self.known[id(thing)]

    def _text(self, thing: Any, plain: Any, name: str) -> str:
        tree = ast.parse(textwrap.dedent(inspect.getsource(plain)))
        [body] = tree.body
        assert isinstance(body, (ast.FunctionDef, ast.ClassDef))
        _shorten(body)
        body = ast.fix_missing_locations(Prediction().visit(body))
        space = vars(inspect.getmodule(plain))
        local = _local_names(body)
        renamed = {}
        for node in ast.walk(body):
            if isinstance(node, ast.Name) and node.id not in local and node.id not in renamed:
                found = self._used(node.id, space, module_of(plain))
                if found is not None:
                    renamed[node.id] = found
        for node in ast.walk(body):
            if isinstance(node, ast.Name) and node.id in renamed:
                node.id = renamed[node.id]
        body.name = name
        return ast.unparse(body)

    def _used(self, name: str, space: Mapping[str, Any], module: str) -> str | None:
        """What a global name of a module is called in the file; None for Python's own names."""
        if name not in space:
            if hasattr(builtins, name):
                return None
            raise ValueError(f"{name} is not found")
        thing = space[name]
        if isinstance(thing, ModuleType):
            self.imports.add(f"import {thing.__name__}" + (f" as {name}" if name != thing.__name__ else ""))
            return name
        if inspect.isclass(thing) or inspect.isroutine(thing) or hasattr(thing, "__wrapped__"):
            return self.name(thing)
        text = self._value(thing)
        if self.constants.get(name, text) != text:  # another module has another one of this name
            name = f"{module.upper()}_{name}"
        if name not in self.constants:
            self.constants[name] = text
            self.texts.append(f"{name} = {text}")
        return name

    def _value(self, thing: Any) -> str:
        if isinstance(thing, tuple) and hasattr(thing, "_fields"):
            return f"{self.name(type(thing))}({', '.join(self._value(part) for part in thing)})"
        if isinstance(thing, tuple):
            return f"({', '.join(self._value(part) for part in thing)}{',' if len(thing) == 1 else ''})"
        if inspect.isclass(thing) or inspect.isroutine(thing):
            return self.name(thing)
        if isinstance(thing, float) and not np.isfinite(thing):
            return f'float("{thing}")'
        return repr(thing)


def module_of(thing: Any) -> str:
    """The last part of the name of the module in which a function or class stands."""
    last: str = thing.__module__.rpartition(".")[2]
    return last.strip("_")


def _shorten(body: ast.FunctionDef | ast.ClassDef) -> None:
    """Without annotations; of docstrings the first line."""
    for node in ast.walk(body):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
                argument.annotation = None
            for rest in (node.args.vararg, node.args.kwarg):
                if rest is not None:
                    rest.annotation = None
        if isinstance(node, ast.AnnAssign):  # a field
            node.annotation = ast.Name("object", ast.Load())
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            said = ast.get_docstring(node)
            if said is not None:
                node.body[0] = ast.Expr(ast.Constant(said.split("\n\n")[0].replace("\n", " ")))
    for node in ast.walk(body):
        for field, value in ast.iter_fields(node):
            if isinstance(value, list) and not isinstance(node, ast.ClassDef):
                setattr(node, field, [_plain(part) for part in value])


class Prediction(ast.NodeTransformer):
    """Leaves out what is for training alone: what follows where `train` is false, and `key` and `gather` are None."""

    def visit_If(self, node: ast.If) -> Any:  # the name that ast looks for
        truth = _truth(node.test)
        self.generic_visit(node)
        if truth is None:
            return node
        return node.body if truth else node.orelse

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:  # likewise
        self.generic_visit(node)
        ends = next((i for i, line in enumerate(node.body) if isinstance(line, ast.Return)), len(node.body))
        node.body = node.body[: ends + 1]
        return node


def _truth(test: ast.expr) -> bool | None:
    """Whether a condition holds in prediction, if that is known."""
    if isinstance(test, ast.Name):
        return False if test.id == "train" else None
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = _truth(test.operand)
        return None if inner is None else not inner
    if isinstance(test, ast.BoolOp):
        parts, settles = [_truth(part) for part in test.values], isinstance(test.op, ast.Or)
        if settles in parts:
            return settles
        return None if None in parts else not settles
    if isinstance(test, ast.Compare) and ast.unparse(test.left) in ("key", "gather"):
        return {"Is": True, "IsNot": False}.get(type(test.ops[0]).__name__)
    return None


def _plain(node: Any) -> Any:
    """`y: Array = x` without its annotation."""
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        return ast.copy_location(ast.Assign([node.target], node.value), node)
    return node


def _local_names(body: ast.FunctionDef | ast.ClassDef) -> set[str]:
    """The names that are bound within."""
    found = set()
    for node in ast.walk(body):
        if isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found
