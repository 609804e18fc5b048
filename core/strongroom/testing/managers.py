"""The time of a manager, for tests that move it."""

from __future__ import annotations

from collections.abc import Callable

from strongroom._manager.manager import parts_of
from strongroom.secrets_manager import SecretsManager


def use_clock(manager: SecretsManager, clock: Callable[[], float]) -> None:
    """Let the caches and the circuit breakers of a manager take the time from `clock`, in seconds.

    A test that moves the clock sees what happens when a secret expires, or when a store is asked again after an outage.
    The deadlines of calls stay in real time.
    """
    for link in parts_of(manager).chain.links:
        link.set_clock(clock)
