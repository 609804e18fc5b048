"""Whether plugin code runs on the calling thread, so that the command line can keep its output off stdout.

It also has the time that the command line gives to the import of a plugin. Separate from the guard, since the command
line imports it before any plugin is loaded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class _Depth(threading.local):
    """How many calls of plugin code are in progress on this thread."""

    calls = 0


depth = _Depth()

watched = False
"""True while somebody looks at `depth`, which makes a read a little slower."""


import_limit: ContextVar[float | None] = ContextVar("strongroom_import_limit", default=None)
"""Seconds after which the import of a plugin is given up. None imports in the calling thread.

An application may read its secrets while one of its modules is imported. Its plugin may need this module, for which
another thread would wait.
"""


@contextmanager
def limited_imports(seconds: float) -> Iterator[None]:
    """Give up the import of a plugin after some seconds within the block: see `import_limit`."""
    token = import_limit.set(seconds)
    try:
        yield
    finally:
        import_limit.reset(token)


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
