"""Blocking calls in daemon threads, and the limits and the error of a call that overruns.

A separate module, since stores and the chain both use it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from strongroom.errors import StoreUnavailableError, WriteOutcomeUnknownError
from strongroom.store.deadline import remaining

_R = TypeVar("_R")

GRACE = 0.25
"""For how many seconds past the deadline an answer is still taken: a store that keeps to it answers at its very end."""
CLOSE_LIMIT = 0.3
"""For how many seconds a `close` is waited for. It continues in the background: a process that ends does not wait."""


def overrun(*, changes: bool = False) -> StoreUnavailableError:
    """Return the error of a call that was given up. The outcome is unknown if it `changes` something."""
    return (WriteOutcomeUnknownError if changes else StoreUnavailableError)(reason="it did not answer in time")


def in_daemon(call: Callable[[], _R], name: str) -> Future[_R]:
    """Start `call` in a daemon thread and return its future, for a call that has no deadline of its own.

    The thread has a copy of the caller's context, with its deadline. A thread that hangs does not delay the exit of the
    process, as the threads of an executor do. The future cannot be cancelled.

    Args:
        call: what it returns or raises is the future's result.
        name: the thread's name.
    """
    future: Future[_R] = Future()
    future.set_running_or_notify_cancel()
    context = copy_context()

    def run() -> None:
        try:
            future.set_result(context.run(call))
        except BaseException as error:  # noqa: BLE001  # it is raised where the result is awaited
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


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
