"""The entries of an opened database: found by their paths, and changed in memory."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from pykeepass.entry import Entry
from pykeepass.group import Group
from pykeepass.kdbx_parsing import KDBX

from strongroom.errors import InvalidDataError, SecretNotFoundError
from strongroom.secret import Secret, Value
from strongroom_keepass import entries

_HISTORY = 10
"""The old states that an entry keeps, if the database does not say."""


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
