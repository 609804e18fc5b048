"""Copy every version of one secret to a target that has no version of it.

Separate from the transfer of a plan, which writes one version of each secret and keeps a journal.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import ConflictError, SecretNotFoundError, StrongroomError
from strongroom.events import Event, EventKind, emit, emit_to_auditors
from strongroom.migrate._execution.parallel import SecretWrite, write_one
from strongroom.migrate._plans.labels import form_of
from strongroom.migrate.sources import Source
from strongroom.secret import Version


class CopiedHistory(NamedTuple):
    """The result of copying a history.

    Attributes:
        written: the number of written versions.
        newest: the target's newest version of them.
        lost: the versions that the copy lacks, and why.
        error: the error that ended it midway, or None.
    """

    written: int
    newest: Version | None
    lost: tuple[str, ...]
    error: StrongroomError | None = None


def copy_history(source: Source, path: str, target: GuardedStore, to: str) -> CopiedHistory:
    """Write every readable version, oldest first.

    Raises:
        ConflictError: the target has a version already, even a deleted one.
        UnsupportedOperationError: a store keeps no versions.
        StoreError: a store cannot be read, or the target refused the first version. Nothing was written.
    """
    versions, gone = source.history(path)
    _require_empty(target, to)
    event, began = Event(EventKind.MIGRATION, target.name, to, step="apply"), time.monotonic()
    emit_to_auditors(event._replace(outcome="started"))
    written, newest, error = 0, None, None
    try:
        for secret in versions:
            write = SecretWrite(to, secret.data, newest, form_of(secret.metadata) or None)
            newest = target.write_if(*write[:3]) if "checked" in target.capabilities else write_one(target, write)
            written += 1
        dropped = written - len(target.versions(to))
    except StrongroomError as failure:
        error, dropped = failure, 0
    outcome, name = ("done", "") if error is None else ("failed", type(error).__name__)
    emit(event._replace(seconds=time.monotonic() - began, outcome=outcome, error=name))
    if error is not None and not written:
        raise error
    lost: list[str] = []
    if gone:
        lost.append(f"{gone} version{'s' * (gone > 1)}, deleted or destroyed at the source")
    if dropped:
        lost.append(f"{dropped} version{'s' * (dropped > 1)}, the oldest: the target keeps {written - dropped}")
    return CopiedHistory(written, newest, tuple(lost), error)


def _require_empty(target: GuardedStore, path: str) -> None:
    """Raise if the target has any version, even a deleted one: the history would follow another."""
    try:
        target.versions(path)
    except SecretNotFoundError:
        return
    hint = "Copy it without --versions, or to another path"
    raise ConflictError(path, "the target already has a history of it", store=target.name, hint=hint)
