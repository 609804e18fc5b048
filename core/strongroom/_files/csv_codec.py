"""The format `csv` (RFC 4180): a row for each key, with the columns `path`, `key`, `value` and `type`.

A spreadsheet reads a value that begins with `=`, `+`, `-` or `@` as a formula. It is not escaped, because the escape
would become a part of the value when the file is read back.
"""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Mapping

from strongroom._files.codec import Contents, as_text, check_marks, check_numbers, checked
from strongroom.encoding import from_json, json_text
from strongroom.errors import InvalidDataError
from strongroom.formats.strict_json import read_json
from strongroom.secret import SensitiveDict, SensitiveStr, Value, protect

MAX_MARKS = 600_000
"""The most commas and line ends of a file."""

_COLUMNS = ("path", "key", "value", "type")
_REQUIRED = _COLUMNS[:3]
_TEXT = "text"
_BASE64 = "base64"
_JSON = "json"


class CsvCodec:
    """The format `csv`. It holds every value. `type` is text, base64 or json; the column is optional."""

    name = "CSV"
    keeps_more = False

    def __init__(self, largest_field: int) -> None:
        self._largest_field = largest_field

    def decode(self, content: bytes) -> dict[str, SensitiveDict]:
        """Return the secrets in the rows. The same path and key in two rows is an error."""
        # The limit is global to the process and lower than the size of a secret. Raising it is harmless.
        csv.field_size_limit(max(csv.field_size_limit(), self._largest_field))
        text = as_text(content)
        check_marks(text, ",\n\r", MAX_MARKS)
        rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        secrets: dict[str, SensitiveDict] = {}
        columns: list[str] | None = None
        line, fault = 0, ""
        try:
            for row in rows:
                line = rows.line_num
                if not row:
                    continue
                if columns is None:
                    columns = _columns(row)
                    continue
                if len(row) != len(columns):
                    raise InvalidDataError(None, f"line {line}: it has {len(row)} fields, and not {len(columns)}")
                _add(secrets, dict(zip(columns, row, strict=True)), line)
        except csv.Error:
            fault = f"line {line + 1}: it is not CSV: is a quote left open?"
        # Outside the `except`: the parser's error holds the text.
        if fault:
            raise InvalidDataError(None, fault)
        return {path: checked(path, data) for path, data in secrets.items()}

    def encode(self, contents: Contents, before: bytes) -> bytes:
        """Quote every field, so that its blanks and line ends are kept."""
        del before
        text = io.StringIO(newline="")
        rows = csv.writer(text, quoting=csv.QUOTE_ALL)
        rows.writerow(_COLUMNS)
        for path, data in contents.items():
            for key, value in data.items():
                rows.writerow((path, key, *_to_typed(path, key, value)))
        return text.getvalue().encode()

    vet = staticmethod(check_numbers)


def _columns(row: list[str]) -> list[str]:
    if not (set(_REQUIRED) <= set(row) <= set(_COLUMNS) and len(set(row)) == len(row)):
        # The row is not shown: a file without a header begins with a secret.
        raise InvalidDataError(None, f"the first row must name the columns {', '.join(_COLUMNS)}, with commas between")
    return row


def _add(secrets: dict[str, SensitiveDict], row: Mapping[str, str], line: int) -> None:
    path, key = row["path"], row["key"]
    data = secrets.setdefault(path, SensitiveDict())
    if key in data:
        raise InvalidDataError(path, f"line {line}: key {key!r} appears twice")
    data[key] = _from_typed(path, key, row["value"], row.get("type") or _TEXT)


# --- typed values -----------------------------------------------------------------------------------------------------


def _to_typed(path: str, key: str, value: Value) -> tuple[SensitiveStr, str]:
    """Return the text of a value and its type: text is unchanged, bytes become base64, everything else JSON.

    Raises:
        InvalidDataError: a number has more digits than Python reads.
    """
    if isinstance(value, str):
        return SensitiveStr(value), _TEXT
    if isinstance(value, bytes):
        return SensitiveStr(base64.b64encode(value).decode("ascii")), _BASE64
    return json_text(path, key, value), _JSON


def _from_typed(path: str, key: str, text: str, kind: str) -> Value:
    """Return the value that `_to_typed` converted.

    Raises:
        InvalidDataError: the type is unknown, or the text is not valid for it.
    """
    if kind == _TEXT:
        return SensitiveStr(text)
    fault = f"its type is not one of {_TEXT}, {_BASE64}, {_JSON}" if kind not in {_BASE64, _JSON} else ""
    if kind == _BASE64:
        try:
            return protect(base64.b64decode(text, validate=True))
        except ValueError:
            fault = "it is not base64"
    if kind == _JSON:
        try:
            return from_json(read_json(text))
        except InvalidDataError as error:
            fault = error.reason
    text = ""
    raise InvalidDataError(path, f"key {key!r}: {fault}")
