"""A watch, which is a registered callback, and the change that it is told of."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Self

from strongroom.secret import Version

if TYPE_CHECKING:
    from strongroom._watch.watcher import Watcher

logger = logging.getLogger("strongroom.watch")

SLOW_CALLBACK = 10.0
"""After how many seconds a callback that has not returned is named in the log, since every other watch waits for it."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A watched secret has changed. It has no values: read the secret to get them.

    Attributes:
        path: the secret's path.
        kind: `created` or `deleted` if the secret was, or is now, in no store of the chain; otherwise `updated`.
        keys: the keys that were added, removed or got another value, sorted. It is empty if a new version has the same
            values.
        old_version: the version before, or None if the secret did not exist or its store has no versions.
        new_version: the version now, or None if the secret does not exist or its store has no versions.
        store: the name of the store that has the secret, or had it before it was deleted.
        time: when the new version was written if the store knows it, otherwise when the change was found. It has a time
            zone.
    """

    path: str
    kind: Literal["created", "updated", "deleted"]
    keys: tuple[str, ...]
    old_version: Version | None
    new_version: Version | None
    store: str
    time: datetime


class Watch:
    """A registered callback. `close` ends it; as a context manager it is closed at the end of the block.

    Attributes:
        paths: the watched paths.
        closed: True after `close`, and after the manager was closed.
        of_loop: it delivers to an event loop.
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
        self.of_loop = ended is not None
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
