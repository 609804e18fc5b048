"""Differences between two states of a secret. Pure. `strongroom diff` compares versions with it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from strongroom.secret import Value, same


class KeyChange(StrEnum):
    """The change of a key."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    SAME = "same"


def changes(old: Mapping[str, Value], new: Mapping[str, Value]) -> dict[str, KeyChange]:
    """Return the change of each key of either state, sorted by name."""
    return {key: _change(key, old, new) for key in sorted({*old, *new})}


def _change(key: str, old: Mapping[str, Value], new: Mapping[str, Value]) -> KeyChange:
    if key not in old or key not in new:
        return KeyChange.ADDED if key in new else KeyChange.REMOVED
    return KeyChange.SAME if same(old[key], new[key]) else KeyChange.CHANGED
