"""Exceptions that Python drops: Ctrl-C in a callback, and those of threads and destructors, which may hold a value.

A separate file so that it is in force before the commands are imported.
"""

from __future__ import annotations

import signal
import sys
import threading

_PAUSE = 0.05
"""Seconds until a dropped Ctrl-C is raised again. Most callbacks have ended by then; in another one it is repeated."""


def install() -> None:
    """Replace Python's hooks for dropped exceptions in this process, and its handler of SIGALRM."""
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    sys.unraisablehook = _drop
    threading.excepthook = _end_thread


def _drop(dropped: sys.UnraisableHookArgs) -> None:
    """Raise a KeyboardInterrupt again soon, and name the class of any other exception.

    A signal handler also runs inside destructors and callbacks of weak references, which cannot raise. The import
    system has one, so that one Ctrl-C in some hundreds was lost and a migration went on.
    """
    if issubclass(dropped.exc_type, KeyboardInterrupt):
        signal.setitimer(signal.ITIMER_REAL, _PAUSE)
    else:
        _name(dropped.exc_type)


def _end_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_type is not SystemExit:
        _name(ended.exc_type)


def _name(kind: type[BaseException]) -> None:
    from strongroom.cli.terminal import output

    output.say(f"Unexpected failure in the background: {kind.__name__}")
