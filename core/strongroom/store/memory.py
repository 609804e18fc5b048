"""A store in memory, and the reference implementation: read it before you write a store.

A plugin is a class with `read` and `close`, and a function with keyword-only options that opens it. `MemoryStore` has
every other method that memory allows. Leave out what your service cannot do. No method validates a path, guards against
a second `close` or removes values from tracebacks: `strongroom._boundary.guard` does that for every store.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

from strongroom.errors import ConflictError, SecretNotFoundError, StoreError
from strongroom.paths import check_path, entries_below
from strongroom.secret import Secret, Value, Version, check_data, protect_data
from strongroom.store import Health, Items, Option, Traits, VersionInfo, fork_safe_lock


@dataclass
class _Kept:
    """One version. `data` is None once it is destroyed, and `deleted` is the time of its deletion."""

    data: Mapping[str, Value] | None
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    deleted: datetime | None = None

    @property
    def readable(self) -> bool:
        return self.data is not None and self.deleted is None


@dataclass
class _History:
    """All versions of one secret, oldest first, and its labels."""

    kept: list[_Kept] = field(default_factory=list)
    labels: Mapping[str, str] = field(default_factory=dict)


class MemoryStore:
    """Secrets and all their versions in this process, until the store is closed. Safe to use from several threads."""

    traits = Traits(local=True)

    def __init__(self) -> None:
        self._histories: dict[str, _History] = {}
        self._lock = fork_safe_lock(self, "_lock")

    def close(self) -> None:
        """Drop all secrets."""
        with self._lock:
            self._histories.clear()

    # --- read, list, probe --------------------------------------------------------------------------------------------

    def read(self, path: str) -> Secret:
        """Return the newest version. If it is deleted, the secret is absent: no older version takes its place."""
        with self._lock:
            return self._secret(path, self._newest(path))

    def list_entries(self, prefix: str) -> Iterator[str]:
        """Return the sorted names below `prefix`. A secret with others below it is both `name` and `name/`."""
        with self._lock:
            readable = [path for path, history in self._histories.items() if history.kept[-1].readable]
        return iter(sorted(entries_below(readable, prefix)))

    def probe(self) -> Health:
        """Return a healthy state with the number of secrets."""
        with self._lock:
            readable = sum(history.kept[-1].readable for history in self._histories.values())
        return Health(ok=True, detail=f"secrets in memory: {readable:,}")

    # --- write --------------------------------------------------------------------------------------------------------

    def write(self, path: str, data: Mapping[str, Value]) -> int:
        """Replace the secret by a new version. Return its number, counted from 1."""
        with self._lock:
            history = self._histories.setdefault(path, _History())
            history.kept.append(_Kept(protect_data(data)))  # a copy, since the caller may change its data
            return len(history.kept)

    def write_if(self, path: str, data: Mapping[str, Value], expected: Version | None) -> int:
        """Compare and write under one lock, so that no other write comes in between."""
        with self._lock:
            history = self._histories.get(path)
            newest = len(history.kept) if history else None
            absent = history is None or not history.kept[-1].readable
            if not (absent if expected is None else expected == newest):
                raise ConflictError(path, f"version {expected} was expected, the newest is {newest}")
            return self.write(path, data)

    def delete(self, path: str) -> None:
        """Mark the newest version as deleted."""
        with self._lock:
            self._kept(path, self._newest(path)).deleted = datetime.now(UTC)

    # --- versions -----------------------------------------------------------------------------------------------------

    def versions(self, path: str) -> Sequence[VersionInfo]:
        """Return every version that was ever written, oldest first."""
        with self._lock:
            return [
                VersionInfo(
                    number,
                    kept.created,
                    deleted=kept.data is not None and kept.deleted is not None,
                    destroyed=kept.data is None,
                    deleted_at=kept.deleted,
                )
                for number, kept in enumerate(self._history(path).kept, start=1)
            ]

    def read_version(self, path: str, version: Version) -> Secret:
        """Return the version if it is neither deleted nor destroyed."""
        with self._lock:
            return self._secret(path, version)

    def kept_versions(self, path: str) -> int:
        """Return the largest number: no version is ever pruned."""
        with self._lock:
            self._history(path)
        return sys.maxsize

    def undelete(self, path: str, version: Version) -> None:
        """Make a deleted version readable again."""
        with self._lock:
            kept = self._kept(path, version)
            if kept.data is None:
                raise SecretNotFoundError(path, f"version {version} is destroyed")
            kept.deleted = None

    def destroy(self, path: str, version: Version) -> None:
        """Drop the version's data for good. Its number is never used again."""
        with self._lock:
            self._kept(path, version).data = None

    def read_metadata(self, path: str) -> Mapping[str, str]:
        """Return the secret's labels."""
        with self._lock:
            return dict(self._history(path).labels)

    def write_metadata(self, path: str, metadata: Mapping[str, str]) -> None:
        """Replace the secret's labels without a new version."""
        with self._lock:
            self._history(path).labels = dict(metadata)

    # --- bulk ---------------------------------------------------------------------------------------------------------

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
        """Yield each path with its secret or its own error."""
        for path in paths:
            try:
                yield path, self.read(path)
            except StoreError as error:
                yield path, error

    def write_many(self, items: Items) -> Iterator[tuple[str, Version | StoreError | None]]:
        """Yield each path with its new version."""
        for path, data in items:
            yield path, self.write(path, data)

    # --- called with the lock held ------------------------------------------------------------------------------------

    def _history(self, path: str) -> _History:
        if path not in self._histories:
            raise SecretNotFoundError(path)
        return self._histories[path]

    def _kept(self, path: str, version: Version) -> _Kept:
        kept = self._history(path).kept
        if not isinstance(version, int) or not 1 <= version <= len(kept):
            raise SecretNotFoundError(path, f"there is no version {version}")
        return kept[version - 1]

    def _newest(self, path: str) -> int:
        history = self._history(path)
        if not history.kept[-1].readable:
            raise SecretNotFoundError(path, "its newest version is deleted")
        return len(history.kept)

    def _secret(self, path: str, version: Version) -> Secret:
        kept = self._kept(path, version)
        if kept.data is None or kept.deleted:
            raise SecretNotFoundError(path, f"version {version} is {'destroyed' if kept.data is None else 'deleted'}")
        return Secret(path, kept.data, version, kept.created, dict(self._history(path).labels))


def open_memory(
    *,
    secrets: Annotated[
        dict[str, dict[str, Any]] | None, Option(help="contents: path -> key -> value", secret=True)
    ] = None,
) -> MemoryStore:
    """Open a store in memory that holds `secrets`.

    The entry point `memory` of the group `strongroom.stores` names this function. Its signature is the schema of the
    options in a configuration file.

    Raises:
        InvalidPathError: a path is invalid.
        InvalidDataError: a value is not of a supported type.
    """
    store = MemoryStore()
    for path, data in (secrets or {}).items():
        store.write(check_path(path), check_data(path, data))
    return store
