"""The first calls of a process: threads that need a store at the same time share one attempt to open it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from strongroom._chain.chain import Chain
from strongroom._chain.connection import StoreConnection
from strongroom._chain.link import Link
from strongroom._config import CacheConfig, LinkConfig
from strongroom.errors import AuthenticationError, StoreUnavailableError, StrongroomError
from strongroom.store import SecretStore, time_limit
from strongroom.store.deadline import fail_fast
from support.clock import LONG
from support.scenarios.load import wait_until
from support.stores import RemoteStore

CALLERS = 20


class Server:
    """Opens a store. Each opening waits for `go`, after `entered` says that it has begun.

    The first openings fail with `faults`, in this order.
    """

    def __init__(self) -> None:
        self.faults: list[Exception] = []
        self.openings = 0
        self.entered = threading.Semaphore(0)
        self.go = threading.Event()

    def __call__(self) -> SecretStore:
        fault = self.faults[self.openings] if self.openings < len(self.faults) else None
        self.openings += 1
        self.entered.release()
        assert self.go.wait(LONG)
        if fault is not None:
            raise fault
        return RemoteStore({"db": {"url": "v"}})


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.go.set()


@pytest.fixture
def connection(server: Server) -> StoreConnection:
    return StoreConnection("vault", server, 3.0)


@pytest.fixture
def pool(server: Server) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(CALLERS) as pool:
        yield pool
        server.go.set()


def wait_for_joiners(connection: StoreConnection, number: int) -> None:
    """Return when this number of threads waits for the attempt under way. Nothing public tells that a thread waits."""
    wait_until(lambda: len(connection._attempt._waiters) == number)  # type: ignore[union-attr]


def begin(
    pool: ThreadPoolExecutor, server: Server, connection: StoreConnection, call: Callable[[], object]
) -> list[Future[object]]:
    """Begin a call that opens the store in one thread, then the same call in all others, which wait for it."""
    first = pool.submit(call)
    assert server.entered.acquire(timeout=LONG)
    others = [pool.submit(call) for _ in range(CALLERS - 1)]
    wait_for_joiners(connection, CALLERS - 1)
    return [first, *others]


def test_threads_share_one_failed_opening(pool: ThreadPoolExecutor, server: Server) -> None:
    """An outage takes them no longer than one of them alone. The next call uses a server that is back."""
    server.faults.append(StoreUnavailableError(reason="refused"))
    link = Link(LinkConfig("vault"), server, CacheConfig())
    chain = Chain([link])
    reads = begin(pool, server, link.connection, lambda: chain.resolve("db", "url"))
    server.go.set()
    errors = [read.exception(LONG) for read in reads]
    assert [str(error) for error in errors if isinstance(error, StoreUnavailableError)] == [str(errors[0])] * CALLERS
    assert "refused" in str(errors[0])
    assert len(set(map(id, errors))) == CALLERS  # raising writes to the object
    assert server.openings == 1
    assert link.connection.breaker.is_open
    assert chain.resolve("db", "url").value == "v"
    assert server.openings == 2


@pytest.mark.parametrize("denied_again", [False, True])
def test_a_denied_opening_is_not_the_answer_to_a_later_call(
    pool: ThreadPoolExecutor, server: Server, connection: StoreConnection, denied_again: bool
) -> None:
    """The token may have been replaced before that call. All that came meanwhile make one more attempt together."""
    server.faults.append(AuthenticationError(reason="expired"))
    if denied_again:
        server.faults.append(AuthenticationError(reason="replaced"))
    first, *later = begin(pool, server, connection, connection.open)
    server.go.set()
    with pytest.raises(AuthenticationError, match="expired"):
        first.result(LONG)
    if denied_again:
        assert {type(call.exception(LONG)) for call in later} == {AuthenticationError}
        assert all("replaced" in str(call.exception()) for call in later)
    else:
        assert {call.result(LONG) for call in later} == {connection.store}
    assert server.openings == 2


def test_a_patient_call_does_not_take_the_failure_of_a_hasty_one(
    pool: ThreadPoolExecutor, server: Server, connection: StoreConnection
) -> None:
    """That one ended at the first refused connection, since another link could answer it."""

    def hasty() -> object:
        with fail_fast():
            return connection.open()

    server.faults.append(StoreUnavailableError(reason="refused"))
    fast = pool.submit(hasty)
    assert server.entered.acquire(timeout=LONG)
    also_fast, patient = pool.submit(hasty), pool.submit(connection.open)
    wait_for_joiners(connection, 2)
    server.go.set()
    assert patient.result(LONG) is connection.store
    assert isinstance(fast.exception(LONG), StoreUnavailableError)
    assert isinstance(also_fast.exception(LONG), StoreUnavailableError)
    assert server.openings == 2


def test_a_call_leaves_an_opening_at_its_own_deadline(
    pool: ThreadPoolExecutor, server: Server, connection: StoreConnection
) -> None:
    first = pool.submit(connection.open)
    assert server.entered.acquire(timeout=LONG)
    with time_limit(0), pytest.raises(StoreUnavailableError, match="still being opened"):
        connection.open()
    server.go.set()
    assert first.result(LONG) is connection.open()
    assert server.openings == 1


def test_the_end_of_one_callers_time_is_no_answer_for_the_others(
    pool: ThreadPoolExecutor, server: Server, connection: StoreConnection
) -> None:
    """They make another attempt, in the time that they have left."""

    def without_time() -> object:
        with time_limit(0):
            return connection.open()

    first = pool.submit(without_time)
    assert server.entered.acquire(timeout=LONG)
    second = pool.submit(connection.open)
    assert isinstance(first.exception(LONG), StoreUnavailableError)
    assert server.entered.acquire(timeout=LONG)
    server.go.set()
    assert second.result(LONG) is connection.store


def test_an_interrupted_opening_is_repeated_by_those_who_wait(
    pool: ThreadPoolExecutor, server: Server, connection: StoreConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in one thread is not a failure of the store."""
    begun, try_to_open = threading.Event(), connection._try_to_open

    def interrupted(_attempt: object) -> None:
        monkeypatch.setattr(connection, "_try_to_open", try_to_open)
        begun.set()
        wait_for_joiners(connection, 1)
        raise KeyboardInterrupt

    monkeypatch.setattr(connection, "_try_to_open", interrupted)
    server.go.set()
    first = pool.submit(connection.open)
    assert begun.wait(LONG)
    second = pool.submit(connection.open)
    assert isinstance(first.exception(LONG), KeyboardInterrupt)
    assert second.result(LONG) is connection.store


def test_the_child_of_a_fork_does_not_wait_for_an_opening_of_its_parent(
    pool: ThreadPoolExecutor, server: Server, connection: StoreConnection
) -> None:
    """The thread that opens the store does not exist there."""
    first = pool.submit(connection.open)
    assert server.entered.acquire(timeout=LONG)
    connection.reset()  # as in the child
    second = pool.submit(connection.open)
    assert server.entered.acquire(timeout=LONG)
    server.go.set()
    assert first.result(LONG) is not second.result(LONG)


def test_a_close_during_an_opening_refuses_all_who_wait(
    pool: ThreadPoolExecutor, server: Server, connection: StoreConnection
) -> None:
    calls = begin(pool, server, connection, connection.open)
    connection.close()
    server.go.set()
    for call in calls:
        error = call.exception(LONG)
        assert isinstance(error, StrongroomError)
        assert "closed" in str(error)
    assert server.openings == 1
    assert connection.store is None
