"""A secret as the attributes of an entry, without loss. Pure.

- The keys `username`, `password`, `url` and `notes` are the entry's own fields, others are its additional attributes.
- Text is stored as it is. Other values are JSON, and an item of the entry's plugin data names their keys.
- An empty own field is not a key, because every entry has all of them, unless the item names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from strongroom.encoding import from_json, json_text, to_json_text
from strongroom.errors import InvalidDataError, InvalidPathError, StoreError
from strongroom.formats.strict_json import read_json
from strongroom.secret import SensitiveDict, SensitiveStr, Value, check_data

TITLE = "Title"
TYPED = "strongroom/json"
"""The item of the plugin data (`CustomData`): a JSON list of keys whose text, unless empty, is JSON."""

_FIELDS = {"username": "UserName", "password": "Password", "url": "URL", "notes": "Notes"}
_KEYS = {field: key for key, field in _FIELDS.items()}
_PLAIN = frozenset({"UserName", "URL", "Notes"})
"""Fields that KeePass by default does not protect in its memory and from its search. All others are protected."""

_IMPOSSIBLE = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold: https://www.w3.org/TR/xml/#charsets"""


def vet(path: str, data: Mapping[str, Value]) -> None:
    """Refuse a secret that KeePass cannot hold.

    Raises:
        InvalidPathError: the path or a key has an impossible character, or a key is named as an own field.
        InvalidDataError: a value has an impossible character, or a number more digits than Python reads.
    """
    if _IMPOSSIBLE.search(path):
        raise InvalidPathError(path, "it has a character that KeePass cannot hold, such as U+FFFE")
    for key, value in data.items():
        if key == TITLE or key in _KEYS:
            hint = "Rename the key" if key == TITLE else f"Name it {_KEYS[key]!r}"
            raise InvalidPathError(path, f"key {key!r}: it is the name of a field of KeePass", hint=hint)
        if _IMPOSSIBLE.search(key):
            raise InvalidPathError(path, f"key {key!r}: it has a character that KeePass cannot hold")
        if _IMPOSSIBLE.search(_text(path, key, value)):
            reason = "it has a character that KeePass cannot hold: NUL, another control character, or U+FFFE"
            raise InvalidDataError(path, f"key {key!r}: {reason}")


def read(element: Any, path: str) -> SensitiveDict:
    """Return the keys of an entry.

    Raises:
        StoreError: two attributes are the same key, or a name or value is malformed.
    """
    typed = _typed(element, path)
    data = SensitiveDict()
    for name, value in _attributes(element):
        key, text = _KEYS.get(name, name), SensitiveStr(value.text or "")
        if name == TITLE or (name in _KEYS and not text and key not in typed):
            continue
        if key in data:
            raise InvalidDataError(path, f"key {key!r}: two attributes have this name", hint="Rename one in KeePass")
        data[key] = _parsed(path, key, text) if key in typed and text else text
    return check_data(path, data)


def write(element: Any, path: str, data: Mapping[str, Value]) -> None:
    """Replace the attributes of an entry. An attribute that stays also stays protected, or not."""
    flags: dict[str, str | None] = {}
    for name, value in _attributes(element):
        if name != TITLE:
            flags[name] = value.get("Protected")
            element.remove(value.getparent())
    for key, value in data.items():
        name = _FIELDS.get(key, key)
        flag = flags.get(name, None if name in _PLAIN else "True")
        attribute = _child(element, "String")
        _child(attribute, "Key", name)
        _child(attribute, "Value", _text(path, key, value), **({} if flag is None else {"Protected": flag}))
    _mark(element, [key for key, value in data.items() if not isinstance(value, str) or (key in _FIELDS and not value)])


def title(element: Any) -> str:
    """Return the title of an entry, or an empty text."""
    return next((value.text or "" for name, value in _attributes(element) if name == TITLE), "")


def _attributes(element: Any) -> Iterator[tuple[str, Any]]:
    """Return the name of each attribute, and the element of its value."""
    for attribute in element.findall("String"):
        yield attribute.findtext("Key") or "", attribute.find("Value")


def _text(path: str, key: str, value: Value) -> str:
    return value if isinstance(value, str) else json_text(path, key, value)


def _parsed(path: str, key: str, text: str) -> Value:
    fault = ""
    try:
        return from_json(read_json(text))
    except InvalidDataError as error:
        fault = error.reason
    raise InvalidDataError(
        path, f"key {key!r}: {fault}", hint="Write JSON, as Strongroom did, or set it with Strongroom"
    )


def _typed(element: Any, path: str) -> list[str]:
    """Return the keys that the plugin data names."""
    item = _item(element)
    try:
        found = [] if item is None else read_json(item.findtext("Value") or "")
    except StoreError:
        found = None
    if not isinstance(found, list):
        raise InvalidDataError(path, f"the plugin data {TYPED} is not what Strongroom wrote")
    return found


def _mark(element: Any, keys: list[str]) -> None:
    item = _item(element)
    if item is not None:
        item.getparent().remove(item)
    if keys:
        holder = element.find("CustomData")
        if holder is None:
            holder = _child(element, "CustomData")
        item = _child(holder, "Item")
        _child(item, "Key", TYPED)
        _child(item, "Value", to_json_text(keys))


def _child(parent: Any, tag: str, text: str = "", **attributes: str) -> Any:
    child = parent.makeelement(tag, attributes)
    child.text = str(text)
    parent.append(child)
    return child


def _item(element: Any) -> Any:
    return next((item for item in element.findall("CustomData/Item") if item.findtext("Key") == TYPED), None)
