"""Named arrays from files of other libraries: NumPy's `.npz`, and `.safetensors` of PyTorch, Hugging Face and others.

    arrays = read_arrays("model.safetensors")
    params, state = nnfunc.interop.torch.from_state_dict(model, arrays, input_shape=(64,), prefix="encoder.")

The readers for PyTorch, Keras and Flax take such a dict. Only NumPy is required; nothing in a file is executed, and no
pickle is loaded: save a `.pt` or `.h5` file again with its own library, by
`safetensors.torch.save_file(net.state_dict(), path)` or `np.savez(path, **{w.path: w.numpy() for w in net.weights})`.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_arrays"]

DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip


def read_arrays(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Reads all arrays of a file, by name.

    Args:
        path: ends in .npz or .safetensors.
    Returns:
        floats as float32 or float64; float16 and bfloat16 become float32, which represents them exactly. Integers and
        booleans are unchanged.
    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another suffix, a damaged file or one of another format, an array of objects (a pickle), of text, or
            of 8-bit floats, which are meaningless without their scales.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/net.npz", **{"fc.weight": np.ones((3, 2), np.float16), "fc.bias": np.zeros(3)})
    ...     arrays = read_arrays(f"{folder}/net.npz")
    >>> {name: (array.shape, array.dtype.name) for name, array in arrays.items()}
    {'fc.weight': ((3, 2), 'float32'), 'fc.bias': ((3,), 'float64')}
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path is {type(path).__name__}, expected a str or a Path")
    name, suffix = f"path={os.fspath(path)!r}", Path(path).suffix
    if suffix not in (".npz", ".safetensors"):
        hint = ": save it as .safetensors, or by np.savez, in its own library" if suffix else ""
        raise ValueError(f"{name} ends in {suffix!r}, expected .npz or .safetensors{hint}")
    data = Path(path).read_bytes()
    try:
        arrays = _of_npz(data) if suffix == ".npz" else _of_safetensors(data)
    except (ValueError, KeyError, TypeError, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"{name} cannot be read: {error}") from error
    return {k: a.astype(np.float32) if a.dtype == np.float16 else a for k, a in arrays.items()}


def _of_npz(data: bytes) -> dict[str, NDArray[Any]]:
    if data[:2] != b"PK":  # np.load would treat it as a pickle
        raise ValueError("it does not begin like an npz file: it is damaged, truncated, or of another format")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as members:
            arrays = {k: members[k] for k in members.files}
    except zipfile.BadZipFile as error:
        raise ValueError(f"it is damaged or truncated ({error})") from error
    for k, a in arrays.items():
        if isinstance(a, np.ndarray) and a.dtype.kind == "V" and a.dtype.itemsize == 2:  # bfloat16, as saved by NumPy
            arrays[k] = _from_bfloat16(a.view(np.uint16))
        elif not isinstance(a, np.ndarray) or a.dtype.kind not in "fiub":
            raise ValueError(f"{k!r} is not an array of numbers, but of {getattr(a, 'dtype', 'bytes')}")
    return arrays


def _of_safetensors(data: bytes) -> dict[str, NDArray[Any]]:
    """The format: the length of the header in 8 bytes; the header, JSON with dtypes, shapes and offsets; all bytes."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise ValueError("it is damaged, truncated, or not a .safetensors file: its header is longer than the file")
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    body, arrays = memoryview(data)[8 + length :], {}
    for name, about in header.items():
        kind, (start, end) = about["dtype"], about["data_offsets"]
        if kind not in DTYPES:
            raise ValueError(f"{name!r} has dtype {kind}, expected one of {', '.join(DTYPES)}")
        if not 0 <= start <= end <= len(body):
            raise ValueError(f"{name!r} extends beyond the end of the file: it is damaged or truncated")
        array = np.frombuffer(body[start:end], DTYPES[kind]).reshape(about["shape"])
        arrays[name] = _from_bfloat16(array) if kind == "BF16" else array.astype(array.dtype.newbyteorder("="))
    return arrays


def _from_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Converts bfloat16, which is the first half of float32."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
