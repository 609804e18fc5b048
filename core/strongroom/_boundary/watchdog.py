"""Watchdog of a plugin: it translates the plugin's failures, and enforces deadlines for any plugin.

Its calls run in daemon threads, and one that overruns is given up, unless `Traits` says that it honors its deadline.
Separate from the guard of stores, since importers, exporters and rotators are plugins too.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from inspect import iscoroutinefunction
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, Protocol, TypeVar, cast

from strongroom._boundary import answers
from strongroom._boundary.plugin_calls import plugin_code
from strongroom._boundary.plugin_errors import Known, is_own
from strongroom._boundary.translation import close_quietly, guarded, translated
from strongroom.errors import PluginError, StoreError, StoreUnavailableError
from strongroom.store.concurrency import CLOSE_LIMIT, GRACE, in_daemon, outcome_of, overrun, result_or_error
from strongroom.store.deadline import (
    current_deadline,
    default_limit,
    remaining,
    set_deadline,
    time_limit,
)
from strongroom.store.process import fork_safe_lock
from strongroom.store.protocols import OPERATIONS, traits_of

_R = TypeVar("_R")
MOST_OVERDUE = 32
"""With this many calls of one store that are still running past their deadlines, no further one is begun."""

_STEP_SHARE = 16
"""A step of a long listing takes a sixteenth of the items so far: a change of threads takes longer than an item."""
_LONGEST_STEP = 0.01
"""Seconds after which a step takes no further item."""

_METHODS = (*OPERATIONS, "items", "create", "apply", "prove", "revoke", "close")
"""Methods of plugins that must be blocking."""

_END: Final = object()


class _Closable(Protocol):
    def close(self) -> object: ...


def open_plugin(opener: Callable[[], _R], name: str, kind: str = "store") -> _R:
    """Return the result of a plugin's opener, within `remaining()`.

    Raises:
        StrongroomError: see `guarded`.
        StoreUnavailableError: it overran.
    """
    return guarded(partial(CallThreads(name, kind).call, opener), name, hint=bug_of(kind))


def bug_of(kind: str, plugin: type | None = None) -> str:
    """Return the hint of an error that only a bug in a plugin can cause, with the plugin's class if it is known."""
    known = "" if plugin is None else f", {plugin.__module__}.{plugin.__qualname__}"
    return f"This is a bug in the {kind}'s plugin{known}"


class Watchdog:
    """Makes the calls of one plugin's object, translates its failures, and enforces its deadlines.

    Args:
        plugin: a store, an importer, an exporter or a rotator. Its `traits` count if it has any.
        name: its name, for errors.
        kind: which of these it is, in words.
        limit: seconds for a call that has no deadline yet, as those of a migration; None for the default.

    Attributes:
        traits: static facts about it.
        direct: whether a call needs neither a thread nor a default deadline.
        limit: as given.
        bug: the hint of an error that only a bug can cause.
        closed: whether it is closed. Every later call is refused.

    Raises:
        PluginError: its traits are malformed, it needs a newer protocol, or it has asynchronous methods.
    """

    def __init__(self, plugin: _Closable, name: str, kind: str = "store", limit: float | None = None) -> None:
        self.name = name
        self._kind = kind
        self.limit = limit
        self.traits = traits_of(plugin, f"{kind.capitalize()} {name}")
        self.bug = bug_of(kind, type(plugin))
        # Our own plugins show no value, and may name a host that a rotation knows as one.
        self._hides_known = not is_own(type(plugin))
        _check_is_synchronous(plugin, name, kind)
        punctual = self.traits.local is True or self.traits.honors_deadline is True
        self.direct = punctual and limit is None
        self.closed = False
        self._threads = None if punctual else CallThreads(name, kind)
        self._plugin = plugin
        self._closing = fork_safe_lock(self, "_closing")

    @property
    def is_overdue(self) -> bool:
        """A call that was given up still runs."""
        return self._threads is not None and self._threads.is_overdue

    def check_open(self, path: str | None) -> None:
        """Raise a StoreError if the plugin is closed."""
        if self.closed:
            raise StoreError(path, "it is closed", store=self.name, hint="Open a new one")

    def call(self, path: str | None, operation: Callable[[], _R], *, changes: bool = False, known: Known = ()) -> _R:
        """Return the operation's result, within the deadline: see `guarded`.

        Args:
            path: the path that errors name.
            operation: calls the plugin.
            changes: True for a write: if it overruns or loses its connection, its outcome is unknown.
            known: the values that the operation is given, which no error shows.
        """
        self.check_open(path)
        if self._threads is not None:
            operation = partial(self._threads.call, operation, changes=changes)
        with default_limit(self.limit):
            known = known if self._hides_known else None
            return guarded(operation, self.name, path, hint=self.bug, changes=changes, known=known)

    def translated(self, error: BaseException, path: str | None, known: Known = ()) -> BaseException:
        """Return the error for one that the plugin returned instead of raising it."""
        return translated(error, path, self.name, self.bug, known=known if self._hides_known else None)

    def stream(
        self,
        path: str | None,
        method: str,
        operation: Callable[..., Iterator[Any]],
        check: Callable[[Any], _R],
        *given: Iterator[object],
        changes: bool = False,
        known: Known = (),
    ) -> Iterator[_R]:
        """Yield the checked items of an operation. Each step is guarded like a `call`.

        A deadline of the caller is that of all steps together. Without one, each step has `limit` seconds.

        Args:
            path: the path that errors name.
            method: name of the plugin's method, for messages.
            operation: takes `given`, and returns an iterator.
            check: returns an item, checked.
            given: the items that the plugin iterates over.
            changes: see `call`.
            known: see `call`. It may grow while items are given and taken.
        """
        self.check_open(path)
        known = known if self._hides_known else None
        stream: Stream | None = None

        def step(call: Callable[[], object]) -> None:
            self.check_open(path)
            if stream is not None:
                call = partial(stream.call, call, changes=changes)
            with default_limit(self.limit):
                guarded(call, self.name, path, hint=self.bug, changes=changes, known=known)

        steps = _Steps(check, single=bool(given), timed=self._threads is None and not given)
        try:
            if self._threads is not None:
                with default_limit(self.limit):
                    stream = guarded(self._threads.stream, self.name, path)
                given = tuple(map(stream.pulled, given))
            step(lambda: steps.begin(answers.as_iterator(operation(*given), method)))
            while not steps.ended:
                failure = result_or_error(step, steps.take)
                while steps.taken:
                    yield steps.taken.popleft()
                if failure is not None:  # it follows the items that the step had taken before
                    raise failure
        finally:
            items = steps.items
            close = items.close if isinstance(items, Generator) else None  # others are closed when they are collected
            with suppress(StoreError):
                if stream is not None:
                    guarded(partial(stream.end, close), self.name, path)
                elif close is not None:
                    guarded(close, self.name, path)

    def close(self) -> None:
        """Close the plugin once. A failure is logged. Every later call is refused."""
        with self._closing:
            was_closed, self.closed = self.closed, True
        if not was_closed:
            close = self._plugin.close
            in_time = close if self._threads is None else partial(self._threads.close, close)
            close_quietly(in_time, self.name, self._kind)


class _Steps(Generic[_R]):
    """The steps of an iterator of a plugin. Each takes one item; of a long listing several, without a change of thread.

    Args:
        check: returns an item, checked.
        single: each step takes one item.
        timed: a step that begins past the deadline is refused, since no thread is given up.
    """

    def __init__(self, check: Callable[[Any], _R], *, single: bool, timed: bool) -> None:
        self.items: Iterator[Any] = iter(())
        self.taken: deque[_R] = deque()
        self.ended = False
        self._check = check
        self._single = single
        self._timed = timed
        self._count = 0

    def begin(self, items: Iterator[Any]) -> None:
        self.items = items

    def take(self) -> None:
        """Take at least one item, or note the end."""
        if self._timed and _is_over():
            raise overrun()
        until = time.monotonic() + _LONGEST_STEP
        most = 1 if self._single else 1 + self._count // _STEP_SHARE
        for number, item in enumerate(islice(self.items, most), 1):
            self.taken.append(self._check(item))
            self._count += 1
            if number == most or time.monotonic() >= until:
                return
        self.ended = True


def _check_is_synchronous(plugin: object, name: str, kind: str) -> None:
    """Refuse an asynchronous method in place of a blocking one: its coroutine would never be awaited."""
    wrong = [method for method in _METHODS if iscoroutinefunction(getattr(plugin, method, None))]
    if wrong:
        found = type(plugin)
        method = f"{wrong[0]}() of {found.__module__}.{found.__qualname__}"
        raise PluginError(f"{kind.capitalize()} {name}: {method} is asynchronous. Make it a blocking method")


class CallThreads:
    """Runs the calls of one plugin's object, and waits for none longer than its caller has time.

    A thread that hangs cannot be ended, and the plugin's connection is lost with it. It delays nobody: neither the
    caller nor the end of the process.

    Args:
        name: the plugin's name, for the names of the threads.
        kind: see `Watchdog`.
    """

    def __init__(self, name: str, kind: str) -> None:
        self._name = f"{kind} {name}"
        self._overdue: list[Future[None]] = []

    @property
    def is_overdue(self) -> bool:
        """A call that was given up still runs."""
        return any(not future.done() for future in self._overdue)

    def call(self, operation: Callable[[], _R], *, changes: bool = False) -> _R:
        """Return the operation's result, or raise its error, within `remaining()`.

        Args:
            operation: calls the plugin.
            changes: True for a write, whose outcome is unknown if it overruns.

        Raises:
            StoreUnavailableError: it overran, or too many earlier calls still run.
            WriteOutcomeUnknownError: a write overran.
        """
        return self._call(operation, remaining(), changes=changes)

    def close(self, close: Callable[[], object]) -> object:
        """Return the result of `close`, which continues in the background if it takes longer than `CLOSE_LIMIT`."""
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
        found: list[_R] = []

        def run() -> None:  # the future of a call that was given up holds no value
            with plugin_code():
                answer = operation()
            if not given_up:
                found.append(answer)

        given_up = False
        try:
            with time_limit(limit):
                future = in_daemon(run, self._name)
        except RuntimeError:  # no thread can be started: the process is ending, or has too many
            return operation()
        try:
            future.result(limit + GRACE)
        except BaseException as error:
            if not future.done():
                given_up = True
                self._overdue.append(future)
            if not isinstance(error, TimeoutError):  # the plugin's, or an interrupt of the thread that waits
                raise
            if given_up:
                raise overrun(changes=changes) from None
            future.result()  # it ended at the last moment, or raised a TimeoutError itself
        return found.pop()

    def _admit(self) -> None:
        if self._overdue:
            self._overdue[:] = [future for future in self._overdue if not future.done()]
            if len(self._overdue) >= MOST_OVERDUE:
                raise StoreUnavailableError(reason=f"{len(self._overdue)} of its calls hang")


class Stream:
    """One daemon thread for all calls of an iterator: a plugin's connection may belong to the thread that opened it.

    The items that the plugin itself iterates over, such as those of a bulk write, come from the thread of its caller:
    it may hold locks, and its time does not count as the store's.

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
        try:
            self._future = in_daemon(self._work, name)
        except BaseException:
            self._calls.put(None)  # after an interrupt, the thread may have started
            raise

    def call(self, operation: Callable[[], _R], *, changes: bool = False) -> _R:
        """Return the operation's result, or raise its error: see `CallThreads.call`."""
        deadline = current_deadline()
        if self._hangs or _is_over():
            raise overrun(changes=changes)
        return self._call(operation, time.monotonic() + remaining() if deadline is None else deadline, changes=changes)

    def _call(self, operation: Callable[[], _R], deadline: float, *, changes: bool = False) -> _R:
        ends = deadline + GRACE
        self._context.run(set_deadline, current_deadline())
        self._calls.put(operation)
        while True:
            try:
                reply = self._replies.get(timeout=max(0.0, ends - time.monotonic()))
            except Empty:
                self._hangs = True
                self._overdue.append(self._future)
                raise overrun(changes=changes) from None
            if reply is not None:
                return cast("_R", reply())
            began = time.monotonic()
            self._items.put(outcome_of(self._pull))
            ends += time.monotonic() - began

    def pulled(self, items: Iterator[_R]) -> Iterator[_R]:
        """Yield the items to the plugin. Each is taken by the thread that is in `call`."""
        self._pull = lambda: next(items, _END)
        while True:
            with self._pulling:  # a plugin may start threads
                self._replies.put(None)
                item = self._items.get()()
            if item is _END:
                return
            yield cast("_R", item)

    def end(self, close: Callable[[], object] | None) -> None:
        """End the thread, after `close`, if no call of it hangs. Past the deadline, `close` has `GRACE` alone."""
        try:
            if close is not None and not self._hangs:
                with suppress(StoreUnavailableError):
                    self._call(close, time.monotonic() + remaining())
        finally:
            self._items.put(_ended)
            self._calls.put(None)

    def _work(self) -> None:
        while (operation := self._calls.get()) is not None:
            self._replies.put(self._context.run(_marked, operation))
            del operation  # while it waits, the thread holds no value


def _is_over() -> bool:
    """Return True if the running call has a deadline, and nothing is taken any more: see `GRACE`."""
    deadline = current_deadline()
    return deadline is not None and time.monotonic() >= deadline + GRACE


def _marked(operation: Callable[[], object]) -> Callable[[], object]:
    with plugin_code():
        return outcome_of(operation)


def _ended() -> object:
    return _END
