"""The data that a run overwrites, encrypted beside its journal, so that the run can be undone.

AES-256-GCM under a random key of the run, in a separate file. The associated data are the run and the path, so that no
record can take the offset of another.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.encoding import from_json, to_json
from strongroom.errors import MigrationError, shown
from strongroom.files import private
from strongroom.secret import SensitiveDict, Value

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12
_LENGTH = 8
_STOPPED = "; no more was written. Make room and resume"


class Backup:
    """The backup of one run. The files are created at the first `put`."""

    def __init__(self, folder: Path, run: str) -> None:
        self._file = folder / "backup"
        self._key_file = folder / "backup.key"
        self._run = run
        self._descriptor: int | None = None
        self._cipher: AESGCM | None = None
        self._dirty = False

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def put(self, path: str, data: Mapping[str, Value]) -> int:
        """Append the data of a secret, and return the offset of the record. It is on disk after `sync`.

        Raises:
            MigrationError: it cannot be written.
        """
        plain = json.dumps({key: to_json(value) for key, value in data.items()}).encode()
        cipher = self._opened(os.O_CREAT)
        nonce = os.urandom(_NONCE)
        sealed = nonce + cipher.encrypt(nonce, plain, self._bound(path))
        record = len(sealed).to_bytes(_LENGTH, "big") + sealed
        assert self._descriptor is not None, "it is opened with the cipher"  # noqa: S101  # for the type checkers
        with private.faults_as(MigrationError, f"The backup {self._file}", _STOPPED):
            offset = os.lseek(self._descriptor, 0, os.SEEK_END)
            view = memoryview(record)
            while view:
                view = view[os.write(self._descriptor, view) :]
        self._dirty = True
        return offset

    def sync(self) -> None:
        """Wait until all records are on disk.

        Raises:
            MigrationError: they cannot be written.
        """
        if self._descriptor is not None and self._dirty:
            with private.faults_as(MigrationError, f"The backup {self._file}", _STOPPED):
                os.fsync(self._descriptor)
            self._dirty = False

    def get(self, offset: int, path: str) -> SensitiveDict:
        """Return the data of the record at an offset.

        Raises:
            MigrationError: the record is missing or was changed.
        """
        cipher = self._opened(0)
        found: object = None
        if self._descriptor is not None:
            from cryptography.exceptions import InvalidTag

            with suppress(InvalidTag, OSError, ValueError, RecursionError):
                length = int.from_bytes(os.pread(self._descriptor, _LENGTH, offset), "big")
                size = min(length, os.fstat(self._descriptor).st_size)
                sealed = os.pread(self._descriptor, size, offset + _LENGTH)
                found = json.loads(cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], self._bound(path)))
        if not isinstance(found, dict):
            raise MigrationError(f"The backup {self._file}: the record of {shown(path)} is damaged or missing")
        return SensitiveDict((key, from_json(value)) for key, value in found.items())

    def _bound(self, path: str) -> bytes:
        return f"{self._run}\0{path}".encode("utf-8", "surrogatepass")

    def _opened(self, flags: int) -> AESGCM:
        """Open the file, and return the cipher."""
        if self._cipher is None:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            if not flags and not self._key_file.exists():
                raise MigrationError(f"The backup {self._file}: its key is missing")
            with private.faults_as(MigrationError, f"The backup {self._file}"):
                key = private.read_or_create_key(self._key_file)
                self._descriptor = private.open_file(self._file, os.O_RDWR | os.O_APPEND | flags)
            self._cipher = AESGCM(key)
        return self._cipher
