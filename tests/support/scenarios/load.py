"""Threads that repeat a transaction while a test rotates its credential."""

import os
import threading
import time

ROTATIONS = int(os.environ.get("TEST_ROTATIONS", "2"))
SECONDS = float(os.environ.get("TEST_ROTATION_SECONDS", "0"))
"""Seconds of work between two rotations."""

WORKERS = 16
LIMIT = 60.0


def wait_until(condition):
    """Wait for a condition that no event announces, such as one of a server."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


class Load:
    """Threads that repeat a transaction until the end of the block.

    Attributes:
        failures: the exceptions.
        done: the number of transactions that were committed.
    """

    def __init__(self, transaction, workers=WORKERS):
        self._transaction = transaction
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        self.failures = []
        self.done = 0

    def _work(self):
        while not self._stop.is_set():
            try:
                self._transaction()
                self.done += 1
            except Exception as error:  # noqa: BLE001  # whatever a driver raises is a failure
                self.failures.append(error)
        getattr(self._transaction, "end_thread", lambda: None)()

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(LIMIT)
            assert not thread.is_alive(), "a transaction hangs"

    def wait_for(self, transactions):
        """Wait for that many more transactions, or for a failure."""
        until = self.done + transactions
        wait_until(lambda: self.done >= until or self.failures)
