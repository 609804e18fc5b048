"""Secrets for the tests of an application, simulated failures, and the time of a manager."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias, TypeVar

from strongroom._config import Config, LinkConfig
from strongroom._manager.assembly import assemble, end_substitute, substitute
from strongroom._manager.manager import manager_of, parts_of
from strongroom.errors import (
    InvalidDataError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreUnavailableError,
    UnsupportedOperationError,
)
from strongroom.paths import entries_below, parse_reference
from strongroom.secret import Secret, Value, check_data, conceal
from strongroom.secrets_manager import SecretsManager, set_default_manager
from strongroom.store import SecretStore, remaining
from strongroom.store.memory import MemoryStore

_F = TypeVar("_F", bound=Callable[..., Any])


class SimulatedFailure(Enum):
    """Simulated failure of a secret.

    An outage of a write or a list is one of the whole store: the chain leaves the store alone for a second, like
    after a real outage. Reads of other secrets still succeed.
    """

    MISSING = "missing"
    DENIED = "denied"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class Slow:
    """A secret that is found after `seconds`, or is unavailable if the call has less time.

    It can be read and listed, but not set or deleted.
    """

    seconds: float
    data: Mapping[str, Value] = field(repr=False)


OverrideValue: TypeAlias = "Value | SimulatedFailure | Slow"
"""Type of the values in `override`'s contents."""


class override:  # noqa: N801  # it is used as a function, like those of contextlib
    """Make `strongroom.get_secret`, its siblings and every manager answer only from `contents` within the block.

    ::

        with override({"database/connection": {"url": "sqlite://"}, "api-keys/openai#key": "test"}):
            ...
        with override({"database/connection": SimulatedFailure.UNAVAILABLE}), pytest.raises(StoreUnavailableError):
            ...

        @override({"api-keys/openai#key": "test"})
        async def test_the_key_is_used(): ...

    A decorated function, also an asynchronous one, is a block, and so is each test of a decorated class. A `with`
    statement returns the manager that answers. Later reads in the block see the changes of the code under test. Each
    block starts with `contents`, even if one object is used for several blocks. Blocks are for the whole process: of
    several open ones, nested or in other threads and tasks, the newest answers. Any thread or task may read within a
    block. A
    `SecretsManager` that the application creates itself, before or in the block, answers from `contents` too.

    Args:
        contents: path -> data, `PATH#KEY` -> value, path -> `SimulatedFailure` or `Slow`. Every other path is missing.

    Raises:
        TypeError: `contents` is not a mapping.
        InvalidPathError, InvalidDataError: a path or data is invalid.
    """

    def __init__(self, contents: Mapping[str, OverrideValue]) -> None:
        _check_mapping(contents)
        contents = conceal({reference: conceal(value) for reference, value in contents.items()})
        self._held: dict[str, dict[str, Value]] = {}
        self._slow: dict[str, Slow] = {}
        self._failures: dict[str, SimulatedFailure] = {}
        self._blocks: list[AbstractContextManager[SecretsManager]] = []
        for reference, value in contents.items():
            path, key = parse_reference(reference)
            if isinstance(value, SimulatedFailure | Slow):
                if key is not None:
                    raise InvalidDataError(path, "a simulated failure or delay is for a whole secret, not for one key")
                if isinstance(value, SimulatedFailure):
                    self._failures[path] = value
                else:
                    self._slow[path] = Slow(value.seconds, check_data(path, value.data))
            else:
                data: object = value if key is None else {key: value}
                self._held.setdefault(path, {}).update(check_data(path, data))  # type: ignore[arg-type]  # it checks
        if twice := self._held.keys() & (self._failures.keys() | self._slow.keys()):
            raise InvalidDataError(min(twice), "it cannot have both data and a simulated failure or delay")

    def __enter__(self) -> SecretsManager:
        block = self._block()
        manager = block.__enter__()
        self._blocks.append(block)
        return manager

    def __exit__(self, *_: object) -> None:
        self._blocks.pop().__exit__(None, None, None)

    @contextmanager
    def _block(self) -> Iterator[SecretsManager]:
        """Return a separate block: calls of one decorated function may overlap."""
        stores: dict[str, SecretStore] = {"override": OverrideStore(self._held, self._failures, self._slow)}
        if self._slow:
            stores["slow"] = SlowStore(self._slow)
        # `SecretsManager(chain=…)` would read the configuration of this folder.
        parts = assemble(Config(chain=tuple(map(LinkConfig, stores))), stores)
        manager = manager_of(parts)
        with _changing:
            _replaced[manager] = set_default_manager(manager)
            substitute(parts)
        try:
            yield manager
        finally:
            with _changing:
                end_substitute(parts)
                _restore_default(manager)
            manager.close()

    def __call__(self, function: _F) -> _F:
        """Return the function with its calls in a block each. The contents are not passed to it.

        Of a class, each test is a block: its `test…` methods, and of a `unittest.TestCase` its `setUp` too.
        """
        if isinstance(function, type):
            decorated: _F = self._around_tests(function)
            return decorated
        if inspect.iscoroutinefunction(function):
            return self._around_coroutine(function)
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError("override decorates functions, coroutine functions and classes: use a with statement here")

        @functools.wraps(function)
        def wrapped(*args: Any, **options: Any) -> Any:
            with self._block():
                return function(*args, **options)

        return wrapped  # type: ignore[return-value]  # it has the function's signature

    def _around_tests(self, cls: Any) -> Any:
        import unittest

        if issubclass(cls, unittest.TestCase):
            cls.run = self(cls.run)
            return cls
        tests = [
            name
            for name in dir(cls)
            if name.startswith("test") and inspect.isfunction(inspect.getattr_static(cls, name))
        ]
        if not tests:
            raise TypeError(f"override finds no test… method in class {cls.__name__}: use a with statement there")
        for name in tests:
            setattr(cls, name, self(getattr(cls, name)))
        return cls

    def _around_coroutine(self, function: _F) -> _F:
        @functools.wraps(function)
        async def wrapped(*args: Any, **options: Any) -> Any:
            with self._block():
                return await function(*args, **options)

        return wrapped  # type: ignore[return-value]  # it has the function's signature


_changing = threading.Lock()
_replaced: dict[SecretsManager, SecretsManager | None] = {}
"""The manager of each open block, with the default manager that it has replaced."""


def _restore_default(manager: SecretsManager) -> None:
    """End a block's part as default manager, also if a newer block is still open."""
    before = _replaced.pop(manager)
    newer = next((one for one, replaced in _replaced.items() if replaced is manager), None)
    if newer is None:
        set_default_manager(before)
    else:
        _replaced[newer] = before


def _check_mapping(contents: object) -> None:
    """Refuse contents of another type. `@override` without contents gets the function."""
    if not isinstance(contents, Mapping):
        kind = type(contents).__name__
        raise TypeError(f'override takes a mapping, such as {{"database/connection": {{"url": "…"}}}}, not {kind}')


class OverrideStore(MemoryStore):
    """A store in memory with simulated failures for some paths."""

    def __init__(
        self, held: Mapping[str, Mapping[str, Value]], failures: Mapping[str, SimulatedFailure], slow: Collection[str]
    ) -> None:
        super().__init__()
        self._failures = failures
        self._slow = slow
        for path, data in held.items():
            super().write(path, data)

    def read(self, path: str) -> Secret:
        """Return the secret, or raise its simulated failure."""
        self._raise_failure(path)
        return super().read(path)

    def list_entries(self, prefix: str) -> Iterator[str]:
        """Return the names below `prefix`. A simulated denial or outage below it fails the list."""
        for path in self._failures:
            if path.startswith(f"{prefix}/" if prefix else ""):
                self._raise_failure(path)
        return super().list_entries(prefix)

    def write(self, path: str, data: Mapping[str, Value]) -> int:
        """Write the secret, or raise its simulated failure. A secret that is simulated as missing can be written."""
        self._raise_on_change(path)
        return super().write(path, data)

    def delete(self, path: str) -> None:
        """Delete the secret, or raise its simulated failure."""
        self._raise_on_change(path)
        super().delete(path)

    def _raise_on_change(self, path: str) -> None:
        self._raise_failure(path)
        if path in self._slow:  # in this store it would no longer be slow
            raise UnsupportedOperationError(path, "a slow secret cannot be set or deleted")

    def _raise_failure(self, path: str) -> None:
        match self._failures.get(path):
            case SimulatedFailure.DENIED:
                raise PermissionDeniedError(path, "simulated by the test")
            case SimulatedFailure.UNAVAILABLE:
                raise StoreUnavailableError(path, "simulated by the test")
            case SimulatedFailure.MISSING | None:  # absent until it is written
                pass


class SlowStore:
    """Secrets that are found after a delay. Not local, so that they do not block asynchronous code."""

    def __init__(self, secrets: Mapping[str, Slow]) -> None:
        self._secrets = secrets
        self._closed = threading.Event()

    def read(self, path: str) -> Secret:
        """Return the secret after its delay, or raise an outage if the call has less time."""
        if path not in self._secrets:
            raise SecretNotFoundError(path)
        seconds, left = self._secrets[path].seconds, remaining()
        self._closed.wait(min(seconds, left))
        if seconds >= left:
            raise StoreUnavailableError(path, f"it takes {seconds:g} s, as simulated by the test")
        return Secret(path, self._secrets[path].data)

    def list_entries(self, prefix: str) -> Iterator[str]:
        """Return the names below `prefix` at once."""
        return iter(sorted(entries_below(self._secrets, prefix)))

    def close(self) -> None:
        """End every wait."""
        self._closed.set()


def use_clock(manager: SecretsManager, clock: Callable[[], float]) -> None:
    """Let the caches and the circuit breakers of a manager take the time from `clock`, in seconds.

    A test that moves the clock sees what happens when a secret expires, or when a store is asked again after an outage.
    The deadlines of calls stay in real time.
    """
    for link in parts_of(manager).chain.links:
        link.set_clock(clock)
