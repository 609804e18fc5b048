"""Replacing a file of secrets: whole or not at all, 0600, and by one writer at a time.

The new content is written beside the file, synced, and renamed over it. A crash leaves the old file or the new one, and
at most a file `.NAME.….tmp` of mode 0600 beside it, which the next writer removes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MODE = 0o600

_WAIT = 0.02
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class LinkError(OSError):
    """The file is a symbolic link: to write through it would change what somebody else may have chosen."""


class FolderLock:
    """The right to replace files in one folder, for as long as `locked` gives it."""

    def __init__(self, descriptor: int) -> None:
        self._folder = descriptor

    def replace(self, name: str, content: bytes) -> os.stat_result:
        """Puts the content in the place of the file, which may not be there yet; returns what it is on disk now.

        The mode is 0600, or less where the old file's was less. The owner stays.

        Raises:
            LinkError: the name is a symbolic link.
            OSError: the file stays as it was.
        """
        before = self._stat(name)
        self._remove_leftovers(name)
        temporary = f".{name}.{secrets.token_hex(8)}.tmp"
        descriptor = os.open(temporary, _CREATE, MODE, dir_fd=self._folder)
        try:
            if before is not None:
                os.fchmod(descriptor, before.st_mode & MODE)
                if before.st_uid != os.geteuid():
                    os.fchown(descriptor, before.st_uid, before.st_gid)
            with os.fdopen(descriptor, "wb", closefd=False) as stream:
                stream.write(content)
            os.fsync(descriptor)
            os.rename(temporary, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            after = os.fstat(descriptor)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=self._folder)
            raise
        finally:
            os.close(descriptor)
        os.fsync(self._folder)
        return after

    def _stat(self, name: str) -> os.stat_result | None:
        try:
            found = os.stat(name, dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if stat.S_ISLNK(found.st_mode):
            raise LinkError(errno.ELOOP, "it is a symbolic link")
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return found

    def _remove_leftovers(self, name: str) -> None:
        """What a writer that was killed left behind: nobody else writes, since the lock is ours."""
        for other in os.listdir(self._folder):  # noqa: PTH208  # a descriptor has no path
            if other.startswith(f".{name}.") and other.endswith(".tmp"):
                with suppress(OSError):
                    os.unlink(other, dir_fd=self._folder)


@contextmanager
def locked(folder: Path, seconds: float) -> Iterator[FolderLock]:
    """The folder, while no other thread or process that asks in this way writes there.

    Raises:
        TimeoutError: somebody else did for all of these seconds.
        OSError: there is no such folder, or it may not be opened.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise TimeoutError(errno.ETIMEDOUT, "another process is writing in its folder") from None
                time.sleep(_WAIT)
        yield FolderLock(descriptor)
    finally:
        os.close(descriptor)


def replace(file: Path, content: bytes, seconds: float = 10.0) -> os.stat_result:
    """`FolderLock.replace` for one file, within these seconds."""
    with locked(file.parent, seconds) as folder:
        return folder.replace(file.name, content)
