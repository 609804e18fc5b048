"""Writing a file that nobody but its owner may read: whole or not at all, and never wider than it was."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

from strongroom.errors import ConfigurationError

_OWNER = 0o600


class PrivateFile:
    """A file that is about to be written. What stands in the way is found when the block is entered.

    A context manager: the temporary file beside it, which takes its place in one step, exists while the block runs.

    Args:
        file: where; a link is followed. Its folder must be there.
        option: what names it on the command line, for messages.
    """

    def __init__(self, file: Path, option: str) -> None:
        self._shown = file
        self._file = Path(os.path.realpath(file))
        self._option = option
        self._mode = _OWNER
        self._temporary: Path | None = None
        self._descriptor = -1

    def __enter__(self) -> Self:
        try:
            self._check()
            temporary = self._file.with_name(f".{self._file.name}.{secrets.token_hex(8)}")
            self._descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _OWNER)
            self._temporary = temporary
        except OSError as error:
            raise self._failure(error) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                self._temporary.unlink()
            self._temporary = None

    def put(self, text: str) -> bool:
        """Puts the text in the place of the file. True where the file that was there could be read by others.

        Raises:
            ConfigurationError: it could not be written; what was there still is.
        """
        temporary = self._temporary
        if temporary is None:
            raise ConfigurationError(f"{self._option} {self._shown}: it is not open")
        narrowed = bool(self._mode & ~_OWNER)
        try:
            os.fchmod(self._descriptor, self._mode & _OWNER)
            _write(self._descriptor, text)
            os.fsync(self._descriptor)
            temporary.replace(self._file)
        except OSError as error:
            failure = self._failure(error)
        else:
            self._temporary = None
            return narrowed
        raise failure

    def _check(self) -> None:
        try:
            found = self._file.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISREG(found.st_mode):
            raise ConfigurationError(f"{self._option} {self._shown}: it is no regular file")
        if found.st_uid != os.geteuid():
            raise ConfigurationError(
                f"{self._option} {self._shown}: it is somebody else's, who could read what is put there"
            )
        self._mode = stat.S_IMODE(found.st_mode)

    def _failure(self, error: OSError) -> ConfigurationError:
        return ConfigurationError(f"{self._option} {self._shown}: {error.strerror or 'it cannot be written'}")


def check_folder(file: Path, option: str) -> None:
    """Returns when a file can be made where this one is, or is to be.

    Raises:
        ConfigurationError: its folder is not there, or not to be written to.
    """
    folder = Path(os.path.realpath(file)).parent
    if not os.access(folder, os.W_OK | os.X_OK):
        fault = "cannot be written to" if folder.is_dir() else "is not there"
        raise ConfigurationError(f"{option} {file}: its folder {fault}")


def _write(descriptor: int, text: str) -> None:
    rest = memoryview(text.encode())
    while rest:
        rest = rest[os.write(descriptor, rest) :]
