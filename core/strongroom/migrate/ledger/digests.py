"""A digest of a secret that tells whether two are the same, and nothing else to whoever lacks the key."""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from strongroom.files import private_file
from strongroom.secret import Value

SIZE = 32
_NONE = bytes(SIZE)
_RECORD = 3 * SIZE


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

    def name(self, source: str, path: str) -> bytes:
        """A name of 32 bytes for the secret that a source has at a path."""
        return self.digest({"source": source, "path": path})


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
    """What the secrets of a plan were when it was made: the name of each and two digests, in a file of fixed places.

    Args:
        file: the file.
    """

    def __init__(self, file: Path) -> None:
        self._descriptor = private_file.open_file(file, os.O_RDWR | os.O_CREAT)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._descriptor)

    def put(self, index: int, name: bytes, source: bytes, target: bytes | None) -> None:
        """Keeps the digests of what an item was at the source and at the target.

        Raises:
            OSError: they cannot be kept.
        """
        os.pwrite(self._descriptor, name + source + (target or _NONE), index * _RECORD)

    def reorder(self, order: Sequence[int]) -> None:
        """Puts what stands at each of these places at the place that it has in the list."""
        os.pwrite(self._descriptor, b"".join(map(self._record, order)), 0)

    def get(self, index: int, name: bytes) -> tuple[bytes | None, bytes | None]:
        """The digests of the item of that name, where they were kept: at its place in the plan, or at another one.

        It has another place where somebody took items out of the plan.
        """
        record = self._record(index)
        if record[:SIZE] != name:
            record = self._record(self._places.get(name, -1))
        source, target = record[SIZE : 2 * SIZE], record[2 * SIZE :]
        return (None, None) if source == _NONE else (source, None if target == _NONE else target)

    @cached_property
    def _places(self) -> Mapping[bytes, int]:
        count = -(-os.fstat(self._descriptor).st_size // _RECORD)
        return {self._record(index)[:SIZE]: index for index in range(count)}

    def _record(self, index: int) -> bytes:
        """What stands at a place; nothing but zeros where nothing does."""
        found = os.pread(self._descriptor, _RECORD, index * _RECORD) if index >= 0 else b""
        return found if len(found) == _RECORD else bytes(_RECORD)
