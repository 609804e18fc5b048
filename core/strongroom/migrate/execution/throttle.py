"""How fast a run goes: the rate that it is held to, and the time that it has left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from strongroom.migrate.reports.report import OnProgress, Progress

_EVERY = 0.1
"""The progress is told no more often than so many seconds apart, but for the last of it."""

_SLOWEST = 1 / 86_400
"""The least rate, in writes a second: one a day."""


class Pace:
    """Tells how far a run is.

    Args:
        action: what runs.
        total: how many secrets there are; None where nobody knows.
        on_progress: is told.
        clock: seconds that only go forward.
    """

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
        self._started = self._told = clock()
        self._done = 0

    def step(self, count: int = 1) -> None:
        """So many more secrets are through."""
        self._done += count
        if self._on_progress is None:
            return
        now = self._clock()
        if now - self._told >= _EVERY or self._done == self._total:
            self._told = now
            left = None
            if self._total is not None:
                left = (now - self._started) / self._done * (self._total - self._done)
            self._on_progress(Progress(self._action, self._done, self._total, left))


class Rate:
    """Holds a run to so many writes a second, on the average of each second.

    Args:
        rate: how many; None is as many as there come.
        clock: seconds that only go forward.
        sleep: waits for so many seconds.

    Raises:
        ValueError: as `check_rate` does.
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
        """Whether there is a rate."""
        return self._rate is not None

    def at_once(self, most: int) -> int:
        """How many writes may go together."""
        return most if self._rate is None else max(1, min(most, int(self._rate)))

    def wait(self, count: int) -> None:
        """Returns when so many writes may go."""
        if self._rate is None:
            return
        now = self._clock()
        if now < self._free:
            self._sleep(self._free - now)
            now = self._free
        self._free = max(now, self._free) + count / self._rate


def check_rate(rate: float) -> float:
    """The rate, where a run can be held to it.

    Raises:
        ValueError: it is not finite, or less than one write a day.
    """
    if not math.isfinite(rate) or rate < _SLOWEST:
        raise ValueError("a rate is a number of writes a second, at least one a day")
    return rate
