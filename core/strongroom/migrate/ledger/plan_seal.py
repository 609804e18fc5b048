"""The seal of a plan: keyed digests of its fields, kept on this machine, which reveal edits of the plan's file.

The seal is a separate file, so that a plan holds no digest. Its key is this machine's, so that others cannot forge it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from strongroom.digest import Digester
from strongroom.errors import shown
from strongroom.files import private_file
from strongroom.migrate.ledger.digests import SIZE
from strongroom.migrate.ledger.runs import Ledger
from strongroom.migrate.plans.document import plan_fields
from strongroom.migrate.plans.plan import Plan

_LENGTH = 16
"""The bytes of the digest of a field."""


def seal_plan(plan: Plan, ledger: Ledger) -> None:
    """Keep the seal of a new plan.

    Raises:
        OSError, MigrationError: it cannot be written.
    """
    digester = ledger.digester()
    records = (_record(fields, digester) for fields in plan_fields(plan))
    private_file.create(ledger.plan_file(plan.id, ".seal"), records)


def edits(plan: Plan, ledger: Ledger) -> list[str] | None:
    """Return the edits of a plan since it was made, a line for each secret; None if it has no seal on this machine.

    Removing a secret from the plan does not count as an edit.
    """
    try:
        content = private_file.read(ledger.plan_file(plan.id, ".seal"))
    except OSError:
        return None
    digester = ledger.digester()
    items = plan_fields(plan)
    head = next(items)
    record = _record(head, digester)
    size = len(record)
    found = [] if content[:size] == record else [_edit("the plan", head, content[:size], digester)]
    sealed: dict[bytes, list[bytes]] = {}
    for fields in items:
        record, name = _record(fields, digester), shown(str(fields["source_path"]))
        for start in range(size, len(content), len(record)) if not sealed else ():
            kept = content[start : start + len(record)]
            sealed.setdefault(kept[:SIZE], []).append(kept)
        known = sealed.get(record[:SIZE])
        if known is None:
            found.append(f"{name}: added")
        elif record not in known:
            found.append(_edit(name, fields, known[0], digester))
    return found


def _record(fields: Mapping[str, Any], digester: Digester) -> bytes:
    """Return the name of an item, and the digest of each field bound to that name."""
    name = digester.name(str(fields.get("source", "")), str(fields.get("source_path", "")))
    return name + b"".join(
        digester.text_digest(name, f"{field}\0{json.dumps(value)}")[:_LENGTH] for field, value in fields.items()
    )


def _edit(name: str, fields: Mapping[str, Any], sealed: bytes, digester: Digester) -> str:
    record = _record(fields, digester)
    starts = range(SIZE, len(record), _LENGTH)
    changed = [
        field
        for field, start in zip(fields, starts, strict=True)
        if record[start : start + _LENGTH] != sealed[start : start + _LENGTH]
    ]
    return f"{name}: {', '.join(changed)} edited"
