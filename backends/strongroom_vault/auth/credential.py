"""Credentials from a file or an environment variable, read anew at each login."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path

from strongroom.errors import ConfigurationError, shown
from strongroom.files.bounded import load_text
from strongroom.secret import SensitiveStr
from strongroom_vault.errors import VaultAuthenticationError

logger = logging.getLogger("strongroom.vault")

MAX_SIZE = 1 << 16
"""The largest credential, in bytes."""

_HINT = "Check that something puts a credential there"


_ALL_USERS = 0o007

_exposed: dict[Path, str] = {}
"""A file of a credential to which every user of the machine has access -> how that is reported."""


def from_file(file: Path, option: str, *, private: bool = True) -> SensitiveStr:
    """Return the current content of the file, without surrounding white space.

    Args:
        file: a regular file, or a link to one.
        option: the option that names the file, for messages.
        private: warn once if every user of the machine has access to it. A group may, since the sink of a Vault Agent
            has mode 0640. The tokens that Kubernetes mounts into a pod have mode 0644.

    Raises:
        VaultAuthenticationError: there is no credential in it, or it cannot be read.
    """

    def note(status: os.stat_result, _content: bytes) -> str:
        exposed = status.st_mode & _ALL_USERS and hasattr(os, "geteuid")  # on Windows, every file has the mode 0666
        if not private or not exposed:
            _exposed.pop(file, None)
        elif file not in _exposed:
            _exposed[file] = f"every user has access to {shown(str(file))} (mode {status.st_mode & 0o777:04o})"
            logger.warning("auth.%s: %s: run chmod 600 on it", option, _exposed[file])
        return ""

    text, fault, _ = load_text(file, MAX_SIZE, note)
    return checked(SensitiveStr(text.strip()), f"auth.{option}: the file {shown(str(file))}", fault)


def exposed(auth: object) -> str:
    """Return that every user has access to a file from which this method has read a credential; empty if none has."""
    return ", ".join(_exposed[file] for file in _files(auth) if file in _exposed)


def file_states(*options: object) -> Iterator[object]:
    """Yield the state of each file that the options name, which is another one once its content has changed."""
    for file in _files(*options):
        with suppress(OSError):
            status = file.stat()
            yield file, status.st_ino, status.st_size, status.st_mtime_ns


def _files(*options: object) -> Iterator[Path]:
    values = (getattr(each, field.name) for each in options if is_dataclass(each) for field in fields(each))
    return (value for value in values if isinstance(value, Path))


def from_variable(name: str, option: str, hint: str = _HINT) -> SensitiveStr:
    """Return the current value of the environment variable, without surrounding white space.

    Raises:
        VaultAuthenticationError: it is not set, or holds no credential.
    """
    text = SensitiveStr(os.environ.get(name, "").strip())
    return checked(
        text, f"auth.{option}: the environment variable {shown(name)}", "" if text else "it is not set", hint
    )


def checked(text: SensitiveStr, where: str, fault: str = "", hint: str = _HINT) -> SensitiveStr:
    """Return the credential, or raise VaultAuthenticationError with its origin if it cannot be one."""
    if not fault and not text:
        fault = "it is empty"
    if not fault and not text.isprintable():
        fault = "it has a line end or another character that no credential has"
    if fault:
        raise VaultAuthenticationError(reason=f"{where}: {fault}", hint=hint)
    return text


def one_of(method: str, **sources: object) -> None:
    """Check that exactly one of these options is given.

    Raises:
        ConfigurationError: none is given, or more than one.
    """
    given = [name for name, value in sources.items() if value is not None]
    if len(given) != 1:
        found = f"not {' and '.join(given)}" if given else "and none is there"
        raise ConfigurationError(f"auth: the method '{method}' takes one of {', '.join(sources)}, {found}")
