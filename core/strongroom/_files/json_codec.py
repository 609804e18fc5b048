"""JSON: an object of paths, each an object of keys. Bytes are `{"strongroom:bytes": "<base64>"}`, as everywhere.

Each format has a separate module, so that none loads the library of another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from strongroom._files.codec import Contents, as_text, checked
from strongroom.encoding import from_json, json_text, to_json
from strongroom.errors import InvalidDataError
from strongroom.formats.strict_json import read_json
from strongroom.secret import SensitiveDict, Value


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
