"""Secrets for an application's tests: what its code is to find, and what is to go wrong."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import TypeAlias

from strongroom.config import Config, LinkConfig
from strongroom.errors import (
    InvalidDataError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreUnavailableError,
    UnsupportedOperationError,
)
from strongroom.paths import parse_reference
from strongroom.secret import Secret, Value, check_data, conceal
from strongroom.secrets_manager import SecretsManager, set_default_manager
from strongroom.store import SecretStore, remaining
from strongroom.store.memory import MemoryStore


class SimulatedFailure(Enum):
    """What is to happen to a secret instead of being found.

    An outage that a write or a list meets is one of the whole store, and the chain leaves it alone for a second, as it
    leaves a real one. Reads of other secrets are answered all the same.
    """

    MISSING = "missing"
    DENIED = "denied"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class Slow:
    """A secret that is found after `seconds`, or is unavailable when the call has less time than that.

    It can be read and listed, not set or deleted.
    """

    seconds: float
    data: Mapping[str, Value] = field(repr=False)


OverrideValue: TypeAlias = "Value | SimulatedFailure | Slow"
"""What is ordered for one path or reference: the type of the values of `override`'s contents."""


class override:  # noqa: N801  # it is used as a function, like those of contextlib
    """Within the block `strongroom.get_secret` and its siblings answer from `contents` and from nothing else.

    ::

        with override({"database/connection": {"url": "sqlite://"}, "api-keys/openai#key": "test"}):
            ...
        with override({"database/connection": SimulatedFailure.UNAVAILABLE}), pytest.raises(StoreUnavailableError):
            ...

    The block gets the manager that answers. What the code under test sets or deletes is seen by its later reads and by
    no other block: each begins with `contents`, also where one object is used for several. The default manager is one
    for the process, so two blocks can stand inside one another and not side by side in threads; within a block any
    thread or task may read. A `SecretsManager` that the code makes for itself is not overridden.

    Args:
        contents: path -> data, `PATH#KEY` -> value, path -> `SimulatedFailure` or `Slow`. Every other path is missing.

    Raises:
        InvalidPathError, InvalidDataError: no store could hold that.
    """

    def __init__(self, contents: Mapping[str, OverrideValue]) -> None:
        contents = conceal({reference: conceal(ordered) for reference, ordered in contents.items()})
        self._held: dict[str, dict[str, Value]] = {}
        self._slow: dict[str, Slow] = {}
        self._failures: dict[str, SimulatedFailure] = {}
        self._blocks: list[tuple[SecretsManager, SecretsManager | None]] = []
        for reference, ordered in contents.items():
            path, key = parse_reference(reference)
            if isinstance(ordered, SimulatedFailure | Slow):
                if key is not None:
                    raise InvalidDataError(path, "what goes wrong goes wrong for a whole secret, not for one key")
                if isinstance(ordered, SimulatedFailure):
                    self._failures[path] = ordered
                else:
                    self._slow[path] = Slow(ordered.seconds, check_data(path, ordered.data))
            else:
                data: object = ordered if key is None else {key: ordered}
                self._held.setdefault(path, {}).update(check_data(path, data))  # type: ignore[arg-type]  # it checks
        if twice := self._held.keys() & (self._failures.keys() | self._slow.keys()):
            raise InvalidDataError(min(twice), "it cannot both be held and go wrong or be slow")

    def __enter__(self) -> SecretsManager:
        stores: dict[str, SecretStore] = {"override": OverrideStore(self._held, self._failures, self._slow)}
        if self._slow:
            stores["slow"] = SlowStore(self._slow)
        manager = _manager(stores)
        self._blocks.append((manager, set_default_manager(manager)))
        return manager

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        manager, before = self._blocks.pop()
        set_default_manager(before)
        manager.close()


def _manager(stores: Mapping[str, SecretStore]) -> SecretsManager:
    """A manager of these stores alone: `SecretsManager(chain=…)` would read the configuration that applies here."""
    manager = SecretsManager.__new__(SecretsManager)
    manager._build(Config(chain=tuple(map(LinkConfig, stores))), stores)  # noqa: SLF001  # as its constructors do
    return manager


class OverrideStore(MemoryStore):
    """A store in memory where some paths go wrong. They are neither seen nor written."""

    def __init__(
        self, held: Mapping[str, Mapping[str, Value]], failures: Mapping[str, SimulatedFailure], slow: Collection[str]
    ) -> None:
        super().__init__()
        self._failures = failures
        self._slow = slow
        for path, data in held.items():
            super().write(path, data)

    def read(self, path: str) -> Secret:
        """The secret, or what was ordered instead."""
        self._obey(path)
        return super().read(path)

    def list_entries(self, prefix: str) -> Iterator[str]:
        """The names below `prefix`; a denial or an outage below it is one of the list."""
        for path in self._failures:
            if path.startswith(f"{prefix}/" if prefix else ""):
                self._obey(path)
        return super().list_entries(prefix)

    def write(self, path: str, data: Mapping[str, Value]) -> int:
        """Writes, where nothing else was ordered. What is missing can be written, and is there from then on."""
        self._obey_change(path)
        return super().write(path, data)

    def delete(self, path: str) -> None:
        """Deletes, where nothing else was ordered."""
        self._obey_change(path)
        super().delete(path)

    def _obey_change(self, path: str) -> None:
        self._obey(path)
        if path in self._slow:  # here it would be found at once from then on
            raise UnsupportedOperationError(path, "it is slow, and cannot be set or deleted")

    def _obey(self, path: str) -> None:
        match self._failures.get(path):
            case SimulatedFailure.DENIED:
                raise PermissionDeniedError(path, "ordered by the test")
            case SimulatedFailure.UNAVAILABLE:
                raise StoreUnavailableError(path, "ordered by the test")
            case SimulatedFailure.MISSING | None:  # it is not there until somebody writes it
                pass


class SlowStore:
    """Secrets that take their time. Not local, so that asynchronous code is not held up by them."""

    def __init__(self, secrets: Mapping[str, Slow]) -> None:
        self._secrets = secrets
        self._closed = threading.Event()

    def read(self, path: str) -> Secret:
        """The secret, when its time has passed and the call's has not."""
        if path not in self._secrets:
            raise SecretNotFoundError(path)
        seconds, left = self._secrets[path].seconds, remaining()
        self._closed.wait(min(seconds, left))
        if seconds >= left:
            raise StoreUnavailableError(path, f"it takes {seconds:g} s, as ordered by the test")
        return Secret(path, self._secrets[path].data)

    def list_entries(self, prefix: str) -> Iterator[str]:
        """The names below `prefix`, at once."""
        names = MemoryStore()
        for path, slow in self._secrets.items():
            names.write(path, slow.data)
        return names.list_entries(prefix)

    def close(self) -> None:
        """Ends every wait."""
        self._closed.set()
