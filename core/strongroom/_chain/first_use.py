"""First uses, which import modules: a fork waits for those of other threads. A module of its own for its fork hooks.

A thread that imports a module holds a lock of it. The child of a fork has the lock without the thread: its own import
of that module would wait for ever, past every deadline.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401  # see the end of this module
import logging  # noqa: F401
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LONGEST_WAIT = 5.0
"""Seconds that a fork may wait. A first use ends within its own deadline, which is usually shorter."""


class _FirstUses:
    """The threads that are in a first use."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._threads: dict[int, int] = {}

    def enter(self, thread: int) -> None:
        with self._changed:
            self._threads[thread] = self._threads.get(thread, 0) + 1

    def leave(self, thread: int) -> None:
        with self._changed:
            count = self._threads.pop(thread, 0) - 1
            if count > 0:
                self._threads[thread] = count
            self._changed.notify_all()

    def before_fork(self) -> None:
        """Wait until no other thread is in a first use, and let none begin before the fork."""
        self._changed.acquire()
        self._changed.wait_for(lambda: self._threads.keys() <= {threading.get_ident()}, _LONGEST_WAIT)

    def after_fork(self) -> None:
        self._changed.release()

    def after_fork_in_child(self) -> None:
        thread = threading.get_ident()
        self._changed = threading.Condition()
        self._threads = {thread: self._threads[thread]} if thread in self._threads else {}


_first_uses = _FirstUses()


@contextmanager
def first_use() -> Iterator[None]:
    """Mark a block that imports modules at its first run."""
    thread = threading.get_ident()
    try:
        _first_uses.enter(thread)
        yield
    finally:
        _first_uses.leave(thread)


# The last hook that is registered runs first. Those of logging and concurrent.futures take locks that a first use
# needs, so they must have been registered before ours, by their imports above.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_first_uses.before_fork,
        after_in_parent=_first_uses.after_fork,
        after_in_child=_first_uses.after_fork_in_child,
    )
