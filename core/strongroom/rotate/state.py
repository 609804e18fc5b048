"""State of a rotation, and its form in the store: the document at `PATH/rotation/pending`. Pure.

While a rotation is under way, the document is the pending secret itself, with the same keys as the secret at `PATH`
and one more, `strongroom:rotation`, which holds the step, the lease of the process that works on it, and the values
that the rotation replaces. A connection that the service refuses may try the pending secret. When the rotation has
ended, only `strongroom:rotation` is left, with the time of the last success and without any value.

The document is written under check-and-set only. A process that reads an old version cannot go on: its next write is
refused. So of two processes at most one advances, even if their clocks differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import quote, quote_plus

from strongroom.errors import NewerFormatError, StoreError, newer_format
from strongroom.paths import ROTATION_RECORD
from strongroom.secret import ROTATION_STATE, SensitiveDict, Value, Version, changed_keys, protect_data, same

KEY = ROTATION_STATE
"""The key of the document that holds the state. A secret that is rotated cannot have it."""

FORMAT = 1

_SHORTEST_COPY = 8
"""Characters of an old value that is looked for in other keys: a shorter one could be there by chance."""

LEASE = timedelta(seconds=120)
"""For how long a process owns the rotation after each of its writes, by its own clock."""

SKEW = timedelta(seconds=30)
"""How much longer others wait, by their clocks, which may differ by so much."""


def pending_path(path: str) -> str:
    """Return the reserved path at which the pending value and the state of a rotation are stored."""
    return f"{path}{ROTATION_RECORD}"


class NewerRecordError(StoreError, NewerFormatError):
    """The record of a rotation has a later format."""


class RotationStep(StrEnum):
    """The last step of a rotation that is complete."""

    CREATED = "created"
    APPLIED = "applied"
    PROVED = "proved"
    PROMOTED = "promoted"
    DONE = "done"
    UNDOING = "undoing"
    UNDONE = "undone"


class RotationAction(StrEnum):
    """The next step."""

    APPLY = "apply"
    PROVE = "prove"
    PROMOTE = "promote"
    WAIT = "wait"
    REVOKE = "revoke"
    UNDO = "undo"
    NONE = "none"


_NEXT = {
    RotationStep.CREATED: RotationAction.APPLY,
    RotationStep.APPLIED: RotationAction.PROVE,
    RotationStep.PROVED: RotationAction.PROMOTE,
    RotationStep.UNDOING: RotationAction.UNDO,
    RotationStep.DONE: RotationAction.NONE,
    RotationStep.UNDONE: RotationAction.NONE,
}


@dataclass(frozen=True)
class RotationState:
    """The state of the last rotation of a secret.

    Attributes:
        id: the rotation's name in audit events.
        rotator: the plugin that made the pending value.
        step: the last complete step.
        started, changed: when the rotation began, and when its step was complete.
        owner: the process that works on it; empty if none does.
        lease_until: until when it owns the rotation, by its own clock.
        promoted: when the new credential was stored as the secret.
        last_success: the last rotation before this one that was promoted; this one once it is done. See `last`.
        failures: failed attempts since the last success.
        from_version: the version of the secret that the rotation replaces; None if a service replaces it.
        keys: once the rotation is done, the names of the keys that it has changed.
        back: True if it undoes a rotation that was done: the new credential is the one from before that rotation.
        new, old: the keys that change, with their new values, and with those before.
    """

    id: str
    rotator: str
    step: RotationStep
    started: datetime
    changed: datetime
    owner: str = ""
    lease_until: datetime | None = None
    promoted: datetime | None = None
    last_success: datetime | None = None
    failures: int = 0
    from_version: Version | None = None
    keys: tuple[str, ...] = ()
    back: bool = False
    new: Mapping[str, Value] = field(default_factory=dict, repr=False)
    old: Mapping[str, Value] = field(default_factory=dict, repr=False)

    @property
    def of_service(self) -> bool:
        """True if it records a rotation that a service carries out: no version of the secret is replaced by us."""
        return self.from_version is None

    @property
    def unfinished(self) -> bool:
        """True if the rotation has to be resumed or undone."""
        return self.step not in {RotationStep.DONE, RotationStep.UNDONE}

    @property
    def last(self) -> datetime | None:
        """The last rotation that counts for the schedule: this one once it was promoted, otherwise the one before.

        An undo does not change that. A rotation that broke an application would be due again at once otherwise.
        """
        return self.last_success if self.back or self.promoted is None else self.promoted

    def next_action(self, now: datetime, grace: timedelta) -> RotationAction:
        """Return the next step."""
        if self.step is RotationStep.PROMOTED:
            return RotationAction.REVOKE if now >= self.grace_end(grace) else RotationAction.WAIT
        return _NEXT[self.step]

    def grace_end(self, grace: timedelta) -> datetime:
        """Return when the credential that was replaced may be revoked. An undo revokes it at once."""
        return (self.promoted or self.changed) + (timedelta(0) if self.back else grace)

    def is_free(self, now: datetime, owner: str = "") -> bool:
        """Return True if a process may work on it: its own rotation, one of nobody, or one whose lease has ended."""
        if not self.owner or self.owner == owner or self.lease_until is None:
            return True
        return now > self.lease_until + SKEW

    def owned(self, owner: str, now: datetime) -> RotationState:
        """Return the state with a new lease of this owner."""
        return replace(self, owner=owner, lease_until=now + LEASE)

    def released(self) -> RotationState:
        return replace(self, owner="", lease_until=None)

    def after(self, step: RotationStep, now: datetime) -> RotationState:
        """Return the state in which `step` is complete. A state that has ended holds no values."""
        if step is RotationStep.PROVED and self.of_service:
            step = RotationStep.DONE
        if step is RotationStep.DONE and self.back:
            step = RotationStep.UNDONE
        state = replace(self, step=step, changed=now)
        if step is RotationStep.PROMOTED:
            state = replace(state, promoted=now)
        if step is RotationStep.DONE:
            state = replace(state, last_success=self.promoted or now, failures=0, keys=tuple(self.new))
        if not state.unfinished:
            state = replace(state.released(), new={}, old={})
        return state

    def replaced(self, secret: Mapping[str, Value]) -> SensitiveDict:
        """Return the secret with the new credential."""
        return protect_data({**secret, **self.new})

    def restored(self, secret: Mapping[str, Value]) -> SensitiveDict:
        """Return the secret with the old credential."""
        return protect_data({**{key: value for key, value in secret.items() if key not in self.new}, **self.old})


_TIMES = ("started", "changed", "lease_until", "promoted", "last_success")


def as_document(state: RotationState, secret: Mapping[str, Value]) -> SensitiveDict:
    """Return the document of a state.

    Args:
        state: the state.
        secret: the whole secret that a refused connection should try; left out if the rotation has ended.
    """
    fields: dict[str, Value] = {"format": FORMAT, "id": state.id, "rotator": state.rotator, "step": state.step.value}
    for name in _TIMES:
        if (moment := getattr(state, name)) is not None:
            fields[name] = moment.astimezone(UTC).isoformat()
    fields |= {"owner": state.owner, "failures": state.failures, "back": state.back, "keys": list(state.keys)}
    fields["from_version"] = state.from_version
    if not state.unfinished:
        return protect_data({KEY: fields})
    return protect_data({**secret, KEY: {**fields, "new": dict(state.new), "old": dict(state.old)}})


def parse_document(data: Mapping[str, Value], path: str) -> RotationState:
    """Return the state that a document holds.

    Raises:
        NewerRecordError: it has a later format.
        StoreError: a secret of somebody else is at the reserved path.
    """
    fields = data.get(KEY)
    newer = ""
    try:
        if isinstance(fields, Mapping):
            version = fields["format"]
            if version == FORMAT:
                return _parsed(fields)
            if type(version) is int and version > FORMAT:
                newer = newer_format(version, FORMAT)
    except (KeyError, ValueError, TypeError):
        pass
    del data, fields
    if newer:
        hint = "Upgrade strongroom here, or finish the rotation with the release that began it"
        raise NewerRecordError(path, newer, hint=hint)
    raise StoreError(path, "it is not the state of a rotation", hint="Rotations use this path: move the secret")


def _parsed(fields: Mapping[str, Any]) -> RotationState:  # values of a document that we wrote
    times = {name: datetime.fromisoformat(fields[name]) for name in _TIMES if name in fields}
    if any(moment.tzinfo is None for moment in times.values()):
        raise ValueError("a time without a zone")
    return RotationState(
        id=str(fields["id"]),
        rotator=str(fields["rotator"]),
        step=RotationStep(fields["step"]),
        owner=str(fields["owner"]),
        failures=int(fields["failures"]),
        from_version=fields.get("from_version"),
        keys=tuple(fields.get("keys", ())),
        back=bool(fields.get("back", False)),
        new=protect_data(fields.get("new", {})),
        old=protect_data(fields.get("old", {})),
        **times,
    )


def pending_secret(data: Mapping[str, Value]) -> SensitiveDict | None:
    """Return the whole secret that a document at `pending_path` holds; None if no rotation is under way."""
    found = {key: value for key, value in data.items() if key != KEY}
    return protect_data(found) if found and KEY in data else None


def is_promoted(data: Mapping[str, Value], new: Mapping[str, Value]) -> bool:
    """Return True if the secret has the new credential, with or without the keys that `revoke` drops."""
    there = [key for key in new if key in data]
    return bool(there) and all(same(data[key], new[key]) for key in there)


def is_unchanged(data: Mapping[str, Value], old: Mapping[str, Value], new: Mapping[str, Value]) -> bool:
    """Return True if the keys that change have the values from before the rotation."""
    return new.keys().isdisjoint(changed_keys(old, data))


def copied_keys(secret: Mapping[str, Value], new: Mapping[str, Value]) -> tuple[str, str] | None:
    """Return a key that changes, and one that does not and holds its old value, such as a URL with the password."""
    for key in new:
        old = secret.get(key)
        if isinstance(old, str) and len(old) >= _SHORTEST_COPY:
            forms = {str(old), quote(old, safe=""), quote_plus(old)}
            for other, value in secret.items():
                if other not in new and isinstance(value, str) and any(form in value for form in forms):
                    return key, other
    return None
