"""Validating, redacting wrapper around a store: everything but the store's author uses a store through it."""

# Capabilities are protocols: passed around as classes, never instantiated.
# mypy: disable-error-code="type-abstract"

from __future__ import annotations

import logging
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn, TypeVar, final

from strongroom.errors import PluginError, StoreError, StoreUnavailableError, StrongroomError, UnsupportedOperationError
from strongroom.paths import check_key, check_path, check_prefix
from strongroom.secret import Secret, Value, Version, check_data, conceal, is_value, protect
from strongroom.store.health import Health
from strongroom.store.protocols import (
    CAPABILITIES,
    OPTIONAL_METHODS,
    BulkStore,
    CheckedItems,
    CheckedStore,
    DynamicStore,
    Items,
    KeyedStore,
    ListableStore,
    ProbedStore,
    SecretStore,
    VersionedStore,
    VersionInfo,
    WritableStore,
    capabilities_of,
    traits_of,
)
from strongroom.store.version_rules import as_count, as_labels, as_versions, check_labels, check_version, of_version

logger = logging.getLogger("strongroom.secrets_manager")

_R = TypeVar("_R")
_C = TypeVar("_C")
_PLUGIN_BUG = "This is a bug in the store's plugin"


@final
class GuardedStore:
    """Validating, redacting wrapper around a store.

    It validates paths and data before the store sees them, and raises `UnsupportedOperationError` for a capability that
    the store lacks. Every error of the store leaves as one of `strongroom.errors`, with the store's name and without
    the store's frames: a traceback that prints local variables would show values.

    Args:
        store: any `SecretStore`.
        name: its name in the chain, for messages and provenance.

    Attributes:
        traits: static facts about the store.
        capabilities: names of the store's capabilities beyond reading.
        optional: names of its methods that are found by name, such as `walk` or the migration hint `vet`.
        local, keyed, listable, writable, checked: whether the store has this capability.
        bulk_reads, bulk_writes, bulk_checked: whether the store itself reads, writes, or writes with check-and-set,
            many secrets faster than one by one.
        formed: whether the store can hold the same data in more than one form.

    Raises:
        PluginError: the store needs a newer store protocol.
    """

    def __init__(self, store: SecretStore, name: str) -> None:
        self.name = name
        self._store: Any = store
        self.traits = traits_of(store, f"Store {name}")
        self.capabilities = capabilities_of(store)
        self.optional = frozenset(name for name in OPTIONAL_METHODS if hasattr(store, name))
        self._missing = {row.protocol: row.feature for row in CAPABILITIES if row.name not in self.capabilities}
        self.local = self.traits.local is True
        self.keyed = "keyed" in self.capabilities
        self.listable = "listable" in self.capabilities
        self.writable = "writable" in self.capabilities
        self.checked = "checked" in self.capabilities
        self.bulk_reads = "bulk" in self.capabilities
        self.bulk_writes = "write_many" in self.optional
        self.bulk_checked = "write_many_if" in self.optional
        self.formed = "write_formed" in self.optional
        self._closed = False
        self._closing = threading.Lock()

    def __repr__(self) -> str:
        return f"GuardedStore({self.name!r}, {type(self._store).__name__})"

    def call(self, capability: type[_C], path: str | None, operation: Callable[[_C], _R]) -> _R:
        """Return the result of an operation of a capability, such as `call(WritableStore, path, delete)`.

        Raises:
            UnsupportedOperationError: the store lacks the capability.
        """
        store = self._require(capability, path)
        return self._answer(path, lambda: operation(store))

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, path: str) -> Secret:
        """Return the whole secret at `path`."""
        path = check_path(path)
        self._guard(path)
        try:  # `_answer` in place: every read of an application goes through here
            return _secret(self._store.read(path), path)
        except BaseException as error:  # noqa: BLE001  # as in `_answer`
            failure = _translated(error, path, self.name)
        raise failure

    def makes(self, path: str) -> bool:
        """Return True if a read of `path` would create a credential."""
        return "dynamic" in self.capabilities and bool(self.call(DynamicStore, path, lambda store: store.makes(path)))

    def read_key(self, path: str, key: str) -> Value:
        """Return one key, from a store with single-key reads."""
        path, key = check_path(path), check_key(key, path)
        return protect(self.call(KeyedStore, path, lambda store: _value(store.read_key(path, key))))

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
        """Yield each path once, with its secret or its own error; one by one if the store has no bulk reads."""
        if not self.bulk_reads:
            yield from ((path, self._outcome(self.read, path)) for path in paths)
            return
        bulk = self._require(BulkStore, None)
        asked: dict[str, None] = {}

        def noted() -> Iterator[tuple[str]]:
            for path in paths:
                asked[path] = None
                yield (path,)

        for path, outcome in self._many(bulk.read_many, noted(), check_path):
            if path in asked:
                del asked[path]
                yield path, outcome if isinstance(outcome, StoreError) else self._outcome(self._read_as, path, outcome)
        for path in asked:
            yield path, StoreError(path, "a bulk read left it out", store=self.name, hint=_PLUGIN_BUG)

    def list_entries(self, prefix: str = "") -> Iterator[str]:
        """Yield the names directly below `prefix`, folders ending in `/`."""
        prefix = check_prefix(prefix)
        listable = self._require(ListableStore, prefix or None)
        yield from self._stream(prefix or None, lambda: listable.list_entries(prefix))

    def walk(self, prefix: str = "") -> Iterator[str]:
        """Yield the path of every secret below `prefix`."""
        prefix = check_prefix(prefix)
        walk = self._optional("walk") if self.listable else None
        if walk is not None:
            yield from self._stream(prefix or None, lambda: walk(prefix))
            return
        folders = [prefix]
        while folders:
            folder = folders.pop()
            for name in self.list_entries(folder):
                path = f"{folder}/{name}" if folder else name
                if name.endswith("/"):
                    folders.append(path.removesuffix("/"))
                else:
                    yield path

    def probe(self) -> Health:
        """Return the store's health. A store that cannot report it is well as long as it is open."""
        self._guard(None)
        if "probed" not in self.capabilities:
            return Health(ok=True, detail="open")
        return self.call(ProbedStore, None, lambda store: store.probe())

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, path: str, data: Mapping[str, Value]) -> Version | None:
        """Replace the whole secret."""
        data = conceal(data)
        data, path = check_data(path, data), check_path(path)
        return self.call(WritableStore, path, lambda store: store.write(path, data))

    def write_if(self, path: str, data: Mapping[str, Value], expected: Version | None) -> Version | None:
        """Replace the whole secret if its newest version is `expected`; None expects that it does not exist."""
        data = conceal(data)
        data, path = check_data(path, data), check_path(path)
        return self.call(CheckedStore, path, lambda store: store.write_if(path, data, expected))

    def write_many(self, items: Items) -> Iterator[tuple[str, Version | StoreError | None]]:
        """Yield each path with its new version or its own error; one by one if the store has no bulk writes."""
        items = map(_concealed, items)  # no frame keeps the caller's values
        write_many = self._optional("write_many")
        if write_many is None:
            yield from ((path, self._outcome(self.write, path, data)) for path, data in items)
        else:
            yield from self._many(write_many, items, lambda path, data: (check_path(path), check_data(path, data)))

    def write_many_if(self, items: CheckedItems) -> Iterator[tuple[str, Version | StoreError | None]]:
        """Yield each path with the result of `write_if`; one by one if the store has no bulk check-and-set."""
        items = map(_concealed, items)
        write_many_if = self._optional("write_many_if")
        if write_many_if is None:
            yield from ((item[0], self._outcome(self.write_if, *item)) for item in items)
        else:
            yield from self._many(
                write_many_if,
                items,
                lambda path, data, expected: (check_path(path), check_data(path, data), expected),
            )

    def delete(self, path: str) -> None:
        """Delete the secret."""
        path = check_path(path)
        self.call(WritableStore, path, lambda store: store.delete(path))

    # --- versions -----------------------------------------------------------------------------------------------------

    def versions(self, path: str) -> list[VersionInfo]:
        """Return every version, oldest first."""
        path = check_path(path)
        return self.call(VersionedStore, path, lambda store: as_versions(store.versions(path)))

    def read_version(self, path: str, version: Version) -> Secret:
        """Return one version of a secret."""
        path = check_path(path)
        version = check_version(path, version)
        return self.call(
            VersionedStore, path, lambda store: of_version(_secret(store.read_version(path, version), path), version)
        )

    def kept_versions(self, path: str) -> int:
        """Return how many versions are guaranteed to survive further writes; one if the store keeps none."""
        path = check_path(path)
        if "versioned" not in self.capabilities:
            return 1
        return self.call(VersionedStore, path, lambda store: as_count(store.kept_versions(path)))

    def undelete(self, path: str, version: Version) -> None:
        """Make a deleted version readable again."""
        path = check_path(path)
        version = check_version(path, version)
        self.call(VersionedStore, path, lambda store: store.undelete(path, version))

    def destroy(self, path: str, version: Version) -> None:
        """Remove one version for good."""
        path = check_path(path)
        version = check_version(path, version)
        self.call(VersionedStore, path, lambda store: store.destroy(path, version))

    def read_metadata(self, path: str) -> dict[str, str]:
        """Return the secret's labels."""
        path = check_path(path)
        return self.call(VersionedStore, path, lambda store: as_labels(store.read_metadata(path)))

    def write_metadata(self, path: str, metadata: Mapping[str, str]) -> None:
        """Replace the secret's labels."""
        path = check_path(path)
        labels = check_labels(path, metadata)
        self.call(VersionedStore, path, lambda store: store.write_metadata(path, labels))

    # --- hints for migrations (`strongroom.migrate.spi.MigrationHints`) -----------------------------------------------

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        """Raise the error that a write would raise, as far as the store can know without writing."""
        data = conceal(data)
        data, path = check_data(path, data), check_path(path)
        if (vet := self._optional("vet")) is not None:
            self._answer(path, lambda: vet(path, data))

    def vet_labels(self, path: str, labels: Mapping[str, str]) -> None:
        """Raise the error that `write_metadata` would raise, as far as the store can know without writing."""
        path = check_path(path)
        labels = check_labels(path, labels)
        if (vet_labels := self._optional("vet_labels")) is not None:
            self._answer(path, lambda: vet_labels(path, labels))

    def cautions(self, path: str) -> tuple[str, ...]:
        """Return the features that a copy of the secret would lack, in words."""
        path = check_path(path)
        cautions = self._optional("cautions")
        return () if cautions is None else self._answer(path, lambda: tuple(map(str, cautions(path))))

    def write_formed(self, path: str, data: Mapping[str, Value], form: Mapping[str, str]) -> Version | None:
        """Replace the whole secret, in the form that these labels name."""
        data = conceal(data)
        data, path = check_data(path, data), check_path(path)
        write_formed = self._optional("write_formed") or self._unsupported("forms", path)
        version: Version | None = self._answer(path, lambda: write_formed(path, data, form))
        return version

    def walk_labels(self, prefix: str = "") -> Iterator[tuple[str, Mapping[str, str]]]:
        """Yield each path below `prefix` with those labels that `read` does not return."""
        walk_labels = self._optional("walk_labels")
        if walk_labels is None:
            none: Mapping[str, str] = {}
            yield from ((path, none) for path in self.walk(prefix))
            return
        prefix = check_prefix(prefix)
        yield from self._stream(
            prefix or None, lambda: ((path, as_labels(labels)) for path, labels in walk_labels(prefix))
        )

    def close(self) -> None:
        """Close the store once. Every later call is refused."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        try:
            self._store.close()
        except Exception as error:  # noqa: BLE001  # a store that fails to close has nothing left to lose
            logger.warning("Closing store %s failed: %s", self.name, type(error).__name__)
            return
        except BaseException as error:  # noqa: BLE001  # as in `_answer`
            interrupt = _bare(error)
        else:
            return
        raise interrupt

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

    def _guard(self, path: str | None) -> None:
        if self._closed:
            raise StoreError(path, "it is closed", store=self.name, hint="Open a new one")

    def _answer(self, path: str | None, operation: Callable[[], _R]) -> _R:
        """Return the operation's result. Raise its failure outside the `except`, so that no context holds a value.

        Ctrl-C, or another exception of a signal handler, is raised as itself, also without the store's frames.
        """
        self._guard(path)
        try:
            return operation()
        except BaseException as error:  # noqa: BLE001  # this is the boundary that turns stray exceptions into the tree
            failure = _translated(error, path, self.name)
        del operation
        raise failure

    def _stream(self, path: str | None, operation: Callable[[], Iterator[_R]]) -> Iterator[_R]:
        """Yield the items of an operation, and guard each step like `_answer`."""
        items = self._answer(path, lambda: iter(operation()))
        end = object()
        while (item := self._answer(path, lambda: next(items, end))) is not end:
            yield item  # type: ignore[misc]  # the sentinel has just been ruled out

    def _many(
        self,
        operation: Callable[[Iterator[_C]], Iterator[tuple[str, _R | StoreError]]],
        items: Iterable[tuple[Any, ...]],
        check: Callable[..., _C],
    ) -> Iterator[tuple[str, _R | StoreError]]:
        """Yield the results of a bulk operation. An item that fails the check is yielded with its own error."""
        refused: deque[tuple[str, StoreError]] = deque()

        def passing() -> Iterator[_C]:
            for item in items:
                try:
                    passed = check(*item)
                except StoreError as error:
                    refused.append((item[0], error))
                    continue
                yield passed

        for outcome in self._stream(None, lambda: operation(passing())):
            while refused:
                yield refused.popleft()
            yield outcome
        yield from refused

    def _read_as(self, path: str, answer: object) -> Secret:
        """Return the answer of a bulk read for `path`, if it is that secret."""
        return self._answer(path, lambda: _secret(answer, path))

    def _outcome(self, operation: Callable[..., _R], *arguments: object) -> _R | StoreError:
        try:
            return operation(*arguments)
        except StoreError as error:
            return error


def _secret(answer: object, path: str) -> Secret:
    """Return a store's answer to a read of `path`, if it is that secret. No type checker may have seen the store."""
    if isinstance(answer, Secret) and is_value(answer.data):
        if answer.path == path:
            return answer
        raise LookupError  # another path's secret: a mixed-up connection, or an alias
    raise TypeError


def _value(answer: Value) -> Value:
    if is_value(answer):
        return answer
    raise TypeError


def _concealed(item: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return an item of a bulk write with its data concealed."""
    path, data, *rest = item
    return path, conceal(data), *rest


def open_guarded(opener: Callable[[], SecretStore], name: str) -> GuardedStore:
    """Open a store and wrap it. A failure to open is translated as the store's own failures are."""
    try:
        store = opener()
        try:
            return GuardedStore(store, name)
        except PluginError:
            store.close()
            raise
    except BaseException as error:  # noqa: BLE001  # as in `_answer`
        failure = _translated(error, None, name)
    raise failure


def _translated(error: BaseException, path: str | None, store: str) -> BaseException:
    """Return the error of `strongroom.errors` for a store's exception, or the interrupt itself, without frames."""
    kind = type(error).__name__
    if logger.isEnabledFor(logging.DEBUG):
        last = traceback.extract_tb(error.__traceback__)[-1]
        logger.debug("Store %s raised %s at %s:%s in %s", store, kind, last.filename, last.lineno, last.name)
    if isinstance(error, StrongroomError):
        if isinstance(error, StoreError):
            return error.copy(store=error.store or store, path=path if error.path is None else error.path)
        return error.copy()
    if not isinstance(error, Exception):
        return _bare(error)
    if isinstance(error, ConnectionError | TimeoutError):
        return StoreUnavailableError(path, kind, store=store)
    return StoreError(path, f"it raised {kind}", store=store, hint=_PLUGIN_BUG)


def _bare(error: BaseException) -> BaseException:
    """Return the error without its frames and its cause: both may hold values."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
