"""Content of stdin and of files that a command line names, within a size limit."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from strongroom.files.bounded import read_bytes

MAX_SIZE = 32 << 20
"""Size limit of a file and of stdin, in bytes: Vault's default limit for one request."""


def read_file(name: str, source: str) -> bytes:
    """Return the content of a file. Messages name the file as `source`.

    Raises:
        click.UsageError: the file cannot be read, or is too large.
    """
    fault, content = "", b""
    try:
        content, _ = read_bytes(Path(name).expanduser(), MAX_SIZE)
    except (OSError, ValueError, RuntimeError) as error:
        fault = (error.strerror if isinstance(error, OSError) else None) or "invalid file name"
    if fault:
        raise click.UsageError(f"{source} cannot be read: {fault}")
    return _check_size(content, source)


def read_stdin() -> bytes:
    """Return all of stdin.

    Raises:
        click.UsageError: it is too large.
    """
    return _check_size(sys.stdin.buffer.read(MAX_SIZE + 1), "Stdin")


def _check_size(content: bytes, source: str) -> bytes:
    if len(content) > MAX_SIZE:
        raise click.UsageError(f"{source} is larger than {MAX_SIZE:,} bytes")
    return content
