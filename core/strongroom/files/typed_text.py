"""Any value as text and the name of its type, for formats that hold only text. Shared by CSV and its tests; pure."""

from __future__ import annotations

import base64
import binascii

from strongroom.encoding import from_json
from strongroom.errors import InvalidDataError
from strongroom.files.json_codec import json_text, read_json
from strongroom.secret import SensitiveStr, Value, protect

TEXT = "text"
BASE64 = "base64"
JSON = "json"


def to_typed(path: str, key: str, value: Value) -> tuple[SensitiveStr, str]:
    """Return the text of a value and its type: text is unchanged, bytes become base64, everything else JSON.

    Raises:
        InvalidDataError: a number has more digits than Python reads.
    """
    if isinstance(value, str):
        return SensitiveStr(value), TEXT
    if isinstance(value, bytes):
        return SensitiveStr(base64.b64encode(value).decode("ascii")), BASE64
    return json_text(path, key, value), JSON


def from_typed(path: str, key: str, text: str, kind: str) -> Value:
    """Return the value that `to_typed` converted.

    Raises:
        InvalidDataError: the type is unknown, or the text is not valid for it.
    """
    if kind == TEXT:
        return SensitiveStr(text)
    fault = f"{kind!r} is no type: one of {TEXT}, {BASE64}, {JSON}" if kind not in {BASE64, JSON} else ""
    if kind == BASE64:
        try:
            return protect(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            fault = "it is not base64"
    if kind == JSON:
        try:
            return from_json(read_json(text))
        except InvalidDataError as error:
            fault = error.reason
    text = ""
    raise InvalidDataError(path, f"key {key!r}: {fault}")
