"""The disk cache of one store: what it serves, for how long, and that any damage and any doubt is a miss."""

import errno
import logging
import os
import random
import sqlite3
import threading
import time
from datetime import UTC, datetime

import pytest

from strongroom._chain.link import Link
from strongroom._config import CacheConfig, LinkConfig
from strongroom._disk_cache import entry as entry_module
from strongroom._disk_cache import keys as keys_module
from strongroom._disk_cache.container import Container
from strongroom._disk_cache.entry import Moment
from strongroom._disk_cache.store_cache import StoreCache
from strongroom._plugins.identity import StoreIdentity
from strongroom.errors import PermissionDeniedError, SecretNotFoundError, StoreUnavailableError
from strongroom.secret import AgedAbsence, AgedSecret, Secret
from strongroom.store import fails_fast
from support.clock import LONG

CANARY = "canary-8f31"
IDENTITY = {"plugin": "vault", "options": {"url": "https://vault.example:8200", "token": "s.canary-token"}}
DATA = {
    "text": CANARY,
    "number": 12345678901234567890,
    "float": 0.1,
    "null": None,
    "bytes": b"\x00\xff",
    "nested": {"list": [1, True, "x", {"strongroom:bytes": "no"}]},
    "surrogate": "\ud800",
}


class Cache(StoreCache):
    """A cache in a folder, as a process that starts opens it."""

    def __init__(self, folder, *, identity=IDENTITY, release="1.0", in_outages=False, **lifetimes):
        self.container = Container(folder, lifetimes.get("max_bytes", 1 << 22))
        known, config = StoreIdentity(identity, release), CacheConfig(**lifetimes)
        super().__init__(self.container, "vault", lambda: known, config, in_outages=in_outages)

    def put(self, path="db/app", data=None, **about):
        secret = Secret(path, DATA if data is None else data, **about)
        assert self.fetch(path, lambda: secret, fresh=True) == secret
        return self

    @property
    def file(self):
        return self.container.file(self.container.keys())


class Clocks:
    """The clocks of the cache, which a test sets."""

    def __init__(self, monkeypatch):
        self.wall, self.since_boot, self.boot = 1_800_000_000.0, 5000.0, "boot-1"
        monkeypatch.setattr(entry_module.Moment, "now", lambda: Moment(self.wall, self.since_boot, self.boot))
        monkeypatch.setattr("strongroom._disk_cache.container.time.time", lambda: self.wall)

    def pass_by(self, seconds):
        self.wall += seconds
        self.since_boot += seconds


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def clocks(monkeypatch):
    return Clocks(monkeypatch)


def fail(*_):
    raise AssertionError("the store was asked")


def unavailable():
    raise StoreUnavailableError("db/app", "connection refused")


class Denying:
    """A remote store that denies every path."""

    def read(self, path):
        raise PermissionDeniedError(path)

    def close(self):
        pass


def absent():
    raise SecretNotFoundError("db/app", "secret not found")


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# --- what is served ---------------------------------------------------------------------------------------------------


def test_an_entry_of_another_release_of_the_plugin_serves_in_an_outage_alone(folder, clocks):
    """The meaning of a path can differ between releases, and an upgrade during an outage must not lose the secrets."""
    Cache(folder, max_stale=60).put(data={"k": CANARY})
    upgraded = Cache(folder, max_stale=60, release="2.0")
    assert upgraded.current("db/app") is None
    assert upgraded.stale("db/app").data == {"k": CANARY}
    assert upgraded.fetch("db/app", lambda: Secret("db/app", {"k": "anew"})).data == {"k": "anew"}
    assert upgraded.current("db/app").data == {"k": "anew"}
    assert Cache(folder, identity={**IDENTITY, "plugin": "other"}, max_stale=60).stale("db/app") is None


def test_another_process_gets_the_same_secret_with_its_age(folder, clocks):
    created = datetime(2026, 11, 1, tzinfo=UTC)
    Cache(folder).put(version=7, created=created)
    clocks.pass_by(12)
    found = Cache(folder).fetch("db/app", fail)
    assert isinstance(found, AgedSecret)
    assert (dict(found.data), found.version, found.created, found.age) == (DATA, 7, created, 12)
    assert type(found.data["bytes"]).__name__ == "SensitiveBytes"
    assert CANARY not in repr(found)


def test_a_secret_is_current_for_its_ttl_and_then_serves_in_an_outage_alone(folder, clocks):
    Cache(folder, ttl=300, max_stale=3600).put()
    clocks.pass_by(299)
    assert Cache(folder, ttl=300).current("db/app") is not None
    clocks.pass_by(1)
    cache = Cache(folder, ttl=300)
    assert cache.current("db/app") is None
    assert cache.stale("db/app").age == 300
    clocks.pass_by(3600)
    assert cache.stale("db/app") is None


def test_each_process_applies_its_own_shorter_lifetimes(folder, clocks):
    Cache(folder, ttl=3000, max_stale=3600).put()
    clocks.pass_by(20)
    assert Cache(folder, ttl=10).current("db/app") is None
    assert Cache(folder, ttl=10, max_stale=5).stale("db/app") is None


def test_a_secret_that_expires_is_not_served_past_its_end(folder, clocks):
    Cache(folder, ttl=300).put(ttl=10.0)
    clocks.pass_by(4)
    assert Cache(folder).current("db/app").ttl == 6
    clocks.pass_by(6)
    assert Cache(folder).current("db/app") is Cache(folder).stale("db/app") is None


def test_an_absence_is_kept_for_its_own_time_and_never_served_in_an_outage(folder, clocks):
    with pytest.raises(SecretNotFoundError):
        Cache(folder).fetch("db/app", absent)
    clocks.pass_by(29)
    with pytest.raises(AgedAbsence, match="secret not found"):
        Cache(folder).fetch("db/app", fail)
    clocks.pass_by(1)
    assert Cache(folder).current("db/app") is Cache(folder).stale("db/app") is None


def test_an_absence_answers_offline_for_as_long_as_a_stale_secret(folder, clocks):
    with pytest.raises(SecretNotFoundError):
        Cache(folder, max_stale=3600).fetch("db/app", absent)
    clocks.pass_by(3629)
    assert Cache(folder, max_stale=3600).current("db/app") is None
    for in_outages in (False, True):  # also for a helper that reads past current entries
        cache = Cache(folder, max_stale=3600, offline=True, in_outages=in_outages)
        assert isinstance(cache.current("db/app"), AgedAbsence)
    assert Cache(folder, max_stale=600, offline=True).current("db/app") is None
    clocks.pass_by(1)
    assert Cache(folder, max_stale=3600, offline=True).current("db/app") is None


def test_an_outage_is_never_kept(folder):
    with pytest.raises(StoreUnavailableError):
        Cache(folder).fetch("db/app", unavailable)
    assert Cache(folder).current("db/app") is None


@pytest.mark.parametrize(
    "identity",
    [
        {**IDENTITY, "options": {**IDENTITY["options"], "url": "https://other.example:8200"}},
        {**IDENTITY, "options": {**IDENTITY["options"], "token": "s.other"}},
        {**IDENTITY, "plugin": "other"},
    ],
    ids=["address", "token", "plugin"],
)
def test_another_store_or_login_finds_nothing(folder, identity):
    Cache(folder).put()
    assert Cache(folder, identity=identity).current("db/app") is None
    assert Cache(folder, identity=identity).stale("db/app") is None


def test_paths_that_never_lie_on_disk(folder):
    cache = Cache(folder, never=("payments/*",))
    secret = Secret("payments/key", {"k": CANARY})
    assert cache.fetch("payments/key", lambda: secret) is secret
    assert not cache.covers("payments/key")
    assert not folder.exists()


def test_a_ttl_of_zero_disables_the_cache(folder):
    Cache(folder, ttl=0).put()
    assert not folder.exists()


def test_reading_creates_nothing(folder):
    assert Cache(folder).current("db/app") is None
    Cache(folder).forget("db/app")
    assert not folder.exists()


# --- writes -----------------------------------------------------------------------------------------------------------


def test_a_write_of_one_process_counts_for_all(folder):
    cache = Cache(folder).put().put("db/other")
    Cache(folder).forget("db/app")
    assert cache.current("db/app") is cache.stale("db/app") is None
    assert cache.current("db/other") is not None


def test_a_write_with_another_login_counts_too(folder):
    """An operator's token writes what the application's role reads."""
    other = {**IDENTITY, "options": {**IDENTITY["options"], "token": "s.operator"}}
    cache = Cache(folder).put()
    Cache(folder, identity=other).forget("db/app")
    assert cache.current("db/app") is cache.stale("db/app") is None


def test_forgetting_everything(folder):
    cache = Cache(folder).put().put("db/other")
    Cache(folder).forget()
    assert cache.current("db/app") is cache.current("db/other") is None


@pytest.mark.parametrize("path", ["db/app", None], ids=["the path", "everything"])
def test_a_read_that_began_before_a_write_is_not_kept(folder, path):
    def load():
        Cache(folder).forget(path)
        return Secret("db/app", {"k": "old"})

    Cache(folder).fetch("db/app", load)
    assert Cache(folder).current("db/app") is None


def test_a_read_that_began_before_a_damaged_file_was_replaced_is_not_kept(folder):
    def load():
        cache = Cache(folder)
        cache.container.remove(cache.file)
        cache.put("db/other")
        return Secret("db/app", {"k": "old"})

    Cache(folder).fetch("db/app", load)
    assert Cache(folder).current("db/app") is None


def test_a_slow_read_does_not_replace_the_answer_of_a_later_one(folder):
    def load():
        Cache(folder).put(data={"k": "new"})
        return Secret("db/app", {"k": "old"})

    Cache(folder).fetch("db/app", load, fresh=True)
    assert Cache(folder).current("db/app").data["k"] == "new"


def test_a_write_is_synced_to_disk_also_in_a_file_that_it_fills(folder, monkeypatch):
    """Neither the tables nor the entries are synced: after a crash of the machine they may be a miss."""
    cache = Cache(folder).put()
    os.truncate(cache.file, 0)
    statements, connect = [], sqlite3.connect

    def traced(*args, **options):
        database = connect(*args, **options)
        database.set_trace_callback(statements.append)
        return database

    monkeypatch.setattr(sqlite3, "connect", traced)
    cache.forget("db/app")
    texts = [statement.strip("\n ;") for statement in statements]
    kept = [text for text in texts if text == "COMMIT" or text.startswith("PRAGMA synchronous")]
    assert kept == ["PRAGMA synchronous = OFF", "COMMIT", "PRAGMA synchronous = FULL", "COMMIT"]


def test_a_write_that_cannot_be_noted_removes_all_entries(folder, monkeypatch, caplog):
    cache = Cache(folder).put().put("db/other")

    def full(*_, **__):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Container, "forget", full)
    cache.forget("db/app")
    assert Cache(folder).current("db/app") is Cache(folder).current("db/other") is None
    assert warnings(caplog) == ["The disk cache of store vault is not used: SQLite: database or disk is full"]


# --- one read for all -------------------------------------------------------------------------------------------------


def test_of_many_that_miss_one_asks_the_store(folder):
    entered, gate, reads = threading.Event(), threading.Event(), []

    def load():
        reads.append(1)
        entered.set()
        assert gate.wait(LONG)
        return Secret("db/app", {"k": CANARY})

    found = []
    threads = [
        threading.Thread(target=lambda: found.append(Cache(folder).fetch("db/app", load).data["k"])) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    assert entered.wait(LONG)
    gate.set()
    for thread in threads:
        thread.join(LONG)
    assert (found, len(reads)) == ([CANARY] * 8, 1)


def test_a_batch_asks_for_what_is_missing_alone(folder):
    Cache(folder).put("a")
    asked = []

    def ask(paths):
        asked.append(paths)
        yield from ((path, Secret(path, {"k": path})) for path in paths)

    found = dict(Cache(folder).read_each(["a", "b", "c"], ask))
    assert asked == [["b", "c"]]
    assert list(found) == ["a", "b", "c"]
    assert dict(Cache(folder).read_each(["a", "b", "c"], fail))["c"].data["k"] == "c"


def read_all(folder, paths, *, fresh=False, **lifetimes):
    """Read paths in one batch, each with its path as its value."""
    return dict(
        Cache(folder, **lifetimes).read_each(
            paths, lambda paths: ((path, Secret(path, {"k": path})) for path in paths), fresh=fresh
        )
    )


def test_a_batch_opens_the_file_as_often_as_one_path(folder, monkeypatch):
    opened, connect = [], sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: opened.append(1) or connect(*args, **options))
    counts = []
    for paths in (["a"], [f"b/{number}" for number in range(600)]):
        for _ in range(2):
            read_all(folder, paths)
            counts.append(len(opened))
            opened.clear()
    assert counts[:2] == [2, 1]  # nothing lies there before the first read, which looks and adds
    assert counts[2:] == [3, 1]


def test_a_batch_derives_one_key_for_all_its_entries(folder, monkeypatch):
    derived, entry_key = [], keys_module.entry_key
    monkeypatch.setattr(entry_module, "entry_key", lambda *args: derived.append(1) or entry_key(*args))
    paths = [f"b/{number}" for number in range(50)]
    read_all(folder, paths)
    read_all(folder, paths)
    assert len(derived) == 2  # the first one adds the entries, the second one opens them
    read_all(folder, ["another"])
    assert len(derived) == 3


def test_a_batch_in_an_outage_opens_the_file_as_often_as_one_path(folder, clocks, monkeypatch):
    paths = [f"b/{number}" for number in range(50)]
    read_all(folder, paths)
    clocks.pass_by(400)
    opened, connect = [], sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: opened.append(1) or connect(*args, **options))
    counts = []
    for asked in (paths[:1], paths):
        link = Link(LinkConfig("vault"), unavailable, CacheConfig(), disk=Cache(folder))
        readings = link.read_many(asked)
        assert all(reading.outage is not None for reading in readings.values())
        counts.append(len(opened))
        opened.clear()
    assert counts[0] == counts[1]


def test_a_denied_batch_opens_the_file_as_often_as_one_path_and_is_dropped(folder, clocks, monkeypatch):
    paths = [f"b/{number}" for number in range(50)]
    read_all(folder, ["kept", *paths])
    opened, connect = [], sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: opened.append(1) or connect(*args, **options))
    counts = []
    for asked in (paths[:1], paths):
        link = Link(LinkConfig("vault"), Denying, CacheConfig(), disk=Cache(folder))
        results = link.read_many(asked, fresh=True)
        assert {type(result) for result in results.values()} == {PermissionDeniedError}
        counts.append(len(opened))
        opened.clear()
    assert counts[0] == counts[1]
    assert Cache(folder).stale_many(["kept", *paths]).keys() == {"kept"}


def test_a_batch_that_is_given_up_drops_the_paths_that_were_denied(folder, clocks):
    class GivesUp(Denying):
        def read_many(self, paths):
            yield next(iter(paths)), PermissionDeniedError("a")
            raise KeyboardInterrupt

    read_all(folder, ["a", "b"])
    link = Link(LinkConfig("vault"), GivesUp, CacheConfig(), disk=Cache(folder))
    with pytest.raises(KeyboardInterrupt):
        link.read_many(["a", "b"], fresh=True)
    assert Cache(folder).stale_many(["a", "b"]).keys() == {"b"}


def test_a_batch_that_is_given_up_keeps_the_answers_that_it_has(folder):
    def ask(_):
        yield "a", Secret("a", {"k": "a"})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dict(Cache(folder).read_each(["a", "b"], ask))
    assert Cache(folder).current("a").data["k"] == "a"
    assert Cache(folder).current("b") is None


def test_of_a_batch_a_path_that_was_written_meanwhile_is_not_kept(folder):
    def ask(paths):
        Cache(folder).forget("b")
        yield from ((path, Secret(path, {"k": "old"})) for path in paths)

    dict(Cache(folder).read_each(["a", "b", "c"], ask))
    assert [Cache(folder).current(path) is None for path in "abc"] == [False, True, False]


def test_of_a_batch_a_damaged_entry_alone_is_read_again(folder, caplog):
    read_all(folder, ["a", "b", "c"])
    cache = Cache(folder)
    database = sqlite3.connect(cache.file)
    database.execute("UPDATE entries SET ends = ends + 1 WHERE rowid = 2")
    database.commit()
    database.close()
    asked = []
    dict(cache.read_each(["a", "b", "c"], lambda paths: asked.extend(paths) or ()))
    assert len(asked) == 1
    assert warnings(caplog) == ["The disk cache of store vault is not used: an entry is damaged"]


def test_a_batch_fails_fast_for_what_an_outage_may_serve(folder, clocks):
    """The store waits for the others."""
    read_all(folder, ["a", "b"])
    clocks.pass_by(400)
    found = []

    def ask(paths):
        found.append((list(paths), fails_fast()))
        yield paths[0], StoreUnavailableError(paths[0], "connection refused")

    for paths in (["a", "b"], ["new", "a"]):
        dict(Cache(folder).read_each(paths, ask))
    assert found == [(["a", "b"], True), (["a"], True), (["new"], False)]


# --- clocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moved", [-3600, -100, 100, 3600])
def test_a_clock_that_was_set_is_a_miss_with_one_warning(folder, clocks, caplog, moved):
    Cache(folder).put()
    clocks.pass_by(100)
    clocks.wall += moved
    cache = Cache(folder)
    assert cache.current("db/app") is cache.stale("db/app") is None
    assert len(warnings(caplog)) == 1
    assert "the clock was set" in warnings(caplog)[0]


def test_after_a_reboot_an_entry_serves_in_an_outage_alone(folder, clocks):
    Cache(folder).put()
    clocks.wall, clocks.since_boot, clocks.boot = clocks.wall + 60, 10.0, "boot-2"
    cache = Cache(folder)
    assert cache.current("db/app") is None
    assert cache.stale("db/app").age == 60


def test_after_a_reboot_a_clock_behind_the_newest_entry_is_not_believed(folder, clocks):
    cache = Cache(folder).put()
    clocks.pass_by(500)
    cache.put("db/other")
    clocks.wall, clocks.since_boot, clocks.boot = clocks.wall - 100, 10.0, "boot-2"
    assert Cache(folder).stale("db/app") is None


# --- the folder -------------------------------------------------------------------------------------------------------


def test_nothing_on_disk_is_readable_and_all_is_private(folder):
    cache = Cache(folder).put(version=3)
    with pytest.raises(SecretNotFoundError):
        cache.fetch("db/gone", absent)
    content = b"".join(file.read_bytes() for file in folder.iterdir())
    for word in (CANARY, "db/app", "db/gone", "vault", "canary-token", "nested", "not found", "https"):
        assert word.encode() not in content, word
    assert oct(folder.stat().st_mode & 0o777) == "0o700"
    assert {oct(file.stat().st_mode & 0o777) for file in folder.iterdir()} == {"0o600"}


def _open_folder(folder):
    folder.chmod(0o755)


def _open_key(folder):
    (folder / "root.key").chmod(0o644)


def _open_entries(folder):
    next(folder.glob("*.sqlite")).chmod(0o640)


def _linked_folder(folder):
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))


def _linked_key(folder):
    (folder / "root.key").rename(folder / "other.key")
    (folder / "root.key").symlink_to(folder / "other.key")


def _short_key(folder):
    os.truncate(folder / "root.key", 16)


def _file_for_folder(folder):
    folder.rename(folder.with_name("elsewhere"))
    folder.write_text("")


BROKEN = [_open_folder, _open_key, _open_entries, _linked_folder, _linked_key, _short_key, _file_for_folder]


@pytest.mark.parametrize("breaks", BROKEN)
def test_a_folder_that_is_not_private_is_a_miss_with_one_warning(folder, caplog, breaks):
    Cache(folder).put()
    breaks(folder)
    cache = Cache(folder)
    assert cache.current("db/app") is cache.stale("db/app") is None
    secret = Secret("db/app", {"k": "new"})
    assert cache.fetch("db/app", lambda: secret) is secret
    cache.forget("db/app")
    assert len(warnings(caplog)) == 1
    assert CANARY not in caplog.text


def test_a_folder_of_another_user_is_a_miss_with_one_warning(folder, caplog, monkeypatch):
    Cache(folder).put()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    cache = Cache(folder)
    assert cache.current("db/app") is None
    cache.put(data={"k": "new"})
    assert warnings(caplog) == ["The disk cache of store vault is not used: it is not a folder of this user"]


def test_a_full_disk_is_a_miss_with_one_warning(folder, caplog, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("strongroom._disk_cache.container.create_once", full)
    Cache(folder).put().put("db/other")
    assert warnings(caplog) == ["The disk cache of store vault is not used: No space left on device"]
    assert Cache(folder).current("db/app") is None


def test_an_image_that_starts_as_another_machine_finds_nothing(folder, monkeypatch):
    Cache(folder).put()
    monkeypatch.setattr("strongroom._disk_cache.keys.machine_identity", lambda: b"another machine")
    assert Cache(folder).current("db/app") is Cache(folder).stale("db/app") is None


def test_the_machine_has_an_identity():
    assert keys_module.machine_identity() == keys_module.machine_identity() != b""


def test_the_keys_depend_on_root_key_machine_and_user():
    derived = {
        keys_module.derive(*said) for said in [(b"r", b"m", 1), (b"s", b"m", 1), (b"r", b"n", 1), (b"r", b"m", 2)]
    }
    assert len({part for keys in derived for part in keys}) == 12


def test_each_entry_has_its_own_key():
    """It depends on the salt of the entry and on the root key."""
    first, second = (keys_module.derive(root, b"machine", 1) for root in (b"first", b"second"))
    found = {keys_module.entry_key(keys, salt) for keys in (first, second) for salt in (b"s", b"t")}
    assert {len(key) for key in found} == {32}
    assert len(found) == 4


def test_the_size_is_bounded(folder):
    cache = Cache(folder, max_bytes=1 << 18)
    for number in range(200):
        cache.put(f"app/{number}", {"k": "x" * 4000})
    assert cache.file.stat().st_size <= 1 << 18
    assert cache.current("app/199") is not None
    assert cache.current("app/0") is None


def test_a_batch_that_is_larger_than_the_cache_is_bounded_too(folder):
    paths = [f"app/{number}/{'x' * 4000}" for number in range(200)]
    assert len(read_all(folder, paths, max_bytes=1 << 18)) == 200
    cache = Cache(folder, max_bytes=1 << 18)
    assert cache.file.stat().st_size <= 1 << 18
    assert cache.current(paths[-1]) is not None
    assert cache.current(paths[0]) is None


# --- damage -----------------------------------------------------------------------------------------------------------


def answers(folder, paths):
    """What a process that starts gets for each path; the value, or None for a miss."""
    cache = Cache(folder)
    found = [cache.current(path) or cache.stale(path) for path in paths]
    return [answer.data["k"] if isinstance(answer, AgedSecret) else answer for answer in found]


@pytest.fixture
def full(folder):
    """A folder with three entries and the mark of a write, and its files."""
    cache = Cache(folder)
    for path in ("a", "b", "c", "d"):
        cache.put(path, {"k": f"{CANARY}-{path}"})
    cache.forget("d")
    return {file: file.read_bytes() for file in folder.iterdir() if file.suffix != ".lock"}


def check_damage(folder, full, file, content):
    for other, original in full.items():
        other.write_bytes(content if other is file else original)
        other.chmod(0o600)
    for path, answer in zip("abcd", answers(folder, "abcd"), strict=True):
        assert answer in {None, f"{CANARY}-{path}"} if path != "d" else answer is None, (file.name, path)
    assert Cache(folder).fetch("a", lambda: Secret("a", {"k": f"{CANARY}-a"})).data["k"] == f"{CANARY}-a"
    for leftover in folder.glob("*.sqlite-journal"):
        leftover.unlink()


def long(short, every):
    return every if os.environ.get("TEST_DISK_CACHE_LONG") else short


def test_a_flipped_byte_is_a_miss_or_changes_nothing(folder, full):
    chance = random.Random(13)
    for file, content in full.items():
        places = range(len(content))
        for place in long(chance.sample(places, min(60, len(places))), places):
            flipped = bytearray(content)
            flipped[place] ^= chance.randrange(1, 256)
            check_damage(folder, full, file, bytes(flipped))


def test_a_truncated_file_is_a_miss_or_changes_nothing(folder, full):
    chance = random.Random(13)
    for file, content in full.items():
        lengths = range(len(content))
        for length in long(chance.sample(lengths, min(25, len(lengths))), lengths):
            check_damage(folder, full, file, content[:length])


def test_a_damaged_schema_that_sqlite_cannot_name(folder, full):
    """Its message quotes the name of a table, which is not UTF-8."""
    (file,) = (file for file in full if file.suffix == ".sqlite")
    assert b"tablewriteswrites" in full[file]
    check_damage(folder, full, file, full[file].replace(b"tablewriteswrites", b"tablewrite\xffwrite\xff"))


def test_swapped_entries_are_misses(folder, full):
    (file,) = (file for file in full if file.suffix == ".sqlite")
    columns = ("name", "path", "asked", "ends", "sealed")
    database = sqlite3.connect(file)
    rows = {row[0]: row for row in database.execute(f"SELECT {', '.join(columns)} FROM entries")}
    database.close()
    names = list(rows)
    for one in names:
        for two in names:
            for column in range(1, 5):
                check_changed(folder, full, file, {one: {columns[column]: rows[two][column]}})
            check_changed(folder, full, file, {one: {"asked": rows[one][2] + 1, "ends": rows[two][3]}})
            exchange = {one: rows[two], two: rows[one]}
            exchanged = {name: dict(zip(columns, row, strict=True)) for name, row in exchange.items()}
            check_changed(folder, full, file, exchanged)


def check_changed(folder, full, file, changes):
    """Change columns of some rows. A row keeps its name."""
    file.write_bytes(full[file])
    database = sqlite3.connect(file)
    for name, values in changes.items():
        for column, value in values.items():
            if column != "name":
                database.execute(f"UPDATE entries SET {column} = ? WHERE name = ?", (value, name))
    database.commit()
    database.close()
    for path, answer in zip("abc", answers(folder, "abc"), strict=True):
        assert answer in {None, f"{CANARY}-{path}"}


def test_a_damaged_entry_is_replaced_by_the_next_read(folder, caplog):
    cache = Cache(folder).put()
    database = sqlite3.connect(cache.file)
    database.execute("UPDATE entries SET asked = asked + 1000000000")
    database.commit()
    database.close()
    assert Cache(folder).current("db/app") is None
    Cache(folder).put(data={"k": "new"})
    assert Cache(folder).current("db/app").data["k"] == "new"
    assert warnings(caplog) == ["The disk cache of store vault is not used: an entry is damaged"]


def test_a_file_that_is_no_database_is_replaced(folder):
    Cache(folder).put()
    Cache(folder).file.write_bytes(b"x" * 8192)
    assert Cache(folder).current("db/app") is None
    Cache(folder).put()
    assert Cache(folder).current("db/app") is not None


def test_the_files_of_other_keys_are_removed_when_nobody_has_used_them_for_long(folder):
    cache = Cache(folder).put()
    old, young = folder / f"{'0' * 32}.sqlite", folder / f"{'1' * 32}.sqlite"
    for file in (old, young):
        file.touch(0o600)
    os.utime(old, (time.time() - 8 * 86400,) * 2)
    cache.container.remove(cache.file)
    Cache(folder).put()
    assert (old.exists(), young.exists()) == (False, True)


def test_entries_of_a_clock_that_ran_ahead_are_replaced(folder, clocks):
    """One in the future would shadow every later one, and no entry would count after a restart of the machine."""
    Cache(folder).put("db/old", {"k": "old"})
    clocks.wall += 1e8
    Cache(folder).put().put("db/other")
    clocks.wall -= 1e8
    clocks.pass_by(10)
    Cache(folder).put(data={"k": "new"})
    assert Cache(folder).fetch("db/app", fail).data["k"] == "new"
    clocks.pass_by(10)
    clocks.boot, clocks.since_boot = "boot-2", 10.0
    assert Cache(folder).stale("db/app").data["k"] == "new"
    assert Cache(folder).stale("db/old") is None


# --- readers that ask the store first ---------------------------------------------------------------------------------


def test_a_reader_past_the_cache_asks_the_store_and_is_served_in_an_outage(folder):
    """A program asks again after its key was rejected, and must not get that key once more. Others have the new one."""
    Cache(folder).put(data={"key": "rejected"})
    past = Cache(folder, in_outages=True)
    assert past.current("db/app") is None
    asked = []

    def load():
        asked.append(fails_fast())
        return Secret("db/app", {"key": "new"})

    assert past.fetch("db/app", load).data["key"] == "new"
    assert asked == [True], "the cached one may answer, so that the read fails fast"
    assert Cache(folder).current("db/app").data["key"] == "new"
    assert past.stale("db/app").data["key"] == "new"


def test_readers_past_the_cache_do_not_wait_for_each_other(folder):
    """None of them would use the entry of another one."""
    past = Cache(folder, in_outages=True)
    entered, release = threading.Event(), threading.Event()

    def load():
        entered.set()
        assert release.wait(LONG)
        return Secret("db/app", DATA)

    first = threading.Thread(target=past.fetch, args=("db/app", load))
    first.start()
    try:
        assert entered.wait(LONG)
        assert Cache(folder, in_outages=True).fetch("db/app", lambda: Secret("db/app", {"a": "b"})).data == {"a": "b"}
    finally:
        release.set()
        first.join()


def test_a_credential_with_an_end_is_not_on_disk(folder):
    """As a lease."""
    ends = datetime(2027, 1, 31, tzinfo=UTC)
    assert Cache(folder).put(ends=ends).current("db/app") is None
