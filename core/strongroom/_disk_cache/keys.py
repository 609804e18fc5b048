"""The keys of the disk cache: a root key in a private file, bound to the machine and the user by HKDF."""

import errno
import os
import stat
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from strongroom.files.bounded import read_bytes
from strongroom.files.private import (
    FILE_MODE,
    KEY_SIZE,
    check_folder,
    make_folder,
    read_or_create_key,
    replace,
)
from strongroom.secret import conceal

ROOT_KEY = "root.key"

_MACHINE_FILES = ("/etc/machine-id", "/var/lib/dbus/machine-id", "/etc/hostid")
_MACHINE_LIMIT = 4096
_IDENT_SIZE = 16
_FORMAT = b"strongroom disk cache 1"


class Keys(NamedTuple):
    """The keys that are derived from the root key.

    Attributes:
        ident: names the file of entries, so that another machine or another root key has another file.
        names: the key of the digests that name entries.
        seals: the key from which the keys of entries are derived.
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
    info = _FORMAT + b", user %d" % user
    derived = HKDF(SHA256(), _IDENT_SIZE + 2 * KEY_SIZE, salt=machine, info=info).derive(root)
    names, seals = derived[_IDENT_SIZE : _IDENT_SIZE + KEY_SIZE], derived[_IDENT_SIZE + KEY_SIZE :]
    return Keys(derived[:_IDENT_SIZE].hex(), conceal(names), conceal(seals))


def entry_key(keys: Keys, info: bytes) -> bytes:
    """Return the key of the entries with this salt."""
    return HKDFExpand(SHA256(), KEY_SIZE, info=info).derive(keys.seals)


class KeyRing:
    """Reads the root key of a folder, and reads it again when it was replaced."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / ROOT_KEY
        self._known: tuple[object, Keys] | None = None

    def current(self, *, create: bool = False) -> Keys | None:
        """Return the keys, or None if there is no root key and `create` is False.

        Raises:
            OSError: the folder or the file belongs to another user, is a symbolic link, is accessible to others, or
                cannot be read or created.
        """
        if create:
            make_folder(self._folder)
        elif not check_folder(self._folder):
            return None
        status = check_file(self._file)
        if status is None and create:
            read_or_create_key(self._file)
            status = check_file(self._file)
        if status is None:
            return None
        mark = status.st_ino, status.st_mtime_ns, status.st_ctime_ns
        if self._known is None or self._known[0] != mark:
            self._known = mark, derive(self._read(), machine_identity(), os.geteuid())
        return self._known[1]

    def replace(self) -> None:
        """Make a new root key."""
        replace(self._file, os.urandom(KEY_SIZE))

    def _read(self) -> bytes:
        root, _ = read_bytes(self._file, KEY_SIZE, follow_links=False)
        check_root_size(len(root))
        if len(root) != KEY_SIZE:
            raise OSError(errno.EINVAL, "the root key is damaged; run strongroom cache clear")
        return root


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
