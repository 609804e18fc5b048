"""Pools of psycopg 3 whose connections survive a rotation of the credential.

::

    from strongroom.integrations.psycopg_pool import create_pool

    with create_pool("database/connection", min_size=2) as pool, pool.connection() as connection:
        connection.execute("SELECT 1")
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

from strongroom._manager import SecretsManager
from strongroom.errors import StoreUnavailableError, StrongroomError
from strongroom.integrations.credentials import CredentialSource, ServerLogin
from strongroom.integrations.database import address, is_refusal

_OPTION = "conninfo= to create_pool"

_FIRST_WAIT = 1.0
"""Seconds after which a user that waits for a connection gets the failure that keeps the pool from opening one."""


def create_pool(path: str, *, manager: SecretsManager | None = None, **pool_options: Any) -> ConnectionPool[Any]:
    """Return a pool that reads its credential for each new connection.

    Args:
        path: a secret with the key `url`, or with `host`, `user`, `password`, `name` and perhaps `port`; or with
            `username` and `password`, and then `conninfo` names the server.
        manager: None is the default manager of the process.
        pool_options: those of `psycopg_pool.ConnectionPool`. Its `open` is True by default, as there. `conninfo` and
            `kwargs` win over the secret's server and database.

    Raises:
        ConfigurationError: neither the secret nor an option names a server.
        StrongroomError: the secret cannot be read, which happens once now, or is not the address of a PostgreSQL.
        psycopg.ProgrammingError: libpq does not know an option of the secret.

    A user of the pool gets an error of Strongroom too, after a second, if the secret has become such that no connection
    can be opened. During an outage it waits, as for any connection.
    """
    source, failure = CredentialSource(path, manager), _LastingFailure()
    _check(source, pool_options)
    base: type[psycopg.Connection[Any]] = pool_options.pop("connection_class", psycopg.Connection)

    class PooledConnection(base):  # type: ignore[valid-type, misc]  # a class that the caller chose
        @classmethod
        def connect(cls, conninfo: str = "", **options: Any) -> psycopg.Connection[Any]:
            def open_(login: ServerLogin) -> psycopg.Connection[Any]:
                where, arguments = _arguments(login, conninfo, options)
                return super(PooledConnection, cls).connect(where, **arguments)  # type: ignore[no-any-return]

            while True:  # a change that comes while a connection is opened would not drain it
                with failure.noted():
                    connection, login = source.connect(open_, is_refusal)
                if source.is_current(login):
                    return connection
                connection.close()

    class Pool(ConnectionPool[Any]):
        def getconn(self, timeout: float | None = None) -> Any:
            whole = self.timeout if timeout is None else timeout
            for seconds in _waits(whole):
                try:
                    return super().getconn(seconds)
                except PoolTimeout:
                    failure.check()
            raise PoolTimeout(_TIMEOUT.format(whole))

    pool: ConnectionPool[Any] = Pool(connection_class=PooledConnection, **{"open": True, **pool_options})
    source.drain_on_change(pool, ConnectionPool.drain)
    return pool


def create_async_pool(
    path: str, *, manager: SecretsManager | None = None, **pool_options: Any
) -> AsyncConnectionPool[Any]:
    """`create_pool` for asyncio. As with `psycopg_pool.AsyncConnectionPool`, open it with `async with`."""
    source, failure = CredentialSource(path, manager), _LastingFailure()
    _check(source, pool_options)
    base: type[psycopg.AsyncConnection[Any]] = pool_options.pop("connection_class", psycopg.AsyncConnection)

    class AsyncPooledConnection(base):  # type: ignore[valid-type, misc]  # a class that the caller chose
        @classmethod
        async def connect(cls, conninfo: str = "", **options: Any) -> psycopg.AsyncConnection[Any]:
            async def open_(login: ServerLogin) -> psycopg.AsyncConnection[Any]:
                where, arguments = _arguments(login, conninfo, options)
                return await super(AsyncPooledConnection, cls).connect(where, **arguments)  # type: ignore[no-any-return]

            while True:
                with failure.noted():
                    connection, login = await source.aconnect(open_, is_refusal)
                if source.is_current(login):
                    return connection
                await connection.close()

    class AsyncPool(AsyncConnectionPool[Any]):
        async def getconn(self, timeout: float | None = None) -> Any:  # noqa: ASYNC109  # that of the base class
            whole = self.timeout if timeout is None else timeout
            for seconds in _waits(whole):
                try:
                    return await super().getconn(seconds)
                except PoolTimeout:
                    failure.check()
            raise PoolTimeout(_TIMEOUT.format(whole))

    pool: AsyncConnectionPool[Any] = AsyncPool(
        connection_class=AsyncPooledConnection, **{"open": False, **pool_options}
    )
    source.drain_in_loop(pool, AsyncConnectionPool.drain)
    return pool


_TIMEOUT = "couldn't get a connection after {:.2f} sec"
"""The words of psycopg's pool."""


def _waits(whole: float) -> tuple[float, float]:
    """Return the two parts of a wait: after the first one, the failure of the pool is known, if there is one."""
    first = min(whole, _FIRST_WAIT)
    return first, whole - first


class _LastingFailure:
    """The failure of a pool's last connection, if waiting does not mend it. The pool itself only logs it."""

    def __init__(self) -> None:
        self._error: StrongroomError | None = None

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note how the connection of the block ends."""
        found: StrongroomError | None = None
        try:
            yield
        except StrongroomError as error:
            found = None if isinstance(error, StoreUnavailableError) else error.copy()
            raise
        finally:
            self._error = found

    def check(self) -> None:
        """Raise the failure, if there is one."""
        if (error := self._error) is not None:
            raise error.copy() from None


def _check(source: CredentialSource, pool_options: Mapping[str, Any]) -> None:
    """Refuse an address that cannot be used. The pool logs a refusal of its connections, and its users time out."""
    conninfo, given = pool_options.get("conninfo") or "", pool_options.get("kwargs") or {}
    options = given if isinstance(given, Mapping) else {"conninfo": given}  # a function may name the server
    found = address(source.current(), _OPTION, {"conninfo": conninfo, **options}, "PostgreSQL")
    make_conninfo(**found.libpq())  # names an option that libpq does not know


def _arguments(login: ServerLogin, conninfo: str, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the connection string of the caller, and the options with the address or at least the credential."""
    found = address(login, _OPTION, {**options, "conninfo": conninfo}, "PostgreSQL")
    return conninfo, {**({} if conninfo else found.libpq()), **options, **found.account}
