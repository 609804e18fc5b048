"""The bound of a scan: the bytes and seconds for the expansion of its input, and the files that it did not finish.

A separate file because archives and the history of git share one allowance.
"""

from __future__ import annotations

import io
import lzma
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Protocol, TypeAlias

_BYTES, _RATIO = 4 << 20, 100
"""The bytes that the input may expand to: a start, and bytes for each byte of it. A log expands to 20 for each."""

_SECONDS, _RATE = 5.0, 20_000
"""The processor time to expand and search the input: a start, and a second for each 20,000 bytes of it.

Not the time of day: a busy machine must not leave a file unread.
"""

_PIECE = 1 << 10
"""Bytes that are expanded at once. A decompressor that meets damage loses the piece, and gives all that came before."""

DAMAGE = (
    *(OSError, EOFError, RuntimeError, ValueError, LookupError, OverflowError),
    *(zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, struct.error),
)
"""The errors of an archive that is damaged, encrypted, or of another format than its first bytes."""

Stream: TypeAlias = "io.BufferedReader"
"""A stream that can show its first bytes and stay at its start."""


class Reason(Enum):
    """Why a file was not searched to its end, and what to do."""

    BOUND = "It expands to over 100 times its size, or takes too long. Unpack it, and scan the folder"
    DAMAGE = "It is damaged, encrypted or compressed in an unknown way. Unpack it, and scan the folder"
    NESTED = "Its archives are nested too deeply. Unpack it, and scan the folder"
    REFUSED = "It cannot be read. Let this user read it, or scan a copy"
    OBJECT = "git cannot read it. Run git fsck"


class Expanded(Protocol):
    """Content that is expanded while it is read."""

    def read1(self, size: int, /) -> bytes: ...


class Allowance:
    """The bytes and seconds of processor time that are left for the expansion of a scan's input.

    Each file, and each version of a file in git, adds to them. So they bound the whole scan, however archives are
    nested, and an input that expands as usual never needs more.

    Attributes:
        reasons: why files were not searched to their end, by their places.
        spent: True if nothing more of this file is expanded.
    """

    def __init__(self, clock: Callable[[], float] = time.process_time) -> None:
        self.reasons: dict[str, Reason] = {}
        self.spent = False
        self._clock = clock
        self._bytes = _BYTES
        self._seconds = _SECONDS
        self._end = 0.0

    @property
    def unread(self) -> list[str]:
        """The places of the files that were not searched to their end."""
        return list(self.reasons)

    def leave(self, place: str, reason: Reason = Reason.DAMAGE) -> None:
        """Note a file that cannot be searched to its end. A cut by the allowance does not count as damage."""
        if reason is not Reason.DAMAGE or not self.spent:
            self.reasons.setdefault(place.rstrip("!"), reason)

    @contextmanager
    def input(self, place: str, size: int) -> Iterator[None]:
        """Add the bytes and seconds for a file of this size. Search it in the block."""
        self._bytes += _RATIO * size
        self._seconds += size / _RATE
        self._end = self._clock() + self._seconds
        self.spent = False
        try:
            yield
        finally:
            self._seconds = max(self._end - self._clock(), 0)
            if self.spent:
                self.leave(place, Reason.BOUND)

    def limited(self, content: Expanded, place: str) -> io.BufferedReader:
        """Return a stream of expanded content that ends when the allowance is spent, or at damage, which is noted."""
        return io.BufferedReader(_Limited(content, place, self))

    def take(self, content: Expanded, wanted: int, place: str) -> bytes:
        """Read that many bytes at most, and none when the allowance is spent, or the content is damaged."""
        self.spent = self.spent or self._clock() > self._end
        try:
            found = b"" if self.spent else content.read1(min(wanted, _PIECE))
        except DAMAGE:
            self.leave(place)
            return b""
        self.spent = self.spent or len(found) > self._bytes
        found = found[: self._bytes]
        self._bytes -= len(found)
        return found


class _Limited(io.RawIOBase):
    def __init__(self, content: Expanded, place: str, allowance: Allowance) -> None:
        self._content = content
        self._place = place
        self._allowance = allowance

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return isinstance(self._content, io.IOBase) and self._content.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if not isinstance(self._content, io.IOBase):
            raise io.UnsupportedOperation
        return self._content.seek(offset, whence)

    def tell(self) -> int:
        if not isinstance(self._content, io.IOBase):
            raise io.UnsupportedOperation
        return self._content.tell()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # it is called with one
        found = self._allowance.take(self._content, len(buffer), self._place)
        buffer[: len(found)] = found
        return len(found)
