"""What this machine keeps of a plan: digests of its secrets, and a seal, which reveals edits of the plan's file.

The seal has keyed digests of the plan's own fields. It is a separate file, so that a plan holds no digest, and its key
is this machine's, so that others cannot forge it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from strongroom.digest import Digester
from strongroom.errors import shown
from strongroom.files import private_file
from strongroom.migrate.plans.document import plan_fields
from strongroom.migrate.plans.plan import Item, Plan
from strongroom.secret import Value

_SIZE = 32
_ABSENT = bytes(_SIZE)
_RECORD = 3 * _SIZE
_FIELD_SIZE = 16
"""The bytes of the digest of a field, in a seal."""


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


# --- the seal ---------------------------------------------------------------------------------------------------------


def seal_plan(plan: Plan, file: Path, digester: Digester) -> None:
    """Keep the seal of a new plan in a file.

    Raises:
        OSError: it cannot be written.
    """
    private_file.create(file, (_seal_of(fields, digester) for fields in plan_fields(plan)))


def edits(plan: Plan, file: Path, digester: Digester) -> list[str] | None:
    """Return the edits of a plan since it was sealed, a line for each secret; None if the seal does not exist.

    Removing a secret from the plan does not count as an edit.
    """
    try:
        content = private_file.read(file)
    except OSError:
        return None
    items = plan_fields(plan)
    head = next(items)
    record = _seal_of(head, digester)
    size = len(record)
    found = [] if content[:size] == record else [_edit("the plan", head, content[:size], digester)]
    sealed: dict[bytes, list[bytes]] = {}
    for fields in items:
        record, name = _seal_of(fields, digester), shown(str(fields["source_path"]))
        for start in range(size, len(content), len(record)) if not sealed else ():
            kept = content[start : start + len(record)]
            sealed.setdefault(kept[:_SIZE], []).append(kept)
        known = sealed.get(record[:_SIZE])
        if known is None:
            found.append(f"{name}: added")
        elif record not in known:
            found.append(_edit(name, fields, known[0], digester))
    return found


def _seal_of(fields: Mapping[str, Any], digester: Digester) -> bytes:
    """Return the name of an item, and the digest of each field bound to that name."""
    name = digester.name(str(fields.get("source", "")), str(fields.get("source_path", "")))
    return name + b"".join(
        digester.text_digest(name, f"{field}\0{json.dumps(value)}")[:_FIELD_SIZE] for field, value in fields.items()
    )


def _edit(name: str, fields: Mapping[str, Any], sealed: bytes, digester: Digester) -> str:
    record = _seal_of(fields, digester)
    starts = range(_SIZE, len(record), _FIELD_SIZE)
    changed = [
        field
        for field, start in zip(fields, starts, strict=True)
        if record[start : start + _FIELD_SIZE] != sealed[start : start + _FIELD_SIZE]
    ]
    return f"{name}: {', '.join(changed)} edited"
