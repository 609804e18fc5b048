"""Signals to this process: handlers for a block, and the wait for one. For commands that wait or run a program."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import NoReturn, Self, TypeAlias

Handler: TypeAlias = Callable[[int, FrameType | None], object] | signal.Handlers


def named(*names: str) -> frozenset[signal.Signals]:
    """Return the signals with these names that this system has. Windows lacks most of them."""
    return frozenset(number for number in signal.Signals if number.name in names)


@contextlib.contextmanager
def handled(numbers: Iterable[int], handler: Handler) -> Iterator[None]:
    """Handle these signals while the block runs, and restore the handlers from before at its end."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, as Ctrl-C raises it. `number` is that of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextlib.contextmanager
def termination_raised() -> Iterator[None]:
    """Raise `Terminated` in the block for a signal that would end the process. `nohup` ignores SIGHUP."""

    def handle(number: int, _: FrameType | None) -> NoReturn:
        raise Terminated(number)

    with handled([end for end in named("SIGTERM", "SIGHUP") if signal.getsignal(end) is signal.SIG_DFL], handle):
        yield


class SignalArrival:
    """Waits for any signal to this process, SIGCHLD among them. Only the main thread may.

    A signal that arrives just before a blocking system call does not interrupt it, and its handler would run only
    afterwards. Here each arrival writes a byte that `wait` reads.
    """

    def __enter__(self) -> Self:
        self._reader, writer = os.pipe()
        self._stack = contextlib.ExitStack()
        for end in (self._reader, writer):
            self._stack.callback(os.close, end)
            os.set_blocking(end, False)
        self._stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(writer, warn_on_full_buffer=False))
        if not callable(signal.getsignal(signal.SIGCHLD)):
            signal.signal(signal.SIGCHLD, lambda *_: None)  # it stays: Python prints an error for one that is gone
        self._stack.callback(
            signal.pthread_sigmask, signal.SIG_SETMASK, signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def wait(self, seconds: float | None = None) -> None:
        """Return after a signal that has arrived since the last call, or after `seconds`."""
        if select.select([self._reader], [], [], seconds)[0]:
            self._take()

    def readable(self, descriptor: int, seconds: float | None = None) -> bool:
        """Return True when the descriptor can be read, and False after `seconds`. Signals are handled meanwhile."""
        while True:
            ready = select.select([self._reader, descriptor], [], [], seconds)[0]
            if self._reader in ready:
                self._take()
            if descriptor in ready or not ready:
                return bool(ready)

    def _take(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)


class End:
    """Set by SIGTERM, and by SIGINT, which is an interruption. The main thread waits for it, and for SIGHUP.

    Unlike a `threading.Event` it has no lock, which its handler could wait for while the same thread holds it.
    """

    interrupted = False
    hung_up = False
    """True after a SIGHUP that is handled. It ends `wait`, whose caller sets this to False."""
    _set = False

    def handle(self, number: int, _: FrameType | None) -> None:
        """Handle the signal."""
        if number in named("SIGHUP"):
            self.hung_up = True
            return
        self.interrupted = number == signal.SIGINT
        self._set = True

    def is_set(self) -> bool:
        """Return True after the signal."""
        return self._set

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it is set, at most `seconds`, or until a SIGHUP. Return whether it is set."""
        until = None if seconds is None else time.monotonic() + seconds
        with SignalArrival() as arrival:
            while not self.is_set() and not self.hung_up:
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    break
                arrival.wait(left)
        return self.is_set()


@contextlib.contextmanager
def until_ended(*, hangup: bool = False) -> Iterator[End]:
    """Yield an event that SIGTERM or SIGINT sets while the block runs. With `hangup`, SIGHUP is handled too."""
    end = End()
    with handled((signal.SIGINT, signal.SIGTERM, *(named("SIGHUP") if hangup else ())), end.handle):
        yield end
