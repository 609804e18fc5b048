"""A file of KeePass, opened with a key that is kept and replaced whole under a lock, and its entries in memory.

pykeepass reads and writes the format alone. Its own `save` would follow no lock, widen the mode, replace a symbolic
link, and not sync.
"""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from pykeepass import PyKeePass
from pykeepass.entry import Entry
from pykeepass.exceptions import CredentialsError
from pykeepass.group import Group
from pykeepass.kdbx_parsing import KDBX

from strongroom.errors import (
    AuthenticationError,
    InvalidDataError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretTooLargeError,
    StoreError,
    StoreUnavailableError,
)
from strongroom.files.bounded import read_store_file
from strongroom.files.private import prepare
from strongroom.secret import Secret, SensitiveBytes, SensitiveStr, Value
from strongroom.store import remaining
from strongroom.store.sdk_logging import silenced_logs
from strongroom_keepass import entries

MAX_SIZE = 1 << 26
"""The largest file that is read or written, in bytes: 64 MiB."""

_HISTORY = 10
"""The old states that an entry keeps, if the database does not say."""

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


# --- entries in memory ------------------------------------------------------------------------------------------------


class Contents:
    """The entries of a database, without those in its recycle bin and those without a title.

    Queries of pykeepass would paste names into XPath, so the tree is searched here.

    Args:
        opened: a `PyKeePass`.

    Attributes:
        found: by its path, each entry's element. More than one are ambiguous.
    """

    def __init__(self, opened: Any) -> None:
        self._opened = opened
        self._meta = opened.tree.getroot().find("Meta")
        self._root = opened.tree.getroot().find("Root/Group")
        self._header_length = len(opened.kdbx.header.data)  # with other seeds, it is as long
        self._bin = self._meta.findtext("RecycleBinUUID")
        self.found: dict[str, list[Any]] = {}
        for path, element in self._below(self._root, ""):
            self.found.setdefault(path, []).append(element)

    def __repr__(self) -> str:
        return f"Contents({len(self.found)} paths)"

    @property
    def format(self) -> str:
        """The version of the format."""
        return ".".join(map(str, self._opened.version))

    def read(self, path: str) -> Secret:
        """Return the secret.

        Raises:
            SecretNotFoundError: no entry has this path.
            InvalidDataError: more than one has it, or its attributes cannot be keys.
        """
        entry = self._existing(path)
        return Secret(path, entries.read(entry._element, path), _version(entry))  # noqa: SLF001  # it has no public name

    def version(self, path: str) -> str | None:
        """Return the version, or None if no entry has this path."""
        return _version(self._existing(path)) if path in self.found else None

    def put(self, path: str, data: Mapping[str, Value]) -> str:
        """Write the entry, and return its version. Its old state goes to its history."""
        if path in self.found:
            entry = self._existing(path)
            entry.save_history()
            self._cut_history(entry._element)  # noqa: SLF001
            # Times have whole seconds: a later one makes two writes within a second two versions.
            entry.mtime = max(datetime.now(UTC).replace(microsecond=0), entry.mtime + timedelta(seconds=1))
        else:
            entry = self._created(path)
        entries.write(entry._element, path, data)  # noqa: SLF001
        return _version(entry)

    def delete(self, path: str) -> None:
        """Move the entry to the recycle bin, or remove it if that is disabled."""
        entry = self._existing(path)
        if (self._meta.findtext("RecycleBinEnabled") or "").lower() == "true":
            self._opened.trash_entry(entry)
        else:
            entry.delete()
        del self.found[path]

    def serialized(self) -> bytes:
        """Return the bytes of a file, with new seeds, and with the salt of the key that opened it."""
        stream = io.BytesIO()
        key = self._opened.transformed_key
        self._opened.save(stream, transformed_key=key)
        content = stream.getvalue()
        # In KDBX 3, the content has a hash of the header, which pykeepass leaves as it was. KeePassXC compares it.
        if (header_hash := self._meta.find("HeaderHash")) is not None:
            header_hash.text = b64encode(sha256(content[: self._header_length]).digest()).decode()
            content = KDBX.build(self._opened.kdbx, password=None, keyfile=None, transformed_key=key, decrypt=True)
        return bytes(content)

    def _existing(self, path: str) -> Any:
        elements = self.found.get(path)
        if elements is None:
            raise SecretNotFoundError(path, "the database has no entry at this path")
        if len(elements) > 1:
            reason = f"{len(elements)} entries have this path"
            raise InvalidDataError(path, reason, hint="Rename all but one of them in KeePass")
        return Entry(element=elements[0], kp=self._opened)

    def _created(self, path: str) -> Any:
        *groups, title = path.split("/")
        group = Group(element=self._root, kp=self._opened)
        for name in groups:
            below = (each for each in group.subgroups if each.name == name and not self._is_bin(each._element))  # noqa: SLF001
            inner = next(below, None)
            if inner is None:
                inner = Group(name=name, kp=self._opened)
                group.append(inner)
            group = inner
        entry = Entry(title=title, kp=self._opened)
        group.append(entry)
        self.found[path] = [entry._element]  # noqa: SLF001
        return entry

    def _cut_history(self, element: Any) -> None:
        """Remove the oldest states beyond the database's limit; -1 means all are kept."""
        most = int(self._meta.findtext("HistoryMaxItems") or _HISTORY)
        history = element.find("History")
        states = history.findall("Entry")
        for state in states[: len(states) - most] if 0 <= most < len(states) else ():
            history.remove(state)

    def _below(self, group: Any, start: str) -> Iterator[tuple[str, Any]]:
        for element in group:
            if element.tag == "Entry":
                if title := entries.title(element):
                    yield start + title, element
            elif element.tag == "Group" and not self._is_bin(element):
                yield from self._below(element, f"{start}{element.findtext('Name') or ''}/")

    def _is_bin(self, group: Any) -> bool:
        return bool(group.findtext("UUID") == self._bin)


def _version(entry: Any) -> str:
    return f"{entry.mtime:%Y%m%dT%H%M%SZ}-{entry.uuid.hex[:8]}"
