"""Reads of asynchronous stores in the caller's event loop: a call begins one, awaits it, and is then repeated."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from concurrent.futures import Future
from contextvars import ContextVar
from typing import TYPE_CHECKING

from strongroom.chain.cache import Flight, MemoryCache
from strongroom.chain.calls.steps import Step, block, drive
from strongroom.chain.reading import Read
from strongroom.chain.store_handle import READ
from strongroom.errors import StoreUnavailableError, StrongroomError
from strongroom.secret import Secret
from strongroom.store import remaining

if TYPE_CHECKING:
    import asyncio

    from strongroom.chain.store_handle import StoreHandle

awaited_reads: ContextVar[dict[Read, Future[Secret]]] = ContextVar("strongroom_awaited_reads")
"""The reads that the running call of an async function has awaited: they answer when it is repeated."""

_AT_ONCE = 16
"""How many reads of one batch are in progress at a time."""

_NONE: dict[Read, Future[Secret]] = {}


def awaited(read: Read) -> Future[Secret] | None:
    """Return this read if the running call has awaited it."""
    return awaited_reads.get(_NONE).get(read)


class AsyncReads:
    """The reads of one link that are in progress in event loops."""

    def __init__(self, name: str, cache: MemoryCache, handle: StoreHandle) -> None:
        self._name = name
        self._cache = cache
        self._handle = handle
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, paths: Iterable[str]) -> dict[str, Future[Secret]]:
        """Begin to read the paths in the running event loop, with the deadline of the running call."""
        import asyncio

        begun: dict[str, Future[Secret]] = {}
        turns = asyncio.Semaphore(_AT_ONCE)
        for path in paths:
            flight = Flight()
            begun[path] = flight.join()
            self._cache.join_or_lead(path, flight, fresh=True)
            task = asyncio.get_running_loop().create_task(self._read(path, flight, turns))
            self._tasks.add(task)  # the loop itself holds it only weakly
            task.add_done_callback(self._tasks.discard)
        return begun

    async def _read(self, path: str, flight: Flight, turns: asyncio.Semaphore) -> None:
        try:
            async with turns:
                self._require_time(path)
                secret = await drive(self._handle.steps(path, READ, path, reads=True), _at_once)
            self._cache.complete(path, flight, secret)
        except BaseException as error:
            self._cache.fail(path, flight, error)
            if not isinstance(error, StrongroomError):  # the loop ends
                raise

    def _require_time(self, path: str) -> None:
        """Raise an outage if no time is left to query the store."""
        if not remaining():
            raise StoreUnavailableError(path, "the batch took all the time", store=self._name)


def _at_once(step: Step) -> Awaitable[object]:
    """Wait for the step. One that blocks is the opening, and the store is open already."""
    return block(step) if step.wait is None else step.wait()
