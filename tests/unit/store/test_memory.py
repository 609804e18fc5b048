"""The reference store, beyond the contract."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from strongroom.errors import ConflictError, InvalidDataError, InvalidPathError, SecretNotFoundError
from strongroom.store.memory import MemoryStore, open_memory


def test_opens_with_secrets():
    """Contents from a configuration file are validated and stored."""
    store = open_memory(secrets={"a/b": {"key": "v", "n": 5}})
    assert store.read("a/b").data == {"key": "v", "n": 5}
    assert list(open_memory().list_entries("")) == []


@pytest.mark.parametrize(
    ("secrets", "error"),
    [
        ({"a//b": {"key": "v"}}, InvalidPathError),
        ({"a": {}}, InvalidDataError),
        ({"a": {"key": datetime.now(UTC)}}, InvalidDataError),
        ({"a": "v"}, InvalidDataError),
    ],
)
def test_refuses_to_open_with_what_is_no_secret(secrets, error):
    """Invalid contents are refused when the store is opened."""
    with pytest.raises(error):
        open_memory(secrets=secrets)


def test_versions_count_from_one_and_numbers_are_never_used_twice():
    """A destroyed version keeps its number."""
    store = MemoryStore()
    assert [store.write("a", {"n": number}) for number in (1, 2, 3)] == [1, 2, 3]
    store.destroy("a", 3)
    with pytest.raises(SecretNotFoundError, match="deleted"):
        store.read("a")
    assert store.write_if("a", {"n": 4}, None) == 4
    assert [info.destroyed for info in store.versions("a")] == [False, False, True, False]


def test_destroyed_version_cannot_be_undeleted():
    """A destroyed version cannot be undeleted."""
    store = open_memory(secrets={"a": {"key": "v"}})
    store.destroy("a", 1)
    with pytest.raises(SecretNotFoundError, match="destroyed"):
        store.undelete("a", 1)


def test_deleted_version_may_be_expected_by_its_number():
    """A write may expect the deleted version, if it is the newest."""
    store = open_memory(secrets={"a": {"key": "v"}})
    store.delete("a")
    assert store.write_if("a", {"key": "w"}, 1) == 2


def test_conflict_names_both_versions():
    """The message names the expected and the newest version."""
    store = open_memory(secrets={"a": {"key": "v"}})
    with pytest.raises(ConflictError, match="version 7 was expected, the newest is 1"):
        store.write_if("a", {"key": "w"}, 7)


def test_nobody_comes_between_comparing_and_writing():
    """Of two writers that expect the same version, the second compares after the first has written."""

    class Meeting(MemoryStore):
        """Make a writer that has compared wait for the other to compare, up to a timeout."""

        both = threading.Barrier(2, timeout=0.2)

        def write(self, path, data):
            with suppress(threading.BrokenBarrierError):
                self.both.wait()
            return super().write(path, data)

    store = Meeting()
    MemoryStore.write(store, "a", {"key": "v"})

    def attempt(_):
        try:
            return store.write_if("a", {"key": "w"}, 1)
        except ConflictError:
            return None

    with ThreadPoolExecutor(2) as pool:
        assert set(pool.map(attempt, range(2))) == {2, None}


def test_what_is_written_is_copied():
    """Also without the guard, a later change of the caller's data does not change the store."""
    store, data = MemoryStore(), {"inner": ["one"]}
    store.write("a", data)
    data["inner"].append("two")
    assert store.read("a").data == {"inner": ["one"]}


def test_deleted_secrets_are_not_listed():
    """A list names the readable secrets."""
    store = open_memory(secrets={"a": {"key": "v"}, "b": {"key": "v"}})
    store.delete("a")
    assert list(store.list_entries("")) == ["b"]
    assert store.probe().detail == "secrets in memory: 1"


def test_close_forgets():
    """A closed store keeps no secrets in memory."""
    store = open_memory(secrets={"a": {"key": "v"}})
    store.close()
    with pytest.raises(SecretNotFoundError):
        store.read("a")
