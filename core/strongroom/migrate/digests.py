"""A digest of a secret that tells whether two are the same, and nothing else to whoever lacks the key."""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from strongroom.migrate.private_files import open_private
from strongroom.model import Value

SIZE = 32
_NONE = bytes(SIZE)


class Digester:
    """Digests secrets by HMAC-SHA256.

    Two secrets have one digest where `difference.same` says of all their keys that they are one: numbers by value.

    Args:
        key: random bytes that never leave this machine.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __repr__(self) -> str:
        return "Digester()"

    def digest(self, data: Mapping[str, Value]) -> bytes:
        """The digest of a secret's data, 32 bytes."""
        parts: list[bytes] = []
        _add(data, parts)
        return hmac.digest(self._key, b"".join(parts), "sha256")

    def each(self, data: Mapping[str, Value]) -> dict[str, bytes]:
        """The digest of each key with its value."""
        return {key: self.digest({key: value}) for key, value in data.items()}


def _add(value: Value, parts: list[bytes]) -> None:
    """Adds the value in an unambiguous form: each part has its type and its length before it."""
    if isinstance(value, str):
        content = value.encode("utf-8", "surrogatepass")
        parts += (b"s%d:" % len(content), content)
    elif value is None or isinstance(value, bool):
        parts.append(b"n" if value is None else b"t" if value else b"f")
    elif isinstance(value, bytes):
        parts += (b"b%d:" % len(value), value)
    elif isinstance(value, int | float):
        whole = int(value) if isinstance(value, int) or value.is_integer() else None
        parts.append(f"#{float(value).hex() if whole is None else format(whole, 'x')};".encode())
    elif isinstance(value, Mapping):
        parts.append(b"m%d:" % len(value))
        for name in sorted(value):
            _add(name, parts)
            _add(value[name], parts)
    else:
        parts.append(b"l%d:" % len(value))
        for item in value:
            _add(item, parts)


class Remembered:
    """What the secrets of a plan were when it was made: two digests for each item, in a file of fixed places.

    Args:
        file: the file.
    """

    def __init__(self, file: Path) -> None:
        self._descriptor = open_private(file, os.O_RDWR | os.O_CREAT)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._descriptor)

    def put(self, index: int, source: bytes, target: bytes | None) -> None:
        """Keeps the digests of what an item was at the source and at the target.

        Raises:
            OSError: they cannot be kept.
        """
        os.pwrite(self._descriptor, source + (target or _NONE), index * 2 * SIZE)

    def reorder(self, order: Sequence[int]) -> None:
        """Puts what stands at each of these places at the place that it has in the list."""
        records = [os.pread(self._descriptor, 2 * SIZE, index * 2 * SIZE).ljust(2 * SIZE, b"\0") for index in order]
        os.pwrite(self._descriptor, b"".join(records), 0)

    def get(self, index: int) -> tuple[bytes | None, bytes | None]:
        """The digests of an item, where they were kept."""
        record = os.pread(self._descriptor, 2 * SIZE, index * 2 * SIZE)
        source, target = record[:SIZE], record[SIZE:]
        known = len(record) == 2 * SIZE and source != _NONE
        return (source, target if target != _NONE else None) if known else (None, None)
