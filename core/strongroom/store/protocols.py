"""The store protocol: the methods that a plugin implements, and everything that Strongroom knows about a store.

A store *must* have `read` and `close`. Each other capability is a protocol with its own method names, and a store has
the capability if it has the methods. Static facts about a store are its class attribute `traits`. `OPERATIONS` is the
table of all methods, from which the guard, `strongroom stores` and the contract derive their lists. To add a
capability, add its protocol, its name to `CAPABILITIES`, and a row for each of its methods.
`strongroom.testing.StoreContract` checks each sentence here that says *must*.

Rules for every method:

- Paths and data are validated before the store sees them. The store *must not* validate them again. It *must* refuse
  data that it cannot hold exactly with `InvalidPathError`, `InvalidDataError` or `SecretTooLargeError`.
- A store *must* raise errors of `strongroom.errors`, and `SecretNotFoundError` only for a confirmed absence.
- A store *must* allow calls from several threads at once. It *need not* survive a fork: the child opens a new store.
- A method *must* return or raise within `remaining()` seconds.
- A store *must not* put a value or a credential into a message or a log record. Tracebacks of its errors are dropped.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

from strongroom.errors import Check, PluginError, StoreError, StrongroomError
from strongroom.secret import Secret, Value, Version

__all__ = [
    "PROTOCOL_VERSION",
    "BulkStore",
    "CheckedItems",
    "CheckedStore",
    "DynamicStore",
    "Health",
    "Items",
    "KeyedStore",
    "ListableStore",
    "ProbedStore",
    "SecretStore",
    "Traits",
    "VersionInfo",
    "VersionedStore",
    "WritableStore",
]

PROTOCOL_VERSION = 1
"""The version of this protocol. It rises when a change to this module could break an existing store."""

Items: TypeAlias = Iterable[tuple[str, Mapping[str, Value]]]
"""Paths with data, for a bulk write."""

CheckedItems: TypeAlias = Iterable[tuple[str, Mapping[str, Value], "Version | None"]]
"""Paths with data and expected version, for a bulk write with check-and-set."""


class Traits(NamedTuple):
    """Static facts about a store, which it gives as a class attribute: `traits = Traits(local=True)`.

    Attributes:
        local: the store answers at once from its own process or machine. It is queried every time and never cached.
        piecewise: one write takes several steps. A write that fails halfway *must* leave each key with either its old
            or its new value. Migrations that resume or undo such a write recognize both.
        final_deletes: for a `VersionedStore` whose deletes remove all versions and labels, as if the secret had never
            existed. Users are asked to confirm a delete. A later write starts over and *may* reuse version names.
        recoverable: for a store that is not a `VersionedStore`, but whose service keeps overwritten and deleted data,
            so that an operator can restore it. Users are not asked to confirm a delete.
        credential_variables: environment variables from which the store's own library reads credentials, such as
            AWS_SECRET_ACCESS_KEY. `strongroom run` withholds them from its command. Variables of an option belong in
            `Option.ambient` instead.
        pending_version: for a `VersionedStore`, the name of the version that holds the new value of a rotation while it
            is under way, such as AWSPENDING.
        honors_deadline: each call returns or raises within `remaining()`, whatever the service does, also if it drips
            single bytes. Without this trait, Strongroom runs each call of a store that is not `local` in a thread of
            its own, and gives it up at the deadline. That costs about 0.1 ms for each call.
        disk_cache: the cache on disk *may* hold the store's answers, where an application enables it. Its options, with
            the files and variables that they name, *must* decide which secret a path is.
        consecutive: for a `VersionedStore` without check-and-set, whose versions are the numbers 1, 2, 3 and so on.
            `read_version` by number is never late, even where `read` is. A merge reads the next numbers before it
            writes, and merges again if another writer came between.
        lasting: for a `DynamicStore` whose credentials outlast the process: closing the store revokes none. Such a
            store *must* give `Secret.ends`. `strongroom get` and `strongroom helper` read it.
        protocol: the `PROTOCOL_VERSION` that the store was written for. A store for a newer version is refused.
    """

    local: bool = False
    piecewise: bool = False
    final_deletes: bool = False
    recoverable: bool = False
    credential_variables: tuple[str, ...] = ()
    pending_version: str = ""
    honors_deadline: bool = False
    disk_cache: bool = False
    consecutive: bool = False
    lasting: bool = False
    protocol: int = 1


class Health(NamedTuple):
    """The health of a store, as a probe returns it.

    Attributes:
        ok: True if the store would answer a read now.
        detail: one line for people.
        facts: names and values worth showing (version, sealed, token lifetime in seconds). Never a secret.
        checks: each check of the probe, in order, with the next step if it failed. A store with a failed check is not
            `ok`.
        error: if not `ok`, the error that a read would raise. Without it the store counts as unavailable.
        seconds: duration of the probe, including the opening of the store. The chain fills it in.
    """

    ok: bool
    detail: str = ""
    facts: Mapping[str, str] = MappingProxyType({})
    checks: tuple[Check, ...] = ()
    error: StrongroomError | None = None
    seconds: float = 0.0


class VersionInfo(NamedTuple):
    """One version of a secret.

    Attributes:
        version: the store's name for the version.
        created: when it was written, with a time zone, if the store knows.
        deleted: True if it cannot be read until `undelete` restores it.
        destroyed: True if its data is gone for good.
        deleted_at: when it was deleted, or will be if the store has scheduled its deletion.
    """

    version: Version
    created: datetime | None = None
    deleted: bool = False
    destroyed: bool = False
    deleted_at: datetime | None = None


@runtime_checkable
class SecretStore(Protocol):
    """The methods that every store has.

    It *may* have a method `newest_versions(paths: Iterable[str]) -> Iterator[tuple[str, VersionInfo | StoreError]]`
    too, if its secrets have versions, and it can tell those of many secrets with less work than reading them. It
    yields each path with its newest version, deleted or not, or its own error, in any order. The version and its
    creation time *must* be those of `read`. A watch calls it; without it, a watch reads the secrets.
    """

    def read(self, path: str) -> Secret:
        """Return the newest version of the whole secret at `path`.

        Raises:
            SecretNotFoundError: the store is sure that the secret does not exist, or its newest version is deleted.
            AuthenticationError, PermissionDeniedError, StoreUnavailableError: the store cannot tell if it exists.
        """
        ...

    def close(self) -> None:
        """Release connections and other resources. *Must* be harmless when called twice."""
        ...


@runtime_checkable
class DynamicStore(Protocol):
    """A store that issues a credential on each read, such as a database user or a certificate.

    Commands that only look around do not read it. `Secret.ttl` says for how many seconds reads return a credential,
    and `Secret.ends` when it stops working.
    """

    def makes(self, path: str) -> bool:
        """Return True if a read of `path` would create a credential. *Must* return True if the store cannot tell.

        *Must* answer at once, without I/O. If it returns False, a read *must not* create one.
        """
        ...


@runtime_checkable
class KeyedStore(Protocol):
    """A store that can read a single key of a secret whose keys it cannot enumerate, such as environment variables.

    A single key is not cached. A store that queries a service for it is queried on each read.
    """

    def read_key(self, path: str, key: str) -> Value:
        """Return the value at exactly this path and key. *Must* agree with `read` if `read` returns the key.

        Raises:
            SecretNotFoundError: it does not exist. `reason` names the variable or file that is missing.
        """
        ...


@runtime_checkable
class ListableStore(Protocol):
    """A store that can list its secrets.

    It *may* have a method `walk(prefix: str) -> Iterator[str]` too, if it can name every path below a prefix with less
    work than folder by folder: each path once, in any order. It *must* agree with `list_entries` and fail in the
    same cases.
    """

    def list_entries(self, prefix: str) -> Iterator[str]:
        """Yield each name directly below `prefix` once, folders ending in `/`. The empty prefix is the top.

        A prefix with nothing below it yields nothing. *Must* raise if a part of the list is denied or unavailable,
        rather than yield a shorter list.
        """
        ...


@runtime_checkable
class WritableStore(Protocol):
    """A store that can be written."""

    def write(self, path: str, data: Mapping[str, Value]) -> Version | None:
        """Replace the whole secret. Return its new version, but not before the store holds it.

        A store whose reads show a version *must* return it: the undo of a migration leaves a secret alone whose
        version is not the one that the migration's write returned.

        Raises:
            WriteOutcomeUnknownError: the write may or may not have been made, since the service's reply was lost.
        """
        ...

    def delete(self, path: str) -> None:
        """Delete the secret. The next read raises `SecretNotFoundError`.

        Raises:
            SecretNotFoundError: the secret does not exist.
        """
        ...


@runtime_checkable
class CheckedStore(Protocol):
    """A writable store with check-and-set."""

    def write_if(self, path: str, data: Mapping[str, Value], expected: Version | None) -> Version | None:
        """Write if the newest version is `expected`. None means that the secret must be absent or deleted.

        Raises:
            ConflictError: the newest version is another one. Nothing was written.
        """
        ...


@runtime_checkable
class VersionedStore(Protocol):
    """A store that keeps overwritten versions.

    Every method raises `SecretNotFoundError` if there never was a secret at the path. A method that takes a version
    also raises it for a version that never existed or that the store has pruned.
    """

    def versions(self, path: str) -> Sequence[VersionInfo]:
        """Return every version, oldest first. Deleted and destroyed versions *must* be included.

        Versions that a delete removed for good (`Traits.final_deletes`) are not included.
        """
        ...

    def read_version(self, path: str, version: Version) -> Secret:
        """Return exactly this version.

        Raises:
            SecretNotFoundError: the version is deleted or destroyed.
        """
        ...

    def kept_versions(self, path: str) -> int:
        """Return how many versions, including the newest, are guaranteed to survive further writes: at least 1.

        It *may* be lower than the real number, for example where versions expire, and *must not* be higher.
        """
        ...

    def undelete(self, path: str, version: Version) -> None:
        """Make a deleted version readable again. *Must* be harmless if it is not deleted.

        Raises:
            SecretNotFoundError: the version is destroyed.
        """
        ...

    def destroy(self, path: str, version: Version) -> None:
        """Remove this version's data for good, deleted or not. *Must* be harmless when called twice.

        If it was the newest version, the secret reads as not found: no older version takes its place.
        """
        ...

    def read_metadata(self, path: str) -> Mapping[str, str]:
        """Return the secret's labels. They belong to all its versions and remain when the secret is deleted.

        `read` *must* return them too, as `Secret.metadata`. A store that would need one more request for each secret
        *may* have `walk_labels` of `strongroom.migrate.spi.MigrationHints` instead.
        """
        ...

    def write_metadata(self, path: str, metadata: Mapping[str, str]) -> None:
        """Replace the secret's labels and nothing else. *Must not* create a secret."""
        ...


@runtime_checkable
class BulkStore(Protocol):
    """A store that reads many secrets faster than one by one, in bounded memory.

    It *may* have these methods too, if it can write or delete many secrets faster than one by one. Each method yields
    every path with its result or its own error, in any order:

    - `write_many(items: Items) -> Iterator[tuple[str, Version | StoreError | None]]`
    - `write_many_if(items: CheckedItems) -> Iterator[tuple[str, Version | StoreError | None]]` is `write_if` for each
      item. Each item *must* be compared on its own: a conflict of one item *must not* affect another.
    - `delete_many(paths: Iterable[str]) -> Iterator[tuple[str, StoreError | None]]` is `delete` for each path.
    """

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
        """Yield each path with its secret or its own error, in any order."""
        ...


@runtime_checkable
class ProbedStore(Protocol):
    """A store that can report its health without reading a secret."""

    def probe(self) -> Health:
        """Return the store's health. *May* raise what `read` would raise instead of returning a failure."""
        ...


def class_title(kind: type) -> str:
    """Return the class and its author's line, as MODULE.CLASS (FILE:LINE), for messages."""
    import inspect

    title = f"{kind.__module__}.{kind.__qualname__}"
    try:
        return f"{title} ({inspect.getsourcefile(kind)}:{inspect.getsourcelines(kind)[1]})"
    except (OSError, TypeError):
        return title


def traits_of(store: object, owner: str) -> Traits:
    """Return the traits of a store or of a class of stores, or the defaults if it has none.

    Args:
        store: a store, or a class of stores.
        owner: whose store it is, for messages, such as `Store vault`.

    Raises:
        PluginError: they are of another class, or ask for a newer protocol than `PROTOCOL_VERSION`.
    """
    traits = getattr(store, "traits", Traits())
    kind = store if isinstance(store, type) else type(store)
    if not isinstance(traits, Traits):
        raise PluginError(f"{owner}: `traits` of {class_title(kind)} must be a strongroom.store.Traits. Fix the plugin")
    if traits.protocol > PROTOCOL_VERSION:
        needs = f"{class_title(kind)} needs store protocol {traits.protocol}"
        raise PluginError(
            f"{owner}: {needs}, and this Strongroom has {PROTOCOL_VERSION}. "
            "Upgrade strongroom, or install an older version of the plugin"
        )
    return traits


# --- the table of operations ------------------------------------------------------------------------------------------


class Operation(NamedTuple):
    """A method of a store.

    Attributes:
        name: the method.
        capability: the capability that it is a part of; empty for `read`, `newest_versions` and hints of migrations.
        takes: the kind of each argument, the path first. A `prefix` is that of a listing.
        answer: the kind of answer that it must give. `any` is not checked.
        changes: it changes something: if it overruns, its outcome is unknown.
        many: it takes an iterable of paths, or of tuples of these arguments, and yields each path with its answer.
        optional: a store that has the capability may lack it.
        one: the operation that the guard calls for each item, or for each folder, if the store lacks this one.
    """

    name: str
    capability: str
    takes: tuple[str, ...]
    answer: str
    changes: bool = False
    many: bool = False
    optional: bool = False
    one: str = ""


CAPABILITIES = {
    "keyed": "single-key reads",
    "listable": "listing",
    "writable": "writes",
    "checked": "check-and-set",
    "versioned": "versions",
    "bulk": "bulk reads",
    "probed": "health probe",
    "dynamic": "dynamic secrets",
}
"""Every capability beyond reading that a store's methods show, with its words in the error of a store that lacks it.

A store has a capability if it has its methods that are not optional. Each true field of `Traits` is a capability as
well, except `honors_deadline`, `disk_cache`, `consecutive` and `lasting`.
"""

OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation("read", "", ("path",), "secret"),
        Operation("read_many", "bulk", ("path",), "secret", many=True, one="read"),
        Operation("newest_versions", "", ("path",), "newest version", many=True, optional=True),
        Operation("read_key", "keyed", ("path", "key"), "value"),
        Operation("makes", "dynamic", ("path",), "any"),
        Operation("list_entries", "listable", ("prefix",), "text"),
        Operation("walk", "listable", ("prefix",), "text", optional=True, one="list_entries"),
        Operation("probe", "probed", (), "health"),
        Operation("write", "writable", ("path", "data"), "version", changes=True),
        Operation(
            "write_many", "writable", ("path", "data"), "version", changes=True, many=True, optional=True, one="write"
        ),
        Operation("delete", "writable", ("path",), "any", changes=True),
        Operation(
            "delete_many", "writable", ("path",), "deletion", changes=True, many=True, optional=True, one="delete"
        ),
        Operation("write_if", "checked", ("path", "data", "expected"), "version", changes=True),
        Operation(
            "write_many_if",
            "checked",
            ("path", "data", "expected"),
            "version",
            changes=True,
            many=True,
            optional=True,
            one="write_if",
        ),
        Operation("versions", "versioned", ("path",), "versions"),
        Operation("read_version", "versioned", ("path", "version"), "secret of a version"),
        Operation("kept_versions", "versioned", ("path",), "count"),
        Operation("undelete", "versioned", ("path", "version"), "any", changes=True),
        Operation("destroy", "versioned", ("path", "version"), "any", changes=True),
        Operation("read_metadata", "versioned", ("path",), "labels"),
        Operation("write_metadata", "versioned", ("path", "labels"), "any", changes=True),
        # `strongroom.migrate.spi.MigrationHints`
        Operation("vet", "", ("path", "data"), "any", optional=True),
        Operation("vet_many", "", ("path", "data"), "any", many=True, optional=True, one="vet"),
        Operation("vet_labels", "", ("path", "labels"), "any", optional=True),
        Operation("cautions", "", ("path",), "cautions", optional=True),
        Operation("write_formed", "", ("path", "data", "form"), "version", changes=True, optional=True),
        Operation("walk_labels", "", ("prefix",), "labels of a path", optional=True, one="walk"),
    )
}
"""Every method that a store can have but `close`, by its name."""

_NO_CAPABILITY = frozenset({"honors_deadline", "disk_cache", "consecutive", "lasting"})
"""Traits about the way in which a store is called, cached and merged into, not capabilities."""


def operations_of(store: object) -> frozenset[str]:
    """Return the names of the operations that a store, or a class of stores, has."""
    return frozenset({name for name in OPERATIONS if callable(getattr(store, name, None))})


def capabilities_of(store: object) -> frozenset[str]:
    """Return the names of the capabilities of a store or of a class of stores."""
    has = operations_of(store)
    lacks = {row.capability for row in OPERATIONS.values() if not row.optional and row.name not in has}
    traits = getattr(store, "traits", None)
    facts = set(Traits._fields) - _NO_CAPABILITY if isinstance(traits, Traits) else set()
    return frozenset((CAPABILITIES.keys() - lacks) | {name for name in facts if getattr(traits, name) is True})
