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
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import IO, Protocol, TypeAlias, cast

from strongroom._cli.scan.allowance import DAMAGE, Allowance, Expanded, Reason, Stream

Expand: TypeAlias = "Callable[[Stream, str, Allowance], Iterator[tuple[str, io.BufferedReader]]]"
"""Yields the place and the content of each member of an archive. It is read before the next one is asked for."""

_ZIP = b"PK\x03\x04"
_LOCAL_HEADER = struct.Struct("<4sHHH16xHH")
"""Of a member in a zip: the mark, the version to extract it, its flags, its method, and the lengths of its name and
of its extra field."""

_LATEST_VERSION, _LAST_METHOD = 63, 99
"""The greatest version of the format of zip, times ten, and the greatest number of a method, of encryption."""

_END, _END_SIZE = b"PK\5\6", 22
"""The mark of the last record of a zip, and its bytes before the comment."""

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
        yield from _unlisted(stream, place, allowance, [(0, None)])
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
        yield from _unlisted(stream, place, allowance, _gaps(stream, archive.infolist()))
        if _has_more(stream, archive):
            allowance.leave(place, Reason.UNLISTED)


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


def _unlisted(
    stream: Stream, place: str, allowance: Allowance, gaps: Iterable[tuple[int, int | None]]
) -> Iterator[tuple[str, io.BufferedReader]]:
    """Note an archive with members that its index does not list, and yield the deflated ones by their own headers.

    Members that are stored are text of the archive itself.

    Args:
        stream: the archive.
        place: its name.
        allowance: notes it.
        gaps: start and end of each part of the stream in which such members may be.
    """
    for start in (position for gap in gaps for position in _positions(stream, _ZIP, *gap)):
        stream.seek(start)
        header = stream.read(_LOCAL_HEADER.size)
        if allowance.spent or len(header) < _LOCAL_HEADER.size:
            return
        _, version, flags, method, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        if not name_length or version & 0xFF > _LATEST_VERSION or method > _LAST_METHOD:
            continue  # four bytes of a program that stands before the archive
        allowance.leave(place, Reason.UNLISTED)
        name = stream.read(name_length).decode("utf-8", "replace")
        stream.seek(extra_length, io.SEEK_CUR)
        if method == zipfile.ZIP_DEFLATED and not flags & _ENCRYPTED:
            place_of_member = _within(place, name)
            yield place_of_member, allowance.limited(Inflated(stream), place_of_member)


def _gaps(stream: Stream, members: Iterable[zipfile.ZipInfo]) -> Iterator[tuple[int, int | None]]:
    """Yield start and end of each part of a zip outside the listed members, such as another zip before this one."""
    position = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        if position < member.header_offset:
            yield position, member.header_offset
        stream.seek(member.header_offset)
        header = stream.read(_LOCAL_HEADER.size)
        if len(header) == _LOCAL_HEADER.size:
            *_, name_length, extra_length = _LOCAL_HEADER.unpack(header)
            content = member.header_offset + len(header) + name_length + extra_length
            position = max(position, content + member.compress_size)
    yield position, None


def _has_more(stream: Stream, archive: zipfile.ZipFile) -> bool:
    """Return whether anything but zeros stands behind the end of a zip."""
    end = max(_positions(stream, _END, archive.start_dir, None), default=None)
    if end is None:
        return False
    stream.seek(end + _END_SIZE + len(archive.comment))
    return any(chunk.strip(b"\0") for chunk in iter(partial(stream.read, _CHUNK), b""))


def _positions(stream: Stream, mark: bytes, start: int, end: int | None) -> Iterator[int]:
    """Yield the positions of a mark in a part of a stream. The caller may move the stream between two of them."""
    block = b" "
    while block and (end is None or start < end):
        stream.seek(start)
        block = stream.read(_CHUNK if end is None else min(_CHUNK, end - start))
        found = block.find(mark)
        if found >= 0:
            yield start + found
            start += found + len(mark)
        elif len(block) < len(mark):
            return
        else:
            start += len(block) - len(mark) + 1


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


# --- decompression ----------------------------------------------------------------------------------------------------
# The files of `bz2` and `lzma` stop silently at bytes that are not a further stream: a scan would call them searched.


class Decompressor(Protocol):
    """A decompressor of `bz2` or `lzma`."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Decompressed(io.IOBase, ABC):
    """Content from the present position of a stream.

    Args:
        stream: the compressed content.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._start = stream.tell()
        self._position = 0
        self._begin()

    @abstractmethod
    def _begin(self) -> None:
        """Start again with the first byte of the stream."""

    @abstractmethod
    def _decompress(self, size: int) -> bytes:
        """Return up to that many bytes, and none at the end. Raise an error of `allowance.DAMAGE` at damage."""

    def read1(self, size: int, /) -> bytes:
        found = self._decompress(size)
        self._position += len(found)
        return found

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence == io.SEEK_END:
            raise io.UnsupportedOperation
        target = offset + (self._position if whence == io.SEEK_CUR else 0)
        if target < self._position:
            self._stream.seek(self._start)
            self._position = 0
            self._begin()
        while self._position < target and self.read1(min(_CHUNK, target - self._position)):
            pass
        return self._position


class Streams(_Decompressed):
    """Compressed streams that stand one after another. Zeros may fill the end; anything else there is damage.

    Args:
        stream: the compressed content.
        new: makes the decompressor of one stream.
    """

    def __init__(self, stream: Stream, new: Callable[[], Decompressor]) -> None:
        self._new = new
        super().__init__(stream)

    def _begin(self) -> None:
        self._decompressor = self._new()
        self._chunk = b""

    def _decompress(self, size: int) -> bytes:
        while True:
            if self._decompressor.eof:
                self._chunk = self._behind()
                if not self._chunk:
                    return b""
                self._decompressor = self._new()
            elif self._decompressor.needs_input and not self._chunk:
                self._chunk = self._stream.read(_CHUNK)
                if not self._chunk:
                    raise EOFError
            chunk, self._chunk = self._chunk, b""
            if found := self._decompressor.decompress(chunk, size):
                return found

    def _behind(self) -> bytes:
        """Return the first bytes behind the end of a stream that are not zeros."""
        chunk = self._decompressor.unused_data or self._stream.read(_CHUNK)
        while chunk and not (chunk := chunk.lstrip(b"\0")):
            chunk = self._stream.read(_CHUNK)
        return chunk


class Inflated(_Decompressed):
    """One deflated member of a zip, which knows its own end."""

    def _begin(self) -> None:
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)

    def _decompress(self, size: int) -> bytes:
        while not self._inflate.eof:
            chunk = self._inflate.unconsumed_tail or self._stream.read(_CHUNK)
            if found := self._inflate.decompress(chunk, size):
                return found
            if not chunk:
                raise EOFError
        return b""


_KINDS: tuple[tuple[re.Pattern[bytes], Expand], ...] = (
    (re.compile(rb"\x1f\x8b\x08"), _compressed(lambda stream: gzip.GzipFile(fileobj=stream, mode="rb"))),
    (re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"), _compressed(lambda stream: Streams(stream, bz2.BZ2Decompressor))),
    (re.compile(rb"\xfd7zXZ\0"), _compressed(lambda stream: Streams(stream, lzma.LZMADecompressor))),
    (re.compile(re.escape(_ZIP)), zip_members),
    (re.compile(rb"(?s).{%d}%s" % (_TAR_OFFSET, _TAR)), tar_members),
    (_UNKNOWN, _unknown),
)
