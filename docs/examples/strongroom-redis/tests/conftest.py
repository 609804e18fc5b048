"""One real Redis for all tests, with a plain and a TLS port. Each test has its own keys."""

import secrets
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
import trustme
from strongroom_redis.plugin import open_redis
from strongroom_redis.store import RedisStore

LIMIT = 60
ATTEMPTS = 5
PASSWORD = secrets.token_hex(8)
USERS = {
    "app": "resetkeys ~strongroom:* -@all +@hash +@sortedset +eval +exists +time",  # the README's
    "scripting": "resetkeys ~strongroom:* -@all +eval",
    "denied": "resetkeys -@all",
}


class Server(NamedTuple):
    """A running server.

    Attributes:
        port: the plain port.
        tls_port: the port with TLS.
        ca_cert: the authority of its certificate.
    """

    port: int
    tls_port: int
    ca_cert: Path

    @property
    def url(self) -> str:
        """Its plain address."""
        return f"redis://127.0.0.1:{self.port}/0"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def prefix() -> str:
    """Return a beginning of keys that no other test uses."""
    return f"strongroom:{uuid.uuid4().hex}:"


@pytest.fixture
def connect(server: Server, prefix: str) -> Iterator[Callable[..., RedisStore]]:
    """Return a function that opens a store as the user `app`, with other options if they are given."""
    stores: list[RedisStore] = []

    def open_(**options: Any) -> RedisStore:
        given = {"url": server.url, "prefix": prefix, "username": "app", "password": PASSWORD, **options}
        stores.append(open_redis(**given))
        return stores[-1]

    yield open_
    for store in stores:
        store.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start the server, or skip the test."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    folder = tmp_path_factory.mktemp("redis")
    authority, ca_cert = trustme.CA(), folder / "ca.pem"
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(ca_cert)
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    for _ in range(ATTEMPTS):
        found = Server(free_port(), free_port(), ca_cert)
        with subprocess.Popen(["redis-server", configuration(found, folder)], stdout=subprocess.DEVNULL) as process:
            try:
                if is_up(found, process):
                    yield found
                    return
            finally:
                process.kill()
    pytest.fail("redis-server does not start")


def configuration(server: Server, folder: Path) -> str:
    """Write the server's configuration and return the name of the file."""
    lines = [
        "bind 127.0.0.1",
        f"port {server.port}",
        f"tls-port {server.tls_port}",
        f'tls-cert-file "{folder}/cert.pem"',  # a folder may have a space in its name
        f'tls-key-file "{folder}/key.pem"',
        f'tls-ca-cert-file "{server.ca_cert}"',
        "tls-auth-clients no",
        f'dir "{folder}"',
        'save ""',
        *(f"user {name} on >{PASSWORD} {rights}" for name, rights in USERS.items()),
    ]
    (folder / "redis.conf").write_text("\n".join(lines), "utf-8")
    return str(folder / "redis.conf")


def is_up(server: Server, process: subprocess.Popen[bytes]) -> bool:
    """Wait for the server. Return False if it has ended, perhaps since another program took a port."""
    end = time.monotonic() + LIMIT
    with redis.Redis.from_url(server.url, username="app", password=PASSWORD) as client:
        while time.monotonic() < end and process.poll() is None:
            try:
                client.time()
            except redis.RedisError:
                time.sleep(0.05)
            else:
                return True
    return False
