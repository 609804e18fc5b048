"""The digests of a plan's secrets, in a file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from strongroom.files import private_file

SIZE = 32
_ABSENT = bytes(SIZE)
_RECORD = 3 * SIZE


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
