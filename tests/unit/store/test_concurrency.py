"""A blocking call in a daemon thread."""

import threading

import pytest

from strongroom.errors import StoreError
from strongroom.store import in_daemon, remaining, time_limit
from support.clock import LONG


def test_the_call_has_the_context_of_its_caller():
    """With it the deadline; the thread keeps no process from ending."""
    with time_limit(3.0):
        future = in_daemon(lambda: (remaining(), threading.current_thread()), "worker")
    left, thread = future.result(LONG)
    assert 2.0 < left <= 3.0
    assert thread.daemon
    assert thread.name == "worker"


def test_its_error_is_raised_where_it_is_awaited():
    def fail():
        raise StoreError("a")

    with pytest.raises(StoreError):
        in_daemon(fail, "worker").result(LONG)


def test_a_waiter_that_gives_up_cannot_cancel_it():
    """Others may wait for the same result."""
    go = threading.Event()
    future = in_daemon(go.wait, "worker")
    assert not future.cancel()
    go.set()
    assert future.result(LONG)


def test_an_interrupt_of_its_start_stays_what_it_is(monkeypatch):
    """CPython's locks fail with another error if the handler of a signal raises within them."""

    def interrupted(_):
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("release unlocked lock")

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        in_daemon(int, "worker")


def test_the_error_of_a_thread_that_cannot_be_started_stays(monkeypatch):
    """Also while another error is handled."""

    def refused(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    try:
        int("a")
    except ValueError:
        with pytest.raises(RuntimeError):
            in_daemon(int, "worker")
