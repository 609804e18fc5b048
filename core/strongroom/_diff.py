"""Differences between two states of a secret. Pure.

A module of its own, since migrations, versions and the command line use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from strongroom.secret import Value, same


class Change(StrEnum):
    """The change of a key."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    SAME = "same"


def changes(old: Mapping[str, Value], new: Mapping[str, Value]) -> dict[str, Change]:
    """Return the change of each key of either state, sorted by name."""
    return {key: _change(key, old, new) for key in sorted({*old, *new})}


def _change(key: str, old: Mapping[str, Value], new: Mapping[str, Value]) -> Change:
    if key not in old or key not in new:
        return Change.ADDED if key in new else Change.REMOVED
    return Change.SAME if same(old[key], new[key]) else Change.CHANGED
