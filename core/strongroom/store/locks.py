"""Locks for signal handlers and forks. A separate module, since the core and every backend use it.

A signal handler runs in the main thread between any two of its instructions. It would wait for ever for a plain lock
that this thread holds, and so would a fork's child for one that another thread of its parent held.
"""

from __future__ import annotations

import os
from threading import RLock
from weakref import WeakSet

_locks: WeakSet[RLock] = WeakSet()


def reentrant_lock() -> RLock:
    """Return an RLock that is free in a fork's child, unless the thread that forks holds it.

    A signal handler may take it while its thread holds it. So each step of a block under this lock must leave the
    guarded data consistent, or the block must note that it is under way, and refuse to begin again.
    """
    lock = RLock()
    _locks.add(lock)
    return lock


def _free_in_child() -> None:
    for lock in list(_locks):
        if lock.acquire(blocking=False):  # it was free, or this thread will release it
            lock.release()
        else:
            lock._at_fork_reinit()  # type: ignore[attr-defined]  # noqa: SLF001  # `logging` calls it too


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_in_child)
