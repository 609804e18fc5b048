"""The watches of one manager: one thread serves those with callbacks, and each event loop its own."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import suppress
from contextvars import Context
from functools import cache, partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from strongroom.chain.calls.steps import Step, Steps, run
from strongroom.store import remaining
from strongroom.watch.watches import Watch, Watches

if TYPE_CHECKING:
    import asyncio

    from strongroom.chain.calls.threads import Threads
    from strongroom.watch.change import Change
    from strongroom.watch.loop import LoopWatches

_watchers: WeakSet[Watcher] = WeakSet()


class Watcher(Watches):
    """Watches of a manager, and the thread of those with callbacks, which runs while there is at least one."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._loops: dict[asyncio.AbstractEventLoop, LoopWatches] = {}
        _watchers.add(self)

    def _clear(self) -> None:
        super()._clear()
        self._thread: threading.Thread | None = None

    @property
    def watches(self) -> tuple[Watch, ...]:
        """The watches that are not closed, also those of event loops."""
        return sum((loop.watches for loop in list(self._loops.values())), super().watches)

    def watch(self, paths: Iterable[str], callback: Callable[[Change], object], interval: float | None) -> Watch:
        """Read these paths, and register a callback for their changes."""
        watch = self.new(paths, callback, interval)
        run(self.begin(watch))
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

        watches = self._of_loop(threads)
        watch = watches.new(paths, put, interval, put)
        try:
            await threads.drive(watches.begin(watch))
            _follow_forks()
            while (change := await queue.get()) is not None:
                yield change
        finally:
            if not watch.closed:
                watch.close()

    def _of_loop(self, threads: Threads) -> LoopWatches:
        """Return the watches of the running event loop."""
        import asyncio

        from strongroom.watch.loop import LoopWatches

        with self._changed:
            self._loops = {loop: watches for loop, watches in self._loops.items() if not loop.is_closed()}
            here = asyncio.get_running_loop()
            if here not in self._loops:
                self._loops[here] = LoopWatches(self._links, self._timeout, threads, clock=self._clock, draw=self._draw)
            if self._closed:
                self._loops[here].end_all()
            return self._loops[here]

    def end(self, watch: Watch) -> threading.Thread | None:
        """Drop a watch, and wait for the thread if it was the last one."""
        thread = super().end(watch)
        _join(thread)
        return thread

    def close_steps(self) -> Steps[None]:
        """End every watch, and wait for the thread. Later watches are closed from the start."""
        thread = self.end_all()
        for watches in list(self._loops.values()):
            watches.end_all()
        if thread is not None:
            yield Step(partial(_join, thread))

    def reset(self) -> None:
        """Prepare for the child of a fork: it has no thread, and starts its own if it has inherited watches.

        A watch of an event loop is dropped: the loop is the parent's.
        """
        for watches in self._loops.values():
            watches.drop()
        self._loops = {}
        self._watches = [watch for watch in self._watches if not watch.closed]
        self._clear()
        with self._changed, suppress(RuntimeError):  # no thread can be started
            self._plan()

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _follow(self) -> threading.Thread | None:
        ended = None
        if not self._looks:
            ended, self._thread = self._thread, None
        elif self._thread is None:
            _follow_forks()
            self._thread = threading.Thread(
                target=Context().run, args=(self._run,), name="strongroom watch", daemon=True
            )
            self._thread.start()
        self._changed.notify_all()
        return ended

    def _run(self) -> None:
        while (due := self._next_due()) is not None:
            try:
                self.look(due)
            except Exception as error:  # noqa: BLE001  # see `_log`
                self._log(error)

    def _next_due(self) -> frozenset[float] | None:
        """Wait for the next look. Return the intervals whose time has come, or None if the thread ends."""
        with self._changed:
            while self._thread is threading.current_thread():
                due, pause = self._due()
                if due:
                    return due
                self._changed.wait(pause)
            return None

    def look(self, due: frozenset[float]) -> None:
        """Look at the secrets with one of these intervals, and deliver the changes."""
        run(self.look_steps(due))


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
