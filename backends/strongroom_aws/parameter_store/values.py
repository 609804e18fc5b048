"""Conversion between one value and the text of a parameter of AWS, without loss. Pure."""

from __future__ import annotations

import re

from strongroom.encoding import from_json, to_json
from strongroom.secret import SensitiveStr, Value
from strongroom.store.folding import as_json, loaded

_WRAPPED = "strongroom:value"
_OPENING = f'{{"{_WRAPPED}":'
# A parameter refuses `{{`, a reference to another one, and may change control characters.
_NOT_PLAIN = re.compile(r"\{\{|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def wrap(value: Value) -> SensitiveStr:
    """Return one key's value as the text of a parameter: plain text, or `{"strongroom:value":…}`.

    Text is wrapped if a parameter cannot hold it: empty text, text with `{{` or control characters, and text that looks
    wrapped.
    """
    if isinstance(value, str) and value and not value.startswith(_OPENING) and not _NOT_PLAIN.search(value):
        return SensitiveStr(value)
    return without_references(as_json({_WRAPPED: to_json(value)}))


def unwrap(text: str) -> Value:
    """Return the value that `wrap` encoded. Other text is returned unchanged."""
    if text.startswith(_OPENING):
        try:
            content = loaded(text)
        except (ValueError, RecursionError):
            return SensitiveStr(text)
        if isinstance(content, dict) and set(content) == {_WRAPPED}:
            return from_json(content[_WRAPPED])
    return SensitiveStr(text)


def without_references(text: str) -> SensitiveStr:
    """Escape `{{` in JSON, which Parameter Store refuses; it occurs only in strings."""
    return SensitiveStr(text.replace("{{", "{\\u007b"))
