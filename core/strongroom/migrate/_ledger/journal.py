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
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias, TypeVar

from strongroom.errors import MigrationError, NewerFormatError, StrongroomError, newer_format, shown
from strongroom.files import private
from strongroom.secret import Version

FORMAT = "strongroom-migration-journal"
FORMAT_VERSION = 1

UNKNOWN = ", so what the run wrote is unknown. Restore it from a backup; without one, plan again"
_FIELDS: Mapping[object, frozenset[str]] = {
    "intent": frozenset("dbvk"),
    "labels": frozenset("k"),
    "done": frozenset("v"),
    **dict.fromkeys(("refused", "undone", "source-deleted", "source-kept"), frozenset()),
}
"""The fields that each kind of line has besides its item."""

_T = TypeVar("_T")

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
        file: the file. A torn last line is dropped, as no `sync` completed it.
        run: the run's name, which is in the first line.

    Attributes:
        entries: the entry of each item, by its index in the plan, when the journal was opened.

    Raises:
        MigrationError: it is missing, empty, damaged or of another run, or cannot be written.
        NewerFormatError: it has a later format.
    """

    def __init__(self, file: Path, run: str) -> None:
        self._file = file
        self._lines: list[str] = []
        self._broken = False
        with private.faults_as(MigrationError, file, "; nothing was written"):
            self._descriptor = _existing(file, lambda: private.open_file(file, os.O_RDWR | os.O_APPEND))
        try:
            self.entries = self._load(run)
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

    def _load(self, run: str) -> dict[int, JournalEntry]:
        state = JournalState()
        with self._file.open("rb") as stream:
            state.read(stream, self._file, run)
            os.ftruncate(self._descriptor, stream.tell())
        return state.entries


class JournalState:
    """State of a run after the lines of its journal that were read.

    Attributes:
        entries: the entry of each item whose write was neither refused nor undone, by its index in the plan.
        wrote: the items that the run wrote, or may have, even if it was undone.
        undone: an item was undone, and none begun since.
    """

    def __init__(self) -> None:
        self.entries: dict[int, JournalEntry] = {}
        self.wrote: set[int] = set()
        self.undone = False
        self._confirmed: set[int] = set()

    def read(self, lines: BinaryIO, file: Path, run: str | None = None) -> None:
        """Read the lines of a journal: see `_records` for the errors."""
        for number, record in _records(lines, file, run):
            try:
                self._add(record["t"], record["i"], record)
            except (ValueError, KeyError, TypeError):
                raise _damaged(file, number) from None

    def _add(self, kind: str, index: int, record: Mapping[str, Any]) -> None:
        """Add a line. Raises KeyError if it needs an intent before it."""
        if kind == "intent":
            before = _bytes(record["b"])
            earlier = self.entries.get(index)
            labels = None if earlier is None else earlier.labels
            entry = JournalEntry(bytes.fromhex(record["d"]), before, record["v"], record["k"], labels=labels)
            entry.form, entry.before_form = record.get("f", {}), record.get("g", {})
            entry.parts = {key: (_bytes(old), _bytes(new)) for key, (old, new) in record.get("p", {}).items()}
            self.entries[index] = entry
            self.undone = False
            if entry.digest != before:  # an intent for labels alone leaves the data unchanged
                self.wrote.add(index)
        elif kind == "labels":
            self.entries[index].labels = record["k"]
            if record["k"] is not None:
                self.wrote.add(index)
        elif kind == "done":
            self.entries[index].done, self.entries[index].version = True, record["v"]
            self._confirmed |= self.wrote & {index}
        elif kind in {"source-deleted", "source-kept"}:
            self.entries[index].source_deleted = kind == "source-deleted"
        else:  # undone or refused
            self.entries.pop(index, None)
            self.undone = self.undone or kind == "undone"
            if kind == "refused" and index not in self._confirmed:
                self.wrote.discard(index)


def first_line(run: str) -> bytes:
    """Return the content of a new journal."""
    return json.dumps({"t": FORMAT, "version": FORMAT_VERSION, "run": run}).encode() + b"\n"


def steps_in(file: Path) -> Iterator[tuple[str, int]]:
    """Yield the kind and the item of each line of a journal, up to a damaged one."""
    with suppress(OSError, StrongroomError), private.open_lines(file) as lines:
        for _, record in _records(lines, file):
            yield record["t"], record["i"]


def _existing(file: Path, read: Callable[[], _T]) -> _T:
    """Return the result, or raise MigrationError if the journal is missing: it is created before its run."""
    try:
        return read()
    except FileNotFoundError:
        pass
    raise MigrationError(f"{file}: it is missing{UNKNOWN}")


def _records(lines: BinaryIO, file: Path, run: str | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each line after the first with its number, and leave the stream before a torn last line.

    Raises:
        MigrationError: the journal is empty, damaged, or of another run than this one.
        NewerFormatError: it has a later format.
    """
    end = 0
    for number, line in enumerate(iter(lines.readline, b""), start=1):
        if not line.endswith(b"\n"):
            break
        end += len(line)
        if number == 1:
            _check_head(line, file, run)
        else:
            try:
                record = _record(line)
            except ValueError:
                raise _damaged(file, number) from None
            yield number, record
    if not end:
        raise MigrationError(f"{file}: it is empty{UNKNOWN}")
    lines.seek(end)


def _damaged(file: Path, number: int) -> MigrationError:
    return MigrationError(f"{file}, line {number}: unrecognized journal entry")


def _check_head(line: bytes, file: Path, run: str | None) -> None:
    """Raise an error unless this is the first line of a journal that this release reads; see `_records`."""
    try:
        head = json.loads(line)
    except (ValueError, RecursionError):
        head = None
    if not isinstance(head, dict) or head.get("t") != FORMAT:
        raise _damaged(file, 1)
    version = head.get("version")
    if type(version) is not int or version < 1:
        raise _damaged(file, 1)
    if version > FORMAT_VERSION:
        raise NewerFormatError(f"{file}: {newer_format(version, FORMAT_VERSION)}")
    if run is not None and head.get("run") != run:
        raise MigrationError(f"{file}: it is the journal of another migration, {shown(str(head.get('run')))}")


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
        fields, index = _FIELDS.get(record["t"]), record.get("i")
        if fields is not None and fields <= record.keys() and type(index) is int and index >= 0:
            return record
    raise ValueError("not a line of a journal")


class RunProgress(NamedTuple):
    """How far a run is.

    Attributes:
        done: the number of secrets that the target holds.
        deleted: the number of secrets that were deleted at the source.
        undone: the run was undone, at least in part, and not resumed since.
        wrote: the number of secrets that the run wrote, or may have, even if it was undone; None if that is unknown.
        fault: why the journal cannot be read to its end, or an empty string. The other fields are those up to there.
    """

    done: int = 0
    deleted: int = 0
    undone: bool = False
    wrote: int | None = 0
    fault: str = ""


def progress_in(file: Path, run: str | None = None) -> RunProgress:
    """Return how far the run of a journal is. The file is neither locked nor changed."""
    state, fault = JournalState(), ""
    try:
        with private.faults_as(MigrationError, file), ExitStack() as stack:
            lines = _existing(file, lambda: stack.enter_context(private.open_lines(file)))
            state.read(lines, file, run)
    except (MigrationError, NewerFormatError) as error:
        fault = str(error)
    entries = state.entries.values()
    done, deleted = sum(entry.done for entry in entries), sum(entry.source_deleted for entry in entries)
    return RunProgress(done, deleted, state.undone, None if fault else len(state.wrote), fault)


def _hex(digest: bytes | None) -> str | None:
    return None if digest is None else digest.hex()


def _bytes(digest: str | None) -> bytes | None:
    return None if digest is None else bytes.fromhex(digest)
