"""Asynchronous stores: `AsyncSecretStore`, and the event loop in a thread that serves their blocking callers.

asyncio is imported at the first use: most programs that import us have no event loop.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from types import coroutine
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast
from weakref import WeakKeyDictionary

from strongroom.errors import StoreUnavailableError
from strongroom.secret import Secret
from strongroom.store.boundary.containment import plugin_code
from strongroom.store.daemon import CLOSE_LIMIT, GRACE, in_daemon, outcome_of, overrun, throw
from strongroom.store.deadline import remaining, time_limit
from strongroom.store.locks import reentrant_lock
from strongroom.store.protocols import Traits

if TYPE_CHECKING:
    import asyncio

__all__ = ["AsyncSecretStore", "LoopLocal"]

_R = TypeVar("_R")

_END = object()

logger = logging.getLogger("strongroom.secrets_manager")

LONGEST_STEP = 0.5
"""Seconds that a coroutine may keep its event loop from others."""


class AsyncSecretStore(ABC):
    """A store whose client is asynchronous.

    Async functions await its methods in the caller's event loop, without a thread. Other callers, and rotations, use
    the blocking methods, which run the asynchronous ones in the store's own event loop, in a daemon thread. Both keep
    the deadline: a coroutine that overruns is cancelled and given up.

    A subclass *may* have these methods too, and then has the capability of the blocking method:

    - `alist_entries(prefix)`, an asynchronous generator: `list_entries`;
    - `awrite(path, data)` and `adelete(path)`: `write` and `delete`;
    - `awrite_if(path, data, expected)`: `write_if`;
    - `aprobe()`: `probe`;
    - `aversions`, `aread_version`, `akept_versions`, `aundelete`, `adestroy`, `aread_metadata` and `awrite_metadata`:
      those of `VersionedStore`.

    Each does what `strongroom.store` says about the blocking method. It *must not* block the event loop: a store that
    has done so for half a second is named in a warning, and its later calls run in its own loop. A store is used in
    several loops, and most clients belong to one: see `LoopLocal`. The constructor *must not* need a loop.
    """

    traits = Traits()
    _loops: _Loops

    def __init_subclass__(cls, **options: Any) -> None:
        """Add the blocking methods of the asynchronous ones."""
        super().__init_subclass__(**options)
        for name, changes in BLOCKING.items():
            if hasattr(cls, f"a{name}") and not hasattr(cls, name):
                setattr(cls, name, _blocking(name, changes=changes))

    def __new__(cls, *_: object, **__: object) -> Self:
        """Make the store. A subclass need not call `super().__init__`."""
        store = super().__new__(cls)
        store._loops = _Loops(cls)
        return store

    @abstractmethod
    async def aread(self, path: str) -> Secret:
        """Return the newest version of the whole secret at `path`: see `SecretStore.read`."""

    @abstractmethod
    async def aclose(self) -> None:
        """Release what belongs to the running event loop. Called once in each loop that has used the store."""

    def read(self, path: str) -> Secret:
        """`aread`, for callers without an event loop."""
        return self._loops.wait(partial(self.aread, path))

    def close(self) -> None:
        """`aclose` in each event loop that has used the store and still runs."""
        self._loops.close(self.aclose)


class LoopLocal(Generic[_R]):
    """A value for each event loop, such as a client: most clients belong to the loop in which they are first used.

    Args:
        make: returns the value of the running loop, at its first use there.
    """

    def __init__(self, make: Callable[[], _R]) -> None:
        self._make = make
        self._values: WeakKeyDictionary[asyncio.AbstractEventLoop, _R] = WeakKeyDictionary()

    def get(self) -> _R:
        """Return the value of the running event loop."""
        import asyncio

        loop = asyncio.get_running_loop()
        if loop not in self._values:
            self._values[loop] = self._make()
        return self._values[loop]

    def pop(self) -> _R | None:
        """Remove and return the value of the running event loop, to close it; None without one."""
        import asyncio

        return self._values.pop(asyncio.get_running_loop(), None)


async def outcome_in_time(
    store: AsyncSecretStore, start: Callable[[], Awaitable[_R]], *, changes: bool
) -> Callable[[], _R]:
    """Await a call of the store in the running loop, and return a function that returns or raises its outcome.

    A call that is not over at the deadline is cancelled, and not awaited any longer. Its outcome is then unknown if it
    `changes` something. A call that blocks the loop cannot be given up: the next ones run in the store's own loop, as
    those of blocking callers do.
    """
    import asyncio

    loops = store._loops  # noqa: SLF001  # the store's own part
    if loops.are_blocked:
        return await asyncio.wrap_future(loops.outcome(start, changes=changes))
    loops.note_running()
    task = asyncio.ensure_future(_outcome(start, loops.note_step))
    try:
        done, _ = await asyncio.wait([task], timeout=remaining() + GRACE)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if done:
        return task.result()
    task.cancel()
    return partial(throw, overrun(changes=changes))


async def closed_in_time(store: AsyncSecretStore) -> Callable[[], object]:
    """Close the store, and return a function that raises its failure, if it has one.

    A store that only the running loop has used is closed in it. One with other loops, which have threads, needs one
    more thread, which waits for them.
    """
    import asyncio

    loops = store._loops  # noqa: SLF001  # as above
    if loops.is_used_elsewhere():
        return await asyncio.wrap_future(loops.in_daemon(store.close))
    if not loops.is_used_here():
        return lambda: None
    with time_limit(CLOSE_LIMIT):
        return await outcome_in_time(store, store.aclose, changes=False)


class _Loops:
    """The event loops that have used a store: its own, and those of its callers.

    Args:
        kind: the store's class.

    Attributes:
        are_blocked: a call has blocked its loop. From then on all calls run in the store's own.
    """

    def __init__(self, kind: type) -> None:
        self.are_blocked = False
        self._kind = kind
        self._name = f"store {kind.__name__}"
        self._lock = reentrant_lock()
        self._own: _LoopThread | None = None
        self._callers: WeakKeyDictionary[asyncio.AbstractEventLoop, None] = WeakKeyDictionary()

    def note_running(self) -> None:
        """Note the running loop."""
        import asyncio

        self._callers[asyncio.get_running_loop()] = None

    def is_used_here(self) -> bool:
        """Return True if the running loop has used the store."""
        import asyncio

        return asyncio.get_running_loop() in self._callers

    def is_used_elsewhere(self) -> bool:
        """Return True if the store's own loop, or another one that still runs, has used the store."""
        import asyncio

        here = asyncio.get_running_loop()
        return self._running() is not None or any(loop.is_running() for loop in self._callers if loop is not here)

    def note_step(self, seconds: float) -> None:
        """Note how long a step of a coroutine has kept its loop from others."""
        if seconds > LONGEST_STEP:
            self._note_block()

    def _note_block(self) -> None:
        if not self.are_blocked:
            self.are_blocked = True
            kind = f"{self._kind.__module__}.{self._kind.__qualname__}"
            logger.warning("An asynchronous method of %s blocks its event loop: its calls run in a thread now", kind)

    def outcome(self, start: Callable[[], Awaitable[_R]], *, changes: bool) -> Future[Callable[[], _R]]:
        """Return the future of a function that does what `wait` does."""
        return self.in_daemon(partial(self.wait, start, changes=changes))

    def in_daemon(self, call: Callable[[], _R]) -> Future[Callable[[], _R]]:
        """Call in a daemon thread. Return the future of a function that returns the result, or raises the error."""
        return in_daemon(partial(outcome_of, call), self._name)  # a CancelledError would cancel the caller

    def wait(self, start: Callable[[], Awaitable[_R]], *, changes: bool = False) -> _R:
        """Return the coroutine's result, within `remaining()`.

        Raises:
            StoreUnavailableError: it overran.
            WriteOutcomeUnknownError: it overran, and `changes`.
        """
        with self._lock:
            own = self._running()
            if own is not None and own.is_blocked:
                self._note_block()
                own.stop()
                own = None
            if own is None:
                own = self._own = _LoopThread(self._name, self.note_step)
        return own.wait(start, remaining(), changes=changes)

    def close(self, aclose: Callable[[], Awaitable[None]]) -> None:
        """Run `aclose` in each loop, and end the store's own."""
        import asyncio

        with self._lock:
            own, self._own = self._running(), None
        try:
            if own is not None:
                own.wait(aclose, min(CLOSE_LIMIT, remaining()), changes=False)
        finally:
            if own is not None:
                own.stop()
            here = None
            with suppress(RuntimeError):
                here = asyncio.get_running_loop()
            for loop in [loop for loop in self._callers if loop.is_running()]:
                self._callers.pop(loop, None)
                closing = asyncio.run_coroutine_threadsafe(_closed(aclose), loop)
                if loop is not here:  # it could not run meanwhile
                    with suppress(TimeoutError):
                        closing.result(min(CLOSE_LIMIT, remaining()))

    def _running(self) -> _LoopThread | None:
        """Return the store's own loop, if it runs in this process: the child of a fork has none of the threads."""
        return self._own if self._own is not None and self._own.process == os.getpid() else None


class _LoopThread:
    """An event loop in a daemon thread, which does not delay the end of the process.

    Args:
        name: the name of the thread.
        note_step: called with the seconds of each step of a coroutine.

    Attributes:
        is_blocked: the loop has not run since a call was given up: a coroutine blocks it.
        process: the id of the process that has the thread.
    """

    def __init__(self, name: str, note_step: Callable[[float], None]) -> None:
        import asyncio

        self._loop = asyncio.new_event_loop()
        self.is_blocked = False
        self.process = os.getpid()
        self._note_step = note_step
        self._calls = 0
        self._is_stopping = False
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def wait(self, start: Callable[[], Awaitable[_R]], limit: float, *, changes: bool) -> _R:
        """Return the coroutine's result within this time: see `_Loops.wait`."""
        done: Future[Callable[[], _R]] = Future()
        done.set_running_or_notify_cancel()
        tasks: list[asyncio.Task[Any]] = []
        context = copy_context()

        def begin() -> None:
            task = self._loop.create_task(_outcome(start, self._note_step), context=context)
            task.add_done_callback(ended)
            tasks.append(task)
            self._calls += 1

        def ended(task: asyncio.Task[Callable[[], _R]]) -> None:
            if not task.cancelled():  # one that was given up before its first step
                done.set_result(task.result())
            self._calls -= 1
            if self._is_stopping:
                self._stop_when_idle()

        self._loop.call_soon_threadsafe(begin)
        try:
            return done.result(limit + GRACE)()
        except BaseException as error:
            if done.done():
                raise
            self.is_blocked = True
            self._loop.call_soon_threadsafe(self._give_up, tasks)
            if not isinstance(error, TimeoutError):  # an interrupt of the thread that waits
                raise
        raise overrun(changes=changes)

    def stop(self) -> None:
        """End the thread when the calls in progress are over: each has its own deadline."""
        self._loop.call_soon_threadsafe(self._stop_when_idle)

    def _stop_when_idle(self) -> None:
        self._is_stopping = True
        if not self._calls:
            self._loop.stop()

    def _give_up(self, tasks: list[asyncio.Task[Any]]) -> None:
        self.is_blocked = False
        for task in tasks:
            task.cancel()

    def _run(self) -> None:
        import asyncio

        with plugin_code():
            self._loop.run_forever()
            tasks = asyncio.all_tasks(self._loop)  # those that the store's client has begun
            for task in tasks:
                task.cancel()
            if tasks:
                tasks = self._loop.run_until_complete(asyncio.wait(tasks, timeout=CLOSE_LIMIT))[1]
            if not tasks:  # one that ignores its cancellation would be resumed in a closed loop
                self._loop.run_until_complete(self._loop.shutdown_asyncgens())
                self._loop.close()


async def _outcome(start: Callable[[], Awaitable[_R]], note_step: Callable[[float], None]) -> Callable[[], _R]:
    """Return a function that returns the coroutine's result, or raises its error.

    SystemExit and its like would end the event loop.

    Args:
        start: returns the coroutine.
        note_step: called with the seconds of each of its steps.
    """

    async def call() -> _R:
        return await start()

    try:
        answer = await _timed(call(), note_step)
    except BaseException as error:  # noqa: BLE001  # it is raised when the outcome is used
        return partial(throw, error)
    return lambda: answer


@coroutine
def _timed(call: Coroutine[Any, Any, _R], note: Callable[[float], None]) -> Generator[Any, Any, _R]:
    """Return the coroutine's result, and note how many seconds each step of it keeps the event loop."""
    resume = partial(call.send, None)
    while True:
        began = time.monotonic()
        try:
            awaited = resume()
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # a coroutine's result
        finally:
            note(time.monotonic() - began)
        try:
            resume = partial(call.send, (yield awaited))
        except GeneratorExit:  # nobody awaits it any longer; the collector may have closed the coroutine before
            call.close()
            raise
        except BaseException as error:  # noqa: BLE001  # the coroutine gets it, also a cancellation
            resume = partial(call.throw, error)


async def _closed(aclose: Callable[[], Awaitable[None]]) -> None:
    """Await `aclose`. Ignore its failure: the loop belongs to the application."""
    await _outcome(aclose, lambda _: None)


BLOCKING = {
    "list_entries": False,
    "write": True,
    "delete": True,
    "write_if": True,
    "probe": False,
    "versions": False,
    "read_version": False,
    "kept_versions": False,
    "undelete": True,
    "destroy": True,
    "read_metadata": False,
    "write_metadata": True,
}
"""The optional blocking methods, and whether each changes something. `write` stands for `awrite`, and so on."""


def _blocking(name: str, *, changes: bool) -> Callable[..., Any]:
    """Return the blocking method of an asynchronous one."""
    method = f"a{name}"

    def call(store: AsyncSecretStore, *arguments: object) -> object:
        return store._loops.wait(partial(getattr(store, method), *arguments), changes=changes)  # noqa: SLF001

    def iterate(store: AsyncSecretStore, *arguments: object) -> Iterator[object]:
        items = getattr(store, method)(*arguments)

        async def step() -> object:
            return await anext(items, _END)

        unfinished = False  # a step that fails or is given up ends the generator
        try:
            while (item := store._loops.wait(step)) is not _END:  # noqa: SLF001
                unfinished = True
                yield item
                unfinished = False
        finally:
            close = cast("Callable[[], Coroutine[Any, Any, None]] | None", getattr(items, "aclose", None))
            if unfinished and close is not None:
                with suppress(StoreUnavailableError):
                    store._loops.wait(close)  # noqa: SLF001

    made = iterate if name == "list_entries" else call
    made.__name__, made.__doc__ = name, f"`{method}`, for callers without an event loop."
    return made
