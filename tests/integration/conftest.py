"""Database servers that all tests of a worker share. Use users and paths of your own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # the servers need drivers, which few tests import
    from database_servers import MariaDB, RedisServer
    from postgres import Postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    from postgres import running_postgres

    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """Skip the test if MariaDB is not installed."""
    from database_servers import running_mariadb

    with running_mariadb() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """Skip the test if Redis is not installed."""
    from database_servers import running_redis

    with running_redis() as server:
        yield server
