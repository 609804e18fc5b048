"""Reads of asynchronous stores in the caller's event loop: a call begins one, awaits it, and is then repeated."""

from __future__ import annotations

from concurrent.futures import Future
from contextvars import ContextVar
from typing import TYPE_CHECKING

from strongroom.chain.cache import Flight, MemoryCache
from strongroom.chain.reading import Read
from strongroom.errors import StrongroomError
from strongroom.secret import Secret

if TYPE_CHECKING:
    import asyncio

    from strongroom.chain.store_handle import StoreHandle

awaited_reads: ContextVar[dict[Read, Future[Secret]]] = ContextVar("strongroom_awaited_reads")
"""The reads that the running call of an async function has awaited: they answer when it is repeated."""

_NONE: dict[Read, Future[Secret]] = {}


def awaited(read: Read) -> Future[Secret] | None:
    """Return this read if the running call has awaited it."""
    return awaited_reads.get(_NONE).get(read)


class AsyncReads:
    """The reads of one link that are in progress in event loops.

    Args:
        cache: the link's cache, whose flights others join.
        handle: the way to the store.
    """

    def __init__(self, cache: MemoryCache, handle: StoreHandle) -> None:
        self._cache = cache
        self._handle = handle
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, path: str) -> Future[Secret]:
        """Begin to read `path` in the running event loop, with the deadline of the running call."""
        import asyncio

        flight = Flight()
        joined = flight.join()
        self._cache.join_or_lead(path, flight, fresh=True)
        task = asyncio.get_running_loop().create_task(self._read(path, flight))
        self._tasks.add(task)  # the loop itself holds it only weakly
        task.add_done_callback(self._tasks.discard)
        return joined

    async def _read(self, path: str, flight: Flight) -> None:
        try:
            self._cache.complete(path, flight, await self._handle.aread(path))
        except BaseException as error:
            self._cache.fail(path, flight, error)
            if not isinstance(error, StrongroomError):  # the loop ends
                raise
