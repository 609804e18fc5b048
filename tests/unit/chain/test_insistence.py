"""A link that failed fast is asked once more, patiently, when all later links have confirmed the absence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from strongroom._chain import link as link_module
from strongroom._chain.chain import Chain
from strongroom._chain.link import Link
from strongroom._config import CacheConfig, LinkConfig
from strongroom.errors import (
    Answer,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreUnavailableError,
    StrongroomError,
)
from strongroom.secret import Secret, Value
from strongroom.store import fails_fast, remaining
from strongroom.store.deadline import DEFAULT_TIMEOUT, fail_fast
from support.clock import LONG, CallTime, Clock
from support.scenarios.load import wait_until
from support.stores import BulkReads, RemoteStore

THROTTLED = StoreUnavailableError(reason="HTTP 429")


class Throttled(RemoteStore):
    """A store that answers only callers that wait. `calls` has each call: whether it fails fast, and its time."""

    def __init__(self, secrets: Mapping[str, Mapping[str, Value]] | None = None) -> None:
        super().__init__({"db": {"url": "v", "host": "h"}, "app": {"key": "k"}} if secrets is None else secrets)
        self.calls: list[tuple[bool, float]] = []
        self.outage: StoreUnavailableError = THROTTLED

    def read(self, path: str) -> Secret:
        self.calls.append((fails_fast(), remaining()))
        if fails_fast():
            raise self.outage.copy(path=path)
        return super().read(path)


class Bulk(BulkReads, Throttled):
    pass


@pytest.fixture
def store() -> Iterator[Throttled]:
    store = Throttled()
    yield store
    store.gate.set()


def chain(*stores: RemoteStore, **policy: object) -> Chain:
    """A chain of these stores; `policy` is that of the first link."""
    settings = [policy, *({} for _ in stores[1:])]
    names = [f"s{number}" for number in range(len(stores))]
    return Chain(
        [
            Link(LinkConfig(name, **given), lambda store=store: store, CacheConfig())  # type: ignore[arg-type, misc]
            for name, given, store in zip(names, settings, stores, strict=True)
        ],
        defaults={("db", "size"): "5"},
    )


READS: dict[str, Callable[[Chain], object]] = {
    "one": lambda chain: chain.resolve("db", "url").value,
    "paths": lambda chain: chain.resolve_many(["db", "app"])["db"].value["url"],  # type: ignore[union-attr,index,call-overload]
    "keys": lambda chain: chain.resolve_keys([("db", "url"), ("app", "key")])["db", "url"].value,  # type: ignore[union-attr]
}


@pytest.mark.parametrize("kind", [Throttled, Bulk])
@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_one_throttled_reply_is_no_outage(read: Callable[[Chain], object], kind: type[Throttled]) -> None:
    """The read has its value, and the next one finds no outage."""
    asked = chain(kind(), RemoteStore())
    assert read(asked) == "v"
    assert not asked.links[0].connection.breaker.is_open
    assert asked.resolve("db", "host").cached


def test_the_read_that_insists_has_all_the_remaining_time(store: Throttled) -> None:
    """Though a known outage cuts other reads to the timeout of the link, which is three seconds."""
    chain(store, RemoteStore()).resolve("db", "url")
    (hasty, _), (patient, left) = store.calls
    assert (hasty, not patient) == (True, True)
    assert 8 < left <= 10


def test_no_link_is_asked_again_if_a_later_one_has_the_value(store: Throttled) -> None:
    assert chain(store, RemoteStore({"db": {"url": "later"}})).resolve("db", "url").value == "later"
    assert len(store.calls) == 1


@pytest.mark.parametrize("denied", [True, False])
def test_no_link_is_asked_again_if_a_later_one_is_in_doubt(store: Throttled, denied: bool) -> None:
    """Somebody else may have the value."""
    later = RemoteStore()
    later.fault = PermissionDeniedError("db") if denied else StoreUnavailableError("db", "refused")
    with pytest.raises(StrongroomError):
        chain(store, later).resolve("db", "url")
    assert len(store.calls) == 1


def test_the_last_link_that_failed_is_asked_first(store: Throttled) -> None:
    """The one before it insists only if that confirms the absence."""
    first, second = store, Throttled({"db": {"url": "second"}})
    found = chain(first, second, RemoteStore()).resolve("db", "url")
    assert (found.value, [len(store.calls) for store in (first, second)]) == ("second", [1, 2])
    second.delete("db")
    found = chain(first, second, RemoteStore()).resolve("db", "url")
    assert (found.value, [len(store.calls) for store in (first, second)]) == ("v", [3, 4])


def test_an_absence_that_the_link_confirms_at_last_is_one(store: Throttled) -> None:
    """A default is then the answer, and an error names each link once."""
    asked = chain(store, RemoteStore())
    assert asked.resolve("db", "size").store == "default"
    with pytest.raises(SecretNotFoundError) as caught:
        asked.resolve("nobody", "k")
    assert [(attempt.store, attempt.answer) for attempt in caught.value.attempts] == [
        ("s0", Answer.NOT_FOUND),
        ("s1", Answer.NOT_FOUND),
    ]


def test_a_link_whose_outage_ends_the_chain_is_asked_once(store: Throttled) -> None:
    """Nobody followed it, so it was waited for at once."""
    chain(store, RemoteStore(), on_unavailable="fail").resolve("db", "url")
    assert [fast for fast, _ in store.calls] == [False]


def test_a_reader_that_has_another_answer_does_not_insist(store: Throttled) -> None:
    """Such as a store that asks another chain while it fails fast itself."""
    with fail_fast(), pytest.raises(StoreUnavailableError):
        chain(store, RemoteStore()).resolve("db", "url")
    assert [fast for fast, _ in store.calls] == [True]


@pytest.mark.parametrize("kind", [Throttled, Bulk])
@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_service_that_says_when_to_come_back_is_waited_for(
    read: Callable[[Chain], object], kind: type[Throttled]
) -> None:
    """Before a later link is asked, whose value may be another one. The time is longer than the link's timeout."""
    store = kind()
    store.outage = THROTTLED.copy(retry_after=5.0)
    asked = chain(store, RemoteStore({"db": {"url": "another"}, "app": {"key": "another"}}))
    assert read(asked) == "v"
    assert not asked.links[0].connection.breaker.is_open


def test_service_that_asks_for_more_time_than_a_read_has_is_out(store: Throttled) -> None:
    """Later reads are not even sent."""
    store.outage = THROTTLED.copy(retry_after=30.0)
    asked = chain(store, RemoteStore({"db": {"url": "another"}}))
    assert [asked.resolve("db", "url", fresh=True).value for _ in range(2)] == ["another"] * 2
    assert len(store.calls) == 1


def test_opening_and_first_read_have_one_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The timeout of the link, and not each of them."""
    call_time = CallTime.of_calls(monkeypatch)
    monkeypatch.setattr(link_module, "time", call_time)
    limits: list[float] = []

    class Noted(RemoteStore):
        def read(self, path: str) -> Secret:
            limits.append(remaining())
            return super().read(path)

    def opened() -> RemoteStore:
        limits.append(remaining())
        call_time.sleep(2)
        return Noted({"db": {"url": "v"}})

    links = [Link(LinkConfig(name), opener, CacheConfig()) for name, opener in (("a", opened), ("b", RemoteStore))]
    assert Chain(links).resolve("db", "url").value == "v"
    assert limits == [3, 1]


# --- a lasting outage -------------------------------------------------------------------------------------------------


def test_no_read_waits_past_the_time_at_which_the_outage_has_lasted_one_timeout(
    store: Throttled, breaker_clock: Clock
) -> None:
    store.outage, store.fault = THROTTLED, StoreUnavailableError("db", "HTTP 503")
    asked = chain(store, RemoteStore())
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            asked.resolve("db", "url")
        breaker_clock.now += 0.7  # no probe is due
    fast, left = store.calls[-1]
    assert (fast, len(store.calls)) == (False, 3)
    assert left <= DEFAULT_TIMEOUT - 0.7
    breaker_clock.now += DEFAULT_TIMEOUT
    with pytest.raises(StoreUnavailableError):
        asked.resolve("db", "url")  # the probe
    for read in (*READS.values(), lambda chain: chain.resolve("db", "url")):
        with pytest.raises((StoreUnavailableError, AttributeError)):  # a batch returns its errors
            read(asked)
    assert [fast for fast, _ in store.calls[3:]] == [True]


def test_a_lasting_outage_is_probed_each_second_if_nobody_else_can_answer(breaker_clock: Clock) -> None:
    """A fallback that lacks the secret makes the outage no longer than a chain without the fallback."""

    class Counted(RemoteStore):
        calls = 0

        def read(self, path: str) -> Secret:
            self.calls += 1
            return super().read(path)

    store = Counted({"db": {"url": "v"}})
    store.fault = StoreUnavailableError("db", "HTTP 503")
    asked = chain(store, RemoteStore())
    for _ in range(8):  # the pauses between the probes get longer
        with pytest.raises(StoreUnavailableError):
            asked.resolve("db", "url")
        breaker_clock.now += DEFAULT_TIMEOUT
    store.fault, before = None, store.calls
    breaker_clock.now -= DEFAULT_TIMEOUT - 0.5
    with pytest.raises(StoreUnavailableError):
        asked.resolve("db", "url")
    assert store.calls == before
    breaker_clock.now += 0.5
    assert asked.resolve("db", "url").value == "v"


def test_readers_that_insist_share_one_request(store: Throttled) -> None:
    """Threads pile up no requests behind a store that hangs."""
    store.gate.clear()
    asked = chain(store, RemoteStore())
    with ThreadPoolExecutor(20) as pool:
        reads = [pool.submit(asked.resolve, "db", "url") for _ in range(20)]
        assert store.entered.acquire(timeout=LONG)
        result = asked.links[0].cache.insisting["db"].join()
        wait_until(lambda: len(result._condition._waiters) == 19)
        store.gate.set()
        assert {read.result(LONG).value for read in reads} == {"v"}
    assert len(store.reads) == 1


def test_a_reader_with_another_answer_does_not_wait_for_one_that_insists(store: Throttled) -> None:
    """A key of the same path that a later link has is read at once."""
    store.gate.clear()
    asked = chain(store, RemoteStore({"db": {"host": "later"}}))
    with ThreadPoolExecutor(1) as pool:
        insisting = pool.submit(asked.resolve, "db", "url")
        assert store.entered.acquire(timeout=LONG)
        assert asked.resolve("db", "host").value == "later"
        assert not insisting.done()
        store.gate.set()
        assert insisting.result(LONG).value == "v"


def test_an_outage_of_one_path_alone_is_asked_about_once_more(store: Throttled) -> None:
    """Its breaker refuses all other reads of the path."""
    store.outage = StoreUnavailableError(reason="HTTP 500").copy(path_only=True)
    asked = chain(store, RemoteStore())
    assert asked.resolve("db", "url").value == "v"
    assert asked.links[0].connection.known_outage("db") is None


# --- explanations -----------------------------------------------------------------------------------------------------


def test_an_explanation_asks_a_refused_link_once_more_and_does_not_wait(store: Throttled, breaker_clock: Clock) -> None:
    """As a read would, until the outage has lasted one timeout."""
    asked = chain(store, RemoteStore())
    asked.links[0].connection.breaker.failed(THROTTLED)
    assert isinstance(asked.explain("db", "url").error, StoreUnavailableError)
    assert [fast for fast, _ in store.calls] == [True]
    breaker_clock.now += DEFAULT_TIMEOUT
    asked.explain("db", "url")  # the probe
    asked.explain("db", "url")
    assert len(store.calls) == 2
