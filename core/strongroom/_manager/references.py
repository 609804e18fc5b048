"""References to secrets in text: `strongroom://PATH#KEY`. Pure apart from the reads, which the caller passes in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes

from strongroom.errors import InvalidDataError, InvalidPathError
from strongroom.paths import check_key, check_path
from strongroom.secret import SensitiveDict, SensitiveList, SensitiveStr

SCHEME = "strongroom://"

_REFERENCE = re.compile(r"strongroom://(?:(?P<path>[\w./+~%-]+)#(?P<key>[\w%-]+(?:[.][\w%-]+)*))?")
"""A reference, or the scheme alone, which is a mistake. Other characters of a path or key are percent-encoded."""

Read: TypeAlias = Callable[[str, str], SensitiveStr]
"""Path and key -> the value as text."""


def interpolate(value: Any, read: Read) -> Any:
    """Return text with a value for each reference, or a mapping with such text in it, at every level.

    Nothing else is replaced: `$NAME`, `{name}` and a reference within a value stay as they are. Text without a
    reference, numbers and other objects are returned unchanged; all containers are new ones, in redacted types.

    Args:
        value: the text or mapping.
        read: reads one key. It is called once for each reference in the value.

    Raises:
        TypeError: the value is neither.
        InvalidPathError: `strongroom://` is not followed by PATH#KEY. Shows nothing of the text around it.
        InvalidDataError: a mapping or list contains itself.
        StrongroomError: the error of `read`.
    """
    if not isinstance(value, str | Mapping):
        raise TypeError(f"interpolate takes text or a mapping, not {type(value).__name__}")
    return _replaced(value, read)


def _replaced(value: Any, read: Read, around: tuple[Any, ...] = ()) -> Any:
    if isinstance(value, str):
        if SCHEME not in value:
            return value
        return SensitiveStr(_REFERENCE.sub(lambda match: read(*_parsed(match)).reveal(), value))
    if not isinstance(value, Mapping | list | tuple):
        return value
    if any(value is outer for outer in around):
        raise InvalidDataError(None, "a mapping or list contains itself")
    around = (*around, value)
    if isinstance(value, Mapping):
        return SensitiveDict((key, _replaced(item, read, around)) for key, item in value.items())
    return SensitiveList(_replaced(item, read, around) for item in value)


def references_in(text: str) -> Iterator[tuple[str, str]]:
    """Yield the path and key of each reference in a text.

    Raises:
        InvalidPathError: see `interpolate`.
    """
    return (_parsed(match) for match in _REFERENCE.finditer(text))


def whole(text: str) -> tuple[str, str] | None:
    """Return the path and key if the text is one reference and nothing else, otherwise None.

    Raises:
        InvalidPathError: see `interpolate`.
    """
    match = _REFERENCE.fullmatch(text)
    return None if match is None else _parsed(match)


def _parsed(match: re.Match[str]) -> tuple[str, str]:
    if match["path"] is None:
        line = match.string.count("\n", 0, match.start()) + 1
        raise InvalidPathError(
            None,
            f"line {line}: {SCHEME} is not followed by PATH#KEY",
            hint="Write strongroom://database/connection#password, with percent-encoding for special characters",
        )
    path, key = (_decoded(match[name]) for name in ("path", "key"))
    return check_path(path), check_key(key, path)


def _decoded(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape")  # a lone surrogate is refused as a path
