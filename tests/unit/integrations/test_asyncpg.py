"""The arguments of asyncpg for an address. No server: `asyncpg.connect` is replaced."""

import asyncio

import asyncpg
import pytest
from sqlalchemy.pool import NullPool

from strongroom import SecretsManager
from strongroom.errors import ConfigurationError, InvalidDataError
from strongroom.integrations.asyncpg import create_pool
from strongroom.integrations.sqlalchemy import create_async_engine
from strongroom.store.memory import MemoryStore

PATH = "database/connection"


class Called(Exception):  # noqa: N818  # the end of an attempt to connect
    """`asyncpg.connect` was called."""


def with_pool(manager):
    async def run():
        async with create_pool(PATH, manager=manager, min_size=0) as pool:
            await pool.acquire()

    return run()


def with_sqlalchemy(manager):
    async def run():
        options = {"drivername": "postgresql+asyncpg", "poolclass": NullPool}
        async with create_async_engine(PATH, manager=manager, **options).connect():
            pass

    return run()


@pytest.fixture
def attempt(monkeypatch):
    """A function that connects with this URL, and returns the arguments of asyncpg, or raises another error."""

    def connect(way, url):
        found = {}

        async def called(dsn=None, **options):
            found.update(options, dsn=dsn)
            raise Called

        monkeypatch.setattr(asyncpg, "connect", called)
        store = MemoryStore()
        store.write(PATH, {"url": url})
        with SecretsManager(chain=[store]) as manager, pytest.raises(Called):
            asyncio.run(way(manager))
        return {key: value for key, value in found.items() if value is not None}

    return connect


each_way = pytest.mark.parametrize("way", [with_pool, with_sqlalchemy], ids=lambda way: way.__name__)


@each_way
@pytest.mark.parametrize("url", ["postgresql://u:p@127.0.0.1:54331/app?host=", "postgresql://u:p@:54331/app"])
def test_a_port_counts_without_a_host(attempt, way, url):
    """As for libpq, the host is the driver's own."""
    found = attempt(way, url)
    assert found["port"] == 54331
    assert "host" not in found


@pytest.mark.parametrize("option", ["hostaddr", "service", "connect_timeout", "channel_binding", "bogus", "sslbogus"])
def test_an_option_that_asyncpg_does_not_know_is_refused_before_it_connects(attempt, option):
    """asyncpg would send it to the server, which refuses it after the login."""
    with pytest.raises(InvalidDataError, match=f"asyncpg does not know the option {option} "):
        attempt(with_pool, f"postgresql://u:p@db/app?{option}=x")


def test_sqlalchemy_leaves_the_refusal_of_an_unknown_option_to_asyncpg(attempt):
    """`asyncpg.connect` has no such argument."""
    assert attempt(with_sqlalchemy, "postgresql://u:p@db/app?sslbogus=x")["sslbogus"] == "x"


def test_sqlalchemy_refuses_a_service_that_asyncpg_would_ignore(attempt):
    with pytest.raises(ConfigurationError, match="asyncpg ignores the option service"):
        attempt(with_sqlalchemy, "postgresql://u:p@/app?service=b")


@each_way
def test_options_that_asyncpg_knows_are_passed(attempt, way):
    options = "application_name=x&options=-c+a%3Db&sslrootcert=%2Fca.pem&ssl_min_protocol_version=TLSv1.3"
    found = attempt(way, f"postgresql://u:p@db/app?sslmode=verify-full&{options}&target_session_attrs=any")
    assert {"application_name=x", "sslrootcert=%2Fca.pem"} <= set(found["dsn"].partition("?")[2].split("&"))
    assert found["host"] in ("db", ["db"])
    assert found.get("ssl") == "verify-full" or "sslmode=verify-full" in found["dsn"]
