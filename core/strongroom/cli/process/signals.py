"""Signal handlers for a block, shared by the commands that wait and by those that run a program."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeAlias

from strongroom.store import ReentrantEvent

Handler: TypeAlias = Callable[[int, FrameType | None], object] | signal.Handlers


@contextmanager
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


@contextmanager
def until_ended() -> Iterator[End]:
    """Yield an event that SIGTERM or SIGINT sets while the block runs."""
    end = End()
    with handled((signal.SIGINT, signal.SIGTERM), end.handle):
        yield end
