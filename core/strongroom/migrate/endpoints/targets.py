"""What a migration writes: a store that can be written, or an exporter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NoReturn

from strongroom.errors import SecretNotFoundError, StoreError, UnsupportedOperationError
from strongroom.migrate.spi import Exporter
from strongroom.secret import Secret, Value, Version
from strongroom.store import Items
from strongroom.store.guard import GuardedStore

_UNREADABLE = "an exporter cannot be read back"


def check_target(front: GuardedStore) -> GuardedStore:
    """The store, when it can be written.

    Raises:
        UnsupportedOperationError: it cannot.
    """
    if not front.writable:
        raise UnsupportedOperationError(None, "it cannot be written", store=front.name)
    return front


class ExporterStore:
    """An exporter as a target. It cannot be read: to a plan everything is new, and nothing is verified or undone.

    Args:
        exporter: writes the secrets.
    """

    def __init__(self, exporter: Exporter) -> None:
        self._exporter = exporter

    def read(self, path: str) -> NoReturn:
        """Has nothing to give."""
        raise SecretNotFoundError(path, _UNREADABLE)

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
        """Has nothing to give."""
        for path in paths:
            yield path, SecretNotFoundError(path, _UNREADABLE)

    def write(self, path: str, data: Mapping[str, Value]) -> Version | None:
        """Writes one secret."""
        outcome = next(self.write_many([(path, data)]), (path, StoreError(path, "the exporter said nothing of it")))[1]
        if isinstance(outcome, StoreError):
            raise outcome
        return outcome

    def write_many(self, items: Items) -> Iterator[tuple[str, Version | StoreError | None]]:
        """Writes them all in one go of the exporter."""
        for outcome in self._exporter.write(Secret(path, data) for path, data in items):
            error = outcome.error
            if error is not None and not isinstance(error, StoreError):
                error = StoreError(outcome.path, str(error))
            yield outcome.path, outcome.version if error is None else error

    def delete(self, path: str) -> NoReturn:
        """Is not for exporters."""
        raise UnsupportedOperationError(path, "an exporter deletes nothing")

    def close(self) -> None:
        """Closes the exporter."""
        self._exporter.close()
