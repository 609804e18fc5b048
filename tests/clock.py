"""The time of a manager's caches and breakers, moved by hand."""

import time


class Clock:
    """Seconds since some moment: the real ones, and those that a test has moved on."""

    def __init__(self):
        self._moved = 0.0

    @classmethod
    def of(cls, manager):
        """Puts a clock into every link of the manager's chain, and returns it."""
        clock = cls()
        for link in manager._chain._links:
            link._cache._clock = link._handle.breaker._clock = clock
        return clock

    def __call__(self):
        return time.monotonic() + self._moved

    def move(self, seconds):
        """Lets this much time pass at once."""
        self._moved += seconds
