"""Asynchronous stores: their coroutines run in one event loop of the store, for all callers."""

import asyncio
import subprocess
import sys
import textwrap
import threading
from contextlib import suppress
from functools import partial

import pytest

from programs.hanging_process import output_of
from strongroom import Secret, SecretsManager
from strongroom._boundary.guard import GuardedStore
from strongroom.errors import (
    PermissionDeniedError,
    PluginError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    WriteOutcomeUnknownError,
)
from strongroom.store import (
    AsyncSecretStore,
    Health,
    SecretStore,
    Traits,
    asynchronous,
    remaining,
    time_limit,
)
from strongroom.store.memory import MemoryStore
from support.clock import LONG

SECRET = {"key": "value"}


class Client:
    """A client that belongs to the event loop in which it was made, like most."""

    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.closed = False

    async def request(self):
        assert asyncio.get_running_loop() is self.loop
        await asyncio.sleep(0)

    async def close(self):
        assert asyncio.get_running_loop() is self.loop
        self.closed = True


class Store(AsyncSecretStore):
    """Secrets in memory, behind a client. `faults` maps a path to a function that its read calls."""

    def __init__(self, **faults):
        self.held = {"a/b": SECRET, "a/c": {"key": "other"}}
        self.faults = faults
        self.reads, self.threads, self.clients = [], [], []

    @property
    def client(self):
        if not self.clients:
            self.clients.append(Client())
        return self.clients[0]

    async def aread(self, path):
        self.reads.append(path)
        self.threads.append(threading.current_thread())
        await self.client.request()
        if (fault := self.faults.get(path.replace("/", "_"))) is not None:
            fault = fault()
            if asyncio.iscoroutine(fault):
                return await fault
            return fault
        if path not in self.held:
            raise SecretNotFoundError(path)
        return Secret(path, self.held[path])

    async def aclose(self):
        if self.clients:
            await self.client.close()


class Writable(Store):
    async def alist_entries(self, prefix):
        for path in sorted(self.held):
            if path.startswith(f"{prefix}/"):
                await self.client.request()
                yield path.removeprefix(f"{prefix}/")

    async def awrite(self, path, data):
        if data == {"hang": "y"}:
            await asyncio.Event().wait()
        self.held[path] = dict(data)

    async def adelete(self, path):
        if self.held.pop(path, None) is None:
            raise SecretNotFoundError(path)

    async def aprobe(self):
        return Health(ok=True, detail="asynchronous")


@pytest.fixture(autouse=True)
def _limits(monkeypatch):
    monkeypatch.setattr(asynchronous, "GRACE", 0.0)
    monkeypatch.setattr(asynchronous, "CLOSE_LIMIT", 10.0)


# --- for async functions ----------------------------------------------------------------------------------------------


def test_one_loop_serves_tasks_of_several_loops_and_blocking_callers(managed):
    """So a client with connections is made once. The read is cached."""
    store = Store()
    manager = managed(store)

    async def main(path, expected):
        assert await manager.aget_secret(path, "key") == expected
        assert await manager.aget_secret(path) == {"key": expected}

    asyncio.run(main("a/b", "value"))
    asyncio.run(main("a/c", "other"))
    assert manager.get_secret("a/b", "key", fresh=True) == "value"
    assert store.reads == ["a/b", "a/c", "a/b"]
    assert len(store.clients) == 1
    (thread,) = set(store.threads)
    assert thread is not threading.current_thread()
    assert thread.daemon
    manager.close()
    thread.join(LONG)
    assert not thread.is_alive()
    assert store.client.closed


def test_a_batch_reads_sixteen_at_a_time():
    """In the order of the paths."""
    most = now = 0

    class Counting(Store):
        async def aread(self, path):
            nonlocal most, now
            now += 1
            most = max(most, now)
            for _ in range(3):
                await asyncio.sleep(0)
            now -= 1
            return Secret(path, {"own": path})

    paths = [f"a/{number}" for number in range(40)]
    guarded = GuardedStore(Counting(), "corp")
    assert [(path, secret.data["own"]) for path, secret in guarded.read_many(paths)] == [(path, path) for path in paths]
    guarded.close()
    assert 1 < most <= 16


def test_a_thousand_tasks_share_one_read(managed):
    store = Store()
    manager = managed(store)

    async def main():
        return await asyncio.gather(*(manager.aget_secret("a/b", "key") for _ in range(1000)))

    assert set(asyncio.run(main())) == {"value"}
    assert store.reads == ["a/b"]


@pytest.mark.parametrize("ttl", [300, 0])
def test_a_fresh_read_is_asked_once(managed, ttl):
    """Also of a manager that caches nothing."""
    store = Store()
    manager = managed(store, cache_ttl=ttl)

    async def main():
        for _ in range(2):
            assert await manager.aget_secret("a/b", "key", fresh=True) == "value"

    asyncio.run(main())
    assert store.reads == ["a/b"] * 2


@pytest.mark.parametrize("ttl", [300, 0])
def test_an_absence_goes_on_to_the_next_link(managed, ttl):
    """That of an asynchronous store, then of another one."""
    first, second = Store(), Store()
    second.held["only/here"] = {"key": "second"}
    manager = managed(first, second, cache_ttl=ttl)
    assert asyncio.run(manager.aget_secret("only/here", "key")) == "second"
    assert (first.reads, second.reads) == (["only/here"], ["only/here"])
    with pytest.raises(SecretNotFoundError):
        asyncio.run(manager.aget_secret("no/where", "key"))


def test_a_denial_ends_the_read(managed):
    """It is asked once, and raised as it is."""

    def deny():
        raise PermissionDeniedError("a/b", "by the service")

    store = Store(a_b=deny)
    manager = managed(store, MemoryStore())
    with pytest.raises(PermissionDeniedError, match="by the service"):
        asyncio.run(manager.aget_secret("a/b", "key"))
    assert store.reads == ["a/b"]


def test_an_outage_goes_on_to_the_next_link_and_opens_the_breaker(managed):
    """A local store answers at once; the next read does not ask the first one again."""

    def fail():
        raise ConnectionError

    store, memory = Store(a_b=fail), MemoryStore()
    memory.write("a/b", {"key": "fallback"})
    manager = managed(store, memory)
    for _ in range(2):
        assert asyncio.run(manager.aget_secret("a/b", "key")) == "fallback"
    assert store.reads == ["a/b"]


def test_a_store_with_threads_behind_an_asynchronous_one(managed):
    store = Store()
    memory = MemoryStore()
    memory.traits = Traits()
    memory.write("x/y", {"key": "threads"})
    manager = managed(store, memory)
    assert asyncio.run(manager.aget_secret("x/y", "key")) == "threads"
    assert store.reads == ["x/y"]


def test_a_read_that_hangs_costs_its_deadline(managed):
    """The coroutine is cancelled. The loop keeps running."""
    begun, ended = [], []

    class Hanging(Store):
        async def aread(self, path):
            begun.append(path)
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(path)

    manager = managed(Hanging())

    async def main():
        while not begun:  # a busy machine may give it up before its first step
            with time_limit(0.05), pytest.raises(StoreUnavailableError, match="time"):
                await manager.aget_secret("a/b", "key")

    asyncio.run(main())
    manager.close()
    assert ended == begun


def test_a_read_that_ignores_its_cancellation_is_not_awaited(managed):
    """Nobody waits for it."""
    free = []

    async def stubborn():
        while not free:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    manager = managed(Store(a_b=stubborn))

    async def main():
        try:
            with time_limit(0.05), pytest.raises(StoreUnavailableError, match="time"):
                await manager.aget_secret("a/b", "key")
        finally:
            free.append(True)

    asyncio.run(main())


def exits():
    raise SystemExit(0)


def cancels():
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (exits, "it raised SystemExit"),
        (cancels, "it raised CancelledError"),
        (lambda: {"canary": 1}["x"], "it raised KeyError"),
        (lambda: "canary", "read() returned str, expected Secret"),
    ],
)
def test_an_asynchronous_store_cannot_break_its_host(managed, fault, says):
    """Neither in the caller's loop nor for a blocking caller. The next read is answered."""
    store = Store(a_b=fault)
    manager = managed(store)

    async def main():
        with pytest.raises(StoreError) as caught:
            await manager.aget_secret("a/b", "key")
        assert await manager.aget_secret("a/c", "key", fresh=True) == "other"
        return caught.value

    with pytest.raises(StoreError) as caught:
        manager.get_secret("a/b", "key")
    for error in (asyncio.run(main()), caught.value):
        assert says in str(error)
        assert f"{__name__}.Store" in str(error)
        assert "canary" not in str(error)
    assert manager.get_secret("a/c", "key", fresh=True) == "other"


def test_a_caller_that_is_cancelled_leaves_the_read_to_the_others(managed):
    """The read fills the cache."""
    go = []
    store = Store()

    async def wait():
        while not go:  # noqa: ASYNC110  # of this loop alone
            await asyncio.sleep(0)
        return Secret("a/b", SECRET)

    store.faults["a_b"] = wait
    manager = managed(store)

    async def main():
        first, second = (asyncio.create_task(manager.aget_secret("a/b", "key")) for _ in range(2))
        while not store.reads:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        go.append(True)
        assert first.cancelled()
        assert await second == "value"

    asyncio.run(main())
    assert store.reads == ["a/b"]


# --- for blocking callers ---------------------------------------------------------------------------------------------


def test_capabilities_are_those_of_the_asynchronous_methods(managed):
    """`Store` can be read alone, `Writable` listed, written and probed too."""
    assert GuardedStore(Store(), "store").capabilities == frozenset()
    guarded = GuardedStore(Writable(), "store")
    assert guarded.capabilities == {"listable", "writable", "probed"}
    assert list(guarded.list_entries("a")) == ["b", "c"]
    names = guarded.list_entries("a")
    assert next(names) == "b"
    names.close()
    guarded.write("a/d", SECRET)
    assert guarded.read("a/d").data == SECRET
    guarded.delete("a/d")
    with pytest.raises(SecretNotFoundError):
        guarded.delete("a/d")
    assert guarded.probe().detail == "asynchronous"
    guarded.close()
    manager = managed(Writable())
    manager.set_secret("x/y", SECRET)
    assert asyncio.run(manager.alist_secrets("x")) == ["y"]


def test_a_list_that_overruns_is_an_outage(monkeypatch):
    """Also if its coroutine has not noticed yet that it is cancelled: then its generator cannot be closed."""

    class Slow(Store):
        async def alist_entries(self, prefix):
            await asyncio.Event().wait()
            yield "never"

    monkeypatch.setattr(asynchronous._Call, "give_up", lambda _: None)  # too late, each time
    guarded = GuardedStore(Slow(), "slow")
    with time_limit(0.1), pytest.raises(StoreUnavailableError, match="did not answer in time"):
        list(guarded.list_entries("a"))
    guarded.close()


def test_blocking_calls_have_a_deadline():
    """A write that overruns has an unknown outcome."""
    guarded = GuardedStore(Writable(a_b=lambda: asyncio.Event().wait()), "corp")
    with time_limit(0.05), pytest.raises(StoreUnavailableError, match=r"store corp.*in time"):
        guarded.read("a/b")
    with time_limit(0.05), pytest.raises(WriteOutcomeUnknownError):
        guarded.write("a/b", {"hang": "y"})
    assert guarded.read("a/c").data == {"key": "other"}
    guarded.close()


def test_the_deadline_reaches_the_coroutine():
    """`remaining()` is that of the blocking caller."""
    seen = []
    guarded = GuardedStore(Store(a_b=lambda: seen.append(remaining())), "corp")
    with time_limit(100), pytest.raises(StoreError, match="NoneType"):
        guarded.read("a/b")
    assert round(seen[0], -1) == 100
    guarded.close()


def test_a_process_ends_while_its_store_hangs():
    """The thread of the loop is a daemon."""
    assert output_of("asynchronous", "exit") == "unavailable\n" * 6


FORK = """
    import asyncio, os
    from strongroom import Secret, SecretsManager
    from strongroom.store import AsyncSecretStore

    class Store(AsyncSecretStore):
        async def aread(self, path):
            return Secret(path, {"key": "value"})

        async def aclose(self):
            pass

    manager = SecretsManager(chain=[Store()])
    manager.get_secret("a/b", "key")
    pid = os.fork()
    found = [manager.get_secret("a/c", "key"), asyncio.run(manager.aget_secret("a/d", "key"))]
    manager.close()
    if pid:
        assert os.waitpid(pid, 0)[1] == 0
        print(*found)
    else:
        os._exit(0 if found == ["value", "value"] else 1)
"""


def test_the_child_of_a_fork_has_a_loop_of_its_own():
    """It has none of its parent's threads, and leaves the parent's loop alone."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(FORK)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert run.stdout == "value value\n", run.stderr


# --- stores that only look asynchronous -------------------------------------------------------------------------------


class OnlyAsync:
    async def read(self, path): ...

    def close(self): ...


def test_a_coroutine_in_place_of_a_method_is_refused():
    """The message names the method, the class and what to do."""
    assert isinstance(OnlyAsync(), SecretStore)
    with pytest.raises(PluginError) as caught:
        GuardedStore(OnlyAsync(), "corp")
    assert str(caught.value) == (
        f"Store corp: read() of {__name__}.OnlyAsync is asynchronous. "
        "Derive an asynchronous store from strongroom.store.AsyncSecretStore, and define aread and aclose"
    )
    with SecretsManager(chain=[OnlyAsync()]) as manager, pytest.raises(PluginError, match="is asynchronous"):
        manager.get_secret("a/b", "key")


def test_a_method_that_returns_no_coroutine_is_a_bug():
    """`def aread` without async."""

    class Plain(AsyncSecretStore):
        def aread(self, path):
            return Secret(path, SECRET)

        async def aclose(self): ...

    guarded = GuardedStore(Plain(), "corp")
    with pytest.raises(StoreError, match="it raised TypeError"):
        guarded.read("a/b")
    guarded.close()


def test_the_thread_of_a_closed_store_ends_without_an_exception():
    """Also if its client's task is still ending when `close` asks the loop to end for the second time."""
    ending, asked_twice = threading.Event(), threading.Event()

    class Lingering(Store):
        async def aread(self, path):
            async def linger():
                try:
                    await asyncio.Event().wait()
                finally:
                    ending.set()
                    await asyncio.to_thread(asked_twice.wait, LONG)

            self.task = asyncio.create_task(linger())
            return await super().aread(path)

        async def aclose(self):
            loop = asyncio.get_running_loop()
            monkeypatch.setattr(loop, "call_soon_threadsafe", partial(call, loop.call_soon_threadsafe))

    def call(schedule, *arguments):
        schedule(*arguments)
        if threading.current_thread() is caller:
            if ending.is_set():
                asked_twice.set()
            assert ending.wait(LONG)

    caller = threading.current_thread()
    store = Lingering()
    store.read("a/b")
    (thread,) = (each for each in threading.enumerate() if each.name == "store Lingering")
    with pytest.MonkeyPatch.context() as monkeypatch:
        store.close()
        thread.join(LONG)
    assert not thread.is_alive()
