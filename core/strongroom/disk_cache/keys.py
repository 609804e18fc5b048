"""The keys of the disk cache: a root key in a private file, bound to the machine and the user by HKDF."""

from __future__ import annotations

import errno
import hmac
import os
import stat
from pathlib import Path
from typing import NamedTuple

from strongroom.bounded_file import read_bytes
from strongroom.files.private_file import FILE_MODE, KEY_SIZE, make_folder, read_or_create_key
from strongroom.secret import conceal

ROOT_KEY = "root.key"

_MACHINE_FILES = ("/etc/machine-id", "/var/lib/dbus/machine-id", "/etc/hostid")
_MACHINE_LIMIT = 4096
_IDENT_SIZE = 16
_FORMAT = b"strongroom disk cache 1"


class Keys(NamedTuple):
    """What is derived from the root key.

    Attributes:
        ident: names the file of entries, so that another machine or another root key has another file.
        names: the key of the digests that name entries.
        seals: the key from which the key of each entry is derived.
    """

    ident: str
    names: bytes
    seals: bytes

    def __repr__(self) -> str:
        return f"Keys({self.ident})"


def machine_identity() -> bytes:
    """Return bytes that differ between machines: the machine ID of the system, or else the host name.

    An image that is started as a new machine gets a new machine ID, so that copied entries cannot be opened there.
    """
    for file in _MACHINE_FILES:
        try:
            content, _ = read_bytes(file, _MACHINE_LIMIT)
        except OSError:
            continue
        if content.strip():
            return content.strip()
    return os.uname().nodename.encode("utf-8", "surrogateescape")


def derive(root: bytes, machine: bytes, user: int) -> Keys:
    """Return the keys for a machine and a user ID."""
    derived = expand(hmac.digest(machine, root, "sha256"), _FORMAT + b", user %d" % user, _IDENT_SIZE + 2 * KEY_SIZE)
    names, seals = derived[_IDENT_SIZE : _IDENT_SIZE + KEY_SIZE], derived[_IDENT_SIZE + KEY_SIZE :]
    return Keys(derived[:_IDENT_SIZE].hex(), conceal(names), conceal(seals))


def expand(key: bytes, info: bytes, size: int) -> bytes:
    """Return HKDF-Expand of RFC 5869, section 2.3, with SHA-256; `hmac.digest` of salt and input is its Extract.

    The class of `cryptography` is the same, which a test checks, and costs a process a twentieth of its start.
    """
    block, found = b"", b""
    for number in range(1, -(-size // 32) + 1):
        block = hmac.digest(key, block + info + bytes([number]), "sha256")
        found += block
    return found[:size]


class KeyRing:
    """Reads the root key of a folder, and reads it again when the file was replaced.

    Args:
        folder: the folder of the cache.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / ROOT_KEY
        self._known: tuple[tuple[int, int, int], Keys] | None = None

    def __repr__(self) -> str:
        return f"KeyRing({str(self._file)!r})"

    def current(self, *, create: bool = False) -> Keys | None:
        """Return the keys, or None if there is no root key and `create` is False.

        Raises:
            OSError: the folder or the file belongs to another user, is a symbolic link, is accessible to others, or
                cannot be read or created.
        """
        if create:
            make_folder(self._file.parent)
        elif not check_folder(self._file.parent):
            return None
        status = check_file(self._file)
        if status is None:
            if not create:
                return None
            read_or_create_key(self._file)
            status = check_file(self._file)
        if status is None:
            raise FileNotFoundError(errno.ENOENT, "the root key was removed")
        mark = status.st_ino, status.st_mtime_ns, status.st_ctime_ns
        if self._known is None or self._known[0] != mark:
            root, _ = read_bytes(self._file, KEY_SIZE, follow_links=False)
            check_root_size(len(root))
            if len(root) != KEY_SIZE:
                raise OSError(errno.EINVAL, "the root key is damaged; run strongroom cache clear")
            self._known = mark, derive(root, machine_identity(), os.geteuid())
        return self._known[1]


def check_root_size(size: int) -> None:
    """Check that a file of this size can be a root key, whole or cut, and not somebody's file of the same name.

    Raises:
        OSError: it cannot.
    """
    if size > KEY_SIZE:
        raise OSError(errno.EINVAL, f"{ROOT_KEY} is not a key of the cache; name another folder")


def check_folder(folder: Path) -> bool:
    """Return False if there is no folder. It must belong to this user, and nobody else may have access.

    Raises:
        OSError: it is anything else.
    """
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "it is not a folder of this user")
    if status.st_mode & 0o077:
        raise PermissionError(errno.EPERM, "other users have access to it; run chmod 700 on it")
    return True


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
