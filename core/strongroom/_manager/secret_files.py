"""Files with the values of rows with `as_path`, for programs that take the path of a file."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from strongroom.encoding import as_unicode
from strongroom.errors import ConfigurationError
from strongroom.files import private
from strongroom.secret import Value
from strongroom.store.process import call_at_exit, fork_safe_lock


def file_content(value: Value, path: str, key: str) -> bytes:
    """Return bytes unchanged, text as UTF-8, and other values as JSON.

    Raises:
        InvalidDataError: the value is null, or has a lone surrogate.
    """
    return value if isinstance(value, bytes) else as_unicode(value, path, key).encode()


class SecretFiles:
    """Files of mode 0600 in a private folder.

    Args:
        folder: the folder, which stays. By default it is a new one, which `close` and the end of the process remove.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._given = folder
        self._made: Path | None = None
        self._process = 0
        self._names: set[str] = set()
        self._lock = fork_safe_lock(self, "_lock")

    def __contains__(self, name: str) -> bool:
        return name in self._names and (self._given is not None or self._process == os.getpid())

    def write(self, name: str, content: bytes) -> Path:
        """Write a file, unless it has this content, and return its path. A reader sees the old content or the new one.

        Raises:
            ConfigurationError: the folder cannot be used, or other users have access to it.
        """
        with self._lock, private.faults_as(ConfigurationError, f"The folder for the file of {name}"):
            file = private.make_folder(self._folder()) / name
            if not _has(file, content):
                private.replace(file, content)
            self._names.add(name)
            return file

    def close(self) -> None:
        """Remove the folder, unless it was given or belongs to another process, such as the parent of a fork."""
        with self._lock:
            made, self._made = self._made, None
            self._names.clear()
        if made is not None and self._process == os.getpid():
            import shutil  # most programs have no such files

            shutil.rmtree(made, ignore_errors=True)

    def _folder(self) -> Path:
        if self._given is not None:
            return self._given.absolute()
        if self._made is None or self._process != os.getpid():
            import tempfile

            self._process = os.getpid()
            self._made = Path(tempfile.mkdtemp(prefix="strongroom-", dir=_runtime_folder()))
            call_at_exit(self.close)
        return self._made


def _has(file: Path, content: bytes) -> bool:
    with suppress(FileNotFoundError):
        return private.read(file) == content and not stat.S_IMODE(file.stat().st_mode) & ~private.FILE_MODE
    return False


def _runtime_folder() -> Path | None:
    """Return the folder of this user in memory that systemd makes at a login, or None, as below `sudo`."""
    folder = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    with suppress(OSError):
        if folder.is_absolute() and private.check_folder(folder):
            return folder
    return None
