"""The one object through which every store is used: checks, capabilities, redaction and the closed guard, once."""

# A capability is a protocol: asked for, and never made.
# mypy: disable-error-code="type-abstract"

from __future__ import annotations

import logging
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn, TypeVar, final

from strongroom.errors import StoreError, StoreUnavailableError, StrongroomError, UnsupportedOperationError
from strongroom.paths import check_key, check_path, check_prefix
from strongroom.secret import Secret, Value, Version, check_data, conceal, is_value, protect
from strongroom.store import (
    BulkCheckedStore,
    BulkStore,
    CautionedStore,
    CheckedItems,
    CheckedStore,
    DynamicStore,
    FormedStore,
    Health,
    Items,
    KeyedStore,
    LabelledStore,
    LabelVettingStore,
    ListableStore,
    ProbedStore,
    SecretStore,
    VersionedStore,
    VersionInfo,
    VettingStore,
    WalkableStore,
    WritableStore,
)
from strongroom.store.version_rules import as_count, as_labels, as_versions, check_labels, check_version, of_version

logger = logging.getLogger("strongroom.secrets_manager")

_R = TypeVar("_R")
_C = TypeVar("_C")
_Capability = TypeVar("_Capability")
_PLUGIN_BUG = "This is a bug in the store's plugin"


@final
class GuardedStore:
    """A store, named, as everybody but its author sees it.

    Paths and data are checked before the store sees them. A capability that the store lacks raises
    `UnsupportedOperationError`. Whatever the store raises leaves as one of `strongroom.errors`, under this name and
    without the store's frames: their locals would show values to whoever prints a traceback with locals.

    Args:
        store: any `SecretStore`.
        name: its name in the chain, for messages and provenance.
    """

    def __init__(self, store: SecretStore, name: str) -> None:
        self.name = name
        self._store = store
        self._keyed = _capable(store, KeyedStore)
        self._listable = _capable(store, ListableStore)
        self._walkable = _capable(store, WalkableStore)
        self._writable = _capable(store, WritableStore)
        self._checked = _capable(store, CheckedStore)
        self._versioned = _capable(store, VersionedStore)
        self._labelled = _capable(store, LabelledStore)
        self._bulk = _capable(store, BulkStore)
        self._bulk_checked = _capable(store, BulkCheckedStore)
        self._formed = _capable(store, FormedStore)
        self._vetting = _capable(store, VettingStore)
        self._label_vetting = _capable(store, LabelVettingStore)
        self._cautioned = _capable(store, CautionedStore)
        self._probed = _capable(store, ProbedStore)
        self._dynamic = _capable(store, DynamicStore)
        self._final_deletes = getattr(store, "final_deletes", None) is True
        self._recoverable = getattr(store, "recoverable", None) is True
        self.local = getattr(store, "local", None) is True
        self.piecewise = getattr(store, "piecewise", None) is True
        self._closed = False
        self._closing = threading.Lock()

    @property
    def keyed(self) -> bool:
        """The store knows single keys."""
        return self._keyed is not None

    @property
    def listable(self) -> bool:
        """The store can be listed."""
        return self._listable is not None

    @property
    def writable(self) -> bool:
        """The store can be changed."""
        return self._writable is not None

    @property
    def checked(self) -> bool:
        """The store has check-and-set."""
        return self._checked is not None

    @property
    def formed(self) -> bool:
        """The store can hold the same data in more than one form."""
        return self._formed is not None

    @property
    def bulk_checked(self) -> bool:
        """The store has check-and-set for many at once."""
        return self._bulk_checked is not None

    def __repr__(self) -> str:
        return f"GuardedStore({self.name!r}, {type(self._store).__name__})"

    @property
    def capabilities(self) -> frozenset[str]:
        """The names of what this store can do beyond reading."""
        have = {
            "keyed": self._keyed,
            "listable": self._listable,
            "writable": self._writable,
            "checked": self._checked,
            "versioned": self._versioned,
            "final_deletes": self._final_deletes or None,
            "recoverable": self._recoverable or None,
            "bulk": self._bulk,
            "probed": self._probed,
            "local": self.local or None,
            "dynamic": self._dynamic,
        }
        return frozenset(name for name, capability in have.items() if capability is not None)

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, path: str) -> Secret:
        """The whole secret at `path`."""
        path = check_path(path)
        return self._answer(path, lambda: _secret(self._store.read(path), path))

    def makes(self, path: str) -> bool:
        """Whether a read of `path` would make a secret."""
        dynamic = self._dynamic
        return dynamic is not None and bool(self._answer(path, lambda: dynamic.makes(path)))

    def read_key(self, path: str, key: str) -> Value:
        """One key, from a store that knows single keys."""
        keyed = self._keyed or self._unsupported("single-key reads", path)
        path, key = check_path(path), check_key(key, path)
        return protect(self._answer(path, lambda: _value(keyed.read_key(path, key))))

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
        """Each path, once, with its secret or its own error; one by one where the store has no bulk reads."""
        if self._bulk is None:
            yield from ((path, self._outcome(self.read, path)) for path in paths)
            return
        asked: dict[str, None] = {}

        def noted() -> Iterator[tuple[str]]:
            for path in paths:
                asked[path] = None
                yield (path,)

        for path, outcome in self._many(self._bulk.read_many, noted(), check_path):
            if path in asked:
                del asked[path]
                yield path, outcome if isinstance(outcome, StoreError) else self._outcome(self._read_as, path, outcome)
        for path in asked:
            yield path, StoreError(path, "a bulk read left it out", store=self.name, hint=_PLUGIN_BUG)

    def list_entries(self, prefix: str = "") -> Iterator[str]:
        """The names directly below `prefix`, folders ending in `/`."""
        listable = self._listable or self._unsupported("listing", prefix or None)
        prefix = check_prefix(prefix)
        yield from self._stream(prefix or None, lambda: listable.list_entries(prefix))

    def walk(self, prefix: str = "") -> Iterator[str]:
        """The path of every secret below `prefix`."""
        prefix = check_prefix(prefix)
        if self._listable is not None and self._walkable is not None:
            walkable = self._walkable
            yield from self._stream(prefix or None, lambda: walkable.walk(prefix))
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

    def walk_labels(self, prefix: str = "") -> Iterator[tuple[str, Mapping[str, str]]]:
        """`walk`, with those labels of each secret that a read does not bring."""
        labelled = self._labelled
        if labelled is None:
            none: Mapping[str, str] = {}
            yield from ((path, none) for path in self.walk(prefix))
            return
        prefix = check_prefix(prefix)
        yield from self._stream(
            prefix or None, lambda: ((path, as_labels(labels)) for path, labels in labelled.walk_labels(prefix))
        )

    def probe(self) -> Health:
        """How the store is; a store that cannot say is well as long as it is open."""
        self._guard(None)
        probed = self._probed
        return Health(ok=True, detail="open") if probed is None else self._answer(None, probed.probe)

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, path: str, data: Mapping[str, Value]) -> Version | None:
        """Replaces the whole secret."""
        data = conceal(data)
        data, path = check_data(path, data), check_path(path)
        writable = self._writable or self._unsupported("writing", path)
        return self._answer(path, lambda: writable.write(path, data))

    def write_formed(self, path: str, data: Mapping[str, Value], form: Mapping[str, str]) -> Version | None:
        """Replaces the whole secret, in the form that these labels name."""
        data = conceal(data)
        data, path = check_data(path, data), check_path(path)
        formed = self._formed or self._unsupported("forms", path)
        return self._answer(path, lambda: formed.write_formed(path, data, form))

    def write_if(self, path: str, data: Mapping[str, Value], expected: Version | None) -> Version | None:
        """Replaces the whole secret when its newest version is `expected`; None expects none."""
        data = conceal(data)
        data, path = check_data(path, data), check_path(path)
        checked = self._checked or self._unsupported("check-and-set", path)
        return self._answer(path, lambda: checked.write_if(path, data, expected))

    def write_many(self, items: Items) -> Iterator[tuple[str, Version | StoreError | None]]:
        """Each path with its new version or its own error; one by one where the store has no bulk writes."""
        items = map(_concealed, items)  # no frame keeps what the caller gave
        if self._bulk is None:
            yield from ((path, self._outcome(self.write, path, data)) for path, data in items)
        else:
            yield from self._many(
                self._bulk.write_many, items, lambda path, data: (check_path(path), check_data(path, data))
            )

    def write_many_if(self, items: CheckedItems) -> Iterator[tuple[str, Version | StoreError | None]]:
        """Each path with what `write_if` comes to; one by one where the store has no bulk check-and-set."""
        checked = map(_concealed_checked, items)
        if self._bulk_checked is None:
            yield from ((item[0], self._outcome(self.write_if, *item)) for item in checked)
        else:
            yield from self._many(
                self._bulk_checked.write_many_if,
                checked,
                lambda path, data, expected: (check_path(path), check_data(path, data), expected),
            )

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        """Raises what a write of it would raise, as far as can be known without writing."""
        data = conceal(data)
        data, path = check_data(path, data), check_path(path)
        vetting = self._vetting
        if vetting is not None:
            self._answer(path, lambda: vetting.vet(path, data))

    def vet_labels(self, path: str, labels: Mapping[str, str]) -> None:
        """Raises what `write_metadata` would raise for these, as far as can be known without writing."""
        path = check_path(path)
        labels = check_labels(path, labels)
        vetting = self._label_vetting
        if vetting is not None:
            self._answer(path, lambda: vetting.vet_labels(path, labels))

    def cautions(self, path: str) -> tuple[str, ...]:
        """What a copy of the secret would lack, in words."""
        path = check_path(path)
        cautioned = self._cautioned
        return () if cautioned is None else self._answer(path, lambda: tuple(map(str, cautioned.cautions(path))))

    def delete(self, path: str) -> None:
        """Removes the secret."""
        path = check_path(path)
        writable = self._writable or self._unsupported("deleting", path)
        self._answer(path, lambda: writable.delete(path))

    # --- versions -----------------------------------------------------------------------------------------------------

    def versions(self, path: str) -> list[VersionInfo]:
        """What is known of each version, oldest first."""
        path, versioned = check_path(path), self._history(path)
        return self._answer(path, lambda: as_versions(versioned.versions(path)))

    def read_version(self, path: str, version: Version) -> Secret:
        """One version of a secret."""
        path, versioned = check_path(path), self._history(path)
        version = check_version(path, version)
        return self._answer(path, lambda: of_version(_secret(versioned.read_version(path, version), path), version))

    def kept_versions(self, path: str) -> int:
        """How many versions of the secret are sure to stay; one where the store keeps none."""
        path, versioned = check_path(path), self._versioned
        return 1 if versioned is None else self._answer(path, lambda: as_count(versioned.kept_versions(path)))

    def undelete(self, path: str, version: Version) -> None:
        """Makes a deleted version readable again."""
        path, versioned = check_path(path), self._history(path)
        version = check_version(path, version)
        self._answer(path, lambda: versioned.undelete(path, version))

    def destroy(self, path: str, version: Version) -> None:
        """Removes one version for good."""
        path, versioned = check_path(path), self._history(path)
        version = check_version(path, version)
        self._answer(path, lambda: versioned.destroy(path, version))

    def read_metadata(self, path: str) -> dict[str, str]:
        """The secret's own labels."""
        path, versioned = check_path(path), self._history(path)
        return self._answer(path, lambda: as_labels(versioned.read_metadata(path)))

    def write_metadata(self, path: str, metadata: Mapping[str, str]) -> None:
        """Replaces the secret's own labels."""
        path, versioned = check_path(path), self._history(path)
        labels = check_labels(path, metadata)
        self._answer(path, lambda: versioned.write_metadata(path, labels))

    def close(self) -> None:
        """Closes the store, once; every later call is refused."""
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

    def _history(self, path: str) -> VersionedStore:
        return self._versioned or self._unsupported("versions", path)

    def _unsupported(self, what: str, path: str | None) -> NoReturn:
        raise UnsupportedOperationError(path, f"it has no {what}", store=self.name)

    def _guard(self, path: str | None) -> None:
        if self._closed:
            raise StoreError(path, "it is closed", store=self.name, hint="Open a new one")

    def _answer(self, path: str | None, operation: Callable[[], _R]) -> _R:
        """The operation's result. Its failure is raised outside the `except`, so that no context holds a value.

        So is Ctrl-C, or what else a signal's handler raises in the midst of it: as itself, without the store's frames.
        """
        self._guard(path)
        try:
            return operation()
        except BaseException as error:  # noqa: BLE001  # this is the boundary that turns stray exceptions into the tree
            failure = _translated(error, path, self.name)
        del operation
        raise failure

    def _stream(self, path: str | None, operation: Callable[[], Iterator[_R]]) -> Iterator[_R]:
        """`_answer` for a result that comes piece by piece."""
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
        """A bulk operation on what passes the check; what does not comes with its own error, and ends nothing."""
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
        """What a bulk read answered for `path`, when it is that."""
        return self._answer(path, lambda: _secret(answer, path))

    def _outcome(self, operation: Callable[..., _R], *arguments: object) -> _R | StoreError:
        try:
            return operation(*arguments)
        except StoreError as error:
            return error


def _capable(store: SecretStore, capability: type[_Capability]) -> _Capability | None:
    """The store as one that has the capability; None where it has not.

    A check in place would narrow the type of `store` itself, and checkers keep every combination of what it may be.
    """
    return store if isinstance(store, capability) else None


def _secret(answer: object, path: str) -> Secret:
    """What a store answered to a read of `path`, when it is that: its author's type checker may not have been asked."""
    if isinstance(answer, Secret) and is_value(answer.data):
        if answer.path == path:
            return answer
        raise LookupError  # another path's secret: a mixed-up connection, or an alias
    raise TypeError


def _value(answer: Value) -> Value:
    if is_value(answer):
        return answer
    raise TypeError


def _concealed(item: tuple[str, Mapping[str, Value]]) -> tuple[str, Mapping[str, Value]]:
    path, data = item
    return path, conceal(data)


def _concealed_checked(
    item: tuple[str, Mapping[str, Value], Version | None],
) -> tuple[str, Mapping[str, Value], Version | None]:
    path, data, expected = item
    return path, conceal(data), expected


def open_guarded(opener: Callable[[], SecretStore], name: str) -> GuardedStore:
    """Opens a store behind its front. A failure to open leaves as the store's own failures do."""
    try:
        return GuardedStore(opener(), name)
    except BaseException as error:  # noqa: BLE001  # as in `_answer`
        failure = _translated(error, None, name)
    raise failure


def _translated(error: BaseException, path: str | None, store: str) -> BaseException:
    """The error of our tree that stands for what a store raised, or the interrupt itself, without their frames."""
    kind = type(error).__name__
    if logger.isEnabledFor(logging.DEBUG):
        last = traceback.extract_tb(error.__traceback__)[-1]
        logger.debug("Store %s raised %s at %s:%s in %s", store, kind, last.filename, last.lineno, last.name)
    if isinstance(error, StrongroomError):
        if isinstance(error, StoreError):
            error.store = error.store or store
            error.path = path if error.path is None else error.path
        return _bare(error)
    if not isinstance(error, Exception):
        return _bare(error)
    if isinstance(error, ConnectionError | TimeoutError):
        return StoreUnavailableError(path, kind, store=store)
    return StoreError(path, f"it raised {kind}", store=store, hint=_PLUGIN_BUG)


def _bare(error: BaseException) -> BaseException:
    """The error itself, without the frames that it came through and what it was raised from: both may hold values."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
