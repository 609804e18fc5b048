"""What counts as a change. The looks are driven by hand."""

from __future__ import annotations

import logging
import queue
from datetime import UTC, datetime

import pytest

from strongroom import Change, SecretsManager
from strongroom._manager.manager import parts_of
from strongroom._watch import watch as watch_module
from strongroom.errors import PermissionDeniedError, StoreUnavailableError
from strongroom.secret import Secret
from strongroom.store import Traits
from strongroom.store.memory import MemoryStore
from support.clock import LONG, Clock
from support.scenarios.watching import ListedStore, Looks
from support.stores import RemoteStore

STORES = [MemoryStore, RemoteStore, ListedStore]


def watching(*stores, paths=("db",), **options):
    manager = SecretsManager(chain=list(stores), **options)
    looks, changes = Looks(manager), []
    manager.watch(paths, changes.append)
    return manager, looks, changes


@pytest.fixture(params=STORES)
def store(request):
    store = request.param()
    store.write("db", {"password": "one", "user": "app"})
    return store


def test_a_new_version_is_one_change(store) -> None:
    manager, look, changes = watching(store)
    with manager:
        look()
        assert changes == []
        before = datetime.now(UTC)
        store.write("db", {"password": "two", "user": "app", "host": "h"})
        look()
        look()
    (change,) = changes
    assert (change.path, change.kind, change.keys) == ("db", "updated", ("host", "password"))
    assert (change.old_version, change.new_version, change.store) == (1, 2, manager.config.chain[0].store)
    assert before <= change.time <= datetime.now(UTC)
    assert "two" not in repr(change)


def test_several_changes_between_two_looks_are_one(store) -> None:
    manager, look, changes = watching(store)
    with manager:
        for number in range(5):
            store.write("db", {"password": f"new {number}", "user": "app"})
        look()
    assert [(change.old_version, change.new_version) for change in changes] == [(1, 6)]


def test_a_new_version_with_the_same_values_has_no_keys(store) -> None:
    manager, look, changes = watching(store)
    with manager:
        store.write("db", {"password": "one", "user": "app"})
        look()
    assert [(change.keys, change.new_version) for change in changes] == [((), 2)]


def test_a_deletion_and_a_return_are_changes(store) -> None:
    manager, look, changes = watching(store)
    with manager:
        store.delete("db")
        look()
        look()
        store.undelete("db", 1)
        look()
    deleted, created = changes
    assert (deleted.kind, deleted.old_version, deleted.new_version) == ("deleted", 1, None)
    assert (created.kind, created.old_version, created.new_version) == ("created", None, 1)
    assert deleted.keys == created.keys == ("password", "user")
    assert deleted.time < created.time, "its version is older than the deletion"


def test_a_creation_is_a_change(store) -> None:
    manager, look, changes = watching(store, paths=["new"])
    with manager:
        look()
        store.write("new", {"k": "v"})
        look()
    assert [(change.kind, change.keys, change.old_version) for change in changes] == [("created", ("k",), None)]


def test_changes_of_one_look_come_in_the_order_of_their_times(store) -> None:
    store.write("b", {"k": "v"})
    store.write("a", {"k": "v"})
    manager, look, changes = watching(store, paths=["a", "b", "db"])
    with manager:
        for path in ("b", "db", "a"):
            store.write(path, {"k": "w"})
        look()
    assert [change.path for change in changes] == ["b", "db", "a"]


@pytest.mark.parametrize("kind", [RemoteStore, ListedStore])
def test_an_outage_is_no_change_and_what_changed_meanwhile_is_one(kind) -> None:
    store = kind({"db": {"k": "1"}, "other": {"k": "1"}})
    manager, look, changes = watching(store, paths=["db", "other"])
    with manager:
        store.fault = StoreUnavailableError(reason="down")
        look()
        store.fault = None
        for number in range(3):
            store.write("db", {"k": f"new {number}"})
        store.fault = StoreUnavailableError(reason="down")
        look()
        assert changes == []
        store.fault = None
        _end_outage(manager)
        look()
        look()
    assert [(change.path, change.new_version) for change in changes] == [("db", 4)]


def test_after_an_outage_only_what_changed_is_read() -> None:
    store = ListedStore({f"app/{number}": {"k": "1"} for number in range(50)})
    manager, look, changes = watching(store, paths=[f"app/{number}" for number in range(50)])
    with manager:
        store.fault = StoreUnavailableError(reason="down")
        look()
        store.fault = None
        _end_outage(manager)
        store.write("app/7", {"k": "2"})
        store.reads.clear()
        look()
        assert store.reads == ["app/7"]
    assert len(changes) == 1


def test_a_fallback_that_answers_during_an_outage_is_no_change() -> None:
    vault, fallback = ListedStore({"db": {"k": "vault"}}), MemoryStore()
    fallback.write("db", {"k": "old"})
    manager, look, changes = watching(vault, fallback)
    with manager:
        vault.fault = StoreUnavailableError(reason="down")
        manager.invalidate()
        assert manager.get_secret("db", "k").reveal() == "old"
        look()
        fallback.write("db", {"k": "other"})
        look()
        vault.fault = None
        _end_outage(manager)
        look()
    assert changes == []


def test_a_fallback_takes_over_where_the_first_store_loses_the_secret() -> None:
    vault, fallback = ListedStore({"db": {"k": "vault"}}), MemoryStore()
    fallback.write("db", {"k": "old"})
    manager, look, changes = watching(vault, fallback)
    with manager:
        vault.delete("db")
        look()
    assert [(change.kind, change.keys, change.store) for change in changes] == [("updated", ("k",), "memory")]


def test_a_store_that_was_out_from_the_start_takes_over_from_the_fallback() -> None:
    """What callers read changes: the fallback's value until now, the store's from now on."""
    vault, fallback = ListedStore({"db": {"k": "vault"}}), MemoryStore()
    fallback.write("db", {"k": "old"})
    vault.fault = StoreUnavailableError(reason="down")
    manager, look, changes = watching(vault, fallback)
    with manager:
        look()
        fallback.write("db", {"k": "newer"})
        look()
        assert [change.store for change in changes] == ["memory"], "the fallback is what callers read"
        vault.fault = None
        _end_outage(manager)
        look()
    assert [(change.kind, change.keys, change.store) for change in changes[1:]] == [("updated", ("k",), "listed")]


def test_a_denial_is_no_change() -> None:
    store = ListedStore({"db": {"k": "v"}})
    manager, look, changes = watching(store)
    with manager:
        store.denied, store.fault = True, PermissionDeniedError(reason="no")
        look()
        store.denied = store.fault = None
        look()
    assert changes == []


def test_a_first_answer_after_an_unknown_state_is_no_change() -> None:
    store = RemoteStore({"db": {"k": "v"}})
    store.fault = StoreUnavailableError(reason="down")
    manager, look, changes = watching(store)
    with manager:
        store.fault = None
        _end_outage(manager)
        look()
        assert changes == []
        store.write("db", {"k": "w"})
        look()
    assert len(changes) == 1


def test_the_start_is_what_callers_have(store) -> None:
    """A secret that changed after it was cached has changed for the callers when the watch finds it."""
    manager = SecretsManager(chain=[store])
    look, changes = Looks(manager), []
    with manager:
        manager.get_secret("db", "password")
        store.write("db", {"password": "two", "user": "app"})
        manager.watch(["db"], changes.append)
        look()
        assert manager.get_secret("db", "password").reveal() == "two"
    if isinstance(store, RemoteStore):
        assert [(change.old_version, change.new_version) for change in changes] == [(1, 2)]


def test_a_changed_secret_is_served_at_once() -> None:
    """The cache has the new values before the callback is called."""
    store = ListedStore({"db": {"k": "1"}})
    manager, seen = SecretsManager(chain=[store]), []
    look = Looks(manager)
    with manager:
        manager.watch(["db"], lambda change: seen.append(manager.get_secret(change.path, "k").reveal()))
        store.write("db", {"k": "2"})
        look()
        reads = len(store.reads)
        assert manager.get_secret("db", "k").reveal() == "2"
        assert len(store.reads) == reads
    assert seen == ["2"]


def test_an_unchanged_secret_costs_no_read() -> None:
    store = ListedStore({f"app/{number}": {"k": "1"} for number in range(100)})
    manager, look, _ = watching(store, paths=[f"app/{number}" for number in range(100)])
    with manager:
        store.reads.clear()
        for _ in range(5):
            look()
    assert (store.reads, len(store.looks)) == ([], 5)


def test_a_callback_that_raises_is_logged_without_its_message(caplog) -> None:
    store = ListedStore({"db": {"k": "1"}})
    manager, changes = SecretsManager(chain=[store]), []
    look = Looks(manager)

    def fails(_: Change) -> None:
        raise SystemExit("canary-value")

    with manager, caplog.at_level(logging.DEBUG, "strongroom.watch"):
        manager.watch(["db"], fails)
        manager.watch(["db"], changes.append)
        for number in range(2):
            store.write("db", {"k": f"new {number}"})
            look()
    assert len(changes) == 2
    assert "SystemExit for db" in caplog.text
    assert "canary-value" not in caplog.text


def test_a_callback_that_blocks_is_named_in_the_log(monkeypatch) -> None:
    """While it blocks: every other watch waits for it."""
    store, named = ListedStore({"db": {"k": "1"}}), queue.Queue()

    def blocks(_: Change) -> None:
        lines.append(named.get(timeout=LONG))

    lines: list[tuple[int, str]] = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", lambda record: named.put((record.levelno, record.getMessage())))
    monkeypatch.setattr(watch_module.logger, "handlers", [handler])
    monkeypatch.setattr(watch_module, "SLOW_CALLBACK", 0.001)
    manager = SecretsManager(chain=[store])
    look = Looks(manager)
    with manager:
        manager.watch(["db"], blocks)
        store.write("db", {"k": "2"})
        look()
    ((level, text),) = lines
    assert level == logging.WARNING
    assert "blocks for db has not returned after 0.001 seconds. Every other watch waits for it" in text


def test_each_link_has_its_interval() -> None:
    vault, local = ListedStore({"a": {"k": "1"}}), MemoryStore()
    local.write("b", {"k": "1"})
    manager = SecretsManager(chain=[vault, local], cache_ttl=1000)
    look, changes = Looks(manager), []
    with manager:
        for link, interval in zip(parts_of(manager).chain.links, (60.0, 5.0), strict=True):
            link.policy = link.policy._replace(watch_interval=interval)
        manager.watch(["a", "b"], changes.append)
        vault.write("a", {"k": "2"})
        local.write("b", {"k": "2"})
        looked = len(vault.looks)
        look(5.0)
        assert ([change.path for change in changes], len(vault.looks)) == (["b"], looked)
        look(60.0)
        assert [change.path for change in changes] == ["b", "a"]


def test_a_watch_may_have_its_own_interval() -> None:
    store = ListedStore({"a": {"k": "1"}, "b": {"k": "1"}})
    manager = SecretsManager(chain=[store])
    look, changes = Looks(manager), []
    with manager:
        manager.watch(["a"], changes.append, interval=7)
        manager.watch(["a", "b"], changes.append)
        for path in "ab":
            store.write(path, {"k": "2"})
        look(7.0)
        assert [change.path for change in changes] == ["a", "a"], "the shorter interval counts for both watches"
        look(30.0)
        assert [change.path for change in changes] == ["a", "a", "b"]


def _end_outage(manager: SecretsManager) -> None:
    """Let the breakers admit the next call at once."""
    for link in parts_of(manager).chain.links:
        link.connection.breaker.succeeded()


@pytest.mark.parametrize("kind", [RemoteStore, ListedStore])
@pytest.mark.parametrize(("ttl", "interval"), [(300.0, 30.0), (10.0, 30.0), (60.0, 60.0)])
def test_no_caller_waits_for_a_store_that_is_well(kind, ttl, interval) -> None:
    """For two hours, in which the secrets are read and the watch looks as its schedule says: no read of a caller."""
    store = kind({"db": {"k": "1"}, "other": {"k": "1"}})
    manager = SecretsManager(chain=[store], cache_ttl=ttl)
    look, changes, clock = Looks(manager), [], Clock.of(manager)
    with manager:
        manager.watch(["db", "other"], changes.append, interval=interval)
        (step,) = parts_of(manager).watcher.intervals
        assert step <= interval
        for number in range(int(7200 / step)):
            clock.move(step)
            if number % 50 == 0:
                store.write("db", {"k": f"{number}"})
            look()
            before = len(store.reads)
            for path in ("db", "other"):
                manager.get_secret(path, "k")
                manager.get_secret(path)
            assert len(store.reads) == before
        assert len(changes) == len(range(0, int(7200 / step), 50))
        if kind is ListedStore:
            assert len(store.reads) < len(changes) + 10, "an unchanged secret is read once in a long while"


class CredentialStore:
    """Makes a new user at each read, valid for a hundred seconds."""

    traits = Traits()
    made = 0

    def read(self, path: str) -> Secret:
        self.made += 1
        return Secret(path, {"user": f"user-{self.made}"}, ttl=100.0)

    def makes(self, path: str) -> bool:
        return True

    def close(self) -> None:
        pass


def test_a_dynamic_secret_is_made_anew_only_when_it_ends() -> None:
    """A look makes no credential while the one in use is valid. The next one is a change."""
    store = CredentialStore()
    manager = SecretsManager(chain=[store])
    look, changes, clock = Looks(manager), [], Clock.of(manager)
    with manager:
        manager.watch(["db"], changes.append)
        for _ in range(3):
            clock.move(30)
            look()
        assert (store.made, changes) == (1, [])
        clock.move(30)
        look()
        assert store.made == 2
        assert manager.get_secret("db", "user") == "user-2"
        look()
    assert [(change.kind, change.keys) for change in changes] == [("updated", ("user",))]
    assert store.made == 2
