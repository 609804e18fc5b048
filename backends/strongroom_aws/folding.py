"""One text or binary of AWS as a secret's keys, and back exactly. Pure.

AWS keeps one value under a name. It is one of three forms, and says itself which:

- a JSON object is the secret's keys, each value as `strongroom.encoding.to_json` writes it: what Strongroom writes, and
  what AWS writes for a database;
- any other text is the single key `value`, and so is a JSON object that keys could not give back exactly: one with no
  or with an impossible name, with a name twice, or with a number that a float would round;
- a binary is the single key `value`, as bytes.

What was text or binary is written as such again as long as it still can be read as that; `fold` is told which.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any

from strongroom.encoding import from_json, to_json
from strongroom.errors import StoreError
from strongroom.secret import SensitiveDict, SensitiveStr, Value, check_data, conceal, protect, protect_data

VALUE = "value"
"""The single key of a secret that is one text or binary. So is it in the store of files."""

FOLD = "strongroom:fold"
"""The label of a secret whose form is not `Form.KEYS`, so that it goes along to another store, and back."""


class Form(StrEnum):
    """How AWS holds a secret."""

    KEYS = "keys"
    TEXT = "text"
    BINARY = "binary"


def labels_of(form: Form) -> dict[str, str]:
    """What a secret's metadata says of its form."""
    return {} if form is Form.KEYS else {FOLD: form.value}


def form_in(labels: Mapping[str, str]) -> Form | None:
    """The form that a secret's metadata names; None where it names none."""
    named = labels.get(FOLD)
    return Form(named) if named in set(Form) else None


def unfold(content: str | bytes) -> tuple[Form, SensitiveDict]:
    """The form that AWS's content is in, and its keys."""
    if isinstance(content, bytes):
        return Form.BINARY, protect_data({VALUE: content})
    keys = _keys(content)
    return (Form.TEXT, protect_data({VALUE: content})) if keys is None else (Form.KEYS, keys)


def fold(data: Mapping[str, Value], form: Form | None) -> SensitiveStr | bytes:
    """What AWS is to hold for these keys: in that form if it would be read back as the same, else as a JSON object.

    Args:
        data: the keys.
        form: the form that is wished for; None for JSON.
    """
    value = data[VALUE] if set(data) == {VALUE} else None
    if form is Form.BINARY and isinstance(value, bytes) and value:
        return value
    if form is Form.TEXT and isinstance(value, str) and value and unfold(value)[0] is Form.TEXT:
        return SensitiveStr(value)
    return as_json({key: to_json(item) for key, item in data.items()})


def as_json(content: Any) -> SensitiveStr:
    """JSON text, as short as it can be."""
    return SensitiveStr(json.dumps(content, ensure_ascii=False, separators=(",", ":")))


def size_of(content: str | bytes) -> int:
    """What it takes, in bytes, which is what AWS counts."""
    return len(content.encode() if isinstance(content, str) else content)


class _NotExact(Exception):  # noqa: N818  # it says what the content is
    """The keys would not give back what the text says."""


def _keys(text: str) -> SensitiveDict | None:
    """The keys that a text is, when they say all of it."""
    try:
        parsed = loaded(text)
        if not isinstance(parsed, dict) or not parsed:
            return None
        keys = check_data("", {name: from_json(item) for name, item in parsed.items()})
    except (ValueError, RecursionError, _NotExact, StoreError):
        return None
    written = {name: to_json(item) for name, item in keys.items()}
    return keys if written == conceal(parsed) else None


def loaded(text: str) -> Any:
    """JSON as it stands.

    Raises:
        ValueError, RecursionError: it is none.
        _NotExact: reading it would lose something of it.
    """
    return protect(json.loads(text, object_pairs_hook=_object, parse_float=_number, parse_constant=_constant))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise _NotExact
    return dict(pairs)


def _number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number) or Decimal(repr(number)) != Decimal(digits):
        raise _NotExact
    return number


def _constant(_: str) -> float:
    raise _NotExact


# --- one key alone ----------------------------------------------------------------------------------------------------

_WRAPPED = "strongroom:value"
_OPENING = f'{{"{_WRAPPED}":'
# What a parameter cannot hold as it stands: a reference to another one, and what is not sure to survive.
_NOT_PLAIN = re.compile(r"\{\{|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def wrap(value: Value) -> SensitiveStr:
    """One key's value as a parameter's text: text as it is, all else as `{"strongroom:value":…}`.

    Wrapped is also the text that a parameter cannot hold: the empty one, one with `{{`, one with control characters,
    and one that looks like something wrapped.
    """
    if isinstance(value, str) and value and not value.startswith(_OPENING) and not _NOT_PLAIN.search(value):
        return SensitiveStr(value)
    return without_references(as_json({_WRAPPED: to_json(value)}))


def unwrap(text: str) -> Value:
    """The value that `wrap` made this text of. Text that it did not write comes back as it stands."""
    if text.startswith(_OPENING):
        try:
            content = loaded(text)
        except (ValueError, RecursionError, _NotExact):
            return SensitiveStr(text)
        if isinstance(content, dict) and set(content) == {_WRAPPED}:
            return from_json(content[_WRAPPED])
    return SensitiveStr(text)


def without_references(text: str) -> SensitiveStr:
    """The same JSON without `{{`, which Parameter Store refuses: in JSON it stands in strings alone."""
    return SensitiveStr(text.replace("{{", "{\\u007b"))
