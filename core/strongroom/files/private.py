"""Private files: mode 0600 in folders of mode 0700, replaced whole or not at all, by one writer at a time.

A file is replaced by a synced temporary file beside it that takes its name. A crash leaves the old file or the new one,
and at most a file `.NAME.….tmp` of mode 0600, which the next writer removes. All functions that use a file raise
`OSError`, with a `strerror` that can be shown. On Windows, which has other modes, owners and locks, all of them do.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Literal

from strongroom.errors import ConfigurationError, StrongroomError

FILE_MODE = 0o600
SHARED_MODE = 0o640
"""The mode of a file that one group may read."""
FOLDER_MODE = 0o700
KEY_SIZE = 32

_FIRST_PAUSE, _LAST_PAUSE = 0.0005, 0.01
"""Seconds between two attempts to lock: most writers hold a lock for less than the first."""
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL


class SymbolicLinkError(OSError):
    """The file is a symbolic link. It is not followed, because another user may have chosen its target."""


def _require_posix() -> None:
    """Raise OSError on a system without POSIX file locks, whose modes and owners of files are other ones too."""
    try:
        import fcntl  # noqa: F401
    except ImportError:
        raise OSError(errno.ENOSYS, "this system lacks the file locks, modes and owners of POSIX") from None


@contextmanager
def faults_as(kind: Callable[[str], StrongroomError], where: object, after: str = "") -> Iterator[None]:
    """Raise an `OSError` of the block as another error, whose message is `WHERE: FAULT`.

    Args:
        kind: the class of the error.
        where: the file, or a phrase that names it.
        after: the end of the message, such as the next step.
    """
    try:
        yield
    except OSError as error:
        raise kind(f"{where}: {error.strerror or 'it cannot be used'}{after}") from None


def user_folder(kind: Literal["cache", "state"]) -> Path:
    """Return the folder of Strongroom below the user's cache or state folder, whether it exists or not.

    Raises:
        ConfigurationError: the user has no home folder, as in a container without HOME and without an entry in passwd.
    """
    import platformdirs

    try:
        return (
            platformdirs.user_cache_path("strongroom")
            if kind == "cache"
            else platformdirs.user_state_path("strongroom")
        )
    except RuntimeError:
        pass
    raise ConfigurationError(f"This user has no home folder. Set HOME or XDG_{kind.upper()}_HOME to an absolute path")


# --- replace a file ---------------------------------------------------------------------------------------------------


class Replacement:
    """A temporary file that is about to take the place of another.

    Attributes:
        widened: the mode of the file that is replaced gives others access; the new file's does not.
    """

    def __init__(self, folder: int, name: str, before: os.stat_result | None, group: int | None) -> None:
        self._folder = folder
        self._name = name
        self._temporary = f".{name}.{os.urandom(8).hex()}.tmp"
        self.widened = before is not None and bool(stat.S_IMODE(before.st_mode) & ~FILE_MODE)
        self._descriptor = os.open(self._temporary, _CREATE | os.O_NOFOLLOW, FILE_MODE, dir_fd=folder)
        try:
            os.fchmod(self._descriptor, FILE_MODE if before is None else before.st_mode & FILE_MODE)
            if before is not None and before.st_uid != os.geteuid():
                os.fchown(self._descriptor, before.st_uid, before.st_gid)
            if group is not None:
                os.fchown(self._descriptor, -1, group)
                os.fchmod(self._descriptor, SHARED_MODE)
        except BaseException:
            self.discard()
            raise

    def commit(self, content: bytes) -> os.stat_result:
        """Write the content and replace the file; return the status of the new one."""
        with os.fdopen(self._descriptor, "wb", closefd=False) as stream:
            stream.write(content)
        os.fsync(self._descriptor)
        os.rename(self._temporary, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self._temporary = ""
        after = os.fstat(self._descriptor)
        os.fsync(self._folder)
        return after

    def discard(self) -> None:
        """Remove the temporary file, unless it has taken its place."""
        if self._temporary:
            with suppress(OSError):
                os.unlink(self._temporary, dir_fd=self._folder)
        os.close(self._descriptor)


class FolderLock:
    """The right to replace files in one folder, while `lock_folder` holds the lock."""

    def __init__(self, descriptor: int) -> None:
        self._folder = descriptor

    @contextmanager
    def prepare(self, name: str, *, own_only: bool = False, group: int | None = None) -> Iterator[Replacement]:
        """Create the temporary file for a replacement, and remove it at the end if it was not committed.

        The mode of the new file is 0600, or less if the old file's was less. The owner stays, except that a file of
        another user in a folder where everybody can create files is refused.

        Args:
            name: the file, which need not exist.
            own_only: refuse a file of another user.
            group: may read the new file, whose mode is then 0640.

        Raises:
            SymbolicLinkError: the name is a symbolic link.
            OSError: the file cannot be replaced, or is not a regular file.
        """
        before = self._stat(name)
        if before is not None and before.st_uid != os.geteuid():
            if own_only:
                raise PermissionError(errno.EPERM, "it belongs to another user")
            if os.fstat(self._folder).st_mode & stat.S_IWOTH:  # they created the file to read the secret
                reason = "it belongs to another user, in a folder where everybody can create files"
                raise PermissionError(errno.EPERM, reason)
        self._remove_leftovers(name)
        replacement = Replacement(self._folder, name, before, group)
        try:
            yield replacement
        finally:
            replacement.discard()

    def replace(self, name: str, content: bytes) -> os.stat_result:
        """Replace a file at once; see `prepare`. Return the status of the new file."""
        with self.prepare(name) as replacement:
            return replacement.commit(content)

    def _stat(self, name: str) -> os.stat_result | None:
        try:
            status = os.stat(name, dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if stat.S_ISLNK(status.st_mode):
            raise SymbolicLinkError(errno.ELOOP, "it is a symbolic link")
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return status

    def _remove_leftovers(self, name: str) -> None:
        """Remove the temporary files of killed writers. No live writer has one, since this one holds the lock."""
        leftover = re.compile(rf"\.{re.escape(name)}\.[0-9a-f]{{16}}\.tmp")
        for other in os.listdir(self._folder):  # noqa: PTH208  # a descriptor has no path
            if leftover.fullmatch(other):
                with suppress(OSError):
                    os.unlink(other, dir_fd=self._folder)


@contextmanager
def lock(descriptor: int, seconds: float, *, shared: bool = False) -> Iterator[bool]:
    """Lock an open file or folder against all that lock it in this way; a process that dies releases its lock.

    Yields False if another one held the lock for all of these seconds. A shared lock excludes those that are not.

    Raises:
        OSError: the file system has no locks.
    """
    _require_posix()
    import fcntl  # Windows lacks it

    deadline = time.monotonic() + seconds
    locked, pause = False, _FIRST_PAUSE
    while not locked:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            locked = True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                break
            time.sleep(pause)
            pause = min(pause * 2, _LAST_PAUSE)
    try:
        yield locked
    finally:
        if locked:
            # A child that another thread forked meanwhile has the descriptor too: closing this one would not unlock.
            with suppress(OSError):  # the file system has lost its locks meanwhile
                fcntl.flock(descriptor, fcntl.LOCK_UN)


@contextmanager
def lock_folder(folder: Path, seconds: float = 10.0) -> Iterator[FolderLock]:
    """Lock a folder against every other thread and process that locks it in this way. Wait at most `seconds` for it.

    Raises:
        TimeoutError: another writer held the lock for all of these seconds.
        OSError: the folder does not exist or cannot be opened.
    """
    _require_posix()
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with lock(descriptor, seconds) as locked:
            if not locked:
                raise TimeoutError(errno.ETIMEDOUT, "another process is writing in its folder")
            yield FolderLock(descriptor)
    finally:
        os.close(descriptor)


def replace(file: Path, content: bytes, seconds: float = 10.0) -> os.stat_result:
    """Replace one file; see `FolderLock.prepare`. Wait at most `seconds` for the lock of its folder."""
    with lock_folder(file.parent, seconds) as folder:
        return folder.replace(file.name, content)


@contextmanager
def prepare(file: Path, seconds: float = 10.0) -> Iterator[Replacement]:
    """Prepare to replace a file of this user, following a symbolic link; the folder stays locked meanwhile."""
    real = Path(os.path.realpath(file))
    with lock_folder(real.parent, seconds) as folder, folder.prepare(real.name, own_only=True) as replacement:
        yield replacement


# --- files and folders of this user -----------------------------------------------------------------------------------


def make_folder(folder: Path) -> Path:
    """Create the folder with mode 0700 if it does not exist, and check that no other user has access.

    Raises:
        OSError: it cannot be created, belongs to another user, is a symbolic link, or is accessible to others.
    """
    _require_posix()
    for missing in reversed([folder, *folder.parents]):
        with suppress(FileExistsError):
            if not missing.exists():
                missing.mkdir(FOLDER_MODE)
    check_folder(folder)
    return folder


def check_folder(folder: Path) -> bool:
    """Return False if the folder does not exist. It must belong to this user, and nobody else may have access.

    Raises:
        OSError: it is not a folder, or another user owns it or has access.
    """
    _require_posix()
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "it is not a folder of this user")
    if status.st_mode & 0o077:
        raise PermissionError(errno.EPERM, "other users have access to it; run chmod 700 on it")
    return True


def open_file(file: Path, flags: int) -> int:
    """Open a file without following a symbolic link; return its descriptor. A new file has mode 0600."""
    _require_posix()
    return os.open(file, flags | os.O_NOFOLLOW, FILE_MODE)


def read(file: Path) -> bytes:
    """Return the content of a file that is not a symbolic link."""
    with open_lines(file) as stream:
        return b"".join(stream)


@contextmanager
def open_lines(file: Path) -> Iterator[BinaryIO]:
    """Open a regular file that is not a symbolic link for reading.

    Raises:
        OSError: it is not a regular file.
    """
    _require_posix()
    # Without O_NONBLOCK, opening a pipe would wait for its writer.
    with open(file, "rb", opener=lambda _, flags: open_file(file, flags | os.O_NONBLOCK)) as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        yield stream


def create(file: Path, content: Iterable[bytes]) -> None:
    """Create a file from these pieces. It is on disk when this returns, and removed if writing it fails.

    Raises:
        FileExistsError: it exists already.
        OSError: it cannot be created, or the disk is full.
    """
    descriptor = open_file(file, _CREATE)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.writelines(content)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        with suppress(OSError):
            file.unlink()
        raise
    sync_folder(file.parent)


def create_once(file: Path, content: Iterable[bytes]) -> None:
    """Create a file, which has its content and is closed before it gets its name, unless another process is first.

    Closing a descriptor of the file itself would end the locks that another thread of this process holds on it, such as
    SQLite's (POSIX advisory locks).
    """
    temporary = file.with_name(f".{file.name}.{os.urandom(8).hex()}")
    create(temporary, content)
    try:
        with suppress(FileExistsError):
            os.link(temporary, file)
    finally:
        temporary.unlink()


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_or_create_key(file: Path) -> bytes:
    """Return the 32 random bytes in a file. The first of several callers creates it.

    Raises:
        OSError: it cannot be created or read, or has another size.
    """
    if not file.exists():
        create_once(file, [os.urandom(KEY_SIZE)])
        sync_folder(file.parent)
    key = read(file)
    if len(key) != KEY_SIZE:
        raise OSError(errno.EINVAL, "it is not a key of 32 bytes")
    return key
