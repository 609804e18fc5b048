"""A daemon thread that repeats one method, keeps no object alive and delays no exit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from weakref import WeakMethod

_LONGEST_WAIT = 60.0
"""The longest single wait, in seconds: a wait does not notice that the machine slept."""


class _Shared:
    """State that the thread and its owner share.

    Attributes:
        wakes: one item for each wake. The collector may add one in any thread, at any line: `put` alone allows that.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.wakes: SimpleQueue[None] = SimpleQueue()
        self.running = False
        self.stopped = False


class Background:
    """Calls a method in a thread, again after the number of seconds that it returns, until it returns None.

    The thread holds the method's object weakly and ends with it.

    Args:
        work: a bound method. It *must not* raise.
        name: the thread's name.
    """

    def __init__(self, work: Callable[[], float | None], name: str) -> None:
        self._name = name
        self._shared = shared = _Shared()
        self._work: WeakMethod[Callable[[], float | None]] = WeakMethod(work, lambda _: shared.wakes.put(None))
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Call the method soon, in a new thread if none is running. Does nothing after `stop`."""
        shared = self._shared
        with shared.lock:
            shared.wakes.put(None)
            if shared.running or shared.stopped:
                return
            thread = threading.Thread(target=_run, args=(self._work, shared), name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # an interpreter that is shutting down starts no more threads, and needs none
                return
            self._thread, shared.running = thread, True

    def stop(self, timeout: float) -> None:
        """End the thread, and wait at most `timeout` seconds for a call that is under way."""
        with self._shared.lock:
            self._shared.stopped = True
            self._shared.wakes.put(None)
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def reset(self) -> None:
        """Forget the thread, which a fork's child does not have."""
        shared = _Shared()
        shared.stopped = self._shared.stopped
        work = self._work()
        if work is not None:
            self._work = WeakMethod(work, lambda _: shared.wakes.put(None))
        self._shared, self._thread = shared, None


def _run(reference: WeakMethod[Callable[[], float | None]], shared: _Shared) -> None:
    while True:
        with suppress(Empty):
            while True:
                shared.wakes.get_nowait()
        work = reference()
        pause = None if work is None or shared.stopped else work()
        del work
        if pause is not None:
            with suppress(Empty):
                shared.wakes.get(timeout=min(pause, _LONGEST_WAIT))
            continue
        with shared.lock:
            # A caller that woke the thread meanwhile saw it running, and relies on it.
            if shared.stopped or shared.wakes.empty() or reference() is None:
                shared.running = False
                return
