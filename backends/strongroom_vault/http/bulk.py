"""Many exchanges at a time, in bounded memory, on an event loop of their own that runs while the caller waits.

The loop runs in the caller's thread: with another one, each of the two would keep the interpreter from the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Generic, TypeAlias, TypeVar

from strongroom.errors import StoreError, StoreUnavailableError
from strongroom.store import remaining
from strongroom_vault.http.aiohttp_driver import AsyncTransport
from strongroom_vault.http.request_policy import Reply, Start

AT_ONCE = 16
"""How many exchanges are under way at a time: beyond that, one server answers no faster."""

_WINDOW = 4 * AT_ONCE
"""The most that are taken and not given back yet."""

_ENOUGH = 3
"""When that many have ended they are given back: the server is busy with the others meanwhile."""

_GRACE = 0.2
"""How much longer than the exchanges themselves they are waited for, in seconds: each says best what it missed."""

_FRESH = 0.1
"""How long after the call for what has ended another exchange may begin within it, in seconds."""

_PATIENCE = 1.0
"""How long the end of connections is waited for, in seconds."""

_K = TypeVar("_K")
_R = TypeVar("_R")

Transports: TypeAlias = Callable[[], AsyncTransport]
"""Makes a transport, in the event loop that it is for."""


def run_many(transports: Transports, items: Iterable[tuple[_K, Start]]) -> Iterator[tuple[_K, Reply | StoreError]]:
    """What each item's exchange ends with, in any order. Each may take what `remaining()` is when it begins.

    Where that comes to an end over what is given back, so does the batch: what was not asked for by then is not.

    Args:
        transports: makes the transport that they run on.
        items: a name, and what makes its exchange. A few dozen are taken ahead of what is given back.

    Raises:
        StoreUnavailableError: nothing came within `remaining()`.
    """
    waiting, under_way = iter(items), 0
    with contextlib.closing(_Batch[_K](transports)) as batch:
        while True:
            # A few at a time: the server would have nothing left to do while many are made.
            taken = list(islice(waiting, min(_WINDOW - under_way, AT_ONCE))) if remaining() > 0 else []
            under_way += len(taken)
            batch.put(taken)
            if not under_way:
                break
            came = batch.take(remaining())
            under_way -= len(came)
            yield from came
    yield from ((name, StoreUnavailableError(reason="the batch took all the time")) for name, _ in waiting)


class _Batch(Generic[_K]):
    """The event loop with its workers; it runs within `take` and `close`. A worker ends when there is no more work."""

    def __init__(self, transports: Transports) -> None:
        self._began = self._ends = 0.0
        self._process = os.getpid()
        self._under_way = 0
        self._landed: list[tuple[_K, Reply | StoreError]] = []
        # An epoll would be one with a fork's child: what that takes out of its loop would be missing in this one.
        self._loop = asyncio.SelectorEventLoop(selectors.PollSelector())
        self._arrival = asyncio.Event()
        self._work: deque[tuple[_K, Start]] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._fault: BaseException | None = None
        try:
            self._transport = self._run(self._opened(transports))
        except BaseException:
            self._loop.close()
            raise

    def put(self, items: list[tuple[_K, Start]]) -> None:
        """Lets the workers take these."""
        self._under_way += len(items)
        self._work.extend(items)

    def take(self, limit: float) -> list[tuple[_K, Reply | StoreError]]:
        """What has ended since the last call, at least one. What begins within it ends within `limit`."""
        self._began = time.monotonic()
        self._ends = self._began + limit
        self._run(self._arrived(limit))
        landed, self._landed = self._landed, []
        self._under_way -= len(landed)
        return landed

    def close(self) -> None:
        """Gives up what is under way, and closes the connections; in a fork's child only its own ends of them."""
        if self._process != os.getpid():
            self._loop.close()
            return
        try:
            self._run(self._shut())
        finally:
            self._loop.close()

    def _run(self, steps: Coroutine[Any, Any, _R]) -> _R:
        """The loop, until these steps are done; in a thread where the caller's has a loop that is running already."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._loop.run_until_complete(steps)
        with ThreadPoolExecutor(1) as aside:
            return aside.submit(self._loop.run_until_complete, steps).result()

    # --- in the loop --------------------------------------------------------------------------------------------------

    async def _opened(self, transports: Transports) -> AsyncTransport:
        return await transports().__aenter__()

    async def _shut(self) -> None:
        ending: set[asyncio.Task[None]] = set(self._workers)
        for worker in ending:
            worker.cancel()
        ending.add(asyncio.create_task(self._transport.__aexit__(None, None, None)))
        await asyncio.wait(ending, timeout=_PATIENCE)

    async def _arrived(self, limit: float) -> None:
        self._arrival.clear()
        self._look()
        for _ in range(min(AT_ONCE - len(self._workers), len(self._work))):
            worker = asyncio.create_task(self._worker())
            self._workers.add(worker)
            worker.add_done_callback(self._ended)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit + _GRACE):
                await self._arrival.wait()
        if self._fault is not None:
            raise self._fault
        if not self._landed:
            raise StoreUnavailableError(reason="the batch took all the time")

    async def _worker(self) -> None:
        # One exchange at least, also where we were kept from running until now: somebody waits for it.
        while self._work:
            name, start = self._work.popleft()
            try:
                outcome: Reply | StoreError = await self._transport.run(start(_until(self._ends)))
            except StoreError as error:
                outcome = error
            self._landed.append((name, outcome))
            self._look()
            if self._is_late:
                return  # another would have less than the whole time: it begins within the next call

    def _ended(self, worker: asyncio.Task[None]) -> None:
        """Takes note of a failure of its own: what an exchange comes to is none."""
        self._workers.discard(worker)
        if not worker.cancelled() and (fault := worker.exception()) is not None:
            self._fault = fault
            self._arrival.set()

    def _look(self) -> None:
        """Ends the wait where enough has come, or all, or anything late."""
        if len(self._landed) >= min(1 if self._is_late else _ENOUGH, self._under_way):
            self._arrival.set()

    @property
    def _is_late(self) -> bool:
        return time.monotonic() - self._began > _FRESH


def _until(deadline: float) -> Callable[[], float]:
    return lambda: max(0.0, deadline - time.monotonic())
