"""Reading a small file whole, or not at all."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

from strongroom.errors import ConfigurationError, MissingFileError
from strongroom.secret import SensitiveStr


def read_bytes(file: Path, limit: int) -> tuple[bytes, os.stat_result]:
    """Return the bytes of a regular file, and its status. Of a longer file, return one byte more than `limit`.

    Raises:
        IsADirectoryError: it is a folder.
        OSError: it cannot be read, or is not a regular file.
    """
    # Without O_NONBLOCK a pipe would hold the open until somebody writes to it.
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
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


def read_text(
    file: Path, where: str, limit: int, *, inspect: Callable[[os.stat_result, bytes], str] | None = None
) -> SensitiveStr:
    """Return the text of a regular file of at most `limit` bytes of UTF-8.

    Args:
        file: the file.
        where: the setting or source that names the file, for messages.
        limit: the most that the file may hold, in bytes.
        inspect: given the file's status and content, returns why the file is refused, or the empty string.

    Raises:
        MissingFileError: there is no such file.
        ConfigurationError: another reason. Either names `where` and the file, never what is in it.
    """
    fault, content, kind = "", b"", ConfigurationError
    try:
        content, status = read_bytes(file, limit)
        fault = inspect(status, content) if inspect else ""
    except FileNotFoundError as error:
        fault, kind = error.strerror or "it is not there", MissingFileError
    except (OSError, ValueError) as error:
        fault = (error.strerror if isinstance(error, OSError) else None) or "it cannot be read"
    if len(content) > limit:
        fault = f"it is larger than {limit:,} bytes"
    try:
        text = SensitiveStr(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        text, fault = SensitiveStr(), fault or "it is not UTF-8"
    del content
    # Outside the `except`: a decoder's error holds the whole file.
    if fault:
        raise kind(f"{where}: the file {file}: {fault}")
    return text
