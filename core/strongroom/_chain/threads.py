"""Blocking calls seen from an event loop: each runs in a thread of the manager.

asyncio is imported at first use: most programs that import us have no event loop.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from contextvars import copy_context
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar
from weakref import WeakSet

from strongroom import events
from strongroom.errors import StoreUnavailableError, StrongroomError
from strongroom.paths import check_path
from strongroom.store import remaining, time_limit
from strongroom.store.concurrency import GRACE
from strongroom.store.process import call_at_exit

if TYPE_CHECKING:
    from strongroom._chain.answer import Resolution
    from strongroom._chain.chain import Chain

_P = ParamSpec("_P")
_R = TypeVar("_R")

_MOST_THREADS = 128
_IDLE = 10.0
"""A thread without work ends after this many seconds."""

_all: WeakSet[Threads] = WeakSet()


class Threads:
    """The threads in which a manager's calls run for tasks, made when they are needed.

    Not those of the loop's own pool: calls that wait for a store would keep the application's from it. They are daemon
    threads: the end of the process waits for writes alone.

    A task that is cancelled stops waiting. Its call continues, unless it waits for a thread or for its turn.

    Args:
        limit: how long one call may take in total, in seconds.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.reset()

    def reset(self) -> None:
        """Drop all work: the child of a fork has none of the threads."""
        self._changed = threading.Condition()
        self._work: deque[Callable[[], None]] = deque()
        self._count = self._idle = 0
        self._closed = False
        self._writes: set[Future[Any]] = set()
        self._turns: dict[str, deque[Future[None]]] = {}
        self._reads: dict[str | tuple[str, str | None], _SharedRead] = {}

    def close(self) -> None:
        """Let every thread end after its call."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def finish_writes(self) -> None:
        """Wait for the writes in progress, within the remaining time."""
        with self._changed:
            writes = set(self._writes)
        wait(writes, remaining())

    # --- calls --------------------------------------------------------------------------------------------------------

    async def run(self, call: Callable[[], _R]) -> _R:
        """Return the call's result, from a thread, for a call whose parts have their own time."""
        return await _result(self._begin(call))

    async def run_in_time(self, call: Callable[[], _R]) -> _R:
        """`run`, within the time of one call, which begins before the call waits for a thread."""
        with time_limit(self.limit):
            return await _result(self._begin(call))

    async def write(self, call: Callable[[], _R]) -> _R:
        """`run`, for a call that `close` and the end of the process wait for."""
        return await _result(self._begin_write(call))

    async def write_in_turn(self, path: str, call: Callable[[], _R]) -> _R:
        """`write`, within the time of one call, after all earlier ones of this path.

        The turn comes before the thread: writes that wait for each other would take the threads from reads.
        """
        with time_limit(self.limit):
            await self._take_turn(check_path(path))
            try:
                begun = self._begin_write(call)
            except BaseException:
                self._end_turn(path)
                raise
            begun.add_done_callback(lambda _: self._end_turn(path))
            return await _result(begun)

    async def read(self, chain: Chain, path: str, key: str | None) -> Resolution:
        """Return `chain.resolve(path, key)`. Tasks that wait for the same share one thread, and its deadline.

        Those that wait for another key of the path wait once, since it is cached then. A task that shares the read of
        another one emits no event. Nothing is shared under an audit log, which notes each read.
        """
        import asyncio

        if events.auditors:
            return await self.run_in_time(partial(chain.resolve, path, key))
        with time_limit(self.limit):
            for place in (path, (path, key)):
                read, leads = self._join_or_lead(place, chain, path, key)
                if leads:
                    return (await asyncio.shield(asyncio.wrap_future(read.done))).get()
                await read.over(path)
                if read.key == key:
                    return read.copy(path)
                if (found := chain.cached(path, key)) is not None:
                    return found
        raise AssertionError  # unreachable: the second place is of this key

    # --- turns and shared reads ---------------------------------------------------------------------------------------

    async def _take_turn(self, path: str) -> None:
        import asyncio

        with self._changed:
            waiting = self._turns.get(path)
            if waiting is None:
                self._turns[path] = deque()
                return
            turn: Future[None] = Future()
            waiting.append(turn)
        try:
            async with asyncio.timeout(remaining()):  # `wait_for` of Python 3.11 may swallow a cancellation
                await asyncio.wrap_future(turn)
        except BaseException as error:
            if not turn.cancel():  # it came at the last moment
                self._end_turn(path)
            if not isinstance(error, TimeoutError):
                raise
            raise StoreUnavailableError(path, "earlier writes to it took all the time") from None

    def _end_turn(self, path: str) -> None:
        """Give the turn to the next one that still waits for it."""
        with self._changed:
            waiting = self._turns[path]
            while waiting and not waiting[0].set_running_or_notify_cancel():
                waiting.popleft()
            if waiting:
                waiting.popleft().set_result(None)
            else:
                del self._turns[path]

    def _join_or_lead(
        self, place: str | tuple[str, str | None], chain: Chain, path: str, key: str | None
    ) -> tuple[_SharedRead, bool]:
        """Return the read in progress there, and False; or begin one, and return it with True.

        A read that began before the last write of this manager is not joined.
        """
        with self._changed:
            read = self._reads.get(place)
            if read is not None and read.chain is chain and read.forgotten == chain.forgotten:
                return read, False
            begun = self._begin(partial(chain.resolve, path, key))
            read = self._reads[place] = _SharedRead(chain, key, begun)
        begun.add_done_callback(lambda _: self._end_read(place, read))
        return read, True

    def _end_read(self, place: str | tuple[str, str | None], read: _SharedRead) -> None:
        with self._changed:
            if self._reads.get(place) is read:
                del self._reads[place]

    # --- the threads --------------------------------------------------------------------------------------------------

    def _begin_write(self, call: Callable[[], _R]) -> Future[_Outcome[_R]]:
        if self not in _all:
            _all.add(self)
            call_at_exit(_finish_all_writes)
        begun = self._begin(call)
        with self._changed:
            self._writes.add(begun)
        begun.add_done_callback(self._writes.discard)
        return begun

    def _begin(self, call: Callable[[], _R]) -> Future[_Outcome[_R]]:
        """Call in a thread, in a copy of the running context. The future has no exception: see `_Outcome`."""
        done: Future[_Outcome[_R]] = Future()
        context = copy_context()

        def work() -> None:
            if done.set_running_or_notify_cancel():
                done.set_result(_Outcome(partial(context.run, call)))

        with self._changed:
            self._work.append(work)
            if self._idle >= len(self._work):
                self._changed.notify()
            elif self._count < _MOST_THREADS:
                try:
                    threading.Thread(target=self._run, name="strongroom", daemon=True).start()
                except RuntimeError:  # the process is ending, or has too many
                    if not self._count:
                        self._work.remove(work)
                        raise
                else:
                    self._count += 1
        return done

    def _run(self) -> None:
        while (work := self._next()) is not None:
            work()
            del work  # while it waits, the thread holds no value

    def _next(self) -> Callable[[], None] | None:
        """Return the next work, or None if the thread ends."""
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._work or self._closed, _IDLE)
            self._idle -= 1
            if self._work:
                return self._work.popleft()
            self._count -= 1
            return None


class _SharedRead:
    """A read in progress that tasks share."""

    def __init__(self, chain: Chain, key: str | None, done: Future[_Outcome[Resolution]]) -> None:
        self.chain = chain
        self.key = key
        self.done = done
        self.forgotten = chain.forgotten

    async def over(self, path: str) -> None:
        """Wait until it is over. The wait can be cancelled, and the read cannot.

        Raises:
            StoreUnavailableError: it took all the time of this call.
        """
        import asyncio

        done, _ = await asyncio.wait([asyncio.wrap_future(self.done)], timeout=remaining() + GRACE)
        if not done:
            raise StoreUnavailableError(path, "the read that was under way took too long")

    def copy(self, path: str) -> Resolution:
        """Return the result as a separate object, or raise the error as one."""
        outcome = self.done.result()
        if outcome.error is None:
            return outcome.get().copy()
        if isinstance(outcome.error, StrongroomError):
            raise outcome.error.copy()
        raise StoreUnavailableError(path, f"the read ended with {type(outcome.error).__name__}")


class _Held(Generic[_R]):
    """A call with its arguments, which its `repr` does not show, as that of a partial would."""

    __slots__ = ("_args", "_call", "_kwargs")

    def __init__(self, call: Callable[..., _R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._call = call
        self._args = args
        self._kwargs = kwargs

    def __call__(self) -> _R:
        return self._call(*self._args, **self._kwargs)


class _Outcome(Generic[_R]):
    """The result or the error of a call. A future that had the error would log it if nobody waits any more."""

    __slots__ = ("_result", "error")

    def __init__(self, call: Callable[[], _R]) -> None:
        self.error: BaseException | None = None
        try:
            self._result = call()
        except BaseException as error:  # noqa: BLE001  # `get` raises it
            self.error = error

    def get(self) -> _R:
        if self.error is not None:
            raise self.error
        return self._result


async def _result(begun: Future[_Outcome[_R]]) -> _R:
    import asyncio

    return (await asyncio.wrap_future(begun)).get()


def _finish_all_writes() -> None:
    for threads in list(_all):
        threads.finish_writes()


# --- methods as coroutine functions -----------------------------------------------------------------------------------


class _HasThreads(Protocol):
    @property
    def _threads(self) -> Threads: ...


_S = TypeVar("_S", bound=_HasThreads)

_in_loop: dict[Callable[..., Any], Callable[..., Coroutine[Any, Any, Any]]] = {}


def off_loop(method: Callable[Concatenate[_S, _P], _R]) -> Callable[Concatenate[_S, _P], Coroutine[Any, Any, _R]]:
    """Return a coroutine function for a method that is one call: see `Threads.run_in_time`.

    Type checkers keep all overloads of the method, as long as this has no second parameter.
    """
    return _derived(method, lambda threads, call, _: threads.run_in_time(call))


def off_loop_in_turn(
    method: Callable[Concatenate[_S, _P], _R],
) -> Callable[Concatenate[_S, _P], Coroutine[Any, Any, _R]]:
    """Return a coroutine function for a method that changes its first argument, a path: see `Threads.write_in_turn`."""
    return _derived(method, lambda threads, call, path: threads.write_in_turn(path, call))


def off_loop_untimed(
    method: Callable[Concatenate[_S, _P], _R],
) -> Callable[Concatenate[_S, _P], Coroutine[Any, Any, _R]]:
    """Return a coroutine function for a method that makes several calls, each with its own time: see `Threads.run`."""
    return _derived(method, lambda threads, call, _: threads.run(call))


def off_loop_to_the_end(
    method: Callable[Concatenate[_S, _P], _R],
) -> Callable[Concatenate[_S, _P], Coroutine[Any, Any, _R]]:
    """Return a coroutine function for a method of several calls that must not be cut off: see `Threads.write`."""
    return _derived(method, lambda threads, call, _: threads.write(call))


def in_loop(
    method: Callable[..., Any],
) -> Callable[[Callable[_P, Coroutine[Any, Any, _R]]], Callable[_P, Coroutine[Any, Any, _R]]]:
    """Let a coroutine function do the work of the one that was derived from `method`, since it may need no thread."""

    def register(function: Callable[_P, Coroutine[Any, Any, _R]]) -> Callable[_P, Coroutine[Any, Any, _R]]:
        _in_loop[method] = function
        return function

    return register


def _derived(
    method: Callable[Concatenate[_S, _P], _R], start: Callable[[Threads, _Held[_R], Any], Coroutine[Any, Any, _R]]
) -> Callable[Concatenate[_S, _P], Coroutine[Any, Any, _R]]:
    @wraps(method)
    async def call(owner: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        begun: Coroutine[Any, Any, _R]
        try:
            if (function := _in_loop.get(method)) is not None:
                begun = function(owner, *args, **kwargs)
            else:
                path = args[0] if args else kwargs.get("path", "")
                begun = start(owner._threads, _Held(method, (owner, *args), kwargs), path)  # noqa: SLF001  # its part
        finally:
            del args, kwargs  # a traceback that prints local variables would show them
        return await begun

    call.__name__ = f"a{method.__name__}"
    call.__qualname__ = method.__qualname__.removesuffix(method.__name__) + call.__name__
    return call
