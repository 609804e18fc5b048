"""The journal of a run: JSON lines on disk before and after each write, without values.

A line has digests of the data before and after a write, under this machine's key. The run appends `intent` before it
sends the write, then `done` if the target holds it, or `refused` if the target holds another writer's secret. `labels`
comes before labels are written, and `done` after it. `source-deleted` comes before a deletion at the source, and
`source-kept` if the source refused it. A run killed at any point leaves three kinds of secrets: untouched ones without
an intent, done ones, and those in between, for which the target decides.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from strongroom.errors import MigrationError, newer_format
from strongroom.files import private
from strongroom.secret import Version

FORMAT = "strongroom-migration-journal"
FORMAT_VERSION = 1


Part: TypeAlias = tuple[bytes | None, bytes | None]
"""The digests of a key before and after a write; None if the key does not exist."""


@dataclass(slots=True)
class JournalEntry:
    """The journal's record of one secret.

    Attributes:
        digest: digest of the data to write.
        before: digest of the target's earlier data, or None if it had no secret.
        before_version: the version of the earlier data, if the target has versions.
        backup: offset of the earlier data in the backup, or None.
        done: True if the target confirmed the write.
        version: the version of the write, if the target has versions.
        labels: offset of the label changes in the backup, or None if the run wrote no labels.
        form: the form of the secret at the source, which a target without labels cannot keep.
        before_form: the form of the secret at the target before.
        parts: the digests of each key before and after, if the target writes keys one by one.
        source_deleted: True if the secret was, or may have been, deleted at its source since.
    """

    digest: bytes
    before: bytes | None
    before_version: Version | None
    backup: int | None
    done: bool = False
    version: Version | None = None
    labels: int | None = None
    form: Mapping[str, str] = field(default_factory=dict)
    before_form: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, Part] = field(default_factory=dict)
    source_deleted: bool = False

    def is_half(self, there: Mapping[str, bytes]) -> bool:
        """Return True if these digests of the keys can be the result of an interrupted write of the run or its undo."""
        keys = there.keys() | self.parts.keys()
        return bool(self.parts) and all(there.get(key) in self.parts.get(key, ()) for key in keys)


class Journal:
    """The journal of one run. Lines are buffered until `sync` writes them to disk.

    Args:
        file: the file, created if it does not exist. A torn last line is dropped, as no `sync` completed it.
        run: the run's name, which is in the first line.

    Attributes:
        entries: the entry of each item, by its index in the plan, when the journal was opened.

    Raises:
        MigrationError: it cannot be read or written, has a later format, or is of another run.
    """

    def __init__(self, file: Path, run: str) -> None:
        self._file = file
        self._lines: list[str] = []
        self._broken = False
        self.entries: dict[int, JournalEntry] = {}
        with private.faults_as(MigrationError, file, "; nothing was written"):
            self._descriptor = private.open_file(file, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        try:
            self._load(run)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file. Lines that were not synced are lost, as after a kill."""
        os.close(self._descriptor)

    def intend(self, index: int, entry: JournalEntry) -> None:
        """Record that the item is about to be written."""
        line = {
            "t": "intent",
            "i": index,
            "d": entry.digest.hex(),
            "b": _hex(entry.before),
            "v": entry.before_version,
            "k": entry.backup,
        }
        parts = {key: [_hex(digest) for digest in part] for key, part in entry.parts.items()}
        more = {"f": dict(entry.form), "g": dict(entry.before_form), "p": parts}
        self._lines.append(json.dumps({**line, **{name: value for name, value in more.items() if value}}))

    def label(self, index: int, place: int | None) -> None:
        """Record that labels are about to be written, with the offset of the changes in the backup. None revokes it."""
        self._lines.append(json.dumps({"t": "labels", "i": index, "k": place}))

    def done(self, index: int, version: Version | None) -> None:
        self._lines.append(json.dumps({"t": "done", "i": index, "v": version}))

    def refused(self, index: int) -> None:
        """Record that the target holds another writer's secret, so that the run wrote nothing."""
        self._lines.append(json.dumps({"t": "refused", "i": index}))

    def undone(self, index: int) -> None:
        """Record that the target holds its earlier data again."""
        self._lines.append(json.dumps({"t": "undone", "i": index}))

    def source_deleted(self, index: int) -> None:
        """Record that a done item is about to be deleted at its source."""
        self._lines.append(json.dumps({"t": "source-deleted", "i": index}))

    def source_kept(self, index: int) -> None:
        """Record that the source refused to delete the item."""
        self._lines.append(json.dumps({"t": "source-kept", "i": index}))

    def sync(self) -> None:
        """Write all buffered lines to disk.

        Raises:
            MigrationError: they cannot be written. The caller must not send these writes then.
        """
        if not self._lines:
            return
        with private.faults_as(
            MigrationError, f"The journal {self._file}", "; no more was written. Make room and resume"
        ):
            if self._broken:
                raise OSError(errno.EIO, "an earlier line could not be written")
            self._broken = True  # until the last line is whole
            self._write("\n".join([*self._lines, ""]).encode())
        self._broken = False
        self._lines.clear()

    def _write(self, content: bytes) -> None:
        view = memoryview(content)
        while view:
            view = view[os.write(self._descriptor, view) :]
        os.fsync(self._descriptor)

    # --- reading ------------------------------------------------------------------------------------------------------

    def _load(self, run: str) -> None:
        with self._file.open("rb") as stream:
            size, number = 0, 0
            for number, line in enumerate(stream, start=1):
                if not line.endswith(b"\n"):
                    break
                self._apply_line(line, number, run)
                size += len(line)
        if size == 0:
            self._lines.append(json.dumps({"t": FORMAT, "version": FORMAT_VERSION, "run": run}))
        os.ftruncate(self._descriptor, size)
        self.sync()
        if size == 0:
            private.sync_folder(self._file.parent)

    def _apply_line(self, line: bytes, number: int, run: str) -> None:
        """Apply a line to the entries."""
        try:
            known = self._apply(_record(line)) if number > 1 else _version(line, run) == FORMAT_VERSION
        except _NewerError as error:
            raise MigrationError(f"{self._file}: {error}") from None
        except (ValueError, KeyError, TypeError):
            known = False
        if not known:
            raise MigrationError(f"{self._file}, line {number}: unrecognized journal entry")

    def _apply(self, record: Mapping[str, Any]) -> bool:
        index, kind = record["i"], record["t"]
        if kind == "intent":
            before = _bytes(record["b"])
            earlier = self.entries.get(index)
            labels = None if earlier is None else earlier.labels
            entry = JournalEntry(bytes.fromhex(record["d"]), before, record["v"], record["k"], labels=labels)
            entry.form, entry.before_form = record.get("f", {}), record.get("g", {})
            entry.parts = {key: (_bytes(old), _bytes(new)) for key, (old, new) in record.get("p", {}).items()}
            self.entries[index] = entry
        elif kind == "labels":
            self.entries[index].labels = record["k"]
        elif kind == "done":
            self.entries[index].done, self.entries[index].version = True, record["v"]
        elif kind in {"source-deleted", "source-kept"}:
            self.entries[index].source_deleted = kind == "source-deleted"
        elif kind in {"undone", "refused"}:
            self.entries.pop(index, None)
        else:
            return False
        return True


def steps_in(file: Path) -> Iterator[tuple[str, int]]:
    """Yield the kind and the item of each line of a journal."""
    with suppress(OSError, ValueError):
        for record in _records(file):
            yield record["t"], record["i"]


def _records(file: Path) -> Iterator[dict[str, Any]]:
    with private.open_lines(file) as lines:
        for first in islice(lines, 1):
            _version(first)
        yield from map(_record, lines)


class _NewerError(ValueError):
    """The journal has a later format."""


def _version(line: bytes, run: str | None = None) -> int | None:
    """Return the version in the first line of a journal; None if it is another line, or that of another run.

    Raises:
        ValueError: it is not JSON, or the journal has a later format.
    """
    try:
        head = json.loads(line)
    except RecursionError:
        raise ValueError("not a line of a journal") from None
    version = head.get("version") if isinstance(head, dict) and head.get("t") == FORMAT else None
    if type(version) is not int or (run is not None and head.get("run") != run):
        return None
    if version > FORMAT_VERSION:
        raise _NewerError(newer_format(version, FORMAT_VERSION))
    return version


def _record(line: bytes) -> dict[str, Any]:
    """Return a line after the first, with its kind in `t` and its item in `i`.

    Raises:
        ValueError: it is torn or damaged.
    """
    try:
        record = json.loads(line)
    except RecursionError:
        record = None
    if isinstance(record, dict) and isinstance(record.get("t"), str):
        index = record.get("i")
        if type(index) is int and index >= 0:
            return record
    raise ValueError("not a line of a journal")


class RunProgress(NamedTuple):
    """How far a run is.

    Attributes:
        done: the number of secrets that the target holds.
        deleted: the number of secrets that were deleted at the source.
        undone: the run was undone, at least in part, and not resumed since.
        wrote: the number of secrets that the run wrote, or may have, even if it was undone; None if that is unknown.
    """

    done: int = 0
    deleted: int = 0
    undone: bool = False
    wrote: int | None = 0


def progress_in(file: Path) -> RunProgress:
    """Return how far the run of a journal is. The file is neither locked nor changed."""
    done: set[int] = set()
    deleted: set[int] = set()
    begun: set[int] = set()
    wrote: set[int] = set()
    undone = broken = False
    try:
        for record in _records(file):
            kind, index = record["t"], record["i"]
            if kind == "done":
                done.add(index)
                wrote |= begun & {index}
            elif kind in {"undone", "refused"}:
                done.discard(index)
                begun -= {index} if kind == "refused" else set()
            elif kind == "source-deleted":
                deleted.add(index)
            elif kind == "source-kept":
                deleted.discard(index)
            # An intent for labels alone leaves the data unchanged.
            elif (kind == "intent" and record["d"] != record["b"]) or (kind == "labels" and record["k"] is not None):
                begun.add(index)
            undone = kind == "undone" or (undone and kind != "intent")
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError):  # opening the journal reports the fault
        broken = True
    return RunProgress(len(done), len(deleted), undone, None if broken else len(wrote | begun))


def _hex(digest: bytes | None) -> str | None:
    return None if digest is None else digest.hex()


def _bytes(digest: str | None) -> bytes | None:
    return None if digest is None else bytes.fromhex(digest)
