"""A handler of a signal, and the signal at any line of a source file."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from support.clock import LONG


@contextmanager
def handling(handler: Callable[[], object]) -> Iterator[None]:
    """Handle SIGUSR1, and fail instead of waiting for a lock that is never released."""

    def too_long(*_: object) -> None:
        raise AssertionError("deadlock")

    before = signal.signal(signal.SIGUSR1, lambda *_: handler()), signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, LONG)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGUSR1, before[0])
        signal.signal(signal.SIGALRM, before[1])


def signalled_at(line: int, sources: Collection[str], call: Callable[[], object]) -> bool:
    """Run `call` with SIGUSR1 before its nth line in these files. Return False if it has fewer lines.

    Without the collector, which would finalize objects of other tests here, and drop the exception of a handler.
    """
    passed = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal passed
        if frame.f_code.co_filename not in sources:
            return None
        if event == "line":
            passed += 1
            if passed == line:
                signal.raise_signal(signal.SIGUSR1)
        return trace

    outer = sys.gettrace()
    gc.disable()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(outer)
        gc.enable()
    return passed >= line
