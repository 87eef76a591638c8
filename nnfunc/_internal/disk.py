"""A file that is replaced at once and whole."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # on Windows: leftovers stay there
    fcntl = None  # type: ignore[assignment]  # asked for below


@contextmanager
def replaced(target: Path, name: str) -> Iterator[BinaryIO]:
    """A new file to write, which takes the place of `target` at the end, and its mode and owner; none after an error.

    Raises:
        ValueError: what is there is no file: a device, a pipe, a socket.
        FileNotFoundError, IsADirectoryError: no folder to stand in, or a folder.
    """
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{name}: there is no folder {str(target.parent)!r}")
    try:
        old = target.stat()
    except FileNotFoundError:
        old = None
    if old is not None and stat.S_ISDIR(old.st_mode):
        raise IsADirectoryError(f"{name} is a folder, expected the name of a file")
    if old is not None and not stat.S_ISREG(old.st_mode):
        raise ValueError(f"{name} is a device, a pipe or a socket, expected a file: it would be replaced")
    own = f".{zlib.crc32(target.name.encode(errors='surrogateescape')):08x}."  # short: a name may be at the limit
    _remove_leftovers(target.parent, own)
    temporary, file = _created(target.parent, own, 0o600 if old else 0o666)  # what was private stays so
    try:
        with file:
            yield file
            file.flush()
            if old is not None:
                _as_before(temporary, old)
            os.fsync(file.fileno())  # before the name is given: else a power cut may leave the name of an empty file
            if fcntl is not None:
                os.replace(temporary, target)  # as long as it is locked: no other save takes it for a leftover
        if fcntl is None:  # where an open file cannot get another name
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(target.parent)


def _created(folder: Path, own: str, mode: int) -> tuple[Path, BinaryIO]:
    """A new file, locked as long as it is open: one that is not is a leftover."""
    while True:
        temporary = folder / f"{own}{token_hex(4)}.tmp"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        file = os.fdopen(os.open(temporary, flags, mode), "w+b")
        if _locked(file) is not False and temporary.exists():  # else another save took it for a leftover meanwhile
            return temporary, file
        file.close()


def _remove_leftovers(folder: Path, own: str) -> None:
    """Removes what saves of this name that were killed have left."""
    for name in os.listdir(folder):
        if name.startswith(own) and name.endswith(".tmp"):
            with suppress(OSError), open(folder / name, "r+b") as file:
                if _locked(file):
                    os.unlink(folder / name)


def _locked(file: BinaryIO) -> bool | None:
    """Whether the file is ours alone now; None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without them
        return None
    return True


def _as_before(temporary: Path, old: os.stat_result) -> None:
    """Gives a file mode and owner of the old one, as far as one may: some file systems refuse both."""
    with suppress(OSError, AttributeError):
        if (os.getuid(), os.getgid()) != (old.st_uid, old.st_gid):
            os.chown(temporary, old.st_uid, old.st_gid)
    with suppress(OSError):
        os.chmod(temporary, stat.S_IMODE(old.st_mode))


def _sync(folder: Path) -> None:
    """Makes the new name last, where the system can: not Windows, nor every file system."""
    with suppress(OSError, AttributeError):
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
