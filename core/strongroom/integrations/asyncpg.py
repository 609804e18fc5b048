"""Pools of asyncpg whose connections survive a rotation of the credential.

::

    from strongroom.integrations.asyncpg import create_pool

    async with create_pool("database/connection") as pool:
        await pool.fetchval("SELECT 1")
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import asyncpg

from strongroom._credentials.database_address import DatabaseAddress
from strongroom._manager import SecretsManager
from strongroom.integrations.credentials import CredentialSource, ServerLogin
from strongroom.integrations.database import address, is_refusal, libpq_options

_DRAIN_LIMIT = 10.0
"""How long the drain waits for one connection, in seconds. Those that are not replaced then end when they are used."""


def create_pool(path: str, *, manager: SecretsManager | None = None, **pool_options: Any) -> asyncpg.Pool:
    """Return a pool that reads its credential for each new connection. It needs asyncpg 0.30 or later.

    Args:
        path: a secret with the key `url`, or with `host`, `user`, `password`, `name` and perhaps `port`; or with
            `username` and `password`, and then `dsn` or `host` names the server.
        manager: None is the default manager of the process.
        pool_options: those of `asyncpg.create_pool`, without `connect`. They win over the secret's server and database.
    """
    source = CredentialSource(path, manager)
    connect = _Connect(source)
    connect.pool = pool = asyncpg.create_pool(connect=connect, **pool_options)
    source.drain_in_loop(connect, _Connect.drain)
    return pool


class _Connect:
    """Opens the connections of one pool. The pool, which takes no weak reference, keeps it alive."""

    pool: asyncpg.Pool

    def __init__(self, source: CredentialSource) -> None:
        self._source = source

    async def __call__(self, dsn: str | None = None, **options: Any) -> asyncpg.Connection:
        async def open_(login: ServerLogin) -> asyncpg.Connection:
            found = address(login, "dsn= or host= to create_pool", {**options, "dsn": dsn}, "PostgreSQL")
            where = {} if dsn else _server(found)
            return await asyncpg.connect(dsn or libpq_options(found.options), **{**where, **options, **found.account})

        return (await self._source.aconnect(open_, is_refusal))[0]

    async def drain(self) -> None:
        """Replace the idle connections of the pool. Busy ones end when they are released."""
        await self.pool.expire_connections()
        async with AsyncExitStack() as acquired:
            for _ in range(self.pool.get_idle_size()):
                await acquired.enter_async_context(self.pool.acquire(timeout=_DRAIN_LIMIT))


def _server(found: DatabaseAddress) -> dict[str, Any]:
    hosts = [host for host in found.hosts if host.name]
    server: dict[str, Any] = {"database": found.name and found.name.reveal(), "host": [host.name for host in hosts]}
    if any(host.port for host in hosts):
        server["port"] = [host.port or 5432 for host in hosts]
    return {key: value for key, value in server.items() if value}
