"""Reads during a known outage: a stale secret is served at once, and one probe runs in the background."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, suppress

import pytest

from strongroom._chain import cached_store
from strongroom._chain.chain import Chain
from strongroom._chain.link import Link
from strongroom._config import CacheConfig, LinkConfig
from strongroom.errors import PermissionDeniedError, SecretNotFoundError, StoreUnavailableError, StrongroomError
from strongroom.secret import Secret, Value
from strongroom.store import fails_fast
from support.clock import LONG, Clock
from support.stores import RemoteStore

READERS = 20


class OutageStore(RemoteStore):
    """A remote store whose reads can fail or hang. `requests` has the path of every read, failed ones included."""

    def __init__(self) -> None:
        super().__init__({"db": {"url": "old", "host": "h"}, "app": {"key": "k"}})
        self.requests: list[str] = []
        self.path_faults: dict[str, StrongroomError] = {}

    def read(self, path: str) -> Secret:
        self.requests.append(path)
        if path in self.path_faults:
            raise self.path_faults[path]
        return super().read(path)


@pytest.fixture
def store() -> Iterator[OutageStore]:
    store = OutageStore()
    yield store
    store.gate.set()


@pytest.fixture
def link(store: OutageStore) -> Link:
    """A link whose cached secrets are stale at once, within their `max_stale`. A forked child has its own store."""
    parent = os.getpid()

    def opener() -> RemoteStore:
        return store if os.getpid() == parent else RemoteStore({"db": {"url": "child"}})

    return Link(LinkConfig("vault"), opener, CacheConfig(ttl=1e-9))


@pytest.fixture
def chain(link: Link, store: OutageStore) -> Iterator[Chain]:
    """A chain that has read both secrets, during an outage that is known."""
    chain = Chain([link])
    chain.resolve_many(["db", "app"])
    store.fault = StoreUnavailableError("db", "refused")
    assert chain.resolve("db", "url").stale
    store.fault = None
    store.requests.clear()
    while store.entered.acquire(blocking=False):
        pass
    yield chain
    store.gate.set()
    chain.close()


def probe_ended(link: Link) -> None:
    probe = link.last_probe
    assert probe is not None
    assert wait([probe], LONG).done


def test_stale_is_served_at_once_while_one_probe_hangs(
    make_probe_due: Callable[[], None], chain: Chain, link: Link, store: OutageStore
) -> None:
    """All readers have their answer before the store has given any."""
    store.write("db", {"url": "new"})
    store.gate.clear()
    make_probe_due()
    with ThreadPoolExecutor(READERS) as pool:
        reads = [pool.submit(chain.resolve, "db", "url") for _ in range(READERS)]
        done, _ = wait(reads, LONG)
        assert len(done) == READERS
        batch = pool.submit(chain.resolve_many, ["db", "app"])
        assert wait([batch], LONG).done
        assert store.entered.acquire(timeout=LONG)  # the probe has been sent, and has no answer yet
        assert store.requests == ["db"]
        store.gate.set()
    assert {(read.result().value, read.result().stale) for read in reads} == {("old", True)}
    probe_ended(link)
    assert not link.connection.breaker.is_open
    assert chain.resolve("db", "url").value == "new"


def test_a_probe_has_the_whole_timeout_of_the_store(
    make_probe_due: Callable[[], None], link: Link, store: OutageStore, chain: Chain
) -> None:
    """The caller's time may be almost over."""
    given = []
    read = store.read

    def timed(path: str) -> Secret:
        from strongroom.store import remaining

        given.append(remaining())
        return read(path)

    store.read = timed
    make_probe_due()
    assert Chain(chain.links, timeout=0.2).resolve("db", "url").stale
    probe_ended(link)
    assert 0.2 < given[0] <= 3


@pytest.mark.parametrize("answer", ["new", "denied", "gone"])
def test_the_first_read_after_an_outage_is_not_stale(
    make_probe_due: Callable[[], None], store: OutageStore, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    """The reader that begins the probe gets its answer, if that comes within a moment."""
    monkeypatch.setattr(cached_store, "PROBE_PATIENCE", 10.0)
    link = Link(LinkConfig("vault"), lambda: store, CacheConfig(ttl=60))
    clock = link.cache.clock = Clock()
    with closing(Chain([link])) as chain:
        chain.resolve("db")
        clock.now += 61
        store.fault = StoreUnavailableError("db", "refused")
        assert chain.resolve("db", "url").stale
        make_probe_due()
        store.fault = PermissionDeniedError("db") if answer == "denied" else None
        if answer == "gone":
            store.delete("db")
        if answer == "new":
            store.write("db", {"url": "new"})
            found = chain.resolve("db", "url")
            assert (found.value, found.stale) == ("new", False)
            return
        with pytest.raises(PermissionDeniedError if answer == "denied" else SecretNotFoundError):
            chain.resolve("db", "url")


def test_a_probe_that_fails_keeps_the_outage(
    breaker_clock: Clock, make_probe_due: Callable[[], None], chain: Chain, link: Link, store: OutageStore
) -> None:
    store.fault = StoreUnavailableError("db", "refused")
    make_probe_due()
    assert chain.resolve("db", "url").stale
    probe_ended(link)
    assert link.connection.breaker.is_open
    breaker_clock.now += 1.5  # the next probe is due after two seconds, less a fifth
    assert not link.connection.breaker.would_admit()
    breaker_clock.now += 0.5
    assert link.connection.breaker.would_admit()
    assert chain.resolve("db", "url").stale


def test_a_probe_that_is_denied_ends_the_stale_answers(
    make_probe_due: Callable[[], None], chain: Chain, link: Link, store: OutageStore
) -> None:
    """A revoked permission takes effect with the first probe."""
    store.fault = PermissionDeniedError("db")
    make_probe_due()
    with suppress(PermissionDeniedError):  # if the probe's answer is there at once
        assert chain.resolve("db", "url").stale
    probe_ended(link)
    with pytest.raises(PermissionDeniedError):
        chain.resolve("db", "url")


def test_a_fresh_read_probes_in_the_foreground(
    make_probe_due: Callable[[], None], chain: Chain, link: Link, store: OutageStore
) -> None:
    store.write("db", {"url": "new"})
    make_probe_due()
    assert chain.resolve("db", "url", fresh=True).value == "new"


def test_a_close_leaves_no_probe_and_no_secret(
    make_probe_due: Callable[[], None], chain: Chain, link: Link, store: OutageStore
) -> None:
    """It waits for the probe, whose answer is not cached; the next read is refused, and starts no other."""
    store.gate.clear()
    make_probe_due()
    assert chain.resolve("db", "url").stale
    assert store.entered.acquire(timeout=LONG)
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(chain.close)
        while not store.closed:
            threading.Event().wait(0.001)
        assert not closing.done()
        store.gate.set()
        closing.result(LONG)
    probe = link.last_probe
    assert probe is not None
    assert probe.done()
    assert len(link.cache) == 0
    make_probe_due()
    with pytest.raises(StrongroomError, match="closed"):
        chain.resolve("db", "url")
    assert store.requests == ["db"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_child_of_a_fork_has_no_probe_of_its_parent(
    make_probe_due: Callable[[], None], chain: Chain, link: Link, store: OutageStore
) -> None:
    """The thread does not exist there: the child opens its own store, and waits for nothing."""
    store.gate.clear()
    make_probe_due()
    assert chain.resolve("db", "url").stale
    assert store.entered.acquire(timeout=LONG)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            chain.reset()
            found = chain.resolve("db", "url")
            chain.close()
            status = 0 if (found.value, found.stale) == ("child", False) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize("batch", [False, True])
def test_a_read_that_no_request_was_sent_for_begins_no_outage(link: Link, store: OutageStore, batch: bool) -> None:
    """Its process had no free connection. The next read is sent."""
    chain = Chain([link])
    chain.resolve_many(["db", "app"])
    store.path_faults["db"] = StoreUnavailableError("db", "no connection was free").copy(conclusive=False)
    for _ in range(3):
        if batch:
            assert isinstance(chain.resolve_many(["db"], fresh=True)["db"], StoreUnavailableError)
        else:
            assert chain.resolve("db", "url").stale
    assert store.requests.count("db") == 4
    assert not link.connection.breaker.is_open
    assert link.connection.known_outage("db") is None


def test_an_explanation_asks_a_store_that_nobody_can_stand_in_for(chain: Chain, store: OutageStore) -> None:
    """As a read past the cache does. It does not wait for the store, which then counts as out for longer."""
    waits: list[bool] = []
    read = store.read

    def noted(path: str) -> Secret:
        waits.append(not fails_fast())
        return read(path)

    store.read = noted  # type: ignore[method-assign]
    store.fault = StoreUnavailableError("db", "refused")
    assert isinstance(chain.explain("db", "url").error, StoreUnavailableError)
    store.fault = None
    explanation = chain.explain("db", "url")
    assert explanation.served is explanation.answers[0]
    assert waits == [False, False]
    assert not chain.links[0].connection.breaker.is_open


def test_an_explanation_asks_no_store_that_a_read_would_pass_over(chain: Chain, store: OutageStore) -> None:
    follower = Link(LinkConfig("next"), lambda: RemoteStore({"db": {"url": "next"}}), CacheConfig())
    followed = Chain([*chain.links, follower])
    explanation = followed.explain("db", "url")
    assert explanation.served is explanation.answers[1]
    assert store.requests == []


# --- an outage of one path --------------------------------------------------------------------------------------------


@pytest.fixture
def path_outage(link: Link, store: OutageStore) -> Chain:
    """A chain that has read both secrets; then `db` alone became unavailable, which one read has met."""
    chain = Chain([link])
    chain.resolve_many(["db", "app"])
    store.path_faults["db"] = StoreUnavailableError("db", "HTTP 500").copy(path_only=True)
    assert chain.resolve("db", "url").stale
    store.requests.clear()
    return chain


def test_a_path_that_is_unavailable_is_not_requested_for_each_read(path_outage: Chain, store: OutageStore) -> None:
    """Its stale secret is served at once, alone and in a batch, and the other paths are requested as ever."""
    for _ in range(5):
        found = path_outage.resolve("db", "url")
        assert (found.value, found.stale) == ("old", True)
    with pytest.raises(StoreUnavailableError, match="HTTP 500"):
        path_outage.resolve("db", "url", fresh=True)
    assert store.requests == []
    batch = path_outage.resolve_many(["app", "db"], fresh=True)
    assert isinstance(batch["db"], StoreUnavailableError)
    assert not isinstance(batch["app"], StrongroomError)
    assert store.requests == ["app"]
    assert not path_outage.links[0].connection.breaker.is_open


def test_a_path_that_is_unavailable_is_not_requested_for_each_read_of_one_key() -> None:
    """A store with single-key reads is asked no more often than one that reads whole secrets."""

    class KeyedStore(OutageStore):
        def read_key(self, path: str, key: str) -> Value:
            return self.read(path).data[key]

    store = KeyedStore()
    store.path_faults["db"] = StoreUnavailableError("db", "HTTP 500").copy(path_only=True)
    chain = Chain([Link(LinkConfig("keyed"), lambda: store, CacheConfig(ttl=0))])
    for _ in range(5):
        with pytest.raises(StoreUnavailableError, match="HTTP 500"):
            chain.resolve("db", "url")
    assert store.requests == ["db"]
    assert chain.resolve("app", "key").value == "k"


@pytest.mark.parametrize("answer", ["secret", "absent"])
def test_a_path_that_answers_again_is_known_to_at_once(
    make_probe_due: Callable[[], None], path_outage: Chain, link: Link, store: OutageStore, answer: str
) -> None:
    del store.path_faults["db"]
    if answer == "absent":
        store.delete("db")
    make_probe_due()
    with suppress(SecretNotFoundError):  # if the probe's answer is there at once
        assert path_outage.resolve("db", "url").stale
    probe_ended(link)
    assert link.connection.known_outage("db") is None
    if answer == "secret":
        assert not path_outage.resolve("db", "url").stale
    else:
        with pytest.raises(SecretNotFoundError):
            path_outage.resolve("db", "url")


def test_a_write_to_a_path_that_is_unavailable_is_sent_and_read_back(path_outage: Chain, store: OutageStore) -> None:
    del store.path_faults["db"]
    path_outage.write("db", {"url": "new"}, replace=True)
    assert path_outage.resolve("db", "url").value == "new"


def test_the_outages_of_single_paths_are_bounded(
    path_outage: Chain, link: Link, store: OutageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strongroom._chain.connection._MOST_PATHS", 3)
    for number in range(5):
        path = f"p{number}"
        store.path_faults[path] = StoreUnavailableError(path, "HTTP 500").copy(path_only=True)
        with pytest.raises(StoreUnavailableError):
            path_outage.resolve(path, "k")
    known = [number for number in range(5) if link.connection.known_outage(f"p{number}") is not None]
    assert known == [2, 3, 4]
