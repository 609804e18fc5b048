"""Other async functions with an asynchronous store: versions, explanations, generation, closing, probes. No thread."""

import asyncio
import threading
import time

import pytest

from awaited_stores import Checked, Store, Versioned, hang
from clock import LONG
from strongroom.chain.calls import threads
from strongroom.errors import (
    ConflictError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    UnsupportedOperationError,
    WriteOutcomeUnknownError,
)
from strongroom.store import VersionInfo, asynchronous, time_limit
from strongroom.store.protocols import capabilities_of


@pytest.fixture(autouse=True)
def _limits(monkeypatch):
    monkeypatch.setattr(asynchronous, "GRACE", 0.5)  # a busy machine begins each call before it is given up
    monkeypatch.setattr(asynchronous, "CLOSE_LIMIT", 10.0)
    monkeypatch.setattr(asynchronous, "LONGEST_STEP", 60.0)  # and may stop in the middle of a step


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """Return a function that writes the configuration of later managers."""

    def write(text):
        file = tmp_path / "strongroom.toml"
        file.write_text(text)
        monkeypatch.setenv("STRONGROOM_CONFIG", str(file))

    return write


# --- versions ---------------------------------------------------------------------------------------------------------


def test_versions_are_awaited_without_a_thread(managed, no_threads):
    """History, old versions, rollback, undelete, destroy and labels."""
    store = Versioned()
    manager = managed(store)
    versions = manager.versions

    async def main():
        await manager.aset_secret("a/b", {"key": "old"}, replace=True)
        await manager.aset_secret("a/b", {"key": "new"}, replace=True)
        assert [info.version for info in await versions.ahistory("a/b")] == [1, 2]
        assert (await versions.aread("a/b", 1)).data == {"key": "old"}
        assert await versions.arollback("a/b", 1) == 3
        assert await manager.aget_secret("a/b", "key") == "old"
        await manager.adelete_secret("a/b")
        with pytest.raises(SecretNotFoundError):
            await manager.aget_secret("a/b")
        await versions.aundelete("a/b", 3)
        assert await manager.aget_secret("a/b", "key") == "old"
        await versions.adestroy("a/b", 2)
        with pytest.raises(SecretNotFoundError):
            await versions.aread("a/b", 2)
        await versions.aset_metadata("a/b", {"owner": "team"})
        assert await versions.ametadata("a/b") == {"owner": "team"}

    no_threads()
    asyncio.run(main())
    assert store.threads == {threading.current_thread()}


def test_a_rollback_of_a_deleted_secret_is_checked_against_its_absence(managed, no_threads):
    """Another writer that comes between wins."""
    store = Versioned()
    store.memory.write("a/b", {"key": "old"})
    store.memory.delete("a/b")
    store.memory.undelete("a/b", 1)
    store.memory.write("a/b", {"key": "new"})
    store.memory.delete("a/b")
    manager = managed(store)

    async def interfere():
        store.faults.clear()
        store.memory.write("a/b", {"key": "theirs"})

    async def main():
        store.faults["awrite_if"] = interfere
        with pytest.raises(ConflictError):
            await manager.versions.arollback("a/b", 1)
        store.memory.delete("a/b")
        await manager.versions.arollback("a/b", 1)

    no_threads()
    asyncio.run(main())
    assert store.memory.read("a/b").data == {"key": "old"}


def test_blocking_callers_have_the_versions_too(managed):
    """The capability is that of the asynchronous methods, all of them."""
    assert "versioned" in capabilities_of(Versioned)
    assert "versioned" not in capabilities_of(Checked)
    store = Versioned()
    store.memory.write("a/b", {"key": "old"})
    manager = managed(store)
    assert manager.write_target("a/b").capabilities >= {"versioned", "checked"}
    assert [info.version for info in manager.versions.history("a/b")] == [1]
    assert manager.versions.rollback("a/b", 1) == 2
    assert store.threads != {threading.current_thread()}


def test_a_store_without_versions_says_so(managed):
    """With the error of a blocking store."""
    with pytest.raises(UnsupportedOperationError, match="it has no versions"):
        asyncio.run(managed(Checked()).versions.ahistory("a/b"))


@pytest.mark.parametrize(
    ("method", "call", "error"),
    [
        ("aversions", lambda versions: versions.ahistory("a/b"), StoreUnavailableError),
        ("aread_version", lambda versions: versions.aread("a/b", 1), StoreUnavailableError),
        ("awrite_if", lambda versions: versions.arollback("a/b", 1), WriteOutcomeUnknownError),
        ("aundelete", lambda versions: versions.aundelete("a/b", 1), WriteOutcomeUnknownError),
        ("adestroy", lambda versions: versions.adestroy("a/b", 1), WriteOutcomeUnknownError),
        ("aread_metadata", lambda versions: versions.ametadata("a/b"), StoreUnavailableError),
        ("awrite_metadata", lambda versions: versions.aset_metadata("a/b", {"a": "b"}), WriteOutcomeUnknownError),
    ],
)
def test_a_call_for_versions_that_hangs_costs_its_deadline(managed, monkeypatch, method, call, error):
    """The outcome of a change is unknown."""
    monkeypatch.setattr(asynchronous, "GRACE", 0.0)
    store = Versioned()
    store.memory.write("a/b", {"key": "v"})
    manager = managed(store)
    store.faults[method] = hang

    async def main():
        while method not in dict(store.calls):  # a busy machine may give it up before
            with time_limit(0.1), pytest.raises(StoreUnavailableError, match="time") as caught:
                await call(manager.versions)
        assert type(caught.value) is error

    asyncio.run(main())


@pytest.mark.parametrize(
    ("method", "call", "answer", "says"),
    [
        ("aversions", lambda versions: versions.ahistory("a/b"), b"canary", "aversions() returned"),
        ("aversions", lambda versions: versions.ahistory("a/b"), [VersionInfo(b"canary")], "aversions() returned"),
        ("aread_version", lambda versions: versions.aread("a/b", 1), "canary", "aread_version() returned str"),
        ("aread_metadata", lambda versions: versions.ametadata("a/b"), {"a": 1}, "aread_metadata() returned"),
    ],
)
def test_answers_about_versions_are_checked(managed, method, call, answer, says):
    """The message names the plugin's method, and the type."""

    async def nonsense():
        return answer

    store = Versioned(**{method: nonsense})
    store.memory.write("a/b", {"key": "v"})
    with pytest.raises(StoreError) as caught:
        asyncio.run(call(managed(store).versions))
    assert says in str(caught.value)
    assert "canary" not in str(caught.value)


def test_versions_that_a_rotation_changed_are_awaited_without_a_thread(managed, configured, no_threads):
    configured('[rotation."a/b"]\nrotator = "password"\n')
    store = Versioned()
    for password in ("one", "one", "two"):
        store.memory.write("a/b", {"password": password, "user": "u"})
    manager = managed(store)
    no_threads()
    (change,) = asyncio.run(manager.rotations.ahistory("a/b"))
    assert (change.version, change.keys) == (3, ("password",))


# --- explanations and generation --------------------------------------------------------------------------------------


def test_an_explanation_is_awaited_without_a_thread(managed, no_threads):
    """Each link is queried past its cache, also those after the one that answers."""
    first, second = Store(), Store()
    first.memory.write("a/b", {"key": "first"})
    second.memory.write("a/b", {"key": "second"})
    manager = managed(first, second)

    async def main():
        await manager.aget_secret("a/b")
        return await manager.aexplain("a/b", "key")

    no_threads()
    explanation = asyncio.run(main())
    assert [answer.value for answer in explanation.answers] == ["first", "second"]
    assert explanation.served is explanation.answers[0]
    assert first.calls == [("aread", "a/b")] * 2


def test_an_explanation_gives_each_store_its_own_time(managed, configured, monkeypatch):
    """It may be more than the time of one call, which has to leave some to the next link."""
    configured('timeout = "0.05s"\n')
    monkeypatch.setattr(threads, "_GRACE", 0.0)

    async def wait():
        await asyncio.sleep(0.1)

    stores = Store(aread=wait), Store(aread=wait)
    for store in stores:
        store.memory.write("a/b", {"key": "v"})
    explanation = asyncio.run(managed(*stores).aexplain("a/b"))
    assert [answer.found for answer in explanation.answers] == [True, True]


def test_a_composed_value_is_explained_without_a_thread(managed, configured, no_threads):
    """Its parts are read in the loop too."""
    configured(
        '[secrets]\nUSER = { at = "a/c#user" }\nURL = { at = "a/b#url", compose = "https://{USER}:x@example.com" }\n'
    )
    store = Store()
    store.memory.write("a/c", {"user": "u"})
    manager = managed(store)
    no_threads()
    explanation = asyncio.run(manager.aexplain("a/b", "url"))
    assert explanation.served is not None
    assert explanation.served.value == "https://u:x@example.com"


def test_missing_secrets_are_generated_without_a_thread(managed, configured, no_threads):
    """Those that exist stay."""
    configured(
        '[secrets]\nONE = { at = "a/one#key", generate = "hex" }\nTWO = { at = "a/two#key", generate = "hex" }\n'
    )
    store = Checked()
    store.memory.write("a/one", {"key": "mine"})
    manager = managed(store)
    no_threads()
    assert asyncio.run(manager.agenerate_missing()) == ["TWO"]
    assert store.memory.read("a/one").data == {"key": "mine"}
    assert len(store.memory.read("a/two").data["key"]) >= 32


# --- watches ----------------------------------------------------------------------------------------------------------


def test_changes_are_awaited_without_a_thread(managed, no_threads):
    """Two loops over changes share their looks, at the shorter interval, and the task that looks ends with them."""
    store = Store()
    store.memory.write("a/b", {"key": "old"})
    manager = managed(store)

    async def first_change(interval):
        changes = manager.awatch(["a/b"], interval=interval)
        change = await anext(changes)
        await changes.aclose()
        return change.old_version, change.new_version

    async def main():
        slow = asyncio.create_task(first_change(1000))
        while not manager._watcher.watches:  # noqa: ASYNC110  # of this loop alone
            await asyncio.sleep(0)
        (watches,) = manager._watcher._loops.values()
        while watches._woken.is_set() or watches._task is None:  # noqa: ASYNC110  # until it waits for the first look
            await asyncio.sleep(0)
        quick = asyncio.create_task(first_change(0.01))
        while len(manager._watcher.watches) < 2:  # noqa: ASYNC110  # likewise
            await asyncio.sleep(0)
        looks = watches._task
        store.memory.write("a/b", {"key": "new"})
        async with asyncio.timeout(LONG):
            assert await asyncio.gather(slow, quick) == [(1, 2)] * 2
            await asyncio.wait([looks])
        assert looks.cancelled()
        assert manager._watcher.watches == ()
        assert await manager.aget_secret("a/b", "key") == "new"

    no_threads()
    asyncio.run(main())
    assert store.threads == {threading.current_thread()}


def test_an_outage_does_not_end_a_loop_over_changes(managed, no_threads):
    """A change during it is delivered afterwards."""
    store = Store()
    store.memory.write("a/b", {"key": "old"})
    manager = managed(store)
    failed = asyncio.Event()

    async def fail():
        failed.set()
        raise ConnectionError

    async def main():
        changes = manager.awatch(["a/b"], interval=0.01)
        change = asyncio.ensure_future(anext(changes))
        while not manager._watcher.watches:  # noqa: ASYNC110  # of this loop alone
            await asyncio.sleep(0)
        store.faults["aread"] = fail
        await failed.wait()
        store.memory.write("a/b", {"key": "new"})
        store.faults.clear()
        assert (await change).new_version == 2
        await changes.aclose()

    no_threads()
    asyncio.run(main())


# --- closing ----------------------------------------------------------------------------------------------------------


class Closing(Store):
    def __init__(self, **faults):
        super().__init__(**faults)
        self.memory.write("a/b", {"key": "v"})

    async def aclose(self):
        await self._called("aclose", "")


def test_a_manager_is_closed_without_a_thread(managed, no_threads):
    """In the loop that has used the store, once. Later calls are refused."""
    store = Closing()
    manager = managed(store, Closing())

    async def main():
        await manager.aget_secret("a/b")
        await manager.aclose()
        await manager.aclose()

    no_threads()
    asyncio.run(main())
    with pytest.raises(StoreError, match="closed"):
        manager.get_secret("a/b")
    assert store.calls == [("aread", "a/b"), ("aclose", "")]
    assert store.threads == {threading.current_thread()}


def test_a_failure_to_close_is_logged_and_hides_no_other_store(managed, caplog, monkeypatch):
    """One raises, one exits, one hangs, and the last is closed."""
    monkeypatch.setattr(asynchronous, "CLOSE_LIMIT", 1.0)
    monkeypatch.setattr(asynchronous, "GRACE", 0.1)

    def failing(error):
        async def fail():
            raise error

        return fail

    faults = [failing(LookupError("canary")), failing(SystemExit("canary")), hang]
    stores = [*(Closing(aclose=fault) for fault in faults), Closing()]
    manager = managed(*stores)

    async def main():
        await asyncio.gather(*(link._handle.store.awaited.read("a/b") for link in manager._chain._links))
        await manager.aclose()

    asyncio.run(main())
    assert stores[-1].calls[-1] == ("aclose", "")
    assert [record.args[-1] for record in caplog.records] == ["LookupError", "SystemExit", "StoreUnavailableError"]
    assert "canary" not in caplog.text


def test_a_cancelled_close_continues(managed):
    """Every store is closed."""
    first, second = Closing(), Closing()
    manager = managed(first, second)

    async def main():
        go_on, closed = asyncio.Event(), asyncio.Event()

        async def note():
            closed.set()

        first.faults["aclose"], second.faults["aclose"] = go_on.wait, note
        await asyncio.gather(*(link._handle.store.awaited.read("a/b") for link in manager._chain._links))
        task = asyncio.create_task(manager.aclose())
        while ("aclose", "") not in first.calls:  # noqa: ASYNC110  # of this loop alone
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        go_on.set()
        async with asyncio.timeout(LONG):
            await closed.wait()

    asyncio.run(main())


# --- probes during an outage ------------------------------------------------------------------------------------------


async def lose():
    raise ConnectionError


@pytest.fixture
def outage(managed, no_threads):
    """Return a store and its manager, which serves a stale secret during a known outage. A probe is due."""
    store = Store()
    store.memory.write("a/b", {"key": "old"})
    manager = managed(store, cache_ttl=0.001)
    (link,) = manager._chain._links

    async def begin():
        await manager.aget_secret("a/b", "key")
        time.sleep(0.002)  # noqa: ASYNC251  # the cached secret is not current any more
        store.faults["aread"] = lose
        assert (await manager.aresolve("a/b", "key")).stale

    asyncio.run(begin())
    link._handle.breaker._probe_at = 0.0
    no_threads()
    return store, manager, link


def test_a_probe_runs_in_the_loop_without_a_thread(outage):
    """The stale secret is served at once, and the next read has the answer of the one probe."""
    store, manager, link = outage
    store.faults.clear()
    store.memory.write("a/b", {"key": "new"})
    store.calls.clear()

    async def main():
        found = await asyncio.gather(*(manager.aresolve("a/b", "key") for _ in range(3)))
        assert [(one.value, one.stale) for one in found] == [("old", True)] * 3
        await asyncio.wrap_future(link._loop_probe)
        assert not link._handle.breaker.is_open

    asyncio.run(main())
    assert store.calls == [("aread", "a/b")]


def test_a_probe_in_the_loop_that_is_denied_ends_the_stale_answers(outage):
    """A revoked permission takes effect with it, also in a batch."""
    store, manager, link = outage

    async def deny():
        raise PermissionDeniedError("a/b")

    store.faults["aread"] = deny

    async def main():
        assert set(await manager.aget_secrets(["a/b"])) == {"a/b"}
        with pytest.raises(PermissionDeniedError):
            await asyncio.wrap_future(link._loop_probe)
        store.faults["aread"] = lose
        with pytest.raises(StoreUnavailableError):
            await manager.aget_secret("a/b")

    asyncio.run(main())
