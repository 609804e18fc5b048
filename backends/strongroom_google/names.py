"""Conversion between paths and the names of secrets at Google, without loss, and Google's limits. Pure.

A name at Google has up to 255 letters, digits, `-` and `_`. A path becomes a name by three rules:

- Letters, digits, `-` and `_` stay. An existing name such as `db_password` is the path of the same spelling.
- `/` becomes `--`.
- Any other character becomes `_xHH_` for each byte of its UTF-8 form. So does a `-` or `_` that would otherwise be read
  as a part of `--` or of such an escape.

No two paths have the same name. A name that no path has, such as `a_x2d_b`, is not a secret of this store.

Limits: https://docs.cloud.google.com/secret-manager/quotas and
https://docs.cloud.google.com/secret-manager/docs/reference/rpc/google.cloud.secretmanager.v1.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from strongroom.errors import InvalidDataError, InvalidPathError, SecretNotFoundError
from strongroom.secret import Version

MAX_SIZE = 65_536
"""The largest payload of a version, in bytes."""

_MAX_NAME = 255
_MAX_LABELS = 64
_MAX_LABEL = 63
_MAX_LABEL_BYTES = 128
_RESERVED_LABEL = "goog-"

_BYTE = "_x[89ab][0-9a-f]_"
# A letter or a digit is never escaped, so that `driver_x64_key` is an ordinary name.
_ESCAPE = (
    "(?:_x(?:2[0-9a-e]|3[a-f]|40|5[b-f]|60|7[b-e])_"  # one character of ASCII
    f"|_x[cd][0-9a-f]_{_BYTE}|_xe[0-9a-f]_(?:{_BYTE}){{2}}|_xf[0-7]_(?:{_BYTE}){{3}})"
)
_ESCAPED = re.compile(f"--|{_ESCAPE}")
_STARTS_ESCAPE = re.compile(_ESCAPE)
_PLAIN = re.compile(r"[A-Za-z0-9]")
_VERSION = re.compile(r"[1-9][0-9]{0,17}|[A-Za-z][A-Za-z0-9_-]{0,62}")


def name_of(path: str) -> str:
    """Return the name of the secret at a path.

    Raises:
        InvalidPathError: the name would be too long.
    """
    name = encode(path)
    if len(name) > _MAX_NAME:
        raise InvalidPathError(path, f"its name at Google has {len(name):,} characters, the most is {_MAX_NAME}")
    return name


def encode(path: str) -> str:
    """Return the name of a path, of any length."""
    name = ""
    for character in reversed(path):
        is_plain = (
            _PLAIN.fullmatch(character)
            or (character == "-" and not name.startswith("-"))
            or (character == "_" and not _STARTS_ESCAPE.match("_" + name))
        )
        name = (character if is_plain else "--" if character == "/" else _escaped(character)) + name
    return name


def path_of(name: str) -> str | None:
    """Return the path of a name, or None if no path has that name."""
    try:
        path = _ESCAPED.sub(lambda found: "/" if found[0] == "--" else _unescaped(found[0]), name)
    except UnicodeDecodeError:
        return None
    return path if encode(path) == name else None


def check_version(version: Version, path: str) -> str:
    """Return the version as a part of a resource's name, if it is a number or can be an alias.

    Raises:
        SecretNotFoundError: it is neither, so no secret has it.
    """
    named = str(version)
    if not _VERSION.fullmatch(named):
        raise SecretNotFoundError(path, "no version has that name, which is neither a number nor an alias")
    return named


def is_reserved(label: str) -> bool:
    """Return True for a label that Google sets itself."""
    return label.startswith(_RESERVED_LABEL)


def check_labels(labels: Mapping[str, str], path: str) -> None:
    """Check that Google accepts these labels.

    Raises:
        InvalidDataError: names the label and the rule, never the label's text.
    """
    if len(labels) > _MAX_LABELS:
        raise InvalidDataError(path, f"{len(labels)} labels, Google takes {_MAX_LABELS}")
    rule = f"Google takes up to {_MAX_LABEL} lowercase letters, digits, _ and -"
    for label, text in labels.items():
        if (
            not _is_label(label)
            or not label
            or unicodedata.category(label[0]) not in {"Ll", "Lo"}
            or is_reserved(label)
        ):
            raise InvalidDataError(path, f"label {label!r} cannot be one of Google: {rule}, first a letter, not goog-")
        if not _is_label(text):
            raise InvalidDataError(path, f"what label {label!r} says cannot be the text of a label: {rule}")


def _is_label(text: str) -> bool:
    within = len(text) <= _MAX_LABEL and len(text.encode()) <= _MAX_LABEL_BYTES
    return within and all(
        one in "_-" or (kind := unicodedata.category(one)) in {"Ll", "Lo"} or kind[0] == "N" for one in text
    )


def _escaped(character: str) -> str:
    return "".join(f"_x{byte:02x}_" for byte in character.encode())


def _unescaped(escape: str) -> str:
    return bytes.fromhex(escape.replace("_x", "").replace("_", "")).decode()
