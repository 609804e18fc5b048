"""Clients of redis-py on a real Redis, while the password of their user rotates."""

import asyncio
import secrets
import time

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from strongroom.errors import ConfigurationError
from strongroom.integrations.redis import CredentialProvider, create_async_client, create_client
from support.scenarios.load import ROTATIONS, SECONDS, Load, wait_until

PATH = "cache/redis"


@pytest.fixture
def account(redis_server, store):
    return Account(redis_server, store)


class Account:
    """A user of the server whose password rotates."""

    def __init__(self, server, store):
        self.name = f"app-{secrets.token_hex(4)}"
        self.address = {"host": "127.0.0.1", "port": server.port}
        self.admin = server.client()
        self._store = store
        self.password = ""
        self.rotate()

    def rotate(self):
        """Give the user a new password beside the one it has, and store it."""
        self._previous, self.password = self.password, secrets.token_hex(8)
        self.admin.execute_command("ACL", "SETUSER", self.name, "on", f">{self.password}", "+@all", "~*")
        self._store.write(PATH, {"username": self.name, "password": self.password})

    def revoke_previous(self):
        """End the password before the newest one."""
        self.admin.execute_command("ACL", "SETUSER", self.name, f"<{self._previous}")

    def opened(self):
        """Return the ids of the connections of this user."""
        return {client["id"] for client in self.admin.client_list() if client["user"] == self.name}


FORMS = {
    "parts": lambda host, port, login: {"host": host, "port": str(port), **login},
    "url": lambda host, port, login: {
        "url": f"redis://{login['username']}:{login['password']}@{host}:{port}/1",
    },
}


@pytest.fixture(params=FORMS.values(), ids=FORMS)
def whole(request, account, redis_server, store):
    """A secret with the server, and the account that it holds."""
    login = {"username": account.name, "password": account.password}
    store.write(PATH, request.param("127.0.0.1", redis_server.port, login))
    return account


def test_the_server_comes_from_the_secret(whole, manager):
    with create_client(PATH, manager=manager, decode_responses=True) as client:
        assert client.acl_whoami() == whole.name


def test_the_server_of_an_asynchronous_client_comes_from_the_secret(whole, manager):
    async def whoami():
        async with create_async_client(PATH, manager=manager, decode_responses=True) as client:
            return await client.acl_whoami()

    assert asyncio.run(whoami()) == whole.name


@pytest.mark.parametrize("place", ["url", "key", "option"])
def test_an_asynchronous_client_logs_in_over_a_unix_socket(account, manager, store, redis_server, place):
    """Also with a password that the cache has not seen, and again on each new connection."""
    socket, options = redis_server.socket, {"unix_socket_path": redis_server.socket} if place == "option" else {}

    def keep():
        login = {"username": account.name, "password": account.password}
        url = f"unix://{account.name}:{account.password}@{socket}?db=1"
        store.write(PATH, {"url": {"url": url}, "key": {**login, "host": socket}, "option": login}[place])

    async def run():
        async with create_async_client(PATH, manager=manager, **options, decode_responses=True) as client:
            assert await client.acl_whoami() == account.name
            account.rotate()
            account.revoke_previous()
            keep()
            await client.connection_pool.disconnect()
            assert await client.acl_whoami() == account.name

    keep()
    asyncio.run(run())


def test_an_option_wins_over_the_server_of_the_secret(account, manager, store):
    """The port of the secret belongs to its host, and is not joined to another one."""
    store.write(PATH, {"host": "cache.invalid", "port": 1, "username": account.name, "password": account.password})
    with create_client(PATH, manager=manager, **account.address, decode_responses=True) as client:
        assert client.acl_whoami() == account.name
    with create_client(PATH, manager=manager, host="127.0.0.1") as client:
        assert client.connection_pool.connection_kwargs["port"] == 6379


@pytest.mark.parametrize("create", [create_client, create_async_client])
def test_a_secret_without_a_server_needs_an_option(account, manager, create):
    """The library's default would send the password to an unknown program on localhost."""
    with pytest.raises(ConfigurationError, match=r"cache/redis names no server: pass host="):
        create(PATH, manager=manager)


@pytest.mark.parametrize(("url", "ssl"), [("rediss://:p@cache.test:7/2", True), ("redis://:p@cache.test:7/2", False)])
def test_a_url_decides_port_database_and_tls(manager, store, url, ssl):
    store.write(PATH, {"url": url})
    with create_client(PATH, manager=manager) as client:
        pool = client.connection_pool
        assert {key: pool.connection_kwargs[key] for key in ("host", "port", "db")} == {
            "host": "cache.test",
            "port": 7,
            "db": 2,
        }
        assert issubclass(pool.connection_class, redis.SSLConnection) is ssl


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_refused_password_is_read_anew(account, manager, protocol):
    """The first connection of the client comes after a rotation that the cache has not seen."""
    manager.get_secret(PATH)
    account.rotate()
    account.revoke_previous()
    with create_client(PATH, manager=manager, **account.address, protocol=protocol) as client:
        assert client.acl_whoami() in {account.name, account.name.encode()}


def test_no_command_fails_while_the_password_rotates(account, watching_manager):
    """Sixteen threads use the client, and no connection outlives its password."""
    with create_client(PATH, manager=watching_manager, **account.address, max_connections=16) as client:
        with Load(client.ping) as load:
            for _ in range(ROTATIONS):
                load.wait_for(100)
                opened = account.opened()  # before: those that follow a change at once have the new password
                account.rotate()
                wait_until(lambda opened=opened: load.failures or not opened & account.opened())
                account.revoke_previous()
                load.wait_for(100)
                time.sleep(SECONDS)
        assert not load.failures


def test_an_asynchronous_client_reads_a_refused_password_anew(account, manager):
    """As the synchronous client does."""
    manager.get_secret(PATH)
    account.rotate()
    account.revoke_previous()

    async def whoami():
        async with create_async_client(PATH, manager=manager, **account.address) as client:
            return await client.acl_whoami()

    assert asyncio.run(whoami()) in {account.name, account.name.encode()}


def test_a_password_that_the_store_does_not_have_either_is_refused(account, manager):
    """The error is redis-py's own, and holds no value."""
    account.admin.execute_command("ACL", "SETUSER", account.name, "resetpass")
    with (
        create_client(PATH, manager=manager, **account.address, retry=Retry(NoBackoff(), 1)) as client,
        pytest.raises(redis.AuthenticationError) as caught,
    ):
        client.ping()
    assert account.password not in str(caught.value)


def test_a_provider_gives_each_new_connection_the_current_password(account, manager):
    """Of a client that the application has created itself."""
    with redis.Redis(**account.address, credential_provider=CredentialProvider(PATH, manager)) as client:
        client.ping()
        account.rotate()
        account.revoke_previous()
        manager.invalidate(PATH)
        client.connection_pool.disconnect()
        assert client.acl_whoami() in {account.name, account.name.encode()}
