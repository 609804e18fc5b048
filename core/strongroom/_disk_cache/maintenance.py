"""Inspection and upkeep of a disk cache folder, for the command line."""

from __future__ import annotations

import sqlite3
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from strongroom._disk_cache.container import NAME_PATTERN, Container, DamagedError, fault_of
from strongroom._disk_cache.entry import Ciphers
from strongroom._disk_cache.keys import ROOT_KEY, check_root_size
from strongroom.files.private import check_folder

_ANY_SIZE = 1 << 40
"""No bound on the size of a file that is only inspected."""

_RANDOM = "[0-9a-f]" * 16
_PATTERNS = (
    NAME_PATTERN,
    f"{NAME_PATTERN}-journal",
    f".{NAME_PATTERN}.{_RANDOM}",
    "turn-[0-9][0-9].lock",
    f".{ROOT_KEY}.{_RANDOM}",
    f".{ROOT_KEY}.{_RANDOM}.tmp",
    ROOT_KEY,
)
"""The files of a cache. Files of others in its folder are never touched."""


class DiskCacheStatus(NamedTuple):
    """The state of a disk cache.

    Attributes:
        exists: False if nothing has been cached yet.
        fault: why it cannot be used, or the empty string.
        mode: the permissions of the folder, such as `0700`; empty if there is none.
        owner: the user ID of its owner, or None.
        key_age: seconds since the file of the root key was made, or None.
        expired: how many of them are of no more use.
        size: bytes of all files in the folder.
        other_files: files of entries of another machine or of an earlier root key.
    """

    folder: Path
    exists: bool = False
    fault: str = ""
    mode: str = ""
    owner: int | None = None
    key_age: float | None = None
    entries: int = 0
    expired: int = 0
    size: int = 0
    other_files: int = 0


class CacheVerification(NamedTuple):
    """The result of `verify`: the numbers of all entries and of damaged ones, and what else is wrong with the file."""

    entries: int
    damaged: int
    faults: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.damaged and not self.faults


def inspect(folder: Path) -> DiskCacheStatus:
    """Return the state of a cache. Raises nothing, and creates nothing."""
    status = DiskCacheStatus(folder)
    try:
        about = folder.lstat()
        status = status._replace(exists=True, mode=f"{stat.S_IMODE(about.st_mode):04o}", owner=about.st_uid)
        check_folder(folder)
        files = [file for pattern in _PATTERNS for file in folder.glob(pattern)]
        status = status._replace(size=sum(file.lstat().st_size for file in files))
        container = Container(folder, _ANY_SIZE)
        keys = container.keys()
        status = status._replace(other_files=len(container.others(keys)))
        if keys is None:
            return status
        age = max(0.0, time.time() - (folder / ROOT_KEY).lstat().st_mtime)
        entries, expired = container.counts(keys)
        return status._replace(key_age=age, entries=entries, expired=expired)
    except FileNotFoundError:
        return status
    except (OSError, sqlite3.Error, DamagedError) as error:
        return status._replace(fault=fault_of(error))


def verify(folder: Path) -> CacheVerification:
    """Open every entry of a cache.

    Raises:
        OSError: the folder or its files cannot be used.
    """
    container = Container(folder, _ANY_SIZE)
    keys = container.keys()
    if keys is None:
        return CacheVerification(0, 0, ())
    try:
        rows = container.rows(keys)
        faults = container.check(keys)
    except (sqlite3.Error, DamagedError) as error:
        return CacheVerification(0, 0, (fault_of(error),))
    ciphers = Ciphers(keys)
    damaged = sum(row is None or row.open(ciphers) is None for row in rows)
    return CacheVerification(len(rows), damaged, tuple(faults))


def clear(folder: Path) -> int:
    """Remove every file of a cache, the root key first: without it nobody can open the others.

    Returns:
        The number of files that were removed.

    Raises:
        OSError: the folder is a symbolic link or has the `root.key` of something else, or a file cannot be removed.
    """
    if folder.is_symlink():
        raise NotADirectoryError(0, "it is a symbolic link")
    with suppress(FileNotFoundError):
        check_root_size((folder / ROOT_KEY).lstat().st_size)
    found = [file for pattern in reversed(_PATTERNS) for file in folder.glob(pattern)]
    for file in found:
        with suppress(FileNotFoundError):
            file.unlink()
    return len(found)


def rotate_key(folder: Path) -> None:
    """Make a new root key, and remove the entries: nothing opens them any more.

    Raises:
        OSError: the folder or the key cannot be written, or are not private.
    """
    container = Container(folder, _ANY_SIZE)
    if container.keys() is None:
        container.keys(create=True)
        return
    container.ring.replace()
    for file in container.others(container.keys()):
        container.remove(file)
