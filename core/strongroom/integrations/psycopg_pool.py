"""Pools of psycopg 3 whose connections survive a rotation of the credential.

::

    from strongroom.integrations.psycopg_pool import create_pool

    with create_pool("database/connection", min_size=2) as pool, pool.connection() as connection:
        connection.execute("SELECT 1")
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from strongroom._manager import SecretsManager
from strongroom.integrations.credentials import CredentialSource, ServerLogin
from strongroom.integrations.database import address, is_refusal


def create_pool(path: str, *, manager: SecretsManager | None = None, **pool_options: Any) -> ConnectionPool[Any]:
    """Return a pool that reads its credential for each new connection.

    Args:
        path: a secret with the key `url`, or with `host`, `user`, `password`, `name` and perhaps `port`; or with
            `username` and `password`, and then `conninfo` names the server.
        manager: None is the default manager of the process.
        pool_options: those of `psycopg_pool.ConnectionPool`. Its `open` is True by default, as there. `conninfo` and
            `kwargs` win over the secret's server and database.
    """
    source = CredentialSource(path, manager)
    base: type[psycopg.Connection[Any]] = pool_options.pop("connection_class", psycopg.Connection)

    class PooledConnection(base):  # type: ignore[valid-type, misc]  # a class that the caller chose
        @classmethod
        def connect(cls, conninfo: str = "", **options: Any) -> psycopg.Connection[Any]:
            def open_(login: ServerLogin) -> psycopg.Connection[Any]:
                where, arguments = _arguments(login, conninfo, options)
                return super(PooledConnection, cls).connect(where, **arguments)  # type: ignore[no-any-return]

            while True:  # a change that comes while a connection is opened would not drain it
                connection, login = source.connect(open_, is_refusal)
                if source.is_current(login):
                    return connection
                connection.close()

    pool: ConnectionPool[Any] = ConnectionPool(connection_class=PooledConnection, **{"open": True, **pool_options})
    source.drain_on_change(pool, ConnectionPool.drain)
    return pool


def create_async_pool(
    path: str, *, manager: SecretsManager | None = None, **pool_options: Any
) -> AsyncConnectionPool[Any]:
    """`create_pool` for asyncio. As with `psycopg_pool.AsyncConnectionPool`, open it with `async with`."""
    source = CredentialSource(path, manager)
    base: type[psycopg.AsyncConnection[Any]] = pool_options.pop("connection_class", psycopg.AsyncConnection)

    class AsyncPooledConnection(base):  # type: ignore[valid-type, misc]  # a class that the caller chose
        @classmethod
        async def connect(cls, conninfo: str = "", **options: Any) -> psycopg.AsyncConnection[Any]:
            async def open_(login: ServerLogin) -> psycopg.AsyncConnection[Any]:
                where, arguments = _arguments(login, conninfo, options)
                return await super(AsyncPooledConnection, cls).connect(where, **arguments)  # type: ignore[no-any-return]

            while True:
                connection, login = await source.aconnect(open_, is_refusal)
                if source.is_current(login):
                    return connection
                await connection.close()

    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        connection_class=AsyncPooledConnection, **{"open": False, **pool_options}
    )
    source.drain_in_loop(pool, AsyncConnectionPool.drain)
    return pool


def _arguments(login: ServerLogin, conninfo: str, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the connection string of the caller, and the options with the address or at least the credential."""
    found = address(login, "conninfo= to create_pool", {**options, "conninfo": conninfo}, "PostgreSQL")
    return conninfo, {**({} if conninfo else found.libpq()), **options, **found.account}
