"""Events of the stores, rotations and migrations: the calls of a listener."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from strongroom import ConflictError, PermissionDeniedError, SecretNotFoundError, SecretsManager, StoreUnavailableError
from strongroom.errors import StoreError
from strongroom.events import Event, EventKind, cache_hits, is_listening, listen
from strongroom.events import audit as audit_events
from strongroom.store.memory import MemoryStore
from support.clock import Clock
from support.scenarios import migrations
from support.stores import RemoteStore


@pytest.fixture
def events() -> Iterator[list[Event]]:
    """The events of the test, with paths."""
    seen: list[Event] = []
    end = listen(seen.append, paths=True)
    yield seen
    end()


@pytest.fixture
def store() -> RemoteStore:
    return RemoteStore({"app": {"key": "s3cret-4711"}})


@pytest.fixture
def manager(store) -> Iterator[SecretsManager]:
    with SecretsManager(chain=[store, MemoryStore()], cache_ttl=300) as manager:
        yield manager


def test_a_read_of_a_store_is_an_event_and_a_cached_one_is_counted(manager, events):
    """Both ways of a cached read: one key, and the whole secret."""
    manager.get_secret("app", "key")
    (read,) = events
    assert (read.kind, read.store, read.path, read.link) == (EventKind.READ, "remote", "app", 1)
    assert read.seconds >= 0
    before = cache_hits()["remote"]
    manager.get_secret("app", "key")
    manager.get_secret("app")
    assert cache_hits()["remote"] == before + 2
    assert events == [read]


def test_each_link_that_was_queried_tells_its_answer(manager, events):
    with pytest.raises(SecretNotFoundError):
        manager.get_secret("absent", "key")
    assert [(event.kind, event.store, event.link) for event in events] == [
        (EventKind.MISS, "remote", 1),
        (EventKind.MISS, "memory", 2),
    ]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(PermissionDeniedError, EventKind.DENIED), (StoreError, EventKind.FAILED)],
)
def test_a_denial_is_no_outage(manager, store, events, fault, kind):
    store.fault = fault()
    with pytest.raises(fault):
        manager.get_secret("app")
    assert [(event.kind, event.error) for event in events] == [(kind, fault.__name__)]


def test_an_outage_begins_and_ends_once(manager, store, events):
    """Between the two, the cache serves stale values with their age."""
    manager.get_secret("app", "key")
    events.clear()
    store.fault = StoreUnavailableError()
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            manager.get_secret("app", fresh=True)
    store.fault = None
    manager.set_secret("app", {"key": "new"}, store="remote")
    kinds = [event.kind for event in events]
    assert kinds.count(EventKind.OUTAGE) == kinds.count(EventKind.RECOVERY) == 1
    assert kinds.index(EventKind.OUTAGE) < kinds.index(EventKind.RECOVERY)
    assert EventKind.UNAVAILABLE in kinds


def test_a_stale_value_has_its_age(manager, store, events):
    clock = Clock.of(manager)
    manager.get_secret("app", "key")
    store.fault = StoreUnavailableError()
    clock.move(301)
    events.clear()
    assert manager.get_secret("app", "key") == "s3cret-4711"
    (stale,) = (event for event in events if event.kind is EventKind.STALE)
    assert (stale.store, stale.age >= 301) == ("remote", True)


def test_a_write_tells_its_outcome(manager, store, events):
    """A delete is one too."""
    manager.set_secret("app", {"key": "new"}, store="remote", replace=True)
    manager.delete_secret("app", store="remote")
    store.fault = ConflictError()
    with pytest.raises(ConflictError):
        manager.set_secret("app", {"key": "new"}, store="remote", replace=True)
    writes = [event for event in events if event.kind is EventKind.WRITE]
    assert [(event.store, event.path, event.outcome, event.error) for event in writes] == [
        ("remote", "app", "done", ""),
        ("remote", "app", "done", ""),
        ("remote", "app", "failed", "ConflictError"),
    ]
    assert all(event.seconds >= 0 for event in writes)


def test_the_steps_of_a_migration_are_events(events, tmp_path):
    """One for each secret and step, with its state."""
    source, target = MemoryStore(), MemoryStore()
    source.write("app", {"key": "s3cret-4711"})
    options = {"stores": {"from": source, "to": target}, "state_folder": tmp_path}
    migrations.apply(migrations.plan("from", "to", **options), **options)
    steps = [event for event in events if event.kind is EventKind.MIGRATION]
    assert [(event.step, event.store, event.path, event.outcome) for event in steps] == [
        ("apply", "to", "app", "done"),
    ]


def test_an_interrupted_migration_has_no_outcome(events, tmp_path, monkeypatch):
    """Nobody knows whether the target was written: an audit log has its beginning alone."""
    source, target = MemoryStore(), MemoryStore()
    source.write("app", {"key": "s3cret-4711"})
    options = {"stores": {"from": source, "to": target}, "state_folder": tmp_path}
    made = migrations.plan("from", "to", **options)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(target, "write_if", interrupted)
    with pytest.raises(KeyboardInterrupt):
        migrations.apply(made, **options)
    assert events == []


def test_no_event_has_a_value(manager, events):
    manager.get_secret("app", "key")
    manager.set_secret("app", {"key": "s3cret-4712"}, store="remote")
    assert "s3cret" not in repr(events)


def test_the_path_is_only_for_a_listener_that_asks_for_it(manager, events):
    without: list[Event] = []
    end = listen(without.append)
    manager.get_secret("app")
    end()
    assert [event.path for event in without] == [""]
    assert [event.path for event in events] == ["app"]


def test_a_listener_that_fails_fails_no_read(manager, caplog):
    """Its message may hold a value, so that the log has only its type."""

    def broken(event: Event) -> None:
        raise ValueError("s3cret-4711")

    end = listen(broken)
    assert manager.get_secret("app", "key") == "s3cret-4711"
    end()
    assert "ValueError" in caplog.text
    assert "s3cret-4711" not in caplog.text


def test_an_ended_listener_hears_nothing(manager):
    """Then no event is made."""
    seen: list[Event] = []
    end = listen(seen.append)
    end()
    manager.get_secret("app")
    assert not seen
    assert not is_listening()


def test_an_audit_log_gets_cached_reads_and_beginnings_of_changes(manager, events):
    """A listener gets neither. A read of one version is an event of both."""
    seen: list[Event] = []
    end = audit_events(seen.append)
    manager.get_secret("app", "key")
    manager.get_secret("app", "key")
    asyncio.run(manager.aget_secret("app"))
    manager.set_secret("app", {"key": "new"}, store="remote")
    manager.versions.read("app", 1, store="remote")
    end()
    manager.get_secret("app", "key")
    found = [(event.kind, event.path, event.key, event.step, event.outcome) for event in seen]
    assert found == [
        (EventKind.READ, "app", "key", "", ""),
        (EventKind.HIT, "app", "key", "", ""),
        (EventKind.HIT, "app", "", "", ""),
        (EventKind.WRITE, "app", "", "write", "started"),
        (EventKind.WRITE, "app", "", "write", "done"),
        (EventKind.READ, "app", "", "version", ""),
    ]
    assert [event.kind for event in events] == [EventKind.READ, EventKind.WRITE, EventKind.READ, EventKind.READ]


def test_an_audit_log_that_fails_fails_the_read_and_the_change(manager, store):
    """A cached read too; and the store is not asked to change anything."""
    manager.get_secret("app", "key")

    def full(event: Event) -> None:
        raise OSError("full")

    end = audit_events(full)
    calls = [
        lambda: manager.get_secret("app", "key", default="x"),
        lambda: manager.get_secret("app"),
        lambda: asyncio.run(manager.aget_secret("app", "key")),
        lambda: manager.get_secrets(["app"]),
        lambda: manager.set_secret("app", {"key": "new"}, store="remote"),
        lambda: manager.delete_secret("app", store="remote"),
    ]
    for call in calls:
        with pytest.raises(OSError, match="full"):
            call()
    end()
    assert manager.get_secret("app", "key", fresh=True) == "s3cret-4711"


def test_an_audit_log_is_written_off_the_event_loop(manager):
    """It waits for a file and its lock, also for a cached read."""
    manager.get_secret("app", "key")
    threads: list[int] = []
    end = audit_events(lambda _: threads.append(threading.get_ident()))
    asyncio.run(manager.aget_secret("app", "key"))
    asyncio.run(manager.aget_secret("app"))
    asyncio.run(manager.aresolve("app"))
    end()
    assert len(threads) == 3
    assert threading.get_ident() not in threads
