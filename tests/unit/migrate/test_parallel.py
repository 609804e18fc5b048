"""Batches of a source, which are read while the batch before is written."""

from __future__ import annotations

import threading

import pytest

from strongroom.errors import StoreUnavailableError
from strongroom.migrate._execution.parallel import batches
from support.clock import LONG


def test_the_next_batch_is_read_while_the_caller_works_on_one():
    reading = threading.Event()

    def items():
        yield from (1, 2)
        reading.set()
        yield 3

    found = batches(items(), 2, ahead=True)
    assert next(found) == [1, 2]
    assert reading.wait(LONG)
    assert list(found) == [[3]]


def test_a_local_source_is_read_by_the_callers_thread_when_its_turn_comes():
    threads = []

    def items():
        for number in range(3):
            threads.append(threading.current_thread())
            yield number

    found = batches(items(), 2, ahead=False)
    assert next(found) == [0, 1]
    assert threads == [threading.current_thread()] * 2
    assert list(found) == [[2]]


@pytest.mark.parametrize("ahead", [True, False])
def test_an_error_of_the_source_follows_the_batches_before_it(ahead):
    def items():
        yield from (1, 2)
        raise StoreUnavailableError(None, "refused")

    found = batches(items(), 2, ahead=ahead)
    assert next(found) == [1, 2]
    with pytest.raises(StoreUnavailableError):
        next(found)


def test_a_caller_that_stops_early_leaves_no_thread():
    before = threading.active_count()
    found = batches(iter(range(10**9)), 2, ahead=True)
    assert next(found) == [0, 1]
    found.close()
    assert threading.active_count() == before
