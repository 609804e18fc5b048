"""A folder of files as a store, such as /run/secrets: read-only.

Secrets below the root:

- The file `PATH/KEY` is the key `KEY` of the secret `PATH`: `database/connection/password` is `password` of
  `database/connection`. A folder is one secret; the folders in it are other secrets.
- A file `NAME` directly in the root is the secret `NAME` with the single key `value`. Docker mounts secrets like this:
  `/run/secrets/db_password` is read with `get_secret("db_password", "value")`.

A file is one key of one secret. Its content is exactly the value: text if it is UTF-8, otherwise bytes. A final newline
stays unless `strip_newline` is on. Names that start with `..` belong to Kubernetes and are hidden.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from strongroom.errors import InvalidDataError, SecretNotFoundError, StoreError
from strongroom.secret import Secret, Value
from strongroom.store import Health, Option, Traits
from strongroom_env.folder import MAX_SIZE, EntryKind, Folder, FolderEntry, Found, read_root

FLAT_KEY = "value"
"""The key of a secret that is a file directly in the root."""


class FilesStore:
    """The files below a root folder. Nothing is cached, so a new mount is seen at once.

    Args:
        root: the folder, relative to the working directory at this moment.
        strip_newline: remove one line end at the end of a text.
    """

    traits = Traits(local=True)

    def __init__(self, root: Path, *, strip_newline: bool = False) -> None:
        self._root = root.absolute()
        self._strip_newline = strip_newline

    def __repr__(self) -> str:
        return f"FilesStore({str(self._root)!r})"

    def read(self, path: str) -> Secret:
        """Return the files of one folder; with Kubernetes' `..data`, all of the same version.

        Raises:
            SecretNotFoundError: there is no such file or folder, or no file in it.
            PermissionDeniedError: it is not readable, or a link leads out of the root.
            StoreUnavailableError: the root is missing, or a link is dangling, so the content is unknown.
            InvalidDataError: an entry is neither a file nor a folder.
            SecretTooLargeError: its files hold more than `folder.MAX_SIZE` bytes together.
        """
        names = tuple(path.split("/"))
        contents = read_root(self._root, path, lambda folder: _contents(folder, names, path))
        if not contents:
            raise SecretNotFoundError(path, f"no file for it in {self._root}")
        return Secret(path=path, data={key: self._value(content) for key, content in contents.items()})

    def list_entries(self, prefix: str) -> Iterator[str]:
        """Yield the sorted secrets and folders directly below the prefix.

        Raises:
            StoreError: a link leads to a folder above it, so the listing would not end.
        """
        names = tuple(prefix.split("/")) if prefix else ()
        yield from read_root(self._root, prefix or None, lambda folder: list(_below(folder, names, prefix)))

    def probe(self) -> Health:
        """Return whether the root exists and is readable."""
        read_root(self._root, None, lambda folder: folder.find(()))
        return Health(ok=True, detail="open")

    def close(self) -> None:
        pass  # no resource is held

    def _value(self, content: bytes) -> Value:
        try:
            text = content.decode()
        except UnicodeDecodeError:
            return content
        if self._strip_newline and text.endswith("\n"):
            return text[:-1].removesuffix("\r")
        return text


def _contents(folder: Folder, names: tuple[str, ...], path: str) -> dict[str, bytes]:
    """Return each key of the secret with the bytes of its file; empty if there is no such secret."""
    found = folder.find(names)
    if found is None:
        return {}
    if found.kind is EntryKind.FOLDER:
        entries = folder.entries(found.place)
    elif len(names) == 1:
        entries = [FolderEntry(FLAT_KEY, found.kind, found.place)]
    else:
        return {}
    contents: dict[str, bytes] = {}
    left = MAX_SIZE
    for entry in entries:
        if entry.kind is EntryKind.OTHER:
            raise InvalidDataError(path, f"{entry.name} is neither a file nor a folder", hint="Remove it")
        if entry.kind is EntryKind.FILE:
            contents[entry.name] = folder.content(entry.place, left)
            left -= len(contents[entry.name])
    return contents


def _below(folder: Folder, names: tuple[str, ...], prefix: str) -> Iterator[str]:
    found = folder.find(names)
    if found is None or found.kind is not EntryKind.FOLDER:
        return
    for entry in folder.entries(found.place):
        if entry.kind is EntryKind.FILE and not names:
            yield entry.name
        elif entry.kind is EntryKind.FOLDER:
            _refuse_loop(entry, found, prefix)
            kinds = {inner.kind for inner in folder.entries(entry.place)}
            if EntryKind.FILE in kinds:
                yield entry.name
            if EntryKind.FOLDER in kinds:
                yield f"{entry.name}/"


def _refuse_loop(entry: FolderEntry, found: Found, prefix: str) -> None:
    if entry.place in found.passed:
        raise StoreError(
            prefix or None, f"the link {entry.name} leads back to a folder above it", hint="Remove the link"
        )


def open_files(
    *,
    root: Annotated[Path, Option("the folder that holds the secrets, such as /run/secrets", location=True)],
    strip_newline: Annotated[bool, Option("remove one line end at the end of each text")] = False,
) -> FilesStore:
    """A folder of files, such as the secrets that Docker or Kubernetes mounts."""
    return FilesStore(root, strip_newline=strip_newline)
