"""Which of a secret's labels go along in a migration, and which the target gets back when it is undone. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

from strongroom.migrate.plans.plan import OnConflict
from strongroom.secret import Value

_OURS = "strongroom:"
"""Prefix of the labels that name the form of a secret (`MigrationHints.write_formed`)."""


class Written(NamedTuple):
    """What a run makes of one label.

    Attributes:
        before: what the target said; None where it had no such label.
        after: what it is to say.
    """

    before: str | None
    after: str


Record: TypeAlias = Mapping[str, Written]
"""What a run makes of the labels of one secret."""


def own(labels: Mapping[str, str]) -> dict[str, str]:
    """Those that say something of the secret, and not of how a store keeps it."""
    return {name: str(text) for name, text in labels.items() if not name.startswith(_OURS)}


def form_of(labels: Mapping[str, str]) -> dict[str, str]:
    """Those that say in which form a store keeps it."""
    return {name: str(text) for name, text in labels.items() if name.startswith(_OURS)}


def carried(labels: Mapping[str, str], *, formed: bool) -> dict[str, str]:
    """Those that the target is to keep: where it has no forms of its own, also the form that the secret had."""
    return own(labels) if formed else dict(labels)


def to_write(source: Mapping[str, str], target: Mapping[str, str], on_conflict: OnConflict) -> dict[str, Written]:
    """What the target gets: labels that it lacks, and where conflicts are overwritten those that say something else.

    Labels that only the target has stay.
    """
    replaces = on_conflict is OnConflict.OVERWRITE
    return {
        name: Written(target.get(name), text)
        for name, text in source.items()
        if name not in target or (replaces and target[name] != text)
    }


def lacking(source: Mapping[str, str], target: Mapping[str, str], names: Iterable[str]) -> list[str]:
    """Those of the names for which the target does not say what the source says."""
    return [name for name in names if name in source and target.get(name) != source[name]]


def after(target: Mapping[str, str], record: Record) -> dict[str, str]:
    """The labels of the target with what a run writes."""
    return {**target, **{name: written.after for name, written in record.items()}}


def given_back(target: Mapping[str, str], record: Record) -> dict[str, str] | None:
    """The labels of the target without what a run wrote. None where one of these says something else by now."""
    labels = dict(target)
    for name, written in record.items():
        if target.get(name) not in {written.before, written.after}:
            return None
        if written.before is None:
            labels.pop(name, None)
        else:
            labels[name] = written.before
    return labels


def kept(record: Record) -> dict[str, Value]:
    """The record as the data that a backup keeps."""
    return {name: list(written) for name, written in record.items()}


def record_of(data: Mapping[str, Value]) -> dict[str, Written]:
    """The record that `kept` made this of."""
    record: dict[str, Written] = {}
    for name, value in data.items():
        match value:
            case [None | str() as before, str() as text]:
                record[name] = Written(before, text)
            case _:
                pass
    return record
