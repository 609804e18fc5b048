"""Verification: every change of a log is found, in its line; a removed end is found with a head."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from strongroom.audit_log.log_file import Hasher, Head, LogFile, archives, last_record
from strongroom.audit_log.verification import LogVerification, verify
from support.descriptors import open_descriptors

KEY = bytes(range(32))
TORN = {"event": "log", "outcome": "torn"}
LONG = bool(os.environ.get("TEST_AUDIT_LONG"))


@pytest.fixture(params=[None, KEY], ids=["plain", "keyed"])
def hasher(request: pytest.FixtureRequest) -> Hasher:
    return Hasher(request.param)


@pytest.fixture
def write(tmp_path: Path, hasher: Hasher) -> Callable[..., Path]:
    """Return a function that writes a log with `count` records."""

    def write(count: int, *, max_size: int | None = None) -> Path:
        file = tmp_path / "log.jsonl"
        log = LogFile(file, hasher, max_size=max_size)
        for number in range(count):
            log.append([{"event": "read", "path": f"app/{number}"}], TORN, sync=False)
        return file

    return write


def place(found: LogVerification) -> tuple[int, str]:
    """Return the line of the fault, and its reason."""
    assert found.fault is not None
    return found.fault.line, found.fault.reason


def test_an_intact_log_is_one_chain(write, hasher):
    file = write(4)
    found = verify(file, hasher)
    assert (found.ok, found.records, found.first, found.last.seq) == (True, 4, 1, 4)
    assert found.last == last_record(file, hasher)
    assert verify(file, hasher, [found.last]).ok


def test_each_changed_byte_is_found_in_its_line(write, hasher):
    """The last line feed too. The long form flips each byte in all 255 ways."""
    file = write(3 if LONG else 2)
    content = file.read_bytes()
    for index, byte in enumerate(content):
        line = content.count(b"\n", 0, index) + 1
        for mask in range(1, 256) if LONG else [1 << index % 8]:
            file.write_bytes(content[:index] + bytes([byte ^ mask]) + content[index + 1 :])
            found = verify(file, hasher)
            assert found.fault is not None, (index, mask)
            assert found.fault.line == line, (index, mask)
            assert found.records == line - 1


def test_a_log_that_was_cut_at_any_byte_does_not_have_its_head(write, hasher):
    """Without the head, a cut between two lines is not noticed, and one within a line leaves an unfinished line.

    The short form cuts around the hash at the end of each line.
    """
    file = write(3)
    content, last = file.read_bytes(), last_record(file, hasher)
    ends = [index for index, byte in enumerate(content) if byte == 0x0A]
    near = [end + step for end in ends for step in range(-66, 3)]
    for size in range(len(content) - 1) if LONG else filter(range(len(content) - 1).__contains__, near):
        file.write_bytes(content[:size])
        without, found = verify(file, hasher), verify(file, hasher, [last])
        assert (without.ok, without.unfinished) == (True, len(content[:size].rpartition(b"\n")[2]))
        assert found.fault is not None
        assert "the end was removed" in found.fault.reason


def test_lines_that_are_missing_moved_or_repeated_are_found(write, hasher):
    file = write(5)
    lines = file.read_bytes().splitlines(keepends=True)

    def fault(*order: int) -> tuple[int, str]:
        file.write_bytes(b"".join(lines[number - 1] for number in order))
        return place(verify(file, hasher))

    assert fault(2, 3, 4, 5) == (1, "the log begins at record 2: those before are missing")
    for missing in (2, 3, 4):
        order = [number for number in range(1, 6) if number != missing]
        reason = f"record {missing + 1} follows {missing - 1}: those between are missing"
        assert fault(*order) == (missing, reason)
    for first in (1, 2, 3, 4):
        order = [1, 2, 3, 4, 5]
        order[first - 1], order[first] = order[first], order[first - 1]
        assert fault(*order)[0] == first
        order = sorted([1, 2, 3, 4, 5, first])
        reason = f"record {first} follows {first}: it was moved or repeated"
        assert fault(*order) == (first + 1, reason)
    assert fault(1, 2, 3, 4, 5, 5)[0] == 6


def test_a_line_of_another_log_is_found(write, hasher, tmp_path):
    """It has the right number and the right key, but continues another record."""
    file = write(3)
    lines = file.read_bytes().splitlines(keepends=True)
    other = LogFile(tmp_path / "other.jsonl", hasher)
    for path in ("x", "app/1"):
        other.append([{"event": "read", "path": path}], TORN, sync=False)
    foreign = (tmp_path / "other.jsonl").read_bytes().splitlines(keepends=True)[1]
    file.write_bytes(lines[0] + foreign + lines[2])
    assert place(verify(file, hasher)) == (2, "record 2 continues another record than the line before it")


def test_a_line_without_the_key_is_found(write):
    """A plain chain can be computed again by anybody, one with a key only with it."""
    plain, keyed = Hasher(), Hasher(KEY)
    record = plain.record(Head(0, "0" * 64), {"event": "read"})
    assert keyed.parse(record.line) is None
    assert plain.parse(record.line) == record


@pytest.mark.parametrize("junk", [b"\n", b"x\n", b"{}\n", b"\0" * 100 + b"\n", b"x" * 200_000, b'{"seq":1}\n'])
def test_a_line_that_is_no_record_is_found(write, hasher, junk):
    """At the end, at the beginning and between two lines; only at the end a part of a line may lack its line feed."""
    file = write(2)
    first, second = file.read_bytes().splitlines(keepends=True)
    for line, content in ((3, first + second + junk), (1, junk + first + second), (2, first + junk + second)):
        file.write_bytes(content)
        assert place(verify(file, hasher))[0] == line


def test_the_chain_goes_on_through_archives(write, hasher):
    """A missing archive is found, unless the head of the newest missing one is given."""
    file = write(300, max_size=12_000)
    files = archives(file)
    found = verify(file, hasher)
    assert (found.ok, found.records, found.files) == (True, 300, (*files, file))
    assert len(files) >= 3
    assert all(each.stat().st_size <= 12_000 for each in found.files)
    removed = last_record(files[0], hasher)
    assert files[0].name == f"log.jsonl.{removed.seq:012}"
    files[0].unlink()
    assert place(verify(file, hasher)) == (1, f"the log begins at record {removed.seq + 1}: those before are missing")
    assert verify(file, hasher, [removed, found.last]).ok
    files[1].unlink()
    assert not verify(file, hasher, [removed]).ok


def test_a_file_between_archives_is_required(write, hasher):
    file = write(300, max_size=12_000)
    middle = archives(file)[1]
    middle.unlink()
    assert "those between are missing" in place(verify(file, hasher))[1]


def test_another_head_is_found(write, hasher):
    file = write(3)
    assert place(verify(file, hasher, [Head(2, "0" * 64)])) == (2, "record 2 is another one than the given head")


def test_a_head_excuses_the_records_before_the_first_one_alone(write, hasher):
    file = write(2)
    removed = last_record(file, hasher)
    lines = write(2).read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[2:]))
    assert verify(file, hasher, [removed]).ok
    file.write_bytes(b"".join(lines[:1] + lines[2:]))
    assert place(verify(file, hasher, [removed])) == (2, "record 3 follows 1: those between are missing")


@pytest.mark.parametrize("name", ["missing", "folder", "link", "pipe"])
def test_only_a_regular_file_is_read(write, hasher, tmp_path, name):
    file = write(1)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(file)
    os.mkfifo(tmp_path / "pipe")
    before = open_descriptors()
    with pytest.raises(OSError, match=r"No such|regular|directory|symbolic"):
        verify(tmp_path / name, hasher)
    assert open_descriptors() <= before


def test_removal_of_the_whole_log_is_found_as_the_security_page_says(write, hasher):
    """By the numbers of the process that wrote it and continues; a log of another process needs a noted head."""
    file = write(3)
    writer = LogFile(file, hasher)
    first = last_record(file, hasher)
    writer.append([{"event": "read", "path": "app"}], TORN, sync=False)
    last = last_record(file, hasher)
    file.unlink()
    with pytest.raises(FileNotFoundError):
        verify(file, hasher)
    writer.append([{"event": "read", "path": "app"}], TORN, sync=False)
    assert place(verify(file, hasher)) == (1, "the log begins at record 5: those before are missing")
    assert not verify(file, hasher, [first]).ok
    assert verify(file, hasher, [last]).ok
    file.unlink()
    write(3)
    assert verify(file, hasher).ok
    assert not verify(file, hasher, [last]).ok
