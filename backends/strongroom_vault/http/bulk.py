"""Many exchanges at a time, in bounded memory, on an event loop that runs while the caller waits.

The loop runs in the caller's thread: two threads would compete for the interpreter.
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
"""The number of exchanges at a time. One server does not answer more any faster."""

_WINDOW = 4 * AT_ONCE
"""The most items that are taken before their results are yielded."""

_ENOUGH = 3
"""The number of results that are yielded together, while the server is busy with the others."""

_GRACE = 0.2
"""Additional wait for exchanges beyond their deadline, in seconds: each reports its own failure best."""

_FRESH = 0.1
"""How long after a call of `take` another exchange may begin within it, in seconds."""

_PATIENCE = 1.0
"""How long closing the connections may take, in seconds."""

_K = TypeVar("_K")
_R = TypeVar("_R")

Transports: TypeAlias = Callable[[], AsyncTransport]
"""Makes a transport, in its event loop."""


def run_many(transports: Transports, items: Iterable[tuple[_K, Start]]) -> Iterator[tuple[_K, Reply | StoreError]]:
    """Yield the result of each item's exchange, in any order. Each may take what `remaining()` is when it begins.

    When the caller's time is over, the batch ends, and the items that are left get an error.

    Args:
        transports: makes the transport for the exchanges.
        items: names, and functions that start their exchanges. A few dozen are taken ahead of the results.

    Raises:
        StoreUnavailableError: nothing came within `remaining()`.
    """
    waiting, under_way = iter(items), 0
    with contextlib.closing(_Batch[_K](transports)) as batch:
        while True:
            # A few at a time: the server would be idle while many requests are built.
            taken = list(islice(waiting, min(_WINDOW - under_way, AT_ONCE))) if remaining() > 0 else []
            under_way += len(taken)
            batch.put(taken)
            if not under_way:
                break
            results = batch.take(remaining())
            under_way -= len(results)
            yield from results
    yield from ((name, StoreUnavailableError(reason="the batch took all the time")) for name, _ in waiting)


class _Batch(Generic[_K]):
    """The event loop and its workers. It runs within `take` and `close`; a worker ends when no work is left."""

    def __init__(self, transports: Transports) -> None:
        self._began = self._ends = 0.0
        self._process = os.getpid()
        self._under_way = 0
        self._results: list[tuple[_K, Reply | StoreError]] = []
        # An epoll is shared with a fork's child, which would remove the parent's registrations.
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
        """Queue these items for the workers."""
        self._under_way += len(items)
        self._work.extend(items)

    def take(self, limit: float) -> list[tuple[_K, Reply | StoreError]]:
        """Return the results since the last call, at least one. Exchanges that begin within it end within `limit`."""
        self._began = time.monotonic()
        self._ends = self._began + limit
        self._run(self._arrived(limit))
        results, self._results = self._results, []
        self._under_way -= len(results)
        return results

    def close(self) -> None:
        """Cancel the exchanges and close the connections; in a fork's child close only its copies."""
        if self._process != os.getpid():
            self._loop.close()
            return
        try:
            self._run(self._shut())
        finally:
            self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, _R]) -> _R:
        """Run the loop until the coroutine is done, in a thread if the caller's thread has a running loop."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._loop.run_until_complete(coroutine)
        with ThreadPoolExecutor(1) as executor:
            return executor.submit(self._loop.run_until_complete, coroutine).result()

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
        self._check_results()
        for _ in range(min(AT_ONCE - len(self._workers), len(self._work))):
            worker = asyncio.create_task(self._worker())
            self._workers.add(worker)
            worker.add_done_callback(self._ended)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit + _GRACE):
                await self._arrival.wait()
        if self._fault is not None:
            raise self._fault
        if not self._results:
            raise StoreUnavailableError(reason="the batch took all the time")

    async def _worker(self) -> None:
        # At least one exchange, even if this worker starts late: the caller waits for it.
        while self._work:
            name, start = self._work.popleft()
            try:
                outcome: Reply | StoreError = await self._transport.run(start(_until(self._ends)))
            except StoreError as error:
                outcome = error
            self._results.append((name, outcome))
            self._check_results()
            if self._is_late:
                return  # another exchange would have less than the whole time, and begins within the next call

    def _ended(self, worker: asyncio.Task[None]) -> None:
        """Record an unexpected exception of a worker. Failed exchanges are results."""
        self._workers.discard(worker)
        if not worker.cancelled() and (fault := worker.exception()) is not None:
            self._fault = fault
            self._arrival.set()

    def _check_results(self) -> None:
        """End the wait when enough results are there, or all, or any late one."""
        if len(self._results) >= min(1 if self._is_late else _ENOUGH, self._under_way):
            self._arrival.set()

    @property
    def _is_late(self) -> bool:
        return time.monotonic() - self._began > _FRESH


def _until(deadline: float) -> Callable[[], float]:
    return lambda: max(0.0, deadline - time.monotonic())
