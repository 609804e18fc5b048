"""The refusals of a pool of psycopg, when it is created and later. No server: none of the pools has a connection."""

import asyncio

import psycopg
import pytest
from psycopg_pool import PoolTimeout

from strongroom import SecretsManager
from strongroom.errors import ConfigurationError, InvalidDataError, SecretNotFoundError, StoreUnavailableError
from strongroom.integrations import psycopg_pool as psycopg_pools
from strongroom.integrations.psycopg_pool import create_async_pool, create_pool
from strongroom.store.memory import MemoryStore
from support.clock import LONG

PATH = "database/connection"
LOGIN = {"username": "u", "password": "p"}


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def manager(store):
    with SecretsManager(chain=[store]) as opened:
        yield opened


@pytest.mark.parametrize("create", [create_pool, create_async_pool])
@pytest.mark.parametrize(
    ("data", "error", "reason"),
    [
        ({"url": "postgresql://u:p@db:x/n"}, InvalidDataError, "is not a valid URL"),
        ({"url": "mysql://u:p@db/n"}, InvalidDataError, "is not a URL of PostgreSQL"),
        ({"url": "postgresql://u:p@db/n?bogus=1"}, psycopg.ProgrammingError, '"bogus"'),
        (LOGIN, ConfigurationError, "names no server: pass conninfo="),
        (None, SecretNotFoundError, PATH),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_at_once(manager, store, create, data, error, reason):
    """A pool would hide the refusal, and end each use with a timeout."""
    if data:
        store.write(PATH, data)
    with pytest.raises(error, match=reason):
        create(PATH, manager=manager, open=False)


@pytest.mark.parametrize("data", [{"url": "mysql://u:canary-7@db/n"}, None], ids=["invalid", "deleted"])
@pytest.mark.parametrize("is_async", [False, True], ids=["threads", "asyncio"])
def test_a_secret_that_became_invalid_ends_a_wait_early(manager, store, monkeypatch, is_async, data):
    """The pool only logs it, and its users would wait 30 seconds for a PoolTimeout without the reason."""
    monkeypatch.setattr(psycopg_pools, "_FIRST_WAIT", 0.3)
    store.write(PATH, {"url": "postgresql://u:p@127.0.0.1:1/n"})

    def use():
        with create_pool(PATH, manager=manager, min_size=0, max_size=1, timeout=LONG) as pool:
            change()
            with pool.connection():
                pass

    async def use_in_loop():
        async with create_async_pool(PATH, manager=manager, min_size=0, max_size=1, timeout=LONG) as pool:
            change()
            async with pool.connection():
                pass

    def change():
        store.write(PATH, data) if data else store.delete(PATH)

    with pytest.raises(InvalidDataError if data else SecretNotFoundError) as caught:
        asyncio.run(use_in_loop()) if is_async else use()
    assert "canary" not in str(caught.value)


def test_an_outage_is_waited_for(manager, store, monkeypatch):
    """It may end within the timeout, as with a server that does not answer."""
    monkeypatch.setattr(psycopg_pools, "_FIRST_WAIT", 0.1)
    store.write(PATH, {"url": "postgresql://u:p@127.0.0.1:1/n"})
    with create_pool(PATH, manager=manager, min_size=0, max_size=1, timeout=0.3) as pool:

        def fail(path):
            raise StoreUnavailableError(path)

        monkeypatch.setattr(store, "read", fail)
        with pytest.raises(PoolTimeout, match=r"couldn't get a connection after 0\.30 sec"), pool.connection():
            pass


@pytest.mark.parametrize("create", [create_pool, create_async_pool])
@pytest.mark.parametrize(
    "options", [{"conninfo": "host=db"}, {"kwargs": {"host": "db"}}, {"conninfo": lambda: ""}, {"kwargs": dict}]
)
def test_an_option_may_name_the_server(manager, store, create, options):
    """Also a function, which the pool calls for each connection."""
    store.write(PATH, LOGIN)
    assert create(PATH, manager=manager, open=False, **options).closed
