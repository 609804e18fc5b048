"""Reading a small text file whole, or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from strongroom.errors import ConfigurationError
from strongroom.model import SensitiveStr


def read_small_file(file: Path, where: str, limit: int) -> SensitiveStr:
    """The text of a regular file of at most `limit` bytes of UTF-8.

    Raises:
        ConfigurationError: names `where` and the file, never what is in it.
    """
    fault, content = "", b""
    try:
        # Without O_NONBLOCK a pipe would hold the open until somebody writes to it.
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as stream:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                content = stream.read(limit + 1)
            else:
                fault = "it is not a regular file"
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
        raise ConfigurationError(f"{where}: the file {file}: {fault}")
    return text
