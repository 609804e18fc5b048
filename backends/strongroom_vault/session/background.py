"""Work that is done from time to time by a daemon thread, which keeps nothing alive and outlives nothing."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from weakref import WeakMethod

_LONGEST_WAIT = 60.0
"""A wait does not notice that the machine slept, so that none is longer than this, in seconds."""


class _Shared:
    """What the thread and its owner both hold."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.wake = threading.Event()
        self.running = False
        self.stopped = False


class Background:
    """Calls a method in a thread of its own, again after as many seconds as it returns, until it returns None.

    The thread is a daemon and holds the method's object weakly: it ends with the object, and delays no exit.

    Args:
        work: a bound method. It *must not* raise.
        name: the thread's name.
    """

    def __init__(self, work: Callable[[], float | None], name: str) -> None:
        self._name = name
        self._shared = shared = _Shared()
        self._work: WeakMethod[Callable[[], float | None]] = WeakMethod(work, lambda _: shared.wake.set())
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Has the work done soon, by a new thread where there is none. Does nothing once it is stopped."""
        shared = self._shared
        with shared.lock:
            shared.wake.set()
            if shared.running or shared.stopped:
                return
            thread = threading.Thread(target=_run, args=(self._work, shared), name=self._name, daemon=True)
            # The interpreter may be shutting down, and starts no more threads: there is nothing to look after then.
            with contextlib.suppress(RuntimeError):
                thread.start()
                self._thread, shared.running = thread, True

    def stop(self, timeout: float) -> None:
        """Ends the thread, and waits for it for at most so many seconds: its work may be under way."""
        with self._shared.lock:
            self._shared.stopped = True
            self._shared.wake.set()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def reset(self) -> None:
        """Forgets the thread, which a fork's child does not have."""
        shared = _Shared()
        shared.stopped = self._shared.stopped
        work = self._work()
        if work is not None:
            self._work = WeakMethod(work, lambda _: shared.wake.set())
        self._shared, self._thread = shared, None


def _run(reference: WeakMethod[Callable[[], float | None]], shared: _Shared) -> None:
    while True:
        shared.wake.clear()
        work = reference()
        pause = None if work is None or shared.stopped else work()
        del work
        if pause is not None:
            shared.wake.wait(min(pause, _LONGEST_WAIT))
            continue
        with shared.lock:
            # Whoever woke it meanwhile saw it running, and relies on it.
            if shared.stopped or not shared.wake.is_set() or reference() is None:
                shared.running = False
                return
