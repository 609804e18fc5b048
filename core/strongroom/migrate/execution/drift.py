"""What two stores hold differently: key by key, with labels and history where both have them. No value comes of it."""

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
from strongroom.migrate.endpoints.sources import Selection, known_labels
from strongroom.migrate.execution.parallel import OutageWatch, in_threads, read_each
from strongroom.migrate.plans.labels import own
from strongroom.secret import Secret, same
from strongroom.store.guard import GuardedStore

_BATCH = 256


class Drift(StrEnum):
    """How a path is in two stores."""

    SAME = "same"
    DIFFERENT = "different"
    ONLY_FIRST = "only in the first"
    ONLY_SECOND = "only in the second"
    UNKNOWN = "unknown"
    """One of them did not say."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What became of one path from the first store to the second.

    Attributes:
        path: the secret.
        state: how it is.
        keys: its keys. One that is ADDED is in the second store alone, and one that is REMOVED in the first.
        labels: its labels, in the same way; none where a store has no labels.
        history: how many versions either has that can be read, where their histories differ.
        error: why it is unknown.
    """

    path: str
    state: Drift
    keys: Mapping[str, Change] = field(default_factory=dict)
    labels: Mapping[str, Change] = field(default_factory=dict)
    history: tuple[int, int] | None = None
    error: StrongroomError | None = None


def drift(
    first: GuardedStore, second: GuardedStore, selection: Selection, *, history: bool = False
) -> Iterator[Difference]:
    """Each path that either store has, in order.

    Args:
        first: a store that can be listed.
        second: another one.
        selection: which paths are compared. They are the same in both.
        history: compare older versions too.

    Raises:
        UnsupportedOperationError: one of them cannot be listed, or has no versions where the history is compared.
        StoreError: one of them cannot be listed to its end, or gives no answer at all.
    """
    if history:
        for front in (first, second):
            if "versioned" not in front.capabilities:
                raise UnsupportedOperationError(None, "it has no versions", store=front.name)
    listed = [set(filter(selection.takes, front.walk(selection.from_prefix))) for front in (first, second)]
    paths = iter(sorted(set.union(*listed)))
    watches = OutageWatch(), OutageWatch()
    while batch := list(islice(paths, _BATCH)):
        ours, theirs = (dict(read_each(*each)) for each in zip((first, second), (batch, batch), watches, strict=True))
        for path in batch:
            for answers, names in zip((ours, theirs), listed, strict=True):
                if path not in names:
                    answers[path] = _absent_where_illegal(answers[path])
        comparison = _Comparison(first, second, history=history)
        found = in_threads(lambda path: comparison.of(path, ours[path], theirs[path]), batch)  # noqa: B023  # used up here
        yield from (each for each in found if each is not None)


def _absent_where_illegal(answer: Secret | StoreError) -> Secret | StoreError:
    """The answer of a store that does not list the path: what it can have no secret at is absent there."""
    return SecretNotFoundError(answer.path, answer.reason) if isinstance(answer, InvalidPathError) else answer


class _Comparison:
    def __init__(self, first: GuardedStore, second: GuardedStore, *, history: bool) -> None:
        self._fronts = first, second
        self._labels = all("versioned" in front.capabilities for front in self._fronts)
        self._history = history

    def of(self, path: str, ours: Secret | StoreError, theirs: Secret | StoreError) -> Difference | None:
        """What became of it; None where both have listed what neither has, as a deleted secret is."""
        for answer in (ours, theirs):
            if isinstance(answer, StoreError) and not isinstance(answer, SecretNotFoundError):
                return Difference(path, Drift.UNKNOWN, error=answer)
        if not isinstance(ours, Secret) or not isinstance(theirs, Secret):
            if isinstance(ours, Secret):
                return Difference(path, Drift.ONLY_FIRST, dict.fromkeys(sorted(ours.data), Change.REMOVED))
            if isinstance(theirs, Secret):
                return Difference(path, Drift.ONLY_SECOND, dict.fromkeys(sorted(theirs.data), Change.ADDED))
            return None
        try:
            labels = self._compared_labels(ours, theirs)
            history = self._compared_history(path) if self._history else None
        except StoreError as error:
            return Difference(path, Drift.UNKNOWN, error=error)
        keys = changes(ours.data, theirs.data)
        differs = history is not None or any(change is not Change.SAME for change in (*keys.values(), *labels.values()))
        return Difference(path, Drift.DIFFERENT if differs else Drift.SAME, keys, labels, history)

    def _compared_labels(self, ours: Secret, theirs: Secret) -> dict[str, Change]:
        if not self._labels:
            return {}
        both = zip(self._fronts, (ours, theirs), strict=True)
        left, right = (own(known_labels(front, each)) for front, each in both)
        return changes(left, right)

    def _compared_history(self, path: str) -> tuple[int, int] | None:
        """How many versions can be read, where they are not the same, oldest first."""
        left, right = (readable_versions(front, path) for front in self._fronts)
        alike = len(left) == len(right) and all(same(a.data, b.data) for a, b in zip(left, right, strict=True))
        return None if alike else (len(left), len(right))


def readable_versions(front: GuardedStore, path: str) -> list[Secret]:
    """Every version that has data, oldest first.

    Raises:
        UnsupportedOperationError: the store keeps no versions.
        StoreError: they cannot be read.
    """
    kept = [info for info in front.versions(path) if not (info.deleted or info.destroyed)]
    return [front.read_version(path, info.version) for info in kept]
