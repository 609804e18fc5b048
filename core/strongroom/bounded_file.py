"""Reading a small file whole, or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from strongroom.errors import ConfigurationError, MissingFileError
from strongroom.secret import SensitiveStr


def read_bytes(file: Path, limit: int) -> tuple[bytes, int]:
    """The bytes of a regular file, and its mode. One byte more than `limit` is what a longer file gives.

    Raises:
        IsADirectoryError: it is a folder.
        OSError: it cannot be read, or is not a regular file.
    """
    # Without O_NONBLOCK a pipe would hold the open until somebody writes to it.
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder, not a file", str(file))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(file))
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            return stream.read(limit + 1), mode
    finally:
        os.close(descriptor)


def read_text(file: Path, where: str, limit: int) -> SensitiveStr:
    """The text of a regular file of at most `limit` bytes of UTF-8.

    Raises:
        MissingFileError: there is no such file.
        ConfigurationError: another reason. Either names `where` and the file, never what is in it.
    """
    fault, content, kind = "", b"", ConfigurationError
    try:
        content, _ = read_bytes(file, limit)
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
