"""Other async functions with an asynchronous store: versions, explanations, generation, closing."""

import asyncio
import threading
from contextlib import closing

import pytest

from strongroom.errors import (
    ConflictError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    UnsupportedOperationError,
    WriteOutcomeUnknownError,
)
from strongroom.store import VersionInfo, asynchronous, time_limit
from strongroom.store.operations import capabilities_of
from strongroom.testing import parts_of
from support.clock import LONG
from support.plugins.awaited_stores import Checked, Store, Versioned, hang


@pytest.fixture(autouse=True)
def _limits(monkeypatch):
    monkeypatch.setattr(asynchronous, "GRACE", 0.5)  # a busy machine begins each call before it is given up
    monkeypatch.setattr(asynchronous, "CLOSE_LIMIT", 10.0)


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """Return a function that writes the configuration of later managers."""

    def write(text):
        file = tmp_path / "strongroom.toml"
        file.write_text(text)
        monkeypatch.setenv("STRONGROOM_CONFIG", str(file))

    return write


# --- versions ---------------------------------------------------------------------------------------------------------


def test_versions_are_those_of_the_asynchronous_methods(managed):
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

    asyncio.run(main())


def test_a_rollback_of_a_deleted_secret_is_checked_against_its_absence(managed):
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


def test_each_method_but_the_bulk_ones_may_be_asynchronous():
    """A listing is an asynchronous generator."""

    class Walking(Store):
        async def awalk(self, prefix):
            yield "a/b"

        async def acautions(self, path):
            return ["a rotation"]

        async def aread_many(self, paths):
            raise NotImplementedError

    store = Walking()
    with closing(store):
        assert list(store.walk("")) == ["a/b"]
        assert store.cautions("a/b") == ["a rotation"]
        assert not hasattr(store, "read_many")


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
        ("aversions", lambda versions: versions.ahistory("a/b"), b"canary", "versions() returned"),
        ("aversions", lambda versions: versions.ahistory("a/b"), [VersionInfo(b"canary")], "versions() returned"),
        ("aread_version", lambda versions: versions.aread("a/b", 1), "canary", "read_version() returned str"),
        ("aread_metadata", lambda versions: versions.ametadata("a/b"), {"a": 1}, "read_metadata() returned"),
    ],
)
def test_answers_about_versions_are_checked(managed, method, call, answer, says):
    """The message names the blocking form of the plugin's method, and the type."""

    async def nonsense():
        return answer

    store = Versioned(**{method: nonsense})
    store.memory.write("a/b", {"key": "v"})
    with pytest.raises(StoreError) as caught:
        asyncio.run(call(managed(store).versions))
    assert says in str(caught.value)
    assert "canary" not in str(caught.value)


def test_versions_that_a_rotation_changed_are_found(managed, configured):
    configured('[rotation."a/b"]\nrotator = "password"\n')
    store = Versioned()
    for password in ("one", "one", "two"):
        store.memory.write("a/b", {"password": password, "user": "u"})
    manager = managed(store)
    (change,) = asyncio.run(manager.rotations.ahistory("a/b"))
    assert (change.version, change.keys) == (3, ("password",))


# --- explanations and generation --------------------------------------------------------------------------------------


def test_an_explanation_asks_every_store(managed):
    """Each link is queried past its cache, also those after the one that answers."""
    first, second = Store(), Store()
    first.memory.write("a/b", {"key": "first"})
    second.memory.write("a/b", {"key": "second"})
    manager = managed(first, second)

    async def main():
        await manager.aget_secret("a/b")
        return await manager.aexplain("a/b", "key")

    explanation = asyncio.run(main())
    assert [answer.value for answer in explanation.answers] == ["first", "second"]
    assert explanation.served is explanation.answers[0]
    assert first.calls == [("aread", "a/b")] * 2


def test_an_explanation_gives_each_store_its_own_time(managed, configured):
    """It may be more than the time of one call, which has to leave some to the next link."""
    configured('timeout = "0.05s"\n')

    async def wait():
        await asyncio.sleep(0.1)

    stores = Store(aread=wait), Store(aread=wait)
    for store in stores:
        store.memory.write("a/b", {"key": "v"})
    explanation = asyncio.run(managed(*stores).aexplain("a/b"))
    assert [answer.found for answer in explanation.answers] == [True, True]


def test_a_composed_value_is_explained(managed, configured):
    configured(
        '[secrets]\nUSER = { at = "a/c#user" }\nURL = { at = "a/b#url", compose = "https://{USER}:x@example.com" }\n'
    )
    store = Store()
    store.memory.write("a/c", {"user": "u"})
    manager = managed(store)
    explanation = asyncio.run(manager.aexplain("a/b", "url"))
    assert explanation.served is not None
    assert explanation.served.value == "https://u:x@example.com"


def test_missing_secrets_are_generated(managed, configured):
    """Those that exist stay."""
    configured(
        '[secrets]\nONE = { at = "a/one#key", generate = "hex" }\nTWO = { at = "a/two#key", generate = "hex" }\n'
    )
    store = Checked()
    store.memory.write("a/one", {"key": "mine"})
    manager = managed(store)
    assert asyncio.run(manager.agenerate_missing()) == ["TWO"]
    assert store.memory.read("a/one").data == {"key": "mine"}
    assert len(store.memory.read("a/two").data["key"]) >= 32


# --- closing ----------------------------------------------------------------------------------------------------------


class Closing(Store):
    def __init__(self, **faults):
        super().__init__(**faults)
        self.memory.write("a/b", {"key": "v"})

    async def aclose(self):
        await self._called("aclose", "")


def test_a_store_is_closed_once(managed):
    """Later calls are refused."""
    store = Closing()
    manager = managed(store, Closing())

    async def main():
        await manager.aget_secret("a/b")
        await manager.aclose()
        await manager.aclose()

    asyncio.run(main())
    with pytest.raises(StoreError, match="closed"):
        manager.get_secret("a/b")
    assert store.calls == [("aread", "a/b"), ("aclose", "")]


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
        for link in parts_of(manager).chain.links:
            link.read("a/b")
        await manager.aclose()

    asyncio.run(main())
    assert stores[-1].calls[-1] == ("aclose", "")
    assert [record.args[-1] for record in caplog.records] == ["LookupError", "SystemExit", "StoreUnavailableError"]
    assert "canary" not in caplog.text


def test_a_cancelled_close_continues(managed):
    """Every store is closed."""
    first, second = Closing(), Closing()
    manager = managed(first, second)
    go_on, closed = threading.Event(), threading.Event()

    async def wait():
        await asyncio.to_thread(go_on.wait, LONG)

    async def note():
        closed.set()

    async def main():
        first.faults["aclose"], second.faults["aclose"] = wait, note
        for link in parts_of(manager).chain.links:
            link.read("a/b")
        task = asyncio.create_task(manager.aclose())
        while ("aclose", "") not in first.calls:  # noqa: ASYNC110  # of another loop
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        go_on.set()
        assert await asyncio.to_thread(closed.wait, LONG)

    asyncio.run(main())
