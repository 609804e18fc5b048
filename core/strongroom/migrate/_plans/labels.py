"""The labels that a migration copies, and those that its undo restores. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

from strongroom.migrate._plans.plan import OnConflict
from strongroom.secret import Value

_FORM_PREFIX = "strongroom:"
"""Prefix of the labels that name the form of a secret (`MigrationHints.write_formed`)."""


class LabelChange(NamedTuple):
    """A run's change of one label.

    Attributes:
        before: the target's earlier text, or None if it did not have the label.
        after: the new text.
    """

    before: str | None
    after: str


LabelChanges: TypeAlias = Mapping[str, LabelChange]
"""A run's changes of the labels of one secret."""


def own(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels that describe the secret, without those that record its form."""
    return {name: str(text) for name, text in labels.items() if not name.startswith(_FORM_PREFIX)}


def form_of(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels that record the form of the secret."""
    return {name: str(text) for name, text in labels.items() if name.startswith(_FORM_PREFIX)}


def carried(labels: Mapping[str, str], *, formed: bool) -> dict[str, str]:
    """Return the labels to copy. If the target has no forms, they include the form of the source."""
    return own(labels) if formed else dict(labels)


def to_write(source: Mapping[str, str], target: Mapping[str, str], on_conflict: OnConflict) -> dict[str, LabelChange]:
    """Return the labels to write: those that the target lacks, and with OVERWRITE those that differ.

    Labels that only the target has stay.
    """
    replaces = on_conflict is OnConflict.OVERWRITE
    return {
        name: LabelChange(target.get(name), text)
        for name, text in source.items()
        if name not in target or (replaces and target[name] != text)
    }


def lacking(source: Mapping[str, str], target: Mapping[str, str], names: Iterable[str]) -> list[str]:
    """Return the names of labels that the target lacks or has with another text."""
    return [name for name in names if name in source and target.get(name) != source[name]]


def after(target: Mapping[str, str], record: LabelChanges) -> dict[str, str]:
    """Return the target's labels after a run's changes."""
    return {**target, **{name: written.after for name, written in record.items()}}


def restored(target: Mapping[str, str], record: LabelChanges) -> dict[str, str] | None:
    """Return the target's labels without a run's changes, or None if one of them was changed since."""
    labels = dict(target)
    for name, written in record.items():
        if target.get(name) not in {written.before, written.after}:
            return None
        if written.before is None:
            labels.pop(name, None)
        else:
            labels[name] = written.before
    return labels


def kept(record: LabelChanges) -> dict[str, Value]:
    """Return the record in the form that a backup stores."""
    return {name: list(written) for name, written in record.items()}


def record_of(data: Mapping[str, Value]) -> dict[str, LabelChange]:
    """Return the record from the form of `kept`."""
    record: dict[str, LabelChange] = {}
    for name, value in data.items():
        match value:
            case [None | str() as before, str() as text]:
                record[name] = LabelChange(before, text)
            case _:
                pass
    return record
