"""Files and variables that a store's options name, or its library reads: part of the identity for the disk cache."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from strongroom.secret import Value

_LARGEST_FILE = 1 << 16
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]+")


def named_contents(value: Any) -> dict[str, Value]:
    """Return the contents of the files and variables that an option's value names: a credential may be in them.

    Args:
        value: a value of the configuration, with texts in the place of paths.
    """
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        return {name: content for item in value for name, content in named_contents(item).items()}
    if not isinstance(value, str):
        return {}
    if _VARIABLE.fullmatch(value) and value in os.environ:
        return {value: os.environ[value]}
    return _file_contents(value)  # a relative file too: services with equal options run in different folders


def library_contents(prefix: str, files: Iterable[str]) -> dict[str, Value]:
    """Return the variables with this prefix, and the contents of these files, as far as they exist.

    Args:
        prefix: the beginning of the names of all variables that a store's library reads.
        files: the files that it reads; `~` is the home folder.
    """
    found: dict[str, Value] = {name: text for name, text in os.environ.items() if name.startswith(prefix)}
    for file in files:
        found |= _file_contents(file)
    return found


def _file_contents(name: str) -> dict[str, Value]:
    """Return the path of the file with its content; nothing if it cannot be read."""
    from pathlib import Path  # here, since every import of Strongroom loads this module

    from strongroom.bounded_file import read_bytes

    try:
        file = Path(name).expanduser()
        return {str(file): read_bytes(file, _LARGEST_FILE)[0]}
    except (OSError, ValueError, RuntimeError):
        return {}
