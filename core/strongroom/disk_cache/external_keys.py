"""Root keys outside of the folder of the cache: in a keyring of the user, and in a credential of systemd."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from strongroom.bounded_file import read_bytes
from strongroom.files.private_file import KEY_SIZE, lock_folder
from strongroom.secret import SensitiveBytes
from strongroom.store import within_deadline

CREDENTIAL = "strongroom-cache"
"""The name of the systemd credential."""

SERVICE = "strongroom disk cache"
"""The name of the service in the keyring. The user is the folder."""

_LARGEST_CREDENTIAL = 4096
_LOCK_SECONDS = 5.0

_R = TypeVar("_R")


class KeyringEntry:
    """An entry in the keyring of the user, through the library `keyring`. Each process reads it once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key: bytes | None = None
        self._fault: OSError | None = None

    def find(self, *, create: bool) -> object | None:
        """Return the key's place, since a process that has read it keeps it."""
        if self._key is None:
            self._key = self._stored()
        if self._key is None and create:
            with lock_folder(self._folder, _LOCK_SECONDS):  # of two processes that start, one makes it
                self._key = self._stored()
                if self._key is None:
                    self.replace(os.urandom(KEY_SIZE))
                    self._key = self._stored()
        return None if self._key is None else SERVICE

    def read(self) -> bytes:
        """Return the key that `find` has found."""
        if self._key is None:
            raise FileNotFoundError(errno.ENOENT, "the root key was removed")
        return self._key

    def replace(self, key: bytes) -> None:
        """Put another key into the keyring."""
        self._call(lambda library: library.set_password(SERVICE, str(self._folder), key.hex()))
        self._key = None

    def remove(self) -> None:
        """Remove the entry from the keyring."""
        if self._stored() is not None:
            self._call(lambda library: library.delete_password(SERVICE, str(self._folder)))
        self._key = None

    def _stored(self) -> bytes | None:
        text = self._call(lambda library: library.get_password(SERVICE, str(self._folder)))
        try:
            key = None if text is None else SensitiveBytes(bytes.fromhex(text))
        except ValueError:
            key = SensitiveBytes()
        if key is not None and len(key) != KEY_SIZE:
            raise OSError(errno.EINVAL, "the root key in the keyring is damaged; run strongroom cache clear")
        return key

    def _call(self, operation: Callable[[Any], _R]) -> _R:  # of the library
        """Return the result of an operation, within the deadline of the call. After a failure, raise the same error."""
        if self._fault is not None:
            raise self._fault
        try:
            import keyring

            return within_deadline(lambda: operation(keyring))
        except ImportError:
            self._fault = OSError(errno.ENOPKG, "the library keyring is not installed: pip install keyring")
        except Exception as error:  # noqa: BLE001  # of any keyring
            self._fault = OSError(errno.EIO, f"the keyring cannot be used ({type(error).__name__})")
        raise self._fault


class SystemdCredential:
    """A credential that systemd passes to a service, which it may have encrypted under the TPM of the machine."""

    def find(self, *, create: bool) -> object:  # noqa: ARG002  # systemd alone makes it
        """Return the identity and the times of the file in which systemd passes the credential."""
        status = self._file().stat()
        return status.st_ino, status.st_mtime_ns

    def read(self) -> bytes:
        """Return the credential."""
        root, _ = read_bytes(self._file(), _LARGEST_CREDENTIAL, follow_links=False)
        if not KEY_SIZE <= len(root) <= _LARGEST_CREDENTIAL:
            raise OSError(
                errno.EINVAL, f"the credential {CREDENTIAL} must have {KEY_SIZE} to {_LARGEST_CREDENTIAL} bytes"
            )
        return SensitiveBytes(root)

    def replace(self, key: bytes) -> None:  # noqa: ARG002
        """Raise OSError: only the administrator changes it."""
        raise OSError(errno.EPERM, f"encrypt a new credential {CREDENTIAL} with systemd-creds, and restart the service")

    def remove(self) -> None:
        """Do nothing: it belongs to the unit of the service."""

    def _file(self) -> Path:
        folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
        file = Path(folder, CREDENTIAL)
        if not folder or not file.is_file():
            raise FileNotFoundError(errno.ENOENT, f"systemd has passed no credential {CREDENTIAL} to this process")
        return file
