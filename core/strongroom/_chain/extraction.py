"""A part of a value that is a JSON document: `extract` of `[secrets]`, a JSON pointer (RFC 6901)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import copy

from strongroom._chain.answer import MISSING, Missing
from strongroom._chain.resolution import Resolution
from strongroom.encoding import from_json
from strongroom.errors import InvalidDataError, SecretNotFoundError, StrongroomError
from strongroom.secret import Value, observed, protect

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


def extracted(found: Resolution, pointer: str, row: str) -> Resolution:
    """Return the resolution with the part of its value at the pointer. Text is read as JSON.

    Args:
        found: the resolution of one key.
        pointer: such as `/database/password`.
        row: the name of the row, for messages.

    Raises:
        SecretNotFoundError: the document has nothing there.
        InvalidDataError: the value is text that is not JSON.
    """
    part = _at(_document(found, row), pointer)
    if part is MISSING:
        reason = f"{row}: key {found.key!r} has nothing at {pointer!r}"
        raise SecretNotFoundError(found.path, reason, store=found.store)
    observed(found.path, {found.key or "": part})  # the part of a text is another value than the text, for redaction
    result = copy(found)
    result.value = protect(part)
    return result


def _document(found: Resolution, row: str) -> Value:
    if not isinstance(found.value, str):
        return found.value
    from strongroom.formats.strict_json import read_json

    try:
        return from_json(read_json(found.value))
    except StrongroomError as error:
        fault = error.reason if isinstance(error, InvalidDataError) else "it is not JSON"
    raise InvalidDataError(found.path, f"{row}: key {found.key!r}: {fault}", store=found.store)


def _at(value: Value, pointer: str) -> Value | Missing:
    for escaped in pointer.split("/")[1:]:
        name = escaped.replace("~1", "/").replace("~0", "~")  # in this order: ~01 is the name ~1
        if isinstance(value, Mapping) and name in value:
            value = value[name]
        elif isinstance(value, list) and _INDEX.fullmatch(name) and int(name) < len(value):
            value = value[int(name)]
        else:
            return MISSING
    return value
