"""The watches of one manager, which share the looks of one thread."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import suppress
from contextvars import Context
from functools import cache, partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from strongroom._watch.watch import Watch, logger
from strongroom.paths import check_path
from strongroom.store import remaining
from strongroom.store.process import random_factor

if TYPE_CHECKING:
    from strongroom._chain.link import Link
    from strongroom._chain.threads import Threads
    from strongroom._watch.observer import Observer, Subject
    from strongroom._watch.watch import Change

_LONGEST_WAIT = 86_400.0
"""Seconds; a condition cannot wait as long as an interval may be."""

_SHARE_OF_TTL = 0.8
"""Part of its time to live after which a cached secret is looked at. The cache shortens that time by up to a tenth."""

_watchers: WeakSet[Watcher] = WeakSet()


class Watcher:
    """The watches of a manager, and their thread, which runs while there is at least one.

    Args:
        timeout: the total time of one look, in seconds.
        before: is called with each change before the callbacks.
        clock: seconds, monotonic.
        draw: returns a random number from 0 to 1.

    Attributes:
        thread: the thread, while there is a watch.
    """

    def __init__(
        self,
        links: Sequence[Link],
        timeout: float,
        *,
        before: Callable[[Change], object] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random_factor,
    ) -> None:
        self._links = links
        self._timeout = timeout
        self._before = before
        self._clock = clock
        self.draw = draw
        self._observer: Observer | None = None
        self._watches: list[Watch] = []
        self._subjects: dict[str, Subject] = {}
        self._closed = False
        self._clear()
        _watchers.add(self)

    def _clear(self) -> None:
        self.thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._looks: dict[float, float] = {}
        self._intervals: dict[tuple[str, str], float] = {}

    @property
    def watches(self) -> tuple[Watch, ...]:
        """The watches that are not closed."""
        with self._changed:
            return tuple(self._watches)

    @property
    def intervals(self) -> frozenset[float]:
        """The seconds between two looks, of each secret at each link."""
        with self._changed:
            return frozenset(self._intervals.values())

    def watch(
        self,
        paths: Iterable[str],
        callback: Callable[[Change], object],
        interval: float | None,
        pace: Callable[[], float | None] | None = None,
    ) -> Watch:
        """Read these paths, and register a callback for their changes.

        `pace` returns the longest time until the next look in seconds, or None for `interval`. It is called now, and
        after each look in the thread of the looks.
        """
        watch = self._new(paths, callback, interval, pace=pace)
        self.begin(watch)
        return watch

    async def changes(
        self, paths: Iterable[str], interval: float | None, threads: Threads
    ) -> AsyncGenerator[Change, None]:
        """Yield the changes of these paths in the running event loop, until the manager is closed."""
        import asyncio  # most programs have no event loop

        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[Change | None] = asyncio.Queue()

        def put(change: Change | None = None) -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(queue.put_nowait, change)

        watch = self._new(paths, put, interval, ended=put)
        try:
            await threads.run(partial(self.begin, watch))
            while (change := await queue.get()) is not None:
                yield change
        finally:
            thread = self._drop(watch)
            if thread is not None:
                await threads.run(partial(_join, thread))

    def end(self, watch: Watch) -> None:
        """Drop a watch, and wait for the thread if it was the last one."""
        _join(self._drop(watch))

    def close(self) -> None:
        """End every watch, and wait for the thread. Later watches are closed from the start."""
        with self._changed:
            self._closed = True
            watches, self._watches = self._watches, []
            for watch in watches:
                watch.closed = True
            thread = self._plan()
        for watch in watches:
            watch.end()
        _join(thread)

    def reset(self) -> None:
        """Prepare for the child of a fork: it has no thread, and starts its own if it has inherited watches.

        A watch of an event loop is dropped: the loop is the parent's.
        """
        for watch in self._watches:
            watch.closed = watch.closed or watch.of_loop
        self._watches = [watch for watch in self._watches if not watch.closed]
        self._clear()
        with self._changed, suppress(RuntimeError):  # no thread can be started
            self._plan()

    # --- the watches --------------------------------------------------------------------------------------------------

    def _new(
        self,
        paths: Iterable[str],
        callback: Callable[..., object],
        interval: float | None,
        *,
        ended: Callable[[], object] | None = None,
        pace: Callable[[], float | None] | None = None,
    ) -> Watch:
        """Return a watch that has not begun."""
        if isinstance(paths, str):
            raise TypeError("paths is a collection of paths: for one secret pass [path]")
        checked = tuple(dict.fromkeys(map(check_path, paths)))
        if not callable(callback):
            raise TypeError(f"callback is not callable, but of type {type(callback).__name__}")
        if interval is not None and not (_is_number(interval) and math.isfinite(interval) and interval > 0):
            raise ValueError("interval must be a number of seconds above zero")
        return Watch(self, checked, callback, interval, ended=ended, pace=pace)

    def begin(self, watch: Watch) -> None:
        """Read the paths of a watch, and register it. It is closed afterwards if the manager was closed meanwhile."""
        from strongroom._watch.observer import Observer  # only a watch needs digests

        with self._changed:
            observer = self._observer = self._observer or Observer(self._links, self._timeout)
        new = observer.begin(path for path in watch.paths if path not in self._subjects)
        watch.follow_pace()
        with self._changed:
            if watch.closed or self._closed:
                watch.end()
                return
            self._watches.append(watch)
            for subject in new:
                self._subjects.setdefault(subject.path, subject)
            self._plan()

    def _drop(self, watch: Watch) -> threading.Thread | None:
        """Drop a watch. Return the thread that ends now, if there is one."""
        with self._changed:
            if watch in self._watches:
                self._watches.remove(watch)
            was_open, watch.closed = not watch.closed, True
            thread = self._plan()
        if was_open:
            watch.end()
        return thread

    def _plan(self) -> threading.Thread | None:
        """Adapt paths, intervals and looks to the watches. Called with the lock held."""
        watched = {path for watch in self._watches for path in watch.paths}
        self._subjects = {path: subject for path, subject in self._subjects.items() if path in watched}
        intervals: dict[tuple[str, str], float] = {}
        for watch in self._watches:
            for link in self._links:
                usual = watch.interval or link.policy.watch_interval
                wanted = effective_interval(min(usual, watch.longest or usual), link.ttl)
                for path in filter(link.covers, watch.paths):
                    intervals[link.name, path] = min(wanted, intervals.get((link.name, path), wanted))
        self._intervals = intervals
        now = self._clock()
        self._looks = {
            interval: self._looks.get(interval) or first_look(now, interval, self.draw())
            for interval in sorted(set(intervals.values()))
        }
        return self._follow()

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _follow(self) -> threading.Thread | None:
        """Begin to look, look at other times, or end, as `_looks` says. Return the thread that ends now, if any."""
        ended = None
        if not self._looks:
            ended, self.thread = self.thread, None
        elif self.thread is None:
            _follow_forks()
            self.thread = threading.Thread(
                target=Context().run, args=(self._run,), name="strongroom watch", daemon=True
            )
            self.thread.start()
        self._changed.notify_all()
        return ended

    def _run(self) -> None:
        while (due := self._next_due()) is not None:
            try:
                self.look(due)
            except Exception as error:  # noqa: BLE001  # a store's failure is an answer: this is a bug
                logger.error("A look at the watched secrets failed: %s", type(error).__name__)

    def _next_due(self) -> frozenset[float] | None:
        """Wait for the next look. Return the intervals whose time has come, or None if the thread ends."""
        with self._changed:
            while self.thread is threading.current_thread():
                due, pause = self._due()
                if due:
                    return due
                self._changed.wait(pause)
            return None

    def _due(self) -> tuple[frozenset[float], float]:
        """Return the intervals whose time has come, and the seconds until the next one. Called with the lock held."""
        now = self._clock()
        due = frozenset(interval for interval, at in self._looks.items() if at <= now)
        self._looks |= {interval: next_look(self._looks[interval], interval, now) for interval in due}
        return due, min(_LONGEST_WAIT, min(self._looks.values(), default=_LONGEST_WAIT + now) - now)

    def look(self, due: frozenset[float]) -> None:
        """Look at the secrets with one of these intervals, and deliver the changes."""
        with self._changed:
            subjects, intervals, observer = list(self._subjects.values()), self._intervals, self._observer
        if observer is None:
            return
        found = observer.look(subjects, lambda link, path: intervals.get((link.name, path)) in due)
        for subject, served, change in found:
            self._before(change)
            for watch in self._watches_of(change.path):
                watch.deliver(change)
            # Not before: the child of a fork that came between has to deliver it too.
            subject.served, subject.changed = served, change.time
        self._follow_paces()

    def _follow_paces(self) -> None:
        """Ask each watch for the longest time until its next look, and adapt the looks."""
        watches = self.watches
        before = [watch.longest for watch in watches]
        for watch in watches:
            watch.follow_pace()
        if [watch.longest for watch in watches] != before:
            with self._changed:
                self._plan()

    def _watches_of(self, path: str) -> list[Watch]:
        with self._changed:
            return [watch for watch in self._watches if path in watch.paths]


@cache
def _follow_forks() -> None:
    """Register the fork hook after those of the chain and of the stores, which the first watch has just opened.

    Hooks run in the order of their registration, and the child's thread must not meet connections of the parent.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_reset_in_child)


def _reset_in_child() -> None:
    for watcher in list(_watchers):
        watcher.reset()


def _join(thread: threading.Thread | None) -> None:
    if thread is not None and thread is not threading.current_thread():
        thread.join(remaining())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# --- the times of the looks -------------------------------------------------------------------------------------------


def effective_interval(interval: float, ttl: float) -> float:
    """Return the seconds between two looks, so that a secret is refreshed before a cache with this ttl drops it.

    A ttl of zero disables the cache.
    """
    return min(interval, _SHARE_OF_TTL * ttl) if ttl > 0 else interval


def first_look(now: float, interval: float, draw: float) -> float:
    """Return the time of the first look: anywhere within the first interval. `draw` is a random number from 0 to 1.

    Processes that start together look at different times from the first look on. Every later look keeps that distance,
    also after an outage that all of them saw, since `next_look` only adds whole intervals.
    """
    return now + interval * draw


def next_look(last: float, interval: float, now: float) -> float:
    """Return the first time after `now` that is a whole number of intervals after `last`.

    Looks that a slow store delayed past their time are left out, so that no two follow one another at once.
    """
    return last + interval * (math.floor(max(0.0, now - last) / interval) + 1)
