"""A blocking call in a daemon thread. A module of its own, since stores and the chain alike use it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import TypeVar

_R = TypeVar("_R")


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
