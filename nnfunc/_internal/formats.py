"""Named arrays and one text as bytes: `.npz`, an archive of NumPy's own format, and `.safetensors`.

A reader takes no more memory than the file is long, whatever the file says of itself, and maps nothing into memory: a
file that another program cuts short while it is read is damaged, no more. What is refused is said in words of its own,
without anything of the content.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any, BinaryIO, TypeAlias
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

Arrays: TypeAlias = dict[str, NDArray[Any]]  # floats and whole numbers

SUFFIXES = (".npz", ".safetensors")
STARTS = {
    b"PK": "it is an archive: np.load reads it if it is an .npz, torch.load if it is of PyTorch",
    b"\x93NUMPY": "it is one array, an .npy: np.load reads it",
    b"\x89HDF": "it is an HDF5 file: h5py reads it",
    b"\x80": "it is a pickle, which can run code when it is read: nnfunc reads none",
}
"""How files of other programs begin, and what reads them."""


class RefusedError(ValueError):
    """Why a file is not read, in words that hold nothing of its content."""


class ForeignError(RefusedError):
    """The file is one of another program; the words say what reads it."""


def write(file: BinaryIO, suffix: str, text: str, arrays: Arrays) -> None:
    """Writes arrays and the text."""
    if suffix == ".npz":
        np.savez(file, **arrays, nnfunc=np.array(text))  # type: ignore[arg-type]  # none is named allow_pickle
    else:
        from safetensors.numpy import save

        file.write(save(arrays, {"nnfunc": text}))


def read(file: BinaryIO, suffix: str) -> tuple[str, Arrays]:
    """The text and the arrays of a file."""
    start = file.read(9)
    file.seek(0)
    if not start:
        raise RefusedError("it is empty")
    found = ".safetensors" if start[8:] == b"{" else ".npz" if start[:2] == b"PK" else ""
    if found != suffix:
        known = [said for begin, said in STARTS.items() if start.startswith(begin)] if found != ".safetensors" else []
        if known or found:
            raise ForeignError(known[0] if known else "it begins as a .safetensors: give it that suffix")
        raise RefusedError(f"it does not begin as an {suffix[1:]} does")
    return _read_npz(file) if suffix == ".npz" else _read_safetensors(file.read())


def _read_npz(file: BinaryIO) -> tuple[str, Arrays]:
    with ZipFile(file) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        foreign = "nnfunc.npy" not in names
        if any(member.compress_type != ZIP_STORED or member.compress_size != member.file_size for member in members):
            raise ForeignError("its members are compressed, which nn.save never does: np.load reads it")
        if len(set(names)) < len(names) or sum(member.file_size for member in members) > file.seek(0, 2):
            raise RefusedError("the sizes or the names of its members contradict the file")
        if foreign:
            if archive.testzip() is not None:
                raise RefusedError("a checksum of its members is not that of their content")
            raise ForeignError("it has no text named nnfunc: np.load reads it")
        text = str(_array(archive, members.pop(names.index("nnfunc.npy"))))
        return text, {_name(member): _array(archive, member) for member in members}


def _name(member: ZipInfo) -> str:
    if not member.filename.endswith(".npy"):
        raise RefusedError("a member is no array")
    return member.filename[: -len(".npy")]


def _array(archive: ZipFile, member: ZipInfo) -> NDArray[Any]:
    """An array of NumPy's format, as a read-only view of its bytes: shapes beyond them are refused."""
    content = archive.read(member)
    stream = BytesIO(content)
    header = npy.read_array_header_1_0 if npy.read_magic(stream) == (1, 0) else npy.read_array_header_2_0
    shape, columns_first, dtype = header(stream)
    if dtype.kind not in "fiubU":
        raise RefusedError("a member holds no numbers")
    return np.ndarray(shape, dtype, content, stream.tell(), order="F" if columns_first else "C")


def _read_safetensors(content: bytes) -> tuple[str, Arrays]:
    from safetensors.numpy import load

    arrays: Arrays = load(content)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    about: Mapping[str, str] = header.get("__metadata__") or {}
    if "nnfunc" not in about:
        raise ForeignError("it has no text named nnfunc: safetensors.numpy.load_file reads it")
    return about["nnfunc"], arrays
