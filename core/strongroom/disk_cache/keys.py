"""The keys of the disk cache: a root key, bound to the machine and the user by HKDF."""

import os
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from strongroom.bounded_file import read_bytes
from strongroom.disk_cache.root_key import RootKey
from strongroom.files.private_file import KEY_SIZE, check_folder, make_folder
from strongroom.secret import conceal

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
    info = _FORMAT + b", user %d" % user
    derived = HKDF(SHA256(), _IDENT_SIZE + 2 * KEY_SIZE, salt=machine, info=info).derive(root)
    names, seals = derived[_IDENT_SIZE : _IDENT_SIZE + KEY_SIZE], derived[_IDENT_SIZE + KEY_SIZE :]
    return Keys(derived[:_IDENT_SIZE].hex(), conceal(names), conceal(seals))


def entry_key(keys: Keys, info: bytes) -> bytes:
    """Return the key of one entry."""
    return HKDFExpand(SHA256(), KEY_SIZE, info=info).derive(keys.seals)


class KeyRing:
    """Reads the root key of a folder, and reads it again when it was replaced."""

    def __init__(self, folder: Path, root: RootKey) -> None:
        self._folder = folder
        self._root = root
        self._known: tuple[object, Keys] | None = None

    def __repr__(self) -> str:
        return f"KeyRing({str(self._folder)!r})"

    def current(self, *, create: bool = False) -> Keys | None:
        """Return the keys, or None if there is no root key and `create` is False.

        Raises:
            OSError: the folder or the file belongs to another user, is a symbolic link, is accessible to others, or
                cannot be read or created; or another place of the root key cannot be used.
        """
        if create:
            make_folder(self._folder)
        elif not check_folder(self._folder):
            return None
        mark = self._root.find(create=create)
        if mark is None:
            return None
        if self._known is None or self._known[0] != mark:
            self._known = mark, derive(self._root.read(), machine_identity(), os.geteuid())
        return self._known[1]

    def replace(self) -> None:
        """Make a new root key."""
        self._root.replace(os.urandom(KEY_SIZE))
        self._known = None
