"""Saving and loading. One file contains a train state, with its model if all layers are built in, or a (nested) tuple
of train states, dicts and arrays.

    nn.save("run.npz", ts, model)
    ts, model = nn.load("run.npz")

The suffix is the format: `.npz` is NumPy's, `.safetensors` needs `pip install "nnfunc[safetensors]"`. Nothing is
pickled, and loading runs no code from the file. Both formats contain the same arrays, readable without nnfunc by
`np.load("run.npz")["params/dense1.W"]` or `safetensors.numpy.load_file("run.safetensors")["params/dense1.W"]`:

    params/NAME     the parameters, each under its name; for a stack of K networks with a leading axis K
    state/NAME      the model's state, likewise
    opt_state/NAME  the optimizer's state, likewise
    key             uint64: the key's high and low 64 bits, (2,); for a stack (K, 2)
    step            int64: the number of updates so far
    crc32           uint32: the checksum of all of the above and of the text below, see `_checksum`

and a JSON text named `nnfunc`, a string array in `.npz`, a metadata entry in `.safetensors`:

    {"version": 1, "model": null or as in nnfunc.models.description,
     "params": {"names": [their order], "dtype": "float32", "stack": [] or [K]}, "state": {...}, "opt_state": {...}}

A tuple is version 2: the names of its parts prefix the names above ("0/params/dense1.W", or "run/params/dense1.W" for
a named tuple), and the text has "value" instead, which describes each part.
"""

from __future__ import annotations

import json
import os
import zlib
from collections import namedtuple
from operator import index
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnfunc._internal.disk import replaced
from nnfunc._internal.formats import Arrays, ForeignError, UnreadableError, read, suffix_of, write
from nnfunc._internal.validate import instance, numeric, positive_int
from nnfunc.arrays import ArrayDict
from nnfunc.core.layer import Layer
from nnfunc.keys import Key, Keys, check
from nnfunc.layers.structure import check_params
from nnfunc.models.description import build, describe
from nnfunc.training.state import TrainState

__all__ = ["Saved", "load", "save"]

STATES, VERSION = 1, 2
"""The format versions of a single train state (readable by older releases) and of a tuple."""
GROUPS = ("params", "state", "opt_state")


class Saved(NamedTuple):
    """The content of a file: the train state (or the saved tuple), and the model if it was saved too (or given to
    `load`).

    >>> nn.files.Saved(nn.train_state(nn.serial(nn.dense(3)), nn.gd(), nn.key(0), (2,)), None).state.step
    0
    """

    state: Any
    model: Layer | None


def save(path: str | os.PathLike[str], ts: Any, model: Layer | None = None) -> None:
    """Writes a train state to a file. Training resumed from `load` is bitwise identical to training never interrupted.

    Args:
        path: ends in .npz or .safetensors. An existing file is replaced atomically: even if the process is killed or
            the power fails, either the old or the new file exists in full. The new file keeps the old one's mode and
            owner. Leftovers of a killed process are removed by the next save to that name. A link remains a link.
        ts: the state of one network or of a stack; or a (named) tuple, arbitrarily nested, of train states, dicts of
            arrays, arrays, keys and numbers: averages of parameters, a replay buffer. Dtypes are kept.
        model: the model to save with it; all its layers and initializers must be built in.
    Raises:
        ValueError: an unknown suffix, also of a link's target; a path that is a device or a pipe; a model with
            user-defined layers or whose shapes the parameters do not match.
        TypeError: a value in the tuple that cannot be saved.
        ImportError: .safetensors without safetensors.

    >>> import tempfile
    >>> model = nn.mlp([2, 3, 1], ["relu", "sigmoid"])
    >>> ts = nn.train_state(model, nn.adam(), nn.key(0), (2,))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     nn.save(f"{folder}/run.npz", ts, model)
    ...     saved, readable = nn.load(f"{folder}/run.npz"), list(np.load(f"{folder}/run.npz"))
    ...     nn.save(f"{folder}/more.npz", (ts, ts.params * 0.5, np.arange(3)))
    ...     _, average, numbers = nn.load(f"{folder}/more.npz").state
    >>> saved.state == ts, readable[:3]
    (True, ['params/dense1.W', 'params/dense1.b', 'params/dense2.W'])
    >>> average == ts.params * 0.5, numbers
    (True, array([0, 1, 2]))
    """
    suffix = suffix_of(path)
    from nnfunc.training.loop import Epoch

    if not isinstance(ts, tuple) or isinstance(ts, Epoch):
        raise TypeError(f"ts is {type(ts).__name__}, expected a TrainState: for an epoch pass epoch.state")
    about: dict[str, Any] = {"version": STATES if isinstance(ts, TrainState) else VERSION}
    if model is not None:
        instance(model, Layer, "model")
        own = ts if isinstance(ts, TrainState) else next((part for part in ts if isinstance(part, TrainState)), None)
        if own is not None:
            check_params(model, own.params, own.state)
    about["model"] = None if model is None else describe(model)
    arrays: Arrays = {}
    if isinstance(ts, TrainState):
        about |= _put_state(ts, "", arrays)
    else:
        about["value"] = _put(ts, "", arrays)
    text = json.dumps(about)
    arrays["crc32"] = np.array(_checksum(text, arrays), np.uint32)

    target = Path(os.path.realpath(path))  # so that a link remains a link
    if target.suffix != suffix:
        raise ValueError(f"path={os.fspath(path)!r} links to {str(target)!r}, expected a target that ends in {suffix}")
    with replaced(target, f"path={os.fspath(path)!r}") as file:
        write(file, suffix, text, arrays)


def load(path: str | os.PathLike[str], model: Layer | None = None) -> Saved:
    """Reads a file written by `save`, restoring every bit.

    Args:
        path: the file.
        model: the model of the state, if it was saved without one; overrides the one in the file.
    Returns:
        Saved(state, model); the model is None if the file contains none and none is given.
    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or truncated, was written by another program or a newer nnfunc, or its
            parameters do not match the given model. Messages reveal nothing of the file's content.
        ImportError: .safetensors without safetensors.

    >>> import tempfile
    >>> model = nn.mlp([2, 3, 1], ["relu", "sigmoid"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     nn.save(f"{folder}/run.npz", nn.train_state(model, nn.adam(), nn.key(0), (2,)))
    ...     nn.load(f"{folder}/run.npz", model=nn.mlp([2, 4, 1], ["relu", "sigmoid"]))
    Traceback (most recent call last):
    ValueError: ... dense1: the parameters do not fit the model: W (2, 3), b (3,), expected W (2, 4) and b (4,)
    """
    suffix, name = suffix_of(path), f"path={os.fspath(path)!r}"
    if model is not None:
        instance(model, Layer, "model")
    with open(path, "rb") as file:  # a missing or unreadable file raises the system's own error
        try:
            text, arrays = read(file, suffix)
            about = json.loads(text)
            newer = positive_int(about["version"], "version") > VERSION
            state = None if newer else _read_value(text, about, arrays)
        except ForeignError as error:
            raise ValueError(f"{name} is intact, but was not written by nn.save: {error}") from None
        except UnreadableError as error:
            raise ValueError(f"{name} contains no readable train state: {error}. {DAMAGED}") from error
        except Exception as error:  # a parser may raise anything on foreign bytes
            raise ValueError(f"{name} contains no readable train state. {DAMAGED}") from error
    if state is None:
        raise ValueError(f"{name} has format version {about['version']}, expected at most {VERSION}: upgrade nnfunc")
    if model is None and about.get("model") is not None:
        try:
            model = build(about["model"])
        except Exception as error:  # a constructor refuses its arguments
            raise ValueError(f"{name}: its model cannot be built: {error}. Pass model= to load the state") from error
    own = state if isinstance(state, TrainState) else next((v for v in state if isinstance(v, TrainState)), None)
    if model is not None and own is not None:
        try:
            check_params(model, own.params, own.state)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return Saved(state, model)


DAMAGED = "The file is damaged, truncated, or not written by nn.save"


# -- content -----------------------------------------------------------------------------------------------------------


def _name(name: str) -> str:
    """Returns a name if it survives a zip archive, which ends it at NUL and turns \\ into / on Windows."""
    if not name.isprintable() or "\\" in name:
        raise ValueError(f"the array name {name!r} has characters that cannot be saved: rename the array")
    return name


def _checksum(text: str, arrays: Arrays) -> int:
    """The CRC-32 of the text and, sorted by name, of each array's name, dtype, shape and bytes."""
    crc = zlib.crc32(text.encode())
    for name in sorted(arrays.keys() - {"crc32"}):
        array = arrays[name]
        crc = zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), crc)
        crc = zlib.crc32(np.ascontiguousarray(array).data, crc)
    return crc


def _read_value(text: str, about: dict[str, Any], arrays: Arrays) -> Any:
    """Returns the saved train state or tuple."""
    if _checksum(text, arrays) != arrays["crc32"]:
        raise UnreadableError("its checksum does not match its content")
    return _get(about["value"], "", arrays) if about["version"] > 1 else _get_state(about, "", arrays)


def _put_state(ts: TrainState, prefix: str, arrays: Arrays) -> dict[str, Any]:
    """Adds the arrays of a train state and returns its description."""
    about: dict[str, Any] = {}
    for group, part in zip(GROUPS, ts[:3], strict=True):
        if not isinstance(part, ArrayDict):
            raise TypeError(f"ts.{group} is {type(part).__name__}, expected an ArrayDict: pass nn.ArrayDict({group})")
        about[group] = _put_dict(part, f"{prefix}{group}/", arrays)
    arrays |= {f"{prefix}key": _words(ts.key), f"{prefix}step": np.array(index(ts.step), np.int64)}
    return about


def _get_state(about: dict[str, Any], prefix: str, arrays: Arrays) -> TrainState:
    params, state, opt_state = (_get_dict(about[k], f"{prefix}{k}/", arrays) for k in GROUPS)
    step = arrays[f"{prefix}step"]
    if {part.stack_shape for part in (params, state, opt_state)} != {params.stack_shape}:
        raise UnreadableError("its parts are stacks of different sizes")
    if step.shape or step.dtype != np.int64 or step < 0:
        raise UnreadableError("its step is not a number of updates")
    return TrainState(params, state, opt_state, _keys(arrays[f"{prefix}key"], params.stack_shape), int(step))


def _put_dict(part: ArrayDict, prefix: str, arrays: Arrays) -> dict[str, Any]:
    arrays |= {f"{prefix}{_name(k)}": np.asarray(v, order="C") for k, v in part.items()}  # safetensors wants C
    return {"names": list(part), "dtype": str(part.dtype), "stack": part.stack_shape}


def _get_dict(about: dict[str, Any], prefix: str, arrays: Arrays) -> ArrayDict:
    own = {name: arrays[f"{prefix}{name}"] for name in about["names"]}
    stack = tuple(about["stack"])
    floats = [array for array in own.values() if array.dtype.kind == "f"]
    if any(array.shape[: len(stack)] != stack for array in floats) or len(stack) > 1:
        raise UnreadableError("its arrays do not have the stack size it declares")
    if floats:
        return ArrayDict(own, stacked=bool(stack))
    return ArrayDict(own).astype(about["dtype"]).with_vector(np.empty((*stack, 0)))  # no array to infer them from


def _words(key: Keys) -> NDArray[np.uint64]:
    keys = key if isinstance(key, tuple) else (key,)
    words = np.array([divmod(check(k), 1 << 64) for k in keys], np.uint64)
    return words if isinstance(key, tuple) else words[0]


def _keys(words: NDArray[Any], stack: tuple[int, ...] | None = None) -> Keys:
    if words.dtype != np.uint64 or words.ndim not in (1, 2) or words.shape[-1] != 2:
        raise UnreadableError("its key is not a key")
    if stack is not None and words.shape not in ((2,), (*stack, 2)):
        raise UnreadableError("its number of keys differs from its number of networks")
    keys = tuple(Key(high << 64 | low) for high, low in words.reshape(-1, 2).tolist())
    return keys if words.ndim > 1 else keys[0]


def _put(value: Any, name: str, arrays: Arrays) -> dict[str, Any]:
    """Adds the arrays of a value under a name and returns a description of its parts."""
    prefix = f"{name}/" if name else ""
    if isinstance(value, TrainState):
        return {"TrainState": _put_state(value, prefix, arrays)}
    if isinstance(value, Key) or (isinstance(value, tuple) and value and all(isinstance(k, Key) for k in value)):
        arrays[name] = _words(value)
        return {"key": None}
    if isinstance(value, tuple):
        fields = getattr(value, "_fields", None) or [str(i) for i in range(len(value))]
        parts = [_put(part, f"{prefix}{_name(field)}", arrays) for field, part in zip(fields, value, strict=True)]
        kind = type(value).__name__ if hasattr(value, "_fields") else None
        return {"tuple": parts, "fields": list(fields), "kind": kind}
    if isinstance(value, ArrayDict):
        return {"ArrayDict": _put_dict(value, prefix, arrays)}
    if isinstance(value, dict):
        return {"dict": {_name(k): _put(part, f"{prefix}{_name(k)}", arrays) for k, part in value.items()}}
    if value is None or type(value) in (bool, int, float, str):
        return {"value": value}
    if isinstance(value, (np.ndarray, np.generic)):
        arrays[name] = np.asarray(numeric(value, name), order="C")
        return {"array": None}
    raise TypeError(
        f"{name} is {type(value).__name__}, expected a dict of arrays, an array, a key, a number, or a tuple"
    )


def _get(about: dict[str, Any], name: str, arrays: Arrays) -> Any:
    prefix = f"{name}/" if name else ""
    if "TrainState" in about:
        return _get_state(about["TrainState"], prefix, arrays)
    if "ArrayDict" in about:
        return _get_dict(about["ArrayDict"], prefix, arrays)
    if "dict" in about:
        return {k: _get(part, f"{prefix}{k}", arrays) for k, part in about["dict"].items()}
    if "tuple" in about:
        parts = [_get(part, f"{prefix}{f}", arrays) for f, part in zip(about["fields"], about["tuple"], strict=True)]
        if about["kind"] is None:
            return tuple(parts)
        return namedtuple(str(about["kind"]), about["fields"])(*parts)
    if "value" in about:
        return about["value"]
    return _keys(arrays[name]) if "key" in about else arrays[name]
