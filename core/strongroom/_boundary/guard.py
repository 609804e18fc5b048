"""The guard around a store: everything but the store's author uses a store through it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Self, TypeAlias, cast, final

from strongroom._boundary import answers, plugin_calls, translation
from strongroom._boundary.translation import AnswerError
from strongroom._boundary.watchdog import Watchdog, open_plugin
from strongroom.errors import (
    InvalidPathError,
    PluginError,
    StoreError,
    StrongroomError,
    UnsupportedOperationError,
    WriteOutcomeUnknownError,
)
from strongroom.paths import check_key, check_path, check_prefix
from strongroom.secret import (
    Secret,
    Value,
    Version,
    check_data,
    check_labels,
    check_version,
    conceal,
    observed,
    protect,
)
from strongroom.store.concurrency import result_or_error
from strongroom.store.protocols import (
    CAPABILITIES,
    OPERATIONS,
    CheckedItems,
    Health,
    Items,
    Operation,
    SecretStore,
    VersionInfo,
    capabilities_of,
    operations_of,
)

Cached: TypeAlias = Callable[[str], Sequence[object]]

_ARGUMENTS: Mapping[str, Callable[[str, Any], object]] = {
    "key": lambda path, key: check_key(key, path),
    "data": check_data,
    "version": check_version,
    "labels": check_labels,
}
"""Kind of an argument, as the table of operations names it -> path and argument -> the argument, checked."""


_MOST_RETURNED = 100
"""The last secrets of a bulk read whose values an error of the store does not show, in number."""


@final
class GuardedStore:
    """A store behind its guard, with the methods of `strongroom.store` and of `strongroom.migrate.spi.MigrationHints`.

    It raises `UnsupportedOperationError` for a capability that the store lacks. Every answer is checked. Every error of
    the store leaves as one of `strongroom.errors`, with the store's name and without the store's frames: a traceback
    that prints local variables would show values.

    A call of a store that does not declare to honor deadlines runs in a daemon thread, and is given up at its deadline.

    Paths, keys, data, versions and labels are validated before the store sees them. A bulk operation yields an invalid
    item with its error. A listed name that is not a path, such as `..`, is yielded, and every operation refuses it: it
    hides no other name.

    Args:
        store: any `SecretStore`.
        name: its name in the chain, for messages and provenance.
        watchdog: that of the plugin behind the store, if the store itself is not a plugin.
        cached: returns the values that are cached for a path. An error of the store shows none of them.

    Attributes:
        traits: static facts about the store.
        capabilities: names of the store's capabilities beyond reading.
        operations: names of the operations that the store itself has, such as `walk` or `write_many`.

    Raises:
        PluginError: the store needs a newer store protocol.
    """

    def __init__(
        self, store: SecretStore, name: str, watchdog: Watchdog | None = None, cached: Cached = lambda _: ()
    ) -> None:
        self.name = name
        self._store: Any = store
        self._cached = cached
        self._watchdog = watchdog or Watchdog(store, name)
        self.traits = self._watchdog.traits
        self.capabilities = capabilities_of(store)
        self.operations = operations_of(store)

    @classmethod
    def open(cls, opener: Callable[[], SecretStore], name: str, cached: Cached = lambda _: ()) -> Self:
        """Open a store and wrap it. A failure to open is translated as the store's own failures are."""
        return open_plugin(partial(cls._opened, opener, name, cached), name)

    @classmethod
    def _opened(cls, opener: Callable[[], SecretStore], name: str, cached: Cached) -> Self:
        store = opener()
        try:
            return cls(store, name, cached=cached)
        except PluginError:
            translation.close_quietly(store.close, name)
            raise

    @property
    def is_overdue(self) -> bool:
        """A call that was given up still runs."""
        return self._watchdog.is_overdue

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {type(self._store).__name__})"

    def _operate(self, method: str, path: str, *given: Any) -> Any:
        """Return the checked answer of an operation on one secret.

        Args:
            method: the operation's name in the table. The other methods have its types.
            path: the secret's path.
            given: its other arguments. Data is concealed.

        Raises:
            UnsupportedOperationError: the store lacks the capability.
        """
        operation = OPERATIONS[method]
        arguments = _checked(operation, path, *given)
        self._require(operation, path)
        check = answers.CHECKS[operation.answer]
        call = getattr(self._store, method)
        return self._watchdog.call(
            path,
            lambda: check(call(*arguments), method, *arguments),
            changes=operation.changes,
            known=lambda: (*_data_of(operation, arguments), *self._cached(path)),
        )

    def unwrapped(self, path: str) -> SecretStore:
        """Return the store itself, for a plugin of its backend. Refuse if it is closed."""
        self._watchdog.check_open(path)
        return cast("SecretStore", self._store)

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, path: str) -> Secret:
        check_path(path)
        watchdog = self._watchdog
        if plugin_calls.watched or not watchdog.direct or watchdog.closed:
            known = partial(self._cached, path)
            return watchdog.call(path, lambda: answers.as_secret(self._store.read(path), "read", path), known=known)
        try:  # `guarded` in place: every read of an application goes through here
            return answers.as_secret(self._store.read(path), "read", path)
        except BaseException as error:  # noqa: BLE001  # as in `guarded`
            failure = watchdog.translated(error, path, partial(self._cached, path))
        raise failure

    def makes(self, path: str) -> bool:
        """Return True if a read of `path` would create a credential, or if the store does not tell."""
        if "dynamic" not in self.capabilities:
            return False
        self._watchdog.check_open(path)
        try:
            return self._operate("makes", path) is not False
        except StrongroomError:
            return True

    def read_key(self, path: str, key: str) -> Value:
        value = protect(self._operate("read_key", path, key))
        observed(path, {key: value})
        return value

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
        """Yield each path once, with its secret or its own error; one by one if the store has no bulk reads.

        Raises:
            StoreError: the batch as a whole failed or was given up, which counts for each path that is left.
        """
        return self._many("read_many", ((path,) for path in paths))

    def list_entries(self, prefix: str = "") -> Iterator[str]:
        """Yield the names directly below `prefix`, folders ending in `/`. At the end refuse any with a slash inside."""
        prefix = check_prefix(prefix)
        names: Iterator[str] = self._stream("list_entries", prefix)
        return self._listed(names, lambda name: answers.entry_error(name, prefix))

    def walk(self, prefix: str = "") -> Iterator[str]:
        """Yield the path of every secret below `prefix`. At the end refuse those that are not below it."""
        prefix = check_prefix(prefix)
        if not {"walk", "list_entries"} <= self.operations:
            return self._walk_folders(prefix)
        paths: Iterator[str] = self._stream("walk", prefix)
        return self._listed(paths, lambda path: answers.path_error(path, prefix))

    def _walk_folders(self, prefix: str) -> Iterator[str]:
        folders = [prefix]
        while folders:
            folder = folders.pop()
            for name in self.list_entries(folder):
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
        self._watchdog.check_open(None)
        if "probed" not in self.capabilities:
            return Health(ok=True, detail="open")
        health = self._watchdog.call(None, lambda: answers.as_health(self._store.probe()))
        error = None if health.error is None else self._watchdog.translated(health.error, None)
        return health._replace(error=error if isinstance(error, StrongroomError) else None)

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, path: str, data: Mapping[str, Value]) -> Version | None:
        data = conceal(data)
        version: Version | None = self._operate("write", path, data)
        return version

    def write_if(self, path: str, data: Mapping[str, Value], expected: Version | None) -> Version | None:
        data = conceal(data)
        version: Version | None = self._operate("write_if", path, data, expected)
        return version

    def write_many(self, items: Items) -> Iterator[tuple[str, Version | StoreError | None]]:
        """Yield each path with its new version or its own error; one by one if the store has no bulk writes."""
        return self._many("write_many", map(_concealed, items))

    def write_many_if(self, items: CheckedItems) -> Iterator[tuple[str, Version | StoreError | None]]:
        """Yield each path with the result of `write_if`; one by one if the store has no bulk check-and-set."""
        return self._many("write_many_if", map(_concealed, items))

    def delete(self, path: str) -> None:
        self._operate("delete", path)

    def delete_many(self, paths: Iterable[str]) -> Iterator[tuple[str, StoreError | None]]:
        """Yield each path with None or its own error; one by one if the store has no bulk deletes."""
        return self._many("delete_many", ((path,) for path in paths))

    # --- versions -----------------------------------------------------------------------------------------------------

    def versions(self, path: str) -> list[VersionInfo]:
        found: list[VersionInfo] = self._operate("versions", path)
        return found

    def newest_versions(self, paths: Iterable[str]) -> Iterator[tuple[str, VersionInfo | StoreError]]:
        """Yield each path once, with its newest version or its own error; nothing if the store has no such method."""
        if "newest_versions" not in self.operations:
            return iter(())
        return self._many("newest_versions", ((path,) for path in paths))

    def read_version(self, path: str, version: Version) -> Secret:
        secret: Secret = self._operate("read_version", path, version)
        return secret

    def kept_versions(self, path: str) -> int:
        """Return how many versions are guaranteed to survive further writes; one if the store keeps none."""
        if "versioned" not in self.capabilities:
            return 1
        count: int = self._operate("kept_versions", path)
        return count

    def undelete(self, path: str, version: Version) -> None:
        self._operate("undelete", path, version)

    def destroy(self, path: str, version: Version) -> None:
        self._operate("destroy", path, version)

    def read_metadata(self, path: str) -> dict[str, str]:
        labels: dict[str, str] = self._operate("read_metadata", path)
        return labels

    def write_metadata(self, path: str, metadata: Mapping[str, str]) -> None:
        self._operate("write_metadata", path, metadata)

    # --- hints for migrations (`strongroom.migrate.spi.MigrationHints`) -----------------------------------------------

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        data = conceal(data)
        self._hint("vet", path, data)

    def vet_many(self, items: Items) -> Iterator[tuple[str, StoreError | None]]:
        return self._many("vet_many", map(_concealed, items))

    def vet_labels(self, path: str, labels: Mapping[str, str]) -> None:
        self._hint("vet_labels", path, labels)

    def cautions(self, path: str) -> tuple[str, ...]:
        found: tuple[str, ...] | None = self._hint("cautions", path)
        return found or ()

    def write_formed(self, path: str, data: Mapping[str, Value], form: Mapping[str, str]) -> Version | None:
        data = conceal(data)
        version: Version | None = self._operate("write_formed", path, data, form)
        return version

    def walk_labels(self, prefix: str = "") -> Iterator[tuple[str, Mapping[str, str]]]:
        """Yield what `walk` yields, with those labels that `read` does not return."""
        prefix = check_prefix(prefix)
        none: Mapping[str, str] = {}
        if "walk_labels" not in self.operations:
            return ((path, none) for path in self.walk(prefix))
        return self._walk_labels(prefix)

    def _walk_labels(self, prefix: str) -> Iterator[tuple[str, Mapping[str, str]]]:
        labeled: dict[str, Mapping[str, str]] = {}

        def paths() -> Iterator[str]:
            for path, labels in self._stream("walk_labels", prefix):
                labeled[path] = labels
                yield path

        for path in self._listed(paths(), lambda path: answers.path_error(path, prefix)):
            yield path, labeled.pop(path)

    def _hint(self, method: str, path: str, *given: Any) -> Any:
        """Return the checked answer of a hint about one secret; None if the store lacks it."""
        if method in self.operations:
            return self._operate(method, path, *given)
        _checked(OPERATIONS[method], path, *given)
        return None

    def close(self) -> None:
        """Close the store once. Every later call is refused."""
        self._watchdog.close()

    # --- the plugin ---------------------------------------------------------------------------------------------------

    def _require(self, operation: Operation, path: str | None) -> None:
        """Refuse an operation that the store lacks.

        Raises:
            UnsupportedOperationError: it lacks the capability, or the method if that belongs to no capability.
        """
        capability, name = operation.capability, operation.name
        if capability not in self.capabilities if capability else name not in self.operations:
            raise UnsupportedOperationError(path, f"it has no {CAPABILITIES.get(capability, name)}", store=self.name)

    def _stream(self, method: str, prefix: str) -> Iterator[Any]:
        """Yield the checked items of a listing: see `Watchdog.stream`."""
        operation = OPERATIONS[method]
        self._require(operation, prefix or None)
        call, check = getattr(self._store, method), answers.CHECKS[operation.answer]
        return self._watchdog.stream(prefix or None, method, lambda: call(prefix), lambda item: check(item, method))

    def _many(self, method: str, items: Iterable[tuple[Any, ...]]) -> Iterator[tuple[str, Any]]:
        """Yield each path of a bulk operation, a path that is read once, with its result or its own error.

        One by one if the store lacks the operation.
        """
        operation = OPERATIONS[method]
        if method not in self.operations:
            one = getattr(self, operation.one)
            yield from ((item[0], result_or_error(one, *item)) for item in items)
            return
        refused: deque[tuple[str, StoreError]] = deque()
        batch = _Batch(operation)
        left = batch.given(_valid(operation, items, refused))
        call, outcome = getattr(self._store, method), partial(self._as_outcome, batch)
        for path, result in self._watchdog.stream(
            None, method, call, outcome, left, changes=operation.changes, known=batch.known
        ):
            while refused:
                yield refused.popleft()
            if batch.is_answer(path):
                yield path, result
        for _ in left:  # a store may end early
            pass
        yield from refused
        for path in batch.unanswered():
            kind = WriteOutcomeUnknownError if operation.changes else StoreError
            yield path, kind(path, f"{method}() left it out", store=self.name, hint=self._watchdog.bug)

    def _as_outcome(self, batch: _Batch, item: object) -> tuple[str, object]:
        """Return an item of a bulk operation: its path, and its checked result or its error without frames."""
        operation = batch.operation
        path, answer = answers.as_outcome(item, operation.name)
        try:
            if not isinstance(answer, StoreError):
                result = answers.CHECKS[operation.answer](answer, operation.name, path)
                batch.note_result(result)
                return path, result
        except AnswerError as error:
            answer = error
        return path, self._watchdog.translated(answer, path, (*batch.held.get(path, ()), *self._cached(path)))


class _Batch:
    """A bulk operation in progress: the paths that the store has not answered yet, and the values that it knows.

    Attributes:
        operation: the operation.
        held: the data of each path that was given and is not answered.
        known: the values that an error of the whole operation must not show.
    """

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.held: dict[str, tuple[object, ...]] = {}
        self._returned: deque[object] = deque(maxlen=_MOST_RETURNED)
        self.known = (self.held, self._returned)
        self._asked: dict[str, int] = {}

    def given(self, items: Iterable[tuple[Any, ...]]) -> Iterator[object]:
        """Yield the items as the store takes them, and note each path; a path that is only read counts once."""
        for item in items:
            path = item[0]
            self._asked[path] = self._asked.get(path, 0) + 1 if self.operation.changes else 1
            if data := _data_of(self.operation, item):
                self.held[path] = (*self.held.get(path, ()), *data)
            yield path if self.operation.takes == ("path",) else item

    def note_result(self, result: object) -> None:
        """Note the values of a secret that the store returned."""
        if isinstance(result, Secret):
            self._returned.append(result.data)

    def is_answer(self, path: str) -> bool:
        """Return True if the path was asked for, and is not answered yet."""
        if not self._asked.get(path):
            return False
        self._asked[path] -= 1
        if not self._asked[path]:
            self.held.pop(path, None)
        return True

    def unanswered(self) -> Iterator[str]:
        """Yield each path as often as an answer to it is missing."""
        return (path for path, count in self._asked.items() for _ in range(count))


def _checked(operation: Operation, path: str, *given: Any) -> tuple[Any, ...]:
    """Return the arguments of an operation.

    Raises:
        StoreError: one is invalid.
    """
    checked: list[object] = [check_path(path)]
    for kind, argument in zip(operation.takes[1:], given, strict=True):
        check = _ARGUMENTS.get(kind)
        checked.append(argument if check is None else check(path, argument))
    return tuple(checked)


def _data_of(operation: Operation, arguments: tuple[Any, ...]) -> tuple[object, ...]:
    """Return those arguments of an operation that hold values."""
    return tuple(argument for kind, argument in zip(operation.takes, arguments, strict=True) if kind == "data")


def _valid(
    operation: Operation, items: Iterable[tuple[Any, ...]], refused: deque[tuple[str, StoreError]]
) -> Iterator[tuple[Any, ...]]:
    """Yield the valid items of a bulk operation, and add each other one to `refused`, with its error."""
    for item in items:
        try:
            checked = _checked(operation, *item)
        except StoreError as error:
            refused.append((item[0], error))
            continue
        yield checked


def _concealed(item: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return an item of a bulk write with its data concealed: no frame keeps the caller's values."""
    path, data, *rest = item
    return path, conceal(data), *rest
