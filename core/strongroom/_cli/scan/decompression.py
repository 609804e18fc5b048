"""Decompressed content that is read once, piece by piece, and again from its start if a search goes back.

The files of `bz2` and `lzma` stop silently at bytes that are not a further stream: a scan would call them searched.
"""

from __future__ import annotations

import io
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from strongroom._cli.scan.allowance import Stream

_CHUNK = 1 << 16


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
