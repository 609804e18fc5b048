"""The objects of a git repository as streams, from one `git cat-file` for as long as it lives."""

from __future__ import annotations

import io
import subprocess
from types import TracebackType
from typing import IO, Self

from strongroom._cli.scan.git_repository import GitRepository

_FORMAT = "--batch=%(objecttype) %(objectsize) %(objectsize:disk) %(deltabase)"
_FIELDS = 4

_REST = 1 << 20
"""Bytes of an object's rest that are read to reach the next object. For more, git is started again."""


class GitObject(io.RawIOBase):
    """An object, read from the pipe of `git cat-file`. It ends early if git finds it damaged.

    Attributes:
        kind: `blob`, `tree`, `commit` or `tag`.
        size: its bytes.
        stored: the bytes that it takes in the repository.
        is_delta: it is stored as the difference from another object.
        left: bytes that are not read yet.
        damaged: git has ended before it wrote all bytes.
    """

    def __init__(self, kind: str, size: int, stored: int, source: IO[bytes], *, is_delta: bool) -> None:
        self.kind = kind
        self.size = size
        self.stored = stored
        self.is_delta = is_delta
        self.left = size
        self.damaged = False
        self._source = source

    def readable(self) -> bool:
        return True

    def read1(self, size: int, /) -> bytes:
        """Return the next bytes, at most `size`; none at the end."""
        found = self._source.read(min(size, self.left))
        self.left -= len(found)
        self.damaged = self.damaged or (self.left > 0 and len(found) == 0 < size)
        return found

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # it is called with one
        found = self.read1(len(buffer))
        buffer[: len(found)] = found
        return len(found)


class GitObjects:
    """Opens one object after another. Each is read before the next one is opened."""

    def __init__(self, repository: GitRepository) -> None:
        self._repository = repository
        self._process: subprocess.Popen[bytes] | None = None
        self._open: GitObject | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def open(self, name: str) -> GitObject | None:
        """Return an object, None if git cannot read it."""
        self._finish()
        if self._process is None:
            self._process = self._repository.start("cat-file", _FORMAT)
        source, sink = self._process.stdout, self._process.stdin
        assert source is not None  # noqa: S101  # both are pipes
        assert sink is not None  # noqa: S101
        sink.write(f"{name}\n".encode())
        sink.flush()
        fields = source.readline().decode().split()
        if len(fields) != _FIELDS:  # "missing", or the end of git
            if not fields:
                self._stop()
            return None
        kind, size, stored, base = fields
        self._open = GitObject(kind, int(size), int(stored), source, is_delta=bool(base.strip("0")))
        return self._open

    def _finish(self) -> None:
        """Read the rest of the last object."""
        last, self._open = self._open, None
        if last is not None and self._process is not None:
            if last.left <= _REST and not last.damaged:
                while last.left and last.read1(_REST):
                    pass
            if last.left or last.damaged:
                self._stop()
            else:
                assert self._process.stdout is not None  # noqa: S101  # it is a pipe
                self._process.stdout.read(1)  # the newline behind it

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()
