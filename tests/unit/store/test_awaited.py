"""Async functions with an asynchronous store: every operation, its failures and its deadline."""

import asyncio
import threading

import pytest

from strongroom import Secret
from strongroom._chain import connection
from strongroom.errors import (
    ConflictError,
    InvalidPathError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    WriteOutcomeUnknownError,
)
from strongroom.store import Health, asynchronous, time_limit
from strongroom.store.memory import MemoryStore
from support.clock import LONG
from support.plugins.awaited_stores import Checked, Store, hang


@pytest.fixture(autouse=True)
def _limits(monkeypatch):
    monkeypatch.setattr(asynchronous, "GRACE", 0.5)  # a busy machine begins each call before it is given up


@pytest.mark.parametrize("kind", [Store, Checked])
def test_every_operation_runs_in_the_loop_of_the_store(managed, kind):
    """Batches, lists, writes, merges and deletes, of a store with check-and-set and of one without."""
    store = kind()
    manager = managed(store)

    async def main():
        await manager.aset_secret("a/b", {"user": "u"})
        await manager.aset_secret("a/b", {"password": "p"})
        await manager.aset_secret("a/c/d", {"key": "v"}, replace=True)
        assert await manager.aget_secrets(["a/b", "a/c/d"]) == {
            "a/b": {"user": "u", "password": "p"},
            "a/c/d": {"key": "v"},
        }
        assert await manager.alist_secrets("a") == ["b", "c/"]
        assert await manager.alist_secrets(recursive=True) == ["a/b", "a/c/d"]
        manager.invalidate()
        assert set(await manager.apreload("a")) == {"a/b", "a/c/d"}
        assert await manager.ainterpolate("strongroom://a/b#user:strongroom://a/c/d#key") == "u:v"
        await manager.adelete_secret("a/b")
        with pytest.raises(SecretNotFoundError):
            await manager.aget_secret("a/b")
        with pytest.raises(SecretNotFoundError):
            await manager.adelete_secret("a/b")

    asyncio.run(main())
    assert len(store.threads) == 1
    assert threading.current_thread() not in store.threads


class Probed(Store):
    async def aprobe(self):
        return await self._called("aprobe", "") or Health(ok=True, detail="asynchronous")


def test_health_is_that_of_the_asynchronous_methods(managed):
    """Of all stores at the same time: each of these waits for the other."""

    both = threading.Barrier(2, timeout=LONG)

    async def wait():
        await asyncio.to_thread(both.wait)

    manager = managed(Probed(aprobe=wait), Probed(aprobe=wait))
    assert [health.detail for health in asyncio.run(manager.ahealth()).values()] == ["asynchronous"] * 2


def test_a_probe_that_hangs_or_returns_nonsense_hides_no_other(managed):
    """It costs the deadline, and is the failure of its store."""

    async def nonsense():
        return "canary"

    async def main():
        with time_limit(1.0):  # the sound ones answer in time on a busy machine too
            return await manager.ahealth()

    manager = managed(Probed(), Probed(aprobe=hang), Probed(aprobe=nonsense), Store(), MemoryStore())
    sound, hung, wrong, unprobed, memory = asyncio.run(main()).values()
    assert (sound.ok, hung.ok, wrong.ok, unprobed.ok, memory.ok) == (True, False, False, True, True)
    assert isinstance(hung.error, StoreUnavailableError)
    assert "probe() returned str, expected Health" in str(wrong.error)
    assert "canary" not in f"{wrong}"


def test_a_batch_reads_each_secret_once(managed):
    """At the same time as another batch and a single read; then the cache has it."""
    store = Store()
    for name in "xyz":
        store.memory.write(f"a/{name}", {"key": name})
    manager = managed(store)

    async def main():
        batches = manager.aget_secrets(["a/x", "a/y"]), manager.aget_secrets(["a/y", "a/z"])
        first, second, single = await asyncio.gather(*batches, manager.aget_secret("a/z", "key"))
        assert (set(first), set(second), single) == ({"a/x", "a/y"}, {"a/y", "a/z"}, "z")
        await manager.aget_secrets(["a/x", "a/y", "a/z"])

    asyncio.run(main())
    assert sorted(store.calls) == [("aread", "a/x"), ("aread", "a/y"), ("aread", "a/z")]


def test_a_batch_goes_on_to_the_next_link(managed):
    """For the paths that the first one lacks. An absence, a denial and a secret stay three answers."""
    store = Store()
    store.memory.write("a/x", {"key": "first"})
    second = MemoryStore()
    second.write("a/y", {"key": "second"})

    async def deny():
        raise PermissionDeniedError("a/x", "by the service")

    manager = managed(store, second)
    batch = asyncio.run(manager.aget_secrets(["a/x", "a/y", "a/z"]))
    assert batch == {"a/x": {"key": "first"}, "a/y": {"key": "second"}}
    assert isinstance(batch.errors["a/z"], SecretNotFoundError)
    store.faults["aread"] = deny
    batch = asyncio.run(manager.aget_secrets(["a/x"], fresh=True))
    assert isinstance(batch.errors["a/x"], PermissionDeniedError)
    with pytest.raises(PermissionDeniedError):
        asyncio.run(manager.aget_secrets(["a/x"], strict=True))


def test_a_batch_that_hangs_costs_its_deadline_once(managed):
    """Paths that are not requested before it are errors too. The cached secret is served."""
    store = Store()
    for number in range(40):
        store.memory.write(f"a/{number}", {"key": "v"})
    manager = managed(store)

    async def main():
        await manager.aget_secret("a/0")
        store.faults["aread"] = hang
        with time_limit(0.1):
            return await manager.aget_secrets([f"a/{number}" for number in range(40)])

    batch = asyncio.run(main())
    assert set(batch) == {"a/0"}
    assert len(batch.errors) == 39
    assert all(isinstance(error, StoreUnavailableError) for error in batch.errors.values())
    assert all(error.store == "store" for error in batch.errors.values())
    assert len(store.calls) < 40


@pytest.mark.parametrize("kind", [Store, Checked])
def test_tasks_that_merge_at_the_same_time_lose_nothing(managed, kind):
    """They take turns, also a thread among them."""
    store = kind()
    manager = managed(store)

    async def main():
        tasks = [manager.aset_secret("a/b", {f"key{number}": "v"}) for number in range(8)]
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert len(store.memory.read("a/b").data) == 8


def test_a_merge_is_repeated_after_a_conflict(managed):
    """The second attempt keeps the keys of the other writer."""
    store = Checked()
    store.memory.write("a/b", {"mine": "old", "theirs": "old"})
    manager = managed(store)

    async def interfere():
        store.faults.clear()
        store.memory.write("a/b", {"mine": "old", "theirs": "new"})

    store.faults["awrite_if"] = interfere
    asyncio.run(manager.aset_secret("a/b", {"mine": "new"}))
    assert store.memory.read("a/b").data == {"mine": "new", "theirs": "new"}


def test_a_new_secret_that_would_hide_a_lower_one_is_refused(managed):
    """The lower store may be asynchronous too, or need a thread."""
    for lower in (Store(), MemoryStore()):
        (lower.memory if isinstance(lower, Store) else lower).write("a/b", {"lower": "v"})
        manager = managed(Store(), lower)
        with pytest.raises(ConflictError, match="hide the keys lower"):
            asyncio.run(manager.aset_secret("a/b", {"key": "v"}))


@pytest.mark.parametrize(
    ("method", "call", "error"),
    [
        ("awrite", lambda manager: manager.aset_secret("a/b", {"key": "w"}, replace=True), WriteOutcomeUnknownError),
        ("awrite_if", lambda manager: manager.aset_secret("a/b", {"key": "w"}), WriteOutcomeUnknownError),
        ("adelete", lambda manager: manager.adelete_secret("a/b"), WriteOutcomeUnknownError),
        ("alist_entries", lambda manager: manager.alist_secrets("a"), StoreUnavailableError),
        ("alist_entries", lambda manager: manager.alist_secrets(recursive=True), StoreUnavailableError),
    ],
)
def test_an_operation_that_hangs_costs_its_deadline(managed, method, call, error):
    """Its coroutine is cancelled, and the store is named. The outcome of a change is unknown."""
    store = Checked()
    store.memory.write("a/b", {"key": "v"})
    manager = managed(store)
    ended = threading.Event()

    async def hang_until_cancelled():
        try:
            await hang()
        finally:
            ended.set()

    async def main():
        await manager.aget_secret("a/b")
        store.faults[method] = hang_until_cancelled
        while method not in dict(store.calls):  # a busy machine may give it up before its first step
            with time_limit(0.1), pytest.raises(StoreUnavailableError, match=r"store checked.*time") as caught:
                await call(manager)
        assert type(caught.value) is error
        store.faults.clear()
        store.memory.write("a/b", {"key": "later"})
        assert await manager.aget_secret("a/b", "key") == ("v" if method == "alist_entries" else "later")

    asyncio.run(main())
    assert ended.wait(LONG)  # in the thread of the store's loop


@pytest.mark.parametrize("kind", [SystemExit, asyncio.CancelledError, LookupError, ConnectionError])
@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("awrite", lambda manager: manager.aset_secret("a/b", {"key": "canary"}, replace=True)),
        ("awrite_if", lambda manager: manager.aset_secret("a/b", {"key": "canary"})),
        ("adelete", lambda manager: manager.adelete_secret("a/b")),
        ("alist_entries", lambda manager: manager.alist_secrets("a")),
    ],
)
def test_an_exception_of_an_operation_is_contained(managed, method, call, kind):
    """As the store's error, without its frames."""

    async def fail():
        raise kind("canary")

    store = Checked(**{method: fail})
    store.memory.write("a/b", {"key": "v"})
    with pytest.raises(StoreError) as caught:
        asyncio.run(call(managed(store)))
    error = caught.value
    assert kind.__name__ in str(error)
    assert error.store == "checked"
    assert "canary" not in f"{error!s}{error!r}{error.__context__!r}"
    assert isinstance(error, StoreUnavailableError) is (kind is ConnectionError)


def test_answers_of_operations_are_checked(managed):
    """The message names the blocking form of the plugin's method, and the type."""

    async def nonsense():
        return b"canary"

    store = Checked(awrite=nonsense, awrite_if=nonsense, alist_entries=nonsense)
    store.memory.write("a/b", {"key": "v"})
    manager = managed(store)
    for call, says in (
        (manager.aset_secret("a/b", {"key": "w"}, replace=True), "write() returned bytes"),
        (manager.aset_secret("a/b", {"key": "w"}), "write_if() returned bytes"),
        (manager.alist_secrets("a"), "list_entries() returned an item of type bytes"),
    ):
        with pytest.raises(StoreError) as caught:
            asyncio.run(call)
        assert says in str(caught.value)
        assert "canary" not in str(caught.value)


def test_a_listed_name_with_a_slash_inside_is_refused(managed):
    """A folder named `/` is not walked for ever."""

    async def slash():
        return "x/y"

    store = Store(alist_entries=slash)
    store.memory.write("a/b", {"key": "v"})
    manager = managed(store)
    for recursive in (False, True):
        with pytest.raises(InvalidPathError, match="slash inside"):
            asyncio.run(manager.alist_secrets("a", recursive=recursive))

    async def root():
        return "/"

    store.faults["alist_entries"] = root
    assert asyncio.run(manager.alist_secrets("a", recursive=True)) == manager.list_secrets("a", recursive=True)


def test_an_empty_name_is_not_walked_for_ever(managed):
    """It is listed as the blocking function lists it."""

    class Unnamed(Store):
        async def alist_entries(self, prefix):
            await self._called("alist_entries", prefix)
            if len(self.calls) < 10:
                yield ""

    store = Unnamed()
    manager = managed(store)
    assert asyncio.run(manager.alist_secrets("a", recursive=True)) == manager.list_secrets("a", recursive=True)
    assert store.calls == [("alist_entries", "a")] * 2


def test_a_list_that_never_ends_and_never_waits_costs_its_deadline(managed):
    """The loop serves others meanwhile."""

    class Endless(Store):
        async def alist_entries(self, prefix):
            while True:
                yield "name"

    manager = managed(Endless())
    turns = []

    async def beside():
        while True:
            turns.append(1)
            await asyncio.sleep(0)

    async def main():
        task = asyncio.create_task(beside())
        while len(turns) < 2:  # a busy machine may give it up before its first step
            with time_limit(0.1), pytest.raises(StoreUnavailableError, match="time"):
                await manager.alist_secrets("a")
        task.cancel()

    asyncio.run(main())


def test_two_stores_share_one_deadline(managed, monkeypatch):
    """The first one hangs. The second one has the rest of the manager's ten seconds."""
    monkeypatch.setattr(connection, "SHARE", 0.01)
    limits = []

    async def note():
        limits.append(asynchronous.remaining())
        raise ConnectionError

    manager = managed(Store(aread=hang), Store(aread=note))
    with pytest.raises(StoreUnavailableError):
        asyncio.run(manager.aget_secret("a/b"))
    assert 0 < limits[0] < 9.9


def test_secret_of_another_path_is_refused(managed):
    """Each answer of a batch is checked."""

    async def other():
        return Secret("a/other", {"key": "canary"})

    batch = asyncio.run(managed(Store(aread=other)).aget_secrets(["a/b"]))
    assert "aread() returned the secret of another path" in str(batch.errors["a/b"])
