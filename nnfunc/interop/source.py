"""Export of a trained model as one readable Python file that requires only NumPy.

    write_source("digits.py", model, ts, input_shape=(64,))

    import digits
    y = digits.predict(x)                         # without nnfunc installed

The file is the model's program written out: a line per call of a layer, like `relu1 = np.maximum(dense1, 0)`, with
shapes as comments. Dense layers, simple activations, sums and reshapes are one line of NumPy each; any other layer is a
call of its kernel's function, whose source is copied from this package once, with all its dependencies. The file
therefore returns the same bits as `forward`. Up to 200 values are written as literals; larger models use a `.npz` next
to the file, or base64 within it.

With a loss and an optimizer, the file also contains the training step, with backward and update written out:

    params, slots = PARAMS, begin(PARAMS)
    params, slots, value = train_step(params, slots, x, target, lr=0.1)

Models with a state (batch norm) take and return it as the last value, models with randomness (dropout) take a key, as
documented in the file. Its steps have the same bits as those of `nn.train_step`. Errors name what is not supported:
layers of three functions (`nn.Layer(init, forward, backward)`), user-defined functions that are not plain top-level
functions of a module or that use nnfunc, options of losses, losses of several outputs or whole sequences, wrapped
optimizers, and settings by name or as a schedule (except for the learning rate, an argument of the step).
"""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfunc import __version__
from nnfunc.arrays import EMPTY, ArrayDict
from nnfunc.core.build import program
from nnfunc.core.layer import Layer
from nnfunc.core.program import Program
from nnfunc.core.values import InputShape, check_shapes, leaves
from nnfunc.evaluation.predict import HasParams
from nnfunc.interop._extract import Extract, called, quoted
from nnfunc.interop._step import Training, training, training_of
from nnfunc.interop._weights import single
from nnfunc.interop._written import RESERVED, Written
from nnfunc.losses import Loss, LossName
from nnfunc.optimizers import Optimizer, OptimizerName
from nnfunc.penalties import Penalty

__all__ = ["to_source", "write_source"]

LITERALS = 200
"""The maximum number of values written as literals."""


def to_source(
    model: Layer,
    params: ArrayDict | HasParams,
    state: ArrayDict = EMPTY,
    *,
    input_shape: InputShape,
    loss: Loss | LossName | None = None,
    optimizer: Optimizer | OptimizerName | None = None,
    penalty: Penalty | None = None,
) -> str:
    """Returns a model with its parameters as the text of a Python file that includes the weights.

    Args:
        model: a model of built-in layers, or of layers from your own top-level functions of a module (`nn.layer`).
        params: its parameters, of a single network; or a `TrainState`, which also contains the state.
        state: its state.
        input_shape: the shape of one example, or a tuple of shapes for several inputs.
        loss, optimizer, penalty: those of the training step, which is written if loss and optimizer are given.
    Returns:
        the source of a module with `predict(x)`, `PARAMS`, and `train_step` and `begin` if requested.
    Raises:
        ValueError: an unsupported part (see the module's docstring), mismatched parameters or input_shape, or a stack.

    >>> model = nn.mlp([2, 2, 1], ["relu", "sigmoid"])
    >>> params, state = model.init(nn.key(0), (2,))
    >>> text = to_source(model, params, state, input_shape=(2,))
    >>> print(text[text.index("def predict"):].rstrip())
    def predict(x, params=PARAMS):
        \"""y (rows, 1) of x (rows, 2).\"""
        x = np.asarray(x, np.float32)  # (rows, 2)
        dense1 = x.dot(params["dense1.W"]) + params["dense1.b"]  # (rows, 2)
        relu1 = np.maximum(dense1, 0)  # (rows, 2)
        dense2 = relu1.dot(params["dense2.W"]) + params["dense2.b"]  # (rows, 1)
        sigmoid1 = logistic(dense2)  # (rows, 1)
        return sigmoid1
    """
    return _text(model, params, state, input_shape, loss, optimizer, penalty, None)[0]


def write_source(
    path: str | Path,
    model: Layer,
    params: ArrayDict | HasParams,
    state: ArrayDict = EMPTY,
    *,
    input_shape: InputShape,
    loss: Loss | LossName | None = None,
    optimizer: Optimizer | OptimizerName | None = None,
    penalty: Penalty | None = None,
) -> None:
    """Writes `to_source` to a file; more than 200 values go into a `.npz` of the same name next to it.

    Args:
        path: the path of the file, `something.py`.
        model, params, state, input_shape, loss, optimizer, penalty: see `to_source`.
    Raises:
        ValueError: as in `to_source`, or a path that does not end in .py.

    >>> import pathlib, tempfile
    >>> model = nn.serial(nn.dense(20))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "model.py")
    ...     write_source(path, model, *model.init(nn.key(0), (30,)), input_shape=(30,))
    ...     sorted(p.name for p in path.parent.iterdir())
    ['model.npz', 'model.py']
    """
    path = Path(path)
    if path.suffix != ".py":
        raise ValueError(f"path={str(path)!r}: expected the name of a Python file, like 'model.py'")
    beside = path.with_suffix(".npz")
    text, arrays = _text(model, params, state, input_shape, loss, optimizer, penalty, beside.name)
    if arrays:
        with beside.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # none of them is named allow_pickle
    path.write_text(text, encoding="utf-8")


def _text(
    model: Layer,
    params: ArrayDict | HasParams,
    state: ArrayDict,
    input_shape: InputShape,
    loss: Loss | LossName | None,
    optimizer: Optimizer | OptimizerName | None,
    penalty: Penalty | None,
    beside: str | None,
) -> tuple[str, dict[str, NDArray[Any]]]:
    """The text of the file, and the arrays for the file next to it."""
    whole, all_params, all_state = single(model, params, state)
    wanted = training_of(model, loss, optimizer, penalty)
    if wanted is not None:  # frozen arrays stay in the state
        given, held = (params, state) if isinstance(params, Mapping) else (params.params, params.state)
        whole, all_params, all_state = model, ArrayDict(given), ArrayDict(held)
    shapes, dtype = check_shapes(input_shape), np.dtype(all_params.dtype if all_params.size else np.float32)
    extract = Extract(set(RESERVED), backward=wanted is not None)
    names = (*all_params.names, *all_state.names, *all_state.counts)
    try:
        made = program(whole, shapes, all_params, all_state)
    except (ValueError, TypeError) as error:
        raise type(error)(f"input_shape={shapes} does not fit the model: {error}") from None
    predicts = Written(made, dtype, extract, False, names)
    functions, use = [_predict(predicts, bool(all_state))], ["y = predict(x)"]
    if wanted is not None:
        step, lines = training(wanted, program(wanted.model, shapes, all_params, all_state), dtype, extract, names)
        functions, use = [*functions, step], [*use, *lines]
    arrays = {**all_params, **all_state}
    inside = beside is None or sum(a.size for a in arrays.values()) <= LITERALS
    weights = _weights(extract, all_params, all_state, None if inside else beside)
    parts = [
        "\n".join(
            [
                _docstring(predicts, wanted, use),
                "",
                *sorted(extract.imports, key=lambda said: (said == "import numpy as np", said[:4] == "from", said)),
            ]
        )
    ]
    if extract.pieces:
        parts += [_heading("functions of the layers"), *_grouped(extract.pieces)]
    parts += [_heading("the parameters"), weights, _heading("the network"), *functions]
    return "\n\n\n".join(part.strip("\n") for part in parts) + "\n", {} if inside else arrays


def _grouped(pieces: list[str]) -> list[str]:
    """Groups consecutive constants, and adapts messages to the names in the file."""
    found: list[str] = []
    for piece in pieces:
        text = piece.replace("nn.key(", "new_key(")
        if found and "\n" not in text.strip("\n") and "\n" not in found[-1].split("\n#")[-1].strip("\n"):
            found[-1] += text
        else:
            found.append(text)
    return found


def _heading(said: str) -> str:
    return f"# -- {said} ".ljust(120, "-")


def _docstring(predicts: Written, wanted: Training | None, use: list[str]) -> str:
    made = predicts.program
    x, y = _named_shapes(made, predicts, made.inputs, "x"), _named_shapes(made, predicts, made.output, "y")
    takes = f"Takes {x}, of {predicts.dtype} or integers; returns {y}. Values are named after their layers."
    said = [] if wanted is None else ["", textwrap.fill(wanted.said(), 120)]
    first = '"""A neural network written out in NumPy (2.0 or later), its only requirement.'
    by = f"Written by nnfunc {__version__}, from whose source its functions are copied (MIT licence)."
    lines = [first, "", *(f"    {line}" for line in use), "", textwrap.fill(takes, 120), *said, "", by, '"""']
    return "\n".join(lines)


def _named_shapes(made: Program, written: Written, numbers: Any, name: str) -> str:
    parts = [written.shape(n) for n in leaves(numbers)]
    return f"{name} {parts[0]}" if not isinstance(numbers, tuple) else f"the tuple {name} of {', '.join(parts)}"


def _predict(written: Written, has_state: bool) -> str:
    """The function `predict`."""
    made = written.program
    x, y = (_named_shapes(made, written, n, name) for n, name in ((made.inputs, "x"), (made.output, "y")))
    given = "x, params=PARAMS, state=STATE" if has_state else "x, params=PARAMS"
    body = [f'"""{y} of {x}."""', *written.inputs(), *written.forward(), f"return {written.value(made.output)}"]
    return "\n".join([f"def predict({given}):", *(f"    {line}" for line in body)])


# -- parameters --------------------------------------------------------------------------------------------------------


def _weights(extract: Extract, params: ArrayDict, state: ArrayDict, beside: str | None) -> str:
    """PARAMS and STATE."""
    if beside is not None:
        extract.imports.add("from pathlib import Path")
        loaded = [f"with np.load(Path(__file__).with_name({quoted(beside)})) as file:", "    NUMBERS = dict(file)"]
        names = "".join(f"{quoted(name)}, " for name in state).rstrip(" ")
        kept = [f"STATE = {{name: NUMBERS.pop(name) for name in ({names})}}"] if state else []
        return "\n".join([*loaded, *kept, "PARAMS = NUMBERS"])
    many = sum(a.size for a in (*params.values(), *state.values())) > LITERALS
    lines = []
    if many:
        extract.imports.add("import base64")
        lines += ["def _array(shape, dtype, text):", "    numbers = np.frombuffer(base64.b64decode(text), dtype)",
                  "    return numbers.astype(numbers.dtype.newbyteorder(\"=\")).reshape(shape)", "", ""]  # fmt: skip
    for name, arrays in (("PARAMS", params), ("STATE", state)):
        if arrays or name == "PARAMS":
            lines.append(f"{name} = {{" if arrays else f"{name} = {{}}")
            lines += [line for k, a in arrays.items() for line in _entry(k, a, many)]
            lines += ["}"] if arrays else []
    return "\n".join(lines)


def _entry(name: str, array: NDArray[Any], many: bool) -> list[str]:
    """The lines of an array in a dict."""
    if many or not array.size:
        text = base64.b64encode(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()).decode()
        kind = array.dtype.newbyteorder("<").str
        head = f'    {quoted(name)}: {"_array" if many else "np.zeros"}({array.shape}, "{kind}"'
        if not many:
            return [head + "),"]
        return [head + ', """', *textwrap.wrap(text, 116), '    """),']
    return called(f"{quoted(name)}: ", "np.array", [*_literal(array).split(", "), f"np.{array.dtype}"], 4, ",").split(
        "\n"
    )


def _literal(array: NDArray[Any]) -> str:
    """An array as nested lists of the shortest literals that represent it exactly."""
    if array.dtype == np.float32:
        short = np.array([float(str(v)) for v in array.ravel()]).reshape(array.shape)
        if (short.astype(np.float32) == array).all():
            return repr(short.tolist())
    return repr(array.tolist())
