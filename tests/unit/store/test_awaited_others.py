"""Other async functions with an asynchronous store: versions, explanations and generation, without a thread."""

import asyncio
import threading

import pytest

from awaited_stores import Checked, Store, Versioned, hang
from strongroom.chain.calls import threads
from strongroom.errors import (
    ConflictError,
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
        with time_limit(0.1), pytest.raises(error, match="in time"):
            await call(manager.versions)

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
