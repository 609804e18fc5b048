"""A thread that works from time to time, and keeps nothing alive."""

import gc
import threading
import weakref

import pytest

from strongroom_vault.background import Background
from support.clock import LONG
from support.scenarios.load import wait_until


class Worker:
    """Works as often as it is told: `pauses` are what its turns return, and None after them."""

    def __init__(self, *pauses):
        self.pauses, self.turns, self.done = list(pauses), 0, threading.Event()
        self.background = Background(self.turn, "worker under test")

    def turn(self):
        self.turns += 1
        if self.pauses:
            return self.pauses.pop(0)
        self.done.set()
        return None


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "worker under test"]


@pytest.fixture(autouse=True)
def nothing_is_left():
    """Whatever a test does, its thread ends."""
    yield
    for thread in threads():
        thread.join(LONG)
    assert not threads()


def test_work_is_done_until_it_wants_no_more():
    """And again when it is woken."""
    worker = Worker(0.001, 0.001)
    worker.background.wake()
    assert worker.done.wait(LONG)
    for thread in threads():
        thread.join(LONG)
    assert worker.turns == 3
    worker.done.clear()
    worker.background.wake()
    assert worker.done.wait(LONG)
    assert worker.turns == 4


def test_one_thread_however_often_it_is_woken():
    """From many threads at a time."""
    worker = Worker(*[1000.0] * 1000)
    wakers = [threading.Thread(target=worker.background.wake) for _ in range(32)]
    for waker in wakers:
        waker.start()
    for waker in wakers:
        waker.join(LONG)
    assert len(threads()) == 1
    assert threads()[0].daemon
    worker.background.stop(LONG)


def test_waking_ends_a_wait():
    """Without waiting for the rest of it."""
    worker = Worker(1000.0)
    worker.background.wake()
    wait_until(lambda: worker.turns)
    worker.background.wake()
    assert worker.done.wait(LONG)


def test_no_wake_is_lost_at_the_end_of_the_work():
    """Who wakes a thread that is about to end has its work done all the same."""
    worker = Worker()
    for _ in range(500):
        worker.done.clear()
        worker.background.wake()
        assert worker.done.wait(LONG)


def test_nothing_is_started_after_the_stop():
    """And the thread is gone when `stop` returns."""
    worker = Worker(1000.0)
    worker.background.wake()
    worker.background.stop(LONG)
    assert not threads()
    turns = worker.turns
    worker.background.wake()
    assert not threads()
    assert worker.turns == turns


def test_stop_waits_no_longer_than_it_may():
    """The work may hang."""
    hanging, began = threading.Event(), threading.Event()

    class Hanging:
        def turn(self):
            began.set()
            hanging.wait(LONG)

    worker = Hanging()
    background = Background(worker.turn, "worker under test")
    background.wake()
    assert began.wait(LONG)
    background.stop(0.01)
    assert len(threads()) == 1
    hanging.set()


def test_stop_from_its_own_thread():
    """It cannot wait for itself."""
    stopped = threading.Event()

    class Stopping:
        def turn(self):
            background.stop(LONG)
            stopped.set()
            return 1000.0

    owner = Stopping()
    background = Background(owner.turn, "worker under test")
    background.wake()
    assert stopped.wait(LONG)


def test_thread_ends_with_what_it_works_for():
    """It does not keep it alive."""
    worker = Worker(1000.0)
    worker.background.wake()
    gone = weakref.ref(worker)
    del worker
    gc.collect()
    wait_until(lambda: gone() is None)  # its first turn may be under way


def test_reset_forgets_the_thread():
    """A fork's child has none, and starts its own."""
    worker = Worker(1000.0, 1000.0)
    worker.background.wake()
    worker.background.stop(LONG)
    again = Worker(1000.0)
    again.background.reset()
    again.background.wake()
    assert len(threads()) == 1
    again.background.stop(LONG)
    worker.background.reset()
    worker.background.wake()
    assert not threads()
