"""One odd value in one argument of a right call: every public function, each of its arguments, each value of the zoo.

right    the result is that of the plain form of the value: a number, a list, an array of NumPy's own
taught   an error that nnfunc raises, which names the argument
unnamed  an error that nnfunc raises, which does not
bare     an error from inside Python or NumPy, or a call that does not end
silent   a result where the value has no plain form or that has another result; or one with NaN or complex numbers

python -m tests.reliability fuzz 100      percent of all; the table, and what is bare or silent most often
"""

from __future__ import annotations

import contextlib
import io
import linecache
import random
import re
import signal
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import nnfunc as nn
from tests.reliability import zoo
from tests.reliability.calls import Call, calls

HOME = str(Path(nn.__file__).parent)
OUTCOMES = ("right", "taught", "unnamed", "bare", "silent")
SECONDS = 2.0
LARGE = 10**6
"""Elements of a result beyond which it is not looked at."""
DATA = {
    "x",
    "X",
    "y",
    "Y",
    "target",
    "params",
    "grads",
    "dy",
    "arrays",
    "a",
    "b",
    "other",
    "vector",
    "members",
    "stacked",
}
"""Arguments in which NaN is data: what is made of them may be NaN too."""


OPERATORS = "unsupported operand|not supported between|multiply sequence"


class Outcome(NamedTuple):
    """What became of one call."""

    kind: str
    call: str
    argument: str
    value: str
    message: str = ""
    where: str = ""  # the file and the line that raised


class TooLongError(BaseException):
    """No `except Exception` catches it."""


def late(*_: object) -> None:
    raise TooLongError(f"no result after {SECONDS} s")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No output, no warnings, no call without an end; what is saved under an odd name goes with its folder."""
    before = signal.signal(signal.SIGALRM, late)
    try:
        with (
            tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), warnings.catch_warnings(),
            np.errstate(all="ignore"), contextlib.redirect_stdout(io.StringIO()),
        ):  # fmt: skip
            warnings.simplefilter("ignore")
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def result_of(call: Call, argument: str, value: Any) -> Any:
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        return call.run(**{**call.arguments, argument: value})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def tried(call: Call, argument: str, label: str, make: Callable[[], Any]) -> Outcome:
    where = (call.name, argument, label)
    try:
        result = result_of(call, argument, make())
    except (Exception, TooLongError) as error:
        function = callable(make()) and bool(re.search(FUNCTIONS, call.annotations[argument]))
        return of_error(error, function, *where)
    if not_real(result) and not (argument in DATA and not_real(plain_array(make()))):
        return Outcome("silent", *where, "the result has NaN or complex numbers")
    value = make()
    if allowed(call.annotations[argument], value) or same(value, call.arguments[argument]):
        return Outcome("right", *where)
    plain = list(plain_forms(value))
    for form in plain:
        with contextlib.suppress(Exception):
            if same(result_of(call, argument, form), result):
                return Outcome("right", *where)
    return Outcome("silent", *where, "another result than of the plain form" if plain else "it has no plain form")


def of_error(error: BaseException, takes_functions: bool, call: str, argument: str, label: str) -> Outcome:
    """An error of nnfunc's stands in a `raise` of its own."""
    trace = error.__traceback__
    assert trace is not None
    while trace.tb_next is not None:
        trace = trace.tb_next
    file, line = trace.tb_frame.f_code.co_filename, trace.tb_lineno
    message = f"{type(error).__name__}: {error}"[:200]
    own = file.startswith(HOME) and linecache.getline(file, line).lstrip().startswith("raise")
    if isinstance(error, TypeError) and re.search(
        "unsupported operand|not supported between|multiply sequence", str(error)
    ):
        kind = "taught"  # Python's own words for two things that an operator does not join
    elif takes_functions and isinstance(error, (TypeError, LookupError)) and not own:
        kind = "taught"  # what a user's function raises is the user's
    elif own:
        kind = "taught" if names(str(error), argument) else "unnamed"
    else:
        kind = "bare"
    return Outcome(kind, call, argument, label, message, f"{file.removeprefix(HOME)}:{line}")


ALSO_NAMED = {
    "X": "x |inputs|target|outputs",
    "Y": "target",
    "a": "array|dict",
    "activations": "activation",
    "arrays": "array|dense1|right",
    "b": "array|dict",
    "backward": "is not a layer|expected layers",
    "batch": "x |target|data",
    "cache": "forward",
    "cell": "is not a layer|expected layers",
    "data": "x |target|batch|X",
    "epochs": "Epoch",
    "forward": "is not a layer|expected layers",
    "function": "returned|array",
    "grads": "gradient|dense1|array",
    "init": "initial|array",
    "kernel_size": "window",
    "layer_dims": "dims|units",
    "layer": "is not a layer|expected layers",
    "layers": "layer",
    "learning_rate": "pattern",
    "loss": "Loss",
    "members": "member|array",
    "opt_state": "state|array",
    "optimizers": "optimizer",
    "other": "right",
    "pairs": "pad",
    "params": "dense1|parameters|array",
    "prefix": "group|name",
    "size": "kernel|window",
    "stacked": "stack",
    "state": "ts|array",
    "ts": "params|state|array",
    "where": "pattern",
    "weight_decay": "pattern",
    "x": "dense1|inputs|target",
    "y": "target|outputs",
}
"""Other words by which an error may name what an argument holds."""


def names(message: str, argument: str) -> bool:
    return bool(re.search(rf"\b{re.escape(argument)}\b|{ALSO_NAMED.get(argument, argument)}", message))


# -- plain forms -------------------------------------------------------------------------------------------------------

FUNCTIONS = "Callable|Schedule|Setting|Initializer|Rule"
KINDS: dict[str, Callable[[Any], bool]] = {
    "None": lambda v: v is None,
    "str|Literal|Padding|Output|Pairing|Average|Initializer|Patterns|DTypeLike|type": lambda v: isinstance(v, str),
    "DTypeLike|type": lambda v: isinstance(v, (type, np.dtype)),
    FUNCTIONS: callable,
    "Patterns|Sequence|Iterable|tuple": lambda v: isinstance(v, Sequence),
    "Iterable": lambda v: isinstance(v, Iterator),
    "Mapping|Setting|ArrayDict": lambda v: isinstance(v, Mapping),
    "Layer": lambda v: isinstance(v, nn.Layer),
    "Loss": lambda v: isinstance(v, nn.Loss),
    "Optimizer": lambda v: isinstance(v, nn.Optimizer),
    "Penalty": lambda v: isinstance(v, nn.Penalty),
    "Key": lambda v: isinstance(v, nn.Key) or (isinstance(v, tuple) and all(isinstance(k, nn.Key) for k in v)),
    "TrainState|HasParams": lambda v: isinstance(v, nn.TrainState),
    "PathLike": lambda v: isinstance(v, Path),
    r"\bint\b|float|Setting|Scalar": lambda v: type(v) in (int, float),
}
"""What an annotation that contains a word allows as it is."""


def allowed(annotation: str, value: Any) -> bool:
    if annotation in ("Any", "object", "inspect._empty"):
        return True
    return any(re.search(words, annotation) and fits(value) for words, fits in KINDS.items())


def plain_array(value: Any) -> Any:
    """The array of real numbers that a value is, if it is one."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.getmaskarray(value).any():
        return None
    if isinstance(value, (nn.ArrayDict, Mapping)):
        return value
    with contextlib.suppress(Exception):
        array = np.asarray(value)
        if array.dtype.kind in "fiub":
            return np.array(array)
    return None


def plain_forms(value: Any) -> Iterator[Any]:
    array = plain_array(value)
    if isinstance(value, Mapping):
        yield dict(value)
    elif isinstance(array, np.ndarray):
        yield from (array, array.tolist(), array.astype(np.float64))
        if array.ndim == 1:
            yield tuple(array.tolist())
        if array.size == 1:
            yield array.item()
    elif isinstance(value, (tuple, list)):
        arrays = [plain_array(part) for part in value]
        if not any(array is None for array in arrays):
            yield from (arrays, tuple(arrays))


def parts(value: Any) -> list[Any]:
    return [value[k] for k in value] if isinstance(value, Mapping) else list(value)


def not_real(value: Any) -> bool:
    """Whether NaN or complex numbers are in it; in a report NaN is a number that there is not."""
    if isinstance(value, (nn.Finding, nn.inspection.LayerInspection)):
        return False
    if isinstance(value, (Mapping, list, tuple)):
        return any(map(not_real, parts(value)))
    if isinstance(value, (np.ndarray, np.generic, float, complex)):
        array = np.asarray(value)
        if array.size > LARGE:
            return False
        return array.dtype.kind == "c" or (array.dtype.kind == "f" and bool(np.isnan(array).any()))
    return False


def same(a: Any, b: Any) -> bool:
    """Equal in values, whatever the types of dicts and arrays."""
    with contextlib.suppress(Exception):
        if a is b:
            return True
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
        if isinstance(a, (nn.Layer, nn.Optimizer, nn.Loss, nn.Penalty)):
            return repr(a) == repr(b)
        if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
            return len(a) == len(b) and all(map(same, a, b))
        if isinstance(a, int) and isinstance(b, int):
            return a == b  # of any length
        if isinstance(a, (np.ndarray, np.generic, float, int)):
            x, y = np.asarray(a), np.asarray(b)
            return x.shape == y.shape and (x.size > LARGE or np.array_equal(x, y, equal_nan=True))
        return bool(a == b) or (type(a) is type(b) and (repr(a) == repr(b) or callable(a)))
    return False


# -- the whole ---------------------------------------------------------------------------------------------------------


def outcomes(percent: float = 100, seed: int = 0, values: zoo.Zoo | None = None) -> list[Outcome]:
    values = zoo.VALUES | zoo.from_others() if values is None else values
    everything = [(call, k, label) for call in calls() for k in call.arguments for label in values]
    chosen = random.Random(seed).sample(everything, round(len(everything) * percent / 100))
    with quiet():
        return [tried(call, k, label, values[label]) for call, k, label in chosen]


def table(found: Sequence[Outcome]) -> str:
    """A row for each kind of value that is bare or silent, and the sums."""
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    for outcome in found:
        rows[outcome.value][outcome.kind] += 1
    rows = dict(sorted(rows.items(), key=lambda row: -row[1]["bare"] - row[1]["silent"]))
    total = Counter(outcome.kind for outcome in found)
    lines = [f"{'value':26}" + "".join(f"{kind:>9}" for kind in OUTCOMES)]
    lines += [f"{label:26.26}" + "".join(f"{count[kind]:9,}" for kind in OUTCOMES) for label, count in rows.items()]
    return "\n".join([*lines, f"{'all':26}" + "".join(f"{total[kind]:9,}" for kind in OUTCOMES)])


def frequent(found: Sequence[Outcome], kind: str, number: int = 25) -> str:
    """Where most outcomes of a kind come from, with one of each."""
    key = (lambda o: o.where) if kind in ("bare", "unnamed") else (lambda o: f"{o.call}({o.argument})")
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in found:
        if outcome.kind == kind:
            groups[key(outcome)].append(outcome)
    lines = []
    for place, group in sorted(groups.items(), key=lambda item: -len(item[1]))[:number]:
        some = group[len(group) // 2]
        lines.append(f"{len(group):5} {place}: {some.call}({some.argument}={some.value}) {some.message[:110]}")
    return "\n".join(lines)


def run(percent: int) -> tuple[str, list[str]]:
    found = outcomes(percent)
    print(table(found))
    for kind in ("bare", "silent", "unnamed"):
        print(f"\n{kind}\n{frequent(found, kind)}")
    total = Counter(outcome.kind for outcome in found)
    return f"{len(found):,} calls: " + ", ".join(f"{total[kind]:,} {kind}" for kind in OUTCOMES), []
