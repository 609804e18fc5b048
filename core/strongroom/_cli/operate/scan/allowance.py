"""The bound of a scan: the bytes and seconds for the expansion of its input.

A separate file because archives and the history of git share one allowance.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

_BYTES, _RATIO = 4 << 20, 100
"""The bytes that the input may expand to: a start, and bytes for each byte of it. A log expands to 20 for each."""

_SECONDS, _RATE = 5.0, 20_000
"""The processor time to expand and search the input: a start, and a second for each 20,000 bytes of it.

Not the time of day: a busy machine must not leave a file unread.
"""


class Allowance:
    """The bytes and seconds of processor time that are left for the expansion of a scan's input.

    Each file, and each version of a file in git, adds to them. So they bound the whole scan, however archives are
    nested, and an input that expands as usual never needs more.

    Attributes:
        unread: the files that were not searched to their end.
        spent: True if nothing more of this file is expanded.
    """

    def __init__(self, clock: Callable[[], float] = time.process_time) -> None:
        self.unread: list[str] = []
        self.spent = False
        self._clock = clock
        self._bytes = _BYTES
        self._seconds = _SECONDS
        self._end = 0.0

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
                self.unread.append(place)

    def limited(self, content: IO[bytes] | io.BufferedIOBase) -> io.BufferedReader:
        """Return a stream of expanded content that ends when the allowance is spent."""
        return io.BufferedReader(_Limited(content, self))

    def take(self, content: IO[bytes] | io.BufferedIOBase, wanted: int) -> bytes:
        """Read that many bytes at most, and none when the allowance is spent."""
        self.spent = self.spent or self._clock() > self._end
        found = b"" if self.spent else content.read(wanted)
        self.spent = self.spent or len(found) > self._bytes
        found = found[: self._bytes]
        self._bytes -= len(found)
        return found


class _Limited(io.RawIOBase):
    def __init__(self, content: IO[bytes] | io.BufferedIOBase, allowance: Allowance) -> None:
        self._content = content
        self._allowance = allowance

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._content.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._content.seek(offset, whence)

    def tell(self) -> int:
        return self._content.tell()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # it is called with one
        found = self._allowance.take(self._content, len(buffer))
        buffer[: len(found)] = found
        return len(found)
