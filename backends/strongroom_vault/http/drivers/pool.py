"""A bounded number of connections, which threads take in the order in which they asked."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from threading import Condition, RLock
from typing import Generic, TypeVar
from weakref import WeakSet

from strongroom_vault.http.messages import SendStep

_C = TypeVar("_C")


class Pool(Generic[_C]):
    """Connections that are opened when they are needed and kept, at most `most` at a time.

    A thread that asks again at once does not pass those that wait: each of them would wait until its deadline.

    Args:
        new: makes a connection.
        most: the largest number of connections.

    Attributes:
        idle: the connections that no thread has.
    """

    def __init__(self, new: Callable[[], _C], most: int) -> None:
        self._new = new
        self._most = most
        self._lock = RLock()
        self._line: deque[Condition] = deque()
        self._open: WeakSet[_C] = WeakSet()  # one that an interrupted call lost does not count
        self.idle: list[_C] = []

    def take(self, step: SendStep) -> tuple[_C | None, float]:
        """Return a connection for the request, None if none is free in time. Note in the step how long that took.

        The second value is when the attempt has to end, on the clock of `time.monotonic`.
        """
        begun = time.monotonic()
        connection = self._take(min(step.timeout, step.total))
        now = time.monotonic()
        step.waited = now - begun
        return connection, min(now + step.timeout, begun + step.total)

    # Each operation of a list is atomic, so that the usual case needs no lock.

    def _take(self, seconds: float) -> _C | None:
        if not self._line:
            try:
                return self.idle.pop()  # the last one used: after a peak, the others are not
            except IndexError:
                pass
        with self._lock:
            turn = Condition(self._lock)
            self._line.append(turn)
            try:
                if not turn.wait_for(lambda: self._line[0] is turn and self._has_one(), seconds):
                    return None
                try:
                    return self.idle.pop()
                except IndexError:
                    connection = self._new()
                    self._open.add(connection)
                    return connection
            finally:
                self._line.remove(turn)
                self._call_next()

    @property
    def waiting(self) -> int:
        """The number of threads that wait for a connection."""
        return len(self._line)

    def give_back(self, connection: _C, *, usable: bool) -> None:
        """Take a connection back; forget it if it is not usable."""
        if usable:
            self.idle.append(connection)
        else:
            with self._lock:
                self._open.discard(connection)
        if self._line:
            with self._lock:
                self._call_next()

    def _has_one(self) -> bool:
        return bool(self.idle) or len(self._open) < self._most

    def _call_next(self) -> None:
        if self._line:
            self._line[0].notify()
