"""Reading a value as the type of an option: TOML types stay, text is read as the requested type.

msgspec.convert was tried: 59 lines less, but 78 of 2,332 pairs of a value and a type came out otherwise (secrets in
lists as plain text, `null` as None, ` 1 ` refused), and its import costs 16 ms. cattrs reads `bool("false")` as True.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin

from strongroom.encoding import read_boolean
from strongroom.secret import protect

MISMATCH: Final = object()
"""What `read_value` returns for a value that is not of the type. An error would carry the value."""


def members(hint: Any) -> tuple[Any, ...]:
    """Return the types of a union, or the hint itself."""
    return get_args(hint) if get_origin(hint) in {Union, types.UnionType} else (hint,)


def read_json(text: str) -> object:
    """Return the list or table that the text is as JSON, in redacted types; otherwise the text."""
    if text.lstrip().startswith(("[", "{")):
        from strongroom.errors import InvalidDataError
        from strongroom.strict_json import read_json as read_strictly

        try:
            return protect(read_strictly(text))
        except InvalidDataError:
            pass
    return text


def read_value(value: object, hint: Any, *, text: bool, folder: Path | None = None) -> object:
    """Return the value as the type of an option, or `MISMATCH`.

    Args:
        value: from TOML or from an argument; or text, of a variable or a file.
        hint: the option's type, without `Annotated`.
        text: whether it comes from a variable or a file: text is read as the requested type.
        folder: the base of a relative path.
    """
    union = members(hint)
    if len(union) > 1:
        # Text is everything's string, and a string is a list of one: the other types are tried first.
        ordered = sorted(union, key=lambda member: 2 if list in {member, get_origin(member)} else member is str)
        read = (read_value(value, member, text=text, folder=folder) for member in ordered)
        return next((item for item in read if item is not MISMATCH), MISMATCH)
    if hint is list or get_origin(hint) is list:
        return _list(value, *(get_args(hint) or (str,)), text=text, folder=folder)
    if hint is dict or get_origin(hint) is dict:
        return _dict(value, (get_args(hint) or (str, object))[1], text=text, folder=folder)
    return _single(value, hint, text=text, folder=folder)


def _single(value: object, hint: Any, *, text: bool, folder: Path | None) -> object:
    if hint is type(None):
        return None if value is None else MISMATCH
    if get_origin(hint) is Literal:
        return _literal(value, get_args(hint), text=text)
    if hint in {object, Any}:
        return value
    if hint is Path:
        return _path(value, folder)
    return _scalar_of_text(value, hint) if text and isinstance(value, str) else _scalar(value, hint)


def _literal(value: object, allowed: Sequence[object], *, text: bool) -> object:
    for item in allowed:
        if value == item and isinstance(value, bool) == isinstance(item, bool):
            return item
        if text and value == str(item):
            return item
    return MISMATCH


def _list(value: object, hint: Any, *, text: bool, folder: Path | None) -> object:
    if isinstance(value, str | Path):
        value = [value]
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        return MISMATCH
    items = [read_value(item, hint, text=text, folder=folder) for item in value]
    return MISMATCH if any(item is MISMATCH for item in items) else items


def _dict(value: object, hint: Any, *, text: bool, folder: Path | None) -> object:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        return MISMATCH
    items = {name: read_value(item, hint, text=text, folder=folder) for name, item in value.items()}
    return MISMATCH if any(item is MISMATCH for item in items.values()) else items


def _path(value: object, folder: Path | None) -> object:
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        return MISMATCH
    try:
        path = Path(str(value)).expanduser()
    except RuntimeError:
        return MISMATCH
    return path if folder is None else folder / path


def _scalar(value: object, hint: Any) -> object:
    if hint is bool or isinstance(value, bool):
        return value if hint is bool and isinstance(value, bool) else MISMATCH
    if hint is float and isinstance(value, int | float):
        return _finite(value)
    return value if isinstance(value, hint) else MISMATCH


def _scalar_of_text(value: str, hint: Any) -> object:
    if hint is str:
        return value
    if hint is bool:
        return MISMATCH if (read := read_boolean(value)) is None else read
    try:
        return int(value) if hint is int else _finite(float(value))
    except ValueError:
        return MISMATCH


def _finite(value: float) -> object:
    try:
        number = float(value)
    except OverflowError:
        return MISMATCH
    return number if math.isfinite(number) else MISMATCH
