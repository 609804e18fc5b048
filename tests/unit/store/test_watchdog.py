"""A store that hangs, drips or blocks costs its caller the deadline, and neither more time nor the end of the process.

The stores here wait for an event that is never set: a call that returns at all has been given up.
"""

import asyncio
import itertools
import threading
import time
from collections import deque
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from programs.hanging_process import output_of
from strongroom import Secret, SecretsManager
from strongroom._boundary import watchdog
from strongroom._boundary.guard import GuardedStore
from strongroom._boundary.watchdog import MOST_OVERDUE, Watchdog
from strongroom._manager.manager import parts_of
from strongroom.errors import (
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    WriteOutcomeUnknownError,
)
from strongroom.store import Traits, concurrency, deadline, remaining, time_limit, within_deadline
from strongroom.store.memory import MemoryStore
from support.clock import LONG, Clock

LIMIT = 0.05
SECRET = {"key": "value"}


class Hanging(MemoryStore):
    """A store whose methods hang if they are named in `hangs`; a generator hangs at its second item."""

    traits = Traits()

    def __init__(self, *hangs):
        super().__init__()
        for number in range(3):
            super().write(f"a/{number}", SECRET)
        self.hangs = hangs
        self.free = threading.Event()
        self.threads = set()

    def _hang(self, method):
        self.threads.add(threading.current_thread())
        if method in self.hangs:
            self.free.wait()

    def read(self, path):
        self._hang("read")
        return super().read(path)

    def write(self, path, data):
        self._hang("write")
        return super().write(path, data)

    def delete(self, path):
        self._hang("delete")
        super().delete(path)

    def versions(self, path):
        self._hang("versions")
        return super().versions(path)

    def write_metadata(self, path, metadata):
        self._hang("write_metadata")
        super().write_metadata(path, metadata)

    def probe(self):
        self._hang("probe")
        return super().probe()

    def _each(self, method, items):
        for number, item in enumerate(items):
            if number == 1:
                self._hang(method)
            yield item

    def list_entries(self, prefix):
        return self._each("list_entries", super().list_entries(prefix))

    def read_many(self, paths):
        return self._each("read_many", super().read_many(paths))

    def write_many(self, items):
        return self._each("write_many", ((path, super(Hanging, self).write(path, data)) for path, data in items))

    def close(self):
        self._hang("close")


READS = {
    "read": lambda store: store.read("a/0"),
    "versions": lambda store: store.versions("a/0"),
    "probe": lambda store: store.probe(),
    "list_entries": lambda store: list(store.list_entries("a")),
    "read_many": lambda store: list(store.read_many(["a/0", "a/1"])),
}
WRITES = {
    "write": lambda store: store.write("a/0", SECRET),
    "delete": lambda store: store.delete("a/0"),
    "write_metadata": lambda store: store.write_metadata("a/0", {}),
    "write_many": lambda store: list(store.write_many([("a/0", SECRET), ("a/1", SECRET)])),
}


@pytest.fixture(autouse=True)
def _no_grace(monkeypatch):
    monkeypatch.setattr(watchdog, "GRACE", 0.0)


@pytest.fixture
def hanging():
    """Return a function that opens a guarded store whose methods of these names hang. `stores` has what it guards."""
    stores = []

    def open_(*hangs):
        stores.append(Hanging(*hangs))
        return GuardedStore(stores[-1], "corp")

    open_.stores = stores
    yield open_
    for store in stores:
        store.free.set()
        for thread in store.threads - {threading.current_thread()}:
            thread.join(LONG)
            assert not thread.is_alive()


@pytest.mark.parametrize("name", READS | WRITES)
def test_call_that_hangs_ends_at_its_deadline(hanging, name):
    """A read is then unavailable, and whether a write was made is unknown."""
    store = hanging(name)
    expected = WriteOutcomeUnknownError if name in WRITES else StoreUnavailableError
    with time_limit(LIMIT), pytest.raises(StoreUnavailableError, match=r"store corp.*did not answer in time") as caught:
        (READS | WRITES)[name](store)
    assert type(caught.value) is expected


def test_one_hang_leaves_the_other_calls_alone(hanging):
    """The store answers everything else."""
    store = hanging("read")
    with time_limit(LIMIT), pytest.raises(StoreUnavailableError):
        store.read("a/0")
    assert sorted(store.list_entries("a")) == ["0", "1", "2"]


def test_store_that_hangs_for_good_gets_no_further_threads(hanging):
    """While 32 calls hang, a call is refused at once. When they have ended, the store is asked again."""
    store = hanging("read")
    (slow,) = hanging.stores
    for _ in range(MOST_OVERDUE):
        with time_limit(0), pytest.raises(StoreUnavailableError, match="in time"):
            store.read("a/0")
    while len(slow.threads) < MOST_OVERDUE:  # each hangs
        time.sleep(0.001)
    for read in (lambda: store.read("a/0"), lambda: list(store.list_entries("a"))):
        with pytest.raises(StoreUnavailableError, match="32 of its calls hang"):
            read()
    assert len(slow.threads) == MOST_OVERDUE
    slow.free.set()
    for thread in slow.threads:
        thread.join(LONG)
    assert store.read("a/0").data == SECRET


def test_opening_that_hangs_ends_at_its_deadline():
    """The opener of a plugin is given up, too."""
    free = threading.Event()
    with time_limit(LIMIT), pytest.raises(StoreUnavailableError, match=r"store corp.*did not answer in time"):
        GuardedStore.open(lambda: free.wait() and MemoryStore(), "corp")
    free.set()


def test_closing_that_hangs_is_not_awaited(hanging, caplog):
    """It goes on in the background, and a warning says so."""
    hanging("close").close()
    assert "Closing store corp failed: StoreUnavailableError" in caplog.text


def test_iterator_of_a_store_has_one_thread(hanging):
    """A connection that belongs to a thread can be used for a whole list. The iterator ends with its caller's loop."""
    store = hanging()
    seen, ended = [], []

    def entries(prefix):
        try:
            for name in ("one", "two", "three"):
                seen.append(threading.current_thread())
                yield name
        finally:
            ended.append(threading.current_thread())

    hanging.stores[0].list_entries = entries
    names = store.list_entries("")
    assert next(names) == "one"
    assert next(names) == "two"
    names.close()
    assert seen[0] is not threading.current_thread()
    assert [*seen, *ended] == [seen[0]] * 3
    seen[0].join(LONG)
    assert not seen[0].is_alive()


def test_items_of_a_bulk_call_come_from_the_caller(hanging, monkeypatch):
    """They are made in the caller's thread, which may hold locks, and their time does not count as the store's."""
    makers, clock = set(), Clock()
    monkeypatch.setattr(watchdog, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def items():
        for number in range(3):
            makers.add(threading.current_thread())
            clock.now += 100
            yield f"b/{number}", SECRET

    store = hanging()
    assert list(store.write_many(items())) == [("b/0", 1), ("b/1", 1), ("b/2", 1)]
    assert makers == {threading.current_thread()}


def test_error_of_an_item_reaches_the_caller(hanging):
    """An error of the source is raised through the store."""

    def items():
        yield "b/0", SECRET
        raise StoreError("b/1", "of the source", store="source")

    with pytest.raises(StoreError, match=r"store source.*of the source"):
        list(hanging().write_many(items()))


def test_store_keeps_its_own_errors(hanging):
    """A TimeoutError of the store itself is an outage with its name."""
    store = hanging()

    def read(path):
        raise TimeoutError

    hanging.stores[0].read = read
    with pytest.raises(StoreUnavailableError, match="TimeoutError"):
        store.read("a/0")


class LastMoment(Future):
    """The future of a call that ends just after the wait for it."""

    def result(self, timeout=None):
        if timeout is not None:
            super().result()
            raise TimeoutError
        return super().result()


def test_answer_of_the_last_moment_counts(hanging, monkeypatch):
    """A write that was made is never reported as an outage, nor an error as one."""
    for module in (concurrency, watchdog):
        monkeypatch.setattr(module, "Future", LastMoment)
    store = hanging()
    assert store.write("a/0", SECRET) == 2
    assert within_deadline(lambda: 1) == 1
    with pytest.raises(SecretNotFoundError):
        store.read("missing")


def test_stores_that_honor_their_deadline_are_called_directly():
    """They pay for no thread."""
    for traits in (Traits(honors_deadline=True), Traits(local=True)):
        store = Hanging()
        store.traits = traits
        guarded = GuardedStore(store, "corp")
        guarded.read("a/0")
        list(guarded.list_entries("a"))
        assert store.threads == {threading.current_thread()}
        assert "honors_deadline" not in guarded.capabilities


def test_deadline_of_a_step_reaches_the_store():
    """`remaining()` in a thread of the store is the caller's."""
    seen = []

    class Store(Hanging):
        def list_entries(self, prefix):
            for name in ("one", "two"):
                seen.append(remaining())
                yield name

    names = GuardedStore(Store(), "corp").list_entries("")
    for limit in (100, 50):
        with time_limit(limit):
            next(names)
    assert [round(seconds, -1) for seconds in seen] == [100, 50]


class Endless(Hanging):
    """A store whose listing never ends. Each step of it is quick."""

    traits = Traits()

    def __init__(self, traits=None):
        super().__init__()
        if traits is not None:
            self.traits = traits

    def list_entries(self, prefix):
        return (f"name{number}" for number in itertools.count())


@pytest.mark.parametrize("traits", [None, Traits(honors_deadline=True), Traits(local=True)], ids=repr)
@pytest.mark.parametrize("listing", [lambda store: store.list_entries(""), lambda store: store.walk("")])
def test_endless_listing_ends_at_the_deadline(traits, listing):
    """The deadline is that of all steps together, also of a store that says that it honors deadlines."""
    store = Endless(traits)
    with time_limit(LIMIT), pytest.raises(StoreUnavailableError, match=r"store corp.*did not answer in time"):
        deque(listing(GuardedStore(store, "corp")), 0)


def test_slow_steps_share_the_deadline(monkeypatch):
    """No step begins past the deadline and its grace, however short it is."""
    clock = Clock()
    monkeypatch.setattr(watchdog, "GRACE", 0.25)
    monkeypatch.setattr(watchdog, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(deadline, "time", SimpleNamespace(monotonic=lambda: clock.now))

    class Slow(Hanging):
        def list_entries(self, prefix):
            for number in range(100):
                clock.now += 0.2
                yield f"name{number}"

    seen = []
    with time_limit(1), pytest.raises(StoreUnavailableError, match="in time"):
        seen.extend(GuardedStore(Slow(), "corp").list_entries(""))
    assert len(seen) == 7


def test_listing_without_a_deadline_has_the_limit_for_each_step(monkeypatch):
    """A migration lists for as long as the store makes progress."""
    clock = Clock()
    monkeypatch.setattr(watchdog, "time", SimpleNamespace(monotonic=lambda: clock.now))

    class Slow(Hanging):
        def list_entries(self, prefix):
            for number in range(100):
                clock.now += 2
                yield f"name{number}"

    store = Slow()
    front = GuardedStore(store, "corp", Watchdog(store, "corp", limit=3))
    assert len(list(front.list_entries(""))) == 100


def test_long_listing_changes_threads_seldom():
    """Its first items come one by one. Later steps take more, and an error comes after the items before it."""
    counted = []

    class Long(Hanging):
        def list_entries(self, prefix):
            for number in range(20_000):
                counted.append(number)
                yield f"name{number}"
            raise PermissionDeniedError(prefix)

    names = GuardedStore(Long(), "corp").list_entries("")
    assert next(names) == "name0"
    assert counted == [0]
    rest = []
    with pytest.raises(PermissionDeniedError):
        rest.extend(names)
    assert rest == [f"name{number}" for number in range(1, 20_000)]


# --- the manager ------------------------------------------------------------------------------------------------------


class Remote:
    """A store that hangs in every read."""

    def __init__(self):
        self.free = threading.Event()

    def read(self, path):
        self.free.wait()
        return Secret(path, SECRET)

    def close(self):
        self.free.wait()


def test_event_loop_goes_on_while_a_store_hangs():
    """`aget_secret` ends at its deadline, and the loop ran in the meantime."""
    store, turns = Remote(), []

    async def turn():
        while True:
            turns.append(1)
            await asyncio.sleep(0.01)

    async def main():
        beside = asyncio.create_task(turn())
        async with SecretsManager(chain=[store, "env"]) as manager:
            parts_of(manager).chain.links[0].connection.timeout = LIMIT
            with pytest.raises(StoreUnavailableError), time_limit(4 * LIMIT):  # the chain asks the store once more
                await manager.aget_secret("a/b", "key")
            store.free.set()  # `close` would wait for the store, too
        beside.cancel()

    asyncio.run(main())
    assert turns


@pytest.mark.parametrize("ending", ["close", "exit"])
def test_process_ends_although_its_store_hangs(ending):
    """Whether the manager is closed or not."""
    assert output_of(ending) == "unavailable\n" * 6


# --- for authors ------------------------------------------------------------------------------------------------------


def test_within_deadline_returns_what_the_client_returns():
    """It raises what the client raises, a TimeoutError too."""
    assert within_deadline(lambda: 1) == 1

    def fail():
        raise TimeoutError("of the client")

    with pytest.raises(TimeoutError, match="of the client"):
        within_deadline(fail)


def test_within_deadline_ends_a_client_that_hangs():
    """`abort` frees its thread."""
    closed = threading.Event()
    with time_limit(LIMIT), pytest.raises(StoreUnavailableError, match="did not answer in time"):
        within_deadline(closed.wait, abort=closed.set)
    assert closed.is_set()


def test_an_error_of_a_plugin_of_strongroom_is_copied_and_gets_path_and_store():
    """A copy has no frames; an error of another class, or of another plugin, is built anew from its fields."""
    error = SecretNotFoundError(None, "it is not there")
    failure = Watchdog(MemoryStore(), "memory").translated(error, "app/db")
    assert failure is not error
    assert (type(failure), failure.path, failure.store) == (SecretNotFoundError, "app/db", "memory")
    assert (failure.reason, failure.__traceback__) == ("it is not there", None)


def test_an_interrupt_of_its_start_leaves_no_thread(monkeypatch):
    """A signal may come when the thread of a listing has started, and its caller does not know it yet."""
    started = []

    def interrupted(call, name):
        started.append(threading.Thread(target=call, name=name, daemon=True))
        started[0].start()
        raise KeyboardInterrupt

    monkeypatch.setattr(watchdog, "in_daemon", interrupted)
    with pytest.raises(KeyboardInterrupt):
        watchdog.Stream("s", [])
    started[0].join(LONG)
    assert not started[0].is_alive()
