"""A circuit breaker: during an outage one caller at a time probes the store, and the others fail at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from strongroom.errors import StoreUnavailableError
from strongroom.store.process import random_factor

FIRST_PROBE = 1.0
LAST_PROBE = 30.0


class Breaker:
    """Opens on an outage; admits one probe after 1 s, then after twice as long each time, up to 30 s.

    Jitter shortens each interval by up to a fifth, so that many processes do not all probe at once.

    Args:
        probe_limit: how long one probe may take, in seconds, before another caller is admitted in its stead.
        clock: seconds, monotonic.

    Attributes:
        outage: the last failure that was noted.
    """

    def __init__(self, probe_limit: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._probe_limit = probe_limit
        self.clock = clock
        self._lock = threading.RLock()
        self.outage: StoreUnavailableError | None = None
        self._began = 0.0
        self._interval = 0.0
        self._probe_at = 0.0
        self._probing = False

    @property
    def is_open(self) -> bool:
        """True during a known outage."""
        return self._interval > 0

    def would_admit(self) -> bool:
        return not self.is_open or self.clock() >= self._probe_at

    def admit(self) -> bool:
        """Return True if the caller may query the store: always while closed; while open, one caller for each probe."""
        if not self.is_open:
            return True
        with self._lock:
            if not self.would_admit():
                return False
            self._probing = True
            self._probe_at = self.clock() + self._probe_limit
            return True

    def hasten(self) -> None:
        """Make a probe due now: the next caller is admitted."""
        with self._lock:
            self._probe_at = self.clock()

    def succeeded(self) -> float | None:
        """Note an answer. Return the seconds that the outage lasted which it ends, or None."""
        if not self.is_open:
            return None
        with self._lock:
            lasted = self.clock() - self._began if self._interval > 0 else None
            self._interval = 0.0
            self._probing = False
            return lasted

    def failed(self, outage: StoreUnavailableError | None = None) -> bool:
        """Note a failure. Return True if it begins an outage."""
        with self._lock:
            self.outage = outage
            begins = not self.is_open
            if not begins and not self._probing:
                return False  # a call that began before the outage was known: it says nothing new
            self._probing = False
            if begins:
                self._began = self.clock()
            self._interval = FIRST_PROBE if begins else min(self._interval * 2, LAST_PROBE)
            self._probe_at = self.clock() + self._interval * random_factor(0.8, 1.0)
            return begins
