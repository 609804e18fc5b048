"""Copying one secret from a store to another, with its labels and, on demand, its history."""

from __future__ import annotations

import time
from typing import NamedTuple

from strongroom.chain.answer import KINDS, answer_of
from strongroom.diff import Change, changes
from strongroom.errors import (
    ConflictError,
    PermissionDeniedError,
    SecretNotFoundError,
    StrongroomError,
    UnsupportedOperationError,
    shown,
)
from strongroom.events import Event, EventKind, emit, emit_to_auditors
from strongroom.migrate.execution.drift import readable_versions
from strongroom.migrate.execution.parallel import Write, write_one
from strongroom.migrate.plans.comparison import Do, decide
from strongroom.migrate.plans.labels import carried, form_of
from strongroom.migrate.plans.plan import OnConflict
from strongroom.migrate.sources import RESERVED, known_labels, rotation_fault
from strongroom.paths import is_rotation_record
from strongroom.rotate.state import pending_path
from strongroom.secret import Secret, Version
from strongroom.store.boundary import answers
from strongroom.store.boundary.validation import ValidatedStore


class Copied(NamedTuple):
    """The result of a copy.

    Attributes:
        written: True if the target was written, False if it had all of the secret.
        reason: why it was not written.
        version: the target's new version, if it has versions.
        versions: the number of written versions.
        lost: the parts that the copy lacks, and why.
        error: the error that ended it midway, or None.
    """

    written: bool
    reason: str
    keys: tuple[str, ...]
    version: Version | None
    versions: int
    labels: tuple[str, ...]
    lost: tuple[str, ...]
    error: StrongroomError | None = None


class Copy:
    """A prepared copy. Creating it reads both stores and writes nothing.

    Args:
        history: copy older versions too. The target must have no version of the secret.

    Attributes:
        overwrites: True if values of the target are replaced.

    Raises:
        SecretNotFoundError: the source has no such secret.
        ConflictError: the target has another value and the policy is FAIL, or it has a history already; or the rotation
            of the secret is unfinished.
        UnsupportedOperationError: the history is requested and a store keeps none, the target is read-only, or a path
            is reserved for the record of a rotation.
        StoreError: a store cannot be read, or the target could not hold the secret.
    """

    def __init__(
        self,
        source: ValidatedStore,
        path: str,
        target: ValidatedStore,
        to: str,
        *,
        on_conflict: OnConflict,
        history: bool,
    ) -> None:
        self._source, self._target, self._to = source, target, to
        if (reserved := next(filter(is_rotation_record, (path, to)), None)) is not None:
            raise UnsupportedOperationError(reserved, RESERVED)
        self._secret = _noted(source, path)
        if "checked" in source.capabilities:
            fault = rotation_fault(path, answers.outcome(source.read, pending_path(path)), source.name)
            if fault is not None and not isinstance(fault, PermissionDeniedError):
                raise fault
        self._versions = readable_versions(source, path) if history else [self._secret]
        self._gone = len(source.versions(path)) - len(self._versions) if history else 0
        self._there = _read(target, to)
        if history:
            _require_empty(target, to)
        target.vet(to, self._secret.data)
        self._decision = decide(self._secret, self._there, on_conflict, changed=False)
        if self._decision.do is Do.CONFLICT:
            there = {} if self._there is None else self._there.data
            changed = changes(there, self._secret.data).items()
            keys = ", ".join(shown(key) for key, change in changed if change is Change.CHANGED)
            hint = "Choose a policy with --on-conflict"
            raise ConflictError(to, f"the target has another value for {keys}", store=target.name, hint=hint)
        self.overwrites = self._decision.do is Do.WRITE and on_conflict is OnConflict.OVERWRITE and bool(self._there)

    def make(self) -> Copied:
        """Write the copy.

        Raises:
            ConflictError: another writer was faster. Nothing is written.
            StoreError: the target refused it. Nothing is written.
        """
        event, began = Event(EventKind.WRITE, self._target.name, self._to, step="copy"), time.monotonic()
        emit_to_auditors(event._replace(outcome="started"))
        try:
            copied = self._made()
        except StrongroomError as error:
            _emit_end(event, began, error)
            raise
        _emit_end(event, began, copied.error)
        return copied

    def _made(self) -> Copied:
        version = None if self._there is None else self._there.version
        written = 0
        failure: StrongroomError | None = None
        labels: tuple[str, ...] = ()
        dropped = 0
        try:
            if self._decision.do is Do.WRITE:
                for secret in self._versions:
                    data = self._decision.data if len(self._versions) == 1 else secret.data
                    version = self._write(Write(self._to, data, version, self._form(secret)))
                    written += 1
            labels = self._write_labels()
            dropped = self._dropped(written)
        except StrongroomError as error:
            if not written:
                raise
            failure = error
        return Copied(
            written > 0,
            self._decision.reason,
            tuple(self._secret.data),
            version,
            written,
            labels,
            tuple(self._lost(written, dropped)),
            failure,
        )

    def _form(self, secret: Secret) -> dict[str, str] | None:
        """Return the form for a secret that the target does not have."""
        return form_of(secret.metadata) or None if self._there is None else None

    def _write(self, write: Write) -> Version | None:
        if self._target.checked:
            return self._target.write_if(*write[:3])
        return write_one(self._target, write)

    def _write_labels(self) -> tuple[str, ...]:
        """Add the source's labels to those of the target, and return them."""
        labels = self._labels()
        if not labels or "versioned" not in self._target.capabilities:
            return ()
        before = self._target.read_metadata(self._to)
        after = {**before, **labels}
        if after != before:
            self._target.write_metadata(self._to, after)
        return tuple(labels)

    def _labels(self) -> dict[str, str]:
        return carried(known_labels(self._source, self._secret), formed=self._target.formed)

    def _lost(self, written: int, dropped: int) -> list[str]:
        lost: list[str] = []
        if "versioned" not in self._target.capabilities and (labels := self._labels()):
            lost.append(f"labels, which the target does not support: {', '.join(labels)}")
        if self._gone:
            lost.append(f"{self._gone} version{'s' * (self._gone > 1)}, deleted or destroyed at the source")
        if dropped:
            lost.append(f"{dropped} version{'s' * (dropped > 1)}, the oldest: the target keeps {written - dropped}")
        return lost

    def _dropped(self, written: int) -> int:
        """Return how many versions the target has already dropped of a long history."""
        return written - len(self._target.versions(self._to)) if len(self._versions) > 1 else 0


def _noted(source: ValidatedStore, path: str) -> Secret:
    """Return the secret, and emit the event of the read."""
    event, began = Event(EventKind.READ, source.name, path), time.monotonic()
    try:
        secret = source.read(path)
    except StrongroomError as error:
        seconds = time.monotonic() - began
        emit(event._replace(kind=KINDS[answer_of(error)], seconds=seconds, error=type(error).__name__))
        raise
    emit(event._replace(seconds=time.monotonic() - began))
    return secret


def _emit_end(event: Event, began: float, error: StrongroomError | None) -> None:
    """Emit the event of a copy that began then."""
    outcome, name = ("done", "") if error is None else ("failed", type(error).__name__)
    emit(event._replace(seconds=time.monotonic() - began, outcome=outcome, error=name))


def _read(front: ValidatedStore, path: str) -> Secret | None:
    try:
        return front.read(path)
    except SecretNotFoundError:
        return None


def _require_empty(target: ValidatedStore, path: str) -> None:
    """Raise if the target has any version, even a deleted one: the history would follow another."""
    try:
        target.versions(path)
    except SecretNotFoundError:
        return
    hint = "Copy it without --versions, or to another path"
    raise ConflictError(path, "the target already has a history of it", store=target.name, hint=hint)
