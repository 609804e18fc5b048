"""Versions and labels through a chain: which store is asked, what is cached, what is refused, and what nobody sees."""

import asyncio
import traceback

import pytest

from strongroom import SecretsManager
from strongroom._boundary.guard import GuardedStore
from strongroom.errors import (
    ConfigurationError,
    ConflictError,
    InvalidDataError,
    InvalidPathError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    UnsupportedOperationError,
)
from strongroom.secret import Secret
from strongroom.store.memory import MemoryStore
from support.stores import RemoteStore

CANARY = "canary-value-81c3"


class Older(RemoteStore):
    """Keeps no versions."""

    versions = read_version = undelete = destroy = read_metadata = write_metadata = None  # type: ignore[assignment]


class ReadOnly:
    """The least that is a store."""

    def read(self, path):
        return Secret(path, {"key": "read-only"})

    def close(self):
        pass


@pytest.fixture
def store():
    kept = RemoteStore()
    for number in "12":
        kept.write("app", {"own": number})
    return kept


@pytest.fixture
def secrets(store):
    with SecretsManager(chain=[store]) as manager:
        yield manager


def test_history_is_oldest_first_with_times(secrets, store):
    """Also of what is deleted or destroyed."""
    store.write("app", {"own": "3"})
    store.destroy("app", 1)
    secrets.delete_secret("app")
    history = secrets.versions.history("app")
    assert [(info.version, info.deleted, info.destroyed) for info in history] == [
        (1, False, True),
        (2, False, False),
        (3, True, False),
    ]
    assert all(info.created.tzinfo for info in history)
    assert [info.deleted_at is not None for info in history] == [False, False, True]
    assert history[2].deleted_at >= history[2].created


def test_a_version_is_read_whole(secrets):
    """With its own number and time, past the cache."""
    read = secrets.versions.read("app", 1)
    assert (read.data, read.version) == ({"own": "1"}, 1)
    assert CANARY not in repr(read)
    for version in (0, -1, 7, "1"):
        with pytest.raises(SecretNotFoundError):
            secrets.versions.read("app", version)


def test_a_rollback_is_a_new_version(secrets):
    """The one that it takes back stays."""
    assert secrets.get_secret("app", "own") == "2"
    assert secrets.versions.rollback("app", 1) == 3
    assert secrets.get_secret("app", "own") == "1"
    assert [secrets.versions.read("app", version).data["own"] for version in (1, 2, 3)] == ["1", "2", "1"]


def test_a_rollback_brings_back_what_was_deleted(secrets):
    """Over the deleted version."""
    secrets.delete_secret("app")
    assert secrets.versions.rollback("app", 1) == 3
    assert secrets.get_secret("app", "own") == "1"


def test_a_rollback_to_what_is_gone_writes_nothing(secrets, store):
    """Deleted, destroyed, never there."""
    store.destroy("app", 1)
    store.delete("app")
    for version in (1, 2, 3):
        with pytest.raises(SecretNotFoundError):
            secrets.versions.rollback("app", version)
    with pytest.raises(SecretNotFoundError):
        secrets.versions.rollback("absent", 1)
    assert len(secrets.versions.history("app")) == 2


@pytest.mark.parametrize("deleted", [False, True])
def test_a_write_that_comes_between_wins_over_a_rollback(deleted):
    """Nothing of it is taken back unseen."""

    class Busy(RemoteStore):
        def read(self, path):
            try:
                return super().read(path)
            finally:
                self.write(path, {"own": "theirs"})

    busy = Busy({"app": {"own": "1"}})
    busy.write("app", {"own": "2"})
    if deleted:
        busy.delete("app")
    with SecretsManager(chain=[busy]) as secrets:
        with pytest.raises(ConflictError):
            secrets.versions.rollback("app", 1)
        assert [info.version for info in busy.versions("app")] == [1, 2, 3]
        assert busy.read_version("app", 3).data == {"own": "theirs"}


def test_a_rollback_needs_check_and_set():
    """It is not done without."""

    class Unchecked(RemoteStore):
        write_if = None  # type: ignore[assignment]

    unchecked = Unchecked({"app": {"own": "1"}})
    with SecretsManager(chain=[unchecked]) as secrets:
        with pytest.raises(UnsupportedOperationError, match="no check-and-set"):
            secrets.versions.rollback("app", 1)
        assert len(secrets.versions.history("app")) == 1


def test_what_is_cached_is_dropped_when_versions_change(secrets, store):
    """A value, and an absence that was remembered."""
    store.write("app", {"own": "3"})
    assert secrets.get_secret("app", "own") == "3"
    secrets.versions.destroy("app", 3)
    assert secrets.get_secret("app", default=None) is None
    secrets.versions.rollback("app", 2)
    assert secrets.get_secret("app", "own") == "2"
    secrets.delete_secret("app")
    assert secrets.get_secret("app", default=None) is None
    secrets.versions.undelete("app", 4)
    assert secrets.get_secret("app", "own") == "2"


def test_looking_at_versions_leaves_the_cache_alone(secrets, store):
    """An old version is never served as the secret."""
    assert secrets.get_secret("app", "own") == "2"
    reads = len(store.reads)
    secrets.versions.history("app")
    secrets.versions.read("app", 1)
    secrets.versions.metadata("app")
    assert secrets.get_secret("app", "own") == "2"
    assert len(store.reads) == reads


def test_labels_are_replaced_whole(secrets):
    """They make no version."""
    assert secrets.versions.metadata("app") == {}
    secrets.versions.set_metadata("app", {"owner": "billing", "tier": "1"})
    secrets.versions.set_metadata("app", {"owner": "payments"})
    assert secrets.versions.metadata("app") == {"owner": "payments"}
    assert len(secrets.versions.history("app")) == 2


# --- which store ------------------------------------------------------------------------------------------------------


def test_the_store_is_the_one_that_writes_go_to(store):
    """The first that can be written, or the one that is named; no other is asked."""
    other = MemoryStore()
    other.write("only/other", {"own": "other"})
    with SecretsManager(chain=[ReadOnly(), store, other]) as secrets:
        assert secrets.write_target("app").store == "remote"
        assert len(secrets.versions.history("app")) == 2
        with pytest.raises(SecretNotFoundError):
            secrets.versions.history("only/other")
        assert len(secrets.versions.history("only/other", store="memory")) == 1
        with pytest.raises(ConfigurationError, match="no store 'vault'"):
            secrets.versions.history("app", store="vault")
        with pytest.raises(UnsupportedOperationError):
            secrets.versions.history("app", store="readonly")


def test_a_store_without_versions_says_so():
    """It is never an empty history."""
    calls = (
        lambda versions: versions.history("app"),
        lambda versions: versions.read("app", 1),
        lambda versions: versions.rollback("app", 1),
        lambda versions: versions.undelete("app", 1),
        lambda versions: versions.destroy("app", 1),
        lambda versions: versions.metadata("app"),
        lambda versions: versions.set_metadata("app", {}),
    )
    older = Older({"app": {"own": "1"}})
    with SecretsManager(chain=[older]) as secrets:
        for call in calls:
            with pytest.raises(UnsupportedOperationError, match="no versions"):
                call(secrets.versions)
        assert older.reads == []
        assert secrets.get_secret("app", "own") == "1"


def test_the_async_twins_answer_alike(secrets):
    """Each of them."""

    async def use():
        versions = secrets.versions
        assert await versions.ahistory("app") == versions.history("app")
        assert (await versions.aread("app", 1)).data == {"own": "1"}
        assert await versions.arollback("app", 1) == 3
        await versions.adestroy("app", 1)
        secrets.delete_secret("app")
        await versions.aundelete("app", 3)
        await versions.aset_metadata("app", {"owner": "billing"})
        assert await versions.ametadata("app") == {"owner": "billing"}

    asyncio.run(use())
    assert secrets.get_secret("app", "own") == "1"


def test_an_outage_is_an_outage(secrets, store):
    """Of this call alone: a store after which no other can answer is asked again."""
    store.versions = lambda path: (_ for _ in ()).throw(StoreUnavailableError(path, "down"))
    with pytest.raises(StoreUnavailableError, match="down"):
        secrets.versions.history("app")
    assert secrets.versions.read("app", 1).data == {"own": "1"}


def test_a_closed_manager_refuses(store):
    """Whatever was asked before."""
    with SecretsManager(chain=[store]) as secrets:
        versions = secrets.versions
    for call in (versions.history, versions.metadata, lambda path: versions.rollback(path, 1)):
        with pytest.raises(StoreError, match="closed"):
            call("app")


# --- what a front refuses, and what nobody sees -----------------------------------------------------------------------

BAD_VERSIONS = [True, 1.5, None, b"1", "", "a\nb", "x" * 1025, "\ud800"]


@pytest.mark.parametrize("version", BAD_VERSIONS, ids=ascii)
def test_what_can_name_no_version_is_refused_before_the_store_sees_it(store, version):
    """In one line, which does not repeat it."""
    front = GuardedStore(store, "store")
    for operation in (front.read_version, front.undelete, front.destroy):
        with pytest.raises(InvalidPathError, match="a version") as caught:
            operation("app", version)
        assert "\n" not in str(caught.value)
    assert len(store.versions("app")) == 2


@pytest.mark.parametrize(
    "labels", [{"a": 1}, {"a": None}, {1: "a"}, {"": "a"}, {"a": "\ud800"}, ["a"], "ab"], ids=ascii
)
def test_labels_that_are_none_are_refused_before_the_store_sees_them(store, labels):
    """Names and texts, and nothing else."""
    with pytest.raises((InvalidDataError, InvalidPathError)):
        GuardedStore(store, "store").write_metadata("app", labels)
    assert store.read_metadata("app") == {}


def test_labels_are_copied():
    """What the caller does to them afterwards is its own affair."""

    class Sharing(MemoryStore):
        def write_metadata(self, path, metadata):
            self._history(path).labels = metadata

    front, labels = GuardedStore(Sharing(), "store"), {"owner": "billing"}
    front.write("app", {"own": "1"})
    front.write_metadata("app", labels)
    labels.clear()
    assert front.read_metadata("app") == {"owner": "billing"}


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("versions", []),
        ("versions", [1, 2]),
        ("versions", None),
        ("read_version", {"own": CANARY}),
        ("read_version", Secret("other", {"own": CANARY}, 1)),
        ("read_version", Secret("app", {"own": CANARY}, 2)),
        ("read_version", Secret("app", {"own": CANARY})),
        ("read_metadata", {"a": 1}),
        ("read_metadata", None),
        ("kept_versions", None),
        ("kept_versions", 0),
        ("kept_versions", True),
    ],
)
def test_an_answer_that_is_none_is_the_plugins_fault(store, method, answer):
    """Another version is never taken for the one that was asked for, nor a wrong type for an empty history."""
    setattr(store, method, lambda *_: answer)
    front = GuardedStore(store, "store")
    arguments = ("app", 1) if method == "read_version" else ("app",)
    with pytest.raises(StoreError, match="bug in the store's plugin") as caught:
        getattr(front, method)(*arguments)
    assert type(caught.value) is StoreError
    assert CANARY not in printed(caught.value)


def test_a_rollback_that_fails_shows_no_value():
    """Neither in its message nor in a frame."""

    class Telling(RemoteStore):
        def write_if(self, path, data, expected):
            raise RuntimeError(str(dict(data)))

    telling = Telling({"app": {"own": CANARY}})
    with SecretsManager(chain=[telling]) as secrets, pytest.raises(StoreError) as caught:
        secrets.versions.rollback("app", 1)
    assert CANARY not in printed(caught.value)


def printed(error):
    """All that a traceback with variables shows of what is ours."""
    trace = error.__traceback__.tb_next
    lines = traceback.TracebackException(type(error), error, trace, capture_locals=True).format()
    return "".join(lines)
