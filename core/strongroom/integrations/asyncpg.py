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
from strongroom.errors import InvalidDataError
from strongroom.integrations.credentials import CredentialSource, ServerLogin
from strongroom.integrations.database import OPTIONS_OF_ASYNCPG, address, asyncpg_dsn, is_refusal

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
            where = {} if dsn else _server(found, login.path)
            return await asyncpg.connect(dsn or asyncpg_dsn(found.options), **{**where, **options, **found.account})

        return (await self._source.aconnect(open_, is_refusal))[0]

    async def drain(self) -> None:
        """Replace the idle connections of the pool. Busy ones end when they are released."""
        await self.pool.expire_connections()
        async with AsyncExitStack() as acquired:
            for _ in range(self.pool.get_idle_size()):
                await acquired.enter_async_context(self.pool.acquire(timeout=_DRAIN_LIMIT))


def _server(found: DatabaseAddress, path: str) -> dict[str, Any]:
    """Return server and database as arguments of asyncpg.

    Raises:
        InvalidDataError: asyncpg does not know an option.
    """
    for option, _ in found.options:
        if option not in OPTIONS_OF_ASYNCPG:
            reason = f"asyncpg does not know the option {option} of key 'url'"
            raise InvalidDataError(path, reason, hint="Delete it, or pass server_settings= to create_pool")
    names = [host.name for host in found.hosts]
    server: dict[str, Any] = {"database": found.name and found.name.reveal(), "host": names}
    if any(host.port for host in found.hosts):
        server["port"] = [host.port or 5432 for host in found.hosts]
    if not any(names):  # asyncpg has several usual hosts, all with this port
        server |= {"host": None, "port": found.hosts[0].port if found.hosts else None}
    return {key: value for key, value in server.items() if value}
