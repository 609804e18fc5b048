"""Time that a test moves by hand: of a manager's caches and breakers, and of the deadline of a call."""

import time

from strongroom.testing import use_clock

SOON = 8.0
"""Seconds that a call with a short time limit takes at most on a busy machine; without its limit, ten or more."""

LONG = 60.0
"""Seconds to wait for something that happens at once, unless there is a bug."""


class Clock:
    """Seconds since some moment: the real ones, and those that a test has moved on."""

    def __init__(self):
        self._moved = 0.0

    @classmethod
    def of(cls, manager):
        """Puts a clock into every link of the manager's chain, and returns it."""
        clock = cls()
        use_clock(manager, clock)
        return clock

    def __call__(self):
        return time.monotonic() + self._moved

    def move(self, seconds):
        """Lets this much time pass at once."""
        self._moved += seconds


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
