"""Credentials from a file or an environment variable, read anew at each login."""

from __future__ import annotations

import os
from pathlib import Path

from strongroom.bounded_file import load_text
from strongroom.errors import ConfigurationError, shown
from strongroom.secret import SensitiveStr
from strongroom_vault.errors import VaultAuthenticationError

MAX_SIZE = 1 << 16
"""The largest credential, in bytes."""

_HINT = "Check that something puts a credential there"


def from_file(file: Path, option: str) -> SensitiveStr:
    """Return the current content of the file, without surrounding white space.

    Args:
        file: a regular file, or a link to one.
        option: the option that names the file, for messages.

    Raises:
        VaultAuthenticationError: there is no credential in it, or it cannot be read.
    """
    text, fault, _ = load_text(file, MAX_SIZE)
    return checked(SensitiveStr(text.strip()), f"auth.{option}: the file {shown(str(file))}", fault)


def from_variable(name: str, option: str, hint: str = _HINT) -> SensitiveStr:
    """Return the current value of the environment variable, without surrounding white space.

    Args:
        name: the variable.
        option: the option that names the variable, for messages.
        hint: what to do if the variable is not set.

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
