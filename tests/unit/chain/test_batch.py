"""Many secrets at once: as many single reads would answer, with one batch for each link."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from strongroom import SecretsManager
from strongroom._chain.answer import Resolution
from strongroom._chain.chain import Chain
from strongroom._chain.link import Link
from strongroom._config import CacheConfig, LinkConfig
from strongroom.errors import (
    AuthenticationError,
    ConfigurationError,
    InvalidPathError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    StrongroomError,
)
from strongroom.secret import Secret, Value
from strongroom.store import SecretStore, remaining
from strongroom.store.deadline import DEFAULT_TIMEOUT
from strongroom.store.memory import MemoryStore
from support.clock import CallTime, Clock
from support.stores import RemoteStore

CANARY = "canary-77b0-value"


class BulkRemote(RemoteStore):
    """Remembers its batches; a path may have a failure of its own."""

    def __init__(self, secrets: Mapping[str, Mapping[str, Value]] | None = None) -> None:
        super().__init__(secrets)
        self.batches: list[list[str]] = []
        self.failures: dict[str, StoreError] = {}

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
        batch: list[str] = []
        self.batches.append(batch)
        for path in paths:
            batch.append(path)
            yield path, self.failures[path] if path in self.failures else self._outcome(path)

    def _outcome(self, path: str) -> Secret | StoreError:
        try:
            return self.read(path)
        except StoreError as error:
            return error


def link(name: str, store: SecretStore | Callable[[], SecretStore], **policy: Any) -> Link:
    opener = store if callable(store) else lambda: store
    cache = policy.pop("cache", CacheConfig())
    return Link(LinkConfig(name, **policy), opener, cache)


@pytest.fixture
def first() -> BulkRemote:
    return BulkRemote({"a": {"k": "first a"}, "b": {"k": "first b"}})


@pytest.fixture
def second() -> BulkRemote:
    return BulkRemote({"b": {"k": "second b"}, "c": {"k": CANARY}})


@pytest.fixture
def chain(first: BulkRemote, second: BulkRemote) -> Chain:
    return Chain([link("first", first), link("second", second)])


def aging(store: SecretStore) -> tuple[Chain, Clock]:
    """A chain of one store, and the clock of its cache."""
    only, clock = link("first", store, cache=CacheConfig(ttl=300, max_stale=60)), Clock()
    only.cache.clock = clock
    return Chain([only]), clock


def summary(outcomes: Mapping[str, Any]) -> dict[str, Any]:
    """Store and value of what was found, the class of what was not."""
    return {p: type(o) if isinstance(o, Exception) else (o.store, o.value["k"]) for p, o in outcomes.items()}


def test_what_the_first_link_lacks_goes_to_the_next_as_one_batch(
    chain: Chain, first: BulkRemote, second: BulkRemote
) -> None:
    outcomes = chain.resolve_many(["c", "a", "nowhere", "b"])
    assert summary(outcomes) == {
        "c": ("second", CANARY),
        "a": ("first", "first a"),
        "nowhere": SecretNotFoundError,
        "b": ("first", "first b"),
    }
    assert (first.batches, second.batches) == ([["c", "a", "nowhere", "b"]], [["c", "nowhere"]])


def test_a_batch_and_single_reads_agree_on_every_policy(first: BulkRemote, second: BulkRemote) -> None:
    first.failures = {
        "out": StoreUnavailableError("out"),
        "denied": PermissionDeniedError("denied"),
        "broken": StoreError("broken"),
    }
    for path, error in first.failures.items():
        second.write(path, {"k": f"second {path}"})
        first.write(path, {"k": "never served"})
        assert error.path == path
    paths = ["a", "b", "c", "out", "denied", "broken", "nowhere", "a//b"]
    for policy in ({}, {"on_unavailable": "fail"}, {"on_denied": "next"}, {"paths": ("a", "out")}):
        batch = Chain([link("first", first, **policy), link("second", second)]).resolve_many(paths)
        for path in paths:
            single = Chain([link("first", Single(first), **policy), link("second", second)])
            assert summary({path: batch[path]}) == summary(single.resolve_many([path])), (policy, path)


class Single:
    """A store without bulk reads, on top of one with them."""

    def __init__(self, store: BulkRemote) -> None:
        self._store = store

    def read(self, path: str) -> Secret:
        if path in self._store.failures:
            raise self._store.failures[path]
        return self._store.read(path)

    def close(self) -> None:
        pass


def test_an_outage_is_no_absence(chain: Chain, first: BulkRemote) -> None:
    first.fault = ConnectionError()
    outcomes = chain.resolve_many(["b", "nowhere"])
    assert summary(outcomes) == {"b": ("second", "second b"), "nowhere": StoreUnavailableError}


def test_what_is_cached_is_not_asked_for_again(chain: Chain, first: BulkRemote) -> None:
    chain.resolve("a")
    assert chain.resolve_many(["a", "b"])["a"].cached  # type: ignore[union-attr]
    assert first.batches == [["b"]]
    assert first.reads == ["a", "b"]
    chain.resolve_many(["a", "b"])
    assert chain.peek("b", "k") == "first b"
    assert first.reads == ["a", "b"]


def test_fresh_asks_whatever_is_cached(chain: Chain, first: BulkRemote) -> None:
    chain.resolve_many(["a"])
    first.write("a", {"k": "newer"})
    assert summary(chain.resolve_many(["a"], fresh=True)) == {"a": ("first", "newer")}
    assert chain.peek("a", "k") == "newer"


def test_an_absence_is_remembered_too(chain: Chain, first: BulkRemote) -> None:
    chain.resolve_many(["nowhere"])
    chain.resolve_many(["nowhere"])
    assert first.batches == [["nowhere"]]


def test_what_was_denied_is_not_served_in_an_outage(first: BulkRemote) -> None:
    chain, clock = aging(first)
    chain.resolve_many(["a"])
    clock.now += 301
    first.failures["a"] = PermissionDeniedError("a")
    assert summary(chain.resolve_many(["a"])) == {"a": PermissionDeniedError}
    first.failures["a"] = StoreUnavailableError("a")
    assert summary(chain.resolve_many(["a"])) == {"a": StoreUnavailableError}


def test_an_outage_is_bridged_by_what_is_cached(first: BulkRemote) -> None:
    chain, clock = aging(first)
    chain.resolve_many(["a", "b"])
    clock.now += 301
    first.fault = ConnectionError()
    outcomes = chain.resolve_many(["a", "new"])
    assert summary(outcomes) == {"a": ("first", "first a"), "new": StoreUnavailableError}
    assert outcomes["a"].stale  # type: ignore[union-attr]


def test_single_readers_wait_for_the_batch_and_the_batch_for_them(first: BulkRemote) -> None:
    chain = Chain([link("first", first)])
    first.gate.clear()
    with ThreadPoolExecutor() as pool:
        single = pool.submit(chain.resolve, "a")
        first.entered.acquire()
        batch = pool.submit(chain.resolve_many, ["a", "b"])
        first.entered.acquire()
        joined = pool.submit(chain.resolve, "b")
        first.gate.set()
        assert single.result().value == {"k": "first a"}
        assert summary(batch.result()) == {"a": ("first", "first a"), "b": ("first", "first b")}
        assert joined.result().value == {"k": "first b"}
    assert sorted(first.reads) == ["a", "b"]


def test_one_failure_among_answers_ends_nothing(chain: Chain, first: BulkRemote) -> None:
    first.failures["bad"] = StoreUnavailableError("bad", "HTTP 500")
    assert summary(chain.resolve_many(["a", "bad", "b"])) == {
        "a": ("first", "first a"),
        "bad": StoreUnavailableError,
        "b": ("first", "first b"),
    }
    assert chain.resolve("a", fresh=True).store == "first"


def test_a_store_that_is_out_is_not_asked_for_the_rest(first: BulkRemote, breaker_clock: Clock) -> None:
    """Nor for the next batch, once its outage has lasted one timeout, until a probe is due."""
    first.fault = ConnectionError()
    chain = Chain([link("first", first), link("second", RemoteStore({}))])
    paths = [f"p{number}" for number in range(1000)]
    outcomes = chain.resolve_many(paths)
    assert set(summary(outcomes).values()) == {StoreUnavailableError}
    assert [outcomes[path].path for path in paths] == paths  # type: ignore[union-attr]
    assert all(len(batch) < 100 for batch in first.batches)
    breaker_clock.now += DEFAULT_TIMEOUT
    chain.resolve_many(paths)  # the probe
    asked = sum(map(len, first.batches))
    chain.resolve_many(paths)
    assert sum(map(len, first.batches)) == asked


def test_outages_of_single_paths_end_no_batch(first: BulkRemote) -> None:
    chain, paths = Chain([link("first", first)]), [f"p{number}" for number in range(100)]
    for path in paths:
        first.failures[path] = outage = StoreUnavailableError(path, "its database is down")
        outage.path_only = True
    outcomes = chain.resolve_many([*paths, "a"])
    assert set(summary(outcomes).values()) == {StoreUnavailableError, ("first", "first a")}
    assert chain.resolve("b").store == "first"


def test_a_store_that_cannot_be_opened_fails_every_path() -> None:
    def refuse() -> SecretStore:
        raise ConfigurationError("no such mount")

    assert summary(Chain([link("first", refuse)]).resolve_many(["a", "b"])) == dict.fromkeys("ab", ConfigurationError)


def test_a_store_that_refuses_the_login_is_asked_once() -> None:
    """Twenty paths or keys, or twenty watched secrets, are not twenty logins."""
    logins: list[None] = []

    def refuse() -> SecretStore:
        logins.append(None)
        raise AuthenticationError(reason="the token has expired")

    paths = [f"p{number}" for number in range(20)]
    chain = Chain([link("first", refuse)])
    assert set(summary(chain.resolve_many(paths)).values()) == {AuthenticationError}
    assert len(logins) == 1
    assert set(summary(chain.resolve_many(paths, allow_dynamic=False)).values()) == {AuthenticationError}
    assert len(logins) == 2
    outcomes = chain.resolve_keys([(path, "k") for path in paths])
    assert {type(outcome) for outcome in outcomes.values()} == {AuthenticationError}
    assert len(logins) == 3
    assert chain.links[0].creating(paths) == []
    assert len(logins) == 4


@pytest.mark.parametrize(("followed", "least", "most"), [(True, 0.0, 2.0), (False, 2.0, 10.0)])
def test_each_answer_has_the_links_time(followed: bool, least: float, most: float) -> None:
    """If another link can answer; otherwise it has all of the call's time."""
    limits = []

    class Watched(BulkRemote):
        def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
            for outcome in super().read_many(paths):
                limits.append(remaining())
                yield outcome

    store = Watched({"a": {"k": "1"}, "b": {"k": "2"}})
    links = [link("first", store, timeout=2.0), *([link("second", RemoteStore({}))] if followed else [])]
    Chain(links).resolve_many(["a", "b"])
    assert len(limits) == 2
    assert all(least < limit <= most for limit in limits)


def test_all_answers_have_the_calls_time(first: BulkRemote, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not answered by then is an error of its path, and says nothing against the store."""

    call_time = CallTime.of_calls(monkeypatch)

    class Slow(BulkRemote):
        def _outcome(self, path: str) -> Secret | StoreError:
            call_time.sleep(0.02)
            return super()._outcome(path)

    slow = link("first", Slow({"last": {"k": "v"}}))
    outcomes = Chain([slow], timeout=1.0).resolve_many([f"p{n}" for n in range(1000)])
    assert [type(error) for error in outcomes.values()].count(StoreUnavailableError) > 900
    assert type(outcomes["p0"]) is SecretNotFoundError
    assert "took all the time" in str(outcomes["p999"])
    assert Chain([slow]).resolve("last").value == {"k": "v"}


def test_a_batch_that_breaks_off_fails_the_rest(first: BulkRemote) -> None:
    class BreaksOff(BulkRemote):
        def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
            yield next(super().read_many(paths))
            raise AuthenticationError(reason="expired")

    store = BreaksOff({"a": {"k": "1"}, "b": {"k": "2"}})
    chain = Chain([link("first", store)])
    assert summary(chain.resolve_many(["a", "b", "c"])) == {
        "a": ("first", "1"),
        "b": AuthenticationError,
        "c": AuthenticationError,
    }


def test_a_batch_is_read_to_its_end(first: BulkRemote) -> None:
    """Python drops an exception of a signal's handler while it collects an unfinished generator."""
    ends: list[str] = []

    class Tells(BulkRemote):
        def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
            yield from super().read_many(paths)
            ends.append("read")

    Chain([link("first", Tells({"a": {"k": "1"}, "b": {"k": "2"}}))]).resolve_many(["a", "b"])
    assert ends == ["read"]


def test_a_path_that_the_store_leaves_out_is_an_error_of_the_store(first: BulkRemote) -> None:
    class Forgets(BulkRemote):
        def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
            return (outcome for outcome in super().read_many(paths) if outcome[0] != "a")

    outcomes = Chain([link("first", Forgets({"a": {"k": "1"}, "b": {"k": "2"}}))]).resolve_many(["a", "b"])
    assert summary(outcomes) == {"a": StoreError, "b": ("first", "2")}


def test_a_secret_of_another_path_is_never_served(first: BulkRemote) -> None:
    class MixesUp(BulkRemote):
        def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
            for path in paths:
                yield path, Secret(path="other", data={"k": CANARY})

    outcomes = Chain([link("first", MixesUp())]).resolve_many(["a"])
    assert summary(outcomes) == {"a": StoreError}
    assert CANARY not in str(outcomes["a"])


def test_a_write_during_a_batch_is_not_undone_by_it(first: BulkRemote) -> None:
    chain = Chain([link("first", first)])
    first.gate.clear()
    with ThreadPoolExecutor() as pool:
        batch = pool.submit(chain.resolve_many, ["a"])
        first.entered.acquire()
        threading.Thread(target=chain.write, args=("a", {"k": "new"}), kwargs={"replace": True}).run()
        first.gate.set()
        batch.result()
    assert chain.resolve("a").value == {"k": "new"}


# --- the manager ------------------------------------------------------------------------------------------------------


@pytest.fixture
def manager(first: BulkRemote, second: BulkRemote) -> SecretsManager:
    return SecretsManager(chain=[first, second])


def test_a_batch_maps_what_was_found_and_says_what_was_not(manager: SecretsManager) -> None:
    batch = manager.get_secrets(["c", "nowhere", "a", "a//b"])
    assert batch == {"c": {"k": CANARY}, "a": {"k": "first a"}}
    assert list(batch) == ["c", "a"]
    assert {path: type(error) for path, error in batch.errors.items()} == {
        "nowhere": SecretNotFoundError,
        "a//b": InvalidPathError,
    }
    assert CANARY not in repr(batch)
    assert CANARY not in repr(batch["c"])


def test_strict_raises_the_first_error_in_the_order_asked(manager: SecretsManager, first: BulkRemote) -> None:
    first.failures["d"] = PermissionDeniedError("d")
    with pytest.raises(PermissionDeniedError):
        manager.get_secrets(["a", "d", "nowhere"], strict=True)
    with pytest.raises(SecretNotFoundError):
        manager.get_secrets(["nowhere", "d"], strict=True)
    assert manager.get_secrets(["a", "b"], strict=True).errors == {}


def test_one_path_is_not_a_collection_of_letters(manager: SecretsManager) -> None:
    with pytest.raises(TypeError, match="put a single path into a list"):
        manager.get_secrets("database/connection")


def test_preload_fills_the_cache_with_all_below_a_prefix(manager: SecretsManager, first: BulkRemote) -> None:
    first.write("app/one", {"k": "1"})
    first.write("app/deep/two", {"k": "2"})
    assert manager.preload("app") == {"app/one": {"k": "1"}, "app/deep/two": {"k": "2"}}
    first.reads.clear()
    assert manager.get_secret("app/deep/two", "k") == "2"
    assert first.reads == []


def test_preload_passes_over_what_is_listed_and_gone(manager: SecretsManager, first: BulkRemote) -> None:
    first.failures["b"] = SecretNotFoundError("b", "version 1 is deleted")
    first.failures["a"] = SecretNotFoundError("a", "version 1 is deleted")
    batch = manager.preload(strict=True)
    assert batch == {"b": {"k": "second b"}, "c": {"k": CANARY}}
    assert batch.errors == {}


def test_strict_preload_raises_for_what_could_not_be_read(manager: SecretsManager, first: BulkRemote) -> None:
    first.failures["a"] = PermissionDeniedError("a")
    with pytest.raises(PermissionDeniedError):
        manager.preload(strict=True)


async def _twins(manager: SecretsManager) -> tuple[Any, Any]:
    return await manager.aget_secrets(["a"]), await manager.apreload()


def test_the_async_twins_do_the_same(manager: SecretsManager) -> None:
    import asyncio

    assert asyncio.run(_twins(manager)) == (manager.get_secrets(["a"]), manager.preload())


def test_local_stores_need_no_cache() -> None:
    store = MemoryStore()
    store.write("a", {"k": "1"})
    manager = SecretsManager(chain=[store])
    assert manager.get_secrets(["a"]) == {"a": {"k": "1"}}
    store.write("a", {"k": "2"})
    assert manager.get_secrets(["a"]) == {"a": {"k": "2"}}


# --- keys -------------------------------------------------------------------------------------------------------------


def told(outcome: object) -> tuple[object, ...]:
    """The store, value and attempts of a resolution; the class, text and attempts of an error."""
    if isinstance(outcome, Resolution):
        found: tuple[object, ...] = (outcome.store, outcome.value)
        attempts = outcome.attempts
    else:
        assert isinstance(outcome, StrongroomError)
        found = (type(outcome), str(outcome))
        attempts = outcome.attempts if isinstance(outcome, StoreError) else ()
    return (*found, [(attempt.store, attempt.answer, attempt.reason) for attempt in attempts])


def single(chain: Chain, path: str, key: str) -> Resolution | StrongroomError:
    try:
        return chain.resolve(path, key)
    except StrongroomError as error:
        return error


@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"on_unavailable": "fail"},
        {"on_denied": "next"},
        {"on_missing_key": "next"},
        {"paths": ("a", "out")},
    ],
    ids=str,
)
def test_keys_of_a_batch_are_answered_as_single_keys_are(
    policy: dict[str, Any], first: BulkRemote, second: BulkRemote
) -> None:
    """Each row of a configuration has the messages of a single read, and the stores are queried once."""
    first.failures = {
        "out": StoreUnavailableError("out").copy(path_only=True),
        "denied": PermissionDeniedError("denied"),
        "broken": StoreError("broken"),
    }
    for path in first.failures:
        second.write(path, {"k": f"second {path}"})
    places = [("a", "k"), ("a", "none"), ("b", "k"), ("b", "other"), ("c", "k"), ("nowhere", "k"), ("nowhere", "d")]
    places += [("out", "k"), ("denied", "k"), ("broken", "k"), ("a//b", "k"), ("a", ""), ("a", "k")]

    def chain(store: SecretStore) -> Chain:
        return Chain(
            [link("first", store, **policy), link("second", second)], defaults={("nowhere", "d"): "the default"}
        )

    batch = chain(first).resolve_keys(places)
    assert len(first.batches) == len(second.batches) == 1
    assert list(batch) == list(dict.fromkeys(places))
    for place in batch:
        assert told(batch[place]) == told(single(chain(Single(first)), *place)), place


def test_keys_of_a_store_without_bulk_reads_have_the_time_of_a_call_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that takes seconds for each secret is not given up because there are many."""
    call_time = CallTime.of_calls(monkeypatch)

    class Slow(Single):
        def read(self, path: str) -> Secret:
            call_time.sleep(0.6)
            return super().read(path)

    slow = Slow(BulkRemote({f"p{n}": {"k": "v"} for n in range(5)}))
    outcomes = Chain([link("first", slow)], timeout=1.0).resolve_keys([(f"p{n}", "k") for n in range(5)])
    assert [told(outcome)[1] for outcome in outcomes.values()] == ["v"] * 5


def test_keys_of_a_store_that_reads_single_keys_are_read_singly() -> None:
    """A batch reads whole secrets, and such a store cannot enumerate their keys."""

    class Keyed(BulkRemote):
        def read_key(self, path: str, key: str) -> Value:
            return f"{path} {key}"

    store = Keyed()
    outcomes = Chain([link("first", store)]).resolve_keys([("a", "k"), ("b", "k")])
    assert [told(outcome)[1] for outcome in outcomes.values()] == ["a k", "b k"]
    assert store.batches == []


def test_cached_secret_that_lacks_a_key_is_read_again_when_absences_expire(first: BulkRemote) -> None:
    """As for a single key: another process may have added it."""
    chain, clock = aging(first)
    chain.resolve_many(["a", "b"])
    first.write("a", {"k": "first a", "new": "added"})
    assert isinstance(chain.resolve_keys([("a", "new"), ("b", "k")])["a", "new"], SecretNotFoundError)
    clock.move(100)
    outcomes = chain.resolve_keys([("a", "new"), ("b", "k")])
    assert [told(outcome)[1] for outcome in outcomes.values()] == ["added", "first b"]
    assert first.batches == [["a", "b"]]


def test_keys_of_a_store_that_cannot_be_opened_wait_for_one_attempt() -> None:
    """Each key has the error of a single read, and the time of one call is enough for all."""
    attempts: list[None] = []

    def out() -> SecretStore:
        attempts.append(None)
        raise StoreUnavailableError(reason="connection refused")

    places = [(f"p{n}", "k") for n in range(5)]
    outcomes = Chain([link("first", out)]).resolve_keys(places)
    assert len(attempts) == 1
    assert {place: told(outcome) for place, outcome in outcomes.items()} == {
        place: told(single(Chain([link("first", out)]), *place)) for place in places
    }
