"""Pools of real drivers that the tests of connections share: each call makes one transaction and returns its user."""

import asyncio
import threading

from sqlalchemy import text

from strongroom.integrations import asyncpg as asyncpg_pools
from strongroom.integrations import psycopg_pool as psycopg_pools
from strongroom.integrations import sqlalchemy as engines

PATH = "database/connection"

PATIENCE = 60
"""Seconds for a connection, which only a bug reaches."""


class SqlAlchemy:
    """A synchronous engine."""

    def __init__(self, manager, size, patience=PATIENCE):
        self._engine = engines.create_engine(
            PATH,
            manager=manager,
            drivername="postgresql+psycopg",
            pool_size=size,
            max_overflow=0,
            pool_timeout=patience,
        )

    def __call__(self, statement="SELECT current_user"):
        with self._engine.connect() as connection:
            return connection.execute(text(statement)).scalar_one()

    def close(self):
        self._engine.dispose()


class PsycopgPool:
    """A pool of psycopg 3."""

    def __init__(self, manager, size, patience=PATIENCE):
        self._pool = psycopg_pools.create_pool(PATH, manager=manager, min_size=0, max_size=size, timeout=patience)

    def __call__(self, statement="SELECT current_user"):
        with self._pool.connection() as connection:
            return connection.execute(statement).fetchone()[0]

    def close(self):
        self._pool.close()


class Asynchronous:
    """A provider for asyncio, on an event loop of its own."""

    def __init__(self, manager, size, patience=PATIENCE):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._run(self._open(manager, size, patience))

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(2 * PATIENCE)

    def __call__(self, statement="SELECT current_user"):
        return self._run(self._query(statement))

    def close(self):
        try:
            self._run(self._close())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE)
            self._loop.close()


class AsyncSqlAlchemy(Asynchronous):
    drivername = "postgresql+asyncpg"

    async def _open(self, manager, size, patience):
        self._engine = engines.create_async_engine(
            PATH, manager=manager, drivername=self.drivername, pool_size=size, max_overflow=0, pool_timeout=patience
        )

    async def _query(self, statement):
        async with self._engine.connect() as connection:
            return (await connection.execute(text(statement))).scalar_one()

    async def _close(self):
        """Wait for a drain that is under way, since connections that it returns to a closed pool would stay open."""
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
        await self._engine.dispose()


class AsyncSqlAlchemyPsycopg(AsyncSqlAlchemy):
    drivername = "postgresql+psycopg"


class AsyncpgPool(Asynchronous):
    async def _open(self, manager, size, patience):
        self._pool = await asyncpg_pools.create_pool(PATH, manager=manager, min_size=0, max_size=size, timeout=patience)

    async def _query(self, statement):
        async with self._pool.acquire() as connection:
            return await connection.fetchval(statement)

    async def _close(self):
        await self._pool.close()


class AsyncPsycopgPool(Asynchronous):
    async def _open(self, manager, size, patience):
        self._pool = psycopg_pools.create_async_pool(PATH, manager=manager, min_size=0, max_size=size, timeout=patience)
        await self._pool.open()

    async def _query(self, statement):
        async with self._pool.connection() as connection:
            return (await (await connection.execute(statement)).fetchone())[0]

    async def _close(self):
        await self._pool.close()


PROVIDERS = [SqlAlchemy, AsyncSqlAlchemy, AsyncSqlAlchemyPsycopg, PsycopgPool, AsyncPsycopgPool, AsyncpgPool]
