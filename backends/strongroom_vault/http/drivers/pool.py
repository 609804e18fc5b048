"""A bounded number of connections, which threads take in the order in which they asked."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Condition, RLock, active_count
from typing import Generic, TypeVar
from weakref import WeakSet

from strongroom_vault.background import Background
from strongroom_vault.http.messages import SendStep

_C = TypeVar("_C")

IDLE_SECONDS = 60.0
"""How long a connection that no thread uses stays open."""


class Idle(Generic[_C]):
    """Open connections that no thread uses. After a peak, they are closed when they were idle for a minute.

    The thread that closes them begins only in a process that has several: one that will fork may have a single thread,
    and then few connections.

    Args:
        end: closes a connection.
        least: how many stay open however long they are idle.
    """

    def __init__(self, end: Callable[[_C], object], *, least: int = 0) -> None:
        self._end = end
        self._least = least
        self._items: list[tuple[_C, float]] = []  # each with the time since when it is idle, in order
        self._is_watched = False
        self._background = Background(self._close_old, "vault connections")

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[_C]:
        return iter([connection for connection, _ in self._items])

    # Each operation of a list is atomic, so that the usual case needs no lock.

    def pop(self) -> _C:
        """Return the connection that was used last: after a peak, the others are not used. Raise IndexError if none."""
        return self._items.pop()[0]

    def append(self, connection: _C) -> None:
        """Keep a connection."""
        self._items.append((connection, time.monotonic()))
        if len(self._items) > self._least and not self._is_watched and active_count() > 1:
            self._is_watched = True
            self._background.wake()

    def close(self) -> None:
        """Close all, and end the thread."""
        self._background.stop(0)
        while self._items:
            self._end(self.pop())

    def _close_old(self) -> float | None:
        with suppress(IndexError):  # the last one was taken meanwhile
            while len(self._items) > self._least:
                if (left := self._items[0][1] + IDLE_SECONDS - time.monotonic()) > 0:
                    return left
                self._end(self._items.pop(0)[0])
        self._is_watched = False
        if len(self._items) > self._least:  # one came before the line above, and relies on this thread
            self._is_watched = True
            return IDLE_SECONDS
        return None


class Pool(Generic[_C]):
    """Connections that are opened when they are needed and kept, at most `most` at a time.

    A thread that asks again at once does not pass those that wait: each of them would wait until its deadline.

    Args:
        new: makes a connection.
        end: closes one.
        most: the largest number of connections.

    Attributes:
        idle: the connections that no thread has.
    """

    def __init__(self, new: Callable[[], _C], end: Callable[[_C], object], most: int) -> None:
        self._new = new
        self._most = most
        self._lock = RLock()
        self._line: deque[Condition] = deque()
        self._open: WeakSet[_C] = WeakSet()  # one that an interrupted call lost does not count
        self._end = end
        self.idle = Idle(self._close, least=1)

    def take(self, step: SendStep) -> tuple[_C | None, float]:
        """Return a connection for the request, None if none is free in time. Note in the step how long it has waited.

        The second value is when the attempt has to end, on the clock of `time.monotonic`.
        """
        begun, most = time.monotonic(), min(step.timeout, step.total)
        if not self._line:
            try:
                return self.idle.pop(), begun + most
            except IndexError:
                pass
        connection = self._wait(most)
        now = time.monotonic()
        step.waited = now - begun
        return connection, min(now + step.timeout, begun + step.total)

    def _wait(self, seconds: float) -> _C | None:
        with self._lock:
            turn = Condition(self._lock)
            try:
                self._line.append(turn)  # the handler of a signal may raise here
                if not turn.wait_for(lambda: self._line[0] is turn and self._has_one(), seconds):
                    return None
                try:
                    return self.idle.pop()
                except IndexError:
                    connection = self._new()
                    self._open.add(connection)
                    return connection
            finally:
                if turn in self._line:
                    self._line.remove(turn)
                self._call_next()

    @property
    def waiting(self) -> int:
        """The number of threads that wait for a connection."""
        return len(self._line)

    def give_back(self, connection: _C, *, usable: bool) -> None:
        """Take a connection back; close it if it is not usable."""
        if usable:
            self.idle.append(connection)
        else:
            self._close(connection)
        if self._line:
            with self._lock:
                self._call_next()

    def _close(self, connection: _C) -> None:
        self._end(connection)
        with self._lock:
            self._open.discard(connection)
            self._call_next()

    def _has_one(self) -> bool:
        return bool(self.idle) or len(self._open) < self._most

    def _call_next(self) -> None:
        if self._line:
            self._line[0].notify()
