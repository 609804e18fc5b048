"""Keyed digests of a plan's secrets when it was made, kept on this machine: a plan holds no digest of a value."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from strongroom._redaction.digest import Digester
from strongroom.files import private
from strongroom.migrate._plans.plan import PlannedItem
from strongroom.secret import Value

_SIZE = 32
_ABSENT = bytes(_SIZE)


NO_RECORD = bytes(3 * _SIZE)
"""The record of an item without digests."""


def digest_record(
    digester: Digester, item: PlannedItem, source: Mapping[str, Value], target: Mapping[str, Value] | None
) -> bytes:
    """Return the record of an item: its name, and the digests of its data at the source and at the target."""
    there = _ABSENT if target is None else digester.digest(target)
    return digester.name(item.source, item.source_path) + digester.digest(source) + there


class PlanDigests:
    """The digests of a plan's secrets when it was made.

    Args:
        file: a record for each item, in the order of the plan.
        digester: the digester that made them.

    Raises:
        OSError: the file does not exist, or cannot be read.
    """

    def __init__(self, file: Path, digester: Digester) -> None:
        self._digester = digester
        self._descriptor = private.open_file(file, os.O_RDONLY)

    def close(self) -> None:
        os.close(self._descriptor)

    def get(self, index: int, item: PlannedItem) -> tuple[bytes | None, bytes | None]:
        """Return the digests of an item, or None for each that was not kept.

        The record is at the item's index, or elsewhere if a person removed items from the plan.
        """
        record, name = self._record(index), self._digester.name(item.source, item.source_path)
        if record[:_SIZE] != name:
            record = self._record(self._indices.get(name, -1))
        source, target = record[_SIZE : 2 * _SIZE], record[2 * _SIZE :]
        return (None, None) if source == _ABSENT else (source, None if target == _ABSENT else target)

    @cached_property
    def _indices(self) -> Mapping[bytes, int]:
        count = os.fstat(self._descriptor).st_size // len(NO_RECORD)
        return {self._record(index)[:_SIZE]: index for index in range(count)}

    def _record(self, index: int) -> bytes:
        size = len(NO_RECORD)
        return (os.pread(self._descriptor, size, index * size) if index >= 0 else b"") or NO_RECORD
