"""The file of an audit log: interrupted lines, full disks, threads, processes and forks."""

from __future__ import annotations

import json
import os
import resource
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from strongroom.audit_log.log_file import Hasher, LogFile, archives
from strongroom.audit_log.verification import verify

ENTRY = {"event": "read", "path": "app"}
TORN = {"event": "log", "outcome": "torn"}
HASHER = Hasher(bytes(32))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "log.jsonl"


def log(file: Path, **options: int) -> LogFile:
    """Return the log as a process that starts opens it."""
    return LogFile(file, HASHER, **options)


def append(writer: LogFile, count: int = 1) -> None:
    for _ in range(count):
        writer.append([ENTRY], TORN, sync=False)


def test_the_file_is_private(file):
    mask = os.umask(0)
    try:
        append(log(file))
    finally:
        os.umask(mask)
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_line_that_was_cut_is_replaced_by_a_record_of_it(file):
    """At each byte of the last line, also if its line feed alone is missing; the line before is the last one then."""
    append(log(file), 2)
    content = file.read_bytes()
    begin = content.index(b"\n") + 1
    for size in (begin + 1, begin + 40, len(content) - 70, len(content) - 2, len(content) - 1):
        file.write_bytes(content[:size])
        append(log(file))
        found = verify(file, HASHER)
        assert (found.ok, found.records, found.repaired) == (True, 3, (2,))
        assert json.loads(file.read_bytes().splitlines()[1])["bytes"] == size - begin


def test_the_first_line_may_be_cut_too(file):
    append(log(file))
    file.write_bytes(file.read_bytes()[:30])
    append(log(file))
    found = verify(file, HASHER)
    assert (found.ok, found.records, found.repaired) == (True, 2, (1,))


def test_a_file_of_zeros_after_a_power_failure_is_repaired(file):
    append(log(file))
    with file.open("ab") as stream:
        stream.write(bytes(500))
    append(log(file))
    assert verify(file, HASHER).repaired == (2,)


@pytest.mark.parametrize("junk", [b"x\n", b"\n", b"{}\n", b"\0" * 100_000, None])
def test_a_damaged_end_is_refused_and_left_as_it_is(file, junk):
    """It may be evidence. None: the last line feed is another byte."""
    append(log(file), 2)
    content = file.read_bytes()
    damaged = content[:-1] + b"x" if junk is None else content + junk
    file.write_bytes(damaged)
    with pytest.raises(OSError, match="strongroom audit verify"):
        append(log(file))
    assert file.read_bytes() == damaged


def test_a_key_that_is_not_that_of_the_log_is_refused(file):
    append(log(file))
    with pytest.raises(OSError, match="under this key"):
        append(LogFile(file, Hasher()))


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_process_notices_that_its_records_are_gone(file, kept):
    """It continues an emptied file with its number, so that `verify` finds the gap."""
    writer = log(file)
    append(writer, 3)
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:kept]))
    if kept:
        with pytest.raises(OSError, match=f"ends at record {kept}, and this process wrote record 3"):
            append(writer)
    else:
        append(writer)
        assert "begins at record 4" in str(verify(file, HASHER).fault)


def test_a_replaced_log_is_noticed(file, tmp_path):
    """It has as many records, or more: then they continue others."""
    writer = log(file)
    append(writer, 2)
    other = tmp_path / "other.jsonl"
    append(LogFile(other, HASHER), 1)
    LogFile(other, HASHER).append([{"event": "read", "path": "x"}], TORN, sync=False)
    other.replace(file)
    with pytest.raises(OSError, match="truncated or replaced"):
        append(writer)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond this size: a write ends in a part, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_nothing_of_a_record(file):
    writer = log(file)
    append(writer, 2)
    before = file.read_bytes()
    for room in (0, 1, 100):
        with largest_file(len(before) + room), pytest.raises(OSError, match="File too large"):
            append(writer)
        assert file.read_bytes() == before
    append(writer)
    assert verify(file, HASHER).records == 3


def almost_full(file: Path) -> LogFile:
    """Return a writer that archives the file with its next record."""
    writer = log(file, max_size=2_000)
    append(writer)
    while file.stat().st_size < 1_800:
        append(writer)
    return writer


def test_a_disk_that_is_full_after_an_archive_loses_no_record(file):
    """The archive is made, and the next append continues its chain."""
    writer = almost_full(file)
    before = file.read_bytes()
    with largest_file(10), pytest.raises(OSError, match="File too large"):
        append(writer)
    [archive] = archives(file)
    assert (archive.read_bytes(), file.read_bytes()) == (before, b"")
    append(writer)
    assert verify(file, HASHER).ok


def test_a_crash_after_an_archive_is_continued(file):
    """The log verifies without its current file, and the next process creates it."""
    almost_full(file)
    records = verify(file, HASHER).records
    file.rename(file.with_name(f"log.jsonl.{records:012}"))
    assert verify(file, HASHER).records == records
    append(log(file, max_size=2_000))
    found = verify(file, HASHER)
    assert (found.ok, found.records, len(found.files)) == (True, records + 1, 2)


def test_an_archive_is_never_overwritten(file):
    writer = almost_full(file)
    records = verify(file, HASHER).records
    other = file.with_name(f"log.jsonl.{records:012}")
    other.write_bytes(b"evidence")
    with pytest.raises(OSError, match=r"log\.jsonl\.\d{12} exists already"):
        append(writer)
    assert other.read_bytes() == b"evidence"


def test_a_line_that_was_cut_in_a_full_file_is_replaced_there(file):
    """The file is archived with the record after it."""
    almost_full(file)
    records = verify(file, HASHER).records
    with file.open("ab") as stream:
        stream.write(b'{"seq"')
    writer = log(file, max_size=2_000)
    append(writer, 2)
    found = verify(file, HASHER)
    assert (found.ok, found.repaired, found.records, len(found.files)) == (True, (records + 1,), records + 3, 2)


def test_the_chain_goes_on_after_the_archives_without_the_file(file):
    writer = log(file, max_size=2_000)
    append(writer, 12)
    append(writer, 12)
    file.unlink()
    append(log(file))
    assert verify(file, HASHER).ok


@pytest.mark.parametrize("fault", ["link", "folder", "pipe", "wide"])
def test_a_file_that_is_not_safe_is_refused(file, fault):
    file.parent.mkdir()
    other = file.with_name("other")
    other.touch(0o600)
    match fault:
        case "link":
            file.symlink_to(other)
        case "folder":
            file.mkdir()
        case "pipe":
            os.mkfifo(file, 0o600)
        case _:
            file.touch()
            file.chmod(0o620)
    with pytest.raises(OSError, match=r"symbolic|directory|regular|device|chmod go-w"):
        append(log(file))
    assert other.read_bytes() == b""


def test_a_file_that_is_archived_while_its_lock_is_awaited_is_opened_again(file, monkeypatch):
    from strongroom.audit_log import log_file

    writer, opened = log(file, max_size=2_000), log_file._open  # no public call ends between opening and locking
    append(writer)

    def open_early(name: Path) -> int:
        descriptor = opened(name)
        monkeypatch.setattr(log_file, "_open", opened)
        while not archives(file):
            append(writer)
        return descriptor

    monkeypatch.setattr(log_file, "_open", open_early)
    append(log(file))
    assert verify(file, HASHER).ok
    assert len(file.read_bytes().splitlines()) == 2


def test_threads_and_writers_take_turns(file):
    """Two objects are two processes: neither knows the other's last record. Archives come between."""
    writers = [log(file, max_size=20_000), log(file, max_size=20_000)]
    begin = threading.Barrier(8)

    def work(number: int) -> None:
        begin.wait(30)
        append(writers[number % 2], 25)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    found = verify(file, HASHER)
    assert (found.ok, found.records, len(found.files) > 1) == (True, 200, True)


def test_the_child_of_a_fork_writes_too(file):
    writer = log(file)
    append(writer)
    child = os.fork()
    if not child:
        try:
            append(writer, 3)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    append(writer)
    assert verify(file, HASHER).records == 5


def test_a_lock_that_is_held_is_an_error_in_time(file, monkeypatch):
    """By a process that was stopped, for example."""
    import fcntl

    from strongroom.audit_log import log_file

    append(log(file))
    monkeypatch.setattr(log_file, "_LEAST_WAIT", 0.0)
    monkeypatch.setattr(log_file, "_LONGEST_WAIT", 0.0)
    with file.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="another process holds its lock"):
            append(log(file))
