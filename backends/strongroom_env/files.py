"""A folder of files as a store, such as /run/secrets: read-only.

Where a secret is, below the root:

- The file `PATH/KEY` is the key `KEY` of the secret `PATH`: `database/connection/password` is `password` of
  `database/connection`. A folder is one secret; the folders in it are other secrets.
- A file `NAME` directly in the root is in no folder: it is the secret `NAME` with the single key `value`. This is how
  Docker mounts secrets: `/run/secrets/db_password` is read with `get_secret("db_password", "value")`.

So a file is one key of one secret, and never two. Its content is the value, exactly: UTF-8 is text, anything else is
bytes, and a final newline stays unless `strip_newline` is on. Names that start with `..` are Kubernetes' own, not seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from strongroom.errors import InvalidDataError, SecretNotFoundError, StoreError
from strongroom.secret import Secret, Value
from strongroom.store import Health, Option, Traits
from strongroom_env.folder import MAX_SIZE, Entry, Folder, Found, Kind, look

FLAT_KEY = "value"
"""The single key of a secret that is a file directly in the root."""


class FilesStore:
    """The files below a root folder. Nothing is kept between reads: what is mounted now is what is read.

    Args:
        root: the folder. A relative one is below the folder that was the working directory when the store was made.
        strip_newline: whether one line end at the end of a text is left out.
    """

    traits = Traits(local=True)

    def __init__(self, root: Path, *, strip_newline: bool = False) -> None:
        self._root = root.absolute()
        self._strip_newline = strip_newline

    def __repr__(self) -> str:
        return f"FilesStore({str(self._root)!r})"

    def read(self, path: str) -> Secret:
        """The files of one folder, all of one moment where Kubernetes' `..data` says which belong together.

        Raises:
            SecretNotFoundError: there is no such file or folder, or no file in it.
            PermissionDeniedError: it may not be read, or a link leads out of the root.
            StoreUnavailableError: the root is missing, or a link leads nowhere: what belongs there is unknown.
            InvalidDataError: something in it is neither a file nor a folder.
            SecretTooLargeError: its files hold more than `folder.MAX_SIZE` bytes together.
        """
        names = tuple(path.split("/"))
        contents = look(self._root, path, lambda folder: _contents(folder, names, path))
        if not contents:
            raise SecretNotFoundError(path, f"no file for it in {self._root}")
        return Secret(path=path, data={key: self._value(content) for key, content in contents.items()})

    def list_entries(self, prefix: str) -> Iterator[str]:
        """The secrets and folders directly below the prefix, sorted.

        Raises:
            StoreError: a link leads back to a folder above it, so that the listing would have no end.
        """
        names = tuple(prefix.split("/")) if prefix else ()
        yield from look(self._root, prefix or None, lambda folder: list(_below(folder, names, prefix)))

    def probe(self) -> Health:
        """Whether the root is there and can be read now."""
        look(self._root, None, lambda folder: folder.find(()))
        return Health(ok=True, detail=f"the folder {self._root}")

    def close(self) -> None:
        """Nothing is held."""

    def _value(self, content: bytes) -> Value:
        try:
            text = content.decode()
        except UnicodeDecodeError:
            return content
        if self._strip_newline and text.endswith("\n"):
            return text[:-1].removesuffix("\r")
        return text


def _contents(folder: Folder, names: tuple[str, ...], path: str) -> dict[str, bytes]:
    """Each key of the secret with the bytes of its file; nothing where there is no such secret."""
    found = folder.find(names)
    if found is None:
        return {}
    if found.kind is Kind.FOLDER:
        entries = folder.entries(found.place)
    elif len(names) == 1:
        entries = [Entry(FLAT_KEY, found.kind, found.place)]
    else:
        return {}
    contents: dict[str, bytes] = {}
    left = MAX_SIZE
    for entry in entries:
        if entry.kind is Kind.OTHER:
            raise InvalidDataError(path, f"{entry.name} is neither a file nor a folder", hint="Remove it")
        if entry.kind is Kind.FILE:
            contents[entry.name] = folder.content(entry.place, left)
            left -= len(contents[entry.name])
    return contents


def _below(folder: Folder, names: tuple[str, ...], prefix: str) -> Iterator[str]:
    found = folder.find(names)
    if found is None or found.kind is not Kind.FOLDER:
        return
    for entry in folder.entries(found.place):
        if entry.kind is Kind.FILE and not names:
            yield entry.name
        elif entry.kind is Kind.FOLDER:
            _refuse_loop(entry, found, prefix)
            kinds = {inner.kind for inner in folder.entries(entry.place)}
            if Kind.FILE in kinds:
                yield entry.name
            if Kind.FOLDER in kinds:
                yield f"{entry.name}/"


def _refuse_loop(entry: Entry, found: Found, prefix: str) -> None:
    if entry.place in found.passed:
        raise StoreError(
            prefix or None, f"the link {entry.name} leads back to a folder above it", hint="Remove the link"
        )


def open_files(
    *,
    root: Annotated[Path, Option("the folder that holds the secrets, such as /run/secrets", location=True)],
    strip_newline: Annotated[bool, Option("leave one line end at the end of each text out")] = False,
) -> FilesStore:
    """A folder of files, such as the secrets that Docker or Kubernetes mounts.

    Args:
        root: the folder. Relative to the working directory.
        strip_newline: leave one line end at the end of each text out. By default the content is the value, exactly.
    """
    return FilesStore(root, strip_newline=strip_newline)
