"""When a store that was out of order is asked again."""

from __future__ import annotations

import pytest

from strongroom._chain.connection import Breaker
from support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(3.0, clock=clock)


def test_a_store_that_answers_is_always_asked(breaker: Breaker) -> None:
    assert [breaker.admit() for _ in range(3)] == [True] * 3
    assert breaker.succeeded() is None


def test_an_outage_begins_once(breaker: Breaker) -> None:
    """Calls that were under way when it began say nothing new: the interval does not grow with their number."""
    assert [breaker.failed() for _ in range(50)] == [True] + [False] * 49
    assert breaker.is_open


def test_nobody_is_admitted_before_the_probe(breaker: Breaker, clock: Clock) -> None:
    breaker.failed()
    clock.now += 0.79
    assert not breaker.admit()


def test_one_caller_probes_after_a_second(breaker: Breaker, clock: Clock) -> None:
    for _ in range(50):
        breaker.failed()
    clock.now += 1.0
    assert [breaker.admit() for _ in range(3)] == [True, False, False]


def test_the_interval_doubles_up_to_half_a_minute(breaker: Breaker, clock: Clock) -> None:
    breaker.failed()
    intervals = []
    for _ in range(8):
        began = clock.now
        while not breaker.admit():
            clock.now += 0.01
        intervals.append(clock.now - began)
        breaker.failed()
    for interval, nominal in zip(intervals, [1, 2, 4, 8, 16, 30, 30, 30], strict=True):
        assert 0.8 * nominal - 0.02 <= interval <= nominal + 0.02


def test_an_answer_ends_the_outage(breaker: Breaker, clock: Clock) -> None:
    """And tells how long it lasted, from the first failure."""
    breaker.failed()
    clock.now += 1
    assert breaker.admit()
    breaker.failed()
    clock.now += 2
    assert breaker.admit()
    assert breaker.succeeded() == 3
    assert not breaker.is_open
    assert [breaker.admit() for _ in range(3)] == [True] * 3
    assert breaker.failed() is True


def test_a_probe_that_never_comes_back_is_replaced(breaker: Breaker, clock: Clock) -> None:
    """The caller may have been killed: after the longest time that a probe may take, another one looks."""
    breaker.failed()
    clock.now += 1
    assert breaker.admit()
    clock.now += 2.9
    assert not breaker.admit()
    clock.now += 0.1
    assert breaker.admit()
