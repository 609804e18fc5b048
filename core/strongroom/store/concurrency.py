"""Threads of a store: blocking calls in daemon threads, calls that overrun, and the concurrent calls of a batch."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from strongroom.errors import StoreError, StoreUnavailableError, WriteOutcomeUnknownError
from strongroom.secret import Secret, Value, Version
from strongroom.store.deadline import remaining
from strongroom.store.protocols import Items

_R = TypeVar("_R")
_T = TypeVar("_T")

GRACE = 0.25
"""For how many seconds past the deadline an answer is still taken: a store that keeps to it answers at its very end."""
CLOSE_LIMIT = 0.3
"""For how many seconds a `close` is waited for. It continues in the background: a process that ends does not wait."""
MAX_CONCURRENT = 8
"""Calls of a batch in flight at a time."""


def overrun(*, changes: bool = False) -> StoreUnavailableError:
    """Return the error of a call that was given up. The outcome is unknown if it `changes` something."""
    return (WriteOutcomeUnknownError if changes else StoreUnavailableError)(reason="it did not answer in time")


def in_daemon(call: Callable[[], _R], name: str) -> Future[_R]:
    """Start `call` in a daemon thread and return its future, for a call without a deadline.

    The thread has a copy of the caller's context, with its deadline. A thread that hangs does not delay the exit of the
    process, as the threads of an executor do. The future cannot be cancelled.

    Args:
        call: what it returns or raises is the future's result.
        name: the thread's name.

    Raises:
        RuntimeError: no thread can be started.
    """
    future: Future[_R] = Future()
    future.set_running_or_notify_cancel()
    context = copy_context()

    def run() -> None:
        try:
            future.set_result(context.run(call))
        except BaseException as error:  # noqa: BLE001  # it is raised where the result is awaited
            future.set_exception(error)

    handled = sys.exception()
    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except (KeyError, RuntimeError) as error:
        interrupt = error.__context__
        if interrupt is None or interrupt is handled:
            raise
    else:
        return future
    raise interrupt  # the handler of a signal raised it within `start`, where CPython fails with another error


def outcome_of(call: Callable[[], _R]) -> Callable[[], _R]:
    """Call, and return a function that returns the result or raises the error, for use in another thread or loop."""
    try:
        answer = call()
    except BaseException as error:  # noqa: BLE001  # it is raised when the outcome is used
        return partial(throw, error)
    return lambda: answer


def throw(error: BaseException) -> Any:
    """Raise the error, as the outcome of a call that failed."""
    raise error


def within_deadline(call: Callable[[], _R], *, abort: Callable[[], object] | None = None) -> _R:
    """Return the result of `call` within `remaining()`, for a client that cannot be given a total time.

    Most clients have a timeout for each socket operation, which a server that sends single bytes never exceeds, or
    none at all. The call runs in a daemon thread. Strongroom does the same for the methods of a store without
    `Traits(honors_deadline=True)`; call this for one request of a store that has the trait, or to free a connection.

    Args:
        call: the client's call.
        abort: called if the time is over, to end the call: for example the `close` of its connection. Without it the
            thread runs until the client returns.

    Raises:
        StoreUnavailableError: the call is not over. A write may have been made: raise `WriteOutcomeUnknownError`
            instead.
        BaseException: what the call raised.
    """
    future = in_daemon(call, "strongroom call")
    try:
        return future.result(remaining())
    except TimeoutError:
        if future.done():  # it ended at the last moment, or raised a TimeoutError itself
            return future.result()
    if abort is not None:
        abort()
    raise overrun()


# --- batches ----------------------------------------------------------------------------------------------------------


def result_or_error(operation: Callable[..., _R], *arguments: object) -> _R | StoreError:
    """Return the result or the error of an operation."""
    try:
        return operation(*arguments)
    except StoreError as error:
        return error


def map_concurrently(operation: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[tuple[_T, _R]]:
    """Yield each item with the operation's result, in order, with `MAX_CONCURRENT` calls in flight.

    `2 * MAX_CONCURRENT` items are taken ahead. The operation must finish within the deadline of the caller.
    """
    from concurrent.futures import ThreadPoolExecutor  # few stores need it, and it loads the thread pool

    pool = ThreadPoolExecutor(MAX_CONCURRENT, thread_name_prefix="strongroom batch")
    in_flight: deque[tuple[_T, Future[_R]]] = deque()
    try:
        for item in items:
            in_flight.append((item, pool.submit(copy_context().run, operation, item)))
            if len(in_flight) >= 2 * MAX_CONCURRENT:
                first, future = in_flight.popleft()
                yield first, future.result()
        for first, future in in_flight:
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)  # a consumer that stops early needs no more results


def read_each(read: Callable[[str], Secret], paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
    """Read each path; yield it with its secret or its own error."""
    return map_concurrently(partial(result_or_error, read), paths)


def write_each(
    write: Callable[[str, Mapping[str, Value]], Version], items: Items
) -> Iterator[tuple[str, Version | StoreError | None]]:
    """Write each item; yield its path with its new version or its own error."""
    for (path, _), version in map_concurrently(lambda item: result_or_error(write, *item), items):
        yield path, version
