"""Files and variables that a store's options name, or botocore reads: part of the identity for the disk cache."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from strongroom.secret import Value

_LARGEST_FILE = 1 << 16
_BOTOCORE_FILES = (("AWS_CONFIG_FILE", "~/.aws/config"), ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"))
_OLDER_FILES = ("~/.boto", "/etc/boto.cfg")
_OLDER_VARIABLES = ("AWS_CREDENTIAL_FILE", "BOTO_CONFIG")
_VARIABLE = r"[A-Z][A-Z0-9_]+"


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
    if re.fullmatch(_VARIABLE, value) and value in os.environ:
        return {value: os.environ[value]}
    return _file_contents(value)  # a relative file too: services with equal options run in different folders


def botocore_contents() -> dict[str, Value] | None:
    """Return the AWS_* variables and the files in which botocore finds profiles and credentials.

    They decide about account and role, unless a program gives the credentials: the result is None then. The role
    of a machine or task is not among them, and is bound to the machine as the disk cache is.
    """
    files = [os.environ.get(variable) or usual for variable, usual in _BOTOCORE_FILES]
    files += [*_OLDER_FILES, *filter(None, map(os.environ.get, _OLDER_VARIABLES))]
    found: dict[str, Value] = {name: text for name, text in os.environ.items() if name.startswith("AWS_")}
    for file in files:
        found |= _file_contents(file)
    if any(isinstance(content, bytes) and b"credential_process" in content for content in found.values()):
        return None
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
