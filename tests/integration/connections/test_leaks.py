"""A connection that fails shows no credential: not in a message, and not in the local variables of a traceback."""

import asyncio
import traceback
from functools import partial

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from strongroom import SecretsManager, StrongroomError
from strongroom.errors import InvalidDataError
from strongroom.integrations import asyncpg, django, psycopg_pool, sqlalchemy, tls  # noqa: F401  # the drivers
from strongroom.integrations.redis import create_client
from strongroom.store.memory import MemoryStore

CANARY = "canary7f3a"
PATH = "database/connection"


def connect_sqlalchemy(manager):
    sqlalchemy.create_engine(PATH, manager=manager, drivername="postgresql+psycopg").connect()


def connect_psycopg(manager):
    psycopg_pool.create_pool(PATH, manager=manager, max_size=4, open=False).connection_class.connect()


def connect_asyncpg(manager):
    async def connect():
        async with asyncpg.create_pool(PATH, manager=manager, min_size=1):
            pass

    asyncio.run(connect())


def connect_django(manager, monkeypatch):
    from django.db import ConnectionHandler

    monkeypatch.setattr("strongroom.integrations.django.wrapper.default_manager", lambda: manager)
    monkeypatch.setattr("strongroom.integrations.credentials.default_manager", lambda: manager)
    settings = {"ENGINE": "strongroom.integrations.django.postgresql", "SECRET": PATH}
    ConnectionHandler({"default": settings})["default"].connect()


CONNECTS = [connect_sqlalchemy, connect_psycopg, connect_asyncpg, connect_django]


def manager_of(data, path=PATH):
    """Return a manager with this secret."""
    store = MemoryStore()
    store.write(path, data)
    return SecretsManager(chain=[store])


def failure_of(connect, manager, monkeypatch):
    """Return the error of an attempt to connect with the secret of the manager. No local variable here has a value."""
    with manager:
        try:
            connect(*([manager, monkeypatch] if connect is connect_django else [manager]))
        except Exception as error:  # noqa: BLE001  # of any driver
            return error
    raise AssertionError("it was connected")


def shown(error):
    """Return all text that a tool such as Sentry, which shows local variables, prints of an error."""
    printed = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    while error is not None:
        printed += repr(error) + str(error)
        error = error.__cause__ or error.__context__
    return printed


@pytest.mark.parametrize("connect", CONNECTS)
@pytest.mark.parametrize("key", ["password", "url"])
def test_a_refused_connection_shows_no_credential(closed_port, connect, key, monkeypatch):
    data = {"host": "127.0.0.1", "port": closed_port, "user": "app", "password": CANARY, "name": "db"}
    if key == "url":
        data = {"url": f"postgresql://app:{CANARY}@127.0.0.1:{closed_port}/db"}
    error = failure_of(connect, manager_of(data), monkeypatch)
    assert not isinstance(error, StrongroomError)
    assert CANARY not in shown(error)


URLS = {
    "at sign": f"postgresql://app:x@{CANARY}@127.0.0.1:1/db",
    "no user": f"postgresql://app:{CANARY}/db",
    "no scheme": f"shop:{CANARY}@127.0.0.1:1/db",
    "one slash": f"postgres:/shop:{CANARY}@127.0.0.1:1/db",
}


@pytest.mark.parametrize("connect", CONNECTS)
@pytest.mark.parametrize("url", URLS.values(), ids=URLS)
def test_a_malformed_url_is_refused_before_a_driver_quotes_it(connect, url, monkeypatch):
    """Mostly a password with special characters that were not encoded."""
    error = failure_of(connect, manager_of({"url": url}), monkeypatch)
    assert type(error) is InvalidDataError
    assert "key 'url' is not a valid URL" in str(error)
    assert CANARY not in shown(error)


@pytest.mark.parametrize("key", ["user", "password"])
@pytest.mark.parametrize("connect", CONNECTS)
def test_an_account_that_is_not_unicode_is_refused(connect, key, monkeypatch):
    """A driver's UnicodeEncodeError holds the whole text."""
    whole = {"host": "127.0.0.1", "port": 1, "user": CANARY, "password": CANARY, "name": "db", key: f"\ud800{CANARY}"}
    for data in (whole, {name: whole[name] for name in ("user", "password")}):
        error = failure_of(connect, manager_of(data), monkeypatch)
        assert isinstance(error, StrongroomError)
        assert CANARY not in shown(error)


def test_the_engine_keeps_no_credential(closed_port):
    """Not even one that is replaced later: each connection gets its own."""
    query = f"password={CANARY}&sslpassword={CANARY}&sslmode=disable"
    url = f"postgresql+psycopg://app:{CANARY}@127.0.0.1:{closed_port}/db?{query}"
    with manager_of({"url": url}) as manager:
        engine = sqlalchemy.create_engine(PATH, manager=manager)
    found = engine.url
    assert CANARY not in repr(engine)
    assert (found.username, found.password, found.database, found.port) == (None, None, "db", closed_port)
    assert dict(found.query) == {"sslmode": "disable"}


def connect_redis(manager, port):
    retry = Retry(NoBackoff(), 1)
    with create_client(PATH, manager=manager, host="127.0.0.1", port=port, retry=retry) as client:
        client.ping()


def test_a_refused_password_of_redis_is_not_shown(redis_server):
    with manager_of({"username": "nobody", "password": CANARY}) as manager:
        error = failure_of(partial(connect_redis, port=redis_server.port), manager, None)
    assert isinstance(error, redis.exceptions.AuthenticationError)
    assert CANARY not in shown(error)


def load_certificate(manager):
    tls.create_server_context("tls/web", manager=manager)


KEYS = [f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n", f"\ufeff{CANARY}", f"\ud800{CANARY}"]


@pytest.mark.parametrize("key", KEYS, ids=["malformed", "byte order mark", "surrogate"])
def test_a_certificate_that_cannot_be_loaded_shows_no_key(key):
    data = {"certificate": f"-----BEGIN CERTIFICATE-----\n{CANARY}\n", "private_key": key}
    error = failure_of(load_certificate, manager_of(data, "tls/web"), None)
    assert type(error) is InvalidDataError
    assert "tls/web" in str(error)
    assert CANARY not in shown(error)
