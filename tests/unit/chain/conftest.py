"""What all tests of the chain share."""

from functools import partial

import pytest

from strongroom._chain import connection
from strongroom._chain.breaker import Breaker
from support.stores import Clock


@pytest.fixture(autouse=True)
def breaker_clock(monkeypatch):
    """The clock of the breakers, which stands still: a busy machine does not make a probe due within a test."""
    clock = Clock()
    monkeypatch.setattr(connection, "Breaker", partial(Breaker, clock=clock))
    return clock
