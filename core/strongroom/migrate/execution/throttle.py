"""The speed of a run: its rate limit, and its progress with the estimated time left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from strongroom.migrate.report import OnProgress, Progress

_EVERY = 0.1
"""Seconds between two progress reports. The last one always comes."""

_SLOWEST = 1 / 86_400
"""The lowest rate, in writes a second: one a day."""


class ProgressMeter:
    """Reports the progress of a run."""

    def __init__(
        self,
        action: str,
        total: int | None,
        on_progress: OnProgress | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._action = action
        self._total = total
        self._on_progress = on_progress
        self._clock = clock
        self._started = self._reported = clock()
        self._done = 0

    def advance(self) -> None:
        """Count one more secret as processed."""
        self._done += 1
        if self._on_progress is None:
            return
        now = self._clock()
        if now - self._reported >= _EVERY or self._done == self._total:
            self._reported = now
            left = None
            if self._total is not None:
                left = (now - self._started) / self._done * (self._total - self._done)
            self._on_progress(Progress(self._action, self._done, self._total, left))


class RateLimit:
    """Limits a run to a number of writes a second, on the average of each second.

    Args:
        rate: the most writes a second; None is unlimited.
        clock: a monotonic clock, in seconds.
        sleep: waits for a number of seconds.

    Raises:
        ValueError: the rate is unusable.
    """

    def __init__(
        self,
        rate: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = None if rate is None else check_rate(rate)
        self._clock = clock
        self._sleep = sleep
        self._free = clock()

    @property
    def is_limited(self) -> bool:
        """True if there is a limit."""
        return self._rate is not None

    def batch_size(self, most: int) -> int:
        """Return how many writes may be sent together, at most `most`."""
        return most if self._rate is None else max(1, min(most, int(self._rate)))

    def wait(self, count: int) -> None:
        """Wait until `count` more writes may be sent."""
        if self._rate is None:
            return
        now = self._clock()
        if now < self._free:
            self._sleep(self._free - now)
            now = self._free
        self._free = max(now, self._free) + count / self._rate


def check_rate(rate: float) -> float:
    """Return the rate if it is usable.

    Raises:
        ValueError: it is not finite, or below one write a day.
    """
    if not math.isfinite(rate) or rate < _SLOWEST:
        raise ValueError("the rate must be a number of writes a second, at least one a day")
    return rate
