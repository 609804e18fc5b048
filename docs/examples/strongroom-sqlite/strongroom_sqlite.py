"""A store of secrets in an SQLite file. Anyone who can read the file can read the secrets."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

from strongroom import Secret, Value
from strongroom.encoding import from_json, to_json
from strongroom.errors import (
    ConfigurationError,
    ConflictError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
)
from strongroom.store import Option, Traits, remaining

# AUTOINCREMENT never reuses a number, so that a deleted secret and its successor have different versions.
SCHEMA = "CREATE TABLE IF NOT EXISTS secrets (version INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT UNIQUE, data TEXT)"

# SQLite's error codes, not its messages. The low byte of an extended code is the base code.
ERRORS: Mapping[int, type[StoreError]] = {
    sqlite3.SQLITE_BUSY: StoreUnavailableError,
    sqlite3.SQLITE_LOCKED: StoreUnavailableError,
    sqlite3.SQLITE_CANTOPEN: StoreUnavailableError,
    sqlite3.SQLITE_IOERR: StoreUnavailableError,
    sqlite3.SQLITE_FULL: StoreUnavailableError,
    sqlite3.SQLITE_PERM: PermissionDeniedError,
    sqlite3.SQLITE_READONLY: PermissionDeniedError,
}


class SQLiteStore:
    """A store in one file. Each call opens a connection, so that it works in threads and after forks."""

    traits = Traits(local=True)

    def __init__(self, file: Path) -> None:
        self._file = file
        with self._transaction(None, "IMMEDIATE") as database:
            database.execute(SCHEMA)

    def close(self) -> None:
        """Do nothing: no connection stays open."""

    def read(self, path: str) -> Secret:
        """Return the secret at `path`."""
        with self._transaction(path) as database:
            row = database.execute("SELECT data, version FROM secrets WHERE path = ?", [path]).fetchone()
        if row is None:
            raise SecretNotFoundError(path)
        try:
            data = from_json(json.loads(row[0]))
        except ValueError:
            data = None
        if not isinstance(data, Mapping):
            raise StoreError(path, "its row is not a JSON object", hint="Another program has written to the file")
        return Secret(path, data, version=row[1])

    def list_entries(self, prefix: str) -> Iterator[str]:
        """Yield the names directly below `prefix`."""
        start = f"{prefix}/" if prefix else ""
        with self._transaction(prefix or None) as database:
            rows = database.execute("SELECT path FROM secrets WHERE substr(path, 1, length(?)) = ?", [start, start])
            paths = [path for (path,) in rows]
        parts = (path.removeprefix(start).partition("/") for path in paths)
        yield from sorted({name + slash for name, slash, _ in parts})

    def write(self, path: str, data: Mapping[str, Value]) -> int:
        """Replace the secret."""
        with self._transaction(path, "IMMEDIATE") as database:
            return _replace(database, path, data)

    def write_if(self, path: str, data: Mapping[str, Value], expected: int | str | None) -> int:
        """Replace the secret if its version is `expected`."""
        with self._transaction(path, "IMMEDIATE") as database:
            row = database.execute("SELECT version FROM secrets WHERE path = ?", [path]).fetchone()
            if expected != (row and row[0]):
                raise ConflictError(path)
            return _replace(database, path, data)

    def delete(self, path: str) -> None:
        """Delete the secret."""
        with self._transaction(path, "IMMEDIATE") as database:
            if database.execute("DELETE FROM secrets WHERE path = ?", [path]).rowcount == 0:
                raise SecretNotFoundError(path)

    @contextmanager
    def _transaction(self, path: str | None, mode: str = "DEFERRED") -> Iterator[sqlite3.Connection]:
        """Yield a connection that waits for locks until the deadline, and commit or roll back."""
        try:
            with closing(sqlite3.connect(self._file, timeout=remaining(), isolation_level=None)) as database:
                database.execute(f"BEGIN {mode}")
                with database:
                    yield database
        except sqlite3.Error as error:
            kind = ERRORS.get(error.sqlite_errorcode & 0xFF, StoreError)
            raise kind(path, error.sqlite_errorname) from None


def _replace(database: sqlite3.Connection, path: str, data: Mapping[str, Value]) -> int:
    database.execute("REPLACE INTO secrets (path, data) VALUES (?, ?)", [path, json.dumps(to_json(data))])
    (version,) = database.execute("SELECT version FROM secrets WHERE path = ?", [path]).fetchone()
    return int(version)


def open_sqlite(
    *, file: Annotated[Path, Option("the database file; created if missing", location=True, locates=True)]
) -> SQLiteStore:
    """Open a store in an SQLite file."""
    try:
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))  # SQLite would create it readable by all
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be opened: {error.strerror}") from None
    return SQLiteStore(file)
