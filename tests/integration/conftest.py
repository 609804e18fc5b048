"""Time limits for a busy machine, and database servers that all tests of a worker share.

Use users and paths of your own.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from strongroom import _config
from strongroom.store import deadline

if TYPE_CHECKING:  # the servers need drivers, which few tests import
    from support.services.database_servers import MariaDB, RedisServer
    from support.services.postgres import Postgres

_LIMIT = 60.0


@pytest.fixture(autouse=True)
def _long_limits(clean_environment, monkeypatch) -> None:
    """Give calls a minute by default: on a busy machine a real server can need more than 3 s (link) or 10 s (call).

    The variable also counts in child processes, but not for their links: such a test sets `timeout` of its link.
    """
    monkeypatch.setenv("STRONGROOM_TIMEOUT", str(_LIMIT))
    monkeypatch.setattr(deadline, "DEFAULT_TIMEOUT", _LIMIT)
    monkeypatch.setattr(_config, "LINK_TIMEOUT", _LIMIT)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of which connections are refused: it is bound, so that nobody else can listen on it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    from support.services.postgres import running_postgres

    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """Skip the test if MariaDB is not installed."""
    from support.services.database_servers import running_mariadb

    with running_mariadb() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """Skip the test if Redis is not installed."""
    from support.services.database_servers import running_redis

    with running_redis() as server:
        yield server
