"""Keyed digests of secrets, which show whether two are equal and reveal nothing without the key."""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from strongroom.files import private_file
from strongroom.secret import Value

SIZE = 32
_ABSENT = bytes(SIZE)
_RECORD = 3 * SIZE


class Digester:
    """Computes digests of secrets with HMAC-SHA256.

    Two secrets have the same digest if `strongroom.diff.same` holds for all their keys; numbers compare by value.

    Args:
        key: random bytes that never leave this machine.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __repr__(self) -> str:
        return "Digester()"

    def digest(self, data: Mapping[str, Value]) -> bytes:
        """Return the digest of a secret's data, 32 bytes."""
        parts: list[bytes] = []
        _add(data, parts)
        return hmac.digest(self._key, b"".join(parts), "sha256")

    def each(self, data: Mapping[str, Value]) -> dict[str, bytes]:
        """Return the digest of each key with its value."""
        return {key: self.digest({key: value}) for key, value in data.items()}

    def name(self, source: str, path: str) -> bytes:
        """Return 32 bytes that name the secret of a source at a path."""
        return self.digest({"source": source, "path": path})


def _add(value: Value, parts: list[bytes]) -> None:
    """Append the value in an unambiguous form: each part has its type and its length in front."""
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


class PlanDigests:
    """The digests of a plan's secrets when it was made, in a file of fixed-size records: name, source and target.

    Args:
        file: the file.
    """

    def __init__(self, file: Path) -> None:
        self._descriptor = private_file.open_file(file, os.O_RDWR | os.O_CREAT)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def put(self, index: int, name: bytes, source: bytes, target: bytes | None) -> None:
        """Store the digests of an item at the source and at the target.

        Raises:
            OSError: they cannot be written.
        """
        os.pwrite(self._descriptor, name + source + (target or _ABSENT), index * _RECORD)

    def reorder(self, order: Sequence[int]) -> None:
        """Move the records into this order of their indices."""
        os.pwrite(self._descriptor, b"".join(map(self._record, order)), 0)

    def get(self, index: int, name: bytes) -> tuple[bytes | None, bytes | None]:
        """Return the digests of an item, or None for each that was not kept.

        The record is at the item's index, or elsewhere if a person removed items from the plan.
        """
        record = self._record(index)
        if record[:SIZE] != name:
            record = self._record(self._indices.get(name, -1))
        source, target = record[SIZE : 2 * SIZE], record[2 * SIZE :]
        return (None, None) if source == _ABSENT else (source, None if target == _ABSENT else target)

    @cached_property
    def _indices(self) -> Mapping[bytes, int]:
        count = -(-os.fstat(self._descriptor).st_size // _RECORD)
        return {self._record(index)[:SIZE]: index for index in range(count)}

    def _record(self, index: int) -> bytes:
        """Return the record at an index, or zeros if it does not exist."""
        found = os.pread(self._descriptor, _RECORD, index * _RECORD) if index >= 0 else b""
        return found if len(found) == _RECORD else bytes(_RECORD)
