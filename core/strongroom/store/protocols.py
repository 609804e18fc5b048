"""The store protocol: what a backend implements, and all that the rest of Strongroom knows of it.

A store *must* have `read` and `close`. Every other capability is a protocol of its own, with method names of its own,
and a store has it when it has those methods. `strongroom.testing.StoreContract` checks each sentence here that says
*must*.

What holds for every method:

- Paths and data arrive checked: the store *must not* check them again, and *must* refuse with `InvalidPathError`,
  `InvalidDataError` or `SecretTooLargeError` what it cannot hold exactly.
- It *must* raise from `strongroom.errors`, and `SecretNotFoundError` for a confirmed absence only.
- It *must* be callable from several threads at once. It *need not* survive a fork: the child opens a new store.
- It *must* return or raise within `remaining()` seconds.
- It *must not* put a value or a credential into a message or a log record. The traceback of what it raises is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias, runtime_checkable

from strongroom.errors import StoreError
from strongroom.secret import Secret, Value, Version
from strongroom.store.health import Health

PROTOCOL_VERSION = 1
"""Rises when a sentence of this module changes in a way that a store written before it could break."""

Items: TypeAlias = Iterable[tuple[str, Mapping[str, Value]]]

CheckedItems: TypeAlias = Iterable[tuple[str, Mapping[str, Value], "Version | None"]]


@dataclass(frozen=True)
class VersionInfo:
    """One version of a secret.

    Attributes:
        version: the store's name for it.
        created: when it was written, with a time zone, where the store knows.
        deleted: it is not readable, and `undelete` would make it so again.
        destroyed: its data is gone for good.
        deleted_at: when it was deleted; of one that is not, when the store will delete it by itself, if it will.
    """

    version: Version
    created: datetime | None = None
    deleted: bool = False
    destroyed: bool = False
    deleted_at: datetime | None = None


@runtime_checkable
class SecretStore(Protocol):
    """What every store can do."""

    def read(self, path: str) -> Secret:
        """The whole secret at `path`, its newest version.

        Raises:
            SecretNotFoundError: the store is sure that there is none, or that the newest version is deleted.
            AuthenticationError, PermissionDeniedError, StoreUnavailableError: whether there is one is unknown.
        """
        ...

    def close(self) -> None:
        """Gives back what the store holds. *Must* be harmless when called twice."""
        ...


@runtime_checkable
class LocalStore(Protocol):
    """A store that answers at once from its own process or machine: always asked, never cached."""

    @property
    def local(self) -> bool:
        """*Must* be True. A class attribute is enough."""
        ...


@runtime_checkable
class DynamicStore(Protocol):
    """A store that makes a secret when it is read: a database user, a certificate. Nobody reads it just to look.

    Its secrets say in `Secret.ttl` for how long they are good.
    """

    def makes(self, path: str) -> bool:
        """Whether a read of `path` would make a secret. *Must* be True where the store cannot tell.

        It *must* answer at once, without I/O; and where it is False, a read *must* make none.
        """
        ...


@runtime_checkable
class KeyedStore(Protocol):
    """A store that knows single keys which a whole read cannot know: environment names made by a rule.

    A single key is not cached: a store that asks a service for it is asked at each read.
    """

    def read_key(self, path: str, key: str) -> Value:
        """The value at exactly this path and key.

        *Must* agree with `read` wherever `read` has the key.

        Raises:
            SecretNotFoundError: it is not there. `reason` names what was looked for.
        """
        ...


@runtime_checkable
class ListableStore(Protocol):
    """A store that can name what it holds."""

    def list_entries(self, prefix: str) -> Iterator[str]:
        """The names directly below `prefix` (the empty string is the top), each once, folders ending in `/`.

        A prefix with nothing below it gives nothing. Not a shorter list when part of it is denied or out of reach: that
        *must* raise.
        """
        ...


@runtime_checkable
class WalkableStore(Protocol):
    """A listable store that names all that is below a prefix with less work than folder by folder."""

    def walk(self, prefix: str) -> Iterator[str]:
        """The path of every secret below `prefix` (the empty string is the top), each once, in any order.

        *Must* agree with `list_entries`, folder by folder, and raise where that would.
        """
        ...


@runtime_checkable
class WritableStore(Protocol):
    """A store that can be changed."""

    def write(self, path: str, data: Mapping[str, Value]) -> Version | None:
        """Replaces the whole secret; returns its new version once the store holds it, never before."""
        ...

    def delete(self, path: str) -> None:
        """Removes the secret: the next read is `SecretNotFoundError`.

        Raises:
            SecretNotFoundError: there was none.
        """
        ...


@runtime_checkable
class CheckedStore(Protocol):
    """A writable store with check-and-set."""

    def write_if(self, path: str, data: Mapping[str, Value], expected: Version | None) -> Version | None:
        """`write`, when the newest version is `expected`; None expects that there is no secret, or a deleted one.

        Raises:
            ConflictError: it is not. Nothing was written.
        """
        ...


@runtime_checkable
class VersionedStore(Protocol):
    """A store that keeps what was overwritten.

    Every method raises `SecretNotFoundError` where there never was a secret at the path. A version that was never
    there, or that the store has dropped since (pruned), is not found either: by every method that takes one.
    """

    def versions(self, path: str) -> Sequence[VersionInfo]:
        """What is known of each version, oldest first; the deleted and the destroyed ones *must* be among them.

        Those that went with a delete of a `FinalDeletesStore` are not.
        """
        ...

    def read_version(self, path: str, version: Version) -> Secret:
        """That version and no other.

        Raises:
            SecretNotFoundError: it is deleted or destroyed too.
        """
        ...

    def kept_versions(self, path: str) -> int:
        """How many versions of the secret are sure to stay, the newest among them, when more are written.

        At least 1. It *may* be fewer than are kept, as where a version is dropped after a time, and *must not* be more.
        """
        ...

    def undelete(self, path: str, version: Version) -> None:
        """Makes a deleted version readable again. *Must* be harmless for one that is not deleted.

        Raises:
            SecretNotFoundError: it is destroyed too.
        """
        ...

    def destroy(self, path: str, version: Version) -> None:
        """Removes that version's data for good, deleted or not. *Must* be harmless when called twice.

        Where it was the newest, the secret reads as not found, and no older version takes its place.
        """
        ...

    def read_metadata(self, path: str) -> Mapping[str, str]:
        """The secret's own labels. They belong to all its versions, and stay when it is deleted.

        They *must* come with `read`, as the secret's metadata, too; where that would take a request more for each
        secret, the store *may* be a `LabelledStore` instead.
        """
        ...

    def write_metadata(self, path: str, metadata: Mapping[str, str]) -> None:
        """Replaces the secret's own labels, and nothing else of it. *Must not* make a secret where there is none."""
        ...


@runtime_checkable
class LabelledStore(Protocol):
    """A versioned store whose reads bring no labels, and that tells them of many secrets at a time."""

    def walk_labels(self, prefix: str) -> Iterator[tuple[str, Mapping[str, str]]]:
        """The path of every secret below `prefix`, each once, in any order, with what `read_metadata` says of it.

        *Must* name what a listing names. A label that was set or removed just now *may* be told as it was, and where
        labels are denied there *may* be none.
        """
        ...


@runtime_checkable
class FinalDeletesStore(Protocol):
    """A versioned store that keeps what is overwritten, and nothing of what is deleted: somebody is asked before that.

    A delete takes all versions and the labels along, as if there never had been a secret. What is written there
    afterwards begins anew, and *may* have the names of earlier versions.
    """

    @property
    def final_deletes(self) -> bool:
        """*Must* be True. A class attribute is enough."""
        ...


@runtime_checkable
class PiecewiseStore(Protocol):
    """A writable store that writes one secret in several steps.

    A write that breaks off leaves each key as it was or as it was to be, and no other. Whoever has begun it knows that.
    """

    @property
    def piecewise(self) -> bool:
        """*Must* be True. A class attribute is enough."""
        ...


@runtime_checkable
class RecoverableStore(Protocol):
    """A store whose service keeps what is overwritten or deleted, so that its operator can bring it back.

    It is for one that is no `VersionedStore`, which says so by its methods: nobody is asked before a delete then.
    """

    @property
    def recoverable(self) -> bool:
        """*Must* be True. A class attribute is enough."""
        ...


@runtime_checkable
class BulkStore(Protocol):
    """A store that answers many at once faster than one by one, in bounded memory."""

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
        """Each path with its secret or its own error, in any order."""
        ...

    def write_many(self, items: Items) -> Iterator[tuple[str, Version | StoreError | None]]:
        """Each path with its new version or its own error, in any order."""
        ...


@runtime_checkable
class BulkCheckedStore(Protocol):
    """A store with check-and-set that writes many at once faster than one by one, in bounded memory."""

    def write_many_if(self, items: CheckedItems) -> Iterator[tuple[str, Version | StoreError | None]]:
        """What `write_if` comes to for each path, data and expected version: the new version or its own error.

        Each item *must* be compared for itself: a conflict of one is no reason to leave out or to write another.
        """
        ...


@runtime_checkable
class VettingStore(Protocol):
    """A writable store that can say, without writing, why it would refuse: for the plan of a migration."""

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        """Nothing, where a write would go through as far as can be known. It *must not* write.

        A write *must* refuse what this refuses, and *may* refuse more.

        Raises:
            InvalidPathError, InvalidDataError, SecretTooLargeError, ConflictError: what a write would raise.
        """
        ...


@runtime_checkable
class FormedStore(Protocol):
    """A writable store whose service can hold the same data in more than one form, such as plain text and JSON.

    A read tells the form in labels that begin with `strongroom:`. A store that has labels keeps them for it, so that a
    secret that is migrated there and back has the form that it had. Where a store has check-and-set, too, that goes
    before: its forms are left to it.
    """

    def write_formed(self, path: str, data: Mapping[str, Value], form: Mapping[str, str]) -> Version | None:
        """`write`, in exactly the form that such labels name: none of them is one, too.

        It *must not* keep one as a label. It *may* take another form where that one could not be read back as the same
        data, and *must* where it knows no such form.
        """
        ...


@runtime_checkable
class LabelVettingStore(Protocol):
    """A versioned store that can say, without writing, which labels it would refuse: for the plan of a migration."""

    def vet_labels(self, path: str, labels: Mapping[str, str]) -> None:
        """Nothing, where these could be all of the secret's labels, as far as can be known. It *must not* write.

        `write_metadata` *must* refuse what this refuses, and *may* refuse more.

        Raises:
            InvalidDataError: what `write_metadata` would raise.
        """
        ...


@runtime_checkable
class CautionedStore(Protocol):
    """A store whose service does more for a secret than keep it, which a copy of it would lack."""

    def cautions(self, path: str) -> Sequence[str]:
        """What a copy would not have, or would lose with time: a rotation, a key of one's own, replicas; in words."""
        ...


@runtime_checkable
class ProbedStore(Protocol):
    """A store that can say how it is without reading a secret."""

    def probe(self) -> Health:
        """How the store is now. *May* raise what `read` raises instead of saying that it is not well."""
        ...
