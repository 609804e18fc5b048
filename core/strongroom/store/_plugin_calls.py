"""Whether plugin code runs on the calling thread, so that the command line can keep its output off stdout.

Below the guard, since the adapter of asynchronous stores marks its calls too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class _Depth(threading.local):
    """How many calls of plugin code are in progress on this thread."""

    calls = 0


depth = _Depth()

watched = False
"""True while somebody looks at `depth`, which makes a read a little slower."""


@contextmanager
def watch() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns True while a call of plugin code is in progress on the calling thread."""
    global watched  # noqa: PLW0603  # a read looks at it, and a call would take as long as the check of its answer
    before, watched = watched, True
    try:
        yield lambda: depth.calls > 0
    finally:
        watched = before


@contextmanager
def plugin_code() -> Iterator[None]:
    """Mark the block as plugin code, whose output the command line keeps off stdout."""
    depth.calls += 1
    try:
        yield
    finally:
        depth.calls -= 1
