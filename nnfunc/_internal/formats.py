"""Arrays and a text in a file, `.npz` or `.safetensors`; nothing read is trusted unchecked."""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

Arrays: TypeAlias = dict[str, NDArray[Any]]  # floats, integers and, in an npz, text

TEXT = "nnfunc"


class UnreadableError(ValueError):
    """A file is damaged; the message says how, without revealing its content."""


class ForeignError(ValueError):
    """A file is intact, but was written by another program; the message says how to read it."""


def suffix_of(path: str | os.PathLike[str]) -> str:
    """Returns the suffix of a path if its format is supported here."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path is {type(path).__name__}, expected a str or a Path")
    suffix = Path(path).suffix
    if suffix not in (".npz", ".safetensors"):
        raise ValueError(f"path={os.fspath(path)!r} ends in {suffix!r}, expected .npz or .safetensors")
    if suffix == ".safetensors":
        try:
            import safetensors.numpy  # noqa: F401  # checked before anything is written
        except ImportError as error:
            raise ImportError('.safetensors needs safetensors: pip install "nnfunc[safetensors]"') from error
    return suffix


def write(file: BinaryIO, suffix: str, text: str, arrays: Arrays) -> None:
    """Writes the arrays under their names and the text."""
    if suffix == ".npz":
        np.savez(file, **arrays, nnfunc=np.array(text))  # type: ignore[arg-type]  # no array is named allow_pickle
    else:
        from safetensors.numpy import save

        file.write(save(arrays, {TEXT: text}))


def read(file: BinaryIO, suffix: str) -> tuple[str, Arrays]:
    """Returns the text and the arrays. The file is read once in full, so concurrent changes to it have no effect."""
    data = file.read()
    if not data:
        raise UnreadableError("it is empty")
    return _npz(data) if suffix == ".npz" else _safetensors(data)


def _npz(data: bytes) -> tuple[str, Arrays]:
    if data[:2] != b"PK":
        raise UnreadableError("it does not start like an npz file")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        names = [member.filename.removesuffix(".npy") for member in members]
        if TEXT not in names:
            if all(m.filename.endswith(".npy") for m in members) and archive.testzip() is None:
                raise ForeignError("nnfunc.interop.arrays.read_arrays or np.load reads it")
            raise UnreadableError("it has no entry named nnfunc")
        if any(m.compress_type != zipfile.ZIP_STORED or m.file_size != m.compress_size for m in members):
            raise UnreadableError("its arrays are compressed, which nn.save does not do")
        if sum(member.file_size for member in members) > len(data) or len(set(names)) < len(names):
            raise UnreadableError("its arrays are larger than the file, or duplicated")
        arrays = {name: _npy(archive.read(member)) for name, member in zip(names, members, strict=True)}
    return str(arrays.pop(TEXT)), arrays


def _npy(data: bytes) -> NDArray[Any]:
    """Parses an array in NumPy's format whose size matches its header."""
    stream = io.BytesIO(data)
    if npy.read_magic(stream) != (1, 0):
        raise UnreadableError("an array has a header version that nn.save does not write")
    shape, fortran_order, dtype = npy.read_array_header_1_0(stream)
    if dtype.hasobject or fortran_order or math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise UnreadableError("an array does not match its header")
    return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape).copy()


def _safetensors(data: bytes) -> tuple[str, Arrays]:
    from safetensors.numpy import load

    arrays: Arrays = load(data)
    length = int.from_bytes(data[:8], "little")
    text = json.loads(data[8 : 8 + length]).get("__metadata__", {}).get(TEXT)
    if text is None:
        raise ForeignError("nnfunc.interop.arrays.read_arrays or safetensors.numpy.load_file reads it")
    return text, arrays
