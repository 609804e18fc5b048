"""Conversion between a secret's keys and the single text or binary that a service stores, without loss. Pure.

For services such as AWS Secrets Manager, which store one value under a name. Its form follows from its content:

- A JSON object holds the secret's keys, each value encoded by `strongroom.encoding.to_json`. Strongroom writes this
  form, and so does AWS for a database.
- Any other text is the single key `value`. So is a JSON object that keys cannot represent exactly: an empty one, one
  with an invalid or repeated name, or one with a number that a float would round.
- A binary is the single key `value`, as bytes.

A secret that was text or binary is written in that form again if it can still be read back from it; see `fold`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Literal, TypeAlias

from strongroom.encoding import from_json, to_json
from strongroom.errors import InvalidDataError, PermissionDeniedError, SecretNotFoundError, StoreError
from strongroom.formats.strict_json import excess, read_json
from strongroom.secret import Secret, SensitiveDict, SensitiveStr, Value, check_data, protect_data

VALUE = "value"
"""The single key of a secret that is one text or binary, as in the store of files."""

FOLD = "strongroom:fold"
"""The label that carries a form other than `Form.KEYS` to another store and back."""


FoldOption: TypeAlias = Literal["keep", "plain", "json"]
"""The form for a secret of the single key `value`: that of the existing secret, JSON for a new one; plain text or
binary; or JSON."""


class Form(StrEnum):
    """The form in which the service stores a secret."""

    KEYS = "keys"
    TEXT = "text"
    BINARY = "binary"


def labels_of(form: Form) -> dict[str, str]:
    """Return the labels for a form."""
    return {} if form is Form.KEYS else {FOLD: form.value}


def form_in(labels: Mapping[str, str]) -> Form | None:
    """Return the form that the labels name, or None."""
    named = labels.get(FOLD)
    return Form(named) if named in set(Form) else None


def form_to_write(data: Mapping[str, Value], option: FoldOption, existing: Callable[[], Secret]) -> Form | None:
    """Return the form for these keys, None for JSON.

    Args:
        data: the keys.
        option: the form for a secret of the single key `value`.
        existing: reads the existing secret, whose form `keep` keeps.

    Raises:
        StoreError: the existing secret cannot be read.
    """
    if set(data) != {VALUE} or not isinstance(value := data[VALUE], str | bytes) or option == "json":
        return None
    if option == "plain":
        return Form.TEXT if isinstance(value, str) else Form.BINARY
    try:
        return form_in(existing().metadata)
    except SecretNotFoundError:
        return None
    except PermissionDeniedError as error:
        failure = error.copy(hint=f"{error.hint}. Or set the option `fold` to `plain` or `json`: `keep` reads the form")
    raise failure


def unfold(content: str | bytes) -> tuple[Form, SensitiveDict]:
    """Return the form of the service's content, and its keys."""
    if isinstance(content, bytes):
        return Form.BINARY, protect_data({VALUE: content})
    keys = _keys(content)
    return (Form.TEXT, protect_data({VALUE: content})) if keys is None else (Form.KEYS, keys)


def fold(data: Mapping[str, Value], form: Form | None) -> SensitiveStr | bytes:
    """Return the content for these keys: in the wanted form if that can be read back exactly, otherwise as JSON.

    Args:
        data: the keys.
        form: the wanted form; None for JSON.

    Raises:
        InvalidDataError: the keys have too many fields or objects to be read back.
    """
    value = data[VALUE] if set(data) == {VALUE} else None
    if form is Form.BINARY and isinstance(value, bytes) and value:
        return value
    if form is Form.TEXT and isinstance(value, str) and value and unfold(value)[0] is Form.TEXT:
        return SensitiveStr(value)
    content = as_json({key: to_json(item) for key, item in data.items()})
    if fault := excess(content):  # it would be read back as text
        raise InvalidDataError(None, fault)
    return content


def as_json(content: Any) -> SensitiveStr:
    """Return compact JSON."""
    return SensitiveStr(json.dumps(content, ensure_ascii=False, separators=(",", ":")))


def size_of(content: str | bytes) -> int:
    """Return the size in bytes, of text in UTF-8."""
    return len(content.encode() if isinstance(content, str) else content)


def _keys(text: str) -> SensitiveDict | None:
    """Return the keys of a JSON text, or None if they do not represent it exactly."""
    try:
        parsed = read_json(text)
        if not isinstance(parsed, dict) or not parsed:
            return None
        keys = check_data("", {name: from_json(item) for name, item in parsed.items()})
    except StoreError:
        return None
    return keys if {name: to_json(item) for name, item in keys.items()} == parsed else None
