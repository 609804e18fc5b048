"""Keyed digests of a plan's secrets when it was made, kept on this machine: a plan holds no digest of a value."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from strongroom.digest import Digester
from strongroom.files import private_file
from strongroom.migrate.plans.plan import Item
from strongroom.secret import Value

_SIZE = 32
_ABSENT = bytes(_SIZE)
_RECORD = 3 * _SIZE


class PlanDigests:
    """The digests of a plan's secrets when it was made, in a file of fixed-size records: name, source and target."""

    def __init__(self, file: Path, digester: Digester) -> None:
        self._digester = digester
        self._descriptor = private_file.open_file(file, os.O_RDWR | os.O_CREAT)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def put(self, index: int, item: Item, source: Mapping[str, Value], target: Mapping[str, Value] | None) -> None:
        """Store the digests of an item's data at the source and at the target.

        Raises:
            OSError: they cannot be written.
        """
        digest = self._digester.digest
        there = _ABSENT if target is None else digest(target)
        os.pwrite(self._descriptor, self._name(item) + digest(source) + there, index * _RECORD)

    def reorder(self, order: Sequence[int]) -> None:
        """Move the records into this order of their indices."""
        os.pwrite(self._descriptor, b"".join(map(self._record, order)), 0)

    def get(self, index: int, item: Item) -> tuple[bytes | None, bytes | None]:
        """Return the digests of an item, or None for each that was not kept.

        The record is at the item's index, or elsewhere if a person removed items from the plan.
        """
        record, name = self._record(index), self._name(item)
        if record[:_SIZE] != name:
            record = self._record(self._indices.get(name, -1))
        source, target = record[_SIZE : 2 * _SIZE], record[2 * _SIZE :]
        return (None, None) if source == _ABSENT else (source, None if target == _ABSENT else target)

    @cached_property
    def _indices(self) -> Mapping[bytes, int]:
        count = -(-os.fstat(self._descriptor).st_size // _RECORD)
        return {self._record(index)[:_SIZE]: index for index in range(count)}

    def _name(self, item: Item) -> bytes:
        return self._digester.name(item.source, item.source_path)

    def _record(self, index: int) -> bytes:
        """Return the record at an index, or zeros if it does not exist."""
        found = os.pread(self._descriptor, _RECORD, index * _RECORD) if index >= 0 else b""
        return found if len(found) == _RECORD else bytes(_RECORD)
