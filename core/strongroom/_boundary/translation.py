"""Translation of failures: the exceptions of plugin code become errors of the tree, without frames that hold values.

Separate from the guard, since the loading of plugins and migrations run plugin code too.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable
from functools import partial
from types import CodeType, CoroutineType, FrameType
from typing import TypeVar

from strongroom._boundary.plugin_calls import depth, plugin_code
from strongroom._boundary.plugin_errors import Known, rebuild
from strongroom.errors import StoreError, StoreUnavailableError, StrongroomError, WriteOutcomeUnknownError

logger = logging.getLogger("strongroom.secrets_manager")

PLUGIN_BUG = "This is a bug in the store's plugin"

_R = TypeVar("_R")


class AnswerError(Exception):
    """A store returned something that the protocol does not allow. The message has types and no values."""


_HOST = frozenset({"strongroom", "concurrent", "threading", "contextlib"})
"""Top-level packages whose frames stand between a caller and its plugin."""


def guarded(
    operation: Callable[[], _R],
    store: str,
    path: str | None = None,
    *,
    hint: str = PLUGIN_BUG,
    changes: bool = False,
    known: Known = (),
) -> _R:
    """Return the result of plugin code. Its failure is raised outside the `except`, so that no context holds a value.

    Args:
        operation: calls the plugin.
        store: the name for errors that have none.
        path: the secret's path for errors that have none.
        hint: of an error that only a bug can cause.
        changes: True for a write: the outcome of one that loses its connection is unknown.
        known: the values that the call was given or has returned: see `translated`.

    Raises:
        StrongroomError: the plugin's own error, built anew, or a StoreError for any other exception.
        BaseException: an exception that a signal handler raised, without frames: see `is_interrupt`.
    """
    depth.calls += 1
    try:
        return operation()
    except BaseException as error:  # noqa: BLE001  # stray exceptions become errors of the tree here
        failure = translated(error, path, store, hint, changes=changes, known=known)
    finally:
        depth.calls -= 1
    del operation, known
    raise failure


def close_quietly(close: Callable[[], object], name: str, kind: str = "store") -> None:
    """Call a plugin's `close`. A plugin that fails to close has nothing left to lose, so the failure is only logged.

    Args:
        close: calls the plugin.
        name: its name, for the log.
        kind: "store", "importer", "exporter" or "rotator", for the log.

    Raises:
        BaseException: an exception that a signal handler raised, without frames.
    """
    try:
        with plugin_code():
            answer = close()
        if isinstance(answer, CoroutineType):
            answer.close()  # otherwise Python warns that it was never awaited
            logger.warning("Closing %s %s failed: close() returned a coroutine", kind, name)
    except BaseException as error:  # noqa: BLE001  # as in `guarded`
        if not is_interrupt(error):
            logger.warning("Closing %s %s failed: %s", kind, name, type(error).__name__)
            return
        interrupt = bare(error)
    else:
        return
    raise interrupt


def translated(
    error: BaseException,
    path: str | None,
    store: str,
    hint: str = PLUGIN_BUG,
    *,
    changes: bool = False,
    known: Known = (),
) -> BaseException:
    """Return the error of the tree for a plugin's exception, or the interrupt itself, without frames.

    An error of the tree keeps its reason and its hint, in which each known value is replaced.
    """
    kind = type(error).__name__
    if logger.isEnabledFor(logging.DEBUG):
        logger.debug("Store %s raised %s%s", store, kind, _location(error))
    if isinstance(error, StrongroomError):
        return _of_tree(error, path, store, known) or StoreError(
            path, f"it raised a malformed {kind}", store=store, hint=hint
        )
    if isinstance(error, AnswerError):
        return StoreError(path, str(error), store=store, hint=hint)
    if (interrupt := _interrupt_of(error)) is not None:
        return bare(interrupt)
    if isinstance(error, ConnectionError | TimeoutError):
        lost = changes and not isinstance(error, ConnectionRefusedError)
        return (WriteOutcomeUnknownError if lost else StoreUnavailableError)(path, kind, store=store)
    return StoreError(path, f"it raised {kind}", store=store, hint=hint)


def _of_tree(error: StrongroomError, path: str | None, store: str, known: Known) -> BaseException | None:
    """Return a plugin's error of the tree, built anew; None if it is malformed.

    An error of Strongroom's own class and plugin is copied: it has no field of another type, and shows no value.
    """
    if known is None and type(error).__module__ == StrongroomError.__module__:
        if not isinstance(error, StoreError):
            return error.copy()
        return error.copy(path=path if error.path is None else error.path, store=error.store or store)
    try:
        return rebuild(error, path, store, known)
    except BaseException as fault:  # noqa: BLE001  # the class is the plugin's
        return bare(fault) if is_interrupt(fault) else None


def _location(error: BaseException) -> str:
    """Return the plugin's innermost line, as ` at FILE:LINE in METHOD`, or the empty string.

    The innermost frame of all is usually one of a library that the plugin called.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    packages = [str(frame.f_globals.get("__name__")).partition(".")[0] for frame, _ in frames]
    entered = next((package for package in packages if package not in _HOST), None)
    within = [place for place, package in zip(frames, packages, strict=True) if package == entered]
    if not within:
        return ""
    frame, line = within[-1]
    return f" at {frame.f_code.co_filename}:{line} in {frame.f_code.co_name}"


def line_in(error: BaseException, package: str) -> str:
    """Return the innermost line of a package in an error's traceback, as ` (FILE:LINE)`, or the empty string."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f" ({error.filename}:{error.lineno})"
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if package not in _HOST and str(frame.f_globals.get("__name__")).partition(".")[0] == package:
            return f" ({frame.f_code.co_filename}:{line})"
    return ""


def is_interrupt(error: BaseException) -> bool:
    """Return True for a KeyboardInterrupt, and for an exception that a Python signal handler raised.

    A signal handler runs between two instructions of the main thread, on top of the interrupted frame, so that its
    exception passes through the store. It is recognized by the code of a handler that is registered now. SystemExit
    and its like are also recognized by a handler's arguments, the signal and the interrupted frame: many handlers
    restore the default before they raise.
    """
    if isinstance(error, KeyboardInterrupt):
        return True
    if threading.current_thread() is not threading.main_thread():
        return False
    import signal  # a read that does not fail does not need it

    handlers = {code for number in signal.valid_signals() if (code := _code_of(signal.getsignal(number)))}
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code in handlers or (not isinstance(error, Exception) and _is_called_by_signal(frame)):
            return True
    return False


def _interrupt_of(error: BaseException) -> BaseException | None:
    """Return the interrupt that this error of a call is, or whose place it has taken, or None.

    An interrupt within CPython's wait for a lock is followed by a RuntimeError of the lock. One that the caller was
    handling before the call does not count: its frames begin outside of the call.
    """
    if is_interrupt(error):
        return error
    before = error.__context__
    if before is None or before.__traceback__ is None:
        return None
    is_within = any(frame is before.__traceback__.tb_frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return before if is_within and is_interrupt(before) else None


def bare(error: BaseException) -> BaseException:
    """Return the error without its frames and its cause: both may hold values."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _code_of(handler: object) -> CodeType | None:
    """Return the code of a signal handler: a function, a method, a partial or an object with `__call__`."""
    while isinstance(handler, partial):
        handler = handler.func
    for function in (handler, getattr(type(handler), "__call__", None)):  # noqa: B004  # its code is wanted
        code = getattr(getattr(function, "__func__", function), "__code__", None)
        if isinstance(code, CodeType):
            return code
    return None


def _is_called_by_signal(frame: FrameType) -> bool:
    """Return True if a frame's arguments end with a signal's number and the frame below it."""
    code = frame.f_code
    names = code.co_varnames[: code.co_argcount + bool(code.co_flags & 0x04)]  # 0x04: it has `*args`
    arguments: list[object] = []
    for name in names:
        value = frame.f_locals.get(name)
        arguments.extend(value if isinstance(value, tuple) else [value])
    return len(arguments) > 1 and arguments[-1] is frame.f_back is not None and isinstance(arguments[-2], int)
