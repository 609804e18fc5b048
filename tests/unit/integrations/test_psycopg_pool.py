"""The refusals of a pool of psycopg when it is created. No server: the pools stay closed, or have no connections."""

import psycopg
import pytest

from strongroom import SecretsManager
from strongroom.errors import ConfigurationError, InvalidDataError, SecretNotFoundError
from strongroom.integrations.psycopg_pool import create_async_pool, create_pool
from strongroom.store.memory import MemoryStore

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


@pytest.mark.parametrize("create", [create_pool, create_async_pool])
@pytest.mark.parametrize(
    "options", [{"conninfo": "host=db"}, {"kwargs": {"host": "db"}}, {"conninfo": lambda: ""}, {"kwargs": dict}]
)
def test_an_option_may_name_the_server(manager, store, create, options):
    """Also a function, which the pool calls for each connection."""
    store.write(PATH, LOGIN)
    assert create(PATH, manager=manager, open=False, **options).closed
