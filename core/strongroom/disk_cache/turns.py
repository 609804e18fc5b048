"""Turns of processes: who reads a secret from its store, while the others wait for the entry in the disk cache."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from strongroom.files.private_file import lock, open_file

_COUNT = 64
"""The number of lock files. Two secrets with the same file wait for each other, which costs time and nothing else."""
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS})
"""Errors of a file system without locks, such as NFS without its lock service. SQLite takes the first for busy."""


class Turns:
    """Locks of one folder, which a process that dies releases.

    Args:
        folder: the folder of the cache.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._supported = True
        self._held = threading.local()

    def require_locks(self) -> None:
        """Raise OSError if the file system has refused a lock: the cache is not used without locks."""
        if not self._supported:
            raise OSError(errno.ENOLCK, "its file system has no locks")

    @contextmanager
    def take(self, names: Iterable[bytes], seconds: float) -> Iterator[None]:
        """Wait for the turns of these entries, at most `seconds` in total; then go on without them."""
        held: set[int] = getattr(self._held, "numbers", set())
        # A signal handler that interrupts the holder does not wait for itself.
        numbers = sorted({name[0] % _COUNT for name in names} - held)
        ends = time.monotonic() + seconds
        with ExitStack() as stack:
            for number in numbers:
                try:
                    stack.enter_context(_locked(self._folder / f"turn-{number:02}.lock", ends))
                except OSError as error:  # such as a full disk: there may be two reads
                    self._supported = self._supported and error.errno not in _NO_LOCKS
            self._held.numbers = held | set(numbers)
            try:
                yield
            finally:
                self._held.numbers = held


@contextmanager
def _locked(file: Path, ends: float) -> Iterator[None]:
    """Hold the lock of a file, if it is free before `ends`."""
    descriptor = open_file(file, os.O_RDWR | os.O_CREAT)
    try:
        with lock(descriptor, ends - time.monotonic()):
            yield
    finally:
        os.close(descriptor)
