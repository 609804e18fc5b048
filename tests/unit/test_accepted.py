"""`get_accepted`: the current value, and those that were current within the grace time."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from strongroom import SecretsManager, SensitiveDict, SensitiveStr
from strongroom._chain import history
from strongroom.errors import (
    PermissionDeniedError,
    SecretNotFoundError,
    StoreUnavailableError,
    UnsupportedOperationError,
)
from strongroom.events import EventKind, audit, listen
from strongroom.secret import Secret
from strongroom.store.memory import MemoryStore
from support.clock import LONG, Clock
from support.stores import RemoteStore

HOUR = 3600.0


class VersionedService(RemoteStore):
    """A service with versions, whose clock the test moves. It counts the reads of the history."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock
        self.written = []
        self.histories = 0
        self.denied = False
        self.history_gate = threading.Event()
        self.history_gate.set()
        self.history_entered = threading.Semaphore(0)

    def set(self, **data):
        self.write("webhook", data)

    def write(self, path, data):
        self.written.append(self.clock())
        return super().write(path, data)

    def versions(self, path):
        self.histories += 1
        self._fail()
        self.history_entered.release()
        assert self.history_gate.wait(LONG)
        if self.denied:
            raise PermissionDeniedError(path)
        return [info._replace(created=at) for info, at in zip(super().versions(path), self.written, strict=True)]

    def read_version(self, path, version):
        self._fail()
        return super().read_version(path, version)


@pytest.fixture
def wall(monkeypatch):
    """The wall clock of both the service and this machine, which stands still until a test moves it."""

    class Wall:
        now = datetime(2026, 3, 1, tzinfo=UTC)

        def __call__(self):
            return self.now

        def move(self, seconds):
            self.now += timedelta(seconds=seconds)

    clock = Wall()
    monkeypatch.setattr(history, "now_utc", clock)
    return clock


@pytest.fixture
def store(wall):
    return VersionedService(wall)


@pytest.fixture
def secrets(store):
    with SecretsManager(chain=[store]) as manager:
        yield manager


def accepted(secrets, **options):
    return [value.reveal() for value in secrets.get_accepted("webhook", "key", **{"grace": "1h", **options})]


def test_previous_value_is_accepted_until_the_grace_time_is_over(secrets, store, wall):
    store.set(key="old")
    wall.move(10 * HOUR)
    store.set(key="new")
    wall.move(HOUR - 1)
    assert accepted(secrets) == ["new", "old"]
    wall.move(1)
    assert accepted(secrets) == ["new"]


def test_secret_that_never_changed_has_one_value(secrets, store):
    store.set(key="only")
    assert accepted(secrets) == ["only"]


def test_grace_counts_from_the_change_of_the_key_and_not_of_its_neighbor(secrets, store, wall):
    """A version that changes another key neither prolongs the old value nor hides it."""
    store.set(key="old", other="1")
    wall.move(HOUR)
    store.set(key="new", other="1")
    wall.move(HOUR / 2)
    store.set(key="new", other="2")
    assert accepted(secrets) == ["new", "old"]
    wall.move(HOUR / 2)
    assert accepted(secrets) == ["new"]


def test_every_value_that_was_current_within_the_grace_time_counts(secrets, store, wall):
    """Two rotations in a row: a signature from before the first one is still valid."""
    for value in ("first", "second", "third"):
        store.set(key=value)
        wall.move(HOUR / 4)
    assert accepted(secrets) == ["third", "second", "first"]
    wall.move(HOUR / 2)
    assert accepted(secrets) == ["third", "second"]


def test_deleted_and_destroyed_versions_are_left_out(secrets, store):
    for value in ("first", "second", "third"):
        store.set(key=value)
    store.destroy("webhook", 2)
    assert accepted(secrets) == ["third", "first"]


def test_destroying_a_leaked_value_ends_it_at_once_in_this_process(secrets, store):
    store.set(key="leaked")
    store.set(key="new")
    assert accepted(secrets) == ["new", "leaked"]
    secrets.versions.destroy("webhook", 1)
    assert accepted(secrets) == ["new"]


def test_version_that_vanishes_while_it_is_read_is_left_out(secrets, store, monkeypatch):
    def gone(path, version):
        raise SecretNotFoundError(path)

    store.set(key="old")
    store.set(key="new")
    monkeypatch.setattr(store, "read_version", gone)
    assert accepted(secrets) == ["new"]


def test_version_without_the_key_is_left_out(secrets, store):
    store.set(other="1")
    store.set(key="new")
    assert accepted(secrets) == ["new"]


def test_earlier_value_that_does_not_fit_the_type_is_left_out(secrets, store):
    store.set(key="5")
    store.set(key="not a number")
    store.set(key="7")
    assert secrets.get_accepted("webhook", "key", grace="1h", as_=int) == [7, 5]


def test_whole_secrets(secrets, store):
    """A signing key with its id is one secret."""
    store.set(key="old", kid="1")
    store.set(key="new", kid="2")
    whole = secrets.get_accepted("webhook", grace="1h")
    assert whole == [{"key": "new", "kid": "2"}, {"key": "old", "kid": "1"}]
    assert {type(each) for each in whole} == {SensitiveDict}
    assert secrets.get_accepted("webhook", "kid", grace="1h") == ["2", "1"]


def test_no_value_is_shown(secrets, store):
    store.set(key="canary-old")
    store.set(key="canary-new")
    found = secrets.get_accepted("webhook", "key", grace="1h")
    assert {type(value) for value in found} == {SensitiveStr}
    assert "canary" not in repr(found)


def test_requests_are_answered_from_the_cache(secrets, store, wall):
    """One read of the secret and one of its history, also when two grace times are in use."""
    store.set(key="old")
    store.set(key="new")
    for _ in range(3):
        assert accepted(secrets) == ["new", "old"]
        assert accepted(secrets, grace="10m") == ["new", "old"]
        wall.move(60)
    assert (len(store.reads), store.histories) == (1, 1)
    assert accepted(secrets, grace="2h") == ["new", "old"]
    assert store.histories == 2


def test_thread_that_joins_a_read_of_a_shorter_time_gets_all_values(secrets, store, wall):
    """The read in progress looks back for ten minutes only."""
    store.set(key="old")
    wall.move(HOUR / 2)
    store.set(key="new")
    wall.move(HOUR / 2)
    secrets.get_secret("webhook")
    store.history_gate.clear()
    with ThreadPoolExecutor() as threads:
        short = threads.submit(accepted, secrets, grace="10m")
        assert store.history_entered.acquire(timeout=LONG)
        long = threads.submit(accepted, secrets)
        store.history_gate.set()
        assert (short.result(LONG), long.result(LONG)) == (["new"], ["new", "old"])


def test_cache_ends_with_its_ttl_and_with_a_write(secrets, store):
    clock = Clock.of(secrets)
    store.set(key="old")
    assert accepted(secrets) == ["old"]
    secrets.set_secret("webhook", {"key": "new"})
    assert accepted(secrets) == ["new", "old"]
    store.set(key="newer")
    assert accepted(secrets) == ["new", "old"]
    assert accepted(secrets, fresh=True) == ["newer", "new", "old"]
    store.set(key="newest")
    clock.move(301)
    assert accepted(secrets) == ["newest", "newer", "new", "old"]


def test_history_that_was_read_for_an_older_version_does_not_count(secrets, store):
    """Another process has written, and the secret leaves the cache before its history does."""
    clock = Clock.of(secrets)
    store.set(key="old")
    secrets.get_secret("webhook")
    clock.move(200)
    assert accepted(secrets) == ["old"]
    store.set(key="new")
    clock.move(101)
    assert accepted(secrets) == ["new", "old"]
    assert store.histories == 2


def test_reads_of_the_history_are_events_and_cached_ones_are_not(secrets, store):
    """An audit log is told of each."""
    store.set(key="old")
    store.set(key="new")
    told, audited = [], []
    stop_listening = listen(told.append)
    accepted(secrets)
    accepted(secrets)
    stop_listening()
    stop_auditing = audit(audited.append)
    accepted(secrets)
    stop_auditing()
    assert [(event.kind, event.step) for event in told] == [(EventKind.READ, ""), (EventKind.READ, "version")]
    assert [(event.kind, event.step) for event in audited] == [(EventKind.HIT, ""), (EventKind.HIT, "version")]


def test_outage_serves_both_values_stale(secrets, store):
    clock = Clock.of(secrets)
    store.set(key="old")
    store.set(key="new")
    assert accepted(secrets) == ["new", "old"]
    clock.move(301)
    store.fault = StoreUnavailableError("webhook", "down")
    assert accepted(secrets) == ["new", "old"]
    before = store.histories
    for _ in range(5):
        assert accepted(secrets) == ["new", "old"]
    assert store.histories == before  # nobody waits for a store that is known to be down
    with pytest.raises(StoreUnavailableError):
        accepted(secrets, fresh=True)


def test_history_that_is_not_known_is_an_outage(secrets, store, monkeypatch):
    """The current value alone would refuse a signature that is still valid."""

    def down(path):
        raise StoreUnavailableError(path, "down")

    store.set(key="only")
    monkeypatch.setattr(store, "versions", down)
    with pytest.raises(StoreUnavailableError):
        accepted(secrets)


def test_denied_history_is_a_denial_and_leaves_the_cache(secrets, store):
    """Also during a later outage: a value that was denied is not served."""
    clock = Clock.of(secrets)
    store.set(key="old")
    store.set(key="new")
    accepted(secrets)
    store.denied = True
    clock.move(301)
    with pytest.raises(PermissionDeniedError):
        accepted(secrets)
    store.fault = StoreUnavailableError("webhook", "down")
    with pytest.raises(StoreUnavailableError):
        accepted(secrets)


def test_service_without_versions_is_refused():
    class Older(RemoteStore):
        versions = read_version = undelete = destroy = read_metadata = write_metadata = None

    with (
        SecretsManager(chain=[Older({"webhook": {"key": "only"}})]) as secrets,
        pytest.raises(UnsupportedOperationError, match="the store has no versions"),
    ):
        accepted(secrets)


def test_store_that_does_not_tell_times_is_refused(secrets, store):
    store.set(key="old")
    store.set(key="new")
    store.written = [None, None]
    with pytest.raises(UnsupportedOperationError, match="does not tell when"):
        accepted(secrets)


def test_environment_behind_a_service_has_the_current_value_alone(store, monkeypatch):
    """An application that is developed with variables asks the same way."""
    monkeypatch.setenv("WEBHOOK_KEY", "from-a-variable")
    with SecretsManager(chain=[store, "env"]) as secrets:
        assert accepted(secrets) == ["from-a-variable"]


def test_default_has_the_current_value_alone(tmp_path):
    file = tmp_path / "strongroom.toml"
    file.write_text('chain = ["memory"]\n[secrets]\nKEY = { at = "webhook#key", default = "fallback" }\n')
    with SecretsManager.from_config(file) as secrets:
        assert accepted(secrets) == ["fallback"]


def test_store_that_answers_is_the_one_that_is_asked_for_versions(store):
    """Another store of the chain may have its own old versions."""
    other = MemoryStore()
    other.write("webhook", {"key": "stranger"})
    other.delete("webhook")
    store.set(key="old")
    store.set(key="new")
    with SecretsManager(chain=[other, store]) as secrets:
        assert accepted(secrets) == ["new", "old"]


def test_version_after_the_current_one_is_not_accepted(secrets, store, monkeypatch):
    """AWS lists the pending version of a rotation before it is promoted."""
    store.set(key="old")
    store.set(key="current")
    store.set(key="pending")
    monkeypatch.setattr(store, "read", lambda path: Secret(path, {"key": "current"}, 2))
    assert accepted(secrets) == ["current", "old"]


def test_grace_may_be_longer_than_the_calendar(secrets, store):
    store.set(key="old")
    store.set(key="new")
    assert accepted(secrets, grace=1e300) == ["new", "old"]


@pytest.mark.parametrize("grace", ["soon", -1, None, True])
def test_grace_is_a_duration(secrets, grace):
    with pytest.raises(ValueError, match="grace is a duration"):
        accepted(secrets, grace=grace)


def test_asynchronous_form(secrets, store):
    store.set(key="old")
    store.set(key="new")
    assert asyncio.run(secrets.aget_accepted("webhook", "key", grace="1h")) == ["new", "old"]


def test_two_grace_times_let_processes_with_caches_sign_and_verify(store, wall):
    """The signer knows a new key before the verifier does. A token of an hour is valid for an hour all the same."""
    with SecretsManager(chain=[store]) as signer, SecretsManager(chain=[store]) as verifier:
        clock = Clock.of(verifier)
        store.set(key="old")
        signed = []
        for minute in range(121):
            if minute == 31:
                store.set(key="new")
            signed.append(accepted(signer, grace="10m", fresh=True)[-1])
            valid = accepted(verifier, grace="70m")
            assert set(signed[-60:]) <= set(valid)
            wall.move(60)
            clock.move(60)
        assert (signed[0], signed[-1], valid) == ("old", "new", ["new"])
