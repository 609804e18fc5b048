"""What became of a secret's keys from one state of it to another. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from strongroom.secret import Value


class Change(StrEnum):
    """What became of a key."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    SAME = "same"


def changes(old: Mapping[str, Value], new: Mapping[str, Value]) -> dict[str, Change]:
    """What became of each key of either, in the order of their names."""
    return {key: _change(key, old, new) for key in sorted({*old, *new})}


def same(left: Value, right: Value) -> bool:
    """Whether two values are one: text and bytes exactly, numbers by value, and of one type all the way down."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return kind(left) == kind(right) and left == right


def kind(value: Value) -> str:
    """The type of a value in a word: one for both kinds of number, since JSON has but one."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str | bytes):
        return "text" if isinstance(value, str) else "bytes"
    return "mapping" if isinstance(value, Mapping) else "list"


def _change(key: str, old: Mapping[str, Value], new: Mapping[str, Value]) -> Change:
    if key not in old or key not in new:
        return Change.ADDED if key in new else Change.REMOVED
    return Change.SAME if same(old[key], new[key]) else Change.CHANGED
