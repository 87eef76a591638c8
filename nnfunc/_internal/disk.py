"""Atomic replacement of a file."""

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
except ImportError:  # on Windows, where leftovers are not removed
    fcntl = None  # type: ignore[assignment]  # checked below


@contextmanager
def replaced(target: Path, name: str) -> Iterator[BinaryIO]:
    """Opens a new file that replaces `target` on exit, keeping its mode and owner; discarded after an error.

    Raises:
        ValueError: the target is not a regular file but a device, a pipe or a socket.
        FileNotFoundError, IsADirectoryError: its folder does not exist, or it is a folder itself.
    """
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{name}: the folder {str(target.parent)!r} does not exist")
    try:
        old = target.stat()
    except FileNotFoundError:
        old = None
    if old is not None and stat.S_ISDIR(old.st_mode):
        raise IsADirectoryError(f"{name} is a folder, expected a file name")
    if old is not None and not stat.S_ISREG(old.st_mode):
        raise ValueError(f"{name} is a device, a pipe or a socket, expected a regular file: it would be replaced")
    own = f".{zlib.crc32(target.name.encode(errors='surrogateescape')):08x}."  # short: a name may be at the limit
    _remove_leftovers(target.parent, own)
    temporary, file = _created(target.parent, own, 0o600 if old else 0o666)  # private files stay private
    try:
        with file:
            yield file
            file.flush()
            if old is not None:
                _as_before(temporary, old)
            os.fsync(file.fileno())  # before renaming: a power failure may otherwise leave an empty file
            if fcntl is not None:
                os.replace(temporary, target)  # while still locked, so that no other save takes it for a leftover
        if fcntl is None:  # where an open file cannot be renamed
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(target.parent)


def _created(folder: Path, own: str, mode: int) -> tuple[Path, BinaryIO]:
    """Creates a file that is locked while open; an unlocked one is a leftover."""
    while True:
        temporary = folder / f"{own}{token_hex(4)}.tmp"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        file = os.fdopen(os.open(temporary, flags, mode), "w+b")
        if _locked(file) is not False and temporary.exists():  # otherwise another save has removed it as a leftover
            return temporary, file
        file.close()


def _remove_leftovers(folder: Path, own: str) -> None:
    """Removes temporary files left by killed saves to this name."""
    for name in os.listdir(folder):
        if name.startswith(own) and name.endswith(".tmp"):
            with suppress(OSError), open(folder / name, "r+b") as file:
                if _locked(file):
                    os.unlink(folder / name)


def _locked(file: BinaryIO) -> bool | None:
    """Locks the file exclusively and returns whether that succeeded; None where locks are unsupported."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


def _as_before(temporary: Path, old: os.stat_result) -> None:
    """Copies mode and owner of the old file, where permitted: some file systems refuse both."""
    with suppress(OSError, AttributeError):
        if (os.getuid(), os.getgid()) != (old.st_uid, old.st_gid):
            os.chown(temporary, old.st_uid, old.st_gid)
    with suppress(OSError):
        os.chmod(temporary, stat.S_IMODE(old.st_mode))


def _sync(folder: Path) -> None:
    """Flushes the rename to disk where supported: not on Windows, nor on every file system."""
    with suppress(OSError, AttributeError):
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
