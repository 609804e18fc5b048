"""What a run was about to do and what it did: JSON lines on disk before and after each write. No value is in it.

A line is what a secret was and is to be, as digests under this machine's key. `intent` stands there before the write is
sent, `done` after the store said that it holds it, or `refused` where it holds another writer's. Where labels go along,
`labels` stands before they are written, with `done` after it; `source-deleted` stands before a secret is deleted at its
source, and `source-kept` where it was not. So a run that was killed at any point leaves three kinds of secrets: without
an intent, which were not touched; done; and in between, which only the target can tell.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from strongroom.errors import MigrationError
from strongroom.files import private_file
from strongroom.secret import Version

FORMAT = "strongroom-migration-journal"
FORMAT_VERSION = 1


Part: TypeAlias = tuple[bytes | None, bytes | None]
"""The digest of a key before a write and after it; None where there is no such key."""


@dataclass(slots=True)
class Entry:
    """What is known of one secret that a run was about to write.

    Attributes:
        digest: of what was to be written.
        before: of what the target held; None where there was nothing.
        before_version: the version of that, where the target has versions.
        backup: where in the backup that is kept, where it is.
        done: the target said that it holds it.
        version: the version that it made, where the target has versions.
        labels: where in the backup that is kept what the run makes of its labels; None where it wrote none.
        form: the form that the source had it in, which a target without labels cannot keep.
        before_form: the form that the target had it in.
        parts: of each key, where the target writes them one by one: the digests of what it held, and was to hold.
        source_deleted: it was deleted at its source since, or may have been: the target may have the only copy.
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
        """Whether a write that broke off, of the run or of its undoing, left these: the digests of each key."""
        keys = there.keys() | self.parts.keys()
        return bool(self.parts) and all(there.get(key) in self.parts.get(key, ()) for key in keys)


class Journal:
    """The journal of one run. Lines gather until `sync` has them on disk.

    Args:
        file: where it is; it is made where it is not there. A last line that is torn was never on disk for sure, and is
            dropped.
        run: the run's name, which the first line says.

    Attributes:
        entries: what it says of each item, by its place in the plan, as it was when it was opened.

    Raises:
        MigrationError: it cannot be read or written, is of a later format, or of another run.
    """

    def __init__(self, file: Path, run: str) -> None:
        self._file = file
        self._lines: list[str] = []
        self._broken = False
        self.entries: dict[int, Entry] = {}
        try:
            self._descriptor = private_file.open_file(file, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        except OSError as error:
            fault = error.strerror or "it cannot be opened"
        else:
            self._begin(run)
            return
        raise MigrationError(f"{file}: {fault}; nothing was written")

    def close(self) -> None:
        """Closes the file. What was not synced is lost, as after a kill."""
        os.close(self._descriptor)

    def intend(self, index: int, entry: Entry) -> None:
        """The item is about to be written."""
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
        """The item's labels are about to be written; the backup has there what is made of them. None takes it back."""
        self._lines.append(json.dumps({"t": "labels", "i": index, "k": place}))

    def done(self, index: int, version: Version | None) -> None:
        """The target holds the item."""
        self._lines.append(json.dumps({"t": "done", "i": index, "v": version}))

    def refused(self, index: int) -> None:
        """The target did not take the item, since it holds another's: the run has written none."""
        self._lines.append(json.dumps({"t": "refused", "i": index}))

    def undone(self, index: int) -> None:
        """The target holds what it held before the run."""
        self._lines.append(json.dumps({"t": "undone", "i": index}))

    def source_deleted(self, index: int) -> None:
        """The item, which is done, is about to be deleted at its source."""
        self._lines.append(json.dumps({"t": "source-deleted", "i": index}))

    def source_kept(self, index: int) -> None:
        """The source refused to delete the item: it has it as before."""
        self._lines.append(json.dumps({"t": "source-kept", "i": index}))

    def sync(self) -> None:
        """Returns when every line is on disk.

        Raises:
            MigrationError: they cannot be written. What they say is not to be done then.
        """
        if not self._lines:
            return
        fault = "an earlier line could not be written"
        if not self._broken:
            content = "".join(f"{line}\n" for line in self._lines).encode()
            try:
                self._write(content)
            except OSError as error:
                self._broken = True  # half a line may stand at its end now
                fault = error.strerror or "it cannot be written"
            else:
                self._lines.clear()
                return
        raise MigrationError(f"The journal {self._file}: {fault}; no more was written. Make room and resume")

    def _write(self, content: bytes) -> None:
        view = memoryview(content)
        while view:
            view = view[os.write(self._descriptor, view) :]
        os.fsync(self._descriptor)

    # --- reading ------------------------------------------------------------------------------------------------------

    def _begin(self, run: str) -> None:
        with self._file.open("rb") as stream:
            size, number = 0, 0
            for number, line in enumerate(stream, start=1):
                if not line.endswith(b"\n"):
                    break
                self._take(line, number, run)
                size += len(line)
        if size == 0:
            self._lines.append(json.dumps({"t": FORMAT, "version": FORMAT_VERSION, "run": run}))
        os.ftruncate(self._descriptor, size)
        self.sync()
        if size == 0:
            private_file.sync_folder(self._file.parent)

    def _take(self, line: bytes, number: int, run: str) -> None:
        """Takes a line in."""
        try:
            said = json.loads(line)
            known = self._understood(said) if number > 1 else _is_first(said, run)
        except (ValueError, KeyError, TypeError, AttributeError):
            known = False
        if not known:
            raise MigrationError(f"{self._file}, line {number}: it is no line that this release's journal has")

    def _understood(self, said: Mapping[str, Any]) -> bool:
        index, kind = said["i"], said["t"]
        if kind == "intent":
            before = _bytes(said["b"])
            earlier = self.entries.get(index)
            labels = None if earlier is None else earlier.labels
            entry = Entry(bytes.fromhex(said["d"]), before, said["v"], said["k"], labels=labels)
            entry.form, entry.before_form = said.get("f", {}), said.get("g", {})
            entry.parts = {key: (_bytes(old), _bytes(new)) for key, (old, new) in said.get("p", {}).items()}
            self.entries[index] = entry
        elif kind == "labels":
            self.entries[index].labels = said["k"]
        elif kind == "done":
            self.entries[index].done, self.entries[index].version = True, said["v"]
        elif kind in {"source-deleted", "source-kept"}:
            self.entries[index].source_deleted = kind == "source-deleted"
        elif kind in {"undone", "refused"}:
            self.entries.pop(index, None)
        else:
            return False
        return True


def _hex(digest: bytes | None) -> str | None:
    return None if digest is None else digest.hex()


def _bytes(digest: str | None) -> bytes | None:
    return None if digest is None else bytes.fromhex(digest)


def has_written(file: Path) -> bool:
    """Whether the run with this journal wrote something, undone or not, or may have."""
    begun: set[int] = set()
    try:
        with private_file.open_lines(file) as lines:
            for line in islice(lines, 1, None):
                said = json.loads(line)
                index, kind = said["i"], said["t"]
                if kind == "done" and index in begun:
                    return True
                # Where labels are looked at alone, the data are to be what they were.
                if (kind == "intent" and said["d"] != said["b"]) or (kind == "labels" and said["k"] is not None):
                    begun.add(index)
                elif kind == "refused":
                    begun.discard(index)
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError):  # whoever opens it says what is wrong with it
        return True
    return bool(begun)


def steps_in(file: Path) -> Iterator[tuple[str, int]]:
    """The kind of each line of a journal, and the item that it is about."""
    with suppress(OSError, ValueError, KeyError, TypeError), private_file.open_lines(file) as lines:
        for line in islice(lines, 1, None):
            said = json.loads(line)
            yield said["t"], said["i"]


def was_undone(file: Path) -> bool:
    """Whether anything of the run with this journal was undone, and nothing was begun since."""
    undone = False
    for kind, _ in steps_in(file):
        undone = kind == "undone" or (undone and kind != "intent")
    return undone


def _is_first(said: Mapping[str, Any], run: str) -> bool:
    return bool(said["t"] == FORMAT and said["version"] == FORMAT_VERSION and said["run"] == run)
