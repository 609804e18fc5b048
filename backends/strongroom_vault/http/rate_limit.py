"""The rate limit of requests."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from strongroom.errors import ConfigurationError
from strongroom.store import fork_safe_lock

_RATE = re.compile(r"(\d+(?:\.\d+)?)(?::(\d+))?")


class RequestRate:
    """Limits the rate of requests, and allows a burst after a pause.

    Args:
        rate: requests a second.
        burst: the number of requests that may be sent at once.
        clock: seconds that never go back.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1.0 / rate
        self._ahead = (max(burst, 1) - 1) * self._interval
        self._clock = clock
        self._due = clock()
        self._lock = fork_safe_lock(self, "_lock")

    @classmethod
    def parse(cls, text: str, clock: Callable[[], float] = time.monotonic) -> RequestRate:
        """Return the limit in a text such as `10` or `10:20`: requests a second, and the burst.

        Raises:
            ConfigurationError: the text has neither form.
        """
        match = _RATE.fullmatch(text.strip())
        if match is None or float(match[1]) <= 0:
            raise ConfigurationError(
                "rate_limit: it must be requests a second, or that and a burst, such as 10 or 10:20"
            )
        rate = float(match[1])
        return cls(rate, int(match[2] or rate), clock)

    def turn(self) -> float:
        """Take the next turn; return the seconds until it begins."""
        with self._lock:
            now = self._clock()
            due = max(self._due, now)
            self._due = due + self._interval
            return max(0.0, due - self._ahead - now)
