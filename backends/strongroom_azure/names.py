"""Conversion between paths and the names of Key Vault, and the limits that are checked before a request. Pure.

A name of Key Vault has case-insensitive letters, digits and hyphens.
A slash is `--`, as in .NET's configuration, and every character that is not a small letter, a digit or a hyphen is
`-xHEX-`, its code point. A hyphen stands for itself, unless it would be read as a part of one of these: it is `-x2d-`
then. An escape of another character is read literally, so that each name has one path and each path has one name.
Names that are not paths, such as `--a`, cannot be read.

Sources of the limits: https://learn.microsoft.com/azure/key-vault/secrets/about-secrets and
https://learn.microsoft.com/rest/api/keyvault/secrets/set-secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from strongroom.errors import InvalidDataError, InvalidPathError, SecretTooLargeError
from strongroom.paths import check_path
from strongroom.store.one_value import size_of

LONGEST = 127
"""The most characters of a name."""

LARGEST = 25_600
"""The largest value, in bytes."""

_MAX_TAGS = 15
_MAX_TAG = 512

_PLAIN = re.compile(r"[a-z0-9]")
_ESCAPE = re.compile(r"-x([1-9a-f][0-9a-f]{1,5})-")
_HYPHEN = "-"


def name_of(path: str) -> str:
    """Return the name of a path, of any length."""
    name = ""
    for character in reversed(path):
        if character == "/":
            name = f"--{name}"
        elif _PLAIN.match(character) or (character == _HYPHEN and _is_literal(name)):
            name = character + name
        else:
            name = f"-x{ord(character):x}-{name}"
    return name


def path_of(name: str) -> str:
    """Return the path of a name, which the rules for paths may refuse."""
    name = name.lower()
    path, at = "", 0
    while at < len(name):
        if escaped := _escaped(name, at):
            character, at = escaped
        elif name.startswith("--", at):
            character, at = "/", at + 2
        else:
            character, at = name[at], at + 1
        path += character
    return path


def check_name(path: str, prefix: str) -> str:
    """Return the name of the path below the prefix.

    Raises:
        InvalidPathError: it is too long.
    """
    name = name_of(f"{prefix}/{path}" if prefix else path)
    if len(name) > LONGEST:
        rule = f"the most is {LONGEST}, and a slash counts as 2, a capital or another character as 5 or more"
        raise InvalidPathError(path, f"its name in Key Vault has {len(name):,} characters, {rule}")
    return name


def _is_literal(rest: str) -> bool:
    """Return True if a hyphen before this rest of a name is read as a hyphen."""
    return not rest.startswith(_HYPHEN) and _escaped(_HYPHEN + rest, 0) is None


def _escaped(name: str, at: int) -> tuple[str, int] | None:
    """Return the character of the escape at this place, and the end of the escape, or None."""
    found = _ESCAPE.match(name, at)
    if found is None or (code := int(found[1], 16)) > 0x10FFFF:
        return None
    character, end = chr(code), found.end()
    if character == _HYPHEN:
        return (character, end) if not _is_literal(name[end:]) else None
    return (character, end) if character != "/" and not _PLAIN.match(character) and _is_allowed(character) else None


def _is_allowed(character: str) -> bool:
    try:
        check_path(f"x{character}")
    except InvalidPathError:
        return False
    return True


def check_size(content: str, path: str) -> None:
    """Check the size of a value.

    Raises:
        SecretTooLargeError: it is larger than `LARGEST`.
    """
    if (size := size_of(content)) > LARGEST:
        raise SecretTooLargeError(path, f"its form in Key Vault takes {size:,} bytes, the most is {LARGEST:,}")


def check_tags(labels: Mapping[str, str], path: str) -> dict[str, str]:
    """Return the labels as tags.

    Raises:
        InvalidDataError: names the label and the rule, never the text of a label.
    """
    if len(labels) > _MAX_TAGS:
        raise InvalidDataError(path, f"{len(labels)} labels, Key Vault takes {_MAX_TAGS} tags")
    for name, text in labels.items():
        if not 0 < len(name) <= _MAX_TAG or len(text) > _MAX_TAG:
            rule = f"a tag has a name of 1 to {_MAX_TAG} characters, and a text of up to {_MAX_TAG}"
            raise InvalidDataError(path, f"label {name!r} cannot be a tag: {rule}")
    return dict(labels)
