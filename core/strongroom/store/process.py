"""State of one process, also after a fork: locks that are free in the child, random numbers, and calls at the end."""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from random import SystemRandom
from threading import RLock
from typing import Any
from weakref import ReferenceType, WeakKeyDictionary, ref

from strongroom.store.deadline import time_limit

ACTIVE_HELPERS = "_STRONGROOM_HELPERS"
"""Variable with the reads of helpers that are in progress, one a line: see `strongroom._cli.helper.chain`.

Not `STRONGROOM_…`: those are settings, and unknown ones are refused.
"""

_owners: WeakKeyDictionary[RLock, tuple[ReferenceType[object], str]] = WeakKeyDictionary()

_LIMIT = 10.0
"""For how many seconds all calls together may delay the end of a process: on an overloaded machine, or if a server
hangs."""

_calls: dict[Callable[[], object], None] = {}
_process = os.getpid()
_finalizer: Any = None

_generator = SystemRandom()  # it has no state, which the child of a fork would share


# --- locks ------------------------------------------------------------------------------------------------------------


def fork_safe_lock(owner: object, attribute: str) -> RLock:
    """Return an RLock for this attribute of an object or a module, which has another one in a fork's child.

    For a lock of data that the child continues to use. A thread of the parent may hold the old lock, and is not there
    to release it. A lock that the forking thread holds stays, and so does one that is free.

    Args:
        owner: the object that has the lock, such as `self`.
        attribute: the name under which it has it.
    """
    lock = RLock()
    _owners[lock] = ref(owner), attribute
    return lock


def _renew_in_child() -> None:
    for lock, (owner, attribute) in list(_owners.items()):
        if lock.acquire(blocking=False):  # it was free, or this thread will release it
            lock.release()
        elif (living := owner()) is not None:
            setattr(living, attribute, fork_safe_lock(living, attribute))


# --- random numbers ---------------------------------------------------------------------------------------------------


def random_factor(low: float = 0.0, high: float = 1.0) -> float:
    """Return a random number between the bounds, to spread load over time. It hides nothing.

    It does not come from the generator of `random`, which an application may seed: processes with one seed would draw
    the same factors, and an application that needs reproducible numbers would get others.
    """
    return _generator.uniform(low, high)


# --- calls at the end -------------------------------------------------------------------------------------------------


def call_at_exit(call: Callable[[], object]) -> None:
    """Call this function once when the process ends by itself, before those that were passed earlier.

    All functions have ten seconds together, which `remaining()` counts. Their errors are ignored. A child of a fork
    calls those of its parent too, unless the fork ran no hooks: a function *must not* end sessions of the parent.
    """
    global _process, _finalizer  # noqa: PLW0603  # of this process
    if _process != os.getpid():
        _calls.clear()
        _process = os.getpid()
    _calls.pop(call, None)
    _calls[call] = None
    process = sys.modules.get("multiprocessing.process")
    is_child = process is not None and process.parent_process() is not None
    # `multiprocessing` drops the finalizers of the parent when a child starts.
    if is_child and (_finalizer is None or not _finalizer.still_active()):
        _finalizer = sys.modules["multiprocessing.util"].Finalize(None, run_calls, exitpriority=0)


def run_calls() -> None:
    """Call the functions, the last registered one first."""
    with time_limit(_LIMIT):
        while _calls and _process == os.getpid():
            call, _ = _calls.popitem()
            with suppress(Exception):  # nobody is left to handle it
                call()


def _keep_in_child() -> None:
    global _process  # noqa: PLW0603  # of this process
    _process = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_in_child)
    os.register_at_fork(after_in_child=_keep_in_child)

# Hooks run in reverse order. Ours, of an early import, runs after those of the application, which may read secrets. The
# hook of `weakref`, by which urllib3 drops its connections, is registered before ours, which still needs one.
weakref.finalize(call_at_exit, bool)
atexit.register(run_calls)
