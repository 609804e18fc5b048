"""Folders of mode 0700 and files of mode 0600, of this user alone."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from strongroom.errors import MigrationError

FILE_MODE = 0o600
KEY_SIZE = 32

_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW


def private_folder(folder: Path) -> Path:
    """The folder, made where it is not there, when nobody but this user can look into it.

    Raises:
        MigrationError: it cannot be made, is not ours, or is open to others.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise MigrationError(f"{folder}: {error.strerror or 'it cannot be made'}; nothing was written") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise MigrationError(f"{folder}: it is no folder of this user; nothing was written")
    if found.st_mode & 0o077:
        raise MigrationError(f"{folder}: others can look into it; nothing was written. Run chmod 700 on it")
    return folder


def open_private(file: Path, flags: int) -> int:
    """A descriptor of the file, which is made 0600 where `flags` make it. No link is followed."""
    return os.open(file, flags | _FLAGS, FILE_MODE)


def read_private(file: Path) -> bytes:
    """What a file of ours holds.

    Raises:
        OSError: it cannot be read.
    """
    with os.fdopen(open_private(file, os.O_RDONLY), "rb") as stream:
        return stream.read()


@contextmanager
def private_lines(file: Path) -> Iterator[Iterable[bytes]]:
    """The lines of a file of ours, one by one.

    Raises:
        OSError: it cannot be read.
    """
    with os.fdopen(open_private(file, os.O_RDONLY), "rb") as stream:
        yield stream


def write_private(file: Path, content: Iterable[bytes]) -> None:
    """Makes a new file with that content, piece by piece; it is on disk when this returns.

    Raises:
        OSError: it is there already, or cannot be written.
    """
    with os.fdopen(open_private(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as stream:
        stream.writelines(content)
        stream.flush()
        os.fsync(stream.fileno())
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Has the names in a folder on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def random_key(file: Path) -> bytes:
    """The random key in the file: 32 bytes, made by whoever asks first.

    Raises:
        MigrationError: it cannot be made or read, or is none.
    """
    fault = "it is no key of 32 bytes"
    try:
        if not file.exists():
            temporary = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
            write_private(temporary, [secrets.token_bytes(KEY_SIZE)])
            try:
                with suppress(FileExistsError):  # somebody else's came first, and counts
                    os.link(temporary, file)
            finally:
                temporary.unlink()
            sync_folder(file.parent)
        key = read_private(file)
    except OSError as error:
        fault, key = error.strerror or "it cannot be read", b""
    if len(key) != KEY_SIZE:
        raise MigrationError(f"{file}: {fault}; nothing was written")
    return key
