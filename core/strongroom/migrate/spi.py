"""Protocols for the authors of importers and exporters, and hints that a store gives to a migration.

A store that can be listed is an importer, and a store that can be written is an exporter. Write an importer or an
exporter for other sources and targets, such as a file of another program, or a service that can only be read whole.
Both are entry points, of the groups `strongroom.importers` and `strongroom.exporters`. As for stores, the signature of
the entry point is the schema of the options, errors are those of `strongroom.errors`, and no value is in a message or
a log. `strongroom.testing.ImporterContract` and `ExporterContract` check each sentence that says *must*.

Each step of `items` and `write`, and each other call, *must* return or raise within `strongroom.store.remaining()`
seconds. Strongroom runs it in a daemon thread and gives it up at the deadline; all steps of one iterator run in one
thread. A class attribute `traits` is optional: `Traits(local=True)` and `Traits(honors_deadline=True)` are called
directly, and `Traits(protocol=…)` names the version of the store protocol that the plugin needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from strongroom.errors import StoreError, StrongroomError
from strongroom.secret import Secret, Value, Version

__all__ = ["Exporter", "Failure", "Importer", "MigrationHints", "MigrationOutcome"]


class Failure(NamedTuple):
    """A secret that an importer could not read. The other secrets follow.

    Attributes:
        name: the secret's path, or its name in the source.
        error: what went wrong. If `unmapped`, it says which rule is missing.
        unmapped: True if the secret can be read, but no rule says to which path it belongs, such as an environment
            variable that no mapping names. It is listed for the operator, and is not an error.
    """

    name: str
    error: StrongroomError
    unmapped: bool = False


class MigrationOutcome(NamedTuple):
    """Result of writing one secret: its new version, if the target has versions, or its error."""

    path: str
    version: Version | None = None
    error: StrongroomError | None = None


@runtime_checkable
class Importer(Protocol):
    """A source of secrets."""

    def items(self) -> Iterator[Secret | Failure]:
        """Yield every secret, each path once, in bounded memory. *Must* yield the same again on the next call.

        Raises:
            StrongroomError: the source as a whole cannot be read. Never yield a shorter list instead.
        """
        ...

    def close(self) -> None:
        """Release connections and other resources. *Must* be harmless when called twice."""
        ...


@runtime_checkable
class Exporter(Protocol):
    """A target of secrets."""

    def write(self, secrets: Iterable[Secret]) -> Iterator[MigrationOutcome]:
        """Write each secret whole, and yield one outcome for each, in any order.

        A migration calls it for one batch of secrets after another, and again for those that failed.

        *Must not* report a secret as written before the target holds it.
        """
        ...

    def close(self) -> None:
        """Release connections and other resources. *Must* be harmless when called twice."""
        ...


class MigrationHints(Protocol):
    """Methods by which a store tells a migration about its service. Each is optional and found by its name."""

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        """Raise the error that a write would raise, as far as the store can know. *Must not* write.

        A write *must* refuse what this refuses, and *may* refuse more.

        Raises:
            InvalidPathError, InvalidDataError, SecretTooLargeError, ConflictError: as a write would.
        """
        ...

    def vet_many(self, items: Iterable[tuple[str, Mapping[str, Value]]]) -> Iterator[tuple[str, StoreError | None]]:
        """Yield each path with None, or with the error that it would get if all these secrets were written together.

        For a store whose limit is about the secrets together, such as the size of a file. *Must not* write. A secret
        that `vet` refuses is not among them.
        """
        ...

    def vet_labels(self, path: str, labels: Mapping[str, str]) -> None:
        """Raise the error that `write_metadata` would raise for these labels. *Must not* write.

        `write_metadata` *must* refuse what this refuses, and *may* refuse more.

        Raises:
            InvalidDataError: as `write_metadata` would.
        """
        ...

    def cautions(self, path: str) -> Sequence[str]:
        """Return the features that a copy of the secret would lack, in words: a rotation, a KMS key, replicas."""
        ...

    def write_formed(self, path: str, data: Mapping[str, Value], form: Mapping[str, str]) -> Version | None:
        """Write the secret in the form that `form` names, for a store that has several, such as plain text and JSON.

        `read` returns a secret's form as labels that begin with `strongroom:`. Other stores keep these labels, so that
        a secret that migrates there and back keeps its form. No such label names a form, too. A store that has
        check-and-set chooses its forms itself: migrations use check-and-set instead of this method.

        *Must not* keep such a label as a label. *May* use another form if the data could not be read back unchanged,
        and *must* if it does not know the form.
        """
        ...

    def walk_labels(self, prefix: str) -> Iterator[tuple[str, Mapping[str, str]]]:
        """Yield the path of every secret below `prefix` once, in any order, with the labels of `read_metadata`.

        For a `VersionedStore` whose reads return no labels. *Must* yield the same paths as a listing. *May* yield
        the labels of a moment ago, and no labels if access to them is denied.
        """
        ...
