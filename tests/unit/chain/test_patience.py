"""How long a store is waited for: as long as the call may last, unless another link or a stale value can answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from strongroom._chain.chain import Chain
from strongroom._chain.link import Link
from strongroom._config import CacheConfig, LinkConfig
from strongroom.errors import StoreUnavailableError
from strongroom.secret import Secret, Value
from strongroom.store import fails_fast, remaining
from strongroom.store.deadline import DEFAULT_TIMEOUT, fail_fast
from support.clock import LONG, Clock
from support.stores import RemoteStore

STALE_AT_ONCE = CacheConfig(ttl=1e-9)


class Watched(RemoteStore):
    """A store that keeps whether each of its calls fails fast, and how long each may take."""

    def __init__(self) -> None:
        super().__init__({"db": {"url": "v"}})
        self.calls: list[tuple[bool, float]] = []

    def read(self, path: str) -> Secret:
        self.calls.append((fails_fast(), remaining()))
        return super().read(path)

    def write(self, path: str, data: Mapping[str, Value]) -> int:
        self.calls.append((fails_fast(), remaining()))
        return super().write(path, data)


@pytest.fixture
def store() -> Watched:
    return Watched()


def chain(store: Watched, *, followed: bool, cache: CacheConfig | None = None, **policy: object) -> Chain:
    links = [Link(LinkConfig("vault", **policy), lambda: store, cache or CacheConfig())]  # type: ignore[arg-type]
    if followed:
        links.append(Link(LinkConfig("other", paths=("db", "app")), lambda: RemoteStore({}), CacheConfig()))
    return Chain(links)


def patient(call: tuple[bool, float]) -> bool:
    """Return True if the call has all of its ten seconds, False if it fails fast within the link's three."""
    fast, limit = call
    assert (2 < limit <= 3) if fast else (8 < limit <= 10)
    return not fast


def test_a_read_that_nobody_else_can_answer_has_all_the_time(store: Watched) -> None:
    single = chain(store, followed=False)
    single.resolve("db", "url")
    single.resolve_many(["db"], fresh=True)
    assert list(map(patient, store.calls)) == [True, True]


def test_a_read_that_another_link_can_answer_fails_fast(store: Watched) -> None:
    followed = chain(store, followed=True)
    followed.resolve("db", "url")
    followed.resolve_many(["db"], fresh=True)
    assert list(map(patient, store.calls)) == [False, False]


def test_a_link_that_does_not_cover_the_path_cannot_answer(store: Watched) -> None:
    store.write("elsewhere", {"k": "v"})
    store.calls.clear()
    chain(store, followed=True).resolve("elsewhere", "k")
    assert list(map(patient, store.calls)) == [True]


def test_a_link_whose_outage_ends_the_chain_has_no_fallback(store: Watched) -> None:
    chain(store, followed=True, on_unavailable="fail").resolve("db", "url")
    assert list(map(patient, store.calls)) == [True]


def test_a_read_with_a_stale_value_fails_fast_unless_it_must_be_fresh(store: Watched) -> None:
    single = chain(store, followed=False, cache=STALE_AT_ONCE)
    for fresh in (False, False, True):
        single.resolve("db", "url", fresh=fresh)
    single.resolve_many(["db"])
    single.resolve_many(["db"], fresh=True)
    assert list(map(patient, store.calls)) == [True, False, True, False, True]


def test_a_write_is_patient_whatever_follows(store: Watched) -> None:
    """No other store can take it."""
    chain(store, followed=True).write("db", {"url": "new"}, replace=True)
    assert list(map(patient, store.calls)) == [True]


def test_a_probe_in_the_background_fails_fast(make_probe_due: Callable[[], None], store: Watched) -> None:
    single = chain(store, followed=False, cache=STALE_AT_ONCE)
    single.resolve("db", "url")
    connection = single.links[0].connection
    connection.breaker.failed()
    make_probe_due()
    assert single.resolve("db", "url").stale
    assert single.links[0].last_probe is not None
    single.links[0].last_probe.result(LONG)
    assert patient(store.calls[-1]) is False


def test_a_known_outage_refuses_only_reads_that_fail_fast(store: Watched, breaker_clock: Clock) -> None:
    """A patient read queries the store again, which may be back before the next probe is due."""
    store.fault = StoreUnavailableError("db", "refused")
    followed, single = chain(store, followed=True), chain(store, followed=False)
    for each in (followed, single):
        with pytest.raises(StoreUnavailableError):
            each.resolve("db", "url")
    breaker_clock.now += DEFAULT_TIMEOUT  # from now on no read insists
    with pytest.raises(StoreUnavailableError):
        followed.resolve("db", "url")  # the probe, which is due
    store.fault = None
    store.calls.clear()
    with pytest.raises(StoreUnavailableError):
        followed.resolve("db", "url")
    assert store.calls == []
    assert single.resolve("db", "url").value == "v"
    assert not single.links[0].connection.breaker.is_open


def test_a_read_in_a_known_outage_has_the_links_time(store: Watched) -> None:
    """Threads must not pile up behind a store that hangs."""
    single = chain(store, followed=False)
    single.resolve("db", "url")
    single.links[0].connection.breaker.failed()
    single.resolve("db", "url", fresh=True)
    fast, limit = store.calls[-1]
    assert (fast, 0 < limit <= 3) == (False, True)


def test_a_block_within_one_that_fails_fast_does_too() -> None:
    """A store may query another chain."""
    assert not fails_fast()
    with fail_fast():
        with fail_fast(enabled=False):
            assert fails_fast()
        assert fails_fast()
    assert not fails_fast()
