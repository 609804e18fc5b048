"""Conversion between paths and the names of Key Vault, which are case-insensitive letters, digits and hyphens. Pure.

A slash is `--`, as in .NET's configuration, and every character that is not a small letter, a digit or a hyphen is
`-xHEX-`, its code point. A hyphen stands for itself, unless it would be read as a part of one of these: it is `-x2d-`
then. An escape of another character is read literally, so that each name has one path and each path has one name.
Names that are not paths, such as `--a`, cannot be read.
"""

from __future__ import annotations

import re

from strongroom.errors import InvalidPathError
from strongroom.paths import check_path

LONGEST = 127

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
