"""Time that a test moves by hand: of a manager's caches and breakers, and of the deadline of a call."""

import math
import time

from strongroom.testing import use_clock

SOON = 8.0
"""Seconds that a call with a short time limit takes at most on a busy machine; without its limit, ten or more."""

LONG = 60.0
"""Seconds to wait for something that happens at once, unless there is a bug."""


class Clock:
    """Seconds that a test moves: `now`, from the present on. A whole number, so that sums are exact."""

    def __init__(self):
        self.now = float(math.ceil(time.monotonic()))

    @classmethod
    def of(cls, manager):
        """Puts a clock into the caches and the circuit breakers of a manager, and returns it."""
        clock = cls()
        use_clock(manager, clock)
        return clock

    def __call__(self):
        return self.now

    def move(self, seconds):
        """Lets this much time pass at once."""
        self.now += seconds


class CallTime:
    """Replacement for the module `time` in the deadlines of calls. Only `sleep` makes time pass."""

    def __init__(self):
        self._now = 1000.0

    @classmethod
    def of_calls(cls, monkeypatch):
        """Puts one into the deadline of every call and into its chain, and returns it."""
        stepped = cls()
        for module in ("store.deadline", "_chain.connection"):
            monkeypatch.setattr(f"strongroom.{module}.time", stepped)
        return stepped

    def monotonic(self):
        return self._now

    def sleep(self, seconds):
        self._now += seconds
