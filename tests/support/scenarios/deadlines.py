"""Calls of a store whose service does not answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from strongroom.errors import StoreUnavailableError
from strongroom.store import time_limit


def each_ends_in_time(operations: Sequence[Callable[[], object]], limit: float, grace: float) -> None:
    """Run all at a time, each in a thread with a separate time: each is an outage within `limit`, in seconds."""

    def end(operation: Callable[[], object]) -> float:
        began = time.monotonic()
        with time_limit(limit), pytest.raises(StoreUnavailableError):
            operation()
        return time.monotonic() - began

    with ThreadPoolExecutor(len(operations)) as pool:
        assert max(pool.map(end, operations)) < limit + grace
