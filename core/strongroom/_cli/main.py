"""Entry point of the process. It prepares the standard streams before it imports anything that may write to them."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

from strongroom import __version__
from strongroom._cli.terminal import streams

_PAUSE = 0.05
"""Seconds until a dropped Ctrl-C is raised again. Most callbacks have ended by then; in another one it is repeated."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its exit code.

    Args:
        arguments: the command line without the program name; defaults to `sys.argv`.
    """
    streams.prepare()
    gc.set_threshold(100_000)  # imports make no garbage, and the usual searches for it take a tenth of a short command
    _disable_core_dumps()
    _install_hooks()
    try:
        code = _run(sys.argv[1:] if arguments is None else list(arguments))
        streams.finish()
    except KeyboardInterrupt:  # Ctrl-C during an import
        code = 130
    gc.freeze()  # the process ends: to look through its modules for garbage takes an eighth of a short command's time
    sys.exit(code)


def _run(arguments: Sequence[str]) -> int:
    """Run one command, or answer the shell's question for completions; return the exit code."""
    if arguments == ["--version"]:  # without click, which takes three times as long as all the rest
        with contextlib.suppress(OSError):  # the command below reports it
            sys.stdout.write(f"{__version__}\n")
            sys.stdout.flush()
            return 0
    if arguments == ["helper", "git", "store"]:  # nothing is stored, and git runs it after each success
        return 0
    if (code := _run_helper(arguments)) is not None:
        return code
    from strongroom._cli import app

    if "_STRONGROOM_COMPLETE" in os.environ:  # `completion.VARIABLE`, set by the shell on Tab
        from strongroom._cli.configure import completion

        with streams.results_only():
            completion.answer(app.strongroom)
    return app.run(arguments)


def _run_helper(arguments: Sequence[str]) -> int | None:
    """Answer a call of `strongroom helper` without click, and return its exit code; None for every other command."""
    if "helper" not in arguments:
        return None
    from strongroom._cli.helper import program

    call = program.read_call(arguments)
    return None if call is None else program.run(call)


def _disable_core_dumps() -> None:
    """Set the soft limit of core dumps to zero: a core dump would hold secrets. A child process may raise it again."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # Windows has no such limit
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _install_hooks() -> None:
    """Replace Python's hooks for exceptions that it drops, and its handler of SIGALRM.

    These are Ctrl-C in a callback, and exceptions of threads and destructors, whose messages may hold a value.
    """
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, signal.default_int_handler)
    sys.unraisablehook = _drop
    threading.excepthook = _end_thread


def _drop(dropped: sys.UnraisableHookArgs) -> None:
    """Raise a KeyboardInterrupt again soon, and name the class of any other exception.

    A signal handler also runs inside destructors and callbacks of weak references, which cannot raise. The import
    system has one, so that one Ctrl-C in some hundreds was lost and a migration went on. Windows has no such timer.
    """
    if issubclass(dropped.exc_type, KeyboardInterrupt):
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, _PAUSE)
    else:
        _name(dropped.exc_type)


def _end_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_type is not SystemExit:
        _name(ended.exc_type)


def _name(kind: type[BaseException]) -> None:
    from strongroom._cli.terminal import output

    output.say(f"Unexpected failure in the background: {kind.__name__}")
