"""What a migration reads: a store that can be listed, or an importer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from strongroom.errors import (
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StrongroomError,
    UnsupportedOperationError,
)
from strongroom.migrate.endpoints.selection import Selection
from strongroom.migrate.execution.parallel import OutageWatch, read_each
from strongroom.migrate.plans.labels import own
from strongroom.migrate.spi import Failure, Importer
from strongroom.paths import check_path
from strongroom.secret import Secret, check_data
from strongroom.store.guard import GuardedStore
from strongroom.store.version_rules import check_labels

_R = TypeVar("_R")

_HINT = "This is a bug in the importer's plugin"

_END = object()
"""Comes after the last item: whatever an importer gives is none, `None` too."""


class Source(Protocol):
    """A source of secrets."""

    name: str

    def items(self, selection: Selection) -> Iterator[Secret | Failure]:
        """Every secret that the selection takes, with its labels, in bounded memory."""
        ...

    def read_again(self, paths: Sequence[str]) -> Iterator[tuple[str, Secret | StrongroomError]]:
        """Each of these paths as it is now, in any order. Its labels may have to be asked for."""
        ...

    def labels(self, secret: Secret) -> dict[str, str]:
        """The labels of a secret that was read again."""
        ...

    def cautions(self, path: str) -> tuple[str, ...]:
        """What a copy of the secret would lack."""
        ...

    def delete(self, path: str) -> None:
        """Removes the secret from the source."""
        ...


class StoreSource:
    """A store as a source. What is listed and confirmed to be absent, such as a deleted secret, is none of its items.

    Args:
        front: the store.
        name: the name it has for this migration.

    Raises:
        UnsupportedOperationError: it cannot be listed, or makes secrets when it is read.
    """

    def __init__(self, front: GuardedStore, name: str) -> None:
        if "dynamic" in front.capabilities:
            reason = "a read makes a new secret there, so that nothing is to be migrated"
            raise UnsupportedOperationError(None, reason, store=front.name)
        if not front.listable:
            raise UnsupportedOperationError(
                None, "it has no listing, so that nobody knows what it holds", store=front.name
            )
        self.name = name
        self._front = front

    def items(self, selection: Selection) -> Iterator[Secret | Failure]:
        """Every secret that the selection takes, as it comes."""
        labels: dict[str, Mapping[str, str]] = {}
        for path, outcome in read_each(self._front, self._taken(selection, labels), OutageWatch()):
            listed = labels.pop(path, None)
            if isinstance(outcome, Secret):
                yield replace(outcome, metadata={**outcome.metadata, **listed}) if listed else outcome
            elif not isinstance(outcome, SecretNotFoundError):
                yield Failure(path, outcome)

    def read_again(self, paths: Sequence[str]) -> Iterator[tuple[str, Secret | StrongroomError]]:
        """Each of these paths as it is now, in any order."""
        return read_each(self._front, paths, OutageWatch())

    def labels(self, secret: Secret) -> dict[str, str]:
        """The secret's labels."""
        return labels_of(self._front, secret)

    def cautions(self, path: str) -> tuple[str, ...]:
        """What a copy of the secret would lack."""
        return self._front.cautions(path)

    def delete(self, path: str) -> None:
        """Removes the secret."""
        self._front.delete(path)

    def _taken(self, selection: Selection, labels: dict[str, Mapping[str, str]]) -> Iterator[str]:
        """The paths that the selection takes; what the listing says of their labels is put aside."""
        for path, listed in self._front.walk_labels(selection.from_prefix):
            if selection.takes(path):
                if listed:
                    labels[path] = listed
                yield path


class ImporterSource:
    """An importer as a source. It is read as a whole, again each time.

    Args:
        importer: gives the secrets.
        name: the name it has for this migration.
    """

    def __init__(self, importer: Importer, name: str) -> None:
        self.name = name
        self._importer = importer

    def items(self, selection: Selection) -> Iterator[Secret | Failure]:
        """Every secret that the selection takes, and every failure."""
        for item in self._items():
            if isinstance(item, Failure) or selection.takes(item.path):
                yield item

    def read_again(self, paths: Sequence[str]) -> Iterator[tuple[str, Secret | StrongroomError]]:
        """Each of these paths as it is now: found by reading all."""
        wanted = dict.fromkeys(paths)
        for item in self._items():
            name = item.name if isinstance(item, Failure) else item.path
            if name in wanted:
                del wanted[name]
                yield name, item.error if isinstance(item, Failure) else item
        for path in wanted:
            yield path, SecretNotFoundError(path, store=self.name)

    def labels(self, secret: Secret) -> dict[str, str]:
        """Those that came with the secret."""
        return dict(secret.metadata)

    def cautions(self, path: str) -> tuple[str, ...]:
        """None are known."""
        del path
        return ()

    def delete(self, path: str) -> None:
        """Is not for importers."""
        raise UnsupportedOperationError(path, "it can only be read", store=self.name)

    def _items(self) -> Iterator[Secret | Failure]:
        """The importer's items, checked; whatever else it raises is an error of this source."""
        items: Iterator[object] = self._call(lambda: iter(self._importer.items()))
        watch = OutageWatch()
        while (item := self._call(lambda: next(items, _END))) is not _END:
            watch.saw(item.error if isinstance(item, Failure) else item)
            if isinstance(item, Secret):
                yield _checked(item, self.name)
            elif isinstance(item, Failure):
                yield item
            else:
                reason = f"it gave {type(item).__name__}, which is neither a Secret nor a Failure"
                raise StoreError(None, reason, store=self.name, hint=_HINT)

    def _call(self, operation: Callable[[], _R]) -> _R:
        try:
            return operation()
        except StrongroomError:
            raise
        except Exception as error:  # noqa: BLE001  # a stranger's importer runs here
            kind = type(error).__name__
        raise StoreError(None, f"it raised {kind}", store=self.name, hint=_HINT)


def _checked(secret: Secret, source: str) -> Secret | Failure:
    """The secret, when it could be in a store."""
    try:
        check_path(secret.path)
        check_data(secret.path, secret.data)
        check_labels(secret.path, secret.metadata)
    except StoreError as error:
        return Failure(secret.path, error.copy(store=error.store or source))
    return secret


def labels_of(front: GuardedStore, secret: Secret) -> dict[str, str]:
    """The labels that came with a secret of this store, else what the store says when it is asked.

    Raises:
        StoreError: it does not say.
    """
    came = dict(secret.metadata)
    if own(came) or "versioned" not in front.capabilities:
        return came
    return {**came, **front.read_metadata(secret.path)}


def known_labels(front: GuardedStore, secret: Secret) -> dict[str, str]:
    """`labels_of`, and none where they are denied: a right of its own, which who may read a secret need not have."""
    try:
        return labels_of(front, secret)
    except PermissionDeniedError:
        return {}
