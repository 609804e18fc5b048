"""Values as JSON, as text, and as the requested type. Nothing is rounded or cut."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from strongroom.errors import InvalidDataError
from strongroom.secret import SENSITIVE, SensitiveBytes, SensitiveDict, SensitiveList, SensitiveStr, Value

if TYPE_CHECKING:
    from json import JSONEncoder

_T = TypeVar("_T")

_BYTES = "strongroom:bytes"


def to_json(value: Value) -> Any:
    """Return the value in JSON types: the exact inverse of `from_json`.

    Bytes become `{"strongroom:bytes": "<base64>"}`; a mapping that looks like that is wrapped once more.
    """
    if isinstance(value, bytes):
        return {_BYTES: base64.b64encode(value).decode("ascii")}
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        inner = {key: to_json(item) for key, item in value.items()}
        return {_BYTES: inner} if set(inner) == {_BYTES} else inner
    if isinstance(value, Sequence):
        return [to_json(item) for item in value]
    return value


def from_json(value: Any) -> Value:
    """Return the value that `to_json` wrote, in redacted types. Other JSON is returned unchanged."""
    if isinstance(value, dict):
        if len(value) == 1 and _BYTES in value:
            inner = value[_BYTES]
            if isinstance(inner, str):
                try:
                    return SensitiveBytes(base64.b64decode(inner, validate=True))
                except ValueError:
                    return SensitiveDict({_BYTES: SensitiveStr(inner)})
            if isinstance(inner, dict) and len(inner) == 1 and _BYTES in inner:
                return SensitiveDict({_BYTES: from_json(inner[_BYTES])})
        return SensitiveDict((key, from_json(item)) for key, item in value.items())
    if isinstance(value, list):
        return SensitiveList(map(from_json, value))
    return SensitiveStr(value) if isinstance(value, str) else cast("Value", value)


def to_json_text(value: Value) -> str:
    """Return the value as compact JSON text: the text of a number, a boolean or a container."""
    return _encoder().encode(to_json(value))


def json_text(path: str, key: str, value: Value) -> SensitiveStr:
    """Return `to_json_text`, for a store.

    Raises:
        InvalidDataError: an integer has more digits than Python reads.
    """
    try:
        return SensitiveStr(to_json_text(value))
    except ValueError:
        value = None
    raise InvalidDataError(path, f"key {key!r}: a number with too many digits")


@cache
def _encoder() -> JSONEncoder:
    """Return an encoder, made once: `json.dumps` would make one for each value."""
    import json

    return json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


TYPES = (str, bytes, int, float, bool, dict, list, object)

# `t` and `f` too: Vault's own client takes them in VAULT_SKIP_VERIFY (https://pkg.go.dev/strconv#ParseBool).
_BOOLEANS = {
    **dict.fromkeys(("true", "1", "yes", "on", "t"), True),
    **dict.fromkeys(("false", "0", "no", "off", "f"), False),
}


def read_scalar(text: str, wanted: type) -> bool | int | float | None:
    """Return the boolean, integer or float that text stands for, or None. Nothing is rounded.

    A boolean is read in any case. There may be spaces around each.

    Args:
        text: of a secret, a setting or an option.
        wanted: `bool`, `int` or `float`.
    """
    if wanted is bool:
        return _BOOLEANS.get(text.strip().lower())
    if "_" in text or not text.isascii():  # Python alone reads 1_000 and the digits of other scripts
        return None
    try:
        return int(text) if wanted is int else _exact_float(_number(text))
    except (ValueError, OverflowError):
        return None


def as_text(value: Value, path: str | None, key: str) -> SensitiveStr:
    """Return a string as it is, and other values as JSON text, so that Vault's 5432 equals the environment's.

    Raises:
        InvalidDataError: null and bytes have no text; the message names `as_=`.
    """
    if isinstance(value, str):
        return value if type(value) is SensitiveStr else SensitiveStr(value)
    if value is None or isinstance(value, bytes):
        kind, wanted = ("null", "object") if value is None else ("bytes", "bytes")
        raise InvalidDataError(path, f"key {key!r} holds {kind}, not text", hint=f"Ask for it with as_={wanted}")
    return SensitiveStr(to_json_text(value))


def as_unicode(value: Value, path: str | None, key: str) -> SensitiveStr:
    """Return `as_text`, for code that encodes it, where an error would hold the text.

    Raises:
        InvalidDataError: also for a lone surrogate, which a store may hold that others write.
    """
    text = as_text(value, path, key)
    if text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text):
        return text
    del text, value
    raise InvalidDataError(path, f"key {key!r} holds a lone surrogate, so it is not valid Unicode")


def check_type(wanted: object) -> None:
    """Raise TypeError if `convert` has no such type."""
    if not any(wanted is known for known in TYPES + SENSITIVE):
        given = wanted.__name__ if isinstance(wanted, type) else type(wanted).__name__
        raise TypeError(f"as_ is one of {', '.join(known.__name__ for known in TYPES)}, not {given}")


def convert(value: Value, wanted: type[_T], path: str, key: str) -> _T:
    """Return the value as `wanted`, a type that `check_type` accepts; `object` is the stored value.

    Text is read as the requested type, since an environment variable is always text. A boolean is one of true, false,
    1, 0, yes, no, on, off, t, f. Nothing is rounded or cut.

    Raises:
        InvalidDataError: the stored value is not of that type. The message does not show it.
    """
    if wanted is object:
        return cast("_T", value)
    converted = _converted(value, wanted, path, key)
    if not isinstance(converted, wanted) or (wanted is int and isinstance(converted, bool)):
        value = None
        raise InvalidDataError(path, f"key {key!r} does not hold {wanted.__name__}")
    return converted


def _converted(value: Value, wanted: type, path: str, key: str) -> object:
    """Return the value as `wanted`, or None. A parser's own error would quote the text."""
    if wanted is str or wanted is SensitiveStr:
        return as_text(value, path, key)
    try:
        return _parsed(value, wanted)
    except (ValueError, OverflowError, InvalidDataError):
        return None


def _parsed(value: Value, wanted: type) -> object:
    if wanted is bytes:
        return SensitiveBytes(value.encode()) if isinstance(value, str) else value
    if isinstance(value, str) and wanted in {bool, int, float}:
        return read_scalar(value, wanted)
    if wanted is int:
        return int(value) if isinstance(value, float) and value.is_integer() else value
    if wanted is float:
        return _exact_float(value)
    if wanted in {dict, list} and isinstance(value, str):
        from strongroom.formats.strict_json import read_json

        return from_json(read_json(value))
    return value


def _number(text: str) -> int | float:
    """Return text as an integer if possible: as a float it might be rounded."""
    if not any(mark in text for mark in ".eEnN"):
        return int(text)
    from strongroom.formats.strict_json import exact_float

    return exact_float(text)


def _exact_float(value: object) -> float | None:
    """Return a number as a finite float, or None: above 2^53 not every integer is a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value)
    return number if number == value and math.isfinite(number) else None
