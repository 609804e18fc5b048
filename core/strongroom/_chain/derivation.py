"""Values that are derived from others: `extract` and `compose` of `[secrets]`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import copy
from urllib.parse import quote

from strongroom._chain.answer import MISSING, Missing
from strongroom._chain.resolution import Read, Resolution
from strongroom._config import Composition
from strongroom.encoding import as_text, from_json
from strongroom.errors import Answer, Attempt, InvalidDataError, SecretNotFoundError, StrongroomError
from strongroom.secret import SensitiveStr, Value, observed, protect

COMPOSED_STORE = "composed"
"""The store that a `Resolution` names if the value was composed of other secrets."""

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


# --- a part of a JSON document ----------------------------------------------------------------------------------------


def extracted(found: Resolution, pointer: str, row: str) -> Resolution:
    """Return the resolution with the part of its value at a JSON pointer (RFC 6901). Text is read as JSON.

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


# --- text that is composed of other secrets ---------------------------------------------------------------------------


def compose(path: str, key: str, composition: Composition, read: Read) -> Resolution:
    """Return the value that is composed of other secrets, as old and as stale as the oldest of them.

    Raises:
        SecretNotFoundError, StoreError: a part could not be read. The error names the part.
        InvalidDataError: a part has no text.
    """
    parts: list[Resolution] = []
    text: list[str] = []
    for literal, row in composition.parts:
        text.append(literal)
        if row is not None:
            found = read(row.path, row.key)
            parts.append(found if row.extract is None else extracted(found, row.extract, row.variable))
            part = as_text(parts[-1].value, row.path, row.key)
            text.append(quote(part, safe="") if composition.is_url else part.reveal())
    names = ", ".join(dict.fromkeys(f"{part.path}#{part.key}" for part in parts))
    return Resolution(
        path=path,
        key=key,
        value=SensitiveStr("".join(text)),
        store=COMPOSED_STORE,
        version=None,
        age=max(part.age for part in parts),
        cached=all(part.cached for part in parts),
        stale=any(part.stale for part in parts),
        attempts=(Attempt(COMPOSED_STORE, Answer.FOUND, f"composed of {names}"),),
        ttl=min((part.ttl for part in parts if part.ttl is not None), default=None),
    )
