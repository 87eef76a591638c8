"""Odd values, each made anew: what people pass by mistake, and what has no business anywhere."""

from __future__ import annotations

import array
import datetime
import io
import weakref
from collections import Counter, UserDict, deque
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import partial
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

import nnfunc as nn

Zoo = dict[str, Callable[[], Any]]

FORMS = ["f2", "f4", "f8", "g", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", "c8", "c16", ">f4", ">i8"]
NUMBERS: list[Any] = [
    0,
    1,
    2,
    3,
    -1,
    2**31,
    2**63,
    2**64,
    10**30,
    -(10**30),
    10**400,
    0.0,
    -0.0,
    0.5,
    1.5,
    -1.5,
    1e-300,
    5e-324,
]
NUMBERS += [1e300, float("nan"), float("inf"), float("-inf"), 1j, complex("nan"), True, False]
WORDS = ["", "a", "relu", "adam", "0.5", "nan", "*W", "é", "\0", "float32", "same"]
SHAPES: list[tuple[int, ...]] = [(), (0,), (0, 3), (3, 0), (1,), (2,), (3,), (4,), (1, 1), (2, 3), (3, 2), (4, 3)]
SHAPES += [(4, 4), (2, 3, 4), (1, 2, 1, 2, 1)]
MODEL = nn.serial(nn.dense(2))


class Numbers:
    """Has an array inside, like the arrays of other packages."""

    def __init__(self, result: Any) -> None:
        self.result = result

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class Number:
    """Can be made a float and a whole number."""

    def __float__(self) -> float:
        return 0.5

    def __index__(self) -> int:
        return 2


class Liar(list[int]):
    """Says another length than it has, and is equal to everything."""

    def __len__(self) -> int:
        return 7

    def __eq__(self, other: object) -> bool:
        return True


def within_itself() -> list[Any]:
    own: list[Any] = []
    own.append(own)
    return own


def deep() -> list[Any]:
    own: list[Any] = [1.0]
    for _ in range(80):
        own = [own]
    return own


def fail(*_: Any, **__: Any) -> Any:
    raise LookupError("a function of the user's failed")


def junk(value: Any) -> Callable[..., Any]:
    return lambda *_, **__: value


def of_objects(*values: Any) -> np.ndarray[Any, Any]:
    made = np.empty(len(values), object)
    made[:] = values
    return made


def memmap() -> Any:
    import tempfile

    return np.memmap(tempfile.TemporaryFile(), "f4", "w+", shape=(2, 3))


def state() -> nn.TrainState:
    return nn.train_state(MODEL, "gd", nn.key(0), (3,))


STRUCTURED = [("a", "f4"), ("b", "i4")]
VALUES: Zoo = {
    "None": lambda: None,
    **{f"number {n!r:.12}": partial(lambda n: n, n) for n in NUMBERS},
    **{f"word {w!r}": partial(lambda w: w, w) for w in WORDS},
    **{f"np.{form}": partial(lambda form: np.ones((), form)[()], form) for form in FORMS},
    **{f"array of {form}": partial(np.ones, (2, 3), form) for form in FORMS},
    **{f"array {shape}": partial(np.ones, shape) for shape in SHAPES},
    **{f"whole array {shape}": partial(np.zeros, shape, int) for shape in SHAPES},
    # numbers of other kinds
    "Fraction": lambda: Fraction(1, 2),
    "Decimal": lambda: Decimal("0.5"),
    "Decimal nan": lambda: Decimal("nan"),
    "np.str_": lambda: np.str_("a"),
    "bytes": lambda: b"abc",
    "bytearray": lambda: bytearray(b"abc"),
    "an index and a float": Number,
    # dates
    "datetime": lambda: datetime.datetime(2020, 1, 1),
    "timedelta": lambda: datetime.timedelta(1),
    "datetime64": lambda: np.datetime64("2020-01-01"),
    "NaT": lambda: np.datetime64("NaT"),
    "timedelta64": lambda: np.timedelta64(1, "s"),
    "dates": lambda: np.array(["2020-01-01"] * 2, "M8[D]"),
    "durations": lambda: np.array([[1, 2, 3]] * 2, "m8[s]"),
    # containers
    "[]": list,
    "()": tuple,
    "{}": dict,
    "set": lambda: {1, 2},
    "frozenset": lambda: frozenset({1}),
    "[1, 2]": lambda: [1, 2],
    "(1, 2)": lambda: (1, 2),
    "(2, 3) floats": lambda: (2.0, 3.0),
    "(-1, 3)": lambda: (-1, 3),
    "(3,)": lambda: (3,),
    "((3,), (3,))": lambda: ((3,), (3,)),
    "ragged": lambda: [[1], [2, 3]],
    "deep": deep,
    "within itself": within_itself,
    "list of None": lambda: [None, None],
    "list of words": lambda: ["a", "b"],
    "list with nan": lambda: [1.0, float("nan")],
    "list of complex": lambda: [1j, 2.0],
    "list of arrays": lambda: [np.ones(3), np.ones(3)],
    "pair of arrays": lambda: (np.ones((4, 3)), np.ones((4, 3))),
    "pair of words": lambda: ("x", "y"),
    "{'a': 1}": lambda: {"a": 1},
    "{'*': 0.1}": lambda: {"*": 0.1},
    "{'*': nan}": lambda: {"*": float("nan")},
    "{1: 2}": lambda: {1: 2},
    "{'dense1.W': word}": lambda: {"dense1.W": "x"},
    "range": lambda: range(3),
    "empty range": lambda: range(0),
    "iterator": lambda: iter([1, 2]),
    "generator": lambda: (i for i in range(2)),
    "map": lambda: map(float, [1, 2]),
    "memoryview": lambda: np.ones(3).data,
    "array.array": lambda: array.array("d", [1.0, 2.0, 3.0]),
    "deque": lambda: deque([1, 2]),
    "Counter": lambda: Counter("ab"),
    "UserDict": lambda: UserDict({"a": 1.0}),
    "liar": lambda: Liar([1, 2]),
    # arrays that are not what they seem
    "nan": lambda: np.array([[1.0, np.nan, 2.0]] * 4),
    "inf": lambda: np.array([[1.0, np.inf, 2.0]] * 4),
    "1e308": lambda: np.full((4, 3), 1e308),
    "subnormal": lambda: np.full((4, 3), 5e-324),
    "largest uint64": lambda: np.full(3, 2**64 - 1, np.uint64),
    "negative whole": lambda: np.full(4, -1),
    "large whole": lambda: np.full(4, 10**6),
    "classes": lambda: np.array([0, 1, 1, 0]),
    "masked": lambda: np.ma.array(np.ones((4, 3)), mask=np.eye(4, 3, dtype=bool)),
    "masked, no mask": lambda: np.ma.array(np.ones((4, 3))),
    "masked number": lambda: np.ma.masked,
    "matrix": lambda: np.asmatrix(np.ones((4, 3))),
    "recarray": lambda: np.ones(3, STRUCTURED).view(np.recarray),
    "structured": lambda: np.ones(3, STRUCTURED),
    "chararray": lambda: np.array(["a", "b"]).view(np.char.chararray),
    "words": lambda: np.array(["a", "b"]),
    "words of numbers": lambda: np.array(["1", "2", "3"]),
    "bytes of numbers": lambda: np.array([b"1", b"2"]),
    "objects, numbers": lambda: of_objects(1.0, 2.0, 3.0),
    "objects, None": lambda: of_objects(None, 1.0),
    "objects, arrays": lambda: of_objects(np.ones(2), np.ones(3)),
    "objects, matrix": lambda: np.ones((4, 3), object),
    "memmap": memmap,
    "read-only": lambda: np.broadcast_to(1.0, (4, 3)),
    "columns first": lambda: np.asfortranarray(np.arange(12.0).reshape(4, 3)),
    "backwards": lambda: np.arange(12.0).reshape(4, 3)[::-1, ::-1],
    "unaligned": lambda: np.frombuffer(bytes(25), "f8", 3, 1),
    "an array inside": lambda: Numbers(np.ones((4, 3))),
    "a complex array inside": lambda: Numbers(np.ones((4, 3), complex)),
    "no array inside": lambda: Numbers(RuntimeError("it lives on another device")),
    # what belongs elsewhere in nnfunc
    "Key": lambda: nn.key(0),
    "Keys": lambda: nn.split(nn.key(0), 2),
    "Key too large": lambda: nn.Key(2**200),
    "Key below 0": lambda: nn.Key(-1),
    "Layer": lambda: MODEL,
    "relu()": nn.relu,
    "nn.relu": lambda: nn.relu,
    "nn.adam": lambda: nn.adam,
    "nn.adam()": nn.adam,
    "nn.huber": lambda: nn.huber,
    "Loss": lambda: nn.mean_squared_error,
    "Penalty": lambda: nn.l2(0.1),
    "TrainState": state,
    "Epoch": lambda: nn.Epoch(1, 0.5, 0.5, None, state()),
    "EMPTY": lambda: nn.arrays.EMPTY,
    "ArrayDict": lambda: state().params,
    "ArrayDict, float64": lambda: state().params.astype(np.float64),
    "ArrayDict of others": lambda: nn.ArrayDict({"other.W": [1.0]}),
    "ArrayDict, nan": lambda: state().params * np.nan,
    "ArrayDict, stack": lambda: nn.stack([state().params] * 2),
    "ArrayDict, counts": lambda: nn.ArrayDict({"n": np.array([1, 2])}),
    "dict of arrays": lambda: dict(state().params),
    "dict of other shapes": lambda: {"dense1.W": np.ones((9, 9)), "dense1.b": np.ones(9)},
    "dict of lists": lambda: {"dense1.W": np.ones((3, 2)).tolist(), "dense1.b": [1, 2]},
    # functions
    "no arguments": lambda: lambda: 1.0,
    "fails": lambda: fail,
    "returns None": lambda: junk(None),
    "returns a word": lambda: junk("x"),
    "returns nan": lambda: junk(float("nan")),
    "returns complex": lambda: junk(1j),
    "returns 0.1": lambda: junk(0.1),
    "returns an array": lambda: junk(np.ones((9, 9))),
    "returns two Nones": lambda: junk((None, None)),
    "returns a dict": lambda: junk({}),
    "returns a list": lambda: junk([1, "a"]),
    "returns objects": lambda: junk(np.array([None, 1])),
    "len": lambda: len,
    "np.exp": lambda: np.exp,
    "partial": lambda: partial(max, 1),
    # things
    "int": lambda: int,
    "np.float32": lambda: np.float32,
    "a dtype": lambda: np.dtype("f8"),
    "a dtype of ints": lambda: np.dtype("i8"),
    "a class": lambda: Number,
    "module": lambda: np,
    "...": lambda: ...,
    "NotImplemented": lambda: NotImplemented,
    "slice": lambda: slice(0, 2),
    "object()": object,
    "exception": lambda: ValueError("x"),
    "exception class": lambda: ValueError,
    "weakref": lambda: weakref.ref(MODEL.__class__),
    "lock": Lock,
    "path": lambda: Path("x.npz"),
    "text stream": io.StringIO,
    "stream of bytes": io.BytesIO,
    "random state": lambda: np.random.default_rng(0),
}


def from_others() -> Zoo:
    """Values of packages that are installed."""
    values: dict[str, dict[str, Callable[[Any], Any]]] = {
        "scipy.sparse": {
            "csr matrix": lambda sparse: sparse.csr_matrix(np.eye(4, 3)),
            "coo array": lambda sparse: sparse.coo_array(np.eye(4, 3)),
        },
        "torch": {
            "tensor": lambda torch: torch.ones(4, 3),
            "tensor with gradient": lambda torch: torch.ones(4, 3, requires_grad=True),
            "tensor of bfloat16": lambda torch: torch.ones(4, 3).bfloat16(),
            "tensor of classes": lambda torch: torch.tensor([0, 1, 1, 0]),
            "tensor number": lambda torch: torch.tensor(0.5),
            "sparse tensor": lambda torch: torch.eye(4).to_sparse(),
            "torch.float32": lambda torch: torch.float32,
        },
        "pandas": {
            "data frame": lambda pandas: pandas.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}),
            "data frame with gaps": lambda pandas: pandas.DataFrame({"a": [1.0, None], "b": ["x", "y"]}),
            "series": lambda pandas: pandas.Series([0, 1, 1, 0]),
            "series of categories": lambda pandas: pandas.Series(["a", "b"], dtype="category"),
            "NA": lambda pandas: pandas.NA,
        },
    }
    found: Zoo = {}
    for package, makers in values.items():
        try:
            module = import_module(package)
        except ImportError:
            continue
        found |= {label: partial(make, module) for label, make in makers.items()}
    return found
