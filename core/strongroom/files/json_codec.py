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
"""How deep a document may be: every level of a value can be wrapped once more, where it looks like bytes."""


class JsonCodec:
    """The format `json`. It holds every value."""

    name = "JSON"
    keeps_more = False

    def decode(self, content: bytes) -> dict[str, SensitiveDict]:
        """What the text says. A name that stands twice in one object is an error, and so is a number like NaN."""
        return secrets_of(read_json(as_text(content)))

    def encode(self, contents: Contents, before: bytes) -> bytes:
        """Indented, so that a person can read it."""
        del before
        tree = {path: {key: to_json(value) for key, value in data.items()} for path, data in contents.items()}
        return f"{json.dumps(tree, ensure_ascii=False, allow_nan=False, indent=2)}\n".encode()

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        """Refuses only integers that no reader takes."""
        for key, value in data.items():
            json_text(path, key, value)


def json_text(path: str, key: str, value: Value) -> SensitiveStr:
    """The value as JSON.

    Raises:
        InvalidDataError: an integer in it has more digits than Python's own reader takes.
    """
    try:
        return SensitiveStr(json.dumps(to_json(value), ensure_ascii=False, allow_nan=False, separators=(",", ":")))
    except ValueError:
        value = None
    raise InvalidDataError(path, f"key {key!r}: a number with too many digits")


def secrets_of(tree: object) -> dict[str, SensitiveDict]:
    """The secrets that a whole JSON document is.

    Raises:
        InvalidDataError, InvalidPathError: it is not an object of objects, or a path, key or value is none of ours.
    """
    if not isinstance(tree, dict):
        raise InvalidDataError(None, "it is not an object of paths, each an object of keys")
    secrets: dict[str, SensitiveDict] = {}
    for path, data in tree.items():
        if not isinstance(data, dict):
            raise InvalidDataError(path, "it is not an object of keys")
        secrets[path] = checked(path, SensitiveDict((key, from_json(value)) for key, value in data.items()))
    return secrets


def read_json(text: str) -> Any:  # whatever JSON holds
    """What the text says, in JSON's types.

    Raises:
        InvalidDataError: it is not JSON, names a thing twice or holds a number that is none; never quotes it.
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
    """Whether it has more levels than secrets can have, asked without recursion."""
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
