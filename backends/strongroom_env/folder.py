"""Reading of a root folder without leaving it: links, Kubernetes' `..data`, special files, and failures."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

from strongroom.errors import (
    ConfigurationError,
    InvalidPathError,
    PermissionDeniedError,
    SecretTooLargeError,
    StoreUnavailableError,
    UnsupportedOperationError,
    shown,
)
from strongroom.files.bounded import read_bytes
from strongroom.paths import check_path

MAX_SIZE = 1 << 20
"""The most bytes of all files of one secret together."""

HIDDEN = ".."
"""The prefix of hidden names: `..data` and the folders that Kubernetes keeps behind it."""

# Kubernetes updates a volume by pointing one link to a new folder. A reader of the old folder sees files vanish:
# https://github.com/kubernetes/kubernetes/blob/v1.31.0/pkg/volume/util/atomic_writer.go
_SNAPSHOT = "..data"
_ATTEMPTS = 5
_MOVING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})

_OPEN_FOLDER: int = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)

Place: TypeAlias = tuple[str, ...]
"""The names from the root to a file or folder, none of them a link."""

_T = TypeVar("_T")


class EntryKind(Enum):
    """The type of an entry. OTHER is a pipe, a socket or a device."""

    FILE = "file"
    FOLDER = "folder"
    OTHER = "other"


class FolderEntry(NamedTuple):
    """One name in a folder, its type, and its place without links."""

    name: str
    kind: EntryKind
    place: Place


class Found(NamedTuple):
    """The target of a path, and the folders that lead to it, the root first."""

    kind: EntryKind
    place: Place
    passed: tuple[Place, ...]


def read_root(root: Path, path: str | None, operation: Callable[[Folder], _T]) -> _T:
    """Run an operation on the root folder; repeat it if the volume is replaced meanwhile.

    Raises:
        PermissionDeniedError: a file or folder is not readable, or a link leads out of the root.
        StoreUnavailableError: the root is missing, a link is dangling, or reading failed, so an absence cannot be
            confirmed.
        ConfigurationError: the root is not a folder.
        UnsupportedOperationError: the system, such as Windows, cannot open a file relative to a folder.
    """
    for _ in range(_ATTEMPTS):
        try:
            with _opened_root(root, path) as folder:
                result = operation(folder)
                if folder.unchanged():
                    return result
        except PermissionError as error:
            name = shown(Path(error.filename).name) if isinstance(error.filename, str) else "a folder of it"
            raise PermissionDeniedError(path, f"{name} may not be read", hint="Let this user read it") from None
        except OSError as error:
            if error.errno not in _MOVING:
                raise StoreUnavailableError(path, error.strerror or "reading failed") from None
    raise StoreUnavailableError(path, f"a link in {root} is dangling, or the folder changes at every read")


@contextmanager
def _opened_root(root: Path, path: str | None) -> Iterator[Folder]:
    if os.open not in os.supports_dir_fd:
        reason = "this system cannot open a file relative to an open folder"
        raise UnsupportedOperationError(path, reason, hint="Use a dotenv, json or yaml store")
    try:
        real = os.path.realpath(root, strict=True)
        descriptor = os.open(real, _OPEN_FOLDER)
    except FileNotFoundError:
        raise StoreUnavailableError(path, f"there is no {root}", hint="Check that it is mounted") from None
    except NotADirectoryError:
        raise ConfigurationError(f"The root of a files store is not a folder: {root}") from None
    try:
        yield Folder(descriptor, real, path)
    finally:
        os.close(descriptor)


class Folder:
    """The open root folder.

    Links are resolved first, and the result is opened name by name without following links: a link that changes in
    between causes an error and never leads outside.
    """

    def __init__(self, descriptor: int, real: str, path: str | None) -> None:
        self._descriptor = descriptor
        self._real = real
        self._path = path
        self._snapshots: dict[Place, Place] = {}

    def unchanged(self) -> bool:
        """Return True if each followed `..data` still has the same target.

        Kubernetes removes files of a target only after it has changed the link; then a listing may be incomplete.
        """
        return all(self._resolve((*place, _SNAPSHOT)) == before for place, before in self._snapshots.items())

    def find(self, names: Place) -> Found | None:
        """Return the target of these names, or None."""
        place: Place = ()
        kind = EntryKind.FOLDER
        passed: list[Place] = [()]
        for name in names:
            if kind is not EntryKind.FOLDER or name.startswith(HIDDEN):
                return None
            below = self._resolve((*self._snapshot(place), name))
            if below is None:
                return None
            place, kind = below, self._kind(below)
            passed.append(place)
        return Found(kind, place, tuple(passed))

    def entries(self, place: Place) -> list[FolderEntry]:
        """Return the sorted entries of a folder without hidden names; of its `..data` if it has one.

        Raises:
            InvalidPathError: a name cannot be a part of a path.
        """
        place = self._snapshot(place)
        with self._opened(place) as descriptor:
            names = sorted(name for name in os.listdir(descriptor) if not name.startswith(HIDDEN))  # noqa: PTH208  # a descriptor has no path
            return [self._entry(place, name, descriptor) for name in names]

    def content(self, place: Place, limit: int) -> bytes:
        """Return the bytes of a file.

        Raises:
            SecretTooLargeError: it is longer than `limit`.
        """
        with self._opened(place[:-1]) as folder:
            content, _ = read_bytes(place[-1], limit, folder=folder, follow_links=False)
        if len(content) > limit:
            raise SecretTooLargeError(self._path, f"more than {MAX_SIZE:,} bytes")
        return content

    def _entry(self, folder: Place, name: str, descriptor: int) -> FolderEntry:
        try:
            check_path(name)
        except InvalidPathError:
            reason = f"a file name in it cannot be a part of a path: {shown(name)}"
            raise InvalidPathError(self._path, reason, hint="Rename the file") from None
        mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
        if not stat.S_ISLNK(mode):
            return FolderEntry(name, _kind(mode), (*folder, name))
        place = self._resolve((*folder, name))
        if place is None:
            raise FileNotFoundError(errno.ENOENT, "it has been removed")
        return FolderEntry(name, self._kind(place), place)

    def _resolve(self, place: Place) -> Place | None:
        """Return the place without links, or None if it does not exist. Raise OSError for a dangling link."""
        written = os.path.join(self._real, *place)  # noqa: PTH118  # a path of text, as realpath wants it
        try:
            real = os.path.realpath(written, strict=True)
        except FileNotFoundError:
            if os.path.islink(written):  # noqa: PTH114  # as above
                raise
            return None
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return None
            raise
        inside = os.path.relpath(real, self._real)
        if inside == os.curdir:
            return ()
        names = Path(inside).parts
        if names[0] == os.pardir:
            reason = f"{shown('/'.join(place))} is a link that leads out of the root folder"
            raise PermissionDeniedError(self._path, reason, hint="Keep its target in the root folder")
        return names

    def _snapshot(self, place: Place) -> Place:
        if place not in self._snapshots:
            found = self._resolve((*place, _SNAPSHOT))
            if found is None:
                return place
            self._snapshots[place] = found
        return self._snapshots[place]

    def _kind(self, place: Place) -> EntryKind:
        if not place:
            return EntryKind.FOLDER
        with self._opened(place[:-1]) as folder:
            mode = os.stat(place[-1], dir_fd=folder, follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            raise FileNotFoundError(errno.ENOENT, "it has become a link")
        return _kind(mode)

    @contextmanager
    def _opened(self, place: Place) -> Iterator[int]:
        descriptor = os.dup(self._descriptor)
        try:
            for name in place:
                below = os.open(name, _OPEN_FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)


def _kind(mode: int) -> EntryKind:
    return EntryKind.FOLDER if stat.S_ISDIR(mode) else EntryKind.FILE if stat.S_ISREG(mode) else EntryKind.OTHER
