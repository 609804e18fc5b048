"""SecretsManager and the module-level functions, as an application uses them."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import gc
import json
import os
import pickle
import threading
import traceback
from collections.abc import Callable, Iterator
from inspect import signature
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

import strongroom
from strongroom import ConfigurationError, SecretNotFoundError, SecretsManager, StoreUnavailableError, secrets_manager
from strongroom._chain.answer import MISSING
from strongroom._chain.chain import Chain
from strongroom._chain.link import Link
from strongroom._chain.threads import Threads
from strongroom._config import CacheConfig, Config, LinkConfig
from strongroom._credentials.database_address import database_url
from strongroom._manager.assembly import Parts
from strongroom._manager.manager import manager_of, parts_of
from strongroom.errors import (
    InvalidDataError,
    InvalidPathError,
    PermissionDeniedError,
    StoreError,
    UnsupportedOperationError,
)
from strongroom.secret import Secret, SensitiveDict, SensitiveStr, Value
from strongroom.store import Traits, remaining
from strongroom.store.memory import MemoryStore
from support.clock import LONG, Clock
from support.stores import RemoteStore

CANARY = "canary-77aa-value"
TYPES = {"yes": True, "no": "off", "pi": 3.5, "null": None, "raw": b"\xff", "list": [1, "a"], "map": {"a": 1}}


@pytest.fixture
def store() -> RemoteStore:
    return RemoteStore(
        {
            "database/connection": {"host": "db", "port": 5432, "user": "u", "password": "p@ss/w", "name": "n"},
            "auth/jwt": {"secret": "jwt"},
            "api-keys/openai": {"key": "sk"},
            "types": {
                "yes": True,
                "no": "off",
                "pi": 3.5,
                "null": None,
                "raw": b"\xff",
                "list": [1, "a"],
                "map": {"a": 1},
            },
        }
    )


@pytest.fixture
def manager(store: RemoteStore) -> Iterator[SecretsManager]:
    with SecretsManager(chain=[store, "env"]) as manager:
        yield manager


@pytest.fixture
def default(manager: SecretsManager) -> Iterator[SecretsManager]:
    before = strongroom.set_default_manager(manager)
    yield manager
    strongroom.set_default_manager(before)


# --- values and types -------------------------------------------------------------------------------------------------


def test_a_key_is_text_whatever_its_type(manager: SecretsManager) -> None:
    """The first read and the cached one agree: a store's 5432 equals the environment's "5432"."""
    for _ in range(2):
        assert manager.get_secret("database/connection", "port") == "5432"
        assert manager.get_secret("types", "yes") == "true"
        assert manager.get_secret("types", "map") == '{"a":1}'
        assert type(manager.get_secret("types", "list")) is SensitiveStr


def test_a_whole_secret_is_a_real_dict_that_shows_nothing(manager: SecretsManager) -> None:
    for _ in range(2):
        secret = manager.get_secret("database/connection")
        assert secret == {"host": "db", "port": 5432, "user": "u", "password": "p@ss/w", "name": "n"}
        assert isinstance(secret, dict)
        assert "p@ss" not in repr(secret)
        assert "5432" not in repr(secret)


def test_a_dict_that_was_given_out_is_the_callers_own(manager: SecretsManager) -> None:
    manager.get_secret("types")["map"]["a"] = 2
    assert manager.get_secret("types")["map"] == {"a": 1}


@pytest.mark.parametrize("local", [False, True])
def test_a_store_may_return_one_secret_twice(local: bool) -> None:
    class Store:
        traits = Traits(local=local)
        secret = Secret("a", {"map": {"b": 1}})

        def read(self, path: str) -> Secret:
            return self.secret

        def close(self) -> None: ...

    with SecretsManager(chain=[Store()]) as manager:
        manager.get_secret("a", fresh=True)["map"]["b"] = 2
        manager.get_secret("a", fresh=True)["c"] = 2
        manager.get_secret("a", "map", as_=dict, fresh=True)["b"] = 2
        assert manager.get_secret("a", fresh=True) == Store.secret.data == {"map": {"b": 1}}


@pytest.mark.parametrize(
    ("key", "wanted", "value"),
    [
        ("yes", bool, True),
        ("no", bool, False),
        ("pi", float, 3.5),
        ("raw", bytes, b"\xff"),
        ("list", list, [1, "a"]),
        ("map", dict, {"a": 1}),
        ("null", object, None),
        ("yes", str, "true"),
    ],
)
def test_as_gives_the_type(manager: SecretsManager, key: str, wanted: type, value: Value) -> None:
    for _ in range(2):
        answer: Any = manager.get_secret("types", key, as_=wanted)
        assert answer == value
        assert isinstance(answer, wanted)


@pytest.mark.parametrize("key", ["null", "raw"])
def test_null_and_bytes_are_not_text_and_the_error_says_how(manager: SecretsManager, key: str) -> None:
    for _ in range(2):
        with pytest.raises(InvalidDataError, match="as_="):
            manager.get_secret("types", key)


def test_as_without_a_key_is_a_mistake_of_the_caller(manager: SecretsManager) -> None:
    wrong: Any = manager
    with pytest.raises(TypeError, match="key"):
        wrong.get_secret("types", as_=int)


@pytest.mark.parametrize("wanted", ["int", list[SecretsManager], SecretsManager, 5])
@pytest.mark.parametrize("path", ["types", "nowhere"])
def test_as_another_type_is_a_mistake_of_the_caller(manager: SecretsManager, wanted: Any, path: str) -> None:
    """Whether the secret exists or not, and a default does not hide it. The message lists the types."""
    with pytest.raises(TypeError, match="as_ is one of str, bytes, int"):
        manager.get_secret(path, "list", as_=wanted, default=None)
    with pytest.raises(TypeError, match="as_ is one of str, bytes, int"):
        asyncio.run(manager.aget_secret(path, "list", as_=wanted))


@pytest.mark.parametrize("key", [["x"], {"x": 1}, 5, b"x"])
def test_a_key_is_a_string(manager: SecretsManager, key: Any) -> None:
    with pytest.raises(InvalidPathError, match=f"a key is a string, not {type(key).__name__}"):
        manager.get_secret("a/b", key)
    with pytest.raises(InvalidPathError, match="a key is a string"):
        asyncio.run(manager.aget_secret("a/b", key))
    with pytest.raises(InvalidPathError, match="a path is a string"):
        manager.get_secret(key, "x")
    with pytest.raises(InvalidPathError, match="a path is a string"):
        manager.get_secrets(["auth/jwt", key])


def test_a_missing_key_of_a_whole_secret_names_path_and_store(manager: SecretsManager) -> None:
    whole: Any = [
        manager.get_secret("auth/jwt"),
        manager.get_secret("auth/jwt"),
        manager.get_secrets(["auth/jwt"])["auth/jwt"],
        manager.resolve("auth/jwt").value,
        asyncio.run(manager.aget_secret("auth/jwt")),
    ]
    for secret in whole:
        with pytest.raises(KeyError) as caught:
            secret["sceret"]
        assert isinstance(caught.value, SecretNotFoundError)
        assert str(caught.value) == (
            "Key not found: auth/jwt (store remote: it has no key 'sceret'). Its keys are secret"
        )


def test_a_value_in_the_place_of_a_secret_is_told_by_the_name_that_its_writer_knows(manager: SecretsManager) -> None:
    """Not by that of the class which hides it."""
    wrong: Any = manager
    with pytest.raises(InvalidDataError, match=r"not str\)$"):
        wrong.set_secret("types", "canary")


def test_a_default_answers_a_confirmed_absence_only(manager: SecretsManager, store: RemoteStore) -> None:
    assert manager.get_secret("nowhere", "key", default=None) is None
    assert manager.get_secret("nowhere", default="x") == "x"
    assert manager.get_secret("types", "other", as_=int, default=3) == 3
    store.fault = StoreUnavailableError("x", "refused")
    with pytest.raises(StoreUnavailableError):
        manager.get_secret("nowhere/else", "key", default=None)


def test_a_miss_names_the_variable_that_was_looked_for(manager: SecretsManager) -> None:
    with pytest.raises(SecretNotFoundError, match="DATABASE_URL is not set"):
        manager.get_secret("database/connection", "url")
    with pytest.raises(
        SecretNotFoundError, match=r"^Secret not found: api-keys/service \(.*SERVICE_API_KEY is not set"
    ):
        manager.get_api_key("service")


def test_a_fresh_read_asks_the_store(manager: SecretsManager, store: RemoteStore) -> None:
    manager.get_secret("auth/jwt", "secret")
    store.write("auth/jwt", {"secret": "rotated"})
    assert manager.get_secret("auth/jwt", "secret") == "jwt"
    assert manager.get_secret("auth/jwt", "secret", fresh=True) == "rotated"
    assert manager.get_secret("auth/jwt", "secret") == "rotated"


def test_invalidate_forgets_one_path_or_all(manager: SecretsManager, store: RemoteStore) -> None:
    for path in ("auth/jwt", "api-keys/openai"):
        manager.get_secret(path)
        store.write(path, {"secret": "new", "key": "new"})
    manager.invalidate("auth/jwt")
    assert (manager.get_jwt_secret(), manager.get_api_key("openai")) == ("new", "sk")
    manager.invalidate()
    assert manager.get_api_key("openai") == "new"


def test_setting_keeps_what_is_not_given(manager: SecretsManager, store: RemoteStore) -> None:
    manager.get_secret("database/connection")
    manager.set_secret("database/connection", {"password": "new"})
    assert manager.get_secret("database/connection", "password") == "new"
    assert manager.get_secret("database/connection", "host") == "db"


def test_secrets_can_be_listed_and_deleted(manager: SecretsManager) -> None:
    assert manager.list_secrets("api-keys") == ["openai"]
    manager.delete_secret("api-keys/openai")
    assert manager.list_secrets("api-keys") == []


# --- the database's URL -----------------------------------------------------------------------------------------------


def test_a_url_is_composed_of_one_secrets_parts(manager: SecretsManager) -> None:
    assert manager.get_database_url() == "postgresql://u:p%40ss%2Fw@db:5432/n"
    assert manager.get_database_url(scheme="mysql").startswith("mysql://")
    manager.set_secret("database/connection", {"sslmode": "verify-full"})
    assert manager.get_database_url() == "postgresql://u:p%40ss%2Fw@db:5432/n?sslmode=verify-full"
    assert manager.get_database_url(scheme="postgresql+asyncpg").endswith("?ssl=verify-full")


def test_a_stored_url_is_taken_as_it_is(manager: SecretsManager) -> None:
    manager.set_secret("database/connection", {"url": "postgresql://elsewhere/x?y=z"})
    assert manager.get_database_url() == "postgresql://elsewhere/x?y=z"


def test_a_scheme_that_was_asked_for_replaces_that_of_a_stored_url(manager: SecretsManager) -> None:
    """Unlike the default, which keeps it."""
    manager.set_secret("database/connection", {"url": "postgres://u:p://w@elsewhere/x?y=z"})
    assert manager.get_database_url() == "postgres://u:p://w@elsewhere/x?y=z"
    assert manager.get_database_url(scheme="postgresql+asyncpg") == "postgresql+asyncpg://u:p://w@elsewhere/x?y=z"
    found = asyncio.run(manager.aget_database_url(scheme="postgresql"))
    assert found == "postgresql://u:p://w@elsewhere/x?y=z"
    assert type(found) is SensitiveStr


@pytest.mark.parametrize(
    "stored", ["host=db dbname=app password=canary-77aa-value", "u:canary-77aa-value@db/app", "://x"]
)
def test_a_scheme_cannot_replace_what_is_no_scheme(manager: SecretsManager, stored: str) -> None:
    manager.set_secret("database/connection", {"url": stored})
    assert manager.get_database_url() == stored
    with pytest.raises(InvalidDataError, match="key 'url' is not a URL") as caught:
        manager.get_database_url(scheme="mysql")
    assert "canary" not in shown(caught.value)


@pytest.mark.parametrize("scheme", ["", "postgresql://", "a b", 5])
def test_a_scheme_is_the_scheme_of_a_url(manager: SecretsManager, scheme: Any) -> None:
    with pytest.raises(ValueError, match="scheme is the part of a URL"):
        manager.get_database_url(scheme=scheme)


def test_parts_of_two_links_never_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vault knows only the password; the environment knows the rest and no password: there is no URL."""
    monkeypatch.setenv("DB_HOST", "h")
    monkeypatch.setenv("DB_USER", "u")
    monkeypatch.setenv("DB_NAME", "n")
    store = RemoteStore({"database/connection": {"password": CANARY}})
    with SecretsManager(chain=[store, "env"]) as manager:
        with pytest.raises(SecretNotFoundError, match="nor all of host, user, password and name"):
            manager.get_database_url()
        monkeypatch.setenv("DB_PASSWORD", "env's own")
        assert manager.get_database_url() == "postgresql://u:env%27s%20own@h/n"


parts = st.text(min_size=1).filter(lambda text: not any("\ud800" <= character <= "\udfff" for character in text))


@given(user=parts, password=parts, name=parts)
def test_a_composed_url_gives_back_its_parts(user: str, password: str, name: str) -> None:
    """Whatever is in a password, it stays the password."""
    url = database_url(
        SensitiveDict({"host": "::1", "port": 5432, "user": user, "password": password, "name": name}), "postgresql"
    )
    assert url is not MISSING
    split = urlsplit(url)
    assert (split.hostname, split.port) == ("::1", 5432)
    assert unquote(split.username or "") == user
    assert unquote(split.password or "") == password
    assert unquote(split.path[1:]) == name


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    ("stored", "data", "url"),
    [
        ("postgresql://u:old@db/n?x=a@b", {"password": "n/w"}, "postgresql://u:n%2Fw@db/n?x=a@b"),
        ("postgresql://u:old@h1,h2:5/n", {"user": "v", "password": "new"}, "postgresql://v:new@h1,h2:5/n"),
        ("postgresql://u:o@ld@db/n", {"password": "new"}, "postgresql://u:new@db/n"),
        ("postgresql://u%40x:old@db/n", {"password": "new"}, "postgresql://u%40x:new@db/n"),
        ("postgresql://u:old@db/n", {"user": "v@x"}, "postgresql://v%40x:old@db/n"),
        ("postgresql://u:old@db/n", {"password": None}, "postgresql://u:@db/n"),
        (
            "postgresql://db/n?user=u&password=old&x=y",
            {"password": "n/w"},
            "postgresql://db/n?user=u&password=n%2Fw&x=y",
        ),
        ("postgresql://:old@db/n?user=u", {"user": "v&w"}, "postgresql://:old@db/n?user=v%26w"),
        ("postgresql://u:old@db/n?user=w&password=old", {"user": "v"}, "postgresql://v:old@db/n?user=v&password=old"),
        ("unix:///socket?username=u&password=old", {"user": "v"}, "unix:///socket?username=v&password=old"),
        ("postgresql://db/n?password=old", {"password": None}, "postgresql://db/n?password="),
        ("postgresql://u@db/n", {"user": "v", "password": "new"}, "postgresql://v@db/n"),
        ("redis://:old@cache/0", {"user": "v", "password": "new"}, "redis://:new@cache/0"),
        ("sqlite:///app.db", {"password": "new"}, "sqlite:///app.db"),
        ("postgresql://u:old@db/n", {"password": "new", "url": "postgresql://w@db/n"}, "postgresql://w@db/n"),
        ("postgresql://u:old@db/n", {"port": 5433}, "postgresql://u:old@db/n"),
    ],
)
def test_a_merged_user_or_password_replaces_the_one_in_the_url(
    manager: SecretsManager, store: RemoteStore, stored: str, data: dict[str, Any], url: str, asynchronous: bool
) -> None:
    """No reader of the URL gets the old password, and the rest of the URL is kept."""
    MemoryStore.write(store, "database/connection", {"url": stored, "user": "u", "password": "old"})
    assert manager.get_database_url() == stored
    if asynchronous:
        asyncio.run(manager.aset_secret("database/connection", data))
    else:
        manager.set_secret("database/connection", data)
    assert manager.get_database_url() == url
    assert manager.get_secret("database/connection") == {"user": "u", "password": "old", **data, "url": url}


def test_a_merged_username_replaces_the_user_of_the_url(manager: SecretsManager, store: RemoteStore) -> None:
    MemoryStore.write(store, "database/connection", {"url": "postgresql://u:old@db/n", "username": "u"})
    manager.set_secret("database/connection", {"username": "v"})
    assert manager.get_database_url() == "postgresql://v:old@db/n"


@pytest.mark.parametrize(
    "stored",
    [
        "postgresql://u:canary-77aa/value@db/n",
        "postgresql://u:old@db/n?Password=canary-77aa-value",
        "postgresql://db/n?x=y;password=canary-77aa-value",
        "host=db password=canary-77aa-value",
        "u:canary-77aa-value@db/n",
    ],
)
def test_a_password_that_cannot_be_replaced_in_the_url_is_refused(
    manager: SecretsManager, store: RemoteStore, stored: str
) -> None:
    before = {"url": stored, "password": "old"}
    MemoryStore.write(store, "database/connection", before)
    with pytest.raises(InvalidDataError, match=r"database/connection.*cannot be replaced.*Set 'url' too") as caught:
        manager.set_secret("database/connection", {"password": "canary-77aa-new"})
    assert "canary" not in shown(caught.value)
    assert MemoryStore.read(store, "database/connection").data == before
    manager.set_secret("database/connection", {"password": "new", "url": "postgresql://u:new@db/n"})
    assert manager.get_database_url() == "postgresql://u:new@db/n"


def test_a_replaced_secret_is_written_as_it_is(manager: SecretsManager, store: RemoteStore) -> None:
    MemoryStore.write(store, "database/connection", {"url": "postgresql://u:old@db/n", "password": "old"})
    data = {"url": "postgresql://u:other@db/n", "password": "new"}
    manager.set_secret("database/connection", data, replace=True)
    assert MemoryStore.read(store, "database/connection").data == data


def test_a_url_that_was_missing_is_looked_for_again_when_an_absence_counts_no_more(
    store: RemoteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The secret itself is known for longer: what counts is that the URL was missing of it."""
    monkeypatch.setenv("STRONGROOM_CACHE_MISSING_TTL", "60")
    MemoryStore.write(store, "database/connection", {"host": "h"})
    with SecretsManager(chain=[store]) as manager:
        clock = Clock.of(manager)
        for _ in range(3):
            with pytest.raises(SecretNotFoundError):
                manager.get_database_url()
        assert store.reads == ["database/connection"]
        MemoryStore.write(store, "database/connection", {"host": "h", "url": "sqlite://"})
        clock.move(61)
        assert asyncio.run(manager.aget_database_url()) == "sqlite://"
        assert manager.get_database_url() == "sqlite://"
        clock.move(61)
        assert manager.get_database_url() == "sqlite://"
        assert store.reads == ["database/connection"] * 2


@pytest.mark.parametrize(
    ("host", "query"),
    [
        ("/var/run/postgresql", "host=%2Fvar%2Frun%2Fpostgresql&port=5432"),
        ("/cloudsql/project:region:instance", "host=%2Fcloudsql%2Fproject%3Aregion%3Ainstance&port=5432"),
        ("one,two", "host=one%2Ctwo&port=5432%2C5432"),
    ],
)
def test_a_socket_and_several_hosts_are_in_the_query_of_a_url(host: str, query: str) -> None:
    """All drivers read them there, and SQLAlchemy nowhere else."""
    parts: dict[str, Value] = {"host": host, "port": 5432, "user": "u", "password": "p", "name": "n"}
    assert database_url(SensitiveDict(parts), "postgresql") == f"postgresql://u:p@/n?{query}"


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("db.internal", "db.internal"),
        ("10.0.0.1", "10.0.0.1"),
        ("::1", "[::1]"),
        ("[::1]", "[::1]"),
        ("fe80::1%eth0", "[fe80::1%25eth0]"),
        ("h@elsewhere", "h%40elsewhere"),
        ("h/elsewhere?x#y", "h%2Felsewhere%3Fx%23y"),
    ],
)
def test_the_host_of_a_url_stays_the_host(host: str, address: str) -> None:
    """An address of version 6 is bracketed, and nothing in it is another part of the URL."""
    parts: dict[str, Value] = {"host": host, "port": 5432, "user": "u", "password": "p", "name": "n"}
    assert database_url(SensitiveDict(parts), "postgresql") == f"postgresql://u:p@{address}:5432/n"


@pytest.mark.parametrize(
    ("key", "part"),
    [("host", "db:5433"), ("host", "[::1]:5433"), ("port", "5432/x"), ("port", "tcp://10.0.0.1:5432"), ("port", 54.3)],
)
def test_a_part_that_is_not_what_its_name_says_makes_no_url(key: str, part: Value) -> None:
    parts: dict[str, Value] = {"host": "h", "port": 1, "user": "u", "password": "p", "name": "n", key: part}
    with pytest.raises(InvalidDataError, match=f"key '{key}'") as caught:
        database_url(SensitiveDict(parts), "postgresql")
    assert str(part) not in str(caught.value)


@pytest.mark.parametrize("missing", ["host", "user", "password", "name"])
@pytest.mark.parametrize("how", ["absent", "empty", "null"])
def test_a_part_that_is_missing_makes_no_url(missing: str, how: str) -> None:
    data: dict[str, Value] = {"host": "h", "user": "u", "password": "p", "name": "n"}
    if how == "absent":
        del data[missing]
    else:
        data[missing] = "" if how == "empty" else None
    assert database_url(SensitiveDict(data), "postgresql") is MISSING


@pytest.mark.parametrize(
    "users", [{"username": "u"}, {"user": "u", "username": "other"}, {"user": "", "username": "u"}]
)
def test_the_user_of_a_url_may_be_called_username(users: dict[str, Value]) -> None:
    """As Vault and AWS write it. `user` wins."""
    parts: dict[str, Value] = {"host": "h", "password": "p", "name": "n", **users}
    assert database_url(SensitiveDict(parts)) == "postgresql://u:p@h/n"


# --- the event loop ---------------------------------------------------------------------------------------------------


def test_the_async_twins_answer_alike(store: RemoteStore) -> None:
    async def use() -> None:
        async with SecretsManager(chain=[store, "env"]) as manager:
            assert await manager.aget_secret("auth/jwt", "secret") == manager.get_secret("auth/jwt", "secret")
            assert await manager.aget_secret("types") == manager.get_secret("types")
            assert await manager.aget_secret("nowhere", "key", default=1) == 1
            assert (await manager.aresolve("types", "pi")).value == 3.5
            assert await manager.aget_database_url() == manager.get_database_url()
            assert await manager.aget_api_key("openai") == "sk"
            assert await manager.aget_jwt_secret() == "jwt"
            assert await manager.alist_secrets("api-keys") == ["openai"]
            assert await manager.aset_secret("new", {"k": "v"}) == 1
            await manager.adelete_secret("new")
            assert (await manager.ahealth())["remote"].ok
            explanation = await manager.aexplain("types", "pi")
            assert [answer.attempt.store for answer in explanation.answers] == ["remote", "env"]
            assert explanation.served == explanation.answers[0]
        with pytest.raises(StoreError, match="closed"):
            await manager.aget_secret("auth/jwt", "secret")

    asyncio.run(use())


def test_the_async_twins_take_the_same() -> None:
    """Every method that asks a store, but for what commands alone use, and `watch`, whose twin has no callback.

    `rotate` has its blocking form in `rotations`.
    """
    methods = {name for name in dir(SecretsManager) if not name.startswith("_")} - {"watch", "awatch"}
    twins = {name for name in methods if f"a{name}" in methods}
    assert methods - twins - {f"a{name}" for name in twins} == {
        "config", "from_config", "invalidate", "rotate", "rotations", "versions", "write_target",
    }  # fmt: skip

    def parameters(call: Callable[..., object]) -> list[str]:
        return [str(parameter) for name, parameter in signature(call).parameters.items() if name != "self"]

    for name in twins:
        taken = parameters(getattr(SecretsManager, name))
        assert parameters(getattr(SecretsManager, f"a{name}")) == taken


def test_what_is_cached_is_answered_on_the_event_loop(manager: SecretsManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread is asked: not for a key, nor a whole secret, nor a resolution."""

    def no_thread(*_: object) -> None:
        raise AssertionError("a thread was asked")

    async def use() -> None:
        await manager.aget_secret("types", "pi")
        monkeypatch.setattr(Threads, "_begin", no_thread)  # every thread of a manager begins there
        assert await manager.aget_secret("types", "pi") == "3.5"
        assert await manager.aget_secret("types", "pi", as_=float) == 3.5
        assert (await manager.aget_secret("types"))["pi"] == 3.5
        assert (await manager.aresolve("types", "pi")).cached
        with pytest.raises(AssertionError, match="a thread"):
            await manager.aget_secret("auth/jwt", "secret")

    asyncio.run(use())


def test_cached_text_that_is_asked_for_as_str_is_read_like_text(
    manager: SecretsManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the chain, as a key without a type is."""
    manager.get_secret("auth/jwt", "secret")
    monkeypatch.setattr(Chain, "resolve", None)
    monkeypatch.setattr(Chain, "cached", None)
    for found in (
        manager.get_secret("auth/jwt", "secret", as_=str),
        asyncio.run(manager.aget_secret("auth/jwt", "secret", as_=str)),
    ):
        assert found == "jwt"
        assert isinstance(found, SensitiveStr)


def test_a_whole_cached_secret_is_read_past_the_chain(manager: SecretsManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reader gets a separate secret, with the types of the store."""
    stored = manager.get_secret("types")
    with monkeypatch.context() as patch:
        patch.setattr(Chain, "resolve", None)
        patch.setattr(Chain, "cached", None)
        first, second = manager.get_secret("types"), asyncio.run(manager.aget_secret("types"))
    for found in (first, second):
        assert found == stored == TYPES
        assert [type(value) for value in found.values()] == [type(value) for value in stored.values()]
    assert first["map"] is not second["map"]


@pytest.mark.parametrize("end", ["write", "delete", "invalidate", "time"])
def test_a_whole_secret_is_cached_no_longer_than_a_key(manager: SecretsManager, store: RemoteStore, end: str) -> None:
    clock = Clock.of(manager)
    manager.get_secret("auth/jwt")
    store.write("auth/jwt", {"secret": "rotated"})
    assert manager.get_secret("auth/jwt") == {"secret": "jwt"}
    match end:
        case "write":
            manager.set_secret("auth/jwt", {"other": "x"})
        case "delete":
            manager.delete_secret("auth/jwt")
        case "invalidate":
            manager.invalidate("auth/jwt")
        case _:
            clock.move(301)
    assert manager.get_secret("auth/jwt", default={}).get("secret") == (None if end == "delete" else "rotated")


def test_a_path_with_a_number_sign_is_refused_in_the_cache_too(manager: SecretsManager, store: RemoteStore) -> None:
    """A store may have a secret at this path, which a batch reads: the answer must not depend on the cache."""
    path = "auth/jwt#secret"
    assert 'Call get_secret("auth/jwt", "secret")' in str(manager.get_secrets([path]).errors[path])
    store.write(path, {"other": "x"})
    manager.invalidate(path)
    assert manager.get_secrets([path])[path] == {"other": "x"}
    for get in (manager.get_secret, lambda path: asyncio.run(manager.aget_secret(path)), manager.explain):
        with pytest.raises(InvalidPathError, match=r'(get_secret|explain)\("auth/jwt", "secret"\)$'):
            get(path)


def test_a_path_with_a_number_sign_is_not_written(manager: SecretsManager, store: RemoteStore) -> None:
    with pytest.raises(InvalidPathError, match=r'set_secret\("auth/jwt", {"secret": …}\)$'):
        manager.set_secret("auth/jwt#secret", {"value": "x"})
    with pytest.raises(SecretNotFoundError):
        store.read("auth/jwt#secret")


def test_an_outage_is_answered_to_tasks_too(
    manager: SecretsManager, store: RemoteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stale values, and those of a fallback."""
    monkeypatch.setenv("LOCAL_ONLY_KEY", "local")
    manager.get_secret("types", "pi")
    store.fault = StoreUnavailableError("types", "refused")
    Clock.of(manager).move(301)
    manager.get_secret("local/only", "key")
    assert asyncio.run(manager.aresolve("types", "pi")).stale
    assert asyncio.run(manager.aget_secret("local/only", "key")) == "local"


def test_a_slow_read_does_not_stop_the_loop(manager: SecretsManager, store: RemoteStore) -> None:
    store.gate.clear()

    async def use() -> None:
        read = asyncio.create_task(manager.aget_secret("auth/jwt", "secret"))
        await asyncio.to_thread(store.entered.acquire)
        store.gate.set()
        assert await read == "jwt"

    asyncio.run(use())


def test_tasks_wait_for_another_readers_flight_in_one_thread(
    manager: SecretsManager, store: RemoteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.get_secret("types", "pi")  # opens the store
    store.entered.acquire()
    store.gate.clear()
    reader = threading.Thread(target=manager.get_secret, args=("auth/jwt", "secret"))
    reader.start()
    assert store.entered.acquire(timeout=LONG)

    before = set(threading.enumerate())
    begun: set[str] = set()

    async def use() -> None:
        tasks = [asyncio.create_task(manager.aget_secret("auth/jwt", "secret")) for _ in range(20)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        begun.update(repr(each) for each in set(threading.enumerate()) - before if each.name == "strongroom")
        store.gate.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(answers[0], asyncio.CancelledError)
        assert answers[1:] == ["jwt"] * 19

    asyncio.run(use())
    reader.join()
    assert len(begun) == 1
    assert store.reads.count("auth/jwt") == 1


def test_a_task_that_was_cancelled_does_not_complain_of_the_read_it_left(
    manager: SecretsManager, store: RemoteStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The read fails later, for its own reader: asyncio must not report that nobody has looked at its error."""
    gc.collect()  # what other tests have left
    caplog.clear()
    manager.get_secret("types", "pi")  # opens the store
    begun, go = threading.Event(), threading.Event()

    def fails(path: str) -> Secret:
        begun.set()
        assert go.wait(LONG)
        raise SecretNotFoundError(path)

    store.read = fails
    reader = threading.Thread(target=lambda: manager.get_secret("auth/jwt", "secret", default=None))
    reader.start()
    assert begun.wait(LONG)

    async def use() -> None:
        task = asyncio.create_task(manager.aget_secret("auth/jwt", "secret"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        go.set()
        await asyncio.to_thread(reader.join)
        await asyncio.sleep(0)

    asyncio.run(use())
    gc.collect()
    assert [record for record in caplog.records if record.name == "asyncio"] == []


def test_a_call_that_waits_for_a_thread_ends_with_its_deadline() -> None:
    """A hundred reads at a time of a store that hangs, two of each path: each has the one limit, and no more."""
    over = threading.Event()
    late: list[float] = []

    class Hanging(RemoteStore):
        def read(self, path: str) -> Secret:
            if path == "a":
                raise SecretNotFoundError(path)
            if over.is_set():
                late.append(remaining())
            assert over.wait(LONG)
            raise StoreUnavailableError(path, "no reply")

    async def use() -> list[object]:
        async with SecretsManager(chain=[Hanging()]) as manager:
            manager.get_secret("a", "key", default=None)  # opens the store
            parts_of(manager).threads.limit = 0.4
            reads = [asyncio.create_task(manager.aget_secret(f"a/{number % 50}", "key")) for number in range(100)]
            await asyncio.sleep(0)  # each has begun
            await asyncio.sleep(0.5)  # and its time is over
            over.set()
            return await asyncio.gather(*reads, return_exceptions=True)

    assert {type(outcome) for outcome in asyncio.run(use())} == {StoreUnavailableError}
    assert not any(late)


def test_the_applications_own_threads_are_left_to_it(store: RemoteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many calls wait for a store."""
    monkeypatch.setenv("STRONGROOM_TIMEOUT", str(LONG))  # the writes come one after another
    store.gate.clear()

    async def use() -> None:
        async with SecretsManager(chain=[store]) as manager:
            reads = [asyncio.create_task(manager.aget_secret("types", fresh=True)) for _ in range(60)]
            writes = [asyncio.create_task(manager.aset_secret("auth/jwt", {"k": number})) for number in range(60)]
            await asyncio.sleep(0)
            assert await asyncio.wait_for(asyncio.to_thread(lambda: "done"), LONG) == "done"
            store.gate.set()
            await asyncio.gather(*reads, *writes)

    asyncio.run(use())


def test_a_closed_manager_leaves_no_thread_behind(store: RemoteStore) -> None:
    older = set(threading.enumerate())
    begun: list[threading.Thread] = []

    async def use() -> None:
        async with SecretsManager(chain=[store]) as manager:
            await asyncio.gather(*(manager.aget_secret("types", fresh=True) for _ in range(5)))
            begun.extend(set(threading.enumerate()) - older)

    asyncio.run(use())
    assert begun
    for thread in begun:
        thread.join(LONG)
        assert not thread.is_alive()


# --- processes --------------------------------------------------------------------------------------------------------


def in_child(check: Callable[[], bool]) -> bool:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if check() else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_child_of_a_fork_has_a_store_and_a_cache_of_its_own() -> None:
    openings: list[int] = []

    def opener() -> RemoteStore:
        openings.append(os.getpid())
        return RemoteStore({"a": {"k": "v"}})

    link = Link(LinkConfig("remote"), opener, CacheConfig())
    manager = manager_of(Parts(Config(), [link]))
    manager.get_secret("a", "k")
    peek, snapshot = parts_of(manager).peek, link.cache.current("a")
    assert snapshot is not None

    def check() -> bool:
        fresh_cache = peek("a", "k") is None and link.cache.open(snapshot.fields or {}) is None  # by its new key
        answers = manager.get_secret("a", "k") == "v"
        return fresh_cache and answers and openings == [os.getppid(), os.getpid()]

    assert in_child(check)
    assert peek("a", "k") == "v"
    assert openings == [os.getpid()]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_child_of_a_fork_has_a_cache_of_its_own_if_the_manager_is_gone() -> None:
    """An object that outlives the manager still uses its chain."""
    manager = SecretsManager(chain=[RemoteStore({"a": {"k": "v"}})])
    manager.get_secret("a", "k")
    versions, peek = manager.versions, parts_of(manager).peek
    del manager
    gc.collect()
    assert in_child(lambda: versions is not None and peek("a", "k") is None)


@pytest.mark.parametrize("made", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_manager_is_not_copied(manager: SecretsManager, made: Callable[[Any], Any]) -> None:
    """A copy would have the same key, connections and locks, and a fork would not know of it."""
    with pytest.raises(TypeError, match="cannot be copied or pickled"):
        made(manager)


def test_a_configuration_with_credentials_is_not_pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the whole nor a part; a copy is as redacted as the original."""
    monkeypatch.setenv("VAULT_TOKEN", CANARY)
    with SecretsManager(vault_url="http://127.0.0.1:9", vault_token=CANARY) as manager:
        config = manager.config
    parts: list[Any] = [config, config.stores, config.stores["vault"], config.ambient[0], vars(config)]
    for part in parts:
        with pytest.raises(TypeError, match="load it again in the other process"):
            pickle.dumps(part)
    for same in (copy.copy(config), copy.deepcopy(config), dataclasses.replace(config, timeout=1.0)):
        assert same.stores["vault"].options["token"].value == CANARY
        assert CANARY not in repr(same)
    assert pickle.loads(pickle.dumps(Config(timeout=3.0))).timeout == 3.0


def test_a_log_in_json_shows_a_configuration_or_a_resolution_by_its_repr(store: RemoteStore) -> None:
    """It would show each item of a tuple, such as the token of a store, or the value."""
    with SecretsManager(chain=[store]) as manager:
        found = manager.resolve("auth/jwt", "secret")
    for shown in (manager.config, found):
        assert json.loads(json.dumps(shown, default=repr)) == repr(shown)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_while_a_lock_is_held_does_not_hang_the_child(store: RemoteStore) -> None:
    manager = SecretsManager(chain=[store])
    store.gate.clear()
    reader = threading.Thread(target=manager.get_secret, args=("auth/jwt", "secret"))
    link = parts_of(manager).chain.links[0]
    with link.cache._lock, link.connection._opening, secrets_manager._making:  # no public call holds one for long
        reader.start()

        def check() -> bool:
            store.gate.set()
            return manager.get_secret("auth/jwt", "secret") == "jwt"

        assert in_child(check)
    store.gate.set()
    reader.join()


# --- the default manager ----------------------------------------------------------------------------------------------


def test_the_functions_use_one_default_manager(default: SecretsManager) -> None:
    assert strongroom.get_secret("auth/jwt", "secret") == "jwt"
    assert secrets_manager.get_secret("auth/jwt", "secret") == "jwt"
    assert strongroom.get_secret("types", "pi", as_=float) == 3.5
    assert strongroom.get_jwt_secret() == "jwt"
    assert strongroom.get_api_key("openai") == "sk"
    assert strongroom.get_database_url().startswith("postgresql://u:")
    assert strongroom.list_secrets("api-keys") == ["openai"]
    assert strongroom.set_secret("new", {"k": "v"}) == 1
    assert strongroom.resolve("new", "k").store == "remote"
    strongroom.invalidate()
    strongroom.delete_secret("new")
    assert strongroom.health()["remote"].ok


def test_the_async_functions_use_it_too(default: SecretsManager) -> None:
    async def use() -> None:
        assert await strongroom.aget_secret("auth/jwt", "secret") == "jwt"
        assert await strongroom.aget_jwt_secret() == "jwt"
        assert await strongroom.aget_api_key("openai") == "sk"
        assert (await strongroom.aget_database_url()).startswith("postgresql://u:")
        assert await strongroom.alist_secrets("api-keys") == ["openai"]
        assert await strongroom.aset_secret("new", {"k": "v"}) == 1
        assert (await strongroom.aresolve("new", "k")).store == "remote"
        await strongroom.adelete_secret("new")
        assert (await strongroom.ahealth())["remote"].ok

    asyncio.run(use())


def test_the_default_manager_is_made_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads files and imports modules."""
    made_in: list[threading.Thread] = []
    store = MemoryStore()
    store.write("app", {"key": "v"})

    def make() -> SecretsManager:
        made_in.append(threading.current_thread())
        return SecretsManager(chain=[store])

    monkeypatch.setattr(secrets_manager, "SecretsManager", make)
    before = strongroom.set_default_manager(None)

    async def use() -> None:
        assert await asyncio.gather(*(strongroom.aget_secret("app", "key") for _ in range(3))) == ["v"] * 3
        await strongroom.aclose()

    try:
        asyncio.run(use())
    finally:
        strongroom.set_default_manager(before)
    assert len(made_in) == 1
    assert threading.main_thread() not in made_in


def test_the_default_manager_is_made_at_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET_KEY", "from the environment")
    before = strongroom.set_default_manager(None)
    try:
        assert strongroom.set_default_manager(None) is None
        assert strongroom.get_jwt_secret() == "from the environment"
        made = strongroom.default_manager()
        assert strongroom.get_jwt_secret() == "from the environment"
        assert strongroom.set_default_manager(None) is made
    finally:
        strongroom.set_default_manager(before)


def test_closing_the_default_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is closed, and the next call creates another; closing none is harmless."""
    monkeypatch.setenv("JWT_SECRET_KEY", "from the environment")
    outer = strongroom.set_default_manager(None)
    try:
        strongroom.close()
        for close in (strongroom.close, lambda: asyncio.run(strongroom.aclose())):
            assert strongroom.get_jwt_secret() == "from the environment"
            closed = strongroom.default_manager()
            close()
            with pytest.raises(StoreError, match="closed"):
                closed.get_jwt_secret()
        assert strongroom.get_jwt_secret() == "from the environment"
    finally:
        strongroom.close()
        strongroom.set_default_manager(outer)


def test_default_manager_is_closed_at_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any store may hold a session that its server would keep."""
    calls: list[Callable[[], object]] = []
    monkeypatch.setattr(secrets_manager, "call_at_exit", calls.append)
    outer = strongroom.set_default_manager(None)
    try:
        manager = strongroom.default_manager()
        (close,) = calls
        close()
        with pytest.raises(StoreError, match="closed"):
            manager.get_secret("a", "k")
    finally:
        strongroom.set_default_manager(outer)


# --- which file was read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ([], "No configuration file was found in {0}"),
        (["strongroom.toml"], "Configuration: {0}/strongroom.toml"),
        ([".env"], "Configuration: {0}/.env"),
        (["strongroom.toml", ".env"], "Configuration: {0}/strongroom.toml and {0}/.env"),
    ],
)
def test_an_absence_and_the_debug_log_name_the_files_that_were_read(
    written: list[str], says: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A job that is started in another folder silently gets another chain."""
    for name in written:
        Path(name).write_text("")
        Path(name).chmod(0o600)
    said = says.format(Path().absolute())
    caplog.set_level("DEBUG", "strongroom.secrets_manager")
    for made in (SecretsManager, SecretsManager.from_config):
        with made() as manager:
            assert said in caplog.messages
            with pytest.raises(SecretNotFoundError) as caught:
                manager.get_secret("api-keys/none", "key")
            assert str(caught.value).endswith(f"). {said}")
            assert str(manager.get_secrets(["nowhere"]).errors["nowhere"]).endswith(said)
            with pytest.raises(SecretNotFoundError, match=r"Invalid|\. (Conf|No conf)"):
                manager.get_database_url()
        caplog.clear()


def test_a_token_without_an_address_is_a_warning_and_part_of_an_absence(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A service that lost VAULT_ADDR would read old variables, and nothing would name Vault."""
    monkeypatch.setenv("VAULT_TOKEN", CANARY)
    monkeypatch.setenv("DATABASE_URL", "postgresql://old")
    said = (
        "Store vault is not asked: the environment variable VAULT_TOKEN is set without an address. "
        "Set VAULT_ADDR, or unset the credential"
    )
    for made in (SecretsManager, SecretsManager.from_config):
        with made() as manager:
            assert manager.get_database_url() == "postgresql://old"
            with pytest.raises(SecretNotFoundError) as caught:
                manager.get_secret("api-keys/none", "key")
            assert f"{said}. No configuration file" in str(caught.value)
        assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("WARNING", said)]
        assert CANARY not in caplog.text + str(caught.value)
        caplog.clear()
    with strongroom.testing.override({"a#b": "c"}), SecretsManager() as manager:
        assert manager.get_secret("a", "b") == "c"
    assert not caplog.records


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[31m", "\u202e", os.fsdecode(b"\xff")], ids=ascii)
def test_a_folder_cannot_forge_a_message(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.chdir(folder)
    for named in ("strongroom.toml", ".env", None):
        with SecretsManager() as manager, pytest.raises(SecretNotFoundError) as caught:
            manager.get_secret("nowhere")
        assert str(caught.value).isprintable()
        if named:
            Path(named).touch(0o600)


def test_an_absence_names_a_file_that_was_named(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('chain = [{ store = "env", paths = ["a/*"] }]')
    named = rf"Check `paths` in the chain\. Configuration: {file}$"
    with SecretsManager.from_config(file) as manager, pytest.raises(SecretNotFoundError, match=named):
        manager.get_secret("b")
    made = Config(chain=(LinkConfig("env"),))
    with SecretsManager.from_config(made) as manager, pytest.raises(SecretNotFoundError, match=r"whole secret\)$"):
        manager.get_secret("b")


def test_an_absence_in_a_configuration_in_code_sends_nobody_to_look_for_a_file() -> None:
    with SecretsManager.from_config({"chain": ["env"]}) as manager, pytest.raises(SecretNotFoundError, match=r"\)$"):
        manager.get_secret("nowhere", "key")


def test_the_name_of_a_variable_in_the_place_of_a_path_is_answered_with_its_path(store: RemoteStore) -> None:
    """python-dotenv reads by variable, so its users type one first. A policy may deny what no policy names."""
    config = {"chain": ["env"], "secrets": {"SENTRY_DSN": "monitoring/sentry#dsn"}}
    with SecretsManager.from_config(config) as manager:
        for variable, place in (
            ("DATABASE_URL", "database/connection#url"),
            ("STRIPE_API_KEY", "api-keys/stripe#key"),
            ("SENTRY_DSN", "monitoring/sentry#dsn"),
        ):
            for read in (manager.get_secret, manager.resolve):
                with pytest.raises(SecretNotFoundError, match=rf"\)\. {variable} is {place}$"):
                    read(variable)
        with pytest.raises(SecretNotFoundError, match=r"\)$"):
            manager.get_secret("NO_ROW")
    store.fault = PermissionDeniedError()
    denied = r"\. DATABASE_URL is database/connection#url\. Grant access"
    with SecretsManager(chain=[store]) as manager, pytest.raises(PermissionDeniedError, match=denied):
        manager.get_secret("DATABASE_URL")


def test_an_absence_in_a_chain_in_code_names_no_file(manager: SecretsManager) -> None:
    """No file decided about that chain."""
    with pytest.raises(SecretNotFoundError, match=r"\)$"):
        manager.get_secret("nowhere")


def test_a_removed_working_directory_is_named_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with SecretsManager() as manager:
        assert manager.config.sources == "No configuration file was found in ."


# --- making one -------------------------------------------------------------------------------------------------------


def test_a_manager_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('chain = [{ store = "env" }]\n[secrets]\nSENTRY_DSN = "monitoring/sentry#dsn"\n')
    monkeypatch.setenv("SENTRY_DSN", "https://sentry.example")
    with SecretsManager.from_config(file) as manager:
        assert manager.get_secret("monitoring/sentry") == {"dsn": "https://sentry.example"}


def test_a_configured_default_answers_an_absence(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('chain = [{ store = "env" }]\n[secrets]\nPOOL_SIZE = { at = "app/pool#size", default = 5 }\n')
    with SecretsManager.from_config(str(file)) as manager:
        assert manager.get_secret("app/pool", "size", as_=int) == 5
        assert manager.resolve("app/pool", "size").store == "default"


def test_a_configured_default_is_the_databases_url_where_no_store_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an absence only: an outage is none, and the parts that a store has come first."""
    file = tmp_path / "strongroom.toml"
    row = 'DATABASE_URL = { at = "database/connection#url", default = "sqlite:///dev.db" }'
    file.write_text(f'chain = ["env"]\n[secrets]\n{row}\n')
    with SecretsManager.from_config(file) as manager:
        assert manager.get_database_url() == "sqlite:///dev.db"
        assert asyncio.run(manager.aget_database_url()) == "sqlite:///dev.db"
        for name in ("HOST", "USER", "PASSWORD", "NAME"):
            monkeypatch.setenv(f"DB_{name}", "x")
        assert manager.get_database_url() == "postgresql://x:x@x/x"

    class Out(MemoryStore):
        def read(self, path: str) -> Secret:
            raise StoreUnavailableError(path)

    config = SecretsManager.from_config(file).config
    out = Link(LinkConfig("out"), Out, CacheConfig())
    with manager_of(Parts(config, [out])) as manager, pytest.raises(StoreUnavailableError):
        manager.get_database_url()


def test_open_stores_are_named_after_their_class() -> None:
    with SecretsManager(chain=[MemoryStore(), MemoryStore(), RemoteStore(), "env"]) as manager:
        assert repr(manager) == "SecretsManager(Chain(memory, memory-2, remote, env))"


@pytest.mark.parametrize("entry", [object(), None, 5, MemoryStore, dict])
def test_an_entry_that_is_no_store_is_refused_at_once(entry: Any) -> None:
    """Not at the first read; a class is not an open store either."""
    with pytest.raises(ConfigurationError, match="The argument chain: entry 2 is not a store but "):
        SecretsManager(chain=["env", entry])


@pytest.mark.parametrize("wrong", ["false", "true", 0, 1, None])
def test_a_flag_is_a_bool(manager: SecretsManager, wrong: Any) -> None:
    """The text of a variable, "false", would count as true."""
    with pytest.raises(TypeError, match="enable_fallback is True or False, not "):
        SecretsManager(enable_fallback=wrong)
    with pytest.raises(TypeError, match="replace is True or False, not "):
        manager.set_secret("auth/jwt", {"other": "x"}, replace=wrong)
    assert manager.get_jwt_secret() == "jwt"


def test_a_chain_that_is_one_name_is_no_list_of_its_letters() -> None:
    with pytest.raises(ConfigurationError, match="must be a list"):
        SecretsManager(chain="env")


def test_the_guides_arguments_are_accepted_in_the_guides_order() -> None:
    with SecretsManager("https://vault.company.com", "s.abcdef", 600, True) as manager:
        assert repr(manager) == "SecretsManager(Chain(vault, env, dotenv))"
    with SecretsManager(
        vault_url="https://vault.company.com", vault_token="s.abcdef", enable_fallback=False
    ) as manager:
        assert repr(manager) == "SecretsManager(Chain(vault))"


def test_a_mistake_in_an_argument_shows_no_token() -> None:
    with pytest.raises(strongroom.StrongroomError) as caught:
        SecretsManager(vault_url="not a url", vault_token=CANARY, cache_ttl=-1)
    assert CANARY not in shown(caught.value)


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
def test_a_mistake_in_an_address_shows_no_password(many: bool) -> None:
    """It is refused, and stands in no frame."""
    address = f"http://user:{CANARY}@vault.internal"
    with pytest.raises(ConfigurationError) as caught:
        SecretsManager(vault_url=[address, "https://vault.internal"] if many else address, vault_token="t")
    assert CANARY not in shown(caught.value)


def shown(error: BaseException) -> str:
    """The error with its traceback and the locals of every frame that is not this file's."""
    frame = error.__traceback__
    while frame is not None and frame.tb_frame.f_code.co_filename == __file__:
        frame = frame.tb_next
    report = traceback.TracebackException(type(error), error, frame, capture_locals=True)
    return "".join(report.format()) + repr(vars(error)) + repr(error.__context__)


@pytest.mark.parametrize("bad", [{"ok": CANARY, "odd": {1}}, {"ok": CANARY, "nan": float("nan")}, {"": CANARY}, CANARY])
def test_a_refused_write_shows_its_data_in_no_frame(default: SecretsManager, bad: Any) -> None:
    for write in (strongroom.set_secret, default.set_secret):
        with pytest.raises(StoreError) as caught:
            write("a/b", bad)
        assert CANARY not in shown(caught.value)
    with pytest.raises(StoreError) as caught:
        asyncio.run(strongroom.aset_secret("a/b", bad))
    frame = caught.value.__traceback__
    while frame is not None and "strongroom" not in frame.tb_frame.f_code.co_filename.rsplit("/", 2)[-2]:
        frame = frame.tb_next
    report = traceback.TracebackException(type(caught.value), caught.value, frame, capture_locals=True)
    assert CANARY not in "".join(report.format())


def test_64_threads_share_a_manager(manager: SecretsManager, store: RemoteStore) -> None:
    start = threading.Barrier(64)
    answers: list[str] = []

    def read() -> None:
        start.wait()
        answers.append(manager.get_secret("auth/jwt", "secret"))

    threads = [threading.Thread(target=read) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["jwt"] * 64
    assert store.reads == ["auth/jwt"]


def test_forty_threads_set_forty_keys_of_one_secret(manager: SecretsManager) -> None:
    start = threading.Barrier(40)

    def write(number: int) -> None:
        start.wait()
        manager.set_secret("shared", {f"key{number}": number})

    threads = [threading.Thread(target=write, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert manager.get_secret("shared") == {f"key{number}": number for number in range(40)}


# --- where a write goes -----------------------------------------------------------------------------------------------


def test_the_target_of_a_write_is_known_before_it(store: RemoteStore) -> None:
    """The first store that can be written, or the one that is named; nothing is changed."""
    with SecretsManager(chain=["env", store]) as secrets:
        target = secrets.write_target("a/b")
        assert target.store == "remote"
        assert target.capabilities >= {"writable", "versioned"}
        assert secrets.write_target("a/b", store="remote") == target
        with pytest.raises(UnsupportedOperationError, match=r"store env: it cannot be written"):
            secrets.write_target("a/b", store="env")
        with pytest.raises(ConfigurationError):
            secrets.write_target("a/b", store="none")
        assert [link.store for link in secrets.config.chain] == ["env", "remote"]
