"""Blocking calls seen from an event loop. asyncio is imported at first use: most programs that import us have none."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import nullcontext
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from strongroom import events
from strongroom.chain.calls.async_reads import awaited_reads
from strongroom.chain.calls.steps import Step, Steps, drive, run
from strongroom.chain.first_use import first_use
from strongroom.chain.reading import Read, WouldBlockError
from strongroom.store import remaining, time_limit

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future, ThreadPoolExecutor

    from strongroom.secret import Secret

_P = ParamSpec("_P")
_R = TypeVar("_R")

_MOST_THREADS = 32

_UNLIMITED = nullcontext()
_GRACE = 0.3
"""Seconds past the deadline for an asynchronous read that ends at it, and reports the outage itself."""


class Threads:
    """The threads in which a manager's blocking calls run, made when the first one is needed.

    Not those of the loop's own pool: calls that wait for a store would keep the application's from it.

    Args:
        limit: how long one call may take in total, in seconds. The time that it waits for a thread counts.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self.reset()

    def reset(self) -> None:
        """Drop the pool: the child of a fork has none of its threads."""
        self._lock = threading.RLock()  # a signal handler may run while its thread holds it
        self._pool: ThreadPoolExecutor | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """End the threads after their current calls."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)

    async def run(self, call: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Return the call's result, from a thread."""
        import asyncio

        return await asyncio.wrap_future(self._begin(partial(call, *args, **kwargs)))

    async def run_if_needed(self, call: Callable[[bool], _R], limit: float | None = None) -> _R:
        """Return `call(False)` if that needs no I/O. Otherwise wait for the read in progress, or block in a thread.

        A read of an asynchronous store is awaited without a thread, and `call(False)` is repeated with its answer.

        Args:
            call: takes whether it may block. It raises `WouldBlockError` if it may not, but has to.
            limit: how long it may take, in seconds, if not as long as one call.
        """
        deadline, joined = time.monotonic() + (self._limit if limit is None else limit), False
        reads: dict[Read, Future[Secret]] = {}
        token = awaited_reads.set(reads)
        try:
            while True:
                try:
                    with time_limit(deadline - time.monotonic()) if reads else _UNLIMITED:
                        return call(False)  # noqa: FBT003  # its one argument
                except WouldBlockError as blocked:
                    flight, begun = blocked.flight, blocked.reads
                with time_limit(deadline - time.monotonic()):
                    if begun:
                        await _joined(begun.values())
                        reads.update(begun)
                    elif flight is None or joined:
                        return await self.run(partial(call, True))  # noqa: FBT003
                    else:
                        joined = True
                        await _joined([flight])
        finally:
            awaited_reads.reset(token)

    async def drive(self, steps: Steps[_R]) -> _R:
        """Return the result of a call, waiting in the running event loop. Steps that block run in a thread."""
        if events.auditors:  # an audit log writes to a file
            return await self.run(run, steps)
        return await drive(steps, self._wait)

    async def drive_to_end(self, steps: Steps[None]) -> None:
        """`drive`, which continues if the caller is cancelled."""
        import asyncio

        task = asyncio.get_running_loop().create_task(self.drive(steps))
        self._tasks.add(task)  # the loop itself holds it only weakly
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)

    def _wait(self, step: Step) -> Awaitable[Any]:
        if step.wait is not None:
            return step.wait()
        return self.run(step.block) if step.attempt is None else self.run_if_needed(step.attempt, remaining())

    def _begin(self, call: Callable[[], _R]) -> Future[_R]:
        with first_use():
            from concurrent.futures import ThreadPoolExecutor

        context = copy_context()
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="strongroom")
            return self._pool.submit(context.run, call)


async def _joined(flights: Iterable[Future[Secret]]) -> None:
    """Wait until these reads in progress are over, at most for the remaining time."""
    import asyncio

    done = [asyncio.wrap_future(flight) for flight in flights]
    for one in done:
        one.add_done_callback(_retrieve_exception)
    await asyncio.wait(done, timeout=remaining() + _GRACE)


def _retrieve_exception(done: asyncio.Future[Any]) -> None:
    """Retrieve a failed read's exception, which its own reader raises: asyncio logs it otherwise."""
    if not done.cancelled():
        done.exception()
