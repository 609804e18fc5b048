"""The place of a disk cache's root key: a file in its folder, a keyring of the user, or a credential of systemd."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from strongroom.bounded_file import read_bytes
from strongroom.files.private_file import FILE_MODE, KEY_SIZE, read_or_create_key, replace

if TYPE_CHECKING:
    from strongroom.disk_cache.external_keys import KeyringEntry, SystemdCredential

KeyPlace: TypeAlias = Literal["file", "keyring", "systemd"]

ROOT_KEY = "root.key"


RootKey: TypeAlias = "KeyFile | KeyringEntry | SystemdCredential"
"""A place of the root key. Every method raises OSError if the place cannot be used."""


class KeyFile:
    """A file of mode 0600 in the folder of the cache."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / ROOT_KEY

    def find(self, *, create: bool) -> object | None:
        """Return the identity and the times of the file, which change with the key; None without a key."""
        status = check_file(self._file)
        if status is None:
            if not create:
                return None
            read_or_create_key(self._file)
            status = check_file(self._file)
        if status is None:
            raise FileNotFoundError(errno.ENOENT, "the root key was removed")
        return status.st_ino, status.st_mtime_ns, status.st_ctime_ns

    def read(self) -> bytes:
        """Return the content of the file, which `find` has found."""
        root, _ = read_bytes(self._file, KEY_SIZE, follow_links=False)
        check_root_size(len(root))
        if len(root) != KEY_SIZE:
            raise OSError(errno.EINVAL, "the root key is damaged; run strongroom cache clear")
        return root

    def replace(self, key: bytes) -> None:
        """Replace the file."""
        replace(self._file, key)

    def remove(self) -> None:
        """Do nothing: the file is removed with the folder's others."""


def check_root_size(size: int) -> None:
    """Check that a file of this size can be a root key, whole or cut, and not somebody's file of the same name.

    Raises:
        OSError: it cannot.
    """
    if size > KEY_SIZE:
        raise OSError(errno.EINVAL, f"{ROOT_KEY} is not a key of the cache; name another folder")


def check_file(file: Path) -> os.stat_result | None:
    """Return the status of a file of the cache, or None if it does not exist.

    Raises:
        OSError: it is not a regular file of this user with a mode of at most 0600.
    """
    try:
        status = file.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, f"{file.name} is not a regular file of this user")
    if stat.S_IMODE(status.st_mode) & ~FILE_MODE:
        raise PermissionError(errno.EPERM, f"other users have access to {file.name}; run chmod 600 on it")
    return status


def root_key(place: KeyPlace, folder: Path) -> RootKey:
    """Return the root key of a folder in this place."""
    if place == "file":
        return KeyFile(folder)
    from strongroom.disk_cache.external_keys import KeyringEntry, SystemdCredential

    return KeyringEntry(folder) if place == "keyring" else SystemdCredential()
