"""Many exchanges at a time: one thread with an event loop for as long as a batch runs, in bounded memory.

The thread is the batch's own, so that it serves callers with and without an event loop. The caller's items are taken,
and what came of them is given back, in the caller's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Generic, TypeAlias, TypeVar

from strongroom.errors import StoreError, StoreUnavailableError
from strongroom.store import remaining
from strongroom_vault.async_transport import AsyncTransport
from strongroom_vault.exchange import Reply, Start

AT_ONCE = 16
"""How many exchanges are under way at a time: beyond that, one server answers no faster."""

_WINDOW = 8 * AT_ONCE
"""The most that are taken and not given back yet."""

_GATHERED = 0.004
"""For how many seconds what has come is gathered before the caller is woken, which costs more than a reply does."""

_GRACE = 0.2
"""How much longer than the exchanges themselves they are waited for, in seconds: each says best what it missed."""

_PATIENCE = 1.0
"""How long the end of the thread is waited for, in seconds. It is a daemon, should a name never be looked up."""

_K = TypeVar("_K")

Transports: TypeAlias = Callable[[], AsyncTransport]
"""Makes a transport, in the event loop that it is for."""


def run_many(transports: Transports, items: Iterable[tuple[_K, Start]]) -> Iterator[tuple[_K, Reply | StoreError]]:
    """What each item's exchange ends with, in any order. Each may take what `remaining()` is at the start.

    Args:
        transports: makes the transport that they run on.
        items: a name, and what makes its exchange. A few dozen are taken ahead of what is given back.

    Raises:
        StoreUnavailableError: nothing came within `remaining()`.
    """
    batch = _Batch[_K](transports, remaining())
    waiting, under_way = iter(items), 0
    try:
        while True:
            if under_way <= _WINDOW // 2:
                taken = list(islice(waiting, _WINDOW - under_way))
                under_way += len(taken)
                batch.put(taken)
            if not under_way:
                return
            came = batch.take(remaining() + _GRACE)
            under_way -= len(came)
            yield from came
    finally:
        batch.stop()


class _Batch(Generic[_K]):
    """The thread, and what goes to it and comes from it."""

    def __init__(self, transports: Transports, limit: float) -> None:
        self._transports = transports
        self._limit = limit
        self._work: asyncio.Queue[tuple[_K, Start]] = asyncio.Queue()
        self._under_way = 0
        self._landed: list[tuple[_K, Reply | StoreError]] = []
        self._results: SimpleQueue[list[tuple[_K, Reply | StoreError]] | BaseException] = SimpleQueue()
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._serve, name="vault bulk", daemon=True)
        self._thread.start()

    def put(self, items: list[tuple[_K, Start]]) -> None:
        """Hands items to the thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed after a failure, which `take` raises
            self._loop.call_soon_threadsafe(self._take_in, items)

    def take(self, limit: float) -> list[tuple[_K, Reply | StoreError]]:
        """What has come since the last call, at least one."""
        try:
            came = self._results.get(timeout=limit)
        except Empty:
            came = StoreUnavailableError(reason="the batch took all the time")
        if isinstance(came, BaseException):
            raise came
        return came

    def stop(self) -> None:
        """Ends the thread. What is still under way is given up."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(_PATIENCE)

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            self._loop.run_until_complete(self._run())
        except BaseException as error:  # noqa: BLE001  # it is raised in the caller's thread
            self._results.put(error)
        finally:
            self._loop.close()

    async def _run(self) -> None:
        async with self._transports() as transport:
            tasks: set[asyncio.Task[object]] = {asyncio.create_task(self._worker(transport)) for _ in range(AT_ONCE)}
            tasks.add(asyncio.create_task(self._stopping.wait()))
            done, running = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            for task in done:
                task.result()  # raises where a worker failed

    async def _worker(self, transport: AsyncTransport) -> None:
        while True:
            name, start = await self._work.get()
            try:
                outcome: Reply | StoreError = await transport.run(start(self._clock()))
            except StoreError as error:
                outcome = error
            self._landed.append((name, outcome))
            if len(self._landed) == self._under_way:
                self._hand_over()
            elif len(self._landed) == 1:
                self._loop.call_later(_GATHERED, self._hand_over)

    def _take_in(self, items: list[tuple[_K, Start]]) -> None:
        self._under_way += len(items)
        for item in items:
            self._work.put_nowait(item)

    def _hand_over(self) -> None:
        landed, self._landed = self._landed, []
        if landed:
            self._under_way -= len(landed)
            self._results.put(landed)

    def _clock(self) -> Callable[[], float]:
        deadline = time.monotonic() + self._limit
        return lambda: max(0.0, deadline - time.monotonic())
