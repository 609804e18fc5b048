"""A secret as the bytes of one etcd key, without loss. Pure.

- A secret of several keys is a JSON object, each value encoded by `strongroom.encoding.to_json`.
- A secret of the single key `value` is its plain text or bytes, as other programs write them.
- Text that is a JSON object is read as keys. Any other content is the key `value`: text if it is UTF-8, otherwise
  bytes. So is a JSON object that keys cannot represent: an empty one, one with an invalid or repeated name, or one with
  a number that a float would round.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from strongroom.encoding import from_json, to_json
from strongroom.errors import SecretTooLargeError, StoreError
from strongroom.secret import SensitiveBytes, SensitiveDict, SensitiveStr, Value, check_data, same
from strongroom.strict_json import read_json

VALUE = "value"
"""The key of a secret that is one text or binary."""

MAX_SIZE = 1_500_000
"""The most bytes of a secret: etcd accepts requests of 1.5 MiB, which the names of keys are a part of."""


def unfold(content: bytes) -> SensitiveDict:
    """Return the keys of what etcd has."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return SensitiveDict({VALUE: SensitiveBytes(content)})
    if text.lstrip().startswith("{"):
        try:
            tree = read_json(text)
            return check_data("", {key: from_json(item) for key, item in tree.items()})
        except StoreError:
            pass
    return SensitiveDict({VALUE: SensitiveStr(text)})


def fold(data: Mapping[str, Value], path: str) -> bytes:
    """Return the bytes for a secret: plain if they can be read back exactly, otherwise JSON.

    Raises:
        SecretTooLargeError: they are more than `MAX_SIZE`.
    """
    content = _plain(data)
    if content is None:
        tree = {key: to_json(item) for key, item in data.items()}
        content = json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()
    if len(content) > MAX_SIZE:
        raise SecretTooLargeError(path, f"{len(content):,} bytes, the most is {MAX_SIZE:,}")
    return content


def _plain(data: Mapping[str, Value]) -> bytes | None:
    value = data[VALUE] if set(data) == {VALUE} else None
    content = value.encode() if isinstance(value, str) else value
    return content if isinstance(content, bytes) and same(unfold(content), data) else None
