"""The watches of one event loop, which looks in a task, so that asynchronous stores need no thread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any

from strongroom.watch.watches import Watches

if TYPE_CHECKING:
    from strongroom.chain.calls.threads import Threads
    from strongroom.chain.link import Link


class LoopWatches(Watches):
    """The watches of the running event loop, and their task."""

    def __init__(self, links: Sequence[Link], timeout: float, threads: Threads, **options: Any) -> None:
        super().__init__(links, timeout, **options)
        self._threads = threads
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def drop(self) -> None:
        """Close the watches in the child of a fork, which does not have the loop."""
        for watch in self._watches:
            watch.closed = True

    def _follow(self) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._follow_here)

    def _follow_here(self) -> None:
        self._woken.set()
        if self._looks and self._task is None:
            self._task = self._loop.create_task(self._run(), context=Context())
        elif self._task is not None and not self._looks:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            with self._changed:
                due, pause = self._due()
            if due:
                try:
                    await self._threads.drive(self.look_steps(due))
                except Exception as error:  # noqa: BLE001  # see `_log`
                    self._log(error)
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._woken.wait()
