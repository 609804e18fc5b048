"""Calls at the end of this process, in one hook and with one time limit. The core and every backend use it.

A child of `multiprocessing` runs no hooks of `atexit`, and calls them too.
"""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from strongroom.store.deadline import time_limit

_LIMIT = 10.0
"""For how many seconds all calls together may delay the end of a process: on an overloaded machine, or if a server
hangs."""

_calls: dict[Callable[[], object], None] = {}
_process = os.getpid()
_finalizer: Any = None


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
    os.register_at_fork(after_in_child=_keep_in_child)

# Hooks run in reverse order. Ours, of an early import, runs after those of the application, which may read secrets. The
# hook of `weakref`, by which urllib3 drops its connections, is registered before ours, which still needs one.
weakref.finalize(call_at_exit, bool)
atexit.register(run_calls)
