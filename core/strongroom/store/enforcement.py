"""Deadlines that hold whatever a store does: its calls run in daemon threads, and one that overruns is given up.

Separate from the guard, which decides whose calls are enforced: `Traits.honors_deadline`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import Final, TypeVar, cast

from strongroom.errors import StoreUnavailableError, WriteOutcomeUnknownError
from strongroom.store.containment import plugin_code
from strongroom.store.daemon import in_daemon
from strongroom.store.deadline import current_deadline, remaining, set_deadline, time_limit

_R = TypeVar("_R")
GRACE = 0.25
"""For how many seconds past the deadline an answer is still taken: a store that keeps to it answers at its very end."""
CLOSE_LIMIT = 0.3
"""For how many seconds a `close` is waited for. It goes on in the background: a process that ends does not wait."""
MOST_OVERDUE = 32
"""With this many calls of one store that are still running past their deadlines, no further one is begun."""

_LATE = "it did not answer in time"
_END: Final = object()


class Enforcer:
    """Runs the calls of one store, and waits for none longer than its caller has time.

    A thread that hangs cannot be ended, and the store's connection is lost with it. It delays nobody: neither the
    caller nor the end of the process.
    """

    def __init__(self, store: str) -> None:
        self._name = f"store {store}"
        self._overdue: list[Future[None]] = []

    def call(self, operation: Callable[[], _R], *, changes: bool = False) -> _R:
        """Return the operation's result, or raise its error, within `remaining()`.

        Args:
            operation: calls the store.
            changes: True for a write, whose outcome is unknown if it overruns.

        Raises:
            StoreUnavailableError: it overran, or too many earlier calls still run.
            WriteOutcomeUnknownError: a write overran.
        """
        return self._call(operation, remaining(), changes=changes)

    def close(self, close: Callable[[], object]) -> object:
        """Return the result of `close`, which goes on in the background if it takes longer than `CLOSE_LIMIT`."""
        self._overdue.clear()  # a close may free the threads that hang
        return self._call(close, min(CLOSE_LIMIT, remaining()), changes=False)

    def stream(self) -> Stream:
        """Return a thread for the calls of one iterator. The caller ends it.

        Raises:
            StoreUnavailableError: too many earlier calls still run.
        """
        self._admit()
        return Stream(self._name, self._overdue)

    def _call(self, operation: Callable[[], _R], limit: float, *, changes: bool) -> _R:
        self._admit()
        answers: list[_R] = []

        def run() -> None:  # the future of a call that was given up holds no value
            with plugin_code():
                answer = operation()
            if not given_up:
                answers.append(answer)

        given_up = False
        try:
            with time_limit(limit):
                future = in_daemon(run, self._name)
        except RuntimeError:  # no thread can be started: the process is ending, or has too many
            return operation()
        try:
            future.result(limit + GRACE)
        except TimeoutError:
            if future.done():  # the store itself raised it
                raise
            given_up = True
            self._overdue.append(future)
            raise _overrun(changes=changes) from None
        return answers.pop()

    def _admit(self) -> None:
        if self._overdue:
            self._overdue[:] = [future for future in self._overdue if not future.done()]
            if len(self._overdue) >= MOST_OVERDUE:
                raise StoreUnavailableError(reason=f"{len(self._overdue)} of its calls hang")


class Stream:
    """One daemon thread for all calls of an iterator: a plugin's connection may belong to the thread that opened it.

    What the plugin itself iterates over, such as the items of a bulk write, comes from the thread of its caller: it may
    hold locks, and its time does not count as the store's.

    Args:
        name: the thread's name.
        overdue: gets the future of the thread if a call overruns.
    """

    def __init__(self, name: str, overdue: list[Future[None]]) -> None:
        self._context = copy_context()
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._replies: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._items: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._pulling = threading.RLock()
        self._pull: Callable[[], object] = _ended
        self._overdue = overdue
        self._hangs = False
        self._future = in_daemon(self._work, name)

    def call(self, operation: Callable[[], _R], *, changes: bool = False) -> _R:
        """Return the operation's result, or raise its error: see `Enforcer.call`."""
        if self._hangs:
            raise _overrun(changes=changes)
        ends = time.monotonic() + remaining() + GRACE
        self._context.run(set_deadline, current_deadline())
        self._calls.put(operation)
        while True:
            try:
                reply = self._replies.get(timeout=max(0.0, ends - time.monotonic()))
            except Empty:
                self._hangs = True
                self._overdue.append(self._future)
                raise _overrun(changes=changes) from None
            if reply is not None:
                return cast("_R", reply())
            began = time.monotonic()
            self._items.put(_outcome(self._pull))
            ends += time.monotonic() - began

    def pulled(self, items: Iterator[_R]) -> Iterator[_R]:
        """Yield the items to the plugin. Each is taken by the thread that is in `call`."""
        self._pull = lambda: next(items, _END)
        while True:
            with self._pulling:  # a plugin may have threads of its own
                self._replies.put(None)
                item = self._items.get()()
            if item is _END:
                return
            yield cast("_R", item)

    def end(self, close: Callable[[], object] | None) -> None:
        """End the thread, after `close`, if no call of it hangs."""
        try:
            if close is not None and not self._hangs:
                with suppress(StoreUnavailableError):
                    self.call(close)
        finally:
            self._items.put(_ended)
            self._calls.put(None)

    def _work(self) -> None:
        while (operation := self._calls.get()) is not None:
            self._replies.put(self._context.run(_marked, operation))
            del operation  # while it waits, the thread holds no value


def _marked(operation: Callable[[], object]) -> Callable[[], object]:
    with plugin_code():
        return _outcome(operation)


def _outcome(operation: Callable[[], object]) -> Callable[[], object]:
    """Return a function that returns what the operation returned, or raises what it raised."""
    try:
        answer = operation()
    except BaseException as error:  # noqa: BLE001  # it is raised in the other thread
        failure = error

        def fail() -> object:
            raise failure

        return fail
    return lambda: answer


def _ended() -> object:
    return _END


def _overrun(*, changes: bool) -> StoreUnavailableError:
    if changes:
        return WriteOutcomeUnknownError(reason=_LATE)
    return StoreUnavailableError(reason=_LATE)
