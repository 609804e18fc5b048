"""The chain: whose answer counts, what falls through, what never does, and what is said of it."""

from __future__ import annotations

import contextlib
import io
import logging
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from strongroom import SecretsManager
from strongroom._chain.answer import MISSING, Resolution
from strongroom._chain.chain import Chain
from strongroom._chain.link import Link
from strongroom._config import CacheConfig, LinkConfig
from strongroom.errors import (
    Answer,
    Attempt,
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    InvalidDataError,
    InvalidPathError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    StrongroomError,
    UnsupportedOperationError,
    WriteOutcomeUnknownError,
)
from strongroom.secret import Secret, Value, Version
from strongroom.store import SecretStore, Traits, remaining
from strongroom.store.deadline import DEFAULT_TIMEOUT
from strongroom.store.memory import MemoryStore
from strongroom_vault.errors import VaultConnectionError
from support.clock import LONG, CallTime, Clock
from support.stores import RemoteStore

CANARY = "canary-51fd-value"
LOGGER = "strongroom.secrets_manager"


def link(name: str, store: SecretStore | Callable[[], SecretStore], **policy: Any) -> Link:
    opener = store if callable(store) else lambda: store
    cache = policy.pop("cache", CacheConfig())
    return Link(LinkConfig(name, **policy), opener, cache)


def local(secrets: Mapping[str, Mapping[str, Value]]) -> MemoryStore:
    store = MemoryStore()
    for path, data in secrets.items():
        store.write(path, data)
    return store


@pytest.fixture
def vault() -> RemoteStore:
    return RemoteStore({"db": {"url": "from vault", "host": "v"}})


@pytest.fixture
def chain(vault: RemoteStore) -> Chain:
    """A remote store first, a local one as the fallback."""
    fallback = local({"db": {"url": "from env", "port": "1"}, "only/env": {"key": "e"}})
    return Chain([link("vault", vault), link("env", fallback)])


# --- the policy table -------------------------------------------------------------------------------------------------


def test_the_first_link_that_has_it_answers(chain: Chain) -> None:
    resolution = chain.resolve("db", "url")
    assert (resolution.value, resolution.store, resolution.version) == ("from vault", "vault", 1)
    assert [attempt.answer for attempt in resolution.attempts] == [Answer.FOUND]


def test_a_whole_secret_is_one_links_and_never_merged(chain: Chain) -> None:
    assert chain.resolve("db").value == {"url": "from vault", "host": "v"}


def test_an_absent_path_falls_through(chain: Chain) -> None:
    resolution = chain.resolve("only/env", "key")
    assert (resolution.value, resolution.store) == ("e", "env")
    assert [attempt.answer for attempt in resolution.attempts] == [Answer.NOT_FOUND, Answer.FOUND]


def test_a_missing_key_falls_through_with_one_warning(chain: Chain, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        assert chain.resolve("db", "port").store == "env"
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["Store vault has db, but it has no key 'port'"]


def test_no_warning_tells_of_a_key_with_a_default_or_a_composition(caplog: pytest.LogCaptureFixture) -> None:
    """A store need not have it."""
    rows = {
        "HOST": "db#host",
        "PORT": {"at": "db#port", "default": "5432"},
        "ADDRESS": {"at": "db#address", "compose": "{HOST}:{PORT}"},
    }
    stores = {"memory": {"secrets": {"db": {"host": "h"}}}}
    with SecretsManager.from_config({"chain": ["memory", "env"], "stores": stores, "secrets": rows}) as manager:
        assert manager.get_secret("db", "address") == "h:5432"
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == []


def test_a_missing_key_can_fail(vault: RemoteStore) -> None:
    chain = Chain([link("vault", vault, on_missing_key="fail"), link("env", local({"db": {"port": "1"}}))])
    with pytest.raises(SecretNotFoundError) as caught:
        chain.resolve("db", "port")
    assert [attempt.answer for attempt in caught.value.attempts] == [Answer.KEY_MISSING]


@pytest.mark.parametrize("doubt", [StoreUnavailableError, PermissionDeniedError])
def test_a_missing_key_that_fails_makes_no_absence_of_what_stands_before_it(
    vault: RemoteStore, doubt: type[StoreError]
) -> None:
    """The first link may have the key: neither a caller's default nor one of `[secrets]` may answer."""
    vault.fault = doubt("db", "no answer")
    links = [link("vault", vault, on_denied="next"), link("env", local({"db": {"port": "1"}}), on_missing_key="fail")]
    with pytest.raises(doubt) as caught:
        Chain(links, defaults={("db", "size"): 5}).resolve("db", "size")
    assert [attempt.store for attempt in caught.value.attempts] == ["vault", "env"]
    assert caught.value.attempts[1].answer is Answer.KEY_MISSING


def test_what_nobody_has_is_not_found_and_says_what_each_said(chain: Chain) -> None:
    with pytest.raises(SecretNotFoundError) as caught:
        chain.resolve("api-keys/service", "key")
    assert str(caught.value).startswith("Secret not found: api-keys/service (vault: ")
    assert [attempt.store for attempt in caught.value.attempts] == ["vault", "env"]


def test_an_outage_falls_through_to_the_next_link(chain: Chain, vault: RemoteStore) -> None:
    vault.fault = StoreUnavailableError("db", "refused")
    resolution = chain.resolve("db", "url")
    assert (resolution.value, resolution.store) == ("from env", "env")
    assert [attempt.answer for attempt in resolution.attempts] == [Answer.UNAVAILABLE, Answer.FOUND]


def test_an_outage_can_fail(vault: RemoteStore) -> None:
    vault.fault = StoreUnavailableError("db", "refused")
    chain = Chain([link("vault", vault, on_unavailable="fail"), link("env", local({"db": {"url": "env"}}))])
    with pytest.raises(StoreUnavailableError):
        chain.resolve("db", "url")


def test_an_outage_is_never_an_absence(chain: Chain, vault: RemoteStore) -> None:
    """Nobody else has it, and the one that may could not answer: the error is the outage's own."""
    vault.fault = VaultConnectionError("x", "refused at 127.0.0.1:8200")
    with pytest.raises(
        VaultConnectionError, match=r"^Cannot connect to Vault: x \(vault: refused at 127.0.0.1:8200; env: "
    ) as caught:
        chain.resolve("x", "key")
    assert [attempt.answer for attempt in caught.value.attempts] == [Answer.UNAVAILABLE, Answer.NOT_FOUND]


@pytest.mark.parametrize("error", [PermissionDeniedError, AuthenticationError])
def test_a_denial_ends_the_read(chain: Chain, vault: RemoteStore, error: type[StoreError]) -> None:
    """The environment is not asked: a denied secret must not be answered by a weaker one."""
    vault.fault = error("db", "no policy")
    with pytest.raises(error) as caught:
        chain.resolve("db", "url")
    assert [attempt.store for attempt in caught.value.attempts] == ["vault"]


def test_a_denied_read_alone_is_told_of_the_paths_of_its_link(chain: Chain, vault: RemoteStore) -> None:
    """A write goes to one store: to take a path from it changes nothing."""
    vault.fault = PermissionDeniedError("db")
    with pytest.raises(PermissionDeniedError, match="Grant access to this path, or name the paths of this link"):
        chain.resolve("db", "url")
    for operation in (lambda: chain.write("db", {"a": "b"}, replace=True), lambda: chain.write("db", {"a": "b"})):
        vault.fault = PermissionDeniedError("db")
        with pytest.raises(PermissionDeniedError, match=r"Grant access to this path$"):
            operation()


@pytest.mark.parametrize("error", [PermissionDeniedError, AuthenticationError])
def test_a_denial_can_go_on_but_never_becomes_an_absence(vault: RemoteStore, error: type[StoreError]) -> None:
    vault.fault = error("db", "no policy")
    chain = Chain([link("vault", vault, on_denied="next"), link("env", local({"db": {"url": "env"}}))])
    assert chain.resolve("db", "url").store == "env"
    with pytest.raises(error):
        chain.resolve("other", "url")


@pytest.mark.parametrize("stray", [ValueError(CANARY), RuntimeError(CANARY), StoreError("db", "odd")])
def test_any_other_error_ends_the_read(chain: Chain, vault: RemoteStore, stray: Exception) -> None:
    vault.fault = stray
    with pytest.raises(StoreError) as caught:
        chain.resolve("db", "url")
    assert not isinstance(caught.value, SecretNotFoundError | StoreUnavailableError)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("stray", [ConnectionResetError(CANARY), TimeoutError(CANARY)])
def test_a_stray_connection_error_is_an_outage(chain: Chain, vault: RemoteStore, stray: Exception) -> None:
    vault.fault = stray
    assert chain.resolve("db", "url").store == "env"


def test_a_link_is_asked_for_its_paths_only(vault: RemoteStore) -> None:
    chain = Chain([link("vault", vault, paths=("db/*", "x")), link("env", local({"db": {"url": "env"}}))])
    assert chain.resolve("db", "url").store == "env"
    assert vault.reads == []


def test_a_path_that_no_link_covers_says_so(vault: RemoteStore) -> None:
    chain = Chain([link("vault", vault, paths=("db/*",))])
    with pytest.raises(SecretNotFoundError, match="no link of the chain covers this path"):
        chain.resolve("other")


def test_a_default_of_the_configuration_answers_an_absence(chain: Chain) -> None:
    with_default = Chain(chain.links, defaults={("db", "size"): 5})
    resolution = with_default.resolve("db", "size")
    assert (resolution.value, resolution.store) == (5, "default")


def test_a_default_of_the_configuration_never_answers_an_outage(chain: Chain, vault: RemoteStore) -> None:
    vault.fault = StoreUnavailableError("db", "refused")
    with pytest.raises(StoreUnavailableError):
        Chain(chain.links, defaults={("db", "size"): 5}).resolve("db", "size")


def test_an_empty_chain_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        Chain([])


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "../../sys/mounts", "a\\b", "a\x00b", "a\r\nb", "x" * 5000])
def test_a_bad_path_reaches_no_store(chain: Chain, vault: RemoteStore, path: str) -> None:
    operations: list[Callable[[], object]] = [
        lambda: chain.resolve(path),
        lambda: chain.write(path, {"k": "v"}),
        lambda: chain.delete(path),
    ]
    for operation in operations:
        with pytest.raises(InvalidPathError):
            operation()
    assert vault.reads == []


# --- the cache --------------------------------------------------------------------------------------------------------


def test_a_second_read_is_cached(chain: Chain, vault: RemoteStore) -> None:
    chain.resolve("db", "url")
    resolution = chain.resolve("db", "host")
    assert (resolution.cached, resolution.stale, vault.reads) == (True, False, ["db"])
    assert chain.peek("db", "url") == "from vault"


def _raise(outcomes: Mapping[str, Resolution | StrongroomError]) -> None:
    for outcome in outcomes.values():
        assert isinstance(outcome, StrongroomError)
        raise outcome


@pytest.mark.parametrize(
    "call",
    [
        lambda chain: chain.resolve("db", "password", fresh=True),
        lambda chain: _raise(chain.resolve_many(["db"], fresh=True)),
        lambda chain: chain.write("db", {"user": "new"}),
    ],
    ids=["read", "batch", "write"],
)
def test_an_error_of_a_store_quotes_no_cached_value(vault: RemoteStore, call: Callable[[Chain], object]) -> None:
    """A store that can no longer parse a secret, and quotes it, may quote a value that it has returned before."""
    vault.write("db", {"password": CANARY})
    chain = Chain([link("vault", vault)])
    chain.resolve("db", "password")
    vault.fault = InvalidDataError("db", f"no JSON: password={CANARY}")
    with pytest.raises(InvalidDataError, match=r"no JSON: password=\*+") as caught:
        call(chain)
    assert CANARY not in str(caught.value)


def test_an_absence_is_cached(chain: Chain, vault: RemoteStore) -> None:
    for _ in range(3):
        chain.resolve("only/env", "key")
    assert vault.reads == ["only/env"]
    vault.write("only/env", {"key": "now there"})
    assert chain.resolve("only/env", "key").store == "env"
    assert chain.resolve("only/env", "key", fresh=True).store == "vault"


def test_a_local_store_is_never_cached() -> None:
    store = local({"a": {"k": "1"}})
    chain = Chain([link("env", store)])
    chain.resolve("a", "k")
    store.write("a", {"k": "2"})
    assert chain.resolve("a", "k").value == "2"
    assert chain.peek("a", "k") is None


def test_a_lower_links_entry_never_outlives_the_outage(vault: RemoteStore) -> None:
    """The fallback's cached value counts only after every link above it has answered absent or unavailable."""
    lower = RemoteStore({"x": {"k": "lower"}})
    chain = Chain([link("upper", vault, cache=CacheConfig(ttl=0)), link("lower", lower)])
    vault.fault = StoreUnavailableError("x", "refused")
    assert chain.resolve("x", "k").store == "lower"
    vault.fault = None
    vault.write("x", {"k": "upper"})
    chain.links[0].connection.breaker.succeeded()
    assert chain.resolve("x", "k").value == "upper"


def test_what_was_read_stays_served_in_an_outage_and_is_marked(vault: RemoteStore) -> None:
    chain = Chain([link("vault", vault, cache=CacheConfig(ttl=1e-9)), link("env", local({"db": {"url": "env"}}))])
    chain.resolve("db", "url")
    vault.fault = StoreUnavailableError("db", "refused")
    resolution = chain.resolve("db", "url")
    assert (resolution.value, resolution.store, resolution.cached, resolution.stale) == (
        "from vault",
        "vault",
        True,
        True,
    )


def test_a_fresh_read_is_never_stale(vault: RemoteStore) -> None:
    chain = Chain([link("vault", vault)])
    chain.resolve("db", "url")
    vault.fault = StoreUnavailableError("db", "refused")
    with pytest.raises(StoreUnavailableError):
        chain.resolve("db", "url", fresh=True)


@pytest.mark.parametrize("error", [PermissionDeniedError("db"), StoreError("db", "odd"), SecretNotFoundError("db")])
def test_only_an_outage_is_answered_with_what_is_stale(vault: RemoteStore, error: Exception) -> None:
    """A revoked permission and a deletion take effect at once."""
    chain = Chain([link("vault", vault, cache=CacheConfig(ttl=1e-9))])
    chain.resolve("db", "url")
    vault.fault = error
    with pytest.raises(type(error)):
        chain.resolve("db", "url")


@pytest.mark.parametrize("denial", [PermissionDeniedError, AuthenticationError])
@pytest.mark.parametrize("cache", [CacheConfig(ttl=1e-9), CacheConfig()], ids=["expired", "current"])
def test_what_was_denied_last_is_served_no_more(
    vault: RemoteStore, denial: type[StoreError], cache: CacheConfig
) -> None:
    """The permission was revoked before the outage: what was read under it is not a stale answer."""
    chain = Chain([link("vault", vault, cache=cache)])
    chain.resolve("db", "url")
    vault.fault = denial("db")
    with pytest.raises(denial):
        chain.resolve("db", "url", fresh=True)
    vault.fault = StoreUnavailableError("db", "refused")
    with pytest.raises(StoreUnavailableError):
        chain.resolve("db", "url")


def test_a_key_that_a_stale_secret_lacks_is_unknown_and_not_missing(vault: RemoteStore) -> None:
    """It may have been set since: with no other link this is an outage, and no default of the configuration answers."""
    last = link("vault", vault, cache=CacheConfig(ttl=1e-9))
    chain = Chain([last], defaults={("db", "new"): "default"})
    chain.resolve("db", "url")
    vault.fault = StoreUnavailableError("db", "refused")
    assert chain.resolve("db", "host").stale
    with pytest.raises(StoreUnavailableError) as caught:
        chain.resolve("db", "new")
    assert [attempt.answer for attempt in caught.value.attempts] == [Answer.UNAVAILABLE]
    with pytest.raises(StoreUnavailableError):
        chain.resolve("db", extract=lambda data: data.get("new", MISSING), wanted="something made of it")
    fallback = Chain([last, link("env", local({"db": {"new": "from env"}}))])
    assert fallback.resolve("db", "new").value == "from env"


class Derived(RemoteStore):
    """A remote store that knows a key of every secret which no whole read shows."""

    def read_key(self, path: str, key: str) -> Value:
        self._fail()
        return "derived" if key == "derived" else self.read(path).data[key]


@pytest.mark.parametrize("path", ["db", "nowhere"])
def test_a_cached_whole_read_says_nothing_of_a_key_that_the_store_knows_singly(path: str) -> None:
    """Neither that the secret lacks it nor, where there is no whole secret, that there is nothing."""
    store = Derived({"db": {"url": "u"}})
    chain = Chain([link("vault", store)])
    with contextlib.suppress(SecretNotFoundError):
        chain.resolve(path)
    assert chain.resolve(path, "derived").value == "derived"
    store.fault = StoreUnavailableError(path, "refused")
    with pytest.raises(StoreUnavailableError):
        chain.resolve(path, "derived")


def test_a_keyed_store_that_is_cached_whole_is_not_asked_for_what_it_said() -> None:
    store = Derived({"db": {"url": "u"}})
    chain = Chain([link("vault", store)])
    chain.resolve("db")
    assert chain.resolve("db", "url").cached
    assert store.reads == ["db"]


def test_a_single_key_that_no_cached_whole_has_is_asked_for_each_time() -> None:
    store = Derived({"db": {"url": "u"}})
    chain = Chain([link("vault", store)])
    assert [chain.resolve("db", "url").cached for _ in range(2)] == [False, False]
    assert store.reads == ["db", "db"]


def test_forgetting_makes_the_next_read_fresh(chain: Chain, vault: RemoteStore) -> None:
    chain.resolve("db", "url")
    vault.write("db", {"url": "changed"})
    assert chain.resolve("db", "url").value == "from vault"
    chain.forget("db")
    assert chain.resolve("db", "url").value == "changed"


def test_a_chain_that_cannot_be_listed_names_the_prefix() -> None:
    class Unlisted:
        def read(self, path: str) -> Secret:
            raise SecretNotFoundError(path)

        def close(self) -> None:
            pass

    chain = Chain([link("single", Unlisted)])
    with pytest.raises(UnsupportedOperationError, match="no store of the chain can be listed") as caught:
        chain.list_secrets("app")
    assert caught.value.path == "app"
    with pytest.raises(UnsupportedOperationError) as caught:
        chain.list_secrets("")
    assert caught.value.path is None


# --- the outage -------------------------------------------------------------------------------------------------------


def test_an_outage_is_said_once_and_so_is_its_end(
    make_probe_due: Callable[[], None], chain: Chain, vault: RemoteStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    vault.fault = StoreUnavailableError("db", "refused")
    for _ in range(5):
        chain.resolve("only/env", "key")
    vault.fault = None
    make_probe_due()
    for _ in range(5):
        chain.resolve("db", "url")
    assert [record.message for record in caplog.records] == [
        "Store vault is unavailable: refused",
        "Store vault is available again",
    ]


def test_a_store_that_is_out_of_order_is_not_asked_for_each_read(
    chain: Chain, vault: RemoteStore, breaker_clock: Clock
) -> None:
    """Once its outage has lasted one timeout. Then one read is the probe."""
    asked = []

    def read(path: str) -> Secret:
        asked.append(path)
        raise StoreUnavailableError(path, "refused")

    vault.read = read
    for number in range(50):
        with pytest.raises(StoreUnavailableError, match=f"nobody/has/{number} "):
            chain.resolve(f"nobody/has/{number}", "k")
        if number == 0:
            breaker_clock.now += DEFAULT_TIMEOUT
    assert asked == ["nobody/has/0", "nobody/has/0", "nobody/has/1"]


@pytest.mark.parametrize("fault", [WriteOutcomeUnknownError, StoreUnavailableError, ConnectionError])
@pytest.mark.parametrize("change", ["merge", "replace", "delete"])
def test_a_failed_write_says_nothing_against_reads(
    chain: Chain, vault: RemoteStore, fault: type[Exception], change: str
) -> None:
    """The next read of any path is sent, and answered by the store that has it."""

    def fail(*_: object) -> None:
        raise fault("db")

    vault.write = vault.write_if = vault.delete = fail
    writes = {
        "merge": lambda: chain.write("db", {"url": "new"}),
        "replace": lambda: chain.write("db", {"url": "new"}, replace=True),
        "delete": lambda: chain.delete("db"),
    }
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            writes[change]()
        assert chain.resolve("db", "host", fresh=True).store == "vault"
        assert not chain.links[0].connection.breaker.is_open
        with pytest.raises(SecretNotFoundError, match="vault: secret not found"):
            chain.resolve("other", "host")


def test_a_write_while_an_outage_is_known_was_not_sent(chain: Chain, vault: RemoteStore) -> None:
    """Its error says so: it is no write whose outcome is unknown."""
    vault.fault = ConnectionRefusedError()
    assert chain.resolve("db", "url").store == "env"
    with pytest.raises(StoreUnavailableError) as caught:
        chain.write("db", {"url": "new"}, store="vault", replace=True)
    assert type(caught.value) is StoreUnavailableError
    assert caught.value.path == "db"


def test_a_known_outage_is_a_new_error_for_each_caller(chain: Chain, vault: RemoteStore, breaker_clock: Clock) -> None:
    """It has the caller's own path, and nothing that belonged to the call that failed."""
    first = StoreUnavailableError("secret/one", "refused", hint="Start it", attempts=(Attempt("x", Answer.FAILED),))
    vault.fault = first
    errors = []
    for path in ("one", "one", "two", "two"):
        with pytest.raises(StoreUnavailableError) as caught:
            chain.resolve(path, "k")
        errors.append(caught.value)
        if len(errors) == 1:
            breaker_clock.now += DEFAULT_TIMEOUT  # the next read is the probe, and those after it ask nobody
    assert len({id(error) for error in errors}) == 4
    assert [error.path for error in errors[2:]] == ["two", "two"]
    assert [attempt.store for attempt in errors[3].attempts] == ["vault", "env"]
    assert first.__traceback__ is None or all(error.__traceback__ is not first.__traceback__ for error in errors)


def test_an_outage_of_one_path_is_none_of_the_store(chain: Chain, vault: RemoteStore) -> None:
    """The other paths are asked for, and so is this one again."""
    outage = StoreUnavailableError("odd", "its database is down")
    outage.path_only = True
    read = vault.read

    def fail(path: str) -> Secret:
        if path == "odd":
            raise outage.copy()
        return read(path)

    vault.read = fail
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match=r"odd .*its database is down"):
            chain.resolve("odd", "k")
        assert chain.resolve("db", "host", fresh=True).store == "vault"


@pytest.mark.parametrize("refusal", [InvalidPathError, InvalidDataError, UnsupportedOperationError])
def test_what_is_refused_before_it_is_sent_ends_no_outage(
    vault: RemoteStore, refusal: type[StoreError], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Else the next read would wait for a server that still hangs."""
    caplog.set_level(logging.INFO, LOGGER)
    last = link("vault", vault)
    chain = Chain([last])
    vault.fault = StoreUnavailableError("db", "refused")
    with pytest.raises(StoreUnavailableError):
        chain.resolve("db", "url")
    monkeypatch.setattr(last.connection.breaker, "admit", lambda: True)  # a probe is due
    vault.fault = refusal("db", "refused here")
    with pytest.raises(refusal):
        chain.resolve("db", "url")
    assert last.connection.breaker.is_open
    assert "available again" not in caplog.text


@pytest.fixture
def call_time(monkeypatch: pytest.MonkeyPatch) -> CallTime:
    """The time of calls, in which only a store's waits take any."""
    return CallTime.of_calls(monkeypatch)


def test_a_caller_without_time_says_nothing_of_the_store(vault: RemoteStore, call_time: CallTime) -> None:
    """A read that ran out of the caller's own time must not keep the next caller from asking."""

    def read(path: str) -> Secret:
        call_time.sleep(remaining())
        raise StoreUnavailableError(path, "too slow")

    chain = Chain([link("vault", vault)], timeout=0.02)
    vault.read = read
    with pytest.raises(StoreUnavailableError):
        chain.resolve("db", "url")
    assert not chain.links[0].connection.breaker.is_open


class Hanging(RemoteStore):
    """Says nothing for as long as it may while `hangs` is set, alone or asked for many."""

    hangs = True

    def __init__(self, call_time: CallTime, secrets: Mapping[str, Mapping[str, Value]] | None = None) -> None:
        super().__init__(secrets)
        self._time = call_time

    def read(self, path: str) -> Secret:
        if self.hangs:
            self._time.sleep(remaining())
            raise StoreUnavailableError(path, "no reply")
        return super().read(path)


class Timed(RemoteStore):
    """Keeps how long it was given, and has no answer when that is nothing."""

    def __init__(self, secrets: Mapping[str, Mapping[str, Value]]) -> None:
        super().__init__(secrets)
        self.given: list[float] = []

    def read(self, path: str) -> Secret:
        self.given.append(remaining())
        if remaining() <= 0:
            raise StoreUnavailableError(path, "no time")
        return super().read(path)


@pytest.mark.parametrize("timeout", [3.0, 10.0], ids=["as its own", "above the call's"])
def test_a_store_that_hangs_leaves_time_for_the_next_however_short_the_call(
    timeout: float, call_time: CallTime
) -> None:
    """Whatever its own `timeout` is, alone or in a batch; where nobody follows, it has all of the time."""
    following = Timed({"db": {"url": "from the second"}, "app": {"k": "v"}})
    links = [link("hangs", Hanging(call_time), timeout=timeout), link("second", following, paths=["db", "app"])]
    chain = Chain(links, timeout=1.0)
    assert chain.resolve("db", "url").store == "second"
    chain.reset()
    batch = chain.resolve_many(["db", "app"])
    assert {path: found.store for path, found in batch.items() if isinstance(found, Resolution)} == {
        "db": "second",
        "app": "second",
    }
    assert all(0 < given <= 0.4 for given in following.given)
    chain.reset()
    started = call_time.monotonic()
    with pytest.raises(StoreUnavailableError):
        chain.resolve("nobody/else", "k")
    assert call_time.monotonic() - started == pytest.approx(1.0)


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
def test_an_outage_is_known_of_a_store_that_hangs_for_the_whole_of_a_short_call(
    many: bool, call_time: CallTime, caplog: pytest.LogCaptureFixture
) -> None:
    """A call that may take no longer than the link itself ends with the link's time: it is an outage all the same."""
    store = Hanging(call_time, {"db": {"url": "v"}, "app": {"k": "v"}})
    store.hangs = False
    chain = Chain([link("vault", store, cache=CacheConfig(ttl=1e-9, missing_ttl=1e-9))], timeout=1.0)
    chain.resolve("db", "url")
    store.hangs = True
    if many:
        chain.resolve_many(["db", "app"])
    else:
        chain.resolve("db", "url")
    assert chain.links[0].connection.breaker.is_open
    started = call_time.monotonic()
    assert chain.resolve("db", "url").stale
    assert call_time.monotonic() - started < 0.3
    assert [record.message for record in caplog.records] == ["Store vault is unavailable: no reply"]


def test_a_batch_that_the_call_has_no_time_for_says_nothing_of_the_store(call_time: CallTime) -> None:
    """Its store answers to the end; the last of the batch get what is left, which is no time to judge it by."""

    class Steady(RemoteStore):
        def read(self, path: str) -> Secret:
            if remaining() < 0.25:
                call_time.sleep(remaining())
                raise StoreUnavailableError(path, "no reply")
            call_time.sleep(0.25)
            return super().read(path)

    names = [f"s{number}" for number in range(40)]
    chain = Chain([link("vault", Steady({name: {"k": "v"} for name in names}))], timeout=0.6)
    batch = chain.resolve_many(names)
    assert [name for name in names if isinstance(batch[name], Resolution)] == ["s0", "s1"]
    assert not chain.links[0].connection.breaker.is_open


@pytest.mark.usefixtures("call_time")
def test_an_explanation_gives_each_store_its_own_time() -> None:
    store = Timed({"db": {"url": "v"}})
    chain = Chain([link("vault", store, timeout=20.0), link("env", local({}))], timeout=1.0)
    assert chain.explain("db", "url").served is not None
    assert store.given == [20.0]


@pytest.mark.usefixtures("call_time")
def test_a_link_gets_its_share_of_the_time_and_no_more(vault: RemoteStore) -> None:
    shares = []

    def read(path: str) -> Secret:
        shares.append(remaining())
        raise SecretNotFoundError(path)

    vault.read = read
    first, second = link("first", vault), link("second", vault, timeout=20.0)
    with pytest.raises(SecretNotFoundError):
        Chain([first, second], timeout=10).resolve("db", "url")
    assert shares == [3.0, 10.0]


def test_opening_is_part_of_the_first_read_and_an_outage_there_is_an_outage(
    make_probe_due: Callable[[], None],
) -> None:
    openings = []

    def opener() -> SecretStore:
        openings.append(1)
        if len(openings) == 1:
            raise ConnectionRefusedError
        return RemoteStore({"db": {"url": "v"}})

    chain = Chain([link("vault", opener), link("env", local({"db": {"url": "e"}}))])
    assert openings == []
    assert chain.resolve("db", "url").store == "env"
    make_probe_due()
    assert chain.resolve("db", "url").store == "vault"
    assert len(openings) == 2


def test_a_store_is_opened_once_for_many_threads(vault: RemoteStore) -> None:
    openings, go = [], threading.Event()

    def opener() -> SecretStore:
        openings.append(1)
        assert go.wait(LONG)
        return vault

    chain = Chain([link("vault", opener)])
    with ThreadPoolExecutor(8) as pool:
        reads = [pool.submit(chain.resolve, "db", "url") for _ in range(8)]
        go.set()
        assert {read.result().value for read in reads} == {"from vault"}
    assert openings == [1]


# --- listing ----------------------------------------------------------------------------------------------------------


def test_a_list_is_the_union_of_the_links(chain: Chain) -> None:
    assert chain.list_secrets() == ["db", "only/"]
    assert chain.list_secrets("only/") == ["env"]
    assert chain.list_secrets(recursive=True) == ["db", "only/env"]


def test_a_list_is_never_shorter_than_it_should_be(chain: Chain, vault: RemoteStore) -> None:
    chain.list_secrets()

    def fails(prefix: str) -> Iterator[str]:
        raise StoreUnavailableError(prefix, "refused")

    vault.list_entries = fails
    with pytest.raises(StoreUnavailableError):
        chain.list_secrets()


def test_a_list_shows_what_a_link_is_asked_for(vault: RemoteStore) -> None:
    for path in ("mon/a", "mon/deep/b", "other/c", "top"):
        vault.write(path, {"k": "v"})
    chain = Chain([link("vault", vault, paths=("mon/*", "top"))])
    assert chain.list_secrets() == ["mon/", "top"]
    assert chain.list_secrets("mon") == ["a", "deep/"]
    assert chain.list_secrets(recursive=True) == ["mon/a", "mon/deep/b", "top"]


class ReadOnly:
    """The least that a store can be."""

    def read(self, path: str) -> Secret:
        raise SecretNotFoundError(path)

    def close(self) -> None:
        pass


def test_a_chain_that_nobody_can_list_or_write_says_so() -> None:
    chain = Chain([link("least", ReadOnly())])
    with pytest.raises(UnsupportedOperationError):
        chain.list_secrets()
    with pytest.raises(UnsupportedOperationError):
        chain.write("a", {"k": "v"})
    with pytest.raises(UnsupportedOperationError):
        chain.delete("a")


# --- writing ----------------------------------------------------------------------------------------------------------


def test_a_write_keeps_the_keys_that_it_is_not_given(chain: Chain, vault: RemoteStore) -> None:
    assert chain.write("db", {"password": "p"}) == 2
    assert vault.read("db").data == {"url": "from vault", "host": "v", "password": "p"}


def test_a_replacement_drops_them(chain: Chain, vault: RemoteStore) -> None:
    chain.write("db", {"password": "p"}, replace=True)
    assert vault.read("db").data == {"password": "p"}


def test_a_write_is_read_back_at_once(chain: Chain) -> None:
    chain.resolve("db", "url")
    chain.write("db", {"url": "new"})
    assert chain.resolve("db", "url").value == "new"
    assert chain.peek("db", "url") == "new"


def test_a_read_that_began_before_a_write_is_nobody_elses(chain: Chain, vault: RemoteStore) -> None:
    chain.resolve("only/env", "key")  # opens the store
    vault.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        old = pool.submit(chain.resolve, "db", "url")
        assert vault.entered.acquire(timeout=LONG)
        vault.gate.set()
        chain.write("db", {"url": "new"}, replace=True)
        assert old.result().value in {"from vault", "new"}
    assert chain.resolve("db", "url").value == "new"


def test_while_a_write_is_under_way_nothing_older_is_served(chain: Chain, vault: RemoteStore) -> None:
    """What was cached is dropped before the store is asked to write: nobody joins or is served what was there."""
    chain.resolve("db", "url")
    seen = []
    write = vault.write

    def watched(path: str, data: Mapping[str, Value]) -> Version | None:
        seen.append(chain.peek("db", "url"))
        return write(path, data)

    vault.write = watched
    chain.write("db", {"url": "new"}, replace=True)
    assert seen == [None]


def test_a_read_during_a_write_is_forgotten_after_it(chain: Chain, vault: RemoteStore) -> None:
    """It may have been answered before the store applied the write."""
    write = vault.write

    def overtaken(path: str, data: Mapping[str, Value]) -> Version | None:
        assert chain.resolve("db", "url").value == "from vault"
        return write(path, data)

    vault.write = overtaken
    chain.write("db", {"url": "new"}, replace=True)
    assert chain.resolve("db", "url").value == "new"


@pytest.mark.parametrize("change", ["merge", "replace", "delete"])
@pytest.mark.parametrize(
    ("fault", "changed"),
    [
        (PermissionDeniedError("db"), False),
        (InvalidDataError("db"), False),
        (StoreUnavailableError("db", "refused"), False),
        (ConflictError("db"), True),
        (SecretNotFoundError("db"), True),
        (WriteOutcomeUnknownError("db"), True),
        (ConnectionResetError(), True),
    ],
    ids=["denial", "invalid data", "outage", "conflict", "absence", "outcome unknown", "lost reply"],
)
def test_a_change_that_was_not_made_leaves_the_stale_secret(
    vault: RemoteStore, change: str, fault: Exception, *, changed: bool
) -> None:
    """A secret that has changed, or may have, is served no more, not even in an outage."""
    chain = Chain([link("vault", vault)], timeout=0.5)
    chain.resolve("db", "url")

    def fail(*_: object) -> None:
        raise fault

    vault.write = vault.write_if = vault.delete = fail
    with pytest.raises(StoreError):
        chain.delete("db") if change == "delete" else chain.write("db", {"url": "new"}, replace=change == "replace")
    assert chain.peek("db", "url") is None
    vault.fault = StoreUnavailableError("db", "refused")
    if changed:
        with pytest.raises(StoreUnavailableError):
            chain.resolve("db", "url")
    else:
        assert chain.resolve("db", "url").stale


def test_a_piecewise_change_that_failed_may_have_changed_the_secret(vault: RemoteStore) -> None:
    vault.traits = Traits(honors_deadline=True, piecewise=True)
    chain = Chain([link("vault", vault)])
    chain.resolve("db", "url")
    vault.fault = PermissionDeniedError("db", "the second key")
    with pytest.raises(PermissionDeniedError):
        chain.write("db", {"url": "new"}, replace=True)
    vault.fault = StoreUnavailableError("db", "refused")
    with pytest.raises(StoreUnavailableError):
        chain.resolve("db", "url")


def test_a_refused_change_leaves_the_stale_earlier_values(vault: RemoteStore) -> None:
    """Such as those that `accept_previous` takes."""
    cache = Chain([link("vault", vault)]).links[0].cache
    place = cache.history_of("db")
    cache.fetch(place, lambda: Secret(place, {"k": "v"}))
    cache.forget("db", keeps_stale=True)
    assert (cache.current(place), cache.stale(place) is None) == (None, False)


def test_a_write_passes_over_links_for_other_paths(vault: RemoteStore) -> None:
    memory = local({})
    chain = Chain([link("vault", vault, paths=("db",)), link("memory", memory)])
    chain.write("other", {"k": "v"})
    assert memory.read("other").data == {"k": "v"}


def test_a_lost_race_is_run_again(chain: Chain, vault: RemoteStore) -> None:
    """Somebody else writes between our read and our write, twice; neither their keys nor ours are lost."""
    write_if, rivals = vault.write_if, iter(["one", "two"])

    def contested(path: str, data: Mapping[str, Value], expected: Version | None) -> Version | None:
        if rival := next(rivals, None):
            vault.write(path, {**vault.read(path).data, rival: "theirs"})
        return write_if(path, data, expected)

    vault.write_if = contested
    chain.write("db", {"mine": "m"})
    assert vault.read("db").data.keys() == {"url", "host", "one", "two", "mine"}


def test_a_race_that_is_always_lost_is_a_conflict(vault: RemoteStore, call_time: CallTime) -> None:
    """The time is over before a third attempt."""
    attempts = []

    def contested(path: str, data: Mapping[str, Value], expected: Version | None) -> Version | None:
        attempts.append(expected)
        call_time.sleep(0.4999)
        raise ConflictError(path, "another version")

    vault.write_if = contested
    with pytest.raises(ConflictError):
        Chain([link("vault", vault)], timeout=1.0).write("db", {"mine": "m"})
    assert len(attempts) == 2


class Unchecked(ReadOnly):
    """A store that can be written and has no check-and-set."""

    def __init__(self) -> None:
        self.data: dict[str, Value] = {"host": "v"}
        self.meddle: Callable[[], object] = lambda: None
        self.reads = 0

    def read(self, path: str) -> Secret:
        self.reads += 1
        data = dict(self.data)
        self.meddle()
        return Secret(path=path, data=data)

    def write(self, path: str, data: Mapping[str, Value]) -> Version | None:
        self.data = dict(data)
        return None

    def delete(self, path: str) -> None:
        self.data = {}


def test_without_check_and_set_a_merge_reads_compares_and_writes() -> None:
    store = Unchecked()

    def meddle() -> None:
        if store.reads == 1:
            store.data = {"host": "v", "theirs": "t"}

    store.meddle = meddle
    assert Chain([link("plain", store)]).write("db", {"mine": "m"}) is None
    assert store.data == {"host": "v", "theirs": "t", "mine": "m"}


def test_conflict_of_a_store_without_check_and_set_is_not_repeated() -> None:
    """It is about the state of the secret, such as deleted and recoverable, and no other writer ends it."""
    store = Unchecked()
    writes: list[str] = []

    def refuse(path: str, _: Mapping[str, Value]) -> Version | None:
        writes.append(path)
        raise ConflictError(path, "it is deleted")

    store.write = refuse  # type: ignore[method-assign]
    with pytest.raises(ConflictError, match="it is deleted"):
        Chain([link("plain", store)]).write("db", {"mine": "m"})
    assert writes == ["db"]


def test_a_new_secret_that_hides_a_lower_links_keys_is_refused(chain: Chain, vault: RemoteStore) -> None:
    vault.delete("db")
    with pytest.raises(ConflictError, match="hide the keys port, url, which only store env has"):
        chain.write("db", {"password": CANARY})
    with pytest.raises(SecretNotFoundError):
        vault.read("db")
    chain.write("db", {"password": "p"}, replace=True)
    assert vault.read("db").data == {"password": "p"}


def test_a_write_counts_keys_that_a_lower_store_got_since_it_was_cached(vault: RemoteStore) -> None:
    lower = RemoteStore({"only/lower": {"key": "k"}})
    chain = Chain([link("vault", vault), link("lower", lower)])
    chain.resolve("only/lower", "key")
    lower.write("only/lower", {"key": "k", "added": "a"})
    with pytest.raises(ConflictError, match="hide the keys added, which only store lower has"):
        chain.write("only/lower", {"key": "mine"})


def test_a_key_is_created_only_where_it_is_not_there(chain: Chain, vault: RemoteStore) -> None:
    before = dict(vault.read("db").data)
    with pytest.raises(ConflictError, match="it has the key already"):
        chain.write("db", {"url": CANARY}, create=True)
    chain.write("db", {"password": "p"}, create=True)
    assert vault.read("db").data == {**before, "password": "p"}


def test_a_new_secret_that_hides_nothing_is_written(chain: Chain, vault: RemoteStore) -> None:
    chain.write("only/env", {"key": "k", "more": "m"})
    assert vault.read("only/env").data == {"key": "k", "more": "m"}


def test_a_write_that_nobody_took_is_an_error_and_goes_to_no_other_store(chain: Chain, vault: RemoteStore) -> None:
    vault.fault = StoreUnavailableError("db", "refused")
    with pytest.raises(StoreUnavailableError):
        chain.write("db", {"url": "x"})
    with pytest.raises(StoreUnavailableError):
        chain.write("db", {"url": "x"}, replace=True)
    vault.fault = None
    assert chain.links[1].connection.open().read("db").data["url"] == "from env"


def test_a_store_that_cannot_be_opened_is_not_passed_over_for_a_write() -> None:
    def opener() -> SecretStore:
        raise ConnectionRefusedError

    fallback = local({"db": {"url": "env"}})
    with pytest.raises(StoreUnavailableError):
        Chain([link("vault", opener), link("memory", fallback)]).write("db", {"url": "x"})
    assert fallback.read("db").data == {"url": "env"}


def test_what_a_store_can_do_says_nothing_of_an_outage(
    make_probe_due: Callable[[], None], chain: Chain, vault: RemoteStore, caplog: pytest.LogCaptureFixture
) -> None:
    """It is known without asking the store: the outage goes on, and the probe is kept for a call that asks it."""
    caplog.set_level(logging.INFO, LOGGER)
    chain.resolve("db", "url")
    vault.fault = StoreUnavailableError("db", "refused")
    with pytest.raises(StoreUnavailableError):
        chain.write("db", {"url": "x"})
    make_probe_due()
    assert "writable" in chain.write_target("db").capabilities
    with pytest.raises(StoreUnavailableError):
        chain.write("db", {"url": "x"})
    assert [record.message for record in caplog.records] == ["Store vault is unavailable: refused"]


def test_a_write_goes_to_the_store_that_is_named(chain: Chain, vault: RemoteStore) -> None:
    chain.write("db", {"url": "x"}, store="env")
    assert vault.read("db").data["url"] == "from vault"
    with pytest.raises(ConfigurationError, match="no store 'nowhere' in the chain: it has vault, env"):
        chain.write("db", {"url": "x"}, store="nowhere")


def test_a_store_that_is_named_is_not_changed_where_it_is_not_read(vault: RemoteStore) -> None:
    """What its link is not asked for would be set, and then not be found."""
    chain = Chain([link("vault", vault, paths=["app/*"]), link("env", local({}))])
    changes: list[Callable[[], object]] = [
        lambda: chain.write("db", {"k": "v"}, store="vault"),
        lambda: chain.write("db", {"k": "v"}, store="vault", replace=True),
        lambda: chain.delete("db", store="vault"),
        lambda: chain.write_target("db", store="vault"),
        lambda: chain.at_target("db", "vault", lambda front: front.versions("db")),
    ]
    for change in changes:
        with pytest.raises(UnsupportedOperationError, match="`paths` do not cover") as caught:
            change()
        assert (caught.value.store, caught.value.path) == ("vault", "db")
    assert vault.reads == []
    assert chain.write("app/x", {"k": "v"}, store="vault") == 1


def test_a_deletion_shows_the_lower_link_at_once(chain: Chain) -> None:
    chain.resolve("db", "url")
    chain.delete("db")
    assert chain.resolve("db", "url").store == "env"
    with pytest.raises(SecretNotFoundError):
        chain.delete("db")


# --- secrets stay secret ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        StoreUnavailableError("db", "refused"),
        PermissionDeniedError("db"),
        ConflictError("db", "lost"),
        ValueError(CANARY),
        KeyError(CANARY),
    ],
)
def test_no_failure_shows_a_value(vault: RemoteStore, fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Not in its words, its attributes, its context, the locals of its traceback, or the log."""
    caplog.set_level(logging.DEBUG)
    chain = Chain([link("vault", vault)])
    chain.write("db", {"password": CANARY})
    chain.resolve("db", "password")
    chain = Chain(chain.links, timeout=0.1)  # a merge is repeated until then
    vault.fault = fault
    operations: list[Callable[[], object]] = [
        lambda: chain.write("db", {"password": CANARY}),
        lambda: chain.write("db", {"password": CANARY}, replace=True),
        lambda: chain.resolve("db", "password", fresh=True),
    ]
    for operation in operations:
        with pytest.raises(StoreError) as caught:
            operation()
        error = caught.value
        ours = error.__traceback__
        while ours is not None and ours.tb_frame.f_code.co_filename == __file__:
            ours = ours.tb_next
        shown = traceback.TracebackException(type(error), error, ours, capture_locals=True)
        text = "".join(shown.format()) + repr(error) + repr(vars(error)) + repr(error.__context__)
        assert CANARY not in text
        chain.links[0].connection.breaker.succeeded()
    assert CANARY not in caplog.text


def test_a_resolution_shows_no_value() -> None:
    number = 4711_0815_4711_0815  # too long to be among the digits of a duration, which a resolution shows
    chain = Chain([link("m", local({"a": {"k": CANARY, "n": number}}))])
    for key in (None, "k", "n"):
        resolution = chain.resolve("a", key)
        assert CANARY not in repr(resolution)
        assert str(number) not in repr(resolution)


def test_debug_says_who_answered_what(chain: Chain, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOGGER)
    chain.resolve("only/env", "key")
    chain.resolve("db", "url")
    assert "only/env: store vault: not found: " in caplog.text
    assert "only/env: store env: found, version 1" in caplog.text
    assert "db: store vault: found, version 1" in caplog.text


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_a_reading_can_be_taken_apart(chain: Chain, vault: RemoteStore) -> None:
    """`take` wants something of a whole secret; a link that lacks it is passed over like one that lacks a key."""
    resolution = chain.resolve("db", extract=lambda data: data.get("port", MISSING), wanted="port")
    assert (resolution.value, resolution.store) == ("1", "env")


def test_null_is_a_value() -> None:
    chain = Chain([link("m", local({"a": {"k": None}})), link("n", local({"a": {"k": "lower"}}))])
    assert chain.resolve("a", "k").value is None


def test_health_is_said_of_each_store_and_never_raised(chain: Chain, vault: RemoteStore) -> None:
    def fails() -> None:
        raise ConnectionResetError

    assert {name: health.ok for name, health in chain.health().items()} == {"vault": True, "env": True}
    vault.probe = fails
    health = chain.health()
    assert (health["vault"].ok, health["env"].ok) == (False, True)
    assert "unavailable" in health["vault"].detail


def test_a_closed_chain_answers_nothing(chain: Chain, vault: RemoteStore) -> None:
    chain.resolve("db", "url")
    chain.close()
    chain.close()
    assert vault.closed == 1
    assert chain.peek("db", "url") is None
    with pytest.raises(StoreError, match="closed"):
        chain.resolve("db", "url")
    with pytest.raises(StoreError, match="closed"):
        chain.write("db", {"url": "x"})


def test_a_store_that_is_being_opened_while_its_chain_is_closed_is_closed_too(vault: RemoteStore) -> None:
    """Else its connections and its token would live as long as the process."""
    opening, go = threading.Event(), threading.Event()

    def opener() -> SecretStore:
        opening.set()
        assert go.wait(LONG)
        return vault

    chain = Chain([link("vault", opener)])
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(chain.resolve, "db", "url")
        assert opening.wait(LONG)
        chain.close()
        go.set()
        with pytest.raises(StoreError, match="closed"):
            read.result()
    assert vault.closed == 1
    assert vault.reads == []


def test_print_shows_names_only(chain: Chain) -> None:
    chain.resolve("db", "url")
    out = io.StringIO()
    print(chain, chain.links, vars(chain.links[0]), file=out)
    assert "from vault" not in out.getvalue()
