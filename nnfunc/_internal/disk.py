"""A file that is replaced whole: at any moment, also when the process is killed, the old or the new one is there."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO


def resolve(path: str | os.PathLike[str]) -> Path:
    """The file that a path stands for: a link stays one, and what it points to is written.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: what is there is no regular file (a device, a pipe, a link in a circle), or has another suffix.
        IsADirectoryError: it is a folder.
    """
    name, target = f"path={os.fspath(path)!r}", Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{name}: there is no folder {str(target.parent)!r}")
    if target.is_dir():
        raise IsADirectoryError(f"{name} is a folder, expected the name of a file")
    old = status(target)
    if old and not stat.S_ISREG(old.st_mode):
        raise ValueError(f"{name} is no regular file but a device, a pipe or a circle of links: it is not replaced")
    if target.suffix != Path(path).suffix:
        raise ValueError(f"{name} is a link to {target.name!r}, expected one to a {Path(path).suffix} file")
    return target


def status(path: Path) -> os.stat_result | None:
    """What the system knows of a file, links not followed; None if it is not there."""
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def replace(target: Path, write: Callable[[BinaryIO], None]) -> None:
    """Writes a file anew under a name of its own, and gives it the name `target` when all of it is on the disk.

    It has the mode and, as far as the system allows, the owner of the old file, and nobody else can read it before.
    """
    with opened(target) as (temporary, file):
        write(file)
        file.flush()
        if old := status(target):
            _like(temporary, old)
        os.fsync(file.fileno())  # before the name is given: else a power cut may leave the name of an empty file
        file.close()
        os.replace(temporary, target)
    _sync_folder(target.parent)


@contextmanager
def opened(target: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file beside the target, private if that is there. It is locked as long as it is open, so that others see
    that no killed process left it; what one did leave for the same target is removed."""
    prefix = f"nnfunc-{zlib.crc32(os.fsencode(target.name)):08x}-"  # short: the name itself may be the longest possible
    for left in target.parent.glob(f"{prefix}*.tmp"):
        _remove_if_left(left)
    mode = 0o600 if status(target) else 0o666
    while True:
        path = target.with_name(f"{prefix}{token_hex(4)}.tmp")
        try:
            with open(path, "xb", opener=partial(os.open, mode=mode)) as file:
                _lock(file, wait=True)
                if os.fstat(file.fileno()).st_nlink:  # else another save has removed it before it was locked
                    yield path, file
                    return
        finally:
            with suppress(FileNotFoundError):
                os.unlink(path)


def _like(path: Path, old: os.stat_result) -> None:
    """Gives a file the owner, the group and the mode of an old one, each where the system allows it."""
    for owner, group in ((old.st_uid, -1), (-1, old.st_gid)):
        with suppress(OSError, AttributeError):  # only root gives files away, and Windows has no owners
            os.chown(path, owner, group)
    with suppress(OSError):  # some network folders have no modes
        os.chmod(path, stat.S_IMODE(old.st_mode))


def _remove_if_left(path: Path) -> None:
    """Removes a file that no process is writing."""
    with suppress(OSError), open(path, "rb") as file:
        if _lock(file, wait=False):
            os.unlink(path)  # Windows refuses it while it is open: there it stays


def _lock(file: BinaryIO, wait: bool) -> bool:
    """Whether a file could be locked; without locks (Windows, some network folders) none can."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


def _sync_folder(folder: Path) -> None:
    """Makes the new name last, where the system can: not Windows, nor every file system."""
    with suppress(OSError, AttributeError):
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
