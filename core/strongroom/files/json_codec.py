"""JSON: an object of paths, each an object of keys. Bytes are `{"strongroom:bytes": "<base64>"}`, as everywhere."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, NoReturn

from strongroom.encoding import from_json, to_json
from strongroom.errors import InvalidDataError
from strongroom.files.codec import Contents, as_text, checked
from strongroom.secret import MAX_DEPTH, SensitiveDict, SensitiveStr, Value

TOO_DEEP = "it is nested too deeply"

_LEVELS = 2 * MAX_DEPTH
"""The most levels of a document: encoding wraps a level of a value once more if it looks like encoded bytes."""


class JsonCodec:
    """The format `json`. It holds every value."""

    name = "JSON"
    keeps_more = False

    def decode(self, content: bytes) -> dict[str, SensitiveDict]:
        """Return the secrets. A repeated name in an object and a number such as NaN are errors."""
        return secrets_of(read_json(as_text(content)))

    def encode(self, contents: Contents, before: bytes) -> bytes:
        """Write indented JSON, for people to read."""
        del before
        tree = {path: {key: to_json(value) for key, value in data.items()} for path, data in contents.items()}
        return f"{json.dumps(tree, ensure_ascii=False, allow_nan=False, indent=2)}\n".encode()

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        """Refuse integers with more digits than Python reads."""
        for key, value in data.items():
            json_text(path, key, value)


def json_text(path: str, key: str, value: Value) -> SensitiveStr:
    """Return the value as JSON.

    Raises:
        InvalidDataError: an integer has more digits than Python reads.
    """
    try:
        return SensitiveStr(json.dumps(to_json(value), ensure_ascii=False, allow_nan=False, separators=(",", ":")))
    except ValueError:
        value = None
    raise InvalidDataError(path, f"key {key!r}: a number with too many digits")


def secrets_of(tree: object) -> dict[str, SensitiveDict]:
    """Return the secrets of a parsed JSON document.

    Raises:
        InvalidDataError, InvalidPathError: it is not an object of objects, or a path, key or value is invalid.
    """
    if not isinstance(tree, dict):
        raise InvalidDataError(None, "it is not an object of paths, each an object of keys")
    secrets: dict[str, SensitiveDict] = {}
    for path, data in tree.items():
        if not isinstance(data, dict):
            raise InvalidDataError(path, "it is not an object of keys")
        secrets[path] = checked(path, SensitiveDict((key, from_json(value)) for key, value in data.items()))
    return secrets


def read_json(text: str) -> Any:  # any of JSON's types
    """Parse JSON strictly.

    Raises:
        InvalidDataError: it is not JSON, repeats a name, or has a number such as NaN. Never quotes the text.
    """
    faults: list[str] = []

    def refuse(constant: str) -> NoReturn:
        faults.append(f"{constant} is not JSON")
        raise ValueError

    def paired(pairs: list[tuple[str, Any]]) -> SensitiveDict:
        found = SensitiveDict(pairs)
        if len(found) < len(pairs):
            repeated, _ = Counter(name for name, _ in pairs).most_common(1)[0]
            faults.append(f"the name {repeated!r} stands twice")
            raise ValueError
        return found

    try:
        tree = json.loads(text, object_pairs_hook=paired, parse_constant=refuse)
        if not is_too_deep(tree):
            return tree
        faults.append(TOO_DEEP)
    except json.JSONDecodeError as error:
        faults.append(f"line {error.lineno}, column {error.colno}: it is not JSON")
    except ValueError:
        faults.append("a number has too many digits")
    except RecursionError:
        faults.append(TOO_DEEP)
    # Outside the `except`: the parser's error holds the whole text.
    del text
    raise InvalidDataError(None, faults[0])


def is_too_deep(tree: object) -> bool:
    """Return True if the tree has more levels than a secret can have; checked without recursion."""
    level = [tree]
    for _ in range(_LEVELS + 3):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ())
        ]
        if not level:
            return False
    return True
