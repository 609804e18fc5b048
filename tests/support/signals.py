"""A signal at any line of a source file, as a test of locks needs it."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable, Collection
from types import FrameType
from typing import Any


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
