"""Clients of Redis and Valkey whose connections survive a rotation of the credential.

::

    from strongroom.integrations.redis import create_client

    client = create_client("cache/redis")

`CredentialProvider` alone is for a client that the application creates itself.
"""

from __future__ import annotations

import weakref
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.connection import AbstractConnection
from redis.credentials import CredentialProvider as _CredentialProvider
from redis.credentials import UsernamePasswordCredentialProvider
from redis.exceptions import AuthenticationError

from strongroom._credentials.database_address import DatabaseAddress, read_address
from strongroom._manager import SecretsManager
from strongroom.errors import ConfigurationError, InvalidDataError
from strongroom.integrations.credentials import CredentialSource, ServerLogin
from strongroom.integrations.database import names_server


class CredentialProvider(_CredentialProvider):
    """The user name and the password of a secret, for each new connection of redis-py.

    A refused password is read anew only by the connections of `create_client` and `create_async_client`: redis-py does
    not tell a provider that the server refused its credentials.

    Args:
        path: a secret with the key `password` and perhaps `user`, or with `url`.
        manager: None is the default manager of the process.
    """

    def __init__(self, path: str, manager: SecretsManager | None = None) -> None:
        self.source = CredentialSource(path, manager)

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return the current credential."""
        return _pair(self.source.current())

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """Return the current credential."""
        return _pair(await self.source.acurrent())


def _pair(login: ServerLogin) -> tuple[str] | tuple[str, str]:
    """Return (user, password), or (password,) for the user `default`."""
    account = _address(login).account
    if "password" not in account:
        raise InvalidDataError(login.path, "it has no key 'password'")
    return (account["user"], account["password"]) if "user" in account else (account["password"],)


def _provider(login: ServerLogin) -> UsernamePasswordCredentialProvider | None:
    """Return the credential of one attempt to connect; None for a server without passwords."""
    found = _address(login)
    if found.hosts and not found.account:
        return None
    *user, password = _pair(login)
    return UsernamePasswordCredentialProvider("".join(user), password)


def _address(login: ServerLogin) -> DatabaseAddress:
    return read_address(login.data, login.path, kind="Redis")


def _with_server(source: CredentialSource, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with the server of the secret, unless one of them names a server."""
    if names_server(options):
        return options
    login = source.current()
    found = _address(login)
    if not any(host.name for host in found.hosts):
        raise ConfigurationError(f"The secret {login.path} names no server: pass host= to create_client")
    return {**found.redis(login.path), **options}


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, AuthenticationError)


def create_client(path: str, *, manager: SecretsManager | None = None, **options: Any) -> redis.Redis:
    """Return a client that reads its credential for each new connection.

    Args:
        path: a secret with the key `url`, or with `host`, `password` and perhaps `port` and `user`.
        manager: None is the default manager of the process.
        options: those of `redis.Redis`, such as `host`, `port` and `ssl`, without the credential. They win over the
            secret's; `host` replaces its whole server. Without `host` the secret is read once now.

    Raises:
        ConfigurationError: neither the secret nor an option names a server.
        StrongroomError: the secret cannot be read.
    """
    source = CredentialSource(path, manager)
    options = _with_server(source, options)
    connections: weakref.WeakSet[redis.Connection] = weakref.WeakSet()

    def connect(connection: redis.Connection) -> None:
        def open_(login: ServerLogin) -> None:
            connection.credential_provider = _provider(login)
            connection.on_connect()  # type: ignore[no-untyped-call]

        connections.add(connection)  # before: the credential may change between its reading and the login
        source.connect(open_, _is_refusal)

    client = redis.Redis(
        redis_connect_func=connect,  # type: ignore[arg-type]  # the hint lacks the connection
        **options,
    )

    def drain(pool: redis.ConnectionPool) -> None:
        for connection in list(connections):
            connection.mark_for_reconnect()  # type: ignore[no-untyped-call]  # one in use ends at its release
        pool.disconnect(inuse_connections=False)

    source.drain_on_change(client.connection_pool, drain)
    return client


class _SocketConnection(redis.asyncio.UnixDomainSocketConnection):
    """A connection that logs in only in `redis_connect_func`: redis-py's own logs in before that too."""

    async def on_connect(self) -> None:
        pass


def create_async_client(path: str, *, manager: SecretsManager | None = None, **options: Any) -> redis.asyncio.Redis:
    """`create_client` for asyncio: a `redis.asyncio.Redis`."""
    source = CredentialSource(path, manager)
    options = _with_server(source, options)
    connections: weakref.WeakSet[redis.asyncio.Connection] = weakref.WeakSet()

    async def connect(connection: redis.asyncio.Connection) -> None:
        async def open_(login: ServerLogin) -> None:
            connection.credential_provider = _provider(login)
            await AbstractConnection.on_connect(connection)  # `_SocketConnection` leaves it to this function

        connections.add(connection)  # before, as above
        await source.aconnect(open_, _is_refusal)

    client = redis.asyncio.Redis(redis_connect_func=connect, **options)
    if options.get("unix_socket_path") and not options.get("connection_pool"):
        client.connection_pool.connection_class = _SocketConnection

    async def drain(pool: redis.asyncio.ConnectionPool) -> None:
        for connection in list(connections):
            connection.mark_for_reconnect()  # type: ignore[no-untyped-call]
        await pool.disconnect(inuse_connections=False)

    source.drain_in_loop(client.connection_pool, drain)
    return client
