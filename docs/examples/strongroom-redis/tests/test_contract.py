"""The store passes Strongroom's contract against a real server."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import redis
from strongroom_redis.store import RedisStore

from strongroom.errors import (
    AuthenticationError,
    ConflictError,
    PermissionDeniedError,
    StoreUnavailableError,
    WriteOutcomeUnknownError,
)
from strongroom.testing import PluginContract, StoreContract, dripping_server, dropping_proxy, silent_server


class TestRedis(StoreContract):
    capabilities = frozenset({"listable", "writable", "checked", "versioned", "probed"})
    page_size = 1_000

    @pytest.fixture
    def store(self, connect: Callable[..., RedisStore]) -> RedisStore:
        return connect()

    @pytest.fixture
    def denied(self, connect: Callable[..., RedisStore]) -> RedisStore:
        """Return a store whose user may run no command."""
        return connect(username="denied")

    @pytest.fixture
    def unreachable(self, connect: Callable[..., RedisStore]) -> Iterator[RedisStore]:
        with silent_server() as (host, port):
            yield connect(url=f"redis://{host}:{port}", timeout=0.2)

    @pytest.fixture
    def dripping(self, connect: Callable[..., RedisStore]) -> Iterator[RedisStore]:
        """Yield a store whose server begins a long reply and sends a byte now and then."""
        with dripping_server(b"$1000000\r\n") as (host, port):
            yield connect(url=f"redis://{host}:{port}")

    @pytest.fixture
    def restarted(self, server: Any, connect: Callable[..., RedisStore]) -> Iterator[Callable[..., Any]]:
        """Return a store behind a proxy, and the function that closes its connections."""
        with dropping_proxy("127.0.0.1", server.port) as proxy:

            def fill(contents: Mapping[str, Any]) -> tuple[RedisStore, Callable[[], object]]:
                host, port = proxy.address
                store = connect(url=f"redis://{host}:{port}")
                for path, data in contents.items():
                    store.write(path, data)
                return store, proxy.drop

            yield fill

    @pytest.fixture
    def foreign(self, server: Any, store: RedisStore, prefix: str) -> RedisStore:
        """Return a store with a secret, and a hash that another program wrote."""
        store.write("contract/app", {"key": "value"})
        store.write("contract/foreign", {"key": "value"})
        with redis.Redis.from_url(server.url) as client:
            client.hset(f"{prefix}secret:contract/foreign", "1:data", "not JSON")
        return store


class TestPlugin(PluginContract):
    plugin = "redis"
    options: ClassVar = {"url": "rediss://redis.example:6379/0"}
    refused: ClassVar = [
        {"url": "http://redis.example"},
        {"url": "redis://"},
        {"url": "redis://redis.example", "ca_cert": Path("/ca.pem")},
        {"url": "redis://redis.example", "max_versions": 0},
        {"url": "redis://redis.example", "timeout": 0.0},
    ]
    lazy = frozenset({"redis"})


def test_tls_verifies_the_server(server: Any, connect: Callable[..., RedisStore]) -> None:
    """With its authority a connection is made, and without it none."""
    url = f"rediss://127.0.0.1:{server.tls_port}/0"
    store = connect(url=url, ca_cert=server.ca_cert)
    assert store.write("app", {"password": "canary"}) == 1
    assert store.read("app").data == {"password": "canary"}
    with pytest.raises(StoreUnavailableError):
        connect(url=url).read("app")


def test_of_many_writers_one_wins(connect: Callable[..., RedisStore]) -> None:
    """Check-and-set is one script, which Redis does not interrupt."""
    stores = [connect() for _ in range(4)]
    stores[0].write("app", {"n": 0})
    won = 0
    for store in stores:
        try:
            store.write_if("app", {"n": 1}, 1)
        except ConflictError:
            continue
        won += 1
    assert won == 1
    assert stores[0].read("app").version == 2


def test_old_versions_are_pruned(connect: Callable[..., RedisStore]) -> None:
    """As many as configured stay, and numbers continue."""
    store = connect(max_versions=3)
    for number in range(5):
        store.write("app", {"n": number})
    assert [info.version for info in store.versions("app")] == [3, 4, 5]
    assert store.kept_versions("app") == 3


def test_wrong_password_is_an_authentication_error(connect: Callable[..., RedisStore]) -> None:
    """And no outage, for which a chain would read a fallback."""
    with pytest.raises(AuthenticationError):
        connect(password="wrong").read("app")


def test_denial_within_a_script_is_a_denial(connect: Callable[..., RedisStore]) -> None:
    """The user may run scripts, and not the commands in them."""
    with pytest.raises(PermissionDeniedError):
        connect(username="scripting").read("app")


def test_lost_reply_of_a_write_is_an_unknown_outcome(connect: Callable[..., RedisStore]) -> None:
    """It is sent once. A read of the same server is an outage."""
    with silent_server() as (host, port):
        store = connect(url=f"redis://{host}:{port}", timeout=0.2, username=None, password=None)
        with pytest.raises(WriteOutcomeUnknownError):
            store.write("app", {"n": 1})
        with pytest.raises(StoreUnavailableError) as caught:
            store.read("app")
        assert not isinstance(caught.value, WriteOutcomeUnknownError)
