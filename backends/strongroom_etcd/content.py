"""A secret as the bytes of one etcd key, without loss: as `strongroom.store.folding` says. Pure.

A secret of the single key `value` is its plain text or bytes, as other programs write them, if it can be read back so.
"""

from __future__ import annotations

from collections.abc import Mapping

from strongroom.encoding import to_json
from strongroom.errors import SecretTooLargeError
from strongroom.secret import SensitiveDict, Value, same
from strongroom.store import folding

MAX_SIZE = 1_500_000
"""The most bytes of a secret: etcd accepts requests of 1.5 MiB, which the names of keys are a part of."""


def unfold(content: bytes) -> SensitiveDict:
    """Return the keys of what etcd has: text if it is UTF-8, otherwise bytes."""
    try:
        return folding.unfold(content.decode())[1]
    except UnicodeDecodeError:
        return folding.unfold(content)[1]


def fold(data: Mapping[str, Value], path: str) -> bytes:
    """Return the bytes for a secret: plain if they can be read back exactly, otherwise JSON.

    Raises:
        SecretTooLargeError: they are more than `MAX_SIZE`.
    """
    content = _plain(data)
    if content is None:
        content = folding.as_json({key: to_json(item) for key, item in data.items()}).encode()
    if len(content) > MAX_SIZE:
        raise SecretTooLargeError(path, f"{len(content):,} bytes, the most is {MAX_SIZE:,}")
    return content


def _plain(data: Mapping[str, Value]) -> bytes | None:
    value = data[folding.VALUE] if set(data) == {folding.VALUE} else None
    content = value.encode() if isinstance(value, str) else value
    return content if isinstance(content, bytes) and same(unfold(content), data) else None
