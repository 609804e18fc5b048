"""Secrets in an SQLite file, as a store for Strongroom. Whoever can read the file can read them."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

from strongroom.encoding import from_json, to_json
from strongroom.errors import (
    ConfigurationError,
    ConflictError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
)
from strongroom.secret import Secret, Value
from strongroom.store import Option, Traits, remaining

# AUTOINCREMENT never gives a number twice, so the version of a deleted secret is never taken for that of a new one.
SCHEMA = "CREATE TABLE IF NOT EXISTS secrets (version INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT UNIQUE, data TEXT)"

# SQLite's codes, not its messages. The low byte of an extended code is the code itself.
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
    """A store in one file. Every call has its own connection, so threads and forks need no care."""

    traits = Traits(local=True)

    def __init__(self, file: Path) -> None:
        self._file = file
        with self._transaction(None, "IMMEDIATE") as database:
            database.execute(SCHEMA)

    def close(self) -> None:
        """Nothing stays open between calls."""

    def read(self, path: str) -> Secret:
        """The secret at `path`."""
        with self._transaction(path) as database:
            row = database.execute("SELECT data, version FROM secrets WHERE path = ?", [path]).fetchone()
        if row is None:
            raise SecretNotFoundError(path)
        data = from_json(json.loads(row[0]))
        if not isinstance(data, Mapping):
            raise StoreError(path, "its row is not a JSON object", hint="Somebody else has written to the file")
        return Secret(path, data, version=row[1])

    def list_entries(self, prefix: str) -> Iterator[str]:
        """The names directly below `prefix`."""
        start = f"{prefix}/" if prefix else ""
        with self._transaction(prefix or None) as database:
            rows = database.execute(
                "SELECT path FROM secrets WHERE substr(path, 1, length(?1)) = ?1", [start]
            ).fetchall()
        parts = (path.removeprefix(start).partition("/") for (path,) in rows)
        yield from sorted({name + slash for name, slash, _ in parts})

    def write(self, path: str, data: Mapping[str, Value]) -> int:
        """Replaces the secret."""
        with self._transaction(path, "IMMEDIATE") as database:
            return _replace(database, path, data)

    def write_if(self, path: str, data: Mapping[str, Value], expected: int | str | None) -> int:
        """Replaces the secret, when its version is `expected`."""
        with self._transaction(path, "IMMEDIATE") as database:
            row = database.execute("SELECT version FROM secrets WHERE path = ?", [path]).fetchone()
            if expected != (row and row[0]):
                raise ConflictError(path)
            return _replace(database, path, data)

    def delete(self, path: str) -> None:
        """Removes the secret."""
        with self._transaction(path, "IMMEDIATE") as database:
            if database.execute("DELETE FROM secrets WHERE path = ?", [path]).rowcount == 0:
                raise SecretNotFoundError(path)

    @contextmanager
    def _transaction(self, path: str | None, mode: str = "DEFERRED") -> Iterator[sqlite3.Connection]:
        """A connection that waits for a lock as long as this call may take, and commits or rolls back."""
        try:
            with closing(sqlite3.connect(self._file, timeout=remaining(), isolation_level=None)) as database:
                database.execute(f"BEGIN {mode}")
                with database:
                    yield database
        except sqlite3.Error as error:
            kind = ERRORS.get(error.sqlite_errorcode & 0xFF, StoreError)
            raise kind(path, error.sqlite_errorname) from None


def _replace(database: sqlite3.Connection, path: str, data: Mapping[str, Value]) -> int:
    text = json.dumps(to_json(data))
    database.execute("REPLACE INTO secrets (path, data) VALUES (?, ?)", [path, text])
    (version,) = database.execute("SELECT version FROM secrets WHERE path = ?", [path]).fetchone()
    return int(version)


def open_sqlite(
    *, file: Annotated[Path, Option(help="the database; it is made when it is missing", place=True)]
) -> SQLiteStore:
    """A store in an SQLite file."""
    try:
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))  # SQLite itself would let others read it
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be opened: {error.strerror}") from None
    return SQLiteStore(file)
