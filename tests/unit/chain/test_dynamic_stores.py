"""Secrets that end, and stores that make one when they are read: nobody keeps the first, nobody looks at the second."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from strongroom import SecretsManager, required_secrets
from strongroom._boundary.guard import GuardedStore
from strongroom._chain.answer import Resolution
from strongroom._chain.chain import Chain
from strongroom._chain.link import Link
from strongroom._chain.resolver import compose
from strongroom._config import CacheConfig, ComposedPart, Composition, LinkConfig, SecretConfig
from strongroom.errors import (
    Answer,
    ConflictError,
    SecretNotFoundError,
    StoreUnavailableError,
    StrongroomError,
    UnsupportedOperationError,
)
from strongroom.secret import Secret
from strongroom.store import Traits
from support.clock import Clock
from support.stores import RemoteStore


class Database:
    """Makes a user at each read, good for `ttl` seconds."""

    def __init__(self, ttl: float | None = 60.0) -> None:
        self.made = 0
        self.ttl = ttl
        self.fault: Exception | None = None

    def read(self, path: str) -> Secret:
        if self.fault is not None:
            raise self.fault
        if path != "database/app":
            raise SecretNotFoundError(path)
        self.made += 1
        return Secret(path, {"username": f"user-{self.made}"}, ttl=self.ttl)

    def makes(self, path: str) -> bool:
        return path == "database/app"

    def close(self) -> None:
        pass


def chain_of(*stores: object, cache: CacheConfig | None = None) -> tuple[Chain, Clock]:
    clock, links = Clock(), []
    for number, store in enumerate(stores):
        link = Link(LinkConfig(f"s{number}"), lambda store=store: store, cache or CacheConfig())  # type: ignore[misc]
        link.set_clock(clock)
        links.append(link)
    return Chain(links), clock


# --- secrets that end -------------------------------------------------------------------------------------------------


def test_a_secret_is_cached_for_no_longer_than_it_is_good() -> None:
    database = Database(ttl=60)
    chain, clock = chain_of(database, cache=CacheConfig(ttl=300))
    assert chain.resolve("database/app").value == {"username": "user-1"}
    clock.now += 59
    assert chain.peek("database/app", "username") == "user-1"
    assert chain.resolve("database/app").value == {"username": "user-1"}
    clock.now += 1
    assert chain.peek("database/app", "username") is None
    assert chain.resolve("database/app").value == {"username": "user-2"}


def test_a_secret_that_has_ended_is_not_served_in_an_outage() -> None:
    database = Database(ttl=60)
    chain, clock = chain_of(database, cache=CacheConfig(ttl=30, max_stale=3600))
    chain.resolve("database/app")
    database.fault = ConnectionError()
    clock.now += 45
    assert chain.resolve("database/app").stale
    clock.now += 15
    with pytest.raises(StoreUnavailableError):
        chain.resolve("database/app")


def test_a_secret_that_is_good_for_no_time_is_never_cached() -> None:
    chain, _ = chain_of(Database(ttl=0))
    assert [chain.resolve("database/app", "username").value for _ in range(3)] == ["user-1", "user-2", "user-3"]


def test_a_long_life_is_cached_like_any_other() -> None:
    chain, clock = chain_of(Database(ttl=86400), cache=CacheConfig(ttl=300))
    chain.resolve("database/app")
    clock.now += 301
    assert chain.resolve("database/app", "username").value == "user-2"


# --- stores that make what they are asked for -------------------------------------------------------------------------


def test_a_store_says_that_it_makes_secrets() -> None:
    assert GuardedStore(Database(), "db").capabilities == {"dynamic"}
    assert "dynamic" not in GuardedStore(RemoteStore(), "kv").capabilities


def test_looking_makes_nothing() -> None:
    database = Database()
    chain, _ = chain_of(RemoteStore({"a": {"k": "1"}}), database)
    with pytest.raises(UnsupportedOperationError, match="would issue") as refused:
        chain.resolve("database/app", "username", allow_dynamic=False)
    assert [attempt.answer for attempt in refused.value.attempts] == [Answer.NOT_FOUND, Answer.NOT_ASKED]
    explanation = chain.explain("database/app", "username")
    assert [answer.attempt.answer for answer in explanation.answers] == [Answer.NOT_FOUND, Answer.NOT_ASKED]
    assert explanation.served is explanation.error is None
    outcomes = chain.resolve_many(["database/app", "a"], allow_dynamic=False)
    assert isinstance(outcomes["database/app"], UnsupportedOperationError)
    assert isinstance(outcomes["a"], Resolution)
    assert database.made == 0


def test_a_task_that_looks_makes_no_secret() -> None:
    database = Database()
    with SecretsManager(chain=[database]) as manager, pytest.raises(UnsupportedOperationError, match="would issue"):
        asyncio.run(manager.aresolve("database/app", "username", allow_dynamic=False))


def test_what_a_link_before_it_has_can_be_looked_at() -> None:
    database = Database()
    chain, _ = chain_of(RemoteStore({"database/app": {"username": "static"}}), database)
    assert chain.resolve("database/app", "username", allow_dynamic=False).value == "static"
    explanation = chain.explain("database/app", "username")
    assert explanation.served is explanation.answers[0]
    assert explanation.answers[1].attempt.answer is Answer.NOT_ASKED
    assert database.made == 0


def test_looking_stops_where_a_secret_would_be_made() -> None:
    """What a store below has would not be served: it says nothing."""
    chain, _ = chain_of(Database(), RemoteStore({"database/app": {"username": "below"}}))
    with pytest.raises(UnsupportedOperationError):
        chain.resolve("database/app", "username", allow_dynamic=False)


def test_a_path_of_which_it_makes_nothing_is_looked_for_below_it() -> None:
    """It is sure that it has none, and nobody need ask it."""
    database = Database()
    chain, _ = chain_of(database, RemoteStore({"api-keys/mail": {"key": "1"}}))
    assert chain.resolve("api-keys/mail", "key", allow_dynamic=False).value == "1"
    outcomes = chain.resolve_many(["api-keys/mail", "database/app"], allow_dynamic=False)
    assert isinstance(outcomes["api-keys/mail"], Resolution)
    assert isinstance(outcomes["database/app"], UnsupportedOperationError)
    explanation = chain.explain("api-keys/mail", "key")
    assert [answer.attempt.answer for answer in explanation.answers] == [Answer.NOT_FOUND, Answer.FOUND]
    assert database.made == 0


def test_a_resolution_says_for_how_long_it_is_good() -> None:
    """Also one from the cache, where some of it is over."""
    chain, clock = chain_of(Database(ttl=60), RemoteStore({"api-keys/mail": {"key": "1"}}))
    assert chain.resolve("database/app").ttl == 60
    clock.now += 20
    assert chain.resolve("database/app").ttl == pytest.approx(40)
    assert chain.resolve("api-keys/mail").ttl is chain.resolve("api-keys/mail").ttl is None


class Tokens(Database):
    """Its credentials outlast the process, and have an end."""

    traits = Traits(lasting=True)
    ends = datetime(2027, 1, 31, 14, tzinfo=timezone(timedelta(hours=2)))

    def read(self, path: str) -> Secret:
        return replace(super().read(path), ends=self.ends)


def test_a_short_process_gets_only_a_credential_that_outlasts_it() -> None:
    """`get` and `helper` end at once, and the other credential with them. A look issues neither."""
    tokens, database = Tokens(), Database()
    for store in (tokens, database):
        chain, _ = chain_of(store)
        with pytest.raises(UnsupportedOperationError):
            chain.resolve("database/app", allow_dynamic=False)
    assert chain_of(tokens)[0].resolve("database/app", allow_dynamic="lasting").ttl == 60
    places = [("database/app", "username"), ("database/app", "none")]
    found = chain_of(tokens)[0].resolve_keys(places, allow_dynamic="lasting")
    assert isinstance(found[places[0]], Resolution)
    with pytest.raises(UnsupportedOperationError, match="would issue"):
        chain_of(database)[0].resolve("database/app", allow_dynamic="lasting")
    (refused,) = chain_of(database)[0].resolve_keys([("database/app", "k")], allow_dynamic="lasting").values()
    assert isinstance(refused, UnsupportedOperationError)
    assert database.made == 0


def test_a_cached_lease_is_not_for_a_short_process() -> None:
    """Not in a task either, which reads the cache by another way."""
    with SecretsManager(chain=[Database()]) as manager:
        manager.resolve("database/app")
        with pytest.raises(UnsupportedOperationError):
            asyncio.run(manager.aresolve("database/app", allow_dynamic="lasting"))


def test_a_resolution_has_the_end_in_utc_from_the_cache_too() -> None:
    chain, _ = chain_of(Tokens())
    first, cached = chain.resolve("database/app"), chain.resolve("database/app")
    assert (first.cached, cached.cached) == (False, True)
    noon = datetime(2027, 1, 31, 12, tzinfo=UTC)
    assert [str(found.ends) for found in (first, cached)] == [str(noon)] * 2


def test_an_end_without_a_time_zone_is_refused() -> None:
    store = Tokens()
    store.ends = datetime(2027, 1, 31, 12)  # noqa: DTZ001  # the fault
    with pytest.raises(StrongroomError, match="an end without a time zone"):
        chain_of(store)[0].resolve("database/app")


def test_a_composed_value_ends_with_its_first_part() -> None:
    ends = [datetime(2027, 1, day, tzinfo=UTC) for day in (3, 1, 2)]

    def read(path: str, key: str) -> Resolution:
        end = ends[int(key)]
        return Resolution(path, key, key, "s", version=None, age=0, cached=False, stale=False, attempts=(), ends=end)

    parts = tuple((" ", ComposedPart("V", "a/b", str(number), None)) for number in range(3))
    assert compose("a/b", "c", Composition(parts, is_url=False), read).ends == ends[1]


def test_a_write_asks_before_it_hides_what_is_made_below() -> None:
    """What keys that has is not known without making one."""
    database = Database()
    chain, _ = chain_of(RemoteStore(), database)
    with pytest.raises(ConflictError, match="hide what store s1 issues"):
        chain.write("database/app", {"username": "static"})
    chain.write("database/app", {"username": "static"}, replace=True)
    assert chain.resolve("database/app", "username").value == "static"
    assert database.made == 0


def test_using_makes_one() -> None:
    database = Database()
    chain, _ = chain_of(database)
    chain.resolve("database/app")
    chain.resolve_many(["database/app"], fresh=True)
    assert database.made == 2


def test_preload_makes_nothing() -> None:
    class Listed(RemoteStore):
        """Lists what it does not have, as an engine does with what is deleted."""

        def read_many(self, paths: Iterable[str]) -> object:  # type: ignore[override]
            return ((path, SecretNotFoundError(path)) for path in paths)

    database = Database()
    manager = SecretsManager(chain=[Listed({"database/app": {"k": "deleted"}}), database])
    batch = manager.preload()
    assert batch == {}
    assert isinstance(batch.errors["database/app"], UnsupportedOperationError)
    assert database.made == 0


def test_a_row_that_is_made_at_use_is_met_and_not_asked() -> None:
    database = Database()
    manager = SecretsManager(chain=[database])
    rows = {"DB_USER": SecretConfig("database/app", "username")}
    (row,) = required_secrets.resolve(rows, lambda path, key: manager.resolve(path, key, allow_dynamic=False))
    assert (row.state, row.met, database.made) == (required_secrets.RequirementState.DYNAMIC, True, 0)
    (row,) = required_secrets.resolve(rows, manager.resolve)
    assert (row.state, database.made) == (required_secrets.RequirementState.FOUND, 1)
