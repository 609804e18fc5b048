"""Signals to this process: handlers for a block, and the wait for one. For commands that wait or run a program."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Self, TypeAlias

from strongroom.store import ReentrantEvent

Handler: TypeAlias = Callable[[int, FrameType | None], object] | signal.Handlers


@contextlib.contextmanager
def handled(numbers: Iterable[int], handler: Handler) -> Iterator[None]:
    """Handle these signals while the block runs, and restore the handlers from before at its end."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


class End(ReentrantEvent):
    """Set by SIGTERM, and by SIGINT, which is an interruption."""

    interrupted = False

    def handle(self, number: int, _: FrameType | None) -> None:
        """Handle the signal."""
        self.interrupted = number == signal.SIGINT
        self.set()


@contextlib.contextmanager
def until_ended() -> Iterator[End]:
    """Yield an event that SIGTERM or SIGINT sets while the block runs."""
    end = End()
    with handled((signal.SIGINT, signal.SIGTERM), end.handle):
        yield end


class SignalArrival:
    """Waits for any signal to this process, SIGCHLD among them.

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
        self._stack.callback(signal.signal, signal.SIGCHLD, signal.signal(signal.SIGCHLD, lambda *_: None))
        self._stack.callback(
            signal.pthread_sigmask, signal.SIG_SETMASK, signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def wait(self) -> None:
        """Return after a signal that has arrived since the last call."""
        select.select([self._reader], [], [])
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)
