"""Wrapper that contains a store: everything but the store's author uses a store through it."""

# Capabilities are protocols: passed around as classes, never instantiated.
# mypy: disable-error-code="type-abstract"

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NoReturn, Self, TypeVar, cast

from strongroom._boundary import answers, containment
from strongroom._boundary.containment import AnswerError, translated
from strongroom._boundary.enforcement import Boundary, open_plugin
from strongroom.errors import (
    InvalidPathError,
    PluginError,
    StoreError,
    StrongroomError,
    UnsupportedOperationError,
    WriteOutcomeUnknownError,
)
from strongroom.secret import Secret, Value, Version, observed, protect
from strongroom.store import plugin_calls
from strongroom.store.protocols import (
    CAPABILITIES,
    OPTIONAL_METHODS,
    BulkStore,
    CheckedItems,
    CheckedStore,
    DynamicStore,
    Health,
    Items,
    KeyedStore,
    ListableStore,
    ProbedStore,
    SecretStore,
    VersionedStore,
    VersionInfo,
    WritableStore,
    capabilities_of,
)

_R = TypeVar("_R")
_C = TypeVar("_C")
_READS = frozenset({"read_many", "newest_versions"})
"""Bulk operations that change nothing. They yield each path once."""


class GuardedStore:
    """Wrapper that contains a store.

    It raises `UnsupportedOperationError` for a capability that the store lacks. Every answer is checked. Every error of
    the store leaves as one of `strongroom.errors`, with the store's name and without the store's frames: a traceback
    that prints local variables would show values.

    A call of a store that does not declare to honor deadlines runs in a daemon thread, and is given up at its deadline.

    Its caller has validated the paths and data. The chain has; everybody else uses a `validation.ValidatedStore`.

    A listed name that is not a path, such as `..`, is yielded, and every operation refuses it: it hides no other name.

    Args:
        store: any `SecretStore`.
        name: its name in the chain, for messages and provenance.
        boundary: of the plugin behind the store, if the store itself is not a plugin.

    Attributes:
        traits: static facts about the store.
        capabilities: names of the store's capabilities beyond reading.
        optional: names of its methods that are found by name, such as `walk` or the migration hint `vet`.
        enforced: whether Strongroom enforces the deadline of each call.
        local, keyed, listable, writable, checked: whether the store has this capability.
        bulk_reads, bulk_writes, bulk_checked, bulk_deletes: whether the store itself reads, writes, writes with
            check-and-set, or deletes many secrets faster than one by one.
        formed: whether the store can hold the same data in more than one form.

    Raises:
        PluginError: the store needs a newer store protocol.
    """

    def __init__(self, store: SecretStore, name: str, boundary: Boundary | None = None) -> None:
        self.name = name
        self._store: Any = store
        self._boundary = boundary or Boundary(store, name)
        self.traits = self._boundary.traits
        self.capabilities = capabilities_of(store)
        self.optional = frozenset(name for name in OPTIONAL_METHODS if hasattr(store, name))
        self._missing = {row.protocol: row.feature for row in CAPABILITIES if row.name not in self.capabilities}
        self.local = self.traits.local is True and self._boundary.asynchronous is None
        self.enforced = self._boundary.enforced
        self._direct = not self.enforced and self._boundary.limit is None
        self.keyed = "keyed" in self.capabilities
        self.listable = "listable" in self.capabilities
        self.writable = "writable" in self.capabilities
        self.checked = "checked" in self.capabilities
        self.bulk_reads = "bulk" in self.capabilities
        self.bulk_writes = "write_many" in self.optional
        self.bulk_checked = "write_many_if" in self.optional
        self.bulk_deletes = "delete_many" in self.optional
        self.formed = "write_formed" in self.optional

    @classmethod
    def open(cls, opener: Callable[[], SecretStore], name: str) -> Self:
        """Open a store and wrap it. A failure to open is translated as the store's own failures are."""
        return open_plugin(partial(cls._opened, opener, name), name)

    @classmethod
    def _opened(cls, opener: Callable[[], SecretStore], name: str) -> Self:
        store = opener()
        try:
            return cls(store, name)
        except PluginError:
            containment.close_quietly(store.close, name)
            raise

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {type(self._store).__name__})"

    def call(
        self, capability: type[_C], path: str | None, operation: Callable[[_C], _R], *, changes: bool = False
    ) -> _R:
        """Return the result of an operation of a capability, such as `call(WritableStore, path, delete, changes=True)`.

        Args:
            capability: the protocol.
            path: the path that errors name.
            operation: takes the store.
            changes: True for a write: if it overruns, its outcome is unknown.

        Raises:
            UnsupportedOperationError: the store lacks the capability.
        """
        store = self._require(capability, path)
        return self._boundary.call(path, lambda: operation(store), changes=changes)

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, path: str) -> Secret:
        self._boundary.check_open(path)
        if plugin_calls.watched or not self._direct:
            return self._boundary.call(path, lambda: answers.as_secret(self._store.read(path), path))
        try:  # `contained` in place: every read of an application goes through here
            return answers.as_secret(self._store.read(path), path)
        except BaseException as error:  # noqa: BLE001  # as in `contained`
            failure = translated(error, path, self.name, self._boundary.bug, type(self._store))
        raise failure

    def makes(self, path: str) -> bool:
        """Return True if a read of `path` would create a credential, or if the store does not tell."""
        if "dynamic" not in self.capabilities:
            return False
        self._boundary.check_open(path)
        try:
            return self.call(DynamicStore, path, lambda store: store.makes(path)) is not False
        except StrongroomError:
            return True

    def read_key(self, path: str, key: str) -> Value:
        """Return one key, from a store with single-key reads."""
        value = protect(self.call(KeyedStore, path, lambda store: answers.as_value(store.read_key(path, key))))
        observed(path, {key: value})
        return value

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
        """Yield each path once, with its secret or its own error; one by one if the store has no bulk reads.

        Of an asynchronous store several are read at a time.
        """
        if not self.bulk_reads and (asynchronous := self._boundary.asynchronous) is not None:
            self._boundary.check_open(None)
            for path, result in asynchronous.read_each(paths):
                yield path, answers.outcome(self._read_of, path, result)
            return
        if not self.bulk_reads:
            yield from ((path, answers.outcome(GuardedStore.read, self, path)) for path in paths)
            return
        bulk = self._require(BulkStore, None)
        yield from self._many(
            "read_many",
            bulk.read_many,
            paths,
            lambda path: path,
            lambda answer, path: answers.as_secret(answer, path, "read_many"),
        )

    def _read_of(self, path: str, result: Callable[[], object]) -> Secret:
        return self._boundary.call(path, lambda: answers.as_secret(result(), path, "aread"))

    def list_entries(self, prefix: str = "") -> Iterator[str]:
        """Yield the names directly below `prefix`, folders ending in `/`. At the end refuse any with a slash inside."""
        listable = self._require(ListableStore, prefix or None)
        yield from self._listed(
            self._stream(
                prefix, "list_entries", lambda: listable.list_entries(prefix), partial(answers.as_text, "list_entries")
            ),
            lambda name: answers.entry_error(name, prefix),
        )

    def walk(self, prefix: str = "") -> Iterator[str]:
        """Yield the path of every secret below `prefix`. At the end refuse those that are not below it."""
        walk = self._optional("walk") if self.listable else None
        if walk is not None:
            paths = self._stream(prefix, "walk", lambda: walk(prefix), partial(answers.as_text, "walk"))
            yield from self._listed(paths, lambda path: answers.path_error(path, prefix))
            return
        folders = [prefix]
        while folders:
            folder = folders.pop()
            for name in GuardedStore.list_entries(self, folder):
                path = f"{folder}/{name}" if folder else name
                if (below := answers.subfolder(path, name)) is None:
                    yield path
                else:
                    folders.append(below)

    def _listed(self, names: Iterator[str], error_of: Callable[[str], InvalidPathError | None]) -> Iterator[str]:
        """Yield the names without an error, then raise the first error."""
        first: InvalidPathError | None = None
        for name in names:
            if (error := error_of(name)) is None:
                yield name
            else:
                first = first or error.copy(store=self.name)
        if first is not None:
            raise first

    def probe(self) -> Health:
        """Return the store's health. A store that cannot report it is well as long as it is open."""
        self._boundary.check_open(None)
        if "probed" not in self.capabilities:
            return Health(ok=True, detail="open")
        health = self.call(ProbedStore, None, lambda store: answers.as_health(store.probe()))
        return self._boundary.with_own_error(health)

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, path: str, data: Mapping[str, Value]) -> Version | None:
        return self.call(
            WritableStore, path, lambda store: answers.as_version(store.write(path, data), "write"), changes=True
        )

    def write_if(self, path: str, data: Mapping[str, Value], expected: Version | None) -> Version | None:
        """Replace the whole secret if its newest version is `expected`; None expects that it does not exist."""
        return self.call(
            CheckedStore,
            path,
            lambda store: answers.as_version(store.write_if(path, data, expected), "write_if"),
            changes=True,
        )

    def write_many(self, items: Items) -> Iterator[tuple[str, Version | StoreError | None]]:
        """Yield each path with its new version or its own error; one by one if the store has no bulk writes."""
        return self._write_each("write_many", GuardedStore.write, items)

    def write_many_if(self, items: CheckedItems) -> Iterator[tuple[str, Version | StoreError | None]]:
        """Yield each path with the result of `write_if`; one by one if the store has no bulk check-and-set."""
        return self._write_each("write_many_if", GuardedStore.write_if, items)

    def _write_each(
        self, method: str, write: Callable[..., Version | None], items: Iterable[tuple[Any, ...]]
    ) -> Iterator[tuple[str, Version | StoreError | None]]:
        if (bulk := self._optional(method)) is None:
            yield from ((item[0], answers.outcome(write, self, *item)) for item in items)
        else:
            yield from self._many(
                method,
                bulk,
                items,
                lambda item: item[0],
                lambda answer, _: answers.as_version(answer, method),
            )

    def delete(self, path: str) -> None:
        self.call(WritableStore, path, lambda store: store.delete(path), changes=True)

    def delete_many(self, paths: Iterable[str]) -> Iterator[tuple[str, StoreError | None]]:
        """Yield each path with None or its own error; one by one if the store has no bulk deletes."""
        delete_many = self._optional("delete_many")
        if delete_many is None:
            yield from ((path, answers.outcome(GuardedStore.delete, self, path)) for path in paths)
        else:
            yield from self._many(
                "delete_many",
                delete_many,
                paths,
                lambda path: path,
                lambda answer, _: answers.as_nothing(answer, "delete_many", "the secret may have been deleted"),
            )

    # --- versions -----------------------------------------------------------------------------------------------------

    def versions(self, path: str) -> list[VersionInfo]:
        return self.call(VersionedStore, path, lambda store: answers.as_versions(store.versions(path)))

    def newest_versions(self, paths: Iterable[str]) -> Iterator[tuple[str, VersionInfo | StoreError]]:
        """Yield each path once, with its newest version or its own error; nothing if the store has no such method."""
        if (newest := self._optional("newest_versions")) is not None:
            yield from self._many("newest_versions", newest, paths, lambda path: path, answers.as_newest)

    def read_version(self, path: str, version: Version) -> Secret:
        return self.call(
            VersionedStore, path, lambda store: answers.as_secret_of(store.read_version(path, version), path, version)
        )

    def kept_versions(self, path: str) -> int:
        """Return how many versions are guaranteed to survive further writes; one if the store keeps none."""
        if "versioned" not in self.capabilities:
            return 1
        return self.call(VersionedStore, path, lambda store: answers.as_count(store.kept_versions(path)))

    def undelete(self, path: str, version: Version) -> None:
        self.call(VersionedStore, path, lambda store: store.undelete(path, version), changes=True)

    def destroy(self, path: str, version: Version) -> None:
        self.call(VersionedStore, path, lambda store: store.destroy(path, version), changes=True)

    def read_metadata(self, path: str) -> dict[str, str]:
        return self.call(VersionedStore, path, lambda store: answers.as_labels(store.read_metadata(path)))

    def write_metadata(self, path: str, metadata: Mapping[str, str]) -> None:
        self.call(VersionedStore, path, lambda store: store.write_metadata(path, metadata), changes=True)

    # --- hints for migrations (`strongroom.migrate.spi.MigrationHints`) -----------------------------------------------

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        """Raise the error that a write would raise, as far as the store can know without writing."""
        if (vet := self._optional("vet")) is not None:
            self._boundary.call(path, lambda: vet(path, data))

    def vet_labels(self, path: str, labels: Mapping[str, str]) -> None:
        """Raise the error that `write_metadata` would raise, as far as the store can know without writing."""
        if (vet_labels := self._optional("vet_labels")) is not None:
            self._boundary.call(path, lambda: vet_labels(path, labels))

    def cautions(self, path: str) -> tuple[str, ...]:
        cautions = self._optional("cautions")
        return () if cautions is None else self._boundary.call(path, lambda: answers.as_cautions(cautions(path)))

    def write_formed(self, path: str, data: Mapping[str, Value], form: Mapping[str, str]) -> Version | None:
        """Replace the whole secret, in the form that these labels name."""
        write_formed = self._optional("write_formed") or self._unsupported("forms", path)
        return self._boundary.call(
            path, lambda: answers.as_version(write_formed(path, data, form), "write_formed"), changes=True
        )

    def walk_labels(self, prefix: str = "") -> Iterator[tuple[str, Mapping[str, str]]]:
        """Yield what `walk` yields, with those labels that `read` does not return."""
        walk_labels = self._optional("walk_labels")
        if walk_labels is None:
            none: Mapping[str, str] = {}
            yield from ((path, none) for path in self.walk(prefix))
            return
        labeled: dict[str, Mapping[str, str]] = {}

        def paths() -> Iterator[str]:
            for path, labels in self._stream(prefix, "walk_labels", lambda: walk_labels(prefix), answers.as_labeled):
                labeled[path] = labels
                yield path

        for path in self._listed(paths(), lambda path: answers.path_error(path, prefix)):
            yield path, labeled.pop(path)

    def close(self) -> None:
        """Close the store once. Every later call is refused."""
        self._boundary.close()

    # --- the boundary -------------------------------------------------------------------------------------------------

    def _optional(self, method: str) -> Callable[..., Any] | None:
        """Return an optional method of the store, which is found by name; None if the store lacks it."""
        return getattr(self._store, method, None)

    def _require(self, capability: type[_C], path: str | None) -> _C:
        """Return the store, typed as one that has the capability."""
        if (feature := self._missing.get(capability)) is not None:
            self._unsupported(feature, path)
        return self._store  # type: ignore[no-any-return]  # detected when the store was wrapped

    def _unsupported(self, feature: str, path: str | None) -> NoReturn:
        raise UnsupportedOperationError(path, f"it has no {feature}", store=self.name)

    def _stream(
        self,
        prefix: str | None,
        method: str,
        operation: Callable[..., Iterator[Any]],
        check: Callable[[Any], _R],
        *given: Iterator[object],
    ) -> Iterator[_R]:
        """Yield the checked items of an operation: see `Boundary.stream`."""
        changes = method not in _READS and bool(given)
        return self._boundary.stream(prefix or None, method, operation, check, *given, changes=changes)

    def _many(
        self,
        method: str,
        operation: Callable[[Iterator[_C]], Iterator[tuple[str, Any]]],
        items: Iterable[_C],
        path_of: Callable[[_C], str],
        as_result: Callable[[Any, str], _R],
    ) -> Iterator[tuple[str, _R | StoreError]]:
        """Yield each path of a bulk operation, a path that is read once, with its result or its own error."""
        asked: dict[str, int] = {}

        def given() -> Iterator[_C]:
            for item in items:
                path = path_of(item)
                asked[path] = 1 if method in _READS else asked.get(path, 0) + 1
                yield item

        left = given()
        outcome = partial(self._as_outcome, method, as_result)
        for path, result in self._stream(None, method, operation, outcome, left):
            if asked.get(path):
                asked[path] -= 1
                yield path, result
        for _ in left:  # a store may end early
            pass
        for path in (path for path, count in asked.items() for _ in range(count)):
            kind = StoreError if method in _READS else WriteOutcomeUnknownError
            yield path, kind(path, f"{method}() left it out", store=self.name, hint=self._boundary.bug)

    def _as_outcome(
        self, method: str, as_result: Callable[[Any, str], _R], item: object
    ) -> tuple[str, _R | StoreError]:
        """Return an item of a bulk operation: its path, and its checked result or its error without frames."""
        path, answer = answers.as_outcome(item, method)
        try:
            if not isinstance(answer, StoreError):
                return path, as_result(answer, path)
        except AnswerError as error:
            answer = error
        return path, cast("StoreError", translated(answer, path, self.name, self._boundary.bug, type(self._store)))
