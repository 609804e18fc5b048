"""Digests of a plan's secrets and of the plan itself, which this machine keeps when the plan is made."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from strongroom._redaction.digest import Digester
from strongroom.files import private
from strongroom.migrate._plans.document import plan_digest, plan_fields
from strongroom.migrate._plans.plan import Plan, PlannedItem
from strongroom.secret import Value

_DIGEST_SIZE = 32
_ABSENT = bytes(_DIGEST_SIZE)

NO_RECORD = bytes(3 * _DIGEST_SIZE)
"""The record of an item without digests."""


def digest_record(
    digester: Digester, item: PlannedItem, source: Mapping[str, Value], target: Mapping[str, Value] | None
) -> bytes:
    """Return the record of an item: its name, and the digests of its data at the source and at the target."""
    there = _ABSENT if target is None else digester.digest(target)
    return digester.name(item.source, item.source_path) + digester.digest(source) + there


def is_sealed(plan: Plan, seal: bytes, digester: Digester) -> bool:
    """Return True if a plan is as it was when it was sealed, by this release or one that wrote version 1 of plans."""
    return seal in {plan_digest(plan), plan_digest(plan, version=1)} or seal == _first_seal(plan, digester)


def _first_seal(plan: Plan, digester: Digester) -> bytes:
    """Return the seal that the first form of version 1 had: the digest of each field, under this machine's key."""
    parts = []
    for fields in plan_fields(plan):
        if "version" in fields:
            fields["version"] = 1
        name = digester.name(str(fields.get("source", "")), str(fields.get("source_path", "")))
        parts.append(name)
        parts += (digester.text(name, f"{field}\0{json.dumps(value)}")[:16] for field, value in fields.items())
    return b"".join(parts)


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
        if record[:_DIGEST_SIZE] != name:
            record = self._record(self._indices.get(name, -1))
        source, target = record[_DIGEST_SIZE : 2 * _DIGEST_SIZE], record[2 * _DIGEST_SIZE :]
        return (None, None) if source == _ABSENT else (source, None if target == _ABSENT else target)

    @cached_property
    def _indices(self) -> Mapping[bytes, int]:
        count = os.fstat(self._descriptor).st_size // len(NO_RECORD)
        return {self._record(index)[:_DIGEST_SIZE]: index for index in range(count)}

    def _record(self, index: int) -> bytes:
        size = len(NO_RECORD)
        return (os.pread(self._descriptor, size, index * size) if index >= 0 else b"") or NO_RECORD
