"""The differences between two stores, by key, label and history, without values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice

from strongroom.errors import (
    InvalidPathError,
    SecretNotFoundError,
    StoreError,
    StrongroomError,
    UnsupportedOperationError,
)
from strongroom.migrate._plans.comparison import changes
from strongroom.migrate._plans.labels import own
from strongroom.migrate._plans.plan import KeyChange
from strongroom.migrate.sources import Listing, Selection, Source, known_labels
from strongroom.secret import Secret, same
from strongroom.store.concurrency import map_concurrently

_BATCH = 256


class Drift(StrEnum):
    """The comparison of one path in two stores."""

    SAME = "same"
    DIFFERENT = "different"
    ONLY_FIRST = "only in the first"
    ONLY_SECOND = "only in the second"
    UNKNOWN = "unknown"
    """One of them could not be read."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference of one path between the first store and the second.

    Attributes:
        keys: its keys. An ADDED key is only in the second store, and a REMOVED one only in the first.
        labels: its labels, likewise; empty if a store has no labels.
        history: the numbers of readable versions, if the histories differ.
        error: why the state is unknown.
    """

    path: str
    state: Drift
    keys: Mapping[str, KeyChange] = field(default_factory=dict)
    labels: Mapping[str, KeyChange] = field(default_factory=dict)
    history: tuple[int, int] | None = None
    error: StrongroomError | None = None


def drift(first: Source, second: Source, selection: Selection, *, history: bool = False) -> Iterator[Difference]:
    """Yield a difference for each path of either source, sorted by path.

    The selection applies to both. `history` compares older versions too.

    Raises:
        UnsupportedOperationError: one of them cannot be listed, or has no versions and the history is compared.
        StoreError: one of them cannot be listed completely, or is down.
    """
    if history:
        for source in (first, second):
            if not source.versioned:
                raise UnsupportedOperationError(None, "it has no versions", store=source.name)
    listings = first.listing(selection), second.listing(selection)
    paths = iter(sorted(listings[0].paths | listings[1].paths))
    comparison = _Comparison(first, second, history=history)
    while batch := list(islice(paths, _BATCH)):
        left, right = (_answers(listing, batch) for listing in listings)
        both = [(path, left[path], right[path]) for path in batch]
        found = map_concurrently(lambda answers: comparison.of(*answers), both)
        yield from (difference for _, difference in found if difference is not None)


def _answers(listing: Listing, paths: list[str]) -> dict[str, Secret | StrongroomError]:
    """Return the answer for each path. A path that the source neither lists nor accepts is absent."""
    answers = dict(listing.read(paths))
    for path, answer in answers.items():
        if isinstance(answer, InvalidPathError) and path not in listing.paths:
            answers[path] = SecretNotFoundError(path, answer.reason)
    return answers


class _Comparison:
    def __init__(self, first: Source, second: Source, *, history: bool) -> None:
        self._sources = first, second
        self._labels = first.versioned and second.versioned
        self._history = history

    def of(self, path: str, left: Secret | StrongroomError, right: Secret | StrongroomError) -> Difference | None:
        """Return the difference, or None if both stores list the path and neither has it, such as a deleted secret."""
        for answer in (left, right):
            if isinstance(answer, StrongroomError) and not isinstance(answer, SecretNotFoundError):
                return Difference(path, Drift.UNKNOWN, error=answer)
        if not isinstance(left, Secret) or not isinstance(right, Secret):
            if isinstance(left, Secret):
                return Difference(path, Drift.ONLY_FIRST, dict.fromkeys(sorted(left.data), KeyChange.REMOVED))
            if isinstance(right, Secret):
                return Difference(path, Drift.ONLY_SECOND, dict.fromkeys(sorted(right.data), KeyChange.ADDED))
            return None
        try:
            labels = self._compared_labels(left, right)
            history = self._compared_history(path) if self._history else None
        except StoreError as error:
            return Difference(path, Drift.UNKNOWN, error=error)
        keys = changes(left.data, right.data)
        differs = history is not None or any(
            change is not KeyChange.SAME for change in (*keys.values(), *labels.values())
        )
        return Difference(path, Drift.DIFFERENT if differs else Drift.SAME, keys, labels, history)

    def _compared_labels(self, left: Secret, right: Secret) -> dict[str, KeyChange]:
        if not self._labels:
            return {}
        both = zip(self._sources, (left, right), strict=True)
        first, second = (own(known_labels(source, each)) for source, each in both)
        return changes(first, second)

    def _compared_history(self, path: str) -> tuple[int, int] | None:
        """Return the numbers of readable versions if the histories differ, otherwise None."""
        left, right = (source.history(path)[0] for source in self._sources)
        alike = len(left) == len(right) and all(same(a.data, b.data) for a, b in zip(left, right, strict=True))
        return None if alike else (len(left), len(right))
