"""The files of the disk cache: an SQLite database of sealed entries and marks of writes, and locks for turns.

Each operation on a batch of paths has one connection and one transaction, so that neither a fork nor a thread shares
one, and no file stays open that another process has replaced. The journal is the default one, not WAL: WAL needs shared
memory, which NFS does not have, and two more files.
"""

import errno
import os
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import quote

from strongroom._disk_cache.entry import SealedEntry
from strongroom._disk_cache.keys import KeyRing, Keys, check_file
from strongroom.files.private import create_once, lock, open_file
from strongroom.store import remaining

_SUFFIX = ".sqlite"
NAME_PATTERN = "[0-9a-f]" * 32 + _SUFFIX
"""The databases of a cache, for `glob`. The folder may have other files, such as an application's own database."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS container (id BLOB NOT NULL);
INSERT INTO container SELECT randomblob(16) WHERE NOT EXISTS (SELECT 1 FROM container);
CREATE TABLE IF NOT EXISTS entries (
    name BLOB PRIMARY KEY, path BLOB NOT NULL, asked INTEGER NOT NULL, ends INTEGER NOT NULL, sealed BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS by_path ON entries (path);
CREATE INDEX IF NOT EXISTS by_asked ON entries (asked);
CREATE INDEX IF NOT EXISTS by_ends ON entries (ends);
CREATE TABLE IF NOT EXISTS writes (path BLOB PRIMARY KEY, mark BLOB NOT NULL, at INTEGER NOT NULL);
"""
_SELECT = "SELECT name, path, asked, ends, sealed FROM entries"
_DIGEST_SIZE = 32
EVERYTHING = bytes(_DIGEST_SIZE)
"""Stands for every path. No digest is all zeros."""

_LARGEST_SHARE = 8
"""An entry, and a transaction that adds entries, may have this fraction of the size of the cache."""
_MOST_VALUES = 500
"""Values of one query. SQLite takes 999 of them since its first releases."""
_PAGE = 4096
_SHORTEST_BUSY, _LONGEST_BUSY = 1.0, 5.0
"""Seconds to wait for another process that commits: a quarter of the time left, but within these limits."""
_MARK_LIFE = 3600
"""Seconds for which the mark of a write is kept: far more than a read may take."""
_CLOCK_TOLERANCE = 2
"""Seconds by which an entry may be newer than now: the wall clock is adjusted a little all the time."""
_ORPHAN_AGE = 7 * 86400
"""Seconds after which the file of another key is removed: it was made before a rotation, or by a cloned machine."""

_LOCK_FILES = 64
"""The number of lock files. Two secrets with the same file wait for each other, which costs time and nothing else."""
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS})
"""Errors of a file system without locks, such as NFS without its lock service. SQLite takes the first for busy."""

Mark: TypeAlias = "tuple[bytes | None, ...]"
"""State of a secret before a read: an entry is only added if no write came between."""


class Place(NamedTuple):
    """Where an entry is: the digest of the store's identity and the path, and that of the path alone."""

    name: bytes
    path: bytes


class View(NamedTuple):
    """The content of the cache at some places.

    Attributes:
        rows: name -> row, of the places that have one.
        others: the rows of the other places' paths under other names: of other stores, or of an earlier release.
        latest: the wall clock at the newest entry of the cache, in seconds since 1970.
        marks: digest of the path -> its state before a read that begins; empty for another one.
    """

    rows: dict[bytes, SealedEntry]
    others: list[SealedEntry]
    latest: float
    marks: dict[bytes, Mark]


class DamagedError(Exception):
    """The file is not a database of this format, or has impossible content."""


class Container:
    """The entries of one folder.

    All methods raise OSError, sqlite3.Error or DamagedError if the file cannot be used.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self.turns = Turns(folder)
        self.ring = KeyRing(folder)
        self._most_bytes = most_bytes
        self._most_pages = max(16, most_bytes // _PAGE)

    def keys(self, *, create: bool = False) -> Keys | None:
        """Return the keys of the folder; None if there is no cache yet."""
        return self.ring.current(create=create)

    def file(self, keys: Keys) -> Path:
        """Return the path of the database."""
        return self._folder / f"{keys.ident}{_SUFFIX}"

    def others(self, keys: Keys | None) -> list[Path]:
        """Return the databases of other root keys or other machines."""
        own = None if keys is None else self.file(keys)
        return [file for file in self._folder.glob(NAME_PATTERN) if file != own]

    # --- entries ------------------------------------------------------------------------------------------------------

    def look(self, keys: Keys, places: Collection[Place], *, create: bool = False) -> View:
        """Return the content at these places. `create` is for a read that begins: it makes a missing database."""
        with self._changing(keys) if create else self._connected(keys) as database:
            if database is None:
                return View({}, [], 0.0, {})
            database.execute("BEGIN")  # the end of the connection ends it
            found = map(_row, _in(database, f"{_SELECT} WHERE name", [place.name for place in places]))
            rows = {row.name: row for row in found}
            missing = [place.path for place in places if place.name not in rows]
            others = list(map(_row, _in(database, f"{_SELECT} WHERE path", missing)))
            newest = database.execute("SELECT max(asked) FROM entries").fetchone()[0]
            latest = newest / 1e6 if isinstance(newest, int) else 0.0
            return View(rows, others, latest, _marks(database, [place.path for place in places]) if create else {})

    def rows(self, keys: Keys) -> list[SealedEntry | None]:
        """Return every row; None for one that has impossible content."""
        with self._connected(keys) as database:
            if database is None:
                return []
            found = database.execute(_SELECT).fetchall()
        return [_row_or_none(row) for row in found]

    def check(self, keys: Keys) -> list[str]:
        """Return what SQLite finds wrong with the file."""
        with self._connected(keys) as database:
            found = [] if database is None else database.execute("PRAGMA integrity_check").fetchall()
        return [text.decode("utf-8", "replace") for (text,) in found if text != b"ok"]

    def counts(self, keys: Keys) -> tuple[int, int]:
        """Return the number of entries, and how many of them are of no more use."""
        with self._connected(keys) as database:
            if database is None:
                return 0, 0
            count, ended = database.execute(
                "SELECT count(*), count(CASE WHEN ends < ? THEN 1 END) FROM entries", (int(time.time()),)
            ).fetchone()
        return count, ended

    def add(self, keys: Keys, rows: Iterable[tuple[SealedEntry, Mark]]) -> None:
        """Add rows, each unless a write has come since its mark, or a newer row is there."""
        with self._changing(keys) as database:
            database.execute("PRAGMA synchronous = OFF")  # a crash of the machine may lose entries, and no write's mark
            for part in _parts(rows, self._most_bytes // _LARGEST_SHARE):
                try:
                    _add(database, part)
                    continue
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                        raise
                with _transaction(database):
                    _make_room(database)
                _add(database, part)

    def drop(self, keys: Keys, names: Iterable[bytes]) -> None:
        """Remove entries that cannot be opened."""
        with self._changing(keys) as database, _transaction(database):
            database.executemany("DELETE FROM entries WHERE name = ?", ((name,) for name in names))

    def forget(self, keys: Keys, places: Collection[Place], *, denied: bool = False) -> None:
        """Remove the entries of paths in all stores, or all entries, and let no read under way add them again.

        With `denied`, only the entries at these places are removed.

        Who writes a secret may have another login than who reads it, which is another identity of the store.

        It is on disk when this returns: neither a crash of the process nor of the machine brings an entry back.
        """
        if check_file(self.file(keys)) is None:
            return  # a read that is under way has created it, or will only begin
        now = int(time.time())
        with self._changing(keys) as database, _transaction(database):
            column = "name" if denied else "path"
            removed = [(place.name if denied else place.path, place.path == EVERYTHING) for place in places]
            database.executemany(f"DELETE FROM entries WHERE {column} = ? OR ?", removed)  # noqa: S608  # a constant
            database.execute("DELETE FROM entries WHERE ends < ?", (now,))
            database.execute("DELETE FROM writes WHERE at NOT BETWEEN ? AND ?", (now - _MARK_LIFE, now))
            marks = [(place.path, now) for place in places]
            database.executemany("INSERT OR REPLACE INTO writes VALUES (?, randomblob(16), ?)", marks)

    def remove(self, file: Path) -> None:
        """Remove a database. Every entry in it is a miss from then on."""
        for suffix in ("", "-journal"):
            with suppress(FileNotFoundError):
                file.with_name(file.name + suffix).unlink()

    # --- the database -------------------------------------------------------------------------------------------------

    @contextmanager
    def _connected(self, keys: Keys) -> Iterator[sqlite3.Connection | None]:
        """Open the database to read it; None if there is none."""
        file = self.file(keys)
        if check_file(file) is None:
            yield None
            return
        with self._opened(file) as database:
            yield database if _has_schema(database) else None

    @contextmanager
    def _changing(self, keys: Keys) -> Iterator[sqlite3.Connection]:
        """Open the database to change it, and create it if there is none."""
        file = self.file(keys)
        if check_file(file) is None:
            create_once(file, ())
            self._sweep(keys)
        with self._opened(file) as database:
            database.execute(f"PRAGMA max_page_count = {self._most_pages}")
            if not _has_schema(database):
                # No sync: an empty database that a crash of the machine damages is a miss. `forget` syncs the file.
                database.executescript(f"PRAGMA synchronous = OFF; BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
                database.execute("PRAGMA synchronous = FULL")
            yield database

    @contextmanager
    def _opened(self, file: Path) -> Iterator[sqlite3.Connection]:
        # Mode `rw`, also to read: the journal of a process that was killed has to be rolled back first.
        address = f"file:{quote(os.fsencode(file))}?mode=rw"
        busy = min(_LONGEST_BUSY, max(_SHORTEST_BUSY, remaining() / 4))
        database = sqlite3.connect(address, uri=True, timeout=busy, isolation_level=None, check_same_thread=False)
        try:
            database.text_factory = bytes
            yield database
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            # SQLite quotes a damaged name in its message, which the module sqlite3 cannot decode then.
            if isinstance(error, UnicodeDecodeError) or error.__class__ is sqlite3.DatabaseError:
                raise DamagedError from None
            raise
        finally:
            database.close()

    def _sweep(self, keys: Keys) -> None:
        """Remove the databases of other keys that nobody has used for long."""
        for file in self.others(keys):
            with suppress(OSError):
                if time.time() - file.stat().st_mtime > _ORPHAN_AGE:
                    self.remove(file)


def _has_schema(database: sqlite3.Connection) -> bool:
    """Return False for an empty file: another process has just created it, or it was truncated."""
    return database.execute("SELECT 1 FROM sqlite_master WHERE name = 'writes'").fetchone() is not None


def fault_of(error: OSError | sqlite3.Error | DamagedError) -> str:
    """Return the fault of a cache in a few words."""
    if isinstance(error, OSError):
        return error.strerror or "it cannot be read"
    return "it is damaged" if isinstance(error, DamagedError) else f"SQLite: {error}"


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def _parts(rows: Iterable[tuple[SealedEntry, Mark]], most_bytes: int) -> Iterator[list[tuple[SealedEntry, Mark]]]:
    """Yield the rows in parts of at most `most_bytes`; a larger row is left out."""
    part: list[tuple[SealedEntry, Mark]] = []
    size = 0
    for row, before in rows:
        if len(row.sealed) > most_bytes:
            continue
        if size + len(row.sealed) > most_bytes:
            yield part
            part, size = [], 0
        part.append((row, before))
        size += len(row.sealed)
    yield part


def _add(database: sqlite3.Connection, rows: Collection[tuple[SealedEntry, Mark]]) -> None:
    with _transaction(database):
        # Since the clock ran ahead, the age of no entry is certain, and a newer one would never take its place.
        ahead = int((time.time() + _CLOCK_TOLERANCE) * 1e6)
        if database.execute("SELECT 1 FROM entries WHERE asked > ? LIMIT 1", (ahead,)).fetchone():
            database.execute("DELETE FROM entries")
        marks = _marks(database, [row.path for row, _ in rows])
        there = _in(database, "SELECT name, asked FROM entries WHERE name", [row.name for row, _ in rows])
        asked = {name: when for name, when in there if isinstance(when, int)}  # another type is damage
        added = [row for row, before in rows if marks[row.path] == before and asked.get(row.name, 0) <= row.asked]
        database.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)", added)


def _make_room(database: sqlite3.Connection) -> None:
    """Remove the entries that have ended, and then the oldest quarter of the others."""
    database.execute("DELETE FROM entries WHERE ends < ?", (int(time.time()),))
    oldest = "SELECT name FROM entries ORDER BY asked LIMIT (SELECT count(*) / 4 + 1 FROM entries)"
    database.execute(f"DELETE FROM entries WHERE name IN ({oldest})")  # noqa: S608  # a constant


def _marks(database: sqlite3.Connection, paths: Sequence[bytes]) -> dict[bytes, Mark]:
    """Return the state of each path: the random ID of this file, and the last writes of everything and of the path."""
    (ident,) = database.execute("SELECT id FROM container").fetchone() or (None,)
    written = dict(_in(database, "SELECT path, mark FROM writes WHERE path", [EVERYTHING, *paths]))
    return {path: (ident, written.get(EVERYTHING), written.get(path)) for path in paths}


def _in(database: sqlite3.Connection, query: str, values: Sequence[bytes]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a query whose last column has one of these values."""
    for begin in range(0, len(values), _MOST_VALUES):
        part = values[begin : begin + _MOST_VALUES]
        yield from database.execute(f"{query} IN ({', '.join('?' * len(part))})", part)


def _row(columns: tuple[object, ...]) -> SealedEntry:
    row = _row_or_none(columns)
    if row is None:
        raise DamagedError
    return row


def _row_or_none(found: tuple[object, ...]) -> SealedEntry | None:
    """Return the row if its content has the right types and sizes: a damaged file may hold anything."""
    name, path, asked, ends, sealed = found
    if (
        isinstance(name, bytes)
        and isinstance(path, bytes)
        and len(name) == len(path) == _DIGEST_SIZE
        and isinstance(asked, int)
        and isinstance(ends, int)
        and isinstance(sealed, bytes)
    ):
        return SealedEntry(name, path, asked, ends, sealed)
    return None


# --- turns ------------------------------------------------------------------------------------------------------------


class Turns:
    """Turns of processes: one reads a secret from its store, while the others wait for the entry in the cache.

    They are locks of files in one folder, which a process that dies releases.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._supported = True

    def require_locks(self) -> None:
        """Raise OSError if the file system has refused a lock: the cache is not used without locks."""
        if not self._supported:
            raise OSError(errno.ENOLCK, "its file system has no locks")

    @contextmanager
    def take(self, names: Iterable[bytes], seconds: float) -> Iterator[None]:
        """Wait for the turns of these entries, at most `seconds` in total; then go on without them."""
        ends = time.monotonic() + seconds
        with ExitStack() as stack:
            for number in sorted({name[0] % _LOCK_FILES for name in names}):
                try:
                    stack.enter_context(_locked(self._folder / f"turn-{number:02}.lock", ends))
                except OSError as error:  # such as a full disk: there may be two reads
                    self._supported = self._supported and error.errno not in _NO_LOCKS
            yield


@contextmanager
def _locked(file: Path, ends: float) -> Iterator[None]:
    """Hold the lock of a file, if it is free before `ends`."""
    descriptor = open_file(file, os.O_RDWR | os.O_CREAT)
    try:
        with lock(descriptor, ends - time.monotonic()):
            yield
    finally:
        os.close(descriptor)
