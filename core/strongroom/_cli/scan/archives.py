"""The contents of archives and compressed files, each as a stream. What cannot be read is noted in the allowance."""

from __future__ import annotations

import bz2
import copy
import gzip
import io
import lzma
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from tempfile import SpooledTemporaryFile
from typing import IO, TypeAlias, cast

from strongroom._cli.scan.allowance import DAMAGE, Allowance, Expanded, Stream

Expand: TypeAlias = "Callable[[Stream, str, Allowance], Iterator[tuple[str, io.BufferedReader]]]"
"""Yields the place and the content of each member of an archive. It is read before the next one is asked for."""

_ZIP = b"PK\x03\x04"
_LOCAL_HEADER = struct.Struct("<6xHH16xHH")
"""Of a member in a zip: its flags, its method, and the lengths of its name and of its extra field."""

_ENCRYPTED = 1

_BLOCK = 512
_TAR, _TAR_OFFSET = b"ustar", 257

FIRST = _TAR_OFFSET + len(_TAR)
"""Bytes at the beginning that tell the kind of an archive."""

_UNKNOWN = re.compile(rb"\x28\xb5\x2f\xfd|7z\xbc\xaf\x27\x1c|Rar!\x1a\x07|\x04\x22\x4d\x18")
"""The beginning of formats that Python cannot expand: zstd, 7z, rar, lz4."""

_IN_MEMORY = 4 << 20
_CHUNK = 1 << 16


def kind_of(stream: Stream, *, nested: bool) -> Expand | None:
    """Return the function that expands the stream, None if the stream is not an archive. It stays at its start.

    Args:
        stream: a file, or a member of an archive.
        nested: it is a member. Its end is not looked at, since that would expand all of it.
    """
    first = stream.peek(FIRST)
    known = next((expand for mark, expand in _KINDS if mark.match(first)), None)
    if known is not None or nested or not stream.seekable():
        return known
    return zip_members if _has_index(stream) else None


def spooled(content: IO[bytes] | io.BufferedIOBase) -> io.BufferedReader:
    """Return the content as a stream that can be searched from its end: in memory, or in a file that has no name."""
    held = SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115  # it ends with the stream
    while chunk := content.read(_CHUNK):
        held.write(chunk)
    held.seek(0)
    return io.BufferedReader(cast("io.RawIOBase", held))


# --- compressed files -------------------------------------------------------------------------------------------------


def _compressed(opened: Callable[[Stream], Expanded]) -> Expand:
    def expand(stream: Stream, place: str, allowance: Allowance) -> Iterator[tuple[str, io.BufferedReader]]:
        yield f"{place}!", allowance.limited(opened(stream), place)

    return expand


def _unknown(_: Stream, place: str, allowance: Allowance) -> Iterator[tuple[str, io.BufferedReader]]:
    allowance.leave(place)
    return iter(())


# --- zip --------------------------------------------------------------------------------------------------------------


def _has_index(stream: Stream) -> bool:
    """Return whether a file ends as a zip does. A program may stand before it, as in a zipapp."""
    try:
        with zipfile.ZipFile(cast("IO[bytes]", stream)) as archive:
            return bool(archive.infolist())
    except DAMAGE:
        return False
    finally:
        stream.seek(0)


def zip_members(stream: Stream, place: str, allowance: Allowance) -> Iterator[tuple[str, io.BufferedReader]]:
    try:
        archive = zipfile.ZipFile(cast("IO[bytes]", stream))
    except DAMAGE:
        allowance.leave(place)
        yield from _members_by_headers(stream, place, allowance)
        return
    with archive:
        for member in archive.infolist():
            if allowance.spent:
                return
            if not member.is_dir():
                name = _within(place, member.filename)
                yield from _member(archive, member, name, allowance)
                if name in allowance.reasons and not allowance.spent:
                    unchecked = copy.copy(member)  # a wrong checksum takes the last piece with it
                    del unchecked.CRC
                    yield from _member(archive, unchecked, name, allowance)


def _member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, allowance: Allowance
) -> Iterator[tuple[str, io.BufferedReader]]:
    try:
        content = archive.open(member)
    except DAMAGE:  # encrypted, or of an unknown method
        allowance.leave(name)
        return
    with content:
        yield name, allowance.limited(cast("Expanded", content), name)


def _members_by_headers(stream: Stream, place: str, allowance: Allowance) -> Iterator[tuple[str, io.BufferedReader]]:
    """Yield the deflated members of a zip that lacks its index. Those that are stored are text of the zip itself."""
    for start in _positions(stream, _ZIP):
        stream.seek(start)
        header = stream.read(_LOCAL_HEADER.size)
        if allowance.spent or len(header) < _LOCAL_HEADER.size:
            return
        flags, method, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        name = _within(place, stream.read(name_length).decode("utf-8", "replace"))
        stream.seek(extra_length, io.SEEK_CUR)
        if method == zipfile.ZIP_DEFLATED and not flags & _ENCRYPTED:
            yield name, spooled(allowance.limited(_Inflated(stream), name))


def _positions(stream: Stream, mark: bytes) -> Iterator[int]:
    """Yield the positions of a mark in a stream. The caller may move the stream between two of them."""
    start, block = 0, b" "
    while block:
        stream.seek(start)
        block = stream.read(_CHUNK)
        found = block.find(mark)
        if found >= 0:
            yield start + found
            start += found + len(mark)
        elif len(block) < len(mark):
            return
        else:
            start += len(block) - len(mark) + 1


class _Inflated:
    """One deflated member of a zip, which knows its own end."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)

    def read1(self, size: int, /) -> bytes:
        while not self._inflate.eof:
            chunk = self._inflate.unconsumed_tail or self._stream.read(_CHUNK)
            if found := self._inflate.decompress(chunk, size):
                return found
            if not chunk:
                raise EOFError
        return b""


# --- tar --------------------------------------------------------------------------------------------------------------


def tar_members(stream: Stream, place: str, allowance: Allowance) -> Iterator[tuple[str, io.BufferedReader]]:
    """Yield the members, also of archives that stand one after another."""
    start: int | None = 0
    while start is not None:
        stream.seek(start)
        with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r:") as archive:
            for member in archive:
                if allowance.spent:
                    return
                if member.isfile() and (content := archive.extractfile(member)) is not None:
                    name = _within(place, member.name)
                    yield name, allowance.limited(cast("Expanded", content), name)
            end = archive.offset
        if end == start:  # its first header is damaged
            raise tarfile.ReadError
        start = _next_tar(stream, end)


def _next_tar(stream: Stream, end: int) -> int | None:
    """Return the start of the archive that follows the end of another, None if only zeros follow.

    Raises:
        tarfile.ReadError: the archive has no end, or something else follows it: a header is damaged.
    """
    stream.seek(end)
    block = stream.read(_BLOCK)
    if not block:
        raise tarfile.ReadError
    while block and not block.strip(b"\0"):
        end += len(block)
        block = stream.read(_BLOCK)
    if not block:
        return None
    if not block.startswith(_TAR, _TAR_OFFSET):
        raise tarfile.ReadError
    return end


def _within(place: str, name: str) -> str:
    return f"{place.removesuffix('!')}!{name}"


_KINDS: tuple[tuple[re.Pattern[bytes], Expand], ...] = (
    (re.compile(rb"\x1f\x8b\x08"), _compressed(lambda stream: gzip.GzipFile(fileobj=stream, mode="rb"))),
    (re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"), _compressed(bz2.BZ2File)),
    (re.compile(rb"\xfd7zXZ\0"), _compressed(lzma.LZMAFile)),
    (re.compile(re.escape(_ZIP)), zip_members),
    (re.compile(rb"(?s).{%d}%s" % (_TAR_OFFSET, _TAR)), tar_members),
    (_UNKNOWN, _unknown),
)
