"""What a client allows itself: how long one request may take, and how many there may be in a second."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable

from strongroom.errors import ConfigurationError

_RATE = re.compile(r"(\d+(?:\.\d+)?)(?::(\d+))?")


class RequestRate:
    """Gives each request its turn: so many a second, and so many at once after a time without any.

    Args:
        rate: requests a second.
        burst: how many may go at once.
        clock: seconds that never go back.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1.0 / rate
        self._ahead = (max(burst, 1) - 1) * self._interval
        self._clock = clock
        self._due = clock()
        self._lock = threading.Lock()

    @classmethod
    def parse(cls, text: str) -> RequestRate:
        """The limit that a text such as `10` or `10:20` says: requests a second, and how many may go at once.

        Raises:
            ConfigurationError: it says neither.
        """
        said = _RATE.fullmatch(text.strip())
        if said is None or float(said[1]) <= 0:
            raise ConfigurationError(
                "rate_limit: it must be requests a second, or that and a burst, such as 10 or 10:20"
            )
        rate = float(said[1])
        return cls(rate, int(said[2] or rate))

    def turn(self) -> float:
        """How long the next request has to wait, in seconds. It has its turn then: the one after it comes later."""
        with self._lock:
            now = self._clock()
            due = max(self._due, now)
            self._due = due + self._interval
            return max(0.0, due - self._ahead - now)

    def unlock(self) -> None:
        """What a fork's child must do first: a thread that it does not have may hold the lock."""
        self._lock = threading.Lock()
