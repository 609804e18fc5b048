"""The file of an audit log: records appended by many threads and processes, one after the other.

The lock of the file (`flock`) orders its writers. Each append opens the file, so that no descriptor is shared with a
fork's child. A file that would pass its size is renamed to `NAME.LAST`, where LAST is the number of its last record,
and the chain continues in a new file.

A writer that is killed, or whose disk is full, may leave the beginning of a line without its line feed. The next writer
removes it and adds a record that tells so. A whole line that is not a record is damage, which no writer repairs: it
refuses to go on.
"""

from __future__ import annotations

import errno
import glob
import os
import stat
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from strongroom.audit_log.record import MAX_LINE, START, Hasher, Head, Record
from strongroom.files import private_file
from strongroom.store import is_held_here, reentrant_lock, remaining

_LEAST_WAIT, _LONGEST_WAIT = 1.0, 10.0
"""Seconds to wait for another writer: as long as the call has time, within these bounds."""
_NUMBER_LENGTH = 12
_WINDOW = 2 * (MAX_LINE + 1)
"""Bytes at the end of a file that hold its last record, also if an unfinished line follows."""


class DamagedLogError(OSError):
    """The end of the log is not a record, or lacks records that this process wrote."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EINVAL, reason)


class _End(NamedTuple):
    """The end of a file: its last record, the bytes up to and with it, and whether its line feed is missing."""

    head: Head
    size: int
    unfinished: bool = False


class LogFile:
    """Appends records to one file.

    Args:
        file: its absolute path. It is created with mode 0600, its folder with 0700.
        hasher: the hash of its lines.
        max_size: the size in bytes at which it is archived; None is never.
    """

    def __init__(self, file: Path, hasher: Hasher, *, max_size: int | None = None) -> None:
        self._file = file
        self._hasher = hasher
        self._max_size = max_size
        self._lock = reentrant_lock()
        self._known: tuple[int, int, Head] | None = None
        """Inode, size and last record, as this process left them."""

    def append(self, entries: Sequence[Mapping[str, object]], torn: Mapping[str, object], *, sync: bool) -> Head:
        """Append a record for each entry, and return the place of the last one.

        Args:
            entries: the fields of each record.
            torn: the fields of a record before them, if the file ends in the beginning of a line.
            sync: return when the records are on the disk.

        Raises:
            OSError: they could not be written, the disk is full, or other writers took all the time. Nothing is left
                of them.
            DamagedLogError: the file does not end in a record, or has lost records that this process wrote.
        """
        if is_held_here(self._lock):
            raise OSError(errno.EDEADLK, "a signal handler interrupted the thread that writes a record")
        deadline = time.monotonic() + max(_LEAST_WAIT, min(remaining(), _LONGEST_WAIT))
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise OSError(errno.ETIMEDOUT, "other threads write to it all the time")
        try:
            while True:
                descriptor = _open(self._file)
                try:
                    with private_file.lock(descriptor, deadline - time.monotonic()) as locked:
                        if not locked:
                            raise OSError(errno.ETIMEDOUT, "another process holds its lock")
                        if self._is_current(descriptor):
                            return self._append(descriptor, entries, torn, sync=sync)
                finally:
                    os.close(descriptor)
        finally:
            self._lock.release()

    def _is_current(self, descriptor: int) -> bool:
        """Return False if the file was renamed while its lock was awaited."""
        try:
            return os.path.samestat(os.fstat(descriptor), os.lstat(self._file))
        except FileNotFoundError:
            return False

    def _append(
        self, descriptor: int, entries: Sequence[Mapping[str, object]], torn: Mapping[str, object], *, sync: bool
    ) -> Head:
        status = os.fstat(descriptor)
        end = self._end(descriptor, status)
        lost = status.st_size - end.size
        head, lines = end.head, []
        for fields in [*([{**torn, "bytes": lost}] if lost else []), *entries]:
            record = self._hasher.record(head, fields)
            head = record.head
            lines.append(record.line)
        content = b"\n" * end.unfinished + b"\n".join(lines) + b"\n"
        if lost:
            os.ftruncate(descriptor, end.size)
        if self._max_size is not None and end.size and end.size + len(content) > self._max_size:
            if end.unfinished:
                _write(descriptor, b"\n", end.size)
            status = self._archive(end.head, content.removeprefix(b"\n"))
            self._known = status.st_ino, status.st_size, head
            return head
        _write(descriptor, content, end.size)
        if sync:
            os.fsync(descriptor)
            if not end.size:
                private_file.sync_folder(self._file.parent)
        self._known = status.st_ino, end.size + len(content), head
        return head

    def _end(self, descriptor: int, status: os.stat_result) -> _End:
        if self._known is not None and self._known[:2] == (status.st_ino, status.st_size):
            return _End(self._known[2], status.st_size)
        known = self._known[2] if self._known is not None else START
        end = end_of(descriptor, self._hasher)
        if end.head == START and not end.size:
            return end._replace(head=max(known, self._last_archived()))
        if end.head.seq < known.seq or (end.head.seq == known.seq and end.head != known):
            reason = f"it ends at record {end.head.seq:,}, and this process wrote record {known.seq:,}"
            raise DamagedLogError(f"{reason}: it was truncated or replaced")
        return end

    def _last_archived(self) -> Head:
        """Return the last record of the newest archive."""
        for file in reversed(archives(self._file)):
            with private_file.open_lines(file) as stream:
                return end_of(stream.fileno(), self._hasher).head
        return START

    def _archive(self, last: Head, content: bytes) -> os.stat_result:
        """Rename the file after its last record, and begin another with this content."""
        archive = self._file.with_name(f"{self._file.name}.{last.seq:0{_NUMBER_LENGTH}}")
        try:
            os.link(self._file, archive, follow_symlinks=False)
        except FileExistsError:  # a process was killed between the two names
            if not archive.samefile(self._file):
                raise
        try:
            return private_file.replace(self._file, content)
        except BaseException:
            with suppress(OSError):
                archive.unlink()
            raise


def archives(file: Path) -> list[Path]:
    """Return the archived files of a log, oldest first, without one that is the file itself under its next name."""
    found: dict[tuple[int, int], Path] = {}
    for other in sorted(file.parent.glob(f"{glob.escape(file.name)}.{'[0-9]' * _NUMBER_LENGTH}*")):
        if other.name.removeprefix(f"{file.name}.").isdecimal():
            status = other.lstat()
            found[status.st_dev, status.st_ino] = other
    with suppress(FileNotFoundError):
        status = file.lstat()
        found.pop((status.st_dev, status.st_ino), None)
    return sorted(found.values(), key=lambda other: int(other.name.rpartition(".")[2]))


def end_of(descriptor: int, hasher: Hasher) -> _End:
    """Return the end of a file.

    Raises:
        DamagedLogError: its last whole line is not a record.
    """
    size = os.fstat(descriptor).st_size
    begin = max(0, size - _WINDOW)
    content = os.pread(descriptor, size - begin, begin)
    whole, _, rest = content.rpartition(b"\n")
    end = size - len(rest)
    if rest and (record := hasher.parse(rest)) is not None:
        return _End(record.head, size, unfinished=True)
    if len(rest) > MAX_LINE or (rest and hasher.begins_with_record(rest)):
        raise DamagedLogError("its end is not a record, nor the beginning of one; run strongroom audit verify")
    if not end:
        return _End(START, 0)
    last: Record | None = hasher.parse(whole.rpartition(b"\n")[2])
    if last is None:
        raise DamagedLogError("its last line is not a record under this key; run strongroom audit verify")
    return _End(last.head, end)


def _open(file: Path) -> int:
    """Open the file for appending.

    Raises:
        OSError: it is not a regular file of this user or root, or others may write to it.
    """
    try:
        descriptor = private_file.open_file(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK)
    except FileNotFoundError:
        file.parent.mkdir(private_file.FOLDER_MODE, parents=True, exist_ok=True)
        descriptor = private_file.open_file(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    fault = ""
    if not stat.S_ISREG(status.st_mode):
        fault = "it is not a regular file"
    elif status.st_uid not in {os.geteuid(), 0}:
        fault = "it belongs to another user"
    elif status.st_mode & 0o022:
        fault = "others may write to it: run chmod go-w"
    if fault:
        os.close(descriptor)
        raise PermissionError(errno.EPERM, fault)
    return descriptor


def _write(descriptor: int, content: bytes, size: int) -> None:
    """Append all of the content, or nothing of it: then the file has its size again."""
    written = 0
    try:
        while written < len(content):  # after a part, the next call tells the reason, such as a full disk
            written += os.write(descriptor, content[written:])
    except BaseException:
        with suppress(OSError):
            os.ftruncate(descriptor, size)
        raise
