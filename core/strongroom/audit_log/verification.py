"""Verification of an audit log: the first line that breaks the chain, and why."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from strongroom.audit_log.log_file import (
    MAX_LINE,
    START,
    Hasher,
    Head,
    Record,
    archives,
    looks_like_record,
    may_be_unfinished,
)
from strongroom.files import private

_OTHER_HASH = "it was changed, or written under another key"


class BrokenLine(NamedTuple):
    """The first line that breaks the chain; line 0 is the whole log."""

    file: Path
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}" if self.line else f"{self.file}: {self.reason}"


@dataclass
class LogVerification:
    """The result of `verify`.

    Attributes:
        files: the files of the log, oldest first.
        records: the number of intact records before the fault.
        first: the number of the first one.
        last: the place of the last one.
        fault: the first break of the chain, or None.
        unfinished: bytes of a last line without its line feed: its writer was killed. The next one removes them.
        repaired: the numbers of the records that tell of such bytes.
        lost: the number of records that could not be written, as later ones tell.
    """

    files: tuple[Path, ...]
    records: int = 0
    first: int = 0
    last: Head = START
    fault: BrokenLine | None = None
    unfinished: int = 0
    repaired: tuple[int, ...] = ()
    lost: int = 0

    @property
    def ok(self) -> bool:
        return self.fault is None

    def add(self, record: Record) -> None:
        """Count a record that continues the chain."""
        self.first = self.first or record.head.seq
        self.last = record.head
        self.records += 1
        if b'"event":"log"' in record.line:
            fields = json.loads(record.line)
            if fields.get("outcome") == "torn":
                self.repaired += (record.head.seq,)
            elif fields.get("outcome") == "gap":
                self.lost += int(fields.get("lost", 0))


def verify(file: Path, hasher: Hasher, heads: Iterable[Head] = ()) -> LogVerification:
    """Return whether the records of a log, from its archives on, are one chain.

    Args:
        file: the current file of the log.
        hasher: the hash of its lines.
        heads: places that were noted elsewhere, which the log must have. The one before its first record excuses the
            records up to it. Without one, records that were removed at the end are not noticed.

    Raises:
        OSError: a file cannot be read.
    """
    given = {head.seq: head for head in heads}
    files = archives(file)
    if not files or os.path.lexists(file):  # a writer that was killed after archiving it has left no file
        files.append(file)
    found = LogVerification(tuple(files))
    for each in found.files:
        found.fault = _read(each, found, hasher, given)
        if found.fault is not None:
            return found
    newest = max(given.values(), default=START)
    if newest.seq > found.last.seq:
        reason = f"the log ends at record {found.last.seq:,}, and the given head is record {newest.seq:,}"
        found.fault = BrokenLine(file, 0, f"{reason}: the end was removed")
    return found


def _read(file: Path, found: LogVerification, hasher: Hasher, given: Mapping[int, Head]) -> BrokenLine | None:
    """Add the records of one file. Return its first line that does not continue the chain."""
    is_last = file == found.files[-1]
    with private.open_lines(file) as stream:
        # A line that is too long is cut, and refused as one without its end.
        for number, line in enumerate(iter(partial(stream.readline, MAX_LINE + 2), b""), 1):
            record = hasher.parse(line[:-1]) if line.endswith(b"\n") else None
            if record is not None:
                if reason := _misplaced(record, found, given):
                    return BrokenLine(file, number, reason)
                found.add(record)
            elif line.endswith(b"\n"):
                about = _OTHER_HASH if looks_like_record(line[:-1]) else "it is not a record"
                return BrokenLine(file, number, f"{about}, where record {found.last.seq + 1:,} is expected")
            elif is_last and may_be_unfinished(line):
                found.unfinished = len(line)
            else:
                return BrokenLine(file, number, "something else follows the last record")
    return None


def _misplaced(record: Record, found: LogVerification, given: Mapping[int, Head]) -> str:
    """Return why a record does not follow the last one, or an empty string."""
    seq, last = record.head.seq, found.last
    starts = not found.records and given.get(record.before.seq) == record.before
    if record.before == last or starts:
        is_other = given.get(seq, record.head) != record.head
        return f"record {seq:,} is another one than the given head" if is_other else ""
    if not found.records:
        return f"the log begins at record {seq:,}: those before are missing"
    if seq == last.seq + 1:
        return f"record {seq:,} continues another record than the line before it"
    fault = "those between are missing" if seq > last.seq else "it was moved or repeated"
    return f"record {seq:,} follows {last.seq:,}: {fault}"
