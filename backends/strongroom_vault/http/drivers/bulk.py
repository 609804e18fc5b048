"""Many exchanges at a time, in bounded memory, in the thread of the caller: two threads would compete for Python."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Protocol, TypeVar

from strongroom.errors import StoreError, StoreUnavailableError
from strongroom.store import remaining
from strongroom_vault.http.messages import Reply, Start, Steps

AT_ONCE = 32
"""The number of exchanges at a time.

A thousand reads took 0.83 to 0.96 of the time with 16, and twenty no longer; 48 gained nothing more (OpenBao 2.7).
"""

_WINDOW = 2 * AT_ONCE
"""The most items that are taken before their results are yielded."""

_ENOUGH = 3
"""The number of results that are yielded together, while the server is busy with the others."""

_GRACE = 0.2
"""Additional wait for exchanges beyond their deadline, in seconds: each reports its own failure best."""

_FRESH = 0.1
"""How long after the caller asked for results another exchange may begin, in seconds."""

_K = TypeVar("_K")


class Batch(Protocol[_K]):
    """Exchanges under way. They make progress within `progress`, and each begins with a name."""

    @property
    def size(self) -> int:
        """The number of exchanges under way."""
        ...

    def begin(self, name: _K, steps: Steps) -> None:
        """Begin an exchange."""
        ...

    def progress(self, limit: float) -> list[tuple[_K, Reply | StoreError]]:
        """Wait for progress, at most `limit` seconds, and return the results of exchanges that have ended."""
        ...

    def close(self) -> None:
        """Cancel the exchanges under way, and keep connections without one for another batch."""
        ...


def run_many(batch: Batch[_K], items: Iterable[tuple[_K, Start]]) -> Iterator[tuple[_K, Reply | StoreError]]:
    """Yield the result of each item's exchange, in any order. Each may take what `remaining()` is when it begins.

    When the caller's time is over, the batch ends, and the items that are left get an error.

    Args:
        batch: runs the exchanges.
        items: names, and functions that start their exchanges. A few dozen are taken ahead of the results.

    Raises:
        StoreUnavailableError: nothing came within `remaining()`.
    """
    waiting = iter(items)
    work: deque[tuple[_K, Start]] = deque()
    with contextlib.closing(batch):
        while True:
            if remaining() > 0:
                # A few at a time: the server would be idle while many requests are built.
                work.extend(islice(waiting, min(_WINDOW - batch.size - len(work), AT_ONCE // 2)))
            if not work and not batch.size:
                break
            yield from _results(batch, work, remaining())
    yield from ((name, StoreUnavailableError(reason="the batch took all the time")) for name, _ in waiting)


def _results(batch: Batch[_K], work: deque[tuple[_K, Start]], limit: float) -> list[tuple[_K, Reply | StoreError]]:
    """Return at least one result. The exchanges that begin meanwhile end within `limit` seconds.

    Some time after the call, another exchange would have less than the whole time, and begins within the next call.
    """
    began = now = time.monotonic()
    ends = began + limit
    results: list[tuple[_K, Reply | StoreError]] = []
    while now <= ends + _GRACE:
        late = now - began > _FRESH
        while work and batch.size < AT_ONCE and not (late and (batch.size or results)):
            name, start = work.popleft()
            batch.begin(name, start(_until(ends)))
        if len(results) >= min(1 if late else _ENOUGH, len(results) + batch.size + len(work)):
            return results
        left = ends + _GRACE - now
        results += batch.progress(min(left, _FRESH) if results else left)  # one that hangs keeps no result back
        now = time.monotonic()
    if not results:
        raise StoreUnavailableError(reason="the batch took all the time")
    return results


def _until(deadline: float) -> Callable[[], float]:
    return lambda: max(0.0, deadline - time.monotonic())
