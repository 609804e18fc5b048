"""What all tests of the chain share."""

from functools import partial

import pytest

from strongroom._chain import connection
from strongroom._chain.connection import LAST_PROBE, Breaker
from support.clock import Clock


@pytest.fixture(autouse=True)
def breaker_clock(monkeypatch):
    """The clock of the breakers, which stands still: a busy machine does not make a probe due within a test."""
    clock = Clock()
    monkeypatch.setattr(connection, "Breaker", partial(Breaker, clock=clock))
    return clock


@pytest.fixture
def make_probe_due(breaker_clock):
    """Return a function that lets so much time pass that the next probe of every outage is due."""

    def move() -> None:
        breaker_clock.now += LAST_PROBE

    return move
