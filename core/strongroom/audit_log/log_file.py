"""The file of an audit log: one line of JSON for each record, in a chain of hashes that many processes continue.

::

    {"seq":7,"time":"…","event":"read",…,"prev":"<hash of record 6>","hash":"<hash of all bytes before this key>"}

The hash is SHA-256, or HMAC-SHA-256 under the key of the log. It covers the line as it is written, not its meaning: two
forms of one JSON document are two lines.

The lock of the file (`flock`) orders its writers. Each append opens the file, so that no descriptor is shared with a
fork's child. A file that would pass its size is renamed to `NAME.LAST`, where LAST is the number of its last record,
and the chain continues in a new file.

A killed writer may leave a line without its line feed. The next writer removes it, since its call got no answer, and
adds a record of the removal. A line that is not a record is damage: no writer repairs it or adds to it.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import hmac
import json
import os
import re
import stat
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self, TypeAlias

from strongroom.files import private
from strongroom.store import remaining

MAX_LINE = 1 << 16
"""The longest line, in bytes, without its line feed. Path and key have 1,024 characters at most."""

_LINE = re.compile(rb'(\{"seq":([1-9][0-9]{0,17}),.*,"prev":"([0-9a-f]{64})"),"hash":"([0-9a-f]{64})"\}', re.ASCII)
_HEAD = re.compile(r"(0|[1-9][0-9]{0,17}):([0-9a-f]{64})")
_LEAST_WAIT, _LONGEST_WAIT = 1.0, 10.0
"""Seconds to wait for another writer: as long as the call has time, within these bounds."""
_NUMBER_LENGTH = 12
"""Digits of the number in the name of an archive."""


class Head(NamedTuple):
    """A place in the chain: the number of a record, and its hash. Its text is `SEQ:HASH`."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the head in a text, or None."""
        found = _HEAD.fullmatch(text.strip())
        return None if found is None else cls(int(found[1]), found[2])


START = Head(0, "0" * 64)
"""The place before the first record."""


class Record(NamedTuple):
    """A record that its hash confirms: the place before it, its own, and its bytes without the line feed."""

    before: Head
    head: Head
    line: bytes


Fields: TypeAlias = Mapping[str, object]
"""The fields of a record, without its place in the chain."""


class Hasher:
    """Makes and checks the lines of a log, whose key is None for a plain chain."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key

    def record(self, before: Head, fields: Fields) -> Record:
        content = {"seq": before.seq + 1, **fields, "prev": before.hash}
        body = json.dumps(content, separators=(",", ":")).encode("ascii")[:-1]
        own = self._digest(body)
        return Record(before, Head(before.seq + 1, own), b'%b,"hash":"%b"}' % (body, own.encode("ascii")))

    def parse(self, line: bytes) -> Record | None:
        """Return the record of a line without its line feed, or None if it is not a record, or was changed."""
        found = _LINE.fullmatch(line) if len(line) <= MAX_LINE else None
        if found is None or not hmac.compare_digest(self._digest(found[1]).encode("ascii"), found[4]):
            return None
        seq = int(found[2])
        return Record(Head(seq - 1, found[3].decode("ascii")), Head(seq, found[4].decode("ascii")), line)

    def _digest(self, content: bytes) -> str:
        if self._key is None:
            return hashlib.sha256(content).hexdigest()
        return hmac.digest(self._key, content, "sha256").hex()


def looks_like_record(line: bytes) -> bool:
    """Return True if a line has the form of a record. Its hash is not checked."""
    return _LINE.fullmatch(line) is not None


def may_be_unfinished(rest: bytes) -> bool:
    """Return True if the bytes after the last line feed can be one line that a killed writer left."""
    found = _LINE.match(rest)
    return len(rest) <= MAX_LINE and (found is None or found.end() == len(rest))


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
        self._known: tuple[int, int, Head] = 0, 0, START
        """Inode, size and last record, as this process left them."""

    def append(self, entries: Sequence[Fields], torn: Fields, *, sync: bool) -> None:
        """Append a record for each entry.

        Args:
            entries: the fields of each record.
            torn: the fields of a record before them, if the file ends in a line without its line feed.
            sync: return when the records are on the disk.

        Raises:
            OSError: they could not be written, the disk is full, or other writers took all the time. Nothing is left
                of them. Or the log is damaged: it does not end in a record, or has lost records of this process.
        """
        deadline = time.monotonic() + max(_LEAST_WAIT, min(remaining(), _LONGEST_WAIT))
        while not self._append(entries, torn, deadline, sync=sync):
            pass  # it was archived: by this writer, or by another one while its lock was awaited

    def _append(self, entries: Sequence[Fields], torn: Fields, deadline: float, *, sync: bool) -> bool:
        """Append the records, or return False if the file was archived."""
        descriptor = _open(self._file)
        try:
            with private.lock(descriptor, deadline - time.monotonic()) as locked:
                if not locked:
                    raise OSError(errno.ETIMEDOUT, "another process holds its lock")
                return _is_named(descriptor, self._file) and self._write(descriptor, entries, torn, sync=sync)
        finally:
            os.close(descriptor)

    def _write(self, descriptor: int, entries: Sequence[Fields], torn: Fields, *, sync: bool) -> bool:
        status = os.fstat(descriptor)
        begin, size = self._end(descriptor, status)
        if lost := status.st_size - size:
            entries = [{**torn, "bytes": lost}, *entries]
            os.ftruncate(descriptor, size)
        last, content = begin, b""
        for fields in entries:
            record = self._hasher.record(last, fields)
            last, content = record.head, content + record.line + b"\n"
        # A removed line is recorded in the file that had it.
        if self._max_size is not None and size and size + len(content) > self._max_size and not lost:
            os.fsync(descriptor)  # a power failure must not leave a gap before the next file
            _archive(self._file, begin)
            return False
        _write_all(descriptor, content, size)
        if sync:
            os.fsync(descriptor)
            if not size:
                private.sync_folder(self._file.parent)
        self._known = status.st_ino, size + len(content), last
        return True

    def _end(self, descriptor: int, status: os.stat_result) -> tuple[Head, int]:
        """Return the last record of the chain, and the size of the file's whole lines."""
        inode, size, known = self._known
        if (inode, size) == (status.st_ino, status.st_size):
            return known, size
        last, size = _end_of(descriptor, self._hasher)
        if not size:  # new, or emptied: the chain continues
            return max([known, *(last_record(file, self._hasher) for file in archives(self._file)[-1:])]), 0
        if last.seq < known.seq or (last.seq == known.seq and last != known):
            reason = f"it ends at record {last.seq:,}, and this process wrote record {known.seq:,}"
            raise _damaged(f"{reason}: it was truncated or replaced")
        return last, size


def archives(file: Path) -> list[Path]:
    """Return the archived files of a log, oldest first."""
    return sorted(file.parent.glob(f"{glob.escape(file.name)}.{'[0-9]' * _NUMBER_LENGTH}"))


def _archive(file: Path, last: Head) -> None:
    archive = file.with_name(f"{file.name}.{last.seq:0{_NUMBER_LENGTH}}")
    if os.path.lexists(archive):
        raise FileExistsError(errno.EEXIST, f"its archive {archive.name} exists already")
    file.rename(archive)


def last_record(file: Path, hasher: Hasher) -> Head:
    """Return the place of the last record of one file.

    Raises:
        OSError: it cannot be read, or does not end in a record.
    """
    with private.open_lines(file) as stream:
        last, _ = _end_of(stream.fileno(), hasher)
    if last == START:
        raise OSError(errno.ENODATA, "it has no record")
    return last


def _end_of(descriptor: int, hasher: Hasher) -> tuple[Head, int]:
    """Return the last record of a file, and the bytes up to and with it.

    Raises:
        OSError: the last whole line is not a record.
    """
    size = os.fstat(descriptor).st_size
    begin = max(0, size - 2 * (MAX_LINE + 1))  # the last record, also if an unfinished line follows
    whole, _, rest = os.pread(descriptor, size - begin, begin).rpartition(b"\n")
    if not may_be_unfinished(rest):
        raise _damaged("its end is not a record, nor the beginning of one; run strongroom audit verify")
    if size == len(rest):
        return START, 0
    last = hasher.parse(whole.rpartition(b"\n")[2])
    if last is None:
        raise _damaged("its last line is not a record under this key; run strongroom audit verify")
    return last.head, size - len(rest)


def _damaged(reason: str) -> OSError:
    return OSError(errno.EINVAL, reason)


def _open(file: Path) -> int:
    """Open the file for appending.

    Raises:
        OSError: it is not a regular file of this user or root, or others may write to it.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK
    try:
        descriptor = private.open_file(file, flags)
    except FileNotFoundError:
        file.parent.mkdir(private.FOLDER_MODE, parents=True, exist_ok=True)
        descriptor = private.open_file(file, flags)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        fault = "it is not a regular file"
    elif status.st_uid not in {os.geteuid(), 0}:
        fault = "it belongs to another user"
    elif status.st_mode & 0o022:
        fault = "others may write to it: run chmod go-w"
    else:
        return descriptor
    os.close(descriptor)
    raise PermissionError(errno.EPERM, fault)


def _is_named(descriptor: int, file: Path) -> bool:
    """Return True if the open file still has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(file))
    except FileNotFoundError:
        return False


def _write_all(descriptor: int, content: bytes, size: int) -> None:
    """Append all of the content, or nothing of it: then the file has its size again."""
    written = 0
    try:
        while written < len(content):  # after a part, the next call tells the reason, such as a full disk
            written += os.write(descriptor, content[written:])
    except BaseException:
        with suppress(OSError):
            os.ftruncate(descriptor, size)
        raise
