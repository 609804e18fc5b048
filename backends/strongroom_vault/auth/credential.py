"""Credentials that are read anew at each login, from a file or a variable that somebody keeps fresh."""

from __future__ import annotations

import os
from pathlib import Path

from strongroom.bounded_file import load_text
from strongroom.errors import ConfigurationError, shown
from strongroom.secret import SensitiveStr
from strongroom_vault.errors import VaultAuthenticationError

MAX_SIZE = 1 << 16
"""The largest credential that is read, in bytes."""

_HINT = "Check that something puts a credential there"


def from_file(file: Path, option: str) -> SensitiveStr:
    """What the file holds now, without the white space around it.

    Args:
        file: a regular file, or a link to one.
        option: the option that names it, for messages.

    Raises:
        VaultAuthenticationError: there is no credential in it, or it cannot be read.
    """
    text, fault, _ = load_text(file, MAX_SIZE)
    return checked(SensitiveStr(text.strip()), f"auth.{option}: the file {shown(str(file))}", fault)


def from_variable(name: str, option: str, hint: str = _HINT) -> SensitiveStr:
    """What the environment variable holds now, without the white space around it.

    Args:
        name: the variable.
        option: the option that names it, for messages.
        hint: what to do where it holds nothing.

    Raises:
        VaultAuthenticationError: it is not set, or holds no credential.
    """
    text = SensitiveStr(os.environ.get(name, "").strip())
    return checked(
        text, f"auth.{option}: the environment variable {shown(name)}", "" if text else "it is not set", hint
    )


def checked(text: SensitiveStr, where: str, fault: str = "", hint: str = _HINT) -> SensitiveStr:
    """The credential itself; raises for one that is none, and says where it was looked for."""
    if not fault and not text:
        fault = "it is empty"
    if not fault and not text.isprintable():
        fault = "it has a line end or another character that no credential has"
    if fault:
        raise VaultAuthenticationError(reason=f"{where}: {fault}", hint=hint)
    return text


def one_of(method: str, **sources: object) -> None:
    """Checks that exactly one of these options is given.

    Raises:
        ConfigurationError: none is, or more than one.
    """
    given = [name for name, value in sources.items() if value is not None]
    if len(given) != 1:
        found = f"not {' and '.join(given)}" if given else "and none is there"
        raise ConfigurationError(f"auth: the method '{method}' takes one of {', '.join(sources)}, {found}")
