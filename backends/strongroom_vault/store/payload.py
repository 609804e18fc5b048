"""Limits of a key-value engine and the form of its data: numbers and sizes. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from strongroom.encoding import from_json, to_json
from strongroom.errors import InvalidDataError, SecretTooLargeError
from strongroom.formats.strict_json import MAX_INTEGER, TOO_PRECISE, has_large_integer, inexact_key, is_too_deep
from strongroom.secret import SensitiveDict, SensitiveStr, Value, protect_data

MAX_SIZE = 1024 * 1024 - 512
"""The largest secret, in bytes of JSON as the server writes it.

Raft refuses an entry above 1 MiB with HTTP 500. Measured on OpenBao 2.7.2, the data of a version 2 secret can be
1,048,357 bytes, the rest being its metadata and encryption; the length of the path does not count.
"""

_PLAIN = frozenset({str, int, float, bool, type(None)})
"""The types of JSON values that mean themselves."""

TOO_DEEP = "it is nested too deeply to be read"
"""Why data of another client is invalid."""

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))  # `json.dumps` would make one for each secret

_ESCAPED = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})
"""Characters that the server escapes, for HTML and for JavaScript."""


def prepared(path: str, data: Mapping[str, Value]) -> SensitiveDict:
    """Return the data in JSON's types if the server would return it exactly.

    Raises:
        InvalidDataError: an integer above 2^53 in magnitude. Names the key.
        SecretTooLargeError: more than `MAX_SIZE`.
    """
    for key, value in data.items():
        # A version 2 engine keeps numbers as 64-bit floats.
        if type(value) is not SensitiveStr and has_large_integer(value):
            hint = "Store it as a string"
            raise InvalidDataError(path, f"key {key!r}: an integer above 2^53, which Vault would change", hint=hint)
    form = protect_data({key: v if type(v) is SensitiveStr else to_json(v) for key, v in data.items()})
    if _may_be_too_large(form) and (size := _size(form)) > MAX_SIZE:
        raise SecretTooLargeError(path, f"{size:,} bytes as JSON, the most is {MAX_SIZE:,}")
    return form


def restored(form: Mapping[str, Any]) -> SensitiveDict:
    """Return the data that `prepared` turned into this form.

    Raises:
        InvalidDataError: it is nested too deeply, or a number would be rounded, as in another client's secret.
    """
    if all([type(value) in _PLAIN for value in form.values()]):  # nearly every secret  # noqa: C419  # faster
        return SensitiveDict({key: SensitiveStr(v) if type(v) is str else v for key, v in form.items()})
    if is_too_deep(form):
        raise InvalidDataError(reason=TOO_DEEP)
    if (key := inexact_key(form)) is not None:
        raise InvalidDataError(reason=f"key {key!r}: {TOO_PRECISE}")
    return SensitiveDict({key: from_json(value) for key, value in form.items()})


def stored_number(digits: str) -> float:
    """Return the number that a version 2 engine holds if it shows these digits.

    It holds a float, and writes one below 1e21 as an integer with just enough digits to identify the float. Above 2^53
    the float is the value and the digits are not.
    """
    number = int(digits)
    return float(number) if abs(number) > MAX_INTEGER else number


def _may_be_too_large(form: Mapping[str, Any]) -> bool:
    """Return False if the form is certainly small enough: encoding a secret only to measure it takes longer.

    The server writes a character of text in at most six bytes, and a number in at most 25.
    """
    most = 2
    for key, value in form.items():
        if type(value) is SensitiveStr:
            most += 6 * (len(key) + len(value)) + 6
        elif type(value) in _PLAIN:
            most += 6 * len(key) + 32
        else:
            return True
    return most > MAX_SIZE


def _size(form: Mapping[str, Any]) -> int:
    return len(_ENCODER.encode(form).translate(_ESCAPED).encode())
