"""The types of a plan. Pure, and without values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from strongroom.secret import Version


class PlannedState(StrEnum):
    """The planned treatment of one secret."""

    CREATE = "create"
    """The target does not have it."""
    CHANGE = "change"
    """The target lacks some of its keys or labels, which are added. Keys that only the target has are kept."""
    EQUAL = "equal"
    """The target has all of it."""
    CONFLICT = "conflict"
    """The target has another value for one of its keys."""
    UNMAPPED = "unmapped"
    """No mapping covers it."""
    IMPOSSIBLE = "impossible"
    """It cannot be read, the target cannot hold it, or its write could not be undone. See the reason."""


class OnConflict(StrEnum):
    """The policy for secrets in conflict."""

    FAIL = "fail"
    """Write nothing if the plan has a conflict. A conflict found later fails that secret alone."""
    SKIP = "skip"
    """Keep the target's secret."""
    OVERWRITE = "overwrite"
    """Replace the target's values that the plan found by those of the source."""
    MERGE = "merge"
    """Keep the target's values, and add the keys that it lacks."""

    def writes(self, state: PlannedState) -> bool:
        """Return True if this policy writes a secret in that state."""
        if state is PlannedState.CONFLICT:
            return self in {OnConflict.OVERWRITE, OnConflict.MERGE}
        return state in {PlannedState.CREATE, PlannedState.CHANGE}


class KeyChange(StrEnum):
    """The change of a key between two states of a secret."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    SAME = "same"


class PlannedKey(NamedTuple):
    """One key of a planned secret, and the size of the source's value in bytes, as JSON or text.

    The change is that from the target's secret to the source's. Whether a run writes the key depends on the policy for
    conflicts. A removed key, which only the target has, is kept, and has the size 0.
    """

    name: str
    change: KeyChange
    size: int


@dataclass(frozen=True, slots=True)
class PlannedItem:
    """One secret of a plan.

    Attributes:
        source: the name of the source.
        source_path: its path or name there.
        path: its path at the target; empty if no mapping covers it.
        state: its planned treatment.
        reason: why it is in conflict, unmapped or impossible, or why it could not be checked: one line.
        keys: its keys and those that only the target has, sorted by name.
        source_version: the version that was read, if the source has versions.
        target_version: the target's version, or None if it has no versions or no such secret.
        cautions: properties that the copy will lack, or lose over time.
        labels: the names of the labels to write.
    """

    source: str
    source_path: str
    path: str
    state: PlannedState
    reason: str = ""
    keys: tuple[PlannedKey, ...] = ()
    source_version: Version | None = None
    target_version: Version | None = None
    cautions: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


class PlannedMapping(NamedTuple):
    """The mapping file of a plan: its absolute path, and the SHA-256 of its text in hexadecimal.

    A mapping holds only names, so its digest reveals nothing about a secret.
    """

    file: str
    digest: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A planned migration. It holds no value and no digest of one, so it can be stored and reviewed.

    Attributes:
        id: a random name, under which this machine keeps the digests of the secrets.
        sources: the names of the sources.
        target: the name of the target.
        on_conflict: the policy for conflicts.
        items: one for each secret, in the order of the sources.
        mapping: the mapping file of sources of variables, or None.
        backup: True if a run keeps an encrypted copy of overwritten data on its machine.
        encrypt_to: the age recipients of a target that is a file; empty for the configured ones.
    """

    id: str
    sources: tuple[str, ...]
    target: str
    on_conflict: OnConflict
    items: Sequence[PlannedItem] = field(default_factory=tuple)
    mapping: PlannedMapping | None = None
    backup: bool = True
    encrypt_to: tuple[str, ...] = ()

    def count(self, state: PlannedState) -> int:
        """Return how many items are in that state."""
        return sum(item.state is state for item in self.items)

    @property
    def is_blocked(self) -> bool:
        """True if a conflict and the policy FAIL forbid every write."""
        return self.on_conflict is OnConflict.FAIL and any(item.state is PlannedState.CONFLICT for item in self.items)

    def writes(self, item: PlannedItem) -> bool:
        """Return True if a run writes that item."""
        return self.on_conflict.writes(item.state)

    def covers(self, item: PlannedItem) -> bool:
        """Return True if the target holds that item after a run."""
        return self.writes(item) or item.state is PlannedState.EQUAL

    @property
    def pending(self) -> list[PlannedItem]:
        """The items that a run writes."""
        return [item for item in self.items if self.writes(item)]
