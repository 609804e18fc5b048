"""A server that answers what a test tells it to, for what no real one does on demand."""

import contextlib
import json
import socket
import ssl
import sys
import threading
from dataclasses import dataclass

import pytest

from strongroom._boundary.guard import GuardedStore
from support.cli_fixtures import patient_script
from support.vault.engines import open_engine

__all__ = ["patient_script"]


@pytest.fixture
def without_pycurl(monkeypatch):
    """Stores use the driver on urllib3, as where pycurl is not installed."""
    monkeypatch.setitem(sys.modules, "strongroom_vault.http.drivers.curl_driver", None)


@pytest.fixture(params=["curl", "urllib3"])
def driver(request):
    """Stores use each of the drivers in turn."""
    if request.param == "urllib3":
        request.getfixturevalue("without_pycurl")
    return request.param


@dataclass
class Received:
    """One request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


def reply(status=200, body=b"", headers=(), *, length=None):
    """A whole HTTP reply; `body` is bytes, or an object for JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(content) if length is None else length}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def secret(version=1, **data):
    """The reply that a KV version 2 engine gives to a read."""
    metadata = {"version": version, "created_time": "2026-01-02T03:04:05.678901234Z", "deletion_time": ""}
    return reply(200, {"data": {"data": data, "metadata": metadata}})


class FaultServer:
    """Answers each request with the next of `answers`, and the last of them for ever.

    An answer is the bytes to send, or a function of the connection, or None to close it without a word.
    """

    def __init__(self, context=None):
        self.requests = []
        self.answers = []
        self.stopping = threading.Event()
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.connections = []
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self):
        self.stopping.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    def _accept(self):
        while not self.stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection):
        try:
            with connection:
                if self._context:
                    with self._context.wrap_socket(connection, server_side=True) as secure:
                        self._converse(secure)
                else:
                    self._converse(connection)
        except (OSError, ssl.SSLError):
            pass  # the client went away, which is what some tests are about

    def _converse(self, connection):
        with connection.makefile("rb") as lines:
            while first := lines.readline():
                method, target, _ = first.decode().split(" ", 2)
                headers = {}
                while (line := lines.readline().strip()) != b"":
                    name, _, value = line.decode().partition(":")
                    headers[name.lower()] = value.strip()
                body = lines.read(int(headers.get("content-length", 0)))
                self.requests.append(Received(method, target, headers, body))
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if answer is None:
                    return
                if callable(answer):
                    answer(connection)
                else:
                    connection.sendall(answer)


@pytest.fixture
def fault_server():
    server = FaultServer()
    yield server
    server.close()


@pytest.fixture
def faulty(fault_server):
    """A function that takes answers and returns the front of a KV version 2 store which gets them."""
    fronts = []

    def open_(*answers, **options):
        fault_server.answers[:] = answers
        given = {"url": fault_server.url, "token": "s.token", **options}
        fronts.append(GuardedStore(open_engine(2, **given), "vault"))
        return fronts[-1]

    yield open_
    fault_server.answers[:] = [reply(200, {"data": {"ttl": 0}})]  # ends a background look-up of the token
    for front in fronts:
        front.close()


@pytest.fixture
def answered():
    """The replies that a test gives its server."""
    return reply


@pytest.fixture
def stored():
    """The reply to a read of a secret."""
    return secret


@pytest.fixture
def start_server():
    """A function that starts another fault server, with TLS or without."""
    servers = []

    def start(context=None):
        servers.append(FaultServer(context))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
