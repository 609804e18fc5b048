"""The store protocol: what makes a capability, and how long a call may take."""

import asyncio
import contextvars
import threading

import pytest

from strongroom.store import (
    DEFAULT_TIMEOUT,
    BulkStore,
    CheckedStore,
    KeyedStore,
    ListableStore,
    LocalStore,
    ProbedStore,
    SecretStore,
    VersionedStore,
    WritableStore,
    deadline,
    remaining,
    time_limit,
)
from strongroom.store.memory import MemoryStore


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves when it is told."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(deadline, "time", clock)
    return clock


def test_without_a_limit_there_is_the_default():
    """A store that is used on its own may take as long as a call may by default."""
    assert remaining() == DEFAULT_TIMEOUT


def test_remaining_runs_down_to_zero(clock):
    """What is left of the limit, and nothing below zero."""
    with time_limit(3):
        assert remaining() == 3
        clock.now += 2
        assert remaining() == 1
        clock.now += 2
        assert remaining() == 0
    assert remaining() == DEFAULT_TIMEOUT


def test_inner_limit_never_extends_the_outer(clock):
    """A link's own share is cut by what the call has left, and ends with its block."""
    with time_limit(5):
        with time_limit(2):
            assert remaining() == 2
        assert remaining() == 5
        clock.now += 4
        with time_limit(3):
            assert remaining() == 1


def test_limit_ends_with_an_error(clock):
    """A block that fails takes its limit with it."""
    with pytest.raises(ZeroDivisionError), time_limit(1):
        _ = 1 / 0
    assert remaining() == DEFAULT_TIMEOUT


def test_limit_is_of_its_thread_and_of_who_inherits_its_context(clock):
    """Another thread has its own time; one that is given the context has what is left."""
    seen = []
    with time_limit(2):
        context = contextvars.copy_context()
        for run in (lambda: seen.append(remaining()), lambda: context.run(lambda: seen.append(remaining()))):
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
    assert seen == [DEFAULT_TIMEOUT, 2]


def test_limit_goes_with_a_task():
    """`asyncio.to_thread` carries it into the thread that does the I/O."""

    async def ask():
        with time_limit(2):
            return await asyncio.to_thread(remaining)

    assert 0 < asyncio.run(ask()) <= 2


def test_capability_is_there_when_its_methods_are():
    """Each protocol is a set of names; no store has to inherit."""

    class Least:
        def read(self, path): ...
        def close(self): ...

    least, all_of_it = Least(), MemoryStore()
    optional = [ListableStore, WritableStore, CheckedStore, VersionedStore, BulkStore, ProbedStore, LocalStore]
    assert isinstance(least, SecretStore)
    assert not any(isinstance(least, capability) for capability in [*optional, KeyedStore])
    assert all(isinstance(all_of_it, capability) for capability in optional)
    assert not isinstance(object(), SecretStore)


def test_no_two_capabilities_share_a_method():
    """A store never has a capability by accident of a name."""
    own = [
        {name for name in vars(capability) if not name.startswith("_")}
        for capability in (
            SecretStore,
            KeyedStore,
            ListableStore,
            WritableStore,
            CheckedStore,
            VersionedStore,
            BulkStore,
        )
    ]
    assert sum(map(len, own)) == len(set().union(*own))
