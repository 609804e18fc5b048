"""Compare two states of a secret and a secret with its plan, and decide whether a run writes it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from strongroom.encoding import to_json_text
from strongroom.migrate._plans.plan import KeyChange, OnConflict, PlannedItem, PlannedKey, PlannedState
from strongroom.secret import Secret, SensitiveDict, Value, changed_keys, protect_data

TARGET_CHANGED = "the target was changed since the plan"
SOURCE_CHANGED = "the source was changed since the plan"
HAS_ALL = "the target has all of it already"


class Do(Enum):
    """The treatment of a secret in a run."""

    WRITE = "write"
    KEEP = "keep"
    """Keep its data. It may get labels."""
    LEAVE = "leave"
    """Touch nothing of it."""
    CONFLICT = "conflict"


class Decision(NamedTuple):
    """The treatment of a secret, with the reason or the data to write."""

    do: Do
    reason: str = ""
    data: Mapping[str, Value] = SensitiveDict()


def changes(old: Mapping[str, Value], new: Mapping[str, Value]) -> dict[str, KeyChange]:
    """Return the change of each key of either state, sorted by name."""
    found = dict.fromkeys(sorted({*old, *new}), KeyChange.SAME)
    for key in changed_keys(old, new):
        found[key] = KeyChange.ADDED if key not in old else KeyChange.REMOVED if key not in new else KeyChange.CHANGED
    return found


def size(value: Value) -> int:
    """Return the size of a value in bytes, as text or as JSON."""
    if isinstance(value, bytes):
        return len(value)
    text = value if isinstance(value, str) else to_json_text(value)
    return len(text.encode("utf-8", "surrogatepass"))


def planned_keys(source: Secret, target: Secret | None) -> tuple[PlannedKey, ...]:
    """Return the keys of both, sorted by name."""
    there: Mapping[str, Value] = {} if target is None else target.data
    return tuple(
        PlannedKey(name, change, size(source.data[name]) if name in source.data else 0)
        for name, change in changes(there, source.data).items()
    )


def state_of(source: Secret, target: Secret | None) -> PlannedState:
    """Return the planned state of a secret that can be read in both stores."""
    if target is None:
        return PlannedState.CREATE
    found = set(changes(target.data, source.data).values())
    if KeyChange.CHANGED in found:
        return PlannedState.CONFLICT
    return PlannedState.CHANGE if KeyChange.ADDED in found else PlannedState.EQUAL


def differing(target: Mapping[str, Value], source: Mapping[str, Value]) -> list[str]:
    """Return the source's keys that the target lacks or has with another value."""
    return [key for key, change in changes(target, source).items() if change in {KeyChange.ADDED, KeyChange.CHANGED}]


def source_changed(item: PlannedItem, source: Secret, *, same: bool | None) -> bool:
    """Return True if the source differs from the plan.

    `same` is the comparison of the digests, or None if none were kept.
    """
    if same is not None:
        return not same
    if item.source_version is not None and item.source_version != source.version:
        return True
    planned = {key.name: key.size for key in item.keys if key.change is not KeyChange.REMOVED}
    return planned != {name: size(value) for name, value in source.data.items()}


def target_changed(item: PlannedItem, source: Secret, target: Secret | None, *, same: bool | None) -> bool:
    """Return True if the target changed since the plan was made.

    `same` is the comparison of the digests, or None if none were kept.
    """
    if item.state is PlannedState.CREATE or target is None:
        return (item.state is PlannedState.CREATE) != (target is None)
    if same is not None:
        return not same
    if item.target_version is not None and item.target_version != target.version:
        return True
    return {key.name: key.change for key in item.keys} != changes(target.data, source.data)


def decide(  # noqa: PLR0911  # one return for each decision
    source: Secret, target: Secret | None, on_conflict: OnConflict, *, changed: bool
) -> Decision:
    """Decide what to do with a secret. `changed` is `target_changed`."""
    if target is None and not changed:
        return Decision(Do.WRITE, data=source.data)
    there: Mapping[str, Value] = {} if target is None else target.data
    found = set(changes(there, source.data).values())
    if target is not None and not found & {KeyChange.ADDED, KeyChange.CHANGED}:
        return Decision(Do.KEEP, HAS_ALL)
    conflict = TARGET_CHANGED if changed else ""
    if KeyChange.CHANGED in found:
        conflict = conflict or "the target has another value for a key of it"
    if conflict and on_conflict in {OnConflict.FAIL, OnConflict.SKIP}:
        return Decision(Do.CONFLICT if on_conflict is OnConflict.FAIL else Do.LEAVE, conflict)
    if changed and on_conflict is OnConflict.OVERWRITE:  # the plan did not show what would be lost
        return Decision(Do.CONFLICT, TARGET_CHANGED)
    if on_conflict is OnConflict.MERGE:
        if target is not None and KeyChange.ADDED not in found:
            return Decision(Do.KEEP, "the target has all of its keys, and keeps its values")
        return Decision(Do.WRITE, data=protect_data({**source.data, **there}))
    return Decision(Do.WRITE, data=protect_data({**there, **source.data}))
