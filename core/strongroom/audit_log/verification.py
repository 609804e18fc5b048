"""Verification of an audit log: the first line that breaks the chain, and why."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from strongroom.audit_log.log_file import archives, end_of
from strongroom.audit_log.record import MAX_LINE, START, Hasher, Head, Record, looks_like_record
from strongroom.files import private_file

_OTHER_HASH = "it was changed, or written under another key"


class Fault(NamedTuple):
    """The first line that breaks the chain; line 0 is the whole log."""

    file: Path
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}" if self.line else f"{self.file}: {self.reason}"


@dataclass(frozen=True)
class Verification:
    """The result of `verify`.

    Attributes:
        files: the files of the log, oldest first.
        records: the number of intact records before the fault.
        first: the number of the first one.
        last: the place of the last one.
        fault: the first break of the chain, or None.
        unfinished: bytes after the last line: a writer was killed in the middle of a line. The next one removes them.
        repaired: the numbers of the records that tell of such bytes.
        lost: the number of records that could not be written, as later ones tell.
    """

    files: tuple[Path, ...]
    records: int
    first: int
    last: Head
    fault: Fault | None
    unfinished: int
    repaired: tuple[int, ...]
    lost: int

    @property
    def ok(self) -> bool:
        """The chain is not broken."""
        return self.fault is None


class _Broken(Exception):  # noqa: N818  # the end of a walk, not an error
    def __init__(self, file: Path, line: int, reason: str) -> None:
        super().__init__(reason)
        self.fault = Fault(file, line, reason)


class _Chain:
    """The state of a walk through the lines of a log.

    Args:
        heads: places that the log must have. The one before the first record excuses the records up to it.
    """

    def __init__(self, hasher: Hasher, heads: Sequence[Head]) -> None:
        self._hasher = hasher
        self._heads = {head.seq: head for head in heads}
        self._starts = {START, *heads}
        self.records = 0
        self.first = 0
        self.last = START
        self.lost = 0
        self.repaired: list[int] = []
        self.unfinished = 0

    def read(self, file: Path, *, is_last: bool) -> None:
        """Check the lines of one file.

        Raises:
            _Broken: at the first line that does not continue the chain.
        """
        number = 0
        with private_file.open_lines(file) as stream:
            # A line that is too long is cut, and refused as one without its end.
            for line in iter(partial(stream.readline, MAX_LINE + 2), b""):
                number += 1
                if not line.endswith(b"\n"):
                    self._end(file, number, line, is_last=is_last)
                    return
                self._take(file, number, line[:-1])
        if not number and not is_last:
            raise _Broken(file, 0, "it is empty")

    def _end(self, file: Path, number: int, rest: bytes, *, is_last: bool) -> None:
        """Check the bytes after the last line feed: a record, or the beginning of one."""
        if self._hasher.parse(rest) is not None:
            self._take(file, number, rest)
            self.unfinished = 0
        elif not is_last or len(rest) > MAX_LINE or self._hasher.begins_with_record(rest):
            raise _Broken(file, number, "something else follows the last record")
        else:
            self.unfinished = len(rest)

    def _take(self, file: Path, number: int, line: bytes) -> None:
        record = self._hasher.parse(line)
        if record is None:
            about = _OTHER_HASH if looks_like_record(line) else "it is not a record"
            raise _Broken(file, number, f"{about}, where record {self.last.seq + 1:,} is expected")
        self._check_order(file, number, record)
        wanted = self._heads.get(record.head.seq)
        if wanted is not None and wanted != record.head:
            raise _Broken(file, number, f"record {record.head.seq:,} is another one than the given head")
        self.first = self.first or record.head.seq
        self.last = record.head
        self.records += 1
        if b'"event":"log"' in line:
            fields = record.fields()
            if fields.get("outcome") == "torn":
                self.repaired.append(record.head.seq)
            elif fields.get("outcome") == "gap":
                self.lost += int(fields.get("lost", 0))

    def _check_order(self, file: Path, number: int, record: Record) -> None:
        if not self.records:
            start = Head(record.head.seq - 1, record.before)
            if start in self._starts:
                return
            raise _Broken(file, number, f"the log begins at record {record.head.seq:,}: those before are missing")
        if record.follows(self.last):
            return
        seq, expected = record.head.seq, self.last.seq + 1
        if seq > expected:
            reason = f"record {seq:,} follows {self.last.seq:,}: those between are missing"
        elif seq < expected:
            reason = f"record {seq:,} follows {self.last.seq:,}: it was moved or repeated"
        else:
            reason = f"record {seq:,} continues another record than the line before it"
        raise _Broken(file, number, reason)

    def check_heads(self, file: Path) -> None:
        """Refuse a log that ends before a given head."""
        last = max(self._heads.values(), default=START)
        if last.seq > self.last.seq:
            reason = f"the log ends at record {self.last.seq:,}, and the given head is record {last.seq:,}"
            raise _Broken(file, 0, f"{reason}: the end was removed")


def verify(file: Path, hasher: Hasher, heads: Iterable[Head] = ()) -> Verification:
    """Return whether the records of a log, from its archives on, are one chain.

    Args:
        file: the current file of the log.
        hasher: the hash of its lines.
        heads: places that were noted elsewhere. Without one, records that were removed at the end are not noticed.

    Raises:
        OSError: a file cannot be read.
    """
    chain, fault = _Chain(hasher, list(heads)), None
    files = [*archives(file), file]
    try:
        for each in files:
            chain.read(each, is_last=each == file)
        chain.check_heads(file)
    except _Broken as broken:
        fault = broken.fault
    return Verification(
        tuple(files),
        chain.records,
        chain.first,
        chain.last,
        fault,
        chain.unfinished,
        tuple(chain.repaired),
        chain.lost,
    )


def head(file: Path, hasher: Hasher) -> Head:
    """Return the place of the last record of one file.

    Raises:
        DamagedLogError: the file does not end in a record.
        OSError: it cannot be read, or has no record.
    """
    with private_file.open_lines(file) as stream:
        found = end_of(stream.fileno(), hasher).head
    if found == START:
        raise OSError(errno.ENODATA, "it has no record")
    return found
