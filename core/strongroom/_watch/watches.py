"""A watch: a registered callback."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from strongroom._watch.change import Change
    from strongroom._watch.watcher import Watcher

logger = logging.getLogger("strongroom.watch")

SLOW_CALLBACK = 10.0
"""After how many seconds a callback that has not returned is named in the log, since every other watch waits for it."""


class Watch:
    """A registered callback. `close` ends it; as a context manager it is closed at the end of the block.

    Attributes:
        paths: the watched paths.
        closed: True after `close`, and after the manager was closed.
    """

    def __init__(
        self,
        watcher: Watcher,
        paths: tuple[str, ...],
        callback: Callable[[Change], object],
        interval: float | None,
        *,
        ended: Callable[[], object] | None = None,
        pace: Callable[[], float | None] | None = None,
    ) -> None:
        self.paths = paths
        self.closed = False
        self._watcher = watcher
        self._callback = callback
        self._ended = ended
        self.interval = interval
        self._pace = pace
        self.longest: float | None = None

    def __repr__(self) -> str:
        return f"Watch({', '.join(self.paths)}{' closed' if self.closed else ''})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the watch. No call of the callback begins after this returns. Harmless when called twice.

        The manager's thread ends with its last watch, and this waits for it, unless it is called by a callback.
        """
        self._watcher.end(self)

    def deliver(self, change: Change) -> None:
        """Call the callback. An exception is logged without its message, which may hold a value."""
        if self.closed:
            return
        name = getattr(self._callback, "__qualname__", type(self._callback).__name__)
        try:
            with _timed(name, change.path):
                self._callback(change)
        except BaseException as error:  # noqa: BLE001  # SystemExit too would only end the thread
            kind = type(error).__name__  # and no traceback, which ends with the message
            logger.error("The watch callback %s raised %s for %s", name, kind, change.path)  # noqa: TRY400

    def follow_pace(self) -> None:
        """Note the longest time until the next look, which a pace shortens."""
        if self._pace is not None:
            self.longest = self._pace()

    @property
    def of_loop(self) -> bool:
        """It delivers to an event loop."""
        return self._ended is not None

    def end(self) -> None:
        """Note that the watcher has dropped this watch."""
        self.closed = True
        if self._ended is not None:
            self._ended()


@contextmanager
def _timed(name: str, path: str) -> Iterator[None]:
    """Log a warning if the block, which calls a callback, takes long."""
    text = "The watch callback %s for %s has not returned after %g seconds. Every other watch waits for it"
    timer = threading.Timer(SLOW_CALLBACK, logger.warning, (text, name, path, SLOW_CALLBACK))
    timer.daemon = True
    with suppress(RuntimeError):  # no thread can be started
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
