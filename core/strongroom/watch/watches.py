"""Watches, and the times of their looks. A thread or an event loop looks."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any, Self

from strongroom.chain.calls.steps import Steps
from strongroom.chain.first_use import first_use
from strongroom.paths import check_path
from strongroom.store import random_factor
from strongroom.watch.schedule import effective_interval, first_look, next_look

if TYPE_CHECKING:
    from strongroom.chain.link import Link
    from strongroom.watch.change import Change
    from strongroom.watch.observer import Observer, Subject

logger = logging.getLogger("strongroom.watch")

_LONGEST_WAIT = 86_400.0
"""Seconds; a condition cannot wait as long as an interval may be."""


class Watch:
    """A registered callback. `close` ends it; as a context manager it is closed at the end of the block.

    Attributes:
        paths: the watched paths.
        closed: True after `close`, and after the manager was closed.
    """

    def __init__(
        self,
        watches: Watches,
        paths: tuple[str, ...],
        callback: Callable[[Change], object],
        interval: float | None,
        ended: Callable[[], object] | None = None,
    ) -> None:
        self.paths = paths
        self.closed = False
        self._watches = watches
        self._callback = callback
        self._ended = ended
        self.interval = interval

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
        self._watches.end(self)

    def deliver(self, change: Change) -> None:
        """Call the callback. An exception is logged without its message, which may hold a value."""
        if self.closed:
            return
        try:
            self._callback(change)
        except BaseException as error:  # noqa: BLE001  # SystemExit too would only end the thread
            name = getattr(self._callback, "__qualname__", type(self._callback).__name__)
            kind = type(error).__name__  # and no traceback, which ends with the message
            logger.error("The watch callback %s raised %s for %s", name, kind, change.path)  # noqa: TRY400

    def end(self) -> None:
        """Note that the watcher has dropped this watch."""
        self.closed = True
        if self._ended is not None:
            self._ended()


class Watches(ABC):
    """Watches that share their looks. A subclass looks while there is at least one.

    Args:
        timeout: the total time of one look, in seconds.
        clock: seconds, monotonic.
        draw: returns a random number from 0 to 1.
    """

    def __init__(
        self,
        links: Sequence[Link],
        timeout: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random_factor,
    ) -> None:
        self._links = links
        self._timeout = timeout
        self._clock = clock
        self._draw = draw
        self._observer: Observer | None = None
        self._watches: list[Watch] = []
        self._subjects: dict[str, Subject] = {}
        self._closed = False
        self._clear()

    def _clear(self) -> None:
        self._changed = threading.Condition()  # of an RLock: a signal handler may run while its thread holds it
        self._looks: dict[float, float] = {}
        self._intervals: dict[tuple[str, str], float] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._watches)} watches)"

    @property
    def watches(self) -> tuple[Watch, ...]:
        """The watches that are not closed."""
        with self._changed:
            return tuple(self._watches)

    def new(
        self,
        paths: Iterable[str],
        callback: Callable[..., object],
        interval: float | None,
        ended: Callable[[], object] | None = None,
    ) -> Watch:
        """Return a watch that has not begun."""
        if isinstance(paths, str):
            raise TypeError("paths is a collection of paths: for one secret pass [path]")
        checked = tuple(dict.fromkeys(map(check_path, paths)))
        if not callable(callback):
            raise TypeError(f"callback is not callable, but of type {type(callback).__name__}")
        if interval is not None and not (_is_number(interval) and isfinite(interval) and interval > 0):
            raise ValueError("interval must be a number of seconds above zero")
        return Watch(self, checked, callback, interval, ended)

    def begin(self, watch: Watch) -> Steps[None]:
        """Read the paths of a watch, and register it. It is closed afterwards if the manager was closed meanwhile."""
        with first_use():
            from strongroom.watch.observer import Observer  # only a watch needs digests

        with self._changed:
            observer = self._observer = self._observer or Observer(self._links, self._timeout)
        new = yield from observer.begin(path for path in watch.paths if path not in self._subjects)
        with self._changed:
            if watch.closed or self._closed:
                watch.end()
                return
            self._watches.append(watch)
            for subject in new:
                self._subjects.setdefault(subject.path, subject)
            self._plan()

    def end(self, watch: Watch) -> threading.Thread | None:
        """Drop a watch. Return the thread that ends now, if there is one."""
        with self._changed:
            if watch in self._watches:
                self._watches.remove(watch)
            was_open, watch.closed = not watch.closed, True
            thread = self._plan()
        if was_open:
            watch.end()
        return thread

    def end_all(self) -> threading.Thread | None:
        """`end` every watch. Later watches are closed from the start."""
        with self._changed:
            self._closed = True
            watches, self._watches = self._watches, []
            for watch in watches:
                watch.closed = True
            thread = self._plan()
        for watch in watches:
            watch.end()
        return thread

    def _plan(self) -> threading.Thread | None:
        """Adapt paths, intervals and looks to the watches. Called with the lock held."""
        watched = {path for watch in self._watches for path in watch.paths}
        self._subjects = {path: subject for path, subject in self._subjects.items() if path in watched}
        intervals: dict[tuple[str, str], float] = {}
        for watch in self._watches:
            for link in self._links:
                wanted = effective_interval(watch.interval or link.policy.watch_interval, link.ttl)
                for path in filter(link.covers, watch.paths):
                    intervals[link.name, path] = min(wanted, intervals.get((link.name, path), wanted))
        self._intervals = intervals
        now = self._clock()
        self._looks = {
            interval: self._looks.get(interval) or first_look(now, interval, self._draw())
            for interval in sorted(set(intervals.values()))
        }
        return self._follow()

    @abstractmethod
    def _follow(self) -> threading.Thread | None:
        """Begin to look, look at other times, or end, as `_looks` says. Return the thread that ends now, if any."""

    def _due(self) -> tuple[frozenset[float], float]:
        """Return the intervals whose time has come, and the seconds until the next one. Called with the lock held."""
        now = self._clock()
        due = frozenset(interval for interval, at in self._looks.items() if at <= now)
        self._looks |= {interval: next_look(self._looks[interval], interval, now) for interval in due}
        return due, min(_LONGEST_WAIT, min(self._looks.values(), default=_LONGEST_WAIT + now) - now)

    def look_steps(self, due: frozenset[float]) -> Steps[None]:
        """Look at the secrets with one of these intervals, and deliver the changes."""
        with self._changed:
            subjects, intervals, observer = list(self._subjects.values()), self._intervals, self._observer
        if observer is None:
            return
        found = yield from observer.look(subjects, lambda link, path: intervals.get((link.name, path)) in due)
        for subject, served, change in found:
            for watch in self._watches_of(change.path):
                watch.deliver(change)
            # Not before: the child of a fork that came between has to deliver it too.
            subject.served, subject.changed = served, change.time

    def _watches_of(self, path: str) -> list[Watch]:
        with self._changed:
            return [watch for watch in self._watches if path in watch.paths]

    @staticmethod
    def _log(error: Exception) -> None:
        """Log the failure of a look. A store's failure is an answer: this is a bug, and does not end the looks."""
        logger.error("A look at the watched secrets failed: %s", type(error).__name__)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
