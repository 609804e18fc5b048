"""Pools of asyncpg whose connections survive a rotation of the credential.

::

    from strongroom.integrations.asyncpg import create_pool

    async with create_pool("database/connection") as pool:
        await pool.fetchval("SELECT 1")
"""

from __future__ import annotations

import asyncio
import weakref
from contextlib import AsyncExitStack
from typing import Any

import asyncpg

from strongroom.integrations.credentials import CredentialSource, Login
from strongroom.integrations.database import account, is_refusal, url
from strongroom.manager import SecretsManager

_SCHEME = "postgresql"
_DRAIN_LIMIT = 10.0
"""How long the drain waits for one connection, in seconds. Those that are not replaced then end when they are used."""


def create_pool(path: str, *, manager: SecretsManager | None = None, **pool_options: Any) -> asyncpg.Pool:
    """Return a pool that reads its credential for each new connection. It needs asyncpg 0.30 or later.

    Args:
        path: a secret with the key `url`, or with `host`, `user`, `password`, `name` and perhaps `port`; or with
            `username` and `password` alone, and then `dsn` or `host` names the server.
        manager: None is the default manager of the process.
        pool_options: those of `asyncpg.create_pool`, without `connect`.
    """
    source = CredentialSource(path, manager)
    connect = _Connect(source)
    connect.pool = pool = asyncpg.create_pool(connect=connect, **pool_options)
    opener = weakref.ref(connect)

    def drain() -> None:
        if (living := opener()) is not None:
            living.drain()

    source.drain_on_change(connect, drain)
    return pool


class _Connect:
    """Opens the connections of one pool. The pool, which takes no weak reference, keeps it alive."""

    pool: asyncpg.Pool

    def __init__(self, source: CredentialSource) -> None:
        self._source = source
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, dsn: str | None = None, **options: Any) -> asyncpg.Connection:
        async def open_(login: Login) -> asyncpg.Connection:
            whole = url(login, _SCHEME)
            if whole is None:
                return await asyncpg.connect(dsn, **{**options, **account(login)})
            return await asyncpg.connect(whole.reveal(), **options)

        self._loop = asyncio.get_running_loop()
        return (await self._source.aconnect(open_, is_refusal))[0]

    def drain(self) -> None:
        """Replace the connections of the pool, from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(_drain(self.pool), self._loop)


async def _drain(pool: asyncpg.Pool) -> None:
    """Replace the idle connections. Busy ones end when they are released."""
    await pool.expire_connections()
    async with AsyncExitStack() as acquired:
        for _ in range(pool.get_idle_size()):
            await acquired.enter_async_context(pool.acquire(timeout=_DRAIN_LIMIT))
