"""The differences between two stores, by key, label and history, without values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice

from strongroom.diff import Change, changes
from strongroom.errors import (
    InvalidPathError,
    SecretNotFoundError,
    StoreError,
    StrongroomError,
    UnsupportedOperationError,
)
from strongroom.migrate.execution.parallel import OutageWatch, in_threads, read_each
from strongroom.migrate.plans.labels import own
from strongroom.migrate.sources import Selection, known_labels
from strongroom.secret import Secret, same
from strongroom.store.boundary.validation import ValidatedStore

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
    keys: Mapping[str, Change] = field(default_factory=dict)
    labels: Mapping[str, Change] = field(default_factory=dict)
    history: tuple[int, int] | None = None
    error: StrongroomError | None = None


def drift(
    first: ValidatedStore, second: ValidatedStore, selection: Selection, *, history: bool = False
) -> Iterator[Difference]:
    """Yield a difference for each path of either store, sorted by path.

    The stores can be listed, and the selection applies to both. `history` compares older versions too.

    Raises:
        UnsupportedOperationError: one of them cannot be listed, or has no versions and the history is compared.
        StoreError: one of them cannot be listed completely, or is down.
    """
    if history:
        for front in (first, second):
            if "versioned" not in front.capabilities:
                raise UnsupportedOperationError(None, "it has no versions", store=front.name)
    listed = [set(filter(selection.takes, front.walk(selection.from_prefix))) for front in (first, second)]
    paths = iter(sorted(set.union(*listed)))
    watches = OutageWatch(), OutageWatch()
    while batch := list(islice(paths, _BATCH)):
        left, right = (dict(read_each(*each)) for each in zip((first, second), (batch, batch), watches, strict=True))
        for path in batch:
            for answers, names in zip((left, right), listed, strict=True):
                if path not in names:
                    answers[path] = _absent_where_illegal(answers[path])
        comparison = _Comparison(first, second, history=history)
        found = in_threads(lambda path: comparison.of(path, left[path], right[path]), batch)  # noqa: B023  # used up here
        yield from (each for each in found if each is not None)


def _absent_where_illegal(answer: Secret | StoreError) -> Secret | StoreError:
    """Return absence for a path that a store neither lists nor accepts."""
    return SecretNotFoundError(answer.path, answer.reason) if isinstance(answer, InvalidPathError) else answer


class _Comparison:
    def __init__(self, first: ValidatedStore, second: ValidatedStore, *, history: bool) -> None:
        self._fronts = first, second
        self._labels = all("versioned" in front.capabilities for front in self._fronts)
        self._history = history

    def of(self, path: str, left: Secret | StoreError, right: Secret | StoreError) -> Difference | None:
        """Return the difference, or None if both stores list the path and neither has it, such as a deleted secret."""
        for answer in (left, right):
            if isinstance(answer, StoreError) and not isinstance(answer, SecretNotFoundError):
                return Difference(path, Drift.UNKNOWN, error=answer)
        if not isinstance(left, Secret) or not isinstance(right, Secret):
            if isinstance(left, Secret):
                return Difference(path, Drift.ONLY_FIRST, dict.fromkeys(sorted(left.data), Change.REMOVED))
            if isinstance(right, Secret):
                return Difference(path, Drift.ONLY_SECOND, dict.fromkeys(sorted(right.data), Change.ADDED))
            return None
        try:
            labels = self._compared_labels(left, right)
            history = self._compared_history(path) if self._history else None
        except StoreError as error:
            return Difference(path, Drift.UNKNOWN, error=error)
        keys = changes(left.data, right.data)
        differs = history is not None or any(change is not Change.SAME for change in (*keys.values(), *labels.values()))
        return Difference(path, Drift.DIFFERENT if differs else Drift.SAME, keys, labels, history)

    def _compared_labels(self, left: Secret, right: Secret) -> dict[str, Change]:
        if not self._labels:
            return {}
        both = zip(self._fronts, (left, right), strict=True)
        first, second = (own(known_labels(front, each)) for front, each in both)
        return changes(first, second)

    def _compared_history(self, path: str) -> tuple[int, int] | None:
        """Return the numbers of readable versions if the histories differ, otherwise None."""
        left, right = (readable_versions(front, path) for front in self._fronts)
        alike = len(left) == len(right) and all(same(a.data, b.data) for a, b in zip(left, right, strict=True))
        return None if alike else (len(left), len(right))


def readable_versions(front: ValidatedStore, path: str) -> list[Secret]:
    """Return every version that has data, oldest first.

    Raises:
        UnsupportedOperationError: the store keeps no versions.
        StoreError: they cannot be read.
    """
    kept = [info for info in front.versions(path) if not (info.deleted or info.destroyed)]
    return [front.read_version(path, info.version) for info in kept]
