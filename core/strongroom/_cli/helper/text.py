"""Requests and values as the protocols carry them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from strongroom.encoding import as_text
from strongroom.errors import InvalidDataError

if TYPE_CHECKING:
    from strongroom._chain.answer import Resolution

LONGEST_REQUEST = 1 << 20
"""Bytes that a request may have."""


def request_object(content: bytes) -> Mapping[str, Any]:
    """Return the JSON object that a request is; an empty one if it is malformed, or too long."""
    from strongroom.formats.strict_json import read_json  # git's requests are not JSON

    with suppress(ValueError, InvalidDataError):
        document = read_json(content.decode()) if len(content) <= LONGEST_REQUEST else None
        if isinstance(document, dict):
            return document
    return {}


def text_of(found: Resolution) -> str:
    """Return the value of a key as text.

    Raises:
        InvalidDataError: it is null, or bytes.
    """
    value, key = found.value, found.key or ""
    if value is None or isinstance(value, bytes):
        fault = f"key {key!r}: the value is {'null' if value is None else 'bytes'}, and a credential is text"
        del value
        raise InvalidDataError(found.path, fault, store=found.store)
    return as_text(value, found.path, key).reveal()


def line_of(found: Resolution) -> str:
    """Return the value of a key, for a protocol in which each value is one line.

    Raises:
        InvalidDataError: also if it has a control character: a line end would begin another field of the answer.
    """
    text = text_of(found)
    if not has_control(text):
        return text
    del text
    fault = f"key {found.key!r}: this protocol cannot carry the line end, or other control character, in the value"
    raise InvalidDataError(found.path, fault, store=found.store)


def has_control(text: str) -> bool:
    """Return True if the text has a control character of ASCII, such as NUL or a line end."""
    return any(character < " " or character == "\x7f" for character in text)


def as_json(document: Mapping[str, object]) -> bytes:
    """Return a document on one line."""
    import json

    return json.dumps(document).encode() + b"\n"


def as_utc(moment: datetime) -> str:
    """Return a time by RFC 3339, without parts of seconds: not later than the moment."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
