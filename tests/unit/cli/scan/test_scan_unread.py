"""`strongroom scan` names what it could not read to its end, with exit code 8, and searches the rest."""

import bz2
import gzip
import io
import json
import lzma
import random
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from strongroom._cli.scan import search
from strongroom._cli.scan.allowance import Allowance
from strongroom._redaction.fingerprints import Fingerprints

VALUE = b"canary-real-value-77"
NOISE = random.Random(7).randbytes(90_000).hex().encode()


def found(content: bytes, *, seekable: bool = True) -> tuple[set[str], list[str]]:
    """Return the places of leaks in a file x, and what was not searched to its end."""
    known = Fingerprints(binary=True)
    known.add(VALUE, "a#b")
    allowed = Allowance()
    raw: Any = io.BytesIO(content) if seekable else Pipe(content)
    places = {leak.place for leak in search.search_input(known, io.BufferedReader(raw), "x", allowed)}
    return places, allowed.unread


class Pipe(io.RawIOBase):
    """A stream that cannot go back."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        return self._content.readinto(buffer)


def zipped(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def with_first_member(archive: bytes, *, flags: int = 0, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip whose first member has these flags and this method, in its header and in the index."""
    changed, index = bytearray(archive), archive.index(b"PK\1\2")
    for start in (6, index + 8):
        struct.pack_into("<HH", changed, start, flags, method)
    return bytes(changed)


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, lambda content: bz2.compress(content, 1)])
@pytest.mark.parametrize("seekable", [True, False])
def test_a_compressed_file_that_is_cut_is_named_and_searched_up_to_the_cut(compress, seekable):
    packed = compress(NOISE[:9_000] + VALUE + NOISE * 2)
    assert found(packed, seekable=seekable) == ({"x!"}, [])
    assert found(packed[: len(packed) // 2], seekable=seekable) == ({"x!"}, ["x"])


def test_text_behind_a_compressed_file_is_searched():
    """Decompressors stop before it, without a word."""
    for compress in (gzip.compress, bz2.compress, lzma.compress):
        assert "x" in found(compress(b"nothing") + b"\n" + VALUE)[0]


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, bz2.compress])
@pytest.mark.parametrize("seekable", [True, False])
def test_compressed_files_that_stand_one_after_another_are_searched(compress, seekable):
    assert found(compress(b"nothing") + compress(b"q" * 99 + VALUE), seekable=seekable) == ({"x!"}, [])


def test_a_tar_that_is_cut_is_named_with_the_member_that_is_cut():
    content = tarred(one=VALUE, two=NOISE, three=b"nothing")
    assert found(content[:20_000]) == ({"x", "x!one"}, ["x!two", "x"])
    packed = gzip.compress(content)
    places, unread = found(packed[: len(packed) // 2])
    assert "x!one" in places
    assert unread[0] == "x"


def test_a_tar_without_an_end_or_with_a_damaged_header_is_named():
    """`tarfile` takes both for the end of the archive."""
    content = tarred(one=b"nothing", two=VALUE)
    assert found(content)[1] == []
    assert found(content.rstrip(b"\0"))[1] == ["x"]
    damaged = bytearray(content)
    damaged[1024 + 150] ^= 0x55
    assert found(bytes(damaged)) == ({"x"}, ["x"])


def test_tars_that_stand_one_after_another_are_searched():
    assert found(tarred(one=b"nothing") + tarred(two=gzip.compress(VALUE))) == ({"x!two!"}, [])


@pytest.mark.parametrize("change", [{"flags": 1}, {"method": 93}], ids=["encrypted", "zstd"])
def test_a_member_that_cannot_be_opened_hides_no_later_one(change):
    archive = zipped(first=NOISE[:500], later=b"q" * 99 + VALUE)
    assert found(archive) == ({"x!later"}, [])
    assert found(with_first_member(archive, **change)) == ({"x!later"}, ["x!first"])


def test_a_damaged_member_hides_no_later_one():
    archive = bytearray(zipped(first=NOISE[:5_000], later=b"q" * 99 + VALUE))
    archive[1_000] ^= 0xFF
    assert found(bytes(archive)) == ({"x!later"}, ["x!first"])


def test_a_member_with_a_wrong_checksum_is_searched_all_the_same():
    archive = bytearray(zipped(first=b"q" * 99 + VALUE))
    archive[archive.index(b"PK\1\2") + 16] ^= 0xFF
    assert found(bytes(archive)) == ({"x!first"}, ["x!first"])


@pytest.mark.parametrize("seekable", [True, False])
def test_a_zip_without_an_index_is_named_and_its_members_are_searched(seekable):
    archive = zipped(first=NOISE[:500], later=b"q" * 99 + VALUE)
    cut = archive[: archive.index(b"PK\1\2")]
    assert found(cut, seekable=seekable) == ({"x!later"}, ["x"])
    assert found(gzip.compress(tarred(jar=cut))) == ({"x!jar!later"}, ["x!jar"])


def test_an_archive_in_a_zip_without_an_index_is_searched_and_hides_no_later_member():
    secret = b"q" * 99 + VALUE
    damaged = gzip.compress(NOISE[:5_000])[:-9]
    archive = zipped(tar=tarred(one=gzip.compress(secret)), damaged=damaged, later=secret)
    assert found(archive[: archive.index(b"PK\1\2")]) == ({"x!tar!one!", "x!later"}, ["x", "x!damaged"])


def test_a_zip_within_a_member_is_listed_and_the_mark_alone_is_no_member():
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:
        for name in ("inner", "later"):
            archive.writestr(name, zipped(one=b"q" * 99 + VALUE))
    assert found(stored.getvalue()) == ({"x!inner!one", "x!later!one"}, [])
    assert found(b"#!/bin/sh\n" + b"PK\3\4" * 2 + bytes(40) + zipped(one=NOISE[:500])) == (set(), [])


def test_a_zip_behind_a_program_is_searched():
    """Such as a zipapp, or an archive that extracts itself."""
    archive = zipped(later=b"q" * 99 + VALUE)
    assert found(b"#!/usr/bin/env python3\n" + archive) == ({"x!later"}, [])


def test_a_file_that_only_mentions_the_end_of_a_zip_is_no_archive():
    """As the compiled module `zipfile` does."""
    assert found(b"\0" * 50 + b"PK\5\6" + b"\0" * 50) == (set(), [])


@pytest.mark.parametrize(
    "start", [b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07\1\0", b"\x04\x22\x4d\x18"]
)
def test_a_format_that_cannot_be_expanded_is_named(start):
    assert found(start + NOISE[:100]) == (set(), ["x"])


def test_archives_that_are_nested_too_deeply_are_named():
    content = b"q" * 99 + VALUE
    for _ in range(5):
        content = gzip.compress(content)
    assert found(content) == (set(), ["x"])


CONFIGURATION = f'chain = ["memory"]\n[stores.memory.secrets."db/main"]\npassword = "{VALUE.decode()}"\n'


def test_unread_files_are_named_with_what_to_do_and_exit_code_8(command):
    Path("strongroom.toml").write_text(CONFIGURATION, "utf-8")
    Path("tree").mkdir()
    Path("tree/cut.gz").write_bytes(gzip.compress(NOISE)[:-20])
    Path("tree/zz").write_bytes(b"nothing")
    done = command("scan", "--json", "tree")
    assert (done.code, json.loads(done.out)["unread"]) == (8, ["tree/cut.gz"])
    assert "Not searched to the end: tree/cut.gz. It is damaged, encrypted or compressed in an unknown way." in done.err
    Path("tree/zz").write_bytes(VALUE)
    assert command("scan", "tree").code == 10


def test_each_unread_file_has_a_line(command):
    Path("strongroom.toml").write_text(CONFIGURATION, "utf-8")
    Path("tree").mkdir()
    cut = gzip.compress(NOISE[:500])[:-9]
    names = [f"tree/c{number}.gz" for number in range(7)]
    for name in names:
        Path(name).write_bytes(cut)
    done = command("scan", "tree")
    assert done.code == 8
    lines = [line for line in done.err.splitlines() if "Not searched" in line]
    assert [line.split(": ")[2].partition(". ")[0] for line in lines] == names


def test_a_file_that_this_user_may_not_read_is_named_and_the_others_are_searched(command, monkeypatch):
    """The system's answer is a stand-in: root reads every file."""
    Path("strongroom.toml").write_text(CONFIGURATION, "utf-8")
    for name in ("tree/closed", "tree/open"):
        Path(name).mkdir(parents=True)
    Path("tree/a").write_bytes(b"nothing")
    Path("tree/open/b").write_bytes(VALUE)
    for method, name in (("open", "a"), ("iterdir", "closed")):
        monkeypatch.setattr(Path, method, refusing(getattr(Path, method), name))
    done = command("scan", "--json", "tree")
    assert done.code == 10
    assert json.loads(done.out)["unread"] == ["tree/a", "tree/closed"]
    for name in ("a", "closed"):
        assert f"Not searched to the end: tree/{name}. It cannot be read." in done.err


def refusing(method, name: str):
    def refuse(path: Path, *arguments, **options):
        if path.name == name:
            raise PermissionError
        return method(path, *arguments, **options)

    return refuse


def test_an_archive_on_stdin_is_searched(command):
    Path("strongroom.toml").write_text(CONFIGURATION, "utf-8")
    done = command("scan", "--json", "--stdin", piped=gzip.compress(b"q" * 99 + VALUE))
    assert (done.code, [leak["place"] for leak in json.loads(done.out)["leaks"]]) == (10, ["stdin!"])
