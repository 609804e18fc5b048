"""The types of a plan: what is to become of each secret. Pure, and without a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from strongroom.diff import Change
from strongroom.secret import Version


class State(StrEnum):
    """What a migration would do with one secret."""

    CREATE = "create"
    """The target has none."""
    CHANGE = "change"
    """The target has it, without some of its keys or labels. Those that only the target has are kept."""
    EQUAL = "equal"
    """The target has all of it already."""
    CONFLICT = "conflict"
    """The target has another value for one of its keys."""
    UNMAPPED = "unmapped"
    """Nothing says where it belongs."""
    IMPOSSIBLE = "impossible"
    """It cannot be read, the target cannot hold it, or it could not be undone; the reason says which."""


class OnConflict(StrEnum):
    """What becomes of a secret in conflict."""

    FAIL = "fail"
    """Nothing at all is written while the plan has one; one that is met later fails for itself."""
    SKIP = "skip"
    """The target's secret stays as it is."""
    OVERWRITE = "overwrite"
    """The source's values take the place of those that the plan found at the target."""
    MERGE = "merge"
    """The target's values stay, and keys that it lacks are added."""

    def writes(self, state: State) -> bool:
        """Whether a run with this policy would write a secret in that state."""
        if state is State.CONFLICT:
            return self in {OnConflict.OVERWRITE, OnConflict.MERGE}
        return state in {State.CREATE, State.CHANGE}


class PlannedKey(NamedTuple):
    """One key of a planned secret: what becomes of it, and the size of the source's value in bytes, as JSON or text.

    Of a key that only the target has, which is kept, the size is 0: it is none of the source's.
    """

    name: str
    change: Change
    size: int


@dataclass(frozen=True, slots=True)
class Item:
    """One secret of a plan.

    Attributes:
        source: the name of the store it comes from.
        source_path: its path there, or what the source calls it.
        path: its path at the target; empty where nothing says where it belongs.
        state: what is to become of it.
        reason: why it is in conflict, unmapped or impossible, or why it could not be checked whether the target takes
            it and what a copy lacks: one line.
        keys: its keys, in the order of their names, with those that only the target has.
        source_version: the version that was read, where the source has versions.
        target_version: the version that the target had, where it has versions; None where there was no secret.
        cautions: what the copy will not have, or will lose with time.
        labels: the names of its labels that the target is to get.
    """

    source: str
    source_path: str
    path: str
    state: State
    reason: str = ""
    keys: tuple[PlannedKey, ...] = ()
    source_version: Version | None = None
    target_version: Version | None = None
    cautions: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


class PlannedMapping(NamedTuple):
    """The mapping file that a plan was made with: where it is, absolute, and the SHA-256 of its text, in hexadecimal.

    A mapping holds names alone, so that its digest tells nothing of a secret.
    """

    file: str
    digest: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a migration would do. It holds no value and no digest of one, so that it can be kept and reviewed.

    Attributes:
        id: a name of its own, by which this machine remembers what the secrets were when it was made.
        sources: the stores it reads, as they were named.
        target: the store it writes, as it was named.
        on_conflict: what becomes of secrets in conflict.
        items: one for each secret, in the order of the sources.
        mapping: the mapping file that its sources of variables were read with, where one was given for the plan.
        backup: whether a run keeps what it overwrites, encrypted, on its machine.
        encrypt_to: the age recipients to whom the target, a file, is encrypted; none leaves it as it is configured.
    """

    id: str
    sources: tuple[str, ...]
    target: str
    on_conflict: OnConflict
    items: Sequence[Item] = field(default_factory=tuple)
    mapping: PlannedMapping | None = None
    backup: bool = True
    encrypt_to: tuple[str, ...] = ()

    def count(self, state: State) -> int:
        """How many items are in that state."""
        return sum(item.state is state for item in self.items)

    @property
    def is_blocked(self) -> bool:
        """Nothing may be written: something is in conflict, and that is to fail."""
        return self.on_conflict is OnConflict.FAIL and any(item.state is State.CONFLICT for item in self.items)

    def writes(self, item: Item) -> bool:
        """Whether a run would write that item."""
        return self.on_conflict.writes(item.state)

    @property
    def pending(self) -> list[Item]:
        """The items that a run would write."""
        return [item for item in self.items if self.writes(item)]
