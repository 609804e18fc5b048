"""Reading a small regular file whole, or not at all. Backends use it too, so it stands below every package."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

from strongroom.errors import (
    ConfigurationError,
    MissingFileError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretTooLargeError,
    StoreUnavailableError,
)
from strongroom.secret import SensitiveStr

# Without O_NONBLOCK, opening a pipe would wait for its writer. Windows has neither flag, but O_BINARY.
_FLAGS: int = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK: int = getattr(os, "O_NOFOLLOW", 0)

Inspect: TypeAlias = Callable[[os.stat_result, bytes], str]
"""Given a file's status and content, return why the file is refused, or the empty string."""


def read_bytes(
    file: Path | str, limit: int, *, folder: int | None = None, follow_links: bool = True
) -> tuple[bytes, os.stat_result]:
    """Return the content of a regular file and its status. The content of a longer file is cut after `limit + 1` bytes.

    Args:
        file: the file, relative to `folder` if that is given.
        limit: the number of bytes that the caller accepts.
        folder: the descriptor of a folder.
        follow_links: whether the file may be a symbolic link.

    Raises:
        IsADirectoryError: it is a folder.
        OSError: it cannot be read, or is not a regular file.
    """
    descriptor = os.open(file, _FLAGS | (0 if follow_links else _NO_LINK), dir_fd=folder)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder, not a file", str(file))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(file))
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            return stream.read(limit + 1), status
    finally:
        os.close(descriptor)


def read_store_file(file: Path, limit: int, path: str | None) -> tuple[bytes, os.stat_result]:
    """Return the content and the status of a store's file. `path` is that of the wanted secret, for the error.

    Raises:
        StoreError: it does not exist, cannot be read, or has more than `limit` bytes.
    """
    try:
        content, status = read_bytes(file, limit)
    except (FileNotFoundError, NotADirectoryError):
        raise SecretNotFoundError(path, f"there is no {file}") from None
    except PermissionError:
        raise PermissionDeniedError(path, f"{file} may not be read", hint="Let this user read it") from None
    except OSError as error:
        reason = f"{file}: {error.strerror or 'it cannot be read'}"
        raise StoreUnavailableError(path, reason, hint="Check that it is a regular file") from None
    if len(content) > limit:
        raise SecretTooLargeError(path, f"{file} has more than {limit:,} bytes")
    return content, status


class TextFile(NamedTuple):
    """The text of a file, or why there is none.

    Attributes:
        text: empty if there is a fault.
        fault: a clause without a subject, such as "it is not UTF-8"; empty if the file was read.
        missing: the fault is that there is no such file.
    """

    text: SensitiveStr
    fault: str = ""
    missing: bool = False


def load_text(file: Path, limit: int, inspect: Inspect | None = None) -> TextFile:
    """Read a UTF-8 file of at most `limit` bytes. Raises nothing, since a decoder's error would hold the content."""
    try:
        content, status = read_bytes(file, limit)
        if fault := inspect(status, content) if inspect else "":
            return TextFile(SensitiveStr(), fault)
        if len(content) > limit:
            return TextFile(SensitiveStr(), f"it is larger than {limit:,} bytes")
        return TextFile(SensitiveStr(content.decode("utf-8-sig")))
    except FileNotFoundError as error:
        return TextFile(SensitiveStr(), error.strerror or "it does not exist", missing=True)
    except UnicodeDecodeError:
        return TextFile(SensitiveStr(), "it is not UTF-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        return TextFile(SensitiveStr(), reason or "it cannot be read")


def read_text(file: Path, where: str, limit: int, *, inspect: Inspect | None = None) -> SensitiveStr:
    """Return the text of a UTF-8 file of at most `limit` bytes.

    Args:
        file: the file.
        where: the setting or source that names the file, for messages.
        limit: the most that the file may hold, in bytes.
        inspect: a further check.

    Raises:
        MissingFileError: there is no such file.
        ConfigurationError: it cannot be read. Names `where` and the file, and shows no content.
    """
    text, fault, missing = load_text(file, limit, inspect)
    if fault:
        raise (MissingFileError if missing else ConfigurationError)(f"{where}: the file {file}: {fault}")
    return text
