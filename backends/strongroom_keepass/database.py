"""A file of KeePass: opened with a key that is kept, and replaced whole under a lock.

pykeepass reads and writes the format alone. Its own `save` would follow no lock, widen the mode, replace a symbolic
link, and not sync.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pykeepass import PyKeePass
from pykeepass.exceptions import CredentialsError

from strongroom.errors import (
    AuthenticationError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretTooLargeError,
    StoreError,
    StoreUnavailableError,
)
from strongroom.files.bounded import read_store_file
from strongroom.files.private import prepare
from strongroom.secret import SensitiveBytes, SensitiveStr
from strongroom.store import remaining
from strongroom.store.sdk_logging import silenced_logs
from strongroom_keepass.contents import Contents

MAX_SIZE = 1 << 26
"""The largest file that is read or written, in bytes: 64 MiB."""

_MAX_KEY_FILE = 1 << 20
_CREATE = "Create it with KeePassXC, or `keepassxc-cli db-create --set-password FILE`"

_T = TypeVar("_T")


class Database:
    """A file of KeePass.

    The first open derives a key from the password, which is slow on purpose. The key stays in memory, as the
    password does: it opens the file again in milliseconds until another program saves it with a new salt.

    Args:
        file: the file; a symbolic link is followed, and stays.
        password: the master password.
        key_file: the key file.
    """

    def __init__(self, file: Path, password: str | None, key_file: Path | None) -> None:
        self.file = file.absolute()
        self._password = None if password is None else SensitiveStr(password)
        self._key_file = key_file
        self._key: SensitiveBytes | None = None

    def __repr__(self) -> str:
        return f"Database({str(self.file)!r})"

    def close(self) -> None:
        """Forget the key."""
        self._key = None

    def open(self, path: str | None) -> Contents:
        """Return the current content. `path` is that of the wanted secret, for errors.

        Raises:
            AuthenticationError: the password or the key file is wrong.
            StoreUnavailableError: the file does not exist, or is damaged.
        """
        content = _read(self.file, MAX_SIZE, path, _CREATE)
        failure: StoreError
        try:
            with silenced_logs("pykeepass"):
                return Contents(self._opened(content, path))
        except CredentialsError:
            hint = "Check the options password and key_file"
            failure = AuthenticationError(path, f"{self.file}: the password or the key file is wrong", hint=hint)
        except StoreError as error:
            failure = error.copy()
        except Exception as error:  # noqa: BLE001  # construct, zlib and lxml each have their own for a damaged file
            reason = f"{self.file} is damaged, or no database of KeePass ({type(error).__name__})"
            failure = StoreUnavailableError(path, reason, hint="Restore it from a backup")
        raise failure

    def change(self, path: str | None, change: Callable[[Contents], _T]) -> _T:
        """Open the file under a lock, change it, and replace it. It stays as it is if `change` raises."""
        failure: StoreError
        try:
            with prepare(self.file, remaining()) as replacement:
                contents = self.open(path)
                with silenced_logs("pykeepass"):
                    result = change(contents)
                    content = contents.serialized()
                if len(content) > MAX_SIZE:
                    raise SecretTooLargeError(path, f"{self.file} would have more than {MAX_SIZE:,} bytes")
                replacement.commit(content)
                return result
        except TimeoutError as error:
            failure = StoreUnavailableError(path, f"{self.file}: {error.strerror}", hint="Try again")
        except PermissionError as error:
            reason = f"{self.file} may not be written: {error.strerror}"
            failure = PermissionDeniedError(path, reason, hint="Let this user own it and write in its folder")
        except OSError as error:
            reason = f"{self.file}: {error.strerror or 'it cannot be written'}"
            failure = StoreUnavailableError(path, reason, hint="Check its disk and folder")
        raise failure

    def _opened(self, content: bytes, path: str | None) -> Any:
        if (key := self._key) is not None:
            try:
                return PyKeePass(io.BytesIO(content), transformed_key=key)
            except CredentialsError:  # it has another salt, or another password, by now
                self._key = None
        key_file = None
        if self._key_file is not None:
            key_file = io.BytesIO(_read(self._key_file, _MAX_KEY_FILE, path, "Check the option key_file"))
        database = PyKeePass(io.BytesIO(content), password=self._password, keyfile=key_file)
        self._key = SensitiveBytes(database.transformed_key)
        return database


def _read(file: Path, limit: int, path: str | None, hint: str) -> bytes:
    try:
        return read_store_file(file, limit, path)[0]
    except SecretNotFoundError as error:  # without a database, no secret is known to be absent
        failure = StoreUnavailableError(path, error.reason, hint=hint)
    raise failure
