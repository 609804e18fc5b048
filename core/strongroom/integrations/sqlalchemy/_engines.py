"""SQLAlchemy engines whose connections survive a rotation of the credential.

::

    from strongroom.integrations.sqlalchemy import create_engine

    engine = create_engine("database/connection", drivername="postgresql+psycopg")
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy import URL, Engine, event, make_url
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from strongroom._credentials.database_address import DatabaseAddress
from strongroom._manager import SecretsManager
from strongroom.errors import ConfigurationError, InvalidDataError
from strongroom.integrations import database
from strongroom.integrations.credentials import CredentialSource, ServerLogin

if TYPE_CHECKING:  # it needs greenlet, which only `sqlalchemy[asyncio]` installs everywhere
    from sqlalchemy.ext.asyncio import AsyncEngine

_LOGIN = "strongroom.login"
_ACCOUNT = ("user", "password")
_SECRET_OPTION = r"(?i)pass|pwd|secret|token|credential|key|odbc_connect"  # noqa: S105  # names, not values
"""The names of URL parameters that may hold a secret. `repr(engine)` shows all others."""


def create_engine(
    path: str,
    *,
    manager: SecretsManager | None = None,
    drivername: str | None = None,
    url: str | URL | None = None,
    **engine_options: Any,
) -> Engine:
    """Return an engine that reads its credential for each new connection.

    The credential is read once now: the engine takes dialect, host and database from it.

    Args:
        path: a secret with the key `url`, or with `host`, `user`, `password`, `name` and perhaps `port`; or with
            `username` and `password`, and then `url` names the server.
        manager: None is the default manager of the process.
        drivername: dialect and driver, such as `postgresql+psycopg`, in the place of the URL's own. It must be of the
            same kind of database.
        url: driver, server and database, in the place of the secret's own, or for a leased user that has none.
        engine_options: those of `sqlalchemy.create_engine`.

    Raises:
        StrongroomError: the credential cannot be read, or is not one.
    """
    source = CredentialSource(path, manager)
    complete = _completion(drivername, url)
    engine = sqlalchemy.create_engine(_address(source, complete), **engine_options)
    _serve(engine, source, complete, engine_options.get("connect_args", {}))
    source.drain_on_change(engine, _replace_idle)
    return engine


def create_async_engine(
    path: str,
    *,
    manager: SecretsManager | None = None,
    drivername: str | None = None,
    url: str | URL | None = None,
    **engine_options: Any,
) -> AsyncEngine:
    """`create_engine` for an asynchronous driver, such as `postgresql+asyncpg`. It needs `sqlalchemy[asyncio]`.

    Raises:
        ConfigurationError: greenlet is not installed.
    """
    if find_spec("greenlet") is None:  # SQLAlchemy 2.0 would notice it only at the first connection
        raise ConfigurationError(
            "create_async_engine needs greenlet, which is not installed: pip install 'sqlalchemy[asyncio]'"
        )
    from sqlalchemy.ext import asyncio
    from sqlalchemy.util import await_only

    source = CredentialSource(path, manager)
    complete = _completion(drivername, url)
    engine = asyncio.create_async_engine(_address(source, complete), **engine_options)
    _serve(engine.sync_engine, source, complete, engine_options.get("connect_args", {}), await_only)
    source.drain_in_loop(engine, _areplace_idle)
    return engine


def _replace_idle(engine: Engine) -> None:
    for _ in range(_idle(engine)):
        engine.connect().close()


async def _areplace_idle(engine: AsyncEngine) -> None:
    for _ in range(_idle(engine.sync_engine)):
        await (await engine.connect()).close()


def _idle(engine: Engine) -> int:
    """Return the number of idle connections. A pool hands out the one that is idle for longest, and so each in turn.

    `dispose` would be no drain: connections that are in use go on in the old pool, which nobody closes.
    """
    return engine.pool.checkedin() if isinstance(engine.pool, QueuePool) else 0


def _completion(drivername: str | None, url: str | URL | None) -> Callable[[ServerLogin], URL]:
    """Return a function that returns the whole URL for a credential."""
    kind = DatabaseAddress(drivername).kind if drivername and url is None else None

    def complete(login: ServerLogin) -> URL:
        found = database.address(login, "url= to create_engine", {"url": url}, kind)
        if url is not None:
            user, password = map(found.account.get, _ACCOUNT)
            return make_url(url).difference_update_query(_ACCOUNT).set(username=user, password=password)
        if drivername and found.kind != kind and login.data.get("url"):  # the driver's kind is unknown
            raise InvalidDataError(login.path, f"key 'url' is not a URL of {drivername}")
        scheme = drivername or ("postgresql" if found.scheme == "postgres" else found.scheme)
        whole = make_url(replace(found, scheme=scheme).url().reveal())
        # `make_url` leaves the host encoded, and before SQLAlchemy 2.1 the name too. A part that is None stays.
        host = found.hosts[0].name if whole.host else None
        return whole.set(host=host, database=found.name and found.name.reveal())

    return complete


def _address(source: CredentialSource, complete: Callable[[ServerLogin], URL]) -> URL:
    """Return the URL without the credential, for the engine's own use."""
    whole = complete(source.current())  # its `set` leaves out a part that is None
    query = {key: value for key, value in whole.query.items() if not re.search(_SECRET_OPTION, key)}
    return URL.create(whole.drivername, host=whole.host, port=whole.port, database=whole.database, query=query)


def _move_to_dsn(keywords: dict[str, Any]) -> None:
    """Pass options of libpq as asyncpg takes them. It has no argument for one that it does not know."""
    if keywords.get("service") and "dsn" not in keywords:  # it would connect to its usual server
        raise ConfigurationError("asyncpg ignores the option service without a DSN: name the server in the URL")
    names = [key for key in keywords if key in database.IN_DSN_OF_ASYNCPG]
    if names and "dsn" not in keywords:
        keywords["dsn"] = database.asyncpg_dsn([(key, keywords.pop(key)) for key in names])


def _serve(
    engine: Engine,
    source: CredentialSource,
    complete: Callable[[ServerLogin], URL],
    connect_args: dict[str, Any],
    wait: Callable[[Awaitable[Any]], Any] | None = None,
) -> None:
    """Open the connections of the engine with the credential of the source, and end those of an older credential."""

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Dialect, record: ConnectionPoolEntry, _cargs: list[Any], cparams: dict[str, Any]) -> object:
        def open_(login: ServerLogin) -> object:
            arguments, options = dialect.create_connect_args(complete(login))
            keywords = {**cparams, **options, **connect_args}
            if dialect.name in {"mysql", "mariadb"}:
                database.check_mysql_tls(keywords)
            if dialect.driver == "asyncpg":
                _move_to_dsn(keywords)
            return dialect.connect(*arguments, **keywords)

        connection, login = source.connect(open_, database.is_refusal, wait)
        record.info[_LOGIN] = login
        return connection

    @event.listens_for(engine, "checkout")
    def checkout(_connection: object, record: ConnectionPoolEntry, _proxy: object) -> None:
        if not source.is_current(record.info.get(_LOGIN)):
            raise DisconnectionError("the credential of this connection was replaced")

    @event.listens_for(engine, "checkin")
    def checkin(connection: object, record: ConnectionPoolEntry) -> None:
        if connection is not None and not source.is_current(record.info.get(_LOGIN)):
            record.invalidate()
