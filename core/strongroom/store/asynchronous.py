"""Asynchronous stores: `AsyncSecretStore`, whose coroutines run in one event loop, in a daemon thread.

asyncio is imported at the first use: most programs that import us have no event loop.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from strongroom.errors import StoreUnavailableError
from strongroom.secret import Secret
from strongroom.store._plugin_calls import plugin_code
from strongroom.store.daemon import CLOSE_LIMIT, GRACE, overrun, throw
from strongroom.store.deadline import remaining, time_limit
from strongroom.store.locks import fork_safe_lock
from strongroom.store.operations import OPERATIONS, Operation
from strongroom.store.protocols import Traits

if TYPE_CHECKING:
    import asyncio

__all__ = ["AsyncSecretStore"]

_R = TypeVar("_R")

_END = object()

_AT_ONCE = 16
"""How many reads of one batch are in progress at a time."""


class AsyncSecretStore(ABC):
    """A store whose client is asynchronous.

    Its coroutines run in one event loop, in a daemon thread, for all callers: blocking ones, tasks of any loop, and
    rotations. So a client and its connections may belong to the loop in which they are first used. The deadline is
    kept: a coroutine that overruns is cancelled and given up. The child of a fork has a separate loop.

    A subclass *may* have `a…` methods of the other blocking methods too, such as `awrite(path, data)`, and then has
    these, with their capabilities. `alist_entries(prefix)` and `awalk(prefix)` are asynchronous generators. There is
    none for bulk operations: several secrets are read at a time as it is.

    Each does what `strongroom.store` says about the blocking method. It *must not* block the event loop: every other
    call of the store waits meanwhile. The constructor *must not* need a loop.
    """

    traits = Traits()
    _loop: _StoreLoop

    def __init_subclass__(cls, **options: Any) -> None:
        """Add the blocking methods of the asynchronous ones."""
        super().__init_subclass__(**options)
        for operation in OPERATIONS.values():
            if not operation.many and hasattr(cls, f"a{operation.name}") and not hasattr(cls, operation.name):
                setattr(cls, operation.name, _blocking(operation))

    def __new__(cls, *_: object, **__: object) -> Self:
        """Make the store. A subclass need not call `super().__init__`."""
        store = super().__new__(cls)
        store._loop = _StoreLoop(f"store {cls.__name__}")
        return store

    @abstractmethod
    async def aread(self, path: str) -> Secret:
        """Return the newest version of the whole secret at `path`: see `SecretStore.read`."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close the connections of the store. Called once, if the store was used."""

    def read(self, path: str) -> Secret:
        return self._loop.begin(partial(self.aread, path)).result()

    def read_each(self, paths: Iterable[str]) -> Iterator[tuple[str, Callable[[], Secret]]]:
        """Yield each path with a function that returns the result of its `aread`, or raises its error.

        Sixteen are read at a time.
        """
        left = iter(paths)
        begun: deque[tuple[str, _Call[Secret]]] = deque()
        try:
            while True:
                for path in islice(left, _AT_ONCE - len(begun)):
                    begun.append((path, self._loop.begin(partial(self.aread, path))))
                if not begun:
                    return
                path, call = begun.popleft()
                yield path, call.result
        finally:
            for _, call in begun:
                call.give_up()

    def close(self) -> None:
        """Run `aclose` if the store was used, and end its event loop."""
        self._loop.close(self.aclose)


class _StoreLoop:
    """The event loop of a store, in a daemon thread, which does not delay the end of the process.

    It starts at the first call, and again in the child of a fork, which has none of its parent's threads.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = fork_safe_lock(self, "_lock")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event
        self._process = 0
        self._calls: set[Future[Any]] = set()

    def begin(self, start: Callable[[], Awaitable[_R]], *, changes: bool = False) -> _Call[_R]:
        """Begin to run the coroutine that `start` returns, in a copy of the caller's context."""
        import asyncio

        with self._lock:
            if self._loop is None or self._process != os.getpid():
                loop, self._over = asyncio.new_event_loop(), asyncio.Event()
                threading.Thread(target=_run, args=(loop, self._over), name=self._name, daemon=True).start()
                self._loop, self._process, self._calls = loop, os.getpid(), set()
            begun = asyncio.run_coroutine_threadsafe(_outcome(start), self._loop)
            self._calls.add(begun)
        begun.add_done_callback(self._calls.discard)
        return _Call(begun, changes=changes)

    def close(self, aclose: Callable[[], Awaitable[None]]) -> None:
        """Run `aclose` if this process has used the loop. The loop ends when the calls in progress are over."""
        if self._loop is None or self._process != os.getpid():
            return
        closing = self.begin(aclose)
        with self._lock:
            loop, over, calls, self._loop = self._loop, self._over, list(self._calls), None
        try:
            with time_limit(CLOSE_LIMIT):
                closing.result()
        finally:
            for call in calls:
                call.add_done_callback(lambda _: _set_if_over(over, loop, calls))
            _set_if_over(over, loop, calls)


class _Call(Generic[_R]):
    """A coroutine in progress in a store's event loop."""

    def __init__(self, begun: Future[Callable[[], _R]], *, changes: bool) -> None:
        self._begun = begun
        self._changes = changes

    def result(self) -> _R:
        """Wait for the result within the remaining time, and return it.

        Raises:
            StoreUnavailableError: it overran.
            WriteOutcomeUnknownError: it overran, and changes something.
            BaseException: the exception of the coroutine.
        """
        try:
            outcome = self._begun.result(remaining() + GRACE)
        except TimeoutError:
            self.give_up()
            raise overrun(changes=self._changes) from None
        except BaseException:  # an interrupt of the thread that waits
            self.give_up()
            raise
        return outcome()

    def give_up(self) -> None:
        """Cancel the coroutine. Nobody waits for it any more."""
        self._begun.cancel()


async def _outcome(start: Callable[[], Awaitable[_R]]) -> Callable[[], _R]:
    """Return a function that returns the coroutine's result, or raises its error: SystemExit would end the loop."""
    try:
        answer = await start()
    except BaseException as error:  # noqa: BLE001  # it is raised when the outcome is used
        return partial(throw, error)
    return lambda: answer


def _set_if_over(over: asyncio.Event, loop: asyncio.AbstractEventLoop, calls: list[Future[Any]]) -> None:
    if all(call.done() for call in calls):
        with suppress(RuntimeError):  # it has ended already
            loop.call_soon_threadsafe(over.set)


def _run(loop: asyncio.AbstractEventLoop, over: asyncio.Event) -> None:
    import asyncio

    with plugin_code():
        loop.run_until_complete(over.wait())
        tasks = asyncio.all_tasks(loop)  # those that the store's client has begun, and calls that were given up
        for task in tasks:
            task.cancel()
        if tasks:
            tasks = loop.run_until_complete(asyncio.wait(tasks, timeout=CLOSE_LIMIT))[1]
        if not tasks:  # one that ignores its cancellation would be resumed in a closed loop
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()


def _blocking(operation: Operation) -> Callable[..., Any]:
    """Return the blocking method of an asynchronous one."""
    method, changes = f"a{operation.name}", operation.changes

    def call(store: AsyncSecretStore, *arguments: object) -> object:
        begun = store._loop.begin(partial(getattr(store, method), *arguments), changes=changes)  # noqa: SLF001
        return begun.result()

    def iterate(store: AsyncSecretStore, *arguments: object) -> Iterator[object]:
        items = getattr(store, method)(*arguments)

        async def step() -> object:
            return await anext(items, _END)

        unfinished = False  # a step that fails or is given up ends the generator
        try:
            while (item := store._loop.begin(step).result()) is not _END:  # noqa: SLF001
                if not remaining():  # a generator that never waits may never end
                    raise overrun()
                unfinished = True
                yield item
                unfinished = False
        finally:
            if unfinished and (close := getattr(items, "aclose", None)) is not None:
                with suppress(StoreUnavailableError):
                    store._loop.begin(close).result()  # noqa: SLF001

    made = iterate if operation.takes == ("prefix",) else call
    made.__name__, made.__doc__ = operation.name, f"Return the result of `{method}`."
    return made
