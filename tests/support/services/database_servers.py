"""Real MariaDB and Redis servers on loopback, where Debian's programs are installed."""

from __future__ import annotations

import secrets
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from strongroom_vault.dev.server import free_port
from support.programs import require
from support.services import guarded

LIMIT = 60.0


class MariaDB:
    """A server.

    Attributes:
        port: where it listens.
        socket: its socket, on which root needs no password.
        password: of its administrator `admin`.
    """

    def __init__(self, port, socket):
        self.port = port
        self.password = secrets.token_hex(16)
        self.socket = socket

    def run(self, statement, *values):
        """Run a statement as root."""
        with (
            pymysql.connect(unix_socket=self.socket, user="root", autocommit=True) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement, values)

    def lets_in(self, user, password):
        """Return True if a login with these works now."""
        try:
            with pymysql.connect(host="127.0.0.1", port=self.port, user=user, password=password):
                return True
        except pymysql.OperationalError:  # not of pymysql.err: `install_as_MySQLdb` can replace that module
            return False


@contextmanager
def running_mariadb() -> Iterator[MariaDB]:
    """Run a server for the block. Skip the test if MariaDB is not installed."""
    require("mariadbd", "mariadb-install-db")
    with tempfile.TemporaryDirectory(prefix="strongroom-mariadb-", ignore_cleanup_errors=True) as folder:
        home, port = Path(folder), free_port()
        data, socket = home / "data", home / "socket"
        install = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--user=root", "--skip-test-db"]
        subprocess.run([*install, "--auth-root-authentication-method=normal"], check=True, capture_output=True)
        command = ["mariadbd", "--no-defaults", f"--datadir={data}", f"--socket={socket}", "--user=root"]
        command += [f"--port={port}", "--bind-address=127.0.0.1", f"--pid-file={home / 'pid'}", "--skip-name-resolve"]
        with _running(command):
            server = MariaDB(port, str(socket))
            _wait(socket.exists)  # it listens then
            server.run("CREATE USER 'admin'@'%%' IDENTIFIED BY %s", server.password)
            server.run("GRANT ALL ON *.* TO 'admin'@'%%'")
            server.run("DROP USER IF EXISTS ''@'localhost'")
            yield server


class RedisServer:
    """A server. Its default user needs no password.

    Attributes:
        port: where it listens.
        socket: its Unix socket.
    """

    def __init__(self, port, socket):
        self.port = port
        self.socket = socket

    def client(self, **login):
        """Return a client; by default of the default user."""
        return redis.Redis(host="127.0.0.1", port=self.port, retry=Retry(NoBackoff(), 0), **login)

    def answers(self):
        """Return True if it is up."""
        try:
            with self.client() as client:
                return client.ping()
        except redis.ConnectionError:
            return False

    def lets_in(self, user, password):
        """Return True if a login with these works now."""
        try:
            with self.client(username=user, password=password) as client:
                return client.ping()
        except redis.AuthenticationError:
            return False


@contextmanager
def running_redis() -> Iterator[RedisServer]:
    """Run a server for the block. Skip the test if Redis is not installed."""
    require("redis-server")
    with tempfile.TemporaryDirectory(prefix="strongroom-redis-") as folder:
        server = RedisServer(free_port(), f"{folder}/redis.sock")
        command = ["redis-server", "--port", str(server.port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        command += ["--unixsocket", server.socket]
        with _running(command):
            _wait(server.answers)
            yield server


@contextmanager
def _running(command: list[str]) -> Iterator[None]:
    process = guarded.start(command)
    try:
        yield
    finally:
        guarded.end(process)


def _wait(is_ready: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not is_ready():
        assert time.monotonic() < end, "the server does not start"
        time.sleep(0.05)
